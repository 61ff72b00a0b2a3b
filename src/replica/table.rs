//! All replicas of this broker, by topic and index, and the operations that begin with a lookup.
//!
//! Owns the table behind a read-write lock held only for the lookup, and the controller epoch that guards
//! LeaderAndIsr, StopReplica and UpdateMetadata. Answers to Kafka's `ReplicaManager`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::control::LeadershipOrder;
use super::fetcher::Fetching;
use super::isr_manager::IsrManager;
use super::partition::Partition;
use super::waiters::Reached;
use crate::config::LogConfig;
use crate::log::{AppendError, AppendInfo, LogManager, PartitionLog};
use crate::metadata::MetadataCache;
use crate::protocol::ErrorCode;
use crate::quota::ReplicationQuotas;
use crate::record::AppendOrigin;
use crate::topic::TopicPartition;

/// A place in the table.
#[derive(Clone)]
pub enum Hosted {
    Online(Arc<Partition>),
    /// Its log directory failed; stays so until the broker restarts.
    Offline,
}

/// Settings of the table, from server.properties.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaSettings {
    pub broker_id: i32,
    /// `replica.lag.time.max.ms`.
    pub max_lag_ms: i64,
    /// From `inter.broker.protocol.version` 2.7 on leaders tell followers in fetches where their logs part.
    pub truncates_on_fetch: bool,
}

pub struct ReplicaTable {
    pub(super) settings: ReplicaSettings,
    pub(super) logs: Arc<LogManager>,
    pub(super) metadata: Arc<MetadataCache>,
    pub(super) fetchers: Arc<dyn Fetching>,
    pub(super) isr_changes: Arc<IsrManager>,
    quotas: ReplicationQuotas,
    partitions: RwLock<HashMap<Arc<str>, HashMap<i32, Hosted>>>,
    /// Latest controller epoch seen; also orders whole LeaderAndIsr and StopReplica requests.
    pub(super) controller_epoch: Mutex<i32>,
    checkpointing: AtomicBool,
}

impl ReplicaTable {
    pub fn new(
        settings: ReplicaSettings,
        logs: Arc<LogManager>,
        metadata: Arc<MetadataCache>,
        fetchers: Arc<dyn Fetching>,
        isr_changes: Arc<IsrManager>,
    ) -> ReplicaTable {
        ReplicaTable {
            settings,
            logs,
            metadata,
            fetchers,
            isr_changes,
            quotas: ReplicationQuotas::default(),
            partitions: RwLock::default(),
            controller_epoch: Mutex::new(0),
            checkpointing: AtomicBool::new(false),
        }
    }

    /// The same under these throttles; without them nothing is held back.
    pub fn with_quotas(self, quotas: ReplicationQuotas) -> ReplicaTable {
        ReplicaTable { quotas, ..self }
    }

    /// The same, obeying no controller of an earlier epoch than this.
    pub fn with_controller_epoch(self, epoch: i32) -> ReplicaTable {
        ReplicaTable { controller_epoch: Mutex::new(epoch), ..self }
    }

    pub fn broker_id(&self) -> i32 {
        self.settings.broker_id
    }

    /// The throttles of replication.
    pub fn quotas(&self) -> &ReplicationQuotas {
        &self.quotas
    }

    /// The logs beneath, hosted or left over.
    pub fn log_manager(&self) -> &Arc<LogManager> {
        &self.logs
    }

    pub fn hosted(&self, topic: &str, partition: i32) -> Option<Hosted> {
        self.partitions.read().get(topic)?.get(&partition).cloned()
    }

