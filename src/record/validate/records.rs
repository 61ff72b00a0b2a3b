//! The rules for single records, and the walk over a batch of format 2 that applies them: one pass, nothing
//! allocated unless a record is at fault.

use super::{Append, AppendRules, MAX_RECORD_ERRORS, ValidationError};
use crate::protocol::ErrorCode;
use crate::record::header::RECORD_BATCH_OVERHEAD;
use crate::record::stream::StreamWalk;
use crate::record::walk::{RawRecord, Skim};
use crate::record::{BatchHeader, Codec, NO_TIMESTAMP, RecordBatch, RecordError, TimestampType};
use crate::topic::TopicPartition;

/// What the walk over a good batch found.
#[derive(Clone, Copy, Debug)]
pub(super) struct InPlace {
    pub count: u32,
    /// Whether the records are numbered 0, 1, 2...
    pub consecutive: bool,
    /// Milliseconds since the epoch; -1 for none.
    pub max_timestamp: i64,
    /// Bytes of the batch if it were not compressed; 0 if it is not.
    pub temporary_bytes: u64,
    /// Bytes of its records, decompressed.
    pub record_bytes: u64,
}

/// The rules, and what of the batch they depend on.
pub(super) struct Check<'a> {
    rules: &'a AppendRules,
    partition: &'a TopicPartition,
    now_ms: i64,
    header: &'a BatchHeader,
    /// Kafka's name for the kind of record it would have read, for texts.
    described_as: &'static str,
}

impl<'a> Check<'a> {
    pub(super) fn new(append: &Append<'a>, header: &'a BatchHeader, in_place: bool) -> Check<'a> {
        Check {
            rules: append.rules,
            partition: append.partition,
            now_ms: append.now_ms,
            header,
            described_as: match in_place && header.is_compressed() {
                true => "PartialDefaultRecord",
                false => "DefaultRecord",
            },
        }
    }

    /// Milliseconds since the epoch.
    #[inline]
    fn timestamp(&self, record: &Skim) -> i64 {
        match self.header.timestamp_type() {
            TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(record.timestamp_delta),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        }
    }

    /// True if nothing is wrong; what is, `fault` says.
    #[inline]
    fn passes(&self, record: &Skim, timestamp: i64) -> bool {
        if self.rules.compacted && record.key_size < 0 {
            return false;
        }
        if self.rules.timestamp_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP {
            !out_of_range(self.rules, self.now_ms, timestamp)
        } else {
            self.header.timestamp_type() == TimestampType::CreateTime
        }
    }

    #[cold]
    fn fault(&self, record: &Skim, timestamp: i64) -> (ErrorCode, String) {
        if self.rules.compacted && record.key_size < 0 {
            return (ErrorCode::InvalidRecord, no_key(self.partition));
        }
        let offset = self.header.base_offset.wrapping_add(i64::from(record.offset_delta));
        let text = if self.rules.timestamp_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP {
            bad_timestamp(self.rules, self.now_ms, timestamp, offset)
        } else {
            // The partial record prints a null's size as it is, the other as 0.
            let least = if self.described_as == "DefaultRecord" { 0 } else { i32::MIN };
            let (kind, key, value) = (self.described_as, record.key_size.max(least), record.value_size.max(least));
            log_append_time_from_client(&format!(
                "{kind}(offset={offset}, timestamp={timestamp}, key={key} bytes, value={value} bytes)"
            ))
        };
        (ErrorCode::InvalidTimestamp, text)
    }
}

/// Whether the topic refuses `timestamp`, in Java's arithmetic.
#[inline]
pub(super) fn out_of_range(rules: &AppendRules, now_ms: i64, timestamp: i64) -> bool {
    let age = now_ms.wrapping_sub(timestamp);
    age > rules.timestamp_before_max_ms || age.wrapping_neg() > rules.timestamp_after_max_ms
}

pub(super) fn no_key(partition: &TopicPartition) -> String {
    format!("Compacted topic cannot accept message without key in topic partition {partition}")
}

pub(super) fn bad_timestamp(rules: &AppendRules, now_ms: i64, timestamp: i64, offset: i64) -> String {
    let earliest = now_ms.wrapping_sub(rules.timestamp_before_max_ms);
    let latest = now_ms.wrapping_add(rules.timestamp_after_max_ms);
    format!(
        "Timestamp {timestamp} of message with offset {offset} is out of range. The timestamp should be within \
         [{earliest}, {latest}]"
    )
}

