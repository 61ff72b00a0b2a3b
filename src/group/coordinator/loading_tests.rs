//! Becoming the coordinator of a partition and ceasing to be it, and what a load makes of the log.

use std::sync::Arc;

use bytes::Bytes;

use super::testing::*;
use super::tests::{beat, fetch, join, sync};
use super::*;
use crate::group::records::OffsetAndMetadata;
use crate::group::storage::{TxnProducer, offsets_batch, tombstones_batch};
use crate::protocol::messages::ListGroupsRequest;
use crate::record::builder::EndTxnMarker;
use crate::topic::TopicPartition;

#[tokio::test(start_paused = true)]
async fn who_coordinates() {
    let log = MemoryLog::new(1);
    let coordinator = idle(GroupConfig::default(), &log);
    assert_eq!(fetch(&coordinator, "g", false), Err(ErrorCode::NotCoordinator));
    assert_eq!(coordinator.heartbeat(&beat("g", "m", 1)).error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(coordinator.heartbeat(&beat("", "m", 1)).error_code, ErrorCode::InvalidGroupId.code());
    let bytes = offsets_batch(&GroupConfig::default(), "g", &[(TopicPartition::new("t", 0), offset(5))], None, WALL);
    log.put(0, bytes.unwrap());
    let gate = log.gate.lock();
    coordinator.on_leadership(0, 5);
    assert_eq!(fetch(&coordinator, "g", false), Err(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(coordinator.heartbeat(&beat("g", "m", 1)).error_code, 0, "taken at its word");
    let synced = coordinator.start_sync(&context(3), &sync("g", "m", 1, &[]));
    assert_eq!(synced.err(), Some(ErrorCode::CoordinatorLoadInProgress));
    let listed = coordinator.list_groups(4, &ListGroupsRequest::default());
    assert_eq!(listed.error_code, ErrorCode::CoordinatorLoadInProgress.code());
    drop(gate);
    loaded(&coordinator).await;
    assert_eq!(fetch(&coordinator, "g", false), Ok(5));
    coordinator.on_resignation(0, Some(4));
    assert_eq!(fetch(&coordinator, "g", false), Ok(5), "news of an older epoch");
    coordinator.on_resignation(0, Some(6));
    assert_eq!(fetch(&coordinator, "g", false), Err(ErrorCode::NotCoordinator));
    coordinator.on_leadership(0, 5);
    assert_eq!(fetch(&coordinator, "g", false), Err(ErrorCode::NotCoordinator), "an older epoch again");
    coordinator.on_leadership(0, 7);
    loaded(&coordinator).await;
    assert_eq!(fetch(&coordinator, "g", false), Ok(5));
    coordinator.shutdown();
    assert_eq!(fetch(&coordinator, "g", false), Err(ErrorCode::CoordinatorNotAvailable));
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_load_that_was_overtaken_installs_nothing() {
    let log = MemoryLog::new(1);
    let coordinator = idle(GroupConfig::default(), &log);
    let batch = offsets_batch(&GroupConfig::default(), "g", &[(TopicPartition::new("t", 0), offset(5))], None, WALL);
    log.put(0, batch.unwrap());
    {
        let _gate = log.gate.lock();
        coordinator.on_leadership(0, 1);
        coordinator.on_resignation(0, Some(2));
    }
    for _ in 0..1_000 {
        settle().await;
    }
    assert_eq!(coordinator.gauges().groups, 0);
    assert_eq!(fetch(&coordinator, "g", false), Err(ErrorCode::NotCoordinator));
}

#[tokio::test(start_paused = true)]
async fn moving_away_answers_who_waits() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    let c = coordinator.clone();
    let parked = start(async move { c.join_group(&context(3), join("g", "")).await }).await;
    coordinator.on_resignation(0, None);
    assert_eq!(parked.await.unwrap().error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(coordinator.gauges().groups, 0);
}

fn offset(offset: i64) -> OffsetAndMetadata {
    OffsetAndMetadata {
        offset,
        leader_epoch: -1,
        metadata: Arc::from(""),
        commit_timestamp: WALL,
        expire_timestamp: None,
    }
}

/// Group, offset and the producer of its transaction.
type Written<'a> = (&'a str, i64, Option<i64>);

/// Batches that follow each other; a producer id makes a batch transactional, an `Err` is a marker.
fn history(steps: &[Result<Written<'_>, (i64, bool)>]) -> Bytes {
    let mut out = bytes::BytesMut::new();
    for (at, step) in steps.iter().enumerate() {
        let batch = match *step {
            Ok((group, value, producer)) => {
                let producer = producer.map(|producer_id| TxnProducer { producer_id, producer_epoch: 0 });
                let offsets = [(TopicPartition::new("t", 0), offset(value))];
                offsets_batch(&GroupConfig::default(), group, &offsets, producer, WALL).unwrap()
            }
            Err((producer, commit)) => {
                EndTxnMarker { commit, coordinator_epoch: 0 }.to_batch(0, 0, producer, 0, WALL).unwrap()
            }
        };
        let mut bytes = bytes::BytesMut::from(&batch[..]);
        bytes[..8].copy_from_slice(&(at as i64).to_be_bytes());
        out.extend_from_slice(&bytes);
    }
    out.freeze()
}

#[tokio::test(start_paused = true)]
async fn loading_transactional_commits() {
    let log = MemoryLog::new(1);
    log.put(
        0,
        history(&[
            Ok(("committed", 1, Some(1))),
            Ok(("aborted", 1, None)),
            Ok(("aborted", 2, Some(2))),
            Ok(("overtaken", 1, Some(1))),
            Ok(("overtaken", 2, None)),
            Err((1, true)),
            Err((2, false)),
            Ok(("open", 1, None)),
            Ok(("open", 2, Some(3))),
            Ok(("only-open", 9, Some(3))),
        ]),
    );
    let coordinator = coordinator(GroupConfig { offsets_load_buffer_size: 1, ..GroupConfig::default() }, &log).await;
    assert_eq!(fetch(&coordinator, "committed", true), Ok(1));
    assert_eq!(fetch(&coordinator, "aborted", true), Ok(1));
    assert_eq!(fetch(&coordinator, "overtaken", true), Ok(2), "the plain commit came after that of the transaction");
    for (group, before) in [("open", 1), ("only-open", -1)] {
        assert_eq!(fetch(&coordinator, group, true), Err(ErrorCode::UnstableOffsetCommit));
        assert_eq!(fetch(&coordinator, group, false), Ok(before));
    }
    coordinator.on_transaction_completed(3, &[1], true);
    assert_eq!(fetch(&coordinator, "open", false), Ok(1), "the marker was for another partition");
    coordinator.on_transaction_completed(3, &[0], true);
    assert_eq!((fetch(&coordinator, "open", true), fetch(&coordinator, "only-open", true)), (Ok(2), Ok(9)));
}

#[tokio::test(start_paused = true)]
async fn tombstones_and_unreadable_records() {
    let log = MemoryLog::new(1);
    let config = GroupConfig::default();
    let partition = TopicPartition::new("t", 0);
    let mut at = 0;
    let mut put = |batch: Bytes| {
        let mut bytes = bytes::BytesMut::from(&batch[..]);
        bytes[..8].copy_from_slice(&i64::to_be_bytes(at));
        at += 1;
        log.put(0, bytes.freeze());
    };
    put(offsets_batch(&config, "gone", &[(partition.clone(), offset(1))], None, WALL).unwrap());
    put(tombstones_batch(&config, "gone", std::slice::from_ref(&partition), false, WALL).unwrap());
    for (key, value) in [(&b"\0\x09new"[..], &b"x"[..]), (b"\0\x01", b"x"), (b"\0\x02\0\x01b", b"\0\x09")] {
        let mut batch = crate::record::BatchBuilder::new(0);
        batch.append(WALL, Some(key), Some(value)).unwrap();
        put(batch.build().unwrap());
    }
    put(offsets_batch(&config, "there", &[(partition, offset(3))], None, WALL).unwrap());
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    assert_eq!((fetch(&coordinator, "gone", true), fetch(&coordinator, "there", true)), (Ok(-1), Ok(3)));
    assert_eq!(coordinator.gauges().groups, 1);
}

/// What Kafka wrote, loaded, against what a consumer of the topic (read_committed) last saw of each key.
#[tokio::test(start_paused = true)]
async fn a_recorded_topic_loads() {
    let log = MemoryLog::new(5);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/group");
    for partition in 0..5 {
        log.put(partition, std::fs::read(format!("{golden}/consumer-offsets-{partition}.log")).unwrap().into());
    }
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    let mut found = Vec::new();
    for cell in coordinator.inner.table.all() {
        assert_eq!(cell.partition, coordinator.partition_for(&cell.id));
        let group = &cell.edge.lock().group;
        assert!(group.offsets.open_producers().next().is_none(), "all transactions had ended");
        if let Some(protocol_type) = group.protocol_type() {
            found.push(format!("{}\tgroup\t{}\t{protocol_type}\t{}", cell.partition, cell.id, group.generation()));
        }
        for (partition, value) in group.offsets.iter() {
            let TopicPartition { topic, partition } = partition;
            found.push(format!("{}\toffset\t{}\t{topic}\t{partition}\t{}\t3", cell.partition, cell.id, value.offset));
        }
    }
    let mut expected: Vec<String> =
        std::fs::read_to_string(format!("{golden}/expected.tsv")).unwrap().lines().map(str::to_owned).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}
