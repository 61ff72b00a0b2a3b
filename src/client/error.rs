//! The error of the client layer. Cloneable, as one broken connection fails every request in flight on it.

use std::time::Duration;

use crate::protocol::{ErrorCode, ProtocolError};

/// Why a request got no answer, or not the one asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made.
    #[error("cannot connect to {host}:{port}: {reason}")]
    Connect {
        /// As given, not resolved.
        host: String,
        /// TCP port.
        port: u16,
        /// The system's words.
        reason: String,
    },
    /// The connection ended before the answer came. The request may or may not have been carried out.
    #[error("connection lost: {0}")]
    Disconnected(String),
    /// No answer in time. The request may or may not have been carried out.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// A request could not be written, or an answer not be read.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The broker has no version of the api that we speak; Kafka's UnsupportedVersionException.
    #[error("The broker does not support {0}")]
    UnsupportedVersion(String),
    /// The broker answered with an error code for the request as a whole.
    #[error("{}", .message.as_deref().unwrap_or_else(|| .code.message()))]
    Broker {
        /// The code it gave.
        code: ErrorCode,
        /// Its own words, if the api has a field for them.
        message: Option<String>,
    },
    /// A configuration that cannot be used, in Kafka's words (ConfigException's message).
    #[error("{0}")]
    Config(String),
}

impl ClientError {
    /// Whether the same request may be sent again, here or to another broker. Says nothing on whether the first one
    /// was carried out.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::Disconnected(_) | ClientError::Timeout(_) => true,
            ClientError::Broker { code, .. } => code.is_retriable(),
            ClientError::Protocol(_) | ClientError::UnsupportedVersion(_) | ClientError::Config(_) => false,
        }
    }

    /// The error for a response's code: none for `None`.
    pub fn from_code(code: i16, message: Option<String>) -> Result<(), ClientError> {
        match ErrorCode::from_code(code) {
            ErrorCode::None => Ok(()),
            code => Err(ClientError::Broker { code, message }),
        }
    }
}
