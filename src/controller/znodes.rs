//! What the controller reads and writes in ZooKeeper, in its own terms: brokers, topics, partition states, and the
//! notes others leave for it. Many znodes are read or written at once (pipelined).
//!
//! Answers to the controller's part of Kafka's `KafkaZkClient`. Owns the session's handle and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{join_all, try_join_all};

use super::assignment::{LeaderAndIsr, LeaderIsrAndControllerEpoch};
use super::context::{Broker, BrokerEndpoint};
use super::fence::{ControllerError, ControllerResult, fenced_create, fenced_delete, fenced_set};
use super::partition_machine::StateRead;
use crate::topic::TopicPartition;
use crate::zk::json::{BrokerRegistration, EntityConfig, JsonError, PartitionState, TopicZnode};
use crate::zk::{ANY_VERSION, Stat, Zk, ZkError, paths};

/// What became of a conditional write of one partition's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateWrite {
    /// Done; the state now carries the new data version.
    Written(LeaderAndIsr),
    /// Somebody wrote in between.
    BadVersion,
    Failed(ZkError),
}

/// The controller's hand on ZooKeeper. `fence` arguments are the version of `/controller_epoch`.
#[derive(Clone)]
pub struct Znodes {
    pub zk: Arc<dyn Zk>,
}

fn illegible(path: &str) -> impl FnOnce(JsonError) -> ControllerError + '_ {
    move |error| ControllerError::Znode(format!("Failed to parse the data of {path}: {error}"))
}

fn log_illegible(path: &str, error: &JsonError) {
    tracing::error!(target: "kafka.controller.KafkaController", "Failed to parse the data of {path}: {error}");
}

/// A missing znode as `None`.
pub fn optional<T>(result: Result<T, ZkError>) -> ControllerResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ZkError::NoNode) => Ok(None),
        Err(error) => Err(error.into()),
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

fn to_broker(id: i32, registration: BrokerRegistration, epoch: i64) -> Broker {
    let endpoints = registration.endpoints.into_iter().map(|endpoint| BrokerEndpoint {
        security_protocol: security_protocol(&endpoint.security_protocol),
        listener: endpoint.listener,
        host: endpoint.host,
        port: endpoint.port,
    });
    Broker { id, endpoints: endpoints.collect(), rack: registration.rack, epoch }
}

fn to_info(state: PartitionState, stat: Stat) -> LeaderIsrAndControllerEpoch {
    let leader_and_isr = LeaderAndIsr {
        leader: state.leader,
        leader_epoch: state.leader_epoch,
        isr: state.isr,
        recovering: state.leader_recovery_state == 1,
        partition_epoch: stat.version,
    };
    LeaderIsrAndControllerEpoch { leader_and_isr, controller_epoch: state.controller_epoch }
}

fn encode_state(state: &LeaderAndIsr, controller_epoch: i32) -> Bytes {
    let state = PartitionState {
        leader: state.leader,
        leader_epoch: state.leader_epoch,
        isr: state.isr.clone(),
        controller_epoch,
        leader_recovery_state: i8::from(state.recovering),
    };
    state.encode()
}

impl Znodes {
    /// Children by name; none if the parent is missing.
    pub async fn children(&self, path: &str, watch: bool) -> ControllerResult<Vec<String>> {
        let found = optional(self.zk.get_children(path, watch).await)?;
        let mut names = found.map(|(names, _)| names).unwrap_or_default();
        names.sort();
        Ok(names)
    }

    pub async fn data(&self, path: &str) -> ControllerResult<Option<(Bytes, Stat)>> {
        optional(self.zk.get_data(path, false).await)
    }

    // Brokers.

    /// One broker, with a watch on its registration. One that nobody can make sense of counts as missing: it cannot
    /// be talked to, and must not keep the controller from the others.
    pub async fn broker(&self, id: i32) -> ControllerResult<Option<Broker>> {
        let path = paths::broker(id);
        let Some((data, stat)) = optional(self.zk.get_data(&path, true).await)? else { return Ok(None) };
        match BrokerRegistration::decode(&data) {
            Ok(registration) => Ok(Some(to_broker(id, registration, stat.czxid))),
            Err(error) => {
                log_illegible(&path, &error);
                Ok(None)
            }
        }
    }