    /// The online replica, or Kafka's reason why there is none.
    pub fn partition(&self, topic: &str, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        match self.hosted(topic, partition) {
            Some(Hosted::Online(partition)) => Ok(partition),
            Some(Hosted::Offline) => Err(ErrorCode::KafkaStorageError),
            None if self.metadata.image().partition(topic, partition).is_some() => Err(ErrorCode::NotLeaderOrFollower),
            None => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }

    /// The replica to apply a LeaderAndIsr to: the hosted one, or a new one put in the table.
    pub(super) fn get_or_insert(&self, tp: &TopicPartition) -> Hosted {
        let mut partitions = self.partitions.write();
        let of_topic = partitions.entry(tp.topic.clone()).or_default();
        of_topic
            .entry(tp.partition)
            .or_insert_with(|| {
                let ReplicaSettings { broker_id, max_lag_ms, .. } = self.settings;
                Hosted::Online(Arc::new(Partition::new(tp.clone(), broker_id, max_lag_ms)))
            })
            .clone()
    }

    /// Topics of orders for which this broker has no log yet.
    pub fn topics_without_log(&self, orders: &[LeadershipOrder]) -> BTreeSet<String> {
        let missing = orders.iter().filter(|order| self.logs.get(&order.tp).is_none());
        missing.map(|order| order.tp.topic.to_string()).collect()
    }

    /// Gives a topic's logs, present and future, their settings, and the throttles those they name.
    pub fn set_topic_config(&self, topic: &str, config: LogConfig) {
        self.quotas.configure_topic(topic, &config, self.settings.broker_id);
        self.logs.set_topic_config(topic, Some(Arc::new(config)));
    }

    /// Takes a replica out of the table.
    pub(super) fn remove(&self, tp: &TopicPartition) -> Option<Hosted> {
        let mut partitions = self.partitions.write();
        let of_topic = partitions.get_mut(&tp.topic)?;
        let removed = of_topic.remove(&tp.partition);
        if of_topic.is_empty() {
            partitions.remove(&tp.topic);
        }
        removed
    }

    /// Marks a replica as lost with its log directory.
    pub fn set_offline(&self, tp: &TopicPartition) {
        self.fetchers.unfollow(std::slice::from_ref(tp));
        let old = self.partitions.write().entry(tp.topic.clone()).or_default().insert(tp.partition, Hosted::Offline);
        if let Some(Hosted::Online(partition)) = old {
            partition.retire();
        }
    }

    /// Every online replica.
    pub fn online(&self) -> Vec<Arc<Partition>> {
        let partitions = self.partitions.read();
        let all = partitions.values().flat_map(|of_topic| of_topic.values());
        all.filter_map(|hosted| match hosted {
            Hosted::Online(partition) => Some(partition.clone()),
            Hosted::Offline => None,
        })
        .collect()
    }

    /// Proposes to do without followers that lag, wherever this broker leads. Due every half `replica.lag.time.max.ms`.
    pub fn shrink_isrs(&self, now_ms: i64) {
        for partition in self.online() {
            if let Some(proposal) = partition.maybe_shrink_isr(now_ms) {
                self.isr_changes.submit(&partition, proposal);
            }
        }
    }

    /// Stops following, for good.
    pub fn stop_following(&self) {
        self.fetchers.shut_down();
    }

    /// Appends as leader, for clients and coordinators alike.
    pub fn append(
        &self,
        topic: &str,
        partition: i32,
        records: Bytes,
        origin: AppendOrigin,
        acks: i16,
        now_ms: i64,
    ) -> Result<(AppendInfo, Option<AckWait>), AppendError> {
        let partition = self.partition(topic, partition).map_err(AppendError::rejected)?;
        let (info, reached) = partition.append_as_leader(records, origin, acks, &|id| self.is_alive(id), now_ms)?;
        Ok((info, reached.map(|reached| AckWait { partition, reached })))
    }

    pub fn is_alive(&self, broker: i32) -> bool {
        self.metadata.image().is_alive(broker)
    }

    /// The log of a replica this broker leads.
    pub fn leader_log(&self, topic: &str, partition: i32) -> Result<Arc<PartitionLog>, ErrorCode> {
        self.partition(topic, partition)?.local_log(super::partition::ExpectedEpoch::ANY, true)
    }

    /// Writes the high watermarks to disk; nothing before the first LeaderAndIsr.
    pub fn checkpoint_high_watermarks(&self) {
        if !self.checkpointing.load(Ordering::Relaxed) {
            return;
        }
        let marks = self.online().into_iter().filter_map(|p| p.log());
        self.logs.checkpoint_high_watermarks(marks);
    }

    pub(super) fn begin_checkpointing(&self) {
        self.checkpointing.store(true, Ordering::Relaxed);
    }
}

/// A wait for an acks=all append, resolved into the code the client gets.
pub struct AckWait {
    partition: Arc<Partition>,
    reached: Reached,
}

impl AckWait {
    /// The outcome; only a dropped partition can end the wait without one.
    pub async fn outcome(self) -> ErrorCode {
        match self.reached.await {
            Ok(Ok(())) => self.partition.acknowledge(),
            Ok(Err(code)) => code,
            Err(_) => ErrorCode::NotLeaderOrFollower,
        }
    }
}
