//! Retention by time, by size and by both: segment files go, and the log start moves.
//!
//! Kafka's first pass is 30 seconds after its start, whatever `log.retention.check.interval.ms` says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::admin::{EARLIEST, LATEST, now_ms};
use common::{Broker, PATIENCE, Wire, eventually};

/// Smaller than this Kafka makes no segment.
const SEGMENT_BYTES: &str = "14336";
const HOUR_MS: i64 = 3_600_000;
const FIRST_PASS: Duration = Duration::from_secs(40);

fn start(properties: &[(&str, &str)]) -> Broker {
    let mut all = vec![
        ("log.segment.bytes", SEGMENT_BYTES),
        ("log.retention.check.interval.ms", "300"),
        ("log.segment.delete.delay.ms", "200"),
    ];
    all.extend(properties);
    Broker::start(&all)
}

/// Fills `count` segments with records of that age; offsets count records.
fn fill(wire: &mut Wire, topic: &str, count: usize, age_ms: i64) {
    let value = "v".repeat(1000);
    let values = [value.as_str(); 6]; // Two such batches fill a segment.
    for _ in 0..2 * count {
        wire.produce(topic, 0, &values, now_ms() - age_ms);
    }
}

fn segments(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().flatten().map(|f| f.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|n| n.contains(".log")).collect();
    names.sort();
    names
}

/// Waits until the log starts there and no file of what was before is left.
fn await_start(broker: &Broker, wire: &mut Wire, start: i64) {
    let dir = broker.data_dir().join("t-0");
    eventually("the log start moves", FIRST_PASS, || (wire.offset("t", 0, EARLIEST) >= start).then_some(()));
    assert_eq!(wire.offset("t", 0, EARLIEST), start);
    let first = format!("{start:020}.log");
    eventually("the files are gone", PATIENCE, || (segments(&dir).first() == Some(&first)).then_some(()));
    let all = std::fs::read_dir(&dir).unwrap().flatten().map(|f| f.file_name().to_string_lossy().into_owned());
    let old: Vec<String> = all.filter(|n| n.ends_with("index") && n[..20] < first[..20]).collect();
    assert_eq!(old, Vec::<String>::new(), "indexes go with their segment");
}

#[test]
fn by_time_alone() {
    let broker = start(&[("log.retention.ms", "600000"), ("log.retention.bytes", "-1")]);
    let mut wire = broker.wire();
    wire.create_topic("t", 1, &[]);
    fill(&mut wire, "t", 3, HOUR_MS);
    fill(&mut wire, "t", 1, 0);
    assert_eq!(wire.offset("t", 0, EARLIEST), 0);
    assert_eq!(segments(&broker.data_dir().join("t-0")).len(), 4);
    await_start(&broker, &mut wire, 36);
    assert_eq!(wire.offset("t", 0, LATEST), 48, "the end stays");
    let out_of_range = wire.fetch("t", 0, 0, 0, 0);
    assert_eq!((out_of_range.error_code, wire.values("t", 0).len()), (1, 12));
}

#[test]
fn by_size_alone() {
    let broker = start(&[("log.retention.ms", "-1"), ("log.retention.bytes", "26000")]);
    let mut wire = broker.wire();
    wire.create_topic("t", 1, &[]);
    fill(&mut wire, "t", 5, 1000 * HOUR_MS);
    // Five segments of about 12 KB: what is over 26 KB goes, in whole segments, so three stay.
    await_start(&broker, &mut wire, 24);
}

#[test]
fn by_time_and_size_either_suffices() {
    let broker = start(&[("log.retention.ms", "600000"), ("log.retention.bytes", "26000")]);
    let mut wire = broker.wire();
    wire.create_topic("t", 1, &[]);
    fill(&mut wire, "t", 1, HOUR_MS); // too old
    fill(&mut wire, "t", 5, 0); // too many
    await_start(&broker, &mut wire, 36);
    wire.create_topic("kept", 1, &[("retention.ms", "-1"), ("retention.bytes", "-1")]);
    fill(&mut wire, "kept", 4, 1000 * HOUR_MS);
    fill(&mut wire, "t", 1, 0);
    await_start(&broker, &mut wire, 48);
    assert_eq!(wire.offset("kept", 0, EARLIEST), 0, "a topic's own limits count");
}

#[test]
fn a_log_that_is_all_old_keeps_its_end_and_its_start_survives_a_restart() {
    let mut broker = start(&[("log.retention.ms", "600000")]);
    let mut wire = broker.wire();
    wire.create_topic("t", 1, &[]);
    fill(&mut wire, "t", 2, HOUR_MS);
    await_start(&broker, &mut wire, 24);
    assert_eq!(wire.offset("t", 0, LATEST), 24);
    broker.terminate();
    broker.launch();
    let mut wire = broker.wire();
    wire.await_leaders("t", 1);
    assert_eq!((wire.offset("t", 0, EARLIEST), wire.offset("t", 0, LATEST)), (24, 24));
    assert_eq!(wire.produce("t", 0, &["next"], now_ms()), 24);
}
