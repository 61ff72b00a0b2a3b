//! Three brokers: replicas in sync, leaders that die, records that stay.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::admin::NO_ERROR;
use common::broker::Kind;
use common::checker;
use common::workload::{Shape, Workload};
use common::znodes::Znodes;
use common::{Broker, Cluster, PATIENCE, eventually};
use kafka_protocol::messages::{BrokerId, LeaderAndIsrRequest};
use nix::sys::signal::Signal;

const STALE_CONTROLLER_EPOCH: i16 = 11;
const ELECTION_NOT_NEEDED: i16 = 84;

#[test]
fn a_topic_of_three_replicas_outlives_its_leaders() {
    let mut cluster = Cluster::start(3, &[("min.insync.replicas", "2")]);
    cluster.create_topic("t", 1, 3);
    cluster.await_isr("t", 0, 3);
    let mut expected = Vec::new();
    for round in 0..3 {
        for i in 0..20 {
            let value = format!("{round}-{i}");
            cluster.produce("t", 0, &value);
            expected.push(value);
        }
        let leader = cluster.leader("t", 0);
        cluster.kill(leader);
        let next = cluster.await_other_leader("t", 0, leader);
        let value = format!("{round}-after");
        cluster.produce("t", 0, &value);
        expected.push(value);
        assert_eq!(cluster.values("t", 0), expected, "read from broker {next} after broker {leader} died");
        cluster.launch(leader);
        cluster.await_isr("t", 0, 3);
    }
    cluster.assert_replicas_equal("t", 0);
}

#[test]
fn sigterm_moves_leaderships_before_the_broker_goes() {
    let mut cluster = Cluster::start(3, &[("min.insync.replicas", "2")]);
    cluster.create_topic("t", 3, 3);
    (0..3).for_each(|p| cluster.await_isr("t", p, 3));
    for id in 0..3 {
        cluster.terminate(id);
        // No wait: the leaderships moved while it was still there.
        for partition in 0..3 {
            for other in cluster.running() {
                let seen = cluster.partition_seen_by(other, "t", partition).expect("the partition");
                assert_ne!(seen.leader_id.0, i32::try_from(id).unwrap(), "broker {other} on partition {partition}");
                assert_eq!(seen.isr_nodes.len(), 2, "{seen:?}");
            }
            cluster.produce("t", partition, &format!("without {id}"));
        }
        cluster.launch(id);
        (0..3).for_each(|p| cluster.await_isr("t", p, 3));
    }
    for partition in 0..3 {
        assert_eq!(cluster.values("t", partition), ["without 0", "without 1", "without 2"]);
        cluster.assert_replicas_equal("t", partition);
    }
}

#[test]
#[ignore = "needs a real Kafka: OTTLA_TEST_KAFKA_LIBS, and a minute"]
fn one_real_kafka_and_two_of_ours_make_one_cluster() {
    each_in_turn_is_controller_and_goes([Kind::Kafka, Kind::Ottla, Kind::Ottla]);
}

#[test]
#[ignore = "needs a real Kafka: OTTLA_TEST_KAFKA_LIBS, and a minute"]
fn two_real_kafkas_and_one_of_ours_make_one_cluster() {
    each_in_turn_is_controller_and_goes([Kind::Kafka, Kind::Ottla, Kind::Kafka]);
}

const PARTITIONS: i32 = 3;

