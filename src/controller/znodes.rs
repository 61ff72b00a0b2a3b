//! What the controller reads and writes in ZooKeeper, in its own terms: brokers, topics and partition states as the
//! context keeps them, and the few things that concern nobody else. Everything goes through [`Store`].
//!
//! One broker or topic whose znode cannot be read is logged and left out: it must not keep the controller from the
//! others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};

use super::assignment::{LeaderAndIsr, LeaderIsrAndControllerEpoch};
use super::context::{Broker, BrokerEndpoint};
use super::error::ControllerResult;
use super::partition_machine::StateRead;
use crate::topic::TopicPartition;
use crate::zk::json::{FeatureStatus, FeatureZnode, PartitionState, TopicZnode};
use crate::zk::paths;
use crate::zk::store::{ControllerEpoch, RegisteredBroker, Store, StoreError, VersionedState};

const TARGET: &str = "kafka.controller.KafkaController";
/// Reads polled together; the session bounds what is really in flight.
const PIPELINE: usize = 64;

/// What became of a conditional write of one partition's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateWrite {
    /// Done; the state now carries the new data version.
    Written(LeaderAndIsr),
    /// Somebody wrote in between.
    BadVersion,
    Failed(StoreError),
}

/// The controller's hand on ZooKeeper.
#[derive(Clone)]
pub struct Znodes {
    pub store: Arc<Store>,
}

/// What cannot be read counts as missing.
fn legible<T>(read: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(error @ StoreError::BadData { .. }) => {
            tracing::error!(target: TARGET, "{error}");
            Ok(None)
        }
        read => read,
    }
}

fn security_protocol(name: &str) -> i16 {
    match name.to_uppercase().as_str() {
        "SSL" => 1,
        "SASL_PLAINTEXT" => 2,
        "SASL_SSL" => 3,
        _ => 0,
    }
}

fn to_broker(id: i32, broker: RegisteredBroker) -> Broker {
    let endpoints = broker.registration.endpoints.into_iter().map(|endpoint| BrokerEndpoint {
        security_protocol: security_protocol(&endpoint.security_protocol),
        listener: endpoint.listener,
        host: endpoint.host,
        port: endpoint.port,
    });
    Broker { id, endpoints: endpoints.collect(), rack: broker.registration.rack, epoch: broker.epoch }
}

fn to_info(found: VersionedState) -> LeaderIsrAndControllerEpoch {
    let leader_and_isr = LeaderAndIsr {
        leader: found.state.leader,
        leader_epoch: found.state.leader_epoch,
        isr: found.state.isr,
        recovering: found.state.leader_recovery_state == 1,
        partition_epoch: found.version,
    };
    LeaderIsrAndControllerEpoch { leader_and_isr, controller_epoch: found.state.controller_epoch }
}

fn to_znode(state: &LeaderAndIsr, controller_epoch: i32) -> PartitionState {
    PartitionState {
        leader: state.leader,
        leader_epoch: state.leader_epoch,
        isr: state.isr.clone(),
        controller_epoch,
        leader_recovery_state: i8::from(state.recovering),
    }
}

/// Runs requests with bounded overlap; results in their order.
async fn pipelined<T>(requests: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(requests).buffered(PIPELINE).collect().await
}

impl Znodes {
    /// One broker, with a watch on its registration.
    pub async fn broker(&self, id: i32) -> ControllerResult<Option<Broker>> {
        Ok(legible(self.store.broker(id, true).await)?.map(|broker| to_broker(id, broker)))
    }

    /// All registered brokers, with watches on their coming and going and on each registration.
    pub async fn brokers(&self) -> ControllerResult<Vec<Broker>> {
        let ids = self.store.broker_ids(true).await?;
        let mut brokers = Vec::with_capacity(ids.len());
        for broker in pipelined(ids.into_iter().map(|id| self.broker(id).boxed()).collect()).await {
            brokers.extend(broker?);
        }
        Ok(brokers)
    }

    /// All topics, with a watch on their coming and going.
    pub async fn topics(&self) -> ControllerResult<BTreeSet<Arc<str>>> {
        Ok(self.store.topics(true).await?.into_iter().map(Arc::from).collect())
    }

