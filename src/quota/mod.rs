//! Limits on rates: what was used lately, and whether that is too much.
//!
//! - [`rate`]: bytes per second over a sliding window.
//! - [`replication`]: the throttles of followers that catch up, on the leader's side and on their own.
//!
//! A leaf: no time of its own, no tasks; each quota has its state behind one small mutex. Answers to Kafka's
//! `SimpleRate` and `ReplicationQuotaManager` (spec log 6.1).

pub mod rate;
pub mod replication;

pub use rate::Windows;
pub use replication::{ReplicationQuota, ReplicationQuotas, Throttled};
