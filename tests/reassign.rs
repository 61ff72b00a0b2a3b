//! Replicas that move while records come in, by our tool and by Kafka's: with a throttle, without one, and taken back
//! in the middle. Topics that are deleted while a broker is down, and leaders that may or may not be unclean.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::admin::{NO_ERROR, batch, now_ms, text};
use common::broker::Kind;
use common::tool::{Outcome, Tool, argument};
use common::{Cluster, PATIENCE, eventually};
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use ottla::record::{BatchBuilder, Codec};
use tempfile::TempDir;

const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
const ELECT: &str = "org.apache.kafka.tools.LeaderElectionCommand";
/// Bytes in the log before anything moves.
const LOG: i64 = 6_000_000;
/// Bytes a second.
const THROTTLE: i64 = 200_000;

/// A cluster whose fetches are small, so that a throttle shows early; one partition on broker 0, and a file that
/// orders it to broker 1.
struct Stage {
    cluster: Cluster,
    tool: Tool,
    dir: TempDir,
}

impl Stage {
    fn new(tool: Tool) -> Stage {
        Stage::of(tool, [Kind::under_test(); 2])
    }

    fn of(tool: Tool, kinds: [Kind; 2]) -> Stage {
        let small = [
            ("replica.fetch.max.bytes", "50000"),
            ("replica.fetch.response.max.bytes", "100000"),
            ("auto.leader.rebalance.enable", "false"),
        ];
        let stage = Stage { cluster: Cluster::start_as(&kinds, &small), tool, dir: tempfile::tempdir().unwrap() };
        let file = r#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1]}]}"#;
        std::fs::write(stage.file(), file).unwrap();
        stage.cluster.create_topic("t", 1, 1);
        if stage.cluster.leader("t", 0) != 0 {
            stage.cluster.reassign("t", 0, &[0]);
            stage.cluster.await_reassigned("t", 0, &[0]);
        }
        let value = "x".repeat(20_000);
        let mut wire = stage.cluster.brokers[0].wire();
        while stage.size(0) < LOG {
            let answer = wire.produce_batch("t", 0, batch(&[value.as_str(); 2], now_ms(), Codec::None));
            assert_eq!(answer.error_code, NO_ERROR);
        }
        stage
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("moves.json")
    }

    /// Runs the tool on the file; it must succeed.
    fn reassign(&self, args: &[&str]) -> String {
        let (bootstrap, file) = (self.cluster.bootstrap(), self.file());
        let always = ["--bootstrap-server", &bootstrap, "--reassignment-json-file", argument(&file)];
        let Outcome { stdout, stderr, code } = self.tool.run(REASSIGN, &[&always, args].concat());
        assert_eq!(code, 0, "{args:?}\n{stdout}\n{stderr}");
        stdout
    }

    /// Bytes of the partition on a broker.
    fn size(&self, id: usize) -> i64 {
        self.cluster.log_size(id, "t", 0).unwrap_or(0)
    }

    fn throttles(&self) -> Vec<String> {
        let znodes = self.cluster.znodes();
        let paths = ["/config/brokers/0", "/config/brokers/1", "/config/topics/t"];
        paths.iter().map(|path| znodes.data(path).unwrap_or_default()).collect()
    }

    fn await_throttles_lifted(&self) {
        assert!(self.throttles().iter().all(|data| !data.contains("throttled")), "{:?}", self.throttles());
    }
}

/// One idempotent producer sends one record after the other with acks=all while `work` is done; how many there were.
fn under_load(cluster: &Cluster, work: impl FnOnce()) -> i32 {
    let done = AtomicBool::new(false);
    let producer = cluster.producer_id();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                let mut batch = BatchBuilder::new(0).producer(producer, 0, sent);
                batch.append(now_ms(), None, Some(format!("load {sent}").as_bytes())).expect("a record");
                cluster.produce_batch("t", 0, &batch.build().expect("a batch"));
                sent += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            sent
        });
        let _stop = StopOnDrop(&done);
        work();
        drop(_stop);
        load.join().expect("the load")
    })
}

/// Ends the load also when the work panics.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every record of the load is there once, in order.
fn assert_load(cluster: &Cluster, sent: i32) {
    let values = cluster.values("t", 0);
    let load: Vec<&String> = values.iter().filter(|value| value.starts_with("load ")).collect();
    let expected: Vec<String> = (0..sent).map(|n| format!("load {n}")).collect();
    assert_eq!(load, expected.iter().collect::<Vec<_>>());
}

#[test]
fn a_throttled_move_keeps_its_rate_and_verify_lifts_it() {
    throttled_move(&Stage::new(Tool::Ours));
}

#[test]
#[ignore = "needs a real Kafka: OTTLA_TEST_KAFKA_LIBS"]
fn a_throttled_move_by_kafkas_tool() {
    throttled_move(&Stage::new(Tool::Kafka));
}

