//! Cutting a log back: to an offset (a follower that departs from its leader), wholly, or from the front.
//!
//! Answers to Kafka's `UnifiedLog.truncateTo`, `truncateFullyAndStartAt` and `maybeIncrementLogStartOffset`. All under
//! the writer lock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::LogError;
use super::loader::{Rebuild, rebuild_producers};
use super::partition_log::{Deletion, LOGGER, PartitionLog, Writer};
use super::segment::Segment;

impl PartitionLog {
    /// Removes everything at and above `offset`, whole batches only; the log then ends at `offset`. Returns whether
    /// anything was to be removed.
    pub fn truncate_to(&self, offset: i64, now_ms: i64) -> Result<bool, LogError> {
        if offset < 0 {
            return Err(LogError::Invalid(format!(
                "Cannot truncate partition {} to a negative offset ({offset}).",
                self.tp
            )));
        }
        let flushed = self.recovery_point();
        let truncated = self.with_writer(|writer| {
            let end = self.log_end_offset();
            if offset >= end {
                tracing::info!(target: LOGGER, "Truncating {} to {offset} has no effect as the largest offset in the log is {}", self.tp, end - 1);
                // A leadership that wrote nothing may have left its epoch at the end.
                self.epochs.write().truncate_from_end(end).map_err(|e| self.storage(e, "truncating leader epochs of"))?;
                return Ok(false);
            }
            tracing::info!(target: LOGGER, "Truncating {} to offset {offset}", self.tp);
            if self.segments.load()[0].base_offset() > offset {
                self.truncate_fully_locked(writer, offset, now_ms)?;
            } else {
                self.truncate_locked(writer, offset, now_ms)?;
            }
            Ok(true)
        })?;
        if offset < flushed {
            // What is appended from here on is not on the device, whatever the checkpoint says.
            self.log_dir.recovery_points_fell();
        }
        Ok(truncated)
    }

    fn truncate_locked(&self, writer: &mut Writer, offset: i64, now_ms: i64) -> Result<(), LogError> {
        let segments = self.segments.load_full();
        let keep = segments.partition_point(|s| s.base_offset() <= offset).max(1);
        let (kept, dropped) = segments.split_at(keep);
        // The end first: readers must not believe in what is about to go.
        self.high_watermark.fetch_min(offset, Ordering::AcqRel);
        self.log_end_offset.store(offset, Ordering::Release);
        self.log_start_offset.fetch_min(offset, Ordering::AcqRel);
        self.truncations.fetch_add(1, Ordering::AcqRel);
        self.recovery_point.fetch_min(offset, Ordering::AcqRel);
        if !dropped.is_empty() {
            self.segments.store(Arc::new(kept.to_vec()));
            self.delete_later(writer, dropped, now_ms)?;
            self.disk.sync_dir(&self.dir()).map_err(|e| self.storage(e, "deleting segments of"))?;
        }
        let active = &kept[kept.len() - 1];
        // What goes must not come back after a loss of power, with other batches of the same offsets behind it: a flush
        // to come does not reach below the recovery point, and recovery looks at each segment alone.
        let cut = active.truncate_to(offset, now_ms).and_then(|_| active.flush());
        cut.map_err(|e| self.storage(e, "truncating log to offset of"))?;
        self.epochs.write().truncate_from_end(offset).map_err(|e| self.storage(e, "truncating leader epochs of"))?;
        self.rebuild_producers_locked(writer, offset, now_ms)
    }

    /// Removes everything; the log then begins and ends at `offset`.
    pub fn truncate_fully_and_start_at(&self, offset: i64, now_ms: i64) -> Result<(), LogError> {
        let flushed = self.recovery_point();
        self.with_writer(|writer| self.truncate_fully_locked(writer, offset, now_ms))?;
        if offset < flushed {
            self.log_dir.recovery_points_fell();
        }
        Ok(())
    }

    pub(super) fn truncate_fully_locked(&self, writer: &mut Writer, offset: i64, now_ms: i64) -> Result<(), LogError> {
        tracing::debug!(target: LOGGER, "Truncate and start {} at offset {offset}", self.tp);
        let old = self.segments.load_full();
        let what = "truncating the entire log of";
        self.high_watermark.store(offset, Ordering::Release);
        self.first_unstable.store(super::partition_log::NO_UNSTABLE_OFFSET, Ordering::Release);
        self.truncations.fetch_add(1, Ordering::AcqRel);
        self.recovery_point.fetch_min(offset, Ordering::AcqRel);
        for segment in old.iter() {
            segment.mark_deleted().map_err(|e| self.storage(e, what))?;
        }
        let segment = self.create_segment(offset, now_ms).map_err(|e| self.storage(e, what))?;
        self.segments.store(Arc::new(vec![segment]));
        self.log_end_offset.store(offset, Ordering::Release);
        self.log_start_offset.store(offset, Ordering::Release);
        for segment in old.iter() {
            segment.remove_files().map_err(|e| self.storage(e, what))?;
        }
        self.epochs.write().clear_and_flush().map_err(|e| self.storage(e, "truncating leader epochs of"))?;
        writer
            .producers
            .truncate_fully_and_start_at(offset)
            .map_err(|e| self.storage(e, "deleting producer snapshots of"))?;
        self.rebuild_producers_locked(writer, offset, now_ms)
    }

