//! Which fetcher follows which partition: by leader and by a hash of the topic's name.
//!
//! Owns the fetchers behind one mutex, taken for orders only; the lock order is manager, then a fetcher's core.
//! Answers to Kafka's `ReplicaFetcherManager` and `AbstractFetcherManager`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::core::FetcherCore;
use super::task::{FetcherTask, Shared};
use super::{FetcherSettings, Fetching, FollowOrder};
use crate::client::{Connector, Options};
use crate::metadata::MetadataCache;
use crate::quota::ReplicationQuota;
use crate::topic::{TopicPartition, java_hash};

const TARGET: &str = "kafka.server.ReplicaFetcherManager";

struct Fetcher {
    shared: Arc<Shared>,
    address: (Arc<str>, u16),
    task: AbortHandle,
}

impl Fetcher {
    /// Ends it, after what it is doing to its logs just now.
    fn end(&self) {
        self.shared.ended.store(true, Ordering::Release);
        drop(self.shared.core.lock());
        self.task.abort();
    }
}

#[derive(Default)]
struct Fetchers {
    /// By leader and fetcher id.
    running: HashMap<(i32, i32), Fetcher>,
    stopped: bool,
}

/// All fetchers of the broker.
pub struct FetcherManager {
    settings: Arc<FetcherSettings>,
    metadata: Arc<MetadataCache>,
    broker_epoch: Arc<dyn Fn() -> i64 + Send + Sync>,
    connector: Connector,
    runtime: Handle,
    quota: Arc<ReplicationQuota>,
    fetchers: Mutex<Fetchers>,
}

/// Which of `fetchers` follows a partition.
pub fn fetcher_id(tp: &TopicPartition, fetchers: i32) -> i32 {
    let hash = java_hash(&tp.topic).wrapping_mul(31).wrapping_add(tp.partition);
    // Kafka's abs: the one number without a positive counterpart becomes 0.
    let hash = if hash == i32::MIN { 0 } else { hash.abs() };
    hash % fetchers.max(1)
}

impl FetcherManager {
    /// Must be called inside a runtime, on which the fetchers will run.
    pub fn new(
        settings: FetcherSettings,
        metadata: Arc<MetadataCache>,
        broker_epoch: Arc<dyn Fn() -> i64 + Send + Sync>,
        connector: Connector,
    ) -> FetcherManager {
        FetcherManager {
            settings: Arc::new(settings),
            metadata,
            broker_epoch,
            connector,
            runtime: Handle::current(),
            quota: Arc::default(),
            fetchers: Mutex::default(),
        }
    }

    /// The same under this throttle; without one nothing is held back.
    pub fn with_quota(self, quota: Arc<ReplicationQuota>) -> FetcherManager {
        FetcherManager { quota, ..self }
    }

    /// Partitions that are not followed any more because of an error.
    pub fn failed_partitions(&self) -> Vec<TopicPartition> {
        let fetchers = self.fetchers.lock();
        fetchers.running.values().flat_map(|f| f.shared.core.lock().failed().cloned().collect::<Vec<_>>()).collect()
    }

    fn address(&self, leader: i32) -> Option<(Arc<str>, u16)> {
        let image = self.metadata.image();
        let endpoint = image.endpoint(leader, &self.settings.listener)?;
        Some((endpoint.host.clone(), u16::try_from(endpoint.port).ok()?))
    }

    fn start(&self, leader: i32, id: i32, address: (Arc<str>, u16)) -> Fetcher {
        let shared = Arc::new(Shared {
            core: Mutex::new(FetcherCore::new(self.settings.clone(), leader, id).with_quota(self.quota.clone())),
            wake: Notify::new(),
            ended: AtomicBool::new(false),
        });
        let timeout = Duration::from_millis(u64::try_from(self.settings.socket_timeout_ms).unwrap_or(0));
        let client_id = format!("broker-{}-fetcher-{id}", self.settings.broker_id);
        let (host, port) = address.clone();
        let connect = self.connector.clone();
        let task = FetcherTask {
            shared: shared.clone(),
            connector: Arc::new(move || connect(host.to_string(), port, Options::new(&client_id, timeout))),
            broker_epoch: self.broker_epoch.clone(),
            timeout,
            connection: None,
            failures: 0,
        };
        let task = self.runtime.spawn(task.run()).abort_handle();
        Fetcher { shared, address, task }
    }

