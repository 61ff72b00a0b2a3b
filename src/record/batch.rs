//! Batches as they lie in a request, a file or a fetch answer: a zero-copy view, and the walk from one to the
//! next. Answers to Kafka's `ByteBufferLogInputStream`, `FileLogInputStream` and the two batch classes.

use bytes::Bytes;

use super::header::{CRC_COVERS_FROM, HEADER_SIZE_UP_TO_MAGIC, LOG_OVERHEAD, RECORD_BATCH_OVERHEAD};
use super::{
    BatchHeader, Codec, MAGIC_V0, MAGIC_V1, MAGIC_V2, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, NO_TIMESTAMP, RecordError, TimestampType,
};

/// Bytes of a format-0 message after the offset and size fields when key and value are empty.
pub const LEGACY_OVERHEAD_V0: usize = 14;
/// Bytes of a format-1 message after the offset and size fields when key and value are empty.
pub const LEGACY_OVERHEAD_V1: usize = 22;

/// What the first 17 bytes of a batch tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPrefix {
    /// Base offset of a format-2 batch; offset of a message of the older formats, which for a wrapper is that
    /// of its last record.
    pub offset: i64,
    /// Bytes of the whole batch, these 17 included.
    pub size: usize,
    pub magic: i8,
}

/// Tells how long the batch is that starts at `prefix`, which need not hold all of it: 17 bytes are enough.
/// `None` when there are fewer; an error when no batch can start like this.
pub fn peek(prefix: &[u8]) -> Result<Option<BatchPrefix>, RecordError> {
    let Some((offset, rest)) = prefix.split_first_chunk::<8>() else { return Ok(None) };
    let Some((size, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let size = i32::from_be_bytes(*size);
    // Format 0 has the smallest overhead; the tighter limits are checked below, once the format is known.
    let size = match usize::try_from(size) {
        Ok(size) if size >= LEGACY_OVERHEAD_V0 => size,
        _ => {
            return Err(RecordError::Corrupt(format!(
                "Record size {size} is less than the minimum record overhead ({LEGACY_OVERHEAD_V0})"
            )));
        }
    };
    let Some(magic) = rest.get(4) else { return Ok(None) };
    let magic = *magic as i8;
    let least = match magic {
        MAGIC_V0 => LEGACY_OVERHEAD_V0,
        MAGIC_V1 => LEGACY_OVERHEAD_V1,
        MAGIC_V2 => RECORD_BATCH_OVERHEAD - LOG_OVERHEAD,
        _ => return Err(RecordError::Corrupt(format!("Invalid magic found in record: {magic}"))),
    };
    if size < least {
        return Err(RecordError::Corrupt(format!(
            "Record batch is corrupt (the size {} is smaller than the minimum allowed overhead {})",
            size + LOG_OVERHEAD,
            least + LOG_OVERHEAD
        )));
    }
    Ok(Some(BatchPrefix { offset: i64::from_be_bytes(*offset), size: size + LOG_OVERHEAD, magic }))
}

/// Walks over the batches in `bytes`. Ends at a trailing batch that is not whole, as Kafka does; ends after the
/// first error. Checksums are not verified here.
pub fn batches(bytes: Bytes) -> Batches {
    Batches { bytes, position: 0 }
}

/// The iterator of [`batches`].
#[derive(Clone, Debug)]
pub struct Batches {
    bytes: Bytes,
    position: usize,
}

impl Batches {
    /// Bytes walked over so far: after the end, the size of all whole batches.
    pub fn position(&self) -> usize {
        self.position
    }

    fn step(&mut self) -> Result<Option<Batch>, RecordError> {
        let Some(prefix) = peek(&self.bytes)? else { return Ok(None) };
        if prefix.size > self.bytes.len() {
            return Ok(None);
        }
        let batch = Batch::from_whole(self.bytes.split_to(prefix.size), prefix)?;
        self.position += prefix.size;
        Ok(Some(batch))
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            self.bytes = Bytes::new();
        }
        step
    }
}

impl std::iter::FusedIterator for Batches {}

/// One batch of any format. The accessors that both have in common answer as Kafka's `RecordBatch` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    V2(RecordBatch),
    /// A message of format 0 or 1, which may be a compressed wrapper around others.
    Legacy(LegacyBatch),
}

impl Batch {
    /// The batch that fills `bytes` exactly; error if it is longer or shorter.
    pub fn parse(bytes: Bytes) -> Result<Batch, RecordError> {
        match peek(&bytes)? {
            Some(prefix) if prefix.size == bytes.len() => Batch::from_whole(bytes, prefix),
            _ => Err(RecordError::Corrupt(format!("Not one whole record batch: {} bytes", bytes.len()))),
        }
    }

