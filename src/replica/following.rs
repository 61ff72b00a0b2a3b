//! A partition as a follower: what its fetcher may do to the log, in the leader epoch it was started for.
//!
//! Every change holds the role shared, as appends of a leader do: a LeaderAndIsr that ends the epoch waits for it,
//! and whatever comes after is refused. Answers to `Partition.appendRecordsToFollowerOrFutureReplica` and
//! `ReplicaFetcherThread.processPartitionData` (spec zookeeper 4.5, 4.12).

use std::sync::Arc;

use super::fetcher::{Fetched, FollowError, FollowerLog};
use super::partition::Partition;
use crate::log::{AppendError, LogError, PartitionLog};
use crate::protocol::ErrorCode;

fn failed(error: LogError) -> FollowError {
    FollowError::Failed(error.to_string())
}

fn refused(error: AppendError) -> FollowError {
    match error {
        AppendError::Records { .. } => FollowError::Records(error.to_string()),
        error => FollowError::Failed(error.to_string()),
    }
}

impl Partition {
    /// Runs `work` on the log while this replica surely follows in `leader_epoch`.
    fn while_following<R>(
        &self,
        leader_epoch: i32,
        work: impl FnOnce(&Arc<PartitionLog>) -> Result<R, FollowError>,
    ) -> Result<R, FollowError> {
        let role = self.role.read();
        if role.leader_epoch != leader_epoch || role.leader == Some(self.broker_id) || role.leader.is_none() {
            return Err(FollowError::Superseded);
        }
        let log = self.log().ok_or(FollowError::Superseded)?;
        work(&log)
    }
}

impl FollowerLog for Partition {
    fn log_start_offset(&self) -> i64 {
        self.log().map_or(0, |log| log.log_start_offset())
    }

    fn log_end_offset(&self) -> i64 {
        self.log().map_or(0, |log| log.log_end_offset())
    }

    fn latest_epoch(&self) -> Option<i32> {
        self.log()?.latest_epoch()
    }

    fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64) {
        self.log().map_or((-1, -1), |log| log.end_offset_for_epoch(epoch))
    }

    fn append(&self, fetched: Fetched, now_ms: i64) -> Result<(), FollowError> {
        let moved = self.while_following(fetched.leader_epoch, |log| {
            let end = log.log_end_offset();
            if fetched.fetch_offset != end {
                return Err(FollowError::Failed(format!(
                    "Offset mismatch for partition {}: fetched offset = {}, log end offset = {end}.",
                    self.tp, fetched.fetch_offset
                )));
            }
            if !fetched.records.is_empty() {
                log.append_as_follower(fetched.records, now_ms).map_err(refused)?;
            }
            // Never back: what the last leader called committed is in every log that may lead.
            let moved = log.maybe_increment_high_watermark(fetched.high_watermark).is_some();
            let start = fetched.log_start_offset.min(log.high_watermark());
            if start > log.log_start_offset() {
                log.increment_log_start_offset(start, "leader offset increment").map_err(failed)?;
            }
            Ok(moved.then(|| log.high_watermark()))
        })?;
        if let Some(high_watermark) = moved {
            self.waiters.high_watermark_moved(high_watermark);
        }
        Ok(())
    }

    fn truncate_to(&self, leader_epoch: i32, offset: i64, now_ms: i64) -> Result<(), FollowError> {
        self.while_following(leader_epoch, |log| {
            let high_watermark = log.high_watermark();
            if offset < high_watermark {
                tracing::warn!(target: "kafka.server.ReplicaFetcherThread", "Truncating {} to offset {offset} below high watermark {high_watermark}", self.tp);
            }
            log.truncate_to(offset, now_ms).map(drop).map_err(failed)
        })?;
        self.waiters.truncated(offset);
        Ok(())
    }

    fn restart_at(&self, leader_epoch: i32, offset: i64, now_ms: i64) -> Result<(), FollowError> {
        self.while_following(leader_epoch, |log| log.truncate_fully_and_start_at(offset, now_ms).map_err(failed))?;
        self.waiters.fail(ErrorCode::NotLeaderOrFollower);
        Ok(())
    }
}
