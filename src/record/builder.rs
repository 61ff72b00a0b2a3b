//! Building batches of format 2, byte for byte as Kafka's `MemoryRecordsBuilder` does.

use std::io::Write;

use bytes::{BufMut, Bytes};

use super::codec::{Encoder, unwritable};
use super::header::{LOG_OVERHEAD, RECORD_BATCH_OVERHEAD, attributes};
use super::{
    BatchHeader, Codec, MAGIC_V2, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE,
    NO_TIMESTAMP, RecordError, TimestampType, varint,
};

pub use super::control::{ControlRecordType, EndTxnMarker};

/// Builds one batch. Set the fields first, then append records, then `build`.
pub struct BatchBuilder {
    base_offset: i64,
    partition_leader_epoch: i32,
    codec: Codec,
    timestamp_type: TimestampType,
    log_append_time: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    transactional: bool,
    control: bool,
    delete_horizon: Option<i64>,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    last_offset: Option<i64>,
    /// What compaction wants to keep as the batch's last offset, whatever the last record is.
    last_offset_override: Option<i64>,
    count: i32,
    uncompressed_bytes: usize,
    size_limit: usize,
    /// Opened by the first record, so that the codec may be set until then.
    encoder: Option<Encoder>,
    /// The fixed fields of the record being written.
    scratch: Vec<u8>,
}

impl BatchBuilder {
    /// A batch whose first record will get `base_offset`; not compressed, CreateTime, no producer.
    pub fn new(base_offset: i64) -> BatchBuilder {
        BatchBuilder {
            base_offset,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            codec: Codec::None,
            timestamp_type: TimestampType::CreateTime,
            log_append_time: NO_TIMESTAMP,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            transactional: false,
            control: false,
            delete_horizon: None,
            base_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
            last_offset: None,
            last_offset_override: None,
            count: 0,
            uncompressed_bytes: 0,
            size_limit: i32::MAX as usize,
            encoder: None,
            scratch: Vec::new(),
        }
    }

    /// A batch with the offsets, flags and producer of `original`, as compaction rebuilds it: same codec, same
    /// last offset whatever records remain, and a new delete horizon if given.
    pub fn like(original: &BatchHeader, delete_horizon_ms: Option<i64>) -> Result<BatchBuilder, RecordError> {
        let horizon = delete_horizon_ms.or(original.delete_horizon_ms());
        let mut builder = BatchBuilder::new(original.base_offset)
            .partition_leader_epoch(original.partition_leader_epoch)
            .codec(original.codec()?)
            .producer(original.producer_id, original.producer_epoch, original.base_sequence)
            .transactional(original.is_transactional())
            .control(original.is_control())
            .last_offset(original.last_offset());
        if original.timestamp_type() == TimestampType::LogAppendTime {
            builder = builder.log_append_time(original.max_timestamp);
        }
        Ok(match horizon {
            Some(ms) => builder.delete_horizon_ms(ms),
            None => builder,
        })
    }

    pub fn partition_leader_epoch(mut self, epoch: i32) -> Self {
        self.partition_leader_epoch = epoch;
        self
    }

    /// Must be set before the first record.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Makes every record's timestamp `now_ms`; the timestamps given with records only shape their deltas.
    pub fn log_append_time(mut self, now_ms: i64) -> Self {
        self.timestamp_type = TimestampType::LogAppendTime;
        self.log_append_time = now_ms;
        self
    }

