//! Dynamic broker settings: what may be set, what of the stored ones counts, and the configuration they make
//! (`DynamicBrokerConfig`). They live in ZooKeeper under `/config/brokers`; this module only computes.

use super::broker::BrokerConfig;
use super::error::ConfigError;
use super::registry::{
    CLUSTER_LEVEL_LISTENER_KEYS, LISTENER_SECURITY_KEYS, Mode, broker_key, dynamic_broker_key, is_dynamic_password,
    listener_base_name,
};
use super::topic::{AlterOp, alter_entry};
use super::value::Value;
use std::collections::{BTreeMap, BTreeSet};

type Entries = BTreeMap<String, String>;

/// Thread pools whose size may at most double or halve at once.
const POOLS: [&str; 4] =
    ["num.io.threads", "num.replica.fetchers", "num.recovery.threads.per.data.dir", "background.threads"];

impl BrokerConfig {
    /// This broker's configuration under the stored dynamic settings (the cluster's default, and its own), and a message for
    /// each stored setting that does not count. An error means that they contradict each other: keep the old configuration.
    pub fn with_dynamic(
        &self,
        default: &Entries,
        broker: &Entries,
    ) -> Result<(BrokerConfig, Vec<String>), ConfigError> {
        let mut ignored = Vec::new();
        let default = sanitize(default, false, &mut ignored);
        let broker = sanitize(broker, true, &mut ignored);
        Ok((self.relayered(default, broker)?, ignored))
    }

    /// Whether a running broker may go from this configuration to `new`: sizes of thread pools, listeners that stay. Not for
    /// what is found at the start, when any size is as good as another.
    pub fn check_reconfiguration(&self, new: &BrokerConfig) -> Result<(), ConfigError> {
        check_change(self, new)
    }

    /// Whether the broker's (or the cluster default's) dynamic settings may be replaced by these.
    pub fn validate_dynamic(&self, entries: &Entries, per_broker: bool) -> Result<(), ConfigError> {
        check_names(entries, per_broker)?;
        let new = if per_broker {
            self.relayered(self.dynamic_default.clone(), entries.clone())?
        } else {
            self.relayered(entries.clone(), self.dynamic_broker.clone())?
        };
        check_change(self, &new)
    }
}

/// Applies one operation of IncrementalAlterConfigs to a broker's dynamic settings; the outcome is not validated.
pub fn alter(entries: &mut Entries, op: AlterOp, name: &str, value: &str) -> Result<(), ConfigError> {
    alter_entry(entries, op, name, value, broker_key(name).map(|k| (k.kind, k.default)))
}

/// What of the stored settings an alteration goes out from: those that cannot count are dropped, as Kafka drops them.
/// Encrypted passwords stay as they are.
pub fn alterable(stored: &Entries, per_broker: bool) -> Entries {
    let mut kept = sanitize(stored, per_broker, &mut Vec::new());
    kept.extend(stored.iter().filter(|(name, _)| is_dynamic_password(name)).map(|(k, v)| (k.clone(), v.clone())));
    kept
}

fn non_dynamic(name: &str) -> bool {
    broker_key(name).is_some_and(|k| k.mode == Mode::ReadOnly)
}

fn needs_listener_prefix(name: &str) -> bool {
    LISTENER_SECURITY_KEYS.contains(&name)
}

fn per_broker_only(name: &str) -> bool {
    match listener_base_name(name) {
        Some(base) => !CLUSTER_LEVEL_LISTENER_KEYS.contains(&base),
        None => {
            broker_key(name).is_some_and(|k| k.mode == Mode::PerBroker) && !CLUSTER_LEVEL_LISTENER_KEYS.contains(&name)
        }
    }
}

fn check_type(name: &str, value: &str) -> Result<(), ConfigError> {
    match dynamic_broker_key(listener_base_name(name).unwrap_or(name)) {
        Some(key) => key.parse(value).map(drop),
        None => Ok(()), // custom keys may be anything
    }
}

