//! OffsetForLeaderEpoch, versions 0 to 4. Answers to `KafkaApis.handleOffsetForLeaderEpochRequest` (spec 4.13).

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::protocol::ErrorCode;
use crate::protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use crate::protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use crate::protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use crate::replica::partition::ExpectedEpoch;

pub fn handle(api: &Api, ctx: &RequestContext, request: &OffsetForLeaderEpochRequest) -> Reply {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer = EpochEndOffset::default().with_partition(partition.partition);
            match end_offset(api, &topic.topic, partition) {
                Ok((epoch, offset)) => answer.with_leader_epoch(epoch).with_end_offset(offset),
                Err(code) => answer.with_error_code(code.code()).with_leader_epoch(-1).with_end_offset(-1),
            }
        });
        OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
    });
    ctx.responder().reply(&OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
}

fn end_offset(api: &Api, topic: &str, partition: &OffsetForLeaderPartition) -> Result<(i32, i64), ErrorCode> {
    let replica = api.replicas.partition(topic, partition.partition)?;
    let log = replica.local_log(ExpectedEpoch::from_wire(partition.current_leader_epoch), true)?;
    Ok(log.end_offset_for_epoch(partition.leader_epoch))
}
