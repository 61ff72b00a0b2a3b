//! Data directories that a real Kafka 3.7.2 left behind open in the broker under test, and read as Kafka's own consumer read
//! them (the JSON beside each archive): offsets, both isolation levels, every field of every record.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/datadir.rs"]
mod datadir;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use bytes::Bytes;
use common::Broker;
use common::admin::EARLIEST;
use common::broker::Kind;
use common::consume::{READ_COMMITTED, READ_UNCOMMITTED};
use common::znodes::Znodes;
use ottla::record::{Batch, Record, TimestampType};
use serde_json::{Map, Value, json};

/// The recorder wrote longer values as length and hash.
const LONG: usize = 200;

/// A broker on what the archive holds; of directories that another broker left, without their meta.properties.
fn open(archive: &str, prepare: impl FnOnce(&Broker)) -> Broker {
    let mut broker = Broker::prepare(&[]);
    datadir::unpack(archive, &broker.data_dir());
    prepare(&broker);
    datadir::adopt(&broker, None);
    // Recovery may have something to say about directories of a broker that was killed or running.
    broker.expect_log("(kafka.log.");
    broker.expect_log("(org.apache.kafka.storage.internals.log.");
    broker.expect_log("(kafka.server.LogDirFailureChannel");
    broker.launch();
    broker
}

fn forget_meta_properties(broker: &Broker) {
    let _ = fs::remove_file(broker.data_dir().join("meta.properties"));
    forget_open_transactions(broker);
}

/// Kafka's coordinator ends transactions that are open for too long, as soon as it is in office.
fn forget_open_transactions(broker: &Broker) {
    if broker.kind() == Kind::Kafka {
        datadir::remove(&broker.data_dir(), "__transaction_state");
    }
}

fn expected(json: &str) -> Value {
    serde_json::from_slice(&fs::read(datadir::golden(json)).unwrap()).unwrap()
}

/// Compares every partition that the JSON tells of and that the broker has.
fn check(broker: &Broker, json: &str) -> usize {
    let expected = expected(json);
    let topic = expected["topic"].as_str().unwrap();
    let mut wire = broker.wire();
    let mut count = 0;
    for partition in expected["partitions"].as_array().unwrap() {
        let index = i32::try_from(partition["partition"].as_i64().unwrap()).unwrap();
        if !broker.data_dir().join(format!("{topic}-{index}")).is_dir() {
            continue;
        }
        wire.await_readable(topic, index);
        let levels = [
            (READ_UNCOMMITTED, "end_offset_read_uncommitted(HW)", "read_uncommitted"),
            (READ_COMMITTED, "end_offset_read_committed(LSO)", "read_committed"),
        ];
        assert_eq!(json!(wire.offset(topic, index, EARLIEST)), partition["beginning_offset"], "{topic}-{index}");
        for (isolation, end_key, records_key) in levels {
            let (end, found) = wire.consume(topic, index, isolation);
            let found = recorded_form(&found);
            assert_eq!(json!(end), partition[end_key], "{topic}-{index} {end_key}");
            let expected = partition[records_key].as_array().unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found, expected, "{topic}-{index} {records_key}");
            }
            assert_eq!(found.len(), expected.len(), "{topic}-{index} {records_key}");
            count += found.len();
        }
    }
    assert!(count > 0, "nothing was compared");
    count
}

fn recorded_form(records: &[(Batch, Record)]) -> Vec<Value> {
    let long = records.iter().flat_map(|(_, r)| [&r.key, &r.value]).flatten().filter(|b| b.len() > LONG);
    let hashes = sha256(long);
    let form = |(batch, record): &(Batch, Record)| {
        let kind = match batch.timestamp_type() {
            Some(TimestampType::LogAppendTime) => "LogAppendTime",
            _ => "CreateTime",
        };
        let mut fields = Map::new();
        fields.insert("offset".to_owned(), json!(record.offset));
        fields.insert("timestamp".to_owned(), json!(record.timestamp));
        fields.insert("timestampType".to_owned(), json!(kind));
        fields.insert("leaderEpoch".to_owned(), json!(batch.partition_leader_epoch()));
        bytes_form(&mut fields, "key", record.key.as_deref(), &hashes);
        bytes_form(&mut fields, "value", record.value.as_deref(), &hashes);
        let headers = record.headers.iter().map(|(key, value)| {
            let mut header = Map::new();
            header.insert("key".to_owned(), json!(String::from_utf8_lossy(key)));
            bytes_form(&mut header, "value", value, &hashes);
            Value::Object(header)
        });
        fields.insert("headers".to_owned(), headers.collect());
        Value::Object(fields)
    };
    records.iter().map(form).collect()
}

