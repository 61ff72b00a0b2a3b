//! The group coordinator's view of the replicas: `__consumer_offsets` as ordinary partitions of the table.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::group::{AppendResult, OffsetsLog};
use crate::log::Isolation;
use crate::protocol::ErrorCode;
use crate::record::AppendOrigin;
use crate::replica::ReplicaTable;
use crate::replica::table::AckWait;
use crate::topic::GROUP_METADATA_TOPIC as TOPIC;
use crate::util::clock;

pub struct ReplicatedOffsets {
    pub replicas: Arc<ReplicaTable>,
    /// `offsets.commit.required.acks`.
    pub required_acks: i16,
    /// Partitions of the topic in ZooKeeper, or `offsets.topic.num.partitions`.
    pub partitions: i32,
}

impl ReplicatedOffsets {
    fn append_with(&self, partition: i32, batch: Bytes, acks: i16) -> Result<(i64, Option<AckWait>), ErrorCode> {
        let appended = self.replicas.append(TOPIC, partition, batch, AppendOrigin::Coordinator, acks, clock::now_ms());
        let (info, wait) = appended.map_err(|error| {
            tracing::debug!(target: "kafka.coordinator.group.GroupMetadataManager", "Append to {TOPIC}-{partition} failed: {error}");
            error.code()
        })?;
        Ok((info.first_offset, wait))
    }
}

impl OffsetsLog for ReplicatedOffsets {
    fn append(&self, partition: i32, batch: Bytes, timeout_ms: i32) -> BoxFuture<'static, AppendResult> {
        let appended = self.append_with(partition, batch, self.required_acks);
        let limit = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
        Box::pin(async move {
            let (base_offset, wait) = appended?;
            let Some(wait) = wait else { return Ok(base_offset) };
            match tokio::time::timeout(limit, wait.outcome()).await {
                Ok(ErrorCode::None) => Ok(base_offset),
                Ok(code) => Err(code),
                Err(_) => Err(ErrorCode::RequestTimedOut),
            }
        })
    }

    fn append_local(&self, partition: i32, batch: Bytes) -> AppendResult {
        self.append_with(partition, batch, 0).map(|(base_offset, _)| base_offset)
    }

    fn read(&self, partition: i32, from: i64, max_bytes: i32) -> Result<Bytes, ErrorCode> {
        let log = self.replicas.leader_log(TOPIC, partition)?;
        let read = log.read(from, max_bytes, Isolation::LogEnd, true).map_err(|error| error.code())?;
        read.slice.read().map_err(|_| ErrorCode::KafkaStorageError)
    }

    fn log_start(&self, partition: i32) -> Option<i64> {
        Some(self.replicas.partition(TOPIC, partition).ok()?.log()?.log_start_offset())
    }

    fn log_end(&self, partition: i32) -> Option<i64> {
        self.replicas.leader_log(TOPIC, partition).ok().map(|log| log.log_end_offset())
    }

    fn partition_count(&self) -> i32 {
        self.partitions
    }
}
