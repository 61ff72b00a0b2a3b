//! One replica's log: its offsets, its segments, and the lock that orders whoever changes them.
//!
//! Answers to Kafka's `UnifiedLog` and `LocalLog`. What it does is spread over the files of this module: `append`,
//! `read`, `roll`, `truncation`, `retention`, `flush`, `offsets_by_time`, `loader`; here are its parts, the offsets and
//! the high watermark.
//!
//! State and locks: writers (append, roll, truncate, delete) hold `writer`, one mutex per log. Readers take none: the
//! segment list is swapped whole and the offsets are atomics. A writer publishes the log end offset before the size of
//! the active segment, so a reader that sees bytes also sees offsets that cover them. Lock order: `writer`, `epochs`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::append::append_rules;
use super::epoch_cache::EpochCache;
use super::error::LogError;
use super::location::LogLocation;
use super::log_dir::LogDir;
use super::partition_metadata::{self, PARTITION_METADATA_FILE};
use super::producer_entry::{ProducerEntry, ProducerUpdate};
use super::producer_state::{ProducerState, VerificationGuard};
use super::segment::{Segment, SegmentSettings};
use crate::config::LogConfig;
use crate::record::validate::AppendRules;
use crate::topic::{self, TopicPartition};
use crate::util::disk::Disk;

pub(super) const LOGGER: &str = "kafka.log.UnifiedLog";
/// Value of `first_unstable` when every transaction is decided and replicated.
pub(super) const NO_UNSTABLE_OFFSET: i64 = i64::MAX;

/// Runs work that may block for long, off the threads that serve clients. In a simulation it may run at once.
pub type Background = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// What only the holder of the writer lock may touch.
#[derive(Debug)]
pub(super) struct Writer {
    pub producers: ProducerState,
    /// Scratch of one append, kept for its capacity.
    pub updates: Vec<ProducerUpdate>,
    /// A topic id that is not in the file yet.
    pub unwritten_topic_id: Option<Uuid>,
    /// Set by a roll: flush up to this offset, and this snapshot, once the lock is released.
    pub flush_request: Option<FlushRequest>,
}

#[derive(Debug)]
pub(super) struct FlushRequest {
    pub up_to: i64,
    pub snapshot: Option<PathBuf>,
}

/// Files to unlink when their time has come.
#[derive(Debug)]
pub(super) struct Deletion {
    pub due_ms: i64,
    pub segment: Option<Arc<Segment>>,
    pub paths: Vec<PathBuf>,
}

/// Progress of a transaction's producer, as DescribeProducers reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub last_sequence: i32,
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    /// -1 when no transaction is open.
    pub current_txn_start_offset: i64,
}

/// One replica's log. Always in an `Arc`.
pub struct PartitionLog {
    pub(super) this: Weak<PartitionLog>,
    pub(super) tp: TopicPartition,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) location: Arc<LogLocation>,
    pub(super) log_dir: Arc<LogDir>,
    pub(super) background: Background,
    pub(super) config: ArcSwap<LogConfig>,
    /// What appends check, made from `config`.
    pub(super) rules: ArcSwap<AppendRules>,
    /// Ascending by base offset, never empty; the last one is active.
    pub(super) segments: ArcSwap<Vec<Arc<Segment>>>,
    pub(super) log_start_offset: AtomicI64,
    pub(super) log_end_offset: AtomicI64,
    pub(super) high_watermark: AtomicI64,
    pub(super) first_unstable: AtomicI64,
    pub(super) recovery_point: AtomicI64,
    /// How often it was cut back: what was flushed meanwhile may not be what is there now.
    pub(super) truncations: AtomicU64,
    pub(super) last_flush_ms: AtomicI64,
    pub(super) is_future: AtomicBool,
    /// Takes no more writes, and its files may vanish.
    pub(super) closed: AtomicBool,
    pub(super) topic_id: RwLock<Option<Uuid>>,
    pub(super) epochs: RwLock<EpochCache>,
    pub(super) writer: Mutex<Writer>,
    pub(super) deletions: Mutex<Vec<Deletion>>,
}

