//! The requests as bytes, against frames recorded between Kafka's brokers; and how batches merge.

use bytes::{Bytes, BytesMut};

use super::super::assignment::{LeaderAndIsr, ReplicaAssignment};
use super::super::batch::{BatchSettings, ControlRequest, RequestBatch};
use super::super::context::{Broker, BrokerEndpoint, ControllerContext};
use super::super::testing::describe;
use super::super::versions::ControlVersions;
use crate::config::ProtocolVersion;
use crate::protocol::codec::{Decodable, Encodable};
use crate::protocol::messages::UpdateMetadataRequest;
use crate::topic::{TopicPartition, id_from_text};

const LEADER_AND_ISR: &str = "0000006d00040007000000840001300000000000000000000400000000000000a2000204756e31f351089e7104477ab918996f3f92c5b90200000000000000040000000200000000020000000200000000020000000201010100000002000000020a6c6f63616c686f737400004a960000";
const UPDATE_METADATA: &str = "0000011c000600080000008e0001300000000000000000000400000000000000560204756e31f351089e7104477ab918996f3f92c5b90200000000000000040000000200000000020000000200000000020000000201000004000000020300004a960a6c6f63616c686f73740a504c41494e5445585400000000004afa0a6c6f63616c686f73740f5341534c5f504c41494e544558540002000000000000010300004a950a6c6f63616c686f73740a504c41494e5445585400000000004af90a6c6f63616c686f73740f5341534c5f504c41494e544558540002000000000000000300004a940a6c6f63616c686f73740a504c41494e5445585400000000004af80a6c6f63616c686f73740f5341534c5f504c41494e54455854000200000000";
const STOP_REPLICA: &str =
    "0000002f000500040000001b00013000000000000000000004000000000000063d020472653102000000000000000201000000";
/// Length, api key, version, correlation id, client id `0`, no tagged fields.
const HEADER: usize = 16;

fn body(frame: &str) -> Bytes {
    let bytes = (0..frame.len()).step_by(2).map(|i| u8::from_str_radix(&frame[i..i + 2], 16).unwrap());
    Bytes::from(bytes.collect::<Vec<u8>>()).slice(HEADER..)
}

fn encoded(request: &impl Encodable, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    request.encode(&mut out, version).unwrap();
    out.freeze()
}

/// The recorded cluster: three brokers with two listeners each.
fn cluster(epochs: [i64; 3]) -> (ControllerContext, BatchSettings) {
    let mut ctx = ControllerContext::default();
    ctx.epoch = 4;
    let endpoint = |listener: &str, port: i32, security_protocol: i16| BrokerEndpoint {
        host: "localhost".to_owned(),
        port,
        listener: listener.to_owned(),
        security_protocol,
    };
    ctx.set_live_brokers((0..).zip(epochs).map(|(id, epoch)| {
        let endpoints = vec![endpoint("PLAINTEXT", 19092 + id, 0), endpoint("SASL_PLAINTEXT", 19192 + id, 2)];
        Broker { id, endpoints, rack: None, epoch }
    }));
    let settings = BatchSettings {
        me: 0,
        versions: ControlVersions::of(ProtocolVersion::parse("3.7").unwrap()),
        inter_broker_listener: "PLAINTEXT".to_owned(),
    };
    (ctx, settings)
}

fn partition(
    ctx: &mut ControllerContext,
    topic: &str,
    id: &str,
    replicas: &[i32],
    state: LeaderAndIsr,
) -> TopicPartition {
    let partition = TopicPartition::new(topic, 0);
    ctx.topics.insert(partition.topic.clone());
    assert!(ctx.add_topic_id(&partition.topic, id_from_text(id).unwrap()));
    ctx.set_assignment(&partition, ReplicaAssignment::new(replicas.to_vec()));
    ctx.set_own_leadership(&partition, state);
    partition
}

