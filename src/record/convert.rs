//! Down-conversion: records for consumers that speak only formats 0 or 1. Answers to `RecordsUtil.downConvert`
//! and `LazyDownConversionRecords`.
//!
//! What the old formats cannot say is lost: headers, producer fields, leader epochs; control batches are left
//! out. Kafka converts while it sends; here a fetch's bytes, which are bounded by the request, are converted at
//! once, to the same bytes. One deviation on purpose: where batches at the front are left out, Kafka's two
//! iterators disagree and it sends the first converted batch twice; here it is sent once.

use bytes::{BufMut, Bytes};

use super::header::{LOG_OVERHEAD, RECORD_BATCH_OVERHEAD};
use super::legacy::LegacyBuilder;
use super::validate::ConversionStats;
use super::walk::Record;
use super::{Batch, Codec, MAGIC_V0, MAGIC_V1, RecordError, TimestampType, batches};

/// How many bytes of batches Kafka converts at a time, but for the first; a zstd batch spoils its whole group.
const GROUP_BYTES: usize = 128 * 1024;

/// The format to convert to for a Fetch of `version`, if `bytes` hold anything newer than its consumer knows.
pub fn target_magic(version: i16, bytes: &Bytes) -> Option<i8> {
    let known = match version {
        0 | 1 => MAGIC_V0,
        2 | 3 => MAGIC_V1,
        _ => return None,
    };
    batches(bytes.clone()).map_while(Result::ok).any(|batch| batch.magic() > known).then_some(known)
}

/// Converted records, and what metrics count of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    pub bytes: Bytes,
    pub stats: ConversionStats,
}

/// Converts all whole batches in `bytes`. Uncompressed records below `first_offset` are left out (some versions
/// of librdkafka need that); compressed batches stay whole. Each batch is decompressed to at most `cap` bytes.
/// zstd has no place in the old formats: `UnsupportedCompression`.
pub fn down_convert(bytes: Bytes, to_magic: i8, first_offset: i64, cap: u64) -> Result<Converted, RecordError> {
    let mut conversion = Conversion::new(to_magic, first_offset, cap);
    let group = batches(bytes).collect::<Result<Vec<_>, _>>()?;
    conversion.group(&group)?;
    Ok(conversion.finish())
}

/// The same for a fetch answer, with the size Kafka gives it: at least that of `bytes`, so that offsets of the
/// answer were fixed before; what the converted records do not fill is an incomplete batch, which consumers
/// ignore. The error of the first batch is the partition's error; what cannot be converted later on is left
/// for the consumer's next fetch.
pub fn down_convert_for_fetch(
    bytes: Bytes,
    to_magic: i8,
    first_offset: i64,
    cap: u64,
) -> Result<Converted, RecordError> {
    let original_size = bytes.len();
    let mut batches = batches(bytes).map_while(Result::ok).peekable();
    let mut conversion = Conversion::new(to_magic, first_offset, cap);
    let mut any = false;
    while conversion.out.is_empty() {
        let Some(batch) = batches.next() else { break };
        any = true;
        conversion.group(std::slice::from_ref(&batch))?;
    }
    let size = match (conversion.out.is_empty(), any) {
        (true, true) => LOG_OVERHEAD,
        (true, false) => 0,
        (false, _) => conversion.out.len().max(original_size),
    };
    while conversion.out.len() < size {
        let mut group: Vec<Batch> = batches.next().into_iter().collect();
        let mut group_bytes: usize = group.iter().map(Batch::size_in_bytes).sum();
        while let Some(next) = batches.next_if(|b| group_bytes + b.size_in_bytes() <= GROUP_BYTES) {
            group_bytes += next.size_in_bytes();
            group.push(next);
        }
        if group.is_empty() || conversion.group(&group).is_err() {
            break;
        }
    }
    conversion.out.truncate(size);
    fill_up(&mut conversion.out, size);
    Ok(conversion.finish())
}

/// Fills `out` up to `size` bytes with beginnings of batches that end beyond it.
fn fill_up(out: &mut Vec<u8>, size: usize) {
    while out.len() < size {
        let remaining = size - out.len();
        let end = out.len() + remaining.min(GROUP_BYTES);
        out.put_i64(-1);
        out.put_i32(i32::try_from((remaining + 1).max(RECORD_BATCH_OVERHEAD)).unwrap_or(i32::MAX));
        out.resize(end, 0);
    }
}

struct Conversion {
    to_magic: i8,
    first_offset: i64,
    cap: u64,
    out: Vec<u8>,
    stats: ConversionStats,
}

impl Conversion {
    fn new(to_magic: i8, first_offset: i64, cap: u64) -> Conversion {
        Conversion { to_magic, first_offset, cap, out: Vec::new(), stats: ConversionStats::default() }
    }

    fn finish(self) -> Converted {
        Converted { bytes: self.out.into(), stats: self.stats }
    }

    /// Converts all of `group`, or on error none of it.
    fn group(&mut self, group: &[Batch]) -> Result<(), RecordError> {
        let before = (self.out.len(), self.stats);
        let result = group.iter().try_for_each(|batch| self.batch(batch));
        if result.is_err() {
            self.out.truncate(before.0);
            self.stats = before.1;
        }
        result
    }

    fn batch(&mut self, batch: &Batch) -> Result<(), RecordError> {
        if batch.is_control() {
            return Ok(());
        }
        let codec = batch.codec()?;
        if codec == Codec::Zstd {
            return Err(RecordError::UnsupportedCompression(
                "Down-conversion of zstandard-compressed batches is not supported".into(),
            ));
        }
        if batch.magic() <= self.to_magic {
            self.out.extend_from_slice(batch.bytes());
            self.stats.temporary_memory_bytes += batch.size_in_bytes() as u64;
            return Ok(());
        }
        let stamped = batch.timestamp_type() == Some(TimestampType::LogAppendTime);
        let log_append_time = stamped.then(|| batch.max_timestamp());
        let mut builder: Option<LegacyBuilder> = None;
        for record in batch.records(self.cap) {
            let record = record?;
            if codec == Codec::None && record.offset < self.first_offset {
                continue;
            }
            let builder = match &mut builder {
                Some(builder) => builder,
                none => {
                    let out = std::mem::take(&mut self.out);
                    none.insert(LegacyBuilder::new(self.to_magic, codec, log_append_time, record.offset, out)?)
                }
            };
            append(builder, &record)?;
            self.stats.records_converted += 1;
        }
        if let Some(builder) = builder {
            self.stats.temporary_memory_bytes += batch.size_in_bytes() as u64 + builder.uncompressed_size();
            self.out = builder.finish()?;
        }
        Ok(())
    }
}

fn append(builder: &mut LegacyBuilder, record: &Record) -> Result<(), RecordError> {
    builder.append(record.offset, record.timestamp, record.key.as_deref(), record.value.as_deref())
}
