//! What is known about every key: [`ConfigKey`] rows, look-up, and which names set the same thing
//! (`ConfigDef`, `DynamicBrokerConfig.brokerConfigSynonyms`). Nothing here changes while a broker runs.

use super::broker_keys::{BROKER_KEYS, DYNAMIC_ONLY_KEYS};
use super::error::ConfigError;
use super::topic_keys::{TOPIC_KEYS, TopicKey};
use super::value::{Kind, Value, java_trim};
use super::version::ProtocolVersion;

pub(super) const CLEANUP: &[&str] = &["compact", "delete"];
pub(super) const COMPRESSION: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
pub(super) const TIMESTAMPS: &[&str] = &["CreateTime", "LogAppendTime"];
pub(super) const PROTOCOLS: &[&str] = &["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
pub(super) const GROUP_TYPES: &[&str] = &["consumer", "classic"];

/// Has a meaning only in KRaft mode: accepted, described, unused.
pub const KRAFT: u8 = 1;
/// Not shown by DescribeConfigs unless it is set.
pub const INTERNAL: u8 = 2;

/// The ten keystore and truststore keys: dynamic only with a listener's prefix (`SslConfigs.RECONFIGURABLE_CONFIGS`).
pub(super) const LISTENER_SECURITY_KEYS: &[&str] = &[
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];
/// Listener keys that may be given for the whole cluster.
pub(super) const CLUSTER_LEVEL_LISTENER_KEYS: &[&str] =
    &["max.connections", "max.connection.creation.rate", "num.network.threads"];
/// Keys that stand behind a listener's and a SASL mechanism's prefix.
const MECHANISM_KEYS: &[&str] = &[
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
    "connections.max.reauth.ms",
];

/// When a key may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only with a restart.
    ReadOnly,
    /// Dynamically, for one broker.
    PerBroker,
    /// Dynamically, for one broker or as the default of the cluster.
    ClusterWide,
}

/// What a parsed value must satisfy.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    Any,
    AtLeast(i64),
    Between(f64, f64),
    OneOf(&'static [&'static str]),
    /// Every element of a list.
    Each(&'static [&'static str]),
    NonNull,
    NonEmpty,
    /// A version that [`ProtocolVersion`] knows.
    Version,
    /// `*` or `partition:broker,...`
    Throttled,
    /// `id@host:port,...`
    Voters,
}

/// One row of the registry.
#[derive(Debug, Clone, Copy)]
pub struct ConfigKey {
    pub name: &'static str,
    pub kind: Kind,
    /// In the form of a properties file; `None` is Java's null.
    pub default: Option<&'static str>,
    pub check: Check,
    pub mode: Mode,
    /// [`KRAFT`] and [`INTERNAL`].
    pub flags: u8,
}

pub(super) const fn key(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    check: Check,
    mode: Mode,
    flags: u8,
) -> ConfigKey {
    ConfigKey { name, kind, default, check, mode, flags }
}

impl ConfigKey {
    /// Parses and checks a given value.
    pub fn parse(&self, raw: &str) -> Result<Value, ConfigError> {
        let value = Value::parse(self.name, raw, self.kind)?;
        if let (Kind::Class, Value::Text(class)) = (self.kind, &value) {
            // No Java runs here. A class from elsewhere may restrict what clients can do (a policy, a principal builder), so
            // it must not be passed over; Kafka's words for a class that is not there are the truth here.
            if !class.starts_with("org.apache.kafka.") && !class.starts_with("kafka.") {
                return Err(ConfigError::invalid(self.name, raw, format!("Class {raw} could not be found.")));
            }
        }
        self.check.ensure(self.name, &value)?;
        Ok(value)
    }

    /// The built-in default.
    pub fn default_value(&self) -> Value {
        // The tables' defaults parse: a test sees to it.
        self.default.and_then(|d| Value::parse(self.name, d, self.kind).ok()).unwrap_or(Value::Null)
    }

    pub fn is_internal(&self) -> bool {
        self.flags & INTERNAL != 0
    }
}