/// `DynamicBrokerConfig.validateConfigs`
fn check_names(entries: &Entries, per_broker: bool) -> Result<(), ConfigError> {
    // The name of Scala's set class is part of Kafka's text.
    let refuse = |set: &str, text: &str, test: fn(&str) -> bool| {
        let bad: Vec<&str> = entries.keys().map(String::as_str).filter(|k| test(k)).collect();
        if bad.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Config(format!("{text}: {set}({})", bad.join(", "))))
    };
    refuse("Set", "Cannot update these configs dynamically", non_dynamic)?;
    let text = "These security configs can be dynamically updated only per-listener using the listener prefix";
    refuse("HashSet", text, needs_listener_prefix)?;
    entries.iter().try_for_each(|(k, v)| check_type(k, v))?;
    if !per_broker {
        let text = "Cannot update these configs at default cluster level, broker id must be specified";
        refuse("Set", text, per_broker_only)?;
    }
    Ok(())
}

/// `DynamicBrokerConfig.fromPersistentProps`: drops what cannot count, and says so.
fn sanitize(entries: &Entries, per_broker: bool, ignored: &mut Vec<String>) -> Entries {
    let mut kept = entries.clone();
    let level = if per_broker { "broker" } else { "default cluster" };
    let wrong: Vec<String> =
        entries.iter().filter(|(k, v)| check_type(k, v).is_err()).map(|(k, _)| k.clone()).collect();
    if !wrong.is_empty() {
        ignored.push(format!(
            "Dynamic {level} config contains invalid values in: Set({}), these configs will be ignored",
            wrong.join(", ")
        ));
        kept.retain(|k, _| !wrong.contains(k));
    }
    let mut drop_all = |text: &str, test: fn(&str) -> bool| {
        let bad: Vec<String> = kept.keys().filter(|k| test(k)).cloned().collect();
        if !bad.is_empty() {
            ignored.push(format!("{text}: Set({})", bad.join(", ")));
            kept.retain(|k, _| !bad.contains(k));
        }
    };
    drop_all("Non-dynamic configs configured in ZooKeeper will be ignored", non_dynamic);
    drop_all(
        "Security configs can be dynamically updated only using listener prefix, base configs will be ignored",
        needs_listener_prefix,
    );
    if !per_broker {
        drop_all("Per-broker configs defined at default cluster level will be ignored", per_broker_only);
    }
    // Stored encrypted; there is no decoder yet, so they are as undecodable as with a lost secret.
    let secrets: Vec<String> = kept.keys().filter(|k| is_dynamic_password(k)).cloned().collect();
    for name in secrets {
        ignored.push(format!("Dynamic password config {name} could not be decoded, ignoring."));
        kept.remove(&name);
    }
    kept
}

/// What the parts of a running broker accept (`validateReconfiguration` of each).
fn check_change(old: &BrokerConfig, new: &BrokerConfig) -> Result<(), ConfigError> {
    change_rules(old, new).map_err(|text| {
        ConfigError::Config(format!(
            "Invalid value org.apache.kafka.common.config.ConfigException: {text} for configuration Invalid dynamic configuration"
        ))
    })
}

fn change_rules(old: &BrokerConfig, new: &BrokerConfig) -> Result<(), String> {
    for key in POOLS {
        pool_size(key, old.int(key), new.int(key))?;
    }
    let key = "num.network.threads";
    for l in new.listeners().iter().filter(|l| old.listeners().iter().any(|o| o.listener == l.listener)) {
        if let (Value::Int(was), Value::Int(is)) =
            (old.listener_value(&l.listener, key), new.listener_value(&l.listener, key))
        {
            pool_size(key, was, is)?;
        }
    }
    cleaner_threads(old.int("log.cleaner.threads"), new.int("log.cleaner.threads"))?;
    local_retention(new)?;
    listeners(old, new)
}

