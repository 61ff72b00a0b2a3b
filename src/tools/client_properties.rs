//! Java client properties in librdkafka's terms: renamed, converted, checked against the values Java allows, or
//! left out where only the Java client has such a thing.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use super::failure::JavaError;
use super::properties::Properties;

/// What a property becomes.
enum Mapped {
    /// The same value under this name.
    As(&'static str),
    /// Bytes in Java, kibibytes here.
    Kibibytes(&'static str),
}

/// Java name, then what becomes of it; names that are not in the table mean nothing to librdkafka.
const COMMON: &[(&str, Mapped)] = &[
    ("bootstrap.servers", Mapped::As("bootstrap.servers")),
    ("client.id", Mapped::As("client.id")),
    ("client.rack", Mapped::As("client.rack")),
    ("client.dns.lookup", Mapped::As("client.dns.lookup")),
    ("connections.max.idle.ms", Mapped::As("connections.max.idle.ms")),
    ("metadata.max.age.ms", Mapped::As("metadata.max.age.ms")),
    ("receive.buffer.bytes", Mapped::As("socket.receive.buffer.bytes")),
    ("reconnect.backoff.max.ms", Mapped::As("reconnect.backoff.max.ms")),
    ("reconnect.backoff.ms", Mapped::As("reconnect.backoff.ms")),
    ("retry.backoff.max.ms", Mapped::As("retry.backoff.max.ms")),
    ("retry.backoff.ms", Mapped::As("retry.backoff.ms")),
    ("security.protocol", Mapped::As("security.protocol")),
    ("send.buffer.bytes", Mapped::As("socket.send.buffer.bytes")),
];

const PRODUCER: &[(&str, Mapped)] = &[
    ("acks", Mapped::As("acks")),
    ("batch.size", Mapped::As("batch.size")),
    ("buffer.memory", Mapped::Kibibytes("queue.buffering.max.kbytes")),
    ("compression.type", Mapped::As("compression.type")),
    ("delivery.timeout.ms", Mapped::As("delivery.timeout.ms")),
    ("enable.idempotence", Mapped::As("enable.idempotence")),
    ("linger.ms", Mapped::As("linger.ms")),
    ("max.in.flight.requests.per.connection", Mapped::As("max.in.flight.requests.per.connection")),
    ("request.timeout.ms", Mapped::As("request.timeout.ms")),
    ("retries", Mapped::As("retries")),
    ("transaction.timeout.ms", Mapped::As("transaction.timeout.ms")),
];

const CONSUMER: &[(&str, Mapped)] = &[
    ("allow.auto.create.topics", Mapped::As("allow.auto.create.topics")),
    ("auto.commit.interval.ms", Mapped::As("auto.commit.interval.ms")),
    ("auto.offset.reset", Mapped::As("auto.offset.reset")),
    ("check.crcs", Mapped::As("check.crcs")),
    ("enable.auto.commit", Mapped::As("enable.auto.commit")),
    ("fetch.max.bytes", Mapped::As("fetch.max.bytes")),
    ("fetch.max.wait.ms", Mapped::As("fetch.wait.max.ms")),
    ("fetch.min.bytes", Mapped::As("fetch.min.bytes")),
    ("group.id", Mapped::As("group.id")),
    ("group.instance.id", Mapped::As("group.instance.id")),
    ("heartbeat.interval.ms", Mapped::As("heartbeat.interval.ms")),
    ("isolation.level", Mapped::As("isolation.level")),
    ("max.partition.fetch.bytes", Mapped::As("max.partition.fetch.bytes")),
    ("max.poll.interval.ms", Mapped::As("max.poll.interval.ms")),
    ("session.timeout.ms", Mapped::As("session.timeout.ms")),
];

/// Values Java accepts, in the order its message names them.
const ALLOWED: &[(&str, &[&str])] = &[
    ("acks", &["all", "-1", "0", "1"]),
    ("compression.type", &["none", "gzip", "snappy", "lz4", "zstd"]),
    ("isolation.level", &["read_committed", "read_uncommitted"]),
    ("auto.offset.reset", &["latest", "earliest", "none"]),
];

const NUMBERS: &[&str] = &[
    "auto.commit.interval.ms",
    "batch.size",
    "buffer.memory",
    "delivery.timeout.ms",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "heartbeat.interval.ms",
    "linger.ms",
    "max.block.ms",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "max.request.size",
    "metadata.max.age.ms",
    "receive.buffer.bytes",
    "request.timeout.ms",
    "retries",
    "send.buffer.bytes",
    "session.timeout.ms",
];

/// The native configuration of a producer.
pub fn producer(properties: &Properties) -> Result<ClientConfig, JavaError> {
    let mut config = translate(properties, PRODUCER)?;
    // Keys must land where Java's default partitioner puts them.
    config.set("partitioner", "murmur2_random");
    // The size limit is checked by the tool with Java's arithmetic; here it must not be in the way.
    config.set("message.max.bytes", "1000000000");
    let acks_all = matches!(properties.get("acks"), None | Some("all" | "-1"));
    let retries = properties.get("retries") != Some("0");
    if acks_all && retries && !properties.contains("enable.idempotence") {
        config.set("enable.idempotence", "true");
    }
    if config.get("enable.idempotence") == Some("true") {
        let in_flight = properties.get("max.in.flight.requests.per.connection").and_then(|text| text.parse().ok());
        config.set("max.in.flight.requests.per.connection", in_flight.unwrap_or(5).min(5).to_string());
    }
    Ok(config)
}

/// The native configuration of a consumer.
pub fn consumer(properties: &Properties) -> Result<ClientConfig, JavaError> {
    let mut config = translate(properties, CONSUMER)?;
    if !properties.contains("allow.auto.create.topics") {
        config.set("allow.auto.create.topics", "true");
    }
    if let Some(classes) = properties.get("partition.assignment.strategy") {
        config.set("partition.assignment.strategy", assignors(classes));
    }
    // `none` means to stop with an error where there is no position.
    match properties.get("auto.offset.reset") {
        Some("none") => config.set("auto.offset.reset", "error"),
        _ => &mut config,
    };
    Ok(config)
}

fn assignors(classes: &str) -> String {
    let names = classes.split(',').map(|class| match class.trim().rsplit('.').next().unwrap_or_default() {
        "RoundRobinAssignor" | "roundrobin" => "roundrobin",
        "CooperativeStickyAssignor" | "StickyAssignor" | "cooperative-sticky" => "cooperative-sticky",
        _ => "range",
    });
    names.collect::<Vec<_>>().join(",")
}

fn translate(properties: &Properties, own: &'static [(&str, Mapped)]) -> Result<ClientConfig, JavaError> {
    check_values(properties)?;
    check_bootstrap(properties)?;
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Warning);
    for (name, value) in properties.iter() {
        let mapped = COMMON.iter().chain(own).find(|(java, _)| *java == name).map(|(_, mapped)| mapped);
        match mapped {
            Some(Mapped::As(native)) => config.set(*native, value.trim()),
            Some(Mapped::Kibibytes(native)) => {
                let bytes: u64 = value.trim().parse().unwrap_or(32 << 20);
                config.set(*native, (bytes / 1024).max(1).to_string())
            }
            None => &mut config,
        };
    }
    sasl(properties, &mut config);
    unlimited_buffers(&mut config);
    Ok(config)
}

/// Java's -1 (the system's own buffer size) is 0 here.
fn unlimited_buffers(config: &mut ClientConfig) {
    for name in ["socket.receive.buffer.bytes", "socket.send.buffer.bytes"] {
        if config.get(name) == Some("-1") {
            config.set(name, "0");
        }
    }
}

fn sasl(properties: &Properties, config: &mut ClientConfig) {
    if let Some(mechanism) = properties.get("sasl.mechanism") {
        config.set("sasl.mechanisms", mechanism);
    }
    if let Some(jaas) = properties.get("sasl.jaas.config") {
        for (java, native) in [("username", "sasl.username"), ("password", "sasl.password")] {
            if let Some(value) = jaas_option(jaas, java) {
                config.set(native, value);
            }
        }
    }
}

/// The value of `name="value"` in a line such as `...PlainLoginModule required username="bob" password="x";`.
fn jaas_option<'a>(jaas: &'a str, name: &str) -> Option<&'a str> {
    let start = jaas.find(&format!("{name}="))? + name.len() + 1;
    let rest = jaas.get(start..)?;
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split([' ', ';']).next(),
    }
}

