//! The records inside a batch: parsing one from bytes, walking a whole batch with keys and values (`records`),
//! and walking a compressed one without ever holding it decompressed. Answers to Kafka's `DefaultRecord`.
//!
//! One deviation on purpose: Kafka's key-and-value-skipping iterator over compressed batches does not compare
//! a record's declared length with what its fields add up to, and so stores batches that no consumer can read.
//! Here they are invalid, as they are everywhere else in Kafka.

use bytes::Bytes;

use super::codec;
use super::{Batch, NO_SEQUENCE, RecordBatch, RecordError, TimestampType, increment_sequence, varint};

/// One record, with slices of the batch's bytes or of its decompressed payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    /// Milliseconds since the epoch; -1 for none.
    pub timestamp: i64,
    /// -1 if the batch has no producer.
    pub sequence: i32,
    pub key: Option<Bytes>,
    /// `None` is a tombstone in compacted topics.
    pub value: Option<Bytes>,
    pub headers: Headers,
    /// Bytes of the record as encoded, its length field included.
    pub size_in_bytes: usize,
}

/// The headers of a record in their encoded form, known to be well-formed: order, duplicates and nulls stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    count: i32,
    encoded: Bytes,
}

impl Headers {
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Name (UTF-8 by agreement, not checked) and value of each header, in order.
    pub fn iter(&self) -> HeadersIter<'_> {
        HeadersIter { left: self.count, encoded: &self.encoded }
    }
}

/// The iterator of [`Headers`], in the shape that `BatchBuilder` takes.
#[derive(Clone, Debug)]
pub struct HeadersIter<'a> {
    left: i32,
    encoded: &'a [u8],
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let name = take_field(&mut self.encoded)??;
        let value = take_field(&mut self.encoded)?;
        Some((name, value))
    }
}

/// What validation wants to know of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skim {
    /// Bytes with the length field.
    pub size: usize,
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    /// Negative for null.
    pub key_size: i32,
    /// Negative for null.
    pub value_size: i32,
}

impl Skim {
    /// Takes one record without headers off the front of `buf`, quickly. `None`, and `buf` as it was, for anything
    /// else, good or bad: `RawRecord` knows which.
    #[inline(always)]
    pub(super) fn take_plain(buf: &mut &[u8]) -> Option<Skim> {
        let mut at = *buf;
        let length = short_length(&mut at)?;
        let (mut body, rest) = at.split_at_checked(length)?;
        let (_attributes, after) = body.split_first()?;
        body = after;
        let timestamp_delta = varint::read_i64(&mut body)?;
        let offset_delta = varint::read_i32(&mut body)?;
        let key_size = skip_field(&mut body)?;
        let value_size = skip_field(&mut body)?;
        if body != [0] {
            return None;
        }
        let size = buf.len() - rest.len();
        *buf = rest;
        Some(Skim { size, timestamp_delta, offset_delta, key_size, value_size })
    }
}

/// A length that is not negative.
#[inline(always)]
fn short_length(at: &mut &[u8]) -> Option<usize> {
    usize::try_from(varint::read_i32(at)?).ok()
}

/// Moves past a field and says how long it is.
#[inline(always)]
fn skip_field(at: &mut &[u8]) -> Option<i32> {
    let length = varint::read_i32(at)?;
    if length > 0 {
        *at = at.get(length as usize..)?;
    }
    Some(length)
}

/// One record as slices of its encoding.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRecord<'a> {
    pub size: usize,
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    header_count: i32,
    headers: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// Takes one record off the front of `buf`.
    #[inline]
    pub(super) fn take(buf: &mut &'a [u8]) -> Result<RawRecord<'a>, RecordError> {
        let before = buf.len();
        let length = varint::read_i32(buf).ok_or(RecordError::PrematureEof)?;
        let prefix = before - buf.len();
        let Some((body, rest)) = usize::try_from(length).ok().and_then(|l| buf.split_at_checked(l)) else {
            return Err(bad_length(length, buf.len()));
        };
        *buf = rest;
        RawRecord::parse(body, prefix)
    }

    /// Parses the `length` bytes of a record. `prefix` is the size of the length field.
    #[inline]
    pub(super) fn parse(body: &'a [u8], prefix: usize) -> Result<RawRecord<'a>, RecordError> {
        let mut at = body;
        let (_attributes, rest) = at.split_first().ok_or_else(bad_structure)?;
        at = rest;
        let timestamp_delta = varint::read_i64(&mut at).ok_or_else(bad_structure)?;
        let offset_delta = varint::read_i32(&mut at).ok_or_else(bad_structure)?;
        let key = take_field(&mut at).ok_or_else(bad_structure)?;
        let value = take_field(&mut at).ok_or_else(bad_structure)?;
        let header_count = varint::read_i32(&mut at).ok_or_else(bad_structure)?;
        let headers = at;
        if header_count != 0 {
            check_headers(header_count, &mut at)?;
        }
        if !at.is_empty() {
            return Err(bad_size(body.len() as i64, body.len() - at.len()));
        }
        Ok(RawRecord { size: prefix + body.len(), timestamp_delta, offset_delta, key, value, header_count, headers })
    }

    #[inline]
    pub(super) fn skim(&self) -> Skim {
        let size = |field: Option<&[u8]>| field.map_or(-1, |f| f.len() as i32);
        Skim {
            size: self.size,
            timestamp_delta: self.timestamp_delta,
            offset_delta: self.offset_delta,
            key_size: size(self.key),
            value_size: size(self.value),
        }
    }

    pub(super) fn headers(&self) -> HeadersIter<'a> {
        HeadersIter { left: self.header_count, encoded: self.headers }
    }
}

