//! [`LogConfig`]: the settings of one topic's logs, typed; broker defaults with the topic's overrides (`LogConfig`).

use super::broker::BrokerConfig;
use super::error::ConfigError;
use super::registry::topic_keys;
use super::value::Value;
use super::version::ProtocolVersion;
use std::collections::BTreeMap;

const MILLIS_PER_HOUR: i64 = 3_600_000;
const MILLIS_PER_MINUTE: i64 = 60_000;

/// What `compression.type` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent it.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Whose clock stamps records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// All 31 topic settings. Times in milliseconds, sizes in bytes; -1 = unlimited where Kafka has it so.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    pub segment_bytes: i32,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    pub segment_index_bytes: i32,
    pub index_interval_bytes: i32,
    pub flush_messages: i64,
    pub flush_ms: i64,
    /// -1: unlimited.
    pub retention_ms: i64,
    /// Negative: unlimited.
    pub retention_bytes: i64,
    /// -2: as `retention_ms`.
    pub local_retention_ms: i64,
    /// -2: as `retention_bytes`.
    pub local_retention_bytes: i64,
    pub remote_storage_enable: bool,
    pub max_message_bytes: i32,
    pub file_delete_delay_ms: i64,
    pub delete_retention_ms: i64,
    pub min_compaction_lag_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub min_cleanable_dirty_ratio: f64,
    pub cleanup_delete: bool,
    pub cleanup_compact: bool,
    pub unclean_leader_election: bool,
    pub min_insync_replicas: i32,
    pub compression: CompressionType,
    pub preallocate: bool,
    /// The record format that appends are written in: 2, unless the inter-broker protocol is older than 3.0.
    pub record_version: i8,
    /// Whether the inter-broker protocol is 2.1 or later.
    pub zstd_allowed: bool,
    pub timestamp_type: TimestampType,
    /// How far before now a timestamp may lie; takes the place of `message.timestamp.difference.max.ms` too.
    pub timestamp_before_max_ms: i64,
    /// How far after now a timestamp may lie; likewise.
    pub timestamp_after_max_ms: i64,
    pub message_downconversion: bool,
    /// `partition:broker` pairs, or one `*`.
    pub leader_replication_throttled_replicas: Vec<String>,
    /// `partition:broker` pairs, or one `*`.
    pub follower_replication_throttled_replicas: Vec<String>,
}

impl LogConfig {
    /// A topic's settings: its overrides (as stored under `/config/topics`) over the broker's. Unknown names are ignored.
    pub fn from_overrides(
        defaults: &BrokerConfig,
        overrides: &BTreeMap<String, String>,
    ) -> Result<LogConfig, ConfigError> {
        LogConfig::from_values(&topic_values(defaults, overrides)?, defaults.protocol_version())
    }

    pub(super) fn from_values(values: &TopicValues, ibp: ProtocolVersion) -> Result<LogConfig, ConfigError> {
        let cleanup = values.list("cleanup.policy");
        let has_policy = |p: &str| cleanup.iter().any(|c| c.eq_ignore_ascii_case(p));
        let difference = values.long("message.timestamp.difference.max.ms");
        let or_difference = |v: i64| if v == i64::MAX { difference } else { v };
        Ok(LogConfig {
            segment_bytes: values.int("segment.bytes"),
            segment_ms: values.long("segment.ms"),
            segment_jitter_ms: values.long("segment.jitter.ms"),
            segment_index_bytes: values.int("segment.index.bytes"),
            index_interval_bytes: values.int("index.interval.bytes"),
            flush_messages: values.long("flush.messages"),
            flush_ms: values.long("flush.ms"),
            retention_ms: values.long("retention.ms"),
            retention_bytes: values.long("retention.bytes"),
            local_retention_ms: values.long("local.retention.ms"),
            local_retention_bytes: values.long("local.retention.bytes"),
            remote_storage_enable: values.bool("remote.storage.enable"),
            max_message_bytes: values.int("max.message.bytes"),
            file_delete_delay_ms: values.long("file.delete.delay.ms"),
            delete_retention_ms: values.long("delete.retention.ms"),
            min_compaction_lag_ms: values.long("min.compaction.lag.ms"),
            max_compaction_lag_ms: values.long("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: values.double("min.cleanable.dirty.ratio"),
            cleanup_delete: has_policy("delete"),
            cleanup_compact: has_policy("compact"),
            unclean_leader_election: values.bool("unclean.leader.election.enable"),
            min_insync_replicas: values.int("min.insync.replicas"),
            compression: compression(values.text("compression.type")),
            preallocate: values.bool("preallocate"),
            zstd_allowed: ibp.at_least("2.1-IV0"),
            record_version: record_version(values.text("message.format.version"), ibp)?,
            timestamp_type: match values.text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: or_difference(values.long("message.timestamp.before.max.ms")),
            timestamp_after_max_ms: or_difference(values.long("message.timestamp.after.max.ms")),
            message_downconversion: values.bool("message.downconversion.enable"),
            leader_replication_throttled_replicas: values.list("leader.replication.throttled.replicas").to_vec(),
            follower_replication_throttled_replicas: values.list("follower.replication.throttled.replicas").to_vec(),
        })
    }

    /// The longest a segment stays active: `segment.ms`, or less where compaction must see it sooner.
    pub fn max_segment_ms(&self) -> i64 {
        if self.cleanup_compact && self.max_compaction_lag_ms > 0 {
            self.max_compaction_lag_ms.min(self.segment_ms)
        } else {
            self.segment_ms
        }
    }
}

fn compression(name: &str) -> CompressionType {
    match name {
        "uncompressed" => CompressionType::Uncompressed,
        "gzip" => CompressionType::Gzip,
        "snappy" => CompressionType::Snappy,
        "lz4" => CompressionType::Lz4,
        "zstd" => CompressionType::Zstd,
        _ => CompressionType::Producer,
    }
}

fn record_version(format: &str, ibp: ProtocolVersion) -> Result<i8, ConfigError> {
    if ibp.at_least("3.0-IV1") {
        return Ok(2); // the setting is ignored from here on
    }
    Ok(ProtocolVersion::parse(format)?.record_version())
}

/// The values of all topic keys, by their place in the table.
pub(super) struct TopicValues(Vec<Value>);

impl TopicValues {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static super::registry::ConfigKey, &Value)> {
        topic_keys().iter().map(|t| &t.key).zip(&self.0)
    }

