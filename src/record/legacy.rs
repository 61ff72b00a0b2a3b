//! Message formats 0 and 1: what is inside a message or a compressed wrapper, and writing them for consumers
//! that know nothing newer. Answers to Kafka's `LegacyRecord` and `AbstractLegacyRecordBatch`.

use std::io::Write;

use bytes::{BufMut, Bytes};

use super::batch::{LEGACY_OVERHEAD_V0, LEGACY_OVERHEAD_V1};
use super::codec::{Encoder, decompress_all, unwritable};
use super::header::{HEADER_SIZE_UP_TO_MAGIC, LOG_OVERHEAD};
use super::walk::{Headers, Record};
use super::{Codec, LegacyBatch, MAGIC_V0, MAGIC_V1, NO_SEQUENCE, NO_TIMESTAMP, RecordError, TimestampType};

const TIMESTAMP_TYPE_BIT: u8 = 0x08;

impl LegacyBatch {
    /// Key and value as the message holds them; for a wrapper the value is the compressed message set.
    pub fn key_and_value(&self) -> Result<(Option<Bytes>, Option<Bytes>), RecordError> {
        let (key, at) = self.sized_field(self.key_at())?;
        let (value, _) = self.sized_field(at)?;
        Ok((key, value))
    }

    /// Whether there is a key, without looking further.
    pub fn has_key(&self) -> Result<bool, RecordError> {
        let length = self.field(self.key_at()).ok_or_else(|| RecordError::Malformed("No key length".into()))?;
        Ok(i32::from_be_bytes(length) >= 0)
    }

    /// The field whose length stands at `at`, and where the next one begins.
    fn sized_field(&self, at: usize) -> Result<(Option<Bytes>, usize), RecordError> {
        let corrupt = || RecordError::Malformed("A field is longer than the record".into());
        let length = i32::from_be_bytes(self.field(at).ok_or_else(corrupt)?);
        let start = at + 4;
        let Ok(length) = usize::try_from(length) else { return Ok((None, start)) };
        let end = start.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or_else(corrupt)?;
        Ok((Some(self.bytes.slice(start..end)), end))
    }

    pub fn is_valid(&self) -> bool {
        self.stored_crc() == self.computed_crc()
    }
}

/// One message: of its own, or from inside a wrapper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyRecord {
    /// Absolute offset.
    pub offset: i64,
    pub message: LegacyBatch,
    /// Timestamp type and timestamp of the wrapper, which rules over the messages of format 1 inside.
    wrapper: Option<(TimestampType, i64)>,
}

impl LegacyRecord {
    /// Milliseconds since the epoch; -1 for format 0.
    pub fn timestamp(&self) -> i64 {
        match self.wrapper {
            Some((TimestampType::LogAppendTime, timestamp)) if self.message.magic() != MAGIC_V0 => timestamp,
            _ => self.message.timestamp(),
        }
    }

    /// `None` for format 0.
    pub fn timestamp_type(&self) -> Option<TimestampType> {
        match self.wrapper {
            Some((kind, _)) if self.message.magic() != MAGIC_V0 => Some(kind),
            _ => self.message.timestamp_type(),
        }
    }

    /// The same in the shape of newer records.
    pub fn to_record(&self) -> Result<Record, RecordError> {
        let (key, value) = self.message.key_and_value()?;
        Ok(Record {
            offset: self.offset,
            timestamp: self.timestamp(),
            sequence: NO_SEQUENCE,
            key,
            value,
            headers: Headers::default(),
            size_in_bytes: self.message.bytes.len(),
        })
    }
}

/// Walks over what a message holds: itself, or the messages inside a wrapper, which is decompressed to at most
/// `cap` bytes. Ends after the first error.
pub fn records(batch: &LegacyBatch, cap: u64) -> LegacyRecords {
    if !batch.is_compressed() {
        let only = LegacyRecord { offset: batch.offset, message: batch.clone(), wrapper: None };
        return LegacyRecords { first: Some(Ok(only)), inner: None };
    }
    match Inner::open(batch, cap) {
        Ok(inner) => LegacyRecords { first: None, inner: Some(inner) },
        Err(e) => LegacyRecords { first: Some(Err(e)), inner: None },
    }
}

/// The iterator of [`records`].
#[derive(Clone, Debug)]
pub struct LegacyRecords {
    first: Option<Result<LegacyRecord, RecordError>>,
    inner: Option<Inner>,
}

impl Iterator for LegacyRecords {
    type Item = Result<LegacyRecord, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let step = self.inner.as_mut()?.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            self.inner = None;
        }
        step
    }
}

/// The decompressed messages of a wrapper.
#[derive(Clone, Debug)]
struct Inner {
    messages: Bytes,
    /// What to add to the offsets inside: they are relative in format 1, absolute in format 0.
    base_offset: i64,
    wrapper: Option<(TimestampType, i64)>,
}

