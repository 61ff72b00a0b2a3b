//! The coordinator with a log in memory and paused time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::testing::*;
use super::*;
use crate::group::records::{GroupMetadataValue, OffsetAndMetadata, RecordKey, decode_key};
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::delete_groups_request::DeleteGroupsRequest;
use crate::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::protocol::messages::offset_fetch_request::OffsetFetchRequestTopics;
use crate::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::protocol::messages::*;
use crate::topic::TopicPartition;

fn s(value: &str) -> StrBytes {
    text(value)
}

pub(super) fn join(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(s(group).into())
        .with_member_id(s(member))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(s("consumer"))
        .with_protocols(vec![
            JoinGroupRequestProtocol::default()
                .with_name(s("range"))
                .with_metadata(Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\0\0\0\0")),
        ])
}

pub(super) fn sync(
    group: &str,
    member: &str,
    generation: i32,
    assignments: &[(&str, &'static str)],
) -> SyncGroupRequest {
    let assignment = |(id, bytes): &(&str, &'static str)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(s(id))
            .with_assignment(Bytes::from_static(bytes.as_bytes()))
    };
    SyncGroupRequest::default()
        .with_group_id(s(group).into())
        .with_member_id(s(member))
        .with_generation_id(generation)
        .with_assignments(assignments.iter().map(assignment).collect())
}

pub(super) fn beat(group: &str, member: &str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default().with_group_id(s(group).into()).with_member_id(s(member)).with_generation_id(generation)
}

fn commit(group: &str, member: &str, generation: i32, offsets: &[(&str, i32, i64)]) -> OffsetCommitRequest {
    let topic = |(topic, partition, offset): &(&str, i32, i64)| {
        OffsetCommitRequestTopic::default().with_name(s(topic).into()).with_partitions(vec![
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(*offset)
                .with_committed_metadata(Some(s("m"))),
        ])
    };
    OffsetCommitRequest::default()
        .with_group_id(s(group).into())
        .with_member_id(s(member))
        .with_generation_id_or_member_epoch(generation)
        .with_topics(offsets.iter().map(topic).collect())
}

fn commit_errors(response: &OffsetCommitResponse) -> Vec<ErrorCode> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| ErrorCode::from_code(partition.error_code)).collect()
}

/// The offset of `t`-0, or the error.
pub(super) fn fetch(coordinator: &GroupCoordinator, group: &str, stable: bool) -> Result<i64, ErrorCode> {
    let topics = [OffsetFetchRequestTopics::default().with_name(s("t").into()).with_partition_indexes(vec![0])];
    let answer = coordinator.fetch_offsets(group, Some(&topics), stable);
    if answer.error_code != 0 {
        return Err(ErrorCode::from_code(answer.error_code));
    }
    let partition = &answer.topics[0].partitions[0];
    match ErrorCode::from_code(partition.error_code) {
        ErrorCode::None => Ok(partition.committed_offset),
        error => Err(error),
    }
}

fn state(coordinator: &GroupCoordinator, group: &str) -> String {
    coordinator.describe_group(5, group).group_state.to_string()
}

/// One member in a stable group; its id.
async fn stable(coordinator: &GroupCoordinator, group: &str) -> String {
    let joined = coordinator.join_group(&context(3), join(group, "")).await;
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    let id = joined.member_id.to_string();
    let synced = coordinator.sync_group(&context(3), sync(group, &id, 1, &[(&id, "mine")])).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"mine"[..]));
    id
}

