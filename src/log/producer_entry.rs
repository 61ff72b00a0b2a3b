//! What a log knows about one producer, and the checks a batch of that producer must pass.
//!
//! Answers to Kafka's `ProducerStateEntry` and `ProducerAppendInfo`. Pure data: the table that owns the entries is
//! `producer_state`.

use crate::protocol::ErrorCode;
use crate::record::AppendOrigin;
use crate::topic::TopicPartition;

/// How many batches of a producer are remembered to find duplicates.
pub const CACHED_BATCHES: usize = 5;

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMetadata {
    pub last_seq: i32,
    pub last_offset: i64,
    /// Last offset minus first offset.
    pub offset_delta: i32,
    pub timestamp: i64,
}

impl BatchMetadata {
    const NONE: BatchMetadata = BatchMetadata { last_seq: -1, last_offset: -1, offset_delta: 0, timestamp: -1 };

    pub fn first_seq(&self) -> i32 {
        decrement_sequence(self.last_seq, self.offset_delta)
    }

    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// `DefaultRecordBatch.decrementSequence`: sequences wrap from 0 to 2^31 - 1.
fn decrement_sequence(sequence: i32, by: i32) -> i32 {
    if sequence < by { i32::MAX - (by - sequence) + 1 } else { sequence - by }
}

/// What is known about one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    pub epoch: i16,
    pub coordinator_epoch: i32,
    /// Timestamp of the last batch or marker.
    pub last_timestamp: i64,
    /// First offset of the transaction that is open, if one is.
    pub current_txn_first_offset: Option<i64>,
    batches: [BatchMetadata; CACHED_BATCHES],
    batch_count: u8,
}

impl ProducerEntry {
    /// A producer never seen.
    pub const EMPTY: ProducerEntry = ProducerEntry {
        epoch: -1,
        coordinator_epoch: -1,
        last_timestamp: -1,
        current_txn_first_offset: None,
        batches: [BatchMetadata::NONE; CACHED_BATCHES],
        batch_count: 0,
    };

    /// The remembered batches, oldest first.
    pub fn batches(&self) -> &[BatchMetadata] {
        &self.batches[..usize::from(self.batch_count).min(CACHED_BATCHES)]
    }

    pub fn last_batch(&self) -> Option<&BatchMetadata> {
        self.batches().last()
    }

    /// Last sequence; -1 when no batch of this epoch is known.
    pub fn last_seq(&self) -> i32 {
        self.last_batch().map_or(-1, |b| b.last_seq)
    }

    /// Offset of the last data batch; -1 when none is known.
    pub fn last_data_offset(&self) -> i64 {
        self.last_batch().map_or(-1, |b| b.last_offset)
    }

    pub fn add_batch(&mut self, batch: BatchMetadata) {
        let count = usize::from(self.batch_count);
        if count == CACHED_BATCHES {
            self.batches.rotate_left(1);
            self.batches[CACHED_BATCHES - 1] = batch;
        } else {
            self.batches[count] = batch;
            self.batch_count += 1;
        }
    }

    fn set_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.batch_count = 0;
            self.epoch = epoch;
        }
    }

    /// The remembered batch that equals this one, if it is a retry.
    pub fn find_duplicate(&self, batch: &ProducerBatch) -> Option<BatchMetadata> {
        if batch.producer_epoch != self.epoch {
            return None;
        }
        let same = |b: &&BatchMetadata| b.first_seq() == batch.base_sequence && b.last_seq == batch.last_sequence;
        self.batches().iter().find(same).copied()
    }

    /// Takes over what an append changed.
    pub fn merge(&mut self, update: &ProducerEntry) {
        self.set_epoch(update.epoch);
        for batch in update.batches() {
            self.add_batch(*batch);
        }
        self.coordinator_epoch = update.coordinator_epoch;
        self.current_txn_first_offset = update.current_txn_first_offset;
        self.last_timestamp = update.last_timestamp;
    }
}

/// A transaction marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    pub abort: bool,
    pub coordinator_epoch: i32,
    pub timestamp: i64,
}

/// What producer state needs of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: i64,
    pub last_offset: i64,
    pub max_timestamp: i64,
    pub is_transactional: bool,
    pub is_control: bool,
    /// The marker of a control batch; `None` for data and for control batches emptied by compaction.
    pub marker: Option<Marker>,
}

/// A transaction that a marker just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedTxn {
    pub producer_id: i64,
    pub first_offset: i64,
    /// Offset of the marker.
    pub last_offset: i64,
    pub aborted: bool,
}

/// A batch that the producer's state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProducerError {
    pub code: ErrorCode,
    pub message: String,
}

/// The change an append makes to one producer, before it is applied.
#[derive(Clone, Copy, Debug)]
pub struct ProducerUpdate {
    pub producer_id: i64,
    /// The entry before this append.
    current: ProducerEntry,
    /// Lowest sequence seen in verification requests, if one is pending.
    lowest_verified_sequence: Option<i32>,
    /// The new values, with only the new batches.
    pub updated: ProducerEntry,
    /// First offset of a transaction this append began.
    pub started_txn: Option<i64>,
}

impl ProducerUpdate {
    pub fn new(producer_id: i64, current: Option<&ProducerEntry>, lowest_verified_sequence: Option<i32>) -> Self {
        let current = current.copied().unwrap_or(ProducerEntry::EMPTY);
        let updated = ProducerEntry { batch_count: 0, ..current };
        ProducerUpdate { producer_id, current, lowest_verified_sequence, updated, started_txn: None }
    }

