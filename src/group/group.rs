//! One group: its members, its state, its offsets. Synchronous; everything that happens to it is a method that takes
//! the time and returns effects.
//!
//! This file holds what the group is and how members come and go; `protocols` what its members have in common, `join`
//! and `requests` what they ask, `rebalance` when a generation begins and ends, `deadlines` what the passing of time
//! does, `persistence` how it is written down and how it ends. Answers to Kafka's
//! `GroupMetadata`. One `Group` sits behind one mutex (`coordinator::table`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::config::{GroupConfig, Now};
use super::consumer_protocol;
use super::deadlines::RebalanceTimer;
use super::member::{JoinResult, Member, Optional, Protocol, SyncResult, Ticket};
use super::offsets::GroupOffsets;
use super::state::GroupState;
use crate::protocol::ErrorCode;

/// Logger names of the two Kafka classes this module stands for.
pub(super) const COORDINATOR_LOG: &str = "kafka.coordinator.group.GroupCoordinator";
pub(super) const MANAGER_LOG: &str = "kafka.coordinator.group.GroupMetadataManager";
pub(super) const METADATA_LOG: &str = "kafka.coordinator.group.GroupMetadata";

/// What the outside must do after a step of the group.
#[derive(Debug)]
pub enum Effect {
    /// Answer a parked JoinGroup.
    Join(Ticket, JoinResult),
    /// Answer a parked SyncGroup.
    Sync(Ticket, SyncResult),
    /// Append the group's record and call `Group::on_stored` with the outcome.
    Store(Store),
}

/// A group record to append.
#[derive(Debug)]
pub struct Store {
    /// The encoded value, or why there is none.
    pub value: Result<Bytes, ErrorCode>,
    pub purpose: StorePurpose,
}

/// Why the record is written: what to do once it is (or is not).
#[derive(Debug)]
pub enum StorePurpose {
    /// The leader's assignment for `generation`.
    Assignment { generation: i32, leader: Arc<str>, assignment: HashMap<Arc<str>, Bytes> },
    /// A static member came back under a new id while the group is stable.
    StaticMember(Box<StaticReplacement>),
    /// The last member left.
    Empty,
}

/// What is needed to finish, or to undo, the return of a static member.
#[derive(Debug)]
pub struct StaticReplacement {
    pub instance_id: Arc<str>,
    pub old_member_id: Arc<str>,
    pub new_member_id: Arc<str>,
    pub old_leader: Arc<str>,
    pub old_protocols: Vec<Protocol>,
    pub old_rebalance_timeout_ms: i32,
    pub old_session_timeout_ms: i32,
    pub ticket: Ticket,
    /// JoinGroup v9: the leader may be told to skip the assignment.
    pub support_skipping_assignment: bool,
}

/// Effects of one step, in order.
pub type Effects = Vec<Effect>;

/// One group.
#[derive(Debug)]
pub struct Group {
    pub id: Arc<str>,
    /// Its partition of `__consumer_offsets`.
    pub partition: i32,
    pub(super) config: Arc<GroupConfig>,
    pub(super) state: GroupState,
    /// Milliseconds since the epoch; `None` if loaded from a record that does not say.
    pub(super) state_since_ms: Option<i64>,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol_name: Option<Arc<str>>,
    pub(super) leader: Option<Arc<str>>,
    /// Ordered, so that a simulation with one seed always does the same.
    pub(super) members: BTreeMap<Arc<str>, Member>,
    /// `group.instance.id` to member id.
    pub(super) static_members: HashMap<Arc<str>, Arc<str>>,
    /// Ids handed out with MEMBER_ID_REQUIRED, and when they lapse.
    pub(super) pending_members: HashMap<Arc<str>, i64>,
    /// Members of this generation that have not yet sent SyncGroup.
    pub(super) pending_sync: HashSet<Arc<str>>,
    awaiting_join: usize,
    /// For each protocol, how many members support it.
    pub(super) supported: HashMap<Arc<str>, usize>,
    /// Topics the members of a consumer group read; `None` if unknown.
    pub(super) subscribed_topics: Option<HashSet<Arc<str>>>,
    /// Somebody joined during the initial delay, so the delay may be extended.
    pub(super) new_member_added: bool,
    pub(super) rebalance_timer: RebalanceTimer,
    pub(super) sync_deadline: Option<i64>,
    /// Earliest deadline set since `take_wake`.
    pub(super) wake: Option<i64>,
    pub offsets: GroupOffsets,
}

