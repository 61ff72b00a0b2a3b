//! The error of the client layer. Cloneable, as one broken connection fails every request in flight on it.

use std::time::Duration;

use crate::protocol::{ErrorCode, ProtocolError};

/// Why a request got no answer, or not the one asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// As Java prints it, such as `localhost/127.0.0.1:9092`; `host:port` if the name did not resolve.
        address: String,
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
    /// The broker has no version of the api that we speak; the message of Kafka's UnsupportedVersionException.
    #[error("{0}")]
    UnsupportedVersion(String),
    /// The broker answered with an error code for the request as a whole.
    #[error("{}", .message.as_deref().unwrap_or_else(|| .code.message()))]
    Broker {
        /// The code it gave.
        code: ErrorCode,
        /// Its own words, if the api has a field for them.
        message: Option<String>,
    },
    /// No broker to send the call to was found before its deadline: none could be reached, or there was no controller.
    /// Kafka's TimeoutException, with the name of the call.
    #[error("Timed out waiting for a node assignment. Call: {0}")]
    NodeAssignment(String),
    /// The call was tried until its deadline; Kafka's TimeoutException.
    #[error("{call} timed out at {at_ms} after {tries} attempt(s)")]
    CallTimeout {
        /// The call as Kafka prints it: `Call(callName=..., deadlineMs=..., tries=..., nextAllowedTryMs=...)`.
        call: String,
        /// Milliseconds since the epoch.
        at_ms: i64,
        /// How often it was sent.
        tries: u32,
        /// What the last try ended with.
        cause: Box<ClientError>,
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
            ClientError::Protocol(_)
            | ClientError::UnsupportedVersion(_)
            | ClientError::NodeAssignment(_)
            | ClientError::CallTimeout { .. }
            | ClientError::Config(_) => false,
        }
    }

    /// Whether this is one of those that Kafka throws as TimeoutException.
    pub fn is_timeout(&self) -> bool {
        matches!(self, ClientError::NodeAssignment(_) | ClientError::CallTimeout { .. } | ClientError::Timeout(_))
    }

    /// The code a broker answered with, if that is what failed.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Broker { code, .. } => Some(*code),
            ClientError::CallTimeout { cause, .. } => cause.code(),
            _ => None,
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