pub(super) fn log_append_time_from_client(record: &str) -> String {
    format!("Invalid timestamp type in message {record}. Producer should not set timestamp type to LogAppendTime.")
}

/// The faulty records of one batch.
#[derive(Default)]
pub(super) struct Faults {
    total: usize,
    any_timestamp: bool,
    errors: Vec<(i32, Option<String>)>,
}

impl Faults {
    #[cold]
    pub(super) fn add(&mut self, index: i32, (code, text): (ErrorCode, String)) {
        self.total += 1;
        self.any_timestamp |= code == ErrorCode::InvalidTimestamp;
        if self.errors.len() < MAX_RECORD_ERRORS {
            self.errors.push((index, Some(text)));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// One fault refuses the whole batch; timestamps decide over the code.
    pub(super) fn into_result(self) -> Result<(), ValidationError> {
        if self.is_empty() {
            return Ok(());
        }
        let (code, message) = if self.any_timestamp {
            (ErrorCode::InvalidTimestamp, "One or more records have been rejected due to invalid timestamp".to_owned())
        } else {
            let first: Vec<String> = self.errors.iter().take(3).map(|(i, m)| describe(*i, m.as_deref())).collect();
            let message = format!(
                "One or more records have been rejected due to {} record errors in total, and only showing the first \
                 three errors at most: [{}]",
                self.total,
                first.join(", ")
            );
            (ErrorCode::InvalidRecord, message)
        };
        Err(ValidationError { code, detail: message.clone(), message: Some(message), record_errors: self.errors })
    }
}

fn describe(index: i32, message: Option<&str>) -> String {
    match message {
        Some(message) => format!("RecordError(batchIndex={index}, message='{message}')"),
        None => format!("RecordError(batchIndex={index}, message=null)"),
    }
}

/// Walks over all records of `batch`. A compressed payload is decompressed chunk by chunk and forgotten.
pub(super) fn walk(check: &Check<'_>, batch: &RecordBatch, cap: u64) -> Result<InPlace, ValidationError> {
    let header = batch.header();
    let count = u32::try_from(header.records_count).map_err(|_| {
        RecordError::Invalid(format!("Found invalid record count {} in magic v2 batch", header.records_count))
    })?;
    let codec = header.codec()?;
    if codec == Codec::None {
        let mut at = batch.body_slice();
        let mut found = walk_with(check, count, |last| {
            let record = match Skim::take_plain(&mut at) {
                Some(record) => record,
                None => RawRecord::take(&mut at)?.skim(),
            };
            match last && !at.is_empty() {
                false => Ok(record),
                true => Err(RecordError::RecordsRemaining),
            }
        })?;
        found.record_bytes = batch.body_slice().len() as u64;
        return Ok(found);
    }
    let mut stream = StreamWalk::new(codec, batch.body_slice(), cap)?;
    let mut found = walk_with(check, count, |last| {
        let record = stream.skim()?;
        match last {
            false => Ok(record),
            true => stream.ensure_none_remaining().map(|()| record),
        }
    })?;
    found.temporary_bytes = found.record_bytes + RECORD_BATCH_OVERHEAD as u64;
    Ok(found)
}

/// The loop itself, the same for both kinds of payload. `next` is told of the last record, behind which nothing
/// may be: that error comes before the record's own.
#[inline(always)]
fn walk_with(
    check: &Check<'_>,
    count: u32,
    mut next: impl FnMut(bool) -> Result<Skim, RecordError>,
) -> Result<InPlace, ValidationError> {
    let mut found =
        InPlace { count, consecutive: true, max_timestamp: NO_TIMESTAMP, temporary_bytes: 0, record_bytes: 0 };
    let mut faults = Faults::default();
    for index in 0..count as i32 {
        let record = next(index + 1 == count as i32)?;
        let timestamp = check.timestamp(&record);
        if !check.passes(&record, timestamp) {
            faults.add(index, check.fault(&record, timestamp));
            continue;
        }
        found.max_timestamp = found.max_timestamp.max(timestamp);
        found.consecutive &= record.offset_delta == index;
        found.record_bytes += record.size as u64;
    }
    faults.into_result()?;
    Ok(found)
}
