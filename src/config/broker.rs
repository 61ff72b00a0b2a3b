//! [`BrokerConfig`]: one immutable state of a broker's settings (`KafkaConfig`, `DynamicBrokerConfig`).
//!
//! It holds the layers they come from (static file, dynamic default, dynamic of this broker), all 295 parsed values, and what
//! is derived from several of them. A dynamic change makes a new `BrokerConfig`; whoever owns the current one swaps an `Arc`.

use super::error::ConfigError;
use super::listeners::{Endpoint, ProtocolMap, SecurityProtocol, parse_listeners, protocol_map};
use super::log_config::{LogConfig, bare_topic_values, retention_ms, topic_values};
use super::properties::Properties;
use super::registry::{broker_index, broker_key, broker_keys, broker_synonyms};
use super::validate;
use super::value::{Kind, Value, csv};
use super::version::ProtocolVersion;
use super::{legacy, providers};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `zookeeper.connect`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZkConnect {
    /// `host:port,host:port`
    pub servers: String,
    /// `/path` without a slash at its end, or empty.
    pub chroot: String,
}

/// A broker's settings; see the module.
#[derive(Clone)]
pub struct BrokerConfig {
    pub(super) static_props: BTreeMap<String, String>,
    pub(super) dynamic_default: BTreeMap<String, String>,
    pub(super) dynamic_broker: BTreeMap<String, String>,
    /// What is set after the layers were put over each other.
    pub(super) originals: BTreeMap<String, String>,
    /// By place in the registry.
    values: Vec<Value>,
    derived: Derived,
    warnings: Vec<String>,
}

#[derive(Clone)]
struct Derived {
    listeners: Vec<Endpoint>,
    advertised: Vec<Endpoint>,
    protocols: ProtocolMap,
    inter_broker: (String, SecurityProtocol),
    control_plane: Option<(String, SecurityProtocol)>,
    log_dirs: Vec<PathBuf>,
    version: ProtocolVersion,
    log_defaults: LogConfig,
}

impl BrokerConfig {
    /// Reads a properties file and puts the command line's `--override`s over it.
    pub fn load(file: &Path, overrides: &[(String, String)]) -> Result<BrokerConfig, ConfigError> {
        let mut properties = Properties::read(file)?;
        overrides.iter().for_each(|(k, v)| properties.set(k, v));
        BrokerConfig::from_properties(properties)
    }

    /// The configuration that these static properties give.
    pub fn from_properties(properties: Properties) -> Result<BrokerConfig, ConfigError> {
        let mut properties = providers::resolve(properties)?;
        let mut warnings = legacy::apply(&mut properties)?;
        match (properties.get("broker.id").map(str::to_owned), properties.get("node.id").map(str::to_owned)) {
            (None, Some(id)) => properties.set("broker.id", id),
            (Some(id), None) => properties.set("node.id", id),
            _ => {}
        }
        legacy::warn_unknown(&properties, &mut warnings);
        let static_props = properties.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        BrokerConfig::layered(static_props, BTreeMap::new(), BTreeMap::new(), warnings)
    }

