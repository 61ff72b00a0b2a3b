//! Appending as leader (client's or coordinator's records, offsets assigned here) and as follower (the leader's bytes).
//!
//! Answers to Kafka's `UnifiedLog.append`. The records are checked before the writer lock is taken, with offsets from 0;
//! under the lock the real base offset is put into the header, which no checksum covers. Then: producer state, perhaps a
//! new segment, one vectored write of header and the client's own bytes, and the offsets are published.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::batch_walk::{BatchMeta, header_producer_batch, producer_batch};
use super::error::{AppendError, LogError};
use super::partition_log::{LOGGER, PartitionLog, Writer};
use super::producer_entry::{BatchMetadata, CompletedTxn, ProducerBatch, ProducerError};
use super::producer_state::VerificationGuard;
use super::segment::{RollParams, Segment};
use super::txn_index::AbortedTxn;
use crate::config::LogConfig;
use crate::protocol::ErrorCode;
use crate::record::validate::{AppendRules, ConversionStats, Validated, ValidationError, analyze, validate_for_append};
use crate::record::{AppendOrigin, BatchHeader, Codec, MAGIC_V2};

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendInfo {
    /// -1 when there was nothing to append.
    pub first_offset: i64,
    pub last_offset: i64,
    /// Milliseconds since the epoch; -1 for none.
    pub max_timestamp: i64,
    /// Milliseconds since the epoch; -1 unless the topic stamps LogAppendTime. For duplicates the time of the first.
    pub log_append_time: i64,
    pub log_start_offset: i64,
    /// The batch is in the log already; the offsets are those of then.
    pub duplicate: bool,
    /// Bytes written.
    pub size: u32,
    pub conversions: ConversionStats,
}

/// Batches on their way into the log.
struct Incoming<'a> {
    parts: &'a [&'a [u8]],
    batches: &'a [BatchMeta],
    producers: &'a [ProducerBatch],
    first_offset: i64,
    last_offset: i64,
    max_timestamp: i64,
    size: u64,
    origin: AppendOrigin,
    guard: Option<VerificationGuard>,
}

/// What `append.rs` takes from the topic's configuration.
pub(super) fn append_rules(config: &LogConfig) -> AppendRules {
    use crate::config::{CompressionType, TimestampType};
    AppendRules {
        compression: match config.compression {
            CompressionType::Producer => None,
            CompressionType::Uncompressed => Some(Codec::None),
            CompressionType::Gzip => Some(Codec::Gzip),
            CompressionType::Snappy => Some(Codec::Snappy),
            CompressionType::Lz4 => Some(Codec::Lz4),
            CompressionType::Zstd => Some(Codec::Zstd),
        },
        timestamp_type: match config.timestamp_type {
            TimestampType::CreateTime => crate::record::TimestampType::CreateTime,
            TimestampType::LogAppendTime => crate::record::TimestampType::LogAppendTime,
        },
        timestamp_before_max_ms: config.timestamp_before_max_ms,
        timestamp_after_max_ms: config.timestamp_after_max_ms,
        compacted: config.cleanup_compact,
        max_message_bytes: config.max_message_bytes,
        zstd_allowed: config.zstd_allowed,
        ..AppendRules::default()
    }
}

impl PartitionLog {
    /// Appends a client's or coordinator's records at the log end, stamped with `leader_epoch`.
    pub fn append_as_leader(
        &self,
        records: Bytes,
        leader_epoch: i32,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        self.append_as_leader_verified(records, leader_epoch, origin, None, now_ms)
    }

