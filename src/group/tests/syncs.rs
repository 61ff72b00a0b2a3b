//! SyncGroup, what becomes of the assignment, and commits in each state.

use super::*;

/// Two members that have joined and owe a SyncGroup: leader and follower.
fn completing() -> (Sim, String, String) {
    let mut sim = Sim::new();
    let (first, second) = (sim.join(&Who::new(3)), sim.join(&Who::new(3)));
    sim.pass(DELAY * 2);
    let (leader, follower) = (sim.joined(first).member_id.to_string(), sim.joined(second).member_id.to_string());
    assert_eq!(&*sim.joined(first).leader, leader);
    sim.auto_store = false;
    (sim, leader, follower)
}

#[test]
fn everybody_gets_the_assignment_once_it_is_stored() {
    let (mut sim, leader, follower) = completing();
    let waits = sim.sync(&follower, 1, &[]);
    assert!(sim.parked(waits));
    let leads = sim.sync(&leader, 1, &[(&leader, "L"), (&follower, "F")]);
    assert!(sim.parked(leads), "not before the record is written");
    assert_eq!(sim.group.state(), GroupState::CompletingRebalance);
    sim.store(ErrorCode::None);
    assert_eq!(sim.group.state(), GroupState::Stable);
    assert_eq!((&sim.synced(leads).assignment[..], &sim.synced(waits).assignment[..]), (&b"L"[..], &b"F"[..]));
    let late = sim.sync(&follower, 1, &[]);
    assert_eq!(&sim.synced(late).assignment[..], b"F");
}

#[test]
fn members_the_leader_forgot_get_nothing() {
    let (mut sim, leader, follower) = completing();
    let waits = sim.sync(&follower, 1, &[]);
    sim.sync(&leader, 1, &[(&leader, "L")]);
    sim.store(ErrorCode::None);
    assert_eq!((sim.synced(waits).error, sim.synced(waits).assignment.len()), (ErrorCode::None, 0));
}