#[tokio::test(start_paused = true)]
async fn a_group_lives_and_dies() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    let begun = tokio::time::Instant::now();
    let id = stable(&coordinator, "g").await;
    assert_eq!(begun.elapsed(), Duration::from_millis(3_000), "the initial delay, to the millisecond");
    assert_eq!(state(&coordinator, "g"), "Stable");
    let described = coordinator.describe_group(5, "g");
    assert_eq!((&*described.protocol_data, &*described.protocol_type), ("range", "consumer"));
    assert_eq!(&*described.members[0].client_host, "/127.0.0.1");
    assert_eq!(&described.members[0].member_assignment[..], b"mine");
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(9_000)).await;
        assert_eq!(coordinator.heartbeat(&beat("g", &id, 1)).error_code, 0);
    }
    tokio::time::sleep(Duration::from_millis(9_999)).await;
    settle().await;
    assert_eq!(state(&coordinator, "g"), "Stable");
    tokio::time::sleep(Duration::from_millis(1)).await;
    settle().await;
    assert_eq!(state(&coordinator, "g"), "Empty", "ten seconds after the last heartbeat");
    let records = log.records(0);
    let last = GroupMetadataValue::decode(records.last().unwrap().value.as_ref().unwrap()).unwrap();
    assert_eq!((records.len(), last.generation, last.members.len()), (2, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_stored_group_is_what_a_new_coordinator_loads() {
    let log = MemoryLog::new(4);
    let old = coordinator(GroupConfig::default(), &log).await;
    let id = stable(&old, "g").await;
    assert_eq!(commit_errors(&old.offset_commit(commit("g", &id, 1, &[("t", 0, 42)])).await), [ErrorCode::None]);
    assert_eq!(commit_errors(&old.offset_commit(commit("simple", "", -1, &[("t", 0, 7)])).await), [ErrorCode::None]);
    let new = coordinator(GroupConfig::default(), &log).await;
    assert_eq!((fetch(&new, "g", true), fetch(&new, "simple", true)), (Ok(42), Ok(7)));
    assert_eq!((state(&new, "g"), state(&new, "simple")), ("Stable".into(), "Empty".into()));
    assert_eq!(new.describe_group(5, "g"), old.describe_group(5, "g"));
    assert_eq!(new.heartbeat(&beat("g", &id, 1)).error_code, 0);
    tokio::time::sleep(Duration::from_secs(10)).await;
    settle().await;
    assert_eq!(state(&new, "g"), "Empty", "its session ran from the load on");
}

#[tokio::test(start_paused = true)]
async fn commits_are_visible_once_they_are_acknowledged() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    log.set_mode(Mode::Hold);
    let (c1, c2) = (coordinator.clone(), coordinator.clone());
    let first = start(async move { c1.offset_commit(commit("g", "", -1, &[("t", 0, 1)])).await }).await;
    let second = start(async move { c2.offset_commit(commit("g", "", -1, &[("t", 0, 2)])).await }).await;
    assert_eq!(log.held(), 2);
    assert_eq!(fetch(&coordinator, "g", false), Ok(-1));
    assert_eq!(fetch(&coordinator, "g", true), Err(ErrorCode::UnstableOffsetCommit));
    log.acknowledge(Ok(()));
    assert_eq!(commit_errors(&first.await.unwrap()), [ErrorCode::None]);
    assert_eq!((fetch(&coordinator, "g", false), second.is_finished()), (Ok(1), false));
    log.acknowledge(Err(ErrorCode::NotEnoughReplicasAfterAppend));
    assert_eq!(commit_errors(&second.await.unwrap()), [ErrorCode::CoordinatorNotAvailable]);
    assert_eq!(fetch(&coordinator, "g", true), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_commit_ends_even_if_its_client_has_gone() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    log.set_mode(Mode::Hold);
    let c = coordinator.clone();
    let task = start(async move { c.offset_commit(commit("g", "", -1, &[("t", 0, 1)])).await }).await;
    task.abort();
    settle().await;
    log.acknowledge(Ok(()));
    settle().await;
    assert_eq!(fetch(&coordinator, "g", true), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn append_errors_as_committers_see_them() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    for (error, told) in [
        (ErrorCode::UnknownTopicOrPartition, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
        (ErrorCode::MessageTooLarge, ErrorCode::InvalidCommitOffsetSize),
        (ErrorCode::RecordListTooLarge, ErrorCode::InvalidCommitOffsetSize),
        (ErrorCode::NetworkException, ErrorCode::CoordinatorLoadInProgress),
        (ErrorCode::RequestTimedOut, ErrorCode::RequestTimedOut),
    ] {
        log.set_mode(Mode::Refuse(error));
        let response = coordinator.offset_commit(commit("g", "", -1, &[("t", 0, 1)])).await;
        assert_eq!(commit_errors(&response), [told], "{error}");
        assert_eq!(fetch(&coordinator, "g", true), Ok(-1), "nothing stays behind");
    }
}

#[tokio::test(start_paused = true)]
async fn append_errors_as_members_see_them() {
    for (error, told) in [
        (ErrorCode::NotEnoughReplicasAfterAppend, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::RequestTimedOut, ErrorCode::RebalanceInProgress),
        (ErrorCode::MessageTooLarge, ErrorCode::UnknownServerError),
    ] {
        let log = MemoryLog::new(1);
        let coordinator = coordinator(GroupConfig::default(), &log).await;
        let joined = coordinator.join_group(&context(3), join("g", "")).await;
        log.set_mode(Mode::Refuse(error));
        let synced = coordinator.sync_group(&context(3), sync("g", &joined.member_id, 1, &[])).await;
        assert_eq!(ErrorCode::from_code(synced.error_code), told, "{error}");
        assert_eq!(state(&coordinator, "g"), "PreparingRebalance");
    }
}

#[tokio::test(start_paused = true)]
async fn commits_that_are_refused() {
    let log = MemoryLog::new(1);
    let config = GroupConfig { offset_metadata_max_bytes: 2, ..GroupConfig::default() };
    let coordinator = coordinator(config, &log).await;
    let unknown = coordinator.offset_commit(commit("g", "m", 3, &[("t", 0, 1), ("u", 1, 1)])).await;
    assert_eq!(commit_errors(&unknown), [ErrorCode::IllegalGeneration; 2], "there is no such group");
    let mut long = commit("g", "", -1, &[("t", 0, 1), ("u", 0, 1), ("v", 0, 1)]);
    long.topics[1].partitions[0].committed_metadata = Some(s("abc"));
    // Three bytes each, one UTF-16 unit.
    long.topics[2].partitions[0].committed_metadata = Some(s("日本"));
    let response = coordinator.offset_commit(long).await;
    assert_eq!(commit_errors(&response), [ErrorCode::None, ErrorCode::OffsetMetadataTooLarge, ErrorCode::None]);
    assert_eq!(log.records(0).len(), 2);
    let id = stable(&coordinator, "g").await;
    let anonymous = coordinator.offset_commit(commit("g", "", -1, &[("t", 0, 2)])).await;
    assert_eq!(commit_errors(&anonymous), [ErrorCode::UnknownMemberId]);
    let old = coordinator.offset_commit(commit("g", &id, 0, &[("t", 0, 2)])).await;
    assert_eq!(commit_errors(&old), [ErrorCode::IllegalGeneration]);
    assert_eq!(fetch(&coordinator, "g", true), Ok(1));
    let nothing = coordinator.offset_commit(commit("", "", -1, &[("t", 0, 9)])).await;
    assert_eq!(commit_errors(&nothing), [ErrorCode::None], "the empty group id may commit");
}

#[tokio::test(start_paused = true)]
async fn retention_in_the_request_and_the_clients_timestamp() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    coordinator.offset_commit(commit("g", "", -1, &[("t", 0, 1)]).with_retention_time_ms(5_000)).await;
    let mut old = commit("h", "", -1, &[("t", 0, 1)]);
    old.topics[0].partitions[0].commit_timestamp = 77;
    coordinator.offset_commit(old).await;
    let values: Vec<Bytes> = log.records(0).into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(&values[0][..2], [0, 1], "version 1 has room for the expiry");
    let value = OffsetAndMetadata::decode(&values[0]).unwrap();
    assert_eq!(value.expire_timestamp, Some(value.commit_timestamp + 5_000));
    assert_eq!(OffsetAndMetadata::decode(&values[1]).unwrap().commit_timestamp, 77);
    tokio::time::sleep(Duration::from_secs(5)).await;
    // "h" was committed in 1970.
    assert_eq!(coordinator.expire_offsets(), 2);
    assert_eq!((fetch(&coordinator, "g", false), coordinator.gauges().groups), (Ok(-1), 0));
    let tombstones = log.records(0).iter().filter(|record| record.value.is_none()).count();
    assert_eq!(tombstones, 2, "groups of generation 0 have no record to delete");
}

#[tokio::test(start_paused = true)]
async fn expiry_runs_by_itself_and_removes_dead_groups() {
    let log = MemoryLog::new(1);
    let config = GroupConfig { offsets_retention_minutes: 60, ..GroupConfig::default() };
    let coordinator = coordinator(config, &log).await;
    let id = stable(&coordinator, "g").await;
    coordinator.offset_commit(commit("g", &id, 1, &[("t", 0, 1)])).await;
    let leave = LeaveGroupRequest::default().with_group_id(s("g").into()).with_member_id(s(&id));
    assert_eq!(coordinator.leave_group(&context(2), &leave).error_code, 0);
    tokio::time::sleep(Duration::from_secs(59 * 60)).await;
    assert_eq!((fetch(&coordinator, "g", false), coordinator.gauges().empty), (Ok(1), 1));
    tokio::time::sleep(Duration::from_secs(11 * 60)).await;
    assert_eq!((fetch(&coordinator, "g", false), coordinator.gauges().groups), (Ok(-1), 0));
    let keys: Vec<RecordKey> = log
        .records(0)
        .iter()
        .filter(|record| record.value.is_none())
        .map(|record| decode_key(record.key.as_ref().unwrap()).unwrap())
        .collect();
    let group: Arc<str> = Arc::from("g");
    let offset = RecordKey::Offset { group: group.clone(), partition: TopicPartition::new("t", 0) };
    assert_eq!(keys, [offset, RecordKey::Group { group }]);
}

#[tokio::test(start_paused = true)]
async fn administration() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    let id = stable(&coordinator, "g").await;
    coordinator.offset_commit(commit("g", &id, 1, &[("t", 0, 1), ("u", 0, 1)])).await;
    coordinator.offset_commit(commit("simple", "", -1, &[("t", 0, 1)])).await;
    let list = |states: &[&str]| {
        let request = ListGroupsRequest::default().with_states_filter(states.iter().map(|state| s(state)).collect());
        let groups = coordinator.list_groups(4, &request).groups;
        groups.iter().map(|group| format!("{} {}", &**group.group_id, group.group_state)).collect::<Vec<String>>()
    };
    assert_eq!(list(&[]), ["g Stable", "simple Empty"]);
    assert_eq!((list(&["Empty"]), list(&["empty"])), (vec!["simple Empty".to_owned()], vec![]));
    let delete = |group: &str, topics: &[&str]| {
        let topic = |topic: &&str| {
            OffsetDeleteRequestTopic::default()
                .with_name(s(topic).into())
                .with_partitions(vec![OffsetDeleteRequestPartition::default().with_partition_index(0)])
        };
        let request = OffsetDeleteRequest::default()
            .with_group_id(s(group).into())
            .with_topics(topics.iter().map(topic).collect());
        let response = coordinator.offset_delete(&request);
        let errors = response.topics.iter().map(|topic| topic.partitions[0].error_code).collect::<Vec<i16>>();
        (response.error_code, errors)
    };
    assert_eq!(delete("g", &["t", "u"]), (0, vec![ErrorCode::GroupSubscribedToTopic.code(), 0]));
    assert_eq!(delete("none", &["t"]), (ErrorCode::GroupIdNotFound.code(), vec![]));
    assert_eq!(coordinator.gauges().offsets, 2);
    let groups = ["g", "simple", "none"].map(|group| GroupId::from(s(group)));
    let deleted = coordinator.delete_groups(&DeleteGroupsRequest::default().with_groups_names(groups.into()));
    let errors: Vec<ErrorCode> = deleted.results.iter().map(|r| ErrorCode::from_code(r.error_code)).collect();
    assert_eq!(errors, [ErrorCode::NonEmptyGroup, ErrorCode::None, ErrorCode::GroupIdNotFound]);
    assert_eq!(list(&[]), ["g Stable"]);
    coordinator.on_partitions_deleted(&[TopicPartition::new("t", 0)]);
    assert_eq!(fetch(&coordinator, "g", true), Ok(-1));
    coordinator.offset_commit(commit("simple", "", -1, &[("t", 0, 1)])).await;
    assert_eq!(delete("simple", &["t"]), (0, vec![0]));
    assert_eq!(list(&[]), ["g Stable"], "an empty group goes with its last offset");
}

#[tokio::test(start_paused = true)]
async fn leaving_in_each_version() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    let id = stable(&coordinator, "g").await;
    let one = |id: &str| LeaveGroupRequest::default().with_group_id(s("g").into()).with_member_id(s(id));
    assert_eq!(coordinator.leave_group(&context(2), &one("who")).error_code, ErrorCode::UnknownMemberId.code());
    let members = ["who", &id].map(|id| MemberIdentity::default().with_member_id(s(id)));
    let many = LeaveGroupRequest::default().with_group_id(s("g").into()).with_members(members.into());
    let response = coordinator.leave_group(&context(3), &many);
    let errors: Vec<i16> = response.members.iter().map(|member| member.error_code).collect();
    assert_eq!((response.error_code, errors), (0, vec![ErrorCode::UnknownMemberId.code(), 0]));
    let absent = one("who").with_group_id(s("none").into());
    assert_eq!(coordinator.leave_group(&context(0), &absent).error_code, ErrorCode::UnknownMemberId.code());
}

#[tokio::test(start_paused = true)]
async fn sync_from_version_5_on_must_name_the_protocol() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    let response = coordinator.sync_group(&context(5), sync("g", "m", 1, &[])).await;
    assert_eq!(response.error_code, ErrorCode::InconsistentGroupProtocol.code());
}

