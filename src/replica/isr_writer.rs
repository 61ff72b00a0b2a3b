//! In-sync sets below `inter.broker.protocol.version` 2.7-IV2: the leader itself writes them into ZooKeeper, and leaves
//! the controller a note some seconds later, from which it learns of the change.
//!
//! A leader whose conditional write is refused reads what is there: while it still leads in the same epoch, that is the
//! state it goes on from. Answers to Kafka's `ZkAlterPartitionManager` and `ReplicationUtils`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::isr_changes::{CommittedIsr, IsrProposal, Verdict};
use super::isr_manager::{IsrManager, RETRY};
use crate::protocol::ErrorCode;
use crate::topic::TopicPartition;
use crate::util::clock;
use crate::zk::json::PartitionState;
use crate::zk::store::{Store, StoreError};

const TARGET: &str = "kafka.server.ZkAlterPartitionManager";
/// How often to look whether a note is due.
const CHECK: Duration = Duration::from_millis(2_500);
/// A note waits until nothing has changed for so long...
const LINGER_MS: i64 = 5_000;
/// ... but not longer than this after the last one.
const MAX_DELAY_MS: i64 = 60_000;

/// Changes the controller has not been told of.
struct News {
    changed: BTreeSet<TopicPartition>,
    last_change_ms: i64,
    last_note_ms: i64,
}

impl News {
    fn new(now_ms: i64) -> News {
        News { changed: BTreeSet::new(), last_change_ms: now_ms, last_note_ms: now_ms }
    }

    fn add(&mut self, tp: TopicPartition, now_ms: i64) {
        self.changed.insert(tp);
        self.last_change_ms = now_ms;
    }

    /// What to tell now, if anything.
    fn due(&self, now_ms: i64) -> Option<Vec<TopicPartition>> {
        let is_due = now_ms > self.last_change_ms + LINGER_MS || now_ms > self.last_note_ms + MAX_DELAY_MS;
        (is_due && !self.changed.is_empty()).then(|| self.changed.iter().cloned().collect())
    }

    fn told(&mut self, now_ms: i64) {
        self.changed.clear();
        self.last_note_ms = now_ms;
    }
}

/// Writes proposals for the life of the broker.
pub async fn run(manager: Arc<IsrManager>, store: Arc<Store>) {
    let mut news = News::new(clock::now_ms());
    let mut check = tokio::time::interval(CHECK);
    loop {
        tokio::select! {
            () = manager.changed() => {}
            _ = check.tick() => {}
        }
        for proposal in manager.waiting() {
            match write(&store, manager.broker_id(), &proposal).await {
                Ok(answer) => {
                    if answer.is_ok() {
                        news.add(proposal.tp.clone(), clock::now_ms());
                    }
                    if manager.settle(&proposal, answer) == Verdict::Retry {
                        tokio::time::sleep(RETRY).await;
                    }
                }
                Err(error) => {
                    tracing::error!(target: TARGET, "Failed to write the in-sync set of {}, trying again: {error}", proposal.tp);
                    tokio::time::sleep(RETRY).await;
                    manager.try_again();
                }
            }
        }
        let now_ms = clock::now_ms();
        if let Some(partitions) = news.due(now_ms) {
            match store.notify_isr_changes(&partitions).await {
                Ok(()) => news.told(now_ms),
                Err(error) => {
                    tracing::error!(target: TARGET, "Failed to tell the controller of changed in-sync sets: {error}")
                }
            }
        }
    }
}

/// What the partition's state is after the attempt, or why it is not known to be ours. `Err`: nothing is known.
async fn write(store: &Store, me: i32, proposal: &IsrProposal) -> Result<Result<CommittedIsr, ErrorCode>, StoreError> {
    let state = PartitionState {
        leader: me,
        leader_epoch: proposal.leader_epoch,
        isr: proposal.isr(),
        controller_epoch: proposal.controller_epoch,
        leader_recovery_state: 0,
    };
    tracing::debug!(target: TARGET, "Writing new ISR {:?} to ZooKeeper with version {} for partition {}", state.isr, proposal.partition_epoch, proposal.tp);
    match store.write_isr(&proposal.tp, &state, proposal.partition_epoch).await {
        Ok(version) => Ok(Ok(committed(state, version))),
        Err(error) if error.is_no_node() => Ok(Err(ErrorCode::UnknownTopicOrPartition)),
        Err(error) if error.is_bad_version() => {
            let found = store.partition_state(&proposal.tp).await?;
            let ours = found.filter(|f| f.state.leader == me && f.state.leader_epoch == proposal.leader_epoch);
            Ok(ours.map(|f| committed(f.state, f.version)).ok_or(ErrorCode::InvalidUpdateVersion))
        }
        Err(error) => Err(error),
    }
}

