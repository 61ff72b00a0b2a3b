//! Requests recorded from a cluster of three Kafka 3.7 brokers, put to coordinators that own what those brokers owned.
//! The answers must be the recorded ones byte for byte, but for the random part of member ids (which is replaced in
//! what is recorded) and the order of what Kafka keeps in hash sets.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::testing::*;
use super::*;
use crate::protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::protocol::messages::offset_delete_response::OffsetDeleteResponsePartition;
use crate::protocol::messages::*;
use crate::protocol::{codec, header};

/// One recorded exchange, frames without their length, as hex so that member ids can be replaced.
struct Exchange {
    place: String,
    broker: String,
    request: String,
    response: String,
    correlation_id: i32,
}

fn recorded() -> Vec<Exchange> {
    let mut out = Vec::new();
    for name in [
        "08-OffsetCommit",
        "09-OffsetFetch",
        "11-JoinGroup",
        "12-Heartbeat",
        "13-LeaveGroup",
        "14-SyncGroup",
        "15-DescribeGroups",
        "16-ListGroups",
        "26-EndTxn",
        "28-TxnOffsetCommit",
        "42-DeleteGroups",
        "47-OffsetDelete",
    ] {
        let path = format!("{}/tests/golden/wire/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        for (line, text) in std::fs::read_to_string(path).unwrap().lines().enumerate() {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            let hex = |key: &str| value[key].as_str().unwrap()[8..].to_owned();
            let (request, response) = (hex("request_hex"), hex("response_hex"));
            out.push(Exchange {
                place: format!("{name}:{}", line + 1),
                broker: value["broker"].as_str().unwrap().to_owned(),
                correlation_id: i32::from_str_radix(&request[8..16], 16).unwrap(),
                request,
                response,
            });
        }
    }
    out.sort_by_key(|exchange| exchange.correlation_id);
    out
}

