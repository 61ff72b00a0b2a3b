//! A group as its record in `__consumer_offsets` has it, there and back, and the end of groups and offsets.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::config::{GroupConfig, Now};
use super::group::{Group, MANAGER_LOG, METADATA_LOG};
use super::member::{Member, Protocol};
use super::offsets::ExpiryBase;
use super::records::{GroupMetadataValue, MemberValue};
use super::state::GroupState;
use crate::topic::TopicPartition;

impl Group {
    /// A group as its record in the log says: Stable with members, Empty without.
    pub fn from_record(
        id: Arc<str>,
        partition: i32,
        config: Arc<GroupConfig>,
        value: GroupMetadataValue,
        now: Now,
    ) -> Group {
        let mut group = Group::new(id, partition, config, now);
        group.state = if value.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        group.state_since_ms = (value.current_state_timestamp != -1).then_some(value.current_state_timestamp);
        group.generation = value.generation;
        group.protocol_type = (!value.protocol_type.is_empty()).then_some(value.protocol_type);
        group.protocol_name = value.protocol;
        group.leader = value.leader;
        let protocol = group.protocol_name.clone().unwrap_or_else(|| Arc::from(""));
        for member in value.members {
            let member = Member {
                id: member.member_id,
                instance_id: member.instance_id,
                client_id: member.client_id,
                client_host: member.client_host,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                protocols: vec![Protocol { name: protocol.clone(), metadata: member.subscription }],
                assignment: member.assignment,
                is_new: false,
                join: None,
                sync: None,
                session_deadline: None,
            };
            tracing::info!(
                target: METADATA_LOG,
                "Loaded member {member} in group {} with generation {}.",
                group.id,
                group.generation
            );
            group.add(member);
        }
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    /// The group's record with `assignment`; members without one get empty bytes.
    pub(super) fn to_record(&self, assignment: &HashMap<Arc<str>, Bytes>) -> GroupMetadataValue {
        let protocol = self.protocol_name().unwrap_or_default();
        let member = |member: &Member| MemberValue {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: assignment.get(&member.id).cloned().unwrap_or_default(),
        };
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            generation: self.generation,
            protocol: self.protocol_name.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            members: self.members.values().map(member).collect(),
        }
    }

    /// Drops expired offsets; returns those that need a tombstone.
    pub fn remove_expired_offsets(&mut self, now: Now) -> Vec<TopicPartition> {
        let base = match (&self.protocol_type, self.state) {
            (None, _) => ExpiryBase::Commit,
            (Some(_), GroupState::Empty) => self.state_since_ms.map_or(ExpiryBase::Commit, ExpiryBase::EmptySince),
            (Some(_), GroupState::Stable) if self.is_consumer_group() => match &self.subscribed_topics {
                Some(topics) => ExpiryBase::CommitUnless(topics),
                None => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        let expired = self.offsets.remove_expired(&base, now.wall_ms, self.config.offsets_retention_ms());
        if !expired.is_empty() {
            tracing::debug!(target: METADATA_LOG, "Expired offsets from group '{}': {expired:?}", self.id);
        }
        expired
    }

    /// An Empty group that holds nothing any more dies. True if it is dead (now or before).
    pub fn die_if_useless(&mut self, now: Now) -> bool {
        if self.is(GroupState::Empty) && self.offsets.is_empty() {
            tracing::info!(
                target: MANAGER_LOG,
                "[GroupMetadataManager brokerId={}] Group {} transitioned to Dead in generation {}",
                self.config.broker_id,
                self.id,
                self.generation
            );
            self.transition_to(GroupState::Dead, now);
        }
        self.is(GroupState::Dead)
    }

    /// An Empty group is deleted by request. False if it is not Empty.
    pub fn delete(&mut self, now: Now) -> bool {
        let is_empty = self.is(GroupState::Empty);
        if is_empty {
            self.transition_to(GroupState::Dead, now);
        }
        is_empty
    }
}
