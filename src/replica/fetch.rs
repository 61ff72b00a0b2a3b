//! Reading the partitions of one fetch request within its limits, and waiting until there is enough.
//! Answers to `ReplicaManager.fetchMessages`/`readFromLog` and `DelayedFetch` (spec zookeeper 4.10).

use std::sync::Arc;

use super::partition::{ExpectedEpoch, FollowerFetch, Partition, PartitionRead, ReadFailure, ReadRequest};
use super::preferred::ClientPlace;
use super::session::FetchItem;
use super::table::ReplicaTable;
use super::waiters::{Awaited, FetchSignal};
use crate::log::{Isolation, LogRead};
use crate::protocol::ErrorCode;

/// What holds for a whole fetch request.
#[derive(Clone, Debug)]
pub struct FetchLimits {
    pub version: i16,
    /// Broker id of a follower; negative for consumers.
    pub replica_id: i32,
    /// Epoch of the follower's broker, -1 when not given.
    pub replica_epoch: i64,
    /// Already capped by `fetch.max.bytes` for consumers.
    pub max_bytes: i32,
    pub min_bytes: i32,
    pub max_wait_ms: i32,
    pub isolation: Isolation,
    /// Set for consumers that may be sent to a replica nearer to them.
    pub place: Option<ClientPlace>,
}

impl FetchLimits {
    /// Before version 3 the limits are hard, even for the first batch.
    fn is_hard(&self) -> bool {
        self.version <= 2
    }

    /// Only the leader answers followers and old consumers.
    fn leader_only(&self) -> bool {
        self.replica_id >= 0 || self.version < 11
    }
}

/// A partition to read, with its topic's name resolved.
#[derive(Clone, Debug)]
pub struct FetchTarget {
    pub item: FetchItem,
    pub topic: Arc<str>,
}

/// The result for one partition.
pub enum FetchOutcome {
    Read(LogRead),
    Diverging {
        epoch: i32,
        end_offset: i64,
        high_watermark: i64,
        log_start_offset: i64,
        last_stable_offset: i64,
    },
    /// Nothing is read here: the consumer had better ask that follower.
    Preferred {
        replica: i32,
        high_watermark: i64,
        log_start_offset: i64,
        last_stable_offset: i64,
    },
    /// Failed before the log was touched (unknown topic) or while reading.
    Failed {
        code: ErrorCode,
        reached_log: bool,
    },
}

impl FetchOutcome {
    /// Bytes of records in the answer.
    pub fn bytes(&self) -> usize {
        match self {
            FetchOutcome::Read(read) => read.slice.len as usize,
            _ => 0,
        }
    }
}

/// One pass over all partitions.
pub struct FetchPass {
    pub outcomes: Vec<FetchOutcome>,
    pub bytes: usize,
    /// Something in it must be told at once: an error met while reading, or a diverging epoch.
    pub urgent: bool,
}

impl ReplicaTable {
    /// Reads every target once, in order, sharing the request's byte budget. `note_followers` is set on the
    /// first pass only: a parked fetch that is read again says nothing new about the follower.
    pub fn read_pass(
        &self,
        limits: &FetchLimits,
        targets: &[FetchTarget],
        note_followers: bool,
        now_ms: i64,
    ) -> FetchPass {
        let mut pass = FetchPass { outcomes: Vec::with_capacity(targets.len()), bytes: 0, urgent: false };
        let mut budget = limits.max_bytes.max(0);
        let mut min_one = !limits.is_hard();
        for target in targets {
            let partition = self.partition(&target.topic, target.item.partition);
            let outcome = match partition {
                Ok(partition) => {
                    let held_back = self.holds_back(limits, target, &partition, now_ms);
                    let (room, whole) = if held_back { (0, false) } else { (budget, min_one) };
                    let outcome = self.read_one(limits, target, &partition, room, whole);
                    if note_followers && limits.replica_id >= 0 && !matches!(outcome, FetchOutcome::Failed { .. }) {
                        self.note_follower(limits, target, &partition, &outcome, now_ms);
                    }
                    outcome
                }
                Err(code) => FetchOutcome::Failed { code, reached_log: true },
            };
            let bytes = outcome.bytes();
            pass.urgent |= !matches!(outcome, FetchOutcome::Read(_));
            if bytes > 0 {
                min_one = false;
            }
            pass.bytes += bytes;
            budget = budget.saturating_sub(i32::try_from(bytes).unwrap_or(i32::MAX)).max(0);
            pass.outcomes.push(outcome);
        }
        pass
    }

    /// Whether the follower gets nothing of this partition for now (`shouldLeaderThrottle`): what is in sync is never
    /// held back, or acks=all would wait for it.
    fn holds_back(&self, limits: &FetchLimits, target: &FetchTarget, partition: &Partition, now_ms: i64) -> bool {
        limits.replica_id >= 0
            && self.quotas().leader.holds_back(&target.topic, target.item.partition, now_ms)
            && !partition.is_in_sync(limits.replica_id)
    }