fn pool_size(key: &str, old: i32, new: i32) -> Result<(), String> {
    let failed = format!("Dynamic thread count update validation failed for {key}={new}");
    if new == old {
        Ok(())
    } else if new <= 0 {
        Err(format!("{failed}, value should be at least 1"))
    } else if new < old / 2 {
        Err(format!("{failed}, value should be at least half the current value {old}"))
    } else if i64::from(new) > i64::from(old) * 2 {
        Err(format!("{failed}, value should not be greater than double the current value {old}"))
    } else {
        Ok(())
    }
}

fn cleaner_threads(old: i32, new: i32) -> Result<(), String> {
    if new == old {
        Ok(())
    } else if new < 1 {
        Err("Log cleaner threads should be at least 1".to_owned())
    } else if new < old / 2 {
        Err(format!("Log cleaner threads cannot be reduced to less than half the current value {old}"))
    } else if i64::from(new) > i64::from(old) * 2 {
        Err(format!("Log cleaner threads cannot be increased to more than double the current value {old}"))
    } else {
        Ok(())
    }
}

fn local_retention(new: &BrokerConfig) -> Result<(), String> {
    let totals =
        [("log.retention.ms", new.log_retention_ms()), ("log.retention.bytes", new.long("log.retention.bytes"))];
    for ((total, limit), local) in totals.into_iter().zip(["log.local.retention.ms", "log.local.retention.bytes"]) {
        let own = new.long(local);
        if limit <= -1 || own == -2 {
            continue;
        }
        let invalid = |reason: String| Err(ConfigError::invalid(local, own.to_string(), reason).to_string());
        if own == -1 {
            return invalid(format!("Value must not be -1 as {total} value is set as {limit}."));
        }
        if own > limit {
            return invalid(format!("Value must not be more than {total} property value: {limit}"));
        }
    }
    Ok(())
}

/// `DynamicListenerConfig.validateReconfiguration`: a listener that stays must keep what cannot change.
fn listeners(old: &BrokerConfig, new: &BrokerConfig) -> Result<(), String> {
    for l in new.listeners().iter().filter(|l| old.listeners().iter().any(|o| o.listener == l.listener)) {
        let name = &l.listener;
        if immutable(old, name) != immutable(new, name) {
            return Err(format!(
                "Configs cannot be updated dynamically for existing listener ListenerName({name}), restart broker or create a \
                 new listener for update"
            ));
        }
        if old.security_protocols().get(name) != new.security_protocols().get(name) {
            return Err(format!("Security protocol cannot be updated for existing listener ListenerName({name})"));
        }
    }
    Ok(())
}

