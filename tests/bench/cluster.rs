//! Measures three brokers of ours against three real Kafkas 3.7.2: `cargo bench --bench cluster [-- OPTIONS] [PHASE...]`.
//!
//! Starts Apache ZooKeeper and three of our brokers, measures, stops all; then the same with Kafka. What counts is the
//! brokers' processor time as the kernel accounts it, summed over the three; latencies as a client sees them; and the
//! time from the controller's death being visible in ZooKeeper until every live broker names a live leader for every
//! partition.
//!
//! Phases: `idle`, `produce`, `latency`, `failover`; none named means all.
//! Options: `--only ottla|kafka`, `--partitions N,N` (of the failovers), `--idle-partitions N`, `--seconds N` (of being
//! idle, and of latencies), `--repeat N`, `--megabytes N` (per repetition), `--dir DIR`.
//! Environment: as of the benchmark `broker`. Exits with 1 when a target is missed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
mod broker;
#[path = "../common/deadline.rs"]
mod deadline;
#[allow(dead_code)]
mod encode;
mod fleet;
#[allow(dead_code)]
mod load;
#[allow(dead_code)]
mod options;
#[path = "../common/place.rs"]
mod place;
#[path = "../common/ports.rs"]
mod ports;
#[allow(dead_code)]
mod report;
mod turns;
#[path = "../common/wire.rs"]
#[allow(dead_code)]
mod wire;
#[path = "../common/znodes.rs"]
#[allow(dead_code, unused_imports)]
mod znodes;
#[path = "../common/zookeeper.rs"]
mod zookeeper;

use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::Duration;

use broker::{Cpu, Kind};
use encode::{Batch, Codec};
use fleet::Fleet;
use hdrhistogram::Histogram;
use load::Produce;
use options::Options;
use report::{Figures, Target};

const GB: f64 = 1e9;
/// Targets of issue 4.
const FAILOVER: Target = Target::Ratio(0.2);
const PRODUCE: Target = Target::Ratio(0.5);
const LATENCY: Target = Target::Ratio(0.5);
const IDLE: Target = Target::Ratio(0.2);
/// Partitions of each topic where there are many.
const PARTITIONS_OF_A_TOPIC: usize = 100;

fn main() {
    let options = Options::parse(Options { megabytes: 500, ..Options::default() });
    let measure = |kind: Kind| {
        let mut figures = Figures::new(kind);
        if options.runs("produce") || options.runs("latency") {
            let mut fleet = Fleet::start(kind, options.dir.as_deref());
            if options.runs("produce") {
                produce(&mut fleet, &options, &mut figures);
            }
            if options.runs("latency") {
                latency(&mut fleet, &options, &mut figures);
            }
        }
        if options.runs("idle") {
            idle(kind, &options, &mut figures);
        }
        if options.runs("failover") {
            for partitions in &options.partitions {
                failover(kind, *partitions, &options, &mut figures);
            }
        }
        figures
    };
    // One cluster at a time: a figure is a matter of minutes, and of many processes.
    report::judge(&options, |kind, turns| turns.take(kind, || measure(kind)));
}

/// Batches of 1 MiB with acks=all to three leaders; as often for nothing as it is then measured.
fn produce(fleet: &mut Fleet, options: &Options, figures: &mut Figures) {
    for codec in [Codec::None, Codec::Lz4] {
        let batch = Arc::new(Batch::large(codec));
        let requests = (options.megabytes * 1_000_000 / batch.bytes.len()).next_multiple_of(3);
        let gigabytes = (requests * batch.bytes.len()) as f64 / GB;
        let once = |fleet: &mut Fleet| -> (Cpu, f64) {
            let topic = fleet.create(1, 3).remove(0);
            let before = fleet.cpu();
            let load = Produce { topic: topic.clone(), acks: -1, connections: 3, window: 4, requests };
            let seconds = load::produce_to(&fleet.ports(), &load, &batch);
            let used = fleet.cpu().since(before);
            fleet.brokers[0].delete_topic(&topic);
            (used, seconds)
        };
        for _ in 0..options.repeat {
            once(fleet);
        }
        let runs: Vec<_> = (0..options.repeat).map(|_| once(fleet)).collect();
        let label = format!("produce 1 MiB {codec:?} acks=all, factor 3");
        figures.add(
            format!("{label}: CPU"),
            "s/GB",
            PRODUCE,
            runs.iter().map(|(cpu, _)| cpu.total() / gigabytes).collect(),
        );
        figures.add(
            format!("{label}: CPU in user mode"),
            "s/GB",
            Target::None,
            runs.iter().map(|(cpu, _)| cpu.user / gigabytes).collect(),
        );
        let speed = runs.iter().map(|(_, seconds)| gigabytes * 1e3 / seconds).collect();
        figures.add(format!("{label}: throughput"), "MB/s", Target::None, speed);
    }
}

