//! Making a new batch where the client's bytes cannot stay: another codec, an older format, records numbered
//! out of order.

use bytes::Bytes;

use super::analyze::check_size;
use super::records::{Faults, InPlace, bad_timestamp, log_append_time_from_client, no_key, out_of_range};
use super::{Append, ConversionStats, Validated, ValidationError};
use crate::protocol::ErrorCode;
use crate::record::header::RECORD_BATCH_OVERHEAD;
use crate::record::legacy::{self, LegacyRecord};
use crate::record::stream::StreamWalk;
use crate::record::walk::RawRecord;
use crate::record::{
    Batch, BatchBuilder, Codec, LegacyBatch, MAGIC_V0, NO_TIMESTAMP, RecordBatch, RecordError, TimestampType,
};

impl Append<'_> {
    /// Rebuilds a checked batch of format 2.
    pub(super) fn rebuild_v2(
        &self,
        batch: &RecordBatch,
        source: Codec,
        target: Codec,
        found: InPlace,
    ) -> Result<Validated, ValidationError> {
        let header = batch.header();
        if found.record_bytes > self.rules.rebuild_cap {
            return Err(RecordError::TooLarge { cap: self.rules.rebuild_cap }.into());
        }
        let mut builder = self
            .builder(target)
            .producer(header.producer_id, header.producer_epoch, header.base_sequence)
            .transactional(header.is_transactional());
        let log_append_time = (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp);
        let mut append = |record: RawRecord<'_>| {
            let timestamp = log_append_time.unwrap_or(header.base_timestamp.wrapping_add(record.timestamp_delta));
            builder.append_with_headers(timestamp, record.key, record.value, record.headers())
        };
        match source {
            Codec::None => {
                let mut at = batch.body_slice();
                for _ in 0..found.count {
                    append(RawRecord::take(&mut at)?)?;
                }
            }
            _ => {
                let mut stream = StreamWalk::new(source, batch.body_slice(), self.rules.rebuild_cap)?;
                for _ in 0..found.count {
                    stream.with_record(&mut append)?;
                }
            }
        }
        self.built(builder, source, found.temporary_bytes)
    }

    /// Checks messages of formats 0 and 1 and makes one batch of them.
    pub(super) fn rebuild_legacy(
        &self,
        batches: &[Batch],
        source: Codec,
        target: Codec,
    ) -> Result<Validated, ValidationError> {
        let mut builder = self.builder(target);
        let magic = batches.first().map_or(MAGIC_V0, Batch::magic);
        let mut temporary = 0;
        for batch in batches {
            let Batch::Legacy(message) = batch else {
                return Err(self.other_magic(batch.magic(), magic));
            };
            if message.magic() != magic {
                return Err(self.other_magic(message.magic(), magic));
            }
            if source != Codec::None || target != Codec::None {
                temporary += RECORD_BATCH_OVERHEAD as u64;
            }
            temporary += self.append_legacy(message, &mut builder)?;
        }
        if source == Codec::None && target == Codec::None {
            temporary = 0;
        }
        self.built(builder, source, temporary)
    }

    /// Returns the bytes of the messages, decompressed.
    fn append_legacy(&self, outer: &LegacyBatch, builder: &mut BatchBuilder) -> Result<u64, ValidationError> {
        let mut faults = Faults::default();
        let mut bytes = 0;
        for (index, inner) in legacy::records(outer, self.rules.rebuild_cap).enumerate() {
            let inner = inner?;
            match self.legacy_fault(outer, &inner)? {
                Some(fault) => faults.add(i32::try_from(index).unwrap_or(i32::MAX), fault),
                None if faults.is_empty() => {
                    let (key, value) = inner.message.key_and_value()?;
                    builder.append(inner.timestamp(), key.as_deref(), value.as_deref())?;
                    bytes += inner.message.bytes().len() as u64;
                }
                None => {}
            }
        }
        faults.into_result()?;
        Ok(bytes)
    }

    /// The rules for one record (`LogValidator.validateRecord`).
    fn legacy_fault(
        &self,
        outer: &LegacyBatch,
        record: &LegacyRecord,
    ) -> Result<Option<(ErrorCode, String)>, ValidationError> {
        let message = &record.message;
        if message.magic() != outer.magic() {
            let (magic, partition) = (outer.magic(), self.partition);
            let what = describe(record);
            let text =
                format!("Record {what}'s magic does not match outer magic {magic} in topic partition {partition}");
            return Ok(Some((ErrorCode::InvalidRecord, text)));
        }
        if outer.is_compressed() && !message.is_valid() {
            let (stored, computed) = (message.stored_crc(), message.computed_crc());
            return Err(ValidationError::new(
                ErrorCode::CorruptMessage,
                format!(
                    "Record is corrupt (stored crc = {stored}, computed crc = {computed}) in topic partition {}",
                    self.partition
                ),
            ));
        }
        if self.rules.compacted && !message.has_key()? {
            return Ok(Some((ErrorCode::InvalidRecord, no_key(self.partition))));
        }
        let timestamp = record.timestamp();
        if self.rules.timestamp_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP {
            let text = || bad_timestamp(self.rules, self.now_ms, timestamp, record.offset);
            return Ok(out_of_range(self.rules, self.now_ms, timestamp).then(|| (ErrorCode::InvalidTimestamp, text())));
        }
        let stamped = outer.timestamp_type() == Some(TimestampType::LogAppendTime);
        Ok(stamped.then(|| (ErrorCode::InvalidTimestamp, log_append_time_from_client(&describe(record)))))
    }

    fn other_magic(&self, magic: i8, first: i8) -> ValidationError {
        ValidationError::invalid(format!(
            "Batch magic {magic} is not the same as the first batch's magic byte {first} in topic partition {}",
            self.partition
        ))
    }

    fn builder(&self, target: Codec) -> BatchBuilder {
        let builder = BatchBuilder::new(self.base_offset)
            .partition_leader_epoch(self.leader_epoch)
            .codec(target)
            .size_limit(usize::try_from(self.rules.max_message_bytes).unwrap_or(0));
        match self.rules.timestamp_type {
            TimestampType::CreateTime => builder,
            TimestampType::LogAppendTime => builder.log_append_time(self.now_ms),
        }
    }

    fn built(&self, builder: BatchBuilder, source: Codec, temporary: u64) -> Result<Validated, ValidationError> {
        let records_converted = u32::try_from(builder.count()).unwrap_or(0);
        let temporary_memory_bytes = temporary + builder.uncompressed_size() as u64;
        let batch = RecordBatch::parse(builder.build()?)?;
        check_size(batch.bytes().len(), self.rules.max_message_bytes, self.partition)?;
        let header = *batch.header();
        Ok(Validated {
            header,
            body: batch.body(),
            first_offset: self.base_offset,
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
            offset_of_max_timestamp: header.last_offset(),
            log_append_time: self.log_append_time(),
            source_codec: source,
            rebuilt: true,
            stats: ConversionStats { temporary_memory_bytes, records_converted },
        })
    }
}

/// A message as Kafka prints it.
fn describe(record: &LegacyRecord) -> String {
    let message = &record.message;
    let (key, value) = message.key_and_value().unwrap_or_default();
    let size = |field: Option<Bytes>| field.map_or(0, |f| f.len());
    let (magic, attributes, crc) = (message.magic(), message.attributes() as i8, message.stored_crc());
    let codec = message.codec().map_or("none", Codec::name);
    let time = match record.timestamp_type() {
        None => String::new(),
        Some(TimestampType::CreateTime) => format!("CreateTime={}, ", record.timestamp()),
        Some(TimestampType::LogAppendTime) => format!("LogAppendTime={}, ", record.timestamp()),
    };
    format!(
        "LegacyRecordBatch(offset={}, Record(magic={magic}, attributes={attributes}, compression={codec}, crc={crc}, \
         {time}key={} bytes, value={} bytes))",
        record.offset,
        size(key),
        size(value)
    )
}
