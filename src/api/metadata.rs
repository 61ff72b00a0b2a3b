//! Metadata, versions 0 to 12, with automatic topic creation.
//! Answers to `KafkaApis.handleTopicMetadataRequest` (spec zookeeper 5.1, 5.2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::metadata::{ClusterImage, PartitionImage, TopicImage};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use crate::topic::{is_internal, validate_name};

/// Bits of the operations allowed on a topic when nothing is forbidden: READ, WRITE, CREATE, DELETE, ALTER,
/// DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
const ALL_TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Likewise on the cluster: CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE.
pub const ALL_CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
/// "Not asked for".
pub const NO_OPERATIONS: i32 = i32::MIN;

/// How the answer is made up.
#[derive(Clone, Copy)]
struct Style {
    version: i16,
    topic_operations: bool,
}

/// Longest wait of a request for the controller to tell this broker about the cluster.
const FIRST_IMAGE: Duration = Duration::from_secs(5);

pub fn handle(api: &Arc<Api>, ctx: RequestContext, request: MetadataRequest) -> Reply {
    if api.metadata.is_whole() {
        return answer(api, ctx, request);
    }
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        if !become_informed(&api).await {
            tracing::info!(
                target: "kafka.server.KafkaApis",
                "Closing the connection of {}: it asks for metadata, and the controller has not told this broker any",
                ctx.address
            );
            return None;
        }
        match answer(&api, ctx, request) {
            Reply::Now(frame) => Some(frame),
            Reply::Exclusive(later) | Reply::Later(later) => later.await,
            Reply::Nothing | Reply::Close(_) => None,
        }
    }))
}

/// A broker that has just started knows nobody, and a controller tells it about the brokers before it tells about the
/// topics, or about some topics before all. Kafka answers all the same, and clients then forget the cluster, or take
/// topics for deleted and fail the records for them. Here they wait a moment; if there is no word in time, they had
/// better ask another broker.
async fn become_informed(api: &Api) -> bool {
    let deadline = Instant::now() + FIRST_IMAGE;
    if !api.metadata.wait_until(deadline, |_| api.metadata.is_whole()).await {
        let image = api.metadata.image();
        if image.brokers.is_empty() || image.topics().next().is_none() {
            return false;
        }
        // What is still missing is being deleted, say. It is waited for once.
        drop(image);
        api.metadata.expect_no_more();
    }
    true
}

fn answer(api: &Arc<Api>, ctx: RequestContext, request: MetadataRequest) -> Reply {
    let style = Style { version: ctx.version, topic_operations: request.include_topic_authorized_operations };
    let image = api.metadata.snapshot();
    // Version 0 asks for everything by an empty list, later ones by null.
    let wanted = match &request.topics {
        None => None,
        Some(topics) if topics.is_empty() && ctx.version == 0 => None,
        Some(topics) => Some(topics),
    };
    let Some(topics) = wanted else {
        let all = image.topics().map(|topic| described(&image, &ctx, style, topic)).collect();
        return ctx.responder().reply(&response(api, &ctx, &request, &image, all));
    };
    if ctx.version < 12 && topics.iter().any(|t| t.name.is_none() || !t.topic_id.is_nil()) {
        let refused = topics.iter().map(|t| unknown(style, t.name.clone(), t.topic_id, ErrorCode::InvalidRequest));
        return ctx.responder().reply(&response(api, &ctx, &request, &image, refused.collect()));
    }
    let mut answers = Vec::with_capacity(topics.len());
    let mut missing = Vec::new();
    for topic in topics {
        match (&topic.name, topic.topic_id) {
            (_, id) if !id.is_nil() => answers.push(match image.topic_by_id(id) {
                Some(topic) => described(&image, &ctx, style, topic),
                None => unknown(style, None, id, ErrorCode::UnknownTopicId),
            }),
            (Some(name), _) => match image.topic(name) {
                Some(topic) => answers.push(described(&image, &ctx, style, topic)),
                None => missing.push(name.clone()),
            },
            (None, _) => answers.push(unknown(style, None, Uuid::nil(), ErrorCode::InvalidRequest)),
        }
    }
    let may_create =
        (request.allow_auto_topic_creation || ctx.version < 4) && api.config().bool("auto.create.topics.enable");
    if missing.is_empty() || !may_create {
        answers.extend(missing.into_iter().map(|name| {
            let code = if validate_name(&name).is_err() {
                ErrorCode::InvalidTopicException
            } else {
                ErrorCode::UnknownTopicOrPartition
            };
            unknown(style, Some(name), Uuid::nil(), code)
        }));
        return ctx.responder().reply(&response(api, &ctx, &request, &image, answers));
    }
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let names = missing.iter().map(|name| Arc::from(&***name)).collect();
        let codes: BTreeMap<Arc<str>, ErrorCode> = super::topic_creation::create_missing(&api, names).await;
        answers.extend(missing.into_iter().map(|name| {
            let code = codes.get(&**name).copied().unwrap_or(ErrorCode::UnknownTopicOrPartition);
            unknown(style, Some(name), Uuid::nil(), code)
        }));
        ctx.responder().finish(&response(&api, &ctx, &request, &api.metadata.snapshot(), answers))
    }))
}

