//! Topics: creation, growth, deletion. The states and versions of the znodes are those recorded from Kafka.

use super::super::testing::{Member, partitions, state, state_json, znode};
use crate::zk::json::TopicZnode;
use crate::zk::twin::Twin;
use crate::zk::{CreateMode, Op, Zk, paths};

#[tokio::test]
async fn one_broker_from_nothing() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    assert!(b0.controller.is_active());
    assert_eq!(znode(&twin, "/controller_epoch"), Some(("1".to_owned(), 1)));
    assert_eq!(znode(&twin, "/feature"), Some((r#"{"features":{},"version":2,"status":1}"#.to_owned(), 0)));
    let controller = r#"{"version":2,"brokerid":0,"timestamp":"1700000000000","kraftControllerEpoch":-1}"#;
    assert_eq!(znode(&twin, "/controller"), Some((controller.to_owned(), 0)));
    assert_eq!(b0.sent().await, ["0 UMR brokers=0"]);
}

#[tokio::test]
async fn a_new_topic_gets_its_states_and_is_told() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    let _b1 = Member::start(&twin, 1).await;
    let _b2 = Member::start(&twin, 2).await;
    b0.sent().await;
    b0.create_topic("t1", &[&[2, 1], &[1, 0], &[0, 2]]).await;
    // As in the recorded tree after the creation of a topic with three partitions.
    assert_eq!(
        znode(&twin, "/brokers/topics/t1").unwrap().0,
        r#"{"partitions":{"0":[2,1],"1":[1,0],"2":[0,2]},"topic_id":"cURbIGnKSw2dKzEkAHCzvA","adding_replicas":{},"removing_replicas":{},"version":3}"#
    );
    assert_eq!(state(&twin, "t1", 0), (state_json(1, 2, 0, "2,1"), 0));
    assert_eq!(state(&twin, "t1", 1), (state_json(1, 1, 0, "1,0"), 0));
    assert_eq!(state(&twin, "t1", 2), (state_json(1, 0, 0, "0,2"), 0));
    let p = [
        "t1-0[leader=2 epoch=0 isr=2,1 version=0",
        "t1-1[leader=1 epoch=0 isr=1,0 version=0",
        "t1-2[leader=0 epoch=0 isr=0,2 version=0",
    ];
    let umr = format!("UMR brokers=0,1,2 {} offline=] {} offline=] {} offline=]", p[0], p[1], p[2]);
    assert_eq!(
        b0.sent().await,
        [
            format!("0 LISR {} replicas=1,0 new] {} replicas=0,2 new]", p[1], p[2]),
            format!("1 LISR {} replicas=2,1 new] {} replicas=1,0 new]", p[0], p[1]),
            format!("2 LISR {} replicas=2,1 new] {} replicas=0,2 new]", p[0], p[2]),
            format!("0 {umr}"),
            format!("1 {umr}"),
            format!("2 {umr}"),
        ]
    );
}

/// The controller's own creation, whose answer was lost, and then a broker that crashed and has left the ISR.
#[tokio::test]
async fn a_first_state_that_is_there_already_is_gone_on_from() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    let _b1 = Member::start(&twin, 1).await;
    b0.sent().await;
    let topic = TopicZnode { partitions: partitions(&[&[1, 0]]), topic_id: Some(crate::topic::random_id()) };
    let vacant = bytes::Bytes::from(state_json(1, -1, 1, "0"));
    let create = |path: &str, data: bytes::Bytes| Op::create(path, data, CreateMode::Persistent);
    let ops = vec![
        create("/brokers/topics/t", topic.encode()),
        create("/brokers/topics/t/partitions", bytes::Bytes::new()),
        create("/brokers/topics/t/partitions/0", bytes::Bytes::new()),
        create("/brokers/topics/t/partitions/0/state", vacant),
    ];
    twin.connect().multi(ops).await.unwrap();
    let sent = b0.sent().await;
    assert_eq!(state(&twin, "t", 0), (state_json(1, 0, 2, "0"), 1));
    let told = "t-0[leader=0 epoch=2 isr=0 version=1 replicas=1,0]";
    assert_eq!(sent[..2], [format!("0 LISR {told}"), format!("1 LISR {told}")]);
}

#[tokio::test]
async fn a_topic_without_an_id_gets_one_and_added_partitions_are_started() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    let znode_without_id = TopicZnode { partitions: partitions(&[&[0]]), topic_id: None };
    b0.store.create_topic("t", &Default::default(), &znode_without_id).await.unwrap();
    b0.sent().await;
    let topic_id = b0.store.topic("t", false).await.unwrap().unwrap().topic_id;
    assert!(topic_id.is_some());
    b0.store.create_partitions("t", &TopicZnode { partitions: partitions(&[&[0], &[0]]), topic_id }).await.unwrap();
    assert_eq!(
        b0.sent().await,
        [
            "0 LISR t-1[leader=0 epoch=0 isr=0 version=0 replicas=0 new]",
            "0 UMR brokers=0 t-1[leader=0 epoch=0 isr=0 version=0 offline=]"
        ]
    );
    assert_eq!(state(&twin, "t", 1), (state_json(1, 0, 0, "0"), 0));
}

