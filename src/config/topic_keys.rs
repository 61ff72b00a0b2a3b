//! The table of topic keys (`LogConfig`), sorted by name, and the broker keys that give their defaults
//! (`ServerTopicConfigSynonyms`; `""` = none).

use super::registry::{
    CLEANUP, COMPRESSION,
    Check::{Any, AtLeast, Between, Each, OneOf, Throttled, Version},
    ConfigKey,
    Mode::ClusterWide,
    TIMESTAMPS, key,
};
use super::value::Kind::{Bool, Double, Int, List, Long, Str};

/// A topic key and the broker key of highest priority that sets its default.
pub struct TopicKey {
    pub key: ConfigKey,
    pub broker_synonym: Option<&'static str>,
}

macro_rules! topic_keys {
    ($($name:literal, $kind:ident, $default:literal, $check:expr, $synonym:expr;)*) => {
        &[$(TopicKey { key: key($name, $kind, Some($default), $check, ClusterWide, 0), broker_synonym: $synonym }),*]
    };
}

#[rustfmt::skip]
pub(super) static TOPIC_KEYS: &[TopicKey] = topic_keys![
    "cleanup.policy", List, "delete", Each(CLEANUP), Some("log.cleanup.policy");
    "compression.type", Str, "producer", OneOf(COMPRESSION), Some("compression.type");
    "delete.retention.ms", Long, "86400000", AtLeast(0), Some("log.cleaner.delete.retention.ms");
    "file.delete.delay.ms", Long, "60000", AtLeast(0), Some("log.segment.delete.delay.ms");
    "flush.messages", Long, "9223372036854775807", AtLeast(1), Some("log.flush.interval.messages");
    "flush.ms", Long, "9223372036854775807", AtLeast(0), Some("log.flush.interval.ms");
    "follower.replication.throttled.replicas", List, "", Throttled, None;
    "index.interval.bytes", Int, "4096", AtLeast(0), Some("log.index.interval.bytes");
    "leader.replication.throttled.replicas", List, "", Throttled, None;
    "local.retention.bytes", Long, "-2", AtLeast(-2), Some("log.local.retention.bytes");
    "local.retention.ms", Long, "-2", AtLeast(-2), Some("log.local.retention.ms");
    "max.compaction.lag.ms", Long, "9223372036854775807", AtLeast(1), Some("log.cleaner.max.compaction.lag.ms");
    "max.message.bytes", Int, "1048588", AtLeast(0), Some("message.max.bytes");
    "message.downconversion.enable", Bool, "true", Any, Some("log.message.downconversion.enable");
    "message.format.version", Str, "3.0-IV1", Version, Some("log.message.format.version");
    "message.timestamp.after.max.ms", Long, "9223372036854775807", AtLeast(0), Some("log.message.timestamp.after.max.ms");
    "message.timestamp.before.max.ms", Long, "9223372036854775807", AtLeast(0), Some("log.message.timestamp.before.max.ms");
    "message.timestamp.difference.max.ms", Long, "9223372036854775807", AtLeast(0), Some("log.message.timestamp.difference.max.ms");
    "message.timestamp.type", Str, "CreateTime", OneOf(TIMESTAMPS), Some("log.message.timestamp.type");
    "min.cleanable.dirty.ratio", Double, "0.5", Between(0.0, 1.0), Some("log.cleaner.min.cleanable.ratio");
    "min.compaction.lag.ms", Long, "0", AtLeast(0), Some("log.cleaner.min.compaction.lag.ms");
    "min.insync.replicas", Int, "1", AtLeast(1), Some("min.insync.replicas");
    "preallocate", Bool, "false", Any, Some("log.preallocate");
    "remote.storage.enable", Bool, "false", Any, None;
    "retention.bytes", Long, "-1", Any, Some("log.retention.bytes");
    "retention.ms", Long, "604800000", AtLeast(-1), Some("log.retention.ms");
    "segment.bytes", Int, "1073741824", AtLeast(14), Some("log.segment.bytes");
    "segment.index.bytes", Int, "10485760", AtLeast(4), Some("log.index.size.max.bytes");
    "segment.jitter.ms", Long, "0", AtLeast(0), Some("log.roll.jitter.ms");
    "segment.ms", Long, "604800000", AtLeast(1), Some("log.roll.ms");
    "unclean.leader.election.enable", Bool, "false", Any, Some("unclean.leader.election.enable");
];