    fn from_whole(bytes: Bytes, prefix: BatchPrefix) -> Result<Batch, RecordError> {
        Ok(match prefix.magic {
            MAGIC_V2 => Batch::V2(RecordBatch::from_whole(bytes)?),
            _ => Batch::Legacy(LegacyBatch::from_whole(bytes)?),
        })
    }

    pub fn magic(&self) -> i8 {
        match self {
            Batch::V2(_) => MAGIC_V2,
            Batch::Legacy(m) => m.magic(),
        }
    }

    /// The bytes of the batch, header included.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Batch::V2(b) => &b.bytes,
            Batch::Legacy(m) => &m.bytes,
        }
    }

    pub fn size_in_bytes(&self) -> usize {
        self.bytes().len()
    }

    /// The base offset if the header tells it: formats 0 and 1 only know their last offset, unless they are
    /// not compressed, when the two are the same.
    pub fn base_offset(&self) -> Option<i64> {
        match self {
            Batch::V2(b) => Some(b.header.base_offset),
            Batch::Legacy(m) if !m.is_compressed() => Some(m.offset),
            Batch::Legacy(_) => None,
        }
    }

    pub fn last_offset(&self) -> i64 {
        match self {
            Batch::V2(b) => b.header.last_offset(),
            Batch::Legacy(m) => m.offset,
        }
    }

    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// Milliseconds since the epoch; -1 for format 0.
    pub fn max_timestamp(&self) -> i64 {
        match self {
            Batch::V2(b) => b.header.max_timestamp,
            Batch::Legacy(m) => m.timestamp(),
        }
    }

    /// `None` for format 0, which has no timestamps.
    pub fn timestamp_type(&self) -> Option<TimestampType> {
        match self {
            Batch::V2(b) => Some(b.header.timestamp_type()),
            Batch::Legacy(m) => m.timestamp_type(),
        }
    }

    pub fn partition_leader_epoch(&self) -> i32 {
        self.v2().map_or(NO_PARTITION_LEADER_EPOCH, |b| b.header.partition_leader_epoch)
    }

    pub fn producer_id(&self) -> i64 {
        self.v2().map_or(NO_PRODUCER_ID, |b| b.header.producer_id)
    }

    pub fn producer_epoch(&self) -> i16 {
        self.v2().map_or(NO_PRODUCER_EPOCH, |b| b.header.producer_epoch)
    }

    pub fn base_sequence(&self) -> i32 {
        self.v2().map_or(NO_SEQUENCE, |b| b.header.base_sequence)
    }

    pub fn last_sequence(&self) -> i32 {
        self.v2().map_or(NO_SEQUENCE, |b| b.header.last_sequence())
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id() > NO_PRODUCER_ID
    }

    pub fn is_transactional(&self) -> bool {
        self.v2().is_some_and(|b| b.header.is_transactional())
    }

    pub fn is_control(&self) -> bool {
        self.v2().is_some_and(|b| b.header.is_control())
    }

    pub fn codec(&self) -> Result<Codec, RecordError> {
        match self {
            Batch::V2(b) => b.header.codec(),
            Batch::Legacy(m) => m.codec(),
        }
    }

    pub fn is_compressed(&self) -> bool {
        match self {
            Batch::V2(b) => b.header.is_compressed(),
            Batch::Legacy(m) => m.is_compressed(),
        }
    }

    /// The checksum as stored.
    pub fn stored_crc(&self) -> u32 {
        match self {
            Batch::V2(b) => b.header.crc,
            Batch::Legacy(m) => m.stored_crc(),
        }
    }

    /// The checksum as it should be.
    pub fn computed_crc(&self) -> u32 {
        match self {
            Batch::V2(b) => b.computed_crc(),
            Batch::Legacy(m) => m.computed_crc(),
        }
    }

    pub fn is_valid(&self) -> bool {
        self.stored_crc() == self.computed_crc()
    }

    /// Compares the checksum; the error says both numbers.
    pub fn verify_crc(&self) -> Result<(), RecordError> {
        let (stored, computed) = (self.stored_crc(), self.computed_crc());
        if stored == computed {
            return Ok(());
        }
        Err(RecordError::Corrupt(format!("Record is corrupt (stored crc = {stored}, computed crc = {computed})")))
    }

    /// The format-2 view, if it is one.
    pub fn v2(&self) -> Option<&RecordBatch> {
        match self {
            Batch::V2(b) => Some(b),
            Batch::Legacy(_) => None,
        }
    }
}

