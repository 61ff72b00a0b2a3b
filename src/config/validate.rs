//! Rules between several keys (`KafkaConfig.validateValues` and what its constructor checks before), in Kafka's order.

use super::broker::BrokerConfig;
use super::error::{ConfigError, require};
use super::listeners::{SecurityProtocol, csv_map, listener_name};
use super::value::{csv, java_trim};
use super::version::ProtocolVersion;
use std::collections::{BTreeMap, BTreeSet};

type Result<T = ()> = std::result::Result<T, ConfigError>;

/// A broker that belongs to a KRaft cluster is not ours.
pub(super) fn no_kraft(cfg: &BrokerConfig) -> Result {
    if cfg.list("process.roles").is_empty() {
        return Ok(());
    }
    Err(ConfigError::Config(
        "`process.roles` must be empty: this broker runs in ZooKeeper mode only, not in KRaft mode.".to_owned(),
    ))
}

/// Name and protocol of the listener between brokers.
pub(super) fn inter_broker_listener(cfg: &BrokerConfig) -> Result<(String, SecurityProtocol)> {
    match cfg.opt_string("inter.broker.listener.name") {
        Some(_) if cfg.original("security.inter.broker.protocol").is_some() => Err(ConfigError::Config(
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.".to_owned(),
        )),
        Some(name) => {
            let name = listener_name(name)?;
            let protocol = cfg.security_protocols().get(&name).copied().ok_or_else(|| {
                ConfigError::Config(format!(
                    "Listener with name {name} defined in inter.broker.listener.name not found in listener.security.protocol.map."
                ))
            })?;
            Ok((name, protocol))
        }
        None => {
            let given = cfg.string("security.inter.broker.protocol");
            let protocol = SecurityProtocol::parse(given).unwrap_or(SecurityProtocol::Plaintext);
            Ok((protocol.name().to_owned(), protocol))
        }
    }
}

/// Name and protocol of the controller's own listener.
pub(super) fn control_plane_listener(cfg: &BrokerConfig) -> Result<Option<(String, SecurityProtocol)>> {
    let Some(name) = cfg.opt_string("control.plane.listener.name") else { return Ok(None) };
    let name = listener_name(name)?;
    match cfg.security_protocols().get(&name).copied() {
        Some(protocol) => Ok(Some((name, protocol))),
        None => Err(ConfigError::Config(format!(
            "Listener with {name} defined in control.plane.listener.name not found in listener.security.protocol.map."
        ))),
    }
}

/// `max.connections.per.ip.overrides`
pub(super) fn per_ip_overrides(cfg: &BrokerConfig) -> Result<BTreeMap<String, i32>> {
    let key = "max.connections.per.ip.overrides";
    let number = |(host, n): (String, String)| match n.parse() {
        Ok(n) => Ok((host, n)),
        Err(_) => Err(ConfigError::Thrown {
            class: "java.lang.NumberFormatException",
            text: format!("For input string: \"{n}\""),
        }),
    };
    csv_map(key, cfg.string(key))?.into_iter().map(number).collect()
}

/// All rules between keys.
pub(super) fn validate(cfg: &BrokerConfig) -> Result {
    early_start(cfg)?;
    let per_ip = per_ip_overrides(cfg)?;
    if !cfg.list("group.coordinator.rebalance.protocols").iter().any(|p| p == "classic") {
        return Err(ConfigError::Config("Disabling the 'classic' protocol is not supported.".to_owned()));
    }
    let codec = cfg.int("offsets.topic.compression.codec");
    if !(0..=4).contains(&codec) {
        return Err(ConfigError::IllegalArgument(format!("Unknown compression type id: {codec}")));
    }
    identity(cfg)?;
    logs(cfg)?;
    replication(cfg)?;
    migration(cfg)?;
    listeners(cfg)?;
    formats(cfg, codec)?;
    security(cfg)?;
    connections(cfg, &per_ip)?;
    consumer_groups(cfg)
}

