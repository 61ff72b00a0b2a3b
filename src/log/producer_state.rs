//! The producers of one log: who wrote what last (duplicates, sequences, epochs), which transactions are open or ended
//! but not yet below the high watermark, and the snapshot files that spare a scan after a restart.
//!
//! Answers to Kafka's `ProducerStateManager`. Owns the table and the `.snapshot` files. Not synchronized: it is part
//! of what the log's lock guards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::location::{LogLocation, offset_file_name};
use super::producer_entry::{CompletedTxn, ProducerEntry, ProducerUpdate};
use super::producer_snapshot;
use crate::topic::TopicPartition;
use crate::util::crashsafe;
use crate::util::disk::{Disk, OpenMode};

pub const SNAPSHOT_SUFFIX: &str = ".snapshot";
const LOGGER: &str = "org.apache.kafka.storage.internals.log.ProducerStateManager";
/// A transaction is late when it is open this much longer than the longest allowed.
const LATE_TRANSACTION_BUFFER_MS: i64 = 5 * 60 * 1000;

/// Broker-wide settings of producer state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStateConfig {
    /// `producer.id.expiration.ms`
    pub expiration_ms: i64,
    /// `transaction.max.timeout.ms`
    pub max_transaction_timeout_ms: i64,
    /// `transaction.partition.verification.enable`; the caller then must verify transactions before it appends.
    pub verification_enabled: bool,
}

impl Default for ProducerStateConfig {
    fn default() -> Self {
        ProducerStateConfig {
            expiration_ms: 86_400_000,
            max_transaction_timeout_ms: 900_000,
            verification_enabled: false,
        }
    }
}

/// Proof that the transaction coordinator confirmed a producer's transaction; unique per verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationGuard(u64);

#[derive(Debug)]
struct Verification {
    timestamp: i64,
    guard: VerificationGuard,
    lowest_sequence: i32,
    epoch: i16,
}

#[derive(Clone, Copy, Debug)]
struct Unreplicated {
    last_offset: i64,
}

#[derive(Debug)]
pub struct ProducerState {
    disk: Arc<dyn Disk>,
    location: Arc<LogLocation>,
    tp: TopicPartition,
    config: ProducerStateConfig,
    producers: HashMap<i64, ProducerEntry>,
    /// Open transactions: first offset to producer id.
    ongoing: BTreeMap<i64, i64>,
    /// Ended transactions whose marker may not be replicated yet, by first offset.
    unreplicated: BTreeMap<i64, Unreplicated>,
    verifications: HashMap<i64, Verification>,
    next_guard: u64,
    snapshots: BTreeSet<i64>,
    map_end_offset: i64,
    last_snapshot_offset: i64,
}

impl ProducerState {
    /// Empty state that knows which snapshot files exist.
    pub fn open(
        disk: Arc<dyn Disk>,
        location: Arc<LogLocation>,
        tp: TopicPartition,
        config: ProducerStateConfig,
    ) -> io::Result<ProducerState> {
        let mut state = ProducerState {
            disk,
            location,
            tp,
            config,
            producers: HashMap::new(),
            ongoing: BTreeMap::new(),
            unreplicated: BTreeMap::new(),
            verifications: HashMap::new(),
            next_guard: 1,
            snapshots: BTreeSet::new(),
            map_end_offset: 0,
            last_snapshot_offset: 0,
        };
        state.snapshots = state.list_snapshots()?;
        Ok(state)
    }

    fn list_snapshots(&self) -> io::Result<BTreeSet<i64>> {
        let items = self.disk.list(&self.location.dir())?;
        Ok(items
            .iter()
            .filter(|i| !i.is_dir)
            .filter_map(|i| i.name.strip_suffix(SNAPSHOT_SUFFIX)?.parse().ok())
            .collect())
    }

    pub fn snapshot_path(&self, offset: i64) -> PathBuf {
        self.location.file(&offset_file_name(offset, SNAPSHOT_SUFFIX))
    }

    pub fn config(&self) -> ProducerStateConfig {
        self.config
    }

