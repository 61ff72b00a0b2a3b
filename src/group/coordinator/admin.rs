//! DescribeGroups, ListGroups, DeleteGroups and OffsetDelete.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{GroupCoordinator, Inner, text};
use crate::group::group::{COORDINATOR_LOG, Group};
use crate::group::member::Member;
use crate::group::state::GroupState;
use crate::protocol::ErrorCode;
use crate::protocol::messages::delete_groups_response::DeletableGroupResult;
use crate::protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::protocol::messages::list_groups_response::ListedGroup;
use crate::protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use crate::protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse,
};
use crate::topic::TopicPartition;

impl GroupCoordinator {
    /// DescribeGroups 0 to 5 without authorization.
    pub fn describe_groups(&self, version: i16, request: &DescribeGroupsRequest) -> DescribeGroupsResponse {
        let groups = request.groups.iter().map(|group_id| self.describe_group(version, group_id)).collect();
        DescribeGroupsResponse::default().with_groups(groups)
    }

    /// One group of DescribeGroups; `authorized_operations` is left to the caller.
    pub fn describe_group(&self, version: i16, group_id: &str) -> DescribedGroup {
        let answer = DescribedGroup::default().with_group_id(text(group_id).into());
        if let Err(error) = self.inner.check_group(group_id, true) {
            return answer.with_error_code(error.code());
        }
        match self.inner.table.get(group_id) {
            Some(cell) => described(answer, &cell.edge.lock().group, version),
            None => answer.with_group_state(text(GroupState::Dead.as_str())),
        }
    }

    /// ListGroups 0 to 4, all groups; the caller leaves out what the client may not see.
    pub fn list_groups(&self, version: i16, request: &ListGroupsRequest) -> ListGroupsResponse {
        if !self.inner.active.load(Ordering::Acquire) {
            return ListGroupsResponse::default().with_error_code(ErrorCode::CoordinatorNotAvailable.code());
        }
        let error = match self.inner.table.is_any_loading() {
            true => ErrorCode::CoordinatorLoadInProgress,
            false => ErrorCode::None,
        };
        let mut groups = Vec::new();
        for cell in self.inner.table.all() {
            let edge = cell.edge.lock();
            let state = edge.group.state().as_str();
            let states = &request.states_filter;
            if states.is_empty() || states.iter().any(|wanted| &**wanted == state) {
                groups.push(
                    ListedGroup::default()
                        .with_group_id(text(&cell.id).into())
                        .with_protocol_type(text(edge.group.protocol_type().unwrap_or_default()))
                        .with_group_state(text(if version >= 4 { state } else { "" })),
                );
            }
        }
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        ListGroupsResponse::default().with_error_code(error.code()).with_groups(groups)
    }

    /// DeleteGroups 0 to 2, of the groups the client may delete.
    pub fn delete_groups(&self, request: &DeleteGroupsRequest) -> DeleteGroupsResponse {
        let (mut seen, mut results) = (HashSet::new(), Vec::new());
        let (mut deleted, mut offsets) = (Vec::new(), 0);
        for group_id in request.groups_names.iter().filter(|group_id| seen.insert((*group_id).clone())) {
            let error = match self.inner.delete_group(group_id) {
                Ok(removed) => {
                    deleted.push(&***group_id);
                    offsets += removed;
                    ErrorCode::None
                }
                Err(error) => error,
            };
            let result = DeletableGroupResult::default().with_group_id(GroupId::clone(group_id));
            results.push(result.with_error_code(error.code()));
        }
        if !deleted.is_empty() {
            tracing::info!(
                target: COORDINATOR_LOG,
                "[GroupCoordinator {}]: The following groups were deleted: {}. A total of {offsets} offsets were \
                 removed.",
                self.inner.config.broker_id,
                deleted.join(", ")
            );
        }
        DeleteGroupsResponse::default().with_results(results)
    }

