//! Rolling to a new segment, and flushing what is behind.
//!
//! Answers to Kafka's `UnifiedLog.roll`, `flush` and `LocalLog.roll`. Rolling runs under the writer lock and forces
//! nothing to the device; the flush of what it finished runs in the background.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::LogError;
use super::partition_log::{FlushRequest, LOGGER, PartitionLog, Writer, floor_segment};
use super::segment::Segment;

impl PartitionLog {
    /// Closes the active segment and opens a new one at `max(expected, log end)`.
    pub(super) fn roll(
        &self,
        writer: &mut Writer,
        expected: Option<i64>,
        now_ms: i64,
    ) -> Result<Arc<Segment>, LogError> {
        let base = expected.unwrap_or(0).max(self.log_end_offset());
        let segments = self.segments.load_full();
        let active = self.active_segment();
        let mut kept: &[Arc<Segment>] = &segments;
        if active.base_offset() >= base {
            if active.base_offset() > base || active.size() > 0 {
                return Err(LogError::Invalid(format!(
                    "Trying to roll a new log segment for topic partition {} with start offset {base} while it already exists. Existing segment is {} of {} bytes.",
                    self.tp,
                    active.base_offset(),
                    active.size()
                )));
            }
            // An empty active segment whose index is full, say: made anew.
            kept = &segments[..segments.len() - 1];
            active.close();
        } else {
            active.on_become_inactive().map_err(|e| self.storage(e, "rolling log segment of"))?;
        }
        let segment = self.create_segment(base, now_ms).map_err(|e| self.storage(e, "rolling log segment of"))?;
        let mut list = kept.to_vec();
        list.push(Arc::clone(&segment));
        self.segments.store(Arc::new(list));
        writer.producers.set_map_end_offset(base);
        let snapshot =
            writer.producers.take_snapshot(false).map_err(|e| self.storage(e, "writing a producer snapshot of"))?;
        tracing::info!(target: "kafka.log.LocalLog", "[LocalLog partition={}, dir={}] Rolled new log segment at offset {base}", self.tp, self.log_dir.path().display());
        writer.flush_request = Some(FlushRequest { up_to: base, snapshot });
        Ok(segment)
    }

    pub(super) fn create_segment(&self, base: i64, now_ms: i64) -> io::Result<Arc<Segment>> {
        let config = self.config.load();
        let preallocate = config.preallocate.then(|| u64::try_from(config.segment_bytes).unwrap_or(0));
        let settings = self.segment_settings();
        Segment::create(&self.disk, &self.location, base, preallocate, settings, now_ms).map(Arc::new)
    }

    /// Starts the flush a roll asked for; never under the writer lock.
    pub(super) fn start_flush(&self, request: Option<FlushRequest>) {
        let (Some(request), Some(log)) = (request, self.this.upgrade()) else { return };
        (self.background)(Box::new(move || {
            if let Some(path) = &request.snapshot {
                log.flush_snapshot(path);
            }
            // Failures are logged where the dir goes offline.
            let _ = log.flush_up_to(request.up_to);
        }));
    }

    fn flush_snapshot(&self, path: &Path) {
        let synced = self.disk.open(path, crate::util::disk::OpenMode::Write).and_then(|file| file.sync());
        match synced {
            Ok(()) => {}
            // Deleted meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => {
                self.storage(e, "flushing a producer snapshot of");
            }
        }
    }

    /// Forces everything below the log end to the device.
    pub fn flush(&self) -> Result<(), LogError> {
        self.flush_up_to(self.log_end_offset())
    }

    /// Forces everything below `offset` to the device and moves the recovery point there. Does not hold the lock
    /// while the device works.
    pub fn flush_up_to(&self, offset: i64) -> Result<(), LogError> {
        let from = self.recovery_point();
        if offset <= from {
            return Ok(());
        }
        self.log_dir.check()?;
        let truncations = self.truncations.load(Ordering::Acquire);
        // First: recovery finds no epochs in what lies below the recovery point.
        let flushed = self.sync_epochs().and_then(|_| self.flush_segments(from, offset));
        flushed.map_err(|e| self.storage(e, "flushing log"))?;
        self.with_writer(|_| {
            // After a truncation, other batches may be where the flushed ones were.
            if self.truncations.load(Ordering::Acquire) == truncations {
                self.recovery_point.fetch_max(offset, Ordering::AcqRel);
            }
            Ok(())
        })
    }

    pub(super) fn flush_segments(&self, from: i64, to: i64) -> io::Result<()> {
        let segments = self.segments.load_full();
        let first = floor_segment(&segments, from).unwrap_or(0);
        let mut new_files = false;
        for segment in segments[first..].iter().filter(|s| s.base_offset() < to) {
            new_files |= segment.flush()? && segment.base_offset() >= from;
        }
        if new_files {
            self.disk.sync_dir(&self.dir())?;
        }
        Ok(())
    }

    /// Forces whatever is not on the device yet, below the recovery point too (a trimmed index, say).
    fn flush_everything(&self) -> io::Result<()> {
        let mut any = self.sync_epochs()?;
        for segment in self.segments.load().iter() {
            any |= segment.flush()?;
        }
        if any { self.disk.sync_dir(&self.dir()) } else { Ok(()) }
    }

    /// Milliseconds since the epoch of the last flush by `flush_if_due`.
    pub fn last_flush_ms(&self) -> i64 {
        self.last_flush_ms.load(Ordering::Relaxed)
    }

    /// Flushes when the last flush is longer ago than `flush.ms`.
    pub fn flush_if_due(&self, now_ms: i64) -> Result<(), LogError> {
        let waited = now_ms.saturating_sub(self.last_flush_ms());
        if waited < self.config.load().flush_ms {
            return Ok(());
        }
        self.last_flush_ms.store(now_ms, Ordering::Relaxed);
        self.flush()
    }

    /// Writes everything down as a clean stop wants it: indexes and files cut to size, a producer snapshot at the log
    /// end, all of it on the device. The log takes no more writes.
    pub fn close(&self) -> Result<(), LogError> {
        let done = self.with_writer(|writer| {
            self.write_topic_id(writer)?;
            let end = self.log_end_offset();
            writer.producers.set_map_end_offset(end);
            writer.producers.take_snapshot(true).map_err(|e| self.storage(e, "writing a producer snapshot of"))?;
            self.active_segment().on_become_inactive().map_err(|e| self.storage(e, "closing log"))?;
            self.flush_everything().map_err(|e| self.storage(e, "flushing log"))?;
            self.recovery_point.store(end, Ordering::Release);
            self.closed.store(true, Ordering::Release);
            Ok(())
        });
        for segment in self.segments.load().iter() {
            segment.close();
        }
        if done.is_err() {
            tracing::warn!(target: LOGGER, "Log of {} was not closed cleanly", self.tp);
        }
        done
    }

    /// Drops file handles that were not used since the last call; returns how many.
    pub fn close_idle_files(&self) -> usize {
        self.segments.load().iter().map(|s| s.close_idle()).sum()
    }

    /// Closes all handles without writing anything; the log takes no more writes.
    pub fn abandon(&self) {
        {
            // Whoever writes now finishes first.
            let _writer = self.writer.lock();
            self.closed.store(true, Ordering::Release);
        }
        for segment in self.segments.load().iter() {
            segment.close();
        }
    }
}
