//! The core against a leader made of a list: offsets, epochs, sessions, every answer it can get.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use uuid::Uuid;

use super::core::{FetcherCore, Incoming, Outgoing, Step};
use super::{Fetched, FetcherSettings, FetcherVersions, FollowError, FollowOrder, FollowerLog};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::fetch_response::{EpochEndOffset, FetchableTopicResponse, PartitionData};
use crate::protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use crate::protocol::messages::{FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, TopicName};
use crate::quota::{ReplicationQuota, Throttled};
use crate::topic::TopicPartition;

const ID: Uuid = Uuid::from_u128(77);
const BROKER_EPOCH: i64 = 500;

/// A log of records that are nothing but their epochs.
#[derive(Default)]
struct Entries {
    start: i64,
    epochs: Vec<i32>,
    high_watermark: i64,
    /// What the next append says instead.
    refusal: Option<FollowError>,
}

impl Entries {
    fn end(&self) -> i64 {
        self.start + i64::try_from(self.epochs.len()).unwrap()
    }

    fn end_of(&self, epoch: i32) -> (i32, i64) {
        match self.epochs.last() {
            None => (-1, -1),
            Some(last) if epoch > *last || epoch < 0 => (-1, -1),
            Some(_) => {
                let below = self.epochs.partition_point(|e| *e <= epoch);
                let found = below.checked_sub(1).map_or(epoch, |at| self.epochs[at]);
                (found, self.start + i64::try_from(below).unwrap())
            }
        }
    }

    fn from(&self, offset: i64) -> Bytes {
        let mut bytes = BytesMut::new();
        for epoch in &self.epochs[usize::try_from(offset - self.start).unwrap()..] {
            bytes.put_i32(*epoch);
        }
        bytes.freeze()
    }
}

#[derive(Default)]
struct FakeLog(Mutex<Entries>);

impl FakeLog {
    fn of(epochs: &[i32]) -> Arc<FakeLog> {
        Arc::new(FakeLog(Mutex::new(Entries { epochs: epochs.to_vec(), ..Entries::default() })))
    }

    fn epochs(&self) -> Vec<i32> {
        self.0.lock().epochs.clone()
    }
}

impl FollowerLog for FakeLog {
    fn log_start_offset(&self) -> i64 {
        self.0.lock().start
    }

    fn log_end_offset(&self) -> i64 {
        self.0.lock().end()
    }

    fn latest_epoch(&self) -> Option<i32> {
        self.0.lock().epochs.last().copied()
    }

    fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64) {
        self.0.lock().end_of(epoch)
    }

    fn append(&self, mut fetched: Fetched, _: i64) -> Result<(), FollowError> {
        let mut log = self.0.lock();
        if let Some(refusal) = log.refusal.take() {
            return Err(refusal);
        }
        assert_eq!(fetched.fetch_offset, log.end());
        while fetched.records.has_remaining() {
            log.epochs.push(fetched.records.get_i32());
        }
        log.high_watermark = fetched.high_watermark.min(log.end());
        Ok(())
    }

    fn truncate_to(&self, _: i32, offset: i64, _: i64) -> Result<(), FollowError> {
        let mut log = self.0.lock();
        let keep = usize::try_from(offset - log.start).unwrap_or(0);
        log.epochs.truncate(keep);
        Ok(())
    }

    fn restart_at(&self, _: i32, offset: i64, _: i64) -> Result<(), FollowError> {
        *self.0.lock() = Entries { start: offset, high_watermark: offset, ..Entries::default() };
        Ok(())
    }
}

fn settings() -> FetcherSettings {
    FetcherSettings {
        broker_id: 1,
        fetchers: 1,
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 10 << 20,
        partition_max_bytes: 1 << 20,
        backoff_ms: 1_000,
        socket_timeout_ms: 30_000,
        listener: "PLAINTEXT".to_owned(),
        versions: FetcherVersions::new(|_| true),
    }
}

