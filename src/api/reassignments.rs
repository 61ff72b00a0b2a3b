//! AlterPartitionReassignments and ListPartitionReassignments, version 0: the controller's business.
//! Answers to the same-named handlers of `KafkaApis` (spec zookeeper 3.10, 5.8).

use std::sync::Arc;

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::protocol::messages::{AlterPartitionReassignmentsRequest, ListPartitionReassignmentsRequest};

pub fn alter(api: &Arc<Api>, ctx: RequestContext, request: AlterPartitionReassignmentsRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let response = api.controller.alter_partition_reassignments(request).await;
        ctx.responder().finish(&response)
    }))
}

pub fn list(api: &Arc<Api>, ctx: RequestContext, request: ListPartitionReassignmentsRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let response = api.controller.list_partition_reassignments(request).await;
        ctx.responder().finish(&response)
    }))
}
