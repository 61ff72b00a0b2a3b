//! AlterConfigs, versions 0 to 2, and IncrementalAlterConfigs, versions 0 and 1. Whichever broker is asked checks the
//! settings, writes them to ZooKeeper and leaves a note there; every broker, this one too, applies them when it reads
//! the note. Answers to Kafka's `ConfigAdminManager` and `ZkAdminManager` (spec zookeeper 5.7).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::admin::AdminError;
use crate::admin::creation::store_failed;
use crate::config::topic::AlterOp;
use crate::config::{ConfigError, dynamic, registry, topic};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::alter_configs_response::AlterConfigsResourceResponse as ReplaceResult;
use crate::protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResult;
use crate::protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

const TARGET: &str = "kafka.server.ZkAdminManager";
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
/// The entity in ZooKeeper that holds the default of all brokers.
const DEFAULT_BROKER: &str = "<default>";
const SET: i8 = 0;
/// The operation that needs no value.
const DELETE: i8 = 1;

type Entries = BTreeMap<String, String>;

/// What is to happen to one resource, in either request's form.
struct Resource {
    kind: i8,
    name: String,
    /// The changes are all there is to be, not what is to become of what there is.
    replaces: bool,
    changes: Vec<Change>,
}

struct Change {
    name: String,
    value: Option<String>,
    /// Id of the operation: to set, where everything is replaced.
    op: i8,
}

/// AlterConfigs: the settings given take the place of all there were.
pub fn replace(api: &Arc<Api>, ctx: RequestContext, request: AlterConfigsRequest) -> Reply {
    let resource = |r: crate::protocol::messages::alter_configs_request::AlterConfigsResource| Resource {
        kind: r.resource_type,
        name: r.resource_name.to_string(),
        replaces: true,
        changes: r
            .configs
            .into_iter()
            .map(|c| Change { name: c.name.to_string(), value: c.value.map(|v| v.to_string()), op: SET })
            .collect(),
    };
    let (api, dry) = (api.clone(), request.validate_only);
    let resources: Vec<Resource> = request.resources.into_iter().map(resource).collect();
    Reply::Exclusive(Box::pin(async move {
        let outcomes = alter_all(&api, &resources, dry).await;
        let results = resources.into_iter().zip(outcomes).map(|(resource, outcome)| {
            let (code, message) = wire_error(outcome);
            ReplaceResult::default()
                .with_error_code(code)
                .with_error_message(message)
                .with_resource_type(resource.kind)
                .with_resource_name(StrBytes::from_string(resource.name))
        });
        ctx.responder().finish(&AlterConfigsResponse::default().with_responses(results.collect()))
    }))
}

/// IncrementalAlterConfigs: single settings are set, deleted, or lists changed.
pub fn incremental(api: &Arc<Api>, ctx: RequestContext, request: IncrementalAlterConfigsRequest) -> Reply {
    let resource = |r: crate::protocol::messages::incremental_alter_configs_request::AlterConfigsResource| Resource {
        kind: r.resource_type,
        name: r.resource_name.to_string(),
        replaces: false,
        changes: r
            .configs
            .into_iter()
            .map(|c| Change { name: c.name.to_string(), value: c.value.map(|v| v.to_string()), op: c.config_operation })
            .collect(),
    };
    let (api, dry) = (api.clone(), request.validate_only);
    let resources: Vec<Resource> = request.resources.into_iter().map(resource).collect();
    Reply::Exclusive(Box::pin(async move {
        let outcomes = alter_all(&api, &resources, dry).await;
        let results = resources.into_iter().zip(outcomes).map(|(resource, outcome)| {
            let (code, message) = wire_error(outcome);
            IncrementalResult::default()
                .with_error_code(code)
                .with_error_message(message)
                .with_resource_type(resource.kind)
                .with_resource_name(StrBytes::from_string(resource.name))
        });
        ctx.responder().finish(&IncrementalAlterConfigsResponse::default().with_responses(results.collect()))
    }))
}

