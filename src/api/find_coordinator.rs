//! FindCoordinator, versions 0 to 4. Answers to `KafkaApis.handleFindCoordinatorRequest` (spec log 4.2).

use std::sync::Arc;

use super::reply::Reply;
use super::{Api, RequestContext, topic_creation};
use crate::metadata::Endpoint;
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::find_coordinator_response::Coordinator;
use crate::protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::topic::GROUP_METADATA_TOPIC;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub fn handle(api: &Arc<Api>, ctx: RequestContext, request: FindCoordinatorRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let keys = if ctx.version >= 4 { request.coordinator_keys.clone() } else { vec![request.key.clone()] };
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let place = find(&api, &ctx, request.key_type, &key).await;
            found.push((key, place));
        }
        ctx.responder().finish(&response(&ctx, found))
    }))
}

type Place = Result<(i32, Endpoint), ErrorCode>;

async fn find(api: &Api, ctx: &RequestContext, key_type: i8, key: &str) -> Place {
    match key_type {
        GROUP => {}
        // Transactions are not served yet, and saying so ends the client's attempts at once.
        TRANSACTION if ctx.version >= 1 => return Err(ErrorCode::UnsupportedVersion),
        _ => return Err(ErrorCode::InvalidRequest),
    }
    let image = api.metadata.snapshot();
    if image.topic(GROUP_METADATA_TOPIC).is_none() {
        let codes = topic_creation::create_missing(api, vec![Arc::from(GROUP_METADATA_TOPIC)]).await;
        for (topic, code) in codes {
            if !matches!(code, ErrorCode::LeaderNotAvailable | ErrorCode::UnknownTopicOrPartition) {
                tracing::warn!(target: "kafka.server.KafkaApis", "Cannot create {topic}: {code} ({})", code.message());
            }
        }
        return Err(ErrorCode::CoordinatorNotAvailable);
    }
    let partition = api.groups.partition_for(key);
    let leader = image.partition(GROUP_METADATA_TOPIC, partition).map_or(-1, |p| p.leader);
    let endpoint = image.endpoint(leader, &ctx.listener).cloned();
    endpoint.map(|endpoint| (leader, endpoint)).ok_or(ErrorCode::CoordinatorNotAvailable)
}

fn response(ctx: &RequestContext, found: Vec<(StrBytes, Place)>) -> FindCoordinatorResponse {
    if ctx.version >= 4 {
        let coordinators = found.into_iter().map(|(key, place)| coordinator(key, &place));
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    let mut response = FindCoordinatorResponse::default();
    for (_, place) in found {
        // On success these versions carry the text NONE.
        let text = place.as_ref().map_or_else(|code| code.message(), |_| "NONE");
        let one = coordinator(StrBytes::default(), &place);
        response = response
            .with_error_code(one.error_code)
            .with_error_message(Some(StrBytes::from_static_str(text)))
            .with_node_id(one.node_id)
            .with_host(one.host)
            .with_port(one.port);
    }
    response
}

fn coordinator(key: StrBytes, place: &Place) -> Coordinator {
    let entry = Coordinator::default().with_key(key);
    match place {
        Ok((id, endpoint)) => entry
            .with_node_id(BrokerId(*id))
            .with_host(StrBytes::from_string(endpoint.host.to_string()))
            .with_port(endpoint.port)
            .with_error_message(Some(StrBytes::default())),
        Err(code) => entry
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(code.code())
            .with_error_message(Some(StrBytes::from_static_str(code.message()))),
    }
}