    pub fn producer(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Self {
        self.producer_id = producer_id;
        self.producer_epoch = producer_epoch;
        self.base_sequence = base_sequence;
        self
    }

    pub fn transactional(mut self, yes: bool) -> Self {
        self.transactional = yes;
        self
    }

    pub fn control(mut self, yes: bool) -> Self {
        self.control = yes;
        self
    }

    /// Milliseconds since the epoch; becomes the base of the timestamp deltas.
    pub fn delete_horizon_ms(mut self, horizon: i64) -> Self {
        self.delete_horizon = Some(horizon);
        self.base_timestamp = Some(horizon);
        self
    }

    /// The last offset of the batch, if it is not that of the last record appended.
    pub fn last_offset(mut self, offset: i64) -> Self {
        self.last_offset_override = Some(offset);
        self
    }

    /// Largest batch to build in bytes. A builder that has passed it refuses further records.
    pub fn size_limit(mut self, bytes: usize) -> Self {
        self.size_limit = bytes;
        self
    }

    /// Appends at the next offset. `timestamp` in milliseconds since the epoch, or -1.
    pub fn append(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), RecordError> {
        self.append_with_headers(timestamp, key, value, std::iter::empty())
    }

    /// Appends at the next offset, with headers in the order given.
    pub fn append_with_headers<'h, H>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<(), RecordError>
    where
        H: Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
    {
        let offset = self.last_offset.map_or(self.base_offset, |last| last.wrapping_add(1));
        self.append_at(offset, timestamp, key, value, headers)
    }

    /// Appends at a given offset, which must be beyond the previous one.
    pub fn append_at<'h, H>(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<(), RecordError>
    where
        H: Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
    {
        let offset_delta = self.check(offset, timestamp)?;
        let base_timestamp = *self.base_timestamp.get_or_insert(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(base_timestamp);

        let mut body = 1 + varint::size_of_i64(timestamp_delta) + varint::size_of_i32(offset_delta);
        body += size_of_field(key) + size_of_field(value);
        let mut header_count = 0i32;
        for (name, value) in headers.clone() {
            body += size_of_field(Some(name)) + size_of_field(value);
            header_count = header_count.wrapping_add(1);
        }
        body += varint::size_of_i32(header_count);
        let body_size = i32::try_from(body)
            .ok()
            .filter(|_| self.uncompressed_bytes + body < i32::MAX as usize)
            .ok_or_else(|| unrepresentable("record is larger than a batch can be"))?;

        let mut head = std::mem::take(&mut self.scratch);
        head.clear();
        varint::write_i32(&mut head, body_size);
        head.put_u8(0);
        varint::write_i64(&mut head, timestamp_delta);
        varint::write_i32(&mut head, offset_delta);
        let written = self.write_record(&mut head, key, value, header_count, headers);
        self.scratch = head;
        written?;

        self.uncompressed_bytes += body + varint::size_of_i32(body_size);
        self.count += 1;
        self.last_offset = Some(offset);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        Ok(())
    }

    fn write_record<'h>(
        &mut self,
        head: &mut Vec<u8>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        header_count: i32,
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) -> Result<(), RecordError> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(self.codec, vec![0; RECORD_BATCH_OVERHEAD], false).map_err(unwritable)?),
        };
        write_field(encoder, head, key)?;
        write_field(encoder, head, value)?;
        varint::write_i32(head, header_count);
        for (name, value) in headers {
            write_field(encoder, head, Some(name))?;
            write_field(encoder, head, value)?;
        }
        encoder.write_all(head).map_err(unwritable)
    }

    /// The rules that Kafka's builder enforces; returns the record's offset delta.
    fn check(&self, offset: i64, timestamp: i64) -> Result<i32, RecordError> {
        if let Some(last) = self.last_offset.filter(|last| offset <= *last) {
            return Err(RecordError::Unrepresentable(format!(
                "Illegal offset {offset} following previous offset {last} (Offsets must increase monotonically)."
            )));
        }
        if timestamp < 0 && timestamp != NO_TIMESTAMP {
            return Err(RecordError::Unrepresentable(format!("Invalid negative timestamp {timestamp}")));
        }
        if self.count == i32::MAX {
            return Err(unrepresentable("Maximum number of records per batch exceeded"));
        }
        if self.codec == Codec::None && self.uncompressed_bytes + RECORD_BATCH_OVERHEAD > self.size_limit {
            return Err(RecordError::TooLarge { cap: self.size_limit as u64 });
        }
        offset
            .checked_sub(self.base_offset)
            .and_then(|delta| i32::try_from(delta).ok())
            .filter(|delta| *delta >= 0)
            .ok_or_else(|| {
                RecordError::Unrepresentable(format!(
                    "Maximum offset delta exceeded, base offset: {}, last offset: {offset}",
                    self.base_offset
                ))
            })
    }

    /// Records appended so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far if it were not compressed, header included.
    pub fn uncompressed_size(&self) -> usize {
        self.uncompressed_bytes + RECORD_BATCH_OVERHEAD
    }

    /// Milliseconds since the epoch; what the header will say.
    pub fn max_timestamp(&self) -> i64 {
        match self.timestamp_type {
            TimestampType::CreateTime => self.max_timestamp,
            TimestampType::LogAppendTime => self.log_append_time,
        }
    }

    /// The batch; empty bytes if no record was appended, as Kafka has it.
    pub fn build(self) -> Result<Bytes, RecordError> {
        let Some((header, mut out)) = self.finish()? else { return Ok(Bytes::new()) };
        if let Some(head) = out.first_chunk_mut::<RECORD_BATCH_OVERHEAD>() {
            *head = header.encode();
        }
        Ok(Bytes::from(out))
    }

    /// What Kafka's builder demands of producers.
    fn check_producer(&self) -> Result<(), RecordError> {
        let wrong = if self.transactional && self.producer_id == NO_PRODUCER_ID {
            "Cannot write transactional messages without a valid producer ID"
        } else if self.producer_id != NO_PRODUCER_ID && self.producer_epoch == NO_PRODUCER_EPOCH {
            "Invalid negative producer epoch"
        } else if self.producer_id != NO_PRODUCER_ID && self.base_sequence < 0 && !self.control {
            "Invalid negative sequence number used"
        } else {
            return Ok(());
        };
        Err(unrepresentable(wrong))
    }

    /// Header, and a vector with room for it in front of the payload.
    fn finish(mut self) -> Result<Option<(BatchHeader, Vec<u8>)>, RecordError> {
        self.check_producer()?;
        let max_timestamp = self.max_timestamp();
        let (Some(encoder), Some(last_offset)) = (self.encoder.take(), self.last_offset) else { return Ok(None) };
        let last_offset = self.last_offset_override.unwrap_or(last_offset);
        let out = encoder.finish().map_err(unwritable)?;
        let mut header = BatchHeader {
            base_offset: self.base_offset,
            batch_length: i32::try_from(out.len().saturating_sub(LOG_OVERHEAD))
                .map_err(|_| unrepresentable("batch is larger than 2 GiB"))?,
            partition_leader_epoch: self.partition_leader_epoch,
            magic: MAGIC_V2,
            crc: 0,
            attributes: attributes(
                self.codec,
                self.timestamp_type,
                self.transactional,
                self.control,
                self.delete_horizon.is_some(),
            ),
            last_offset_delta: last_offset.wrapping_sub(self.base_offset) as i32,
            base_timestamp: self.base_timestamp.unwrap_or(NO_TIMESTAMP),
            max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            records_count: self.count,
        };
        header.crc = header.compute_crc(out.get(RECORD_BATCH_OVERHEAD..).unwrap_or_default());
        Ok(Some((header, out)))
    }
}