impl Group {
    /// A new group without members.
    pub fn new(id: Arc<str>, partition: i32, config: Arc<GroupConfig>, now: Now) -> Group {
        Group {
            id,
            partition,
            config,
            state: GroupState::Empty,
            state_since_ms: Some(now.wall_ms),
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            pending_members: HashMap::new(),
            pending_sync: HashSet::new(),
            awaiting_join: 0,
            supported: HashMap::new(),
            subscribed_topics: None,
            new_member_added: false,
            rebalance_timer: RebalanceTimer::None,
            sync_deadline: None,
            wake: None,
            offsets: GroupOffsets::default(),
        }
    }

    pub fn state(&self) -> GroupState {
        self.state
    }

    pub fn is(&self, state: GroupState) -> bool {
        self.state == state
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    pub fn protocol_name(&self) -> Option<&str> {
        self.protocol_name.as_deref()
    }

    pub fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    pub fn has(&self, member_id: &str) -> bool {
        self.members.contains_key(member_id)
    }

    pub fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub fn is_pending_member(&self, member_id: &str) -> bool {
        self.pending_members.contains_key(member_id)
    }

    pub fn is_consumer_group(&self) -> bool {
        self.protocol_type() == Some(consumer_protocol::PROTOCOL_TYPE)
    }

    pub(super) fn is_over_capacity(&self) -> bool {
        self.members.len() as i64 > i64::from(self.config.group_max_size)
    }

    pub(super) fn num_awaiting_join(&self) -> usize {
        self.awaiting_join
    }

    pub(super) fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_members.is_empty()
    }

