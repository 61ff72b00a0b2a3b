//! ListOffsets, versions 0 to 8. Answers to `KafkaApis.handleListOffsetRequest` (spec log 2.7, zookeeper 4.15).

use std::collections::HashSet;

use super::reply::Reply;
use super::{Api, RequestContext};
use crate::log::{Isolation, TimestampAndOffset};
use crate::protocol::ErrorCode;
use crate::protocol::messages::ListOffsetsResponse;
use crate::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use crate::protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use crate::replica::partition::ExpectedEpoch;
use crate::util::clock;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const EARLIEST_LOCAL: i64 = -4;
/// Replica id of tools that look at any replica.
const DEBUGGING_REPLICA: i32 = -2;

/// Who asks, and how far it may see.
struct Asker {
    version: i16,
    replica_id: i32,
    isolation: Isolation,
}

impl Asker {
    fn is_client(&self) -> bool {
        self.replica_id == -1
    }
}

pub fn handle(api: &Api, ctx: &RequestContext, request: &ListOffsetsRequest) -> Reply {
    let replica_id = *request.replica_id;
    let isolation = match (replica_id, request.isolation_level) {
        (-1, 1) => Isolation::Committed,
        (-1, _) => Isolation::HighWatermark,
        _ => Isolation::LogEnd,
    };
    let asker = Asker { version: ctx.version, replica_id, isolation };
    let mut seen = HashSet::new();
    let mut twice = HashSet::new();
    for (topic, partition) in request.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.name, p))) {
        if !seen.insert((topic, partition.partition_index)) {
            twice.insert((topic, partition.partition_index));
        }
    }
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            if ctx.version > 0 && twice.contains(&(&topic.name, partition.partition_index)) {
                return refused(partition, ErrorCode::InvalidRequest);
            }
            answer(api, &asker, &topic.name, partition)
        });
        ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    ctx.responder().reply(&ListOffsetsResponse::default().with_topics(topics.collect()))
}

fn answer(api: &Api, asker: &Asker, topic: &str, partition: &ListOffsetsPartition) -> ListOffsetsPartitionResponse {
    let found =
        if asker.version == 0 { legacy(api, asker, topic, partition) } else { lookup(api, asker, topic, partition) };
    found.unwrap_or_else(|code| refused(partition, code))
}

fn refused(partition: &ListOffsetsPartition, code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse::default().with_partition_index(partition.partition_index).with_error_code(code.code())
}

fn legacy(
    api: &Api,
    asker: &Asker,
    topic: &str,
    partition: &ListOffsetsPartition,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    let replica = api.replicas.partition(topic, partition.partition_index)?;
    let log = replica.local_log(ExpectedEpoch::ANY, asker.replica_id != DEBUGGING_REPLICA)?;
    let mut offsets = log
        .legacy_offsets_before(partition.timestamp, partition.max_num_offsets, clock::now_ms())
        .map_err(|_| ErrorCode::KafkaStorageError)?;
    let high_watermark = log.high_watermark();
    if asker.is_client() && offsets.iter().any(|offset| *offset > high_watermark) {
        // A consumer must not learn of offsets past the high watermark: the first is replaced, the rest dropped.
        let below: Vec<i64> = offsets.iter().copied().filter(|offset| *offset <= high_watermark).collect();
        offsets = [high_watermark].into_iter().chain(below.into_iter().filter(|o| *o < high_watermark)).collect();
        offsets.truncate(usize::try_from(partition.max_num_offsets).unwrap_or(0));
    }
    let answer = ListOffsetsPartitionResponse::default().with_partition_index(partition.partition_index);
    Ok(answer.with_old_style_offsets(offsets))
}

fn lookup(
    api: &Api,
    asker: &Asker,
    topic: &str,
    partition: &ListOffsetsPartition,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    let replica = api.replicas.partition(topic, partition.partition_index)?;
    let expected = ExpectedEpoch::from_wire(partition.current_leader_epoch);
    let log = replica.local_log(expected, asker.replica_id != DEBUGGING_REPLICA)?;
    let bound = match asker.isolation {
        Isolation::LogEnd => log.log_end_offset(),
        Isolation::HighWatermark => log.high_watermark(),
        Isolation::Committed => log.last_stable_offset(),
    };
    // A new leader whose high watermark has not reached its own start may not say where the end is.
    let lagging = asker.is_client() && replica.epoch_start_offset().is_some_and(|start| start > log.high_watermark());
    let not_yet = if asker.version >= 5 { ErrorCode::OffsetNotAvailable } else { ErrorCode::LeaderNotAvailable };
    if partition.timestamp == LATEST {
        let end = TimestampAndOffset { timestamp: -1, offset: bound, leader_epoch: Some(replica.leader_epoch()) };
        return if lagging { Err(not_yet) } else { Ok(found(asker, partition, end)) };
    }
    let hit = log.offset_for_timestamp(partition.timestamp).map_err(|error| error.code())?;
    match hit {
        Some(hit) if matches!(partition.timestamp, EARLIEST | EARLIEST_LOCAL) || hit.offset < bound => {
            Ok(found(asker, partition, hit))
        }
        _ if lagging => Err(not_yet),
        _ => Ok(found(asker, partition, TimestampAndOffset { timestamp: -1, offset: -1, leader_epoch: None })),
    }
}

fn found(asker: &Asker, partition: &ListOffsetsPartition, hit: TimestampAndOffset) -> ListOffsetsPartitionResponse {
    let answer = ListOffsetsPartitionResponse::default()
        .with_partition_index(partition.partition_index)
        .with_timestamp(hit.timestamp)
        .with_offset(hit.offset);
    // Versions before 4 have no place for the epoch.
    let epoch = hit.leader_epoch.filter(|_| asker.version >= 4);
    answer.with_leader_epoch(epoch.unwrap_or(-1))
}
