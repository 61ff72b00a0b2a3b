//! The records inside a batch: parsing one from bytes, walking a whole batch with keys and values (`records`),
//! and walking a compressed one without ever holding it decompressed. Answers to Kafka's `DefaultRecord`.
//!
//! One deviation on purpose: Kafka's key-and-value-skipping iterator over compressed batches does not compare
//! a record's declared length with what its fields add up to, and so stores batches that no consumer can read.
//! Here they are invalid, as they are everywhere else in Kafka.

use bytes::Bytes;

use super::codec::{self, Decoder, unreadable};
use super::{Batch, Codec, NO_SEQUENCE, RecordBatch, RecordError, TimestampType, increment_sequence, varint};

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
    fn parse(body: &'a [u8], prefix: usize) -> Result<RawRecord<'a>, RecordError> {
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

fn bad_structure() -> RecordError {
    RecordError::Invalid("Found invalid record structure".into())
}

fn bad_size(expected: i64, read: usize) -> RecordError {
    RecordError::Invalid(format!(
        "Invalid record size: expected to read {expected} bytes in record payload, but instead read {read}"
    ))
}

#[cold]
fn bad_length(length: i32, remaining: usize) -> RecordError {
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

/// Walks over the records of a compressed payload chunk by chunk, so that memory stays bounded by the codec's
/// block whatever the payload claims.
pub(super) struct StreamWalk<'a> {
    input: Decoder<'a>,
    /// Decompressed bytes walked over.
    consumed: u64,
    cap: u64,
    /// A record that lies across chunks, gathered; only for `with_record`.
    gathered: Vec<u8>,
}

impl<'a> StreamWalk<'a> {
    /// Walks over at most `cap` decompressed bytes.
    pub(super) fn new(codec: Codec, payload: &'a [u8], cap: u64) -> Result<StreamWalk<'a>, RecordError> {
        Ok(StreamWalk { input: Decoder::new(codec, payload, false)?, consumed: 0, cap, gathered: Vec::new() })
    }

    /// The next record's sizes; nothing of it is kept.
    pub(super) fn skim(&mut self) -> Result<Skim, RecordError> {
        let chunk = self.input.fill_buf().map_err(unreadable)?;
        if let Some((skim, used)) = whole_record(chunk, |r| Ok(r.skim()))? {
            self.advance(used)?;
            return Ok(skim);
        }
        self.skim_across()
    }

    /// Gives the next record to `f`, copying it first if it lies across chunks.
    pub(super) fn with_record<T>(
        &mut self,
        f: impl FnOnce(RawRecord<'_>) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        let chunk = self.input.fill_buf().map_err(unreadable)?;
        if record_fits(chunk) {
            let mut at = chunk;
            let result = f(RawRecord::take(&mut at)?)?;
            let used = chunk.len() - at.len();
            self.advance(used)?;
            return Ok(result);
        }
        let mut record = std::mem::take(&mut self.gathered);
        record.clear();
        let length = self.varint_i32()?.ok_or(RecordError::PrematureEof)?;
        self.gather(usize::try_from(length).map_err(|_| bad_length(length, 0))?, &mut record)?;
        let result = f(RawRecord::parse(&record, varint::size_of_i32(length))?)?;
        self.gathered = record;
        Ok(result)
    }

    /// Error if anything is left.
    pub(super) fn ensure_none_remaining(&mut self) -> Result<(), RecordError> {
        match self.input.fill_buf().map_err(unreadable)? {
            [] => Ok(()),
            _ => Err(RecordError::RecordsRemaining),
        }
    }

    fn advance(&mut self, n: usize) -> Result<(), RecordError> {
        self.input.consume(n);
        self.consumed += n as u64;
        if self.consumed > self.cap {
            return Err(RecordError::TooLarge { cap: self.cap });
        }
        Ok(())
    }

    /// A record that does not end in the current chunk, field by field.
    fn skim_across(&mut self) -> Result<Skim, RecordError> {
        let start = self.consumed;
        let length = self.varint_i32()?.ok_or(RecordError::PrematureEof)?;
        let body_start = self.consumed;
        self.byte()?.ok_or_else(bad_structure)?;
        let timestamp_delta = self.varint_i64()?.ok_or_else(bad_structure)?;
        let offset_delta = self.varint_i32()?.ok_or_else(bad_structure)?;
        let key_size = self.skip_field()?;
        let value_size = self.skip_field()?;
        let headers = self.varint_i32()?.ok_or_else(bad_structure)?;
        if headers < 0 {
            return Err(RecordError::Invalid(format!("Found invalid number of record headers {headers}")));
        }
        for _ in 0..headers {
            let name = self.skip_field()?;
            if name < 0 {
                return Err(RecordError::Invalid(format!("Invalid negative header key size {name}")));
            }
            self.skip_field()?;
        }
        let read = self.consumed - body_start;
        if i64::from(length) != read as i64 {
            return Err(bad_size(i64::from(length), read as usize));
        }
        let size = (self.consumed - start) as usize;
        Ok(Skim { size, timestamp_delta, offset_delta, key_size, value_size })
    }

    fn byte(&mut self) -> Result<Option<u8>, RecordError> {
        let Some(byte) = self.input.fill_buf().map_err(unreadable)?.first().copied() else { return Ok(None) };
        self.advance(1)?;
        Ok(Some(byte))
    }

    /// The bytes of one varint of at most `MAX` bytes; `None` if it does not end.
    fn varint_bytes<const MAX: usize>(&mut self) -> Result<Option<[u8; MAX]>, RecordError> {
        let mut bytes = [0; MAX];
        for slot in &mut bytes {
            let Some(byte) = self.byte()? else { return Ok(None) };
            *slot = byte;
            if byte < 0x80 {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    fn varint_i32(&mut self) -> Result<Option<i32>, RecordError> {
        Ok(self.varint_bytes::<5>()?.and_then(|b| varint::read_i32(&mut b.as_slice())))
    }

    fn varint_i64(&mut self) -> Result<Option<i64>, RecordError> {
        Ok(self.varint_bytes::<10>()?.and_then(|b| varint::read_i64(&mut b.as_slice())))
    }

    fn skip_field(&mut self) -> Result<i32, RecordError> {
        let length = self.varint_i32()?.ok_or_else(bad_structure)?;
        let mut left = usize::try_from(length).unwrap_or(0);
        while left > 0 {
            let n = self.input.fill_buf().map_err(unreadable)?.len().min(left);
            if n == 0 {
                return Err(RecordError::Invalid(format!(
                    "Reached end of input stream before skipping all bytes. Remaining bytes:{left}"
                )));
            }
            self.advance(n)?;
            left -= n;
        }
        Ok(length)
    }

    /// Copies the next `length` bytes as they appear; no memory is taken for bytes that never come.
    fn gather(&mut self, length: usize, out: &mut Vec<u8>) -> Result<(), RecordError> {
        while out.len() < length {
            let chunk = self.input.fill_buf().map_err(unreadable)?;
            let n = chunk.len().min(length - out.len());
            if n == 0 {
                return Err(RecordError::Invalid(format!(
                    "Invalid record size: expected {length} bytes in record payload, but the record payload reached EOF."
                )));
            }
            out.extend_from_slice(chunk.get(..n).unwrap_or_default());
            self.advance(n)?;
        }
        Ok(())
    }
}

/// Whether `chunk` holds its first record entirely, or one whose length is impossible.
fn record_fits(chunk: &[u8]) -> bool {
    let mut at = chunk;
    match varint::read_i32(&mut at) {
        Some(length) => usize::try_from(length).map_or(true, |l| l <= at.len()),
        None => false,
    }
}

/// Gives the first record of `chunk` to `f` if it lies there entirely; also says how long it was.
fn whole_record<T>(
    chunk: &[u8],
    f: impl FnOnce(RawRecord<'_>) -> Result<T, RecordError>,
) -> Result<Option<(T, usize)>, RecordError> {
    if !record_fits(chunk) {
        return Ok(None);
    }
    let mut at = chunk;
    let result = f(RawRecord::take(&mut at)?)?;
    Ok(Some((result, chunk.len() - at.len())))
}