#[tokio::test]
async fn dead_replicas_are_left_out_and_a_topic_without_any_waits() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    b0.create_topic("t", &[&[7, 0], &[7]]).await;
    assert_eq!(state(&twin, "t", 0), (state_json(1, 0, 0, "0"), 0));
    assert_eq!(znode(&twin, &paths::partition_state("t", 1)), None);
    b0.sent().await;
    let _b7 = Member::start(&twin, 7).await;
    let sent = b0.sent().await;
    assert_eq!(state(&twin, "t", 1), (state_json(1, 7, 0, "7"), 0));
    assert!(sent.iter().any(|line| line == "7 LISR t-1[leader=7 epoch=0 isr=7 version=0 replicas=7 new]"), "{sent:?}");
}

#[tokio::test]
async fn deletion_from_the_mark_to_the_end() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    b0.create_topic("t", &[&[0]]).await;
    b0.sent().await;
    b0.store.mark_topic_for_deletion("t").await.unwrap();
    assert_eq!(
        b0.sent().await,
        [
            "0 UMR brokers=0 t-0[leader=-2 epoch=0 isr=0 version=0 offline=]",
            "0 SR t-0[epoch=-2]",
            "0 SR t-0[epoch=-2 delete]"
        ]
    );
    assert!(b0.controller.is_topic_queued_for_deletion("t"));
    assert_eq!(state(&twin, "t", 0), (state_json(1, -1, 1, "0"), 1));
}

#[tokio::test]
async fn deletion_waits_for_a_dead_replica_and_ends_when_it_is_back() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    let _b1 = Member::start(&twin, 1).await;
    let b2 = Member::start(&twin, 2).await;
    b0.create_topic("del1", &[&[2, 0], &[0, 1]]).await;
    b2.die(&twin).await;
    b0.settle().await;
    assert_eq!(state(&twin, "del1", 0), (state_json(1, 0, 1, "0"), 1));
    b0.store.mark_topic_for_deletion("del1").await.unwrap();
    b0.answer_deletions().await;
    // As recorded with the deletion pending.
    assert_eq!(state(&twin, "del1", 0), (state_json(1, -1, 2, "0"), 2));
    assert_eq!(state(&twin, "del1", 1), (state_json(1, -1, 2, "1"), 2));
    assert_eq!(znode(&twin, "/admin/delete_topics/del1"), Some((String::new(), 0)));
    assert!(b0.controller.is_topic_queued_for_deletion("del1"));
    let _b2 = Member::start(&twin, 2).await;
    b0.answer_deletions().await;
    let left: Vec<String> = twin.dump().into_keys().filter(|path| path.contains("del1")).collect();
    assert_eq!(left, Vec::<String>::new());
    assert!(!b0.controller.is_topic_queued_for_deletion("del1"));
    // The name is free for a new topic.
    b0.create_topic("del1", &[&[1]]).await;
    assert_eq!(state(&twin, "del1", 0), (state_json(1, 1, 0, "1"), 0));
}

#[tokio::test]
async fn a_replica_that_fails_to_delete_halts_the_topic() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    b0.create_topic("t", &[&[0]]).await;
    b0.store.mark_topic_for_deletion("t").await.unwrap();
    b0.sent().await;
    b0.answer_stop_replica(0, "t", 0, 56).await;
    assert!(znode(&twin, "/brokers/topics/t").is_some());
    assert_eq!(b0.sent().await, ["0 SR t-0[epoch=-2]"]);
}

#[tokio::test]
async fn marks_that_mean_nothing_are_removed() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    b0.store.mark_topic_for_deletion("nosuch").await.unwrap();
    b0.settle().await;
    assert_eq!(znode(&twin, "/admin/delete_topics/nosuch"), None);
    b0.controller.shutdown().await;
    b0.session.close().await;
    let b1 = Member::start_with(&twin, 1, |config| config.delete_topic_enable = false).await;
    b1.create_topic("t", &[&[1]]).await;
    b1.sent().await;
    b1.store.mark_topic_for_deletion("t").await.unwrap();
    assert_eq!(b1.sent().await, Vec::<String>::new());
    assert_eq!(znode(&twin, "/admin/delete_topics/t"), None);
    assert!(znode(&twin, "/brokers/topics/t").is_some());
}

#[tokio::test]
async fn a_topic_whose_znode_was_removed_is_forgotten() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    b0.create_topic("t", &[&[0]]).await;
    b0.store.delete_recursive("/brokers/topics/t", None).await.unwrap();
    b0.settle().await;
    b0.create_topic("t", &[&[0]]).await;
    assert_eq!(state(&twin, "t", 0), (state_json(1, 0, 0, "0"), 0));
}
