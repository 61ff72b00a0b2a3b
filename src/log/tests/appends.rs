//! Appending, rolling, reading, truncating, offsets by time.

use super::*;
use crate::log::offsets_by_time::{EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, MAX_TIMESTAMP};
use crate::protocol::ErrorCode;

fn temp_log(overrides: &[(&str, &str)]) -> (tempfile::TempDir, Arc<PartitionLog>) {
    let dir = tempfile::tempdir().unwrap();
    let log = Bench::new(dir.path(), config(overrides)).open();
    (dir, log)
}

#[test]
fn offsets_epochs_and_visibility() {
    let (_dir, log) = temp_log(&[]);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.high_watermark()), (0, 0, 0));
    let info = log.append_as_leader(client_batch(3, 10, NOW), 5, AppendOrigin::Client, NOW).unwrap();
    assert_eq!((info.first_offset, info.last_offset, info.max_timestamp), (0, 2, NOW + 2));
    assert_eq!((info.log_append_time, info.log_start_offset, info.duplicate), (-1, 0, false));
    let info = log.append_as_leader(client_batch(2, 10, NOW), 6, AppendOrigin::Client, NOW).unwrap();
    assert_eq!((info.first_offset, info.last_offset), (3, 4));
    assert_eq!(log.epoch_entries(), [(5, 0), (6, 3)]);
    assert_eq!(log.end_offset_for_epoch(5), (5, 3));
    assert_eq!(log.end_offset_for_epoch(6), (6, 5));
    // Nothing is visible to consumers before the high watermark moves.
    assert!(log.read(0, 1000, Isolation::HighWatermark, true).unwrap().is_empty());
    assert_eq!(offsets_of(&log, Isolation::LogEnd), [0, 1, 2, 3, 4]);
    assert_eq!(log.maybe_increment_high_watermark(3), Some(0));
    assert_eq!(log.maybe_increment_high_watermark(2), None);
    assert_eq!(offsets_of(&log, Isolation::HighWatermark), [0, 1, 2]);
    assert_eq!(log.set_high_watermark(99), 5);
    assert_eq!(offsets_of(&log, Isolation::Committed), [0, 1, 2, 3, 4]);
    assert!(log.read(5, 1000, Isolation::LogEnd, true).unwrap().is_empty());
    assert_eq!(log.read(6, 1000, Isolation::LogEnd, true).unwrap_err().code(), ErrorCode::OffsetOutOfRange);
}

#[test]
fn a_read_begins_at_the_batch_and_keeps_to_the_limits() {
    let (_dir, log) = temp_log(&[]);
    for _ in 0..3 {
        append(&log, client_batch(10, 10, NOW));
    }
    let whole = log.read(0, i32::MAX, Isolation::LogEnd, false).unwrap().slice.len;
    let batch = whole / 3;
    let read = |offset, max| {
        let read = log.read(offset, max, Isolation::LogEnd, true).unwrap();
        (read.slice.position, read.slice.len, read.first_batch_incomplete)
    };
    assert_eq!(read(14, 1), (u64::from(batch), batch, false));
    assert_eq!(read(14, batch as i32 + 5), (u64::from(batch), batch + 5, false));
    let hard = log.read(14, 1, Isolation::LogEnd, false).unwrap();
    assert_eq!((hard.slice.len, hard.first_batch_incomplete), (1, true));
    assert!(log.read(14, 0, Isolation::LogEnd, false).unwrap().is_empty());
}

#[test]
fn rolling_by_size_time_and_index() {
    let (_dir, log) = temp_log(&[("segment.bytes", "1000"), ("segment.ms", "10000")]);
    append(&log, client_batch(1, 400, NOW));
    append(&log, client_batch(1, 300, NOW + 10_000));
    assert_eq!(log.segment_count(), 1);
    append(&log, client_batch(1, 400, NOW));
    assert_eq!(log.segment_count(), 2);
    // By the clock of the records, against the first of the segment.
    append(&log, client_batch(1, 10, NOW + 10_001));
    assert_eq!(log.segment_count(), 3);
    let too_large = log.append_as_leader(client_batch(1, 1000, NOW), 0, AppendOrigin::Client, NOW).unwrap_err();
    assert_eq!(too_large.code(), ErrorCode::RecordListTooLarge);

    let (_dir, log) = temp_log(&[("segment.index.bytes", "48"), ("index.interval.bytes", "0")]);
    for _ in 0..9 {
        append(&log, client_batch(1, 10, NOW));
    }
    // Every append but a segment's first makes an entry; 6 fill the offset index. Time entries need newer timestamps.
    assert_eq!(log.segments().iter().map(|s| s.base_offset()).collect::<Vec<_>>(), [0, 7]);
    let (_dir, log) = temp_log(&[("segment.index.bytes", "48"), ("index.interval.bytes", "0")]);
    for n in 0..9 {
        append(&log, client_batch(1, 10, NOW + n));
    }
    // The time index has room for 4, and keeps the last slot free.
    assert_eq!(log.segments().iter().map(|s| s.base_offset()).collect::<Vec<_>>(), [0, 4, 8]);
}

