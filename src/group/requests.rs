//! The requests of members as steps of the state machine: SyncGroup, Heartbeat, LeaveGroup, and whether a commit is
//! allowed. JoinGroup is in `join`.
//!
//! Answers to `handleSyncGroup`, `handleHeartbeat`, `handleLeaveGroup` and `validateOffsetCommit` of Kafka's
//! `GroupCoordinator`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::config::Now;
use super::group::{COORDINATOR_LOG, Effect, Effects, Group, StorePurpose};
use super::member::{SyncResult, Ticket};
use super::state::GroupState;
use crate::protocol::ErrorCode;

/// A SyncGroup.
#[derive(Debug)]
pub struct SyncRequest<'a> {
    pub generation: i32,
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    pub protocol_type: Option<&'a str>,
    pub protocol_name: Option<&'a str>,
    /// From the leader: member id to assignment.
    pub assignments: HashMap<Arc<str>, Bytes>,
}

/// Who a request claims to come from.
#[derive(Clone, Copy, Debug)]
pub struct MemberClaim<'a> {
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    pub generation: i32,
}

impl Group {
    /// Checks that the instance id, if given, belongs to the member, and that the member exists.
    pub(super) fn validate_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        operation: &str,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if &**current != member_id => {
                    tracing::info!(
                        target: COORDINATOR_LOG,
                        "[GroupCoordinator {}]: Request memberId={member_id} for static member with \
                         groupInstanceId={instance_id} is fenced by current memberId={current} during operation \
                         {operation}",
                        self.config.broker_id
                    );
                    return Err(ErrorCode::FencedInstanceId);
                }
                Some(_) => {}
            }
        }
        if self.has(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    fn validate_claim(&self, claim: MemberClaim<'_>, operation: &str) -> Result<(), ErrorCode> {
        if self.is(GroupState::Dead) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.validate_member(claim.member_id, claim.instance_id, operation)?;
        if claim.generation == self.generation { Ok(()) } else { Err(ErrorCode::IllegalGeneration) }
    }

    /// SyncGroup; the answer comes as an effect, now or later.
    pub fn sync(&mut self, ticket: Ticket, request: SyncRequest<'_>, now: Now, fx: &mut Effects) {
        if let Err(error) = self.validate_sync(&request) {
            fx.push(Effect::Sync(ticket, SyncResult::error(error)));
            return;
        }
        match self.state() {
            GroupState::Empty => fx.push(Effect::Sync(ticket, SyncResult::error(ErrorCode::UnknownMemberId))),
            GroupState::Dead => fx.push(Effect::Sync(ticket, SyncResult::error(ErrorCode::CoordinatorNotAvailable))),
            GroupState::PreparingRebalance => {
                fx.push(Effect::Sync(ticket, SyncResult::error(ErrorCode::RebalanceInProgress)));
            }
            GroupState::CompletingRebalance => self.park_sync(ticket, request, fx),
            GroupState::Stable => {
                self.received_sync(request.member_id);
                let assignment = self.members.get(request.member_id).map(|m| m.assignment.clone()).unwrap_or_default();
                fx.push(Effect::Sync(ticket, self.sync_result(assignment)));
                self.reset_session(request.member_id, now);
            }
        }
    }

    fn validate_sync(&self, request: &SyncRequest<'_>) -> Result<(), ErrorCode> {
        let SyncRequest { member_id, instance_id, generation, .. } = *request;
        self.validate_claim(MemberClaim { member_id, instance_id, generation }, "sync-group")?;
        let differs = |given: Option<&str>, current: Option<&str>| given.is_some() && given != current;
        if differs(request.protocol_type, self.protocol_type()) || differs(request.protocol_name, self.protocol_name())
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn received_sync(&mut self, member_id: &str) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            self.sync_deadline = None;
        }
    }

    fn park_sync(&mut self, ticket: Ticket, request: SyncRequest<'_>, fx: &mut Effects) {
        // A second SyncGroup of the same member takes the first one's place. Kafka forgets the first; we answer it.
        self.answer_sync(request.member_id, SyncResult::error(ErrorCode::RebalanceInProgress), fx);
        if let Some(member) = self.members.get_mut(request.member_id) {
            member.sync = Some(ticket);
        }
        self.received_sync(request.member_id);
        if self.is_leader(request.member_id) {
            self.take_assignment(request, fx);
        }
    }

    /// The leader has spoken: its assignment is written, and goes out once it is.
    fn take_assignment(&mut self, request: SyncRequest<'_>, fx: &mut Effects) {
        let (broker, leader) = (self.config.broker_id, request.member_id);
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {broker}]: Assignment received from leader {leader} for group {} for generation {}. The \
             group has {} members, {} of which are static.",
            self.id,
            self.generation,
            self.members().len(),
            self.static_members.len()
        );
        let mut assignment = request.assignments;
        let missing: Vec<Arc<str>> = self.members.keys().filter(|id| !assignment.contains_key(*id)).cloned().collect();
        if !missing.is_empty() {
            tracing::warn!(
                target: COORDINATOR_LOG,
                "[GroupCoordinator {broker}]: Setting empty assignments for members Set({}) of {} for generation {}",
                missing.join(", "),
                self.id,
                self.generation
            );
        }
        assignment.extend(missing.into_iter().map(|id| (id, Bytes::new())));
        let purpose = StorePurpose::Assignment {
            generation: self.generation,
            leader: Arc::from(leader),
            assignment: assignment.clone(),
        };
        self.store(&assignment, purpose, fx);
    }

    /// Heartbeat.
    pub fn heartbeat(&mut self, claim: MemberClaim<'_>, now: Now) -> ErrorCode {
        if let Err(error) = self.validate_claim(claim, "heartbeat") {
            return error;
        }
        match self.state() {
            GroupState::Empty | GroupState::Dead => return ErrorCode::UnknownMemberId,
            GroupState::PreparingRebalance | GroupState::CompletingRebalance | GroupState::Stable => {}
        }
        self.reset_session(claim.member_id, now);
        if self.is(GroupState::PreparingRebalance) { ErrorCode::RebalanceInProgress } else { ErrorCode::None }
    }

    /// LeaveGroup of one member; the group is not Dead.
    pub fn leave(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        reason: Option<&str>,
        now: Now,
        fx: &mut Effects,
    ) -> ErrorCode {
        if member_id.is_empty() {
            // Removal by an administrator, who knows the instance id only.
            return match instance_id.and_then(|instance_id| self.static_members.get(instance_id).cloned()) {
                Some(current) => self.leave_current(&current, reason, now, fx),
                None => ErrorCode::UnknownMemberId,
            };
        }
        if self.is_pending_member(member_id) {
            self.remove_pending_member(member_id, now, fx);
            tracing::info!(
                target: COORDINATOR_LOG,
                "[GroupCoordinator {}]: Pending member with memberId={member_id} has left group {} through explicit \
                 `LeaveGroup` request",
                self.config.broker_id,
                self.id
            );
            return ErrorCode::None;
        }
        match self.validate_member(member_id, instance_id, "leave-group") {
            Ok(()) => self.leave_current(member_id, reason, now, fx),
            Err(error) => error,
        }
    }

    fn leave_current(&mut self, member_id: &str, reason: Option<&str>, now: Now, fx: &mut Effects) -> ErrorCode {
        let reason = reason.unwrap_or("not provided");
        let Some(member) = self.members.get(member_id).map(ToString::to_string) else {
            return ErrorCode::UnknownMemberId;
        };
        let why = format!("Removing member {member_id} on LeaveGroup; client reason: {reason}");
        self.remove_member(member_id, &why, now, fx);
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {}]: Member {member} has left group {} through explicit `LeaveGroup`; client reason: \
             {reason}",
            self.config.broker_id,
            self.id
        );
        ErrorCode::None
    }

    /// Whether the claimed member may commit; a plain commit is also a sign of life.
    pub fn allow_commit(&mut self, claim: MemberClaim<'_>, transactional: bool, now: Now) -> Result<(), ErrorCode> {
        if self.is(GroupState::Dead) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let MemberClaim { member_id, instance_id, generation } = claim;
        if generation < 0 && self.is(GroupState::Empty) {
            // From a client that does not use group management, or from a tool.
        } else if generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.validate_claim(claim, if transactional { "txn-offset-commit" } else { "offset-commit" })?;
        } else if !transactional {
            // A group with members takes commits from members only. Old transactional clients do not say who they are.
            return Err(ErrorCode::UnknownMemberId);
        }
        if transactional {
            return Ok(());
        }
        match self.state() {
            // The member knows the new generation, but cannot have any partitions of it yet.
            GroupState::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            GroupState::Stable | GroupState::PreparingRebalance => {
                self.reset_session(member_id, now);
                Ok(())
            }
            GroupState::Empty | GroupState::Dead => Ok(()),
        }
    }
}
