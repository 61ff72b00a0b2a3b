//! Rebalances of a group: how one begins, when its join phase ends, how the assignment goes out, and what happens once
//! the group's record is written.
//!
//! Answers to the rebalance half of Kafka's `GroupCoordinator`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::config::Now;
use super::deadlines::RebalanceTimer;
use super::group::{COORDINATOR_LOG, Effect, Effects, Group, MANAGER_LOG, StaticReplacement, Store, StorePurpose};
use super::member::{JoinResult, SyncResult};
use super::state::GroupState;
use crate::protocol::ErrorCode;

impl Group {
    /// Starts a rebalance if the state allows one.
    pub(super) fn maybe_prepare_rebalance(&mut self, reason: &str, now: Now, fx: &mut Effects) {
        if GroupState::PreparingRebalance.may_follow(self.state()) {
            self.prepare_rebalance(reason, now, fx);
        }
    }

    pub(super) fn prepare_rebalance(&mut self, reason: &str, now: Now, fx: &mut Effects) {
        if self.is(GroupState::CompletingRebalance) {
            self.reset_assignment(ErrorCode::RebalanceInProgress, now, fx);
        }
        self.pending_sync.clear();
        self.sync_deadline = None;
        if self.is(GroupState::Empty) {
            let delay = i64::from(self.config.group_initial_rebalance_delay_ms);
            self.start_initial_delay(delay, (self.rebalance_timeout_ms() - delay).max(0), now);
        } else {
            self.start_join_timer(self.rebalance_timeout_ms(), now);
        }
        self.transition_to(GroupState::PreparingRebalance, now);
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {}]: Preparing to rebalance group {} in state {} with old generation {} \
             (__consumer_offsets-{}) (reason: {reason})",
            self.config.broker_id,
            self.id,
            self.state(),
            self.generation,
            self.partition
        );
        self.try_complete_join(now, fx);
    }

    /// Ends the join phase if everybody is there. The initial delay is waited out in any case.
    pub(super) fn try_complete_join(&mut self, now: Now, fx: &mut Effects) {
        let may_end_early = matches!(self.rebalance_timer, RebalanceTimer::Join { .. });
        if self.is(GroupState::PreparingRebalance) && may_end_early && self.has_all_members_joined() {
            self.complete_join(now, fx);
        }
    }

    /// Ends the join phase: who has not rejoined is out (static members stay), the rest form the next generation.
    pub(super) fn complete_join(&mut self, now: Now, fx: &mut Effects) {
        self.rebalance_timer = RebalanceTimer::None;
        self.remove_members_that_did_not_join(fx);
        if self.is(GroupState::Dead) {
            tracing::info!(
                target: COORDINATOR_LOG,
                "[GroupCoordinator {}]: Group {} is dead, skipping rebalance stage",
                self.config.broker_id,
                self.id
            );
        } else if !self.maybe_elect_new_joined_leader() && self.members().len() > 0 {
            tracing::error!(
                target: COORDINATOR_LOG,
                "[GroupCoordinator {}]: Group {} could not complete rebalance because no members rejoined",
                self.config.broker_id,
                self.id
            );
            // At least a millisecond, so that a timeout of zero does not spin until the sessions end.
            self.start_join_timer(self.rebalance_timeout_ms().max(1), now);
        } else {
            self.init_next_generation(now);
            if self.is(GroupState::Empty) {
                self.became_empty(fx);
            } else {
                self.answer_joins(now, fx);
            }
        }
    }

    fn remove_members_that_did_not_join(&mut self, fx: &mut Effects) {
        let missing: Vec<Arc<str>> = self
            .members()
            .filter(|member| !member.is_awaiting_join() && !member.is_static())
            .map(|member| member.id.clone())
            .collect();
        if missing.is_empty() {
            return;
        }
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {}]: Group {} removed dynamic members who haven't joined: Set({})",
            self.config.broker_id,
            self.id,
            missing.join(", ")
        );
        for member_id in missing {
            self.remove(&member_id, ErrorCode::UnknownMemberId, fx);
        }
    }

    fn became_empty(&mut self, fx: &mut Effects) {
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {}]: Group {} with generation {} is now empty (__consumer_offsets-{})",
            self.config.broker_id,
            self.id,
            self.generation,
            self.partition
        );
        self.store(&HashMap::new(), StorePurpose::Empty, fx);
    }

    /// The generation stands: all parked joins are answered, and each member now owes a SyncGroup.
    fn answer_joins(&mut self, now: Now, fx: &mut Effects) {
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {}]: Stabilized group {} generation {} (__consumer_offsets-{}) with {} members",
            self.config.broker_id,
            self.id,
            self.generation,
            self.partition,
            self.members().len()
        );
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let result = self.current_generation_result(&id);
            self.answer_join(&id, fx, |_| result);
            self.reset_session(&id, now);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
            self.pending_sync.insert(id);
        }
        self.start_sync_timer(now);
    }

    /// What a member is told about the current generation; the leader gets the member list.
    pub(super) fn current_generation_result(&self, member_id: &str) -> JoinResult {
        JoinResult {
            error: ErrorCode::None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_else(|| Arc::from("")),
            skip_assignment: false,
            member_id: Arc::from(member_id),
            members: if self.is_leader(member_id) { self.member_list() } else { Vec::new() },
        }
    }

    /// A member goes. Its parked join is told that its id is unknown, so that it comes back if it is alive after all.
    pub(super) fn remove_member(&mut self, member_id: &str, reason: &str, now: Now, fx: &mut Effects) {
        self.remove(member_id, ErrorCode::UnknownMemberId, fx);
        match self.state() {
            GroupState::Dead | GroupState::Empty => {}
            GroupState::Stable | GroupState::CompletingRebalance => self.maybe_prepare_rebalance(reason, now, fx),
            GroupState::PreparingRebalance => self.try_complete_join(now, fx),
        }
    }

    pub(super) fn remove_pending_member(&mut self, member_id: &str, now: Now, fx: &mut Effects) {
        self.remove(member_id, ErrorCode::UnknownMemberId, fx);
        self.try_complete_join(now, fx);
    }

    /// Nobody has an assignment any more; parked syncs are answered `error`.
    fn reset_assignment(&mut self, error: ErrorCode, now: Now, fx: &mut Effects) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        self.propagate_assignment(error, now, fx);
    }

    fn propagate_assignment(&mut self, error: ErrorCode, now: Now, fx: &mut Effects) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let assignment = self.members.get(&id).map(|member| member.assignment.clone()).unwrap_or_default();
            if assignment.is_empty() && error.is_none() {
                tracing::warn!(
                    target: COORDINATOR_LOG,
                    "[GroupCoordinator {}]: Sending empty assignment to member {id} of {} for generation {} with no errors",
                    self.config.broker_id,
                    self.id,
                    self.generation
                );
            }
            let result = if error.is_none() { self.sync_result(assignment) } else { SyncResult::error(error) };
            if self.answer_sync(&id, result, fx) {
                // The session did not run while the sync was parked.
                self.reset_session(&id, now);
            }
        }
    }

    pub(super) fn sync_result(&self, assignment: Bytes) -> SyncResult {
        SyncResult {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment,
        }
    }

    /// Asks for the group's record to be written.
    pub(super) fn store(&mut self, assignment: &HashMap<Arc<str>, Bytes>, purpose: StorePurpose, fx: &mut Effects) {
        let value = self.to_record(assignment).encode(self.config.group_value_version).map_err(|error| {
            tracing::error!(
                target: MANAGER_LOG,
                "[GroupMetadataManager brokerId={}] Cannot encode the metadata of group {}: {error}",
                self.config.broker_id,
                self.id
            );
            ErrorCode::UnknownServerError
        });
        fx.push(Effect::Store(Store { value, purpose }));
    }

    /// The outcome of a `Store`; `error` is already what members are told (see `storage::group_append_error`).
    pub fn on_stored(&mut self, purpose: StorePurpose, error: ErrorCode, now: Now, fx: &mut Effects) {
        match purpose {
            StorePurpose::Empty if error.is_none() => {}
            StorePurpose::Empty => tracing::warn!(
                target: COORDINATOR_LOG,
                "[GroupCoordinator {}]: Failed to write empty metadata for group {}: {}",
                self.config.broker_id,
                self.id,
                error.message()
            ),
            StorePurpose::Assignment { generation, leader, assignment } => {
                self.on_assignment_stored(generation, &leader, assignment, error, now, fx);
            }
            StorePurpose::StaticMember(replacement) => self.on_static_member_stored(*replacement, error, now, fx),
        }
    }

    fn on_assignment_stored(
        &mut self,
        generation: i32,
        leader: &str,
        assignment: HashMap<Arc<str>, Bytes>,
        error: ErrorCode,
        now: Now,
        fx: &mut Effects,
    ) {
        // Meanwhile a member may have come or gone: then another rebalance has begun and this assignment is void.
        if !self.is(GroupState::CompletingRebalance) || self.generation != generation {
            return;
        }
        if !error.is_none() {
            self.reset_assignment(error, now, fx);
            let reason = format!("Error {error} when storing group assignment during SyncGroup (member: {leader})");
            self.maybe_prepare_rebalance(&reason, now, fx);
            return;
        }
        for member in self.members.values_mut() {
            member.assignment = assignment.get(&member.id).cloned().unwrap_or_default();
        }
        self.propagate_assignment(ErrorCode::None, now, fx);
        self.transition_to(GroupState::Stable, now);
    }

    fn on_static_member_stored(&mut self, done: StaticReplacement, error: ErrorCode, now: Now, fx: &mut Effects) {
        let member = self.members.get(&done.new_member_id);
        if member.and_then(|member| member.join) != Some(done.ticket) {
            // Answered meanwhile: replaced again, removed, or the group moved away.
            return;
        }
        if !error.is_none() {
            self.undo_static_replacement(done, error, now, fx);
            return;
        }
        if self.is(GroupState::PreparingRebalance) {
            // A rebalance began while the record was written; the parked join counts for it.
            return;
        }
        let mut result = self.current_generation_result(&done.new_member_id);
        if done.support_skipping_assignment {
            result.skip_assignment = self.is_leader(&done.new_member_id);
        } else {
            // Older clients are told of the old leader, so that they do not take the lead in a stable group.
            result.leader = done.old_leader;
            result.members.clear();
        }
        self.answer_join(&done.new_member_id, fx, |_| result);
        self.reset_session(&done.new_member_id, now);
    }

    fn undo_static_replacement(&mut self, done: StaticReplacement, error: ErrorCode, now: Now, fx: &mut Effects) {
        tracing::warn!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {}]: Failed to persist metadata for group {}: {}",
            self.config.broker_id,
            self.id,
            error.message()
        );
        let mut result = self.current_generation_result("");
        result.error = error;
        result.leader = done.old_leader;
        self.answer_join(&done.new_member_id, fx, |_| result);
        let (rebalance, session) = (done.old_rebalance_timeout_ms, done.old_session_timeout_ms);
        self.update_member(&done.new_member_id, done.old_protocols, rebalance, session, None, fx);
        self.replace_static_member(&done.instance_id, &done.new_member_id, &done.old_member_id, fx);
        self.reset_session(&done.old_member_id, now);
    }

    /// A freshly loaded group starts its sessions; one with too many members rebalances.
    pub fn on_loaded(&mut self, now: Now, fx: &mut Effects) {
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {}]: Loading group metadata for {} with generation {}",
            self.config.broker_id,
            self.id,
            self.generation
        );
        if self.is_over_capacity() {
            let reason = format!(
                "Freshly-loaded group is over capacity ({}). Rebalancing in order to give a chance for consumers to \
                 commit offsets",
                self.config.group_max_size
            );
            self.prepare_rebalance(&reason, now, fx);
        }
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            self.reset_session(&id, now);
        }
    }

    /// The group's partition moved to another broker: everybody who waits is sent there.
    pub fn on_unloaded(&mut self, now: Now, fx: &mut Effects) {
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {}]: Unloading group metadata for {} with generation {}",
            self.config.broker_id,
            self.id,
            self.generation
        );
        self.transition_to(GroupState::Dead, now);
        self.release_parked(ErrorCode::NotCoordinator, fx);
    }

    /// Answers whatever is parked with `error` and stops all timers; the group is dead.
    pub(super) fn release_parked(&mut self, error: ErrorCode, fx: &mut Effects) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            self.answer_join(&id, fx, |id| JoinResult::error(id, error));
            self.answer_sync(&id, SyncResult::error(error), fx);
            if let Some(member) = self.members.get_mut(&id) {
                member.session_deadline = None;
            }
        }
        self.pending_members.clear();
        self.pending_sync.clear();
        self.sync_deadline = None;
        self.rebalance_timer = RebalanceTimer::None;
    }
}
