//! Brokers that come, go and leave; leaders, ISRs and log dirs.

use super::super::events::ElectionType;
use super::super::testing::{Member, state, state_json};
use crate::protocol::ErrorCode;
use crate::protocol::messages::alter_partition_request::{BrokerState, PartitionData};
use crate::protocol::messages::{
    AllocateProducerIdsRequest, BrokerId, ControlledShutdownRequest, ControlledShutdownResponse,
};
use crate::topic::TopicPartition;
use crate::zk::Zk;
use crate::zk::twin::Twin;

async fn three(twin: &Twin) -> (Member, Member, Member) {
    (Member::start(twin, 0).await, Member::start(twin, 1).await, Member::start(twin, 2).await)
}

#[tokio::test]
async fn a_second_broker_is_introduced() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    b0.create_topic("t", &[&[0, 1]]).await;
    b0.sent().await;
    let b1 = Member::start(&twin, 1).await;
    assert!(!b1.controller.is_active());
    assert_eq!(b1.controller.active_controller_id(), 0);
    let umr = "UMR brokers=0,1 t-0[leader=0 epoch=0 isr=0 version=0 offline=]";
    assert_eq!(
        b0.sent().await,
        [
            "0 UMR brokers=0,1".to_owned(),
            format!("1 {umr}"),
            "1 LISR t-0[leader=0 epoch=0 isr=0 version=0 replicas=0,1]".to_owned(),
            format!("0 {umr}"),
            format!("1 {umr}"),
        ]
    );
}

#[tokio::test]
async fn a_dead_leader_is_replaced_and_a_dead_follower_leaves_the_isr() {
    let twin = Twin::new();
    let (b0, _b1, b2) = three(&twin).await;
    b0.create_topic("t", &[&[2, 1], &[0, 2], &[2]]).await;
    b0.sent().await;
    b2.die(&twin).await;
    let sent = b0.sent().await;
    assert_eq!(state(&twin, "t", 0), (state_json(1, 1, 1, "1"), 1));
    assert_eq!(state(&twin, "t", 1), (state_json(1, 0, 1, "0"), 1));
    // The only replica: no leader, but it stays in the ISR, so that it can lead again.
    assert_eq!(state(&twin, "t", 2), (state_json(1, -1, 1, "2"), 1));
    let (p0, p1) = ("t-0[leader=1 epoch=1 isr=1 version=1", "t-1[leader=0 epoch=1 isr=0 version=1");
    let p2 = "t-2[leader=-1 epoch=1 isr=2 version=1 offline=2]";
    let umr = format!("UMR brokers=0,1 {p0} offline=2] {p1} offline=2] {p2}");
    assert_eq!(
        sent,
        [
            format!("1 LISR {p0} replicas=2,1]"),
            format!("0 UMR brokers=0,1 {p0} offline=2]"),
            format!("1 UMR brokers=0,1 {p0} offline=2]"),
            // Told again, unchanged, to who is left.
            format!("0 LISR {p1} replicas=0,2]"),
            format!("1 LISR {p0} replicas=2,1]"),
            format!("0 {umr}"),
            format!("1 {umr}"),
        ]
    );
    let stats = b0.controller.stats().await;
    assert_eq!((stats.active, stats.active_brokers, stats.topics, stats.partitions), (true, 2, 1, 3));
    // Two partitions are not led by their first replica; one of them by nobody.
    assert_eq!((stats.offline_partitions, stats.preferred_replica_imbalance), (1, 2));
    let _b2 = Member::start(&twin, 2).await;
    b0.settle().await;
    assert_eq!(state(&twin, "t", 2), (state_json(1, 2, 2, "2"), 2));
}