/// Time to the answer at 5,000 records of 1 KiB a second with acks=all: a request for each record, and one for ten, as
/// clients send that wait a few milliseconds for more.
fn latency(fleet: &mut Fleet, options: &Options, figures: &mut Figures) {
    for records in [10, 1] {
        latency_of_requests(fleet, records, options, figures);
    }
}

/// On connections enough that Kafka, which reads nothing from one whose request waits for followers, can keep up.
fn latency_of_requests(fleet: &mut Fleet, records: u32, options: &Options, figures: &mut Figures) {
    const RATE: u32 = 5000;
    const CONNECTIONS: u32 = 48;
    const PARTITIONS: i32 = 6;
    let batch = Arc::new(Batch::of(records as usize));
    let topic = fleet.create(1, PARTITIONS).remove(0);
    let requests = RATE / records;
    let once = |seconds: u32| -> Histogram<u64> {
        let ports = fleet.ports();
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|n| {
                let (topic, batch) = (topic.clone(), batch.clone());
                let partition = n as i32 % PARTITIONS;
                let port = ports[partition as usize % ports.len()];
                let rate = requests / CONNECTIONS + u32::from(n < requests % CONNECTIONS);
                thread::spawn(move || load::latency_of_partition(port, &topic, partition, -1, rate, seconds, &batch))
            })
            .collect();
        let mut all = Histogram::new(3).expect("a histogram");
        for thread in threads {
            all.add(thread.join().expect("a load thread")).expect("histograms of one kind");
        }
        all
    };
    let seconds = options.seconds as u32;
    // Twice for nothing: Java's compilers take their time.
    once(seconds);
    once(seconds);
    let runs: Vec<_> = (0..options.repeat).map(|_| once(seconds)).collect();
    for quantile in [0.5, 0.99, 0.999] {
        let target = if quantile == 0.99 { LATENCY } else { Target::None };
        let values = runs.iter().map(|run| run.value_at_quantile(quantile) as f64 / 1e3).collect();
        let label = format!("{RATE} records/s, {records} a request, acks=all: p{}", quantile * 100.0);
        figures.add(label, "ms", target, values);
    }
    fleet.brokers[0].delete_topic(&topic);
}

/// Processor time of three brokers that have partitions and nothing to do.
fn idle(kind: Kind, options: &Options, figures: &mut Figures) {
    let mut fleet = Fleet::start(kind, options.dir.as_deref());
    fleet.fill(options.idle_partitions, PARTITIONS_OF_A_TOPIC);
    sleep(Duration::from_secs(options.seconds));
    let samples = (0..options.repeat).map(|_| {
        let before = fleet.cpu();
        sleep(Duration::from_secs(options.seconds));
        fleet.cpu().since(before).total() * 1e3 / options.seconds as f64
    });
    let label = format!("idle with {} partitions, factor 3: CPU", options.idle_partitions);
    figures.add(label, "ms/s", IDLE, samples.collect());
}

/// The controller is killed; from its znode's end until all is led again.
fn failover(kind: Kind, partitions: usize, options: &Options, figures: &mut Figures) {
    let mut fleet = Fleet::start(kind, options.dir.as_deref());
    fleet.fill(partitions, PARTITIONS_OF_A_TOPIC);
    let samples: Vec<f64> = (0..options.repeat)
        .map(|n| {
            if n > 0 {
                fleet.restore(partitions);
            }
            fleet.fail_over(partitions).as_secs_f64() * 1e3
        })
        .collect();
    figures.add(format!("failover with {partitions} partitions, factor 3"), "ms", FAILOVER, samples);
}
