//! One batch of requests to brokers: what the state machines collect while they decide, and the requests made of
//! it at the end. Per broker LeaderAndIsr comes first, then UpdateMetadata, then StopReplica.
//!
//! Answers to Kafka's `ControllerBrokerRequestBatch`. A batch is a value of its own: made, filled, turned into
//! requests; so there is no state that one decision could leave behind for the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::assignment::LEADER_DURING_DELETE;
use super::context::{Broker, ControllerContext};
use super::versions::ControlVersions;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::leader_and_isr_request::{
    LeaderAndIsrLiveLeader, LeaderAndIsrPartitionState, LeaderAndIsrTopicState,
};
use crate::protocol::messages::stop_replica_request::{
    StopReplicaPartitionState, StopReplicaPartitionV0, StopReplicaTopicState, StopReplicaTopicV1,
};
use crate::protocol::messages::update_metadata_request::{
    UpdateMetadataBroker, UpdateMetadataEndpoint, UpdateMetadataPartitionState, UpdateMetadataTopicState,
};
use crate::protocol::messages::{BrokerId, LeaderAndIsrRequest, StopReplicaRequest, TopicName, UpdateMetadataRequest};
use crate::topic::TopicPartition;

/// A request of the controller to one broker.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlRequest {
    LeaderAndIsr(LeaderAndIsrRequest),
    UpdateMetadata(UpdateMetadataRequest),
    /// `deleting`: the partitions whose data the broker is told to delete.
    StopReplica {
        request: StopReplicaRequest,
        deleting: BTreeSet<TopicPartition>,
    },
}

/// What the batch needs to know besides the context.
#[derive(Clone, Debug)]
pub struct BatchSettings {
    /// Broker id of this controller.
    pub me: i32,
    pub versions: ControlVersions,
    /// `inter.broker.listener.name`, for the leaders' addresses in LeaderAndIsr.
    pub inter_broker_listener: String,
}

/// Requests being collected.
#[derive(Debug, Default)]
pub struct RequestBatch {
    leader_and_isr: BTreeMap<i32, BTreeMap<TopicPartition, LeaderAndIsrPartitionState>>,
    stop_replica: BTreeMap<i32, BTreeMap<TopicPartition, (i32, bool)>>,
    update_metadata_brokers: BTreeSet<i32>,
    update_metadata: BTreeMap<TopicPartition, UpdateMetadataPartitionState>,
}

fn ids(list: &[i32]) -> Vec<BrokerId> {
    list.iter().map(|id| BrokerId(*id)).collect()
}

fn topic_name(topic: &Arc<str>) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_string()))
}

impl RequestBatch {
    pub fn new() -> RequestBatch {
        RequestBatch::default()
    }

    /// LeaderAndIsr of the partition's known state to `brokers`, and UpdateMetadata of it to all. A later entry
    /// for the same broker and partition replaces the earlier one, but once new stays new.
    pub fn add_leader_and_isr(
        &mut self,
        ctx: &ControllerContext,
        brokers: &[i32],
        partition: &TopicPartition,
        is_new: bool,
    ) {
        let Some(info) = ctx.leadership(partition) else { return };
        let assignment = ctx.assignment(partition).cloned().unwrap_or_default();
        for broker in brokers.iter().filter(|id| **id >= 0) {
            let partitions = self.leader_and_isr.entry(*broker).or_default();
            let already_new = partitions.get(partition).is_some_and(|state| state.is_new);
            let state = LeaderAndIsrPartitionState::default()
                .with_partition_index(partition.partition)
                .with_controller_epoch(info.controller_epoch)
                .with_leader(BrokerId(info.leader_and_isr.leader))
                .with_leader_epoch(info.leader_and_isr.leader_epoch)
                .with_isr(ids(&info.leader_and_isr.isr))
                .with_partition_epoch(info.leader_and_isr.partition_epoch)
                .with_replicas(ids(&assignment.replicas))
                .with_adding_replicas(ids(&assignment.adding))
                .with_removing_replicas(ids(&assignment.removing))
                .with_is_new(is_new || already_new)
                .with_leader_recovery_state(i8::from(info.leader_and_isr.recovering));
            partitions.insert(partition.clone(), state);
        }
        self.add_update_metadata(ctx, &ctx.live_or_shutting_down_ids(), std::slice::from_ref(partition));
    }

    /// StopReplica to `brokers`; once it deletes it goes on deleting.
    pub fn add_stop_replica(
        &mut self,
        ctx: &ControllerContext,
        brokers: &[i32],
        partition: &TopicPartition,
        delete: bool,
    ) {
        let leader_epoch = ctx.leader_epoch_for_stop(partition);
        for broker in brokers.iter().filter(|id| **id >= 0) {
            let partitions = self.stop_replica.entry(*broker).or_default();
            let already_delete = partitions.get(partition).is_some_and(|(_, delete)| *delete);
            partitions.insert(partition.clone(), (leader_epoch, delete || already_delete));
        }
    }

