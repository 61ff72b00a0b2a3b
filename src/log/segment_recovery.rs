//! Rebuilding a segment after a crash, and cutting it back.
//!
//! Answers to Kafka's `LogSegment.recover` and `truncateTo`. Runs under the log's lock or before the log is shared.

use std::io;
use std::sync::atomic::Ordering;

use super::batch_walk::{BatchMeta, HeaderWalk, WholeWalk, producer_batch};
use super::epoch_cache::EpochCache;
use super::offset_index::relative_offset;
use super::producer_entry::ProducerBatch;
use super::producer_state::ProducerState;
use super::segment::{Segment, position_u32};
use super::time_index::TimestampOffset;
use super::txn_index::AbortedTxn;
use crate::record::{AppendOrigin, MAGIC_V2};
use crate::topic::TopicPartition;

const LOGGER: &str = "org.apache.kafka.storage.internals.log.LogSegment";

/// Applies one batch, which is in the log already, to producer state; ended transactions go to the segment's index.
pub(super) fn replay_batch(
    segment: Option<&Segment>,
    producers: &mut ProducerState,
    entry: Option<&ProducerBatch>,
    next_offset: i64,
    tp: &TopicPartition,
) -> io::Result<()> {
    if let Some(entry) = entry {
        let mut update = producers.prepare(entry.producer_id);
        let completed = update.append(entry, AppendOrigin::Replication, tp).map_err(io::Error::other)?;
        producers.apply(&update);
        if let Some(txn) = completed {
            let last_stable_offset = producers.last_stable_offset_after(&txn);
            if let Some(segment) = segment.filter(|_| txn.aborted) {
                segment.txn_index.append(AbortedTxn::new(&txn, last_stable_offset))?;
            }
            producers.complete(&txn);
        }
    }
    producers.set_map_end_offset(next_offset);
    Ok(())
}

impl Segment {
    /// Checks every batch, rebuilds the indexes, brings producer state and epochs up to date, and cuts the file behind
    /// the last good batch. Returns how many bytes were cut. An error of kind `InvalidData` means the offsets in here do
    /// not ascend.
    pub fn recover(
        &self,
        producers: &mut ProducerState,
        epochs: &mut EpochCache,
        tp: &TopicPartition,
    ) -> io::Result<u64> {
        self.offset_index.storage().reset()?;
        self.time_index.storage().reset()?;
        self.txn_index.reset()?;
        self.forget_recent();
        self.mark_dirty();
        let file = self.file()?;
        let file_len = file.len()?;
        let mut max = TimestampOffset { timestamp: -1, offset: self.base_offset };
        let mut first_timestamp = None;
        let (mut valid, mut last_index_entry) = (0u64, 0u64);
        let mut walk = WholeWalk::new(&*file, 0, file_len);
        loop {
            let batch = match walk.next_batch()? {
                None => break,
                Some(batch) => batch.and_then(|b| b.verify_crc().map(|()| b)),
            };
            let parsed = batch.and_then(|b| producer_batch(&b).map(|entry| (b, entry)));
            let (batch, entry) = match parsed {
                Ok(parsed) => parsed,
                Err(e) => {
                    tracing::warn!(target: LOGGER, "Found invalid messages in log segment {} at byte offset {valid}: {e}", self.log_path().display());
                    break;
                }
            };
            // A segment too wide for its index is not corrupt; it must not be cut.
            relative_offset(self.base_offset, batch.last_offset()).map_err(io::Error::other)?;
            first_timestamp.get_or_insert(batch.max_timestamp());
            if batch.max_timestamp() > max.timestamp {
                max = TimestampOffset { timestamp: batch.max_timestamp(), offset: batch.last_offset() };
            }
            if valid - last_index_entry > u64::from(self.settings.index_interval_bytes) {
                self.offset_index.append(batch.last_offset(), position_u32(valid)?)?;
                self.time_index.maybe_append(max, false)?;
                last_index_entry = valid;
            }
            valid += batch.size_in_bytes() as u64;
            if batch.magic() >= MAGIC_V2 {
                let epoch = batch.partition_leader_epoch();
                let base = batch.base_offset().unwrap_or(batch.last_offset());
                if epoch >= 0 {
                    epochs.reconcile(epoch, base)?;
                }
                replay_batch(Some(self), producers, entry.as_ref(), batch.next_offset(), tp)?;
            }
        }
        if file_len != valid {
            file.set_len(valid)?;
        }
        self.size.store(valid, Ordering::Release);
        self.time_index.maybe_append(max, true)?;
        self.offset_index.storage().trim_to_valid_size()?;
        self.time_index.storage().trim_to_valid_size()?;
        let mut books = self.bookkeeping.lock();
        books.max_timestamp = Some(max);
        books.rolling_timestamp = first_timestamp;
        Ok(file_len - valid)
    }

    /// Removes the batch that contains `offset` and everything behind it. Returns how many bytes went.
    pub fn truncate_to(&self, offset: i64, now_ms: i64) -> io::Result<u64> {
        let found = self.translate(offset)?;
        self.offset_index.truncate_to(offset)?;
        self.time_index.truncate_to(offset)?;
        self.txn_index.truncate_to(offset)?;
        self.forget_recent();
        self.mark_dirty();
        let size = self.size();
        let keep = found.map_or(size, |batch| batch.position);
        self.size.store(keep, Ordering::Release);
        let file = self.file()?;
        if file.len()? != keep {
            file.set_len(keep)?;
        }
        let max = self.scan_max_timestamp()?;
        let mut books = self.bookkeeping.lock();
        books.max_timestamp = Some(max);
        books.bytes_since_index_entry = 0;
        if keep == 0 {
            books.created_ms = now_ms;
            books.rolling_timestamp = None;
        }
        Ok(size - keep)
    }

    /// The largest timestamp, from the last time-index entry and the batches behind it.
    pub fn scan_max_timestamp(&self) -> io::Result<TimestampOffset> {
        let mut max = self.time_index.last()?;
        let start = self.offset_index.lookup(max.offset)?;
        let file = self.file()?;
        let mut walk = HeaderWalk::new(&*file, u64::from(start.position), self.size());
        while let Some(batch) = walk.next_batch()? {
            if batch.max_timestamp > max.timestamp {
                max = TimestampOffset { timestamp: batch.max_timestamp, offset: batch.last_offset };
            }
        }
        Ok(max)
    }

    /// The first batch, read from its header.
    pub fn first_batch(&self) -> io::Result<Option<BatchMeta>> {
        let file = self.file()?;
        HeaderWalk::new(&*file, 0, self.size()).next_batch()
    }
}
