//! Retention by log start, size and time, and the delayed deletion of files.

use super::*;

/// Ten segments of one batch each (about 200 bytes), a second apart.
fn ten_segments(dir: &Path, overrides: &[(&str, &str)]) -> Arc<PartitionLog> {
    let mut all = vec![("segment.bytes", "250"), ("index.interval.bytes", "1")];
    all.extend_from_slice(overrides);
    let log = Bench::new(dir, config(&all)).open();
    for n in 0..10 {
        let info = append(&log, client_batch(1, 120, NOW + n * 1000));
        assert_eq!(info.first_offset, n);
    }
    assert_eq!(log.segment_count(), 10);
    log.set_high_watermark(log.log_end_offset());
    log
}

fn count_files(log: &PartitionLog, suffix: &str) -> usize {
    std::fs::read_dir(log.dir())
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().ends_with(suffix))
        .count()
}

#[test]
fn by_time_whole_segments_go_and_files_later() {
    let dir = tempfile::tempdir().unwrap();
    let log = ten_segments(dir.path(), &[("retention.ms", "5000"), ("file.delete.delay.ms", "100")]);
    let now = NOW + 9000;
    // Segments stamped 0..3 s are older than 5 s at 9 s.
    assert_eq!(log.delete_old_segments(now).unwrap(), 4);
    assert_eq!(log.log_start_offset(), 4);
    assert_eq!(offsets_of(&log, Isolation::HighWatermark), [4, 5, 6, 7, 8, 9]);
    assert!(matches!(log.read(3, 100, Isolation::LogEnd, true), Err(ReadError::OffsetOutOfRange(_))));
    assert_eq!((count_files(&log, ".log"), count_files(&log, ".log.deleted")), (6, 4));
    assert_eq!(log.next_deletion_ms(), Some(now + 100));
    log.delete_expired(now + 99).unwrap();
    assert_eq!(count_files(&log, ".deleted"), 4 * 3 + 3);
    log.delete_expired(now + 100).unwrap();
    assert_eq!(count_files(&log, ".deleted"), 0);
    assert_eq!(log.next_deletion_ms(), None);
    assert_eq!(log.delete_old_segments(now).unwrap(), 0);
}

#[test]
fn by_time_may_take_the_active_segment_too() {
    let dir = tempfile::tempdir().unwrap();
    let log = ten_segments(dir.path(), &[("retention.ms", "1")]);
    assert_eq!(log.delete_old_segments(NOW + 100_000).unwrap(), 10);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.segment_count()), (10, 10, 1));
    // An empty active segment stays.
    assert_eq!(log.delete_old_segments(NOW + 200_000).unwrap(), 0);
    assert_eq!(append(&log, client_batch(1, 10, NOW)).first_offset, 10);
}

#[test]
fn a_record_of_the_future_pins_what_follows() {
    let dir = tempfile::tempdir().unwrap();
    let log = Bench::new(dir.path(), config(&[("segment.bytes", "250"), ("retention.ms", "1000")])).open();
    for timestamp in [0, 1_000_000, 0, 0] {
        append(&log, client_batch(1, 120, NOW + timestamp));
    }
    log.set_high_watermark(4);
    assert_eq!(log.delete_old_segments(NOW + 10_000).unwrap(), 1);
    assert_eq!(log.log_start_offset(), 1);
}

#[test]
fn by_size_until_the_rest_fits() {
    let dir = tempfile::tempdir().unwrap();
    let log = ten_segments(dir.path(), &[("retention.ms", "-1")]);
    let one = log.size() / 10;
    let with = |bytes: u64| {
        log.set_config(config(&[("retention.ms", "-1"), ("retention.bytes", &bytes.to_string())]));
        log.delete_old_segments(NOW).unwrap()
    };
    assert_eq!(with(one * 10), 0);
    assert_eq!(with(one * 9 + 1), 0);
    assert_eq!(with(one * 9), 1);
    assert_eq!(with(one * 5 + one / 2), 3);
    assert_eq!((log.log_start_offset(), log.size()), (4, one * 6));
    assert_eq!(with(0), 6);
    assert_eq!(log.segment_count(), 1);
}

#[test]
fn by_size_and_time_together() {
    let dir = tempfile::tempdir().unwrap();
    let log = ten_segments(dir.path(), &[("retention.ms", "5000")]);
    let bytes = (log.size() / 10 * 8).to_string();
    log.set_config(config(&[("retention.ms", "5000"), ("retention.bytes", &bytes)]));
    // Two by size, then two more by time.
    assert_eq!(log.delete_old_segments(NOW + 9000).unwrap(), 4);
    assert_eq!(log.log_start_offset(), 4);
}

#[test]
fn nothing_above_the_high_watermark_goes() {
    let dir = tempfile::tempdir().unwrap();
    let log = ten_segments(dir.path(), &[("retention.ms", "1")]);
    log.set_high_watermark(3);
    assert_eq!(log.delete_old_segments(NOW + 100_000).unwrap(), 3);
    assert_eq!(log.log_start_offset(), 3);
}

#[test]
fn below_the_log_start_even_when_only_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let log = ten_segments(dir.path(), &[("cleanup.policy", "compact"), ("retention.ms", "1")]);
    assert_eq!(log.delete_old_segments(NOW + 100_000).unwrap(), 0);
    assert!(log.increment_log_start_offset(5, "test").unwrap());
    assert!(!log.increment_log_start_offset(5, "test").unwrap());
    assert_eq!(log.delete_old_segments(NOW).unwrap(), 5);
    assert!(matches!(log.increment_log_start_offset(11, "test"), Err(LogError::OffsetOutOfRange(_))));
    assert_eq!(offsets_of(&log, Isolation::LogEnd), [5, 6, 7, 8, 9]);
}
