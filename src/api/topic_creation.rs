//! CreateTopics, versions 0 to 7, and the creation of topics that a client merely asked about.
//! Answers to `KafkaApis.handleCreateTopicsRequest` and `AutoTopicCreationManager` (spec zookeeper 5.2, 5.3).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::admin::AdminError;
use crate::admin::creation::{self, NewTopic, PlannedTopic, UNSET};
use crate::config::describe;
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::create_topics_request::CreatableTopic;
use crate::protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use crate::protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use crate::topic::{CLUSTER_METADATA_TOPIC, GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC, validate_name};

/// Names whose automatic creation is under way.
pub type InFlight = Mutex<HashSet<Arc<str>>>;

/// The outcome for one topic: what was written, or why not.
type Outcome = Result<Created, AdminError>;

struct Created {
    planned: PlannedTopic,
    id: uuid::Uuid,
}

pub fn handle(api: &Arc<Api>, ctx: RequestContext, request: CreateTopicsRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let topics = if api.controller.is_active() {
            create_all(&api, &ctx, &request).await
        } else {
            request.topics.iter().map(not_controller).collect()
        };
        ctx.responder().finish(&CreateTopicsResponse::default().with_topics(topics))
    }))
}

/// The text is empty, not null: Kafka leaves the field at its schema default here.
fn not_controller(topic: &CreatableTopic) -> CreatableTopicResult {
    blank(&topic.name).with_error_code(ErrorCode::NotController.code()).with_error_message(Some(StrBytes::default()))
}

fn blank(name: &crate::protocol::messages::TopicName) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(Vec::new()))
        .with_error_message(None)
}

async fn create_all(api: &Api, ctx: &RequestContext, request: &CreateTopicsRequest) -> Vec<CreatableTopicResult> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *counts.entry(&topic.name).or_default() += 1;
    }
    let mut outcomes: Vec<(&CreatableTopic, Outcome)> = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let outcome = if counts.get(&**topic.name).copied().unwrap_or(0) > 1 {
            Err(AdminError::new(ErrorCode::InvalidRequest, "Found multiple entries for this topic."))
        } else if &**topic.name == CLUSTER_METADATA_TOPIC {
            Err(AdminError::new(ErrorCode::TopicAuthorizationFailed, "Authorization failed."))
        } else {
            create_one(api, wanted(topic), request.validate_only).await
        };
        outcomes.push((topic, outcome));
    }
    if !request.validate_only {
        await_leaders(api, request.timeout_ms, &mut outcomes).await;
    }
    outcomes.into_iter().map(|(topic, outcome)| result(api, ctx, topic, outcome)).collect()
}

fn wanted(topic: &CreatableTopic) -> NewTopic {
    let assignment = topic.assignments.iter();
    NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: i32::from(topic.replication_factor),
        assignment: assignment.map(|a| (a.partition_index, a.broker_ids.iter().map(|id| **id).collect())).collect(),
        configs: topic.configs.iter().map(|c| (c.name.to_string(), c.value.as_ref().map(|v| v.to_string()))).collect(),
    }
}

async fn create_one(api: &Api, topic: NewTopic, validate_only: bool) -> Outcome {
    let image = api.metadata.snapshot();
    let config = api.config();
    let planned = creation::plan(&api.store, &config, &image, topic).await?;
    let id = if validate_only { uuid::Uuid::nil() } else { creation::create(&api.store, &config, &planned).await? };
    Ok(Created { planned, id })
}

/// Waits until every created topic has all its leaders; those that do not get them in time have timed out.
async fn await_leaders(api: &Api, timeout_ms: i32, outcomes: &mut [(&CreatableTopic, Outcome)]) {
    let deadline = Instant::now() + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    for (_, outcome) in outcomes {
        let Ok(created) = outcome else { continue };
        let (name, partitions) = (created.planned.name.clone(), created.planned.assignment.len());
        let led = timeout_ms > 0 && api.metadata.wait_until(deadline, |image| image.all_led(&name, partitions)).await;
        if !led {
            *outcome = Err(AdminError::code(ErrorCode::RequestTimedOut));
        }
    }
}

