//! What a leader knows of one follower: how far it has copied and when it was last caught up.
//! Answers to Kafka's `Replica` (spec 4.6).

/// Position of a follower as of its last fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follower {
    /// Next offset the follower wants; -1 before its first fetch under this leadership.
    pub log_end_offset: i64,
    pub log_start_offset: i64,
    /// Its broker's epoch as of the last fetch; -1 when not known.
    pub broker_epoch: i64,
    last_fetch_leader_end: i64,
    last_fetch_ms: i64,
    last_caught_up_ms: i64,
}

impl Follower {
    /// A follower of a leadership that begins now: nothing known, and caught up only if in sync.
    pub fn reset(in_sync: bool, now_ms: i64) -> Follower {
        Follower {
            log_end_offset: -1,
            log_start_offset: -1,
            broker_epoch: -1,
            last_fetch_leader_end: 0,
            last_fetch_ms: 0,
            last_caught_up_ms: if in_sync { now_ms } else { 0 },
        }
    }

    /// The same leader in a new epoch: positions stay, the caught-up clock restarts.
    pub fn renew(&mut self, in_sync: bool, epoch_start: i64, now_ms: i64) {
        self.last_caught_up_ms = if in_sync { now_ms } else { 0 };
        self.last_fetch_leader_end = epoch_start;
        self.last_fetch_ms = if in_sync { now_ms } else { 0 };
    }

    /// Takes in a fetch at `fetch_offset`, with the leader's end offset as it was before the read.
    pub fn on_fetch(&mut self, fetch_offset: i64, log_start_offset: i64, leader_end: i64, now_ms: i64) {
        if fetch_offset >= leader_end {
            self.last_caught_up_ms = self.last_caught_up_ms.max(now_ms);
        } else if fetch_offset >= self.last_fetch_leader_end {
            self.last_caught_up_ms = self.last_caught_up_ms.max(self.last_fetch_ms);
        }
        self.log_end_offset = fetch_offset;
        self.log_start_offset = log_start_offset;
        self.last_fetch_leader_end = leader_end.max(self.last_fetch_leader_end);
        self.last_fetch_ms = now_ms;
    }

    /// When it was last known to be level with the leader, milliseconds since the epoch.
    pub fn last_caught_up_ms(&self) -> i64 {
        self.last_caught_up_ms
    }

    /// True when it is level with the leader or was so within `max_lag_ms`.
    pub fn is_caught_up(&self, leader_end: i64, now_ms: i64, max_lag_ms: i64) -> bool {
        self.log_end_offset == leader_end || now_ms - self.last_caught_up_ms <= max_lag_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaching_the_end_of_the_previous_fetch_counts_as_caught_up_then() {
        let mut f = Follower::reset(false, 0);
        f.on_fetch(0, 0, 10, 1_000);
        assert!(!f.is_caught_up(10, 1_000, 500));
        f.on_fetch(10, 0, 20, 2_000);
        // At 1000 the leader ended at 10, which it has now: caught up as of 1000.
        assert!(f.is_caught_up(20, 1_500, 500));
        assert!(!f.is_caught_up(20, 1_501, 500));
        f.on_fetch(20, 0, 20, 3_000);
        assert!(f.is_caught_up(20, 9_000, 500));
    }
}