impl Inner {
    fn open(batch: &LegacyBatch, cap: u64) -> Result<Inner, RecordError> {
        let magic = batch.magic();
        let codec = batch.codec()?;
        if codec == Codec::Zstd {
            return Err(invalid(format!(
                "Invalid wrapper compressionType found in legacy deep record iterator {magic}"
            )));
        }
        let (_, Some(payload)) = batch.key_and_value()? else {
            return Err(invalid(format!("Found invalid compressed record set with null value (magic = {magic})")));
        };
        let messages = Bytes::from(decompress_all(codec, &payload, cap, magic == MAGIC_V0)?);
        let mut rest = messages.clone();
        let mut last = None;
        while let Some(message) = next_message(&mut rest)? {
            last = Some(message.offset);
        }
        let Some(last) = last else {
            return Err(invalid("Found invalid compressed record set with no inner records".into()));
        };
        // Some versions of librdkafka produce wrappers with offset 0.
        let base_offset = match batch.offset {
            _ if magic == MAGIC_V0 => 0,
            0 => 0,
            outer if outer < last => {
                return Err(invalid(format!(
                    "Found invalid wrapper offset in compressed v1 message set, wrapper offset '{outer}' is less than \
                     the last inner message offset '{last}' and it is not zero."
                )));
            }
            outer => outer.wrapping_sub(last),
        };
        Ok(Inner { messages, base_offset, wrapper: batch.timestamp_type().map(|kind| (kind, batch.timestamp())) })
    }

    fn step(&mut self) -> Result<Option<LegacyRecord>, RecordError> {
        let Some(message) = next_message(&mut self.messages)? else { return Ok(None) };
        if message.is_compressed() {
            return Err(invalid("Inner messages must not be compressed".into()));
        }
        let offset = self.base_offset.wrapping_add(message.offset);
        let wrapper = self.wrapper.filter(|_| message.magic() == MAGIC_V1);
        Ok(Some(LegacyRecord { offset, message, wrapper }))
    }
}

/// Takes the next message off the front; `None` at the end or at a message that is not whole.
fn next_message(rest: &mut Bytes) -> Result<Option<LegacyBatch>, RecordError> {
    let Some(head) = rest.first_chunk::<LOG_OVERHEAD>() else { return Ok(None) };
    let size = head.last_chunk::<4>().map_or(0, |size| i32::from_be_bytes(*size));
    let size = match usize::try_from(size) {
        Ok(size) if size >= LEGACY_OVERHEAD_V0 => size,
        _ => {
            return Err(RecordError::Corrupt(format!(
                "Record size is less than the minimum record overhead ({LEGACY_OVERHEAD_V0})"
            )));
        }
    };
    if size > rest.len().saturating_sub(LOG_OVERHEAD) {
        return Ok(None);
    }
    let message = LegacyBatch::from_whole(rest.split_to(size + LOG_OVERHEAD))?;
    match message.magic() {
        MAGIC_V0 => Ok(Some(message)),
        MAGIC_V1 if size >= LEGACY_OVERHEAD_V1 => Ok(Some(message)),
        MAGIC_V1 => Err(RecordError::Malformed("Record of format 1 is too small".into())),
        other => Err(invalid(format!("Invalid magic found in inner record: {other}"))),
    }
}

fn invalid(reason: String) -> RecordError {
    RecordError::Invalid(reason)
}

/// Writes the records of one batch in an old format: each a message, or all in one wrapper.
pub struct LegacyBuilder {
    magic: i8,
    codec: Codec,
    timestamp_type: TimestampType,
    log_append_time: i64,
    base_offset: i64,
    last_offset: Option<i64>,
    max_timestamp: i64,
    encoder: Encoder,
    /// Where the wrapper begins in the encoder's vector.
    start: usize,
    scratch: Vec<u8>,
    uncompressed_bytes: u64,
}

