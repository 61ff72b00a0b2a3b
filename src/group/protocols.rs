//! What the members of a group have in common: the protocol they all support, and the topics they read.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::consumer_protocol;
use super::group::{Group, METADATA_LOG};
use super::member::{JoinMember, Member, Protocol};
use super::state::GroupState;

impl Group {
    pub(super) fn count_protocols(&mut self, protocols: &[Protocol], add: bool) {
        for name in Member::protocol_names(protocols) {
            let count = self.supported.entry(name.clone()).or_default();
            *count = if add { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                self.supported.remove(&name);
            }
        }
    }

    /// Whether a member with these protocols fits in.
    pub(super) fn supports_protocols(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.is(GroupState::Empty) {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type() == Some(protocol_type)
            && protocols.iter().any(|p| self.supported.get(&p.name).copied().unwrap_or(0) == self.members.len())
    }

    /// The protocol most members prefer among those that all support; `None` if there is none.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let everybody = self.members.len();
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member.protocols.iter().find(|p| self.supported.get(&p.name) == Some(&everybody))?;
            *votes.entry(&choice.name).or_default() += 1;
        }
        // The first of several with the most votes, by name.
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name.clone())
    }

    /// The member list for the leader.
    pub(super) fn member_list(&self) -> Vec<JoinMember> {
        let protocol = self.protocol_name().unwrap_or_default();
        let entry = |member: &Member| JoinMember {
            id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.values().map(entry).collect()
    }

    pub(super) fn compute_subscribed_topics(&self) -> Option<HashSet<Arc<str>>> {
        if !self.is_consumer_group() {
            return None;
        }
        if self.members.is_empty() {
            return Some(HashSet::new());
        }
        let protocol = self.protocol_name()?;
        let mut topics = HashSet::new();
        for member in self.members.values() {
            match consumer_protocol::subscribed_topics(&member.metadata(protocol)) {
                Ok(subscribed) => topics.extend(subscribed),
                Err(error) => {
                    tracing::warn!(
                        target: METADATA_LOG,
                        "Failed to parse Consumer Protocol consumer:{protocol} of group {}. Consumer group coordinator \
                         is not aware of the subscribed topics. ({error})",
                        self.id
                    );
                    return None;
                }
            }
        }
        Some(topics)
    }

    /// Whether members read the topic; true when that is not known.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed_topics.as_ref().is_none_or(|topics| topics.contains(topic))
    }
}