fn check_values(properties: &Properties) -> Result<(), JavaError> {
    for (name, value) in properties.iter() {
        let value = value.trim();
        if let Some((_, allowed)) = ALLOWED.iter().find(|(key, _)| *key == name)
            && !allowed.contains(&value)
        {
            return Err(invalid(name, value, &format!("String must be one of: {}", allowed.join(", "))));
        }
        if NUMBERS.contains(&name) && value.parse::<i64>().is_err() {
            return Err(invalid(name, value, "Not a number of type INT"));
        }
    }
    Ok(())
}

fn invalid(name: &str, value: &str, why: &str) -> JavaError {
    config_exception(format!("Invalid value {value} for configuration {name}: {why}"))
}

/// Kafka's `ConfigException`.
pub fn config_exception(message: impl Into<String>) -> JavaError {
    JavaError::new("org.apache.kafka.common.config.ConfigException", message).with_frames()
}

fn check_bootstrap(properties: &Properties) -> Result<(), JavaError> {
    let servers = properties.get("bootstrap.servers").unwrap_or_default();
    match servers.split(',').map(str::trim).find(|server| !server.is_empty() && port_of(server).is_none()) {
        Some(server) => Err(config_exception(format!("Invalid url in bootstrap.servers: {server}"))),
        None => Ok(()),
    }
}