    /// The same with the guard of a verified transaction (see `maybe_start_transaction_verification`).
    pub fn append_as_leader_verified(
        &self,
        records: Bytes,
        leader_epoch: i32,
        origin: AppendOrigin,
        guard: Option<VerificationGuard>,
        now_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        let rules = self.rules.load();
        let validated = validate_for_append(records, &self.tp, &rules, 0, leader_epoch, now_ms, origin)
            .map_err(|e| self.refused(e))?;
        let Some(mut batch) = validated else { return Ok(self.nothing_appended()) };
        let mut info = AppendInfo {
            max_timestamp: batch.max_timestamp,
            log_append_time: batch.log_append_time,
            size: u32::try_from(batch.size_in_bytes()).unwrap_or(u32::MAX),
            conversions: batch.stats,
            ..self.nothing_appended()
        };
        let duplicate = self.locked(|writer| {
            self.write_topic_id(writer)?;
            let base = self.log_end_offset();
            place(&mut batch, base);
            (info.first_offset, info.last_offset) = (batch.first_offset, batch.last_offset);
            self.assign_epoch(batch.header.partition_leader_epoch, batch.header.base_offset)?;
            let producer = match batch.header.has_producer_id() {
                true => Some(header_producer_batch(&batch.header, &batch.body).map_err(|e| self.refused(e.into()))?),
                false => None,
            };
            let incoming = Incoming {
                parts: &[&batch.header_bytes(), &batch.body],
                batches: &[leader_meta(&batch.header, &batch)],
                producers: producer.as_slice(),
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                max_timestamp: batch.max_timestamp,
                size: batch.size_in_bytes() as u64,
                origin,
                guard,
            };
            self.append_locked(writer, &incoming, now_ms)
        })?;
        if let Some(known) = duplicate {
            info.first_offset = known.first_offset();
            info.last_offset = known.last_offset;
            info.log_append_time = known.timestamp;
            info.duplicate = true;
            info.size = 0;
        }
        info.log_start_offset = self.log_start_offset();
        self.flush_if_full()?;
        Ok(info)
    }

    /// Appends what a leader sent, as it is. Its offsets must be at or beyond the log end.
    pub fn append_as_follower(&self, records: Bytes, now_ms: i64) -> Result<AppendInfo, AppendError> {
        let analysis =
            analyze(records.clone(), &self.tp, AppendOrigin::Replication, None).map_err(|e| self.refused(e))?;
        let mut batches = Vec::with_capacity(analysis.batches.len());
        let mut producers = Vec::new();
        let mut size = 0u64;
        for batch in &analysis.batches {
            let meta = BatchMeta::of(batch, size);
            size += u64::from(meta.size);
            batches.push(meta);
            producers.extend(producer_batch(batch).map_err(|e| self.refused(e.into()))?);
        }
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else { return Ok(self.nothing_appended()) };
        if batches.windows(2).any(|pair| matches!(pair, [a, b] if a.last_offset >= b.last_offset)) {
            let offsets: Vec<i64> = batches.iter().map(|b| b.last_offset).collect();
            return Err(AppendError::OffsetsOutOfOrder(format!(
                "Out of order offsets found in append to {}: {offsets:?}",
                self.tp
            )));
        }
        let bytes = records.slice(..usize::try_from(size).unwrap_or(usize::MAX).min(records.len()));
        let max_timestamp = batches.iter().map(|b| b.max_timestamp).max().unwrap_or(-1);
        let incoming = Incoming {
            parts: &[&bytes],
            batches: &batches,
            producers: &producers,
            first_offset: first.base_offset,
            last_offset: last.last_offset,
            max_timestamp,
            size,
            origin: AppendOrigin::Replication,
            guard: None,
        };
        self.locked(|writer| {
            self.write_topic_id(writer)?;
            self.check_follower_offsets(writer, &incoming, now_ms)?;
            for batch in &batches {
                self.note_epoch(batch)?;
            }
            self.append_locked(writer, &incoming, now_ms).map(|_| ())
        })?;
        self.flush_if_full()?;
        Ok(AppendInfo {
            first_offset: incoming.first_offset,
            last_offset: incoming.last_offset,
            max_timestamp,
            size: u32::try_from(size).unwrap_or(u32::MAX),
            ..self.nothing_appended()
        })
    }

    fn nothing_appended(&self) -> AppendInfo {
        AppendInfo {
            first_offset: -1,
            last_offset: -1,
            max_timestamp: -1,
            log_append_time: -1,
            log_start_offset: self.log_start_offset(),
            duplicate: false,
            size: 0,
            conversions: ConversionStats::default(),
        }
    }

    fn refused(&self, error: ValidationError) -> AppendError {
        let log_start_offset = if error.reports_log_start_offset() { self.log_start_offset() } else { -1 };
        AppendError::Records {
            code: error.code,
            message: error.message.unwrap_or(error.detail),
            record_errors: error.record_errors,
            log_start_offset,
        }
    }

