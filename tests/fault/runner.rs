//! Runs schedules: one in this process, or many in processes of their own.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::cluster::FaultCluster;
use super::common::checker;
use super::common::workload::{Shape, Witness, Workload};
use super::schedule::{LENGTH_MS, Schedule};

const TOPIC: &str = "load";
const PARTITIONS: i32 = 6;
/// From the end of the last fault until all is well: what is promised.
const PROMISE: Duration = Duration::from_secs(30);
/// Beyond the promise it goes on waiting, to tell late from never.
const UTMOST: Duration = Duration::from_secs(120);
const SUPERVISION: Duration = Duration::from_millis(50);
/// A schedule that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(600);
const MARK: &str = "outcome: ";
/// Printed once everything runs.
const READY: &str = "ready";
/// A machine that is busy with other schedules may not start everything in time.
const ATTEMPTS: usize = 3;

#[derive(Default)]
pub struct Outcome {
    pub seed: u64,
    pub findings: Vec<String>,
    /// By their names: records, faults of each kind...
    pub counts: BTreeMap<String, u64>,
    pub healed_ms: u64,
    pub errors: BTreeMap<String, u64>,
}

impl Outcome {
    fn failed(seed: u64, finding: String) -> Outcome {
        Outcome { seed, findings: vec![finding], ..Outcome::default() }
    }

    pub fn encode(&self) -> String {
        let Outcome { seed, findings, counts, healed_ms, errors } = self;
        let all = json!({"seed": seed, "findings": findings, "counts": counts, "healed": healed_ms, "errors": errors});
        format!("{MARK}{all}")
    }

    fn decode(line: &str) -> Option<Outcome> {
        let all: Value = serde_json::from_str(line.split_once(MARK)?.1).ok()?;
        let numbers = |name: &str| -> Option<BTreeMap<String, u64>> {
            Some(all[name].as_object()?.iter().filter_map(|(k, v)| Some((k.clone(), v.as_u64()?))).collect())
        };
        Some(Outcome {
            seed: all["seed"].as_u64()?,
            findings: all["findings"].as_array()?.iter().filter_map(|f| f.as_str().map(str::to_owned)).collect(),
            counts: numbers("counts")?,
            healed_ms: all["healed"].as_u64()?,
            errors: numbers("errors")?,
        })
    }

    /// All together; of the times until all was well, the longest.
    pub fn total(outcomes: &[Outcome]) -> Outcome {
        let mut total = Outcome::default();
        for outcome in outcomes {
            outcome.counts.iter().for_each(|(name, n)| *total.counts.entry(name.clone()).or_insert(0) += n);
            outcome.errors.iter().for_each(|(name, n)| *total.errors.entry(name.clone()).or_insert(0) += n);
            total.healed_ms = total.healed_ms.max(outcome.healed_ms);
        }
        total
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts.iter().try_for_each(|(name, n)| write!(f, "{name} {n}, "))?;
        write!(f, "all well {:.1} s after the last fault at the latest", self.healed_ms as f64 / 1e3)?;
        self.errors.iter().try_for_each(|(words, n)| write!(f, "\n  {n} times: {words}"))
    }
}

/// Runs the schedules of these seeds, so many at a time.
pub fn run_all(seeds: Vec<u64>, parallel: usize) -> Vec<Outcome> {
    let waiting = Mutex::new(VecDeque::from(seeds));
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                while let Some(seed) = { waiting.lock().unwrap().pop_front() } {
                    let outcome = run_apart(seed);
                    let word = if outcome.findings.is_empty() { "ok" } else { "FAILED" };
                    println!("seed {seed} {word}: {outcome}");
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

/// In a process and a network namespace of its own.
fn run_apart(seed: u64) -> Outcome {
    for attempt in 1.. {
        let (ready, outcome) = attempt_apart(seed);
        if ready || attempt == ATTEMPTS {
            return outcome;
        }
        println!("seed {seed} is tried again: {}", outcome.findings.join("\n"));
    }
    unreachable!("there is a last attempt");
}

/// Whether everything could be started, and what came of it.
fn attempt_apart(seed: u64) -> (bool, Outcome) {
    let mut command = Command::new("unshare");
    command.arg("--net").arg(std::env::current_exe().expect("this program's path"));
    command.args(["--exact", "one_schedule", "--ignored", "--nocapture"]);
    command.env("OTTLA_FAULT_SEED", seed.to_string()).process_group(0);
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return (false, Outcome::failed(seed, format!("unshare: {error}"))),
    };
    let group = Pid::from_raw(child.id().cast_signed());
    let drain = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipe.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let out = drain(Box::new(child.stdout.take().expect("a pipe")));
    let err = drain(Box::new(child.stderr.take().expect("a pipe")));
    let start = Instant::now();
    while start.elapsed() < LIMIT && child.try_wait().expect("the state of our own child").is_none() {
        std::thread::sleep(Duration::from_millis(50));
    }
    // Also what it may have left behind.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    let said = out.lines().find_map(Outcome::decode);
    let ready = out.lines().any(|line| line.ends_with(READY));
    (ready, said.unwrap_or_else(|| Outcome::failed(seed, format!("it said nothing in the end:\n{out}\n{err}"))))
}

/// In this process, which is in a network namespace of its own.
pub fn run(seed: u64, traces: &Path) -> Outcome {
    let schedule = Schedule::of(seed);
    let mut cluster = match FaultCluster::start(&schedule) {
        Ok(cluster) => cluster,
        Err(error) => return Outcome::failed(seed, format!("no network for the test: {error}")),
    };
    println!("{READY}");
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| run_on(&schedule, &mut cluster)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Outcome::failed(seed, format!("the test gave up: {}", text.unwrap_or("?")))
    });
    if !outcome.findings.is_empty() || std::env::var_os("OTTLA_FAULT_KEEP").is_some() {
        let story = format!("{schedule}\n{outcome}\n{}", outcome.findings.join("\n"));
        cluster.leave_traces(traces, &story).expect("traces");
    }
    outcome
}

