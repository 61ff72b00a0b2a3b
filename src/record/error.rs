//! The error of the record layer. Texts follow Kafka's reasons, for they end up in logs and tools.

use crate::protocol::ErrorCode;

/// Why bytes are not the records they claim to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes are damaged: sizes or checksums do not fit (Kafka's `CorruptRecordException`).
    #[error("{0}")]
    Corrupt(String),
    /// The bytes are whole, but what they say is not allowed (Kafka's `InvalidRecordException`).
    #[error("{0}")]
    Invalid(String),
    /// The fields of a message of format 0 or 1 do not fit into it (in Kafka any runtime exception).
    #[error("{0}")]
    Malformed(String),
    /// The compressed payload cannot be decompressed (in Kafka an I/O error inside a `KafkaException`).
    #[error("Failed to decompress record stream: {0}")]
    Decompression(String),
    /// The codec bits of the attributes name no codec (5 to 7).
    #[error("Unknown compression type id: {0}")]
    UnknownCompression(i8),
    /// A codec that the target format or request version does not have.
    #[error("{0}")]
    UnsupportedCompression(String),
    /// The decompressed records would be larger than the caller allows, in bytes.
    #[error("Decompressed records exceed the limit of {cap} bytes")]
    TooLarge { cap: u64 },
    /// Kafka's "premature EOF".
    #[error("Incorrect declared batch size, premature EOF reached")]
    PrematureEof,
    /// More records, or other bytes, follow the declared number of records.
    #[error("Incorrect declared batch size, records still remaining in file")]
    RecordsRemaining,
    /// The caller asked for a batch that the format cannot hold.
    #[error("{0}")]
    Unrepresentable(String),
}

impl RecordError {
    /// The code that Kafka answers for this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            RecordError::Corrupt(_) => ErrorCode::CorruptMessage,
            RecordError::Invalid(_) | RecordError::PrematureEof | RecordError::RecordsRemaining => {
                ErrorCode::InvalidRecord
            }
            RecordError::UnsupportedCompression(_) => ErrorCode::UnsupportedCompressionType,
            RecordError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            RecordError::Malformed(_)
            | RecordError::Decompression(_)
            | RecordError::UnknownCompression(_)
            | RecordError::Unrepresentable(_) => ErrorCode::UnknownServerError,
        }
    }
}