#[tokio::test]
async fn a_controlled_shutdown_moves_leaders_first() {
    let twin = Twin::new();
    let (b0, _b1, b2) = three(&twin).await;
    b0.create_topic("t1", &[&[2, 1], &[1, 0], &[0, 2], &[2]]).await;
    b0.sent().await;
    let ask = |epoch: i64| ControlledShutdownRequest::default().with_broker_id(BrokerId(2)).with_broker_epoch(epoch);
    let epoch = b2.controller.broker_epoch();
    let answer = b0.controller.controlled_shutdown(ask(epoch)).await;
    // A partition with one replica is not counted as remaining.
    assert_eq!(answer, ControlledShutdownResponse::default());
    assert_eq!(state(&twin, "t1", 0), (state_json(1, 1, 1, "1"), 1));
    assert_eq!(state(&twin, "t1", 1), (state_json(1, 1, 0, "1,0"), 0));
    assert_eq!(state(&twin, "t1", 2), (state_json(1, 0, 1, "0"), 1));
    assert_eq!(state(&twin, "t1", 3), (state_json(1, 2, 0, "2"), 0));
    let (p0, p2) = ("t1-0[leader=1 epoch=1 isr=1 version=1", "t1-2[leader=0 epoch=1 isr=0 version=1");
    let umr = |p: &str| (0..3).map(|id| format!("{id} UMR brokers=0,1,2 {p} offline=2]")).collect::<Vec<_>>();
    let mut expected = vec![format!("1 LISR {p0} replicas=2,1]"), format!("2 LISR {p0} replicas=2,1]")];
    expected.extend(umr(p0));
    expected.push("2 SR t1-2[epoch=0]".to_owned());
    expected.push(format!("0 LISR {p2} replicas=0,2]"));
    expected.extend(umr(p2));
    expected.push("2 SR t1-2[epoch=0]".to_owned());
    assert_eq!(b0.sent().await, expected);
    // Refusals.
    let code = |answer: ControlledShutdownResponse| ErrorCode::from_code(answer.error_code);
    assert_eq!(code(b0.controller.controlled_shutdown(ask(epoch - 1)).await), ErrorCode::StaleBrokerEpoch);
    assert_eq!(code(b2.controller.controlled_shutdown(ask(epoch)).await), ErrorCode::StaleControllerEpoch);
    let unknown = ControlledShutdownRequest::default().with_broker_id(BrokerId(9)).with_broker_epoch(-1);
    assert_eq!(code(b0.controller.controlled_shutdown(unknown).await), ErrorCode::BrokerNotAvailable);
}

#[tokio::test]
async fn a_broker_that_bounces_gets_a_new_channel_and_its_replicas_again() {
    let twin = Twin::new();
    let (b0, b1, _b2) = three(&twin).await;
    b0.create_topic("t", &[&[1, 0]]).await;
    b0.sent().await;
    // The session ends and is replaced at once: the controller sees one change of the list.
    let before = b1.controller.broker_epoch();
    twin.expire(b1.session.session_id());
    b1.settle().await;
    assert!(b1.controller.broker_epoch() > before);
    b0.settle().await;
    assert_eq!(state(&twin, "t", 0), (state_json(1, 0, 1, "0"), 1));
    let requests = std::mem::take(&mut b0.sink.0.lock().requests);
    let to_b1 = requests.iter().filter(|(to, _)| *to == 1).map(|(_, request)| match request {
        super::super::batch::ControlRequest::LeaderAndIsr(request) => request.broker_epoch,
        super::super::batch::ControlRequest::UpdateMetadata(request) => request.broker_epoch,
        super::super::batch::ControlRequest::StopReplica { request, .. } => request.broker_epoch,
    });
    let epochs: Vec<i64> = to_b1.collect();
    assert!(!epochs.is_empty() && epochs.iter().all(|epoch| *epoch == b1.controller.broker_epoch()), "{epochs:?}");
}

#[tokio::test]
async fn neither_the_dead_nor_the_bounced_of_one_event_lead_while_another_was_there_all_the_time() {
    let twin = Twin::new();
    let (b0, b1, b2) = three(&twin).await;
    b0.create_topic("t", &[&[1, 2, 0], &[2, 1, 0], &[1, 2]]).await;
    b0.sent().await;
    // The controller hears of both at once.
    let controller = b0.session.session_id();
    twin.disconnect(controller);
    twin.expire(b1.session.session_id());
    b1.settle().await;
    b2.die(&twin).await;
    twin.reconnect(controller);
    let sent = b0.sent().await;
    assert!(!sent.iter().any(|request| request.contains("t-0[leader=1")), "confirmed in between: {sent:#?}");
    let leader_and_isr = |partition: i32| {
        let (json, _) = state(&twin, "t", partition);
        let state = crate::zk::json::PartitionState::decode(json.as_bytes()).unwrap();
        (state.leader, state.isr)
    };
    assert_eq!(leader_and_isr(0), (0, vec![0]));
    assert_eq!(leader_and_isr(1), (0, vec![0]));
    // Of these two the one that is back.
    assert_eq!(leader_and_isr(2), (1, vec![1]));
}