impl Check {
    fn ensure(self, name: &str, value: &Value) -> Result<(), ConfigError> {
        let refuse = |reason: String| Err(ConfigError::invalid(name, value.to_java(), reason));
        match (self, value) {
            (Check::AtLeast(min), v) if v.as_number().is_some_and(|n| n < min as f64) => {
                refuse(format!("Value must be at least {min}"))
            }
            (Check::Between(min, _), v) if v.as_number().is_some_and(|n| n < min) => {
                refuse(format!("Value must be at least {min}"))
            }
            (Check::Between(_, max), v) if v.as_number().is_some_and(|n| n > max) => {
                refuse(format!("Value must be no more than {max}"))
            }
            (Check::OneOf(allowed), Value::Text(v)) => one_of(name, v, allowed),
            (Check::Each(allowed), Value::List(list)) => list.iter().try_for_each(|v| one_of(name, v, allowed)),
            (Check::NonNull, Value::Null) => refuse("entry must be non null".to_owned()),
            (Check::NonEmpty, Value::Text(v)) if v.is_empty() => refuse("String must be non-empty".to_owned()),
            (Check::Version, Value::Text(v)) => match ProtocolVersion::parse(v) {
                Ok(_) => Ok(()),
                Err(e) => refuse(e.to_string()),
            },
            (Check::Throttled, Value::List(list)) if !throttled_replicas(list) => refuse(format!(
                "{name} must be the literal '*' or a list of replicas in the following format: \
                 [partitionId]:[brokerId],[partitionId]:[brokerId],..."
            )),
            (Check::Voters, Value::List(list)) => list.iter().try_for_each(|v| voter(v)),
            _ => Ok(()),
        }
    }
}

fn one_of(name: &str, value: &str, allowed: &[&str]) -> Result<(), ConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::invalid(name, value, format!("String must be one of: {}", allowed.join(", "))))
}

fn is_number(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())
}

fn throttled_replicas(list: &[String]) -> bool {
    let pair = |e: &String| {
        let e = java_trim(e);
        e.is_empty() || e.split_once(':').is_some_and(|(p, b)| is_number(p) && is_number(b))
    };
    list.iter().all(pair) || list.iter().map(|e| java_trim(e)).collect::<String>() == "*"
}

fn voter(entry: &str) -> Result<(), ConfigError> {
    let form = "Each entry should be in the form `{id}@{host}:{port}`.";
    let key = "controller.quorum.voters";
    let Some((id, address)) = entry.split_once('@').filter(|(_, a)| !a.contains('@')) else {
        return Err(ConfigError::Config(format!("Invalid configuration value for {key}. {form}")));
    };
    if id.parse::<i32>().is_err() {
        return Err(ConfigError::Config(format!("Failed to parse voter ID as an integer from {id}")));
    }
    match address.rsplit_once(':') {
        Some((_, port)) if is_number(port) => Ok(()),
        _ => Err(ConfigError::Config(format!(
            "Failed to parse host name from entry {entry} for the configuration {key}. {form}"
        ))),
    }
}

/// All 295 broker keys, sorted by name.
pub fn broker_keys() -> &'static [ConfigKey] {
    BROKER_KEYS
}

/// All 31 topic keys, sorted by name.
pub fn topic_keys() -> &'static [TopicKey] {
    TOPIC_KEYS
}

/// The row of a broker key.
pub fn broker_key(name: &str) -> Option<&'static ConfigKey> {
    broker_index(name).and_then(|i| BROKER_KEYS.get(i))
}

pub(super) fn broker_index(name: &str) -> Option<usize> {
    BROKER_KEYS.binary_search_by(|k| k.name.cmp(name)).ok()
}

/// The row of a topic key.
pub fn topic_key(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.binary_search_by(|k| k.key.name.cmp(name)).ok().and_then(|i| TOPIC_KEYS.get(i))
}

/// The row of a key that may be set dynamically on a broker, with those that exist only there.
pub fn dynamic_broker_key(name: &str) -> Option<&'static ConfigKey> {
    dynamic_only_key(name).or_else(|| broker_key(name).filter(|k| k.mode != Mode::ReadOnly))
}

/// The row of a key that exists only as a dynamic broker config.
pub fn dynamic_only_key(name: &str) -> Option<&'static ConfigKey> {
    DYNAMIC_ONLY_KEYS.iter().find(|k| k.name == name)
}

/// The type of a broker setting by whatever name: plain, dynamic only, or with a listener's prefix.
pub fn broker_kind(name: &str) -> Option<Kind> {
    let exact = broker_key(name).or_else(|| dynamic_only_key(name));
    exact.or_else(|| broker_synonyms(name, true).into_iter().find_map(broker_key)).map(|k| k.kind)
}

/// What follows `listener.name.<listener>.`.
pub(super) fn listener_base_name(name: &str) -> Option<&str> {
    name.strip_prefix("listener.name.")?.split_once('.').map(|(_, base)| base)
}