fn bytes_form(fields: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>, hashes: &BTreeMap<Bytes, String>) {
    let (suffix, value) = match bytes {
        None => ("", Value::Null),
        Some(long) if long.len() > LONG => {
            fields.insert(format!("{name}_length"), json!(long.len()));
            ("_sha256", json!(hashes[long]))
        }
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => ("", json!(text)),
            Err(_) => ("_hex", json!(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())),
        },
    };
    fields.insert(format!("{name}{suffix}"), value);
}

/// Hashes by coreutils, so that no crate is needed for it.
fn sha256<'a>(values: impl Iterator<Item = &'a Bytes>) -> BTreeMap<Bytes, String> {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<&Bytes> = values.collect();
    if values.is_empty() {
        return BTreeMap::new();
    }
    let names: Vec<String> = (0..values.len()).map(|i| i.to_string()).collect();
    for (name, value) in names.iter().zip(&values) {
        fs::write(dir.path().join(name), value).unwrap();
    }
    let output = Command::new("sha256sum").args(&names).current_dir(dir.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let hash = |line: &str| line.split(' ').next().unwrap().to_owned();
    values.into_iter().cloned().zip(text.lines().map(hash)).collect()
}

#[test]
fn all_codecs() {
    let broker = open("a-plain", |_| {});
    assert_eq!(check(&broker, "dd-plain.json"), 100);
}

#[test]
fn log_append_time() {
    check(&open("g-log-append-time", |_| {}), "g-log-append-time.json");
}

#[test]
fn transactions_of_a_running_broker_one_of_them_open() {
    let broker = open("b-txn", forget_meta_properties);
    check(&broker, "dd-txn.json");
    if broker.kind() == Kind::Ottla {
        check(&broker, "b-transaction-state-topic.json");
    }
}

#[test]
fn transactions_after_a_clean_stop() {
    check(&open("b-txn-clean", forget_meta_properties), "f-dd-txn.json");
}

#[test]
fn compacted() {
    check(&open("c-compacted", |_| {}), "dd-compact.json");
    check(&open("c-compacted-clean", |_| {}), "dd-compact.json");
}

#[test]
fn compacted_transactions_and_tombstones() {
    check(&open("c-compacted-transactional-tombstones", |_| {}), "dd-compact3.json");
}

#[test]
fn recovery_of_a_torn_tail() {
    check(&open("d-unclean-torn-tail", forget_meta_properties), "d-after-recovery-torn-tail.json");
    check(&open("d-after-recovery-torn-tail", forget_meta_properties), "d-after-recovery-torn-tail.json");
}

#[test]
fn recovery_of_a_corrupt_batch_in_the_middle() {
    check(&open("d-unclean-corrupt-middle", forget_meta_properties), "d-after-recovery-corrupt-middle.json");
}

#[test]
fn recovery_after_a_kill_keeps_what_was_whole() {
    let broker = open("d-unclean-killed", forget_meta_properties);
    let torn = expected("d-after-recovery-torn-tail.json");
    let torn = torn["partitions"][0]["read_uncommitted"].as_array().unwrap();
    let mut wire = broker.wire();
    wire.await_readable("dd-unclean", 0);
    let (end, found) = wire.consume("dd-unclean", 0, READ_UNCOMMITTED);
    let found = recorded_form(&found);
    assert_eq!(found[..torn.len()], torn[..]);
    assert!(end > i64::try_from(torn.len()).unwrap(), "the batch that was torn is whole here: {end}");
}

#[test]
fn many_segments_and_consumer_offsets() {
    for archive in ["e-segments-and-consumer-offsets", "e-segments-and-consumer-offsets-clean"] {
        check(&open(archive, |_| {}), "dd-segs.json");
    }
}

#[test]
fn a_whole_broker_after_a_clean_stop() {
    let broker = open("f-clean-shutdown-whole-broker-0", |broker| {
        forget_open_transactions(broker);
        // The directory belongs to a cluster, by its meta.properties.
        let meta = fs::read_to_string(broker.data_dir().join("meta.properties")).unwrap();
        let id = meta.lines().find_map(|l| l.strip_prefix("cluster.id=")).unwrap();
        let znodes = Znodes::connect(broker.zookeeper_connect());
        znodes.put("/cluster/id", format!(r#"{{"version":"1","id":"{id}"}}"#));
    });
    for json in ["f-dd-plain.json", "f-dd-txn.json", "f-dd-compact.json", "f-dd-segs.json", "f-__consumer_offsets.json"]
    {
        check(&broker, json);
    }
    if broker.kind() == Kind::Ottla {
        check(&broker, "f-__transaction_state.json");
    }
    assert!(!broker.log().contains("Recovering unflushed segment"), "a clean stop needs no recovery");
}
