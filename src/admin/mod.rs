//! Topics as administrators handle them: where replicas go, what may be created, what is written.
//!
//! - [`placement`]: Kafka's assignment of replicas to brokers, pure.
//! - [`creation`]: checks on a new topic and its znodes; partitions added to a topic.
//!
//! Used by the api layer; owns no state. Answers to Kafka's `AdminUtils`, `AdminZkClient`, `ZkAdminManager`.

pub mod creation;
pub mod placement;

use crate::protocol::ErrorCode;

/// An administrative operation that was refused: code and text as they go to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {}", message.as_deref().unwrap_or(code.message()))]
pub struct AdminError {
    pub code: ErrorCode,
    pub message: Option<String>,
}

impl AdminError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> AdminError {
        AdminError { code, message: Some(message.into()) }
    }

    /// A refusal without a text of its own.
    pub fn code(code: ErrorCode) -> AdminError {
        AdminError { code, message: None }
    }
}