fn core() -> FetcherCore {
    FetcherCore::new(Arc::new(settings()), 2, 0)
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn order(partition: i32, leader_epoch: i32, log: &Arc<FakeLog>) -> FollowOrder {
    let initial_offset = if log.latest_epoch().is_some() { log.log_end_offset() } else { log.0.lock().high_watermark };
    FollowOrder { tp: tp(partition), topic_id: ID, leader: 2, leader_epoch, initial_offset, log: log.clone() }
}

fn fetch(step: Step) -> (i16, FetchRequest) {
    match step {
        Step::Send(Outgoing::Fetch(version, request)) => (version, request),
        other => panic!("a fetch was expected: {other:?}"),
    }
}

fn list_offsets(step: Step) -> ListOffsetsRequest {
    match step {
        Step::Send(Outgoing::ListOffsets(8, request)) => request,
        other => panic!("a ListOffsets was expected: {other:?}"),
    }
}

fn answer(session_id: i32, partitions: Vec<PartitionData>) -> Incoming {
    let topic = FetchableTopicResponse::default().with_topic_id(ID).with_partitions(partitions);
    let topics = if topic.partitions.is_empty() { vec![] } else { vec![topic] };
    Incoming::Fetch(FetchResponse::default().with_session_id(session_id).with_responses(topics))
}

fn data(partition: i32, epochs: &[i32], high_watermark: i64) -> PartitionData {
    let mut bytes = BytesMut::new();
    epochs.iter().for_each(|epoch| bytes.put_i32(*epoch));
    PartitionData::default()
        .with_partition_index(partition)
        .with_high_watermark(high_watermark)
        .with_records(Some(bytes.freeze()))
}

fn error(partition: i32, code: ErrorCode) -> PartitionData {
    PartitionData::default().with_partition_index(partition).with_error_code(code.code()).with_high_watermark(-1)
}

fn offset_answer(partition: i32, offset: i64) -> Incoming {
    let partition = ListOffsetsPartitionResponse::default().with_partition_index(partition).with_offset(offset);
    let name = TopicName(StrBytes::from_static_str("t"));
    let topic = ListOffsetsTopicResponse::default().with_name(name).with_partitions(vec![partition]);
    Incoming::ListOffsets(ListOffsetsResponse::default().with_topics(vec![topic]))
}

/// A core that has asked for partition 0 with this log.
fn asked(log: &Arc<FakeLog>, leader_epoch: i32) -> FetcherCore {
    let mut core = core();
    core.add(order(0, leader_epoch, log));
    fetch(core.next_step(BROKER_EPOCH, 0));
    core
}

#[test]
fn a_log_with_epochs_is_fetched_from_its_end_in_kafkas_form() {
    let mut core = core();
    core.add(order(0, 5, &FakeLog::of(&[3, 3, 4])));
    let (version, request) = fetch(core.next_step(BROKER_EPOCH, 0));
    assert_eq!(version, 16);
    assert_eq!((*request.replica_state.replica_id, request.replica_state.replica_epoch), (1, BROKER_EPOCH));
    assert_eq!((request.max_wait_ms, request.min_bytes, request.max_bytes), (500, 1, 10 << 20));
    assert_eq!((request.session_id, request.session_epoch, request.isolation_level), (0, 0, 0));
    let partition = &request.topics[0].partitions[0];
    assert_eq!(request.topics[0].topic_id, ID);
    assert_eq!((partition.fetch_offset, partition.current_leader_epoch, partition.last_fetched_epoch), (3, 5, 4));
    assert_eq!((partition.log_start_offset, partition.partition_max_bytes), (0, 1 << 20));
}

/// The first request of Kafka's own follower, as recorded.
const RECORDED: &str = "000000780001001000000000001262726f6b65722d322d666574636865722d3000000001f40000000100a0000000000000000000000002f5242d16ce004330a8733a5bacbf9e750200000001000000000000000000000000ffffffff0000000000000000001000000000010101010d0000000200000000000000a200";

#[test]
fn the_first_request_is_kafkas_byte_for_byte() {
    let settings = FetcherSettings { broker_id: 2, ..settings() };
    let mut core = FetcherCore::new(Arc::new(settings), 0, 0);
    let topic_id = crate::topic::id_from_text("9SQtFs4AQzCoczpbrL-edQ").unwrap();
    core.add(FollowOrder { topic_id, ..order(1, 0, &FakeLog::of(&[])) });
    core.truncate(0);
    let (version, request) = fetch(core.next_step(162, 0));
    let frame = crate::protocol::codec::encode_request(0, Some("broker-2-fetcher-0"), version, &request).unwrap();
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, RECORDED);
}

#[test]
fn a_log_without_epochs_is_cut_to_its_high_watermark_first() {
    let mut core = core();
    core.add(order(0, 5, &FakeLog::of(&[])));
    assert!(matches!(core.next_step(BROKER_EPOCH, 0), Step::Truncate));
    core.truncate(0);
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 0));
    let partition = &request.topics[0].partitions[0];
    assert_eq!((partition.fetch_offset, partition.last_fetched_epoch), (0, -1));
}

