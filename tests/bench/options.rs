//! What the benchmarks are told on their command lines.

use std::path::PathBuf;

use crate::broker::Kind;

/// Each benchmark has its own defaults, and uses what its phases need.
pub struct Options {
    /// Ours or Kafka alone.
    pub only: Option<Kind>,
    pub repeat: usize,
    /// Megabytes per repetition.
    pub megabytes: usize,
    /// Small requests per repetition.
    pub requests: usize,
    /// Gigabytes through a broker before its memory is looked at.
    pub gigabytes: f64,
    /// Partitions of the failovers, one after the other.
    pub partitions: Vec<usize>,
    /// Partitions of the idle cluster.
    pub idle_partitions: usize,
    /// Seconds of being idle, and of latencies.
    pub seconds: u64,
    /// Where the brokers' files go; a temporary directory unless told.
    pub dir: Option<PathBuf>,
    /// All when none is named.
    pub phases: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            only: None,
            repeat: 3,
            megabytes: 1000,
            requests: 200_000,
            gigabytes: 2.0,
            partitions: vec![1000, 10_000],
            idle_partitions: 1000,
            seconds: 20,
            dir: None,
            phases: Vec::new(),
        }
    }
}

impl Options {
    /// Of this program's command line.
    pub fn parse(defaults: Options) -> Options {
        let mut options = defaults;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match arg.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--only" => options.only = Some(if value() == "kafka" { Kind::Kafka } else { Kind::Ottla }),
                "--repeat" => options.repeat = value().parse().expect("a count"),
                "--megabytes" => options.megabytes = value().parse().expect("a count"),
                "--requests" => options.requests = value().parse().expect("a count"),
                "--gigabytes" => options.gigabytes = value().parse().expect("a number"),
                "--partitions" => {
                    options.partitions = value().split(',').map(|n| n.parse().expect("a count")).collect();
                }
                "--idle-partitions" => options.idle_partitions = value().parse().expect("a count"),
                "--seconds" => options.seconds = value().parse().expect("a count"),
                "--dir" => options.dir = Some(value().into()),
                _ if arg.starts_with('-') => panic!("unknown option {arg}: see the top of the benchmark's file"),
                _ => options.phases.push(arg),
            }
        }
        options
    }

    pub fn runs(&self, phase: &str) -> bool {
        self.phases.is_empty() || self.phases.iter().any(|p| p == phase)
    }

    /// Whether brokers of this kind are measured.
    pub fn measures(&self, kind: Kind) -> bool {
        self.only.is_none_or(|only| only == kind)
    }
}
