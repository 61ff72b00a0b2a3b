//! What the coordinator is told by the broker: its configuration and its clocks.
//!
//! Answers to Kafka's `GroupConfig` and `OffsetConfig`. Owns no state.

use std::time::{SystemTime, UNIX_EPOCH};

/// The part of `server.properties` that steers groups. Fields are named like the keys; `Default` has Kafka's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `broker.id`, for log lines.
    pub broker_id: i32,
    pub group_min_session_timeout_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub group_max_size: i32,
    pub group_initial_rebalance_delay_ms: i32,
    /// Longest metadata string of a commit, in UTF-16 units.
    pub offset_metadata_max_bytes: i32,
    pub offsets_load_buffer_size: i32,
    pub offsets_retention_minutes: i32,
    pub offsets_retention_check_interval_ms: i64,
    /// Codec id: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub offsets_topic_compression_codec: i8,
    pub offsets_commit_timeout_ms: i32,
    /// Not used here: the `OffsetsLog` of the broker applies it.
    pub offsets_commit_required_acks: i16,
    /// Version of offset values without explicit expiry: 3, or what an older `inter.broker.protocol.version` asks for.
    pub offset_value_version: i16,
    /// Version of group values: 3, or what an older `inter.broker.protocol.version` asks for.
    pub group_value_version: i16,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            broker_id: 0,
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 1_800_000,
            group_max_size: i32::MAX,
            group_initial_rebalance_delay_ms: 3_000,
            offset_metadata_max_bytes: 4_096,
            offsets_load_buffer_size: 5 * 1024 * 1024,
            offsets_retention_minutes: 7 * 24 * 60,
            offsets_retention_check_interval_ms: 600_000,
            offsets_topic_compression_codec: 0,
            offsets_commit_timeout_ms: 5_000,
            offsets_commit_required_acks: -1,
            offset_value_version: 3,
            group_value_version: 3,
        }
    }
}

impl GroupConfig {
    /// `offsets.retention.minutes` in milliseconds.
    pub fn offsets_retention_ms(&self) -> i64 {
        i64::from(self.offsets_retention_minutes) * 60_000
    }
}

/// One moment on both clocks. Timestamps that are stored or compared with stored ones are `wall_ms`; deadlines are
/// `mono_ms`, so that a step of the wall clock expires nobody's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the epoch.
    pub wall_ms: i64,
    /// Milliseconds since some fixed moment; never goes back.
    pub mono_ms: i64,
}

/// Where the coordinator takes the time from.
pub trait GroupClock: Send + Sync {
    fn now(&self) -> Now;
}

/// The real clocks. The monotonic one is tokio's, the one the coordinator's timer sleeps by.
#[derive(Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
}

impl SystemClock {
    pub fn new() -> SystemClock {
        SystemClock { start: tokio::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl GroupClock for SystemClock {
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { wall_ms: wall.as_millis() as i64, mono_ms: self.start.elapsed().as_millis() as i64 }
    }
}
