//! JoinGroup as a step of the state machine: new members, members that come back, static members under a new id.
//!
//! Answers to `handleJoinGroup` and what hangs on it in Kafka's `GroupCoordinator`.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::config::Now;
use super::group::{COORDINATOR_LOG, Effect, Effects, Group, StaticReplacement, StorePurpose};
use super::member::{JoinResult, Member, Optional, Protocol, Ticket};
use super::state::GroupState;
use crate::protocol::ErrorCode;

/// How long a new member's JoinGroup may stay parked: its session does not run yet, and nobody sees it disconnect.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;

/// A JoinGroup.
#[derive(Clone, Debug)]
pub struct JoinRequest<'a> {
    /// Empty for a new member.
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    /// The client must come back with the id it is given (v4 and later, dynamic members).
    pub require_known_member_id: bool,
    /// The client understands `skip_assignment` (v9 and later).
    pub support_skipping_assignment: bool,
    pub client_id: &'a str,
    pub client_host: &'a str,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub protocol_type: &'a str,
    pub protocols: Vec<Protocol>,
    pub reason: Option<&'a str>,
    /// Random part of the id of a new member.
    pub fresh_id: Uuid,
}

impl JoinRequest<'_> {
    fn reason(&self) -> &str {
        self.reason.unwrap_or("not provided")
    }

    fn new_member_id(&self) -> Arc<str> {
        Arc::from(format!("{}-{}", self.instance_id.unwrap_or(self.client_id), self.fresh_id))
    }
}

impl Group {
    /// JoinGroup; the answer comes as an effect, now or later. The session timeout was checked before.
    pub fn join(&mut self, ticket: Ticket, request: JoinRequest<'_>, now: Now, fx: &mut Effects) {
        if !self.accepts_joining_member(request.member_id) {
            self.remove(request.member_id, ErrorCode::GroupMaxSizeReached, fx);
            fx.push(Effect::Join(ticket, JoinResult::error("", ErrorCode::GroupMaxSizeReached)));
        } else if let Err(error) = self.validate_join(&request) {
            fx.push(Effect::Join(ticket, JoinResult::error(request.member_id, error)));
        } else if request.member_id.is_empty() {
            self.join_new(ticket, request, now, fx);
        } else {
            self.join_current(ticket, request, now, fx);
        }
        self.try_complete_join(now, fx);
    }

    fn accepts_joining_member(&self, member_id: &str) -> bool {
        let has_room = |count: usize| (count as i64) < i64::from(self.config.group_max_size);
        match self.state() {
            GroupState::Empty | GroupState::Dead => true,
            // Counted by who is already waiting: the group may be larger than a maximum that was lowered meanwhile,
            // and then the last to rejoin are turned away.
            GroupState::PreparingRebalance => {
                let waits = self.members.get(member_id).is_some_and(Member::is_awaiting_join);
                waits || has_room(self.num_awaiting_join())
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.has(member_id) || has_room(self.members().len())
            }
        }
    }

