//! All the controller knows about the cluster, in memory: brokers, topics, assignments, leaders, the states of
//! the two state machines, and what is being deleted or reassigned. No I/O; owned by the event loop alone.
//!
//! Answers to Kafka's `ControllerContext`. Maps are ordered, so that what is derived from them (writes to
//! ZooKeeper, requests to brokers) comes in the same order in every run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::assignment::{EPOCH_DURING_DELETE, LeaderAndIsr, LeaderIsrAndControllerEpoch, NO_EPOCH, ReplicaAssignment};
use super::partition_machine::PartitionState;
use super::replica_machine::ReplicaState;
use crate::topic::TopicPartition;
use crate::zk::store::ControllerEpoch;

/// One address a broker listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerEndpoint {
    pub host: String,
    pub port: i32,
    /// Listener name, upper case.
    pub listener: String,
    /// PLAINTEXT 0, SSL 1, SASL_PLAINTEXT 2, SASL_SSL 3.
    pub security_protocol: i16,
}

/// A registered broker as its znode describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    pub endpoints: Vec<BrokerEndpoint>,
    pub rack: Option<String>,
    /// Czxid of the registration znode: the broker epoch.
    pub epoch: i64,
}

impl Broker {
    /// The address of this listener, if the broker has it.
    pub fn endpoint(&self, listener: &str) -> Option<&BrokerEndpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == listener)
    }
}

/// One replica of one partition.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionAndReplica {
    pub partition: TopicPartition,
    pub replica: i32,
}

impl PartitionAndReplica {
    pub fn new(partition: TopicPartition, replica: i32) -> PartitionAndReplica {
        PartitionAndReplica { partition, replica }
    }
}

impl fmt::Display for PartitionAndReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TopicPartition { topic, partition } = &self.partition;
        write!(f, "[Topic={topic},Partition={partition},Replica={}]", self.replica)
    }
}

impl fmt::Debug for PartitionAndReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the controller's metrics show (`ActiveControllerCount`, `OfflinePartitionsCount`, ...); zeros outside the office.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControllerStats {
    pub active: bool,
    pub active_brokers: usize,
    pub topics: usize,
    pub partitions: usize,
    pub offline_partitions: usize,
    pub preferred_replica_imbalance: usize,
    pub topics_to_delete: usize,
    pub replicas_to_delete: usize,
    pub topics_ineligible_to_delete: usize,
    pub replicas_ineligible_to_delete: usize,
}

/// The controller's view of the cluster. `epoch` 0 means that this broker is not the controller.
#[derive(Debug, Default)]
pub struct ControllerContext {
    /// Controller epoch; 0 outside the office.
    pub epoch: i32,
    /// Data version of `/controller_epoch`, which fences the controller's writes.
    pub epoch_zk_version: i32,
    /// Registered brokers, those shutting down among them.
    brokers: BTreeMap<i32, Broker>,
    pub shutting_down: BTreeSet<i32>,
    pub topics: BTreeSet<Arc<str>>,
    topic_ids: BTreeMap<Arc<str>, Uuid>,
    topic_names: BTreeMap<Uuid, Arc<str>>,
    assignments: BTreeMap<Arc<str>, BTreeMap<i32, ReplicaAssignment>>,
    leadership: BTreeMap<TopicPartition, LeaderIsrAndControllerEpoch>,
    pub being_reassigned: BTreeSet<TopicPartition>,
    partition_states: BTreeMap<TopicPartition, PartitionState>,
    replica_states: BTreeMap<PartitionAndReplica, ReplicaState>,
    /// Partitions whose replica on that broker lies on a failed log dir.
    pub offline_dirs: BTreeMap<i32, BTreeSet<TopicPartition>>,
    /// Replicas whose brokers came back unseen and that count as offline while a new controller takes over.
    pub returned: BTreeSet<PartitionAndReplica>,
    pub topics_to_be_deleted: BTreeSet<Arc<str>>,
    pub topics_with_deletion_started: BTreeSet<Arc<str>>,
    pub topics_ineligible_for_deletion: BTreeSet<Arc<str>>,
}

impl ControllerContext {
    /// Forgets everything, as a controller does that resigns.
    pub fn reset(&mut self) {
        *self = ControllerContext::default();
    }

    /// What every write of the controller carries.
    pub fn fence(&self) -> ControllerEpoch {
        ControllerEpoch { epoch: self.epoch, zk_version: self.epoch_zk_version }
    }

