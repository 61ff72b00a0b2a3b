//! The walk over a compressed payload that never holds it decompressed: by the chunks in which the codec
//! produces it, copying nothing but what its caller wants to keep.

use super::codec::{Decoder, unreadable};
use super::walk::{RawRecord, Skim, bad_length, bad_size, bad_structure};
use super::{Codec, RecordError, varint};

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
    #[inline]
    pub(super) fn skim(&mut self) -> Result<Skim, RecordError> {
        let chunk = self.input.fill_buf().map_err(unreadable)?;
        let mut at = chunk;
        if let Some(skim) = Skim::take_plain(&mut at) {
            self.advance(skim.size)?;
            return Ok(skim);
        }
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
