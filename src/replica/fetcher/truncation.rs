//! Where a follower cuts its log when its leader's is another from some epoch on.
//! Answers to `AbstractFetcherThread.getOffsetTruncationState` (spec zookeeper 4.13).

use super::FollowerLog;

/// What the leader says of an epoch: its number, or -1, and where it ends, or -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderEpochEnd {
    pub epoch: i32,
    pub end_offset: i64,
}

/// Where to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    pub offset: i64,
    /// The logs agree below; otherwise the leader must be asked again about an older epoch.
    pub is_final: bool,
}

/// The cut for a follower that is about to fetch at `fetch_offset`.
pub fn truncation_point(log: &dyn FollowerLog, fetch_offset: i64, leader: LeaderEpochEnd) -> Truncation {
    let end = log.log_end_offset();
    if leader.end_offset < 0 {
        // The leader cannot tell: what is below the initial offset (the high watermark) is safe.
        return Truncation { offset: fetch_offset, is_final: true };
    }
    if leader.epoch < 0 {
        return Truncation { offset: leader.end_offset.min(end), is_final: true };
    }
    let (epoch, local_end) = log.end_offset_for_epoch(leader.epoch);
    if local_end < 0 {
        Truncation { offset: leader.end_offset.min(end), is_final: true }
    } else if epoch == leader.epoch {
        Truncation { offset: local_end.min(leader.end_offset).min(end), is_final: true }
    } else {
        Truncation { offset: local_end.min(end), is_final: false }
    }
}
