//! What DescribeConfigs says of topics and brokers (`ConfigHelper`): value, where it comes from, and its synonyms by priority.

use super::broker::BrokerConfig;
use super::error::ConfigError;
use super::log_config::topic_values;
use super::registry::{broker_key, broker_keys, broker_kind, broker_synonyms, dynamic_broker_key, topic_key};
use super::value::{Kind, Value};
use std::collections::BTreeMap;

/// Where a value comes from: the ids of a DescribeConfigs response.
pub mod source {
    pub const TOPIC: i8 = 1;
    pub const DYNAMIC_BROKER: i8 = 2;
    pub const DYNAMIC_DEFAULT_BROKER: i8 = 3;
    pub const STATIC_BROKER: i8 = 4;
    pub const DEFAULT: i8 = 5;
    pub const DYNAMIC_BROKER_LOGGER: i8 = 6;
}

/// The type id of keys that nobody knows.
const UNKNOWN: i8 = 0;

/// A setting of one name at one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    /// `None` where it is secret.
    pub value: Option<String>,
    /// See [`source`].
    pub source: i8,
}

/// One entry of a DescribeConfigs response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None`: null, or secret.
    pub value: Option<String>,
    /// See [`source`].
    pub source: i8,
    pub sensitive: bool,
    pub read_only: bool,
    /// [`Kind::id`], or 0 for unknown keys.
    pub kind: i8,
    /// We have no documentation texts.
    pub doc: Option<String>,
    /// Highest priority first.
    pub synonyms: Vec<Synonym>,
}

/// All settings of a topic with these overrides, by name.
pub fn topic_entries(
    cfg: &BrokerConfig,
    overrides: &BTreeMap<String, String>,
) -> Result<Vec<ConfigEntry>, ConfigError> {
    let values = topic_values(cfg, overrides)?;
    let mut entries: Vec<ConfigEntry> =
        values.iter().map(|(key, value)| topic_entry(cfg, overrides, key.name, Some((key.kind, value)))).collect();
    let unknown = overrides.keys().filter(|k| topic_key(k).is_none());
    entries.extend(unknown.map(|k| topic_entry(cfg, overrides, k, None)));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn topic_entry(
    cfg: &BrokerConfig,
    overrides: &BTreeMap<String, String>,
    name: &str,
    known: Option<(Kind, &Value)>,
) -> ConfigEntry {
    let value = known.and_then(|(_, v)| v.to_text());
    let mut list = match topic_key(name).and_then(|t| t.broker_synonym) {
        Some(broker) => synonyms(cfg, broker, &broker_synonyms(broker, true), false),
        None => Vec::new(),
    };
    if overrides.contains_key(name) {
        list.insert(0, Synonym { name: name.to_owned(), value: value.clone(), source: source::TOPIC });
    }
    ConfigEntry {
        name: name.to_owned(),
        value,
        source: list.first().map_or(source::DEFAULT, |s| s.source),
        sensitive: known.is_none(),
        read_only: false,
        kind: known.map_or(UNKNOWN, |(kind, _)| kind.id()),
        doc: None,
        synonyms: list,
    }
}

/// All settings of this broker, by name: those that are set, and the known ones that are not internal.
pub fn broker_entries(cfg: &BrokerConfig) -> Vec<ConfigEntry> {
    let known = broker_keys().iter().filter(|k| !k.is_internal()).map(|k| k.name);
    let mut names: Vec<&str> = cfg.originals().keys().map(String::as_str).chain(known).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|n| broker_entry(cfg, n, true)).collect()
}

/// The dynamic default of the cluster: what DescribeConfigs answers for the broker without a name.
pub fn default_broker_entries(cfg: &BrokerConfig) -> Vec<ConfigEntry> {
    cfg.dynamic_default().keys().map(|n| broker_entry(cfg, n, false)).collect()
}

fn broker_entry(cfg: &BrokerConfig, name: &str, per_broker: bool) -> ConfigEntry {
    let kind = broker_kind(name);
    let sensitive = kind.is_none_or(|k| k == Kind::Password);
    let value = match broker_key(name) {
        _ if sensitive => None,
        _ if !per_broker => cfg.dynamic_default().get(name).cloned(),
        Some(key) => cfg.value(key.name).to_text(),
        None => cfg.original(name).map(str::to_owned),
    };
    let mut list = synonyms(cfg, name, &broker_synonyms(name, true), sensitive);
    list.retain(|s| per_broker || s.source == source::DYNAMIC_DEFAULT_BROKER);
    ConfigEntry {
        name: name.to_owned(),
        value,
        source: list.first().map_or(source::DEFAULT, |s| s.source),
        sensitive,
        read_only: broker_key(name).is_none() || dynamic_broker_key(name).is_none(),
        kind: kind.map_or(UNKNOWN, Kind::id),
        doc: None,
        synonyms: list,
    }
}