#[test]
fn a_new_partition_is_told_in_kafkas_bytes() {
    let (mut ctx, settings) = cluster([86, 1079, 162]);
    let p = partition(&mut ctx, "un1", "81EInnEER3q5GJlvP5LFuQ", &[2], LeaderAndIsr::initial(2, vec![2]));
    let mut batch = RequestBatch::new();
    batch.add_leader_and_isr(&ctx, &[2, -1], &p, true);
    let requests = batch.into_requests(&ctx, &settings);
    assert_eq!(requests.len(), 4);
    let ControlRequest::LeaderAndIsr(request) = &requests[0].1 else { panic!("{requests:?}") };
    assert_eq!(encoded(request, 7), body(LEADER_AND_ISR));
    let ControlRequest::UpdateMetadata(request) = &requests[1].1 else { panic!("{requests:?}") };
    // Kafka lists the brokers in the order of a hash set.
    let mut recorded = UpdateMetadataRequest::decode(&mut body(UPDATE_METADATA), 8).unwrap();
    recorded.live_brokers.sort_by_key(|broker| broker.id.0);
    assert_eq!(encoded(request, 8), encoded(&recorded, 8));
}

#[test]
fn a_removed_replica_is_told_in_kafkas_bytes() {
    let (mut ctx, settings) = cluster([86, 1597, 162]);
    let state = LeaderAndIsr { leader_epoch: 2, ..LeaderAndIsr::initial(0, vec![0]) };
    let p = partition(&mut ctx, "re1", "xqSENP7uQ0KxThdM1IrncA", &[0], state);
    let mut batch = RequestBatch::new();
    batch.add_stop_replica(&ctx, &[1], &p, true);
    // Once it deletes it goes on deleting.
    batch.add_stop_replica(&ctx, &[1], &p, false);
    let requests = batch.into_requests(&ctx, &settings);
    let [(1, ControlRequest::StopReplica { request, deleting })] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(encoded(request, 4), body(STOP_REPLICA));
    assert!(deleting.contains(&p));
}

#[test]
fn later_entries_win_but_new_stays_new_and_the_unregistered_get_nothing() {
    let (mut ctx, settings) = cluster([1, 2, 3]);
    let p = partition(&mut ctx, "t", "xqSENP7uQ0KxThdM1IrncA", &[0, 1], LeaderAndIsr::initial(0, vec![0, 1]));
    let mut batch = RequestBatch::new();
    batch.add_leader_and_isr(&ctx, &[0, 7], &p, true);
    ctx.set_own_leadership(&p, LeaderAndIsr::initial(0, vec![0]).new_epoch());
    batch.add_leader_and_isr(&ctx, &[0], &p, false);
    ctx.remove_live_brokers(&[1, 2].into());
    let lines: Vec<String> = batch.into_requests(&ctx, &settings).iter().map(|(to, r)| describe(*to, r)).collect();
    assert_eq!(
        lines,
        [
            "0 LISR t-0[leader=0 epoch=1 isr=0 version=0 replicas=0,1 new]",
            "0 UMR brokers=0 t-0[leader=0 epoch=1 isr=0 version=0 offline=]"
        ]
    );
}

#[test]
fn every_version_a_protocol_asks_for_can_be_encoded() {
    for ibp in ["3.7", "3.3", "3.0", "2.8-IV0", "2.7", "2.4-IV0", "2.3", "1.1", "0.11.0", "0.10.2"] {
        let (mut ctx, mut settings) = cluster([1, 2, 3]);
        settings.versions = ControlVersions::of(ProtocolVersion::parse(ibp).unwrap());
        let p = partition(&mut ctx, "t", "xqSENP7uQ0KxThdM1IrncA", &[0, 1], LeaderAndIsr::initial(0, vec![0, 1]));
        let mut batch = RequestBatch::new();
        batch.add_leader_and_isr(&ctx, &[0, 1], &p, true);
        batch.add_stop_replica(&ctx, &[0], &p, true);
        batch.add_stop_replica(&ctx, &[1], &p, false);
        for (_, request) in batch.into_requests(&ctx, &settings) {
            let mut out = BytesMut::new();
            let result = match request {
                ControlRequest::LeaderAndIsr(request) => request.encode(&mut out, settings.versions.leader_and_isr),
                ControlRequest::UpdateMetadata(request) => request.encode(&mut out, settings.versions.update_metadata),
                ControlRequest::StopReplica { request, .. } => request.encode(&mut out, settings.versions.stop_replica),
            };
            assert!(result.is_ok(), "{ibp}: {result:?}");
        }
    }
}