    /// OffsetDelete 0, of the partitions that exist and that the client may read.
    pub fn offset_delete(&self, request: &OffsetDeleteRequest) -> OffsetDeleteResponse {
        let mut asked = Vec::new();
        for topic in &request.topics {
            let name: Arc<str> = Arc::from(&**topic.name);
            let partition = |index| TopicPartition { topic: name.clone(), partition: index };
            asked.extend(topic.partitions.iter().map(|given| partition(given.partition_index)));
        }
        let errors = match self.inner.delete_offsets(&request.group_id, &asked) {
            Ok(errors) => errors,
            Err(error) => return OffsetDeleteResponse::default().with_error_code(error.code()),
        };
        let mut errors = errors.into_iter();
        let mut response = OffsetDeleteResponse::default();
        for topic in &request.topics {
            let answers = topic.partitions.iter().zip(errors.by_ref()).map(|(given, error)| {
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(given.partition_index)
                    .with_error_code(error.code())
            });
            let topic = OffsetDeleteResponseTopic::default().with_name(topic.name.clone());
            response.topics.push(topic.with_partitions(answers.collect()));
        }
        response
    }
}

impl Inner {
    /// Number of offsets that went with the group.
    fn delete_group(self: &Arc<Self>, group_id: &str) -> Result<usize, ErrorCode> {
        self.check_group(group_id, true)?;
        let cell = self.table.get(group_id).ok_or(ErrorCode::GroupIdNotFound)?;
        let offsets = self.step(&cell, |group, now, _| {
            if group.is(GroupState::Dead) {
                return Err(ErrorCode::GroupIdNotFound);
            }
            if !group.delete(now) {
                return Err(ErrorCode::NonEmptyGroup);
            }
            Ok(group.offsets.remove_all())
        })?;
        Ok(self.write_tombstones(&cell, &offsets))
    }

    /// One error per partition, or the error of the group.
    fn delete_offsets(self: &Arc<Self>, group_id: &str, asked: &[TopicPartition]) -> Result<Vec<ErrorCode>, ErrorCode> {
        self.check_group(group_id, false)?;
        let cell = self.table.get(group_id).ok_or(ErrorCode::GroupIdNotFound)?;
        let (errors, removed, is_any_allowed) = self.step(&cell, |group, now, _| {
            let may_delete = |partition: &TopicPartition| match group.state() {
                GroupState::Dead => Err(ErrorCode::GroupIdNotFound),
                GroupState::Empty => Ok(ErrorCode::None),
                _ if !group.is_consumer_group() => Err(ErrorCode::NonEmptyGroup),
                _ if group.is_subscribed_to(&partition.topic) => Ok(ErrorCode::GroupSubscribedToTopic),
                _ => Ok(ErrorCode::None),
            };
            // Asked for nothing, the state still counts.
            may_delete(&TopicPartition::new("", 0))?;
            let errors = asked.iter().map(may_delete).collect::<Result<Vec<ErrorCode>, ErrorCode>>()?;
            let allowed: Vec<TopicPartition> =
                asked.iter().zip(&errors).filter(|(_, error)| error.is_none()).map(|(p, _)| p.clone()).collect();
            let removed = group.offsets.remove(&allowed);
            if !allowed.is_empty() {
                group.die_if_useless(now);
            }
            Ok::<_, ErrorCode>((errors, removed, !allowed.is_empty()))
        })?;
        if is_any_allowed {
            let count = self.write_tombstones(&cell, &removed);
            self.metrics.offset_deletions.fetch_add(count as u64, Ordering::Relaxed);
            tracing::info!(
                target: COORDINATOR_LOG,
                "[GroupCoordinator {}]: The following offsets of the group {group_id} were deleted: {removed:?}. A \
                 total of {count} offsets were removed.",
                self.config.broker_id
            );
        }
        Ok(errors)
    }
}

fn described(answer: DescribedGroup, group: &Group, version: i16) -> DescribedGroup {
    // Between generations there is no protocol to show metadata for.
    let protocol = group.protocol_name().filter(|_| group.is(GroupState::Stable));
    let member = |member: &Member| {
        let described = DescribedGroupMember::default()
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance_id.as_deref().filter(|_| version >= 4).map(text))
            .with_client_id(text(&member.client_id))
            .with_client_host(text(&member.client_host));
        match protocol {
            Some(protocol) => described
                .with_member_metadata(member.metadata(protocol))
                .with_member_assignment(member.assignment.clone()),
            None => described.with_member_metadata(Bytes::new()).with_member_assignment(Bytes::new()),
        }
    };
    answer
        .with_group_state(text(group.state().as_str()))
        .with_protocol_type(text(group.protocol_type().unwrap_or_default()))
        .with_protocol_data(text(protocol.unwrap_or_default()))
        .with_members(group.members().map(member).collect())
}
