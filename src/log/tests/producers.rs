//! Idempotent producers and transactions.

use super::*;
use crate::protocol::ErrorCode;

fn temp_log() -> (tempfile::TempDir, Arc<PartitionLog>) {
    let dir = tempfile::tempdir().unwrap();
    let log = Bench::new(dir.path(), config(&[])).open();
    (dir, log)
}

fn code(log: &PartitionLog, records: Bytes, origin: AppendOrigin) -> ErrorCode {
    log.append_as_leader(records, 0, origin, NOW).map_or_else(|e| e.code(), |_| ErrorCode::None)
}

fn send(log: &PartitionLog, id: i64, epoch: i16, sequence: i32, count: usize) -> ErrorCode {
    code(log, producer_batch(id, epoch, sequence, count, false), AppendOrigin::Client)
}

#[test]
fn duplicates_are_the_last_five() {
    let (_dir, log) = temp_log();
    for n in 0..7 {
        assert_eq!(send(&log, 1, 0, n * 2, 2), ErrorCode::None);
    }
    assert_eq!(log.log_end_offset(), 14);
    for n in 2..7 {
        let info = append(&log, producer_batch(1, 0, n * 2, 2, false));
        assert!(info.duplicate);
        assert_eq!(
            (info.first_offset, info.last_offset, info.log_append_time),
            (i64::from(n) * 2, i64::from(n) * 2 + 1, NOW)
        );
    }
    assert_eq!(log.log_end_offset(), 14);
    assert_eq!(send(&log, 1, 0, 2, 2), ErrorCode::OutOfOrderSequenceNumber);
    // Only exact matches are duplicates.
    assert_eq!(send(&log, 1, 0, 12, 1), ErrorCode::OutOfOrderSequenceNumber);
}

/// A snapshot knows one batch of a producer, and a client that lost its leader repeats up to five.
#[test]
fn duplicates_are_the_last_five_after_a_crash_too() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path(), config(&[("segment.bytes", "400")]));
    let log = bench.open();
    (0..7).for_each(|n| assert_eq!(send(&log, 1, 0, n, 1), ErrorCode::None));
    assert!(log.segments().len() > 1, "they lie in several segments");
    drop(log);
    let log = bench.open();
    (2..7).for_each(|n| assert!(append(&log, producer_batch(1, 0, n, 1, false)).duplicate, "{n}"));
    assert_eq!(send(&log, 1, 0, 7, 1), ErrorCode::None);
    assert_eq!(log.log_end_offset(), 8);
}

