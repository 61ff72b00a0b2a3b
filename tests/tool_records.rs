//! Replays what Kafka 3.7.2's cluster tools were recorded to print, on three of our brokers in the state that the recorded
//! ones were in: reassignments, elections, and topics described while a broker is down.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/recorded.rs"]
mod recorded;

use std::time::Duration;

use common::admin::{NO_ERROR, batch, now_ms, text, topic_name};
use common::{Cluster, PATIENCE, eventually};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest};
use ottla::record::Codec;
use recorded::{Case, cases, essence, load, run};
use regex::Regex;

/// How long a broker may take to hear of what another has done already.
const HEARSAY: Duration = Duration::from_secs(20);

struct Stage {
    cluster: Cluster,
    /// Lines about other topics are left out: there were more when it was recorded.
    topics: Vec<&'static str>,
}

impl Stage {
    fn new() -> Stage {
        let mut cluster = Cluster::start(3, &[("auto.leader.rebalance.enable", "false")]);
        // A partition whose only replica is down.
        cluster.expect_log("Failed to elect leader");
        Stage { cluster, topics: Vec::new() }
    }

    fn create(&mut self, name: &'static str, replicas: &[&[i32]], configs: &[(&str, &str)]) {
        let assignment = |(index, ids): (i32, &&[i32])| {
            let ids = ids.iter().map(|id| BrokerId(*id)).collect();
            CreatableReplicaAssignment::default().with_partition_index(index).with_broker_ids(ids)
        };
        let config =
            |(k, v): &(&str, &str)| CreatableTopicConfig::default().with_name(text(k)).with_value(Some(text(v)));
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments((0..).zip(replicas).map(assignment).collect())
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = self.cluster.brokers[self.cluster.controller()].wire().call(5, &request);
        assert_eq!(answer.topics[0].error_code, NO_ERROR, "{answer:?}");
        for (index, ids) in (0..).zip(replicas) {
            self.cluster.await_isr(name, index, ids.len());
        }
        self.topics.push(name);
    }

    /// What is compared of a case's stdout.
    fn stdout(&self, text: &str) -> String {
        let id = Regex::new(r"TopicId: \S+").unwrap();
        let text = essence(&id.replace_all(text, "TopicId: ID"));
        let topic = Regex::new(r"^\t?Topic: (\S+)\t").unwrap();
        let ours = |line: &&str| topic.captures(line).is_none_or(|c| self.topics.contains(&c.get(1).unwrap().as_str()));
        let mut lines: Vec<&str> = text.lines().filter(ours).collect();
        if lines.iter().any(|line| topic.is_match(line)) {
            lines.sort(); // Kafka's come out of a hash map.
        }
        lines.join("\n")
    }

    fn run(&self, case: &Case) -> (String, String, i32) {
        let command = case.command.replace("localhost:19092", &self.cluster.any_bootstrap());
        let (stdout, stderr, code) = run(&command, b"");
        (self.stdout(&stdout), essence(&stderr), code)
    }

    fn expected(&self, case: &Case) -> (String, String, i32) {
        (self.stdout(&case.stdout), essence(&case.stderr), case.code)
    }

    /// Replays cases one after the other.
    fn replay(&self, tool: &str, numbers: &str) {
        for file in cases(tool, numbers) {
            let case = load(&file);
            let expected = self.expected(&case);
            let mut found = self.run(&case);
            // Any broker is asked to describe, and may not have heard of it yet.
            let start = std::time::Instant::now();
            while case.command.contains("--describe") && found != expected && start.elapsed() < HEARSAY {
                std::thread::sleep(Duration::from_millis(50));
                found = self.run(&case);
            }
            assert_eq!(found, expected, "{}: {}", file.display(), case.command);
        }
    }

    fn fill(&self, topic: &str, partition: i32, bytes: usize) {
        let value = "x".repeat(100_000);
        let mut wire = self.cluster.brokers[self.cluster.leader(topic, partition)].wire();
        for _ in 0..bytes / value.len() {
            let answer = wire.produce_batch(topic, partition, batch(&[&value], now_ms(), Codec::None));
            assert_eq!(answer.error_code, NO_ERROR);
        }
    }
}

#[test]
fn reassignments() {
    let mut stage = Stage::new();
    stage.create("re1", &[&[0, 1], &[1, 0]], &[]);
    stage.create("re2", &[&[0]], &[]);
    // More than a fetch brings: a throttle lets the first one through.
    stage.fill("re1", 0, 4_000_000);
    stage.fill("re1", 1, 4_000_000);
    for file in cases("kafka-reassign-partitions", "5-6") {
        let case = load(&file);
        let (found, expected) = (stage.run(&case), stage.expected(&case));
        let current = |text: &str| text.split("\nProposed").next().unwrap().to_owned();
        assert_eq!((current(&found.0), found.1, found.2), (current(&expected.0), expected.1, expected.2));
        // The proposal begins at a random broker.
        let proposed = found.0.lines().last().unwrap().to_owned();
        assert_eq!(proposed.len(), expected.0.lines().last().unwrap().len(), "{proposed}");
        assert!(!case.command.contains("--broker-list 1,2 ") || !proposed.contains("[0"), "{proposed}");
    }
    stage.replay("kafka-reassign-partitions", "7 10 12-22");
    stage.cluster.await_reassigned("re1", 0, &[2, 1]);
    stage.cluster.await_reassigned("re1", 1, &[2, 0]);
    stage.replay("kafka-reassign-partitions", "23-25");
    // Why the directory cannot be had is another matter.
    let case = load(&cases("kafka-reassign-partitions", "26")[0]);
    let until_why = |text: &str| text.split("Caused by").next().unwrap().to_owned();
    let (found, expected) = (stage.run(&case), stage.expected(&case));
    assert_eq!((until_why(&found.0), found.2), (until_why(&expected.0), expected.2), "{}", found.0);
    stage.replay("kafka-reassign-partitions", "27-28 36");
    stage.cluster.assert_replicas_equal("re1", 0);
    stage.cluster.assert_replicas_equal("re1", 1);
}

