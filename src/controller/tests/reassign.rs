//! Reassignments, by request and by the legacy znode; the states and versions are those recorded from Kafka.

use std::collections::BTreeMap;

use super::super::testing::{Member, state, state_json, znode};
use crate::config::ProtocolVersion;
use crate::controller::ControllerConfig;
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use crate::protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId, TopicName,
};
use crate::topic::TopicPartition;
use crate::zk::json::{PartitionState, PreferredElection, Reassignment};
use crate::zk::twin::Twin;
use crate::zk::{CreateMode, Zk};

async fn cluster(twin: &Twin) -> (Member, Member, Member) {
    (Member::start(twin, 0).await, Member::start(twin, 1).await, Member::start(twin, 2).await)
}

async fn reassign(b: &Member, topic: &str, targets: &[Option<&[i32]>]) -> AlterPartitionReassignmentsResponse {
    let partitions = (0..).zip(targets).map(|(number, target)| {
        let replicas = target.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
        ReassignablePartition::default().with_partition_index(number).with_replicas(replicas)
    });
    let topic = ReassignableTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(partitions.collect());
    let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]);
    b.controller.alter_partition_reassignments(request).await
}

fn codes(answer: &AlterPartitionReassignmentsResponse) -> Vec<ErrorCode> {
    answer.responses[0].partitions.iter().map(|p| ErrorCode::from_code(p.error_code)).collect()
}

