//! Replication throttles: replicas that move or catch up must leave the others room.
//!
//! A throttle has a rate, which is this broker's (`leader.replication.throttled.rate`,
//! `follower.replication.throttled.rate`), and partitions, which the topics name
//! (`leader.replication.throttled.replicas`, `follower.replication.throttled.replicas`). Everything that goes through a
//! throttled partition is counted, whoever asks for it; held back are replicas outside the in-sync set only, which the
//! caller judges. Locks: one mutex for the samples, a leaf; the partitions are swapped whole.
//! Answers to Kafka's `ReplicationQuotaManager`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::rate::{Rate, Windows};
use crate::config::LogConfig;

/// No limit.
pub const UNLIMITED: i64 = i64::MAX;

/// Which partitions of a topic are throttled on this broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Throttled {
    All,
    Partitions(BTreeSet<i32>),
}

impl Throttled {
    /// Reads a topic's list: `*`, or `partition:broker` pairs of which those of `broker` count. None when it names nothing.
    pub fn of(list: &[String], broker: i32) -> Option<Throttled> {
        if list.iter().any(|entry| entry.trim() == "*") {
            return Some(Throttled::All);
        }
        let pairs = list.iter().filter_map(|entry| entry.trim().split_once(':'));
        let own = pairs.filter(|(_, id)| id.parse() == Ok(broker)).filter_map(|(partition, _)| partition.parse().ok());
        let own: BTreeSet<i32> = own.collect();
        (!own.is_empty()).then_some(Throttled::Partitions(own))
    }

    fn contains(&self, partition: i32) -> bool {
        match self {
            Throttled::All => true,
            Throttled::Partitions(set) => set.contains(&partition),
        }
    }
}

/// One throttle: that of leaders, or that of followers.
pub struct ReplicationQuota {
    /// Bytes per second.
    bound: AtomicI64,
    topics: ArcSwap<HashMap<String, Throttled>>,
    rate: Mutex<Rate>,
}

impl ReplicationQuota {
    pub fn new(windows: Windows) -> ReplicationQuota {
        ReplicationQuota {
            bound: AtomicI64::new(UNLIMITED),
            topics: ArcSwap::default(),
            rate: Mutex::new(Rate::new(windows)),
        }
    }

    /// Bytes per second; [`UNLIMITED`] for no limit.
    pub fn bound(&self) -> i64 {
        self.bound.load(Ordering::Relaxed)
    }

    pub fn set_bound(&self, bytes_per_second: i64) {
        self.bound.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Replaces what is throttled of a topic.
    pub fn set_throttled(&self, topic: &str, throttled: Option<Throttled>) {
        if self.topics.load().get(topic) == throttled.as_ref() {
            return;
        }
        self.topics.rcu(|topics| {
            let mut topics = HashMap::clone(topics);
            match &throttled {
                Some(throttled) => topics.insert(topic.to_owned(), throttled.clone()),
                None => topics.remove(topic),
            };
            topics
        });
    }

    pub fn is_throttled(&self, topic: &str, partition: i32) -> bool {
        let topics = self.topics.load();
        !topics.is_empty() && topics.get(topic).is_some_and(|throttled| throttled.contains(partition))
    }

    /// Counts bytes that went through a throttled partition, also beyond the bound.
    pub fn record(&self, bytes: usize, now_ms: i64) {
        self.rate.lock().record(bytes as f64, now_ms);
    }

    pub fn is_exceeded(&self, now_ms: i64) -> bool {
        let bound = self.bound();
        bound != UNLIMITED && self.rate.lock().per_second(now_ms) > bound as f64
    }

    /// Whether a partition must wait, unless the replica in question is in sync.
    pub fn holds_back(&self, topic: &str, partition: i32, now_ms: i64) -> bool {
        self.is_throttled(topic, partition) && self.is_exceeded(now_ms)
    }
}

impl Default for ReplicationQuota {
    fn default() -> ReplicationQuota {
        ReplicationQuota::new(Windows::default())
    }
}

/// Both throttles of a broker.
#[derive(Clone, Default)]
pub struct ReplicationQuotas {
    /// Of what followers fetch from here.
    pub leader: Arc<ReplicationQuota>,
    /// Of what is fetched from other leaders.
    pub follower: Arc<ReplicationQuota>,
}

impl ReplicationQuotas {
    pub fn new(windows: Windows) -> ReplicationQuotas {
        let quota = || Arc::new(ReplicationQuota::new(windows));
        ReplicationQuotas { leader: quota(), follower: quota() }
    }

    /// Takes over what a topic's settings say about this broker's replicas.
    pub fn configure_topic(&self, topic: &str, config: &LogConfig, broker: i32) {
        self.leader.set_throttled(topic, Throttled::of(&config.leader_replication_throttled_replicas, broker));
        self.follower.set_throttled(topic, Throttled::of(&config.follower_replication_throttled_replicas, broker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|e| (*e).to_owned()).collect()
    }

    #[test]
    fn lists_name_partitions_by_broker() {
        assert_eq!(Throttled::of(&list(&["*"]), 1), Some(Throttled::All));
        assert_eq!(Throttled::of(&list(&[]), 1), None);
        assert_eq!(Throttled::of(&list(&["0:2", "1:3"]), 1), None);
        let own = Throttled::of(&list(&["0:1", " 2:1", "1:2", "10:11"]), 1).unwrap();
        assert_eq!(own, Throttled::Partitions([0, 2].into()));
        assert!(own.contains(2) && !own.contains(1) && !own.contains(10));
    }

    #[test]
    fn only_throttled_partitions_wait_and_only_beyond_the_bound() {
        let quota = ReplicationQuota::default();
        quota.set_throttled("t", Some(Throttled::Partitions([0].into())));
        quota.record(1_000_000, 0);
        assert!(!quota.holds_back("t", 0, 0), "no bound was set");
        quota.set_bound(100_000);
        assert!(quota.holds_back("t", 0, 0));
        assert!(!quota.holds_back("t", 1, 0) && !quota.holds_back("u", 0, 0));
        // A million bytes are 100,000 a second once ten seconds have passed.
        assert!(quota.holds_back("t", 0, 9_999));
        assert!(!quota.holds_back("t", 0, 10_000));
    }

    #[test]
    fn a_throttle_is_lifted_by_either_setting() {
        let quota = ReplicationQuota::default();
        quota.set_throttled("t", Some(Throttled::All));
        quota.set_bound(0);
        quota.record(1, 0);
        assert!(quota.holds_back("t", 7, 0));
        quota.set_bound(UNLIMITED);
        assert!(!quota.holds_back("t", 7, 0));
        quota.set_bound(0);
        quota.set_throttled("t", None);
        assert!(!quota.holds_back("t", 7, 0));
    }

    #[test]
    fn a_follower_that_obeys_gets_the_rate_it_may_have() {
        let quota = ReplicationQuota::default();
        quota.set_throttled("t", Some(Throttled::All));
        quota.set_bound(50_000);
        let mut copied = 0;
        for now_ms in (0..60_000).step_by(100) {
            if !quota.holds_back("t", 0, now_ms) {
                quota.record(20_000, now_ms);
                copied += 20_000;
            }
        }
        // 60 s; the beginning may run ahead by one fetch, as the first is free.
        assert!((2_700_000..=3_300_000).contains(&copied), "{copied}");
    }
}
