//! Orders of the controller, high watermarks and in-sync sets, on real logs.

use std::sync::Arc;

use super::control::{LeadershipOrder, StopOrder};
use super::fetch::{FetchLimits, FetchOutcome, FetchTarget};
use super::fetcher::{Fetched, FollowError, FollowerLog};
use super::isr_changes::{CommittedIsr, IsrProposal, Verdict};
use super::partition::{ExpectedEpoch, FollowerFetch};
use super::session::{FetchItem, TopicKey};
use super::testing::{TableBench, log, order, state};
use super::waiters::Reached;
use super::{Partition, ReplicaTable};
use crate::log::tests::{NOW, client_batch};
use crate::log::{Isolation, PartitionLog};
use crate::protocol::ErrorCode;
use crate::quota::Throttled;
use crate::record::AppendOrigin;
use crate::topic::TopicPartition;

fn apply(table: &ReplicaTable, orders: Vec<LeadershipOrder>) -> ErrorCode {
    let outcome = table.become_leader_or_follower(1, orders, NOW).unwrap();
    outcome.errors[0].2
}

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

#[test]
fn a_follower_is_handed_to_the_fetchers_after_they_let_go_of_it() {
    let bench = TableBench::new(&[1, 2]);
    assert_eq!(apply(&bench.table, vec![order(2, 5)]), ErrorCode::None);
    assert_eq!(bench.fetchers.take(), ["unfollow t-0", "follow t-0 of 2 in 5 from 0"]);
    assert_eq!(apply(&bench.table, vec![order(2, 5)]), ErrorCode::StaleControllerEpoch);
    assert!(bench.fetchers.take().is_empty());
    assert_eq!(apply(&bench.table, vec![order(1, 6)]), ErrorCode::None);
    assert_eq!(bench.fetchers.take(), ["unfollow t-0"]);
}

#[test]
fn without_a_live_leader_only_the_log_is_made_and_the_order_counts_later() {
    let bench = TableBench::new(&[1]);
    assert_eq!(apply(&bench.table, vec![order(2, 5)]), ErrorCode::None);
    assert!(bench.fetchers.take().is_empty());
    let partition = bench.table.partition("t", 0).unwrap();
    assert!(partition.log().is_some() && partition.leader_epoch() == -1);
    bench.set_live(&[1, 2]);
    assert_eq!(apply(&bench.table, vec![order(2, 5)]), ErrorCode::None);
    assert_eq!(bench.fetchers.take().len(), 2);
}

#[test]
fn a_topic_id_learned_later_reaches_the_fetcher() {
    let bench = TableBench::new(&[1, 2]);
    let nameless = LeadershipOrder { topic_id: uuid::Uuid::nil(), ..order(2, 5) };
    assert_eq!(apply(&bench.table, vec![nameless]), ErrorCode::None);
    bench.fetchers.take();
    assert_eq!(apply(&bench.table, vec![order(2, 5)]), ErrorCode::None);
    assert_eq!(bench.fetchers.take(), ["t-0 is named"]);
}

#[test]
fn a_stopped_replica_is_not_followed() {
    let bench = TableBench::new(&[1, 2]);
    apply(&bench.table, vec![order(2, 5)]);
    bench.fetchers.take();
    let stop = |leader_epoch, delete| vec![StopOrder { tp: tp(), leader_epoch, delete }];
    let outcome = bench.table.stop_replicas(1, stop(4, true), NOW).unwrap();
    assert_eq!(outcome.errors[0].2, ErrorCode::FencedLeaderEpoch);
    assert!(bench.fetchers.take().is_empty());
    bench.table.stop_replicas(1, stop(5, true), NOW).unwrap();
    assert_eq!(bench.fetchers.take(), ["unfollow t-0"]);
    assert!(bench.table.hosted("t", 0).is_none());
}

/// A partition with three replicas and min.insync.replicas 2, led by broker 1 in epoch 3.
struct Led {
    partition: Arc<Partition>,
    log: Arc<PartitionLog>,
    _dir: tempfile::TempDir,
}

impl Led {
    fn new(isr: &[i32]) -> Led {
        let (dir, log) = log();
        let partition = Arc::new(Partition::new(tp(), 1, 30_000));
        partition.set_log(log.clone());
        let mut state = state(1, 3);
        state.isr = isr.to_vec();
        partition.make_leader(&state, &log, &|_| true, NOW).unwrap();
        Led { partition, log, _dir: dir }
    }