/// In both ways of going, each time as the controller and as the leader of some partition, while an idempotent producer
/// and a reading group are under way.
fn each_in_turn_is_controller_and_goes(kinds: [Kind; 3]) {
    let properties = [
        ("min.insync.replicas", "2"),
        ("offsets.topic.replication.factor", "3"),
        // A busy machine must not end the sessions of those that live.
        ("zookeeper.session.timeout.ms", "6000"),
    ];
    let mut cluster = Cluster::start_as(&kinds, &properties);
    cluster.create_topic("t", PARTITIONS, 3);
    (0..PARTITIONS).for_each(|p| cluster.await_isr("t", p, 3));
    let shape = Shape { topic: "t".to_owned(), partitions: PARTITIONS, producers: 2, consumers: 2, rate: 300 };
    let workload = Workload::start(&cluster.bootstrap(), shape);
    for (round, id) in [0, 1, 2, 0, 1, 2].into_iter().enumerate() {
        workload.await_progress(300);
        cluster.seat_controller(id);
        let led = lead(&cluster, id);
        eprintln!("round {round}: broker {id} is the controller, leads partition {led}, and goes");
        workload.await_progress(300);
        match round {
            0..3 => cluster.terminate(id),
            _ => cluster.kill(id),
        }
        cluster.await_other_leader("t", led, id);
        workload.await_progress(300);
        cluster.await_unregistered(id);
        cluster.launch(id);
        (0..PARTITIONS).for_each(|p| cluster.await_isr("t", p, 3));
    }
    workload.await_progress(300);
    let witness = workload.finish();
    let sent: u64 = witness.sent.iter().sum();
    println!("mixed: {kinds:?}, {sent} records sent, {} read, {} rebalances", witness.seen.len(), witness.rebalances);
    let findings = checker::findings(&witness, &cluster.logs("t", PARTITIONS));
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    (0..PARTITIONS).for_each(|p| cluster.assert_replicas_equal("t", p));
    (0..5).for_each(|p| cluster.await_isr("__consumer_offsets", p, 3));
    (0..5).for_each(|p| cluster.assert_replicas_equal("__consumer_offsets", p));
}

/// Makes a broker the leader of the partition that prefers it.
fn lead(cluster: &Cluster, id: usize) -> i32 {
    let prefers = |p: &i32| cluster.replicas("t", *p)[0] == id;
    let partition = (0..PARTITIONS).find(prefers).expect("each broker is the first replica of one");
    eventually("the broker leads", PATIENCE, || {
        // The controller may be new, and not every replica in sync yet.
        cluster.elect_preferred("t", partition);
        (cluster.leader("t", partition) == id).then_some(())
    });
    partition
}

#[test]
fn leaders_and_replicas_move_as_asked() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.create_topic("t", 1, 2);
    cluster.await_isr("t", 0, 2);
    for i in 0..50 {
        cluster.produce("t", 0, &format!("v{i}"));
    }
    let replicas: Vec<usize> = cluster.replicas("t", 0);
    let first = replicas[0];
    assert_eq!(cluster.leader("t", 0), first);

    // Away from its preferred leader, and back on request.
    cluster.terminate(first);
    cluster.launch(first);
    cluster.await_isr("t", 0, 2);
    cluster.await_other_leader("t", 0, first);
    assert_eq!(cluster.elect_preferred("t", 0), NO_ERROR);
    let seen = cluster.partition_seen_by(cluster.controller(), "t", 0).unwrap();
    assert_eq!(*seen.leader_id, first as i32, "the answer comes when the broker that was asked knows this");
    assert_eq!(cluster.elect_preferred("t", 0), ELECTION_NOT_NEEDED);

    // To the broker that had no replica, and off the one that led.
    let fresh = (0..3).find(|id| !replicas.contains(id)).unwrap();
    cluster.reassign("t", 0, &[fresh, replicas[1]]);
    cluster.await_reassigned("t", 0, &[fresh, replicas[1]]);
    cluster.await_isr("t", 0, 2);
    let dir = |id: usize| cluster.brokers[id].data_dir().join("t-0");
    eventually("the old replica is deleted", PATIENCE, || (!dir(first).exists()).then_some(()));
    eventually("the new replica leads", PATIENCE, || (cluster.leader("t", 0) == fresh).then_some(()));
    assert_eq!(cluster.values("t", 0), (0..50).map(|i| format!("v{i}")).collect::<Vec<_>>());
    cluster.assert_replicas_equal("t", 0);

    let sizes: Vec<Option<i64>> = (0..3).map(|id| cluster.log_size(id, "t", 0)).collect();
    assert_eq!((sizes[first], sizes[fresh]), (None, sizes[replicas[1]]));
    assert!(sizes[fresh].unwrap() > 50);
}