fn early_start(cfg: &BrokerConfig) -> Result {
    for name in csv(cfg.string("early.start.listeners")) {
        if !cfg.listeners().iter().any(|l| l.listener == name) {
            return Err(ConfigError::Config(format!(
                "early.start.listeners contains listener {name}, but this is not contained in listeners or controller.listener.names"
            )));
        }
    }
    Ok(())
}

fn identity(cfg: &BrokerConfig) -> Result {
    let id = cfg.broker_id();
    if cfg.int("node.id") != id {
        return Err(ConfigError::Config("You must set `node.id` to the same value as `broker.id`.".to_owned()));
    }
    if cfg.opt_string("zookeeper.connect").is_none() {
        return Err(ConfigError::Config(
            "Missing required configuration `zookeeper.connect` which has no default value.".to_owned(),
        ));
    }
    if cfg.bool("broker.id.generation.enable") {
        require(id >= -1 && id <= cfg.int("reserved.broker.max.id"), || {
            "broker.id must be greater than or equal to -1 and not greater than reserved.broker.max.id".to_owned()
        })
    } else {
        require(id >= 0, || "broker.id must be greater than or equal to 0".to_owned())
    }
}

fn logs(cfg: &BrokerConfig) -> Result {
    let set = |key: &str| cfg.opt_long(key);
    require(set("log.roll.ms").is_none_or(|v| v >= 1), || "log.roll.ms must be greater than or equal to 1".to_owned())?;
    require(set("log.roll.jitter.ms").is_none_or(|v| v >= 0), || {
        "log.roll.jitter.ms must be greater than or equal to 0".to_owned()
    })?;
    require(cfg.log_retention_ms() != 0, || {
        "log.retention.ms must be unlimited (-1) or, greater than or equal to 1".to_owned()
    })?;
    let dirs = cfg.log_dirs();
    require(!dirs.is_empty(), || "At least one log directory must be defined via log.dirs or log.dir.".to_owned())?;
    if cfg.bool("remote.log.storage.system.enable") && dirs.len() > 1 {
        let dirs = dirs.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(",");
        return Err(ConfigError::Config(format!(
            "Multiple log directories `{dirs}` are not supported when remote log storage is enabled"
        )));
    }
    match cfg.long("log.cleaner.dedupe.buffer.size").checked_div(cfg.long("log.cleaner.threads")) {
        None => Err(ConfigError::Thrown { class: "java.lang.ArithmeticException", text: "/ by zero".to_owned() }),
        Some(each) => require(each > 1024 * 1024, || {
            "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.".to_owned()
        }),
    }
}

fn replication(cfg: &BrokerConfig) -> Result {
    let wait = cfg.int("replica.fetch.wait.max.ms");
    require(wait <= cfg.int("replica.socket.timeout.ms"), || {
        "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket timeouts"
            .to_owned()
    })?;
    require(i64::from(wait) <= cfg.long("replica.lag.time.max.ms"), || {
        "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent \
         changes in ISR"
            .to_owned()
    })?;
    let acks = cfg.int("offsets.commit.required.acks");
    require((-1..=cfg.int("offsets.topic.replication.factor")).contains(&acks), || {
        "offsets.commit.required.acks must be greater or equal -1 and less or equal to offsets.topic.replication.factor"
            .to_owned()
    })
}