    // Brokers.

    pub fn set_live_brokers(&mut self, brokers: impl IntoIterator<Item = Broker>) {
        self.brokers = brokers.into_iter().map(|broker| (broker.id, broker)).collect();
    }

    pub fn add_live_brokers(&mut self, brokers: impl IntoIterator<Item = Broker>) {
        self.brokers.extend(brokers.into_iter().map(|broker| (broker.id, broker)));
    }

    pub fn remove_live_brokers(&mut self, ids: &BTreeSet<i32>) {
        self.brokers.retain(|id, _| !ids.contains(id));
    }

    /// A registered broker, shutting down or not.
    pub fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    pub fn live_or_shutting_down_brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    pub fn live_or_shutting_down_ids(&self) -> BTreeSet<i32> {
        self.brokers.keys().copied().collect()
    }

    pub fn live_ids(&self) -> BTreeSet<i32> {
        self.brokers.keys().copied().filter(|id| !self.shutting_down.contains(id)).collect()
    }

    pub fn is_live(&self, id: i32) -> bool {
        self.brokers.contains_key(&id) && !self.shutting_down.contains(&id)
    }

    /// Whether the replica can serve: its broker is registered and not shutting down, its log dir did not fail.
    pub fn is_replica_online(&self, id: i32, partition: &TopicPartition) -> bool {
        self.is_live(id) && !self.is_on_offline_dir(id, partition) && !self.has_returned(id, partition)
    }

    /// The same, with brokers counted in that are shutting down.
    pub fn is_replica_online_or_shutting_down(&self, id: i32, partition: &TopicPartition) -> bool {
        self.brokers.contains_key(&id) && !self.is_on_offline_dir(id, partition) && !self.has_returned(id, partition)
    }

    fn has_returned(&self, id: i32, partition: &TopicPartition) -> bool {
        !self.returned.is_empty() && self.returned.contains(&PartitionAndReplica::new(partition.clone(), id))
    }

    fn is_on_offline_dir(&self, id: i32, partition: &TopicPartition) -> bool {
        self.offline_dirs.get(&id).is_some_and(|partitions| partitions.contains(partition))
    }

    // Topics and assignments.

    /// Remembers a topic's id. False (and nothing changed) if the topic or the id is known otherwise already.
    pub fn add_topic_id(&mut self, topic: &Arc<str>, id: Uuid) -> bool {
        let other_id = self.topic_ids.get(topic).is_some_and(|known| *known != id);
        let other_name = self.topic_names.get(&id).is_some_and(|known| known != topic);
        if !self.topics.contains(topic) || other_id || other_name {
            return false;
        }
        self.topic_ids.insert(topic.clone(), id);
        self.topic_names.insert(id, topic.clone());
        true
    }

    pub fn topic_id(&self, topic: &str) -> Option<Uuid> {
        self.topic_ids.get(topic).copied()
    }

    pub fn topic_name(&self, id: Uuid) -> Option<&Arc<str>> {
        self.topic_names.get(&id)
    }

    pub fn assignment(&self, partition: &TopicPartition) -> Option<&ReplicaAssignment> {
        self.assignments.get(&partition.topic)?.get(&partition.partition)
    }

    /// Assigned broker ids in order; empty for a partition that is not known.
    pub fn replicas(&self, partition: &TopicPartition) -> &[i32] {
        self.assignment(partition).map_or(&[], |assignment| &assignment.replicas)
    }

    pub fn set_assignment(&mut self, partition: &TopicPartition, assignment: ReplicaAssignment) {
        self.assignments.entry(partition.topic.clone()).or_default().insert(partition.partition, assignment);
    }

    /// The whole assignment of a topic, by partition number.
    pub fn topic_assignment(&self, topic: &str) -> BTreeMap<i32, ReplicaAssignment> {
        self.assignments.get(topic).cloned().unwrap_or_default()
    }

    pub fn all_partitions(&self) -> Vec<TopicPartition> {
        self.each_assignment().map(|(partition, _)| partition).collect()
    }

    pub fn each_assignment(&self) -> impl Iterator<Item = (TopicPartition, &ReplicaAssignment)> {
        self.assignments.iter().flat_map(|(topic, partitions)| {
            partitions
                .iter()
                .map(|(partition, assignment)| (TopicPartition::new(topic.clone(), *partition), assignment))
        })
    }

