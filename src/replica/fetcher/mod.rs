//! Following leaders: one task per leader and fetcher id copies the partitions it is given.
//!
//! - [`core`]: what one fetcher knows and decides, without time or network of its own: it says what to send next and
//!   takes in the answers, so that a simulation can run it as the broker does. [`truncation`] is where to cut a log
//!   that departs from its leader's; [`session`] the follower's side of KIP-227; [`requests`] the messages.
//! - [`task`]: the asynchronous edge, one connection per fetcher. [`manager`]: which partition goes to which fetcher.
//!
//! A fetcher touches logs only through [`FollowerLog`], and names the leader epoch it works for each time: whatever
//! comes late, after the replica was given another role, is refused there.
//! Answers to Kafka's `ReplicaFetcherManager`, `ReplicaFetcherThread`, `RemoteLeaderEndPoint` and
//! `FetchSessionHandler` (spec zookeeper 4.12, 4.13).

pub mod core;
pub mod manager;
pub mod requests;
pub mod session;
pub mod task;
#[cfg(test)]
mod tests;
pub mod truncation;

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::config::BrokerConfig;
use crate::topic::TopicPartition;

pub use manager::FetcherManager;

/// Records of one partition as the leader sent them.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Epoch of the leader that was asked.
    pub leader_epoch: i32,
    /// Offset that was asked for: the follower's log end at that time.
    pub fetch_offset: i64,
    /// Whole batches; a piece of one may follow. Empty when there was nothing new.
    pub records: Bytes,
    pub high_watermark: i64,
    pub log_start_offset: i64,
}

/// Why a follower's log could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The replica has another role or leader epoch by now: what was fetched is of no use.
    #[error("the replica does not follow in this leader epoch any more")]
    Superseded,
    /// What came is damaged; asking again may help.
    #[error("{0}")]
    Records(String),
    /// Asking again would not help.
    #[error("{0}")]
    Failed(String),
}

/// The log of a following replica, as its fetcher sees it. Calls may block on the disk.
pub trait FollowerLog: Send + Sync {
    fn log_start_offset(&self) -> i64;
    fn log_end_offset(&self) -> i64;
    /// Epoch of the last batch; none in an empty log or one of an old format.
    fn latest_epoch(&self) -> Option<i32>;
    /// The largest known epoch up to `epoch` and where it ends; (-1, -1) when that cannot be told.
    fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64);
    /// Appends, then takes over the leader's high watermark and log start.
    fn append(&self, fetched: Fetched, now_ms: i64) -> Result<(), FollowError>;
    /// Removes everything from `offset` on.
    fn truncate_to(&self, leader_epoch: i32, offset: i64, now_ms: i64) -> Result<(), FollowError>;
    /// Drops the whole log, which then begins at `offset`.
    fn restart_at(&self, leader_epoch: i32, offset: i64, now_ms: i64) -> Result<(), FollowError>;
}

/// A partition to follow from now on.
#[derive(Clone)]
pub struct FollowOrder {
    pub tp: TopicPartition,
    /// Nil when not known.
    pub topic_id: Uuid,
    pub leader: i32,
    pub leader_epoch: i32,
    /// Log end if the log knows leader epochs, else its high watermark.
    pub initial_offset: i64,
    pub log: Arc<dyn FollowerLog>,
}

/// What the replica table asks of the fetchers.
pub trait Fetching: Send + Sync {
    /// Starts following. A partition that is followed in the same leader epoch already goes on as it is.
    fn follow(&self, orders: Vec<FollowOrder>);
    /// Stops following; on return no fetcher touches these logs any more.
    fn unfollow(&self, partitions: &[TopicPartition]);
    /// The topic's id became known, or was lost (nil).
    fn set_topic_id(&self, tp: &TopicPartition, topic_id: Uuid);
    /// Ends fetchers that have nothing to do.
    fn end_idle(&self);
    /// Stops everything, for good.
    fn shut_down(&self);
}

/// Fetchers that follow nobody: for a table that only leads.
pub struct NoFetching;

impl Fetching for NoFetching {
    fn follow(&self, _: Vec<FollowOrder>) {}
    fn unfollow(&self, _: &[TopicPartition]) {}
    fn set_topic_id(&self, _: &TopicPartition, _: Uuid) {}
    fn end_idle(&self) {}
    fn shut_down(&self) {}
}

