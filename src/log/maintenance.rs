//! Periodic work over all logs, as plain functions for the broker's timers, and stopping cleanly.
//!
//! Answers to the scheduled tasks and `shutdown` of Kafka's `LogManager`. Everything here may block for long.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::checkpoint::{self, CLEANER_OFFSET_FILE, HIGH_WATERMARK_FILE, LOG_START_OFFSET_FILE, RECOVERY_POINT_FILE};
use super::dirs;
use super::error::LogError;
use super::manager::{DirDeletion, DirState, LOGGER, LogManager};
use super::partition_log::PartitionLog;
use crate::topic::TopicPartition;

impl LogManager {
    fn live_dirs(&self) -> impl Iterator<Item = &DirState> {
        self.dirs.iter().filter(|d| !d.dir.is_offline())
    }

    /// Retention of all logs that are not compacted (task `kafka-log-retention`). Returns how many segments went.
    pub fn cleanup_logs(&self, now_ms: i64) -> usize {
        let mut deleted = 0;
        for log in self.all_logs().iter().filter(|log| !log.config().cleanup_compact) {
            match log.delete_old_segments(now_ms) {
                Ok(count) => deleted += count,
                // The log went away meanwhile, or its dir did, which was logged there.
                Err(e) => tracing::debug!(target: LOGGER, "Retention of {} skipped: {e}", log.topic_partition()),
            }
        }
        deleted
    }

    /// Flushes logs whose last flush is longer ago than their `flush.ms` (task `kafka-log-flusher`).
    pub fn flush_pass(&self, now_ms: i64) {
        for log in self.all_logs() {
            if let Err(e) = log.flush_if_due(now_ms) {
                tracing::debug!(target: LOGGER, "Flush of {} skipped: {e}", log.topic_partition());
            }
        }
    }

    /// Forces what recovery found to the device and writes that down, so that a second crash does not have to recover it
    /// again. Kafka waits for its periodic checkpoint, and a broker that is killed again and again recovers ever more.
    pub fn keep_recovered(&self) {
        for log in self.all_logs() {
            if let Err(e) = log.flush() {
                tracing::debug!(target: LOGGER, "Flush of {} skipped: {e}", log.topic_partition());
            }
        }
        self.checkpoint_recovery_points();
    }