/// A whole batch of format 2: at least the 61 header bytes, and as long as its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    bytes: Bytes,
    header: BatchHeader,
}

impl RecordBatch {
    /// The format-2 batch that fills `bytes` exactly.
    pub fn parse(bytes: Bytes) -> Result<RecordBatch, RecordError> {
        match Batch::parse(bytes)? {
            Batch::V2(batch) => Ok(batch),
            Batch::Legacy(m) => Err(RecordError::Invalid(format!("Not a record batch of format 2 but {}", m.magic()))),
        }
    }

    fn from_whole(bytes: Bytes) -> Result<RecordBatch, RecordError> {
        let header = BatchHeader::parse(&bytes)
            .ok_or_else(|| RecordError::Corrupt(format!("Record batch is corrupt (the size {})", bytes.len())))?;
        Ok(RecordBatch { bytes, header })
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The records as they are stored, perhaps compressed: everything from byte 61, not copied.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(RECORD_BATCH_OVERHEAD.min(self.bytes.len())..)
    }

    /// The same as a plain slice.
    pub fn body_slice(&self) -> &[u8] {
        self.bytes.get(RECORD_BATCH_OVERHEAD..).unwrap_or_default()
    }

    pub fn computed_crc(&self) -> u32 {
        crc32c::crc32c(self.bytes.get(CRC_COVERS_FROM..).unwrap_or_default())
    }

    pub fn verify_crc(&self) -> Result<(), RecordError> {
        let computed = self.computed_crc();
        if computed == self.header.crc {
            return Ok(());
        }
        let stored = self.header.crc;
        Err(RecordError::Corrupt(format!("Record is corrupt (stored crc = {stored}, computed crc = {computed})")))
    }
}

/// A whole message of format 0 or 1 with the offset and size fields in front. `legacy` reads what is inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyBatch {
    pub(super) bytes: Bytes,
    /// Absolute for what lies in a log; of the last record inside, for a wrapper.
    pub(super) offset: i64,
}

impl LegacyBatch {
    const CRC_AT: usize = LOG_OVERHEAD;
    const MAGIC_AT: usize = HEADER_SIZE_UP_TO_MAGIC - 1;
    const ATTRIBUTES_AT: usize = HEADER_SIZE_UP_TO_MAGIC;
    const TIMESTAMP_AT: usize = HEADER_SIZE_UP_TO_MAGIC + 1;

    pub(super) fn from_whole(bytes: Bytes) -> Result<LegacyBatch, RecordError> {
        match bytes.first_chunk::<8>() {
            Some(offset) => Ok(LegacyBatch { offset: i64::from_be_bytes(*offset), bytes }),
            None => Err(RecordError::Corrupt("Record is corrupt (too small)".into())),
        }
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn offset(&self) -> i64 {
        self.offset
    }

    pub fn magic(&self) -> i8 {
        self.bytes.get(Self::MAGIC_AT).map_or(MAGIC_V0, |b| *b as i8)
    }

    pub fn attributes(&self) -> u8 {
        self.bytes.get(Self::ATTRIBUTES_AT).copied().unwrap_or(0)
    }

    pub fn codec(&self) -> Result<Codec, RecordError> {
        Codec::from_id((self.attributes() & 0x07) as i8)
    }

    pub fn is_compressed(&self) -> bool {
        self.attributes() & 0x07 != 0
    }

    /// Milliseconds since the epoch; -1 for format 0.
    pub fn timestamp(&self) -> i64 {
        match self.magic() {
            MAGIC_V0 => NO_TIMESTAMP,
            _ => self.field(Self::TIMESTAMP_AT).map_or(NO_TIMESTAMP, i64::from_be_bytes),
        }
    }

    pub fn timestamp_type(&self) -> Option<TimestampType> {
        match (self.magic(), self.attributes() & 0x08) {
            (MAGIC_V0, _) => None,
            (_, 0) => Some(TimestampType::CreateTime),
            _ => Some(TimestampType::LogAppendTime),
        }
    }

    pub fn stored_crc(&self) -> u32 {
        self.field(Self::CRC_AT).map_or(0, u32::from_be_bytes)
    }

    pub fn computed_crc(&self) -> u32 {
        crc32fast::hash(self.bytes.get(Self::MAGIC_AT..).unwrap_or_default())
    }

    pub(super) fn field<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }

    /// Where the key's length field is.
    pub(super) fn key_at(&self) -> usize {
        match self.magic() {
            MAGIC_V0 => Self::TIMESTAMP_AT,
            _ => Self::TIMESTAMP_AT + 8,
        }
    }
}
