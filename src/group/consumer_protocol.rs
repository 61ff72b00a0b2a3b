//! The little the coordinator must know of the consumers' own protocol: which topics a subscription names.
//!
//! Answers to Kafka's `ConsumerProtocol.deserializeSubscription`. Owns no state.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::records::{Reader, RecordsError};

/// Protocol type of the groups of consumers.
pub const PROTOCOL_TYPE: &str = "consumer";

/// The topics of a subscription. Version 0 is the prefix of every later version, so only that much is read.
pub fn subscribed_topics(subscription: &Bytes) -> Result<HashSet<Arc<str>>, RecordsError> {
    let mut input = Reader { rest: subscription, flexible: false };
    input.i16()?;
    let mut topics = HashSet::new();
    for _ in 0..input.array_length()? {
        topics.insert(input.string()?);
    }
    input.nullable_bytes()?;
    Ok(topics)
}