    fn follow_one(&self, fetchers: &mut Fetchers, order: FollowOrder) {
        let leader = order.leader;
        let Some(address) = self.address(leader) else {
            tracing::error!(target: TARGET, "[ReplicaFetcherManager on broker {}] No endpoint of broker {leader} for listener {}: {} is not followed", self.settings.broker_id, self.settings.listener, order.tp);
            return;
        };
        let id = fetcher_id(&order.tp, self.settings.fetchers);
        // It may be with another leader, or under an address that is not the leader's any more.
        for (key, fetcher) in &fetchers.running {
            if *key != (leader, id) {
                fetcher.shared.core.lock().remove(&order.tp);
            }
        }
        let usable = fetchers
            .running
            .get(&(leader, id))
            .is_some_and(|f| f.address == address && !f.shared.ended.load(Ordering::Acquire));
        if !usable {
            let fresh = self.start(leader, id, address);
            if let Some(old) = fetchers.running.insert((leader, id), fresh) {
                old.end();
            }
        }
        if let Some(fetcher) = fetchers.running.get(&(leader, id)) {
            fetcher.shared.core.lock().add(order);
            fetcher.shared.wake.notify_one();
        }
    }
}

impl Fetching for FetcherManager {
    fn follow(&self, orders: Vec<FollowOrder>) {
        if orders.is_empty() {
            return;
        }
        let mut fetchers = self.fetchers.lock();
        if fetchers.stopped {
            return;
        }
        tracing::info!(target: TARGET, "[ReplicaFetcherManager on broker {}] Added fetcher for {} partitions", self.settings.broker_id, orders.len());
        for order in orders {
            self.follow_one(&mut fetchers, order);
        }
    }

    fn unfollow(&self, partitions: &[TopicPartition]) {
        if partitions.is_empty() {
            return;
        }
        let fetchers = self.fetchers.lock();
        let mut removed = 0;
        for fetcher in fetchers.running.values() {
            let mut core = fetcher.shared.core.lock();
            for tp in partitions {
                removed += usize::from(core.follows(tp));
                core.remove(tp);
            }
        }
        if removed > 0 {
            tracing::info!(target: TARGET, "[ReplicaFetcherManager on broker {}] Removed fetcher for {removed} partitions", self.settings.broker_id);
        }
    }

    fn set_topic_id(&self, tp: &TopicPartition, topic_id: Uuid) {
        for fetcher in self.fetchers.lock().running.values() {
            fetcher.shared.core.lock().set_topic_id(tp, topic_id);
        }
    }

    fn end_idle(&self) {
        self.fetchers.lock().running.retain(|_, fetcher| {
            let idle = fetcher.shared.core.lock().is_idle();
            if idle {
                fetcher.end();
            }
            !idle
        });
    }

    fn shut_down(&self) {
        let mut fetchers = self.fetchers.lock();
        fetchers.stopped = true;
        for (_, fetcher) in fetchers.running.drain() {
            fetcher.end();
        }
        tracing::info!(target: TARGET, "[ReplicaFetcherManager on broker {}] shutdown completed", self.settings.broker_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_spread_as_kafka_spreads_them() {
        let id = |topic: &str, partition| fetcher_id(&TopicPartition::new(topic, partition), 4);
        // "t" hashes to 116: 31 * 116 + p.
        assert_eq!([id("t", 0), id("t", 1), id("t", 2), id("t", 3)], [0, 1, 2, 3]);
        assert_eq!(fetcher_id(&TopicPartition::new("__consumer_offsets", 7), 1), 0);
    }
}
