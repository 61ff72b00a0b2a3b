//! Replays recorded command lines of Kafka 3.7.2's everyday tools that ask a cluster: kafka-topics and the console tools.
//! What needs a cluster in a certain state is in `tool_records`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/recorded.rs"]
mod recorded;

use common::{Cluster, PATIENCE, eventually};
use recorded::{cases, essence, load, run};
use regex::{Captures, Regex};

/// Files, or what is in a command line, and why the case is not replayed.
const LEFT_OUT: &[(&str, &str)] = &[
    ("--topic-id", "an id of the recorded cluster"),
    ("localhost:19999", "a server that is not there: in tests/cli.rs"),
    ("039-reader-config.txt", "a file that is not there: in tests/cli.rs"),
    ("043-auto-create-topic.txt", "warns if the new topic has no leader yet: ours mostly has"),
    ("030-print-partition.txt", "records without a key lie where chance put them"),
    ("051-consumer-offsets-formatter.txt", "counts the records of groups, whose number varies"),
];

/// What varies from cluster to cluster: ids, and where replicas were placed.
/// Lines of a description, and settings of a topic, stand in the order of Java's hash map, where those that share a
/// bucket come as the broker sent them.
fn live_essence(text: &str) -> String {
    let id = Regex::new(r"TopicId: \S+").unwrap();
    let text = id.replace_all(text, "TopicId: ID");
    let placed = Regex::new(r"Leader: \d+\tReplicas: \S+\tIsr: \S+").unwrap();
    let text = placed.replace_all(&text, "Leader: L\tReplicas: R\tIsr: I");
    let times = Regex::new(r"(CreateTime:|commitTimestamp=|groupId=console-consumer-)\d+").unwrap();
    let text = times.replace_all(&text, "${1}N");
    let settings = Regex::new(r"Configs: \S+").unwrap();
    let text = settings.replace_all(&text, |found: &Captures<'_>| {
        let mut settings: Vec<&str> = found[0]["Configs: ".len()..].split(',').collect();
        settings.sort_unstable();
        format!("Configs: {}", settings.join(","))
    });
    let mut lines: Vec<String> = essence(&text).lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn topics_and_console_tools() {
    let cluster = Cluster::start(3, &[]);
    let bootstrap = cluster.any_bootstrap();
    let mut failed = Vec::new();
    let mut count = 0;
    let topics = cases("kafka-topics", "10-63 68-89 93");
    let produce = cases("kafka-console-producer", "6-50");
    let consume = cases("kafka-console-consumer", "7-13 18 21-46 48-51");
    for file in topics.iter().chain(&produce).chain(&consume) {
        let case = load(file);
        if file == &produce[0] {
            // They were there when the cases were recorded.
            for (topic, partitions) in [("cp1", 1), ("cp2", 3), ("cp3", 1)] {
                cluster.create_topic(topic, partitions, 1);
                for (id, partition) in (0..3).flat_map(|id| (0..partitions).map(move |p| (id, p))) {
                    eventually("all brokers know the leader", PATIENCE, || {
                        let seen = cluster.partition_seen_by(id, topic, partition);
                        seen.is_some_and(|seen| seen.leader_id.0 >= 0).then_some(())
                    });
                }
            }
        }
        if LEFT_OUT.iter().any(|(text, _)| case.command.contains(text) || file.to_string_lossy().ends_with(text)) {
            continue;
        }
        let command = case.command.replace("localhost:19092", &bootstrap);
        let (stdout, stderr, code) = run(&command, &case.stdin);
        let expected = (live_essence(&case.stdout), live_essence(&case.stderr), case.code);
        let found = (live_essence(&stdout), live_essence(&stderr), code);
        count += 1;
        if expected != found {
            failed.push(format!("{}: {}\n  expected {expected:?}\n  found    {found:?}", file.display(), case.command));
        }
    }
    assert!(failed.is_empty(), "{} of {count} differ\n{}", failed.len(), failed.join("\n"));
}
