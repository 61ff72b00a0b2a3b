//! Walking over the batches of a segment file: by headers only (searching), or whole with checksums (recovery).
//!
//! Answers to Kafka's `FileLogInputStream` and `FileRecords.searchForOffsetWithSize`. Reads through a small buffer
//! with positional reads; owns nothing else.

use std::io;

use bytes::Bytes;

use crate::record::batch::{self, Batch};
use crate::record::builder::EndTxnMarker;
use crate::record::{BatchHeader, MAGIC_V2, RECORD_BATCH_OVERHEAD, RecordError, varint};
use crate::util::disk::DiskFile;

use super::producer_entry::{Marker, ProducerBatch};

/// What the header of a batch in a file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMeta {
    /// Where the batch begins, bytes in the segment file.
    pub position: u64,
    /// Bytes of the whole batch.
    pub size: u32,
    pub magic: i8,
    /// First offset; for compressed batches of formats 0 and 1 the last one, which is all their header has.
    pub base_offset: i64,
    pub last_offset: i64,
    /// -1 for format 0.
    pub max_timestamp: i64,
    /// -1 for formats 0 and 1.
    pub leader_epoch: i32,
}

impl BatchMeta {
    pub fn of(batch: &Batch, position: u64) -> BatchMeta {
        BatchMeta {
            position,
            size: u32::try_from(batch.size_in_bytes()).unwrap_or(u32::MAX),
            magic: batch.magic(),
            base_offset: batch.base_offset().unwrap_or(batch.last_offset()),
            last_offset: batch.last_offset(),
            max_timestamp: batch.max_timestamp(),
            leader_epoch: batch.partition_leader_epoch(),
        }
    }

    pub fn end(&self) -> u64 {
        self.position + u64::from(self.size)
    }
}

const BUFFER: usize = 4096;

fn corrupt(error: &RecordError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// Walks over headers from a batch boundary. Stops at a trailing batch that is not whole; an error of kind
/// `InvalidData` where no batch can begin.
pub struct HeaderWalk<'f> {
    file: &'f dyn DiskFile,
    position: u64,
    end: u64,
    buffer: [u8; BUFFER],
    buffer_at: u64,
    filled: usize,
}

impl<'f> HeaderWalk<'f> {
    /// From `position` up to `end`, both bytes in the file.
    pub fn new(file: &'f dyn DiskFile, position: u64, end: u64) -> HeaderWalk<'f> {
        HeaderWalk { file, position, end, buffer: [0; BUFFER], buffer_at: position, filled: 0 }
    }

    /// Up to `RECORD_BATCH_OVERHEAD` bytes from the present position.
    fn head(&mut self) -> io::Result<&[u8]> {
        let wanted = usize::try_from(self.end - self.position).unwrap_or(usize::MAX).min(RECORD_BATCH_OVERHEAD);
        let mut skip = usize::try_from(self.position - self.buffer_at).unwrap_or(usize::MAX);
        if skip.saturating_add(wanted) > self.filled {
            let reach = usize::try_from(self.end - self.position).unwrap_or(usize::MAX).min(BUFFER);
            self.filled = self.file.read_at(&mut self.buffer[..reach], self.position)?;
            self.buffer_at = self.position;
            skip = 0;
        }
        Ok(&self.buffer[skip.min(self.filled)..(skip.saturating_add(wanted)).min(self.filled)])
    }

    pub fn next_batch(&mut self) -> io::Result<Option<BatchMeta>> {
        if self.position >= self.end {
            return Ok(None);
        }
        let (position, end) = (self.position, self.end);
        let head = self.head()?;
        let Some(prefix) = batch::peek(head).map_err(|e| corrupt(&e))? else { return Ok(None) };
        if position + prefix.size as u64 > end {
            return Ok(None);
        }
        let size = u32::try_from(prefix.size).unwrap_or(u32::MAX);
        let meta = if prefix.magic == MAGIC_V2 {
            let Some(header) = BatchHeader::parse(head) else { return Ok(None) };
            BatchMeta {
                position,
                size,
                magic: prefix.magic,
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
                max_timestamp: header.max_timestamp,
                leader_epoch: header.partition_leader_epoch,
            }
        } else {
            let timestamp = match prefix.magic {
                0 => -1,
                _ => head.get(18..26).and_then(|t| t.try_into().ok()).map_or(-1, i64::from_be_bytes),
            };
            BatchMeta {
                position,
                size,
                magic: prefix.magic,
                base_offset: prefix.offset,
                last_offset: prefix.offset,
                max_timestamp: timestamp,
                leader_epoch: -1,
            }
        };
        self.position += u64::from(size);
        Ok(Some(meta))
    }
}

/// Bytes read at once when whole batches are needed.
const CHUNK: u64 = 1 << 20;

/// Reads whole batches one after the other, checksums verified by the caller.
pub struct WholeWalk<'f> {
    file: &'f dyn DiskFile,
    position: u64,
    end: u64,
    chunk: Bytes,
}