#[test]
fn an_assignment_that_cannot_be_stored_means_another_rebalance() {
    let (mut sim, leader, follower) = completing();
    let waits = sim.sync(&follower, 1, &[]);
    let leads = sim.sync(&leader, 1, &[]);
    sim.store(ErrorCode::CoordinatorNotAvailable);
    for ticket in [waits, leads] {
        assert_eq!(sim.synced(ticket).error, ErrorCode::CoordinatorNotAvailable);
        assert_eq!(sim.synced(ticket).protocol_type, None);
    }
    assert_eq!(sim.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn an_assignment_of_an_older_generation_is_void() {
    let (mut sim, leader, follower) = completing();
    let leads = sim.sync(&leader, 1, &[(&leader, "old")]);
    let rejoins = sim.join(&Who::new(3).id(&follower).protocols(&[("range", "x")]));
    assert_eq!(sim.synced(leads).error, ErrorCode::RebalanceInProgress);
    let again = sim.join(&Who::new(3).id(&leader));
    assert_eq!((sim.joined(rejoins).generation, sim.joined(again).generation), (2, 2));
    sim.store(ErrorCode::None);
    assert_eq!(sim.group.state(), GroupState::CompletingRebalance, "the store was for generation 1");
    assert!(sim.group.members().all(|member| member.assignment.is_empty()));
}

#[test]
fn who_does_not_sync_in_time_is_out() {
    let (mut sim, leader, follower) = completing();
    let leads = sim.sync(&leader, 1, &[]);
    sim.store(ErrorCode::None);
    assert_eq!(sim.synced(leads).error, ErrorCode::None);
    for _ in 0..REBALANCE / 5_000 {
        assert_eq!(sim.group.state(), GroupState::Stable);
        sim.heartbeat(&leader, 1);
        sim.heartbeat(&follower, 1);
        sim.pass(5_000);
    }
    assert!(!sim.group.has(&follower), "it never sent SyncGroup");
    assert_eq!(sim.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_sync_of_every_member_disarms_the_timer() {
    let (mut sim, leader, follower) = completing();
    sim.sync(&follower, 1, &[]);
    sim.sync(&leader, 1, &[]);
    sim.store(ErrorCode::None);
    assert_eq!(sim.group.sync_deadline, None);
}

#[test]
fn sync_errors() {
    let (mut sim, leader, follower) = completing();
    let unknown = sim.sync("who", 1, &[]);
    assert_eq!(sim.synced(unknown).error, ErrorCode::UnknownMemberId);
    let old = sim.sync(&leader, 0, &[]);
    assert_eq!(sim.synced(old).error, ErrorCode::IllegalGeneration);
    let (now, ticket, mut fx) = (sim.at(), sim.ticket(), Effects::new());
    let request = SyncRequest {
        generation: 1,
        member_id: &leader,
        instance_id: None,
        protocol_type: Some("connect"),
        protocol_name: None,
        assignments: HashMap::new(),
    };
    sim.group.sync(ticket, request, now, &mut fx);
    sim.apply(fx);
    assert_eq!(sim.synced(ticket).error, ErrorCode::InconsistentGroupProtocol);
    sim.join(&Who::new(3).id(&follower).protocols(&[("range", "x")]));
    let preparing = sim.sync(&leader, 1, &[]);
    assert_eq!(sim.synced(preparing).error, ErrorCode::RebalanceInProgress);
}

#[test]
fn a_member_that_leaves_while_its_sync_is_parked_gets_an_answer() {
    let (mut sim, _, follower) = completing();
    let waits = sim.sync(&follower, 1, &[]);
    sim.leave(&follower, None);
    assert_eq!(sim.synced(waits).error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_parked_sync_keeps_the_session_alive() {
    let (mut sim, leader, follower) = completing();
    let waits = sim.sync(&follower, 1, &[]);
    for _ in 0..4 {
        sim.pass(SESSION / 2);
        sim.heartbeat(&leader, 1);
    }
    assert!(sim.parked(waits) && sim.group.has(&follower));
    sim.sync(&leader, 1, &[]);
    sim.store(ErrorCode::None);
    sim.pass(SESSION - 1);
    assert!(sim.group.has(&follower), "a full session after the answer");
    sim.pass(1);
    assert!(!sim.group.has(&follower));
}

#[test]
fn who_may_commit() {
    let anonymous = MemberClaim { member_id: "", instance_id: None, generation: -1 };
    let mut sim = Sim::new();
    let now = sim.at();
    assert_eq!(sim.group.allow_commit(anonymous, false, now), Ok(()), "an empty group takes commits from anybody");
    let claim = MemberClaim { member_id: "who", instance_id: None, generation: 3 };
    assert_eq!(sim.group.allow_commit(claim, false, now), Err(ErrorCode::UnknownMemberId));

    let (mut sim, leader, follower) = completing();
    let now = sim.at();
    let member = MemberClaim { member_id: &leader, instance_id: None, generation: 1 };
    assert_eq!(sim.group.allow_commit(anonymous, false, now), Err(ErrorCode::UnknownMemberId));
    assert_eq!(
        sim.group.allow_commit(anonymous, true, now),
        Ok(()),
        "old transactional clients do not say who they are"
    );
    assert_eq!(sim.group.allow_commit(member, false, now), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(sim.group.allow_commit(member, true, now), Ok(()));
    let old = MemberClaim { generation: 0, ..member };
    assert_eq!(sim.group.allow_commit(old, false, now), Err(ErrorCode::IllegalGeneration));
    sim.join(&Who::new(3).id(&follower).protocols(&[("range", "x")]));
    assert_eq!(sim.group.allow_commit(member, false, now), Ok(()), "while preparing the old generation may commit");
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let (mut sim, ids) = Sim::stable(&[Who::new(3)]);
    sim.pass(SESSION - 1);
    let now = sim.at();
    let claim = MemberClaim { member_id: &ids[0], instance_id: None, generation: 1 };
    assert_eq!(sim.group.allow_commit(claim, false, now), Ok(()));
    sim.pass(SESSION - 1);
    assert!(sim.group.has(&ids[0]));
    sim.pass(1);
    assert!(!sim.group.has(&ids[0]));
}
