//! Requests of consumer groups, handed to the coordinator. What the coordinator cannot know is decided here: which
//! partitions exist, and version 0 of the offset requests, whose offsets live in ZooKeeper.
//! Answers to the group handlers of `KafkaApis` (spec log 4.3, 4.7-4.9).

use std::collections::HashSet;
use std::sync::Arc;

use super::reply::Reply;
use super::{Api, RequestContext, zk_offsets};
use crate::group::{GroupRequestContext, client_host};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::protocol::messages::{
    DescribeGroupsRequest, HeartbeatResponse, JoinGroupResponse, OffsetCommitRequest, OffsetCommitResponse,
    RequestKind, SyncGroupResponse,
};

/// Bits of READ, DELETE and DESCRIBE, all the operations there are on a group.
const ALL_GROUP_OPERATIONS: i32 = 0b1_0100_1000;

pub fn handle(api: &Arc<Api>, ctx: RequestContext, request: RequestKind) -> Reply {
    let context = GroupRequestContext {
        api_version: ctx.version,
        client_id: Arc::from(ctx.client_id()),
        client_host: Arc::from(client_host(ctx.address.ip())),
    };
    if names_static_member(&request) && !api.config().protocol_version().at_least("2.3-IV0") {
        return refuse_static_member(&ctx, &request);
    }
    match request {
        RequestKind::JoinGroup(r) => {
            let groups = api.groups.clone();
            Reply::Exclusive(Box::pin(async move { ctx.responder().finish(&groups.join_group(&context, r).await) }))
        }
        RequestKind::SyncGroup(r) => {
            let groups = api.groups.clone();
            Reply::Exclusive(Box::pin(async move { ctx.responder().finish(&groups.sync_group(&context, r).await) }))
        }
        RequestKind::Heartbeat(r) => ctx.responder().reply(&api.groups.heartbeat(&r)),
        RequestKind::LeaveGroup(r) => ctx.responder().reply(&api.groups.leave_group(&context, &r)),
        RequestKind::OffsetCommit(r) => offset_commit(api, ctx, r),
        RequestKind::OffsetFetch(r) if ctx.version == 0 => zk_offsets::fetch(api, ctx, r),
        RequestKind::OffsetFetch(r) => ctx.responder().reply(&api.groups.offset_fetch(ctx.version, r)),
        RequestKind::DescribeGroups(r) => describe(api, &ctx, &r),
        RequestKind::ListGroups(r) => ctx.responder().reply(&api.groups.list_groups(ctx.version, &r)),
        _ => Reply::Close(format!("Request api key {} has no handler", ctx.api_key)),
    }
}

fn names_static_member(request: &RequestKind) -> bool {
    match request {
        RequestKind::JoinGroup(r) => r.group_instance_id.is_some(),
        RequestKind::SyncGroup(r) => r.group_instance_id.is_some(),
        RequestKind::Heartbeat(r) => r.group_instance_id.is_some(),
        RequestKind::OffsetCommit(r) => r.group_instance_id.is_some(),
        _ => false,
    }
}

/// A coordinator of an older protocol would lose the name of a static member: none is taken until all know them.
fn refuse_static_member(ctx: &RequestContext, request: &RequestKind) -> Reply {
    let code = ErrorCode::UnsupportedVersion.code();
    match request {
        RequestKind::JoinGroup(_) => {
            let name = if ctx.version < 7 { Some(StrBytes::default()) } else { None };
            let refused = JoinGroupResponse::default().with_error_code(code).with_generation_id(-1);
            ctx.responder().reply(&refused.with_protocol_name(name))
        }
        RequestKind::SyncGroup(_) => ctx.responder().reply(&SyncGroupResponse::default().with_error_code(code)),
        RequestKind::Heartbeat(_) => ctx.responder().reply(&HeartbeatResponse::default().with_error_code(code)),
        RequestKind::OffsetCommit(r) => {
            let topics = r.topics.iter().map(|topic| {
                let refused = |index: i32| {
                    OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code)
                };
                let partitions = topic.partitions.iter().map(|p| refused(p.partition_index)).collect();
                OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
            });
            ctx.responder().reply(&OffsetCommitResponse::default().with_topics(topics.collect()))
        }
        _ => Reply::Close(format!("Request api key {} has no static member", ctx.api_key)),
    }
}

fn describe(api: &Api, ctx: &RequestContext, request: &DescribeGroupsRequest) -> Reply {
    let mut response = api.groups.describe_groups(ctx.version, request);
    if request.include_authorized_operations {
        for group in &mut response.groups {
            group.authorized_operations = ALL_GROUP_OPERATIONS;
        }
    }
    ctx.responder().reply(&response)
}

/// Commits what exists; partitions nobody knows are refused one by one.
fn offset_commit(api: &Arc<Api>, ctx: RequestContext, mut request: OffsetCommitRequest) -> Reply {
    let image = api.metadata.snapshot();
    let unknown: HashSet<(Arc<str>, i32)> = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|p| (&**topic.name, p.partition_index)))
        .filter(|(topic, partition)| image.partition(topic, *partition).is_none())
        .map(|(topic, partition)| (Arc::from(topic), partition))
        .collect();
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let asked = request.clone();
        for topic in &mut request.topics {
            let name: Arc<str> = Arc::from(&**topic.name);
            topic.partitions.retain(|p| !unknown.contains(&(name.clone(), p.partition_index)));
        }
        request.topics.retain(|topic| !topic.partitions.is_empty());
        let committed = if request.topics.is_empty() {
            OffsetCommitResponse::default()
        } else if ctx.version == 0 {
            zk_offsets::commit(&api, &request).await
        } else {
            api.groups.offset_commit(request).await
        };
        ctx.responder().finish(&merge(&asked, &unknown, committed))
    }))
}

/// The answer as Kafka builds it: refused partitions first, then the coordinator's codes, by topic.
fn merge(
    asked: &OffsetCommitRequest,
    unknown: &HashSet<(Arc<str>, i32)>,
    committed: OffsetCommitResponse,
) -> OffsetCommitResponse {
    let mut topics: Vec<OffsetCommitResponseTopic> = Vec::new();
    for topic in &asked.topics {
        let name: Arc<str> = Arc::from(&**topic.name);
        let refused = topic.partitions.iter().filter(|p| unknown.contains(&(name.clone(), p.partition_index)));
        let refused: Vec<_> = refused
            .map(|p| {
                OffsetCommitResponsePartition::default()
                    .with_partition_index(p.partition_index)
                    .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
            })
            .collect();
        if !refused.is_empty() {
            topics.push(OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(refused));
        }
    }
    for topic in committed.topics {
        match topics.iter_mut().find(|t| t.name == topic.name) {
            Some(known) => known.partitions.extend(topic.partitions),
            None => topics.push(topic),
        }
    }
    OffsetCommitResponse::default().with_topics(topics)
}
