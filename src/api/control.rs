//! Requests between brokers and the controller: LeaderAndIsr, StopReplica, UpdateMetadata, ControlledShutdown,
//! AlterPartition. Answers to the same-named handlers of `KafkaApis` (spec zookeeper 3.14, 3.15).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use uuid::Uuid;

use super::reply::{Frame, Reply};
use super::{Api, RequestContext};
use crate::config::LogConfig;
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::leader_and_isr_request::LeaderAndIsrPartitionState;
use crate::protocol::messages::leader_and_isr_response::{LeaderAndIsrPartitionError, LeaderAndIsrTopicError};
use crate::protocol::messages::stop_replica_response::StopReplicaPartitionError;
use crate::protocol::messages::{
    AlterPartitionRequest, BrokerId, ControlledShutdownRequest, LeaderAndIsrRequest, LeaderAndIsrResponse,
    StopReplicaRequest, StopReplicaResponse, TopicName, UpdateMetadataRequest, UpdateMetadataResponse,
};
use crate::replica::control::{CoordinatorChange, LeadershipOrder, OrderOutcome, StopOrder};
use crate::replica::partition::LeaderAndIsr;
use crate::topic::{GROUP_METADATA_TOPIC, TopicPartition};
use crate::util::{blocking, clock};

/// True when the request was meant for an earlier life of this broker; -1 means "not given".
fn is_stale(api: &Api, broker_epoch: i64) -> bool {
    broker_epoch != -1 && broker_epoch < api.controller.broker_epoch()
}

/// Runs work that opens, renames or deletes files off the network threads.
pub(super) async fn blocking(
    api: &Arc<Api>,
    work: impl FnOnce(&Api) -> Option<Frame> + Send + 'static,
) -> Option<Frame> {
    let api = api.clone();
    match blocking::run(move || work(&api)).await {
        Ok(frame) => frame,
        Err(error) => {
            tracing::error!(target: "kafka.server.KafkaApis", "A request of the controller failed: {error}");
            None
        }
    }
}

pub fn leader_and_isr(api: &Arc<Api>, ctx: RequestContext, request: LeaderAndIsrRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let orders = leadership_orders(&request);
        if is_stale(&api, request.broker_epoch) {
            return ctx.responder().finish(&refuse_leadership(&ctx, orders, ErrorCode::StaleBrokerEpoch));
        }
        configure_new_topics(&api, &orders).await;
        blocking(&api, move |api| apply_leadership(api, &ctx, &request, orders)).await
    }))
}

fn apply_leadership(
    api: &Api,
    ctx: &RequestContext,
    request: &LeaderAndIsrRequest,
    orders: Vec<LeadershipOrder>,
) -> Option<Frame> {
    match api.replicas.become_leader_or_follower(request.controller_epoch, orders.clone(), clock::now_ms()) {
        Ok(outcome) => {
            notify_coordinators(api, &outcome);
            ctx.responder().finish(&leadership_response(ctx, ErrorCode::None, outcome.errors))
        }
        Err(code) => ctx.responder().finish(&refuse_leadership(ctx, orders, code)),
    }
}

/// A log that is about to be made needs its topic's settings, of which nobody has told this broker: a creation
/// writes no change notification.
async fn configure_new_topics(api: &Api, orders: &[LeadershipOrder]) {
    let topics: Vec<String> = api.replicas.topics_without_log(orders).into_iter().collect();
    let reads = topics.iter().map(|topic| api.store.entity_config("topics", topic));
    let stored = join_all(reads).await;
    for (topic, read) in topics.into_iter().zip(stored) {
        let overrides = match read {
            Ok(overrides) => overrides,
            // The session has ended, and the next one begins with reading all of them.
            Err(error) => {
                tracing::error!(target: "kafka.server.KafkaApis", "Cannot read the configuration of {topic}, the defaults hold: {error}");
                continue;
            }
        };
        match LogConfig::from_overrides(&api.config(), &overrides.into_iter().collect()) {
            Ok(config) => api.replicas.set_topic_config(&topic, config),
            Err(error) => {
                tracing::error!(target: "kafka.server.KafkaApis", "The stored configuration of topic {topic} is not valid: {error}");
            }
        }
    }
}

fn leadership_orders(request: &LeaderAndIsrRequest) -> Vec<LeadershipOrder> {
    let grouped = request.topic_states.iter().flat_map(|topic| {
        topic.partition_states.iter().map(|state| leadership_order(&topic.topic_name, topic.topic_id, state))
    });
    let ungrouped = request.ungrouped_partition_states.iter();
    grouped.chain(ungrouped.map(|state| leadership_order(&state.topic_name, Uuid::nil(), state))).collect()
}

fn leadership_order(topic: &str, topic_id: Uuid, state: &LeaderAndIsrPartitionState) -> LeadershipOrder {
    let ids = |list: &[BrokerId]| list.iter().map(|id| **id).collect();
    LeadershipOrder {
        tp: TopicPartition::new(topic, state.partition_index),
        topic_id,
        state: LeaderAndIsr {
            controller_epoch: state.controller_epoch,
            leader: *state.leader,
            leader_epoch: state.leader_epoch,
            isr: ids(&state.isr),
            partition_epoch: state.partition_epoch,
            replicas: ids(&state.replicas),
            adding: ids(&state.adding_replicas),
            removing: ids(&state.removing_replicas),
            is_new: state.is_new,
        },
    }
}