fn result(api: &Api, ctx: &RequestContext, topic: &CreatableTopic, outcome: Outcome) -> CreatableTopicResult {
    match outcome {
        Ok(created) => {
            let factor = created.planned.assignment.values().next().map_or(0, Vec::len);
            let configs = if ctx.version >= 5 { effective_configs(api, &created.planned.configs) } else { Vec::new() };
            blank(&topic.name)
                .with_topic_id(created.id)
                .with_num_partitions(i32::try_from(created.planned.assignment.len()).unwrap_or(i32::MAX))
                .with_replication_factor(i16::try_from(factor).unwrap_or(i16::MAX))
                .with_configs(Some(configs))
        }
        Err(error) => blank(&topic.name)
            .with_error_code(error.code.code())
            .with_error_message(error.message.map(StrBytes::from_string)),
    }
}

fn effective_configs(api: &Api, overrides: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let entries = describe::topic_entries(&api.config(), overrides).unwrap_or_default();
    let config = |entry: describe::ConfigEntry| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_string(entry.name))
            .with_value(entry.value.map(StrBytes::from_string))
            .with_read_only(entry.read_only)
            .with_config_source(entry.source)
            .with_is_sensitive(entry.sensitive)
    };
    entries.into_iter().map(config).collect()
}

/// Creates topics that a Metadata or FindCoordinator request named and that do not exist. Returns the code each
/// name is answered with: `LeaderNotAvailable` where the creation is on its way.
pub async fn create_missing(api: &Api, names: Vec<Arc<str>>) -> BTreeMap<Arc<str>, ErrorCode> {
    let mut codes = BTreeMap::new();
    for name in names {
        let code = if validate_name(&name).is_err() {
            ErrorCode::InvalidTopicException
        } else if !api.creating.lock().insert(name.clone()) {
            ErrorCode::UnknownTopicOrPartition
        } else {
            let outcome = create_one(api, default_topic(api, &name), false).await;
            api.creating.lock().remove(&name);
            match outcome.map_err(|error| error.code) {
                Ok(_) | Err(ErrorCode::TopicAlreadyExists) => ErrorCode::LeaderNotAvailable,
                Err(code) => code,
            }
        };
        codes.insert(name, code);
    }
    codes
}

/// The topic an automatic creation makes: internal topics have settings of their own.
fn default_topic(api: &Api, name: &str) -> NewTopic {
    let cfg = api.config();
    let with = |partitions: &str, factor: &str, configs: Vec<(&str, String)>| NewTopic {
        name: name.to_owned(),
        partitions: cfg.int(partitions),
        replication_factor: cfg.int(factor),
        configs: configs.into_iter().map(|(k, v)| (k.to_owned(), Some(v))).collect(),
        ..NewTopic::default()
    };
    match name {
        GROUP_METADATA_TOPIC => with(
            "offsets.topic.num.partitions",
            "offsets.topic.replication.factor",
            vec![
                ("cleanup.policy", "compact".to_owned()),
                ("segment.bytes", cfg.int("offsets.topic.segment.bytes").to_string()),
                ("compression.type", "producer".to_owned()),
            ],
        ),
        TRANSACTION_STATE_TOPIC => with(
            "transaction.state.log.num.partitions",
            "transaction.state.log.replication.factor",
            vec![
                ("unclean.leader.election.enable", "false".to_owned()),
                ("compression.type", "uncompressed".to_owned()),
                ("cleanup.policy", "compact".to_owned()),
                ("min.insync.replicas", cfg.int("transaction.state.log.min.isr").to_string()),
                ("segment.bytes", cfg.int("transaction.state.log.segment.bytes").to_string()),
            ],
        ),
        _ => NewTopic { name: name.to_owned(), partitions: UNSET, replication_factor: UNSET, ..NewTopic::default() },
    }
}
