//! Fixtures of the integration tests: a ZooKeeper server, a broker under test, a raw wire client, waiting with a deadline.
//!
//! The broker under test is our own binary, or a real Kafka with `OTTLA_TEST_BROKER=kafka` (its jars in
//! `$OTTLA_TEST_KAFKA_LIBS`, or where `tests/run.sh` puts them). A test that passes on both is an honest test.
#![allow(dead_code, unused_imports)]

pub mod admin;
pub mod broker;
pub mod checker;
pub mod cluster;
pub mod consume;
pub mod deadline;
pub mod place;
pub mod ports;
pub mod tool;
pub mod wire;
pub mod workload;
pub mod znodes;
pub mod zookeeper;

pub use broker::Broker;
pub use cluster::Cluster;
pub use deadline::{PATIENCE, eventually};
pub use wire::Wire;