    pub(super) fn get(&self, name: &str) -> &Value {
        let found = topic_keys().iter().position(|t| t.key.name == name).and_then(|i| self.0.get(i));
        debug_assert!(found.is_some(), "unknown topic key {name}");
        found.unwrap_or(&Value::Null)
    }

    pub(super) fn long(&self, name: &str) -> i64 {
        match self.get(name) {
            Value::Long(v) => *v,
            _ => 0,
        }
    }

    fn int(&self, name: &str) -> i32 {
        match self.get(name) {
            Value::Int(v) => *v,
            _ => 0,
        }
    }

    fn double(&self, name: &str) -> f64 {
        match self.get(name) {
            Value::Double(v) => *v,
            _ => 0.0,
        }
    }

    pub(super) fn bool(&self, name: &str) -> bool {
        matches!(self.get(name), Value::Bool(true))
    }

    pub(super) fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Value::Text(v) => v,
            _ => "",
        }
    }

    pub(super) fn list(&self, name: &str) -> &[String] {
        match self.get(name) {
            Value::List(v) => v,
            _ => &[],
        }
    }
}

/// The topic's overrides over what the broker gives (`KafkaConfig.extractLogConfigMap`), parsed and checked.
pub(super) fn topic_values(
    cfg: &BrokerConfig,
    overrides: &BTreeMap<String, String>,
) -> Result<TopicValues, ConfigError> {
    let value = |t: &'static super::topic_keys::TopicKey| match overrides.get(t.key.name) {
        Some(raw) => t.key.parse(raw),
        // Parsed again, for the topic's check is sometimes stricter than the broker's.
        None => broker_default(cfg, t).to_text().map_or(Ok(Value::Null), |text| t.key.parse(&text)),
    };
    Ok(TopicValues(topic_keys().iter().map(value).collect::<Result<_, _>>()?))
}

/// The built-in defaults with the overrides, without any broker.
pub(super) fn bare_topic_values(overrides: &BTreeMap<String, String>) -> Result<TopicValues, ConfigError> {
    let value = |t: &'static super::topic_keys::TopicKey| match overrides.get(t.key.name) {
        Some(raw) => t.key.parse(raw),
        None => Ok(t.key.default_value()),
    };
    Ok(TopicValues(topic_keys().iter().map(value).collect::<Result<_, _>>()?))
}

