//! Applies configuration changes that anyone writes to ZooKeeper: follows `/config/changes`.
//!
//! Topics: settings of their logs, throttled replicas, and whether the controller may elect unclean leaders. Brokers: the
//! configuration in force, and of what was built from it the rates of replication throttles, the defaults of topics and
//! unclean elections; the rest takes effect at the next start, which is logged. Owns the number of the last change it
//! has seen. Answers to Kafka's `ZkConfigManager`, `TopicConfigHandler` and `BrokerConfigHandler` (spec zookeeper 1.9).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::registry::topic_keys;
use crate::config::{BrokerConfig, LiveConfig, LogConfig};
use crate::controller::ControllerHandle;
use crate::quota::replication::UNLIMITED;
use crate::replica::ReplicaTable;
use crate::util::clock;
use crate::zk::json::ConfigChange;
use crate::zk::store::{CHANGE_EXPIRATION_MS, Store, StoreError};
use crate::zk::{ZkEvent, paths};

const LOGGER: &str = "kafka.server.ZkConfigManager";
const UNCLEAN_LEADERS: &str = "unclean.leader.election.enable";
const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
/// Accepted for when replicas move between directories.
const LOG_DIRS_RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";

type Entries = BTreeMap<String, String>;

pub struct ConfigChanges {
    pub broker_id: i32,
    pub store: Arc<Store>,
    pub config: Arc<LiveConfig>,
    pub replicas: Arc<ReplicaTable>,
    pub controller: ControllerHandle,
    /// Number of the latest notification that was applied.
    pub last: i64,
}

