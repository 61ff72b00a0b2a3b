//! Names of topics and partitions: the types every layer passes around, which names are legal,
//! topic ids as text, and Java's string hash (which places groups and fetchers).
//!
//! Answers to Kafka's `TopicPartition`, `Topic`, `Uuid`. A leaf: owns no state, uses no other module.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// The topic that holds committed offsets and group metadata.
pub const GROUP_METADATA_TOPIC: &str = "__consumer_offsets";
/// The topic that holds the state of transactions.
pub const TRANSACTION_STATE_TOPIC: &str = "__transaction_state";
/// KRaft's metadata topic: never created here, and its name is refused.
pub const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";
/// Longest legal topic name, in characters.
pub const MAX_NAME_LENGTH: usize = 249;

/// True for the topics the coordinators own, to which clients may not produce.
pub fn is_internal(topic: &str) -> bool {
    topic == GROUP_METADATA_TOPIC || topic == TRANSACTION_STATE_TOPIC
}

/// One partition of one topic.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a topic name is illegal; the text is what Kafka puts after `Topic name is invalid: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("the empty string is not allowed")]
    Empty,
    #[error("'.' is not allowed")]
    Dot,
    #[error("'..' is not allowed")]
    DotDot,
    #[error("the length of '{0}' is longer than the max allowed length 249")]
    TooLong(String),
    #[error("'{0}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")]
    Characters(String),
}

/// Checks a topic name by Kafka's rules (`Topic.validate`).
pub fn validate_name(name: &str) -> Result<(), InvalidName> {
    match name {
        "" => Err(InvalidName::Empty),
        "." => Err(InvalidName::Dot),
        ".." => Err(InvalidName::DotDot),
        _ if name.chars().count() > MAX_NAME_LENGTH => Err(InvalidName::TooLong(name.to_owned())),
        _ if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) => {
            Err(InvalidName::Characters(name.to_owned()))
        }
        _ => Ok(()),
    }
}

/// True when two names differ at most in `.` against `_`, which metric names cannot tell apart.
pub fn names_collide(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes().zip(b.bytes()).all(|(x, y)| x == y || (matches!(x, b'.' | b'_') && matches!(y, b'.' | b'_')))
}

/// A topic or cluster id as Kafka writes it: 22 characters of URL-safe base64.
pub fn id_to_text(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

/// Reads what `id_to_text` wrote; `None` if it is not 16 bytes of base64.
pub fn id_from_text(text: &str) -> Option<Uuid> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    Uuid::from_slice(&bytes).ok()
}

/// A fresh random id whose text does not begin with `-`, as Kafka's `Uuid.randomUuid`.
pub fn random_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        if !id_to_text(id).starts_with('-') {
            return id;
        }
    }
}

/// `String.hashCode` of Java: 31-polynomial over UTF-16 units, wrapping.
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// `Utils.abs(hash) % count` of Kafka: absolute value, with `i32::MIN` counted as 0.
pub fn partition_for(key: &str, count: i32) -> i32 {
    java_hash(key).checked_abs().unwrap_or(0) % count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_placement_matches_kafka() {
        for (key, partition) in [
            ("", 0),
            ("g1", 42),
            ("my-group", 12),
            ("test", 48),
            ("connect-cluster", 13),
            ("tx1", 45),
            ("polygenelubricants", 0),
            ("日本", 47),
        ] {
            assert_eq!(partition_for(key, 50), partition, "{key}");
        }
    }

    #[test]
    fn names() {
        assert!(validate_name("a.b_c-D9").is_ok());
        assert_eq!(
            validate_name("a b").unwrap_err().to_string(),
            "'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        );
        assert!(validate_name(&"x".repeat(250)).is_err());
        assert!(names_collide("a.b", "a_b") && !names_collide("a.b", "a-b"));
    }

    #[test]
    fn ids_round_trip() {
        let id = random_id();
        assert_eq!(id_from_text(&id_to_text(id)), Some(id));
        assert_eq!(id_from_text("short"), None);
    }
}
