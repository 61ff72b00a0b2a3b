//! Kafka's own directories, opened: what a consumer read from Kafka must be what it reads from here.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::*;
use crate::log::checkpoint;
use crate::record::TimestampType;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/datadirs").join(name)
}

/// Unpacks a recorded log dir.
fn unpack(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let archive = golden(&format!("{name}.tar.gz"));
    let status = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(dir.path()).status().unwrap();
    assert!(status.success());
    dir
}

fn start(dir: &Path) -> Arc<LogManager> {
    let jobs = Jobs::default();
    let mut options = options(&[dir], &jobs);
    // The recordings are older than any retention of producers.
    options.producers.expiration_ms = i64::MAX;
    LogManager::start(options).unwrap()
}

fn text_or_hex(bytes: Option<&[u8]>, name: &str, entry: &Value, what: &str) {
    if let Some(want) = entry.get(format!("{name}_hex")) {
        let hex: Option<String> = bytes.map(|b| b.iter().map(|x| format!("{x:02x}")).collect());
        assert_eq!(hex.as_deref(), want.as_str(), "{what} {name}");
    } else if let Some(len) = entry.get(format!("{name}_length")) {
        assert_eq!(bytes.map(|b| b.len() as u64), len.as_u64(), "{what} {name}");
    } else {
        let text = bytes.map(|b| String::from_utf8(b.to_vec()).unwrap());
        assert_eq!(text.as_deref(), entry[name].as_str(), "{what} {name}");
    }
}

fn check_records(log: &PartitionLog, isolation: Isolation, max_bytes: i32, want: &Value, end: &Value) {
    let (records, position) = consume(log, log.log_start_offset(), max_bytes, isolation);
    let want = want.as_array().unwrap();
    let what = format!("{} {isolation:?}", log.topic_partition());
    for ((record, batch), entry) in records.iter().zip(want) {
        assert_eq!(Some(record.offset), entry["offset"].as_i64(), "{what}");
        let what = format!("{what} offset {}", record.offset);
        assert_eq!(Some(record.timestamp), entry["timestamp"].as_i64(), "{what}");
        let kind = match batch.timestamp_type() {
            Some(TimestampType::LogAppendTime) => "LogAppendTime",
            _ => "CreateTime",
        };
        assert_eq!(Some(kind), entry["timestampType"].as_str(), "{what}");
        assert_eq!(Some(i64::from(batch.partition_leader_epoch())), entry["leaderEpoch"].as_i64(), "{what}");
        text_or_hex(record.key.as_deref(), "key", entry, &what);
        text_or_hex(record.value.as_deref(), "value", entry, &what);
        assert_eq!(record.headers.len(), entry["headers"].as_array().unwrap().len(), "{what}");
    }
    assert_eq!(records.len(), want.len(), "{what}");
    assert_eq!(Some(position), end.as_i64(), "{what}");
}

/// Compares every partition in `json` that is in the manager, with several fetch sizes.
fn check(manager: &LogManager, json: &str) {
    let recorded: Value = serde_json::from_slice(&std::fs::read(golden(json)).unwrap()).unwrap();
    let mut checked = 0;
    for partition in recorded["partitions"].as_array().unwrap() {
        let number = i32::try_from(partition["partition"].as_i64().unwrap()).unwrap();
        let tp = TopicPartition::new(recorded["topic"].as_str().unwrap(), number);
        let Some(log) = manager.get(&tp) else { continue };
        log.set_high_watermark(log.log_end_offset());
        assert_eq!(Some(log.log_start_offset()), partition["beginning_offset"].as_i64(), "{tp}");
        assert_eq!(Some(log.high_watermark()), partition["end_offset_read_uncommitted(HW)"].as_i64(), "{tp}");
        assert_eq!(Some(log.last_stable_offset()), partition["end_offset_read_committed(LSO)"].as_i64(), "{tp}");
        for max_bytes in [1, 700, 1 << 20] {
            let end = &partition["final_position_read_uncommitted"];
            check_records(&log, Isolation::HighWatermark, max_bytes, &partition["read_uncommitted"], end);
            let end = &partition["final_position_read_committed"];
            check_records(&log, Isolation::Committed, max_bytes, &partition["read_committed"], end);
        }
        checked += 1;
    }
    assert!(checked > 0, "{json}");
}

/// Index files of every segment are what Kafka accepts: entries ascending, sizes exact.
fn check_index_files(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap().flatten().filter(|e| e.path().is_dir()) {
        for file in std::fs::read_dir(entry.path()).unwrap().flatten() {
            let path = file.path();
            let bytes = std::fs::read(&path).unwrap();
            match path.extension().and_then(|e| e.to_str()) {
                Some("index") => {
                    let offsets: Vec<&[u8]> = bytes.chunks(8).map(|c| &c[..4]).collect();
                    assert!(bytes.len() % 8 == 0 && offsets.windows(2).all(|w| w[0] < w[1]), "{path:?}");
                }
                Some("timeindex") => {
                    let times: Vec<&[u8]> = bytes.chunks(12).map(|c| &c[..8]).collect();
                    assert!(bytes.len() % 12 == 0 && times.windows(2).all(|w| w[0] < w[1]), "{path:?}");
                }
                _ => {}
            }
        }
    }
}

/// Opens, compares, stops, opens again (now cleanly), compares again.
fn round_trip(archive: &str, clean: bool, jsons: &[&str]) -> tempfile::TempDir {
    let dir = unpack(archive);
    if clean {
        std::fs::write(dir.path().join(dirs::CLEAN_SHUTDOWN_FILE), "").unwrap();
    }
    for _ in 0..2 {
        let manager = start(dir.path());
        for json in jsons {
            check(&manager, json);
        }
        manager.shutdown();
        check_index_files(dir.path());
        assert!(dir.path().join(dirs::CLEAN_SHUTDOWN_FILE).exists());
    }
    dir
}