impl ConfigChanges {
    /// Applies what is stored, then follows in the background.
    pub async fn follow(mut self) -> Result<tokio::task::JoinHandle<()>, StoreError> {
        let mut events = self.store.zk().events();
        self.throttles_at_start();
        self.catch_up().await?;
        Ok(tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let caught_up = match event {
                    ZkEvent::SessionEstablished(_) => self.start_over().await,
                    event if event.path() == Some(paths::CONFIG_CHANGES) => self.catch_up().await,
                    _ => Ok(()),
                };
                if let Err(error) = caught_up {
                    tracing::warn!(target: LOGGER, "Cannot read configuration changes: {error}");
                }
            }
        }))
    }

    /// Their notifications may be long gone; but what is stored was read to make the configuration and the logs.
    fn throttles_at_start(&self) {
        self.set_rates(self.config.load().dynamic_broker());
        for (topic, settings) in self.replicas.log_manager().topic_configs() {
            self.replicas.quotas().configure_topic(&topic, &settings, self.broker_id);
        }
    }

    /// In a new session: what was to be read when the old one ended may not have been, for a change or for a log that
    /// was made meanwhile.
    async fn start_over(&mut self) -> Result<(), StoreError> {
        self.catch_up().await?;
        let topics: BTreeSet<String> =
            self.replicas.log_manager().all_logs().iter().map(|log| log.topic_partition().topic.to_string()).collect();
        let topics: Vec<String> = topics.into_iter().collect();
        let config = self.config.load();
        for (topic, overrides) in self.store.entity_configs("topics", &topics).await? {
            self.set_topic(&config, &topic, &overrides.into_iter().collect());
        }
        self.apply_broker().await
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
        match entity.split_once('/') {
            Some(("topics", topic)) => self.apply_topic(topic).await,
            Some(("brokers", name)) if name == "<default>" || name.parse() == Ok(self.broker_id) => {
                self.apply_broker().await
            }
            Some(("brokers", _)) => Ok(()),
            _ => {
                tracing::info!(target: LOGGER, "The configuration of {entity} changed; it has no effect on this broker yet");
                Ok(())
            }
        }
    }

    async fn apply_topic(&self, topic: &str) -> Result<(), StoreError> {
        let overrides: Entries = self.store.entity_config("topics", topic).await?.into_iter().collect();
        tracing::info!(target: LOGGER, "Processing override for entityPath: topics/{topic} with config: {overrides:?}");
        self.set_topic(&self.config.load(), topic, &overrides);
        if overrides.get(UNCLEAN_LEADERS).is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
            self.controller.topic_unclean_leader_election_enabled(topic);
        }
        Ok(())
    }

    fn set_topic(&self, config: &BrokerConfig, topic: &str, overrides: &Entries) {
        match LogConfig::from_overrides(config, overrides) {
            Ok(settings) => self.replicas.set_topic_config(topic, settings),
            Err(error) => {
                tracing::error!(target: LOGGER, "The stored configuration of topic {topic} is not valid: {error}")
            }
        }
    }

    async fn brokers(&self, entity: &str) -> Result<Entries, StoreError> {
        Ok(self.store.entity_config("brokers", entity).await?.into_iter().collect())
    }

    async fn apply_broker(&self) -> Result<(), StoreError> {
        let (default, own) =
            tokio::try_join!(self.brokers("<default>"), async { self.brokers(&self.broker_id.to_string()).await })?;
        self.set_rates(&own);
        let old = self.config.load();
        let (new, ignored) = match old.with_dynamic(&default, &own) {
            Ok(layered) => layered,
            Err(error) => {
                tracing::error!(target: LOGGER, "The stored configuration of the broker is not valid, the old one stays: {error}");
                return Ok(());
            }
        };
        ignored.iter().for_each(|line| tracing::error!(target: "kafka.server.DynamicBrokerConfig", "{line}"));
        let new = Arc::new(new);
        self.config.replace(new.clone());
        report_changes(&old, &new);
        if old.log_defaults() != new.log_defaults() {
            self.set_defaults(&new).await?;
        }
        if new.bool(UNCLEAN_LEADERS) && !old.bool(UNCLEAN_LEADERS) {
            self.controller.unclean_leader_election_enabled();
        }
        Ok(())
    }

    /// The rates are those of this broker alone, as with Kafka: in the default of all brokers they have no effect.
    fn set_rates(&self, own: &Entries) {
        let rate = |key: &str| own.get(key).and_then(|value| value.trim().parse().ok()).unwrap_or(UNLIMITED);
        let quotas = self.replicas.quotas();
        for (quota, key) in [(&quotas.leader, LEADER_RATE), (&quotas.follower, FOLLOWER_RATE)] {
            let (old, new) = (quota.bound(), rate(key));
            if old != new {
                tracing::info!(target: LOGGER, "{key} is {new} now, it was {old}");
                quota.set_bound(new);
            }
        }
    }

    /// Topics inherit what they do not set themselves.
    async fn set_defaults(&self, config: &BrokerConfig) -> Result<(), StoreError> {
        self.replicas.log_manager().set_default_config(Arc::new(config.log_defaults()));
        for (topic, overrides) in self.store.all_entity_configs("topics").await? {
            self.set_topic(config, &topic, &overrides.into_iter().collect());
        }
        Ok(())
    }
}

/// Says which settings changed, and which of them only matter from the next start on.
fn report_changes(old: &BrokerConfig, new: &BrokerConfig) {
    let names = old.originals().keys().chain(new.originals().keys());
    let mut changed: Vec<&str> =
        names.filter(|name| old.original(name) != new.original(name)).map(String::as_str).collect();
    changed.sort_unstable();
    changed.dedup();
    let (live, later): (Vec<&str>, Vec<&str>) = changed.into_iter().partition(|name| is_live(name));
    if !live.is_empty() {
        tracing::info!(target: LOGGER, "Settings in force by now: {}", live.join(", "));
    }
    if !later.is_empty() {
        tracing::info!(target: LOGGER, "Settings that take effect at the next start: {}", later.join(", "));
    }
}

fn is_live(name: &str) -> bool {
    [LEADER_RATE, FOLLOWER_RATE, LOG_DIRS_RATE, UNCLEAN_LEADERS].contains(&name)
        || crate::config::registry::broker_synonyms(name, false)
            .iter()
            .any(|synonym| topic_keys().iter().any(|topic| topic.broker_synonym == Some(synonym)))
}