/// The settings fetchers go by, named after their keys.
#[derive(Clone, Debug)]
pub struct FetcherSettings {
    pub broker_id: i32,
    /// `num.replica.fetchers`.
    pub fetchers: i32,
    /// `replica.fetch.wait.max.ms`.
    pub max_wait_ms: i32,
    /// `replica.fetch.min.bytes`.
    pub min_bytes: i32,
    /// `replica.fetch.response.max.bytes`.
    pub max_bytes: i32,
    /// `replica.fetch.max.bytes`.
    pub partition_max_bytes: i32,
    /// `replica.fetch.backoff.ms`.
    pub backoff_ms: i64,
    /// `replica.socket.timeout.ms`.
    pub socket_timeout_ms: i32,
    /// `inter.broker.listener.name`.
    pub listener: String,
    pub versions: FetcherVersions,
}

/// Request versions by `inter.broker.protocol.version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetcherVersions {
    pub fetch: i16,
    pub list_offsets: i16,
    /// `None`: leaders of this version do not tell where epochs end, and logs are cut to their high watermark.
    pub epochs: Option<i16>,
    /// Leaders of this version say in a fetch where a log departs from theirs.
    pub truncates_on_fetch: bool,
    /// Leaders of this version keep fetch sessions.
    pub sessions: bool,
}

impl FetcherVersions {
    /// The highest of each; `at_least` answers whether the protocol version is so new.
    pub fn new(at_least: impl Fn(&str) -> bool) -> FetcherVersions {
        let pick = |table: &[(&str, i16)]| table.iter().find(|(from, _)| at_least(from)).map_or(0, |(_, v)| *v);
        FetcherVersions {
            fetch: pick(FETCH),
            list_offsets: pick(LIST_OFFSETS),
            epochs: at_least("0.11.0-IV2").then(|| pick(EPOCHS)),
            truncates_on_fetch: at_least("2.7-IV1"),
            sessions: at_least("1.1-IV0"),
        }
    }
}

const FETCH: &[(&str, i16)] = &[
    ("3.7-IV4", 16),
    ("3.5-IV1", 15),
    ("3.5-IV0", 14),
    ("3.1-IV0", 13),
    ("2.7-IV1", 12),
    ("2.3-IV1", 11),
    ("2.1-IV2", 10),
    ("2.0-IV1", 8),
    ("1.1-IV0", 7),
    ("0.11.0-IV1", 5),
    ("0.11.0-IV0", 4),
    ("0.10.1-IV1", 3),
    ("0.10.0-IV0", 2),
    ("0.9.0", 1),
];
const LIST_OFFSETS: &[(&str, i16)] = &[
    ("3.5-IV0", 8),
    ("3.0-IV1", 7),
    ("2.8-IV0", 6),
    ("2.2-IV1", 5),
    ("2.1-IV1", 4),
    ("2.0-IV1", 3),
    ("0.11.0-IV0", 2),
    ("0.10.1-IV2", 1),
];
const EPOCHS: &[(&str, i16)] = &[("2.8-IV0", 4), ("2.3-IV1", 3), ("2.1-IV1", 2), ("2.0-IV0", 1)];

impl FetcherSettings {
    pub fn of(cfg: &BrokerConfig, broker_id: i32) -> FetcherSettings {
        let ibp = cfg.protocol_version();
        FetcherSettings {
            broker_id,
            fetchers: cfg.int("num.replica.fetchers").max(1),
            max_wait_ms: cfg.int("replica.fetch.wait.max.ms"),
            min_bytes: cfg.int("replica.fetch.min.bytes"),
            max_bytes: cfg.int("replica.fetch.response.max.bytes"),
            partition_max_bytes: cfg.int("replica.fetch.max.bytes"),
            backoff_ms: i64::from(cfg.int("replica.fetch.backoff.ms")),
            socket_timeout_ms: cfg.int("replica.socket.timeout.ms"),
            listener: cfg.inter_broker_listener().to_owned(),
            versions: FetcherVersions::new(|version| ibp.at_least(version)),
        }
    }
}
