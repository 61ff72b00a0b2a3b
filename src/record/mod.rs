#![deny(clippy::indexing_slicing)]
//! Record batches: the bytes that producers send, logs store and consumers fetch.
//!
//! Duty: a zero-copy view of a batch (`batch`, `header`), its checksum and its records (`walk`), the five
//! compression codecs with Kafka's framing (`codec`), building batches (`builder`), what a leader checks before
//! it appends (`validate`), message formats 0 and 1 (`legacy`) and down-conversion for old consumers (`convert`).
//! Owns no state and takes no locks; every function is pure over the bytes it is given. Answers to Kafka's
//! `org.apache.kafka.common.record` package and `LogValidator`.
//!
//! Everything in here reads bytes that somebody else wrote, so nothing may panic, and no length read from
//! the bytes is allocated before it was compared with what is there.

pub mod batch;
pub mod builder;
pub mod codec;
pub mod control;
pub mod convert;
mod error;
pub mod header;
pub mod legacy;
mod stream;
pub mod validate;
pub mod varint;
pub mod walk;

pub use batch::{Batch, LegacyBatch, RecordBatch, batches};
pub use builder::BatchBuilder;
pub use codec::Codec;
pub use error::RecordError;
pub use header::{BatchHeader, LOG_OVERHEAD, RECORD_BATCH_OVERHEAD};
pub use walk::{Headers, Record, Records, records};

/// The `magic` of message format 0: no timestamps, absolute offsets.
pub const MAGIC_V0: i8 = 0;
/// The `magic` of message format 1: timestamps, relative inner offsets.
pub const MAGIC_V1: i8 = 1;
/// The `magic` of record batches as Kafka 0.11 and later write them.
pub const MAGIC_V2: i8 = 2;

/// "No timestamp" in milliseconds fields.
pub const NO_TIMESTAMP: i64 = -1;
/// "No producer" in producer id fields.
pub const NO_PRODUCER_ID: i64 = -1;
/// "No producer" in producer epoch fields.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// "No sequence" in base sequence fields; also what markers carry.
pub const NO_SEQUENCE: i32 = -1;
/// What producers put in the partition leader epoch, and what formats 0 and 1 count as.
pub const NO_PARTITION_LEADER_EPOCH: i32 = -1;

/// Who asks for an append; decides which checks apply (Kafka's `AppendOrigin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A Produce request.
    Client,
    /// A group or transaction coordinator of this broker, also markers.
    Coordinator,
    /// The leader's log, fetched by a follower.
    Replication,
}

/// What the timestamps of a batch mean (attribute bit 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// `sequence + increment`, wrapping from `i32::MAX` to 0 as producers count.
pub fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    if sequence > i32::MAX.wrapping_sub(increment) {
        increment.wrapping_sub(i32::MAX.wrapping_sub(sequence)).wrapping_sub(1)
    } else {
        sequence.wrapping_add(increment)
    }
}

/// `sequence - decrement`, wrapping from 0 to `i32::MAX`.
pub fn decrement_sequence(sequence: i32, decrement: i32) -> i32 {
    if sequence < decrement {
        i32::MAX.wrapping_sub(decrement.wrapping_sub(sequence)).wrapping_add(1)
    } else {
        sequence.wrapping_sub(decrement)
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;