#[test]
fn rolled_segments_have_exact_indexes_and_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(
        dir.path(),
        config(&[("segment.bytes", "4000"), ("index.interval.bytes", "500"), ("preallocate", "true")]),
    );
    let log = bench.open();
    for n in 0..100 {
        append(&log, client_batch(1, 100, NOW + n));
    }
    let segments = log.segments();
    assert!(segments.len() > 2);
    for segment in &segments[..segments.len() - 1] {
        let base = segment.log_path().with_extension("");
        let len = |ext: &str| std::fs::metadata(base.with_extension(ext)).unwrap().len();
        assert_eq!(len("log"), segment.size());
        assert!(len("index") > 0 && len("index") % 8 == 0);
        assert_eq!(
            len("timeindex"),
            len("index") / 8 * 12 + if len("timeindex") / 12 > len("index") / 8 { 12 } else { 0 }
        );
        assert!(segment.base_offset() == 0 || base.with_extension("snapshot").exists());
    }
    assert_eq!(std::fs::metadata(log.active_segment().log_path()).unwrap().len(), 4000);
    assert_eq!(log.recovery_point(), 0);
    bench.jobs.run();
    assert_eq!(log.recovery_point(), log.active_segment().base_offset());
    for offset in 0..100 {
        let read = log.read(offset, 1, Isolation::LogEnd, true).unwrap();
        let batch = batches(read.slice.read().unwrap()).next().unwrap().unwrap();
        assert_eq!(batch.base_offset(), Some(offset));
    }
    log.close().unwrap();
    assert_eq!(std::fs::metadata(log.active_segment().log_path()).unwrap().len(), log.active_segment().size());
    assert!(matches!(
        log.append_as_leader(client_batch(1, 1, NOW), 0, AppendOrigin::Client, NOW),
        Err(AppendError::Log(LogError::Closed(_)))
    ));
}

#[test]
fn followers_take_what_the_leader_has() {
    let (_dir, leader) = temp_log(&[("segment.bytes", "1000")]);
    for n in 0..20 {
        leader.append_as_leader(client_batch(2, 50, NOW), n / 5, AppendOrigin::Client, NOW).unwrap();
    }
    let (_dir, follower) = temp_log(&[("segment.bytes", "1000")]);
    while follower.log_end_offset() < leader.log_end_offset() {
        let read = leader.read(follower.log_end_offset(), 700, Isolation::LogEnd, true).unwrap();
        let info = follower.append_as_follower(read.slice.read().unwrap(), NOW).unwrap();
        assert_eq!(info.last_offset + 1, follower.log_end_offset());
    }
    assert_eq!(follower.epoch_entries(), leader.epoch_entries());
    assert_eq!(offsets_of(&follower, Isolation::LogEnd), offsets_of(&leader, Isolation::LogEnd));
    let again = leader.read(0, 10, Isolation::LogEnd, true).unwrap().slice.read().unwrap();
    assert!(matches!(
        follower.append_as_follower(again, NOW),
        Err(AppendError::UnexpectedOffset { first_offset: 0, last_offset: 1, .. })
    ));
    let torn = leader.read(0, 50, Isolation::LogEnd, false).unwrap().slice.read().unwrap();
    assert_eq!(follower.append_as_follower(torn, NOW).unwrap().first_offset, -1);
}

#[test]
fn an_empty_follower_may_begin_in_the_middle_of_a_batch() {
    let (_dir, leader) = temp_log(&[]);
    append(&leader, client_batch(10, 5, NOW));
    let (_dir, follower) = temp_log(&[]);
    follower.truncate_fully_and_start_at(4, NOW).unwrap();
    let bytes = leader.read(4, 1000, Isolation::LogEnd, true).unwrap().slice.read().unwrap();
    assert_eq!(follower.append_as_follower(bytes, NOW).unwrap().first_offset, 0);
    assert_eq!((follower.log_start_offset(), follower.log_end_offset()), (0, 10));
}

