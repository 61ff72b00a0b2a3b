//! Which replica a consumer had better read from: one in its own rack, if the broker is configured so (KIP-392).
//! Answers to `ReplicaManager.findPreferredReadReplica` and `RackAwareReplicaSelector` (spec zookeeper 4.14).

use std::sync::Arc;

use super::partition::Partition;
use super::table::ReplicaTable;

/// Where a consumer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPlace {
    pub rack: Arc<str>,
    /// The listener it came in by; a replica it cannot reach by this is no use to it.
    pub listener: Arc<str>,
}

impl ReplicaTable {
    /// The follower to send a consumer to; none if the leader is as good.
    pub(super) fn preferred_read_replica(
        &self,
        partition: &Partition,
        place: &ClientPlace,
        fetch_offset: i64,
    ) -> Option<i32> {
        let image = self.metadata.image();
        let rack_of = |id: i32| image.brokers.get(&id).filter(|b| b.endpoint(&place.listener).is_some())?.rack.clone();
        let is_near = |id: i32| rack_of(id).is_some_and(|rack| rack == place.rack);
        if is_near(self.broker_id()) {
            return None;
        }
        partition.best_in_sync(fetch_offset, is_near)
    }
}

impl Partition {
    /// As leader: of the in-sync followers that hold `fetch_offset` and are `wanted`, the one that has most, and of
    /// those the one caught up last.
    fn best_in_sync(&self, fetch_offset: i64, wanted: impl Fn(i32) -> bool) -> Option<i32> {
        let role = self.role.read();
        if role.leader != Some(self.broker_id) {
            return None;
        }
        let followers = self.followers.lock();
        let fit = followers.iter().filter(|(id, f)| {
            role.isr.committed().contains(id)
                && f.log_start_offset <= fetch_offset
                && fetch_offset <= f.log_end_offset
                && wanted(**id)
        });
        fit.max_by_key(|(id, f)| (f.log_end_offset, f.last_caught_up_ms(), **id)).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::partition::{ExpectedEpoch, FollowerFetch, LeaderAndIsr};
    use super::super::testing::state;
    use super::*;
    use crate::topic::TopicPartition;

    #[test]
    fn of_the_wanted_in_sync_followers_the_one_that_has_most_is_taken() {
        let (_dir, log) = super::super::testing::log();
        let partition = Partition::new(TopicPartition::new("t", 0), 1, 30_000);
        let state = LeaderAndIsr { replicas: vec![1, 2, 3, 4], ..state(1, 0) };
        partition.set_log(log.clone());
        partition.make_leader(&state, &log, &|_| true, 0).unwrap();
        for (replica_id, fetch_offset) in [(2, 0), (3, 5), (4, 9)] {
            let fetch = FollowerFetch {
                replica_id,
                broker_epoch: -1,
                leader_epoch: ExpectedEpoch::ANY,
                fetch_offset,
                log_start_offset: 0,
                leader_end: 9,
            };
            partition.on_follower_fetch(fetch, &|_| true, 1);
        }
        assert_eq!(partition.best_in_sync(0, |_| true), Some(3), "4 has more and is not in sync");
        assert_eq!(partition.best_in_sync(0, |id| id == 2), Some(2));
        assert_eq!(partition.best_in_sync(6, |_| true), None);
    }
}