    /// Longest rebalance timeout of the members, milliseconds.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|member| i64::from(member.rebalance_timeout_ms)).max().unwrap_or(0).max(0)
    }

    /// Enters a state; every caller checks that it may.
    pub(super) fn transition_to(&mut self, state: GroupState, now: Now) {
        debug_assert!(state.may_follow(self.state), "{} to {state}", self.state);
        self.state = state;
        self.state_since_ms = Some(now.wall_ms);
    }

    /// Adds a member; the first one becomes the leader and gives the group its protocol type (set by the caller).
    pub(super) fn add(&mut self, member: Member) {
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_members.remove(&member.id);
        self.count_protocols(&member.protocols, true);
        if member.is_awaiting_join() {
            self.awaiting_join += 1;
        }
        self.members.insert(member.id.clone(), member);
    }

    /// Removes a member or a pending id. Requests of it that are still parked are answered `parked`.
    pub(super) fn remove(&mut self, member_id: &str, parked: ErrorCode, fx: &mut Effects) {
        self.answer_join(member_id, fx, |_| JoinResult::error("", parked));
        self.answer_sync(member_id, SyncResult::error(parked), fx);
        if let Some(member) = self.members.remove(member_id) {
            self.count_protocols(&member.protocols, false);
            if let Some(instance_id) = &member.instance_id {
                self.static_members.remove(instance_id);
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_members.remove(member_id);
        self.pending_sync.remove(member_id);
    }

    /// Gives the static member `instance_id` a new id; what waits under the old one is fenced.
    pub(super) fn replace_static_member(&mut self, instance_id: &str, old: &str, new: &Arc<str>, fx: &mut Effects) {
        self.answer_join(old, fx, |_| JoinResult::error(old, ErrorCode::FencedInstanceId));
        self.answer_sync(old, SyncResult::error(ErrorCode::FencedInstanceId), fx);
        if let Some(mut member) = self.members.remove(old) {
            member.id = new.clone();
            self.members.insert(new.clone(), member);
        }
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        // Kafka keeps the old id here, and rebalances for a member that is long gone when the time for syncs is over.
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(new.clone());
        }
        self.static_members.insert(Arc::from(instance_id), new.clone());
    }

    /// Takes over what a joining member says of itself, and parks its request (`Some`) or takes it out (`None`).
    pub(super) fn update_member(
        &mut self,
        member_id: &str,
        protocols: Vec<Protocol>,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
        ticket: Option<Ticket>,
        fx: &mut Effects,
    ) {
        // A second JoinGroup of the same member takes the first one's place. Kafka forgets the first; we answer it.
        self.answer_join(member_id, fx, |id| JoinResult::error(id, ErrorCode::RebalanceInProgress));
        let Some(member) = self.members.get_mut(member_id) else { return };
        let old = std::mem::replace(&mut member.protocols, protocols);
        let new = member.protocols.clone();
        member.rebalance_timeout_ms = rebalance_timeout_ms;
        member.session_timeout_ms = session_timeout_ms;
        member.join = ticket;
        self.awaiting_join += usize::from(ticket.is_some());
        self.count_protocols(&old, false);
        self.count_protocols(&new, true);
    }

    /// Answers the member's parked JoinGroup, if there is one. False if there is none.
    pub(super) fn answer_join(
        &mut self,
        member_id: &str,
        fx: &mut Effects,
        result: impl FnOnce(&str) -> JoinResult,
    ) -> bool {
        let Some(ticket) = self.members.get_mut(member_id).and_then(|member| member.join.take()) else { return false };
        self.awaiting_join = self.awaiting_join.saturating_sub(1);
        fx.push(Effect::Join(ticket, result(member_id)));
        true
    }

    /// Answers the member's parked SyncGroup, if there is one. False if there is none.
    pub(super) fn answer_sync(&mut self, member_id: &str, result: SyncResult, fx: &mut Effects) -> bool {
        let Some(ticket) = self.members.get_mut(member_id).and_then(|member| member.sync.take()) else { return false };
        fx.push(Effect::Sync(ticket, result));
        true
    }

    /// If the leader has not rejoined, another member that has becomes leader. False if nobody can lead.
    pub(super) fn maybe_elect_new_joined_leader(&mut self) -> bool {
        let Some(leader_id) = self.leader.clone() else { return false };
        let leader = self.members.get(&leader_id);
        if leader.is_some_and(Member::is_awaiting_join) {
            return true;
        }
        let instance = leader.and_then(|member| member.instance_id.clone());
        let who = format!(
            "Group leader [member.id: {leader_id}, group.instance.id: {}] failed to join before rebalance timeout",
            Optional(instance.as_deref())
        );
        match self.members.values().find(|member| member.is_awaiting_join()) {
            Some(joined) => {
                tracing::info!(target: METADATA_LOG, "{who}, while new leader {joined} was elected.");
                self.leader = Some(joined.id.clone());
                true
            }
            None => {
                tracing::info!(
                    target: METADATA_LOG,
                    "{who}, and the group couldn't proceed to next generation because no member joined."
                );
                false
            }
        }
    }

    /// Begins the next generation: CompletingRebalance with members, Empty without.
    pub(super) fn init_next_generation(&mut self, now: Now) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol_name = if self.members.is_empty() { None } else { self.select_protocol() };
        self.subscribed_topics = self.compute_subscribed_topics();
        let next = if self.members.is_empty() { GroupState::Empty } else { GroupState::CompletingRebalance };
        self.transition_to(next, now);
        self.offsets.forget_commit_kinds();
        self.pending_sync.clear();
        self.sync_deadline = None;
    }
}
