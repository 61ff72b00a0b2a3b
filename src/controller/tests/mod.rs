//! The whole controller on an in-memory ZooKeeper, with a channel that only records: what it writes, compared with
//! what Kafka was recorded to write, and what it sends.

mod brokers;
mod channel;
mod office;
mod reassign;
mod requests;
mod topics;
