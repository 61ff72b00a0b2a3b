//! Epochs that are over, and some that are not there yet: the errors Kafka has for them, where nothing is recorded.

use kafka_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use kafka_protocol::messages::leader_and_isr_request::{LeaderAndIsrPartitionState, LeaderAndIsrTopicState};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::stop_replica_request::{StopReplicaPartitionState, StopReplicaTopicState};
use kafka_protocol::messages::update_metadata_request::{UpdateMetadataPartitionState, UpdateMetadataTopicState};
use kafka_protocol::messages::{
    AlterPartitionRequest, BrokerId, FetchRequest, LeaderAndIsrRequest, ListOffsetsRequest,
    OffsetForLeaderEpochRequest, StopReplicaRequest, UpdateMetadataRequest,
};
use uuid::Uuid;

use super::super::common::admin::{NO_ERROR, topic_name};
use super::super::common::{PATIENCE, Wire, eventually};
use super::asked::{epoch_of, led_by, put_topic, register};
use super::stage::Stage;

const STALE_CONTROLLER_EPOCH: i16 = 11;
const NOT_CONTROLLER: i16 = 41;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const STALE_BROKER_EPOCH: i16 = 77;
const INVALID_UPDATE_VERSION: i16 = 95;
const UNKNOWN_TOPIC_ID: i16 = 100;
const INELIGIBLE_REPLICA: i16 = 107;

const TOPIC: &str = "t";
const ID: Uuid = Uuid::from_u128(0x5e6d_0001_4a4e_4e6f_9d1c_0a0b_0c0d_0e0f);
const ME: i32 = 0;
const CONTROLLER_EPOCH: i32 = 4;
const LEADER_EPOCH: i32 = 5;

/// What orders say of when they were given.
#[derive(Clone, Copy)]
struct Given {
    controller_epoch: i32,
    broker_epoch: i64,
    leader_epoch: i32,
}

/// Top-level code and that of the one partition, if the answer has it.
type Codes = (i16, Option<i16>);

fn lead(wire: &mut Wire, version: i16, given: Given) -> Codes {
    let state = LeaderAndIsrPartitionState::default()
        .with_topic_name(topic_name(TOPIC))
        .with_controller_epoch(given.controller_epoch)
        .with_leader(BrokerId(ME))
        .with_leader_epoch(given.leader_epoch)
        .with_isr(vec![BrokerId(ME)])
        .with_replicas(vec![BrokerId(ME), BrokerId(1)]);
    let request = LeaderAndIsrRequest::default()
        .with_controller_epoch(given.controller_epoch)
        .with_broker_epoch(given.broker_epoch);
    let request = match version {
        0 | 1 => request.with_ungrouped_partition_states(vec![state]),
        _ => request.with_topic_states(vec![
            LeaderAndIsrTopicState::default()
                .with_topic_name(topic_name(TOPIC))
                .with_topic_id(if version < 5 { Uuid::nil() } else { ID })
                .with_partition_states(vec![state.with_topic_name(topic_name(""))]),
        ]),
    };
    let answer = wire.call(version, &request);
    let mut errors = answer.partition_errors.iter().chain(answer.topics.iter().flat_map(|t| &t.partition_errors));
    (answer.error_code, errors.next().map(|p| p.error_code))
}

fn stop(wire: &mut Wire, version: i16, given: Given) -> Codes {
    let state = StopReplicaPartitionState::default().with_leader_epoch(given.leader_epoch);
    let topic = StopReplicaTopicState::default().with_topic_name(topic_name(TOPIC)).with_partition_states(vec![state]);
    let request = StopReplicaRequest::default()
        .with_controller_epoch(given.controller_epoch)
        .with_broker_epoch(given.broker_epoch);
    let answer = wire.call(version, &if version < 3 { request } else { request.with_topic_states(vec![topic]) });
    (answer.error_code, answer.partition_errors.first().map(|p| p.error_code))
}