    fn append(&self, count: usize) {
        let records = client_batch(count, 10, NOW);
        self.partition.append_as_leader(records, AppendOrigin::Client, 1, &|_| true, NOW).unwrap();
    }

    /// With acks=all.
    fn append_for_all(&self, count: usize) -> Reached {
        let records = client_batch(count, 10, NOW);
        let appended = self.partition.append_as_leader(records, AppendOrigin::Client, -1, &|_| true, NOW);
        appended.unwrap().1.expect("followers have not got it yet")
    }

    fn fetch(&self, replica_id: i32, fetch_offset: i64, now_ms: i64) {
        let fetch = FollowerFetch {
            replica_id,
            broker_epoch: 100 + i64::from(replica_id),
            leader_epoch: ExpectedEpoch::from_wire(3),
            fetch_offset,
            log_start_offset: 0,
            leader_end: self.log.log_end_offset(),
        };
        self.partition.on_follower_fetch(fetch, &|_| true, now_ms);
    }

    fn expand(&self, replica: i32) -> Option<IsrProposal> {
        self.partition.maybe_expand_isr(replica, &|_| true)
    }

    fn answer(&self, proposal: &IsrProposal, answer: Result<CommittedIsr, ErrorCode>) -> Verdict {
        self.partition.on_isr_answer(proposal, answer, &|_| true, NOW)
    }
}

fn committed(isr: &[i32], partition_epoch: i32) -> Result<CommittedIsr, ErrorCode> {
    Ok(CommittedIsr { leader: 1, leader_epoch: 3, isr: isr.to_vec(), partition_epoch })
}

#[test]
fn the_high_watermark_waits_for_every_replica_in_sync() {
    let led = Led::new(&[1, 2, 3]);
    led.append(5);
    led.fetch(2, 5, NOW);
    assert_eq!(led.log.high_watermark(), 0);
    led.fetch(3, 4, NOW);
    assert_eq!(led.log.high_watermark(), 4);
    led.fetch(3, 5, NOW);
    assert_eq!(led.log.high_watermark(), 5);
}

#[test]
fn a_successor_knows_that_it_is_one() {
    let led = Led::new(&[1, 2, 3]);
    assert!(!led.partition.has_just_succeeded(NOW), "nobody led before");
    led.append(1);
    led.partition.make_leader(&state(1, 4), &led.log, &|_| true, NOW).unwrap();
    assert!(led.partition.has_just_succeeded(NOW + 59_000));
    assert!(!led.partition.has_just_succeeded(NOW + 60_000));
}

/// What its followers have by then is acknowledged; what is cut off is not.
#[test]
fn appends_outlive_the_leadership_they_were_made_in() {
    let led = Led::new(&[1, 2, 3]);
    let (mut kept, mut cut) = (led.append_for_all(3), led.append_for_all(1));
    led.partition.make_follower(&state(2, 4));
    assert!(kept.try_recv().is_err() && cut.try_recv().is_err());
    FollowerLog::truncate_to(&*led.partition, 4, 3, NOW).unwrap();
    assert_eq!(cut.try_recv(), Ok(Err(ErrorCode::NotLeaderOrFollower)));
    let records = bytes::Bytes::new();
    let fetched = Fetched { leader_epoch: 4, fetch_offset: 3, records, high_watermark: 3, log_start_offset: 0 };
    led.partition.append(fetched, NOW).unwrap();
    assert_eq!(kept.try_recv(), Ok(Ok(())));
    assert_eq!(led.partition.acknowledge(), ErrorCode::None);
}

#[test]
fn with_too_few_in_sync_the_high_watermark_stays() {
    let led = Led::new(&[1]);
    led.append(5);
    led.fetch(2, 5, NOW);
    assert_eq!(led.log.high_watermark(), 0, "the ISR of one is under min.insync.replicas");
    let joining = led.expand(2).unwrap();
    assert_eq!(joining.members, [(1, -1), (2, 102)]);
    led.fetch(2, 5, NOW);
    assert_eq!(led.log.high_watermark(), 0, "the expansion is not committed");
    assert_eq!(led.answer(&joining, committed(&[1, 2], 4)), Verdict::Settled);
    assert_eq!(led.log.high_watermark(), 5);
}

