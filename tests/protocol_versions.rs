//! Clusters whose `inter.broker.protocol.version` is an old one: what the brokers leave in ZooKeeper, how in-sync sets
//! change, and the way to a newer version.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::admin::NO_ERROR;
use common::broker::Kind;
use common::{Cluster, PATIENCE, eventually};
use kafka_protocol::messages::{HeartbeatRequest, InitProducerIdRequest};
use kafka_protocol::protocol::StrBytes;
use nix::sys::signal::Signal;
use ottla::zk::json::PartitionState;

const VERSION: &str = "inter.broker.protocol.version";
const UNSUPPORTED_VERSION: i16 = 35;
const ELECTION_NOT_NEEDED: i16 = 84;
const STATE: &str = "/brokers/topics/t/partitions/0/state";

fn state(cluster: &Cluster) -> PartitionState {
    PartitionState::decode(cluster.znodes().data(STATE).expect("a state").as_bytes()).expect("a state")
}

/// By what ZooKeeper says: brokers of the old protocol hear of it seconds later.
fn await_in_sync(cluster: &Cluster) {
    eventually("the replicas are in sync", PATIENCE, || (state(cluster).isr.len() == 3).then_some(()));
}

#[test]
fn leaders_of_the_old_protocol_write_in_sync_sets_themselves() {
    let properties = [
        (VERSION, "2.6"),
        ("replica.lag.time.max.ms", "1500"),
        ("zookeeper.session.timeout.ms", "18000"),
        ("auto.leader.rebalance.enable", "false"),
    ];
    let cluster = Cluster::start(3, &properties);
    let znodes = cluster.znodes();
    let broker = znodes.data("/brokers/ids/0").unwrap();
    assert!(broker.contains(r#""version":4"#) && !broker.contains("features"), "{broker}");
    assert_eq!(znodes.data("/feature").unwrap(), r#"{"features":{},"version":1,"status":0}"#);

    cluster.make_controller(0); // So that it is another one that is frozen: the first is asked for news of the cluster.
    cluster.create_topic("t", 1, 3);
    cluster.await_isr("t", 0, 3);
    let topic = znodes.data("/brokers/topics/t").unwrap();
    assert!(!topic.contains("topic_id"), "{topic}");
    cluster.produce("t", 0, "all");

    let leader = cluster.leader("t", 0);
    let frozen = (0..3).find(|id| *id != leader && *id != cluster.controller()).unwrap();
    cluster.brokers[frozen].signal(Signal::SIGSTOP);
    cluster.produce("t", 0, "without one");
    let shrunk = state(&cluster);
    assert_eq!((shrunk.isr.len(), shrunk.leader_epoch), (2, 0), "{shrunk:?}");
    // The note comes some seconds later; the controller tells everybody and takes it away.
    let note = "/isr_change_notification/isr_change_0000000000";
    eventually("the controller is told", PATIENCE, || {
        let seen = cluster.partition_seen_by(cluster.controller(), "t", 0)?;
        (seen.isr_nodes.len() == 2).then_some(())
    });
    eventually("the note is taken away", PATIENCE, || znodes.data(note).is_none().then_some(()));
    cluster.brokers[frozen].signal(Signal::SIGCONT);
    await_in_sync(&cluster);
    assert_eq!(znodes.znode(STATE).unwrap().version, 2);
    assert_eq!(cluster.values("t", 0), ["all", "without one"]);
    cluster.assert_replicas_equal("t", 0);

    let id = cluster.any().call(1, &InitProducerIdRequest::default().with_transactional_id(None));
    assert_eq!(id.error_code, NO_ERROR);
    assert!(znodes.data("/latest_producer_id_block").unwrap().contains(r#""block_start":"0""#));
}

#[test]
fn a_cluster_goes_from_an_old_protocol_to_the_newest_broker_by_broker() {
    let mut cluster = Cluster::start(3, &[(VERSION, "2.2"), ("min.insync.replicas", "2")]);
    cluster.create_topic("t", 1, 3);
    cluster.await_isr("t", 0, 3);
    let refused = HeartbeatRequest::default().with_group_instance_id(Some(StrBytes::from_static_str("i")));
    assert_eq!(cluster.any().call(3, &refused).error_code, UNSUPPORTED_VERSION, "static members come with 2.3");
    let mut expected = Vec::new();
    for version in ["2.6", "2.8", "3.7"] {
        for id in 0..3 {
            cluster.produce("t", 0, &format!("{version} {id}"));
            expected.push(format!("{version} {id}"));
            cluster.terminate(id);
            cluster.brokers[id].set(VERSION, version);
            cluster.launch(id);
            await_in_sync(&cluster);
        }
        // The next controller is of the new version: topics have ids from 2.8 on, features from 2.7 on.
        cluster.make_controller(0);
        let znodes = cluster.znodes();
        let has_id = || znodes.data("/brokers/topics/t").unwrap().contains("topic_id");
        eventually("the topic has its id", PATIENCE, || (has_id() == (version != "2.6")).then_some(()));
        let status = if version == "2.6" { r#""status":0"# } else { r#""status":1"# };
        assert!(znodes.data("/feature").unwrap().contains(status), "{version}");
    }
    // A leader of late hears from its followers first how far all have come.
    eventually("all records can be read", PATIENCE, || (cluster.values("t", 0).len() >= expected.len()).then_some(()));
    assert_eq!(cluster.values("t", 0), expected);
    cluster.assert_replicas_equal("t", 0);
    assert_ne!(cluster.any().call(3, &refused).error_code, UNSUPPORTED_VERSION);
}

#[test]
#[ignore = "needs a real Kafka: OTTLA_TEST_KAFKA_LIBS, and two minutes"]
fn a_real_kafka_and_ours_share_the_old_protocol() {
    let kinds = [Kind::Kafka, Kind::Ottla, Kind::Ottla];
    let properties = [
        (VERSION, "2.6"),
        ("min.insync.replicas", "2"),
        ("replica.lag.time.max.ms", "3000"),
        ("zookeeper.session.timeout.ms", "9000"),
    ];
    let mut cluster = Cluster::start_as(&kinds, &properties);
    cluster.create_topic("t", 3, 3);
    (0..3).for_each(|p| cluster.await_isr("t", p, 3));
    let mut expected = Vec::new();
    for (round, id) in [0, 1, 2].into_iter().enumerate() {
        cluster.seat_controller(id);
        eprintln!("round {round}: broker {id} is the controller");
        // Others fall behind and come back; broker 0 is the one that is asked for leaders.
        for frozen in (1..3).filter(|other| *other != id) {
            cluster.brokers[frozen].signal(Signal::SIGSTOP);
            for partition in (0..3).filter(|p| cluster.replicas("t", *p)[0] != frozen) {
                cluster.produce("t", partition, &format!("{round} without {frozen}"));
            }
            cluster.brokers[frozen].signal(Signal::SIGCONT);
            (0..3).for_each(|p| cluster.await_isr("t", p, 3));
        }
        for partition in 0..3 {
            cluster.produce("t", partition, &format!("{round} before"));
        }
        cluster.kill(id);
        for partition in 0..3 {
            cluster.await_other_leader("t", partition, id);
            cluster.produce("t", partition, &format!("{round} after"));
        }
        expected.push(round);
        cluster.await_unregistered(id);
        cluster.launch(id);
        (0..3).for_each(|p| cluster.await_isr("t", p, 3));
        for partition in 0..3 {
            let code = cluster.elect_preferred("t", partition);
            assert!([NO_ERROR, ELECTION_NOT_NEEDED].contains(&code), "{code}");
        }
    }
    for partition in 0..3 {
        let values = cluster.values("t", partition);
        for round in &expected {
            for wanted in [format!("{round} before"), format!("{round} after")] {
                assert_eq!(values.iter().filter(|v| **v == wanted).count(), 1, "{wanted} in {values:?}");
            }
        }
        cluster.assert_replicas_equal("t", partition);
    }
}