/// All names at all layers, from the first that is `name` itself on (so the base key has no listener's values before it).
fn synonyms(cfg: &BrokerConfig, name: &str, names: &[&str], sensitive: bool) -> Vec<Synonym> {
    let layers = [
        (&cfg.dynamic_broker, source::DYNAMIC_BROKER),
        (&cfg.dynamic_default, source::DYNAMIC_DEFAULT_BROKER),
        (&cfg.static_props, source::STATIC_BROKER),
    ];
    let mut all = Vec::new();
    let mut add = |name: &str, value: &str, source: i8| {
        let value = Some(value.to_owned()).filter(|_| !sensitive);
        all.push(Synonym { name: name.to_owned(), value, source });
    };
    for (layer, source) in layers {
        names.iter().for_each(|n| layer.get(*n).into_iter().for_each(|v| add(n, v, source)));
    }
    for n in names {
        if let Some(default) = broker_key(n).and_then(|k| k.default_value().to_text()) {
            add(n, &default, source::DEFAULT);
        }
    }
    all.into_iter().skip_while(|s| s.name != name).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::*;
    use serde_json::{Value as Json, json};

    const BROKER: &[(&str, &str)] = &[
        ("authorizer.class.name", "kafka.security.authorizer.AclAuthorizer"),
        ("super.users", "User:ANONYMOUS;User:admin"),
        ("delegation.token.secret.key", "secret"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("listener.name.sasl_plaintext.plain.sasl.jaas.config", "x"),
        ("listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config", "x"),
        ("listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config", "x"),
        ("log.cleaner.backoff.ms", "1000"),
        ("log.cleaner.dedupe.buffer.size", "2097152"),
        ("num.io.threads", "3"),
        ("num.network.threads", "2"),
        ("offsets.topic.num.partitions", "5"),
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"),
        ("transaction.state.log.num.partitions", "5"),
        ("zookeeper.connect", "127.0.0.1:2281"),
    ];

    fn broker(id: u16) -> BrokerConfig {
        let listeners = format!("PLAINTEXT://127.0.0.1:{},SASL_PLAINTEXT://127.0.0.1:{}", 19092 + id, 19192 + id);
        let advertised = listeners.replace("127.0.0.1", "localhost");
        let (id, dir) = (id.to_string(), format!("/srv/kafka/d0/b{id}"));
        let mut pairs = BROKER.to_vec();
        pairs.extend([
            ("broker.id", id.as_str()),
            ("log.dirs", &dir),
            ("listeners", &listeners),
            ("advertised.listeners", &advertised),
        ]);
        config(&pairs).unwrap()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn json_of(e: &ConfigEntry) -> Json {
        let source = |s: i8| {
            [
                "",
                "DYNAMIC_TOPIC_CONFIG",
                "DYNAMIC_BROKER_CONFIG",
                "DYNAMIC_DEFAULT_BROKER_CONFIG",
                "STATIC_BROKER_CONFIG",
                "DEFAULT_CONFIG",
            ][s as usize]
        };
        let kinds = ["UNKNOWN", "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS", "PASSWORD"];
        let synonyms: Vec<Json> =
            e.synonyms.iter().map(|s| json!({"name": s.name, "value": s.value, "source": source(s.source)})).collect();
        json!({"name": e.name, "value": e.value, "source": source(e.source), "type": kinds[e.kind as usize],
               "sensitive": e.sensitive, "readOnly": e.read_only, "synonyms": synonyms})
    }

    #[track_caller]
    fn same(entries: &[ConfigEntry], golden: &str) {
        let golden: Vec<Json> = golden.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        for (e, g) in entries.iter().map(json_of).zip(&golden) {
            assert_eq!(e, *g);
        }
        assert_eq!(entries.len(), golden.len());
    }

    macro_rules! golden {
        ($name:literal) => {
            include_str!(concat!("../../tests/golden/configs/", $name, ".jsonl"))
        };
    }

    #[test]
    fn broker_under_a_dynamic_default() {
        let (cfg, _) = broker(1).with_dynamic(&map(&[("log.retention.ms", "600000000")]), &map(&[])).unwrap();
        same(&broker_entries(&cfg), golden!("broker-1"));
    }

    #[test]
    fn broker_with_dynamic_settings() {
        let own = map(&[("background.threads", "8"), ("log.cleaner.io.max.bytes.per.second", "1000000")]);
        let (cfg, _) = broker(0).with_dynamic(&map(&[]), &own).unwrap();
        same(&broker_entries(&cfg), golden!("broker-0-with-dynamic"));
    }

    #[test]
    fn broker_with_a_dynamic_default_and_an_unknown_key() {
        let default = map(&[("log.retention.ms", "600000000")]);
        let (cfg, _) = broker(0).with_dynamic(&default, &map(&[("nosuch.config", "1")])).unwrap();
        same(&broker_entries(&cfg), golden!("broker-0"));
        same(&default_broker_entries(&cfg), golden!("broker-cluster-default"));
    }

    #[test]
    fn topics() {
        let default = map(&[("log.retention.ms", "600000000")]);
        let (cfg, _) = broker(0).with_dynamic(&default, &map(&[])).unwrap();
        let kc1 = map(&[("cleanup.policy", "compact,delete"), ("retention.ms", "5")]);
        same(&topic_entries(&cfg, &kc1).unwrap(), golden!("topic-kc1"));
        same(&topic_entries(&cfg, &map(&[])).unwrap(), golden!("topic-t1"));
    }
}
