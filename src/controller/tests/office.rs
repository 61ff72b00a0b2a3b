//! Who is the controller: failover, expired sessions, controllers that were replaced without noticing.

use bytes::Bytes;

use super::super::testing::{Member, eventually, state, state_json, znode};
use crate::protocol::ErrorCode;
use crate::topic::TopicPartition;
use crate::zk::twin::{Fault, Twin};
use crate::zk::{ANY_VERSION, CreateMode, Zk, ZkError};

#[tokio::test]
async fn another_broker_takes_over() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    let b1 = Member::start(&twin, 1).await;
    let b2 = Member::start(&twin, 2).await;
    b0.create_topic("t", &[&[1, 0], &[0]]).await;
    b0.die(&twin).await;
    eventually("a new controller", || b1.controller.is_active() != b2.controller.is_active()).await;
    let (new, other) = if b1.controller.is_active() { (&b1, &b2) } else { (&b2, &b1) };
    new.settle().await;
    eventually("the other learns", || other.controller.active_controller_id() == new.id).await;
    assert_eq!(znode(&twin, "/controller_epoch"), Some(("2".to_owned(), 2)));
    // The dead broker leaves the ISR under the new epoch; a partition nobody else has stays its own.
    assert_eq!(state(&twin, "t", 0), (state_json(2, 1, 1, "1"), 1));
    assert_eq!(state(&twin, "t", 1), (state_json(2, -1, 1, "0"), 1));
    let sent = new.sent().await;
    assert_eq!(sent[..2], ["1 UMR brokers=1,2", "2 UMR brokers=1,2"]);
    assert_eq!(sent[2], "1 LISR t-0[leader=1 epoch=0 isr=1,0 version=0 replicas=1,0]");
}

/// Broker 0, the controller and a leader, is killed and back before anybody saw it gone.
#[tokio::test]
async fn a_leader_that_returns_unseen_with_the_office_vacant_follows() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    let b1 = Member::start(&twin, 1).await;
    b0.create_topic("t", &[&[0, 1], &[1, 0], &[0]]).await;
    let registration = twin.dump()["/brokers/ids/0"].0.clone();
    let again = twin.connect();
    b0.die(&twin).await;
    again.create("/brokers/ids/0", registration, CreateMode::Ephemeral).await.unwrap();
    eventually("a new controller", || b1.controller.is_active()).await;
    let sent = b1.sent().await;
    assert_eq!(state(&twin, "t", 0), (state_json(2, 1, 1, "1"), 1));
    assert_eq!(state(&twin, "t", 1), (state_json(2, 1, 1, "1"), 1));
    // Nobody else has it: it stays as it was.
    assert_eq!(state(&twin, "t", 2), (state_json(1, 0, 0, "0"), 0));
    let to_0: Vec<&String> = sent.iter().filter(|line| line.starts_with("0 LISR")).collect();
    assert!(to_0.iter().all(|line| !line.contains("t-0[leader=0")), "{to_0:?}");
    assert!(sent.iter().all(|line| !line.starts_with("0 SR")), "a stop would undo the order to follow: {sent:?}");
    let last = to_0.last().unwrap();
    assert!(last.contains("t-0[leader=1 epoch=1 isr=1 version=1 replicas=0,1]"), "{to_0:?}");
    assert!(last.contains("t-1[leader=1 epoch=1 isr=1 version=1 replicas=1,0]"), "{to_0:?}");
}

#[tokio::test]
async fn a_controller_whose_session_expired_starts_over() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    b0.create_topic("t", &[&[0]]).await;
    b0.sent().await;
    let before = b0.controller.broker_epoch();
    twin.expire(b0.session.session_id());
    eventually("registered again", || b0.controller.broker_epoch() > before).await;
    eventually("elected again", || b0.controller.is_active()).await;
    assert_eq!(znode(&twin, "/controller_epoch"), Some(("2".to_owned(), 2)));
    let sent = b0.sent().await;
    assert_eq!(sent[..2], ["0 UMR brokers=0", "0 LISR t-0[leader=0 epoch=0 isr=0 version=0 replicas=0]"]);
    assert_eq!(state(&twin, "t", 0), (state_json(1, 0, 0, "0"), 0));
}

#[tokio::test]
async fn a_controller_that_was_replaced_without_noticing_changes_nothing() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    b0.create_topic("t", &[&[0]]).await;
    // Another controller has been in office, and left its epoch.
    let other = twin.connect();
    other.set_data("/controller_epoch", Bytes::from_static(b"2"), ANY_VERSION).await.unwrap();
    let answer = b0.alter_isr(&TopicPartition::new("t", 0), &[0]).await;
    assert_eq!(answer.error_code, 0);
    b0.create_topic("u", &[&[0]]).await;
    assert_eq!(znode(&twin, "/brokers/topics/u/partitions/0/state"), None);
}