    /// Assignments and ids of topics, with a watch on each.
    pub async fn topic_znodes(&self, topics: &BTreeSet<Arc<str>>) -> ControllerResult<Vec<(Arc<str>, TopicZnode)>> {
        let reads = topics
            .iter()
            .map(|topic| async move { (topic.clone(), legible(self.store.topic(topic, true).await)) }.boxed());
        let mut found = Vec::with_capacity(topics.len());
        for (topic, read) in pipelined(reads.collect()).await {
            if let Some(znode) = read? {
                found.push((topic, znode));
            }
        }
        Ok(found)
    }

    /// Topics marked for deletion, with a watch on the list.
    pub async fn topic_deletions(&self) -> ControllerResult<BTreeSet<Arc<str>>> {
        Ok(self.store.topic_deletions(true).await?.into_iter().map(Arc::from).collect())
    }

    /// Takes topics off the list of those to delete.
    pub async fn delete_topic_deletions(
        &self,
        fence: ControllerEpoch,
        topics: &BTreeSet<Arc<str>>,
    ) -> ControllerResult {
        let names: Vec<String> = topics.iter().map(|topic| topic.to_string()).collect();
        Ok(self.store.delete_topic_deletions(&names, fence).await?)
    }

    /// Deletes the topic's znode with all below it, its configuration, and the mark for deletion.
    pub async fn delete_topic(&self, fence: ControllerEpoch, topic: &str) -> ControllerResult {
        let names = [topic.to_owned()];
        self.store.delete_topic(topic, fence).await?;
        self.store.delete_topic_configs(&names, fence).await?;
        Ok(self.store.delete_topic_deletions(&names, fence).await?)
    }

    /// Of these topics, the ones whose configuration allows a leader outside the ISR; `default` stands in for those
    /// that do not say. Topics whose configuration cannot be read are left out, with a log line.
    pub async fn unclean_topics(&self, topics: BTreeSet<Arc<str>>, default: bool) -> BTreeSet<Arc<str>> {
        let mut allowed = BTreeSet::new();
        for topic in topics {
            match self.store.entity_config("topics", &topic).await {
                Ok(config) => {
                    let value = config.get("unclean.leader.election.enable");
                    if value.map_or(default, |value| value.trim().eq_ignore_ascii_case("true")) {
                        allowed.insert(topic);
                    }
                }
                Err(error) => {
                    tracing::error!(target: "state.change.logger", "Configuration of topic {topic}: {error}");
                }
            }
        }
        allowed
    }

    // Partition states.

    /// States of partitions, each with its own outcome. One that cannot be read counts as missing.
    pub async fn read_states(&self, partitions: &[TopicPartition]) -> Vec<StateRead> {
        let reads = self.store.read_partition_states(partitions).await.into_iter();
        reads.map(|(partition, read)| (partition, legible(read).map(|found| found.map(to_info)))).collect()
    }

    /// The same for a controller that is about to act on them. A state that a later controller wrote makes it look
    /// whether it is still in office: `Moved` if not.
    pub async fn read_states_in_office(
        &self,
        fence: ControllerEpoch,
        partitions: &[TopicPartition],
    ) -> ControllerResult<Vec<StateRead>> {
        let reads = self.read_states(partitions).await;
        let mut infos = reads.iter().filter_map(|(_, read)| read.as_ref().ok()?.as_ref());
        if infos.any(|info| info.controller_epoch > fence.epoch) {
            self.store.confirm_office(fence).await?;
        }
        Ok(reads)
    }

    /// The states there are, of these partitions, each with the id of the transaction that wrote it. Any failure to
    /// read is an error.
    pub async fn dated_states(
        &self,
        partitions: &[TopicPartition],
    ) -> ControllerResult<Vec<(TopicPartition, LeaderIsrAndControllerEpoch, i64)>> {
        let mut known = Vec::with_capacity(partitions.len());
        for (partition, read) in self.store.read_partition_states(partitions).await {
            if let Some(found) = legible(read)? {
                let written = found.written;
                known.push((partition, to_info(found), written));
            }
        }
        Ok(known)
    }

