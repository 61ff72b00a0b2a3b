//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup: requests into steps, results into answers of each version.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{GroupCoordinator, GroupRequestContext, text};
use crate::group::join::JoinRequest;
use crate::group::member::{JoinMember, JoinResult, Protocol, SyncResult};
use crate::group::requests::{MemberClaim, SyncRequest};
use crate::group::state::GroupState;
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::join_group_response::JoinGroupResponseMember;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::leave_group_response::MemberResponse;
use crate::protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};

impl GroupCoordinator {
    /// JoinGroup 0 to 9. Waits until the join phase ends, unless it can be answered before.
    pub async fn join_group(&self, context: &GroupRequestContext, request: JoinGroupRequest) -> JoinGroupResponse {
        let member_id = request.member_id.clone();
        let result = match self.start_join(context, &request) {
            Ok(parked) => {
                parked.await.unwrap_or_else(|_| JoinResult::error(&member_id, ErrorCode::CoordinatorNotAvailable))
            }
            Err(error) => JoinResult::error(&member_id, error),
        };
        join_response(result, context.api_version)
    }

    fn start_join(
        &self,
        context: &GroupRequestContext,
        request: &JoinGroupRequest,
    ) -> Result<oneshot::Receiver<JoinResult>, ErrorCode> {
        let inner = &self.inner;
        let partition = inner.check_group(&request.group_id, false)?;
        let limits = inner.config.group_min_session_timeout_ms..=inner.config.group_max_session_timeout_ms;
        if !limits.contains(&request.session_timeout_ms) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        let cell = if request.member_id.is_empty() {
            inner.get_or_create(&request.group_id, partition)?
        } else {
            inner.table.get(&request.group_id).ok_or(ErrorCode::UnknownMemberId)?
        };
        let version = context.api_version;
        let instance_id = request.group_instance_id.as_deref();
        let protocol = |given: &crate::protocol::messages::join_group_request::JoinGroupRequestProtocol| Protocol {
            name: Arc::from(&*given.name),
            // A copy: a slice would keep the whole request in memory as long as the member.
            metadata: Bytes::copy_from_slice(&given.metadata),
        };
        let join = JoinRequest {
            member_id: &request.member_id,
            instance_id,
            require_known_member_id: version >= 4 && instance_id.is_none(),
            support_skipping_assignment: version >= 9,
            client_id: &context.client_id,
            client_host: &context.client_host,
            rebalance_timeout_ms: if version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms },
            session_timeout_ms: request.session_timeout_ms,
            protocol_type: &request.protocol_type,
            protocols: request.protocols.iter().map(protocol).collect(),
            reason: request.reason.as_deref(),
            fresh_id: Uuid::new_v4(),
        };
        let (answer, parked) = oneshot::channel();
        inner.step_edge(&cell, |edge, now, fx| {
            let ticket = edge.ticket();
            edge.joins.insert(ticket, answer);
            edge.group.join(ticket, join, now, fx);
        });
        Ok(parked)
    }

    /// SyncGroup 0 to 5. Waits until the leader's assignment is stored.
    pub async fn sync_group(&self, context: &GroupRequestContext, request: SyncGroupRequest) -> SyncGroupResponse {
        let result = match self.start_sync(context, &request) {
            Ok(parked) => parked.await.unwrap_or_else(|_| SyncResult::error(ErrorCode::CoordinatorNotAvailable)),
            // The rebalance under way was forgotten with the old coordinator: the member must join again. Old clients
            // would not understand that the group is being loaded.
            Err(ErrorCode::CoordinatorLoadInProgress) => SyncResult::error(ErrorCode::RebalanceInProgress),
            Err(error) => SyncResult::error(error),
        };
        SyncGroupResponse::default()
            .with_error_code(result.error.code())
            .with_protocol_type(nullable(result.protocol_type.filter(|_| context.api_version >= 5)))
            .with_protocol_name(nullable(result.protocol_name.filter(|_| context.api_version >= 5)))
            .with_assignment(result.assignment)
    }

    pub(super) fn start_sync(
        &self,
        context: &GroupRequestContext,
        request: &SyncGroupRequest,
    ) -> Result<oneshot::Receiver<SyncResult>, ErrorCode> {
        let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
        if context.api_version >= 5 && !names_protocol {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        self.inner.check_group(&request.group_id, false)?;
        let cell = self.inner.table.get(&request.group_id).ok_or(ErrorCode::UnknownMemberId)?;
        let assignments: HashMap<Arc<str>, Bytes> = request
            .assignments
            .iter()
            .map(|given| (Arc::from(&*given.member_id), Bytes::copy_from_slice(&given.assignment)))
            .collect();
        let sync = SyncRequest {
            generation: request.generation_id,
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            protocol_type: request.protocol_type.as_deref(),
            protocol_name: request.protocol_name.as_deref(),
            assignments,
        };
        let (answer, parked) = oneshot::channel();
        self.inner.step_edge(&cell, |edge, now, fx| {
            let ticket = edge.ticket();
            edge.syncs.insert(ticket, answer);
            edge.group.sync(ticket, sync, now, fx);
        });
        Ok(parked)
    }

    /// Heartbeat 0 to 4.
    pub fn heartbeat(&self, request: &HeartbeatRequest) -> HeartbeatResponse {
        let error = match self.inner.check_group(&request.group_id, false) {
            // The member is not known yet, nor is its generation: it is taken at its word.
            Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
            Err(error) => error,
            Ok(_) => self.beat(request),
        };
        HeartbeatResponse::default().with_error_code(error.code())
    }

    fn beat(&self, request: &HeartbeatRequest) -> ErrorCode {
        let Some(cell) = self.inner.table.get(&request.group_id) else { return ErrorCode::UnknownMemberId };
        let claim = MemberClaim {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
        };
        self.inner.step(&cell, |group, now, _| group.heartbeat(claim, now))
    }

    /// LeaveGroup 0 to 5.
    pub fn leave_group(&self, context: &GroupRequestContext, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        let one = [MemberIdentity::default().with_member_id(request.member_id.clone())];
        let members = if context.api_version < 3 { &one[..] } else { &request.members[..] };
        let (error, errors) = match self.leave(&request.group_id, members) {
            Ok(errors) => (ErrorCode::None, errors),
            Err(error) => (error, Vec::new()),
        };
        if context.api_version < 3 {
            let of_member = errors.first().copied().unwrap_or(ErrorCode::None);
            let error = if error.is_none() { of_member } else { error };
            return LeaveGroupResponse::default().with_error_code(error.code());
        }
        let member = |(member, error): (&MemberIdentity, ErrorCode)| {
            MemberResponse::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(member.group_instance_id.clone())
                .with_error_code(error.code())
        };
        LeaveGroupResponse::default()
            .with_error_code(error.code())
            .with_members(members.iter().zip(errors).map(member).collect())
    }

    /// One error per member, or the error of the whole request.
    fn leave(&self, group_id: &str, members: &[MemberIdentity]) -> Result<Vec<ErrorCode>, ErrorCode> {
        self.inner.check_group(group_id, false)?;
        let Some(cell) = self.inner.table.get(group_id) else {
            return Ok(vec![ErrorCode::UnknownMemberId; members.len()]);
        };
        self.inner.step(&cell, |group, now, fx| {
            if group.is(GroupState::Dead) {
                return Err(ErrorCode::CoordinatorNotAvailable);
            }
            let leave = |member: &MemberIdentity| {
                let (instance_id, reason) = (member.group_instance_id.as_deref(), member.reason.as_deref());
                group.leave(&member.member_id, instance_id, reason, now, fx)
            };
            Ok(members.iter().map(leave).collect())
        })
    }
}

fn nullable(value: Option<Arc<str>>) -> Option<StrBytes> {
    value.map(|value| text(&value))
}

fn join_response(result: JoinResult, version: i16) -> JoinGroupResponse {
    let member = |member: JoinMember| {
        JoinGroupResponseMember::default()
            .with_member_id(text(&member.id))
            .with_group_instance_id(nullable(member.instance_id.filter(|_| version >= 5)))
            .with_metadata(member.metadata)
    };
    let protocol_name = match nullable(result.protocol_name) {
        // Before version 7 the field could not be null.
        None if version < 7 => Some(StrBytes::default()),
        name => name,
    };
    JoinGroupResponse::default()
        .with_error_code(result.error.code())
        .with_generation_id(result.generation)
        .with_protocol_type(nullable(result.protocol_type.filter(|_| version >= 7)))
        .with_protocol_name(protocol_name)
        .with_leader(text(&result.leader))
        .with_skip_assignment(result.skip_assignment && version >= 9)
        .with_member_id(text(&result.member_id))
        .with_members(result.members.into_iter().map(member).collect())
}