fn migration(cfg: &BrokerConfig) -> Result {
    let names = cfg.string("controller.listener.names");
    let shown = || format!("[{}]", names.split(',').collect::<Vec<_>>().join(", "));
    if !cfg.bool("zookeeper.metadata.migration.enable") {
        return require(names.is_empty(), || {
            format!("controller.listener.names must be empty when not running in KRaft mode: {}", shown())
        });
    }
    if cfg.list("controller.quorum.voters").is_empty() {
        return Err(ConfigError::Config(
            "If using zookeeper.metadata.migration.enable, controller.quorum.voters must contain a parseable set of voters."
                .to_owned(),
        ));
    }
    require(!names.is_empty(), || {
        "controller.listener.names must not be empty when running in ZooKeeper migration mode: []".to_owned()
    })?;
    require(cfg.protocol_version().at_least("3.4-IV0"), || {
        "Cannot enable ZooKeeper migration without setting 'inter.broker.protocol.version' to 3.4 or higher".to_owned()
    })?;
    require(cfg.log_dirs().len() == 1 || cfg.protocol_version().at_least("3.7-IV2"), || {
        "Cannot enable ZooKeeper migration with multiple log directories (aka JBOD) without setting \
         'inter.broker.protocol.version' to 3.7-IV2 or higher"
            .to_owned()
    })
}

fn listeners(cfg: &BrokerConfig) -> Result {
    let advertised: Vec<&str> = cfg.advertised_listeners().iter().map(|e| e.listener.as_str()).collect();
    let names: Vec<&str> = cfg.listeners().iter().map(|e| e.listener.as_str()).collect();
    require(!advertised.is_empty(), || "There must be at least one advertised listener.".to_owned())?;
    let options = || advertised.join(",");
    require(advertised.contains(&cfg.inter_broker_listener()), || {
        format!(
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options based on \
             currently configured listeners are {}",
            options()
        )
    })?;
    require(advertised.iter().all(|a| names.contains(a)), || {
        format!(
            "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. Found {}. The \
             valid options based on the current configuration are {}",
            options(),
            names.join(",")
        )
    })?;
    require(!cfg.advertised_listeners().iter().any(|e| e.host.as_deref() == Some("0.0.0.0")), || {
        "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.".to_owned()
    })?;
    let Some(control) = cfg.control_plane_listener() else { return Ok(()) };
    require(advertised.contains(&control), || {
        format!(
            "control.plane.listener.name must be a listener name defined in advertised.listeners. The valid options based on \
             currently configured listeners are {}",
            options()
        )
    })?;
    require(control != cfg.inter_broker_listener(), || {
        format!(
            "control.plane.listener.name, when defined, should have a different value from the inter broker listener name. \
             Currently they both have the value ListenerName({control})"
        )
    })
}

fn formats(cfg: &BrokerConfig, codec: i32) -> Result {
    let ibp = cfg.protocol_version();
    let given = cfg.string("log.message.format.version");
    if !ibp.at_least("3.0-IV1") {
        let format = ProtocolVersion::parse(given)?.record_version();
        let needed = if format == 2 { "0.11.0" } else { "0.10.0" };
        require(ibp.record_version() >= format, || {
            format!(
                "log.message.format.version {given} can only be used when inter.broker.protocol.version is set to version \
                 {needed} or higher"
            )
        })?;
    }
    const ZSTD: i32 = 4;
    require(codec != ZSTD || ibp.record_version() >= 2, || {
        "offsets.topic.compression.codec zstd can only be used when inter.broker.protocol.version is set to version 2.1 or higher"
            .to_owned()
    })
}

fn security(cfg: &BrokerConfig) -> Result {
    if !cfg.inter_broker_security_protocol().is_sasl() {
        return Ok(());
    }
    let mechanism = cfg.string("sasl.mechanism.inter.broker.protocol");
    require(cfg.protocol_version().at_least("0.10.0-IV1") || mechanism == "GSSAPI", || {
        format!(
            "Only GSSAPI mechanism is supported for inter-broker communication with SASL when inter.broker.protocol.version is \
             set to {}",
            cfg.string("inter.broker.protocol.version")
        )
    })?;
    let enabled = cfg.sasl_mechanisms(cfg.inter_broker_listener());
    require(enabled.iter().any(|m| m == mechanism), || {
        "sasl.mechanism.inter.broker.protocol must be included in sasl.enabled.mechanisms when SASL is used for inter-broker \
         communication"
            .to_owned()
    })
}