    pub fn partitions_of(&self, topic: &Arc<str>) -> Vec<TopicPartition> {
        let partitions = self.assignments.get(topic).into_iter().flat_map(BTreeMap::keys);
        partitions.map(|partition| TopicPartition::new(topic.clone(), *partition)).collect()
    }

    pub fn replicas_of_topic(&self, topic: &Arc<str>) -> Vec<PartitionAndReplica> {
        self.replicas_of(&self.partitions_of(topic))
    }

    pub fn replicas_of(&self, partitions: &[TopicPartition]) -> Vec<PartitionAndReplica> {
        let replica_of = |partition: &TopicPartition, id: &i32| PartitionAndReplica::new(partition.clone(), *id);
        partitions
            .iter()
            .flat_map(|partition| self.replicas(partition).iter().map(move |id| replica_of(partition, id)))
            .collect()
    }

    pub fn replicas_on(&self, brokers: &BTreeSet<i32>) -> Vec<PartitionAndReplica> {
        let mut found = Vec::new();
        for (partition, assignment) in self.each_assignment() {
            for id in assignment.replicas.iter().filter(|id| brokers.contains(id)) {
                found.push(PartitionAndReplica::new(partition.clone(), *id));
            }
        }
        found
    }

    pub fn partitions_on(&self, broker: i32) -> Vec<TopicPartition> {
        let hosts = |assignment: &ReplicaAssignment| assignment.replicas.contains(&broker);
        self.each_assignment().filter(|(_, a)| hosts(a)).map(|(partition, _)| partition).collect()
    }

    /// Drops the topic from everything but the states of its replicas and partitions.
    pub fn remove_topic(&mut self, topic: &str) {
        self.topics_to_be_deleted.remove(topic);
        self.topics_with_deletion_started.remove(topic);
        self.topics_ineligible_for_deletion.remove(topic);
        self.topics.remove(topic);
        if let Some(id) = self.topic_ids.remove(topic) {
            self.topic_names.remove(&id);
        }
        for partition in self.assignments.remove(topic).unwrap_or_default().into_keys() {
            let partition = TopicPartition::new(topic, partition);
            self.leadership.remove(&partition);
            self.being_reassigned.remove(&partition);
        }
        // Kafka leaves the states behind, and a topic created anew under the name then trips over them.
        self.partition_states.retain(|partition, _| &*partition.topic != topic);
        self.replica_states.retain(|replica, _| &*replica.partition.topic != topic);
    }

    pub fn is_queued_for_deletion(&self, topic: &str) -> bool {
        self.topics_to_be_deleted.contains(topic)
    }

    // Leadership.

    pub fn leadership(&self, partition: &TopicPartition) -> Option<&LeaderIsrAndControllerEpoch> {
        self.leadership.get(partition)
    }

    pub fn leader_and_isr(&self, partition: &TopicPartition) -> Option<&LeaderAndIsr> {
        self.leadership.get(partition).map(|info| &info.leader_and_isr)
    }

    pub fn set_leadership(&mut self, partition: &TopicPartition, info: LeaderIsrAndControllerEpoch) {
        self.leadership.insert(partition.clone(), info);
    }

    /// Remembers a state this controller has just written.
    pub fn set_own_leadership(&mut self, partition: &TopicPartition, leader_and_isr: LeaderAndIsr) {
        let controller_epoch = self.epoch;
        self.set_leadership(partition, LeaderIsrAndControllerEpoch { leader_and_isr, controller_epoch });
    }

    pub fn clear_leadership(&mut self) {
        self.leadership.clear();
    }

    /// The leader epoch StopReplica carries.
    pub fn leader_epoch_for_stop(&self, partition: &TopicPartition) -> i32 {
        if self.is_queued_for_deletion(&partition.topic) {
            EPOCH_DURING_DELETE
        } else {
            self.leader_and_isr(partition).map_or(NO_EPOCH, |state| state.leader_epoch)
        }
    }

    pub fn partitions_with_leaders(&self) -> Vec<TopicPartition> {
        self.leadership.keys().filter(|p| !self.is_queued_for_deletion(&p.topic)).cloned().collect()
    }

    pub fn partitions_with_offline_leader(&self) -> Vec<TopicPartition> {
        let offline = |p: &TopicPartition, info: &LeaderIsrAndControllerEpoch| {
            !self.is_replica_online(info.leader_and_isr.leader, p) && !self.is_queued_for_deletion(&p.topic)
        };
        self.leadership.iter().filter(|(p, info)| offline(p, info)).map(|(p, _)| p.clone()).collect()
    }