#[tokio::test]
async fn leaders_change_their_isr() {
    let twin = Twin::new();
    let (b0, b1, _b2) = three(&twin).await;
    b0.create_topic("t", &[&[1, 2]]).await;
    let p = TopicPartition::new("t", 0);
    b0.sent().await;
    let answer = b0.alter_isr(&p, &[1]).await;
    let data = &answer.topics[0].partitions[0];
    assert_eq!((answer.error_code, data.error_code, data.partition_epoch, data.leader_epoch), (0, 0, 1, 0));
    // The leader epoch stays, as recorded.
    assert_eq!(state(&twin, "t", 0), (state_json(1, 1, 0, "1"), 1));
    let umr = |id: i32| format!("{id} UMR brokers=0,1,2 t-0[leader=1 epoch=0 isr=1 version=1 offline=]");
    assert_eq!(b0.sent().await, [umr(0), umr(1), umr(2)]);
    let ask = |leader_epoch: i32, isr: &[i32], partition_epoch: i32| {
        let isr = isr.iter().map(|id| BrokerState::default().with_broker_id(BrokerId(*id))).collect();
        let data = PartitionData::default().with_leader_epoch(leader_epoch).with_new_isr_with_epochs(isr);
        data.with_partition_epoch(partition_epoch)
    };
    let mut restarted = ask(0, &[1, 2], 1);
    restarted.new_isr_with_epochs[1].broker_epoch = 0;
    let table = [
        (ask(0, &[1], 0), ErrorCode::None), // applied already
        (ask(0, &[1, 2], 0), ErrorCode::InvalidUpdateVersion),
        (ask(0, &[1, 2], 2), ErrorCode::NotController),
        (ask(1, &[1, 2], 1), ErrorCode::NotController),
        (ask(-1, &[1, 2], 1), ErrorCode::FencedLeaderEpoch),
        (ask(0, &[1, 9], 1), ErrorCode::IneligibleReplica),
        (ask(0, &[1, 2], 1).with_leader_recovery_state(1), ErrorCode::InvalidRequest),
        (ask(0, &[1], 1).with_leader_recovery_state(1), ErrorCode::InvalidRequest),
        (ask(0, &[1], 1).with_partition_index(5), ErrorCode::UnknownTopicOrPartition),
        (restarted, ErrorCode::IneligibleReplica),
        (ask(0, &[1, 2], 1), ErrorCode::None),
    ];
    for (data, code) in table {
        let answer = b0.alter_partition(1, "t", data.clone()).await;
        assert_eq!(ErrorCode::from_code(answer.topics[0].partitions[0].error_code), code, "{data:?}");
    }
    assert_eq!(state(&twin, "t", 0), (state_json(1, 1, 0, "1,2"), 2));
    assert_eq!(b1.alter_isr(&p, &[1]).await.error_code, ErrorCode::NotController.code());
}

#[tokio::test]
async fn elections_on_request() {
    let twin = Twin::new();
    let (b0, _b1, b2) = three(&twin).await;
    b0.create_topic("t", &[&[2, 1], &[2]]).await;
    let (p0, p1) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
    let elect = |p: &TopicPartition, how| b0.controller.elect_leaders([p.clone()].into(), how);
    let refused = |answer: super::super::ElectionAnswer| answer.into_values().next().unwrap().unwrap_err();
    let error = refused(elect(&p0, ElectionType::Preferred).await);
    assert_eq!(
        (error.code, error.message.unwrap().as_str()),
        (ErrorCode::ElectionNotNeeded, "Leader election not needed for topic partition.")
    );
    let error = refused(elect(&TopicPartition::new("no", 0), ElectionType::Preferred).await);
    assert_eq!(
        (error.code, error.message.unwrap().as_str()),
        (ErrorCode::UnknownTopicOrPartition, "The partition does not exist.")
    );
    b0.alter_isr(&p0, &[2]).await;
    b2.die(&twin).await;
    b0.settle().await;
    // Broker 1 lives, but is not in sync.
    assert_eq!(state(&twin, "t", 0), (state_json(1, -1, 1, "2"), 2));
    let error = refused(elect(&p0, ElectionType::Preferred).await);
    assert_eq!(error.code, ErrorCode::PreferredLeaderNotAvailable);
    assert_eq!(
        error.message.unwrap(),
        "Failed to elect leader for partition t-0 under strategy PreferredReplicaPartitionLeaderElectionStrategy"
    );
    assert_eq!(refused(elect(&p1, ElectionType::Unclean).await).code, ErrorCode::EligibleLeadersNotAvailable);
    let answer = elect(&p0, ElectionType::Unclean).await;
    assert_eq!(answer.get(&p0), Some(&Ok(1)));
    // The form recorded after an unclean election.
    let unclean =
        r#"{"controller_epoch":1,"leader":1,"version":1,"leader_recovery_state":1,"leader_epoch":2,"isr":[1]}"#;
    assert_eq!(state(&twin, "t", 0), (unclean.to_owned(), 3));
    // Back in sync, the first replica takes over again when asked.
    let recovered = PartitionData::default().with_leader_epoch(2).with_partition_epoch(3);
    let isr = vec![BrokerState::default().with_broker_id(BrokerId(1))];
    b0.alter_partition(1, "t", recovered.with_new_isr_with_epochs(isr)).await;
    let _b2 = Member::start(&twin, 2).await;
    b0.settle().await;
    b0.alter_isr(&p0, &[1, 2]).await;
    assert_eq!(elect(&p0, ElectionType::Preferred).await.get(&p0), Some(&Ok(2)));
    assert_eq!(state(&twin, "t", 0), (state_json(1, 2, 3, "1,2"), 6));
}