    /// Checks a batch and records it. Returns the transaction it ended.
    pub fn append(
        &mut self,
        batch: &ProducerBatch,
        origin: AppendOrigin,
        tp: &TopicPartition,
    ) -> Result<Option<CompletedTxn>, ProducerError> {
        match (batch.is_control, batch.marker) {
            (true, Some(marker)) => self.append_marker(batch, marker, origin, tp),
            (true, None) => Ok(None),
            (false, _) => self.append_data(batch, origin, tp).map(|()| None),
        }
    }

    fn append_data(
        &mut self,
        batch: &ProducerBatch,
        origin: AppendOrigin,
        tp: &TopicPartition,
    ) -> Result<(), ProducerError> {
        self.check_epoch(batch, origin, tp)?;
        if origin == AppendOrigin::Client {
            self.check_sequence(batch, tp)?;
        }
        let offset_delta = i32::try_from(batch.last_offset - batch.base_offset).unwrap_or(i32::MAX);
        self.updated.set_epoch(batch.producer_epoch);
        self.updated.add_batch(BatchMetadata {
            last_seq: batch.last_sequence,
            last_offset: batch.last_offset,
            offset_delta,
            timestamp: batch.max_timestamp,
        });
        self.updated.last_timestamp = batch.max_timestamp;
        match (self.updated.current_txn_first_offset, batch.is_transactional) {
            (Some(_), false) => Err(ProducerError {
                code: ErrorCode::InvalidTxnState,
                message: format!(
                    "Expected transactional write from producer {} at offset {} in partition {tp}",
                    batch.producer_id, batch.base_offset
                ),
            }),
            (None, true) => {
                self.updated.current_txn_first_offset = Some(batch.base_offset);
                self.started_txn = Some(batch.base_offset);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn append_marker(
        &mut self,
        batch: &ProducerBatch,
        marker: Marker,
        origin: AppendOrigin,
        tp: &TopicPartition,
    ) -> Result<Option<CompletedTxn>, ProducerError> {
        self.check_epoch(batch, origin, tp)?;
        let (known, incoming) = (self.updated.coordinator_epoch, marker.coordinator_epoch);
        if known > incoming && origin != AppendOrigin::Replication {
            return Err(ProducerError {
                code: ErrorCode::TransactionCoordinatorFenced,
                message: format!(
                    "Invalid coordinator epoch for producerId {} at offset {} in partition {tp}: {incoming} (zombie), {known} (current)",
                    batch.producer_id, batch.base_offset
                ),
            });
        }
        // A marker without data changes no stable offset and needs no index entry.
        let completed = self.updated.current_txn_first_offset.map(|first_offset| CompletedTxn {
            producer_id: batch.producer_id,
            first_offset,
            last_offset: batch.base_offset,
            aborted: marker.abort,
        });
        self.updated.set_epoch(batch.producer_epoch);
        self.updated.coordinator_epoch = incoming;
        self.updated.current_txn_first_offset = None;
        self.updated.last_timestamp = marker.timestamp;
        Ok(completed)
    }

    fn check_epoch(
        &self,
        batch: &ProducerBatch,
        origin: AppendOrigin,
        tp: &TopicPartition,
    ) -> Result<(), ProducerError> {
        if batch.producer_epoch >= self.updated.epoch {
            return Ok(());
        }
        let message = format!(
            "Epoch of producer {} at offset {} in {tp} is {}, which is smaller than the last seen epoch {}",
            batch.producer_id, batch.base_offset, batch.producer_epoch, self.updated.epoch
        );
        if origin == AppendOrigin::Replication {
            tracing::warn!(target: "org.apache.kafka.storage.internals.log.ProducerAppendInfo", "{message}");
            return Ok(());
        }
        Err(ProducerError { code: ErrorCode::InvalidProducerEpoch, message })
    }

    fn check_sequence(&self, batch: &ProducerBatch, tp: &TopicPartition) -> Result<(), ProducerError> {
        let out_of_order = |message: String| Err(ProducerError { code: ErrorCode::OutOfOrderSequenceNumber, message });
        let (id, offset, first_seq) = (batch.producer_id, batch.base_offset, batch.base_sequence);
        if let Some(lowest) = self.lowest_verified_sequence.filter(|lowest| first_seq > *lowest) {
            return out_of_order(format!(
                "Out of order sequence number for producer {id} at offset {offset} in partition {tp}: {first_seq} (incoming seq. number), {lowest} (earliest seen sequence)"
            ));
        }
        if batch.producer_epoch != self.updated.epoch {
            if first_seq != 0 && self.updated.epoch != -1 {
                return out_of_order(format!(
                    "Invalid sequence number for new epoch of producer {id}at offset {offset} in partition {tp}: {} (request epoch), {first_seq} (seq. number), {} (current producer epoch)",
                    batch.producer_epoch, self.updated.epoch
                ));
            }
            return Ok(());
        }
        let last_seq = if self.updated.batch_count > 0 {
            self.updated.last_seq()
        } else if batch.producer_epoch == self.current.epoch {
            self.current.last_seq()
        } else {
            -1
        };
        let in_sequence = i64::from(first_seq) == i64::from(last_seq) + 1 || (first_seq == 0 && last_seq == i32::MAX);
        // Without a known epoch (everything of the producer was deleted) any sequence is a beginning.
        if self.current.epoch != -1 && !in_sequence {
            return out_of_order(format!(
                "Out of order sequence number for producer {id} at offset {offset} in partition {tp}: {first_seq} (incoming seq. number), {last_seq} (current end sequence number)"
            ));
        }
        Ok(())
    }
}