fn connections(cfg: &BrokerConfig, per_ip: &BTreeMap<String, i32>) -> Result {
    let queued = cfg.long("queued.max.request.bytes");
    require(queued <= 0 || queued >= cfg.long("socket.request.max.bytes"), || {
        "queued.max.request.bytes must be larger or equal to socket.request.max.bytes".to_owned()
    })?;
    require(cfg.int("max.connections.per.ip") != 0 || !per_ip.is_empty(), || {
        "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.".to_owned()
    })?;
    let host_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'%' | b'.' | b'_' | b':');
    let bad: BTreeSet<&str> = per_ip.keys().map(|h| java_trim(h)).filter(|h| !h.bytes().all(host_char)).collect();
    if !bad.is_empty() {
        return Err(ConfigError::IllegalArgument(format!(
            "max.connections.per.ip.overrides contains invalid addresses : {}",
            bad.into_iter().collect::<Vec<_>>().join(",")
        )));
    }
    let idle = cfg.long("connections.max.idle.ms");
    let delay = cfg.long("connection.failed.authentication.delay.ms");
    require(idle < 0 || delay < idle, || {
        format!(
            "connection.failed.authentication.delay.ms={delay} should always be less than connections.max.idle.ms={idle} to \
             prevent failed authentication responses from timing out"
        )
    })?;
    require(cfg.opt_string("principal.builder.class").is_some(), || {
        "principal.builder.class must be non-null".to_owned()
    })
}