    /// UpdateMetadata to `brokers`; the partitions are shared by all recipients of the batch. Those without a
    /// leader yet are left out.
    pub fn add_update_metadata(
        &mut self,
        ctx: &ControllerContext,
        brokers: &BTreeSet<i32>,
        partitions: &[TopicPartition],
    ) {
        self.update_metadata_brokers.extend(brokers.iter().filter(|id| **id >= 0));
        for partition in partitions {
            let Some(info) = ctx.leadership(partition) else {
                tracing::info!(
                    target: "kafka.controller.ControllerBrokerRequestBatch",
                    "Leader not yet assigned for partition {partition}. Skip sending UpdateMetadataRequest."
                );
                continue;
            };
            let state = &info.leader_and_isr;
            let (leader, leader_epoch, version) = match ctx.is_queued_for_deletion(&partition.topic) {
                true => (LEADER_DURING_DELETE, 0, 0),
                false => (state.leader, state.leader_epoch, state.partition_epoch),
            };
            let replicas = ctx.replicas(partition);
            let mut offline = replicas.to_vec();
            offline.retain(|id| !ctx.is_replica_online(*id, partition));
            let entry = UpdateMetadataPartitionState::default()
                .with_partition_index(partition.partition)
                .with_controller_epoch(info.controller_epoch)
                .with_leader(BrokerId(leader))
                .with_leader_epoch(leader_epoch)
                .with_isr(ids(&state.isr))
                .with_zk_version(version)
                .with_replicas(ids(replicas))
                .with_offline_replicas(ids(&offline));
            self.update_metadata.insert(partition.clone(), entry);
        }
    }

    /// The requests, in the order to send them. Brokers that are not registered (any more) get none.
    pub fn into_requests(self, ctx: &ControllerContext, settings: &BatchSettings) -> Vec<(i32, ControlRequest)> {
        let mut requests = Vec::new();
        for (id, partitions) in self.leader_and_isr {
            if let Some(broker) = ctx.broker(id) {
                let request = leader_and_isr_request(ctx, settings, broker, partitions);
                requests.push((id, ControlRequest::LeaderAndIsr(request)));
            }
        }
        if !self.update_metadata_brokers.is_empty() {
            tracing::info!(
                target: "state.change.logger",
                "[Controller id={} epoch={}] Sending UpdateMetadata request to brokers {:?} for {} partitions",
                settings.me, ctx.epoch, self.update_metadata_brokers, self.update_metadata.len()
            );
            let request = update_metadata_request(ctx, settings, self.update_metadata);
            for broker in self.update_metadata_brokers.iter().filter_map(|id| ctx.broker(*id)) {
                let request = request.clone().with_broker_epoch(broker.epoch);
                requests.push((broker.id, ControlRequest::UpdateMetadata(request)));
            }
        }
        for (id, partitions) in self.stop_replica {
            if let Some(broker) = ctx.broker(id) {
                stop_replica_requests(ctx, settings, broker, &partitions, &mut requests);
            }
        }
        requests
    }
}

/// Partitions by topic, in order.
fn by_topic<T>(partitions: BTreeMap<TopicPartition, T>) -> BTreeMap<Arc<str>, Vec<T>> {
    let mut topics: BTreeMap<Arc<str>, Vec<T>> = BTreeMap::new();
    for (partition, state) in partitions {
        topics.entry(partition.topic).or_default().push(state);
    }
    topics
}

fn leader_and_isr_request(
    ctx: &ControllerContext,
    settings: &BatchSettings,
    broker: &Broker,
    partitions: BTreeMap<TopicPartition, LeaderAndIsrPartitionState>,
) -> LeaderAndIsrRequest {
    let leaders: BTreeSet<i32> = partitions.values().map(|state| state.leader.0).collect();
    let become_leader = partitions.values().filter(|state| state.leader.0 == broker.id).count();
    tracing::info!(
        target: "state.change.logger",
        "[Controller id={} epoch={}] Sending LeaderAndIsr request to broker {} with {become_leader} become-leader and \
         {} become-follower partitions",
        settings.me,
        ctx.epoch,
        broker.id,
        partitions.len() - become_leader
    );
    let live_leaders = leaders.iter().filter_map(|id| {
        let endpoint = ctx.broker(*id)?.endpoint(&settings.inter_broker_listener)?;
        let leader = LeaderAndIsrLiveLeader::default().with_broker_id(BrokerId(*id));
        Some(leader.with_host_name(StrBytes::from_string(endpoint.host.clone())).with_port(endpoint.port))
    });
    let version = settings.versions.leader_and_isr;
    let request = LeaderAndIsrRequest::default()
        .with_controller_id(BrokerId(settings.me))
        .with_controller_epoch(ctx.epoch)
        .with_broker_epoch(broker.epoch)
        .with_live_leaders(live_leaders.collect());
    if version < 2 {
        let named = partitions.into_iter().map(|(p, state)| state.with_topic_name(topic_name(&p.topic)));
        return request.with_ungrouped_partition_states(named.collect());
    }
    let topics = by_topic(partitions).into_iter().map(|(topic, states)| {
        let id = if version >= 5 { ctx.topic_id(&topic).unwrap_or(Uuid::nil()) } else { Uuid::nil() };
        let state = LeaderAndIsrTopicState::default().with_topic_name(topic_name(&topic));
        state.with_topic_id(id).with_partition_states(states)
    });
    request.with_topic_states(topics.collect())
}

