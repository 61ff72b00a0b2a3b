//! The coordinator with a log in memory and paused time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::testing::*;
use super::*;
use crate::group::records::{decode_key, GroupMetadataValue, OffsetAndMetadata, RecordKey};
use crate::group::storage::{offsets_batch, tombstones_batch, TxnProducer};
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::delete_groups_request::DeleteGroupsRequest;
use crate::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::protocol::messages::offset_fetch_request::OffsetFetchRequestTopics;
use crate::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::protocol::messages::*;
use crate::record::builder::EndTxnMarker;
use crate::topic::TopicPartition;

fn s(value: &str) -> StrBytes {
    text(value)
}

fn join(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(s(group).into())
        .with_member_id(s(member))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(s("consumer"))
        .with_protocols(vec![JoinGroupRequestProtocol::default()
            .with_name(s("range"))
            .with_metadata(Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\0\0\0\0"))])
}

fn sync(group: &str, member: &str, generation: i32, assignments: &[(&str, &'static str)]) -> SyncGroupRequest {
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

fn beat(group: &str, member: &str, generation: i32) -> HeartbeatRequest {
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
fn fetch(coordinator: &GroupCoordinator, group: &str, stable: bool) -> Result<i64, ErrorCode> {
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
async fn who_coordinates() {
    let log = MemoryLog::new(1);
    let coordinator = idle(GroupConfig::default(), &log);
    assert_eq!(fetch(&coordinator, "g", false), Err(ErrorCode::NotCoordinator));
    assert_eq!(coordinator.heartbeat(&beat("g", "m", 1)).error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(coordinator.heartbeat(&beat("", "m", 1)).error_code, ErrorCode::InvalidGroupId.code());
    let bytes = offsets_batch(&GroupConfig::default(), "g", &[(TopicPartition::new("t", 0), offset(5))], None, WALL);
    log.put(0, bytes.unwrap());
    let gate = log.gate.lock();
    coordinator.on_leadership(0, 5);
    assert_eq!(fetch(&coordinator, "g", false), Err(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(coordinator.heartbeat(&beat("g", "m", 1)).error_code, 0, "taken at its word");
    let synced = coordinator.start_sync(&context(3), &sync("g", "m", 1, &[]));
    assert_eq!(synced.err(), Some(ErrorCode::CoordinatorLoadInProgress));
    let listed = coordinator.list_groups(4, &ListGroupsRequest::default());
    assert_eq!(listed.error_code, ErrorCode::CoordinatorLoadInProgress.code());
    drop(gate);
    loaded(&coordinator).await;
    assert_eq!(fetch(&coordinator, "g", false), Ok(5));
    coordinator.on_resignation(0, Some(4));
    assert_eq!(fetch(&coordinator, "g", false), Ok(5), "news of an older epoch");
    coordinator.on_resignation(0, Some(6));
    assert_eq!(fetch(&coordinator, "g", false), Err(ErrorCode::NotCoordinator));
    coordinator.on_leadership(0, 5);
    assert_eq!(fetch(&coordinator, "g", false), Err(ErrorCode::NotCoordinator), "an older epoch again");
    coordinator.on_leadership(0, 7);
    loaded(&coordinator).await;
    assert_eq!(fetch(&coordinator, "g", false), Ok(5));
    coordinator.shutdown();
    assert_eq!(fetch(&coordinator, "g", false), Err(ErrorCode::CoordinatorNotAvailable));
}

#[tokio::test(start_paused = true, flavor = "current_thread")]
async fn a_load_that_was_overtaken_installs_nothing() {
    let log = MemoryLog::new(1);
    let coordinator = idle(GroupConfig::default(), &log);
    let batch = offsets_batch(&GroupConfig::default(), "g", &[(TopicPartition::new("t", 0), offset(5))], None, WALL);
    log.put(0, batch.unwrap());
    {
        let _gate = log.gate.lock();
        coordinator.on_leadership(0, 1);
        coordinator.on_resignation(0, Some(2));
    }
    for _ in 0..1_000 {
        settle().await;
    }
    assert_eq!(coordinator.gauges().groups, 0);
    assert_eq!(fetch(&coordinator, "g", false), Err(ErrorCode::NotCoordinator));
}

#[tokio::test(start_paused = true)]
async fn moving_away_answers_who_waits() {
    let log = MemoryLog::new(1);
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    let c = coordinator.clone();
    let parked = start(async move { c.join_group(&context(3), join("g", "")).await }).await;
    coordinator.on_resignation(0, None);
    assert_eq!(parked.await.unwrap().error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(coordinator.gauges().groups, 0);
}

fn offset(offset: i64) -> OffsetAndMetadata {
    OffsetAndMetadata {
        offset,
        leader_epoch: -1,
        metadata: Arc::from(""),
        commit_timestamp: WALL,
        expire_timestamp: None,
    }
}

/// Batches that follow each other; a producer id makes a batch transactional, an `Err` is a marker.
fn history(steps: &[Result<(&str, i64, Option<i64>), (i64, bool)>]) -> Bytes {
    let mut out = bytes::BytesMut::new();
    for (at, step) in steps.iter().enumerate() {
        let batch = match *step {
            Ok((group, value, producer)) => {
                let producer = producer.map(|producer_id| TxnProducer { producer_id, producer_epoch: 0 });
                let offsets = [(TopicPartition::new("t", 0), offset(value))];
                offsets_batch(&GroupConfig::default(), group, &offsets, producer, WALL).unwrap()
            }
            Err((producer, commit)) => {
                EndTxnMarker { commit, coordinator_epoch: 0 }.to_batch(0, 0, producer, 0, WALL).unwrap()
            }
        };
        let mut bytes = bytes::BytesMut::from(&batch[..]);
        bytes[..8].copy_from_slice(&(at as i64).to_be_bytes());
        out.extend_from_slice(&bytes);
    }
    out.freeze()
}

#[tokio::test(start_paused = true)]
async fn loading_transactional_commits() {
    let log = MemoryLog::new(1);
    log.put(
        0,
        history(&[
            Ok(("committed", 1, Some(1))),
            Ok(("aborted", 1, None)),
            Ok(("aborted", 2, Some(2))),
            Ok(("overtaken", 1, Some(1))),
            Ok(("overtaken", 2, None)),
            Err((1, true)),
            Err((2, false)),
            Ok(("open", 1, None)),
            Ok(("open", 2, Some(3))),
            Ok(("only-open", 9, Some(3))),
        ]),
    );
    let coordinator = coordinator(GroupConfig { offsets_load_buffer_size: 1, ..GroupConfig::default() }, &log).await;
    assert_eq!(fetch(&coordinator, "committed", true), Ok(1));
    assert_eq!(fetch(&coordinator, "aborted", true), Ok(1));
    assert_eq!(fetch(&coordinator, "overtaken", true), Ok(2), "the plain commit came after that of the transaction");
    for (group, before) in [("open", 1), ("only-open", -1)] {
        assert_eq!(fetch(&coordinator, group, true), Err(ErrorCode::UnstableOffsetCommit));
        assert_eq!(fetch(&coordinator, group, false), Ok(before));
    }
    coordinator.on_transaction_completed(3, &[1], true);
    assert_eq!(fetch(&coordinator, "open", false), Ok(1), "the marker was for another partition");
    coordinator.on_transaction_completed(3, &[0], true);
    assert_eq!((fetch(&coordinator, "open", true), fetch(&coordinator, "only-open", true)), (Ok(2), Ok(9)));
}

#[tokio::test(start_paused = true)]
async fn tombstones_and_unreadable_records() {
    let log = MemoryLog::new(1);
    let config = GroupConfig::default();
    let partition = TopicPartition::new("t", 0);
    let mut at = 0;
    let mut put = |batch: Bytes| {
        let mut bytes = bytes::BytesMut::from(&batch[..]);
        bytes[..8].copy_from_slice(&i64::to_be_bytes(at));
        at += 1;
        log.put(0, bytes.freeze());
    };
    put(offsets_batch(&config, "gone", &[(partition.clone(), offset(1))], None, WALL).unwrap());
    put(tombstones_batch(&config, "gone", &[partition.clone()], false, WALL).unwrap());
    for (key, value) in [(&b"\0\x09new"[..], &b"x"[..]), (b"\0\x01", b"x"), (b"\0\x02\0\x01b", b"\0\x09")] {
        let mut batch = crate::record::BatchBuilder::new(0);
        batch.append(WALL, Some(key), Some(value)).unwrap();
        put(batch.build().unwrap());
    }
    put(offsets_batch(&config, "there", &[(partition, offset(3))], None, WALL).unwrap());
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    assert_eq!((fetch(&coordinator, "gone", true), fetch(&coordinator, "there", true)), (Ok(-1), Ok(3)));
    assert_eq!(coordinator.gauges().groups, 1);
}

/// What Kafka wrote, loaded, against what a consumer of the topic (read_committed) last saw of each key.
#[tokio::test(start_paused = true)]
async fn a_recorded_topic_loads() {
    let log = MemoryLog::new(5);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/group");
    for partition in 0..5 {
        log.put(partition, std::fs::read(format!("{golden}/consumer-offsets-{partition}.log")).unwrap().into());
    }
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    let mut found = Vec::new();
    for cell in coordinator.inner.table.all() {
        assert_eq!(cell.partition, coordinator.partition_for(&cell.id));
        let group = &cell.edge.lock().group;
        assert!(group.offsets.open_producers().next().is_none(), "all transactions had ended");
        if let Some(protocol_type) = group.protocol_type() {
            found.push(format!("{}\tgroup\t{}\t{protocol_type}\t{}", cell.partition, cell.id, group.generation()));
        }
        for (partition, value) in group.offsets.iter() {
            let TopicPartition { topic, partition } = partition;
            found.push(format!("{}\toffset\t{}\t{topic}\t{partition}\t{}\t3", cell.partition, cell.id, value.offset));
        }
    }
    let mut expected: Vec<String> =
        std::fs::read_to_string(format!("{golden}/expected.tsv")).unwrap().lines().map(str::to_owned).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
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
    let topics = vec![offset_fetch_request::OffsetFetchRequestTopic::default()
        .with_name(s("t").into())
        .with_partition_indexes(vec![0])];
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
    let topics = vec![txn_offset_commit_request::TxnOffsetCommitRequestTopic::default()
        .with_name(s("t").into())
        .with_partitions(vec![txn_offset_commit_request::TxnOffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(5)])];
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
