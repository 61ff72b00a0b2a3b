//! The offsets of one group: committed, being written, and waiting for the end of a transaction.
//!
//! Answers to the offset half of Kafka's `GroupMetadata`. Owned by `Group`, under its lock. An offset is visible only
//! once its record is in the log; which of two commits wins is decided by the offset of their batches in the log, so
//! that it does not matter in which order the writes are confirmed.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::records::OffsetAndMetadata;
use crate::topic::TopicPartition;

/// A commit whose record is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Base offset of its batch in `__consumer_offsets`.
    pub batch_offset: i64,
    pub value: OffsetAndMetadata,
}

/// A commit inside an open transaction; `batch_offset` is `None` until its record is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingTxnOffset {
    pub batch_offset: Option<i64>,
    pub value: OffsetAndMetadata,
}

/// Which offsets may expire, and from when their age counts.
#[derive(Debug)]
pub(super) enum ExpiryBase<'a> {
    /// The group has been without members since then.
    EmptySince(i64),
    /// Each offset from its own commit on.
    Commit,
    /// The same, but only for topics that no member reads.
    CommitUnless(&'a HashSet<Arc<str>>),
}

/// The offset cache.
#[derive(Debug, Default)]
pub struct GroupOffsets {
    committed: HashMap<TopicPartition, CommittedOffset>,
    pending: HashMap<TopicPartition, OffsetAndMetadata>,
    /// By producer id.
    pending_txn: BTreeMap<i64, HashMap<TopicPartition, PendingTxnOffset>>,
    received_consumer_commits: bool,
    received_txn_commits: bool,
}

impl GroupOffsets {
    /// What a load found in the log.
    pub(super) fn loaded(
        committed: HashMap<TopicPartition, CommittedOffset>,
        pending_txn: BTreeMap<i64, HashMap<TopicPartition, PendingTxnOffset>>,
    ) -> GroupOffsets {
        GroupOffsets { committed, pending_txn, ..GroupOffsets::default() }
    }

    /// The visible offset.
    pub fn get(&self, partition: &TopicPartition) -> Option<&OffsetAndMetadata> {
        self.committed.get(partition).map(|committed| &committed.value)
    }

