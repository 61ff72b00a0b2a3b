//! Keys of older releases, and keys that nobody knows.
//!
//! Kafka 3.7 ignores `port`, `host.name`, `advertised.port` and `advertised.host.name` without a word, so that a broker of an
//! upgraded machine listens where nobody looks for it. We keep to them where `listeners` does not say otherwise, and warn.

use super::error::ConfigError;
use super::properties::Properties;
use super::registry::{broker_key, listener_base_name};
use super::value::{Kind, Value, java_trim};

const LEGACY: [&str; 4] = ["host.name", "port", "advertised.host.name", "advertised.port"];

/// Prefixes and names of keys that belong to plugins and tools, which read them from the same file.
const PLUGIN_PREFIXES: &[&str] = &[
    "config.providers",
    "metrics.context.",
    "rsm.config.",
    "rlmm.config.",
    "authorizer.zookeeper.",
    "authorizer.ssl.",
];
const PLUGIN_KEYS: &[&str] = &["super.users", "allow.everyone.if.no.acl.found", "enable.zookeeper.migration"];

const REPORTERS: [&str; 2] = ["metric.reporters", "kafka.metrics.reporters"];

/// Turns legacy keys into `listeners` and `advertised.listeners` where these are not set; says so.
pub(super) fn apply(properties: &mut Properties) -> Result<Vec<String>, ConfigError> {
    let mut warnings = Vec::new();
    let given = |p: &Properties, k: &str| p.get(k).map(|v| java_trim(v).to_owned());
    if properties.contains("listeners") {
        for key in LEGACY.into_iter().filter(|k| properties.contains(k)) {
            warnings.push(format!("The configuration '{key}' is ignored because 'listeners' is set."));
        }
        return Ok(warnings);
    }
    for key in ["port", "advertised.port"] {
        if let Some(raw) = properties.get(key) {
            Value::parse(key, raw, Kind::Int)?;
        }
    }
    let host = given(properties, "host.name");
    let port = given(properties, "port");
    let listener = |h: Option<&str>, p: Option<&str>| {
        let h = h.unwrap_or_default();
        let h = if h.contains(':') && !h.starts_with('[') { format!("[{h}]") } else { h.to_owned() };
        format!("PLAINTEXT://{h}:{}", p.unwrap_or("9092"))
    };
    let say = |keys: &[&str], p: &Properties, target: &str, value: &str| {
        let keys = keys.iter().filter(|k| p.contains(k)).map(|k| format!("'{k}'")).collect::<Vec<_>>().join(", ");
        format!(
            "The configuration {keys} was removed in Kafka 3.0. It is taken as {target}={value}; set '{target}' instead."
        )
    };
    let (ad_host, ad_port) = (given(properties, "advertised.host.name"), given(properties, "advertised.port"));
    if ad_host.is_some() || ad_port.is_some() {
        if properties.contains("advertised.listeners") {
            for key in ["advertised.host.name", "advertised.port"].into_iter().filter(|k| properties.contains(k)) {
                warnings.push(format!("The configuration '{key}' is ignored because 'advertised.listeners' is set."));
            }
        } else {
            let value = listener(ad_host.as_deref().or(host.as_deref()), ad_port.as_deref().or(port.as_deref()));
            warnings.push(say(
                &["advertised.host.name", "advertised.port"],
                properties,
                "advertised.listeners",
                &value,
            ));
            properties.set("advertised.listeners", value);
        }
    }
    if host.is_some() || port.is_some() {
        let value = listener(host.as_deref(), port.as_deref());
        warnings.push(say(&["host.name", "port"], properties, "listeners", &value));
        properties.set("listeners", value);
    }
    Ok(warnings)
}

/// One warning for each key that no part of the broker knows, and for metrics reporters, which are Java classes.
pub(super) fn warn_unknown(properties: &Properties, warnings: &mut Vec<String>) {
    for (key, value) in properties.iter() {
        let plugin = PLUGIN_KEYS.contains(&key) || PLUGIN_PREFIXES.iter().any(|p| key.starts_with(p));
        match broker_key(key) {
            Some(_) if REPORTERS.contains(&key) && !java_trim(value).is_empty() => warnings.push(format!(
                "The classes {} of the configuration '{key}' are not used: this broker runs no Java classes.",
                java_trim(value)
            )),
            Some(_) => {}
            None if plugin || LEGACY.contains(&key) || listener_base_name(key).is_some() => {}
            None => warnings.push(format!("The configuration '{key}' was supplied but isn't a known config.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;

    #[test]
    fn port_and_host_name_count_where_listeners_is_not_set() {
        let cfg = config(&[("port", " 9093 ")]).unwrap();
        assert_eq!(cfg.listeners()[0].to_string(), "PLAINTEXT://:9093");
        assert_eq!(
            cfg.warnings(),
            [
                "The configuration 'port' was removed in Kafka 3.0. It is taken as listeners=PLAINTEXT://:9093; set 'listeners' instead."
            ]
        );
        let cfg = config(&[("host.name", "::1"), ("advertised.port", "7"), ("advertised.host.name", "pub")]).unwrap();
        assert_eq!(cfg.listeners()[0].to_string(), "PLAINTEXT://[::1]:9092");
        assert_eq!(cfg.advertised_listeners()[0].to_string(), "PLAINTEXT://pub:7");
        assert_eq!(cfg.warnings().len(), 2);
        let cfg = config(&[("host.name", "h"), ("advertised.port", "7")]).unwrap();
        assert_eq!(cfg.advertised_listeners()[0].to_string(), "PLAINTEXT://h:7");
    }

    #[test]
    fn listeners_wins_over_them() {
        let cfg = config(&[("port", "9093"), ("listeners", "PLAINTEXT://:1")]).unwrap();
        assert_eq!(cfg.listeners()[0].port, 1);
        assert_eq!(cfg.warnings(), ["The configuration 'port' is ignored because 'listeners' is set."]);
        let e = config(&[("port", "abc")]).unwrap_err();
        assert_eq!(e.to_string(), "Invalid value abc for configuration port: Not a number of type INT");
    }

    #[test]
    fn an_unknown_key_warns_once() {
        let cfg =
            config(&[("log.clenaer.threads", "1"), ("super.users", "User:a"), ("listener.name.x.y", "1")]).unwrap();
        assert_eq!(cfg.warnings(), ["The configuration 'log.clenaer.threads' was supplied but isn't a known config."]);
        assert_eq!(cfg.original("super.users"), Some("User:a"));
        let cfg = config(&[("metric.reporters", "a.B")]).unwrap();
        assert!(cfg.warnings()[0].contains("a.B"));
    }
}