fn wire_error(outcome: Result<(), AdminError>) -> (i16, Option<StrBytes>) {
    match outcome {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(error) => (error.code.code(), error.message.map(StrBytes::from_string)),
    }
}

fn invalid(text: impl Into<String>) -> AdminError {
    AdminError::new(ErrorCode::InvalidRequest, text)
}

/// Alters the resources one after the other; one that fails leaves the others alone.
async fn alter_all(api: &Api, resources: &[Resource], dry: bool) -> Vec<Result<(), AdminError>> {
    let mut times: HashMap<(i8, &str), usize> = HashMap::new();
    resources.iter().for_each(|r| *times.entry((r.kind, &r.name)).or_default() += 1);
    let mut outcomes = Vec::with_capacity(resources.len());
    for resource in resources {
        let again = times.get(&(resource.kind, resource.name.as_str())).is_some_and(|n| *n > 1);
        let outcome = match again {
            true => Err(invalid("Each resource must appear at most once.")),
            false => alter(api, resource, dry).await,
        };
        if let Err(error) = &outcome {
            tracing::info!(target: TARGET, "Error processing alter configs request for resource type {} '{}': {error}", resource.kind, resource.name);
        }
        outcomes.push(outcome);
    }
    outcomes
}

async fn alter(api: &Api, resource: &Resource, dry: bool) -> Result<(), AdminError> {
    check_entries(&resource.changes)?;
    match resource.kind {
        TOPIC => alter_topic(api, resource, dry).await,
        BROKER => alter_broker(api, resource, dry).await,
        BROKER_LOGGER if !resource.replaces => alter_logger(api, resource),
        CLIENT_METRICS => {
            Err(invalid("AlterConfigs is only supported for topics and brokers, but resource type is CLIENT_METRICS"))
        }
        other => Err(invalid(format!("Unknown resource type {other}"))),
    }
}

fn check_entries(changes: &[Change]) -> Result<(), AdminError> {
    let mut seen = HashSet::new();
    if !changes.iter().all(|c| seen.insert(c.name.as_str())) {
        return Err(invalid("Error due to duplicate config keys"));
    }
    let valueless = changes.iter().filter(|c| c.value.is_none() && c.op != DELETE);
    let valueless: Vec<&str> = valueless.map(|c| c.name.as_str()).collect();
    match valueless.is_empty() {
        true => Ok(()),
        false => Err(invalid(format!("Null value not supported for : {}", valueless.join(", ")))),
    }
}

/// The settings after the changes; `one` applies an incremental one.
fn altered(
    stored: Entries,
    resource: &Resource,
    one: impl Fn(&mut Entries, AlterOp, &str, &str) -> Result<(), ConfigError>,
) -> Result<Entries, ConfigError> {
    let mut entries = if resource.replaces { Entries::new() } else { stored };
    for change in &resource.changes {
        let value = change.value.as_deref().unwrap_or_default();
        match AlterOp::from_id(change.op) {
            Some(op) => one(&mut entries, op, &change.name, value)?,
            None => return Err(ConfigError::InvalidRequest(format!("Unknown operations type {}", change.op))),
        }
    }
    Ok(entries)
}

async fn alter_topic(api: &Api, resource: &Resource, dry: bool) -> Result<(), AdminError> {
    let name = &resource.name;
    if name.is_empty() {
        return Err(invalid("Default topic resources are not allowed."));
    }
    let refused = |error: ConfigError| {
        let (code, message) = error.for_topic_alteration(name);
        AdminError::new(code, message)
    };
    let stored = api.store.entity_config("topics", name).await.map_err(|error| store_failed(&error))?;
    let entries = altered(stored.into_iter().collect(), resource, topic::alter).map_err(refused)?;
    if api.metadata.image().topic(name).is_none() {
        let text = format!("The topic '{name}' does not exist.");
        return Err(AdminError::new(ErrorCode::UnknownTopicOrPartition, text));
    }
    topic::validate_with(&api.config(), &entries).map_err(refused)?;
    if dry {
        return Ok(());
    }
    tracing::info!(target: TARGET, "Updating topic {name} with new configuration : {entries:?}");
    write(api, "topics", name, entries).await
}