#[tokio::test(start_paused = true)]
async fn offset_fetch_in_each_shape() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    coordinator.offset_commit(commit("g", "", -1, &[("t", 0, 1), ("t", 1, 2), ("a", 0, 3)])).await;
    let all = OffsetFetchRequest::default().with_group_id(s("g").into()).with_topics(None);
    let response = coordinator.offset_fetch(2, all.clone());
    let found: Vec<(&str, usize)> = response.topics.iter().map(|t| (t.name.as_str(), t.partitions.len())).collect();
    assert_eq!(found, [("a", 1), ("t", 1)].map(|(name, count)| (name, if name == "t" { 2 } else { count })));
    coordinator.on_resignation(0, None);
    let topics = vec![
        offset_fetch_request::OffsetFetchRequestTopic::default()
            .with_name(s("t").into())
            .with_partition_indexes(vec![0]),
    ];
    let response = coordinator.offset_fetch(1, all.clone().with_topics(Some(topics)));
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::NotCoordinator.code());
    let response = coordinator.offset_fetch(2, all);
    assert_eq!((response.error_code, response.topics.len()), (ErrorCode::NotCoordinator.code(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_not_there() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    log.remove(0);
    let response = coordinator.offset_commit(commit("g", "", -1, &[("t", 0, 1)])).await;
    assert_eq!(commit_errors(&response), [ErrorCode::NotCoordinator]);
    coordinator.on_resignation(0, Some(1));
    coordinator.on_leadership(0, 2);
    loaded(&coordinator).await;
    assert_eq!(fetch(&coordinator, "g", false), Ok(-1), "loaded as empty");
}

#[tokio::test(start_paused = true)]
async fn transactional_commits() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    let topics = vec![
        txn_offset_commit_request::TxnOffsetCommitRequestTopic::default().with_name(s("t").into()).with_partitions(
            vec![
                txn_offset_commit_request::TxnOffsetCommitRequestPartition::default()
                    .with_partition_index(0)
                    .with_committed_offset(5),
            ],
        ),
    ];
    let request = TxnOffsetCommitRequest::default()
        .with_group_id(s("g").into())
        .with_producer_id(ProducerId(9))
        .with_producer_epoch(1)
        .with_generation_id(-1)
        .with_topics(topics);
    let response = coordinator.txn_offset_commit(2, request.clone()).await;
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
    let batch = &log.batches(0)[0];
    assert_eq!((batch.is_transactional(), batch.producer_id(), batch.base_sequence()), (true, 9, 0));
    assert_eq!(fetch(&coordinator, "g", true), Err(ErrorCode::UnstableOffsetCommit));
    coordinator.on_transaction_completed(9, &[0], true);
    assert_eq!(fetch(&coordinator, "g", true), Ok(5));
    let claimed = request.with_group_id(s("h").into()).with_generation_id(3).with_member_id(s("m"));
    let response = coordinator.txn_offset_commit(3, claimed).await;
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::UnknownMemberId.code());
}

#[test]
fn hosts_as_java_prints_them() {
    for (address, text) in [("127.0.0.1", "/127.0.0.1"), ("::1", "/0:0:0:0:0:0:0:1"), ("::ffff:10.0.0.1", "/10.0.0.1")]
    {
        assert_eq!(client_host(address.parse().unwrap()), text);
    }
}
