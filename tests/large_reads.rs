//! Readers of much: answers of many hundred KiB, also to requests that were sent at once, and after the connection has
//! moved to a thread for such readers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::thread;

use bytes::Buf;
use common::admin::{NO_ERROR, now_ms};
use common::{Broker, Wire};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{ApiVersionsRequest, BrokerId, FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::{Decodable, StrBytes};

const BATCHES: usize = 16;

/// A partition of 16 batches with one record of 512 KiB each, which begins with its number.
fn fill(broker: &Broker) -> Vec<String> {
    let mut wire = broker.wire();
    wire.create_topic("t", 1, &[]);
    let values: Vec<String> = (0..BATCHES).map(|number| format!("{number:04}{}", "v".repeat(512 << 10))).collect();
    for value in &values {
        wire.produce("t", 0, &[value], now_ms());
    }
    values
}

fn fetch(offset: usize) -> FetchRequest {
    let part = FetchPartition::default()
        .with_partition(0)
        .with_current_leader_epoch(-1)
        .with_fetch_offset(offset as i64)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(4 << 20);
    let topic = FetchTopic::default().with_topic(TopicName(StrBytes::from_static_str("t"))).with_partitions(vec![part]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// The next answer, which must be one to a fetch from this offset.
fn receive_fetched(wire: &mut Wire, correlation_id: i32, offset: usize) {
    let mut frame = wire.receive().unwrap().expect("an answer");
    assert_eq!((frame.get_i32(), frame.get_u8()), (correlation_id, 0));
    let response = FetchResponse::decode(&mut frame, 12).unwrap();
    let partition = &response.responses[0].partitions[0];
    assert_eq!((partition.error_code, partition.high_watermark), (NO_ERROR, BATCHES as i64));
    let records = partition.records.as_ref().unwrap();
    assert!(records.len() >= 512 << 10, "{} bytes at {offset}", records.len());
    let first = ottla::record::batches(records.clone()).next().unwrap().unwrap();
    first.verify_crc().unwrap();
    assert_eq!(first.base_offset(), Some(offset as i64));
}

#[test]
fn requests_sent_at_once_are_answered_in_order() {
    let broker = Broker::start(&[]);
    fill(&broker);
    let mut wire = broker.wire();
    let mut sent = 0;
    for _ in 0..20 {
        let before = sent;
        for offset in [3, 0, 7] {
            wire.send(12, &fetch(offset)).unwrap();
            wire.send(0, &ApiVersionsRequest::default()).unwrap();
            sent += 2;
        }
        for (number, offset) in [3, 0, 7].into_iter().enumerate() {
            let correlation_id = before + 2 * number as i32 + 1;
            receive_fetched(&mut wire, correlation_id, offset);
            let mut answer = wire.receive().unwrap().expect("an answer");
            assert_eq!((answer.get_i32(), answer.get_i16()), (correlation_id + 1, NO_ERROR));
        }
    }
    // The same connection does everything else as before.
    let offset = wire.produce("t", 0, &["small"], now_ms());
    assert_eq!(offset, BATCHES as i64);
    assert_eq!(wire.read("t", 0, offset)[0].value.as_deref(), Some(&b"small"[..]));
}

#[test]
fn many_read_at_once() {
    let broker = Broker::start(&[("num.network.threads", "2")]);
    let values = fill(&broker);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut wire = broker.wire();
                for _ in 0..3 {
                    let read = wire.read("t", 0, 0).into_iter().map(|record| record.value.unwrap());
                    assert!(read.eq(values.iter().map(String::as_bytes)));
                }
            });
        }
    });
}