fn consumer_groups(cfg: &BrokerConfig) -> Result {
    for what in ["heartbeat.interval.ms", "session.timeout.ms"] {
        let (min, max) = (format!("group.consumer.min.{what}"), format!("group.consumer.max.{what}"));
        let own = format!("group.consumer.{what}");
        let greater = |a: &str, b: &str| {
            require(cfg.int(a) >= cfg.int(b), || format!("{a} must be greater than or equals to {b}"))
        };
        greater(&max, &min)?;
        greater(&own, &min)?;
        require(cfg.int(&own) <= cfg.int(&max), || format!("{own} must be less than or equals to {max}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::super::{BrokerConfig, Properties};

    #[track_caller]
    fn refused(pairs: &[(&str, &str)], text: &str) {
        let e = config(pairs).unwrap_err();
        assert_eq!(format!("{}: {e}", e.java_class()), text);
    }

    #[test]
    fn recorded_start_errors() {
        let e = BrokerConfig::from_properties(Properties::new()).unwrap_err();
        assert_eq!(
            format!("{}: {e}", e.java_class()),
            "org.apache.kafka.common.config.ConfigException: Missing required configuration `zookeeper.connect` which has no \
             default value."
        );
        refused(
            &[("num.io.threads", "abc")],
            "org.apache.kafka.common.config.ConfigException: Invalid value abc for configuration num.io.threads: Not a number \
             of type INT",
        );
        refused(
            &[("broker.id.generation.enable", "false")],
            "java.lang.IllegalArgumentException: requirement failed: broker.id must be greater than or equal to 0",
        );
        refused(
            &[("listeners", "PLAINTEXT://localhost:19097,PLAINTEXT://localhost:19098")],
            "java.lang.IllegalArgumentException: requirement failed: Each listener must have a different name, listeners: \
             PLAINTEXT://localhost:19097,PLAINTEXT://localhost:19098",
        );
        refused(
            &[("listeners", "BAD")],
            "java.lang.IllegalArgumentException: Error creating broker listeners from 'BAD': Unable to parse BAD to a broker \
             endpoint",
        );
    }

    /// As Kafka 3.7.2 answered to a properties file with this line in it.
    #[test]
    fn more_start_errors_of_a_real_broker() {
        for line in include_str!("../../tests/golden/configs/start-errors.tsv").lines() {
            let (setting, text) = line.split_once('\t').unwrap();
            let (key, value) = setting.split_once('=').unwrap();
            refused(&[(key, value)], text);
        }
    }

    #[test]
    fn rules_between_keys() {
        let iae = "java.lang.IllegalArgumentException: requirement failed: ";
        let ce = "org.apache.kafka.common.config.ConfigException: ";
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
        let cases: &[Case] = &[
            (&[("broker.id", "1"), ("node.id", "2")], ce, "You must set `node.id` to the same value as `broker.id`."),
            (
                &[("broker.id", "1001")],
                iae,
                "broker.id must be greater than or equal to -1 and not greater than reserved.broker.max.id",
            ),
            (&[("log.roll.ms", "0")], iae, "log.roll.ms must be greater than or equal to 1"),
            (
                &[("log.retention.ms", "0")],
                iae,
                "log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
            ),
            (&[("log.dirs", " , ")], iae, "At least one log directory must be defined via log.dirs or log.dir."),
            (
                &[("log.cleaner.dedupe.buffer.size", "1048576")],
                iae,
                "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
            ),
            (
                &[("replica.lag.time.max.ms", "499")],
                iae,
                "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent \
                 changes in ISR",
            ),
            (
                &[("controller.listener.names", "A,B")],
                iae,
                "controller.listener.names must be empty when not running in KRaft mode: [A, B]",
            ),
            (
                &[("advertised.listeners", "SSL://a:1"), ("listeners", "PLAINTEXT://:1,SSL://:2")],
                iae,
                "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options based \
                 on currently configured listeners are SSL",
            ),
            (
                &[("advertised.listeners", "PLAINTEXT://0.0.0.0:1")],
                iae,
                "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.",
            ),
            (
                &[("inter.broker.listener.name", "X"), ("security.inter.broker.protocol", "SSL")],
                ce,
                "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.",
            ),
            (
                &[("inter.broker.listener.name", "x")],
                ce,
                "Listener with name X defined in inter.broker.listener.name not found in listener.security.protocol.map.",
            ),
            (
                &[("inter.broker.protocol.version", "0.10.2"), ("log.message.format.version", "0.11.0")],
                iae,
                "log.message.format.version 0.11.0 can only be used when inter.broker.protocol.version is set to version \
                 0.11.0 or higher",
            ),
            (
                &[("queued.max.request.bytes", "5")],
                iae,
                "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
            ),
            (
                &[("max.connections.per.ip", "0")],
                iae,
                "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
            ),
            (
                &[("connections.max.idle.ms", "100")],
                iae,
                "connection.failed.authentication.delay.ms=100 should always be less than connections.max.idle.ms=100 to \
                 prevent failed authentication responses from timing out",
            ),
            (
                &[("group.consumer.session.timeout.ms", "70000")],
                iae,
                "group.consumer.session.timeout.ms must be less than or equals to group.consumer.max.session.timeout.ms",
            ),
            (
                &[("group.coordinator.rebalance.protocols", "consumer")],
                ce,
                "Disabling the 'classic' protocol is not supported.",
            ),
            (
                &[
                    ("listeners", "SASL_SSL://:1"),
                    ("security.inter.broker.protocol", "SASL_SSL"),
                    ("sasl.enabled.mechanisms", "PLAIN"),
                ],
                iae,
                "sasl.mechanism.inter.broker.protocol must be included in sasl.enabled.mechanisms when SASL is used for \
                 inter-broker communication",
            ),
        ];
        for (pairs, class, text) in cases {
            refused(pairs, &format!("{class}{text}"));
        }
        config(&[("max.connections.per.ip", "0"), ("max.connections.per.ip.overrides", "127.0.0.1:5,a:1")]).unwrap();
        config(&[("log.cleaner.threads", "0")]).unwrap_err();
        assert!(config(&[("process.roles", "broker")]).is_err());
    }
}
