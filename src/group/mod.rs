//! Consumer groups: who is in a group, which generation it is in, who reads what, and the committed offsets.
//!
//! The classic group coordinator of Kafka 3.7 (`kafka.coordinator.group`). A group is a synchronous state machine
//! (`group`, with `join`, `requests`, `rebalance`, `deadlines` and `offsets`): every step takes the time and returns
//! effects. `coordinator` is the async edge around it: the table of groups with one mutex each, parked requests, the
//! timer, and the appends to `__consumer_offsets` through the trait in `storage`. `records` is the format of that
//! topic, `loader` reads a partition of it when this broker becomes its leader.
//!
//! State: the groups of the partitions of `__consumer_offsets` this broker leads. Locks: see `coordinator::table`.

mod config;
mod consumer_protocol;
mod coordinator;
mod deadlines;
#[allow(clippy::module_inception)]
mod group;
mod join;
mod loader;
mod member;
mod offsets;
mod persistence;
mod protocols;
mod rebalance;
pub mod records;
mod requests;
mod state;
mod storage;
#[cfg(test)]
mod tests;

pub use config::{GroupClock, GroupConfig, Now, SystemClock};
pub use coordinator::{
    GroupCoordinator, GroupGauges, GroupMetrics, GroupRequestContext, client_host, offset_fetch_groups,
    offset_fetch_response,
};
pub use state::GroupState;
pub use storage::{AppendResult, OffsetsLog, SharedLog, TxnProducer};
