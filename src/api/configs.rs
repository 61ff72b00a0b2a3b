//! DescribeConfigs, versions 0 to 4. Answers to Kafka's `ConfigHelper` (spec log 3.4, 3.5).

use std::collections::HashSet;
use std::sync::Arc;

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::admin::AdminError;
use crate::config::describe::{self, ConfigEntry};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::describe_configs_request::DescribeConfigsResource;
use crate::protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use crate::topic::validate_name;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;

pub fn handle(api: &Arc<Api>, ctx: RequestContext, request: DescribeConfigsRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let mut results = Vec::with_capacity(request.resources.len());
        for resource in &request.resources {
            results.push(describe(&api, &ctx, resource, request.include_synonyms).await);
        }
        ctx.responder().finish(&DescribeConfigsResponse::default().with_results(results))
    }))
}

async fn describe(
    api: &Api,
    ctx: &RequestContext,
    resource: &DescribeConfigsResource,
    synonyms: bool,
) -> DescribeConfigsResult {
    let result = DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone());
    match entries(api, resource).await {
        Ok(entries) => {
            let wanted = wanted(resource);
            let is_wanted = |e: &ConfigEntry| wanted.as_ref().is_none_or(|keys| keys.contains(&*e.name));
            let configs = entries.into_iter().filter(is_wanted).map(|e| config(ctx, e, synonyms));
            result.with_error_message(Some(StrBytes::default())).with_configs(configs.collect())
        }
        Err(error) => result
            .with_error_code(error.code.code())
            .with_error_message(Some(error.message.map(StrBytes::from_string).unwrap_or_default())),
    }
}

/// The keys asked for; `None` is all of them, which an empty list asks for as well.
fn wanted(resource: &DescribeConfigsResource) -> Option<HashSet<&str>> {
    let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty())?;
    Some(keys.iter().map(|k| &**k).collect())
}

async fn entries(api: &Api, resource: &DescribeConfigsResource) -> Result<Vec<ConfigEntry>, AdminError> {
    let invalid = |text: String| Err(AdminError::new(ErrorCode::InvalidRequest, text));
    let name = &*resource.resource_name;
    match resource.resource_type {
        TOPIC => topic_entries(api, name).await,
        BROKER if name.is_empty() => Ok(describe::default_broker_entries(&api.config())),
        BROKER if broker_id(name)? == api.broker_id() => Ok(describe::broker_entries(&api.config())),
        BROKER => {
            invalid(format!("Unexpected broker id, expected {} or empty string, but received {name}", api.broker_id()))
        }
        BROKER_LOGGER if name.is_empty() => invalid("Broker id must not be empty".to_owned()),
        BROKER_LOGGER if broker_id(name)? == api.broker_id() => Ok(Vec::new()),
        BROKER_LOGGER => invalid(format!("Unexpected broker id, expected {} but received {name}", api.broker_id())),
        other => invalid(format!("Unsupported resource type: {}", resource_type_name(other))),
    }
}

fn broker_id(name: &str) -> Result<i32, AdminError> {
    name.parse().map_err(|_| {
        AdminError::new(ErrorCode::InvalidRequest, format!("Broker id must be an integer, but it is: {name}"))
    })
}

fn resource_type_name(id: i8) -> &'static str {
    match id {
        1 => "ANY",
        3 => "GROUP",
        5 => "CLUSTER",
        6 => "TRANSACTIONAL_ID",
        7 => "DELEGATION_TOKEN",
        _ => "UNKNOWN",
    }
}

async fn topic_entries(api: &Api, name: &str) -> Result<Vec<ConfigEntry>, AdminError> {
    validate_name(name)
        .map_err(|why| AdminError::new(ErrorCode::InvalidTopicException, format!("Topic name is invalid: {why}")))?;
    if api.metadata.image().topic(name).is_none() {
        return Err(AdminError::code(ErrorCode::UnknownTopicOrPartition));
    }
    let stored = api.store.entity_config("topics", name).await;
    let overrides = stored.map_err(|error| crate::admin::creation::store_failed(&error))?.into_iter().collect();
    describe::topic_entries(&api.config(), &overrides).map_err(|error| {
        tracing::error!(target: "kafka.server.ConfigHelper", "Error processing describe configs request for topic {name}: {error}");
        AdminError::code(ErrorCode::UnknownServerError)
    })
}

fn config(ctx: &RequestContext, entry: ConfigEntry, synonyms: bool) -> DescribeConfigsResourceResult {
    let layer = |s: describe::Synonym| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_string(s.name))
            .with_value(s.value.map(StrBytes::from_string))
            .with_source(s.source)
    };
    let layers = if synonyms { entry.synonyms.into_iter().map(layer).collect() } else { Vec::new() };
    let result = DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_string(entry.name))
        .with_value(entry.value.map(StrBytes::from_string))
        .with_read_only(entry.read_only)
        .with_is_sensitive(entry.sensitive)
        .with_config_type(entry.kind)
        .with_documentation(entry.doc.map(StrBytes::from_string));
    match ctx.version {
        // Its field `is_default` is false whatever the value, as brokers have long stopped to set it.
        0 => result,
        _ => result.with_config_source(entry.source).with_synonyms(layers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_keys_and_an_empty_list_of_keys_ask_for_all() {
        let resource = |keys| DescribeConfigsResource::default().with_configuration_keys(keys);
        assert_eq!(wanted(&resource(None)), None);
        assert_eq!(wanted(&resource(Some(Vec::new()))), None);
        let one = resource(Some(vec![StrBytes::from_static_str("retention.ms")]));
        assert_eq!(wanted(&one), Some(HashSet::from(["retention.ms"])));
    }
}