/// Outer `None`: malformed; inner `None`: null. Any negative length is null, as Kafka reads it.
#[inline]
fn take_field<'a>(at: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::read_i32(at)?;
    if length < 0 {
        return Some(None);
    }
    let (field, rest) = at.split_at_checked(length as usize)?;
    *at = rest;
    Some(Some(field))
}

fn check_headers(count: i32, at: &mut &[u8]) -> Result<(), RecordError> {
    if count < 0 {
        return Err(RecordError::Invalid(format!("Found invalid number of record headers {count}")));
    }
    if count as usize > at.len() {
        return Err(RecordError::Invalid(format!(
            "Found invalid number of record headers. {count} is larger than the remaining size of the buffer"
        )));
    }
    for _ in 0..count {
        if take_field(at).ok_or_else(bad_structure)?.is_none() {
            return Err(RecordError::Invalid("Invalid negative header key size".into()));
        }
        take_field(at).ok_or_else(bad_structure)?;
    }
    Ok(())
}

pub(super) fn bad_structure() -> RecordError {
    RecordError::Invalid("Found invalid record structure".into())
}

pub(super) fn bad_size(expected: i64, read: usize) -> RecordError {
    RecordError::Invalid(format!(
        "Invalid record size: expected to read {expected} bytes in record payload, but instead read {read}"
    ))
}

#[cold]
pub(super) fn bad_length(length: i32, remaining: usize) -> RecordError {
    if length < 0 {
        return bad_size(i64::from(length), 0);
    }
    RecordError::Invalid(format!(
        "Invalid record size: expected {length} bytes in record payload, but instead the buffer has only {remaining} \
         remaining bytes."
    ))
}

/// Walks over the records of a batch of format 2. A compressed payload is decompressed as a whole first, to at
/// most `cap` bytes. Ends after the first error.
pub fn records(batch: &RecordBatch, cap: u64) -> Records {
    let header = batch.header();
    let log_append_time = (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp);
    let payload = match header.records_count {
        0 => Ok(Bytes::new()),
        count if count < 0 => {
            Err(RecordError::Invalid(format!("Found invalid record count {count} in magic v{} batch", header.magic)))
        }
        _ => header.codec().and_then(|codec| codec::decompress(codec, &batch.body(), cap)),
    };
    let (payload, error) = match payload {
        Ok(payload) => (payload, None),
        Err(e) => (Bytes::new(), Some(e)),
    };
    Records {
        payload,
        position: 0,
        left: header.records_count.max(0),
        error,
        base_offset: header.base_offset,
        base_timestamp: header.base_timestamp,
        base_sequence: header.base_sequence,
        log_append_time,
    }
}

/// The iterator of [`records`].
#[derive(Clone, Debug)]
pub struct Records {
    payload: Bytes,
    position: usize,
    left: i32,
    error: Option<RecordError>,
    base_offset: i64,
    base_timestamp: i64,
    base_sequence: i32,
    log_append_time: Option<i64>,
}

impl Records {
    fn step(&mut self) -> Result<Record, RecordError> {
        let mut at = self.payload.get(self.position..).unwrap_or_default();
        let raw = RawRecord::take(&mut at)?;
        if self.left == 1 && !at.is_empty() {
            return Err(RecordError::RecordsRemaining);
        }
        let record = Record {
            offset: self.base_offset.wrapping_add(i64::from(raw.offset_delta)),
            timestamp: self.log_append_time.unwrap_or(self.base_timestamp.wrapping_add(raw.timestamp_delta)),
            sequence: match self.base_sequence {
                base if base >= 0 => increment_sequence(base, raw.offset_delta),
                _ => NO_SEQUENCE,
            },
            key: raw.key.map(|k| self.payload.slice_ref(k)),
            value: raw.value.map(|v| self.payload.slice_ref(v)),
            headers: match raw.header_count {
                0 => Headers::default(),
                count => Headers { count, encoded: self.payload.slice_ref(raw.headers) },
            },
            size_in_bytes: raw.size,
        };
        self.position = self.payload.len() - at.len();
        Ok(record)
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(e) = self.error.take() {
            self.left = 0;
            return Some(Err(e));
        }
        if self.left == 0 {
            return None;
        }
        let step = self.step();
        self.left = if step.is_ok() { self.left - 1 } else { 0 };
        Some(step)
    }
}

impl std::iter::FusedIterator for Records {}

impl Batch {
    /// Walks over the records of a batch of any format; compressed ones are decompressed to at most `cap` bytes.
    pub fn records(&self, cap: u64) -> BatchRecords {
        match self {
            Batch::V2(batch) => BatchRecords::V2(records(batch, cap)),
            Batch::Legacy(message) => BatchRecords::Legacy(super::legacy::records(message, cap)),
        }
    }
}

/// The iterator of [`Batch::records`].
#[derive(Clone, Debug)]
pub enum BatchRecords {
    V2(Records),
    Legacy(super::legacy::LegacyRecords),
}

impl Iterator for BatchRecords {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            BatchRecords::V2(records) => records.next(),
            BatchRecords::Legacy(records) => records.next().map(|r| r.and_then(|r| r.to_record())),
        }
    }
}