    /// Unlinks what was deleted long enough ago (task `kafka-delete-logs` and the segments' own delays).
    pub fn delete_expired(&self, now_ms: i64) {
        for log in self.all_logs() {
            if let Err(e) = log.delete_expired(now_ms) {
                tracing::debug!(target: LOGGER, "Deletion in {} skipped: {e}", log.topic_partition());
            }
        }
        let due: Vec<DirDeletion> = {
            let mut queue = self.to_delete.lock();
            let (due, rest) = std::mem::take(&mut *queue).into_iter().partition(|d| d.due_ms <= now_ms);
            *queue = rest;
            due
        };
        for deletion in due.into_iter().filter(|d| !d.dir.is_offline()) {
            if let Some(log) = &deletion.log {
                log.abandon();
            }
            match self.context.disk.remove_dir_all(&deletion.path) {
                Ok(()) => tracing::info!(target: LOGGER, "Deleted log for partition in {}.", deletion.path.display()),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    deletion.dir.storage(e, || format!("Exception while deleting {}", deletion.path.display()));
                }
            }
        }
    }

    /// When `delete_expired` next has something to do, milliseconds since the epoch.
    pub fn next_deletion_ms(&self) -> Option<i64> {
        let dirs = self.to_delete.lock().iter().map(|d| d.due_ms).min();
        let segments = self.all_logs().iter().filter_map(|log| log.next_deletion_ms()).min();
        match (dirs, segments) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Forgets idle producers of all logs.
    pub fn remove_expired_producers(&self, now_ms: i64) {
        for log in self.all_logs() {
            log.remove_expired_producers(now_ms);
        }
    }

    /// Closes files not used since the last call, so that a broker with many segments needs few descriptors.
    pub fn close_idle_files(&self) -> usize {
        self.all_logs().iter().map(|log| log.close_idle_files()).sum()
    }

    /// Task `kafka-recovery-point-checkpoint`.
    pub fn checkpoint_recovery_points(&self) {
        for dir in self.live_dirs() {
            // Failures take the dir offline and are logged there.
            let _ = self.checkpoint_recovery_points_in(dir);
        }
    }

    /// Task `kafka-log-start-offset-checkpoint`.
    pub fn checkpoint_log_starts(&self) {
        for dir in self.live_dirs() {
            let _ = self.checkpoint_log_starts_in(dir);
        }
    }

    pub(super) fn checkpoint_recovery_points_in(&self, dir: &DirState) -> Result<(), LogError> {
        let _ordered = dir.checkpointing.lock();
        let logs = self.logs_in(dir);
        self.write_checkpoint(dir, RECOVERY_POINT_FILE, logs.iter().map(|l| (l.topic_partition(), l.recovery_point())))
    }

    pub(super) fn checkpoint_log_starts_in(&self, dir: &DirState) -> Result<(), LogError> {
        let _ordered = dir.checkpointing.lock();
        let logs = self.logs_in(dir);
        let moved = logs.iter().filter(|l| l.segments()[0].base_offset() < l.log_start_offset());
        self.write_checkpoint(dir, LOG_START_OFFSET_FILE, moved.map(|l| (l.topic_partition(), l.log_start_offset())))
    }

    /// Takes a deleted partition out of the cleaner's checkpoint: a topic that is made again under its name has nothing
    /// that was cleaned. (A real Kafka left that file, and may have the directory again.)
    pub(super) fn forget_cleaned(&self, dir: &DirState, tp: &TopicPartition) -> Result<(), LogError> {
        let _ordered = dir.checkpointing.lock();
        let path = dir.dir.path().join(CLEANER_OFFSET_FILE);
        match checkpoint::read_offsets(&*self.context.disk, &path) {
            Ok(mut offsets) => match offsets.remove(tp) {
                Some(_) => self.write_checkpoint(dir, CLEANER_OFFSET_FILE, offsets.iter().map(|(tp, at)| (tp, *at))),
                None => Ok(()),
            },
            Err(e) => {
                tracing::warn!(target: LOGGER, "{tp} stays in {}, which cannot be read: {e}", path.display());
                Ok(())
            }
        }
    }

    /// Task `highwatermark-checkpoint`: writes the high watermarks of these logs, per dir.
    pub fn checkpoint_high_watermarks(&self, logs: impl IntoIterator<Item = Arc<PartitionLog>>) {
        let mut by_dir: Vec<HashMap<TopicPartition, i64>> = self.dirs.iter().map(|_| HashMap::new()).collect();
        for log in logs {
            let at = self.dirs.iter().position(|d| Arc::ptr_eq(&d.dir, log.log_dir()));
            if let Some(entries) = at.and_then(|at| by_dir.get_mut(at)) {
                entries.insert(log.topic_partition().clone(), log.high_watermark());
            }
        }
        for (dir, marks) in self.dirs.iter().zip(by_dir).filter(|(d, _)| !d.dir.is_offline()) {
            let mut known = dir.high_watermarks.lock();
            let written = self.write_checkpoint(dir, HIGH_WATERMARK_FILE, marks.iter().map(|(tp, mark)| (tp, *mark)));
            if written.is_ok() {
                *known = marks;
            }
        }
    }

    /// Closes all logs, writes the checkpoints and, where everything went well, the clean-shutdown marker; then lets go
    /// of the dirs.
    pub fn shutdown(&self) {
        tracing::info!(target: LOGGER, "Shutting down.");
        let _changing = self.changing.lock();
        self.closed.store(true, Ordering::Release);
        std::thread::scope(|scope| {
            for dir in self.live_dirs() {
                scope.spawn(|| self.shutdown_dir(dir));
            }
        });
        for dir in &self.dirs {
            *dir.lock.lock() = None;
        }
        tracing::info!(target: LOGGER, "Shutdown complete.");
    }

    fn shutdown_dir(&self, dir: &DirState) {
        let queue = Mutex::new(self.logs_in(dir));
        let failed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..self.threads_per_dir.max(1) {
                scope.spawn(|| {
                    while let Some(log) = { queue.lock().pop() } {
                        if let Err(e) = log.close() {
                            tracing::warn!(target: LOGGER, "There was an error in one of the threads during LogManager shutdown: {e}");
                            failed.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        if failed.load(Ordering::Relaxed) || self.checkpoint_dir(dir).is_err() {
            return;
        }
        if dir.had_clean_marker || dir.loaded {
            let written = dirs::write_clean_marker(&*self.context.disk, dir.dir.path());
            if let Err(e) = written {
                dir.dir.storage(e, || "Failed to write the clean shutdown file".into());
            }
        }
    }
}
