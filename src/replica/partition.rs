//! One hosted replica: its role in the current leader epoch, and appending, reading and acknowledging by it.
//!
//! Owns the role behind a read-write lock (appends and reads share it, LeaderAndIsr takes it whole, so no
//! append straddles a change of leadership), the followers' positions behind a mutex, and the waiting lists.
//! The log is created with the first LeaderAndIsr that names this broker.
//! Answers to Kafka's `Partition` (spec zookeeper 4.2-4.8).

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::follower::Follower;
use super::isr::Isr;
use super::waiters::{Reached, Waiters};
use crate::log::{AppendError, AppendInfo, Isolation, LogRead, PartitionLog, ReadError};
use crate::protocol::ErrorCode;
use crate::record::AppendOrigin;
use crate::topic::TopicPartition;

/// No leader epoch was ever set.
pub const NO_EPOCH: i32 = -1;
/// As long as a producer waits for the answer of a leader that is gone: twice the usual `request.timeout.ms`.
const SUCCESSION_MS: i64 = 60_000;

/// Partition state as LeaderAndIsr carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderAndIsr {
    pub controller_epoch: i32,
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    pub partition_epoch: i32,
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
    pub is_new: bool,
}

/// The role of the replica in one leader epoch.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) controller_epoch: i32,
    pub(super) leader: Option<i32>,
    pub(super) leader_epoch: i32,
    pub(super) partition_epoch: i32,
    /// Log end when this leadership began; `None` while following.
    pub(super) epoch_start_offset: Option<i64>,
    /// When this leadership began, milliseconds since the epoch.
    led_since_ms: i64,
    replicas: Vec<i32>,
    pub(super) isr: Isr,
}

/// What a request says about the epoch it believes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedEpoch(Option<i32>);

impl ExpectedEpoch {
    /// From a wire field where -1 means "not given".
    pub fn from_wire(epoch: i32) -> ExpectedEpoch {
        ExpectedEpoch((epoch >= 0).then_some(epoch))
    }

    pub const ANY: ExpectedEpoch = ExpectedEpoch(None);

    /// Whether `epoch` is the one expected, or none was given.
    fn admits(self, epoch: i32) -> bool {
        self.0.is_none_or(|expected| expected == epoch)
    }
}

/// Facts about the leader that answers carry along with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    pub id: i32,
    pub epoch: i32,
}

pub struct Partition {
    pub tp: TopicPartition,
    pub(super) broker_id: i32,
    /// `replica.lag.time.max.ms`.
    pub(super) max_lag_ms: i64,
    pub(super) role: RwLock<Role>,
    log: ArcSwapOption<PartitionLog>,
    pub(super) followers: Mutex<BTreeMap<i32, Follower>>,
    pub waiters: Waiters,
}

impl Partition {
    /// A replica that has been told nothing yet.
    pub fn new(tp: TopicPartition, broker_id: i32, max_lag_ms: i64) -> Partition {
        let role = Role {
            controller_epoch: 0,
            leader: None,
            leader_epoch: NO_EPOCH,
            partition_epoch: 0,
            epoch_start_offset: None,
            led_since_ms: 0,
            replicas: Vec::new(),
            isr: Isr::Committed(Vec::new()),
        };
        Partition {
            tp,
            broker_id,
            max_lag_ms,
            role: RwLock::new(role),
            log: ArcSwapOption::empty(),
            followers: Mutex::default(),
            waiters: Waiters::default(),
        }
    }

    pub fn log(&self) -> Option<Arc<PartitionLog>> {
        self.log.load_full()
    }

    /// Gives the replica its log; a second call keeps the first.
    pub fn set_log(&self, log: Arc<PartitionLog>) {
        if self.log.load().is_none() {
            self.log.store(Some(log));
        }
    }

    pub fn leader_epoch(&self) -> i32 {
        self.role.read().leader_epoch
    }

    pub fn is_leader(&self) -> bool {
        self.role.read().leader == Some(self.broker_id)
    }

    /// Whether ZooKeeper was last known to hold this replica in the in-sync set.
    pub fn is_in_sync(&self, replica: i32) -> bool {
        self.role.read().isr.committed().contains(&replica)
    }

    /// Who leads, as far as this replica was told.
    pub fn current_leader(&self) -> CurrentLeader {
        let role = self.role.read();
        CurrentLeader { id: role.leader.unwrap_or(-1), epoch: role.leader_epoch }
    }