#[test]
fn elections_and_topics_of_a_cluster_with_a_broker_down() {
    let mut stage = Stage::new();
    stage.create("le1", &[&[2, 0, 1], &[1, 2, 0], &[0, 1, 2]], &[]);
    stage.create("le2", &[&[2, 1]], &[]);
    stage.create("le3", &[&[2, 1], &[1, 2]], &[]);
    stage.create("un1", &[&[2]], &[]);
    stage.create(
        "cap1",
        &[&[2, 1, 0], &[1, 0, 2], &[0, 2, 1]],
        &[("min.insync.replicas", "3"), ("retention.ms", "99999999")],
    );
    stage.create("del1", &[&[2, 0], &[0, 1]], &[]);
    stage.replay("kafka-leader-election", "4");
    stage.cluster.kill(2);
    stage.cluster.await_isr("le1", 2, 2);
    stage.replay("kafka-topics", "300-306 308");
    stage.replay("kafka-leader-election", "5-7");
    stage.cluster.launch(2);
    for (topic, partition, size) in [("le1", 0, 3), ("le1", 1, 3), ("le1", 2, 3), ("le2", 0, 2), ("le3", 0, 2)] {
        stage.cluster.await_isr(topic, partition, size);
    }
    eventually("the deletion is done", PATIENCE, || (!stage.cluster.any().topics().contains_key("del1")).then_some(()));
    let deleted = |id: usize| !stage.cluster.brokers[id].data_dir().join("del1-0").exists();
    eventually("its replicas are gone", PATIENCE, || (deleted(0) && deleted(2)).then_some(()));
    stage.replay("kafka-leader-election", "8-12 14-15");
    // Only broker 2 is in sync, and goes.
    stage.replay("kafka-leader-election", "24");
    stage.cluster.kill(1);
    stage.cluster.await_isr("le2", 0, 1);
    stage.cluster.kill(2);
    stage.cluster.launch(1);
    stage.replay("kafka-leader-election", "25-27");
}

/// The first lines the tool prints, without the times.
fn verify(lines: usize, args: &str) -> Vec<String> {
    let (stdout, stderr, _) = run(&format!("timeout 60 kafka-replica-verification.sh {args} | head -n {lines}"), b"");
    assert_eq!(stderr, "");
    let time = Regex::new(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: ").unwrap();
    stdout.lines().map(|line| time.replace(line, "").into_owned()).collect()
}

#[test]
fn replicas_are_compared() {
    let mut stage = Stage::new();
    stage.create("cp2", &[&[0, 1, 2], &[1, 2, 0], &[2, 0, 1]], &[]);
    for n in 0..7 {
        stage.cluster.produce("cp2", 1, &format!("{n}"));
    }
    for broker in &stage.cluster.brokers {
        let known = || broker.wire().fetch("cp2", 1, 0, 0, 0).high_watermark == 7;
        eventually("followers know what is committed", PATIENCE, || known().then_some(()));
    }
    let bootstrap = stage.cluster.bootstrap();
    stage.replay("kafka-replica-verification", "5");
    let args =
        format!("--broker-list {bootstrap} --topics-include cp2 --time -2 --report-interval-ms 300 --max-wait-ms 200");
    // The recorded lines, of a topic in the same state.
    let recorded = "max lag is 0 for partition cp2-1 at offset 7 among 3 partitions";
    assert_eq!(verify(4, &args), ["verification process is started", recorded, recorded, recorded]);
    let (_, _, code) = run(&format!("timeout --preserve-status 1 kafka-replica-verification.sh {args}"), b"");
    assert_eq!(code, 143, "as recorded for SIGTERM");

    // A follower whose records are others: the checksum of its first batch.
    let follower = (0..3).find(|id| *id != stage.cluster.leader("cp2", 1)).unwrap();
    let segment = stage.cluster.brokers[follower].data_dir().join("cp2-1/00000000000000000000.log");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(segment).unwrap();
    let mut sum = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut sum, 17).unwrap();
    sum[3] ^= 1;
    std::os::unix::fs::FileExt::write_all_at(&file, &sum, 17).unwrap();
    let lines = verify(3, &args);
    let found =
        lines.iter().filter(|line| line.contains("partition cp2-1 has unmatched checksum at offset 0; replica "));
    // Each replica is compared with the first.
    assert!((1..=2).contains(&found.count()), "{lines:?}");
}
