#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
//! Ottla: a broker for Apache Kafka 3.7 clusters that run with ZooKeeper.

pub mod admin;
pub mod api;
pub mod broker;
pub mod client;
pub mod config;
pub mod controller;
pub mod group;
pub mod log;
pub mod metadata;
pub mod net;
pub mod protocol;
pub mod record;
pub mod replica;
pub mod tools;
pub mod topic;
pub mod txn;
pub mod util;
pub mod zk;