/// The port of `host:port`, also of `PROTOCOL://host:port` and `[v6]:port`.
pub fn port_of(server: &str) -> Option<u16> {
    let address = server.rsplit("://").next().unwrap_or(server);
    let (host, port) = address.rsplit_once(':')?;
    if host.contains(':') && !host.starts_with('[') {
        return None;
    }
    port.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(entries: &[(&str, &str)]) -> Properties {
        entries.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn java_names_become_native_ones() {
        let config = producer(&properties(&[
            ("bootstrap.servers", "h:9092"),
            ("buffer.memory", "33554432"),
            ("send.buffer.bytes", "-1"),
            ("key.serializer", "x"),
            ("sasl.jaas.config", "PlainLoginModule required username=\"bob\" password=\"a b\";"),
        ]))
        .unwrap();
        assert_eq!(config.get("queue.buffering.max.kbytes"), Some("32768"));
        assert_eq!(config.get("socket.send.buffer.bytes"), Some("0"));
        assert_eq!(config.get("sasl.password"), Some("a b"));
        assert_eq!(config.get("enable.idempotence"), Some("true"));
        assert_eq!(config.get("key.serializer"), None);
        assert!(config.create_native_config().is_ok());
        let config = consumer(&properties(&[("fetch.max.wait.ms", "5"), ("auto.offset.reset", "none")])).unwrap();
        assert_eq!((config.get("fetch.wait.max.ms"), config.get("auto.offset.reset")), (Some("5"), Some("error")));
        assert!(config.create_native_config().is_ok());
    }

    #[test]
    fn every_native_name_exists() {
        for (own, sample) in [(PRODUCER, "1"), (CONSUMER, "1")] {
            for (java, mapped) in COMMON.iter().chain(own) {
                let native = match mapped {
                    Mapped::As(native) | Mapped::Kibibytes(native) => native,
                };
                let mut config = ClientConfig::new();
                config.set(*native, sample);
                let error = config.create_native_config().err().map(|e| e.to_string()).unwrap_or_default();
                assert!(!error.contains("No such configuration property"), "{java} -> {native}: {error}");
            }
        }
    }

    #[test]
    fn wrong_values_have_java_texts() {
        let error = producer(&properties(&[("acks", "2")])).unwrap_err();
        assert_eq!(error.message(), "Invalid value 2 for configuration acks: String must be one of: all, -1, 0, 1");
        let error = consumer(&properties(&[("bootstrap.servers", "nohostport")])).unwrap_err();
        assert_eq!(error.message(), "Invalid url in bootstrap.servers: nohostport");
    }
}
