//! Replays recorded command lines of Kafka 3.7.2's tools (`tests/golden/cli/TOOL/NNN-name.txt`) through our scripts and
//! compares stdout, stderr and exit code.
//!
//! Not compared, because it cannot be the same: the text of option tables (our own words; that a table is printed is
//! compared), Java stack frames, times, and the folder of the scripts. The cases here need no broker; `live` replays
//! the others against the brokers named by OTTLA_GOLDEN_BOOTSTRAP.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/recorded.rs"]
mod recorded;

use recorded::{cases, essence, load, run};
use regex::Regex;

fn replay(tool: &str, numbers: &str) {
    let mut failed = Vec::new();
    let files = cases(tool, numbers);
    for file in &files {
        let case = load(file);
        let (stdout, stderr, code) = run(&case.command, &case.stdin);
        let expected = (essence(&case.stdout), essence(&case.stderr), case.code);
        let found = (essence(&stdout), essence(&stderr), code);
        if expected != found {
            let name = file.file_name().unwrap().to_string_lossy();
            failed.push(format!("{name}: {}\n  expected {expected:?}\n  found    {found:?}", case.command));
        }
    }
    assert!(failed.is_empty(), "{tool}: {} of {} differ\n{}", failed.len(), files.len(), failed.join("\n"));
}

#[test]
fn kafka_topics() {
    replay("kafka-topics", "1-9 12 21-24 28-30 32 37 41-45 65 72-73 78-82 86 88 90-92");
}

#[test]
fn kafka_console_producer() {
    replay("kafka-console-producer", "1-5 14-15 17 23 30 34 39 41 49");
}

#[test]
fn kafka_console_consumer() {
    replay("kafka-console-consumer", "1-6 14-17 19-20 33 43 45 47");
}

#[test]
fn kafka_broker_api_versions() {
    replay("kafka-broker-api-versions", "1-3 5");
}

#[test]
fn kafka_leader_election() {
    replay("kafka-leader-election", "1-3 16-23");
}

#[test]
fn kafka_reassign_partitions() {
    replay("kafka-reassign-partitions", "1-4 8-9 11 29-35 37-39");
}

#[test]
fn kafka_replica_verification() {
    replay("kafka-replica-verification", "1-3");
}

#[test]
fn kafka_run_class() {
    replay("kafka-run-class", "1-2 4-5");
}

#[test]
fn kafka_server_start() {
    replay("kafka-server-start", "1-4");
}

#[test]
fn stopping_what_does_not_run() {
    // Signal 0 only asks; brokers of others on this machine are left alone.
    let (stdout, stderr, code) = run("SIGNAL=0 kafka-server-stop.sh", b"");
    assert!(code == 0 || (stdout.as_str(), code) == ("No kafka server to stop\n", 1), "{stdout}{stderr}");
}

/// What varies from cluster to cluster in the output of kafka-topics: ids, and where replicas were placed. Lines of
/// a description stand in the order of Java's hash map.
fn live_essence(text: &str) -> String {
    let id = Regex::new(r"TopicId: \S+").unwrap();
    let text = id.replace_all(text, "TopicId: ID");
    let placed = Regex::new(r"Leader: \d+\tReplicas: \S+\tIsr: \S+").unwrap();
    let text = placed.replace_all(&text, "Leader: L\tReplicas: R\tIsr: I");
    let times = Regex::new(r"(CreateTime:|commitTimestamp=|groupId=console-consumer-)\d+").unwrap();
    let text = times.replace_all(&text, "${1}N");
    let mut lines: Vec<String> = essence(&text).lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

/// Needs three brokers that nothing was done with yet: `OTTLA_GOLDEN_BOOTSTRAP=host:port cargo test --test cli --
/// --ignored live`.
#[test]
#[ignore = "needs three brokers"]
fn live() {
    let bootstrap = std::env::var("OTTLA_GOLDEN_BOOTSTRAP").expect("OTTLA_GOLDEN_BOOTSTRAP=host:port");
    let mut failed = Vec::new();
    let mut count = 0;
    let topics = cases("kafka-topics", "10-63 68-89 93");
    let produce = cases("kafka-console-producer", "6-50");
    let consume = cases("kafka-console-consumer", "7-13 18 21-46 48-51");
    for file in topics.iter().chain(&produce).chain(&consume) {
        let case = load(file);
        if file == &produce[0] {
            // They were there when the cases were recorded.
            for topic in ["cp2 --partitions 3", "cp3"] {
                run(&format!("kafka-topics.sh --bootstrap-server {bootstrap} --create --topic {topic}"), b"");
            }
        }
        // The ids of the recorded cluster; a file that was missing, and servers that were; records without a key, which
        // lie where chance put them.
        if ["--topic-id", "localhost:19999"].iter().any(|text| case.command.contains(text))
            || file.ends_with("039-reader-config.txt")
            || file.ends_with("030-print-partition.txt")
        {
            continue;
        }
        let command = case.command.replace("localhost:19092", &bootstrap).replace("/srv/kafka/d0/work/", "");
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
