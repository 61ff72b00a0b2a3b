//! Static members: back under a new id, fenced, and removed by their instance id.

use super::*;

/// A stable group of two static members; their ids, the leader first.
fn stable() -> (Sim, String, String) {
    let (mut sim, ids) = Sim::stable(&[Who::instance(3, "one"), Who::instance(3, "two")]);
    assert_eq!(sim.group.leader(), Some(ids[0].as_str()));
    sim.auto_store = false;
    (sim, ids[0].clone(), ids[1].clone())
}

#[test]
fn ids_begin_with_the_instance_and_are_never_pending() {
    let mut sim = Sim::new();
    let joined = sim.join(&Who::instance(9, "one"));
    assert!(sim.parked(joined));
    sim.pass(DELAY);
    assert!(sim.joined(joined).member_id.starts_with("one-"));
}

#[test]
fn a_follower_returns_without_a_rebalance() {
    let (mut sim, leader, old) = stable();
    let back = sim.join(&Who::instance(5, "two"));
    assert!(sim.parked(back), "until the record is written");
    sim.store(ErrorCode::None);
    let result = sim.joined(back).clone();
    assert_eq!((result.error, result.generation, &*result.leader), (ErrorCode::None, 1, leader.as_str()));
    assert_ne!(&*result.member_id, old);
    assert_eq!(sim.group.state(), GroupState::Stable);
    assert_eq!(sim.heartbeat(&old, 1), ErrorCode::UnknownMemberId);
    let synced = sim.sync(&result.member_id, 1, &[]);
    assert_eq!(&sim.synced(synced).assignment[..], b"a", "it inherits the assignment");
}

#[test]
fn the_leader_returns_before_version_9_and_is_told_of_its_old_self() {
    let (mut sim, old, _) = stable();
    let back = sim.join(&Who::instance(8, "one"));
    sim.store(ErrorCode::None);
    let result = sim.joined(back);
    assert_eq!((&*result.leader, result.members.len(), result.skip_assignment), (old.as_str(), 0, false));
    assert_eq!(sim.group.leader(), Some(&*result.member_id), "but it does lead");
}

#[test]
fn the_leader_returns_from_version_9_on_and_skips_the_assignment() {
    let (mut sim, _, _) = stable();
    let back = sim.join(&Who::instance(9, "one"));
    sim.store(ErrorCode::None);
    let result = sim.joined(back);
    assert_eq!((&result.leader, result.members.len(), result.skip_assignment), (&result.member_id, 2, true));
}

#[test]
fn a_return_that_cannot_be_stored_is_undone() {
    let (mut sim, old, _) = stable();
    let back = sim.join(&Who::instance(9, "one").protocols(&[("range", "other")]));
    sim.store(ErrorCode::NotCoordinator);
    let result = sim.joined(back);
    assert_eq!((result.error, &*result.member_id, &*result.leader), (ErrorCode::NotCoordinator, "", old.as_str()));
    assert!(sim.group.has(&old) && sim.group.leader() == Some(old.as_str()));
    assert_eq!(sim.heartbeat(&old, 1), ErrorCode::None);
    let metadata = sim.group.members().find(|member| *member.id == *old).unwrap().metadata("range");
    assert_eq!(&metadata[..], b"m");
}

#[test]
fn a_return_that_changes_the_protocol_is_a_rebalance() {
    let both: &[(&str, &str)] = &[("range", ""), ("sticky", "")];
    let (mut sim, ids) =
        Sim::stable(&[Who::instance(3, "one").protocols(both), Who::instance(3, "two").protocols(both)]);
    assert_eq!(sim.group.protocol_name(), Some("range"));
    let back = sim.join(&Who::instance(5, "two").protocols(&[("sticky", "")]));
    assert_eq!(sim.group.state(), GroupState::PreparingRebalance);
    let other = sim.join(&Who::instance(5, "one").id(&ids[0]).protocols(both));
    assert_eq!(sim.joined(back).protocol_name.as_deref(), Some("sticky"));
    assert_eq!(sim.joined(other).generation, 2);
}