impl<'f> WholeWalk<'f> {
    pub fn new(file: &'f dyn DiskFile, position: u64, end: u64) -> WholeWalk<'f> {
        WholeWalk { file, position, end, chunk: Bytes::new() }
    }

    fn fill(&mut self, at_least: u64) -> io::Result<()> {
        let len = at_least.max(CHUNK).min(self.end - self.position);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let read = self.file.read_at(&mut bytes, self.position)?;
        bytes.truncate(read);
        self.chunk = Bytes::from(bytes);
        Ok(())
    }

    /// The next batch; `Ok(None)` at the end or before a torn batch; `Err` in the inner result where the bytes are no
    /// batch.
    pub fn next_batch(&mut self) -> io::Result<Option<Result<Batch, RecordError>>> {
        for _ in 0..2 {
            match batch::peek(&self.chunk) {
                Err(e) => return Ok(Some(Err(e))),
                Ok(Some(prefix)) if self.position + prefix.size as u64 > self.end => return Ok(None),
                Ok(Some(prefix)) if prefix.size <= self.chunk.len() => {
                    self.position += prefix.size as u64;
                    return Ok(Some(Batch::parse(self.chunk.split_to(prefix.size))));
                }
                Ok(Some(prefix)) => self.fill(prefix.size as u64)?,
                Ok(None) if self.position >= self.end => return Ok(None),
                Ok(None) => {
                    self.fill(0)?;
                    // After filling, one more look; the batch itself may need another fill.
                    if let Ok(Some(prefix)) = batch::peek(&self.chunk)
                        && prefix.size > self.chunk.len()
                        && self.position + prefix.size as u64 <= self.end
                    {
                        self.fill(prefix.size as u64)?;
                    }
                }
            }
        }
        Ok(None)
    }
}

/// What producer state needs of a batch; `None` without a producer id.
pub fn producer_batch(batch: &Batch) -> Result<Option<ProducerBatch>, RecordError> {
    match batch.v2() {
        Some(v2) if v2.header().has_producer_id() => header_producer_batch(v2.header(), v2.body_slice()).map(Some),
        _ => Ok(None),
    }
}

/// The same from a header and the bytes behind it.
pub fn header_producer_batch(header: &BatchHeader, body: &[u8]) -> Result<ProducerBatch, RecordError> {
    let marker = match header.is_control() && header.records_count > 0 {
        true => Some(marker(header, body)?),
        false => None,
    };
    Ok(ProducerBatch {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        last_sequence: header.last_sequence(),
        base_offset: header.base_offset,
        last_offset: header.last_offset(),
        max_timestamp: header.max_timestamp,
        is_transactional: header.is_transactional(),
        is_control: header.is_control(),
        marker,
    })
}

/// Reads the one record of a control batch.
fn marker(header: &BatchHeader, body: &[u8]) -> Result<Marker, RecordError> {
    let invalid = || RecordError::Invalid("Control record is not readable".into());
    let mut rest = body;
    varint::read_i32(&mut rest).ok_or_else(invalid)?;
    rest = rest.get(1..).ok_or_else(invalid)?;
    let timestamp_delta = varint::read_i64(&mut rest).ok_or_else(invalid)?;
    varint::read_i32(&mut rest).ok_or_else(invalid)?;
    let mut field = || -> Option<&[u8]> {
        let len = usize::try_from(varint::read_i32(&mut rest)?).ok()?;
        let (field, behind) = rest.split_at_checked(len)?;
        rest = behind;
        Some(field)
    };
    let key = field().ok_or_else(invalid)?;
    let value = field().ok_or_else(invalid)?;
    let end = EndTxnMarker::parse(key, value)?;
    let timestamp = match header.timestamp_type() {
        crate::record::TimestampType::LogAppendTime => header.max_timestamp,
        crate::record::TimestampType::CreateTime => header.base_timestamp.wrapping_add(timestamp_delta),
    };
    Ok(Marker { abort: !end.commit, coordinator_epoch: end.coordinator_epoch, timestamp })
}