#[test]
fn what_comes_is_appended_and_the_next_request_carries_only_that() {
    let (log, quiet) = (FakeLog::of(&[1]), FakeLog::of(&[1]));
    let mut core = core();
    core.add(order(0, 1, &log));
    core.add(order(1, 1, &quiet));
    fetch(core.next_step(BROKER_EPOCH, 0));
    core.on_response(answer(9, vec![data(0, &[1, 2], 2), data(1, &[], 1)]), 0);
    assert_eq!(log.epochs(), [1, 1, 2]);
    assert_eq!(core.position(&tp(0)), Some((3, 1, Some(2))));
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 1));
    assert_eq!((request.session_id, request.session_epoch), (9, 1));
    assert_eq!(request.topics[0].partitions.len(), 1);
    assert_eq!(request.topics[0].partitions[0].fetch_offset, 3);
    core.on_response(answer(9, vec![]), 500);
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 501));
    assert_eq!((request.session_epoch, request.topics.len()), (2, 0));
}

#[test]
fn a_diverging_epoch_cuts_the_log_until_it_agrees() {
    let log = FakeLog::of(&[1, 1, 2, 2, 3]);
    let mut core = asked(&log, 6);
    // The leader's epoch 3 never was; its 1 ends at 3.
    let diverging = data(0, &[], -1).with_diverging_epoch(EpochEndOffset::default().with_epoch(1).with_end_offset(3));
    core.on_response(answer(9, vec![diverging]), 0);
    assert_eq!(log.epochs(), [1, 1]);
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 0));
    let partition = &request.topics[0].partitions[0];
    assert_eq!((partition.fetch_offset, partition.last_fetched_epoch), (2, 1));
}

#[test]
fn an_epoch_unknown_here_is_approached_step_by_step() {
    let log = FakeLog::of(&[1, 3, 3]);
    let mut core = asked(&log, 6);
    let diverging = data(0, &[], -1).with_diverging_epoch(EpochEndOffset::default().with_epoch(2).with_end_offset(9));
    core.on_response(answer(9, vec![diverging]), 0);
    assert_eq!((log.epochs(), core.position(&tp(0))), (vec![1], Some((1, 6, Some(1)))));
}

#[test]
fn beyond_the_leaders_end_the_log_is_cut_to_it() {
    let log = FakeLog::of(&[1, 1, 1]);
    let mut core = asked(&log, 6);
    core.on_response(answer(9, vec![error(0, ErrorCode::OffsetOutOfRange)]), 0);
    let request = list_offsets(core.next_step(BROKER_EPOCH, 0));
    let partition = &request.topics[0].partitions[0];
    assert_eq!((*request.replica_id, partition.timestamp, partition.current_leader_epoch), (1, -1, 6));
    core.on_response(offset_answer(0, 2), 0);
    assert_eq!(log.epochs(), [1, 1]);
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 0));
    assert_eq!(request.topics[0].partitions[0].fetch_offset, 2);
}

#[test]
fn below_the_leaders_start_the_log_begins_anew() {
    let log = FakeLog::of(&[1, 1, 1]);
    let mut core = asked(&log, 6);
    core.on_response(answer(9, vec![error(0, ErrorCode::OffsetOutOfRange)]), 0);
    list_offsets(core.next_step(BROKER_EPOCH, 0));
    core.on_response(offset_answer(0, 50), 0);
    assert_eq!(list_offsets(core.next_step(BROKER_EPOCH, 0)).topics[0].partitions[0].timestamp, -2);
    core.on_response(offset_answer(0, 20), 0);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (20, 20));
    assert_eq!(core.position(&tp(0)), Some((20, 6, None)));
}

#[test]
fn a_fenced_partition_waits_for_the_next_order() {
    let log = FakeLog::of(&[1]);
    let mut core = asked(&log, 6);
    core.on_response(answer(9, vec![error(0, ErrorCode::FencedLeaderEpoch)]), 0);
    assert_eq!(core.failed().count(), 1);
    // The session is told to forget it.
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 0));
    assert_eq!(request.forgotten_topics_data[0].partitions, [0]);
    core.on_response(answer(0, vec![]), 0);
    assert!(matches!(core.next_step(BROKER_EPOCH, 0), Step::Wait(None)));
    core.add(order(0, 7, &log));
    assert_eq!(core.failed().count(), 0);
    assert_eq!(fetch(core.next_step(BROKER_EPOCH, 0)).1.topics[0].partitions[0].current_leader_epoch, 7);
}