    /// `with_writer` for errors that are not only the log's.
    fn locked<R>(&self, work: impl FnOnce(&mut Writer) -> Result<R, AppendError>) -> Result<R, AppendError> {
        self.with_writer(|writer| Ok(work(writer)))?
    }

    fn note_epoch(&self, batch: &BatchMeta) -> Result<(), LogError> {
        if batch.magic >= MAGIC_V2 {
            if batch.leader_epoch >= 0 { self.assign_epoch(batch.leader_epoch, batch.base_offset) } else { Ok(()) }
        } else if self.epochs.read().entries().is_empty() {
            Ok(())
        } else {
            // Only old brokers write formats without epochs; then truncation must go by the high watermark again.
            tracing::warn!(target: LOGGER, "Clearing leader epoch cache after unexpected append with message format v{}", batch.magic);
            self.epochs.write().clear_and_flush().map_err(|e| self.storage(e, "writing leader epochs of"))
        }
    }

    /// A follower's batches begin at or beyond the log end. An empty log may be given a batch that begins below, when
    /// the leader's log start is in the middle of it.
    fn check_follower_offsets(
        &self,
        writer: &mut Writer,
        incoming: &Incoming<'_>,
        now_ms: i64,
    ) -> Result<(), AppendError> {
        let end = self.log_end_offset();
        if incoming.first_offset >= end {
            return Ok(());
        }
        if end == self.log_start_offset() && incoming.last_offset >= end {
            tracing::info!(target: LOGGER, "Unexpected offset in append to {}. First offset {} is less than log start offset {end}. Since this is the first record to be appended to the log, will start the log from offset {}.", self.tp, incoming.first_offset, incoming.first_offset);
            return Ok(self.truncate_fully_locked(writer, incoming.first_offset, now_ms)?);
        }
        Err(AppendError::UnexpectedOffset {
            first_offset: incoming.first_offset,
            last_offset: incoming.last_offset,
            message: format!(
                "Unexpected offset in append to {}. First offset {} is less than the next offset {end}. Last offset in append: {}. Log start offset = {}",
                self.tp,
                incoming.first_offset,
                incoming.last_offset,
                self.log_start_offset()
            ),
        })
    }

    /// Everything after the records are known to be good. Returns the batch this one repeats, if it does.
    fn append_locked(
        &self,
        writer: &mut Writer,
        incoming: &Incoming<'_>,
        now_ms: i64,
    ) -> Result<Option<BatchMetadata>, AppendError> {
        let segment_bytes = u64::try_from(self.config.load().segment_bytes).unwrap_or(0);
        if incoming.size > segment_bytes {
            return Err(AppendError::Records {
                code: ErrorCode::RecordListTooLarge,
                message: format!(
                    "Message batch size is {} bytes in append to partition {}, which exceeds the maximum configured segment size of {segment_bytes}.",
                    incoming.size, self.tp
                ),
                record_errors: Vec::new(),
                log_start_offset: -1,
            });
        }
        let segment = self.maybe_roll(writer, incoming, now_ms)?;
        let (duplicate, completed) = self.check_producers(writer, incoming)?;
        if duplicate.is_some() {
            return Ok(duplicate);
        }
        segment.write(incoming.parts, incoming.batches).map_err(|e| self.storage(e, "appending records to"))?;
        // A transaction that begins here must be known before anybody may read it.
        let Writer { producers, updates, .. } = writer;
        for update in updates.iter() {
            producers.apply(update);
        }
        if updates.iter().any(|u| u.started_txn.is_some()) {
            self.refresh_first_unstable(writer);
        }
        self.log_end_offset.store(incoming.last_offset + 1, Ordering::Release);
        segment.publish(incoming.size);
        if !completed.is_empty() {
            self.complete_transactions(writer, &segment, &completed)?;
        }
        writer.producers.set_map_end_offset(incoming.last_offset + 1);
        Ok(None)
    }

    fn complete_transactions(
        &self,
        writer: &mut Writer,
        segment: &Segment,
        completed: &[CompletedTxn],
    ) -> Result<(), LogError> {
        for txn in completed {
            let last_stable_offset = writer.producers.last_stable_offset_after(txn);
            if txn.aborted {
                segment
                    .txn_index()
                    .append(AbortedTxn::new(txn, last_stable_offset))
                    .map_err(|e| self.storage(e, "writing the transaction index of"))?;
            }
            writer.producers.complete(txn);
        }
        self.refresh_first_unstable(writer);
        Ok(())
    }