fn tell(wire: &mut Wire, version: i16, given: Given) -> Codes {
    let state = UpdateMetadataPartitionState::default()
        .with_controller_epoch(given.controller_epoch)
        .with_leader(BrokerId(ME))
        .with_leader_epoch(given.leader_epoch)
        .with_isr(vec![BrokerId(ME)])
        .with_replicas(vec![BrokerId(ME)]);
    let topic = UpdateMetadataTopicState::default()
        .with_topic_name(topic_name(TOPIC))
        .with_topic_id(if version < 7 { Uuid::nil() } else { ID })
        .with_partition_states(vec![state]);
    let request = UpdateMetadataRequest::default()
        .with_controller_epoch(given.controller_epoch)
        .with_broker_epoch(if version < 5 { -1 } else { given.broker_epoch });
    let answer = wire.call(version, &if version < 5 { request } else { request.with_topic_states(vec![topic]) });
    (answer.error_code, None)
}

#[test]
fn orders_of_another_time_are_refused() {
    let mut stage = Stage::with_follower(ME, CONTROLLER_EPOCH);
    stage.start();
    let mut wire = stage.broker.wire();
    let wire = &mut wire;
    let now =
        Given { controller_epoch: CONTROLLER_EPOCH, broker_epoch: stage.broker_epoch(), leader_epoch: LEADER_EPOCH };
    assert_eq!(tell(wire, 8, now), (NO_ERROR, None));
    assert_eq!(lead(wire, 7, now), (NO_ERROR, Some(NO_ERROR)));

    let earlier_life = Given { broker_epoch: now.broker_epoch - 1, ..now };
    for version in 2..=7 {
        assert_eq!(lead(wire, version, earlier_life), (STALE_BROKER_EPOCH, Some(STALE_BROKER_EPOCH)), "v{version}");
    }
    for version in 1..=4 {
        assert_eq!(stop(wire, version, earlier_life).0, STALE_BROKER_EPOCH, "v{version}");
    }
    for version in 5..=8 {
        assert_eq!(tell(wire, version, earlier_life).0, STALE_BROKER_EPOCH, "v{version}");
    }

    let old_controller = Given { controller_epoch: CONTROLLER_EPOCH - 1, leader_epoch: LEADER_EPOCH + 1, ..now };
    assert_eq!(lead(wire, 7, old_controller), (STALE_CONTROLLER_EPOCH, Some(STALE_CONTROLLER_EPOCH)));
    assert_eq!(stop(wire, 4, old_controller).0, STALE_CONTROLLER_EPOCH);
    assert_eq!(tell(wire, 8, old_controller).0, STALE_CONTROLLER_EPOCH);

    for leader_epoch in [LEADER_EPOCH - 1, LEADER_EPOCH] {
        let known = Given { leader_epoch, ..now };
        assert_eq!(lead(wire, 7, known), (NO_ERROR, Some(STALE_CONTROLLER_EPOCH)), "leader epoch {leader_epoch}");
    }
    let overtaken = Given { leader_epoch: LEADER_EPOCH - 1, ..now };
    assert_eq!(stop(wire, 3, overtaken), (NO_ERROR, Some(FENCED_LEADER_EPOCH)));

    // None of it has changed anything.
    assert_eq!(fetch(wire, LEADER_EPOCH), NO_ERROR);
    for (epoch, code) in
        [(LEADER_EPOCH - 1, FENCED_LEADER_EPOCH), (LEADER_EPOCH + 1, UNKNOWN_LEADER_EPOCH), (-1, NO_ERROR)]
    {
        assert_eq!(fetch(wire, epoch), code, "a fetch in epoch {epoch}");
        assert_eq!(end_offset(wire, epoch), code, "ListOffsets in epoch {epoch}");
        assert_eq!(epoch_end(wire, epoch), code, "OffsetForLeaderEpoch in epoch {epoch}");
    }
}

