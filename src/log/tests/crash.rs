//! Random appends, rolls, flushes and truncations, then a crash: dropped without a close, with the tail of the active
//! segment perhaps cut or its indexes spoiled. What is read afterwards is a prefix of what was written, complete up to
//! what was on the device.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append { records: usize, size: usize },
    Producer { records: usize },
    Flush,
    Background,
    Truncate { back: i64 },
    CleanRestart,
}

#[derive(Clone, Debug)]
enum Damage {
    None,
    /// Cut this share (of 255) of the unflushed bytes of the active segment.
    CutTail(u8),
    /// Bytes that were never written, as a preallocated or torn file has.
    Garbage(u8),
    /// Indexes of unflushed segments as a crash may leave them.
    SpoilIndexes,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1usize..5, 1usize..120).prop_map(|(records, size)| Step::Append { records, size }),
        3 => (1usize..4).prop_map(|records| Step::Producer { records }),
        1 => Just(Step::Flush),
        1 => Just(Step::Background),
        1 => (1i64..6).prop_map(|back| Step::Truncate { back }),
        1 => Just(Step::CleanRestart),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::None),
        any::<u8>().prop_map(Damage::CutTail),
        (1u8..200).prop_map(Damage::Garbage),
        Just(Damage::SpoilIndexes),
    ]
}

/// (offset, value length) of everything readable.
fn contents(log: &PartitionLog) -> Vec<(i64, usize)> {
    let (records, _) = consume(log, log.log_start_offset(), 300, Isolation::LogEnd);
    records.iter().map(|(r, _)| (r.offset, r.value.as_ref().map_or(0, |v| v.len()))).collect()
}