async fn alter_broker(api: &Api, resource: &Resource, dry: bool) -> Result<(), AdminError> {
    let per_broker = !resource.name.is_empty();
    if per_broker {
        check_own_id(api, &resource.name)?;
    }
    let refused = |error: ConfigError| {
        let (code, message) = error.for_broker_alteration();
        AdminError::new(code, message)
    };
    let own = api.broker_id().to_string();
    let entity = if per_broker { own.as_str() } else { DEFAULT_BROKER };
    let stored = api.store.entity_config("brokers", entity).await.map_err(|error| store_failed(&error))?;
    let stored = dynamic::alterable(&stored.into_iter().collect(), per_broker);
    let entries = altered(stored, resource, dynamic::alter).map_err(refused)?;
    api.config().validate_dynamic(&entries, per_broker).map_err(refused)?;
    let set = resource.changes.iter().filter(|c| c.value.is_some());
    if let Some(secret) = set.map(|c| &c.name).find(|name| registry::is_dynamic_password(name)) {
        return Err(invalid(format!("{secret}: passwords cannot be set dynamically on this broker yet")));
    }
    if dry {
        return Ok(());
    }
    // Values may be secret; names are not.
    let names: Vec<&String> = entries.keys().collect();
    match per_broker {
        true => tracing::info!(target: TARGET, "Updating broker {own} with new configuration of {names:?}"),
        false => tracing::info!(target: TARGET, "Updating brokers with new configuration of {names:?}"),
    }
    write(api, "brokers", entity, entries).await
}

fn check_own_id(api: &Api, name: &str) -> Result<(), AdminError> {
    let me = api.broker_id();
    match name.parse::<i32>() {
        Err(_) => Err(invalid(format!("Node id must be an integer, but it is: {name}"))),
        Ok(id) if id != me => Err(invalid(format!("Unexpected broker id, expected {me}, but received {name}"))),
        Ok(_) => Ok(()),
    }
}

/// This broker has no loggers that DescribeConfigs would name, so there is none to alter.
fn alter_logger(api: &Api, resource: &Resource) -> Result<(), AdminError> {
    let me = api.broker_id();
    match resource.name.parse::<i32>() {
        Err(_) => return Err(invalid(format!("Node id must be an integer, but it is: {}", resource.name))),
        // Kafka says its own id twice.
        Ok(id) if id != me => return Err(invalid(format!("Unexpected node id. Expected {me}, but received {me}"))),
        Ok(_) => {}
    }
    let Some(change) = resource.changes.first() else { return Ok(()) };
    let refuse_op = |word: &str| {
        let text = format!("{word} operation is not allowed for the BROKER_LOGGER resource");
        Err(invalid(text))
    };
    match AlterOp::from_id(change.op) {
        Some(AlterOp::Set | AlterOp::Delete) => {
            let text = format!("Logger {} does not exist!", change.name);
            Err(AdminError::new(ErrorCode::InvalidConfig, text))
        }
        Some(AlterOp::Append) => refuse_op("APPEND"),
        Some(AlterOp::Subtract) => refuse_op("SUBTRACT"),
        None => {
            let text = format!("Unknown operation type {} is not allowed for the BROKER_LOGGER resource", change.op);
            Err(invalid(text))
        }
    }
}

async fn write(api: &Api, entity_type: &str, entity: &str, entries: Entries) -> Result<(), AdminError> {
    let config = entries.into_iter().collect();
    api.store.change_entity_config(entity_type, entity, &config).await.map_err(|error| store_failed(&error))
}
