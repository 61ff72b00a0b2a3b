//! The replicas this broker hosts: their role, in-sync sets and high watermarks, and who waits for what.
//!
//! - [`partition`]: one replica with its role, appending and reading by Kafka's rules.
//! - [`table`]: all of them, by topic and index; LeaderAndIsr and StopReplica are applied in [`control`].
//! - [`waiters`]: produce requests that wait for the high watermark, fetches that wait for data.
//! - [`fetcher`]: following other leaders, on logs as [`following`] lends them out.
//! - [`isr_changes`]: who is in sync; [`isr_manager`] takes that to the controller, or [`isr_writer`] to ZooKeeper.
//! - [`preferred`]: sending consumers to a replica near them.
//! - [`fetch`]: reading many partitions within the limits of one request; [`session`]: KIP-227 sessions.
//!
//! Lock order: table, then partition, then log; never two of one level, never across an await.
//! Answers to Kafka's `ReplicaManager`, `Partition`, `Replica`, `DelayedOperationPurgatory`, `FetchManager`.

pub mod control;
pub mod fetch;
pub mod fetcher;
pub mod follower;
mod following;
pub mod isr;
pub mod isr_changes;
pub mod isr_manager;
pub mod isr_writer;
pub mod partition;
pub mod preferred;
pub mod session;
pub mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod waiters;

pub use partition::Partition;
pub use table::ReplicaTable;
