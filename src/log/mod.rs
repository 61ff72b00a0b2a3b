//! Logs on disk: one replica's log as segments with indexes, what is known about its producers and leader epochs,
//! recovery after a crash, retention, and the directories all logs live in.
//!
//! Answers to Kafka's `kafka.log` and `org.apache.kafka.storage.internals.log`. Synchronous; everything that depends on
//! time takes `now_ms`, everything that touches files goes through `util::disk`. Start with `partition_log` (one log)
//! and `manager` (all of them). What is on disk is Kafka's format, byte for byte: a Kafka broker opens these directories
//! and this module opens Kafka's.

pub mod checkpoint;
pub mod dirs;
pub mod error;
pub mod meta_properties;
pub mod offsets_by_time;
pub mod partition_metadata;
pub mod producer_entry;
pub mod producer_state;
pub mod segment;
pub mod txn_index;

mod append;
mod batch_walk;
mod epoch_cache;
mod index_file;
mod leftovers;
mod loader;
mod location;
mod log_dir;
mod maintenance;
mod manager;
mod offset_index;
mod partition_log;
mod producer_snapshot;
mod read;
mod retention;
mod roll;
mod segment_recovery;
mod startup;
mod time_index;
mod truncation;

pub use crate::util::disk;

pub use append::AppendInfo;
pub use error::{AppendError, LogError, ReadError};
pub use loader::{LogContext, OpenLog};
pub use log_dir::{FailureHandler, LogDir};
pub use manager::{ClockMs, LogManager};
pub use offsets_by_time::TimestampAndOffset;
pub use partition_log::{ActiveProducer, Background, PartitionLog};
pub use producer_state::{ProducerStateConfig, VerificationGuard};
pub use read::{AbortedTransaction, FileSlice, Isolation, LogRead};
pub use startup::{ManagerOptions, StartError};

#[cfg(test)]
pub(crate) mod tests;