    /// The states there are, of these partitions. Any failure to read is an error.
    pub async fn known_states(
        &self,
        partitions: &[TopicPartition],
    ) -> ControllerResult<Vec<(TopicPartition, LeaderIsrAndControllerEpoch)>> {
        let mut known = Vec::with_capacity(partitions.len());
        for (partition, read) in self.read_states(partitions).await {
            if let Some(info) = read? {
                known.push((partition, info));
            }
        }
        Ok(known)
    }

    /// Creates the state znodes of new partitions, and their parents. Answers per partition what went wrong.
    pub async fn create_states(
        &self,
        fence: ControllerEpoch,
        states: Vec<(TopicPartition, LeaderAndIsr)>,
    ) -> ControllerResult<Vec<(TopicPartition, LeaderAndIsr, Result<(), StoreError>)>> {
        let znodes: Vec<_> = states.iter().map(|(p, state)| (p.clone(), to_znode(state, fence.epoch))).collect();
        let results = self.store.create_partition_states(&znodes, fence).await?;
        let zipped = states.into_iter().zip(results);
        Ok(zipped.map(|((partition, state), (_, result))| (partition, state, result.map(|_| ()))).collect())
    }

    /// Writes states, each on condition that the znode still has the state's partition epoch.
    pub async fn update_states(
        &self,
        fence: ControllerEpoch,
        states: Vec<(TopicPartition, LeaderAndIsr)>,
    ) -> ControllerResult<BTreeMap<TopicPartition, StateWrite>> {
        let with_versions = states.iter().map(|(p, s)| (p.clone(), to_znode(s, fence.epoch), s.partition_epoch));
        let results = self.store.set_partition_states(&with_versions.collect::<Vec<_>>(), fence).await?;
        let writes = states.into_iter().zip(results).map(|((partition, state), (_, result))| {
            let write = match result {
                Ok(version) => StateWrite::Written(LeaderAndIsr { partition_epoch: version, ..state }),
                Err(error) if error.is_bad_version() => StateWrite::BadVersion,
                Err(error) => StateWrite::Failed(error),
            };
            (partition, write)
        });
        Ok(writes.collect())
    }

    // What only a controller does.

    /// Makes sure that `/feature` says "enabled" in this format version. Answers the data version written, `None` if
    /// nothing had to be.
    pub async fn enable_features(&self, format: i32) -> ControllerResult<Option<i32>> {
        let enabled = FeatureZnode::empty(format, FeatureStatus::Enabled);
        let Some((found, _)) = self.store.feature(false).await? else {
            tracing::info!(target: TARGET, "Creating FeatureZNode at path: {} with contents: {enabled:?}", paths::FEATURE);
            self.store.create_feature(&enabled).await?;
            return Ok(self.store.feature(false).await?.map(|(_, version)| version));
        };
        let features = match found.status {
            FeatureStatus::Enabled => found.features.clone(),
            FeatureStatus::Disabled => BTreeMap::new(),
        };
        let wanted = FeatureZnode { features, ..enabled };
        if wanted == found {
            return Ok(None);
        }
        tracing::info!(target: TARGET, "Updating FeatureZNode at path: {} with contents: {wanted:?}", paths::FEATURE);
        Ok(Some(self.store.set_feature(&wanted).await?))
    }

    /// Makes sure that `/feature` says "disabled" and lists nothing.
    pub async fn disable_features(&self, format: i32) -> ControllerResult {
        let disabled = FeatureZnode::empty(format, FeatureStatus::Disabled);
        match self.store.feature(false).await? {
            None => self.store.create_feature(&disabled).await?,
            Some((found, _)) if found == disabled => {}
            Some(_) => drop(self.store.set_feature(&disabled).await?),
        }
        Ok(())
    }

    /// What `/admin/reassign_partitions` asks for; nothing if it is missing or cannot be read.
    pub async fn reassignment(&self) -> ControllerResult<BTreeMap<TopicPartition, Vec<i32>>> {
        Ok(legible(self.store.reassignment().await)?.map(|znode| znode.partitions).unwrap_or_default())
    }

    /// What `/admin/preferred_replica_election` asks for; nothing if it is missing or cannot be read.
    pub async fn preferred_election(&self) -> ControllerResult<BTreeSet<TopicPartition>> {
        let found = legible(self.store.preferred_election().await)?;
        Ok(found.map(|znode| znode.partitions.into_iter().collect()).unwrap_or_default())
    }
}