    /// All registered brokers, with watches on their coming and going and on each registration.
    pub async fn brokers(&self) -> ControllerResult<Vec<Broker>> {
        let names = self.children(paths::BROKER_IDS, true).await?;
        let ids = names.iter().filter_map(|name| name.parse().ok());
        let brokers = try_join_all(ids.map(|id| self.broker(id))).await?;
        Ok(brokers.into_iter().flatten().collect())
    }

    // Topics.

    pub async fn topics(&self, watch: bool) -> ControllerResult<BTreeSet<Arc<str>>> {
        let names = self.children(paths::TOPICS, watch).await?;
        Ok(names.into_iter().map(Arc::from).collect())
    }

    /// Assignments and ids of topics, with a watch on each; topics without a (legible) znode are left out.
    pub async fn topic_znodes(&self, topics: &BTreeSet<Arc<str>>) -> ControllerResult<Vec<(Arc<str>, TopicZnode)>> {
        let reads = topics.iter().map(|topic| async move {
            let path = paths::topic(topic);
            let Some((data, _)) = optional(self.zk.get_data(&path, true).await)? else { return Ok(None) };
            let znode = TopicZnode::decode(&data).map_err(|error| log_illegible(&path, &error)).ok();
            Ok::<_, ControllerError>(znode.map(|znode| (topic.clone(), znode)))
        });
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    pub async fn set_topic(&self, fence: i32, topic: &str, znode: &TopicZnode) -> ControllerResult {
        fenced_set(&*self.zk, fence, paths::topic(topic), znode.encode(), ANY_VERSION).await?;
        Ok(())
    }

    /// Deletes the topic's znode with all below it, its configuration, and the mark for deletion.
    pub async fn delete_topic(&self, fence: i32, topic: &str) -> ControllerResult {
        self.delete_recursively(fence, paths::topic(topic)).await?;
        fenced_delete(&*self.zk, fence, paths::entity("topics", topic)).await?;
        fenced_delete(&*self.zk, fence, paths::delete_topic(topic)).await
    }

    /// Leaf first.
    async fn delete_recursively(&self, fence: i32, root: String) -> ControllerResult {
        let mut levels = vec![vec![root]];
        while let Some(level) = levels.last().filter(|level| !level.is_empty()) {
            let below = level.iter().map(|path| async move {
                let names = self.children(path, false).await?;
                Ok::<_, ControllerError>(names.iter().map(|name| paths::child(path, name)).collect::<Vec<_>>())
            });
            let below = try_join_all(below).await?.into_iter().flatten().collect();
            levels.push(below);
        }
        for level in levels.into_iter().rev() {
            self.delete_all(fence, level).await?;
        }
        Ok(())
    }

    /// Deletes many znodes at once; missing ones are no error.
    pub async fn delete_all(&self, fence: i32, paths: Vec<String>) -> ControllerResult {
        try_join_all(paths.into_iter().map(|path| fenced_delete(&*self.zk, fence, path))).await?;
        Ok(())
    }

    pub async fn topic_deletions(&self) -> ControllerResult<BTreeSet<Arc<str>>> {
        let names = self.children(paths::DELETE_TOPICS, true).await?;
        Ok(names.into_iter().map(Arc::from).collect())
    }

    /// Takes topics off the list of those to delete.
    pub async fn delete_topic_deletions(&self, fence: i32, topics: &BTreeSet<Arc<str>>) -> ControllerResult {
        self.delete_all(fence, topics.iter().map(|topic| paths::delete_topic(topic)).collect()).await
    }

    /// Of these topics, the ones whose configuration allows a leader outside the ISR; `default` stands in for those
    /// that do not say. Topics whose configuration cannot be read are left out, with a log line.
    pub async fn unclean_topics(&self, topics: BTreeSet<Arc<str>>, default: bool) -> BTreeSet<Arc<str>> {
        let reads = topics.into_iter().map(|topic| async move {
            let path = paths::entity("topics", &topic);
            let config = match self.data(&path).await {
                Ok(Some((data, _))) => EntityConfig::decode(&data).map_err(illegible(&path)),
                Ok(None) => Ok(EntityConfig::default()),
                Err(error) => Err(error),
            };
            let allowed = match config {
                Ok(config) => match config.config.get("unclean.leader.election.enable") {
                    Some(value) => value.trim().eq_ignore_ascii_case("true"),
                    None => default,
                },
                Err(error) => {
                    tracing::error!(target: "state.change.logger", "Configuration of topic {topic}: {error}");
                    false
                }
            };
            allowed.then_some(topic)
        });
        join_all(reads).await.into_iter().flatten().collect()
    }

    // Partition states.

    /// States of partitions. A znode that cannot be read counts as missing.
    pub async fn read_states(&self, partitions: &[TopicPartition]) -> Vec<StateRead> {
        let reads = partitions.iter().map(|partition| async move {
            let path = paths::partition_state(&partition.topic, partition.partition);
            let read = match self.zk.get_data(&path, false).await {
                Ok((data, stat)) => Ok(PartitionState::decode(&data).ok().map(|state| to_info(state, stat))),
                Err(ZkError::NoNode) => Ok(None),
                Err(error) => Err(error.to_string()),
            };
            (partition.clone(), read)
        });
        join_all(reads).await
    }

    /// The states there are, of these partitions. Any failure to read is an error.
    pub async fn known_states(
        &self,
        partitions: &[TopicPartition],
    ) -> ControllerResult<Vec<(TopicPartition, LeaderIsrAndControllerEpoch)>> {
        let mut known = Vec::with_capacity(partitions.len());
        for (partition, read) in self.read_states(partitions).await {
            if let Some(info) = read.map_err(ControllerError::Znode)? {
                known.push((partition, info));
            }
        }
        Ok(known)
    }

    /// Creates the state znodes of new partitions, and their parents. Answers per partition what went wrong.
    pub async fn create_states(
        &self,
        fence: i32,
        controller_epoch: i32,
        states: Vec<(TopicPartition, LeaderAndIsr)>,
    ) -> ControllerResult<Vec<(TopicPartition, LeaderAndIsr, Result<(), ZkError>)>> {
        let topics: BTreeSet<&Arc<str>> = states.iter().map(|(partition, _)| &partition.topic).collect();
        self.create_empty(fence, topics.iter().map(|topic| paths::topic_partitions(topic)).collect()).await?;
        let parents = states.iter().map(|(p, _)| paths::topic_partition(&p.topic, p.partition)).collect();
        self.create_empty(fence, parents).await?;
        let creations = states.into_iter().map(|(partition, state)| async move {
            let path = paths::partition_state(&partition.topic, partition.partition);
            let data = encode_state(&state, controller_epoch);
            match fenced_create(&*self.zk, fence, path, data).await {
                Ok(_) => Ok((partition, state, Ok(()))),
                Err(ControllerError::Zk(error)) => Ok((partition, state, Err(error))),
                Err(error) => Err(error),
            }
        });
        try_join_all(creations).await
    }

    /// Creates directories; what is there already, or fails otherwise, shows when something is put into it.
    async fn create_empty(&self, fence: i32, paths: Vec<String>) -> ControllerResult {
        let creations = paths.into_iter().map(|path| fenced_create(&*self.zk, fence, path, Bytes::new()));
        for created in join_all(creations).await {
            if created == Err(ControllerError::Moved) {
                return Err(ControllerError::Moved);
            }
        }
        Ok(())
    }

    /// Writes states, each on condition that the znode still has the state's partition epoch.
    pub async fn update_states(
        &self,
        fence: i32,
        controller_epoch: i32,
        states: Vec<(TopicPartition, LeaderAndIsr)>,
    ) -> ControllerResult<BTreeMap<TopicPartition, StateWrite>> {
        let writes = states.into_iter().map(|(partition, mut state)| async move {
            let path = paths::partition_state(&partition.topic, partition.partition);
            let data = encode_state(&state, controller_epoch);
            let write = match fenced_set(&*self.zk, fence, path, data, state.partition_epoch).await {
                Ok(stat) => {
                    state.partition_epoch = stat.version;
                    StateWrite::Written(state)
                }
                Err(ControllerError::Zk(ZkError::BadVersion)) => StateWrite::BadVersion,
                Err(ControllerError::Zk(error)) => StateWrite::Failed(error),
                Err(error) => return Err(error),
            };
            Ok((partition, write))
        });
        Ok(try_join_all(writes).await?.into_iter().collect())
    }
}