    /// Counts what a follower was given of throttled partitions.
    pub fn record_follower_fetch<'a>(&self, sent: impl Iterator<Item = (&'a FetchTarget, usize)>, now_ms: i64) {
        let quota = &self.quotas().leader;
        let throttled = sent.filter(|(target, _)| quota.is_throttled(&target.topic, target.item.partition));
        let bytes: usize = throttled.map(|(_, bytes)| bytes).sum();
        if bytes > 0 {
            quota.record(bytes, now_ms);
        }
    }

    fn read_one(
        &self,
        limits: &FetchLimits,
        target: &FetchTarget,
        partition: &Partition,
        budget: i32,
        min_one: bool,
    ) -> FetchOutcome {
        let item = &target.item;
        if let Some(elsewhere) = self.elsewhere(limits, target, partition) {
            return elsewhere;
        }
        let request = ReadRequest {
            replica_id: limits.replica_id,
            fetch_offset: item.fetch_offset,
            last_fetched_epoch: (item.last_fetched_epoch >= 0).then_some(item.last_fetched_epoch),
            expected_epoch: ExpectedEpoch::from_wire(item.current_leader_epoch),
            leader_only: limits.leader_only(),
            max_bytes: item.max_bytes.min(budget).max(0),
            isolation: limits.isolation,
            min_one,
        };
        match partition.read(&request) {
            Ok(PartitionRead::Data(read)) => FetchOutcome::Read(read),
            Ok(PartitionRead::Diverging { epoch, end_offset, log }) => FetchOutcome::Diverging {
                epoch,
                end_offset,
                high_watermark: log.high_watermark(),
                log_start_offset: log.log_start_offset(),
                last_stable_offset: log.last_stable_offset(),
            },
            Err(failure) => failed(target, &failure),
        }
    }

    /// The answer for a consumer that had better read from a follower.
    fn elsewhere(&self, limits: &FetchLimits, target: &FetchTarget, partition: &Partition) -> Option<FetchOutcome> {
        let place = limits.place.as_ref()?;
        let replica = self.preferred_read_replica(partition, place, target.item.fetch_offset)?;
        let expected = ExpectedEpoch::from_wire(target.item.current_leader_epoch);
        Some(match partition.local_log(expected, false) {
            Ok(log) => FetchOutcome::Preferred {
                replica,
                high_watermark: log.high_watermark(),
                log_start_offset: log.log_start_offset(),
                last_stable_offset: log.last_stable_offset(),
            },
            Err(code) => failed(target, &ReadFailure::Code(code)),
        })
    }

    fn note_follower(
        &self,
        limits: &FetchLimits,
        target: &FetchTarget,
        partition: &Arc<Partition>,
        outcome: &FetchOutcome,
        now_ms: i64,
    ) {
        let FetchOutcome::Read(read) = outcome else { return };
        let fetch = FollowerFetch {
            replica_id: limits.replica_id,
            broker_epoch: limits.replica_epoch,
            leader_epoch: ExpectedEpoch::from_wire(target.item.current_leader_epoch),
            fetch_offset: target.item.fetch_offset,
            log_start_offset: target.item.log_start_offset,
            leader_end: read.log_end_offset,
        };
        let alive = |id| self.is_alive(id);
        partition.on_follower_fetch(fetch, &alive, now_ms);
        if let Some(proposal) = partition.maybe_expand_isr(limits.replica_id, &alive) {
            self.isr_changes.submit(partition, proposal);
        }
    }

    /// Parks `signal` on every target, so that an append or a change of role wakes it.
    pub fn watch(&self, limits: &FetchLimits, targets: &[FetchTarget]) -> FetchWatch {
        let awaited = if limits.replica_id >= 0 { Awaited::LogEnd } else { Awaited::HighWatermark };
        let signal = Arc::new(FetchSignal::default());
        let partitions: Vec<Arc<Partition>> =
            targets.iter().filter_map(|t| self.partition(&t.topic, t.item.partition).ok()).collect();
        for partition in &partitions {
            partition.waiters.await_data(&signal, awaited);
        }
        FetchWatch { signal, awaited, partitions }
    }
}

fn failed(target: &FetchTarget, failure: &ReadFailure) -> FetchOutcome {
    let code = failure.code();
    if code == ErrorCode::KafkaStorageError || code == ErrorCode::UnknownServerError {
        tracing::error!(target: "kafka.server.ReplicaManager", "Error processing fetch with max size {} from partition {}-{}: {failure}",
            target.item.max_bytes, target.topic, target.item.partition);
    }
    FetchOutcome::Failed { code, reached_log: true }
}

/// A parked fetch; leaves the waiting lists when dropped.
pub struct FetchWatch {
    signal: Arc<FetchSignal>,
    awaited: Awaited,
    partitions: Vec<Arc<Partition>>,
}

impl FetchWatch {
    /// Resolves when any watched partition moved.
    pub async fn changed(&self) {
        self.signal.changed().await;
    }
}

impl Drop for FetchWatch {
    fn drop(&mut self) {
        for partition in &self.partitions {
            partition.waiters.forget_data(&self.signal, self.awaited);
        }
    }
}
