//! The wire protocol of Kafka 3.7: the api table, the structural check of a frame, headers, error codes,
//! and, in `codec`, the messages themselves.

pub mod codec;
pub mod error;

pub use codec::messages;
pub use error::ErrorCode;