    /// Takes up leadership. Returns false (and does nothing) if the partition epoch is older than ours,
    /// otherwise whether the replica did not lead before.
    pub fn make_leader(
        &self,
        state: &LeaderAndIsr,
        log: &Arc<PartitionLog>,
        alive: &dyn Fn(i32) -> bool,
        now_ms: i64,
    ) -> std::io::Result<bool> {
        let (was_leader, advanced) = {
            let mut role = self.role.write();
            if state.partition_epoch < role.partition_epoch {
                return Ok(false);
            }
            let was_leader = role.leader == Some(self.broker_id);
            if state.leader_epoch > role.leader_epoch {
                let start = log.log_end_offset();
                log.assign_epoch_start(state.leader_epoch)?;
                role.epoch_start_offset = Some(start);
                role.led_since_ms = now_ms;
                role.leader_epoch = state.leader_epoch;
                self.reset_followers(state, was_leader, start, now_ms);
            } else {
                self.retain_followers(state, now_ms);
            }
            role.controller_epoch = state.controller_epoch;
            role.partition_epoch = state.partition_epoch;
            role.leader = Some(self.broker_id);
            role.replicas = state.replicas.clone();
            role.isr = Isr::Committed(state.isr.clone());
            (was_leader, self.advance_high_watermark(&role, log, alive, now_ms))
        };
        if advanced {
            self.waiters.high_watermark_moved(log.high_watermark());
        }
        Ok(!was_leader)
    }

    /// Becomes a follower. Returns whether the leader epoch is new. Parked fetches are not woken: the caller does that
    /// when its whole order is applied ([`Waiters::role_changed`]), so that they tell of all of it.
    ///
    /// Appends that wait for the high watermark go on waiting: the log will be cut back to what the new leader has, or
    /// the high watermark passes them. Kafka answers NOT_LEADER_OR_FOLLOWER at once, which clients take for "not
    /// written"; a producer that then starts a new epoch writes again what the new leader has already.
    pub fn make_follower(&self, state: &LeaderAndIsr) -> bool {
        let mut role = self.role.write();
        if state.partition_epoch < role.partition_epoch {
            return false;
        }
        let is_new_epoch = state.leader_epoch > role.leader_epoch;
        *role = Role {
            controller_epoch: state.controller_epoch,
            leader: (state.leader >= 0).then_some(state.leader),
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            epoch_start_offset: None,
            led_since_ms: 0,
            replicas: state.replicas.clone(),
            isr: Isr::Committed(Vec::new()),
        };
        self.followers.lock().clear();
        is_new_epoch
    }

    fn reset_followers(&self, state: &LeaderAndIsr, was_leader: bool, epoch_start: i64, now_ms: i64) {
        self.retain_followers(state, now_ms);
        for (id, follower) in self.followers.lock().iter_mut() {
            let in_sync = state.isr.contains(id);
            if was_leader {
                follower.renew(in_sync, epoch_start, now_ms);
            } else {
                *follower = Follower::reset(in_sync, now_ms);
            }
        }
    }

    fn retain_followers(&self, state: &LeaderAndIsr, now_ms: i64) {
        let mut followers = self.followers.lock();
        followers.retain(|id, _| state.replicas.contains(id));
        for id in state.replicas.iter().filter(|id| **id != self.broker_id) {
            followers.entry(*id).or_insert_with(|| Follower::reset(state.isr.contains(id), now_ms));
        }
    }

    /// Moves the high watermark to the least end offset of those that count (spec 4.5); true if it moved.
    pub(super) fn advance_high_watermark(
        &self,
        role: &Role,
        log: &PartitionLog,
        alive: &dyn Fn(i32) -> bool,
        now_ms: i64,
    ) -> bool {
        if role.isr.committed().len() < effective_min_isr(log, role) {
            return false;
        }
        let end = log.log_end_offset();
        let mut candidate = end;
        for (id, follower) in self.followers.lock().iter() {
            let counts =
                role.isr.maximal_contains(*id) || (follower.is_caught_up(end, now_ms, self.max_lag_ms) && alive(*id));
            if counts {
                candidate = candidate.min(follower.log_end_offset);
            }
        }
        log.maybe_increment_high_watermark(candidate).is_some()
    }