    /// Partitions with more than one replica that this broker leads, those being deleted left out.
    pub fn partitions_led_by(&self, broker: i32) -> Vec<TopicPartition> {
        let led = |p: &TopicPartition, info: &LeaderIsrAndControllerEpoch| {
            info.leader_and_isr.leader == broker && self.replicas(p).len() > 1 && !self.is_queued_for_deletion(&p.topic)
        };
        self.leadership.iter().filter(|(p, info)| led(p, info)).map(|(p, _)| p.clone()).collect()
    }

    // States of the two machines.

    pub fn partition_state(&self, partition: &TopicPartition) -> PartitionState {
        self.partition_states.get(partition).copied().unwrap_or(PartitionState::NonExistent)
    }

    pub fn set_partition_state(&mut self, partition: &TopicPartition, state: PartitionState) {
        self.partition_states.insert(partition.clone(), state);
    }

    /// New and offline partitions, of one topic or of all; those of topics being deleted left out.
    pub fn partitions_to_bring_online(&self, topic: Option<&str>) -> Vec<TopicPartition> {
        let wanted = |p: &TopicPartition, state: PartitionState| {
            matches!(state, PartitionState::New | PartitionState::Offline)
                && topic.is_none_or(|topic| &*p.topic == topic)
                && !self.is_queued_for_deletion(&p.topic)
        };
        self.partition_states.iter().filter(|(p, state)| wanted(p, **state)).map(|(p, _)| p.clone()).collect()
    }

    pub fn replica_state(&self, replica: &PartitionAndReplica) -> ReplicaState {
        self.replica_states.get(replica).copied().unwrap_or(ReplicaState::NonExistent)
    }

    pub fn set_replica_state(&mut self, replica: &PartitionAndReplica, state: ReplicaState) {
        self.replica_states.insert(replica.clone(), state);
    }

    pub fn remove_replica_state(&mut self, replica: &PartitionAndReplica) {
        self.replica_states.remove(replica);
    }

    pub fn replicas_in_state(&self, topic: &Arc<str>, state: ReplicaState) -> Vec<PartitionAndReplica> {
        let mut replicas = self.replicas_of_topic(topic);
        replicas.retain(|replica| self.replica_state(replica) == state);
        replicas
    }

    pub fn any_replica_in_state(&self, topic: &Arc<str>, state: ReplicaState) -> bool {
        self.replicas_of_topic(topic).iter().any(|replica| self.replica_state(replica) == state)
    }

    pub fn all_replicas_in_state(&self, topic: &Arc<str>, state: ReplicaState) -> bool {
        self.replicas_of_topic(topic).iter().all(|replica| self.replica_state(replica) == state)
    }

    /// The figures of the metrics of these names.
    pub fn stats(&self) -> ControllerStats {
        let started = |p: &TopicPartition| self.topics_with_deletion_started.contains(&p.topic);
        let states = self.partition_states.iter();
        let queued = || self.topics_to_be_deleted.iter().flat_map(|topic| self.replicas_of_topic(topic));
        let in_state = |state: ReplicaState| queued().filter(|r| self.replica_state(r) == state).count();
        let leaders = self.leadership.iter().filter(|(p, _)| !self.is_queued_for_deletion(&p.topic));
        ControllerStats {
            active: self.epoch > 0,
            active_brokers: self.brokers.len(),
            topics: self.topics.len(),
            partitions: self.leadership.len(),
            offline_partitions: states.filter(|(p, s)| **s == PartitionState::Offline && !started(p)).count(),
            preferred_replica_imbalance: leaders.filter(|(p, info)| !self.led_by_preferred(p, info)).count(),
            topics_to_delete: self.topics_to_be_deleted.len(),
            replicas_to_delete: queued().count() - in_state(ReplicaState::DeletionSuccessful),
            topics_ineligible_to_delete: self.topics_ineligible_for_deletion.len(),
            replicas_ineligible_to_delete: in_state(ReplicaState::DeletionIneligible),
        }
    }

    /// A replica that a reassignment puts first counts only once it is in sync.
    fn led_by_preferred(&self, partition: &TopicPartition, info: &LeaderIsrAndControllerEpoch) -> bool {
        let Some(assignment) = self.assignment(partition) else { return true };
        let Some(head) = assignment.replicas.first() else { return true };
        match assignment.adding.contains(head) {
            true => !info.leader_and_isr.isr.contains(head),
            false => info.leader_and_isr.leader == *head,
        }
    }
}