impl std::fmt::Debug for PartitionLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Log(dir={}, topic={}, partition={}, highWatermark={}, lastStableOffset={}, logStartOffset={}, logEndOffset={})",
            self.dir().display(),
            self.tp.topic,
            self.tp.partition,
            self.high_watermark(),
            self.last_stable_offset(),
            self.log_start_offset(),
            self.log_end_offset()
        )
    }
}

impl PartitionLog {
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.tp
    }

    /// The partition directory, as it is named now.
    pub fn dir(&self) -> PathBuf {
        self.location.dir()
    }

    /// The `log.dirs` entry it is in.
    pub fn log_dir(&self) -> &Arc<LogDir> {
        &self.log_dir
    }

    /// True while the log is the target of a move between log dirs.
    pub fn is_future(&self) -> bool {
        self.is_future.load(Ordering::Acquire)
    }

    pub fn config(&self) -> Arc<LogConfig> {
        self.config.load_full()
    }

    pub fn set_config(&self, config: Arc<LogConfig>) {
        self.rules.store(Arc::new(append_rules(&config)));
        self.config.store(config);
    }

    /// First offset that readers may have.
    pub fn log_start_offset(&self) -> i64 {
        self.log_start_offset.load(Ordering::Acquire)
    }

    /// The next offset to be assigned.
    pub fn log_end_offset(&self) -> i64 {
        self.log_end_offset.load(Ordering::Acquire)
    }

    /// Everything below is on all in-sync replicas.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// Everything below is replicated and belongs to no open transaction.
    pub fn last_stable_offset(&self) -> i64 {
        self.high_watermark().min(self.first_unstable.load(Ordering::Acquire)).max(self.log_start_offset())
    }

    /// Everything below is on the device.
    pub fn recovery_point(&self) -> i64 {
        self.recovery_point.load(Ordering::Acquire)
    }

    /// Sets the high watermark, kept between log start and log end; returns what it became. May move it back: for
    /// followers and start-up.
    pub fn set_high_watermark(&self, offset: i64) -> i64 {
        let new = offset.min(self.log_end_offset()).max(self.log_start_offset());
        self.high_watermark.store(new, Ordering::Release);
        self.settle_transactions(new);
        new
    }

    /// Moves the high watermark forward, never back and never past the log end. Returns the old one if it moved.
    pub fn maybe_increment_high_watermark(&self, offset: i64) -> Option<i64> {
        let new = offset.min(self.log_end_offset());
        let old = self.high_watermark.fetch_max(new, Ordering::AcqRel);
        (old < new).then(|| {
            self.settle_transactions(new);
            old
        })
    }

    /// Forgets the transactions whose markers are below the high watermark. Logs without any pay one load.
    fn settle_transactions(&self, high_watermark: i64) {
        if self.first_unstable.load(Ordering::Acquire) != NO_UNSTABLE_OFFSET {
            let mut writer = self.writer.lock();
            writer.producers.on_high_watermark(high_watermark);
            self.refresh_first_unstable(&writer);
        }
    }

    /// Publishes the first unstable offset; call after any change of the open transactions.
    pub(super) fn refresh_first_unstable(&self, writer: &Writer) {
        let first = writer.producers.first_unstable_offset();
        let first = first.map_or(NO_UNSTABLE_OFFSET, |offset| offset.max(self.log_start_offset()));
        self.first_unstable.store(first, Ordering::Release);
    }

    /// Runs `work` under the writer lock, then starts what it left to do without the lock.
    pub(super) fn with_writer<R>(&self, work: impl FnOnce(&mut Writer) -> Result<R, LogError>) -> Result<R, LogError> {
        let (result, request) = {
            let mut writer = self.writer.lock();
            if self.is_closed() {
                return Err(LogError::Closed(self.tp.clone()));
            }
            self.log_dir.check()?;
            let result = work(&mut writer);
            (result, writer.flush_request.take())
        };
        self.start_flush(request);
        result
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What a failed system call means: the dir is broken, unless the log was deleted under whoever works on it.
    pub(super) fn storage(&self, error: std::io::Error, what: &str) -> LogError {
        if error.kind() == std::io::ErrorKind::NotFound && self.is_closed() {
            return LogError::Closed(self.tp.clone());
        }
        self.log_dir.storage(error, || format!("Error while {what} {}", self.tp))
    }

    /// The epoch of the last leader that wrote here.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.read().latest().map(|e| e.epoch)
    }

    /// The epochs of this log with their first offsets, ascending.
    pub fn epoch_entries(&self) -> Vec<(i32, i64)> {
        self.epochs.read().entries().iter().map(|e| (e.epoch, e.start_offset)).collect()
    }

    /// The epoch that wrote `offset`, if known.
    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        self.epochs.read().epoch_for_offset(offset)
    }

    /// (epoch found, where it ends) for OffsetsForLeaderEpoch; (-1, -1) when undefined.
    pub fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64) {
        self.epochs.read().end_offset_for(epoch, self.log_end_offset())
    }

    /// Notes that a leader of `epoch` begins at the log end. What was noted in several logs goes to the device by one
    /// [`PartitionLog::sync_epochs_later`].
    pub fn assign_epoch_start(&self, epoch: i32) -> Result<(), LogError> {
        self.note_epoch_start(epoch, self.log_end_offset()).map(|_| ())
    }

    /// Notes that `epoch` begins at `start_offset`, if that is news, and has it forced to the device in the background:
    /// nothing that appends waits for it.
    pub(super) fn assign_epoch(&self, epoch: i32, start_offset: i64) -> Result<(), LogError> {
        if self.note_epoch_start(epoch, start_offset)?
            && let Some(log) = self.this.upgrade()
        {
            PartitionLog::sync_epochs_later(vec![log]);
        }
        Ok(())
    }

    fn note_epoch_start(&self, epoch: i32, start_offset: i64) -> Result<bool, LogError> {
        if self.epochs.read().covers(epoch, start_offset) {
            return Ok(false);
        }
        let assigned = self.epochs.write().assign(epoch, start_offset);
        assigned.map_err(|e| self.storage(e, "writing leader epochs of")).map(|()| true)
    }

    /// Forces the leader epochs of these logs to the device, one after the other, in the background.
    pub fn sync_epochs_later(logs: Vec<Arc<PartitionLog>>) {
        let Some(background) = logs.first().map(|log| Arc::clone(&log.background)) else { return };
        background(Box::new(move || {
            for log in &logs {
                match log.sync_epochs() {
                    Ok(_) => {}
                    // Deleted or renamed meanwhile.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    // Logged where the dir goes offline.
                    Err(e) => drop(log.storage(e, "writing leader epochs of")),
                }
            }
        }));
    }

    /// Forces the leader epochs to the device, if they are not there yet; returns whether they were not.
    pub(super) fn sync_epochs(&self) -> std::io::Result<bool> {
        let unsynced = self.epochs.read().unsynced();
        let Some((path, written)) = unsynced else { return Ok(false) };
        self.disk.open(&path, crate::util::disk::OpenMode::Write)?.sync()?;
        // The file took its place by a rename.
        self.disk.sync_dir(&self.dir())?;
        self.epochs.write().synced(written);
        Ok(true)
    }

    pub fn topic_id(&self) -> Option<Uuid> {
        *self.topic_id.read()
    }

    /// Sets the topic id once and writes it down. Another id than the one known is refused.
    pub fn set_topic_id(&self, id: Uuid) -> Result<(), LogError> {
        if let Some(found) = self.topic_id() {
            if found == id {
                return Ok(());
            }
            return Err(LogError::InconsistentTopicId {
                tp: self.tp.clone(),
                expected: topic::id_to_text(id),
                found: topic::id_to_text(found),
            });
        }
        self.with_writer(|writer| {
            *self.topic_id.write() = Some(id);
            writer.unwritten_topic_id = Some(id);
            self.write_topic_id(writer)
        })
    }

    pub(super) fn write_topic_id(&self, writer: &mut Writer) -> Result<(), LogError> {
        if let Some(id) = writer.unwritten_topic_id {
            partition_metadata::write(&*self.disk, &self.location.file(PARTITION_METADATA_FILE), id)
                .map_err(|e| self.storage(e, "writing partition metadata of"))?;
            writer.unwritten_topic_id = None;
        }
        Ok(())
    }

    /// Bytes of all segments' batches.
    pub fn size(&self) -> u64 {
        self.segments.load().iter().map(|s| s.size()).sum()
    }

    pub fn segment_count(&self) -> usize {
        self.segments.load().len()
    }

    /// The segments, ascending; a snapshot.
    pub fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.load_full()
    }

    pub fn active_segment(&self) -> Arc<Segment> {
        let segments = self.segments.load();
        // Never empty: every change of the list keeps or adds an active segment.
        Arc::clone(&segments[segments.len() - 1])
    }

    pub(super) fn segment_settings(&self) -> SegmentSettings {
        segment_settings(&self.config.load())
    }

    /// The producers this log knows.
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        let active = |(producer_id, entry): (&i64, &ProducerEntry)| ActiveProducer {
            producer_id: *producer_id,
            producer_epoch: entry.epoch,
            last_sequence: entry.last_seq(),
            last_timestamp: entry.last_timestamp,
            coordinator_epoch: entry.coordinator_epoch,
            current_txn_start_offset: entry.current_txn_first_offset.unwrap_or(-1),
        };
        self.writer.lock().producers.producers().iter().map(active).collect()
    }

    /// The guard to append a transaction's first batch with, `None` when the transaction is open here already. The
    /// coordinator must confirm the transaction between this call and the append.
    pub fn maybe_start_transaction_verification(
        &self,
        producer_id: i64,
        sequence: i32,
        epoch: i16,
        now_ms: i64,
    ) -> Option<VerificationGuard> {
        self.writer.lock().producers.start_verification(producer_id, sequence, epoch, now_ms)
    }

    pub fn has_ongoing_transaction(&self, producer_id: i64) -> bool {
        self.writer.lock().producers.has_open_transaction(producer_id)
    }

    /// True when a transaction is open longer than any may be.
    pub fn has_late_transaction(&self, now_ms: i64) -> bool {
        self.first_unstable.load(Ordering::Acquire) != NO_UNSTABLE_OFFSET
            && self.writer.lock().producers.has_late_transaction(now_ms)
    }

    /// Forgets idle producers (`producer.id.expiration.ms`).
    pub fn remove_expired_producers(&self, now_ms: i64) {
        self.writer.lock().producers.remove_expired(now_ms);
    }
}

pub(super) fn segment_settings(config: &LogConfig) -> SegmentSettings {
    let jitter = config.segment_jitter_ms.min(config.segment_ms).max(0);
    SegmentSettings {
        index_interval_bytes: u32::try_from(config.index_interval_bytes).unwrap_or(0),
        segment_index_bytes: usize::try_from(config.segment_index_bytes).unwrap_or(0),
        roll_jitter_ms: if jitter == 0 { 0 } else { rand::random_range(0..jitter) },
    }
}

/// The index of the last segment whose base is at or below `offset`.
pub(super) fn floor_segment(segments: &[Arc<Segment>], offset: i64) -> Option<usize> {
    segments.partition_point(|s| s.base_offset() <= offset).checked_sub(1)
}
