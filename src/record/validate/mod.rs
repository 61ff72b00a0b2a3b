//! What a leader checks before it appends, and how it stamps offsets and epochs. Answers to `LogValidator`,
//! `UnifiedLog.analyzeAndValidateRecords` and `ProduceRequest.validateRecords`.
//!
//! The hot path is a batch of format 2 whose codec the topic keeps: its payload is never copied. The result is
//! a patched header beside the client's own bytes, for the log to write both with one call. Everything else is
//! rebuilt into one new batch (`rebuild`).
//!
//! One deviation on purpose: where an uncompressed batch of format 2 numbers its records other than 0, 1, 2...,
//! Kafka keeps the numbers and so stores offsets outside of the batch. Here such a batch is rebuilt. (A compressed
//! one is refused, as by Kafka.)

mod analyze;
mod rebuild;
mod records;

use bytes::Bytes;

pub use analyze::{Analysis, analyze, check_produce_request};

use super::codec::DEFAULT_DECOMPRESSION_CAP;
use super::header::RECORD_BATCH_OVERHEAD;
use super::{AppendOrigin, Batch, BatchHeader, Codec, NO_TIMESTAMP, RecordBatch, RecordError, TimestampType};
use crate::protocol::ErrorCode;
use crate::topic::TopicPartition;
use records::{Check, InPlace};

/// What a rebuild may decompress to by default, in bytes: unlike a check in place, it holds the result.
pub const DEFAULT_REBUILD_CAP: u64 = 256 << 20;

/// How many per-record errors are reported at most; hostile input would otherwise choose the size of the answer.
pub const MAX_RECORD_ERRORS: usize = 10_000;

/// The topic's configuration as far as appends care. Cheap to make, but meant to be kept with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRules {
    /// `compression.type`; `None` is `producer`.
    pub compression: Option<Codec>,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// Whether `cleanup.policy` has `compact`.
    pub compacted: bool,
    /// `max.message.bytes`.
    pub max_message_bytes: i32,
    /// False below `inter.broker.protocol.version` 2.1.
    pub zstd_allowed: bool,
    /// Most bytes that may come out of a compressed batch while its records are checked.
    pub decompression_cap: u64,
    /// The same where the batch must be rebuilt.
    pub rebuild_cap: u64,
}

impl Default for AppendRules {
    /// Kafka's defaults for a topic.
    fn default() -> AppendRules {
        AppendRules {
            compression: None,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
            compacted: false,
            max_message_bytes: 1024 * 1024 + 12,
            zstd_allowed: true,
            decompression_cap: DEFAULT_DECOMPRESSION_CAP,
            rebuild_cap: DEFAULT_REBUILD_CAP,
        }
    }
}

/// A batch ready to be written: `header_bytes` and then `body`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validated {
    /// Offsets, epoch and, where the topic wants it, timestamps are the leader's.
    pub header: BatchHeader,
    /// Everything from byte 61. The client's own bytes, unless `rebuilt`.
    pub body: Bytes,
    pub first_offset: i64,
    pub last_offset: i64,
    /// Milliseconds since the epoch; -1 for none.
    pub max_timestamp: i64,
    /// For format 2 always the last offset, as Kafka has it.
    pub offset_of_max_timestamp: i64,
    /// Milliseconds since the epoch; -1 unless the topic stamps LogAppendTime.
    pub log_append_time: i64,
    /// Codec the client used: of several messages, the last that was not `None`.
    pub source_codec: Codec,
    /// Whether `body` was made anew.
    pub rebuilt: bool,
    pub stats: ConversionStats,
}

impl Validated {
    /// The 61 bytes in front of `body`.
    pub fn header_bytes(&self) -> [u8; RECORD_BATCH_OVERHEAD] {
        self.header.encode()
    }

    /// Bytes of the whole batch.
    pub fn size_in_bytes(&self) -> usize {
        RECORD_BATCH_OVERHEAD + self.body.len()
    }
}

/// What conversion metrics count (Kafka's `RecordValidationStats`); the caller knows the time it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConversionStats {
    /// Decompressed bytes, and the size of what was built.
    pub temporary_memory_bytes: u64,
    /// Records that went into a rebuilt batch.
    pub records_converted: u32,
}

/// Why an append is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ValidationError {
    pub code: ErrorCode,
    /// The `error_message` of the Produce response; none for most errors.
    pub message: Option<String>,
    /// Index in the batch and text, for the response's `record_errors`.
    pub record_errors: Vec<(i32, Option<String>)>,
    /// The reason for the broker's own log; Kafka's exception text.
    pub detail: String,
}

impl ValidationError {
    fn new(code: ErrorCode, detail: String) -> ValidationError {
        ValidationError { code, message: None, record_errors: Vec::new(), detail }
    }

    fn invalid(detail: String) -> ValidationError {
        ValidationError::new(ErrorCode::InvalidRecord, detail)
    }

    /// Whether the response carries the log start offset: so for errors found while validating, not for those
    /// found before (Kafka's `ReplicaManager.appendToLocalLog`).
    pub fn reports_log_start_offset(&self) -> bool {
        !matches!(self.code, ErrorCode::MessageTooLarge | ErrorCode::CorruptMessage)
    }
}

impl From<RecordError> for ValidationError {
    fn from(e: RecordError) -> ValidationError {
        ValidationError::new(e.code(), e.to_string())
    }
}