fn unhex(text: &str) -> Bytes {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn name_of(topic: &TopicName) -> String {
    topic.as_str().to_owned()
}

/// The api layer in small: answers for what the coordinator does not see, here the topic `nosuch` and partitions from
/// 1 on of `wire-1`.
async fn serve(coordinator: &GroupCoordinator, version: i16, request: RequestKind) -> Option<ResponseKind> {
    let context = context(version);
    Some(match request {
        RequestKind::JoinGroup(r) => ResponseKind::JoinGroup(coordinator.join_group(&context, r).await),
        RequestKind::SyncGroup(r) => ResponseKind::SyncGroup(coordinator.sync_group(&context, r).await),
        RequestKind::Heartbeat(r) => ResponseKind::Heartbeat(coordinator.heartbeat(&r)),
        RequestKind::LeaveGroup(r) => ResponseKind::LeaveGroup(coordinator.leave_group(&context, &r)),
        RequestKind::OffsetCommit(mut r) => {
            let unknown = r.topics.iter().find(|topic| name_of(&topic.name) == "nosuch").map(|topic| {
                OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(vec![
                    OffsetCommitResponsePartition::default().with_error_code(ErrorCode::UnknownTopicOrPartition.code()),
                ])
            });
            r.topics.retain(|topic| name_of(&topic.name) != "nosuch");
            let mut response = coordinator.offset_commit(r).await;
            response.topics.splice(0..0, unknown);
            ResponseKind::OffsetCommit(response)
        }
        RequestKind::TxnOffsetCommit(r) => {
            ResponseKind::TxnOffsetCommit(coordinator.txn_offset_commit(version, r).await)
        }
        RequestKind::OffsetFetch(r) => ResponseKind::OffsetFetch(coordinator.offset_fetch(version, r)),
        RequestKind::DescribeGroups(r) => ResponseKind::DescribeGroups(coordinator.describe_groups(version, &r)),
        RequestKind::DeleteGroups(r) => ResponseKind::DeleteGroups(coordinator.delete_groups(&r)),
        RequestKind::OffsetDelete(mut r) => {
            r.topics[0].partitions.retain(|partition| partition.partition_index == 0);
            let mut response = coordinator.offset_delete(&r);
            let unknown = OffsetDeleteResponsePartition::default()
                .with_partition_index(4)
                .with_error_code(ErrorCode::UnknownTopicOrPartition.code());
            response.topics[0].partitions.insert(0, unknown);
            ResponseKind::OffsetDelete(response)
        }
        _ => return None,
    })
}

/// Puts aside what is not the coordinator's: orders of hash sets, authorized operations.
fn comparable(mut response: ResponseKind) -> ResponseKind {
    match &mut response {
        ResponseKind::DeleteGroups(r) => r.results.sort_by(|a, b| a.group_id.cmp(&b.group_id)),
        ResponseKind::DescribeGroups(r) => {
            r.groups.iter_mut().for_each(|group| group.authorized_operations = i32::MIN);
        }
        _ => {}
    }
    response
}

/// Member ids that were recorded, and ours for them, as hex.
#[derive(Default)]
struct Ids(Vec<(String, String)>);

impl Ids {
    fn replace(&self, frame: &str) -> Bytes {
        let replaced = self.0.iter().fold(frame.to_owned(), |frame, (theirs, ours)| frame.replace(theirs, ours));
        unhex(&replaced)
    }

    fn learn(&mut self, recorded: &ResponseKind, ours: &ResponseKind) {
        if let (ResponseKind::JoinGroup(theirs), ResponseKind::JoinGroup(ours)) = (recorded, ours) {
            assert_eq!(theirs.member_id.len(), ours.member_id.len());
            let pair = (hex(theirs.member_id.as_bytes()), hex(ours.member_id.as_bytes()));
            if !theirs.member_id.is_empty() && !self.0.contains(&pair) {
                self.0.push(pair);
            }
        }
    }
}

/// The groups whose requests the broker accepted tell which partitions it led.
fn owned_partitions(exchanges: &[Exchange]) -> HashMap<String, Vec<i32>> {
    let mut owned: HashMap<String, Vec<i32>> = HashMap::new();
    for exchange in exchanges {
        let mut frame = unhex(&exchange.request);
        let header = header::parse(&mut frame).unwrap();
        if let RequestKind::JoinGroup(request) =
            codec::decode_request(header.api_key, header.api_version, frame).unwrap()
        {
            let mut response = unhex(&exchange.response);
            header::parse_response(&mut response, header.api_key, header.api_version).unwrap();
            let kind = codec::decode_response_kind(header.api_key, header.api_version, response).unwrap();
            let ResponseKind::JoinGroup(response) = kind else { panic!("{}", exchange.place) };
            let partition = crate::topic::partition_for(&request.group_id, 5);
            let partitions = owned.entry(exchange.broker.clone()).or_default();
            let is_owned = response.error_code != ErrorCode::NotCoordinator.code() && !request.group_id.is_empty();
            if is_owned && !partitions.contains(&partition) {
                partitions.push(partition);
            }
        }
    }
    owned
}

#[tokio::test(start_paused = true)]
async fn recorded_requests_get_the_recorded_answers() {
    let exchanges = recorded();
    let config = GroupConfig { group_initial_rebalance_delay_ms: 0, ..GroupConfig::default() };
    let mut coordinators = HashMap::new();
    for (broker, partitions) in owned_partitions(&exchanges) {
        let coordinator = idle(config.clone(), &MemoryLog::new(5));
        partitions.into_iter().for_each(|partition| coordinator.on_leadership(partition, 0));
        loaded(&coordinator).await;
        coordinators.insert(broker, coordinator);
    }
    let (mut ids, mut compared) = (Ids::default(), 0);
    for exchange in &exchanges {
        let place = &exchange.place;
        let mut frame = ids.replace(&exchange.request);
        let header = header::parse(&mut frame).unwrap();
        let (key, version) = (header.api_key, header.api_version);
        if (key == 8 || key == 9) && version == 0 {
            continue; // Goes to ZooKeeper.
        }
        let request = codec::decode_request(key, version, frame).unwrap();
        if let RequestKind::EndTxn(request) = &request {
            // The markers that follow a successful one; those of ended transactions find nothing to do.
            for coordinator in coordinators.values() {
                coordinator.on_transaction_completed(*request.producer_id, &[0, 1, 2, 3, 4], request.committed);
            }
            continue;
        }
        let Some(coordinator) = coordinators.get(&exchange.broker) else { panic!("{place}: {}", exchange.broker) };
        let Some(ours) = serve(coordinator, version, request).await else { continue };
        let decode = |mut frame: Bytes| {
            header::parse_response(&mut frame, key, version).unwrap();
            codec::decode_response_kind(key, version, frame).unwrap()
        };
        ids.learn(&decode(unhex(&exchange.response)), &ours);
        let theirs = comparable(decode(ids.replace(&exchange.response)));
        let ours = comparable(ours);
        let encode = |response: &ResponseKind| {
            let mut body = BytesMut::new();
            response.encode(&mut body, version).unwrap_or_else(|error| panic!("{place}: {error}"));
            body
        };
        assert_eq!(encode(&ours), encode(&theirs), "{place}\n ours {ours:?}\nKafka {theirs:?}");
        compared += 1;
    }
    assert!(compared > 110, "only {compared} answers");
}

/// ListGroups over what Kafka wrote, against what Kafka listed.
#[tokio::test(start_paused = true)]
async fn recorded_groups_are_listed() {
    let log = MemoryLog::new(5);
    for partition in 0..5 {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/group");
        log.put(partition, std::fs::read(format!("{golden}/consumer-offsets-{partition}.log")).unwrap().into());
    }
    let coordinator = coordinator(GroupConfig::default(), &log).await;
    let listed = coordinator.list_groups(4, &ListGroupsRequest::default());
    let find = |group_id: &str| {
        let group = listed.groups.iter().find(|group| **group.group_id == *text(group_id)).unwrap();
        (group.protocol_type.to_string(), group.group_state.to_string())
    };
    assert_eq!(find("vg1"), ("consumer".to_owned(), "Empty".to_owned()));
    assert_eq!(find("test-group-1795352183178"), (String::new(), "Empty".to_owned()), "it only stored offsets");
}