fn refuse_leadership(ctx: &RequestContext, orders: Vec<LeadershipOrder>, code: ErrorCode) -> LeaderAndIsrResponse {
    let errors = orders.into_iter().map(|order| (order.tp, order.topic_id, code));
    leadership_response(ctx, code, errors.collect())
}

fn leadership_response(
    ctx: &RequestContext,
    code: ErrorCode,
    errors: Vec<(TopicPartition, Uuid, ErrorCode)>,
) -> LeaderAndIsrResponse {
    let response = LeaderAndIsrResponse::default().with_error_code(code.code());
    let error = |tp: &TopicPartition, code: ErrorCode| {
        LeaderAndIsrPartitionError::default().with_partition_index(tp.partition).with_error_code(code.code())
    };
    if ctx.version < 5 {
        let flat = errors.iter().map(|(tp, _, code)| error(tp, *code).with_topic_name(topic_name(&tp.topic)));
        return response.with_partition_errors(flat.collect());
    }
    let mut topics: BTreeMap<Uuid, Vec<LeaderAndIsrPartitionError>> = BTreeMap::new();
    for (tp, id, code) in &errors {
        topics.entry(*id).or_default().push(error(tp, *code));
    }
    let topics = topics
        .into_iter()
        .map(|(id, partitions)| LeaderAndIsrTopicError::default().with_topic_id(id).with_partition_errors(partitions));
    response.with_topics(topics.collect())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn notify_coordinators(api: &Api, outcome: &OrderOutcome) {
    for change in &outcome.coordinator_changes {
        match change {
            CoordinatorChange::Elected { tp, leader_epoch } if &*tp.topic == GROUP_METADATA_TOPIC => {
                api.groups.on_leadership(tp.partition, *leader_epoch);
            }
            CoordinatorChange::Resigned { tp, leader_epoch } if &*tp.topic == GROUP_METADATA_TOPIC => {
                api.groups.on_resignation(tp.partition, *leader_epoch);
            }
            _ => {}
        }
    }
}

pub fn stop_replica(api: &Arc<Api>, ctx: RequestContext, request: StopReplicaRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move { blocking(&api, move |api| stop(api, &ctx, &request)).await }))
}

fn stop(api: &Api, ctx: &RequestContext, request: &StopReplicaRequest) -> Option<Frame> {
    let refused =
        |code: ErrorCode| ctx.responder().finish(&StopReplicaResponse::default().with_error_code(code.code()));
    if is_stale(api, request.broker_epoch) {
        return refused(ErrorCode::StaleBrokerEpoch);
    }
    let orders = stop_orders(ctx, request);
    let outcome = match api.replicas.stop_replicas(request.controller_epoch, orders, clock::now_ms()) {
        Ok(outcome) => outcome,
        Err(code) => return refused(code),
    };
    notify_coordinators(api, &outcome);
    let errors = outcome.errors.iter().map(|(tp, _, code)| {
        StopReplicaPartitionError::default()
            .with_topic_name(topic_name(&tp.topic))
            .with_partition_index(tp.partition)
            .with_error_code(code.code())
    });
    ctx.responder().finish(&StopReplicaResponse::default().with_partition_errors(errors.collect()))
}

/// Versions 0 to 2 say whether to delete once for the whole request and carry no leader epoch.
fn stop_orders(ctx: &RequestContext, request: &StopReplicaRequest) -> Vec<StopOrder> {
    let old = |topic: &str, partition: i32| StopOrder {
        tp: TopicPartition::new(topic, partition),
        leader_epoch: -1,
        delete: request.delete_partitions,
    };
    match ctx.version {
        0 => request.ungrouped_partitions.iter().map(|p| old(&p.topic_name, p.partition_index)).collect(),
        1 | 2 => {
            let all = request.topics.iter().flat_map(|t| t.partition_indexes.iter().map(|p| old(&t.name, *p)));
            all.collect()
        }
        _ => {
            let all = request.topic_states.iter().flat_map(|topic| {
                topic.partition_states.iter().map(|state| StopOrder {
                    tp: TopicPartition::new(&**topic.topic_name, state.partition_index),
                    leader_epoch: state.leader_epoch,
                    delete: state.delete_partition,
                })
            });
            all.collect()
        }
    }
}

pub fn update_metadata(api: &Arc<Api>, ctx: &RequestContext, request: &UpdateMetadataRequest) -> Reply {
    let accepted = if is_stale(api, request.broker_epoch) {
        Err(ErrorCode::StaleBrokerEpoch)
    } else {
        api.replicas.accept_controller_epoch(request.controller_epoch)
    };
    let code = match accepted {
        Ok(()) => {
            let outcome = api.metadata.apply(request);
            if !outcome.deleted.is_empty() {
                api.groups.on_partitions_deleted(&outcome.deleted);
            }
            ErrorCode::None
        }
        Err(code) => code,
    };
    ctx.responder().reply(&UpdateMetadataResponse::default().with_error_code(code.code()))
}

pub fn controlled_shutdown(api: &Arc<Api>, ctx: RequestContext, request: ControlledShutdownRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let response = api.controller.controlled_shutdown(request).await;
        ctx.responder().finish(&response)
    }))
}

pub fn alter_partition(api: &Arc<Api>, ctx: RequestContext, request: AlterPartitionRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let response = api.controller.alter_partition(request, ctx.version).await;
        ctx.responder().finish(&response)
    }))
}