fn immutable<'a>(cfg: &'a BrokerConfig, listener: &str) -> BTreeSet<(&'a str, &'a str)> {
    let prefix = format!("listener.name.{}.", listener.to_lowercase());
    let own = cfg.originals().iter().filter_map(|(k, v)| Some((k.strip_prefix(prefix.as_str())?, v.as_str())));
    own.filter(|(k, _)| !LISTENER_SECURITY_KEYS.contains(k) && !CLUSTER_LEVEL_LISTENER_KEYS.contains(k)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Entries {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn recorded_alteration_errors() {
        let cfg = config(&[("num.io.threads", "3"), ("log.cleaner.dedupe.buffer.size", "2097152")]).unwrap();
        let (cfg, _) = cfg.with_dynamic(&map(&[]), &map(&[("background.threads", "8")])).unwrap();
        let refused = |pairs: &[(&str, &str)], per_broker: bool| {
            cfg.validate_dynamic(&map(pairs), per_broker).unwrap_err().to_string()
        };
        let wrapped = |text: &str| {
            format!(
                "Invalid value org.apache.kafka.common.config.ConfigException: {text} for configuration Invalid dynamic configuration"
            )
        };
        assert_eq!(
            refused(&[("zookeeper.connect", "x")], true),
            "Cannot update these configs dynamically: Set(zookeeper.connect)"
        );
        assert_eq!(
            refused(&[("ssl.keystore.password", "x")], true),
            "These security configs can be dynamically updated only per-listener using the listener prefix: \
             HashSet(ssl.keystore.password)"
        );
        assert_eq!(
            refused(&[("log.cleaner.threads", "abc")], true),
            "Invalid value abc for configuration log.cleaner.threads: Not a number of type INT"
        );
        assert_eq!(
            refused(&[("log.cleaner.threads", "2")], true),
            "requirement failed: log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread."
        );
        assert_eq!(
            refused(&[("num.io.threads", "100"), ("background.threads", "8")], true),
            wrapped(
                "Dynamic thread count update validation failed for num.io.threads=100, value should not be greater than double \
                 the current value 3"
            )
        );
        assert_eq!(
            refused(&[("background.threads", "1")], true),
            wrapped(
                "Dynamic thread count update validation failed for background.threads=1, value should be at least half the \
                 current value 8"
            )
        );
        assert_eq!(
            refused(&[("listeners", "PLAINTEXT://:1")], false),
            "Cannot update these configs at default cluster level, broker id must be specified: Set(listeners)"
        );
        cfg.validate_dynamic(&map(&[("nosuch.config", "1"), ("max.connections", "5")]), false).unwrap();
    }

    #[test]
    fn layers_go_over_each_other_and_hide_synonyms() {
        let cfg = config(&[("log.roll.hours", "2"), ("log.retention.hours", "1"), ("num.io.threads", "4")]).unwrap();
        let default = map(&[("log.roll.ms", "5000"), ("num.io.threads", "5")]);
        let own = map(&[("num.io.threads", "6"), ("log.retention.ms", "7")]);
        let (new, ignored) = cfg.with_dynamic(&default, &own).unwrap();
        assert_eq!(ignored, [""; 0]);
        assert_eq!((new.log_defaults().segment_ms, new.log_defaults().retention_ms), (5000, 7));
        assert_eq!(new.int("num.io.threads"), 6);
        assert_eq!(new.int("log.retention.hours"), 168, "the file's value is hidden by its synonym");
        let (back, _) = new.with_dynamic(&map(&[]), &map(&[])).unwrap();
        assert_eq!(back.int("num.io.threads"), 4);
        assert_eq!((back.log_defaults().segment_ms, back.int("log.retention.hours")), (7_200_000, 1));
    }

    #[test]
    fn stored_settings_that_cannot_count_are_left_out() {
        let cfg = config(&[]).unwrap();
        let (new, ignored) = cfg
            .with_dynamic(
                &map(&[("listeners", "PLAINTEXT://:1"), ("num.io.threads", "x"), ("broker.id", "4")]),
                &map(&[("listener.name.plaintext.ssl.key.password", "y")]),
            )
            .unwrap();
        assert_eq!((new.int("num.io.threads"), new.broker_id()), (8, -1));
        assert_eq!(
            ignored,
            [
                "Dynamic default cluster config contains invalid values in: Set(num.io.threads), these configs will be ignored",
                "Non-dynamic configs configured in ZooKeeper will be ignored: Set(broker.id)",
                "Per-broker configs defined at default cluster level will be ignored: Set(listeners)",
                "Dynamic password config listener.name.plaintext.ssl.key.password could not be decoded, ignoring.",
            ]
        );
    }

    #[test]
    fn a_listener_keeps_its_protocol() {
        let cfg = config(&[
            ("listeners", "PLAINTEXT://:1,A://:2"),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,A:SSL"),
        ])
        .unwrap();
        let e = cfg
            .validate_dynamic(&map(&[("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,A:PLAINTEXT")]), true)
            .unwrap_err();
        assert!(e.to_string().contains("Security protocol cannot be updated for existing listener ListenerName(A)"));
        let e = cfg.validate_dynamic(&map(&[("listener.name.a.sasl.enabled.mechanisms", "PLAIN")]), true).unwrap_err();
        assert!(e.to_string().contains("Configs cannot be updated dynamically for existing listener ListenerName(A)"));
    }
}