#[test]
#[ignore = "needs a real Kafka: OTTLA_TEST_KAFKA_LIBS"]
fn a_throttled_move_from_a_real_kafka_to_ours() {
    throttled_move(&Stage::of(Tool::Kafka, [Kind::Kafka, Kind::Ottla]));
}

#[test]
#[ignore = "needs a real Kafka: OTTLA_TEST_KAFKA_LIBS"]
fn a_throttled_move_from_ours_to_a_real_kafka() {
    throttled_move(&Stage::of(Tool::Ours, [Kind::Ottla, Kind::Kafka]));
}

fn throttled_move(stage: &Stage) {
    let sent = under_load(&stage.cluster, || {
        let rate = THROTTLE.to_string();
        let (begun, seconds) = (Instant::now(), 5.0);
        let printed = stage.reassign(&["--execute", "--throttle", &rate]);
        assert!(printed.contains(&format!("The inter-broker throttle limit was set to {rate} B/s")), "{printed}");
        assert!(printed.contains("Successfully started partition reassignment for t-0"), "{printed}");
        // The copy takes 30 s under the throttle. What is copied in the first of them must be what it allows; samples of a
        // second make the bound broad.
        std::thread::sleep(Duration::from_secs_f64(seconds));
        let copied = stage.size(1) as f64;
        let most = THROTTLE as f64 * (begun.elapsed().as_secs_f64() + 2.0);
        assert!(copied > 0.3 * THROTTLE as f64 * seconds && copied < most, "{copied} bytes, at most {most}");
        let printed = stage.reassign(&["--verify"]);
        assert!(printed.contains("Reassignment of partition t-0 is still in progress."), "{printed}");
        assert!(stage.throttles().iter().all(|data| data.contains("throttled")), "{:?}", stage.throttles());
        // Faster now, by way of the same order.
        stage.reassign(&["--execute", "--additional", "--throttle", "100000000"]);
        let lifted = Instant::now();
        stage.cluster.await_reassigned("t", 0, &[1]);
        assert!(lifted.elapsed() < Duration::from_secs(30));
        let printed = stage.reassign(&["--verify"]);
        assert!(printed.contains("Reassignment of partition t-0 is completed."), "{printed}");
        assert!(printed.contains("Clearing broker-level throttles on brokers 0,1"), "{printed}");
        stage.await_throttles_lifted();
    });
    assert_load(&stage.cluster, sent);
    let deleted = || !stage.cluster.brokers[0].data_dir().join("t-0").exists();
    eventually("the old replica is deleted", PATIENCE, || deleted().then_some(()));
}

#[test]
fn a_move_is_taken_back_in_the_middle_and_made_without_a_throttle() {
    taken_back(&Stage::new(Tool::Ours));
}

#[test]
#[ignore = "needs a real Kafka: OTTLA_TEST_KAFKA_LIBS"]
fn a_move_is_taken_back_by_kafkas_tool() {
    taken_back(&Stage::new(Tool::Kafka));
}

fn taken_back(stage: &Stage) {
    let sent = under_load(&stage.cluster, || {
        stage.reassign(&["--execute", "--throttle", "50000"]);
        eventually("some of it is copied", PATIENCE, || (stage.size(1) > 0).then_some(()));
        let printed = stage.reassign(&["--cancel"]);
        assert!(printed.contains("Successfully cancelled partition reassignment for: t-0"), "{printed}");
        assert!(stage.size(1) < LOG / 2, "that was not the middle: {}", stage.size(1));
        stage.cluster.await_reassigned("t", 0, &[0]);
        stage.await_throttles_lifted();
        let gone = || !stage.cluster.brokers[1].data_dir().join("t-0").exists();
        eventually("the new replica is deleted again", PATIENCE, || gone().then_some(()));
        let begun = Instant::now();
        stage.reassign(&["--execute"]);
        stage.cluster.await_reassigned("t", 0, &[1]);
        assert!(begun.elapsed() < Duration::from_secs(40), "nothing throttles it: {:?}", begun.elapsed());
    });
    assert_load(&stage.cluster, sent);
}

