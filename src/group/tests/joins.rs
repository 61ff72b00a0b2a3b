//! JoinGroup: new members, members that come back, the initial delay, the end of the join phase.

use super::*;

#[test]
fn first_member_waits_for_the_initial_delay() {
    let mut sim = Sim::new();
    let first = sim.join(&Who::new(0));
    assert_eq!(sim.group.state(), GroupState::PreparingRebalance);
    sim.pass(DELAY - 1);
    assert!(sim.parked(first));
    sim.pass(1);
    let result = sim.joined(first).clone();
    assert_eq!((result.error, result.generation), (ErrorCode::None, 1));
    assert_eq!((result.leader.clone(), result.members.len()), (result.member_id.clone(), 1));
    assert_eq!(result.protocol_name.as_deref(), Some("range"));
    assert_eq!(result.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(sim.group.state(), GroupState::CompletingRebalance);
}

#[test]
fn initial_delay_is_extended_while_members_come() {
    let mut sim = Sim::new();
    let first = sim.join(&Who::new(0));
    sim.pass(DELAY - 1);
    let second = sim.join(&Who::new(0));
    sim.pass(1);
    assert!(sim.parked(first), "a member came during the delay");
    sim.pass(DELAY - 1);
    assert!(sim.parked(first));
    sim.pass(1);
    assert_eq!((sim.joined(first).generation, sim.joined(second).generation), (1, 1));
    assert_eq!(sim.joined(first).members.len(), 2, "the first is the leader");
    assert!(sim.joined(second).members.is_empty());
    assert_eq!(sim.joined(second).leader, sim.joined(first).member_id);
}

#[test]
fn initial_delay_ends_with_the_rebalance_timeout() {
    let mut sim = Sim::new();
    let who = Who { rebalance: 5_000, ..Who::new(0) };
    let first = sim.join(&who);
    for _ in 0..4 {
        sim.pass(1_400);
        sim.join(&who);
    }
    assert!(!sim.parked(first), "5 s are over at {}", sim.now);
}

#[test]
fn a_member_that_must_know_its_id_is_pending_until_it_returns() {
    let mut sim = Sim::new();
    let asked = sim.join(&Who::new(4));
    let result = sim.joined(asked).clone();
    assert_eq!(result.error, ErrorCode::MemberIdRequired);
    assert!(result.member_id.starts_with("c-") && result.generation == -1);
    assert_eq!(sim.group.state(), GroupState::Empty);
    assert!(sim.group.is_pending_member(&result.member_id));
    let joined = sim.join(&Who::new(4).id(&result.member_id));
    assert!(!sim.group.is_pending_member(&result.member_id));
    sim.pass(DELAY);
    assert_eq!(sim.joined(joined).member_id, result.member_id);
}

#[test]
fn a_pending_id_lapses_after_the_session_timeout() {
    let mut sim = Sim::new();
    let asked = sim.join(&Who::new(4));
    let id = sim.joined(asked).member_id.to_string();
    sim.pass(SESSION);
    assert!(!sim.group.is_pending_member(&id));
    let late = sim.join(&Who::new(4).id(&id));
    assert_eq!(sim.joined(late).error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_rebalance_waits_for_pending_members() {
    let (mut sim, ids) = Sim::stable(&[Who::new(3)]);
    let asked = sim.join(&Who::new(4));
    let pending = sim.joined(asked).member_id.to_string();
    let rejoin = sim.join(&Who::new(4).id(&ids[0]));
    assert!(sim.parked(rejoin), "somebody was told to come back");
    assert_eq!(sim.leave(&pending, None), ErrorCode::None);
    assert_eq!(sim.joined(rejoin).generation, 2);
}

#[test]
fn a_member_that_does_not_rejoin_is_removed() {
    let (mut sim, ids) = Sim::stable(&[Who::new(3), Who { session: 1_000_000, ..Who::new(3) }]);
    assert_eq!(sim.group.members().len(), 2);
    let new = sim.join(&Who::new(3));
    let old = sim.join(&Who::new(3).id(&ids[1]));
    sim.heartbeat(&ids[0], 1);
    while sim.parked(new) {
        // It lives, but does not rejoin.
        assert_eq!(sim.heartbeat(&ids[0], 1), ErrorCode::RebalanceInProgress);
        sim.pass(5_000);
    }
    assert_eq!(sim.now, DELAY * 2 + REBALANCE, "after the rebalance timeout");
    assert!(!sim.group.has(&ids[0]));
    assert_eq!(sim.joined(new).generation, 2);
    let leader = sim.joined(old).leader.clone();
    assert_eq!(sim.joined(new).leader, leader);
    assert!(leader == sim.joined(old).member_id || leader == sim.joined(new).member_id);
}

#[test]
fn a_rebalance_ends_early_when_all_are_there() {
    let (mut sim, ids) = Sim::stable(&[Who::new(3), Who::new(3)]);
    let first = sim.join(&Who::new(3).id(&ids[0]).protocols(&[("range", "new")]));
    assert!(sim.parked(first));
    let second = sim.join(&Who::new(3).id(&ids[1]));
    assert_eq!((sim.joined(first).generation, sim.joined(second).generation), (2, 2));
}

#[test]
fn in_a_stable_group_only_news_cause_a_rebalance() {
    let (mut sim, ids) = Sim::stable(&[Who::new(3), Who::new(3)]);
    let leader = sim.group.leader().unwrap().to_owned();
    let follower = ids.iter().find(|id| **id != leader).unwrap().clone();
    let same = sim.join(&Who::new(3).id(&follower));
    assert_eq!((sim.joined(same).error, sim.joined(same).generation), (ErrorCode::None, 1));
    assert_eq!(sim.group.state(), GroupState::Stable);
    let changed = sim.join(&Who::new(3).id(&follower).protocols(&[("range", "other")]));
    assert!(sim.parked(changed));
    assert_eq!(sim.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn the_leader_can_always_rebalance() {
    let (mut sim, _) = Sim::stable(&[Who::new(3), Who::new(3)]);
    let leader = sim.group.leader().unwrap().to_owned();
    let again = sim.join(&Who::new(3).id(&leader));
    assert!(sim.parked(again));
    assert_eq!(sim.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn while_completing_a_repeated_join_gets_the_same_answer() {
    let mut sim = Sim::new();
    let (first, second) = (sim.join(&Who::new(3)), sim.join(&Who::new(3)));
    sim.pass(DELAY * 2);
    let leader = sim.joined(first).member_id.to_string();
    let again = sim.join(&Who::new(3).id(&leader));
    assert_eq!(sim.joined(again), sim.joined(first));
    let follower = sim.joined(second).member_id.to_string();
    let again = sim.join(&Who::new(3).id(&follower));
    assert_eq!(sim.joined(again), sim.joined(second));
    let changed = sim.join(&Who::new(3).id(&follower).protocols(&[("range", "x")]));
    assert!(sim.parked(changed));
    assert_eq!(sim.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_second_join_replaces_the_parked_one() {
    let (mut sim, ids) = Sim::stable(&[Who::new(3), Who::new(3)]);
    let first = sim.join(&Who::new(3).id(&ids[0]).protocols(&[("range", "x")]));
    let second = sim.join(&Who::new(3).id(&ids[0]).protocols(&[("range", "x")]));
    assert_eq!(sim.joined(first).error, ErrorCode::RebalanceInProgress);
    assert!(sim.parked(second));
    sim.join(&Who::new(3).id(&ids[1]));
    assert_eq!(sim.joined(second).generation, 2);
}

#[test]
fn protocols_must_agree() {
    let mut sim = Sim::new();
    let none = sim.join(&Who::new(3).protocols(&[]));
    assert_eq!(sim.joined(none).error, ErrorCode::InconsistentGroupProtocol);
    sim.join(&Who::new(3).protocols(&[("range", ""), ("sticky", "")]));
    let other = sim.join(&Who::new(3).protocols(&[("roundrobin", "")]));
    assert_eq!(sim.joined(other).error, ErrorCode::InconsistentGroupProtocol);
    let common = sim.join(&Who::new(3).protocols(&[("sticky", ""), ("roundrobin", "")]));
    sim.pass(DELAY * 2);
    assert_eq!(sim.joined(common).protocol_name.as_deref(), Some("sticky"), "the only one all support");
}

#[test]
fn the_protocol_with_most_votes_wins() {
    let mut sim = Sim::new();
    let both = |first, second| Who::new(3).protocols(&[(first, "1"), (second, "2")]);
    let first = sim.join(&both("range", "sticky"));
    sim.join(&both("sticky", "range"));
    sim.join(&both("sticky", "range"));
    sim.pass(DELAY * 2);
    let result = sim.joined(first);
    assert_eq!(result.protocol_name.as_deref(), Some("sticky"));
    let mut metadata: Vec<&[u8]> = result.members.iter().map(|member| &member.metadata[..]).collect();
    metadata.sort();
    assert_eq!(metadata, [b"1", b"1", b"2"], "each member's metadata for the chosen protocol");
}

#[test]
fn a_full_group_turns_members_away() {
    let config = GroupConfig { group_max_size: 2, ..GroupConfig::default() };
    let mut sim = Sim::with(config);
    let (first, second) = (sim.join(&Who::new(3)), sim.join(&Who::new(3)));
    let third = sim.join(&Who::new(3));
    assert_eq!((sim.joined(third).error, &*sim.joined(third).member_id), (ErrorCode::GroupMaxSizeReached, ""));
    sim.pass(DELAY * 2);
    assert_eq!((sim.joined(first).generation, sim.joined(second).generation), (1, 1));
    let fourth = sim.join(&Who::new(3));
    assert_eq!(sim.joined(fourth).error, ErrorCode::GroupMaxSizeReached, "while completing");
}

#[test]
fn a_new_member_that_never_gets_an_answer_lapses_after_five_minutes() {
    let (mut sim, ids) = Sim::stable(&[Who { session: 1_000_000, rebalance: 1_000_000, ..Who::new(3) }]);
    let new = sim.join(&Who::new(3));
    sim.pass(5 * 60 * 1_000 - 1);
    assert!(sim.parked(new));
    sim.pass(1);
    assert_eq!((sim.joined(new).error, &*sim.joined(new).member_id), (ErrorCode::UnknownMemberId, ""));
    assert_eq!(sim.group.members().len(), 1);
    assert!(sim.group.has(&ids[0]));
}

#[test]
fn unknown_members_and_dead_groups() {
    let mut sim = Sim::new();
    let stranger = sim.join(&Who::new(3).id("who"));
    assert_eq!(sim.joined(stranger).error, ErrorCode::UnknownMemberId);
    assert_eq!(&*sim.joined(stranger).member_id, "who");
    let now = sim.at();
    assert!(sim.group.delete(now));
    let late = sim.join(&Who::new(3));
    assert_eq!(sim.joined(late).error, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(sim.heartbeat("who", 1), ErrorCode::CoordinatorNotAvailable);
}

#[test]
fn last_member_leaves_and_the_empty_generation_is_stored() {
    let (mut sim, ids) = Sim::stable(&[Who::new(3)]);
    sim.auto_store = false;
    assert_eq!(sim.leave(&ids[0], None), ErrorCode::None);
    assert_eq!((sim.group.state(), sim.group.generation()), (GroupState::Empty, 2));
    let record = super::super::records::GroupMetadataValue::decode(sim.stores[0].value.as_ref().unwrap()).unwrap();
    assert_eq!((record.generation, record.members.len(), record.protocol, record.leader), (2, 0, None, None));
    sim.store(ErrorCode::NotEnoughReplicas);
    assert_eq!(sim.group.state(), GroupState::Empty, "that the write failed changes nothing");
}

#[test]
fn a_session_that_ends_removes_the_member() {
    let (mut sim, ids) = Sim::stable(&[Who::new(3), Who::new(3)]);
    sim.pass(SESSION - 1);
    assert_eq!(sim.heartbeat(&ids[1], 1), ErrorCode::None);
    sim.pass(1);
    assert!(!sim.group.has(&ids[0]));
    assert_eq!(sim.group.state(), GroupState::PreparingRebalance);
    assert_eq!(sim.heartbeat(&ids[1], 1), ErrorCode::RebalanceInProgress);
    let rejoin = sim.join(&Who::new(3).id(&ids[1]));
    assert_eq!(sim.joined(rejoin).generation, 2);
}

#[test]
fn unloading_sends_everybody_away() {
    let (mut sim, ids) = Sim::stable(&[Who::new(3), Who::new(3)]);
    let parked = sim.join(&Who::new(3).id(&ids[0]).protocols(&[("range", "x")]));
    let (now, mut fx) = (sim.at(), Effects::new());
    sim.group.on_unloaded(now, &mut fx);
    sim.apply(fx);
    assert_eq!(sim.joined(parked).error, ErrorCode::NotCoordinator);
    assert_eq!((sim.group.state(), sim.group.next_deadline()), (GroupState::Dead, None));
}