/// Checks everything a leader checks before it appends `bytes`, and makes the batch to write: offsets from
/// `base_offset` on, `leader_epoch` stamped. `None` if `bytes` hold no whole batch: nothing to append, no error.
/// `now_ms` in milliseconds since the epoch.
pub fn validate_for_append(
    bytes: Bytes,
    partition: &TopicPartition,
    rules: &AppendRules,
    base_offset: i64,
    leader_epoch: i32,
    now_ms: i64,
    origin: AppendOrigin,
) -> Result<Option<Validated>, ValidationError> {
    let max_bytes = (origin != AppendOrigin::Replication).then_some(rules.max_message_bytes);
    let analysis = analyze(bytes, partition, origin, max_bytes)?;
    let job = Append { partition, rules, base_offset, leader_epoch, now_ms, origin };
    job.run(analysis)
}

/// One append on its way through validation.
struct Append<'a> {
    partition: &'a TopicPartition,
    rules: &'a AppendRules,
    base_offset: i64,
    leader_epoch: i32,
    now_ms: i64,
    origin: AppendOrigin,
}

impl Append<'_> {
    fn run(&self, analysis: Analysis) -> Result<Option<Validated>, ValidationError> {
        let source = analysis.source_codec;
        let target = self.rules.compression.unwrap_or(source);
        let compressed = source != Codec::None || target != Codec::None;
        if compressed && target == Codec::Zstd && !self.rules.zstd_allowed {
            return Err(ValidationError::new(
                ErrorCode::UnsupportedCompressionType,
                "Produce requests to inter.broker.protocol.version < 2.1 broker are not allowed to use ZStandard \
                 compression"
                    .into(),
            ));
        }
        let mut batches = analysis.batches;
        let Some(first) = batches.first() else { return Ok(None) };
        if batches.len() > 1 && (first.v2().is_some() || source != Codec::None) {
            return Err(ValidationError::invalid("Compressed outer record has more than one batch".into()));
        }
        if first.v2().is_none() {
            return self.rebuild_legacy(&batches, source, target).map(Some);
        }
        match batches.pop() {
            Some(Batch::V2(batch)) => self.run_v2(batch, source, target).map(Some),
            _ => Ok(None),
        }
    }

    fn run_v2(&self, batch: RecordBatch, source: Codec, target: Codec) -> Result<Validated, ValidationError> {
        self.check_header(batch.header())?;
        // Markers stay uncompressed whatever the topic wants.
        let keep_codec = source == target || (source == Codec::None && batch.header().is_control());
        let found = records::walk(&Check::new(self, batch.header(), keep_codec), &batch, self.rules.decompression_cap)?;
        if keep_codec && found.consecutive {
            self.in_place(batch, source, found)
        } else if keep_codec && source != Codec::None {
            // Kafka tries to rebuild it from records whose keys and values it has skipped, and fails.
            Err(ValidationError::new(
                ErrorCode::UnknownServerError,
                format!("Record offsets are not consecutive in topic partition {}", self.partition),
            ))
        } else {
            self.rebuild_v2(&batch, source, target, found)
        }
    }

    /// The rules for a batch as such (`LogValidator.validateBatch`).
    fn check_header(&self, header: &BatchHeader) -> Result<(), ValidationError> {
        if self.origin != AppendOrigin::Client {
            return Ok(());
        }
        let (first, last) = (header.base_offset, header.last_offset());
        let by_offsets = i64::from(header.last_offset_delta) + 1;
        let count = header.records_count;
        let reason = if by_offsets <= 0 {
            format!("Batch has an invalid offset range: [{first}, {last}]")
        } else if count <= 0 {
            format!("Invalid reported count for record batch: {count}")
        } else if by_offsets != i64::from(count) {
            format!("Inconsistent batch offset range [{first}, {last}] and count of records {count}")
        } else if header.is_control() {
            "Clients are not allowed to write control records".into()
        } else if header.has_producer_id() && header.base_sequence < 0 {
            let (sequence, id) = (header.base_sequence, header.producer_id);
            format!("Invalid sequence number {sequence} in record batch with producerId {id}")
        } else {
            return Ok(());
        };
        Err(ValidationError::invalid(format!("{reason} in topic partition {}", self.partition)))
    }

    /// Keeps the payload and patches the header.
    fn in_place(&self, batch: RecordBatch, source: Codec, found: InPlace) -> Result<Validated, ValidationError> {
        let mut header = *batch.header();
        let last_offset = self.base_offset.wrapping_add(i64::from(found.count)).wrapping_sub(1);
        header.base_offset = last_offset.wrapping_sub(i64::from(header.last_offset_delta));
        header.partition_leader_epoch = self.leader_epoch;
        let max_timestamp = match self.rules.timestamp_type {
            TimestampType::CreateTime => found.max_timestamp,
            TimestampType::LogAppendTime => self.now_ms,
        };
        let body = batch.body();
        if header.set_max_timestamp(self.rules.timestamp_type, max_timestamp) {
            header.crc = header.compute_crc(&body);
        }
        Ok(Validated {
            header,
            body,
            first_offset: self.base_offset,
            last_offset,
            max_timestamp,
            offset_of_max_timestamp: last_offset,
            log_append_time: self.log_append_time(),
            source_codec: source,
            rebuilt: false,
            stats: ConversionStats { temporary_memory_bytes: found.temporary_bytes, records_converted: 0 },
        })
    }

    fn log_append_time(&self) -> i64 {
        match self.rules.timestamp_type {
            TimestampType::CreateTime => NO_TIMESTAMP,
            TimestampType::LogAppendTime => self.now_ms,
        }
    }
}

#[cfg(test)]
mod tests;