    /// Appends a client's or coordinator's batches as leader and advances the high watermark if it may. With acks -1
    /// (all) also the wait for the high watermark, unless that has come so far: begun in the same leadership, before
    /// anybody can cut off what was appended.
    pub fn append_as_leader(
        &self,
        records: Bytes,
        origin: AppendOrigin,
        acks: i16,
        alive: &dyn Fn(i32) -> bool,
        now_ms: i64,
    ) -> Result<(AppendInfo, Option<Reached>), AppendError> {
        let (info, reached, log, advanced) = {
            let role = self.role.read();
            if role.leader != Some(self.broker_id) {
                return Err(AppendError::rejected(ErrorCode::NotLeaderOrFollower));
            }
            let Some(log) = self.log.load_full() else {
                return Err(AppendError::rejected(ErrorCode::NotLeaderOrFollower));
            };
            if acks == -1 && role.isr.committed().len() < effective_min_isr(&log, &role) {
                return Err(AppendError::rejected(ErrorCode::NotEnoughReplicas));
            }
            let info = log.append_as_leader(records, role.leader_epoch, origin, now_ms)?;
            let advanced = self.advance_high_watermark(&role, &log, alive, now_ms);
            let reached = if acks == -1 { self.await_high_watermark(&log, info.last_offset + 1) } else { None };
            (info, reached, log, advanced)
        };
        self.waiters.log_end_moved();
        if advanced {
            self.waiters.high_watermark_moved(log.high_watermark());
        }
        Ok((info, reached))
    }

    /// `None` if the high watermark is at `offset` already.
    fn await_high_watermark(&self, log: &PartitionLog, offset: i64) -> Option<Reached> {
        self.waiters.await_offset(offset, || log.high_watermark() >= offset)
    }

    /// The verdict on an acks=all append once the high watermark passed it, or the wait failed.
    pub fn acknowledge(&self) -> ErrorCode {
        let role = self.role.read();
        match self.log.load_full() {
            Some(log) if role.leader == Some(self.broker_id) => {
                if role.isr.maximal_len() < effective_min_isr(&log, &role) {
                    ErrorCode::NotEnoughReplicasAfterAppend
                } else {
                    ErrorCode::None
                }
            }
            // It was replicated before the leadership moved, or came back from the new leader's high watermark.
            Some(_) if role.leader.is_some() => ErrorCode::None,
            _ => ErrorCode::NotLeaderOrFollower,
        }
    }

    /// The log, if this replica may answer in the role and epoch asked for.
    pub fn local_log(&self, expected: ExpectedEpoch, leader_only: bool) -> Result<Arc<PartitionLog>, ErrorCode> {
        let role = self.role.read();
        if let ExpectedEpoch(Some(epoch)) = expected {
            if epoch < role.leader_epoch {
                return Err(ErrorCode::FencedLeaderEpoch);
            }
            if epoch > role.leader_epoch {
                return Err(ErrorCode::UnknownLeaderEpoch);
            }
        }
        if leader_only && role.leader != Some(self.broker_id) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        self.log.load_full().ok_or(ErrorCode::NotLeaderOrFollower)
    }

    /// Reads for a fetch. Followers (`replica_id` >= 0) must be assigned; their position is noted with
    /// [`Partition::on_follower_fetch`] afterwards.
    pub fn read(&self, request: &ReadRequest) -> Result<PartitionRead, ReadFailure> {
        let log = self.local_log(request.expected_epoch, request.leader_only).map_err(ReadFailure::Code)?;
        if request.replica_id >= 0 && !self.followers.lock().contains_key(&request.replica_id) {
            return Err(ReadFailure::Code(match request.expected_epoch {
                ExpectedEpoch(Some(_)) => ErrorCode::UnknownLeaderEpoch,
                ExpectedEpoch(None) => ErrorCode::NotLeaderOrFollower,
            }));
        }
        if let Some(epoch) = request.last_fetched_epoch
            && let Some(diverging) = diverging_epoch(&log, epoch, request.fetch_offset)?
        {
            return Ok(PartitionRead::Diverging { epoch: diverging.0, end_offset: diverging.1, log });
        }
        let read = log
            .read(request.fetch_offset, request.max_bytes, request.isolation, request.min_one)
            .map_err(ReadFailure::Log)?;
        Ok(PartitionRead::Data(read))
    }

