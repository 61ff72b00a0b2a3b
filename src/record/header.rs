//! The 61 bytes in front of the records of a format-2 batch. Answers to the field layout of Kafka's
//! `DefaultRecordBatch`.
//!
//! The broker changes headers, never payloads: `BatchHeader` is a small `Copy` value, patched and encoded
//! beside the client's bytes, which stay where they are.

use super::{Codec, MAGIC_V2, NO_PRODUCER_ID, NO_SEQUENCE, RecordError, TimestampType, increment_sequence};

/// Bytes of the offset and size fields in front of every batch and message, of any format.
pub const LOG_OVERHEAD: usize = 12;
/// Bytes one needs in order to tell size and format of what follows.
pub const HEADER_SIZE_UP_TO_MAGIC: usize = 17;
/// Bytes of a batch header of format 2, `LOG_OVERHEAD` included.
pub const RECORD_BATCH_OVERHEAD: usize = 61;
/// Where the checksummed part of a format-2 batch begins.
pub const CRC_COVERS_FROM: usize = 21;

const CODEC_MASK: i16 = 0x07;
const TIMESTAMP_TYPE_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;

/// All fields of a format-2 batch header, in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes after this field: total size - 12.
    pub batch_length: i32,
    /// -1 from producers; the leader stamps its own.
    pub partition_leader_epoch: i32,
    pub magic: i8,
    /// CRC-32C of everything from byte 21.
    pub crc: u32,
    /// Only the low byte is in use; see the accessors.
    pub attributes: i16,
    /// Offset of the last record minus `base_offset`; compaction keeps it even when that record is gone.
    pub last_offset_delta: i32,
    /// Milliseconds since the epoch that record deltas count from; the delete horizon if that bit is set.
    pub base_timestamp: i64,
    /// Milliseconds since the epoch; for LogAppendTime batches the timestamp of every record.
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub records_count: i32,
}

impl BatchHeader {
    /// Reads a header off the front of `bytes`, whatever it says. `None` if there are fewer than 61 bytes.
    pub fn parse(bytes: &[u8]) -> Option<BatchHeader> {
        let h: &[u8; RECORD_BATCH_OVERHEAD] = bytes.first_chunk()?;
        let mut at = Fields(h);
        Some(BatchHeader {
            base_offset: i64::from_be_bytes(at.take()?),
            batch_length: i32::from_be_bytes(at.take()?),
            partition_leader_epoch: i32::from_be_bytes(at.take()?),
            magic: i8::from_be_bytes(at.take()?),
            crc: u32::from_be_bytes(at.take()?),
            attributes: i16::from_be_bytes(at.take()?),
            last_offset_delta: i32::from_be_bytes(at.take()?),
            base_timestamp: i64::from_be_bytes(at.take()?),
            max_timestamp: i64::from_be_bytes(at.take()?),
            producer_id: i64::from_be_bytes(at.take()?),
            producer_epoch: i16::from_be_bytes(at.take()?),
            base_sequence: i32::from_be_bytes(at.take()?),
            records_count: i32::from_be_bytes(at.take()?),
        })
    }

    /// The header as it goes to the wire and to disk. The checksum is taken as it stands.
    pub fn encode(&self) -> [u8; RECORD_BATCH_OVERHEAD] {
        let mut out = [0; RECORD_BATCH_OVERHEAD];
        let mut at: &mut [u8] = &mut out;
        let mut put = |field: &[u8]| {
            if let Some((head, rest)) = std::mem::take(&mut at).split_at_mut_checked(field.len()) {
                head.copy_from_slice(field);
                at = rest;
            }
        };
        put(&self.base_offset.to_be_bytes());
        put(&self.batch_length.to_be_bytes());
        put(&self.partition_leader_epoch.to_be_bytes());
        put(&self.magic.to_be_bytes());
        put(&self.crc.to_be_bytes());
        put(&self.attributes.to_be_bytes());
        put(&self.last_offset_delta.to_be_bytes());
        put(&self.base_timestamp.to_be_bytes());
        put(&self.max_timestamp.to_be_bytes());
        put(&self.producer_id.to_be_bytes());
        put(&self.producer_epoch.to_be_bytes());
        put(&self.base_sequence.to_be_bytes());
        put(&self.records_count.to_be_bytes());
        out
    }

    /// The checksum that fits this header and `body`, the bytes from byte 61 on.
    pub fn compute_crc(&self, body: &[u8]) -> u32 {
        let head = self.encode();
        let covered = head.get(CRC_COVERS_FROM..).unwrap_or_default();
        crc32c::crc32c_append(crc32c::crc32c(covered), body)
    }

    /// Bytes of the whole batch, the 12 in front of `batch_length`'s reach included.
    pub fn size_in_bytes(&self) -> i64 {
        i64::from(self.batch_length) + LOG_OVERHEAD as i64
    }

    /// Offset of the last record, also if compaction removed it.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// Sequence of the last record; -1 without sequences.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence {
            NO_SEQUENCE => NO_SEQUENCE,
            base => increment_sequence(base, self.last_offset_delta),
        }
    }

    /// The codec of the payload; error for the three numbers that name none.
    pub fn codec(&self) -> Result<Codec, RecordError> {
        Codec::from_id((self.attributes & CODEC_MASK) as i8)
    }

    pub fn is_compressed(&self) -> bool {
        self.attributes & CODEC_MASK != 0
    }

    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & TIMESTAMP_TYPE_BIT {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// When the cleaner may drop the tombstones and markers of this batch, if a cleaning has set that time.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON_BIT != 0).then_some(self.base_timestamp)
    }

    /// Sets timestamp type and maximum, as the leader does when it appends. Returns whether that changed
    /// anything, that is, whether the checksum must be computed anew.
    pub fn set_max_timestamp(&mut self, kind: TimestampType, max_timestamp: i64) -> bool {
        if self.timestamp_type() == kind && self.max_timestamp == max_timestamp {
            return false;
        }
        // The second byte of the attributes is unused, and Kafka clears it when it writes them.
        self.attributes &= 0x7f & !TIMESTAMP_TYPE_BIT;
        if kind == TimestampType::LogAppendTime {
            self.attributes |= TIMESTAMP_TYPE_BIT;
        }
        self.max_timestamp = max_timestamp;
        true
    }

    /// The batch that remains when compaction has removed every record: header only, no codec and no
    /// delete horizon; offsets, producer fields and flags stay, for the producer state lives on them.
    pub fn emptied(&self) -> BatchHeader {
        let mut empty = BatchHeader {
            batch_length: (RECORD_BATCH_OVERHEAD - LOG_OVERHEAD) as i32,
            magic: MAGIC_V2,
            attributes: self.attributes & (TIMESTAMP_TYPE_BIT | TRANSACTIONAL_BIT | CONTROL_BIT),
            base_timestamp: -1,
            records_count: 0,
            ..*self
        };
        empty.crc = empty.compute_crc(&[]);
        empty
    }
}

/// Builds the attributes field.
pub fn attributes(codec: Codec, kind: TimestampType, transactional: bool, control: bool, delete_horizon: bool) -> i16 {
    let mut bits = i16::from(codec.id());
    if kind == TimestampType::LogAppendTime {
        bits |= TIMESTAMP_TYPE_BIT;
    }
    if transactional {
        bits |= TRANSACTIONAL_BIT;
    }
    if control {
        bits |= CONTROL_BIT;
    }
    if delete_horizon {
        bits |= DELETE_HORIZON_BIT;
    }
    bits
}

/// A cursor over fixed-size fields.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }
}