#[test]
fn a_follower_comes_in_at_the_high_watermark_and_one_at_a_time() {
    let led = Led::new(&[1, 2]);
    led.append(5);
    led.fetch(2, 5, NOW);
    led.fetch(3, 4, NOW);
    assert_eq!(led.expand(3), None, "4 is below the high watermark");
    led.fetch(3, 5, NOW);
    assert_eq!(led.partition.maybe_expand_isr(3, &|id| id != 3), None, "a dead broker is not let in");
    let joining = led.expand(3).unwrap();
    assert_eq!((joining.isr(), joining.leader_epoch, joining.partition_epoch), (vec![1, 2, 3], 3, 3));
    assert_eq!(led.expand(3), None, "one proposal at a time");
    led.append(1);
    led.fetch(2, 6, NOW);
    assert_eq!(led.log.high_watermark(), 5, "the one that comes in counts already");
}

#[test]
fn laggards_leave_only_when_the_controller_agrees() {
    let led = Led::new(&[1, 2, 3]);
    led.append(5);
    led.fetch(2, 5, NOW);
    assert_eq!(led.partition.maybe_shrink_isr(NOW + 30_000), None);
    // 2 is level with the leader, however long ago it fetched.
    let leaving = led.partition.maybe_shrink_isr(NOW + 30_001).unwrap();
    assert_eq!(leaving.isr(), [1, 2]);
    assert_eq!(led.log.high_watermark(), 0);
    led.partition.on_isr_answer(&leaving, committed(&[1, 2], 4), &|_| true, NOW + 30_001);
    assert_eq!(led.log.high_watermark(), 5);
}

#[test]
fn refusals_end_in_kafkas_states() {
    let led = Led::new(&[1, 2]);
    led.fetch(3, 0, NOW);
    let first = led.expand(3).unwrap();
    assert_eq!(led.answer(&first, Err(ErrorCode::UnknownServerError)), Verdict::Retry);
    assert_eq!(led.expand(3), None, "still pending");
    assert_eq!(led.answer(&first, Err(ErrorCode::IneligibleReplica)), Verdict::Settled);
    let second = led.expand(3).unwrap();
    assert_eq!(led.answer(&second, Err(ErrorCode::FencedLeaderEpoch)), Verdict::Settled);
    assert_eq!(led.expand(3), None, "pending until the next LeaderAndIsr");
    let mut next = state(1, 4);
    next.isr = vec![1, 2];
    led.partition.make_leader(&next, &led.log, &|_| true, NOW).unwrap();
    assert_eq!(led.answer(&second, committed(&[1, 2, 3], 9)), Verdict::Settled);
    assert!(led.expand(3).is_some(), "an answer from before the new epoch changed nothing");
}

#[test]
fn a_fetch_of_another_epoch_says_nothing_about_a_follower() {
    let led = Led::new(&[1, 2, 3]);
    led.append(5);
    led.fetch(2, 5, NOW);
    let late = FollowerFetch {
        replica_id: 3,
        broker_epoch: 103,
        leader_epoch: ExpectedEpoch::from_wire(2),
        fetch_offset: 5,
        log_start_offset: 0,
        leader_end: 5,
    };
    led.partition.on_follower_fetch(late, &|_| true, NOW);
    assert_eq!(led.log.high_watermark(), 0);
}

#[test]
fn what_a_fetcher_brings_is_taken_in_its_epoch_only() {
    let (_dir, log) = log();
    let partition = Partition::new(tp(), 1, 30_000);
    partition.set_log(log.clone());
    partition.make_follower(&state(2, 3));
    let source = Led::new(&[1, 2, 3]);
    source.append(4);
    let read = source.log.read(0, 1 << 20, crate::log::Isolation::LogEnd, true).unwrap();
    let fetched = Fetched {
        leader_epoch: 3,
        fetch_offset: 0,
        records: read.slice.read().unwrap(),
        high_watermark: 3,
        log_start_offset: 1,
    };
    let early = Fetched { leader_epoch: 2, ..fetched.clone() };
    assert_eq!(partition.append(early, NOW), Err(FollowError::Superseded));
    partition.append(fetched.clone(), NOW).unwrap();
    assert_eq!((log.log_start_offset(), log.high_watermark(), log.log_end_offset()), (1, 3, 4));
    assert_eq!(partition.latest_epoch(), Some(3));
    assert!(matches!(partition.append(fetched.clone(), NOW), Err(FollowError::Failed(_))), "offset 0 is not the end");
    // A new leader that knows less does not take back what was committed.
    let lower = Fetched { fetch_offset: 4, records: bytes::Bytes::new(), high_watermark: 2, ..fetched.clone() };
    partition.append(lower, NOW).unwrap();
    assert_eq!(log.high_watermark(), 3);
    partition.make_leader(&state(1, 4), &log, &|_| true, NOW).unwrap();
    assert_eq!(partition.append(Fetched { fetch_offset: 4, ..fetched }, NOW), Err(FollowError::Superseded));
    assert_eq!(FollowerLog::truncate_to(&partition, 3, 0, NOW), Err(FollowError::Superseded));
}