#[test]
fn truncation_removes_whole_batches() {
    let (_dir, log) = temp_log(&[("segment.bytes", "600")]);
    for n in 0..10 {
        log.append_as_leader(client_batch(5, 20, NOW + n * 10), n as i32, AppendOrigin::Client, NOW).unwrap();
    }
    log.set_high_watermark(50);
    assert!(!log.truncate_to(50, NOW).unwrap());
    assert!(log.truncate_to(33, NOW).unwrap());
    assert_eq!((log.log_end_offset(), log.high_watermark()), (33, 33));
    assert_eq!(offsets_of(&log, Isolation::LogEnd).last(), Some(&29));
    assert_eq!(log.latest_epoch(), Some(6));
    log.assign_epoch_start(11).unwrap();
    assert_eq!(log.append_as_leader(client_batch(5, 20, NOW), 11, AppendOrigin::Client, NOW).unwrap().first_offset, 33);
    log.truncate_to(0, NOW).unwrap();
    assert_eq!((log.log_end_offset(), log.size()), (0, 0));
    log.truncate_fully_and_start_at(100, NOW).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.high_watermark()), (100, 100, 100));
    assert_eq!(append(&log, client_batch(1, 1, NOW)).first_offset, 100);
    assert!(log.truncate_to(-1, NOW).is_err());
}

#[test]
fn offsets_by_time() {
    let (_dir, log) = temp_log(&[("segment.bytes", "1000"), ("index.interval.bytes", "1")]);
    for n in 0..40 {
        append(&log, client_batch(2, 50, NOW + n * 100));
    }
    log.increment_log_start_offset(0, "test").unwrap();
    let find = |t| log.offset_for_timestamp(t).unwrap().map(|f| (f.timestamp, f.offset));
    assert_eq!(find(EARLIEST_TIMESTAMP), Some((-1, 0)));
    assert_eq!(find(LATEST_TIMESTAMP), Some((-1, 80)));
    assert_eq!(find(MAX_TIMESTAMP), Some((NOW + 3901, 79)));
    assert_eq!(find(NOW - 5), Some((NOW, 0)));
    assert_eq!(find(NOW + 1), Some((NOW + 1, 1)));
    assert_eq!(find(NOW + 2), Some((NOW + 100, 2)));
    for n in 0..40 {
        assert_eq!(find(NOW + n * 100), Some((NOW + n * 100, n * 2)));
    }
    assert_eq!(find(NOW + 3902), None);
    log.set_high_watermark(80);
    log.increment_log_start_offset(7, "test").unwrap();
    assert_eq!(find(NOW), Some((NOW + 301, 7)));
    let bases: Vec<i64> = log.segments().iter().map(|s| s.base_offset().max(7)).collect();
    let mut all: Vec<i64> = bases.iter().copied().rev().collect();
    all.insert(0, 80);
    assert_eq!(log.legacy_offsets_before(LATEST_TIMESTAMP, 100, NOW).unwrap(), all);
    assert_eq!(log.legacy_offsets_before(LATEST_TIMESTAMP, 2, NOW).unwrap(), all[..2]);
    assert_eq!(log.legacy_offsets_before(EARLIEST_TIMESTAMP, 2, NOW).unwrap(), [7]);
    assert!(log.legacy_offsets_before(MAX_TIMESTAMP, 2, NOW).unwrap().is_empty());
}

#[test]
fn log_append_time_and_refused_records() {
    let (_dir, log) = temp_log(&[("message.timestamp.type", "LogAppendTime"), ("max.message.bytes", "300")]);
    let info = append(&log, client_batch(1, 10, 5));
    assert_eq!((info.log_append_time, info.max_timestamp), (NOW, NOW));
    let large = log.append_as_leader(client_batch(1, 300, NOW), 0, AppendOrigin::Client, NOW).unwrap_err();
    assert_eq!(
        (large.code(), large.log_start_offset(), large.response_message()),
        (ErrorCode::MessageTooLarge, -1, None)
    );
    let mut bad = client_batch(1, 10, NOW).to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let corrupt = log.append_as_leader(bad.into(), 0, AppendOrigin::Client, NOW).unwrap_err();
    assert_eq!(corrupt.code(), ErrorCode::CorruptMessage);
    assert_eq!(append(&log, Bytes::from_static(&[0; 5])).first_offset, -1);
    assert_eq!(log.log_end_offset(), 1);
}

#[test]
fn readers_and_a_writer_at_once() {
    let (_dir, log) = temp_log(&[("segment.bytes", "20000"), ("index.interval.bytes", "300")]);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut next = 0;
                    while next < 4000 {
                        let read = log.read(next, 5000, Isolation::HighWatermark, true).unwrap();
                        for batch in batches(read.slice.read().unwrap()) {
                            let batch = batch.unwrap();
                            batch.verify_crc().unwrap();
                            assert!(batch.base_offset() <= Some(next));
                            assert!(batch.next_offset() <= read.high_watermark);
                            next = next.max(batch.next_offset());
                        }
                    }
                })
            })
            .collect();
        for n in 0..1000 {
            let info = append(&log, client_batch(4, 30, NOW + n));
            log.maybe_increment_high_watermark(info.last_offset + 1);
        }
        for reader in readers {
            reader.join().unwrap();
        }
    });
}
