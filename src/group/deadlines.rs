//! What the passing of time does to a group: members fail, ids lapse, rebalances end, missing SyncGroups are punished.
//!
//! The group holds its deadlines itself (monotonic milliseconds); whoever drives it calls `tick` when the earliest has
//! come. Answers to Kafka's `DelayedHeartbeat`, `DelayedJoin`, `InitialDelayedJoin` and `DelayedSync`.

use std::sync::Arc;

use super::config::Now;
use super::group::{COORDINATOR_LOG, Effects, Group};
use super::state::GroupState;
use crate::protocol::ErrorCode;

/// The end of the join phase that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RebalanceTimer {
    None,
    /// First rebalance of an empty group: waits the whole delay, and again while members keep coming.
    Initial {
        deadline: i64,
        delay_ms: i64,
        remaining_ms: i64,
    },
    /// Ends early when all members have joined.
    Join {
        deadline: i64,
    },
}

impl RebalanceTimer {
    fn deadline(self) -> Option<i64> {
        match self {
            RebalanceTimer::None => None,
            RebalanceTimer::Initial { deadline, .. } | RebalanceTimer::Join { deadline } => Some(deadline),
        }
    }
}

/// One thing whose time has come.
enum Due {
    PendingMember(Arc<str>),
    Member(Arc<str>),
    Rebalance,
    Sync,
}

impl Group {
    /// Earliest deadline set since the last call; deadlines that moved or went away are not taken back.
    pub fn take_wake(&mut self) -> Option<i64> {
        self.wake.take()
    }

    /// The earliest of all deadlines.
    pub fn next_deadline(&self) -> Option<i64> {
        let members = self.members.values().filter_map(|member| member.session_deadline);
        let pending = self.pending_members.values().copied();
        members.chain(pending).chain(self.rebalance_timer.deadline()).chain(self.sync_deadline).min()
    }

    /// Does everything that is due, in the order of the deadlines.
    pub fn tick(&mut self, now: Now, fx: &mut Effects) {
        let mut due: Vec<(i64, Due)> = Vec::new();
        for (id, &deadline) in &self.pending_members {
            due.push((deadline, Due::PendingMember(id.clone())));
        }
        for member in self.members.values() {
            due.extend(member.session_deadline.map(|deadline| (deadline, Due::Member(member.id.clone()))));
        }
        due.extend(self.rebalance_timer.deadline().map(|deadline| (deadline, Due::Rebalance)));
        due.extend(self.sync_deadline.map(|deadline| (deadline, Due::Sync)));
        due.retain(|(deadline, _)| *deadline <= now.mono_ms);
        due.sort_by_key(|(deadline, _)| *deadline);
        for (deadline, due) in due {
            self.fire(deadline, due, now, fx);
        }
    }

    /// Does one thing, unless an earlier one has moved its deadline.
    fn fire(&mut self, deadline: i64, due: Due, now: Now, fx: &mut Effects) {
        match due {
            Due::PendingMember(id) if self.pending_members.get(&id) == Some(&deadline) => {
                self.on_pending_member_expired(&id, now, fx);
            }
            Due::Member(id) if self.members.get(&id).is_some_and(|m| m.session_deadline == Some(deadline)) => {
                self.on_session_expired(&id, now, fx);
            }
            Due::Rebalance if self.rebalance_timer.deadline() == Some(deadline) => self.on_rebalance_due(now, fx),
            Due::Sync if self.sync_deadline == Some(deadline) => self.on_sync_due(now, fx),
            _ => {}
        }
    }

    /// Remembers a deadline for `take_wake`.
    pub(super) fn note_deadline(&mut self, deadline: i64) {
        self.wake = Some(self.wake.map_or(deadline, |wake| wake.min(deadline)));
    }

    /// The member gave a sign of life: its session runs anew.
    pub(super) fn reset_session(&mut self, member_id: &str, now: Now) {
        let timeout = self.members.get(member_id).map_or(0, |member| i64::from(member.session_timeout_ms));
        self.expire_session_in(member_id, timeout, now);
    }

