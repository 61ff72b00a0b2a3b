//! The network edge: sockets in, frames to the api layer, answers out in order.
//!
//! - [`listener`]: binds and accepts, keeps the connection limits.
//! - [`connection`]: one task per connection; reads frames, hands them over, keeps the order of answers.
//! - [`input`]: the growing read buffer of a connection and its framing.
//! - [`send`]: writes an answer, file ranges by `sendfile`.
//! - [`readers`]: the threads to which connections move that read much.
//!
//! There is no queue between socket and log: a request runs on its connection's task (see `api`).
//! Answers to Kafka's `SocketServer`, `Acceptor`, `Processor`, `RequestChannel`.

pub mod connection;
pub mod input;
pub mod listener;
pub mod readers;
pub mod send;
