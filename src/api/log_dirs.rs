//! DescribeLogDirs, versions 0 to 4: which replica lies in which directory, and how large it is.
//! Answers to `KafkaApis.handleDescribeLogDirsRequest` and `ReplicaManager.describeLogDirs` (spec log 2.18).

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::statvfs::statvfs;

use super::control::blocking;
use super::reply::{Frame, Reply};
use super::{Api, RequestContext};
use crate::log::PartitionLog;
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use crate::topic::TopicPartition;

/// What an offset lag says when it cannot be told.
const NO_LAG: i64 = -1;

pub fn handle(api: &Arc<Api>, ctx: RequestContext, request: DescribeLogDirsRequest) -> Reply {
    let api = api.clone();
    Reply::Exclusive(Box::pin(async move { blocking(&api, move |api| answer(api, &ctx, &request)).await }))
}

fn answer(api: &Api, ctx: &RequestContext, request: &DescribeLogDirsRequest) -> Option<Frame> {
    let asked = request.topics.as_ref().map(|topics| {
        let all = topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| TopicPartition::new(&*topic.topic.0, *partition))
        });
        all.collect::<HashSet<_>>()
    });
    let dirs = api.replicas.log_manager().log_dirs();
    let results = dirs.into_iter().map(|(dir, live)| describe(api, ctx, &dir, live, asked.as_ref()));
    ctx.responder().finish(&DescribeLogDirsResponse::default().with_results(results.collect()))
}

fn describe(
    api: &Api,
    ctx: &RequestContext,
    dir: &Path,
    live: bool,
    asked: Option<&HashSet<TopicPartition>>,
) -> DescribeLogDirsResult {
    let path = std::path::absolute(dir).unwrap_or_else(|_| PathBuf::from(dir));
    let result = DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(path.display().to_string()));
    let space = match space(dir) {
        Ok(space) if live => space,
        _ => return result.with_error_code(ErrorCode::KafkaStorageError.code()),
    };
    let mut topics: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for log in api.replicas.log_manager().all_logs() {
        let tp = log.topic_partition();
        if log.log_dir().path() == dir && asked.is_none_or(|asked| asked.contains(tp)) {
            topics.entry(tp.topic.clone()).or_default().push(partition(api, &log));
        }
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        let name = TopicName(StrBytes::from_string(topic.to_string()));
        DescribeLogDirsTopic::default().with_name(name).with_partitions(partitions)
    });
    let result = result.with_topics(topics.collect());
    match ctx.version {
        4.. => result.with_total_bytes(space.0).with_usable_bytes(space.1),
        _ => result,
    }
}

fn partition(api: &Api, log: &PartitionLog) -> DescribeLogDirsPartition {
    let tp = log.topic_partition();
    let hosted = api.replicas.partition(&tp.topic, tp.partition).ok().and_then(|p| p.log());
    let lag = hosted.map_or(NO_LAG, |current| match log.is_future() {
        true => current.log_end_offset() - log.log_end_offset(),
        false => (current.high_watermark() - log.log_end_offset()).max(0),
    });
    DescribeLogDirsPartition::default()
        .with_partition_index(tp.partition)
        .with_partition_size(i64::try_from(log.size()).unwrap_or(i64::MAX))
        .with_offset_lag(lag)
        .with_is_future_key(log.is_future())
}

/// Bytes of the file system in all, and free for us.
fn space(dir: &Path) -> io::Result<(i64, i64)> {
    let stat = statvfs(dir)?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.fragment_size())).unwrap_or(i64::MAX);
    Ok((bytes(stat.blocks()), bytes(stat.blocks_available())))
}
