//! Deleting old segments: below the log start, beyond the size, older than the time.
//!
//! Answers to Kafka's `UnifiedLog.deleteOldSegments`. Runs under the writer lock.

use std::io;
use std::sync::Arc;

use super::error::LogError;
use super::partition_log::{LOGGER, PartitionLog, Writer};
use super::segment::Segment;

impl PartitionLog {
    /// Deletes what retention does not want any more; returns how many segments went. Logs that are only compacted lose
    /// nothing but what is below the log start.
    pub fn delete_old_segments(&self, now_ms: i64) -> Result<usize, LogError> {
        self.with_writer(|writer| {
            let config = self.config();
            let mut deleted = self.delete_below_log_start(writer, now_ms)?;
            if config.cleanup_delete {
                if config.retention_bytes >= 0 {
                    deleted += self.delete_beyond_size(writer, config.retention_bytes, now_ms)?;
                }
                if config.retention_ms >= 0 {
                    deleted += self.delete_older_than(writer, config.retention_ms, now_ms)?;
                }
            }
            Ok(deleted)
        })
    }

    fn delete_below_log_start(&self, writer: &mut Writer, now_ms: i64) -> Result<usize, LogError> {
        let start = self.log_start_offset();
        let breach = |_: &Segment, next: Option<&Arc<Segment>>| Ok(next.is_some_and(|n| n.base_offset() <= start));
        self.delete_while(writer, now_ms, &format!("log start offset {start} breach"), breach)
    }

    fn delete_beyond_size(&self, writer: &mut Writer, retention_bytes: i64, now_ms: i64) -> Result<usize, LogError> {
        let size = i64::try_from(self.size()).unwrap_or(i64::MAX);
        if size < retention_bytes {
            return Ok(0);
        }
        let mut excess = size - retention_bytes;
        let breach = |segment: &Segment, _: Option<&Arc<Segment>>| {
            let segment_size = i64::try_from(segment.size()).unwrap_or(i64::MAX);
            let fits = excess - segment_size >= 0;
            if fits {
                excess -= segment_size;
            }
            Ok(fits)
        };
        self.delete_while(writer, now_ms, &format!("retention size {retention_bytes} breach"), breach)
    }

    fn delete_older_than(&self, writer: &mut Writer, retention_ms: i64, now_ms: i64) -> Result<usize, LogError> {
        let breach = |segment: &Segment, _: Option<&Arc<Segment>>| {
            segment.largest_timestamp().map(|newest| now_ms.saturating_sub(newest) > retention_ms)
        };
        self.delete_while(writer, now_ms, &format!("retention time {retention_ms}ms breach"), breach)
    }

    /// Deletes from the oldest segment on while `breach` holds and the high watermark is past the segment.
    fn delete_while(
        &self,
        writer: &mut Writer,
        now_ms: i64,
        reason: &str,
        mut breach: impl FnMut(&Segment, Option<&Arc<Segment>>) -> io::Result<bool>,
    ) -> Result<usize, LogError> {
        let segments = self.segments.load_full();
        let (high_watermark, end) = (self.high_watermark(), self.log_end_offset());
        let mut count = 0;
        for (at, segment) in segments.iter().enumerate() {
            let next = segments.get(at + 1);
            let upper = next.map_or(end, |n| n.base_offset());
            let empty_active = next.is_none() && segment.size() == 0;
            if empty_active || high_watermark < upper {
                break;
            }
            if !breach(segment, next).map_err(|e| self.storage(e, "deleting segments of"))? {
                break;
            }
            count += 1;
        }
        if count > 0 {
            self.delete_oldest(writer, count, now_ms, reason)?;
        }
        Ok(count)
    }

    fn delete_oldest(&self, writer: &mut Writer, count: usize, now_ms: i64, reason: &str) -> Result<(), LogError> {
        if count == self.segments.load().len() {
            // There is always an active segment.
            self.roll(writer, None, now_ms)?;
        }
        let segments = self.segments.load_full();
        let (old, kept) = segments.split_at(count);
        let Some(first) = kept.first() else { return Ok(()) };
        tracing::info!(target: LOGGER, "[UnifiedLog partition={}, dir={}] Deleting {count} segments below offset {} due to {reason}", self.tp, self.log_dir.path().display(), first.base_offset());
        self.increment_log_start_locked(writer, first.base_offset(), "segment deletion")?;
        self.segments.store(Arc::new(kept.to_vec()));
        self.delete_later(writer, old, now_ms)
    }
}