fn update_metadata_request(
    ctx: &ControllerContext,
    settings: &BatchSettings,
    partitions: BTreeMap<TopicPartition, UpdateMetadataPartitionState>,
) -> UpdateMetadataRequest {
    let version = settings.versions.update_metadata;
    let request = UpdateMetadataRequest::default()
        .with_controller_id(BrokerId(settings.me))
        .with_controller_epoch(ctx.epoch)
        .with_live_brokers(ctx.live_or_shutting_down_brokers().map(update_metadata_broker).collect());
    if version < 5 {
        let named = partitions.into_iter().map(|(p, state)| state.with_topic_name(topic_name(&p.topic)));
        return request.with_ungrouped_partition_states(named.collect());
    }
    let topics = by_topic(partitions).into_iter().map(|(topic, states)| {
        let id = if version >= 7 { ctx.topic_id(&topic).unwrap_or(Uuid::nil()) } else { Uuid::nil() };
        let state = UpdateMetadataTopicState::default().with_topic_name(topic_name(&topic));
        state.with_topic_id(id).with_partition_states(states)
    });
    request.with_topic_states(topics.collect())
}

fn update_metadata_broker(broker: &Broker) -> UpdateMetadataBroker {
    let endpoints = broker.endpoints.iter().map(|endpoint| {
        UpdateMetadataEndpoint::default()
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(endpoint.port)
            .with_listener(StrBytes::from_string(endpoint.listener.clone()))
            .with_security_protocol(endpoint.security_protocol)
    });
    UpdateMetadataBroker::default()
        .with_id(BrokerId(broker.id))
        .with_endpoints(endpoints.collect())
        .with_rack(broker.rack.clone().map(StrBytes::from_string))
}

/// One StopReplica from version 3 on; before that one for the partitions to delete and one for the others.
fn stop_replica_requests(
    ctx: &ControllerContext,
    settings: &BatchSettings,
    broker: &Broker,
    partitions: &BTreeMap<TopicPartition, (i32, bool)>,
    requests: &mut Vec<(i32, ControlRequest)>,
) {
    tracing::info!(
        target: "state.change.logger",
        "[Controller id={} epoch={}] Sending StopReplica request for {} replicas to broker {}",
        settings.me,
        ctx.epoch,
        partitions.len(),
        broker.id
    );
    let request = StopReplicaRequest::default()
        .with_controller_id(BrokerId(settings.me))
        .with_controller_epoch(ctx.epoch)
        .with_broker_epoch(broker.epoch);
    let chosen = |delete: bool| -> BTreeSet<TopicPartition> {
        partitions.iter().filter(|(_, state)| state.1 == delete).map(|(partition, _)| partition.clone()).collect()
    };
    let deleting = chosen(true);
    if settings.versions.stop_replica >= 3 {
        let states = partitions.iter().map(|(partition, (leader_epoch, delete))| {
            let state = StopReplicaPartitionState::default().with_partition_index(partition.partition);
            (partition.clone(), state.with_leader_epoch(*leader_epoch).with_delete_partition(*delete))
        });
        let topics = by_topic(states.collect()).into_iter().map(|(topic, states)| {
            StopReplicaTopicState::default().with_topic_name(topic_name(&topic)).with_partition_states(states)
        });
        let request = request.with_topic_states(topics.collect());
        requests.push((broker.id, ControlRequest::StopReplica { request, deleting }));
        return;
    }
    for (delete, group) in [(true, &deleting), (false, &chosen(false))] {
        if !group.is_empty() {
            let request = old_stop_replica(request.clone(), settings.versions.stop_replica, delete, group);
            let deleting = if delete { group.clone() } else { BTreeSet::new() };
            requests.push((broker.id, ControlRequest::StopReplica { request, deleting }));
        }
    }
}

fn old_stop_replica(
    request: StopReplicaRequest,
    version: i16,
    delete: bool,
    partitions: &BTreeSet<TopicPartition>,
) -> StopReplicaRequest {
    let request = request.with_delete_partitions(delete);
    if version == 0 {
        let ungrouped = partitions.iter().map(|p| {
            let partition = StopReplicaPartitionV0::default().with_topic_name(topic_name(&p.topic));
            partition.with_partition_index(p.partition)
        });
        return request.with_ungrouped_partitions(ungrouped.collect());
    }
    let indexes = partitions.iter().map(|p| (p.clone(), p.partition)).collect();
    let topics = by_topic(indexes).into_iter().map(|(topic, indexes)| {
        StopReplicaTopicV1::default().with_name(topic_name(&topic)).with_partition_indexes(indexes)
    });
    request.with_topics(topics.collect())
}