fn spoil(log: &PartitionLog, recovery_point: i64, damage: &Damage) {
    let active = log.active_segment();
    let path = active.log_path();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let flushed = if recovery_point >= log.log_end_offset() {
        active.size()
    } else {
        active.translate(recovery_point).unwrap().map_or(active.size(), |b| b.position)
    };
    match damage {
        Damage::None => {}
        Damage::CutTail(share) => {
            let loose = active.size() - flushed;
            file.set_len(flushed + loose * u64::from(*share) / 255).unwrap();
        }
        Damage::Garbage(len) => file.set_len(active.size() + u64::from(*len)).unwrap(),
        Damage::SpoilIndexes => {
            for segment in log.segments().iter().filter(|s| s.base_offset() >= active.base_offset()) {
                std::fs::write(segment.log_path().with_extension("index"), [7; 80]).unwrap();
                std::fs::write(segment.log_path().with_extension("timeindex"), [0; 600]).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nothing_flushed_is_lost(steps in prop::collection::vec(step(), 1..60), damage in damage()) {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(dir.path(), config(&[("segment.bytes", "900"), ("index.interval.bytes", "150")]));
        let mut log = bench.open();
        let mut written: Vec<(i64, usize)> = Vec::new();
        let mut sequence = 0;
        for step in &steps {
            match step {
                Step::Append { records, size } => {
                    let info = append(&log, client_batch(*records, *size, NOW));
                    written.extend((info.first_offset..=info.last_offset).map(|o| (o, *size)));
                }
                Step::Producer { records } => {
                    let batch = producer_batch(9, 0, sequence, *records, false);
                    sequence += *records as i32;
                    let info = append(&log, batch);
                    written.extend((info.first_offset..=info.last_offset).map(|o| (o, 1)));
                }
                Step::Flush => log.flush().unwrap(),
                Step::Background => bench.jobs.run(),
                Step::Truncate { back } => {
                    let to = (log.log_end_offset() - back).max(0);
                    log.truncate_to(to, NOW).unwrap();
                    written = contents(&log);
                    prop_assert!(written.iter().all(|(o, _)| *o < to));
                    // No leader's epoch ends within a batch, so no follower cuts there and goes on behind a hole.
                    log.truncate_to(written.last().map_or(0, |(o, _)| o + 1), NOW).unwrap();
                    let last = log.active_producers().first().map(|p| p.last_sequence);
                    sequence = last.map_or(0, |s| s + 1);
                }
                Step::CleanRestart => {
                    bench.jobs.run();
                    log.close().unwrap();
                    bench.recovery_point = log.recovery_point();
                    bench.clean = true;
                    log = bench.open();
                    prop_assert_eq!(log.recovery_point(), log.log_end_offset());
                }
            }
            prop_assert_eq!(&contents(&log), &written);
        }
        let end = log.log_end_offset();
        let recovery_point = log.recovery_point();
        spoil(&log, recovery_point, &damage);
        drop(log);
        bench.clean = false;
        bench.recovery_point = recovery_point;
        for _ in 0..2 {
            let log = bench.open();
            let found = contents(&log);
            prop_assert_eq!(&found[..], &written[..found.len()]);
            let safe = written.iter().filter(|w| w.0 < recovery_point).count();
            prop_assert!(found.len() >= safe, "{} of {safe} flushed records", found.len());
            if !matches!(damage, Damage::CutTail(_)) {
                prop_assert_eq!(&found, &written);
                // A truncation may have left the end beyond the last batch; that is not written down anywhere.
                prop_assert!(log.log_end_offset() <= end);
            }
            for (offset, _) in &found {
                let batch = log.segments().iter().rev().find(|s| s.base_offset() <= *offset).unwrap().translate(*offset).unwrap().unwrap();
                prop_assert!(batch.base_offset <= *offset && *offset <= batch.last_offset);
            }
        }
    }
}

/// Writes several segments of a batch or two each, and drops the log as a crash does. Their paths.
fn unflushed_segments(bench: &Bench) -> Vec<PathBuf> {
    let log = bench.open();
    for _ in 0..6 {
        append(&log, client_batch(1, 150, NOW));
    }
    let paths: Vec<PathBuf> = log.segments().iter().map(|segment| segment.log_path()).collect();
    assert!(paths.len() > 2);
    paths
}

/// The log ends with the second segment, and with what can be read.
fn assert_ends_with_second(bench: &Bench) {
    let log = bench.open();
    assert_eq!(log.segments().len(), 2);
    assert_eq!(contents(&log).last().map(|(offset, _)| offset + 1), Some(log.log_end_offset()));
}

/// A file that was rolled and not forced to the disk yet may be empty after a loss of power, with the next one there.
#[test]
fn nothing_follows_a_segment_that_vanished() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path(), config(&[("segment.bytes", "300")]));
    let paths = unflushed_segments(&bench);
    std::fs::write(&paths[1], []).unwrap();
    assert_ends_with_second(&bench);
}

/// The same file may also end between two batches.
#[test]
fn nothing_follows_a_segment_that_lost_its_last_batch() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path(), config(&[("segment.bytes", "500")]));
    let paths = unflushed_segments(&bench);
    let file = std::fs::OpenOptions::new().write(true).open(&paths[1]).unwrap();
    let batches = crate::record::batches(std::fs::read(&paths[1]).unwrap().into());
    let sizes: Vec<usize> = batches.map(|batch| batch.unwrap().bytes().len()).collect();
    assert_eq!(sizes.len(), 2);
    file.set_len(sizes[0] as u64).unwrap();
    assert_ends_with_second(&bench);
}

/// Where the cleaner was, offsets are missing between segments.
#[test]
fn what_follows_a_cleaned_segment_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), config(&[("segment.bytes", "300")]));
    let paths = unflushed_segments(&bench);
    std::fs::write(&paths[1], []).unwrap();
    bench.was_cleaned = true;
    assert_eq!(bench.open().segments().len(), paths.len());
}

/// A loss of power may spoil one unflushed file and take the index of the next one.
#[test]
fn a_missing_index_behind_spoiled_records_keeps_no_log_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path(), config(&[("segment.bytes", "300")]));
    let paths = unflushed_segments(&bench);
    let size = std::fs::metadata(&paths[1]).unwrap().len();
    std::fs::write(&paths[1], vec![0; size as usize]).unwrap();
    std::fs::remove_file(paths[2].with_extension("index")).unwrap();
    assert_ends_with_second(&bench);
}