/// The names that set the same thing as `name`, in order of priority (`DynamicBrokerConfig.brokerConfigSynonyms`).
pub fn broker_synonyms(name: &str, listener_prefix: bool) -> Vec<&str> {
    match name {
        "log.roll.ms" | "log.roll.hours" => vec!["log.roll.ms", "log.roll.hours"],
        "log.roll.jitter.ms" | "log.roll.jitter.hours" => vec!["log.roll.jitter.ms", "log.roll.jitter.hours"],
        "log.flush.interval.ms" => vec!["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        "log.retention.ms" | "log.retention.minutes" | "log.retention.hours" => {
            vec!["log.retention.ms", "log.retention.minutes", "log.retention.hours"]
        }
        _ => match listener_base_name(name).filter(|_| listener_prefix) {
            Some(base) => vec![name, MECHANISM_KEYS.iter().copied().find(|k| base.ends_with(k)).unwrap_or(base)],
            None => vec![name],
        },
    }
}

/// Whether a dynamic setting holds a password, which is stored encrypted.
pub fn is_dynamic_password(name: &str) -> bool {
    BROKER_KEYS.iter().any(|k| k.kind == Kind::Password && k.mode != Mode::ReadOnly && name.ends_with(k.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_complete_sorted_and_their_defaults_valid() {
        assert_eq!(BROKER_KEYS.len(), 295);
        assert_eq!(TOPIC_KEYS.len(), 31);
        assert!(BROKER_KEYS.windows(2).all(|w| w[0].name < w[1].name));
        assert!(TOPIC_KEYS.windows(2).all(|w| w[0].key.name < w[1].key.name));
        for k in BROKER_KEYS.iter().chain(TOPIC_KEYS.iter().map(|t| &t.key)).chain(DYNAMIC_ONLY_KEYS) {
            if let Some(d) = k.default {
                k.parse(d).unwrap_or_else(|e| panic!("{}: {e}", k.name));
            }
            assert!(broker_key(k.name).is_some() || topic_key(k.name).is_some() || dynamic_only_key(k.name).is_some());
        }
        for t in TOPIC_KEYS {
            if let Some(s) = t.broker_synonym {
                let b = broker_key(s).unwrap();
                assert_eq!(b.kind, t.key.kind, "{s}");
            }
        }
        for k in LISTENER_SECURITY_KEYS {
            assert_eq!(broker_key(k).unwrap().mode, Mode::PerBroker);
        }
    }

    #[test]
    fn validators_speak_as_kafka_s_do() {
        let error = |k: &str, v: &str| broker_key(k).unwrap().parse(v).unwrap_err().to_string();
        let topic = |k: &str, v: &str| topic_key(k).unwrap().key.parse(v).unwrap_err().to_string();
        assert_eq!(
            error("num.partitions", "0"),
            "Invalid value 0 for configuration num.partitions: Value must be at least 1"
        );
        assert_eq!(
            error("log.cleaner.min.cleanable.ratio", "1.5"),
            "Invalid value 1.5 for configuration log.cleaner.min.cleanable.ratio: Value must be no more than 1"
        );
        assert_eq!(
            topic("cleanup.policy", "squash"),
            "Invalid value squash for configuration cleanup.policy: String must be one of: compact, delete"
        );
        assert_eq!(
            error("inter.broker.protocol.version", "9.9"),
            "Invalid value 9.9 for configuration inter.broker.protocol.version: Version 9.9 is not a valid version"
        );
        assert_eq!(
            topic("leader.replication.throttled.replicas", "1:2,x"),
            "Invalid value [1:2, x] for configuration leader.replication.throttled.replicas: leader.replication.throttled.replicas \
             must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        );
        for good in ["*", "", "0:1", "0:1,2:3", "0:1, 2:3"] {
            topic_key("leader.replication.throttled.replicas").unwrap().key.parse(good).unwrap();
        }
    }

    #[test]
    fn names_with_a_listener_prefix_have_the_type_of_what_follows() {
        let name = "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config";
        assert_eq!(broker_kind(name), Some(Kind::Password));
        assert_eq!(broker_synonyms(name, true), vec![name, "sasl.jaas.config"]);
        assert_eq!(broker_synonyms(name, false), vec![name]);
        assert_eq!(broker_kind("listener.name.internal.max.connections"), Some(Kind::Int));
        assert_eq!(broker_kind("super.users"), None);
        assert_eq!(broker_kind("leader.replication.throttled.rate"), Some(Kind::Long));
        assert!(is_dynamic_password("listener.name.x.ssl.keystore.password"));
        assert!(!is_dynamic_password("password.encoder.secret"));
    }
}
