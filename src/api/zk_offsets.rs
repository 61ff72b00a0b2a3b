//! Version 0 of OffsetCommit and OffsetFetch: offsets in ZooKeeper under `/consumers`, as consumers of the
//! 0.8 line kept them (spec zookeeper 1.5, log 4.7).

use std::sync::Arc;

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::protocol::messages::offset_fetch_response::{OffsetFetchResponsePartition, OffsetFetchResponseTopic};
use crate::protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse};

/// Stores each offset; one that fails does not hold up the others.
pub async fn commit(api: &Api, request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for p in &topic.partitions {
            let too_large = p.committed_metadata.as_ref().is_some_and(|text| {
                text.encode_utf16().count()
                    > usize::try_from(api.config().int("offset.metadata.max.bytes")).unwrap_or(0)
            });
            let code = if too_large {
                ErrorCode::OffsetMetadataTooLarge
            } else {
                let stored = api.store.set_consumer_offset(
                    &request.group_id,
                    &topic.name,
                    p.partition_index,
                    p.committed_offset,
                );
                stored
                    .await
                    .map_or_else(|error| crate::admin::creation::store_failed(&error).code, |()| ErrorCode::None)
            };
            let answer = OffsetCommitResponsePartition::default().with_partition_index(p.partition_index);
            partitions.push(answer.with_error_code(code.code()));
        }
        topics.push(OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    OffsetCommitResponse::default().with_topics(topics)
}

pub fn fetch(api: &Arc<Api>, ctx: RequestContext, request: OffsetFetchRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move {
        let mut topics = Vec::new();
        for topic in request.topics.iter().flatten() {
            let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
            for index in &topic.partition_indexes {
                let (offset, code) = stored(&api, &request.group_id, &topic.name, *index).await;
                partitions.push(
                    OffsetFetchResponsePartition::default()
                        .with_partition_index(*index)
                        .with_committed_offset(offset)
                        .with_metadata(Some(StrBytes::default()))
                        .with_error_code(code.code()),
                );
            }
            topics.push(OffsetFetchResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
        }
        ctx.responder().finish(&OffsetFetchResponse::default().with_topics(topics))
    }))
}

/// An offset nobody stored, or of a partition nobody knows, is answered as an unknown partition.
async fn stored(api: &Api, group: &str, topic: &str, partition: i32) -> (i64, ErrorCode) {
    if api.metadata.image().partition(topic, partition).is_none() {
        return (-1, ErrorCode::UnknownTopicOrPartition);
    }
    match api.store.consumer_offset(group, topic, partition).await {
        Ok(Some(offset)) => (offset, ErrorCode::None),
        Ok(None) => (-1, ErrorCode::UnknownTopicOrPartition),
        Err(error) => (-1, crate::admin::creation::store_failed(&error).code),
    }
}
