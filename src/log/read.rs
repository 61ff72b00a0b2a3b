//! Reading: from an offset to a range of a segment file, bounded by what the reader may see.
//!
//! Answers to Kafka's `LocalLog.read`. Takes no lock of the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::error::ReadError;
use super::offset_index::OffsetPosition;
use super::partition_log::{PartitionLog, floor_segment};
use super::segment::{Segment, SegmentRange};
use crate::util::disk::DiskFile;

/// How far a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Followers: everything.
    LogEnd,
    /// Consumers: what is replicated.
    HighWatermark,
    /// Consumers with `read_committed`: what is replicated and decided.
    Committed,
}

/// A range of a file, to be sent or read.
#[derive(Clone, Debug)]
pub struct FileSlice {
    pub file: Arc<dyn DiskFile>,
    /// Bytes from the beginning of the file.
    pub position: u64,
    /// Bytes.
    pub len: u32,
}

impl FileSlice {
    /// The bytes, by one positional read; fewer when the file was cut meanwhile.
    pub fn read(&self) -> io::Result<Bytes> {
        if self.len == 0 {
            return Ok(Bytes::new());
        }
        let mut bytes = vec![0; self.len as usize];
        let read = self.file.read_at(&mut bytes, self.position)?;
        bytes.truncate(read);
        Ok(Bytes::from(bytes))
    }
}

/// An aborted transaction that a `read_committed` consumer must filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

/// What a read found. The slice may begin with offsets below the one asked for and end in a partial batch.
#[derive(Clone, Debug)]
pub struct LogRead {
    pub slice: FileSlice,
    /// The first batch did not fit the limit (never with `min_one`).
    pub first_batch_incomplete: bool,
    /// `Committed` only.
    pub aborted: Option<Vec<AbortedTransaction>>,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    pub log_end_offset: i64,
    /// Base offset of the segment read.
    pub segment_base_offset: i64,
}

impl LogRead {
    pub fn is_empty(&self) -> bool {
        self.slice.len == 0
    }
}

impl PartitionLog {
    /// Finds up to `max_bytes` of batches from the one that contains `fetch_offset`. With `min_one` a larger first
    /// batch comes whole. An offset between what the reader may see and the log end gives an empty result.
    pub fn read(
        &self,
        fetch_offset: i64,
        max_bytes: i32,
        isolation: Isolation,
        min_one: bool,
    ) -> Result<LogRead, ReadError> {
        self.log_dir.check()?;
        // The bounds first: whatever they cover is then in the segments.
        let high_watermark = self.high_watermark();
        let last_stable_offset = self.last_stable_offset().min(high_watermark);
        let log_end_offset = self.log_end_offset();
        let log_start_offset = self.log_start_offset();
        if fetch_offset < log_start_offset || fetch_offset > log_end_offset {
            return Err(self.out_of_range(fetch_offset, log_start_offset, log_end_offset));
        }
        let visible_end = match isolation {
            Isolation::LogEnd => log_end_offset,
            Isolation::HighWatermark => high_watermark,
            Isolation::Committed => last_stable_offset,
        };
        let max_bytes = u32::try_from(max_bytes).unwrap_or(0);
        let found = self.find_range(fetch_offset, visible_end, max_bytes, min_one);
        let (segment, file, range, segments) = match found {
            Ok(found) => found,
            // Retention may take the files away under a reader.
            Err(e) if e.kind() == io::ErrorKind::NotFound && fetch_offset < self.log_start_offset() => {
                return Err(self.out_of_range(fetch_offset, self.log_start_offset(), log_end_offset));
            }
            Err(e) => return Err(self.storage(e, "reading from").into()),
        };
        let aborted = match isolation {
            Isolation::Committed => Some(
                self.aborted_transactions(&segments, &segment, fetch_offset, &range, log_end_offset)
                    .map_err(|e| self.storage(e, "reading the transaction index of"))?,
            ),
            _ => None,
        };
        Ok(LogRead {
            slice: FileSlice { file, position: range.position, len: range.len },
            first_batch_incomplete: range.first_batch_incomplete,
            aborted,
            high_watermark,
            last_stable_offset,
            log_start_offset,
            log_end_offset,
            segment_base_offset: segment.base_offset(),
        })
    }

    fn out_of_range(&self, offset: i64, start: i64, end: i64) -> ReadError {
        ReadError::OffsetOutOfRange(if offset < start {
            format!(
                "Received request for offset {offset} for partition {}, but we only have log segments starting from offset: {start}.",
                self.tp
            )
        } else {
            format!(
                "Received request for offset {offset} for partition {}, but we only have log segments upto {end}.",
                self.tp
            )
        })
    }

    #[allow(clippy::type_complexity)]
    fn find_range(
        &self,
        fetch_offset: i64,
        visible_end: i64,
        max_bytes: u32,
        min_one: bool,
    ) -> io::Result<(Arc<Segment>, Arc<dyn DiskFile>, SegmentRange, Arc<Vec<Arc<Segment>>>)> {
        let segments = self.segments.load_full();
        let mut at = floor_segment(&segments, fetch_offset).unwrap_or(0);
        loop {
            let segment = &segments[at];
            // Before the log end is looked at again: bytes seen here are below the end seen there.
            let size = segment.size();
            let next_base = segments.get(at + 1).map(|s| s.base_offset());
            if fetch_offset < visible_end && segment.base_offset() < visible_end {
                let end = match next_base {
                    Some(next) if visible_end >= next => size,
                    _ if visible_end >= self.log_end_offset.load(Ordering::Acquire) => size,
                    _ => segment.position_of(visible_end)?,
                };
                let range = segment.read(fetch_offset, max_bytes, end, min_one)?;
                if let Some(range) = range {
                    return Ok((Arc::clone(segment), segment.file()?, range, Arc::clone(&segments)));
                }
                if next_base.is_some() {
                    at += 1;
                    continue;
                }
            }
            let nothing = SegmentRange { position: size, len: 0, first_batch_incomplete: false };
            return Ok((Arc::clone(segment), segment.file()?, nothing, Arc::clone(&segments)));
        }
    }

    /// The aborted transactions that overlap what a fetch of `range` from `segment` contains.
    fn aborted_transactions(
        &self,
        segments: &[Arc<Segment>],
        segment: &Arc<Segment>,
        fetch_offset: i64,
        range: &SegmentRange,
        log_end_offset: i64,
    ) -> io::Result<Vec<AbortedTransaction>> {
        if range.len == 0 {
            return Ok(Vec::new());
        }
        let at = floor_segment(segments, segment.base_offset()).unwrap_or(0);
        let start =
            OffsetPosition { offset: fetch_offset, position: u32::try_from(range.position).unwrap_or(u32::MAX) };
        let upper = match segment.offset_index().fetch_upper_bound(start, range.len)? {
            Some(bound) => bound.offset,
            None => segments.get(at + 1).map_or(log_end_offset, |next| next.base_offset()),
        };
        let mut found = Vec::new();
        for segment in &segments[at..] {
            if segment.txn_index().collect(fetch_offset, upper, &mut found)? {
                break;
            }
        }
        Ok(found
            .iter()
            .map(|txn| AbortedTransaction { producer_id: txn.producer_id, first_offset: txn.first_offset })
            .collect())
    }
}