    fn rebuild_producers_locked(&self, writer: &mut Writer, end: i64, now_ms: i64) -> Result<(), LogError> {
        let segments = self.segments.load_full();
        let job = Rebuild {
            segments: &segments,
            tp: &self.tp,
            log_start_offset: self.log_start_offset(),
            end_offset: end,
            clean: false,
            now_ms,
        };
        rebuild_producers(&mut writer.producers, &job).map_err(|e| self.storage(e, "rebuilding producer state of"))?;
        self.refresh_first_unstable(writer);
        Ok(())
    }

    /// Renames the files of segments that left the list to `.deleted`, with their snapshots, and queues them.
    pub(super) fn delete_later(
        &self,
        writer: &mut Writer,
        segments: &[Arc<Segment>],
        now_ms: i64,
    ) -> Result<(), LogError> {
        let due_ms = now_ms.saturating_add(self.config.load().file_delete_delay_ms);
        for segment in segments {
            segment.mark_deleted().map_err(|e| self.storage(e, "deleting segments of"))?;
            let snapshot = writer.producers.mark_snapshot_deleted(segment.base_offset());
            let snapshot = snapshot.map_err(|e| self.storage(e, "deleting producer snapshots of"))?;
            let paths = snapshot.into_iter().collect();
            self.deletions.lock().push(Deletion { due_ms, segment: Some(Arc::clone(segment)), paths });
        }
        Ok(())
    }

    /// Moves the log start forward (DeleteRecords, retention, a follower copying its leader). Returns whether it moved;
    /// an offset above the high watermark is refused.
    pub fn increment_log_start_offset(&self, offset: i64, reason: &str) -> Result<bool, LogError> {
        if offset <= self.log_start_offset() {
            return Ok(false);
        }
        self.with_writer(|writer| self.increment_log_start_locked(writer, offset, reason))
    }

    pub(super) fn increment_log_start_locked(
        &self,
        writer: &mut Writer,
        offset: i64,
        reason: &str,
    ) -> Result<bool, LogError> {
        let high_watermark = self.high_watermark();
        if offset > high_watermark {
            return Err(LogError::OffsetOutOfRange(format!(
                "Cannot increment the log start offset to {offset} of partition {} since it is larger than the high watermark {high_watermark}",
                self.tp
            )));
        }
        if offset <= self.log_start_offset() {
            return Ok(false);
        }
        self.log_start_offset.store(offset, Ordering::Release);
        tracing::info!(target: LOGGER, "[UnifiedLog partition={}, dir={}] Incremented log start offset to {offset} due to {reason}", self.tp, self.log_dir.path().display());
        self.epochs.write().truncate_from_start(offset).map_err(|e| self.storage(e, "truncating leader epochs of"))?;
        writer.producers.on_log_start_incremented(offset);
        self.refresh_first_unstable(writer);
        Ok(true)
    }

    /// Unlinks what was deleted and has waited long enough; returns how many files' groups went.
    pub fn delete_expired(&self, now_ms: i64) -> Result<usize, LogError> {
        let due: Vec<Deletion> = {
            let mut queue = self.deletions.lock();
            let (due, rest) = std::mem::take(&mut *queue).into_iter().partition(|d| d.due_ms <= now_ms);
            *queue = rest;
            due
        };
        for deletion in &due {
            if let Some(segment) = &deletion.segment {
                segment.remove_files().map_err(|e| self.storage(e, "deleting segments of"))?;
            }
            for path in &deletion.paths {
                self.disk.remove_if_exists(path).map_err(|e| self.storage(e, "deleting segments of"))?;
            }
        }
        Ok(due.len())
    }

    /// When the next unlinking is due, milliseconds since the epoch.
    pub fn next_deletion_ms(&self) -> Option<i64> {
        self.deletions.lock().iter().map(|d| d.due_ms).min()
    }

    pub(super) fn base_offsets(segments: &[Arc<Segment>]) -> BTreeSet<i64> {
        segments.iter().map(|s| s.base_offset()).collect()
    }
}
