//! The door to `__consumer_offsets`: the trait the broker implements, the batches written through it, and what an
//! append error means to members.
//!
//! Answers to `appendForGroup`, `storeGroup` and `maybeConvertOffsetCommitError` of Kafka's `GroupMetadataManager`.
//! Owns no state.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::config::GroupConfig;
use super::records::{OffsetAndMetadata, RecordsError, encode_group_key, encode_offset_key};
use crate::protocol::ErrorCode;
use crate::record::{BatchBuilder, Codec, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, RecordError};
use crate::topic::TopicPartition;

/// Base offset of the batch in the log, or why it is not there.
pub type AppendResult = Result<i64, ErrorCode>;

/// The local replicas of `__consumer_offsets`, as the coordinator needs them.
///
/// `append` and `append_local` are called with a group's lock held and **must write to the local log before they
/// return**: the order of the calls is the order of the records. Only the wait for acknowledgements is in the future.
pub trait OffsetsLog: Send + Sync + 'static {
    /// Appends one batch (origin COORDINATOR). The future resolves once `offsets.commit.required.acks` is fulfilled,
    /// or with REQUEST_TIMED_OUT after `timeout_ms`, or with the error of the append.
    fn append(&self, partition: i32, batch: Bytes, timeout_ms: i32) -> BoxFuture<'static, AppendResult>;

    /// Appends one batch without waiting for any replica (acks 0).
    fn append_local(&self, partition: i32, batch: Bytes) -> AppendResult;

    /// Whole batches from the one that contains `from` on, about `max_bytes` of them but at least one; up to the log
    /// end, not the high watermark. Empty at the log end. Blocks: called on the blocking pool.
    fn read(&self, partition: i32, from: i64, max_bytes: i32) -> Result<Bytes, ErrorCode>;

    /// LogStartOffset; `None` if there is no replica here.
    fn log_start(&self, partition: i32) -> Option<i64>;

    /// LogEndOffset; `None` if this broker is not (no longer) the leader.
    fn log_end(&self, partition: i32) -> Option<i64>;

    /// Number of partitions of the topic, or `offsets.topic.num.partitions` while it does not exist. Asked once.
    fn partition_count(&self) -> i32;
}

/// Why a batch could not be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchError {
    #[error(transparent)]
    Field(#[from] RecordsError),
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The producer fields of a transactional commit.
#[derive(Clone, Copy, Debug)]
pub struct TxnProducer {
    pub producer_id: i64,
    pub producer_epoch: i16,
}

/// One record with the group's metadata.
pub(super) fn group_batch(
    config: &GroupConfig,
    group: &str,
    value: Option<&Bytes>,
    now_ms: i64,
) -> Result<Bytes, BatchError> {
    let mut batch = builder(config, None)?;
    batch.append(now_ms, Some(&encode_group_key(group)?), value.map(|value| &value[..]))?;
    Ok(batch.build()?)
}

/// One record per offset.
pub(super) fn offsets_batch(
    config: &GroupConfig,
    group: &str,
    offsets: &[(TopicPartition, OffsetAndMetadata)],
    producer: Option<TxnProducer>,
    now_ms: i64,
) -> Result<Bytes, BatchError> {
    let mut batch = builder(config, producer)?;
    for (partition, value) in offsets {
        let value = value.encode(config.offset_value_version)?;
        batch.append(now_ms, Some(&encode_offset_key(group, partition)?), Some(&value))?;
    }
    Ok(batch.build()?)
}

/// Tombstones for the offsets, and for the group itself if `and_group`.
pub(super) fn tombstones_batch(
    config: &GroupConfig,
    group: &str,
    offsets: &[TopicPartition],
    and_group: bool,
    now_ms: i64,
) -> Result<Bytes, BatchError> {
    let mut batch = builder(config, None)?;
    for partition in offsets {
        batch.append(now_ms, Some(&encode_offset_key(group, partition)?), None)?;
    }
    if and_group {
        batch.append(now_ms, Some(&encode_group_key(group)?), None)?;
    }
    Ok(batch.build()?)
}

fn builder(config: &GroupConfig, producer: Option<TxnProducer>) -> Result<BatchBuilder, RecordError> {
    let batch = BatchBuilder::new(0).codec(Codec::from_id(config.offsets_topic_compression_codec)?);
    Ok(match producer {
        Some(TxnProducer { producer_id, producer_epoch }) => {
            batch.producer(producer_id, producer_epoch, 0).transactional(true)
        }
        None => batch.producer(NO_PRODUCER_ID, NO_PRODUCER_EPOCH, crate::record::NO_SEQUENCE),
    })
}

/// What members are told when the group's record could not be written.
pub(super) fn group_append_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::RequestTimedOut => ErrorCode::RebalanceInProgress,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::UnknownServerError
        }
        other => other,
    }
}

/// What committers are told when the offsets could not be written.
pub(super) fn commit_append_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::InvalidCommitOffsetSize
        }
        other => other,
    }
}

/// A shared `OffsetsLog`.
pub type SharedLog = Arc<dyn OffsetsLog>;
