//! DeleteTopics, versions 0 to 6. Answers to `KafkaApis.handleDeleteTopicsRequest` (spec zookeeper 5.6).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::delete_topics_response::DeletableTopicResult;
use crate::protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};

/// A topic to delete, by name or by id.
struct Wanted {
    name: Option<TopicName>,
    id: Uuid,
}

pub fn handle(api: &Arc<Api>, ctx: RequestContext, request: DeleteTopicsRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let wanted: Vec<Wanted> = if ctx.version >= 6 {
            request.topics.iter().map(|t| Wanted { name: t.name.clone(), id: t.topic_id }).collect()
        } else {
            request.topic_names.iter().map(|n| Wanted { name: Some(n.clone()), id: Uuid::nil() }).collect()
        };
        let responses = match refusal(&api, &ctx) {
            Some(code) => wanted.iter().map(|w| result(w, code)).collect(),
            None => delete_all(&api, wanted, request.timeout_ms).await,
        };
        ctx.responder().finish(&DeleteTopicsResponse::default().with_responses(responses))
    }))
}

fn refusal(api: &Api, ctx: &RequestContext) -> Option<ErrorCode> {
    if !api.controller.is_active() {
        return Some(ErrorCode::NotController);
    }
    if !api.config().bool("delete.topic.enable") {
        return Some(if ctx.version < 3 { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled });
    }
    None
}

fn result(wanted: &Wanted, code: ErrorCode) -> DeletableTopicResult {
    DeletableTopicResult::default()
        .with_name(wanted.name.clone())
        .with_topic_id(wanted.id)
        .with_error_code(code.code())
        .with_error_message(None)
}

async fn delete_all(api: &Api, wanted: Vec<Wanted>, timeout_ms: i32) -> Vec<DeletableTopicResult> {
    let image = api.metadata.snapshot();
    let mut results = Vec::with_capacity(wanted.len());
    for mut wanted in wanted {
        let code = match (&wanted.name, wanted.id.is_nil()) {
            (Some(_), false) => Err(ErrorCode::InvalidRequest),
            (None, true) => Err(ErrorCode::InvalidRequest),
            (None, false) => match image.topic_by_id(wanted.id) {
                Some(topic) => {
                    wanted.name = Some(TopicName(StrBytes::from_string(topic.name.to_string())));
                    Ok(topic.name.clone())
                }
                None => Err(ErrorCode::UnknownTopicId),
            },
            (Some(name), true) => match image.topic(name) {
                Some(topic) => Ok(topic.name.clone()),
                None => Err(ErrorCode::UnknownTopicOrPartition),
            },
        };
        let code = match code {
            Ok(name) => mark(api, &name).await,
            Err(code) => code,
        };
        results.push(result(&wanted, code));
    }
    await_gone(api, &mut results, timeout_ms).await;
    results
}

/// Queues the topic for deletion; a topic already queued is waited for all the same.
async fn mark(api: &Api, name: &str) -> ErrorCode {
    match api.store.topic_exists(name).await {
        Ok(false) => return ErrorCode::UnknownTopicOrPartition,
        Ok(true) => {}
        Err(error) => return crate::admin::creation::store_failed(&error).code,
    }
    match api.store.mark_topic_for_deletion(name).await {
        Ok(_) => ErrorCode::None,
        Err(error) => crate::admin::creation::store_failed(&error).code,
    }
}

async fn await_gone(api: &Api, results: &mut [DeletableTopicResult], timeout_ms: i32) {
    let deadline = Instant::now() + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    for result in results.iter_mut().filter(|r| r.error_code == 0) {
        let Some(name) = result.name.clone() else { continue };
        let gone = timeout_ms > 0 && api.metadata.wait_until(deadline, |image| image.topic(&name).is_none()).await;
        if !gone {
            result.error_code = ErrorCode::RequestTimedOut.code();
        }
    }
}