    fn validate_join(&self, request: &JoinRequest<'_>) -> Result<(), ErrorCode> {
        if self.is(GroupState::Dead) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        if !self.supports_protocols(request.protocol_type, &request.protocols) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn join_new(&mut self, ticket: Ticket, request: JoinRequest<'_>, now: Now, fx: &mut Effects) {
        let (broker, state) = (self.config.broker_id, self.state());
        let new_id = request.new_member_id();
        if let Some(instance_id) = request.instance_id {
            match self.static_members.get(instance_id).cloned() {
                Some(old_id) => {
                    tracing::info!(
                        target: COORDINATOR_LOG,
                        "[GroupCoordinator {broker}]: Static member with groupInstanceId={instance_id} and unknown \
                         member id joins group {} in {state} state. Replacing previously mapped member {old_id} with \
                         this groupInstanceId.",
                        self.id
                    );
                    self.replace_and_rebalance(ticket, instance_id, old_id, new_id, request.clone(), now, fx);
                }
                None => {
                    tracing::info!(
                        target: COORDINATOR_LOG,
                        "[GroupCoordinator {broker}]: Static member with groupInstanceId={instance_id} and unknown \
                         member id joins group {} in {state} state. Created a new member id {new_id} for this member \
                         and add to the group.",
                        self.id
                    );
                    self.add_and_rebalance(ticket, new_id, request, now, fx);
                }
            }
        } else if request.require_known_member_id {
            tracing::info!(
                target: COORDINATOR_LOG,
                "[GroupCoordinator {broker}]: Dynamic member with unknown member id joins group {} in {state} state. \
                 Created a new member id {new_id} and request the member to rejoin with this id.",
                self.id
            );
            fx.push(Effect::Join(ticket, JoinResult::error(&new_id, ErrorCode::MemberIdRequired)));
            self.add_pending_member(new_id, request.session_timeout_ms, now);
        } else {
            tracing::info!(
                target: COORDINATOR_LOG,
                "[GroupCoordinator {broker}]: Dynamic Member with unknown member id joins group {} in {state} state. \
                 Created a new member id {new_id} for this member and add to the group.",
                self.id
            );
            self.add_and_rebalance(ticket, new_id, request, now, fx);
        }
    }

    fn join_current(&mut self, ticket: Ticket, request: JoinRequest<'_>, now: Now, fx: &mut Effects) {
        let id = request.member_id;
        if self.is_pending_member(id) {
            if request.instance_id.is_some() {
                // Ids are only handed out in advance to dynamic members.
                tracing::error!(
                    target: COORDINATOR_LOG,
                    "[GroupCoordinator {}]: Received unexpected JoinGroup with groupInstanceId={} for pending member \
                     with memberId={id}",
                    self.config.broker_id,
                    request.instance_id.unwrap_or_default()
                );
                fx.push(Effect::Join(ticket, JoinResult::error(id, ErrorCode::UnknownServerError)));
                return;
            }
            tracing::debug!(
                target: COORDINATOR_LOG,
                "[GroupCoordinator {}]: Pending dynamic member with id {id} joins group {} in {} state. Adding to the \
                 group now.",
                self.config.broker_id,
                self.id,
                self.state()
            );
            self.add_and_rebalance(ticket, Arc::from(id), request, now, fx);
            return;
        }
        if let Err(error) = self.validate_member(id, request.instance_id, "join-group") {
            fx.push(Effect::Join(ticket, JoinResult::error(id, error)));
            return;
        }
        if matches!(self.state(), GroupState::Empty | GroupState::Dead) {
            tracing::warn!(
                target: COORDINATOR_LOG,
                "[GroupCoordinator {}]: Attempt to add rejoining member {id} of group {} in unexpected group state {}",
                self.config.broker_id,
                self.id,
                self.state()
            );
            fx.push(Effect::Join(ticket, JoinResult::error(id, ErrorCode::UnknownMemberId)));
            return;
        }
        let Some(reason) = self.rejoin_reason(&request) else {
            // It did not get the first answer, or has nothing new to say.
            fx.push(Effect::Join(ticket, self.current_generation_result(id)));
            return;
        };
        let (rebalance, session) = (request.rebalance_timeout_ms, request.session_timeout_ms);
        self.update_member(id, request.protocols, rebalance, session, Some(ticket), fx);
        self.maybe_prepare_rebalance(&reason, now, fx);
    }

    /// Why a known member's join means a rebalance; `None` if it does not.
    fn rejoin_reason(&self, request: &JoinRequest<'_>) -> Option<String> {
        let (id, state, client) = (request.member_id, self.state(), request.reason());
        let is_unchanged = self.members.get(id).is_some_and(|member| member.protocols == request.protocols);
        match state {
            GroupState::PreparingRebalance => {
                Some(format!("Member {id} joining group during {state}; client reason: {client}"))
            }
            // The leader comes back when something only it can see has changed, such as the topics' metadata.
            GroupState::Stable if self.is_leader(id) => {
                Some(format!("Leader {id} re-joining group during {state}; client reason: {client}"))
            }
            _ if is_unchanged => None,
            _ => Some(format!("Updating metadata for member {id} during {state}; client reason: {client}")),
        }
    }

    fn add_and_rebalance(
        &mut self,
        ticket: Ticket,
        member_id: Arc<str>,
        request: JoinRequest<'_>,
        now: Now,
        fx: &mut Effects,
    ) {
        if self.is(GroupState::PreparingRebalance) && self.generation == 0 {
            self.new_member_added = true;
        }
        let reason = format!(
            "Adding new member {member_id} with group instance id {}; client reason: {}",
            Optional(request.instance_id),
            request.reason()
        );
        if self.members().len() == 0 {
            self.protocol_type = Some(Arc::from(request.protocol_type));
        }
        self.add(Member {
            id: member_id.clone(),
            instance_id: request.instance_id.map(Arc::from),
            client_id: Arc::from(request.client_id),
            client_host: Arc::from(request.client_host),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::new(),
            is_new: true,
            join: Some(ticket),
            sync: None,
            session_deadline: None,
        });
        self.expire_session_in(&member_id, NEW_MEMBER_JOIN_TIMEOUT_MS, now);
        self.maybe_prepare_rebalance(&reason, now, fx);
    }

    /// A static member came back without its id: it gets a new one and keeps everything else.
    #[allow(clippy::too_many_arguments)]
    fn replace_and_rebalance(
        &mut self,
        ticket: Ticket,
        instance_id: &str,
        old_id: Arc<str>,
        new_id: Arc<str>,
        request: JoinRequest<'_>,
        now: Now,
        fx: &mut Effects,
    ) {
        let old_leader = self.leader.clone().unwrap_or_else(|| Arc::from(""));
        self.replace_static_member(instance_id, &old_id, &new_id, fx);
        self.reset_session(&new_id, now);
        let Some(member) = self.members.get(&new_id) else { return };
        let replacement = StaticReplacement {
            instance_id: Arc::from(instance_id),
            old_member_id: old_id,
            new_member_id: new_id.clone(),
            old_leader,
            old_protocols: member.protocols.clone(),
            old_rebalance_timeout_ms: member.rebalance_timeout_ms,
            old_session_timeout_ms: member.session_timeout_ms,
            ticket,
            support_skipping_assignment: request.support_skipping_assignment,
        };
        let client_reason = request.reason().to_owned();
        let (rebalance, session) = (request.rebalance_timeout_ms, request.session_timeout_ms);
        self.update_member(&new_id, request.protocols, rebalance, session, Some(ticket), fx);
        match self.state() {
            GroupState::Stable if self.select_protocol() == self.protocol_name => {
                tracing::info!(
                    target: COORDINATOR_LOG,
                    "[GroupCoordinator {}]: Static member which joins during Stable stage and doesn't affect \
                     selectProtocol will not trigger rebalance.",
                    self.config.broker_id
                );
                let assignment = self.members().map(|member| (member.id.clone(), member.assignment.clone())).collect();
                self.store(&assignment, StorePurpose::StaticMember(Box::new(replacement)), fx);
            }
            GroupState::Stable => {
                let reason = format!(
                    "Group's selectedProtocol will change because static member {new_id} with instance id \
                     {instance_id} joined with change of protocol; client reason: {client_reason}"
                );
                self.maybe_prepare_rebalance(&reason, now, fx);
            }
            // The leader may already be assigning to the old id.
            GroupState::CompletingRebalance => {
                let reason = format!(
                    "Updating metadata for static member {new_id} with instance id {instance_id}; client reason: \
                     {client_reason}"
                );
                self.prepare_rebalance(&reason, now, fx);
            }
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => {}
        }
    }
}
