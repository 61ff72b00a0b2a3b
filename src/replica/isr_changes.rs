//! Who comes into the in-sync set and who leaves it: proposals to the controller, and its answers.
//! Answers to `Partition.maybeExpandIsr`, `maybeShrinkIsr`, `handleAlterPartitionUpdate` (spec zookeeper 4.7).

use uuid::Uuid;

use super::isr::Isr;
use super::partition::{Partition, Role};
use crate::protocol::ErrorCode;
use crate::topic::TopicPartition;

const TARGET: &str = "kafka.cluster.Partition";

/// A change of the in-sync set that the controller is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    pub tp: TopicPartition,
    /// Nil when the topic has none.
    pub topic_id: Uuid,
    /// Of the controller that made the leader.
    pub controller_epoch: i32,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    /// The set as it would be, with the broker epoch of each member as of its last fetch; -1 when that is not known.
    pub members: Vec<(i32, i64)>,
    /// The pending state that this proposal settles.
    pending: Isr,
}

impl IsrProposal {
    pub fn isr(&self) -> Vec<i32> {
        self.members.iter().map(|(id, _)| *id).collect()
    }
}

/// What the controller says the partition's state is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedIsr {
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    pub partition_epoch: i32,
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more to do about this proposal.
    Settled,
    /// Propose the same again.
    Retry,
}

impl Partition {
    /// The in-sync set as this broker last knew it, with the change it may have asked for.
    pub fn proposed_isr(&self) -> Vec<i32> {
        self.role.read().isr.proposed()
    }

    /// Proposes to let a follower in, if it has what it takes and nothing is under way. To be asked after each of its
    /// fetches.
    pub fn maybe_expand_isr(&self, replica: i32, alive: &dyn Fn(i32) -> bool) -> Option<IsrProposal> {
        if !self.may_join(&self.role.read(), replica, alive) {
            return None;
        }
        let mut role = self.role.write();
        if !self.may_join(&role, replica, alive) {
            return None;
        }
        let committed = role.isr.committed().to_vec();
        tracing::info!(target: TARGET, "[Partition {} broker={}] Expanding ISR from {committed:?} with {replica}", self.tp, self.broker_id);
        role.isr = Isr::Expanding { committed, joining: replica };
        Some(self.proposal(&role))
    }

    fn may_join(&self, role: &Role, replica: i32, alive: &dyn Fn(i32) -> bool) -> bool {
        if role.leader != Some(self.broker_id) || role.isr.is_in_flight() || role.isr.maximal_contains(replica) {
            return false;
        }
        let (Some(start), Some(log)) = (role.epoch_start_offset, self.log()) else { return false };
        let end = self.followers.lock().get(&replica).map_or(-1, |f| f.log_end_offset);
        end >= log.high_watermark() && end >= start && alive(replica)
    }

    /// Proposes to do without the followers that lag, if nothing is under way.
    pub fn maybe_shrink_isr(&self, now_ms: i64) -> Option<IsrProposal> {
        if self.laggards(&self.role.read(), now_ms).is_empty() {
            return None;
        }
        let mut role = self.role.write();
        let leaving = self.laggards(&role, now_ms);
        if leaving.is_empty() {
            return None;
        }
        let committed = role.isr.committed().to_vec();
        tracing::info!(target: TARGET, "[Partition {} broker={}] Shrinking ISR from {committed:?} by {leaving:?}. Leader: (highWatermark: {}, endOffset: {})",
            self.tp, self.broker_id, self.log().map_or(-1, |l| l.high_watermark()), self.log().map_or(-1, |l| l.log_end_offset()));
        role.isr = Isr::Shrinking { committed, leaving };
        Some(self.proposal(&role))
    }

    fn laggards(&self, role: &Role, now_ms: i64) -> Vec<i32> {
        if role.leader != Some(self.broker_id) || role.isr.is_in_flight() {
            return Vec::new();
        }
        let Some(end) = self.log().map(|log| log.log_end_offset()) else { return Vec::new() };
        let followers = self.followers.lock();
        let lags = |id: &i32| {
            *id != self.broker_id && followers.get(id).is_none_or(|f| !f.is_caught_up(end, now_ms, self.max_lag_ms))
        };
        role.isr.committed().iter().copied().filter(lags).collect()
    }

    fn proposal(&self, role: &Role) -> IsrProposal {
        let followers = self.followers.lock();
        let members = role.isr.proposed().into_iter();
        IsrProposal {
            tp: self.tp.clone(),
            topic_id: self.log().and_then(|log| log.topic_id()).unwrap_or_default(),
            controller_epoch: role.controller_epoch,
            leader_epoch: role.leader_epoch,
            partition_epoch: role.partition_epoch,
            members: members.map(|id| (id, followers.get(&id).map_or(-1, |f| f.broker_epoch))).collect(),
            pending: role.isr.clone(),
        }
    }

    /// Takes in the controller's answer to a proposal.
    pub fn on_isr_answer(
        &self,
        proposal: &IsrProposal,
        answer: Result<CommittedIsr, ErrorCode>,
        alive: &dyn Fn(i32) -> bool,
        now_ms: i64,
    ) -> Verdict {
        let (verdict, moved) = {
            let mut role = self.role.write();
            let is_current = role.leader == Some(self.broker_id)
                && role.leader_epoch == proposal.leader_epoch
                && role.isr == proposal.pending;
            if !is_current {
                return Verdict::Settled;
            }
            match answer {
                Ok(state) => (Verdict::Settled, self.commit_isr(&mut role, state, alive, now_ms)),
                Err(code) => (self.on_isr_refused(&mut role, code), false),
            }
        };
        if moved {
            self.waiters.high_watermark_moved(self.log().map_or(0, |log| log.high_watermark()));
        }
        verdict
    }

    /// True if the high watermark moved.
    fn commit_isr(&self, role: &mut Role, state: CommittedIsr, alive: &dyn Fn(i32) -> bool, now_ms: i64) -> bool {
        if state.leader_epoch != role.leader_epoch || state.partition_epoch < role.partition_epoch {
            tracing::debug!(target: TARGET, "[Partition {} broker={}] Ignoring the answer {state:?}, a LeaderAndIsr must be on its way", self.tp, self.broker_id);
            return false;
        }
        tracing::info!(target: TARGET, "[Partition {} broker={}] ISR updated to {:?} and version updated to {}", self.tp, self.broker_id, state.isr, state.partition_epoch);
        role.isr = Isr::Committed(state.isr);
        role.partition_epoch = state.partition_epoch;
        self.log().is_some_and(|log| self.advance_high_watermark(role, &log, alive, now_ms))
    }

    fn on_isr_refused(&self, role: &mut Role, code: ErrorCode) -> Verdict {
        match code {
            ErrorCode::OperationNotAttempted | ErrorCode::IneligibleReplica => {
                tracing::info!(target: TARGET, "[Partition {} broker={}] Failed to alter partition: {code}. Back to the last committed ISR", self.tp, self.broker_id);
                role.isr = Isr::Committed(role.isr.committed().to_vec());
                Verdict::Settled
            }
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::InvalidUpdateVersion
            | ErrorCode::InvalidRequest
            | ErrorCode::NewLeaderElected => {
                tracing::info!(target: TARGET, "[Partition {} broker={}] Failed to alter partition: {code}. The controller knows better: awaiting its LeaderAndIsr", self.tp, self.broker_id);
                Verdict::Settled
            }
            code => {
                tracing::warn!(target: TARGET, "[Partition {} broker={}] Failed to alter partition: {code}. Retrying", self.tp, self.broker_id);
                Verdict::Retry
            }
        }
    }
}