#[test]
fn a_topic_of_100_partitions_is_deleted_when_the_broker_that_was_down_is_back() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.create_topic("many", 100, 2);
    let of = |id: usize| {
        let entries = std::fs::read_dir(cluster.brokers[id].data_dir()).unwrap().flatten();
        entries.filter(|e| e.file_name().to_string_lossy().starts_with("many-")).count()
    };
    assert!((0..3).all(|id| of(id) > 50), "every broker has some of the replicas");
    let down = (0..3).find(|id| *id != cluster.controller()).unwrap();
    cluster.kill(down);
    eventually("the broker is missed", PATIENCE, || {
        cluster.znodes().owner(&format!("/brokers/ids/{down}")).is_none().then_some(())
    });
    assert_eq!(cluster.brokers[cluster.controller()].wire().delete_topic("many"), NO_ERROR);
    for id in cluster.running() {
        let gone = || !cluster.brokers[id].wire().topics().contains_key("many");
        eventually("the topic is gone for clients", PATIENCE, || gone().then_some(()));
    }
    let znodes = cluster.znodes();
    assert!(znodes.data("/admin/delete_topics/many").is_some(), "the deletion is under way");
    assert!(znodes.data("/brokers/topics/many").is_some(), "and waits for the broker");
    cluster.launch(down);
    eventually("the deletion is done", PATIENCE, || {
        let left = ["/admin/delete_topics/many", "/brokers/topics/many", "/config/topics/many"];
        left.iter().all(|path| znodes.data(path).is_none()).then_some(())
    });
    let left = |id: usize| {
        let entries = std::fs::read_dir(cluster.brokers[id].data_dir()).unwrap().flatten();
        let name = |e: &std::fs::DirEntry| e.file_name().to_string_lossy().into_owned();
        entries.map(|e| name(&e)).filter(|name| name.starts_with("many-") && !name.ends_with("-delete")).count()
    };
    eventually("all replicas are gone", PATIENCE, || (0..3).all(|id| left(id) == 0).then_some(()));
    // Its name is free.
    cluster.create_topic("many", 1, 3);
    assert_eq!(cluster.produce("many", 0, "new"), 0);
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Of a topic, or of all brokers (`BROKER` and no name).
fn set_unclean(cluster: &Cluster, kind: i8, name: &str, allowed: bool) {
    let setting = AlterableConfig::default()
        .with_name(text("unclean.leader.election.enable"))
        .with_value(Some(text(if allowed { "true" } else { "false" })));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(vec![setting]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    assert_eq!(cluster.any().call(1, &request).responses[0].error_code, NO_ERROR);
}

/// Only `last` is in sync and holds a record more, and both replicas are down but the other.
fn only_the_stale_one_is_left(cluster: &mut Cluster, topic: &str) -> (usize, usize) {
    cluster.await_isr(topic, 0, 2);
    cluster.produce(topic, 0, "both have it");
    let replicas = cluster.replicas(topic, 0);
    let last = cluster.leader(topic, 0);
    let stale = replicas.into_iter().find(|id| *id != last).unwrap();
    cluster.kill(stale);
    cluster.await_isr(topic, 0, 1);
    cluster.produce(topic, 0, "only one has it");
    cluster.kill(last);
    cluster.launch(stale);
    (last, stale)
}

fn leaderless(cluster: &Cluster, topic: &str) -> bool {
    let seen = cluster.partition_seen_by(cluster.running()[0], topic, 0);
    seen.is_some_and(|seen| seen.leader_id.0 < 0)
}

#[test]
fn unclean_leaders_come_when_a_topic_allows_them_and_not_before() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.expect_log("Failed to elect leader"); // As long as none is allowed.
    for topic in ["by-config", "by-tool", "by-default"] {
        cluster.create_topic(topic, 1, 2);
    }
    let (last, stale) = only_the_stale_one_is_left(&mut cluster, "by-config");
    eventually("the partition has no leader", PATIENCE, || leaderless(&cluster, "by-config").then_some(()));
    set_unclean(&cluster, TOPIC, "by-config", false);
    let (bootstrap, class) = (cluster.any_bootstrap(), ELECT);
    let elect = |kind: &str, topic: &str| {
        let of = ["--bootstrap-server", &bootstrap, "--election-type", kind, "--topic", topic, "--partition", "0"];
        Tool::Ours.run(class, &of)
    };
    let refused = elect("preferred", "by-config");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(leaderless(&cluster, "by-config"), "nobody allowed it");
    set_unclean(&cluster, TOPIC, "by-config", true);
    assert_eq!(cluster.leader("by-config", 0), stale, "the topic allows it, and no broker was started for it");
    assert_eq!(cluster.values("by-config", 0), ["both have it"]);
    cluster.launch(last);
    cluster.await_isr("by-config", 0, 2);
    assert_eq!(cluster.values("by-config", 0), ["both have it"]);
    cluster.assert_replicas_equal("by-config", 0);

    let (last, stale) = only_the_stale_one_is_left(&mut cluster, "by-tool");
    eventually("the partition has no leader", PATIENCE, || leaderless(&cluster, "by-tool").then_some(()));
    let (bootstrap, class) = (cluster.any_bootstrap(), ELECT);
    let of = ["--bootstrap-server", &bootstrap, "--election-type", "unclean", "--topic", "by-tool", "--partition", "0"];
    let done = Tool::Ours.run(class, &of);
    assert_eq!(done.stdout, "Successfully completed leader election (UNCLEAN) for partitions by-tool-0\n", "{done:?}");
    assert_eq!(cluster.leader("by-tool", 0), stale);
    assert_eq!(cluster.values("by-tool", 0), ["both have it"]);
    cluster.launch(last);

    let (_, stale) = only_the_stale_one_is_left(&mut cluster, "by-default");
    eventually("the partition has no leader", PATIENCE, || leaderless(&cluster, "by-default").then_some(()));
    set_unclean(&cluster, BROKER, "", true);
    assert_eq!(cluster.leader("by-default", 0), stale);
}
