//! Replays recorded command lines of Kafka 3.7.2's tools (`tests/golden/cli/TOOL/NNN-name.txt`) through our scripts and
//! compares stdout, stderr and exit code.
//!
//! Not compared, because it cannot be the same: the text of option tables (our own words; that a table is printed is
//! compared), Java stack frames, times, and the folder of the scripts. The cases here need no broker; `live` replays
//! the others against the brokers named by OTTLA_GOLDEN_BOOTSTRAP.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;

#[derive(Debug, Default)]
struct Case {
    command: String,
    stdin: Vec<u8>,
    stdout: String,
    stderr: String,
    code: i32,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn load(path: &Path) -> Case {
    let text = std::fs::read_to_string(path).unwrap();
    let mut case = Case::default();
    let (command, rest) = text.split_once('\n').unwrap();
    case.command = command.strip_prefix("$ ").unwrap().to_owned();
    let mut section = "";
    let mut bodies: std::collections::HashMap<&str, Vec<&str>> = Default::default();
    for line in rest.lines() {
        match line.strip_prefix("--- ").filter(|name| ["note", "stdin", "stdout", "stderr", "exit code"].contains(name))
        {
            Some(name) => section = name,
            None => bodies.entry(section).or_default().push(line),
        }
    }
    let body = |name: &str| {
        let mut lines = bodies.get(name).cloned().unwrap_or_default();
        let unended = lines.last() == Some(&"[no newline at end]");
        if unended {
            lines.pop();
        }
        let joined = lines.join("\n");
        if lines.is_empty() || unended { joined } else { joined + "\n" }
    };
    case.stdin = python_literal(body("stdin").trim());
    (case.stdout, case.stderr) = (body("stdout"), body("stderr"));
    case.code = body("exit code").split_whitespace().next().unwrap().parse().unwrap();
    case
}

/// The bytes of `'...'` or `b'...'`.
fn python_literal(text: &str) -> Vec<u8> {
    let Some(quoted) = text.strip_prefix('b').unwrap_or(text).strip_prefix('\'').and_then(|t| t.strip_suffix('\''))
    else {
        return Vec::new();
    };
    let mut bytes = Vec::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend(c.to_string().as_bytes());
            continue;
        }
        match chars.next().unwrap() {
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            'r' => bytes.push(b'\r'),
            'x' => {
                let hex: String = chars.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            other => bytes.extend(other.to_string().as_bytes()),
        }
    }
    bytes
}

/// Runs a command line the way it was recorded: by the script's name, found on the path.
fn run(command: &str, stdin: &[u8]) -> (String, String, i32) {
    let bin = root().join("bin");
    let work = tempfile::tempdir().unwrap();
    let short = "default.api.timeout.ms=3000\nrequest.timeout.ms=2000\n";
    for (name, text) in [
        ("short.properties", short),
        ("producer.properties", "compression.type=none\n"),
        ("consumer.properties", "group.id=g3\nauto.offset.reset=earliest\n"),
        ("reader.properties", "parse.key=true\nkey.separator=:\n"),
    ] {
        std::fs::write(work.path().join(name), text).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut child = Command::new("bash")
        .args(["-c", command])
        .current_dir(work.path())
        .env("PATH", path)
        .env("OTTLA_BINARY", env!("CARGO_BIN_EXE_ottla"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = stdin.to_vec();
    let feeder = std::thread::spawn(move || {
        let _ = input.write_all(&bytes);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code().unwrap_or(-1))
}

/// What is compared of a stream.
fn essence(text: &str) -> String {
    let bin = format!("{}/", root().join("bin").display());
    let text = text.replace(&bin, "BIN/").replace("/srv/kafk/kafka/bin/", "BIN/");
    let frames = Regex::new(r"(?m)^\t(\[\d+ stack frames.*|\.\.\. \d+ more)\n").unwrap();
    let text = frames.replace_all(&text, "");
    let time = Regex::new(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\]").unwrap();
    let text = time.replace_all(&text, "[time]");
    let recorded_table = Regex::new(r"(?m)^\[option table of the tool, .*\]\n").unwrap();
    let text = recorded_table.replace_all(&text, "[option table]\n");
    let table = Regex::new(r"(?ms)^Option( \(\* = required\))? +Description *\n-+ +-+ *\n(-|\* ).*\z").unwrap();
    let text = table.replace_all(&text, "[option table]\n");
    // Nobody listens where the recorded brokers did: that is no part of these cases.
    text.lines().filter(|line| !line.contains("could not be established")).map(|line| format!("{line}\n")).collect()
}

fn cases(tool: &str, numbers: &str) -> Vec<PathBuf> {
    let folder = root().join("tests/golden/cli").join(tool);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let number = |path: &PathBuf| -> u32 { path.file_name().unwrap().to_str().unwrap()[..3].parse().unwrap() };
    let wanted: Vec<(u32, u32)> = numbers
        .split_whitespace()
        .map(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            (from.parse().unwrap(), to.parse().unwrap())
        })
        .collect();
    files.retain(|file| wanted.iter().any(|(from, to)| (*from..=*to).contains(&number(file))));
    assert!(!files.is_empty(), "{tool}: no case {numbers}");
    files
}

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
