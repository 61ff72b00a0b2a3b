//! Replays recorded command lines of Kafka 3.7.2's tools (`tests/golden/cli/TOOL/NNN-name.txt`) through our scripts and
//! compares stdout, stderr and exit code.
//!
//! Not compared, because it cannot be the same: the text of option tables (our own words; that a table is printed is
//! compared), Java stack frames, times, and the folder of the scripts. The cases here need no broker; `cli_cluster` and
//! `tool_records` replay the others.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/recorded.rs"]
mod recorded;

use recorded::{cases, essence, load, run};

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