#[test]
fn errors_that_may_pass_are_asked_about_again_after_a_second() {
    let log = FakeLog::of(&[1]);
    let mut core = asked(&log, 6);
    core.on_response(answer(9, vec![error(0, ErrorCode::UnknownLeaderEpoch)]), 100);
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 100));
    assert_eq!(request.forgotten_topics_data.len(), 1);
    core.on_response(answer(0, vec![]), 100);
    assert!(matches!(core.next_step(BROKER_EPOCH, 1_099), Step::Wait(Some(1_100))));
    assert_eq!(fetch(core.next_step(BROKER_EPOCH, 1_100)).1.topics.len(), 1);
}

#[test]
fn damaged_records_are_fetched_again_and_a_failing_disk_is_not_asked_again() {
    let log = FakeLog::of(&[1]);
    let mut core = asked(&log, 6);
    log.0.lock().refusal = Some(FollowError::Records("crc".into()));
    core.on_response(answer(9, vec![data(0, &[6], 1)]), 0);
    assert_eq!((core.failed().count(), core.position(&tp(0))), (0, Some((1, 6, Some(1)))));
    fetch(core.next_step(BROKER_EPOCH, 0));
    core.on_response(answer(0, vec![]), 0);
    fetch(core.next_step(BROKER_EPOCH, 2_000));
    log.0.lock().refusal = Some(FollowError::Failed("disk".into()));
    core.on_response(answer(9, vec![data(0, &[6], 1)]), 2_000);
    assert_eq!(core.failed().count(), 1);
}

#[test]
fn an_answer_of_an_epoch_that_is_over_changes_nothing() {
    let log = FakeLog::of(&[1]);
    let mut core = asked(&log, 6);
    core.remove(&tp(0));
    core.add(order(0, 7, &log));
    core.on_response(answer(9, vec![data(0, &[6], 1)]), 0);
    assert_eq!(log.epochs(), [1]);
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 0));
    assert_eq!(request.topics[0].partitions[0].current_leader_epoch, 7);
}

#[test]
fn the_same_order_again_leaves_things_as_they_are() {
    let log = FakeLog::of(&[1]);
    let mut core = asked(&log, 6);
    core.add(FollowOrder { initial_offset: 0, ..order(0, 6, &log) });
    assert_eq!(core.position(&tp(0)), Some((1, 6, Some(1))));
}

#[test]
fn after_a_lost_connection_everything_is_asked_for_in_a_new_session() {
    let log = FakeLog::of(&[1]);
    let mut core = asked(&log, 6);
    core.on_response(answer(9, vec![data(0, &[6], 1)]), 0);
    fetch(core.next_step(BROKER_EPOCH, 0));
    core.on_failure(0);
    assert!(matches!(core.next_step(BROKER_EPOCH, 10), Step::Wait(Some(1_000))));
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 1_000));
    assert_eq!((request.session_id, request.session_epoch, request.topics.len()), (9, 0, 1));
}

#[test]
fn a_topic_without_id_brings_all_back_to_names_until_it_has_one() {
    let log = FakeLog::of(&[1]);
    let mut core = core();
    core.add(FollowOrder { topic_id: Uuid::nil(), ..order(0, 6, &log) });
    let (version, request) = fetch(core.next_step(BROKER_EPOCH, 0));
    assert_eq!((version, &*request.topics[0].topic.0, *request.replica_id), (12, "t", 1));
    let name = TopicName(StrBytes::from_static_str("t"));
    let topic = FetchableTopicResponse::default().with_topic(name).with_partitions(vec![data(0, &[6], 1)]);
    core.on_response(Incoming::Fetch(FetchResponse::default().with_session_id(9).with_responses(vec![topic])), 0);
    assert_eq!(log.epochs(), [1, 6]);
    core.set_topic_id(&tp(0), ID);
    let (version, request) = fetch(core.next_step(BROKER_EPOCH, 1));
    assert_eq!((version, request.session_id, request.session_epoch), (16, 9, 0));
    assert_eq!(request.topics[0].topic_id, ID);
}

/// The rules by which a leader answers a follower's fetch, on a list.
fn lead(leader: &Entries, request: &FetchRequest) -> Vec<PartitionData> {
    let wanted = &request.topics[0].partitions[0];
    let (epoch, end) = leader.end_of(wanted.last_fetched_epoch);
    let diverges = epoch < wanted.last_fetched_epoch || end < wanted.fetch_offset;
    vec![match () {
        () if wanted.last_fetched_epoch >= 0 && epoch < 0 => error(0, ErrorCode::OffsetOutOfRange),
        () if wanted.last_fetched_epoch >= 0 && diverges => {
            data(0, &[], 0).with_diverging_epoch(EpochEndOffset::default().with_epoch(epoch).with_end_offset(end))
        }
        () if wanted.fetch_offset > leader.end() => error(0, ErrorCode::OffsetOutOfRange),
        () => data(0, &[], 0).with_records(Some(leader.from(wanted.fetch_offset))),
    }]
}