    fn maybe_roll(&self, writer: &mut Writer, incoming: &Incoming<'_>, now_ms: i64) -> Result<Arc<Segment>, LogError> {
        let active = self.active_segment();
        let config = self.config.load();
        let params = RollParams {
            max_segment_ms: config.max_segment_ms(),
            max_segment_bytes: u64::try_from(config.segment_bytes).unwrap_or(0),
            max_timestamp: incoming.max_timestamp,
            last_offset: incoming.last_offset,
            size: incoming.size,
            now_ms,
        };
        let needed = active.should_roll(&params).map_err(|e: io::Error| self.storage(e, "appending records to"))?;
        if !needed {
            return Ok(active);
        }
        // Formats 0 and 1 do not tell the first offset; this is safely at or below it.
        let known = incoming.batches.first().is_some_and(|b| b.magic >= MAGIC_V2);
        let base = if known { incoming.first_offset } else { incoming.last_offset - i64::from(i32::MAX) };
        self.roll(writer, Some(base), now_ms)
    }

    /// Checks the batches against producer state and leaves the changes in `writer.updates`.
    fn check_producers(
        &self,
        writer: &mut Writer,
        incoming: &Incoming<'_>,
    ) -> Result<(Option<BatchMetadata>, Vec<CompletedTxn>), AppendError> {
        writer.updates.clear();
        let mut completed = Vec::new();
        for batch in incoming.producers {
            if incoming.origin == AppendOrigin::Client
                && let Some(known) = writer.producers.entry(batch.producer_id).and_then(|e| e.find_duplicate(batch))
            {
                return Ok((Some(known), completed));
            }
            let refused = |error| AppendError::Producer { error, log_start_offset: self.log_start_offset() };
            if incoming.origin != AppendOrigin::Replication {
                check_verified(writer, batch, incoming.guard).map_err(refused)?;
            }
            let at = match writer.updates.iter().position(|u| u.producer_id == batch.producer_id) {
                Some(at) => at,
                None => {
                    writer.updates.push(writer.producers.prepare(batch.producer_id));
                    writer.updates.len() - 1
                }
            };
            completed.extend(writer.updates[at].append(batch, incoming.origin, &self.tp).map_err(refused)?);
            if batch.is_transactional {
                // Either the transaction is over or its first offset is known now.
                writer.producers.clear_verification(batch.producer_id);
            }
        }
        Ok((None, completed))
    }

    fn flush_if_full(&self) -> Result<(), LogError> {
        let unflushed = self.log_end_offset() - self.recovery_point();
        if unflushed >= self.config.load().flush_messages { self.flush() } else { Ok(()) }
    }
}

/// A transaction's first batch needs the coordinator's word that the transaction is open.
fn check_verified(
    writer: &Writer,
    batch: &ProducerBatch,
    guard: Option<VerificationGuard>,
) -> Result<(), ProducerError> {
    let needed = writer.producers.config().verification_enabled
        && batch.is_transactional
        && !batch.is_control
        && !writer.producers.has_open_transaction(batch.producer_id);
    if !needed || writer.producers.is_verified(batch.producer_id, guard) {
        return Ok(());
    }
    Err(ProducerError {
        code: ErrorCode::InvalidTxnState,
        message: "Record was not part of an ongoing transaction".into(),
    })
}

/// Moves a batch that was validated with offsets from 0 to `base`. No checksum covers the base offset.
fn place(batch: &mut Validated, base: i64) {
    batch.header.base_offset += base;
    batch.first_offset += base;
    batch.last_offset += base;
    batch.offset_of_max_timestamp += base;
}

fn leader_meta(header: &BatchHeader, batch: &Validated) -> BatchMeta {
    BatchMeta {
        position: 0,
        size: u32::try_from(batch.size_in_bytes()).unwrap_or(u32::MAX),
        magic: header.magic,
        base_offset: header.base_offset,
        last_offset: batch.last_offset,
        max_timestamp: batch.max_timestamp,
        leader_epoch: header.partition_leader_epoch,
    }
}