/// Of a follower.
fn fetch(wire: &mut Wire, leader_epoch: i32) -> i16 {
    let partition = FetchPartition::default()
        .with_current_leader_epoch(leader_epoch)
        .with_last_fetched_epoch(-1)
        .with_partition_max_bytes(1000);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_replica_state(ReplicaState::default().with_replica_id(BrokerId(1)).with_replica_epoch(-1))
        .with_session_epoch(-1)
        .with_max_bytes(1000)
        .with_topics(vec![FetchTopic::default().with_topic_id(ID).with_partitions(vec![partition])]);
    wire.call(16, &request).responses[0].partitions[0].error_code
}

fn end_offset(wire: &mut Wire, leader_epoch: i32) -> i16 {
    let partition = ListOffsetsPartition::default().with_current_leader_epoch(leader_epoch).with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(1)).with_topics(vec![topic]);
    wire.call(8, &request).topics[0].partitions[0].error_code
}

fn epoch_end(wire: &mut Wire, leader_epoch: i32) -> i16 {
    let partition =
        OffsetForLeaderPartition::default().with_current_leader_epoch(leader_epoch).with_leader_epoch(LEADER_EPOCH);
    let topic = OffsetForLeaderTopic::default().with_topic(topic_name(TOPIC)).with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(1)).with_topics(vec![topic]);
    wire.call(4, &request).topics[0].partitions[0].error_code
}

#[test]
fn changes_of_in_sync_sets_from_another_time_are_refused() {
    const LEADER: i32 = 1;
    const PARTITION_EPOCH: i32 = 3;
    let mut stage = Stage::prepare(9);
    (0..3).for_each(|id| register(&stage, id));
    put_topic(&stage, TOPIC, ID, &[(0, led_by(LEADER, &[], LEADER_EPOCH), PARTITION_EPOCH)]);
    stage.start();
    let mut wire = stage.broker.wire();
    let epoch = epoch_of(&stage, LEADER);
    let mut ask = |id: Uuid, leader_epoch: i32, partition_epoch: i32, isr: &[i32]| {
        let member = |id: &i32| BrokerState::default().with_broker_id(BrokerId(*id));
        let partition = PartitionData::default()
            .with_leader_epoch(leader_epoch)
            .with_partition_epoch(partition_epoch)
            .with_new_isr_with_epochs(isr.iter().map(member).collect());
        let topic = TopicData::default().with_topic_id(id).with_partitions(vec![partition]);
        let request = AlterPartitionRequest::default()
            .with_broker_id(BrokerId(LEADER))
            .with_broker_epoch(epoch)
            .with_topics(vec![topic]);
        let answer = eventually("the broker is the controller", PATIENCE, || {
            let answer = wire.call(3, &request);
            (answer.error_code != NOT_CONTROLLER).then_some(answer)
        });
        assert_eq!(answer.error_code, NO_ERROR);
        answer.topics[0].partitions[0].error_code
    };
    let wanted = [1, 2];
    assert_eq!(ask(ID, LEADER_EPOCH - 1, PARTITION_EPOCH, &wanted), FENCED_LEADER_EPOCH);
    assert_eq!(
        ask(ID, LEADER_EPOCH + 1, PARTITION_EPOCH, &wanted),
        NOT_CONTROLLER,
        "the leader has a newer controller"
    );
    assert_eq!(ask(ID, LEADER_EPOCH, PARTITION_EPOCH - 1, &wanted), INVALID_UPDATE_VERSION);
    assert_eq!(ask(ID, LEADER_EPOCH, PARTITION_EPOCH + 1, &wanted), NOT_CONTROLLER);
    assert_eq!(ask(Uuid::from_u128(1), LEADER_EPOCH, PARTITION_EPOCH, &wanted), UNKNOWN_TOPIC_ID);
    assert_eq!(ask(ID, LEADER_EPOCH, PARTITION_EPOCH, &[1, 7]), INELIGIBLE_REPLICA);
    assert_eq!(ask(ID, LEADER_EPOCH, PARTITION_EPOCH - 1, &[1]), NO_ERROR, "that is how it is, whoever was late");
    assert_eq!(ask(ID, LEADER_EPOCH, PARTITION_EPOCH, &wanted), NO_ERROR);
}