    /// All visible offsets.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &OffsetAndMetadata)> {
        self.committed.iter().map(|(partition, committed)| (partition, &committed.value))
    }

    /// Number of visible offsets.
    pub fn len(&self) -> usize {
        self.committed.len()
    }

    /// True when there is nothing at all: no visible offset, none being written, none in a transaction.
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty() && self.pending_txn.is_empty()
    }

    /// Whether a commit for the partition is still undecided (`require_stable` asks).
    pub fn is_unstable(&self, partition: &TopicPartition) -> bool {
        self.pending.contains_key(partition) || self.pending_txn.values().any(|offsets| offsets.contains_key(partition))
    }

    /// False once both plain and transactional commits were seen in this generation, which calls for a warning.
    pub fn is_consistent(&self) -> bool {
        !(self.received_consumer_commits && self.received_txn_commits)
    }

    /// A new generation begins.
    pub(super) fn forget_commit_kinds(&mut self) {
        self.received_consumer_commits = false;
        self.received_txn_commits = false;
    }

    /// The commit's record is about to be written.
    pub fn prepare<'a>(&mut self, offsets: impl Iterator<Item = &'a (TopicPartition, OffsetAndMetadata)>) {
        self.received_consumer_commits = true;
        self.pending.extend(offsets.cloned());
    }

    /// The commit's record is in the log, in a batch at `batch_offset`.
    pub fn on_append(&mut self, partition: &TopicPartition, value: &OffsetAndMetadata, batch_offset: i64) {
        // No longer pending means that the topic was deleted meanwhile: then the offset stays gone.
        let Entry::Occupied(pending) = self.pending.entry(partition.clone()) else { return };
        if pending.get() == value {
            pending.remove();
        }
        insert_newer(&mut self.committed, partition, CommittedOffset { batch_offset, value: value.clone() });
    }

    /// The commit's record could not be written.
    pub fn on_append_failed(&mut self, partition: &TopicPartition, value: &OffsetAndMetadata) {
        if self.pending.get(partition) == Some(value) {
            self.pending.remove(partition);
        }
    }

    /// The record of a commit inside `producer_id`'s transaction is about to be written.
    pub fn prepare_txn<'a>(
        &mut self,
        producer_id: i64,
        offsets: impl Iterator<Item = &'a (TopicPartition, OffsetAndMetadata)>,
    ) {
        self.received_txn_commits = true;
        let pending = self.pending_txn.entry(producer_id).or_default();
        for (partition, value) in offsets {
            pending.insert(partition.clone(), PendingTxnOffset { batch_offset: None, value: value.clone() });
        }
    }

    /// The record of a commit inside a transaction is in the log.
    pub fn on_txn_append(
        &mut self,
        producer_id: i64,
        partition: &TopicPartition,
        value: &OffsetAndMetadata,
        batch_offset: i64,
    ) {
        let pending = self.pending_txn.get_mut(&producer_id).and_then(|offsets| offsets.get_mut(partition));
        if let Some(pending) = pending.filter(|pending| pending.value == *value) {
            pending.batch_offset = Some(batch_offset);
        }
    }

    /// The record of a commit inside a transaction could not be written.
    pub fn on_txn_append_failed(&mut self, producer_id: i64, partition: &TopicPartition) {
        if let Some(offsets) = self.pending_txn.get_mut(&producer_id) {
            offsets.remove(partition);
            if offsets.is_empty() {
                self.pending_txn.remove(&producer_id);
            }
        }
    }

    /// The transaction's marker is in the log: its offsets become visible, or are dropped.
    pub fn complete_txn(&mut self, producer_id: i64, commit: bool) {
        let Some(offsets) = self.pending_txn.remove(&producer_id) else { return };
        if !commit {
            return;
        }
        for (partition, pending) in offsets {
            // One without a batch offset was not confirmed before its transaction ended; its client got no success.
            if let Some(batch_offset) = pending.batch_offset {
                insert_newer(&mut self.committed, &partition, CommittedOffset { batch_offset, value: pending.value });
            }
        }
    }

    /// Producers with an open transaction that touches this group.
    pub fn open_producers(&self) -> impl Iterator<Item = i64> + '_ {
        self.pending_txn.keys().copied()
    }

    /// Whether `producer_id` has an open transaction here.
    pub fn has_open_producer(&self, producer_id: i64) -> bool {
        self.pending_txn.contains_key(&producer_id)
    }

    /// Forgets the partitions altogether; returns those that were visible and need a tombstone.
    pub fn remove(&mut self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let mut removed = Vec::new();
        for partition in partitions {
            self.pending.remove(partition);
            for offsets in self.pending_txn.values_mut() {
                offsets.remove(partition);
            }
            if self.committed.remove(partition).is_some() {
                removed.push(partition.clone());
            }
        }
        removed
    }

    /// Forgets everything; returns what was visible.
    pub fn remove_all(&mut self) -> Vec<TopicPartition> {
        let all: Vec<TopicPartition> = self.committed.keys().cloned().collect();
        self.remove(&all)
    }

    /// Forgets what is older than the retention (or its own expiry); returns what needs a tombstone.
    pub(super) fn remove_expired(
        &mut self,
        base: &ExpiryBase<'_>,
        now_ms: i64,
        retention_ms: i64,
    ) -> Vec<TopicPartition> {
        let mut expired = Vec::new();
        self.committed.retain(|partition, committed| {
            if self.pending.contains_key(partition) {
                return true;
            }
            let since = match base {
                ExpiryBase::EmptySince(since) => *since,
                ExpiryBase::CommitUnless(topics) if topics.contains(&partition.topic) => return true,
                ExpiryBase::Commit | ExpiryBase::CommitUnless(_) => committed.value.commit_timestamp,
            };
            let is_expired = match committed.value.expire_timestamp {
                Some(expiry) => now_ms >= expiry,
                None => now_ms.saturating_sub(since) >= retention_ms,
            };
            if is_expired {
                expired.push(partition.clone());
            }
            !is_expired
        });
        expired
    }
}

/// Puts the offset unless a later batch has already written the partition.
pub(super) fn insert_newer<K: std::hash::Hash + Eq + Clone>(
    offsets: &mut HashMap<K, CommittedOffset>,
    partition: &K,
    new: CommittedOffset,
) {
    match offsets.get_mut(partition) {
        // One request may name a partition twice: within a batch the later one counts.
        Some(current) if current.batch_offset > new.batch_offset => {}
        Some(current) => *current = new,
        None => {
            offsets.insert(partition.clone(), new);
        }
    }
}