/// A follower's fetch, with what it reads of `t` from the beginning, in leader epoch 5.
fn fetch_of(replica_id: i32, partitions: std::ops::Range<i32>) -> (FetchLimits, Vec<FetchTarget>) {
    let limits = FetchLimits {
        version: 16,
        replica_id,
        replica_epoch: 1,
        max_bytes: 1 << 20,
        min_bytes: 1,
        max_wait_ms: 0,
        isolation: Isolation::LogEnd,
        place: None,
    };
    let target = |partition| {
        let item = FetchItem {
            topic: TopicKey::Name("t".into()),
            partition,
            fetch_offset: 0,
            log_start_offset: 0,
            max_bytes: 1 << 20,
            current_leader_epoch: 5,
            last_fetched_epoch: -1,
        };
        FetchTarget { item, topic: "t".into() }
    };
    (limits, partitions.map(target).collect())
}

/// What a follower that begins at 0 gets of `t-0`, in bytes.
fn fetched_by(table: &ReplicaTable, replica_id: i32, now_ms: i64) -> usize {
    let (limits, targets) = fetch_of(replica_id, 0..1);
    let pass = table.read_pass(&limits, &targets, false, now_ms);
    assert!(!pass.urgent, "an empty answer is no error");
    table.record_follower_fetch([(&targets[0], pass.bytes)].into_iter(), now_ms);
    pass.bytes
}

/// Else the follower is told of some of it, and comes back for the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_fetch_hears_of_a_whole_order_at_once() {
    let bench = TableBench::new(&[1, 2, 3]);
    let orders = |leader, epoch| -> Vec<LeadershipOrder> {
        let of = |partition| LeadershipOrder { tp: TopicPartition::new("t", partition), ..order(leader, epoch) };
        (0..50).map(of).collect()
    };
    assert_eq!(apply(&bench.table, orders(1, 5)), ErrorCode::None);
    let (limits, targets) = fetch_of(3, 0..50);
    let watch = bench.table.watch(&limits, &targets);
    let table = bench.table.clone();
    let parked = tokio::spawn(async move {
        watch.changed().await;
        table.read_pass(&limits, &targets, false, NOW).outcomes
    });
    assert_eq!(apply(&bench.table, orders(2, 6)), ErrorCode::None);
    let told = parked.await.unwrap();
    let fenced = |o: &&FetchOutcome| matches!(o, FetchOutcome::Failed { code: ErrorCode::FencedLeaderEpoch, .. });
    assert_eq!(told.iter().filter(fenced).count(), 50);
}

#[test]
fn a_throttled_leader_holds_back_followers_that_are_not_in_sync() {
    let bench = TableBench::new(&[1, 2, 3]);
    let mut led = order(1, 5);
    led.state.isr = vec![1, 2];
    assert_eq!(apply(&bench.table, vec![led]), ErrorCode::None);
    let records = client_batch(20, 100, NOW);
    bench.table.append("t", 0, records, AppendOrigin::Client, 1, NOW).unwrap();
    let quota = &bench.table.quotas().leader;
    let all = fetched_by(&bench.table, 3, NOW);
    assert!(all > 2_000 && !quota.is_exceeded(NOW));
    quota.set_bound(1_000);
    assert_eq!(fetched_by(&bench.table, 3, NOW), all, "no partition is throttled");
    quota.set_throttled("t", Some(Throttled::Partitions([0].into())));
    assert_eq!(fetched_by(&bench.table, 3, NOW), all, "nothing throttled was sent yet");
    assert_eq!(fetched_by(&bench.table, 3, NOW), 0);
    assert_eq!(fetched_by(&bench.table, 2, NOW), all, "2 is in sync");
    assert_eq!(fetched_by(&bench.table, 3, NOW + 11_000), all, "the samples are over");
}