#[tokio::test]
async fn a_topic_may_allow_unclean_leaders() {
    let twin = Twin::new();
    let (b0, _b1, b2) = three(&twin).await;
    b0.create_topic("t", &[&[2, 1]]).await;
    b0.alter_isr(&TopicPartition::new("t", 0), &[2]).await;
    b2.die(&twin).await;
    b0.settle().await;
    assert_eq!(state(&twin, "t", 0).0, state_json(1, -1, 1, "2"));
    let config = [("unclean.leader.election.enable".to_owned(), "true".to_owned())].into();
    b0.store.change_entity_config("topics", "t", &config).await.unwrap();
    b0.controller.topic_unclean_leader_election_enabled("t");
    b0.settle().await;
    assert!(state(&twin, "t", 0).0.contains(r#""leader":1,"version":1,"leader_recovery_state":1"#));
}

#[tokio::test]
async fn a_failed_log_dir_takes_its_replicas_offline() {
    let twin = Twin::new();
    let (b0, _b1, _b2) = three(&twin).await;
    b0.create_topic("t", &[&[1, 2]]).await;
    b0.sent().await;
    b0.store.notify_log_dir_failure(1).await.unwrap();
    let sent = b0.sent().await;
    assert_eq!(sent[0], "1 LISR t-0[leader=1 epoch=0 isr=1,2 version=0 replicas=1,2]");
    assert!(b0.store.log_dir_events(false).await.unwrap().is_empty());
    b0.answer_leader_and_isr(1, "t", 0, ErrorCode::KafkaStorageError.code()).await;
    assert_eq!(state(&twin, "t", 0), (state_json(1, 2, 1, "2"), 1));
    let sent = b0.sent().await;
    assert!(
        sent.contains(&"0 UMR brokers=0,1,2 t-0[leader=2 epoch=1 isr=2 version=1 offline=1]".to_owned()),
        "{sent:?}"
    );
    // Answers of equal epochs mean nothing; a good one brings the replica back.
    b0.answer_leader_and_isr(1, "t", 0, ErrorCode::StaleControllerEpoch.code()).await;
    assert!(b0.sent().await.is_empty());
}

#[tokio::test]
async fn changed_addresses_are_passed_on() {
    let twin = Twin::new();
    let (b0, b1, _b2) = three(&twin).await;
    b0.sent().await;
    let mut registration = b1.store.broker(1, false).await.unwrap().unwrap().registration;
    b1.store.update_broker(1, &registration).await.unwrap();
    assert!(b0.sent().await.is_empty());
    registration.endpoints[0].port = 19999;
    b1.store.update_broker(1, &registration).await.unwrap();
    assert_eq!(b0.sent().await, ["0 UMR brokers=0,1,2", "1 UMR brokers=0,1,2", "2 UMR brokers=0,1,2"]);
}

#[tokio::test]
async fn producer_ids_are_dealt_in_blocks() {
    let twin = Twin::new();
    let b0 = Member::start(&twin, 0).await;
    let epoch = b0.controller.broker_epoch();
    let ask = |id: i32, epoch: i64| {
        AllocateProducerIdsRequest::default().with_broker_id(BrokerId(id)).with_broker_epoch(epoch)
    };
    for start in [0, 1000] {
        let answer = b0.controller.allocate_producer_ids(ask(0, epoch)).await;
        assert_eq!((answer.error_code, answer.producer_id_start.0, answer.producer_id_len), (0, start, 1000));
    }
    let code = |a: crate::protocol::messages::AllocateProducerIdsResponse| ErrorCode::from_code(a.error_code);
    assert_eq!(code(b0.controller.allocate_producer_ids(ask(0, epoch + 1)).await), ErrorCode::StaleBrokerEpoch);
    assert_eq!(code(b0.controller.allocate_producer_ids(ask(5, epoch)).await), ErrorCode::BrokerIdNotRegistered);
}
