#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
//! Ottla: a broker for Apache Kafka 3.7 clusters that run with ZooKeeper.
//!
//! # The map
//!
//! A module may use those above it in this list, never those below; `tests/imports.rs` holds us to it.
//!
//! | module | owns |
//! |---|---|
//! | [`topic`], [`util`] | names of topics and partitions; clock, disk seam, crash-safe files, log lines |
//! | [`protocol`] | the api table, the structural check of a frame, headers, error codes, the messages |
//! | [`config`] | one row per key of `server.properties` and of topics; typed views; dynamic layers |
//! | [`metadata`] | the immutable image of the cluster, swapped whole |
//! | [`quota`] | limits on rates: throttles of replication |
//! | [`record`] | batches: view, walk, checks for appending, codecs, formats 0 and 1 |
//! | [`log`] | one replica's log on disk, and all of them: segments, indexes, producer state, recovery, retention |
//! | [`zk`] | ZooKeeper: the seam, its real and in-memory sides, every znode, operations in domain words |
//! | [`client`] | a connection to another broker; the admin client of the tools |
//! | [`replica`] | a replica's role, in-sync set and high watermark; who waits for what; fetch sessions |
//! | [`controller`] | one event loop that owns the controller's state; pure decisions; a channel per broker |
//! | [`group`], [`txn`] | coordinators: state machines over ordinary appends to the internal topics |
//! | [`admin`] | placing replicas, checking and writing new topics |
//! | [`api`] | one file per family of requests: decode, act, answer |
//! | [`net`] | listeners, connections, ordered answers, sending file ranges |
//! | [`broker`] | the composition root: starts and stops everything in Kafka's order |
//! | [`tools`] | the command line tools, one file per command |
//!
//! # Two requests, in words
//!
//! *Produce*: [`net::connection`] cuts a frame off the socket's bytes and hands it to [`api`], which parses the header,
//! checks the structure and decodes (records stay slices of the frame) → [`api::produce`] checks acks and topic →
//! [`replica::table`] finds the replica → [`replica::partition`] checks role and in-sync set →
//! [`log::PartitionLog`] validates, places the offsets in a copy of the 61-byte header, checks the producer's state,
//! perhaps rolls, and writes header and the client's own bytes with one vectored write. With acks=all the answer
//! waits for the high watermark in the connection's ordered queue, and the connection reads on meanwhile.
//!
//! *Fetch*: the same way in; [`api::fetch`] resolves the session → [`replica::fetch`] reads each partition within the
//! request's budget, which gives file ranges and no bytes → if there is too little, the request parks until an append
//! or a change of role wakes it → [`api::fetch_response`] writes the head, and [`net::send`] sends head and ranges by
//! `sendfile`. No record is decoded, unless the client is too old for the format.
//!
//! There is no queue between socket and log: a request runs on its connection's task. What may block for long
//! (fsync, recovery, deletes, opening logs) runs on the blocking pool. Connections of consumers who read much move to
//! threads of their own ([`net::readers`]).
//!
//! # Locks
//!
//! Replica table > partition role > log writer; never two of one level, never across an await. Readers of a log take
//! none. The controller is one task. One mutex per group.

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
pub mod quota;
pub mod record;
pub mod replica;
pub mod tools;
pub mod topic;
pub mod txn;
pub mod util;
pub mod zk;
