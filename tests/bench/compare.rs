//! Measures the broker against a real Kafka 3.7.2: `cargo bench --bench broker [-- OPTIONS] [PHASE...]`.
//!
//! Starts Apache ZooKeeper, our broker and Kafka, each on the same server.properties, and drives both with the same
//! native load of requests encoded beforehand, one after the other: repetition by repetition where there are many. What
//! counts is the broker's processor time as the kernel accounts it (utime and stime of /proc/PID/stat, all threads),
//! which other work on the machine disturbs least. Every measured part is preceded by as much load unmeasured, which a
//! Java virtual machine needs to compile.
//!
//! Phases: `start`, `produce`, `fetch`, `small`, `latency`, `memory`; none named means all.
//! Options: `--only ottla|kafka`, `--repeat N`, `--megabytes N` (per repetition), `--requests N` (small ones, per
//! repetition), `--gigabytes N` (through the broker before its memory is looked at), `--dir DIR`.
//! Environment: `OTTLA_TEST_KAFKA_LIBS`, a folder with Kafka's jars (default: where `tests/run.sh` puts them; without
//! any only our side is measured); `OTTLA_BENCH_BINARY`, another binary of ours.
//! Exits with 1 when a target is missed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
mod broker;
#[path = "../common/deadline.rs"]
mod deadline;
#[allow(dead_code)]
mod encode;
mod load;
#[allow(dead_code)]
mod options;
#[path = "../common/place.rs"]
mod place;
#[path = "../common/ports.rs"]
mod ports;
mod report;
mod turns;
#[path = "../common/wire.rs"]
#[allow(dead_code)]
mod wire;
#[path = "../common/zookeeper.rs"]
mod zookeeper;

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use broker::{Broker, Kind};
use encode::{Batch, Codec};
use load::{Fetch, Produce};
use options::Options;
use report::{Figures, Target};
use turns::Turns;

const GB: f64 = 1e9;
/// Targets of issue 3.
const PRODUCE: Target = Target::Ratio(0.5);
const FETCH: Target = Target::Ratio(1.0);
const SMALL: Target = Target::Ratio(0.35);
/// Fetches per repetition.
const FETCHES: usize = 4;

fn main() {
    let options = Options::parse(Options::default());
    let zookeeper = zookeeper::ZooKeeperServer::start();
    let measure = |kind: Kind, turns: &Turns| {
        let dir = match &options.dir {
            Some(dir) => tempfile::tempdir_in(dir),
            None => tempfile::tempdir(),
        };
        let dir = dir.expect("a temporary directory");
        let mut figures = Figures::new(kind);
        if options.runs("start") {
            turns.take(kind, || first_starts(kind, dir.path(), &zookeeper.connect(), &mut figures));
        }
        let connect = format!("{}/{kind:?}", zookeeper.connect());
        let broker = Broker::new(kind, dir.path(), &connect, ports::free_port());
        Bench { broker, turns, topics: 0, figures }.run(&options)
    };
    report::judge(&options, measure);
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Starts of brokers that find nothing: an empty directory, a chroot that is not there.
fn first_starts(kind: Kind, dir: &Path, zookeeper: &str, figures: &mut Figures) {
    let times = if kind == Kind::Kafka { 1 } else { 7 };
    let starts = (0..times).map(|n| {
        let connect = format!("{zookeeper}/{kind:?}-{n}");
        let mut broker = Broker::new(kind, &dir.join(format!("first-{n}")), &connect, ports::free_port());
        let start = broker.start();
        broker.stop();
        ms(start.serving)
    });
    figures.add("first start ever: exec to serving", "ms", Target::Most(100.0), starts.collect());
}

struct Bench<'a> {
    broker: Broker,
    turns: &'a Turns,
    topics: usize,
    figures: Figures,
}