impl LegacyBuilder {
    /// Appends to what `out` holds. `log_append_time` in milliseconds since the epoch makes that the timestamp
    /// of every record. `base_offset` is the first record's.
    pub fn new(
        magic: i8,
        codec: Codec,
        log_append_time: Option<i64>,
        base_offset: i64,
        mut out: Vec<u8>,
    ) -> Result<LegacyBuilder, RecordError> {
        if magic != MAGIC_V0 && magic != MAGIC_V1 {
            return Err(RecordError::Unrepresentable(format!("Invalid magic value {magic}")));
        }
        if codec == Codec::Zstd {
            return Err(RecordError::UnsupportedCompression(format!(
                "ZStandard compression is not supported for magic {magic}"
            )));
        }
        let start = out.len();
        if codec != Codec::None {
            out.resize(start + LOG_OVERHEAD + overhead(magic), 0);
        }
        Ok(LegacyBuilder {
            magic,
            codec,
            timestamp_type: match log_append_time {
                Some(_) => TimestampType::LogAppendTime,
                None => TimestampType::CreateTime,
            },
            log_append_time: log_append_time.unwrap_or(NO_TIMESTAMP),
            base_offset,
            last_offset: None,
            max_timestamp: NO_TIMESTAMP,
            encoder: Encoder::new(codec, out, magic == MAGIC_V0).map_err(unwritable)?,
            start,
            scratch: Vec::new(),
            uncompressed_bytes: match codec {
                Codec::None => 0,
                _ => (LOG_OVERHEAD + overhead(magic)) as u64,
            },
        })
    }

    pub fn append(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), RecordError> {
        let timestamp = match self.timestamp_type {
            TimestampType::CreateTime => timestamp,
            TimestampType::LogAppendTime => self.log_append_time,
        };
        let inner_offset = match self.codec {
            Codec::None => offset,
            _ if self.magic == MAGIC_V0 => offset,
            _ => offset.wrapping_sub(self.base_offset),
        };
        let mut message = std::mem::take(&mut self.scratch);
        message.clear();
        let size = overhead(self.magic) + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let size = i32::try_from(size).map_err(|_| RecordError::Unrepresentable("message is too large".into()))?;
        message.put_i64(inner_offset);
        message.put_i32(size);
        message.put_u32(0);
        message.put_i8(self.magic);
        message.put_u8(self.attributes(Codec::None));
        if self.magic != MAGIC_V0 {
            message.put_i64(timestamp);
        }
        for field in [key, value] {
            message.put_i32(field.map_or(-1, |f| f.len() as i32));
            message.extend_from_slice(field.unwrap_or_default());
        }
        patch_crc(&mut message);
        let written = self.encoder.write_all(&message).map_err(unwritable);
        self.uncompressed_bytes += message.len() as u64;
        self.scratch = message;
        written?;
        self.last_offset = Some(offset);
        if self.magic != MAGIC_V0 {
            self.max_timestamp = self.max_timestamp.max(timestamp);
        }
        Ok(())
    }

    /// Bytes so far if nothing were compressed.
    pub fn uncompressed_size(&self) -> u64 {
        self.uncompressed_bytes
    }

    fn attributes(&self, codec: Codec) -> u8 {
        let kind = match self.timestamp_type {
            TimestampType::LogAppendTime if self.magic != MAGIC_V0 => TIMESTAMP_TYPE_BIT,
            _ => 0,
        };
        codec.id() as u8 | kind
    }

    /// The vector with the batch behind what it held; unchanged if no record was appended.
    pub fn finish(self) -> Result<Vec<u8>, RecordError> {
        let attributes = self.attributes(self.codec);
        let mut out = self.encoder.finish().map_err(unwritable)?;
        let Some(last_offset) = self.last_offset else {
            out.truncate(self.start);
            return Ok(out);
        };
        let Some(wrapper) = out.get_mut(self.start..).filter(|_| self.codec != Codec::None) else { return Ok(out) };
        let size = wrapper.len().saturating_sub(LOG_OVERHEAD);
        let value_size = size.saturating_sub(overhead(self.magic));
        let mut head = Vec::with_capacity(LOG_OVERHEAD + LEGACY_OVERHEAD_V1);
        head.put_i64(last_offset);
        head.put_i32(i32::try_from(size).map_err(|_| RecordError::Unrepresentable("message is too large".into()))?);
        head.put_u32(0);
        head.put_i8(self.magic);
        head.put_u8(attributes);
        if self.magic != MAGIC_V0 {
            head.put_i64(self.max_timestamp);
        }
        head.put_i32(-1);
        head.put_i32(value_size as i32);
        if let Some(space) = wrapper.get_mut(..head.len()) {
            space.copy_from_slice(&head);
        }
        patch_crc(wrapper);
        Ok(out)
    }
}

/// Bytes of a message behind the offset and size fields when key and value are empty.
fn overhead(magic: i8) -> usize {
    match magic {
        MAGIC_V0 => LEGACY_OVERHEAD_V0,
        _ => LEGACY_OVERHEAD_V1,
    }
}

/// Computes the checksum of a message and puts it in.
fn patch_crc(message: &mut [u8]) {
    let crc = crc32fast::hash(message.get(HEADER_SIZE_UP_TO_MAGIC - 1..).unwrap_or_default());
    if let Some(field) = message.get_mut(LOG_OVERHEAD..LOG_OVERHEAD + 4) {
        field.copy_from_slice(&crc.to_be_bytes());
    }
}