/// What it remembers of leaders is of no use to a broker that has come back.
#[tokio::test]
async fn a_controller_that_was_replaced_without_noticing_tells_a_returning_broker_nothing() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    let b1 = Member::start(&twin, 1).await;
    b0.create_topic("t", &[&[1, 0]]).await;
    b0.sent().await;
    let other = twin.connect();
    other.set_data("/controller_epoch", Bytes::from_static(b"2"), ANY_VERSION).await.unwrap();
    let led_by_0 = Bytes::from(state_json(2, 0, 1, "0"));
    other.set_data("/brokers/topics/t/partitions/0/state", led_by_0, ANY_VERSION).await.unwrap();
    let registration = twin.dump()["/brokers/ids/1"].0.clone();
    b1.die(&twin).await;
    other.create("/brokers/ids/1", registration, CreateMode::Ephemeral).await.unwrap();
    let sent = b0.sent().await;
    assert!(sent.iter().all(|line| !line.contains("LISR")), "{sent:?}");
}

/// Somebody put `/controller_epoch` back: states of epochs to come are refused, and all else goes on.
#[tokio::test]
async fn a_state_from_the_future_does_not_end_a_term() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    let b1 = Member::start(&twin, 1).await;
    b0.create_topic("t", &[&[1, 0], &[1, 0]]).await;
    b0.sent().await;
    let future = Bytes::from(state_json(9, 1, 0, "1,0"));
    b0.session.set_data("/brokers/topics/t/partitions/0/state", future, ANY_VERSION).await.unwrap();
    b1.die(&twin).await;
    b0.settle().await;
    assert!(b0.controller.is_active());
    assert_eq!(state(&twin, "t", 0), (state_json(9, 1, 0, "1,0"), 1));
    assert_eq!(state(&twin, "t", 1), (state_json(1, 0, 1, "0"), 1));
}

#[tokio::test]
async fn a_broker_resigns_when_another_is_named() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    let b1 = Member::start(&twin, 1).await;
    b0.session.delete("/controller", ANY_VERSION).await.unwrap();
    eventually("a new term", || znode(&twin, "/controller_epoch") == Some(("2".to_owned(), 2))).await;
    eventually("one of them is elected", || b0.controller.is_active() != b1.controller.is_active()).await;
    eventually("both know", || b0.controller.active_controller_id() == b1.controller.active_controller_id()).await;
}

#[tokio::test]
async fn notes_to_an_earlier_controller_are_thrown_away() {
    let twin = Twin::new();
    let zk = twin.connect();
    let store = crate::zk::store::Store::new(zk.clone());
    store.ensure_top_level_paths().await.unwrap();
    store.notify_log_dir_failure(3).await.unwrap();
    let path = "/isr_change_notification/isr_change_";
    let note = Bytes::from_static(br#"{"version":1,"partitions":[{"topic":"t","partition":0}]}"#);
    zk.create(path, note, CreateMode::PersistentSequential).await.unwrap();
    let b0 = Member::start(&twin, 0).await;
    assert!(b0.store.log_dir_events(false).await.unwrap().is_empty());
    assert!(b0.store.isr_changes(false).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_isr_notes_of_old_brokers_are_taken_in() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    let _b1 = Member::start(&twin, 1).await;
    b0.create_topic("t", &[&[0, 1]]).await;
    b0.sent().await;
    let changed = Bytes::from(state_json(1, 0, 0, "0"));
    b0.session.set_data("/brokers/topics/t/partitions/0/state", changed, 0).await.unwrap();
    let note = Bytes::from_static(br#"{"version":1,"partitions":[{"topic":"t","partition":0}]}"#);
    let path = "/isr_change_notification/isr_change_";
    b0.session.create(path, note, CreateMode::PersistentSequential).await.unwrap();
    let umr = |id: i32| format!("{id} UMR brokers=0,1 t-0[leader=0 epoch=0 isr=0 version=1 offline=]");
    assert_eq!(b0.sent().await, [umr(0), umr(1)]);
    assert!(b0.store.isr_changes(false).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_office_found_empty_is_stood_for() {
    let twin = Twin::new();
    // Somebody was faster, and is gone by the time this broker looks who it was: no watch will ever tell.
    twin.fault_next("/controller", Fault::Fail(ZkError::NodeExists));
    let b0 = Member::start(&twin, 0).await;
    assert!(b0.controller.is_active());
    assert_eq!(znode(&twin, "/controller_epoch"), Some(("1".to_owned(), 1)));
}

#[tokio::test]
async fn after_shutdown_requests_are_refused() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    b0.controller.shutdown().await;
    assert!(!b0.controller.is_active());
    let answer = b0.controller.alter_partition(Default::default(), 3).await;
    assert_eq!(answer.error_code, ErrorCode::NotController.code());
}