    /// Notes a follower's position and moves the high watermark if that allows it.
    pub fn on_follower_fetch(&self, fetch: FollowerFetch, alive: &dyn Fn(i32) -> bool, now_ms: i64) {
        let Some(log) = self.log.load_full() else { return };
        let advanced = {
            let role = self.role.read();
            if !fetch.leader_epoch.admits(role.leader_epoch) {
                return;
            }
            match self.followers.lock().get_mut(&fetch.replica_id) {
                Some(follower) => {
                    follower.broker_epoch = fetch.broker_epoch;
                    follower.on_fetch(fetch.fetch_offset, fetch.log_start_offset, fetch.leader_end, now_ms);
                }
                None => return,
            }
            self.advance_high_watermark(&role, &log, alive, now_ms)
        };
        if advanced {
            self.waiters.high_watermark_moved(log.high_watermark());
        }
    }

    /// Whether this replica leads since a moment ago a log that others led before: what a producer sent to the last
    /// leader may still be on its way here.
    pub fn has_just_succeeded(&self, now_ms: i64) -> bool {
        let role = self.role.read();
        let inherited = role.leader_epoch > 0 && role.epoch_start_offset.is_some_and(|start| start > 0);
        inherited && now_ms.saturating_sub(role.led_since_ms) < SUCCESSION_MS
    }

    /// Start of this leadership, for answers that must not expose a high watermark that still lags behind it.
    pub fn epoch_start_offset(&self) -> Option<i64> {
        self.role.read().epoch_start_offset
    }

    /// StopReplica: whoever waits is answered; the role stays until the next LeaderAndIsr.
    pub fn stop(&self) {
        self.waiters.fail(ErrorCode::NotLeaderOrFollower);
    }

    /// Ends the role for good: the replica is being deleted or its directory failed.
    pub fn retire(&self) {
        self.role.write().leader = None;
        self.waiters.fail(ErrorCode::NotLeaderOrFollower);
    }
}

/// A fetch of one partition, as the limits of the whole request left it.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// Broker id of a follower, or -1 for a consumer.
    pub replica_id: i32,
    pub fetch_offset: i64,
    pub last_fetched_epoch: Option<i32>,
    pub expected_epoch: ExpectedEpoch,
    pub leader_only: bool,
    pub max_bytes: i32,
    pub isolation: Isolation,
    /// Return one whole batch even if it is over `max_bytes`.
    pub min_one: bool,
}

/// A follower's fetch as the leader's bookkeeping sees it.
#[derive(Clone, Copy, Debug)]
pub struct FollowerFetch {
    pub replica_id: i32,
    /// -1 before Fetch version 15.
    pub broker_epoch: i64,
    /// The epoch the fetch was made in: positions of another leadership say nothing.
    pub leader_epoch: ExpectedEpoch,
    pub fetch_offset: i64,
    pub log_start_offset: i64,
    /// The leader's log end before it read for this fetch.
    pub leader_end: i64,
}

/// What a read gave.
pub enum PartitionRead {
    Data(LogRead),
    /// The requester's last epoch ends earlier here: it must truncate.
    Diverging {
        epoch: i32,
        end_offset: i64,
        log: Arc<PartitionLog>,
    },
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadFailure {
    #[error("{0}")]
    Code(ErrorCode),
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl ReadFailure {
    pub fn code(&self) -> ErrorCode {
        match self {
            ReadFailure::Code(code) => *code,
            ReadFailure::Log(error) => error.code(),
        }
    }
}

/// `min.insync.replicas`, but never more than there are replicas.
fn effective_min_isr(log: &PartitionLog, role: &Role) -> usize {
    let configured = usize::try_from(log.config().min_insync_replicas).unwrap_or(1);
    configured.min(role.replicas.len())
}

/// Epoch and end offset where the requester's log departs from ours, if it does (KIP-595, spec 4.10).
fn diverging_epoch(
    log: &PartitionLog,
    last_fetched: i32,
    fetch_offset: i64,
) -> Result<Option<(i32, i64)>, ReadFailure> {
    let (epoch, end_offset) = log.end_offset_for_epoch(last_fetched);
    if epoch < 0 || fetch_offset < log.log_start_offset() {
        return Err(ReadFailure::Code(ErrorCode::OffsetOutOfRange));
    }
    Ok((epoch < last_fetched || end_offset < fetch_offset).then_some((epoch, end_offset)))
}