fn committed(state: PartitionState, version: i32) -> CommittedIsr {
    CommittedIsr { leader: state.leader, leader_epoch: state.leader_epoch, isr: state.isr, partition_epoch: version }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{log, state};
    use super::super::{Partition, partition::ExpectedEpoch, partition::FollowerFetch};
    use super::*;
    use crate::metadata::MetadataCache;
    use crate::zk::twin::Twin;
    use crate::zk::{CreateMode, paths};

    const TOPIC: &str = "t";
    const LEADER_EPOCH: i32 = 2;

    #[test]
    fn a_note_waits_for_more_but_not_for_ever() {
        let tp = |partition| TopicPartition::new(TOPIC, partition);
        let mut news = News::new(0);
        assert_eq!(news.due(100_000), None);
        news.told(100_000);
        news.add(tp(0), 100_000);
        assert_eq!((news.due(105_000), news.due(105_001)), (None, Some(vec![tp(0)])));
        for second in 101..=160 {
            news.add(tp(1), second * 1_000);
            assert_eq!(news.due(second * 1_000), None);
        }
        assert_eq!(news.due(160_001), Some(vec![tp(0), tp(1)]));
        news.told(160_001);
        assert_eq!(news.due(300_000), None);
    }

    /// A leader whose follower 2 has caught up, and ZooKeeper with this state of its partition.
    async fn bench(
        leader: i32,
        leader_epoch: i32,
        isr: &[i32],
    ) -> (tempfile::TempDir, Arc<Partition>, IsrProposal, Arc<Store>) {
        let (dir, log) = log();
        let partition = Arc::new(Partition::new(TopicPartition::new(TOPIC, 0), 1, 30_000));
        partition.set_log(log.clone());
        let mut led = state(1, LEADER_EPOCH);
        (led.isr, led.partition_epoch, led.controller_epoch) = (vec![1], 0, 7);
        partition.make_leader(&led, &log, &|_| true, 0).unwrap();
        let fetch = FollowerFetch {
            replica_id: 2,
            broker_epoch: -1,
            leader_epoch: ExpectedEpoch::ANY,
            fetch_offset: 0,
            log_start_offset: 0,
            leader_end: 0,
        };
        partition.on_follower_fetch(fetch, &|_| true, 0);
        let proposal = partition.maybe_expand_isr(2, &|_| true).unwrap();
        let store = Arc::new(Store::new(Twin::new().connect()));
        let state =
            PartitionState { leader, leader_epoch, isr: isr.to_vec(), controller_epoch: 7, leader_recovery_state: 0 };
        let path = paths::partition_state(TOPIC, 0);
        store.ensure_path(paths::parent(&path).unwrap()).await.unwrap();
        store.zk().create(&path, state.encode(), CreateMode::Persistent).await.unwrap();
        store.ensure_path(paths::ISR_CHANGE_NOTIFICATION).await.unwrap();
        (dir, partition, proposal, store)
    }

    #[tokio::test]
    async fn the_leader_writes_the_set_and_the_controller_is_told() {
        let (_dir, partition, proposal, store) = bench(1, LEADER_EPOCH, &[1]).await;
        let answer = write(&store, 1, &proposal).await.unwrap();
        assert_eq!(answer.as_ref().unwrap().partition_epoch, 1);
        let (data, _) = store.zk().get_data(&paths::partition_state(TOPIC, 0), false).await.unwrap();
        assert_eq!(data, r#"{"controller_epoch":7,"leader":1,"version":1,"leader_epoch":2,"isr":[1,2]}"#);
        let manager = IsrManager::new(1, Arc::new(MetadataCache::new()));
        manager.submit(&partition, proposal.clone());
        assert_eq!(manager.settle(&proposal, answer), Verdict::Settled);
        assert!(manager.waiting().is_empty());
        store.notify_isr_changes(&[proposal.tp]).await.unwrap();
        let names = store.isr_changes(false).await.unwrap();
        assert_eq!(names, ["isr_change_0000000000"]);
        assert_eq!(store.partitions_of_isr_changes(&names).await.unwrap(), [TopicPartition::new(TOPIC, 0)]);
    }

    #[tokio::test]
    async fn a_leader_that_is_late_goes_on_from_what_is_there() {
        let (_dir, _, proposal, store) = bench(1, LEADER_EPOCH, &[1, 3]).await;
        let path = paths::partition_state(TOPIC, 0);
        let (data, _) = store.zk().get_data(&path, false).await.unwrap();
        store.zk().set_data(&path, data, 0).await.unwrap();
        let found = write(&store, 1, &proposal).await.unwrap().unwrap();
        assert_eq!((found.isr, found.partition_epoch), (vec![1, 3], 1));
    }

    #[tokio::test]
    async fn who_does_not_lead_any_more_waits_for_the_controller() {
        for (leader, leader_epoch) in [(2, LEADER_EPOCH + 1), (1, LEADER_EPOCH + 1)] {
            let (_dir, _, proposal, store) = bench(leader, leader_epoch, &[1, 2]).await;
            let path = paths::partition_state(TOPIC, 0);
            let (data, _) = store.zk().get_data(&path, false).await.unwrap();
            store.zk().set_data(&path, data, 0).await.unwrap();
            assert_eq!(write(&store, 1, &proposal).await.unwrap(), Err(ErrorCode::InvalidUpdateVersion));
            store.zk().delete(&path, -1).await.unwrap();
            assert_eq!(write(&store, 1, &proposal).await.unwrap(), Err(ErrorCode::UnknownTopicOrPartition));
        }
    }
}
