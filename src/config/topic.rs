//! Whether a topic may have certain settings (`LogConfig.validate`), and incremental alteration of a set of them
//! (`ConfigAdminManager.prepareIncrementalConfigs`).

use super::broker::BrokerConfig;
use super::error::ConfigError;
use super::log_config::{TopicValues, bare_topic_values, topic_values};
use super::registry::topic_key;
use super::value::Kind;
use std::collections::BTreeMap;

/// Names, types and rules of a topic's overrides, with Kafka's defaults: what a tool can check.
pub fn validate(overrides: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    validate_names(overrides)?;
    validate_lag(&bare_topic_values(overrides)?)
}

/// The same with this broker's defaults, and its rules for remote storage: CreateTopics and AlterConfigs.
pub fn validate_with(cfg: &BrokerConfig, overrides: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    validate_names(overrides)?;
    let values = topic_values(cfg, overrides)?;
    validate_lag(&values)?;
    if values.bool("remote.storage.enable") {
        validate_remote(&values, cfg.bool("remote.log.storage.system.enable"))?;
    }
    Ok(())
}

fn validate_names(overrides: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    match overrides.keys().find(|k| topic_key(k).is_none()) {
        Some(name) => Err(ConfigError::InvalidConfiguration(format!("Unknown topic config name: {name}"))),
        None => Ok(()),
    }
}

pub(super) fn validate_lag(values: &TopicValues) -> Result<(), ConfigError> {
    let (min, max) = (values.long("min.compaction.lag.ms"), values.long("max.compaction.lag.ms"));
    if min <= max {
        return Ok(());
    }
    Err(ConfigError::InvalidConfiguration(format!(
        "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
    )))
}

fn validate_remote(values: &TopicValues, system_enabled: bool) -> Result<(), ConfigError> {
    if !system_enabled {
        return Err(ConfigError::Config(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
                .to_owned(),
        ));
    }
    if values.list("cleanup.policy").iter().any(|p| p == "compact") {
        return Err(ConfigError::Config("Remote log storage is unsupported for the compacted topics".to_owned()));
    }
    for (total, local) in [("retention.bytes", "local.retention.bytes"), ("retention.ms", "local.retention.ms")] {
        let (limit, own) = (values.long(total), values.long(local));
        if limit <= -1 || own == -2 {
            continue;
        }
        if own == -1 {
            let reason = format!("Value must not be -1 as {total} value is set as {limit}.");
            return Err(ConfigError::invalid(local, own.to_string(), reason));
        }
        if own > limit {
            let reason = format!("Value must not be more than {total} property value: {limit}");
            return Err(ConfigError::invalid(local, own.to_string(), reason));
        }
    }
    Ok(())
}

/// One operation of IncrementalAlterConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterOp {
    Set,
    Delete,
    Append,
    Subtract,
}

impl AlterOp {
    /// By its id on the wire.
    pub fn from_id(id: i8) -> Option<AlterOp> {
        [AlterOp::Set, AlterOp::Delete, AlterOp::Append, AlterOp::Subtract].get(usize::try_from(id).ok()?).copied()
    }
}

/// Applies one incremental operation to a topic's overrides. The outcome is not validated.
pub fn alter(
    overrides: &mut BTreeMap<String, String>,
    op: AlterOp,
    name: &str,
    value: &str,
) -> Result<(), ConfigError> {
    let key = topic_key(name).map(|t| (t.key.kind, t.key.default));
    alter_entry(overrides, op, name, value, key)
}

/// The same for any resource; `key` is the type and default of `name`, if it is known.
pub(super) fn alter_entry(
    entries: &mut BTreeMap<String, String>,
    op: AlterOp,
    name: &str,
    value: &str,
    key: Option<(Kind, Option<&str>)>,
) -> Result<(), ConfigError> {
    match op {
        AlterOp::Set => drop(entries.insert(name.to_owned(), value.to_owned())),
        AlterOp::Delete => drop(entries.remove(name)),
        AlterOp::Append | AlterOp::Subtract => {
            let word = if op == AlterOp::Append { "append" } else { "subtract" };
            let default = match key {
                None => return Err(ConfigError::InvalidConfiguration(format!("Unknown config name: {name}"))),
                Some((Kind::List, default)) => default.unwrap_or_default(),
                Some(_) => {
                    let text = format!("Config value {word} is not allowed for config key: {name}");
                    return Err(ConfigError::InvalidConfiguration(text));
                }
            };
            let old = entries.get(name).map_or(default, String::as_str);
            let mut list: Vec<&str> = old.split(',').collect();
            if op == AlterOp::Append {
                list.retain(|e| !e.is_empty() || !old.is_empty());
                let new: Vec<&str> = value.split(',').filter(|v| !list.contains(v)).collect();
                list.extend(new);
            } else {
                for gone in value.split(',') {
                    if let Some(at) = list.iter().position(|e| *e == gone) {
                        list.remove(at);
                    }
                }
            }
            let joined = list.join(",");
            entries.insert(name.to_owned(), joined);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn recorded_topic_errors() {
        for (pairs, text) in [
            (&[("nosuch", "1")][..], "Unknown topic config name: nosuch"),
            (
                &[("retention.ms", "abc")][..],
                "Invalid value abc for configuration retention.ms: Not a number of type LONG",
            ),
            (
                &[("min.insync.replicas", "0")][..],
                "Invalid value 0 for configuration min.insync.replicas: Value must be at least 1",
            ),
            (
                &[("cleanup.policy", "squash")][..],
                "Invalid value squash for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            (
                &[("min.compaction.lag.ms", "9"), ("max.compaction.lag.ms", "8")][..],
                "conflict topic config setting min.compaction.lag.ms (9) > max.compaction.lag.ms (8)",
            ),
        ] {
            assert_eq!(validate(&map(pairs)).unwrap_err().to_string(), text);
            assert_eq!(validate_with(&config(&[]).unwrap(), &map(pairs)).unwrap_err().to_string(), text);
        }
        validate(&map(&[("cleanup.policy", ""), ("retention.ms", "-1")])).unwrap();
    }

    #[test]
    fn the_broker_s_defaults_count() {
        let cfg = config(&[("log.cleaner.max.compaction.lag.ms", "10")]).unwrap();
        assert!(validate_with(&cfg, &map(&[("min.compaction.lag.ms", "11")])).is_err());
        validate(&map(&[("min.compaction.lag.ms", "11")])).unwrap();
        let e = validate_with(&cfg, &map(&[("remote.storage.enable", "true")])).unwrap_err();
        assert!(e.to_string().starts_with("Tiered Storage functionality is disabled"));
    }

    #[test]
    fn lists_grow_and_shrink() {
        let mut m = map(&[]);
        alter(&mut m, AlterOp::Append, "cleanup.policy", "compact,delete").unwrap();
        assert_eq!(m["cleanup.policy"], "delete,compact");
        alter(&mut m, AlterOp::Subtract, "cleanup.policy", "delete").unwrap();
        assert_eq!(m["cleanup.policy"], "compact");
        alter(&mut m, AlterOp::Append, "leader.replication.throttled.replicas", "0:1").unwrap();
        assert_eq!(m["leader.replication.throttled.replicas"], "0:1");
        let e = alter(&mut m, AlterOp::Append, "retention.ms", "1").unwrap_err();
        assert_eq!(e.to_string(), "Config value append is not allowed for config key: retention.ms");
        alter(&mut m, AlterOp::Delete, "cleanup.policy", "").unwrap();
        assert!(!m.contains_key("cleanup.policy"));
    }
}
