//! The checks that come before validation proper: which versions of Produce may carry what, batch sizes,
//! checksums. Followers need no more than this.

use bytes::Bytes;

use super::{AppendOrigin, ValidationError};
use crate::protocol::ErrorCode;
use crate::record::{Batch, Codec, MAGIC_V2, NO_PARTITION_LEADER_EPOCH, NO_TIMESTAMP, batches};
use crate::topic::TopicPartition;

/// What one look over the batches of an append tells.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// All whole batches, in order; checksums are right.
    pub batches: Vec<Batch>,
    /// Base offset of the first batch, if it is of format 2.
    pub first_offset: Option<i64>,
    pub last_offset_of_first_batch: i64,
    /// -1 without batches.
    pub last_offset: i64,
    /// -1 for the older formats.
    pub last_leader_epoch: i32,
    /// Milliseconds since the epoch; -1 for none.
    pub max_timestamp: i64,
    /// Last offset of the batch with that timestamp.
    pub offset_of_max_timestamp: i64,
    /// Of several codecs, the last that is not `None`.
    pub source_codec: Codec,
    /// Bytes of all whole batches; what follows them is cut off silently.
    pub valid_bytes: usize,
    /// Whether each batch ends beyond the one before.
    pub monotonic: bool,
}

/// Looks over `bytes`: sizes against `max_batch_bytes` (`None`: any, as on followers), checksums, and for
/// clients that batches start at offset 0.
pub fn analyze(
    bytes: Bytes,
    partition: &TopicPartition,
    origin: AppendOrigin,
    max_batch_bytes: Option<i32>,
) -> Result<Analysis, ValidationError> {
    let mut found = Analysis {
        batches: Vec::with_capacity(1),
        first_offset: None,
        last_offset_of_first_batch: -1,
        last_offset: -1,
        last_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        max_timestamp: NO_TIMESTAMP,
        offset_of_max_timestamp: -1,
        source_codec: Codec::None,
        valid_bytes: 0,
        monotonic: true,
    };
    for batch in batches(bytes) {
        let batch = batch?;
        check_batch(&batch, partition, origin, max_batch_bytes)?;
        let last_offset = batch.last_offset();
        if found.batches.is_empty() {
            found.first_offset = batch.v2().map(|b| b.header().base_offset);
            found.last_offset_of_first_batch = last_offset;
        } else if found.last_offset >= last_offset {
            found.monotonic = false;
        }
        found.last_offset = last_offset;
        found.last_leader_epoch = batch.partition_leader_epoch();
        if batch.max_timestamp() > found.max_timestamp {
            found.max_timestamp = batch.max_timestamp();
            found.offset_of_max_timestamp = last_offset;
        }
        found.valid_bytes += batch.size_in_bytes();
        match batch.codec()? {
            Codec::None => {}
            codec => found.source_codec = codec,
        }
        found.batches.push(batch);
    }
    Ok(found)
}

fn check_batch(
    batch: &Batch,
    partition: &TopicPartition,
    origin: AppendOrigin,
    max_batch_bytes: Option<i32>,
) -> Result<(), ValidationError> {
    if let (Batch::V2(v2), AppendOrigin::Client) = (batch, origin) {
        let base = v2.header().base_offset;
        if base != 0 {
            return Err(ValidationError::invalid(format!(
                "The baseOffset of the record batch in the append to {partition} should be 0, but it is {base}"
            )));
        }
    }
    if let Some(max) = max_batch_bytes {
        check_size(batch.size_in_bytes(), max, partition)?;
    }
    if !batch.is_valid() {
        let stored = batch.stored_crc();
        return Err(ValidationError::new(
            ErrorCode::CorruptMessage,
            format!("Record is corrupt (stored crc = {stored}) in topic partition {partition}."),
        ));
    }
    Ok(())
}

/// Refuses a batch beyond `max.message.bytes`.
pub(super) fn check_size(size: usize, max: i32, partition: &TopicPartition) -> Result<(), ValidationError> {
    if i64::try_from(size).is_ok_and(|size| size <= i64::from(max)) {
        return Ok(());
    }
    Err(ValidationError::new(
        ErrorCode::MessageTooLarge,
        format!(
            "The record batch size in the append to {partition} is {size} bytes which exceeds the maximum configured \
             value of {max}."
        ),
    ))
}

/// What Produce `version` may carry for one partition: from 3 on exactly one batch of format 2, zstd from 7 on.
/// Earlier versions may carry anything. The error is the answer for that partition, without a message.
pub fn check_produce_request(version: i16, records: Option<&Bytes>) -> Result<(), ValidationError> {
    if version < 3 {
        return Ok(());
    }
    let refuse = |what: &str| ValidationError::invalid(format!("Produce requests with version {version} {what}"));
    let mut entries = batches(records.cloned().unwrap_or_default());
    let first = entries.next().ok_or_else(|| refuse("must have at least one record batch per partition"))??;
    if first.magic() != MAGIC_V2 {
        return Err(refuse("are only allowed to contain record batches with magic version 2"));
    }
    if version < 7 && first.codec()? == Codec::Zstd {
        return Err(ValidationError::new(
            ErrorCode::UnsupportedCompressionType,
            format!("Produce requests with version {version} are not allowed to use ZStandard compression"),
        ));
    }
    match entries.next() {
        None => Ok(()),
        Some(Err(e)) => Err(e.into()),
        Some(Ok(_)) => Err(refuse("are only allowed to contain exactly one record batch per partition")),
    }
}