    pub fn entry(&self, producer_id: i64) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id)
    }

    pub fn producers(&self) -> &HashMap<i64, ProducerEntry> {
        &self.producers
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty() && self.unreplicated.is_empty()
    }

    pub fn map_end_offset(&self) -> i64 {
        self.map_end_offset
    }

    pub fn set_map_end_offset(&mut self, offset: i64) {
        self.map_end_offset = offset;
    }

    pub fn snapshots(&self) -> &BTreeSet<i64> {
        &self.snapshots
    }

    /// Begins an update of one producer; nothing changes until `apply`.
    pub fn prepare(&self, producer_id: i64) -> ProducerUpdate {
        let lowest = self.verifications.get(&producer_id).map(|v| v.lowest_sequence);
        ProducerUpdate::new(producer_id, self.producers.get(&producer_id), lowest)
    }

    pub fn apply(&mut self, update: &ProducerUpdate) {
        self.producers
            .entry(update.producer_id)
            .and_modify(|entry| entry.merge(&update.updated))
            .or_insert(update.updated);
        if let Some(first_offset) = update.started_txn {
            self.ongoing.insert(first_offset, update.producer_id);
        }
    }

    /// The last stable offset right behind a completed transaction.
    pub fn last_stable_offset_after(&self, txn: &CompletedTxn) -> i64 {
        let next_open = self.ongoing.iter().find(|(_, id)| **id != txn.producer_id);
        next_open.map_or(txn.last_offset + 1, |(first_offset, _)| *first_offset)
    }

    /// Moves a transaction from the open ones to the unreplicated ones.
    pub fn complete(&mut self, txn: &CompletedTxn) {
        if self.ongoing.remove(&txn.first_offset).is_none() {
            tracing::error!(target: LOGGER, "Attempted to complete transaction {txn:?} on partition {} which was not started", self.tp);
            return;
        }
        self.unreplicated.insert(txn.first_offset, Unreplicated { last_offset: txn.last_offset });
    }

    /// First offset that is not yet decided and replicated.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        let open = self.ongoing.first_key_value().map(|(offset, _)| *offset);
        let ended = self.unreplicated.first_key_value().map(|(offset, _)| *offset);
        match (open, ended) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// First offset of the oldest open transaction.
    pub fn first_undecided_offset(&self) -> Option<i64> {
        self.ongoing.first_key_value().map(|(offset, _)| *offset)
    }

    pub fn on_high_watermark(&mut self, high_watermark: i64) {
        self.unreplicated.retain(|_, t| t.last_offset >= high_watermark);
    }

    pub fn on_log_start_incremented(&mut self, log_start_offset: i64) {
        self.on_high_watermark(log_start_offset);
        self.map_end_offset = self.map_end_offset.max(log_start_offset);
        self.last_snapshot_offset = self.snapshots.last().copied().unwrap_or(log_start_offset);
    }

    /// True when the oldest open transaction is open for too long.
    pub fn has_late_transaction(&self, now_ms: i64) -> bool {
        let oldest = self.ongoing.first_key_value().and_then(|(_, id)| self.producers.get(id));
        oldest.is_some_and(|entry| {
            entry.last_timestamp > 0
                && now_ms - entry.last_timestamp > self.config.max_transaction_timeout_ms + LATE_TRANSACTION_BUFFER_MS
        })
    }

    fn is_expired(&self, entry: &ProducerEntry, now_ms: i64) -> bool {
        entry.current_txn_first_offset.is_none()
            && now_ms.saturating_sub(entry.last_timestamp) >= self.config.expiration_ms
    }

    /// Forgets producers and verifications that were idle too long.
    pub fn remove_expired(&mut self, now_ms: i64) {
        let expiration_ms = self.config.expiration_ms;
        self.producers.retain(|_, entry| {
            entry.current_txn_first_offset.is_some() || now_ms.saturating_sub(entry.last_timestamp) < expiration_ms
        });
        self.verifications.retain(|_, v| now_ms.saturating_sub(v.timestamp) < expiration_ms);
    }

    pub fn has_open_transaction(&self, producer_id: i64) -> bool {
        self.producers.get(&producer_id).is_some_and(|e| e.current_txn_first_offset.is_some())
    }

    /// The guard for a producer whose transaction must be verified first; `None` when it already has one open here.
    pub fn start_verification(
        &mut self,
        producer_id: i64,
        sequence: i32,
        epoch: i16,
        now_ms: i64,
    ) -> Option<VerificationGuard> {
        if self.has_open_transaction(producer_id) {
            return None;
        }
        let next_guard = &mut self.next_guard;
        let entry = self.verifications.entry(producer_id).or_insert_with(|| {
            *next_guard += 1;
            Verification { timestamp: now_ms, guard: VerificationGuard(*next_guard), lowest_sequence: sequence, epoch }
        });
        if epoch > entry.epoch {
            entry.epoch = epoch;
            entry.lowest_sequence = sequence;
        } else if epoch == entry.epoch {
            entry.lowest_sequence = entry.lowest_sequence.min(sequence);
        }
        Some(entry.guard)
    }

    /// Whether `guard` is the one that was handed out for the producer's present verification.
    pub fn is_verified(&self, producer_id: i64, guard: Option<VerificationGuard>) -> bool {
        guard.is_some_and(|g| self.verifications.get(&producer_id).is_some_and(|v| v.guard == g))
    }

    pub fn clear_verification(&mut self, producer_id: i64) {
        self.verifications.remove(&producer_id);
    }

    /// Writes a snapshot at the map end offset unless there is one that new. Returns its path when it wrote.
    pub fn take_snapshot(&mut self, sync: bool) -> io::Result<Option<PathBuf>> {
        if self.map_end_offset <= self.last_snapshot_offset {
            return Ok(None);
        }
        let path = self.snapshot_path(self.map_end_offset);
        let file = self.disk.open(&path, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_at(&[&producer_snapshot::encode(self.producers.iter().map(|(id, entry)| (*id, entry)))], 0)?;
        if sync {
            file.sync()?;
        }
        self.snapshots.insert(self.map_end_offset);
        self.last_snapshot_offset = self.map_end_offset;
        Ok(Some(path))
    }

    fn delete_snapshot(&mut self, offset: i64) -> io::Result<()> {
        self.snapshots.remove(&offset);
        self.disk.remove_if_exists(&self.snapshot_path(offset)).map(|_| ())
    }

    /// Renames the snapshot at `offset` to `.deleted`; the path to remove later.
    pub fn mark_snapshot_deleted(&mut self, offset: i64) -> io::Result<Option<PathBuf>> {
        if !self.snapshots.remove(&offset) {
            return Ok(None);
        }
        let path = self.snapshot_path(offset);
        let deleted = crashsafe::with_suffix(&path, ".deleted");
        match self.disk.rename(&path, &deleted) {
            Ok(()) => Ok(Some(deleted)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Keeps the snapshots at segment bases and the newest other one, if that is beyond the last segment's base.
    pub fn remove_stray_snapshots(&mut self, segment_bases: &BTreeSet<i64>) -> io::Result<()> {
        self.snapshots = self.list_snapshots()?;
        let stray: Vec<i64> = self.snapshots.difference(segment_bases).copied().collect();
        let keep = stray.last().copied().filter(|s| segment_bases.last().is_none_or(|base| s > base));
        for offset in stray {
            if Some(offset) != keep {
                self.delete_snapshot(offset)?;
            }
        }
        Ok(())
    }

    /// Makes the state that of `log_end_offset`, as far as snapshots reach; the caller scans the log from
    /// `map_end_offset` on.
    pub fn truncate_and_reload(&mut self, log_start_offset: i64, log_end_offset: i64, now_ms: i64) -> io::Result<()> {
        let out_of_range: Vec<i64> =
            self.snapshots.iter().copied().filter(|s| *s > log_end_offset || *s <= log_start_offset).collect();
        for offset in out_of_range {
            self.delete_snapshot(offset)?;
        }
        if log_end_offset == self.map_end_offset {
            self.on_log_start_incremented(log_start_offset);
            return Ok(());
        }
        self.producers.clear();
        self.ongoing.clear();
        // What is truncated to is at or below the high watermark.
        self.unreplicated.clear();
        self.load_from_snapshot(log_start_offset, now_ms)
    }

    fn load_from_snapshot(&mut self, log_start_offset: i64, now_ms: i64) -> io::Result<()> {
        while let Some(offset) = self.snapshots.last().copied() {
            let path = self.snapshot_path(offset);
            match producer_snapshot::decode(&self.disk.read(&path)?) {
                Ok(entries) => {
                    for (producer_id, entry) in entries {
                        if !self.is_expired(&entry, now_ms) {
                            self.load_entry(producer_id, entry);
                        }
                    }
                    self.last_snapshot_offset = offset;
                    self.map_end_offset = offset;
                    return Ok(());
                }
                Err(e) => {
                    tracing::warn!(target: LOGGER, "Failed to load producer snapshot from '{}': {e}", path.display());
                    self.delete_snapshot(offset)?;
                }
            }
        }
        self.last_snapshot_offset = log_start_offset;
        self.map_end_offset = log_start_offset;
        Ok(())
    }

    fn load_entry(&mut self, producer_id: i64, entry: ProducerEntry) {
        if let Some(first_offset) = entry.current_txn_first_offset {
            self.ongoing.insert(first_offset, producer_id);
        }
        self.producers.insert(producer_id, entry);
    }

    /// Forgets everything, snapshots included.
    pub fn truncate_fully_and_start_at(&mut self, offset: i64) -> io::Result<()> {
        self.producers.clear();
        self.ongoing.clear();
        self.unreplicated.clear();
        for snapshot in std::mem::take(&mut self.snapshots) {
            self.delete_snapshot(snapshot)?;
        }
        self.last_snapshot_offset = 0;
        self.map_end_offset = offset;
        Ok(())
    }
}
