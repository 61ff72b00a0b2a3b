//! Recorded command lines of Kafka 3.7.2's tools (`tests/golden/cli/TOOL/NNN-name.txt`): reading them, running ours as
//! they were run, and what is compared.
#![allow(dead_code)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;

#[derive(Debug, Default)]
pub struct Case {
    pub command: String,
    pub stdin: Vec<u8>,
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn load(path: &Path) -> Case {
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

/// The files that the recorded command lines name.
const FILES: &[(&str, &str)] = &[
    ("tm.json", r#"{"topics":[{"topic":"re1"}],"version":1}"#),
    ("tmbad.json", r#"{"topics":[{"topic":"nosuch"}],"version":1}"#),
    ("tmdup.json", r#"{"topics":[{"topic":"re1"},{"topic":"re1"}],"version":1}"#),
    (
        "re.json",
        r#"{"version":1,"partitions":[{"topic":"re1","partition":0,"replicas":[2,1]},
            {"topic":"re1","partition":1,"replicas":[2,0]}]}"#,
    ),
    ("re2.json", r#"{"version":1,"partitions":[{"topic":"re2","partition":0,"replicas":[0],"log_dirs":["/nosuch"]}]}"#),
    ("re3.json", r#"{"version":1,"partitions":[{"topic":"nosuch","partition":0,"replicas":[0]}]}"#),
    ("re4.json", r#"{"version":1,"partitions":[{"topic":"re2","partition":0,"replicas":[9]}]}"#),
    ("re5.json", r#"{"version":1,"partitions":[{"topic":"re2","partition":0,"replicas":[1,1]}]}"#),
    ("re6.json", r#"{"version":1,"partitions":[]}"#),
    ("re7.json", "not json"),
    (
        "re8.json",
        r#"{"version":1,"partitions":[{"topic":"re2","partition":0,"replicas":[1]},
            {"topic":"re2","partition":0,"replicas":[2]}]}"#,
    ),
    ("re9.json", r#"{"version":1,"partitions":[{"topic":"re2","partition":0,"replicas":[1,2],"log_dirs":["any"]}]}"#),
    ("re10.json", r#"{"version":2,"partitions":[]}"#),
    ("le.json", r#"{"partitions":[{"topic":"le1","partition":0},{"topic":"le3","partition":0}]}"#),
    ("lebad.json", r#"{"partitions":[{"topic":"le1"}]}"#),
    ("lebad2.json", r#"{"topics":[]}"#),
    ("ledup.json", r#"{"partitions":[{"topic":"le1","partition":0},{"topic":"le1","partition":0}]}"#),
];

/// The folder of the scripts: ours, or (to see whether a test is honest) `OTTLA_TEST_SCRIPTS`, such as Kafka's.
fn scripts() -> PathBuf {
    std::env::var_os("OTTLA_TEST_SCRIPTS").map_or_else(|| root().join("bin"), PathBuf::from)
}

/// Runs a command line the way it was recorded: by the script's name, found on the path.
pub fn run(command: &str, stdin: &[u8]) -> (String, String, i32) {
    let bin = scripts();
    let work = tempfile::tempdir().unwrap();
    let short = "default.api.timeout.ms=3000\nrequest.timeout.ms=2000\n";
    for (name, text) in [
        ("short.properties", short),
        ("producer.properties", "compression.type=none\n"),
        ("consumer.properties", "group.id=g3\nauto.offset.reset=earliest\n"),
        ("reader.properties", "parse.key=true\nkey.separator=:\n"),
    ]
    .iter()
    .chain(FILES)
    {
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
pub fn essence(text: &str) -> String {
    let bin = format!("{}/", scripts().display());
    let text = text.replace(&bin, "BIN/").replace("/srv/kafk/kafka/bin/", "BIN/");
    let frames = Regex::new(r"(?m)^\t+(\[\d+ stack frames.*|at .*|\.\.\. \d+ more)\n").unwrap();
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

pub fn cases(tool: &str, numbers: &str) -> Vec<PathBuf> {
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
