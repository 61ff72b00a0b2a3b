//! The errors of the log layer and what they are on the wire.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::producer_entry::ProducerError;
use crate::protocol::ErrorCode;
use crate::topic::TopicPartition;

/// Why something could not be done with a log, reading and appending aside.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// A system call failed; the log dir is offline from now on.
    #[error("{context} in dir {}: {source}", dir.display())]
    Storage { dir: PathBuf, context: String, source: Arc<io::Error> },
    /// The log dir failed before.
    #[error("The log dir {} is already offline due to a previous IO exception.", .0.display())]
    Offline(PathBuf),
    /// No log dir can take the log.
    #[error("{0}")]
    NoLogDir(String),
    /// Contents or arguments that make no sense together; nothing is wrong with the disk.
    #[error("{0}")]
    Invalid(String),
    /// An offset outside of what the log has.
    #[error("{0}")]
    OffsetOutOfRange(String),
    /// The topic id of the directory is not the one expected.
    #[error(
        "Tried to assign topic ID {expected} to log for topic partition {tp}, but log already contained topic ID {found}"
    )]
    InconsistentTopicId { tp: TopicPartition, expected: String, found: String },
    /// The directory name would be longer than a file name can be.
    #[error("{0}")]
    NameTooLong(String),
    /// The log was closed or deleted.
    #[error("The log of partition {0} is closed")]
    Closed(TopicPartition),
}

impl LogError {
    pub fn code(&self) -> ErrorCode {
        match self {
            LogError::Storage { .. } | LogError::Offline(_) | LogError::NoLogDir(_) => ErrorCode::KafkaStorageError,
            LogError::Invalid(_) => ErrorCode::UnknownServerError,
            LogError::OffsetOutOfRange(_) => ErrorCode::OffsetOutOfRange,
            LogError::InconsistentTopicId { .. } => ErrorCode::InconsistentTopicId,
            LogError::NameTooLong(_) => ErrorCode::InvalidTopicException,
            LogError::Closed(_) => ErrorCode::NotLeaderOrFollower,
        }
    }

    /// True when it is the disk that failed.
    pub fn is_storage(&self) -> bool {
        self.code() == ErrorCode::KafkaStorageError
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> io::Error {
        io::Error::other(error)
    }
}

/// Why an append was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Refused by an upper layer before it reached the log: role, epoch, in-sync replicas.
    #[error("{code}")]
    Rejected { code: ErrorCode },
    /// The records themselves are not acceptable.
    #[error("{message}")]
    Records {
        code: ErrorCode,
        message: String,
        /// (index of the record in its batch, what is wrong with it)
        record_errors: Vec<(i32, Option<String>)>,
        /// The log start offset, where the answer must carry it; -1 for errors found before the log was touched.
        log_start_offset: i64,
    },
    /// Sequence, epoch or transaction of the producer do not fit.
    #[error("{error}")]
    Producer { error: ProducerError, log_start_offset: i64 },
    /// A follower was given batches that are not ascending.
    #[error("{0}")]
    OffsetsOutOfOrder(String),
    /// A follower was given offsets it already has.
    #[error("{message}")]
    UnexpectedOffset { first_offset: i64, last_offset: i64, message: String },
    #[error(transparent)]
    Log(#[from] LogError),
}

impl AppendError {
    /// An error that carries nothing but its code.
    pub fn rejected(code: ErrorCode) -> AppendError {
        AppendError::Rejected { code }
    }

    pub fn code(&self) -> ErrorCode {
        match self {
            AppendError::Rejected { code } | AppendError::Records { code, .. } => *code,
            AppendError::Producer { error, .. } => error.code,
            AppendError::OffsetsOutOfOrder(_) | AppendError::UnexpectedOffset { .. } => ErrorCode::UnknownServerError,
            AppendError::Log(error) => error.code(),
        }
    }

    /// What goes into `error_message` of a Produce answer: only validation failures say more than their code.
    pub fn response_message(&self) -> Option<String> {
        match self {
            AppendError::Records { message, code: ErrorCode::InvalidRecord | ErrorCode::InvalidTimestamp, .. } => {
                Some(message.clone())
            }
            _ => None,
        }
    }

    pub fn record_errors(&self) -> &[(i32, Option<String>)] {
        match self {
            AppendError::Records { record_errors, .. } => record_errors,
            _ => &[],
        }
    }

    /// What goes into `log_start_offset` of a Produce answer.
    pub fn log_start_offset(&self) -> i64 {
        match self {
            AppendError::Records { log_start_offset, .. } | AppendError::Producer { log_start_offset, .. } => {
                *log_start_offset
            }
            _ => -1,
        }
    }
}

/// Why a read was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("{0}")]
    OffsetOutOfRange(String),
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ReadError {
    pub fn code(&self) -> ErrorCode {
        match self {
            ReadError::OffsetOutOfRange(_) => ErrorCode::OffsetOutOfRange,
            ReadError::Log(error) => error.code(),
        }
    }
}