#[test]
fn sequences_and_epochs() {
    let (_dir, log) = temp_log();
    assert_eq!(send(&log, 1, 3, 17, 1), ErrorCode::None);
    let gap = log.append_as_leader(producer_batch(1, 3, 19, 1, false), 0, AppendOrigin::Client, NOW).unwrap_err();
    assert_eq!(
        gap.to_string(),
        "Out of order sequence number for producer 1 at offset 1 in partition t-0: 19 (incoming seq. number), 17 (current end sequence number)"
    );
    assert_eq!((gap.log_start_offset(), gap.response_message()), (0, None));
    assert_eq!(send(&log, 1, 2, 18, 1), ErrorCode::InvalidProducerEpoch);
    assert_eq!(send(&log, 1, 4, 18, 1), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(send(&log, 1, 4, 0, 1), ErrorCode::None);
    assert_eq!(send(&log, 2, 0, i32::MAX - 1, 2), ErrorCode::None);
    assert_eq!(send(&log, 2, 0, 0, 1), ErrorCode::None);
    // Coordinators have no sequences to keep.
    assert_eq!(code(&log, producer_batch(1, 4, 9, 1, false), AppendOrigin::Coordinator), ErrorCode::None);
}

#[test]
fn transactions_hold_the_last_stable_offset() {
    let (_dir, log) = temp_log();
    let txn = |id, sequence| code(&log, producer_batch(id, 0, sequence, 1, true), AppendOrigin::Client);
    let end = |id, commit, epoch| code(&log, marker(id, 0, commit, epoch), AppendOrigin::Coordinator);
    let stable = |high_watermark| {
        log.set_high_watermark(high_watermark);
        log.last_stable_offset()
    };
    append(&log, client_batch(1, 1, NOW)); // 0
    assert_eq!((txn(1, 0), txn(2, 0)), (ErrorCode::None, ErrorCode::None)); // 1, 2
    assert_eq!(stable(3), 1);
    assert_eq!(send(&log, 1, 0, 1, 1), ErrorCode::InvalidTxnState);
    assert_eq!(end(1, false, 5), ErrorCode::None); // 3
    // Ended, but the marker is not replicated yet.
    assert_eq!(stable(3), 1);
    assert_eq!(stable(4), 2);
    assert_eq!(end(2, true, 4), ErrorCode::None); // 4
    assert_eq!(stable(5), 5);
    assert_eq!(end(1, true, 4), ErrorCode::TransactionCoordinatorFenced);
    // A marker of a transaction that wrote nothing here leaves no trace in the index.
    assert_eq!(end(1, false, 6), ErrorCode::None); // 5
    log.set_high_watermark(6);
    assert_eq!(offsets_of(&log, Isolation::Committed), [0, 2]);
    assert_eq!(offsets_of(&log, Isolation::HighWatermark), [0, 1, 2]);
    let aborted = log.read(0, 10_000, Isolation::Committed, true).unwrap().aborted.unwrap();
    assert_eq!(aborted, [AbortedTransaction { producer_id: 1, first_offset: 1 }]);
    let entries = log.active_segment().txn_index().all().unwrap();
    assert_eq!(entries.iter().map(|e| (e.last_offset, e.last_stable_offset)).collect::<Vec<_>>(), [(3, 2)]);
    let mut active = log.active_producers();
    active.sort_by_key(|p| p.producer_id);
    assert_eq!((active[0].coordinator_epoch, active[0].current_txn_start_offset, active[0].last_sequence), (6, -1, 0));
}

#[test]
fn state_survives_a_clean_stop_a_crash_and_a_truncation() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), config(&[("segment.bytes", "400")]));
    let log = bench.open();
    for n in 0..20 {
        assert_eq!(send(&log, 7, 1, n, 1), ErrorCode::None);
    }
    code(&log, producer_batch(8, 0, 0, 1, true), AppendOrigin::Client);
    let known = |log: &PartitionLog| {
        let mut known = log.active_producers();
        known.sort_by_key(|p| p.producer_id);
        known
    };
    let before = known(&log);
    drop(log);
    for clean in [false, true, false] {
        bench.clean = clean;
        let log = bench.open();
        assert_eq!(known(&log), before);
        log.set_high_watermark(21);
        assert_eq!(log.last_stable_offset(), 20);
        assert_eq!(send(&log, 7, 1, 21, 1), ErrorCode::OutOfOrderSequenceNumber);
        assert!(append(&log, producer_batch(7, 1, 19, 1, false)).duplicate);
        log.close().unwrap();
    }
    bench.clean = true;
    let log = bench.open();
    log.truncate_to(11, NOW).unwrap();
    assert_eq!(known(&log).iter().map(|p| (p.producer_id, p.last_sequence)).collect::<Vec<_>>(), [(7, 10)]);
    assert_eq!(send(&log, 7, 1, 11, 1), ErrorCode::None);
}

#[test]
fn idle_producers_expire_but_not_with_a_transaction_open() {
    let (_dir, log) = temp_log();
    send(&log, 1, 0, 0, 1);
    code(&log, producer_batch(2, 0, 0, 1, true), AppendOrigin::Client);
    log.remove_expired_producers(NOW + 86_400_000 - 1);
    assert_eq!(log.active_producers().len(), 2);
    log.remove_expired_producers(NOW + 86_400_000);
    assert_eq!(log.active_producers().iter().map(|p| p.producer_id).collect::<Vec<_>>(), [2]);
    assert!(!log.has_late_transaction(NOW + 1_200_000));
    assert!(log.has_late_transaction(NOW + 1_200_001));
    // An unknown producer may begin anywhere.
    assert_eq!(send(&log, 1, 0, 44, 1), ErrorCode::None);
}

#[test]
fn transactions_must_be_verified_where_that_is_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), config(&[]));
    bench.producers.verification_enabled = true;
    let log = bench.open();
    let first = producer_batch(1, 0, 3, 1, true);
    assert_eq!(code(&log, first.clone(), AppendOrigin::Client), ErrorCode::InvalidTxnState);
    let guard = log.maybe_start_transaction_verification(1, 3, 0, NOW);
    let again = log.maybe_start_transaction_verification(1, 2, 0, NOW);
    assert!(guard.is_some() && guard == again);
    let with = |records: Bytes, guard| log.append_as_leader_verified(records, 0, AppendOrigin::Client, guard, NOW);
    // Sequence 2 was asked for first, so 3 may not be written before it.
    assert_eq!(with(first, guard).unwrap_err().code(), ErrorCode::OutOfOrderSequenceNumber);
    with(producer_batch(1, 0, 2, 1, true), guard).unwrap();
    assert_eq!(log.maybe_start_transaction_verification(1, 3, 0, NOW), None);
    with(producer_batch(1, 0, 3, 1, true), None).unwrap();
    code(&log, marker(1, 0, false, 0), AppendOrigin::Coordinator);
    // The old guard is worth nothing any more.
    assert_eq!(with(producer_batch(1, 0, 4, 1, true), guard).unwrap_err().code(), ErrorCode::InvalidTxnState);
}