    pub(super) fn expire_session_in(&mut self, member_id: &str, timeout_ms: i64, now: Now) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let deadline = now.mono_ms.saturating_add(timeout_ms);
        member.session_deadline = Some(deadline);
        self.note_deadline(deadline);
    }

    /// Keeps an id that was handed out until `timeout_ms` from now.
    pub(super) fn add_pending_member(&mut self, member_id: Arc<str>, timeout_ms: i32, now: Now) {
        let deadline = now.mono_ms.saturating_add(i64::from(timeout_ms));
        self.pending_members.insert(member_id, deadline);
        self.note_deadline(deadline);
    }

    fn on_pending_member_expired(&mut self, member_id: &str, now: Now, fx: &mut Effects) {
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {}]: Pending member {member_id} in group {} has been removed after session timeout expiration.",
            self.config.broker_id,
            self.id
        );
        self.remove_pending_member(member_id, now, fx);
    }

    fn on_session_expired(&mut self, member_id: &str, now: Now, fx: &mut Effects) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.session_deadline = None;
        if !member.can_expire() {
            // Its session starts again when its parked request is answered.
            return;
        }
        tracing::info!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {}]: Member {member_id} in group {} has failed, removing it from the group",
            self.config.broker_id,
            self.id
        );
        let reason = format!("removing member {member_id} on heartbeat expiration");
        self.remove_member(member_id, &reason, now, fx);
    }

    fn on_rebalance_due(&mut self, now: Now, fx: &mut Effects) {
        match self.rebalance_timer {
            RebalanceTimer::Initial { delay_ms, remaining_ms, .. } if self.new_member_added && remaining_ms != 0 => {
                self.new_member_added = false;
                let next = i64::from(self.config.group_initial_rebalance_delay_ms).min(remaining_ms);
                let remaining_ms = (remaining_ms - delay_ms).max(0);
                self.start_initial_delay(next, remaining_ms, now);
            }
            RebalanceTimer::None => {}
            _ => self.complete_join(now, fx),
        }
    }

    pub(super) fn start_initial_delay(&mut self, delay_ms: i64, remaining_ms: i64, now: Now) {
        let deadline = now.mono_ms.saturating_add(delay_ms);
        self.rebalance_timer = RebalanceTimer::Initial { deadline, delay_ms, remaining_ms };
        self.note_deadline(deadline);
    }

    pub(super) fn start_join_timer(&mut self, timeout_ms: i64, now: Now) {
        let deadline = now.mono_ms.saturating_add(timeout_ms);
        self.rebalance_timer = RebalanceTimer::Join { deadline };
        self.note_deadline(deadline);
    }

    pub(super) fn start_sync_timer(&mut self, now: Now) {
        let deadline = now.mono_ms.saturating_add(self.rebalance_timeout_ms());
        self.sync_deadline = Some(deadline);
        self.note_deadline(deadline);
    }

    /// Members that did not send SyncGroup in time are out, and the rest rebalance.
    fn on_sync_due(&mut self, now: Now, fx: &mut Effects) {
        self.sync_deadline = None;
        let missing: Vec<Arc<str>> = self.pending_sync.iter().cloned().collect();
        if missing.is_empty() || !matches!(self.state(), GroupState::CompletingRebalance | GroupState::Stable) {
            return;
        }
        for member_id in &missing {
            self.remove(member_id, ErrorCode::UnknownMemberId, fx);
        }
        let names = format!("Set({})", missing.join(", "));
        tracing::debug!(
            target: COORDINATOR_LOG,
            "[GroupCoordinator {}]: Group {} removed members who haven't sent their sync request: {names}",
            self.config.broker_id,
            self.id
        );
        self.prepare_rebalance(&format!("Removing {names} on pending sync request expiration"), now, fx);
    }
}