fn unrepresentable(what: &str) -> RecordError {
    RecordError::Unrepresentable(what.into())
}

fn size_of_field(field: Option<&[u8]>) -> usize {
    field.map_or(1, |f| varint::size_of_i32(i32::try_from(f.len()).unwrap_or(i32::MAX)) + f.len())
}

/// Puts the length to `head`; a field too long to gather there goes out at once, behind what was gathered.
fn write_field(encoder: &mut Encoder, head: &mut Vec<u8>, field: Option<&[u8]>) -> Result<(), RecordError> {
    const GATHER: usize = 256;
    let Some(field) = field else {
        varint::write_i32(head, -1);
        return Ok(());
    };
    varint::write_i32(head, i32::try_from(field.len()).map_err(|_| unrepresentable("field is larger than 2 GiB"))?);
    if field.len() <= GATHER {
        head.extend_from_slice(field);
        return Ok(());
    }
    encoder.write_all(head).map_err(unwritable)?;
    head.clear();
    encoder.write_all(field).map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, batches};
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Written by Kafka 3.7.2 for the same records.
    const TWO_RECORDS: &str = "0000000000000005000000450000000302cfcdd4db0000000000010000018bcfe568000000018bcfe56807ffff\
        ffffffffffffffffffffffff0000000210000000026b02760014000e0201010202680231";
    const COMMIT_MARKER: &str = "000000000000000700000042000000030274471a4e0030000000000000018bcfe568000000018bcfe568000\
        0000000000003e80002ffffffff000000012000000008000000010c00000000000900";

    #[test]
    fn builds_what_kafka_builds() {
        let mut builder = BatchBuilder::new(5).partition_leader_epoch(3);
        builder.append(1_700_000_000_000, Some(b"k"), Some(b"v")).unwrap();
        let headers = [(b"h".as_slice(), Some(b"1".as_slice()))];
        builder.append_with_headers(1_700_000_000_007, None, None, headers.into_iter()).unwrap();
        assert_eq!(hex(&builder.build().unwrap()), TWO_RECORDS);
    }

    #[test]
    fn builds_the_marker_that_kafka_builds() {
        let marker = EndTxnMarker { commit: true, coordinator_epoch: 9 };
        let bytes = marker.to_batch(7, 3, 1000, 2, 1_700_000_000_000).unwrap();
        assert_eq!(hex(&bytes), COMMIT_MARKER);
        assert_eq!(EndTxnMarker::parse(&marker.key(), &marker.value()).unwrap(), marker);
    }

    #[test]
    fn what_was_built_is_walked() {
        let mut two = BatchBuilder::new(5);
        two.append(1, Some(b"k"), None).unwrap();
        let first = two.build().unwrap();
        let mut bytes = first.to_vec();
        bytes.extend_from_slice(&first);
        bytes.extend_from_slice(&first[..40]);
        let mut walk = batches(Bytes::from(bytes));
        for _ in 0..2 {
            let batch = walk.next().unwrap().unwrap();
            batch.verify_crc().unwrap();
            assert_eq!((batch.base_offset(), batch.last_offset()), (Some(5), 5));
            assert!(matches!(batch, Batch::V2(_)));
        }
        assert!(walk.next().is_none());
        assert_eq!(walk.position(), 2 * first.len());
    }
}
