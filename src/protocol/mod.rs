//! The wire protocol of Kafka 3.7: the api table (`api`), headers (`header`), the structural check of a body (`frame`,
//! over the tables of `schema`), error codes (`error`), what went wrong with a frame (`fault`), and, in `codec`, the
//! messages themselves. No state, no locks; nothing in here panics or allocates by what a frame claims.
#![deny(clippy::indexing_slicing)]

pub mod api;
pub mod codec;
pub mod error;
pub mod fault;
pub mod frame;
pub mod header;
mod schema;
mod wire;

#[cfg(test)]
mod golden_tests;

pub use codec::messages;
pub use error::ErrorCode;
pub use fault::{Malformed, ProtocolError};