fn broker_default(cfg: &BrokerConfig, topic: &super::topic_keys::TopicKey) -> Value {
    match topic.key.name {
        "segment.ms" => Value::Long(
            cfg.opt_long("log.roll.ms").unwrap_or_else(|| i64::from(cfg.int("log.roll.hours")) * MILLIS_PER_HOUR),
        ),
        "segment.jitter.ms" => {
            let hours = || i64::from(cfg.int("log.roll.jitter.hours")) * MILLIS_PER_HOUR;
            Value::Long(cfg.opt_long("log.roll.jitter.ms").unwrap_or_else(hours))
        }
        "flush.ms" => {
            let scheduler = || cfg.long("log.flush.scheduler.interval.ms");
            Value::Long(cfg.opt_long("log.flush.interval.ms").unwrap_or_else(scheduler))
        }
        "retention.ms" => Value::Long(retention_ms(cfg)),
        "message.format.version" if cfg.protocol_version().at_least("3.0-IV1") => topic.key.default_value(),
        "message.format.version" => {
            let given = cfg.string("log.message.format.version");
            ProtocolVersion::parse(given).map_or(Value::Null, |v| Value::Text(v.name().to_owned()))
        }
        "message.timestamp.before.max.ms" | "message.timestamp.after.max.ms" => {
            let own = cfg.long(topic.broker_synonym.unwrap_or_default());
            let difference = || cfg.long("log.message.timestamp.difference.max.ms");
            Value::Long(if own == i64::MAX { difference() } else { own })
        }
        _ => match topic.broker_synonym {
            Some(synonym) => cfg.value(synonym).clone(),
            None => topic.key.default_value(),
        },
    }
}

/// The broker's retention: the finest unit that is set wins, and every negative time means unlimited (-1).
pub(super) fn retention_ms(cfg: &BrokerConfig) -> i64 {
    let minutes = || cfg.opt_int("log.retention.minutes").map(|m| i64::from(m) * MILLIS_PER_MINUTE);
    let hours = || i64::from(cfg.int("log.retention.hours")) * MILLIS_PER_HOUR;
    cfg.opt_long("log.retention.ms").or_else(minutes).unwrap_or_else(hours).max(-1)
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::*;

    fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_finest_unit_wins() {
        let retention = |p: &[(&str, &str)]| config(p).unwrap().log_defaults().retention_ms;
        assert_eq!(retention(&[]), 604_800_000);
        assert_eq!(retention(&[("log.retention.hours", "1")]), 3_600_000);
        assert_eq!(retention(&[("log.retention.hours", "1"), ("log.retention.minutes", "1")]), 60_000);
        assert_eq!(retention(&[("log.retention.minutes", "1"), ("log.retention.ms", "5")]), 5);
        assert_eq!(retention(&[("log.retention.ms", "-7")]), -1);
        assert_eq!(retention(&[("log.retention.hours", "-1")]), -1);
        let cfg =
            config(&[("log.roll.hours", "2"), ("log.roll.jitter.ms", "9"), ("log.roll.jitter.hours", "1")]).unwrap();
        assert_eq!((cfg.log_defaults().segment_ms, cfg.log_defaults().segment_jitter_ms), (7_200_000, 9));
        let cfg = config(&[("log.flush.scheduler.interval.ms", "3")]).unwrap();
        assert_eq!(cfg.log_defaults().flush_ms, 3);
    }

    #[test]
    fn overrides_go_over_the_broker_s() {
        let cfg = config(&[("log.segment.bytes", "1000"), ("log.cleanup.policy", "compact")]).unwrap();
        let log = LogConfig::from_overrides(
            &cfg,
            &overrides(&[
                ("cleanup.policy", "delete,compact"),
                ("compression.type", "zstd"),
                ("max.compaction.lag.ms", "10"),
            ]),
        )
        .unwrap();
        assert_eq!(log.segment_bytes, 1000);
        assert!(log.cleanup_compact && log.cleanup_delete && !cfg.log_defaults().cleanup_delete);
        assert_eq!(log.compression, CompressionType::Zstd);
        assert_eq!(log.max_segment_ms(), 10);
        assert_eq!(log.record_version, 2);
        let e = LogConfig::from_overrides(&cfg, &overrides(&[("retention.ms", "abc")])).unwrap_err();
        assert_eq!(e.to_string(), "Invalid value abc for configuration retention.ms: Not a number of type LONG");
    }

    #[test]
    fn the_timestamp_difference_fills_in() {
        let cfg = config(&[("log.message.timestamp.difference.max.ms", "100")]).unwrap();
        assert_eq!((cfg.log_defaults().timestamp_before_max_ms, cfg.log_defaults().timestamp_after_max_ms), (100, 100));
        let log = LogConfig::from_overrides(&cfg, &overrides(&[("message.timestamp.after.max.ms", "7")])).unwrap();
        assert_eq!((log.timestamp_before_max_ms, log.timestamp_after_max_ms), (100, 7));
    }

    #[test]
    fn an_old_protocol_bounds_the_record_format() {
        let cfg =
            config(&[("inter.broker.protocol.version", "2.8"), ("log.message.format.version", "0.10.2")]).unwrap();
        assert_eq!(cfg.log_defaults().record_version, 1);
    }
}