    /// The static properties of this configuration under other dynamic layers; see [`super::dynamic`] for their checks.
    pub(super) fn relayered(
        &self,
        default: BTreeMap<String, String>,
        broker: BTreeMap<String, String>,
    ) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::layered(self.static_props.clone(), default, broker, self.warnings.clone())
    }

    fn layered(
        static_props: BTreeMap<String, String>,
        dynamic_default: BTreeMap<String, String>,
        dynamic_broker: BTreeMap<String, String>,
        warnings: Vec<String>,
    ) -> Result<BrokerConfig, ConfigError> {
        let mut originals = static_props.clone();
        for layer in [&dynamic_default, &dynamic_broker] {
            // All of a layer's synonyms first, then its values: log.roll.ms and .hours of one layer may both stay.
            layer.keys().for_each(|k| broker_synonyms(k, false).into_iter().for_each(|s| drop(originals.remove(s))));
            originals.extend(layer.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        let value = |k: &super::registry::ConfigKey| match originals.get(k.name) {
            Some(raw) => k.parse(raw),
            None => Ok(k.default_value()),
        };
        let values = broker_keys().iter().map(value).collect::<Result<Vec<_>, _>>()?;
        let version = ProtocolVersion::parse("3.7")?;
        let derived = Derived {
            listeners: Vec::new(),
            advertised: Vec::new(),
            protocols: ProtocolMap::new(),
            inter_broker: (String::new(), SecurityProtocol::Plaintext),
            control_plane: None,
            log_dirs: Vec::new(),
            version,
            log_defaults: LogConfig::from_values(&bare_topic_values(&BTreeMap::new())?, version)?,
        };
        let mut cfg =
            BrokerConfig { static_props, dynamic_default, dynamic_broker, originals, values, derived, warnings };
        cfg.derive()?;
        validate::validate(&cfg)?;
        let defaults = topic_values(&cfg, &BTreeMap::new())?;
        super::topic::validate_lag(&defaults)?;
        cfg.derived.log_defaults = LogConfig::from_values(&defaults, cfg.derived.version)?;
        Ok(cfg)
    }

    fn derive(&mut self) -> Result<(), ConfigError> {
        validate::no_kraft(self)?;
        self.derived.protocols = protocol_map(self.string("listener.security.protocol.map"))?;
        self.derived.listeners = parse_listeners(self.string("listeners"), &self.derived.protocols, true)?;
        self.derived.advertised = match self.opt_string("advertised.listeners") {
            Some(text) => parse_listeners(text, &self.derived.protocols, false)?,
            None => self.derived.listeners.clone(),
        };
        self.derived.version = ProtocolVersion::parse(self.string("inter.broker.protocol.version"))?;
        self.derived.inter_broker = validate::inter_broker_listener(self)?;
        self.derived.control_plane = validate::control_plane_listener(self)?;
        let dirs = csv(self.opt_string("log.dirs").unwrap_or_else(|| self.string("log.dir")));
        self.derived.log_dirs = dirs.into_iter().map(PathBuf::from).collect();
        Ok(())
    }

    /// The parsed value of a registered key.
    pub fn value(&self, key: &str) -> &Value {
        let found = broker_index(key).and_then(|i| self.values.get(i));
        debug_assert!(found.is_some(), "{key} is not a broker key");
        found.unwrap_or(&Value::Null)
    }

    /// An int or short key; null is 0.
    pub fn int(&self, key: &str) -> i32 {
        self.opt_int(key).unwrap_or_default()
    }

    /// An int or short key.
    pub fn opt_int(&self, key: &str) -> Option<i32> {
        match self.value(key) {
            Value::Int(v) => Some(*v),
            Value::Short(v) => Some(i32::from(*v)),
            other => none_for(key, other),
        }
    }

    /// A long (or int) key; null is 0.
    pub fn long(&self, key: &str) -> i64 {
        self.opt_long(key).unwrap_or_default()
    }

    /// A long (or int) key.
    pub fn opt_long(&self, key: &str) -> Option<i64> {
        match self.value(key) {
            Value::Long(v) => Some(*v),
            Value::Int(v) => Some(i64::from(*v)),
            Value::Short(v) => Some(i64::from(*v)),
            other => none_for(key, other),
        }
    }

    pub fn double(&self, key: &str) -> f64 {
        match self.value(key) {
            Value::Double(v) => *v,
            other => none_for(key, other).unwrap_or_default(),
        }
    }

    pub fn bool(&self, key: &str) -> bool {
        match self.value(key) {
            Value::Bool(v) => *v,
            other => none_for(key, other).unwrap_or_default(),
        }
    }

    /// A string, class or password key; null is empty.
    pub fn string(&self, key: &str) -> &str {
        self.opt_string(key).unwrap_or_default()
    }

    /// A string, class or password key.
    pub fn opt_string(&self, key: &str) -> Option<&str> {
        match self.value(key) {
            Value::Text(v) => Some(v),
            other => none_for(key, other),
        }
    }

    /// A list key; null is empty.
    pub fn list(&self, key: &str) -> &[String] {
        match self.value(key) {
            Value::List(v) => v,
            other => none_for(key, other).unwrap_or_default(),
        }
    }

    /// Whatever was set under this name, known or not (`super.users`, a plugin's keys); not trimmed.
    pub fn original(&self, key: &str) -> Option<&str> {
        self.originals.get(key).map(String::as_str)
    }

    /// Everything that is set, by name.
    pub fn originals(&self) -> &BTreeMap<String, String> {
        &self.originals
    }

    /// A key as one listener sees it: `listener.name.<listener>.<key>` if set, else `<key>`.
    pub fn listener_value(&self, listener: &str, key: &str) -> Value {
        let name = format!("listener.name.{}.{key}", listener.to_lowercase());
        let own = self.originals.get(&name).zip(broker_key(key)).and_then(|(raw, k)| k.parse(raw).ok());
        own.unwrap_or_else(|| self.value(key).clone())
    }

    /// A SASL key of one mechanism on one listener: `listener.name.<listener>.<mechanism>.<key>`, if set.
    pub fn mechanism_value(&self, listener: &str, mechanism: &str, key: &str) -> Option<&str> {
        let name = format!("listener.name.{}.{}.{key}", listener.to_lowercase(), mechanism.to_lowercase());
        self.original(&name)
    }

    /// The SASL mechanisms that one listener offers.
    pub fn sasl_mechanisms(&self, listener: &str) -> Vec<String> {
        match self.listener_value(listener, "sasl.enabled.mechanisms") {
            Value::List(v) => v,
            _ => Vec::new(),
        }
    }

    /// `broker.id`; -1: take the stored one or have one generated.
    pub fn broker_id(&self) -> i32 {
        self.int("broker.id")
    }

    pub fn listeners(&self) -> &[Endpoint] {
        &self.derived.listeners
    }

    /// `advertised.listeners`, or the listeners where it is not set.
    pub fn advertised_listeners(&self) -> &[Endpoint] {
        &self.derived.advertised
    }

    /// Listener name (upper case) to protocol.
    pub fn security_protocols(&self) -> &ProtocolMap {
        &self.derived.protocols
    }

    /// The name of the listener that brokers use among themselves.
    pub fn inter_broker_listener(&self) -> &str {
        &self.derived.inter_broker.0
    }

    pub fn inter_broker_security_protocol(&self) -> SecurityProtocol {
        self.derived.inter_broker.1
    }

    /// The name of the listener that the controller uses, where it has its own.
    pub fn control_plane_listener(&self) -> Option<&str> {
        self.derived.control_plane.as_ref().map(|(name, _)| name.as_str())
    }

    /// `log.dirs`, or `log.dir`; at least one.
    pub fn log_dirs(&self) -> Vec<PathBuf> {
        self.derived.log_dirs.clone()
    }

    /// `inter.broker.protocol.version`.
    pub fn protocol_version(&self) -> ProtocolVersion {
        self.derived.version
    }

    pub fn zookeeper(&self) -> ZkConnect {
        let connect = self.string("zookeeper.connect");
        let (servers, chroot) = connect.find('/').map_or((connect, ""), |i| connect.split_at(i));
        ZkConnect { servers: servers.trim().to_owned(), chroot: chroot.trim_end_matches('/').to_owned() }
    }

    /// `zookeeper.session.timeout.ms`
    pub fn zookeeper_session_timeout_ms(&self) -> i32 {
        self.int("zookeeper.session.timeout.ms")
    }

    /// `zookeeper.connection.timeout.ms`, or the session's timeout.
    pub fn zookeeper_connection_timeout_ms(&self) -> i32 {
        self.opt_int("zookeeper.connection.timeout.ms").unwrap_or_else(|| self.zookeeper_session_timeout_ms())
    }

    /// `num.replica.alter.log.dirs.threads`, or one per log dir.
    pub fn replica_alter_log_dirs_threads(&self) -> i32 {
        self.opt_int("num.replica.alter.log.dirs.threads").unwrap_or(self.derived.log_dirs.len() as i32)
    }

    /// The broker's retention in milliseconds; -1: unlimited.
    pub fn log_retention_ms(&self) -> i64 {
        retention_ms(self)
    }

    /// The settings of a topic without overrides.
    pub fn log_defaults(&self) -> LogConfig {
        self.derived.log_defaults.clone()
    }

    /// The secret that signs delegation tokens (either of its two names), if it is set and not empty.
    pub fn delegation_token_secret(&self) -> Option<&str> {
        let secret = self.opt_string("delegation.token.secret.key");
        secret.or_else(|| self.opt_string("delegation.token.master.key")).filter(|s| !s.is_empty())
    }

    /// `max.connections.per.ip.overrides`: host or address to limit.
    pub fn max_connections_per_ip_overrides(&self) -> BTreeMap<String, i32> {
        validate::per_ip_overrides(self).unwrap_or_default()
    }

    /// What the operator should know of the static properties: unknown keys, keys of old releases. One WARN each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The dynamic settings of this broker that are in force.
    pub fn dynamic_broker(&self) -> &BTreeMap<String, String> {
        &self.dynamic_broker
    }

    /// The dynamic default of the cluster that is in force.
    pub fn dynamic_default(&self) -> &BTreeMap<String, String> {
        &self.dynamic_default
    }

    /// Every registered key with its value as a log line may show it, in order: passwords are hidden.
    pub fn loggable(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        broker_keys().iter().zip(&self.values).filter(|(k, _)| !k.is_internal()).map(|(k, v)| match (k.kind, v) {
            (Kind::Password, Value::Text(_)) => (k.name, "[hidden]".to_owned()),
            _ => (k.name, v.to_java()),
        })
    }
}

/// Null, or a getter of another type than the key has, which is a slip in our code.
fn none_for<T>(key: &str, value: &Value) -> Option<T> {
    debug_assert!(*value == Value::Null, "{key} has another type than the getter");
    None
}

/// Passwords are not shown.
impl std::fmt::Debug for BrokerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.loggable()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::*;

    #[test]
    fn zookeeper_connect_is_taken_apart() {
        let zk = |s: &str| config(&[("zookeeper.connect", s)]).unwrap().zookeeper();
        let is = |s: &str, c: &str| ZkConnect { servers: s.into(), chroot: c.into() };
        assert_eq!(zk("a:2181,b:2182/kafka/x"), is("a:2181,b:2182", "/kafka/x"));
        assert_eq!(zk("a:2181/"), is("a:2181", ""));
        assert_eq!(zk("a"), is("a", ""));
    }

    #[test]
    fn getters_and_derived_values() {
        let cfg = config(&[("node.id", "5"), ("log.dirs", "/a, /b,"), ("delegation.token.master.key", "m")]).unwrap();
        assert_eq!((cfg.broker_id(), cfg.int("node.id")), (5, 5));
        assert_eq!(cfg.log_dirs(), [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(cfg.replica_alter_log_dirs_threads(), 2);
        assert_eq!(cfg.zookeeper_connection_timeout_ms(), 18000);
        assert_eq!(cfg.delegation_token_secret(), Some("m"));
        assert_eq!(cfg.inter_broker_listener(), "PLAINTEXT");
        assert_eq!(cfg.int("offsets.topic.replication.factor"), 3);
        assert_eq!(cfg.list("sasl.enabled.mechanisms"), ["GSSAPI"]);
        assert_eq!(cfg.list("zookeeper.ssl.cipher.suites"), [""; 0]);
        assert_eq!(cfg.advertised_listeners()[0].to_string(), "PLAINTEXT://:9092");
        assert_eq!(config(&[]).unwrap().log_dirs(), [PathBuf::from("/tmp/kafka-logs")]);
    }

    #[test]
    fn listener_prefixes_override() {
        let cfg = config(&[
            ("listeners", "PLAINTEXT://:9092,SASL_PLAINTEXT://:9093"),
            ("listener.name.sasl_plaintext.sasl.enabled.mechanisms", "PLAIN"),
            ("listener.name.sasl_plaintext.plain.sasl.jaas.config", "x"),
        ])
        .unwrap();
        assert_eq!(cfg.sasl_mechanisms("SASL_PLAINTEXT"), ["PLAIN"]);
        assert_eq!(cfg.sasl_mechanisms("PLAINTEXT"), ["GSSAPI"]);
        assert_eq!(cfg.mechanism_value("SASL_PLAINTEXT", "PLAIN", "sasl.jaas.config"), Some("x"));
        assert!(cfg.warnings().is_empty());
    }

    #[test]
    fn passwords_do_not_show_in_debug_output() {
        let cfg = config(&[("ssl.key.password", "geheim"), ("password.encoder.secret", "geheim")]).unwrap();
        assert!(!format!("{cfg:?}").contains("geheim"));
    }

    #[test]
    fn a_file_with_overrides() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.properties");
        std::fs::write(&file, "broker.id=1\nzookeeper.connect=a\nnum.io.threads=4").unwrap();
        let cfg = BrokerConfig::load(&file, &[("num.io.threads".into(), "2".into())]).unwrap();
        assert_eq!((cfg.broker_id(), cfg.int("num.io.threads")), (1, 2));
    }

    #[test]
    fn the_shipped_file_is_good() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/server.properties");
        let cfg = BrokerConfig::load(&file, &[]).unwrap();
        assert_eq!(cfg.warnings(), [""; 0]);
        assert_eq!((cfg.broker_id(), cfg.zookeeper().servers.as_str()), (0, "localhost:2181"));
        assert_eq!(cfg.log_dirs(), [PathBuf::from("/tmp/kafka-logs")]);
    }
}
