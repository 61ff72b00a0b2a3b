//! The error of the protocol layer: a frame that is not what its api and version say, an api or version that is not
//! ours, a message that cannot be written in the version asked for. Kafka's counterparts are SchemaException,
//! InvalidRequestException and UnsupportedVersionException; whoever reads the connection closes it and logs once.

/// Why a frame, header or message was refused. Offsets count bytes from the begin of what was checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A body does not follow its schema.
    #[error("{message} v{version} is malformed at byte {offset}, field {field}: {reason}")]
    Malformed {
        /// Kafka's name, such as `FetchRequest`.
        message: &'static str,
        /// The api version the header gave.
        version: i16,
        /// Bytes from the begin of the body to where the offending item starts.
        offset: usize,
        /// The field of the message definition.
        field: &'static str,
        /// What is wrong there.
        reason: Malformed,
    },
    /// A request or response header does not follow its schema.
    #[error("header is malformed at byte {offset}: {reason}")]
    Header {
        /// Bytes from the begin of the frame (without its length prefix).
        offset: usize,
        /// What is wrong there.
        reason: Malformed,
    },
    /// The api key is none of the table.
    #[error("unknown api key {0}")]
    UnknownApi(i16),
    /// The api is in the table, the version is not.
    #[error("{api} has no version {version} here")]
    UnsupportedVersion {
        /// Kafka's name of the api.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// The structure is sound but a value is not, such as a string that is not UTF-8.
    #[error("cannot decode {message} v{version}: {reason}")]
    Decode {
        /// Kafka's name, such as `FetchRequest`.
        message: &'static str,
        /// The api version.
        version: i16,
        /// The codec's words.
        reason: String,
    },
    /// A message cannot be written: a field set that the version lacks, or too large.
    #[error("cannot encode api key {api_key} v{version}: {reason}")]
    Encode {
        /// The api.
        api_key: i16,
        /// The api version.
        version: i16,
        /// The codec's words.
        reason: String,
    },
}

/// What is wrong with the bytes at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// An item is longer than what is left of the frame, in bytes.
    #[error("needs {need} bytes, {have} are left")]
    Truncated {
        /// Bytes the item takes.
        need: usize,
        /// Bytes that are left.
        have: usize,
    },
    /// An array says more elements than bytes are left to hold them.
    #[error("array of {count} elements, {have} bytes are left")]
    CountBeyondFrame {
        /// Elements, as the frame says.
        count: usize,
        /// Bytes that are left.
        have: usize,
    },
    /// A length below -1, which means null.
    #[error("negative length {0}")]
    NegativeLength(i32),
    /// Null where the version does not allow it.
    #[error("null, but the field is not nullable")]
    Null,
    /// A compact string longer than Kafka's limit of 32767 bytes.
    #[error("string of {0} bytes")]
    StringTooLong(usize),
    /// A varint of more than five bytes, or above 2^32-1.
    #[error("varint is too long")]
    Varint,
    /// A tag number above 2^31-1; numbers are signed in Kafka, and the codec loses such fields.
    #[error("tag number {0}")]
    Tag(u32),
    /// A known tagged field does not fill the size it was given.
    #[error("tagged field of {declared} bytes takes {used}")]
    TaggedFieldSize {
        /// The size in the tagged section.
        declared: usize,
        /// Bytes the field takes by its schema.
        used: usize,
    },
    /// The marker byte before a nullable structure is neither -1 nor 1.
    #[error("presence marker {0}")]
    Presence(i8),
    /// The message has more elements than the caller's budget.
    #[error("more than {0} elements")]
    Budget(usize),
}
