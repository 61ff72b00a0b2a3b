//! A cluster of real Kafka brokers becomes one of ours, broker by broker on the same data directories and under load, and
//! then Kafka's again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod check;
#[path = "../common/mod.rs"]
mod common;
mod data;
mod dedupe;
mod load;

use check::Facts;
use common::broker::Kind;
use common::{Cluster, PATIENCE, eventually};
use dedupe::Repeater;
use kafka_protocol::messages::{ElectLeadersRequest, MetadataRequest};
use load::Load;

/// How a broker goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Term,
    Kill,
}

const PROPERTIES: &[(&str, &str)] = &[
    ("min.insync.replicas", "2"),
    ("offsets.topic.replication.factor", "3"),
    ("offsets.topic.segment.bytes", "70000"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
    ("transaction.state.log.segment.bytes", "70000"),
    // A follower takes no more at once than a segment holds.
    ("replica.fetch.max.bytes", "60000"),
    ("log.cleaner.backoff.ms", "200"),
    ("log.retention.check.interval.ms", "1000"),
    ("log.flush.start.offset.checkpoint.interval.ms", "1000"),
    ("auto.create.topics.enable", "false"),
    ("controlled.shutdown.retry.backoff.ms", "500"),
];

#[test]
#[ignore = "needs a real Kafka: OTTLA_TEST_KAFKA_LIBS, and two minutes"]
fn kafka_brokers_are_swapped_for_ours_and_back() {
    swap_and_back(End::Term);
}

#[test]
#[ignore = "needs a real Kafka: OTTLA_TEST_KAFKA_LIBS, and two minutes"]
fn killed_kafka_brokers_are_swapped_for_ours_and_back() {
    swap_and_back(End::Kill);
}

fn swap_and_back(end: End) {
    let clock = std::time::Instant::now();
    // A broker that is killed is missed when its session ends; one that is only slow must not be.
    let session = match end {
        End::Term => "10000",
        End::Kill => "4000",
    };
    let properties = [PROPERTIES, &[("zookeeper.session.timeout.ms", session)]].concat();
    let mut cluster = Cluster::start_as(&[Kind::Kafka; 3], &properties);
    data::create_topics(&cluster);
    let abandoned = data::write(&cluster);
    let load = Load::start(&cluster);
    let mut repeater = Repeater::start(&cluster);
    load.await_progress(500);
    settle(&cluster);
    let before = check::facts(&cluster);
    eprintln!("{:?}: {} facts before the swap", clock.elapsed(), before.len());
    let mut left_by_kafka = Vec::new();
    for (to, leaving) in [Kind::Ottla, Kind::Kafka].into_iter().flat_map(|to| (0..3).map(move |id| (to, id))) {
        let rebalances: Vec<usize> = load.groups.iter().map(|group| group.rebalances()).collect();
        load.longest_silence();
        let files = swap(&mut cluster, leaving, to, end);
        match to {
            Kind::Ottla => left_by_kafka.push(files),
            Kind::Kafka => {
                let same = if end == End::Term { check::assert_same } else { check::assert_kept };
                same(&left_by_kafka[leaving], &files, "the files we leave to Kafka");
            }
        }
        load.await_progress(300);
        repeater.check(&cluster);
        check::assert_same(&before, &check::facts(&cluster), &format!("broker {leaving} is {to:?} now"));
        let after: Vec<usize> = load.groups.iter().map(|group| group.rebalances()).collect();
        eprintln!(
            "{:?} broker {leaving} is {to:?} now: {} records so far, longest silence of a partition {:?}, rebalances {rebalances:?} {after:?}",
            clock.elapsed(),
            load.acked(),
            load.longest_silence()
        );
    }
    // The coordinators find everything as they left it.
    data::go_on(&cluster);
    drop(abandoned);
    let summary = load.finish(&cluster);
    summary.assert_in_log(&cluster);
    repeater.assert_in_log(&cluster);
    settle(&cluster);
    check::assert_replicas_equal(&cluster);
    eprintln!("swap ({end:?}): {} records, each once; {} read again", summary.records, summary.again);
}

/// One broker goes and comes back as another kind. What it left in the small files of its data directory.
fn swap(cluster: &mut Cluster, id: usize, to: Kind, end: End) -> Facts {
    // Every other time it is the controller that goes; then the new one becomes it.
    let goes_from_office = id.is_multiple_of(2);
    if goes_from_office {
        cluster.seat_controller(id);
    }
    match end {
        End::Term => cluster.terminate(id),
        End::Kill => cluster.kill(id),
    }
    let files = check::small_files(&cluster.brokers[id].data_dir(), end == End::Term);
    if to == Kind::Kafka {
        cluster.await_unregistered(id);
    }
    cluster.brokers[id].set_kind(to);
    cluster.launch(id);
    settle(cluster);
    if to == Kind::Kafka {
        check::assert_no_damage(&cluster.brokers[id].log_of_run(), end == End::Term);
    }
    if !goes_from_office {
        cluster.seat_controller(id);
    }
    files
}

/// Waits until all replicas are in sync, and gives every partition back to its preferred leader.
fn settle(cluster: &Cluster) {
    let seen = || -> Vec<_> {
        let all = |id: usize| cluster.brokers[id].wire().call(12, &MetadataRequest::default().with_topics(None)).topics;
        cluster.running().into_iter().flat_map(all).flat_map(|topic| topic.partitions).collect()
    };
    eventually("all replicas are in sync", PATIENCE, || seen().iter().all(|p| p.isr_nodes.len() == 3).then_some(()));
    let request = ElectLeadersRequest::default().with_topic_partitions(None).with_timeout_ms(30_000);
    eventually("the preferred replicas lead", PATIENCE, || {
        if seen().iter().all(|p| p.isr_nodes.len() == 3 && p.leader_id == p.replica_nodes[0]) {
            return Some(());
        }
        // It may not be in sync again, or the controller may be another by now: asked once more.
        let _ = cluster.brokers[cluster.controller()].wire().try_call(2, &request);
        None
    });
}