fn run_on(schedule: &Schedule, cluster: &mut FaultCluster) -> Outcome {
    cluster.cluster.create_topic(TOPIC, PARTITIONS, 3);
    let shape = Shape { topic: TOPIC.to_owned(), partitions: PARTITIONS, producers: 3, consumers: 2, rate: 200 };
    let workload = Workload::start(&cluster.cluster.bootstrap(), shape);
    workload.await_progress(200);
    inflict(cluster, schedule);
    let (healed, late) = await_health(cluster);
    let mut findings: Vec<String> = late.into_iter().collect();
    workload.await_progress(200);
    let witness = workload.finish();
    let logs = cluster.cluster.logs(TOPIC, PARTITIONS);
    findings.append(&mut cluster.complaints);
    findings.extend(checker::findings(&witness, &logs));
    findings.extend(cluster.divergences(TOPIC, PARTITIONS));
    findings.extend(cluster.divergences("__consumer_offsets", 5));
    Outcome {
        seed: schedule.seed,
        findings,
        counts: counts(schedule, cluster, &witness),
        healed_ms: u64::try_from(healed.as_millis()).unwrap_or(u64::MAX),
        errors: cluster.errors().into_iter().map(|(words, n)| (words, n as u64)).collect(),
    }
}

/// One minute.
fn inflict(cluster: &mut FaultCluster, schedule: &Schedule) {
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (index, timed) in schedule.faults.iter().enumerate() {
        moments.push((timed.from, true, index));
        moments.push((timed.until, false, index));
    }
    moments.sort_unstable();
    let start = cluster.begin();
    for (when, begins, index) in moments {
        wait(cluster, start + Duration::from_millis(when));
        let fault = schedule.faults[index].fault;
        if begins { cluster.inflict(fault) } else { cluster.heal(fault) }
    }
    let end = schedule.faults.iter().map(|timed| timed.until).max().unwrap_or(LENGTH_MS);
    wait(cluster, start + Duration::from_millis(end));
}

fn wait(cluster: &mut FaultCluster, until: Instant) {
    loop {
        cluster.supervise();
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(SUPERVISION));
    }
}

/// How long it took, and a finding if that was too long.
fn await_health(cluster: &mut FaultCluster) -> (Duration, Option<String>) {
    // ZooKeeper's own start is not ours to hasten.
    cluster.await_zookeeper();
    cluster.note("ZooKeeper serves");
    let start = Instant::now();
    let mut last = String::new();
    let mut in_time = String::new();
    loop {
        wait(cluster, Instant::now() + Duration::from_millis(100));
        let Some(unwell) = cluster.unwell(&[TOPIC, "__consumer_offsets"]) else { break };
        if unwell != last {
            cluster.note(&unwell);
            last.clone_from(&unwell);
        }
        if start.elapsed() < PROMISE {
            in_time = unwell;
        }
        if start.elapsed() > UTMOST {
            return (start.elapsed(), Some(format!("never well again: {last}")));
        }
    }
    let took = start.elapsed();
    cluster.note("all is well");
    let late = (took > PROMISE).then(|| format!("all well only after {took:?}; shortly before the 30 s: {in_time}"));
    (took, late)
}

fn counts(schedule: &Schedule, cluster: &FaultCluster, witness: &Witness) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<String, u64> =
        schedule.kinds().into_iter().map(|(kind, n)| (kind.to_owned(), n as u64)).collect();
    counts.insert("records sent".to_owned(), witness.sent.iter().sum());
    counts.insert("records read".to_owned(), witness.seen.len() as u64);
    counts.insert("commits".to_owned(), witness.commits as u64);
    counts.insert("rebalances".to_owned(), witness.rebalances as u64);
    counts.insert("left too slowly".to_owned(), cluster.stubborn as u64);
    counts
}
