//! The controller: the one broker of a cluster that decides who leads which partition, and tells the others.
//!
//! Duty: every broker runs this; at most one is elected (`/controller`) and acts. It follows brokers and topics by
//! watches on ZooKeeper, writes the states of partitions there, and sends LeaderAndIsr, UpdateMetadata and
//! StopReplica to all brokers, itself among them, over the network.
//!
//! State: all of it in one task, the event loop ([`events`], `control`), which owns the context ([`context`]).
//! Nothing here takes a lock but the queue of events. Other parts of the broker hold a [`ControllerHandle`].
//!
//! Pure decisions, without I/O: `assignment`, `context`, `election`, `partition_machine`, `replica_machine`,
//! `deletion`, `reassignment`, `batch`, `versions`. What carries them out: `transitions`, `failover`, `brokers`,
//! `topics`, `reassign`, `reassign_requests`, `elections`, `isr`, through `znodes` (ZooKeeper; every write is fenced by the controller epoch)
//! and `channel` (one task per broker).
//!
//! Answers to Kafka's `KafkaController` and the rest of `kafka.controller`.

pub mod assignment;
pub mod batch;
mod brokers;
pub mod channel;
pub mod context;
mod control;
pub mod deletion;
pub mod election;
mod elections;
mod error;
pub mod events;
mod failover;
mod handle;
mod isr;
pub mod partition_machine;
mod reassign;
mod reassign_requests;
pub mod reassignment;
pub mod replica_machine;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod topics;
mod transitions;
pub mod versions;
mod znodes;

pub use context::ControllerStats;
pub use error::ControllerError;
pub use events::{ElectionAnswer, ElectionType};
pub use handle::{Controller, ControllerConfig, ControllerDeps, ControllerHandle, ControllerHooks};
pub use reassignment::ApiError;