impl Bench<'_> {
    fn run(mut self, options: &Options) -> Figures {
        let (turns, kind) = (self.turns, self.broker.kind);
        turns.take(kind, || {
            self.broker.start();
            if options.runs("start") {
                self.start();
            }
        });
        if options.runs("produce") {
            self.produce(options);
        }
        if options.runs("fetch") {
            self.fetch(options);
        }
        if options.runs("small") {
            self.small(options);
        }
        turns.take(kind, || {
            if options.runs("latency") {
                self.latency();
            }
            if options.runs("memory") {
                self.memory(options);
            }
            self.broker.stop();
        });
        self.figures
    }

    fn topic(&mut self, partitions: i32, configs: &[(&str, &str)]) -> String {
        self.topics += 1;
        let name = format!("bench-{}-", self.topics);
        self.broker.create_topic(&name, partitions, configs);
        name
    }

    /// Start-up, memory at rest, and a tool.
    fn start(&mut self) {
        sleep(Duration::from_secs(3));
        let (rss, anonymous) = self.broker.memory();
        self.figures.add("memory at rest (RSS)", "MiB", Target::Most(20.0), vec![rss]);
        self.figures.add("memory at rest, not of files", "MiB", Target::None, vec![anonymous]);
        let times = if self.broker.kind == Kind::Kafka { 2 } else { 11 };
        let starts: Vec<_> = (0..times)
            .map(|_| {
                self.broker.stop();
                self.broker.start()
            })
            .collect();
        let serving = starts.iter().map(|s| ms(s.serving)).collect();
        let logged = starts.iter().map(|s| ms(s.logged)).collect();
        self.figures.add("start: exec to serving", "ms", Target::Most(100.0), serving);
        self.figures.add("start: exec to the line 'started'", "ms", Target::None, logged);
        self.topic(1, &[]);
        let listed = (0..times).map(|_| ms(self.broker.list_topics())).collect();
        self.figures.add("kafka-topics.sh --list", "ms", Target::Most(50.0), listed);
    }

    /// The same as often for nothing as it is then measured.
    fn warm_and_measure<T>(&mut self, times: usize, mut once: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let turns = self.turns;
        let mut runs: Vec<T> = (0..2 * times).map(|_| turns.take(self.broker.kind, || once(self))).collect();
        runs.split_off(times)
    }

    /// One repetition in a topic of its own, which is deleted afterwards. CPU and wall seconds.
    fn produce_once(&mut self, load: &Produce, batch: &Arc<Batch>) -> (broker::Cpu, f64) {
        let topic = self.topic(load.connections as i32, &[]);
        let before = self.broker.cpu();
        let seconds = load::produce(self.broker.port, &Produce { topic: topic.clone(), ..load.clone() }, batch);
        let used = self.broker.cpu().since(before);
        self.broker.delete_topic(&topic);
        (used, seconds)
    }

    /// Batches of 1 MiB.
    fn produce(&mut self, options: &Options) {
        for codec in [Codec::None, Codec::Lz4] {
            let batch = Arc::new(Batch::large(codec));
            let requests = (options.megabytes * 1_000_000 / batch.bytes.len()).next_multiple_of(2);
            let gigabytes = (requests * batch.bytes.len()) as f64 / GB;
            for acks in [1, -1] {
                let load = Produce { topic: String::new(), acks, connections: 2, window: 4, requests };
                let runs = self.warm_and_measure(options.repeat, |bench| bench.produce_once(&load, &batch));
                let label = format!("produce 1 MiB {codec:?} acks={acks}");
                let cpu = |part: fn(broker::Cpu) -> f64| runs.iter().map(|(c, _)| part(*c) / gigabytes).collect();
                self.figures.add(format!("{label}: CPU"), "s/GB", PRODUCE, cpu(broker::Cpu::total));
                self.figures.add(format!("{label}: CPU in user mode"), "s/GB", Target::None, cpu(|c| c.user));
                let speed = runs.iter().map(|(_, s)| gigabytes * 1e3 / s).collect();
                self.figures.add(format!("{label}: throughput"), "MB/s", Target::None, speed);
            }
        }
    }

    /// Large fetches out of the page cache.
    fn fetch(&mut self, options: &Options) {
        let batch = Arc::new(Batch::large(Codec::None));
        let requests = (options.megabytes * 1_000_000 / batch.bytes.len()).next_multiple_of(2);
        let topic = self.topic(2, &[]);
        let fill = Produce { topic: topic.clone(), acks: 1, connections: 2, window: 4, requests };
        self.turns.take(self.broker.kind, || load::produce(self.broker.port, &fill, &batch));
        for (label, partition_max_bytes) in [("1 MiB", 1 << 20), ("16 MiB", 16 << 20)] {
            let load = Fetch {
                topic: topic.clone(),
                connections: 2,
                partition_max_bytes,
                batch_records: batch.records,
                batch_bytes: batch.bytes.len(),
                batches: requests / 2,
                rounds: 3,
            };
            // Each takes half a second only, and where the scheduler puts the threads makes a difference.
            let runs = self.warm_and_measure(FETCHES * options.repeat, |bench| {
                let before = bench.broker.cpu();
                let (seconds, bytes) = load::fetch(bench.broker.port, &load);
                (bench.broker.cpu().since(before), seconds, bytes as f64 / GB)
            });
            let cpu = runs.iter().map(|(c, _, gb)| c.total() / gb).collect();
            self.figures.add(format!("fetch {label}: CPU"), "s/GB", FETCH, cpu);
            let speed = runs.iter().map(|(_, s, gb)| gb * 1e3 / s).collect();
            self.figures.add(format!("fetch {label}: throughput"), "MB/s", Target::None, speed);
        }
        self.broker.delete_topic(&topic);
    }

    /// Requests of 1 KiB with one small batch each.
    fn small(&mut self, options: &Options) {
        let batch = Arc::new(Batch::small());
        for (window, target) in [(32, SMALL), (5, SMALL), (1, Target::None)] {
            for acks in [1, -1] {
                let requests = if window == 1 { options.requests / 4 } else { options.requests };
                let load = Produce { topic: String::new(), acks, connections: 4, window, requests };
                let runs = self.warm_and_measure(options.repeat, |bench| bench.produce_once(&load, &batch));
                let label = format!("1 KiB, {window} in flight, acks={acks}");
                let cpu = runs.iter().map(|(c, _)| c.total() * 1e6 / requests as f64).collect();
                self.figures.add(format!("{label}: CPU"), "us/request", target, cpu);
                let speed = runs.iter().map(|(_, s)| requests as f64 / s).collect();
                self.figures.add(format!("{label}: throughput"), "requests/s", Target::None, speed);
            }
        }
    }

    /// Time to the answer at 2000 requests of 1 KiB a second on one connection.
    fn latency(&mut self) {
        const RATE: u32 = 2000;
        const SECONDS: u32 = 10;
        let batch = Batch::small();
        for acks in [1, -1] {
            let topic = self.topic(1, &[]);
            load::latency(self.broker.port, &topic, acks, RATE, SECONDS, &batch);
            let found = load::latency(self.broker.port, &topic, acks, RATE, SECONDS, &batch);
            for quantile in [0.5, 0.99, 0.999] {
                let value = found.value_at_quantile(quantile) as f64 / 1e3;
                self.figures.add(
                    format!("1 KiB at {RATE}/s, acks={acks}: p{}", quantile * 100.0),
                    "ms",
                    Target::None,
                    vec![value],
                );
            }
            self.broker.delete_topic(&topic);
        }
    }

    /// Memory after much has gone through, half of it lz4, and been read again.
    fn memory(&mut self, options: &Options) {
        let configs = [("segment.bytes", "134217728"), ("retention.bytes", "268435456")];
        let mut peak: f64 = 0.0;
        for codec in [Codec::None, Codec::Lz4] {
            let batch = Arc::new(Batch::large(codec));
            let topic = self.topic(4, &configs);
            let share = options.gigabytes * GB / 2.0 / batch.bytes.len() as f64;
            // In pieces, so that retention keeps up.
            let pieces = (options.gigabytes.ceil() as usize).max(1);
            let requests = (share as usize / pieces).next_multiple_of(4);
            let load = Produce { topic: topic.clone(), acks: -1, connections: 4, window: 5, requests };
            for _ in 0..pieces {
                load::produce(self.broker.port, &load, &batch);
                peak = peak.max(self.broker.memory().0);
            }
            self.broker.delete_topic(&topic);
        }
        let name = format!("memory after {} GB", options.gigabytes);
        self.figures.add(format!("{name}, at once (RSS)"), "MiB", Target::Most(80.0), vec![self.broker.memory().0]);
        self.figures.add(format!("{name}, the most seen"), "MiB", Target::None, vec![peak]);
        sleep(Duration::from_secs(15));
        self.figures.add(format!("{name}, 15 s later"), "MiB", Target::None, vec![self.broker.memory().0]);
    }
}
