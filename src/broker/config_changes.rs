//! Applies configuration changes that anyone writes to ZooKeeper: follows `/config/changes`.
//!
//! So far topics; other entities are noted in the log. Answers to Kafka's `ZkConfigManager` and
//! `ZkNodeChangeNotificationListener` (spec zookeeper 1.9).

use std::sync::Arc;

use crate::config::{BrokerConfig, LogConfig};
use crate::log::LogManager;
use crate::util::clock;
use crate::zk::json::ConfigChange;
use crate::zk::store::{CHANGE_EXPIRATION_MS, Store, StoreError};
use crate::zk::{ZkEvent, paths};

const LOGGER: &str = "kafka.server.ZkConfigManager";

pub struct ConfigChanges {
    pub store: Arc<Store>,
    pub config: Arc<BrokerConfig>,
    pub logs: Arc<LogManager>,
    /// Number of the latest notification that was applied.
    pub last: i64,
}

impl ConfigChanges {
    /// Applies what is there, then follows in the background. Everything is replayed at start, as with Kafka.
    pub async fn follow(mut self) -> Result<tokio::task::JoinHandle<()>, StoreError> {
        let mut events = self.store.zk().events();
        self.catch_up().await?;
        Ok(tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let again =
                    event.path() == Some(paths::CONFIG_CHANGES) || matches!(event, ZkEvent::SessionEstablished(_));
                if again && let Err(error) = self.catch_up().await {
                    tracing::warn!(target: LOGGER, "Cannot read configuration changes: {error}");
                }
            }
        }))
    }

    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let changes = self.store.notifications(paths::CONFIG_CHANGES, "config_change_", self.last, true).await?;
        for (number, data) in changes {
            self.last = self.last.max(number);
            let applied = match ConfigChange::decode(&data) {
                Ok(Some(change)) => self.apply(&change.entity_path).await.map_err(|error| error.to_string()),
                Ok(None) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = applied {
                tracing::warn!(target: LOGGER, "Cannot apply configuration change {number}: {error}");
            }
        }
        self.store.purge_notifications(paths::CONFIG_CHANGES, clock::now_ms(), CHANGE_EXPIRATION_MS).await
    }

    async fn apply(&self, entity: &str) -> Result<(), StoreError> {
        let Some(topic) = entity.strip_prefix("topics/") else {
            tracing::info!(target: LOGGER, "The configuration of {entity} changed; it takes effect at the next start");
            return Ok(());
        };
        let overrides = self.store.entity_config("topics", topic).await?.into_iter().collect();
        tracing::info!(target: LOGGER, "Processing override for entityPath: {entity} with config: {overrides:?}");
        match LogConfig::from_overrides(&self.config, &overrides) {
            Ok(config) => self.logs.set_topic_config(topic, Some(Arc::new(config))),
            Err(error) => {
                tracing::error!(target: LOGGER, "The stored configuration of topic {topic} is not valid: {error}")
            }
        }
        Ok(())
    }
}