#[test]
fn plain_with_all_codecs() {
    round_trip("a-plain", false, &["dd-plain.json"]);
}

#[test]
fn transactions_while_one_is_open() {
    round_trip("b-txn", false, &["dd-txn.json", "b-transaction-state-topic.json"]);
}

#[test]
fn transactions_after_a_clean_stop() {
    round_trip("b-txn-clean", true, &["f-dd-txn.json", "f-__transaction_state.json"]);
    // The same without the marker: everything is rebuilt.
    round_trip("b-txn-clean", false, &["f-dd-txn.json", "f-__transaction_state.json"]);
}

#[test]
fn compacted() {
    round_trip("c-compacted", false, &["dd-compact.json"]);
    round_trip("c-compacted-clean", true, &["dd-compact.json"]);
    round_trip("c-compacted-transactional-tombstones", false, &["dd-compact3.json"]);
}

#[test]
fn many_segments_and_consumer_offsets() {
    round_trip("e-segments-and-consumer-offsets", false, &["dd-segs.json", "e-consumer-offsets-topic.json"]);
    round_trip("e-segments-and-consumer-offsets-clean", true, &["dd-segs.json"]);
}

#[test]
fn log_append_time() {
    round_trip("g-log-append-time", false, &["g-log-append-time.json"]);
}

#[test]
fn recovery_of_a_torn_tail() {
    let dir = round_trip("d-unclean-torn-tail", false, &["d-after-recovery-torn-tail.json"]);
    let after = unpack("d-after-recovery-torn-tail");
    same_data(dir.path(), after.path(), "dd-unclean-0");
}

#[test]
fn recovery_of_damage_in_the_middle() {
    let dir = round_trip("d-unclean-corrupt-middle", false, &["d-after-recovery-corrupt-middle.json"]);
    let segment = dir.path().join("dd-unclean-0/00000000000000000386.log");
    assert_eq!(std::fs::metadata(segment).unwrap().len(), 1982);
}

/// The segment files are byte for byte those of `want`, and indexes hold the same entries.
fn same_data(got: &Path, want: &Path, partition: &str) {
    for entry in std::fs::read_dir(want.join(partition)).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let (got, want) = (got.join(partition).join(&name), entry.path());
        if name.ends_with(".log") {
            assert_eq!(std::fs::read(&got).unwrap(), std::fs::read(&want).unwrap(), "{name}");
        } else if name.ends_with(".index") {
            let mut expected = std::fs::read(&want).unwrap();
            while expected.last_chunk::<8>() == Some(&[0; 8]) {
                expected.truncate(expected.len() - 8);
            }
            assert_eq!(std::fs::read(&got).unwrap(), expected, "{name}");
        }
    }
}

#[test]
fn a_whole_broker_after_a_clean_stop() {
    let jsons = [
        "f-dd-plain.json",
        "f-dd-txn.json",
        "f-dd-compact.json",
        "f-dd-segs.json",
        "f-__consumer_offsets.json",
        "f-__transaction_state.json",
    ];
    let before = unpack("f-clean-shutdown-whole-broker-0");
    let dir = round_trip("f-clean-shutdown-whole-broker-0", false, &jsons);
    // Opened and stopped without a write, nothing in the partitions has changed.
    let read = |root: &Path| {
        let mut files = BTreeMap::new();
        for partition in std::fs::read_dir(root).unwrap().flatten().filter(|e| e.path().is_dir()) {
            for file in std::fs::read_dir(partition.path()).unwrap().flatten() {
                let name = format!("{:?}/{:?}", partition.file_name(), file.file_name());
                files.insert(name, std::fs::read(file.path()).unwrap());
            }
        }
        files
    };
    let (old, new) = (read(before.path()), read(dir.path()));
    for (name, bytes) in &old {
        // Epochs that wrote nothing are dropped by every load, Kafka's too.
        if name.contains("leader-epoch-checkpoint") {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let (old, new) = (text(bytes), text(&new[name]));
            assert!(new.lines().skip(2).all(|line| old.lines().any(|l| l == line)), "{name}: {old:?} {new:?}");
            continue;
        }
        assert!(new.get(name) == Some(bytes), "{name} is gone or differs");
    }
    let added: Vec<&String> = new.keys().filter(|k| !old.contains_key(*k)).collect();
    assert!(added.is_empty(), "{added:?}");
    let read_marks = |root: &Path, file: &str| checkpoint::read_offsets(&RealDisk, &root.join(file)).unwrap();
    for file in [checkpoint::RECOVERY_POINT_FILE, checkpoint::LOG_START_OFFSET_FILE] {
        assert_eq!(read_marks(before.path(), file), read_marks(dir.path(), file), "{file}");
    }
}

#[test]
fn high_watermarks_and_topic_ids_are_known_after_the_start() {
    let dir = unpack("f-clean-shutdown-whole-broker-0");
    let manager = start(dir.path());
    let marks = checkpoint::read_offsets(&RealDisk, &dir.path().join(checkpoint::HIGH_WATERMARK_FILE)).unwrap();
    assert_eq!(marks.len(), manager.logs().len());
    for log in manager.logs() {
        assert_eq!(manager.checkpointed_high_watermark(log.topic_partition()), marks[log.topic_partition()]);
        assert!(log.topic_id().is_some());
    }
    let meta = meta_properties::read(&RealDisk, dir.path()).unwrap().unwrap();
    assert_eq!((meta.version, meta.broker_id), (0, Some(0)));
    assert_eq!(meta.cluster_id.as_deref(), Some("Ntl1TwCJQOWKwqfDR2G7fg"));
}