/// Whatever two logs with a common past look like, the follower's becomes the leader's.
#[test]
fn any_follower_comes_to_hold_what_the_leader_holds() {
    for seed in 0..2_000u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut epochs = |from: &[i32], least: i32| {
            let (mut log, mut epoch) = (from.to_vec(), least);
            for _ in 0..random(6) {
                epoch += i32::try_from(random(3)).unwrap() * 2;
                (0..=random(3)).for_each(|_| log.push(epoch));
            }
            log
        };
        let common = epochs(&[], 0);
        let last = common.last().copied().unwrap_or(0);
        // Two leaders never had the same epoch: odd ones here, even ones there.
        let mut leader = Entries { epochs: epochs(&common, last + 2), ..Entries::default() };
        let follower = FakeLog::of(&epochs(&common, last + 1 + last % 2));
        leader.epochs.push(1_000);
        let mut core = core();
        core.add(order(0, 1_000, &follower));
        for now in 0..40 {
            match core.next_step(BROKER_EPOCH, now) {
                Step::Truncate => core.truncate(now),
                Step::Send(Outgoing::Fetch(_, request)) if request.topics.is_empty() => {
                    core.on_response(answer(0, vec![]), now);
                }
                Step::Send(Outgoing::Fetch(_, request)) => {
                    let partitions = lead(&leader, &request);
                    core.on_response(answer(0, partitions), now);
                }
                Step::Send(Outgoing::ListOffsets(_, request)) => {
                    let latest = request.topics[0].partitions[0].timestamp == -1;
                    core.on_response(offset_answer(0, if latest { leader.end() } else { 0 }), now);
                }
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        assert_eq!(follower.epochs(), leader.epochs, "seed {seed}");
    }
}

/// A core under a throttle of 10 bytes a second on all of `t`.
fn throttled_core(quota: &Arc<ReplicationQuota>) -> FetcherCore {
    quota.set_throttled("t", Some(Throttled::All));
    quota.set_bound(10);
    core().with_quota(quota.clone())
}

#[test]
fn a_throttled_partition_is_left_out_until_the_rate_has_fallen() {
    let quota = Arc::new(ReplicationQuota::default());
    let mut core = throttled_core(&quota);
    core.add(order(0, 1, &FakeLog::of(&[1])));
    fetch(core.next_step(BROKER_EPOCH, 0));
    // 8 bytes, and the leader has more.
    core.on_response(answer(9, vec![data(0, &[1, 1], 100)]), 0);
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 0));
    assert_eq!(request.topics.len(), 1, "8 in the first second is within the bound");
    core.on_response(answer(9, vec![data(0, &[1, 1], 100)]), 0);
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 0));
    assert_eq!((request.topics.len(), request.forgotten_topics_data.len()), (0, 1), "the session forgets it");
    core.on_response(answer(9, vec![]), 500);
    match core.next_step(BROKER_EPOCH, 500) {
        Step::Wait(Some(1_500)) => {}
        other => panic!("to wait for the back-off time: {other:?}"),
    }
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 2_000));
    assert_eq!(request.topics[0].partitions[0].fetch_offset, 5, "16 bytes in two seconds are within it again");
}

#[test]
fn a_throttled_partition_that_has_caught_up_is_fetched_beyond_the_bound() {
    let quota = Arc::new(ReplicationQuota::default());
    let mut core = throttled_core(&quota);
    core.add(order(0, 1, &FakeLog::of(&[1])));
    fetch(core.next_step(BROKER_EPOCH, 0));
    core.on_response(answer(9, vec![data(0, &[1, 1, 1], 4)]), 0);
    assert!(quota.is_exceeded(0));
    let (_, request) = fetch(core.next_step(BROKER_EPOCH, 0));
    assert_eq!(request.topics[0].partitions[0].fetch_offset, 4);
}

#[test]
fn a_throttle_that_is_lifted_lets_go_at_the_next_look() {
    let quota = Arc::new(ReplicationQuota::default());
    let mut core = throttled_core(&quota);
    core.add(order(0, 1, &FakeLog::of(&[1])));
    quota.record(1_000, 0);
    assert!(matches!(core.next_step(BROKER_EPOCH, 0), Step::Wait(Some(1_000))));
    quota.set_throttled("t", None);
    fetch(core.next_step(BROKER_EPOCH, 1));
}
