//! Taking a broker down so that nothing is lost and nobody waits: leaderships move away, logs are closed clean,
//! the session ends last (spec zookeeper 2.4).

use std::time::Duration;

use super::settings;
use super::startup::Broker;
use crate::util::blocking;

const LOGGER: &str = "kafka.server.KafkaServer";

impl Broker {
    /// Shuts down cleanly. Problems are logged, and the rest goes on.
    pub async fn shutdown(self) {
        let name = format!("[KafkaServer id={}]", self.id);
        tracing::info!(target: LOGGER, "{name} shutting down");
        if self.config.bool("controlled.shutdown.enable") {
            let backoff = u64::try_from(self.config.long("controlled.shutdown.retry.backoff.ms")).unwrap_or(0);
            let version = settings::controlled_shutdown_version(&self.config);
            let retries = self.config.int("controlled.shutdown.max.retries");
            self.to_controller.shut_down(version, retries, Duration::from_millis(backoff)).await;
        }
        self.stopping.send_replace(true);
        for follower in &self.followers {
            follower.abort();
        }
        self.groups.shutdown();
        self.acceptors.join_all().await;
        self.tasks.join_all().await;
        let (logs, replicas) = (self.logs.clone(), self.replicas.clone());
        let closed = blocking::run(move || {
            replicas.stop_following();
            replicas.checkpoint_high_watermarks();
            logs.shutdown();
        });
        if let Err(error) = closed.await {
            tracing::error!(target: LOGGER, "{name} Closing the logs failed: {error}");
        }
        self.controller.shutdown().await;
        self.store.zk().close().await;
        drop(self.readers);
        tracing::info!(target: LOGGER, "{name} shut down completed");
    }
}
