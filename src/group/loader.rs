//! Reads one partition of `__consumer_offsets` from its start and works out which groups and offsets it holds.
//!
//! Commits inside a transaction count only once its COMMIT marker was read; those of a transaction that is still open
//! at the end are handed over as pending. Answers to `doLoadGroupsAndOffsets` of Kafka's `GroupMetadataManager`.
//! Owns no state; runs on the blocking pool.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::group::MANAGER_LOG;
use super::offsets::{CommittedOffset, PendingTxnOffset, insert_newer};
use super::records::{GroupMetadataValue, OffsetAndMetadata, RecordKey, RecordsError, decode_key};
use super::storage::OffsetsLog;
use crate::protocol::ErrorCode;
use crate::record::builder::ControlRecordType;
use crate::record::{Batch, RecordError, batches};
use crate::topic::TopicPartition;

/// Most bytes one batch of the topic may decompress to.
const DECOMPRESSED_CAP: u64 = 256 * 1024 * 1024;

/// Why a partition could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read the log: {0}")]
    Read(ErrorCode),
    #[error("a record batch cannot be read: {0}")]
    Record(#[from] RecordError),
    #[error("the load was given up, another broker coordinates the partition now")]
    Cancelled,
}

/// One group as the log has it.
#[derive(Debug, Default)]
pub struct LoadedGroup {
    /// `None` if it only stores offsets.
    pub metadata: Option<GroupMetadataValue>,
    pub offsets: HashMap<TopicPartition, CommittedOffset>,
    /// By producer id.
    pub pending_txn: BTreeMap<i64, HashMap<TopicPartition, PendingTxnOffset>>,
}

type GroupPartition = (Arc<str>, TopicPartition);

/// What has been read so far.
#[derive(Debug, Default)]
pub struct Loader {
    groups: HashMap<Arc<str>, GroupMetadataValue>,
    offsets: HashMap<GroupPartition, CommittedOffset>,
    pending_txn: BTreeMap<i64, HashMap<GroupPartition, CommittedOffset>>,
}

/// Reads the whole partition. `is_wanted` is asked between chunks. No replica here counts as an empty log.
pub fn load(
    log: &dyn OffsetsLog,
    partition: i32,
    buffer_size: i32,
    is_wanted: impl Fn() -> bool,
) -> Result<HashMap<Arc<str>, LoadedGroup>, LoadError> {
    let mut loader = Loader::default();
    let Some(mut offset) = log.log_start(partition) else {
        tracing::warn!(
            target: MANAGER_LOG,
            "Attempted to load offsets and group metadata from __consumer_offsets-{partition}, but found no log"
        );
        return Ok(HashMap::new());
    };
    // The end is asked for again each time: it vanishes when the leadership does.
    while log.log_end(partition).is_some_and(|end| offset < end) {
        if !is_wanted() {
            return Err(LoadError::Cancelled);
        }
        let bytes = log.read(partition, offset, buffer_size).map_err(LoadError::Read)?;
        let mut next = offset;
        for batch in batches(bytes) {
            let batch = batch?;
            // A read may begin in the middle of a batch that was read before.
            if batch.last_offset() >= offset {
                loader.apply(&batch, partition)?;
            }
            next = next.max(batch.next_offset());
        }
        if next == offset {
            break;
        }
        offset = next;
    }
    Ok(loader.finish())
}

impl Loader {
    /// Takes one batch into account. Records that cannot be read are left out with an error line.
    pub fn apply(&mut self, batch: &Batch, partition: i32) -> Result<(), LoadError> {
        if batch.is_control() {
            return self.apply_marker(batch);
        }
        let mut batch_offset = None;
        let transaction = batch.is_transactional().then(|| batch.producer_id());
        for record in batch.records(DECOMPRESSED_CAP) {
            let record = record?;
            let batch_offset = *batch_offset.get_or_insert(record.offset);
            let Some(key) = &record.key else {
                tracing::error!(
                    target: MANAGER_LOG,
                    "Record at offset {} of __consumer_offsets-{partition} has no key. Ignoring it.",
                    record.offset
                );
                continue;
            };
            if let Err(error) = self.apply_record(key, record.value.as_ref(), transaction, batch_offset, partition) {
                tracing::error!(
                    target: MANAGER_LOG,
                    "Cannot read the record at offset {} of __consumer_offsets-{partition}: {error}. Ignoring it.",
                    record.offset
                );
            }
        }
        Ok(())
    }

    fn apply_marker(&mut self, batch: &Batch) -> Result<(), LoadError> {
        let Some(record) = batch.records(DECOMPRESSED_CAP).next() else { return Ok(()) };
        let kind = ControlRecordType::parse(&record?.key.unwrap_or_default())?;
        let pending = self.pending_txn.remove(&batch.producer_id()).unwrap_or_default();
        if kind == ControlRecordType::Commit {
            for (partition, offset) in pending {
                insert_newer(&mut self.offsets, &partition, offset);
            }
        }
        Ok(())
    }

    fn apply_record(
        &mut self,
        key: &Bytes,
        value: Option<&Bytes>,
        transaction: Option<i64>,
        batch_offset: i64,
        partition: i32,
    ) -> Result<(), RecordsError> {
        match decode_key(key)? {
            RecordKey::Offset { group, partition } => {
                let offsets = match transaction {
                    Some(producer_id) => self.pending_txn.entry(producer_id).or_default(),
                    None => &mut self.offsets,
                };
                match value {
                    Some(value) => {
                        let value = OffsetAndMetadata::decode(value)?;
                        offsets.insert((group, partition), CommittedOffset { batch_offset, value });
                    }
                    None => {
                        offsets.remove(&(group, partition));
                    }
                }
            }
            RecordKey::Group { group } => match value {
                Some(value) => {
                    self.groups.insert(group, GroupMetadataValue::decode(value)?);
                }
                None => {
                    self.groups.remove(&group);
                }
            },
            RecordKey::Unknown { version } => tracing::warn!(
                target: MANAGER_LOG,
                "Unknown message key with version {version} while loading offsets and group metadata from \
                 __consumer_offsets-{partition}. Ignoring it. It could be a left over from an aborted upgrade."
            ),
        }
        Ok(())
    }

    /// Sorts what was read by group.
    pub fn finish(self) -> HashMap<Arc<str>, LoadedGroup> {
        let mut loaded: HashMap<Arc<str>, LoadedGroup> = HashMap::new();
        for (group, value) in self.groups {
            loaded.entry(group).or_default().metadata = Some(value);
        }
        for ((group, partition), offset) in self.offsets {
            loaded.entry(group).or_default().offsets.insert(partition, offset);
        }
        for (producer_id, offsets) in self.pending_txn {
            for ((group, partition), offset) in offsets {
                let pending = PendingTxnOffset { batch_offset: Some(offset.batch_offset), value: offset.value };
                let group = loaded.entry(group).or_default();
                group.pending_txn.entry(producer_id).or_default().insert(partition, pending);
            }
        }
        loaded
    }
}
