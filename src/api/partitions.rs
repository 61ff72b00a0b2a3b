//! CreatePartitions, versions 0 to 3. Answers to `KafkaApis.handleCreatePartitionsRequest` (spec zookeeper 5.5).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::admin::AdminError;
use crate::admin::creation::{self, MorePartitions};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::create_partitions_request::CreatePartitionsTopic;
use crate::protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use crate::protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

pub fn handle(api: &Arc<Api>, ctx: RequestContext, request: CreatePartitionsRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let results = add_all(&api, &request).await;
        ctx.responder().finish(&CreatePartitionsResponse::default().with_results(results))
    }))
}

async fn add_all(api: &Api, request: &CreatePartitionsRequest) -> Vec<CreatePartitionsTopicResult> {
    let deadline = Instant::now() + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let mut seen = HashSet::new();
    let twice: HashSet<_> = request.topics.iter().map(|t| &t.name).filter(|n| !seen.insert(*n)).collect();
    let mut answered = HashSet::new();
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics.iter().filter(|t| answered.insert(&t.name)) {
        let outcome = if !api.controller.is_active() {
            Err(AdminError::code(ErrorCode::NotController))
        } else if twice.contains(&topic.name) {
            Err(AdminError::new(ErrorCode::InvalidRequest, "Duplicate topic in request."))
        } else {
            add(api, topic, request.validate_only, request.timeout_ms > 0, deadline).await
        };
        let (code, message) = match outcome {
            Ok(()) => (ErrorCode::None, None),
            Err(error) => (error.code, error.message),
        };
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone()).with_error_code(code.code());
        results.push(result.with_error_message(message.map(StrBytes::from_string)));
    }
    results
}

async fn add(
    api: &Api,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
    wait: bool,
    deadline: Instant,
) -> Result<(), AdminError> {
    let failed = |error| creation::store_failed(&error);
    if api.store.is_topic_marked_for_deletion(&topic.name).await.map_err(failed)? {
        return Err(AdminError::new(ErrorCode::InvalidTopicException, "The topic is queued for deletion."));
    }
    let lists = |list: &Vec<crate::protocol::messages::create_partitions_request::CreatePartitionsAssignment>| {
        list.iter().map(|a| a.broker_ids.iter().map(|id| **id).collect()).collect()
    };
    let request = MorePartitions {
        topic: topic.name.to_string(),
        count: topic.count,
        assignments: topic.assignments.as_ref().map(lists),
    };
    let znode = creation::plan_partitions(&api.store, &request).await?;
    if validate_only {
        return Ok(());
    }
    tracing::info!(target: "kafka.zk.AdminZkClient", "Creating partitions of '{}': {} in all", request.topic, znode.partitions.len());
    api.store.create_partitions(&request.topic, &znode).await.map_err(failed)?;
    let count = znode.partitions.len();
    if wait && api.metadata.wait_until(deadline, |image| image.all_led(&request.topic, count)).await {
        return Ok(());
    }
    Err(AdminError::code(ErrorCode::RequestTimedOut))
}
