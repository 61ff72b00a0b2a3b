//! ListOffsets: offsets by timestamp and by name, and the form of version 0.
//!
//! Answers to Kafka's `UnifiedLog.fetchOffsetByTimestamp` and `legacyFetchOffsetsBefore`. Takes no lock of the log.

use std::io;
use std::sync::Arc;

use super::batch_walk::WholeWalk;
use super::error::LogError;
use super::partition_log::PartitionLog;
use super::segment::Segment;
use crate::record::codec::DEFAULT_DECOMPRESSION_CAP;

pub const LATEST_TIMESTAMP: i64 = -1;
pub const EARLIEST_TIMESTAMP: i64 = -2;
pub const MAX_TIMESTAMP: i64 = -3;
pub const EARLIEST_LOCAL_TIMESTAMP: i64 = -4;

/// An offset found for a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampAndOffset {
    /// Milliseconds since the epoch; -1 for the named offsets.
    pub timestamp: i64,
    pub offset: i64,
    pub leader_epoch: Option<i32>,
}

impl PartitionLog {
    /// The offset for a ListOffsets target: -1 (log end), -2 and -4 (log start), -3 (the largest timestamp), or the
    /// first record at or after a time. `None` when no record is that new. Visibility (high watermark, last stable
    /// offset) is the caller's.
    pub fn offset_for_timestamp(&self, target: i64) -> Result<Option<TimestampAndOffset>, LogError> {
        self.log_dir.check()?;
        let named = |offset, leader_epoch| Ok(Some(TimestampAndOffset { timestamp: -1, offset, leader_epoch }));
        match target {
            EARLIEST_TIMESTAMP | EARLIEST_LOCAL_TIMESTAMP => {
                let start = self.log_start_offset();
                // The first epoch may begin later, when older records came without epochs.
                let first = self.epochs.read().earliest().filter(|e| e.start_offset <= start);
                named(start, first.map(|e| e.epoch))
            }
            LATEST_TIMESTAMP => named(self.log_end_offset(), self.latest_epoch()),
            MAX_TIMESTAMP => self.max_timestamp_offset().map(Some).map_err(|e| self.searching(e)),
            _ => self.search_timestamp(target).map_err(|e| self.searching(e)),
        }
    }

    fn searching(&self, error: io::Error) -> LogError {
        self.storage(error, "fetching offset by timestamp for")
    }

    fn max_timestamp_offset(&self) -> io::Result<TimestampAndOffset> {
        let mut found = TimestampAndOffset { timestamp: i64::MIN, offset: -1, leader_epoch: self.latest_epoch() };
        for segment in self.segments.load().iter() {
            let max = segment.max_timestamp()?;
            if max.timestamp > found.timestamp {
                (found.timestamp, found.offset) = (max.timestamp, max.offset);
            }
        }
        Ok(found)
    }

    fn search_timestamp(&self, target: i64) -> io::Result<Option<TimestampAndOffset>> {
        for segment in self.segments.load().iter() {
            if segment.largest_timestamp()? >= target {
                return segment.find_timestamp(target, self.log_start_offset());
            }
        }
        Ok(None)
    }

    /// ListOffsets version 0: up to `max_offsets` segment starts (and the log end) that are not newer than `target`,
    /// descending.
    pub fn legacy_offsets_before(&self, target: i64, max_offsets: i32, now_ms: i64) -> Result<Vec<i64>, LogError> {
        self.log_dir.check()?;
        let segments: Arc<Vec<Arc<Segment>>> = self.segments();
        let start = self.log_start_offset();
        let mut known = Vec::with_capacity(segments.len() + 1);
        for segment in segments.iter() {
            known.push((segment.base_offset().max(start), segment.last_modified().map_err(|e| self.searching(e))?));
        }
        if segments.last().is_some_and(|s| s.size() > 0) {
            known.push((self.log_end_offset(), now_ms));
        }
        let upto = match target {
            LATEST_TIMESTAMP => known.len(),
            EARLIEST_TIMESTAMP | EARLIEST_LOCAL_TIMESTAMP => known.len().min(1),
            _ => known.iter().rposition(|(_, modified)| *modified <= target).map_or(0, |at| at + 1),
        };
        let wanted = usize::try_from(max_offsets).unwrap_or(0);
        let mut offsets: Vec<i64> = known[..upto].iter().rev().take(wanted).map(|(offset, _)| *offset).collect();
        offsets.sort_unstable_by(|a, b| b.cmp(a));
        Ok(offsets)
    }
}

impl Segment {
    /// The first record with at least this timestamp and offset.
    fn find_timestamp(&self, target: i64, start_offset: i64) -> io::Result<Option<TimestampAndOffset>> {
        let hint = self.time_index().lookup(target)?;
        let start = self.offset_index().lookup(hint.offset.max(start_offset))?;
        let file = self.file()?;
        let mut walk = WholeWalk::new(&*file, u64::from(start.position), self.size());
        while let Some(batch) = walk.next_batch()? {
            let batch = batch.map_err(io::Error::other)?;
            if batch.max_timestamp() < target {
                continue;
            }
            for record in batch.records(DEFAULT_DECOMPRESSION_CAP) {
                let record = record.map_err(io::Error::other)?;
                if record.timestamp >= target && record.offset >= start_offset {
                    let epoch = batch.partition_leader_epoch();
                    return Ok(Some(TimestampAndOffset {
                        timestamp: record.timestamp,
                        offset: record.offset,
                        leader_epoch: (epoch >= 0).then_some(epoch),
                    }));
                }
            }
        }
        Ok(None)
    }
}