/// A consumer in a follower's rack is sent there, and reads there what is committed.
#[test]
fn consumers_read_from_the_replica_in_their_rack() {
    let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
    let properties = [("replica.selector.class", selector), ("broker.rack", "rack{id}")];
    let cluster = Cluster::start(3, &properties);
    cluster.create_topic("t", 1, 3);
    cluster.await_isr("t", 0, 3);
    cluster.produce("t", 0, "v");
    let leader = cluster.leader("t", 0);
    let near = (leader + 1) % 3;
    eventually("the follower is named", PATIENCE, || {
        let data = cluster.fetch_from_rack(leader, "t", 0, &format!("rack{near}"));
        assert_eq!(data.error_code, NO_ERROR);
        let named = data.preferred_read_replica.0 == i32::try_from(near).unwrap();
        assert!(!named || data.records.unwrap_or_default().is_empty());
        named.then_some(())
    });
    assert_eq!(cluster.fetch_from_rack(leader, "t", 0, &format!("rack{leader}")).preferred_read_replica.0, -1);
    assert_eq!(cluster.fetch_from_rack(leader, "t", 0, "elsewhere").preferred_read_replica.0, -1);
    eventually("the follower serves what is committed", PATIENCE, || {
        let data = cluster.fetch_from_rack(near, "t", 0, &format!("rack{near}"));
        assert_eq!(data.error_code, NO_ERROR);
        (data.high_watermark == 1 && !data.records.unwrap_or_default().is_empty()).then_some(())
    });
}

/// Nobody who could decide it for the broker knows that it was gone: the controller stands still meanwhile.
#[test]
fn a_broker_that_crashed_leaves_the_isrs_before_it_is_back() {
    let mut cluster = Cluster::start(3, &[("zookeeper.session.timeout.ms", "20000")]);
    if cluster.brokers[0].is_kafka() {
        return; // Kafka trusts the ISR.
    }
    cluster.create_topic("t", 1, 3);
    cluster.await_isr("t", 0, 3);
    cluster.produce("t", 0, "before");
    let crashed = cluster.leader("t", 0);
    let others: Vec<usize> = cluster.replicas("t", 0).into_iter().filter(|id| *id != crashed).collect();
    let controller = others[0];
    cluster.make_controller(controller);
    cluster.brokers[controller].signal(Signal::SIGSTOP);
    cluster.kill(crashed);
    cluster.brokers[crashed].spawn();
    eventually("it has started", PATIENCE, || cluster.brokers[crashed].has_started().then_some(()));
    let state: serde_json::Value =
        serde_json::from_str(&cluster.znodes().data("/brokers/topics/t/partitions/0/state").unwrap()).unwrap();
    assert_eq!(state["leader"], -1, "{state}");
    assert_eq!(state["leader_epoch"], 1, "{state}");
    assert_eq!(state["isr"], serde_json::json!(others), "{state}");
    cluster.brokers[controller].signal(Signal::SIGCONT);
    cluster.await_isr("t", 0, 3);
    cluster.produce("t", 0, "after");
    assert_eq!(cluster.values("t", 0), ["before", "after"]);
    cluster.assert_replicas_equal("t", 0);
}

/// A controller may have been replaced without knowing it yet. A broker that has just started has no epoch of a
/// controller in memory, but ZooKeeper has.
#[test]
fn a_new_broker_does_not_obey_a_controller_that_was_replaced() {
    let mut broker = Broker::prepare(&[]);
    if broker.is_kafka() {
        return; // Kafka does obey it.
    }
    let znodes = Znodes::connect(broker.zookeeper_connect());
    znodes.put("/controller_epoch", "5".to_owned());
    znodes.put("/controller", r#"{"version":1,"brokerid":7,"timestamp":"1"}"#.to_owned());
    broker.spawn();
    eventually("the broker has started", PATIENCE, || broker.has_started().then_some(()));
    let obeys = |epoch: i32| {
        let request = LeaderAndIsrRequest::default()
            .with_controller_id(BrokerId(7))
            .with_controller_epoch(epoch)
            .with_broker_epoch(-1);
        broker.wire().call(5, &request).error_code
    };
    assert_eq!(obeys(4), STALE_CONTROLLER_EPOCH);
    assert_eq!(obeys(5), NO_ERROR);
}