#[test]
fn the_old_self_is_fenced_where_it_waits() {
    let (mut sim, leader, follower) = stable();
    let parked = sim.join(&Who::instance(5, "two").id(&follower).protocols(&[("range", "x")]));
    let back = sim.join(&Who::instance(5, "two"));
    assert_eq!(sim.joined(parked).error, ErrorCode::FencedInstanceId);
    assert_eq!(&*sim.joined(parked).member_id, follower);
    let fenced = sim.join(&Who::instance(5, "two").id(&follower));
    assert_eq!(sim.joined(fenced).error, ErrorCode::FencedInstanceId);
    sim.join(&Who::instance(5, "one").id(&leader));
    assert_eq!(sim.joined(back).generation, 2);
}

#[test]
fn a_return_while_completing_is_a_rebalance() {
    let mut sim = Sim::new();
    let (first, second) = (sim.join(&Who::instance(3, "one")), sim.join(&Who::instance(3, "two")));
    sim.pass(DELAY * 2);
    let follower = sim.joined(second).member_id.to_string();
    let waits = sim.sync(&follower, 1, &[]);
    let back = sim.join(&Who::instance(5, "two"));
    assert_eq!(sim.synced(waits).error, ErrorCode::FencedInstanceId);
    assert_eq!(sim.group.state(), GroupState::PreparingRebalance);
    let leader = sim.joined(first).member_id.to_string();
    sim.join(&Who::instance(3, "one").id(&leader));
    assert_eq!(sim.joined(back).generation, 2);
}

#[test]
fn static_members_outlive_a_rebalance_they_missed() {
    let (mut sim, leader, follower) = stable();
    let rejoin = sim.join(&Who::instance(5, "one").id(&leader));
    sim.auto_store = true;
    for _ in 0..12 {
        sim.heartbeat(&follower, 1);
        sim.pass(5_000);
    }
    assert_eq!(sim.joined(rejoin).members.len(), 2, "the missing one still has its place");
    sim.pass(SESSION);
    assert!(!sim.group.has(&follower), "until its session ends");
}

#[test]
fn when_nobody_rejoins_the_rebalance_waits_on() {
    let who = |instance| Who { session: 1_000_000, ..Who::instance(3, instance) };
    let (mut sim, ids) = Sim::stable(&[who("one"), who("two"), Who::new(3)]);
    assert_eq!(sim.leave(&ids[2], None), ErrorCode::None);
    sim.pass(REBALANCE * 3);
    assert_eq!((sim.group.state(), sim.group.generation()), (GroupState::PreparingRebalance, 1));
    sim.pass(1_000_000);
    assert_eq!((sim.group.state(), sim.group.generation()), (GroupState::Empty, 2));
}

#[test]
fn an_administrator_removes_by_instance() {
    let (mut sim, _, follower) = stable();
    assert_eq!(sim.leave("", Some("nobody")), ErrorCode::UnknownMemberId);
    assert_eq!(sim.leave("wrong", Some("two")), ErrorCode::FencedInstanceId);
    assert_eq!(sim.leave("", Some("two")), ErrorCode::None);
    assert!(!sim.group.has(&follower));
    assert_eq!(sim.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn claims_with_an_instance() {
    let (mut sim, leader, follower) = stable();
    let now = sim.at();
    let claim = |member_id, instance| MemberClaim { member_id, instance_id: Some(instance), generation: 1 };
    assert_eq!(sim.group.heartbeat(claim(&leader, "one"), now), ErrorCode::None);
    assert_eq!(sim.group.heartbeat(claim(&follower, "one"), now), ErrorCode::FencedInstanceId);
    assert_eq!(sim.group.heartbeat(claim(&leader, "three"), now), ErrorCode::UnknownMemberId);
}