fn response(
    api: &Api,
    ctx: &RequestContext,
    request: &MetadataRequest,
    image: &ClusterImage,
    topics: Vec<MetadataResponseTopic>,
) -> MetadataResponse {
    let brokers = image.brokers.values().filter_map(|broker| {
        let endpoint = broker.endpoint(&ctx.listener)?;
        let entry = MetadataResponseBroker::default().with_node_id(BrokerId(broker.id)).with_port(endpoint.port);
        let entry = entry.with_host(StrBytes::from_string(endpoint.host.to_string()));
        Some(entry.with_rack(broker.rack.as_ref().map(|rack| StrBytes::from_string(rack.to_string()))))
    });
    let operations = if request.include_cluster_authorized_operations && (8..=10).contains(&ctx.version) {
        ALL_CLUSTER_OPERATIONS
    } else {
        NO_OPERATIONS
    };
    MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(StrBytes::from_string(api.cluster_id.to_string())))
        .with_controller_id(BrokerId(image.controller_id.unwrap_or(-1)))
        .with_topics(topics)
        .with_cluster_authorized_operations(operations)
}

fn described(image: &ClusterImage, ctx: &RequestContext, style: Style, topic: &TopicImage) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().map(|(index, state)| partition(image, ctx, *index, state));
    let entry = MetadataResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic.id)
        .with_is_internal(is_internal(&topic.name))
        .with_partitions(partitions.collect());
    entry.with_topic_authorized_operations(if style.topic_operations && style.version >= 8 {
        ALL_TOPIC_OPERATIONS
    } else {
        NO_OPERATIONS
    })
}

fn unknown(style: Style, name: Option<TopicName>, id: Uuid, code: ErrorCode) -> MetadataResponseTopic {
    // Before version 12 the name cannot be null.
    let name = if style.version < 12 { Some(name.unwrap_or_default()) } else { name };
    let internal = name.as_ref().is_some_and(|name| is_internal(name));
    MetadataResponseTopic::default()
        .with_name(name)
        .with_topic_id(id)
        .with_error_code(code.code())
        .with_is_internal(internal)
        .with_topic_authorized_operations(NO_OPERATIONS)
}

fn partition(
    image: &ClusterImage,
    ctx: &RequestContext,
    index: i32,
    state: &PartitionImage,
) -> MetadataResponsePartition {
    let (code, leader) = if !image.is_alive(state.leader) {
        (ErrorCode::LeaderNotAvailable, -1)
    } else if image.endpoint(state.leader, &ctx.listener).is_none() {
        (if ctx.version >= 6 { ErrorCode::ListenerNotFound } else { ErrorCode::LeaderNotAvailable }, -1)
    } else {
        (ErrorCode::None, state.leader)
    };
    // Version 0 lists only replicas that can be reached.
    let visible = |ids: &[i32]| -> Vec<BrokerId> {
        ids.iter()
            .filter(|id| ctx.version > 0 || image.endpoint(**id, &ctx.listener).is_some())
            .map(|id| BrokerId(*id))
            .collect()
    };
    let replicas = visible(&state.replicas);
    let isr = visible(&state.isr);
    let hidden =
        ctx.version == 0 && code.is_none() && (replicas.len() < state.replicas.len() || isr.len() < state.isr.len());
    let code = if hidden { ErrorCode::ReplicaNotAvailable } else { code };
    MetadataResponsePartition::default()
        .with_error_code(code.code())
        .with_partition_index(index)
        .with_leader_id(BrokerId(leader))
        .with_leader_epoch(state.leader_epoch)
        .with_replica_nodes(replicas)
        .with_isr_nodes(isr)
        .with_offline_replicas(state.offline_replicas.iter().map(|id| BrokerId(*id)).collect())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
