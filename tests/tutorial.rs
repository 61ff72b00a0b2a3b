//! The tutorial's steps on one broker: a topic, three messages in, three messages out; also after restarts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::admin::{EARLIEST, LATEST, NO_ERROR, batch, now_ms};
use common::{Broker, PATIENCE, eventually};
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::StrBytes;
use ottla::record::Codec;
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const MESSAGES: [&str; 3] = ["hello", "from", "MyFirstTopic"];

#[test]
fn three_messages_with_a_real_client() {
    let broker = Broker::start(&[]);
    broker.wire().create_topic("MyFirstTopic", 1, &[]);
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    for message in MESSAGES {
        producer.send(BaseRecord::<(), str>::to("MyFirstTopic").payload(message)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "tutorial")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&["MyFirstTopic"]).unwrap();
    let mut read = Vec::new();
    eventually("three messages arrive", PATIENCE, || {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            read.push(String::from_utf8(message.unwrap().payload().unwrap().to_vec()).unwrap());
        }
        (read.len() == MESSAGES.len()).then_some(())
    });
    assert_eq!(read, MESSAGES);
}

#[test]
fn a_stopped_broker_comes_back_with_everything() {
    let mut broker = Broker::start(&[]);
    let mut wire = broker.wire();
    wire.create_topic("t", 2, &[]);
    for (partition, values) in [(0, &["a", "b"][..]), (1, &["c"])] {
        wire.produce("t", partition, values, now_ms());
    }
    broker.terminate();
    assert!(broker.data_dir().join(".kafka_cleanshutdown").exists(), "a clean stop leaves its marker");
    broker.launch();
    let mut wire = broker.wire();
    wire.await_leaders("t", 2);
    assert!(!broker.data_dir().join(".kafka_cleanshutdown").exists(), "the marker is gone once it was read");
    assert_eq!((wire.values("t", 0), wire.values("t", 1)), (vec!["a".into(), "b".into()], vec!["c".into()]));
    assert_eq!(wire.produce("t", 0, &["d"], now_ms()), 2);
    assert_eq!((wire.offset("t", 0, EARLIEST), wire.offset("t", 0, LATEST)), (0, 3));
}

#[test]
fn every_codec_goes_in_and_comes_out_as_it_was() {
    let broker = Broker::start(&[]);
    let mut wire = broker.wire();
    wire.create_topic("t", 1, &[]);
    let mut sent = Vec::new();
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let values: Vec<String> = (0..50).map(|i| format!("{codec:?} {i} and the same again and again")).collect();
        let refs: Vec<&str> = values.iter().map(String::as_str).collect();
        let answer = wire.produce_batch("t", 0, batch(&refs, now_ms(), codec));
        assert_eq!(answer.error_code, NO_ERROR, "{codec:?}");
        sent.extend(values);
    }
    assert_eq!(wire.values("t", 0), sent);
}

#[test]
fn a_consumer_waits_and_is_woken_by_the_next_record() {
    let broker = Broker::start(&[]);
    let (mut reader, mut writer) = (broker.wire(), broker.wire());
    writer.create_topic("t", 1, &[]);
    writer.produce("t", 0, &["first"], now_ms());
    let waiting = std::thread::spawn(move || reader.fetch("t", 0, 1, 0, 50_000));
    assert_eq!(writer.fetch("t", 0, 1, 0, 200).high_watermark, 1, "nothing is there yet");
    let sent = std::time::Instant::now();
    writer.produce("t", 0, &["second"], now_ms());
    let data = waiting.join().unwrap();
    assert!(sent.elapsed() < Duration::from_secs(20), "the long poll ran to its end");
    assert_eq!((data.error_code, data.high_watermark), (NO_ERROR, 2));
    assert!(!data.records.unwrap().is_empty());
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let broker = Broker::start(&[]);
    let mut wire = broker.wire();
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("tests"))
        .with_client_software_version(StrBytes::from_static_str("1"));
    let count = 200;
    for _ in 0..count {
        wire.send(3, &request).unwrap();
    }
    for expected in 1..=count {
        let frame = wire.receive().unwrap().expect("an answer");
        assert_eq!(i32::from_be_bytes(frame[..4].try_into().unwrap()), expected);
    }
}

#[test]
fn two_brokers_of_one_id_do_not_start() {
    let first = Broker::start(&[]);
    let mut second = Broker::prepare_on(first.zookeeper_connect(), &[("broker.id", "0")]);
    second.expect_log(""); // It says why, at length.
    second.spawn();
    let status = eventually("the second broker gives up", PATIENCE, || second.exited());
    assert!(!status.success(), "{status}");
    assert!(!second.log().contains("started (kafka.server.KafkaServer)"));
}