fn topic_znode(twin: &Twin) -> (String, i32) {
    let (data, version) = znode(twin, "/brokers/topics/t1").unwrap();
    (data.replace(r#""topic_id":"cURbIGnKSw2dKzEkAHCzvA","#, ""), version)
}

/// Leaders of the old protocol tell the controller of their changes seconds later; it does not wait for that here.
#[tokio::test]
async fn a_leader_that_writes_its_in_sync_set_itself_completes_a_reassignment() {
    let twin = Twin::new();
    let old = |config: &mut ControllerConfig| config.inter_broker_protocol = ProtocolVersion::parse("2.6").unwrap();
    let b0 = Member::start_with(&twin, 0, old).await;
    let (_b1, _b2) = (Member::start_with(&twin, 1, old).await, Member::start_with(&twin, 2, old).await);
    b0.create_topic("t1", &[&[0, 1]]).await;
    assert_eq!(codes(&reassign(&b0, "t1", &[Some(&[0, 2])]).await), [ErrorCode::None]);
    let (_, version) = state(&twin, "t1", 0);
    let partition = TopicPartition::new("t1", 0);
    for (number, isr) in [vec![0, 1], vec![0, 1, 2]].into_iter().enumerate() {
        let written = PartitionState { leader: 0, leader_epoch: 1, isr, controller_epoch: 1, leader_recovery_state: 0 };
        b0.store.write_isr(&partition, &written, version + i32::try_from(number).unwrap()).await.unwrap();
        b0.settle().await;
        assert_eq!(topic_znode(&twin).0.contains(r#""0":[0,2]"#), number == 1, "{:?}", topic_znode(&twin));
    }
}

#[tokio::test]
async fn under_way_cancelled_and_done_as_recorded() {
    let twin = Twin::new();
    let (b0, _b1, _b2) = cluster(&twin).await;
    b0.create_topic("t1", &[&[0, 1], &[1, 0]]).await;
    b0.sent().await;
    assert_eq!(codes(&reassign(&b0, "t1", &[Some(&[2, 1]), Some(&[2, 0])]).await), [ErrorCode::None; 2]);
    assert_eq!(
        topic_znode(&twin),
        (
            r#"{"partitions":{"0":[2,1,0],"1":[2,0,1]},"adding_replicas":{"0":[2],"1":[2]},"removing_replicas":{"0":[0],"1":[1]},"version":3}"#.to_owned(),
            2
        )
    );
    assert_eq!(state(&twin, "t1", 0), (state_json(1, 0, 1, "0,1"), 1));
    assert_eq!(state(&twin, "t1", 1), (state_json(1, 1, 1, "1,0"), 1));
    let lisr = "LISR t1-0[leader=0 epoch=1 isr=0,1 version=1 replicas=2,1,0+2-0";
    let umr = |id: i32| format!("{id} UMR brokers=0,1,2 t1-0[leader=0 epoch=1 isr=0,1 version=1 offline=]");
    let sent = b0.sent().await;
    assert_eq!(
        sent[..10],
        [
            format!("0 {lisr}]"),
            format!("1 {lisr}]"),
            format!("2 {lisr} new]"),
            umr(0),
            umr(1),
            umr(2),
            // Into its new state: told once more.
            format!("2 {lisr} new]"),
            umr(0),
            umr(1),
            umr(2),
        ]
    );
    // The same again (to change a throttle) bumps the epoch only; cancelling goes back to the originals.
    reassign(&b0, "t1", &[Some(&[2, 1]), Some(&[2, 0])]).await;
    b0.sent().await;
    assert_eq!(codes(&reassign(&b0, "t1", &[None, None]).await), [ErrorCode::None; 2]);
    assert_eq!(
        topic_znode(&twin),
        (
            r#"{"partitions":{"0":[1,0],"1":[0,1]},"adding_replicas":{},"removing_replicas":{},"version":3}"#
                .to_owned(),
            6
        )
    );
    assert_eq!(state(&twin, "t1", 0), (state_json(1, 0, 3, "0,1"), 3));
    let sent = b0.sent().await;
    assert!(sent.contains(&"2 SR t1-0[epoch=2 delete]".to_owned()), "{sent:?}");
    assert_eq!(codes(&reassign(&b0, "t1", &[None]).await), [ErrorCode::NoReassignmentInProgress]);
    // To the end: the new replica catches up.
    reassign(&b0, "t1", &[Some(&[2, 1]), Some(&[2, 0])]).await;
    b0.sent().await;
    let listed = b0.controller.list_partition_reassignments(Default::default()).await;
    assert_eq!(listed.topics[0].partitions.len(), 2);
    for (number, isr) in [(0, [0, 1, 2]), (1, [1, 0, 2])] {
        let answer = b0.alter_isr(&TopicPartition::new("t1", number), &isr).await;
        assert_eq!(answer.topics[0].partitions[0].partition_epoch, 5);
    }
    assert_eq!(
        topic_znode(&twin),
        (
            r#"{"partitions":{"0":[2,1],"1":[2,0]},"adding_replicas":{},"removing_replicas":{},"version":3}"#
                .to_owned(),
            10
        )
    );
    assert_eq!(state(&twin, "t1", 0), (state_json(1, 2, 6, "1,2"), 7));
    assert_eq!(state(&twin, "t1", 1), (state_json(1, 2, 6, "0,2"), 7));
    assert!(b0.controller.list_partition_reassignments(Default::default()).await.topics.is_empty());
}

#[tokio::test]
async fn the_last_requests_of_a_reassignment() {
    let twin = Twin::new();
    let (b0, _b1, _b2) = cluster(&twin).await;
    b0.create_topic("t", &[&[0, 1]]).await;
    reassign(&b0, "t", &[Some(&[1, 2])]).await;
    b0.sent().await;
    b0.alter_isr(&TopicPartition::new("t", 0), &[0, 1, 2]).await;
    let all = |p: &str| (0..3).map(|id| format!("{id} UMR brokers=0,1,2 {p}")).collect::<Vec<_>>();
    let mut expected = all("t-0[leader=0 epoch=1 isr=0,1,2 version=2 offline=]");
    let elected = "t-0[leader=1 epoch=2 isr=0,1,2 version=3";
    expected.extend([1, 2].map(|id| format!("{id} LISR {elected} replicas=1,2]")));
    expected.extend(all(&format!("{elected} offline=]")));
    let shrunk = "t-0[leader=1 epoch=3 isr=1,2 version=4";
    expected.extend([1, 2].map(|id| format!("{id} LISR {shrunk} replicas=1,2]")));
    expected.extend(all(&format!("{shrunk} offline=]")));
    expected.push("0 SR t-0[epoch=2]".to_owned());
    expected.push("0 SR t-0[epoch=3 delete]".to_owned());
    expected.extend(all(&format!("{shrunk} offline=]")));
    assert_eq!(b0.sent().await, expected);
}

#[tokio::test]
async fn a_new_controller_and_a_returning_broker_take_reassignments_up() {
    let twin = Twin::new();
    let (b0, b1, b2) = cluster(&twin).await;
    b0.create_topic("t1", &[&[1]]).await;
    reassign(&b0, "t1", &[Some(&[2])]).await;
    b0.die(&twin).await;
    super::super::testing::eventually("a new controller", || b1.controller.is_active() != b2.controller.is_active())
        .await;
    let new = if b1.controller.is_active() { &b1 } else { &b2 };
    new.settle().await;
    assert_eq!(state(&twin, "t1", 0), (state_json(2, 1, 2, "1"), 2));
    new.alter_isr(&TopicPartition::new("t1", 0), &[1, 2]).await;
    assert_eq!(
        topic_znode(&twin).0,
        r#"{"partitions":{"0":[2]},"adding_replicas":{},"removing_replicas":{},"version":3}"#
    );
    assert_eq!(state(&twin, "t1", 0).0, state_json(2, 2, 4, "2"));
}

#[tokio::test]
async fn the_legacy_znodes_still_work() {
    let twin = Twin::new();
    let (b0, _b1, _b2) = cluster(&twin).await;
    b0.create_topic("t1", &[&[0, 1]]).await;
    let partition = TopicPartition::new("t1", 0);
    for target in [vec![1, 0], vec![0, 1]] {
        let asked = Reassignment { partitions: BTreeMap::from([(partition.clone(), target.clone())]) };
        b0.session.create("/admin/reassign_partitions", asked.encode(), CreateMode::Persistent).await.unwrap();
        b0.settle().await;
        assert_eq!(znode(&twin, "/admin/reassign_partitions"), None);
        assert_eq!(b0.store.topic("t1", false).await.unwrap().unwrap().partitions[&0].replicas, target);
    }
    reassign(&b0, "t1", &[Some(&[1, 0])]).await;
    for leader in [1, 1] {
        let asked = PreferredElection { partitions: vec![partition.clone()] };
        b0.session.create("/admin/preferred_replica_election", asked.encode(), CreateMode::Persistent).await.unwrap();
        b0.settle().await;
        assert_eq!(znode(&twin, "/admin/preferred_replica_election"), None);
        assert_eq!(b0.store.partition_state(&partition).await.unwrap().unwrap().state.leader, leader);
    }
}

#[tokio::test]
async fn leaders_go_back_to_the_first_replica_by_themselves() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    let b1 = Member::start(&twin, 1).await;
    b0.create_topic("t", &[&[1, 0], &[0, 1]]).await;
    b1.die(&twin).await;
    b0.settle().await;
    let _b1 = Member::start(&twin, 1).await;
    b0.alter_isr(&TopicPartition::new("t", 0), &[0, 1]).await;
    assert_eq!(state(&twin, "t", 0).0, state_json(1, 0, 1, "0,1"));
    b0.rebalance().await;
    assert_eq!(state(&twin, "t", 0).0, state_json(1, 1, 2, "0,1"));
}
