//! The composition root: builds every part of the broker in Kafka's order, and takes it down in reverse.
//!
//! - [`startup`]: from configuration to a serving broker; [`shutdown`]: back again.
//! - [`settings`]: each part's configuration; [`tasks`]: what runs by the clock.
//! - [`identity`]: cluster id, broker id and `meta.properties`; [`unclean_return`]: what a broker does first that crashed.
//! - the rest are small adapters between parts that do not know each other.
//!
//! Answers to Kafka's `Kafka` and `KafkaServer` (spec zookeeper 2).

mod config_changes;
mod controller_channel;
mod features;
mod hooks;
mod identity;
mod log_dirs;
mod offsets_log;
mod settings;
mod shutdown;
mod startup;
mod tasks;
mod unclean_return;

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::BrokerConfig;
use crate::util::logging;

pub use startup::{Broker, Surroundings};

const LOGGER: &str = "kafka.Kafka$";

/// Runs a broker until a signal ends it. Returns the process's exit code: 0, or 1 when it could not start.
pub fn main(file: &Path, overrides: &[(String, String)]) -> i32 {
    logging::init();
    let config = match BrokerConfig::load(file, overrides) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(target: LOGGER, "Exiting Kafka due to fatal exception: {}: {error}", error.java_class());
            return 1;
        }
    };
    // The kernel may hold up a write into its page cache for long, and the thread with it: there must be others, even
    // where there are few processors.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cores.max(usize::try_from(config.int("num.io.threads")).unwrap_or(0));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    match runtime.enable_all().thread_name("ottla").worker_threads(workers).build() {
        Ok(runtime) => runtime.block_on(run(config)),
        Err(error) => {
            tracing::error!(target: LOGGER, "Exiting Kafka due to fatal exception: cannot start threads: {error}");
            1
        }
    }
}

async fn run(config: BrokerConfig) -> i32 {
    // From here on a signal is noticed, also while starting.
    let signals = signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
    let (mut terminate, mut interrupt) = match signals {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(target: LOGGER, "Exiting Kafka due to fatal exception: cannot handle signals: {error}");
            return 1;
        }
    };
    let starting = Broker::start(config);
    let started = tokio::select! {
        started = starting => started,
        _ = terminate.recv() => return 143,
        _ = interrupt.recv() => return 130,
    };
    let broker = match started {
        Ok(broker) => broker,
        Err(error) => {
            tracing::error!(target: LOGGER, "Exiting Kafka due to fatal exception during startup. {error:#}");
            return 1;
        }
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!(target: LOGGER, "Terminating process due to signal SIGTERM"),
        _ = interrupt.recv() => tracing::info!(target: LOGGER, "Terminating process due to signal SIGINT"),
        reason = broker.halted() => {
            tracing::error!(target: LOGGER, "Halting: {reason}");
            return 1;
        }
    }
    broker.shutdown().await;
    0
}
