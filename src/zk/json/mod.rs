//! What is in the znodes: one type per noun, with `encode` to the bytes Kafka writes and a tolerant `decode`.
//!
//! Encoding is without whitespace and in Kafka's order of keys where that is stable; decoding ignores fields it does
//! not know (but for the legacy reassignment, where Kafka refuses them). Answers to the codec half of Kafka's `ZkData`.

mod acl;
mod broker;
mod cluster;
mod config;
mod controller;
mod notification;
mod reassign;
mod token;
mod topic;

use bytes::Bytes;
use serde_json::{Map, Value};

pub use acl::{Acl, AclSet, ExtendedAclChange};
pub use broker::{BrokerRegistration, Endpoint, SupportedFeature};
pub use cluster::{ClusterId, FeatureStatus, FeatureZnode, ProducerIdBlock};
pub use config::{ConfigChange, EntityConfig};
pub use controller::ControllerZnode;
pub use notification::{IsrChangeNotification, LogDirEvent, decode_partitions};
pub use reassign::{PreferredElection, Reassignment};
pub use token::DelegationToken;
pub use topic::{Assignment, PartitionState, TopicZnode};

/// Why the data of a znode cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("not JSON: {0}")]
    Syntax(String),
    #[error("field '{0}' is missing or of the wrong type")]
    Field(&'static str),
    #[error("unsupported version {0}")]
    Version(i64),
    #[error("{0}")]
    Invalid(String),
}

/// Parses the data of a znode as a JSON object.
fn object(data: &[u8]) -> Result<Map<String, Value>, JsonError> {
    match serde_json::from_slice(data) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(JsonError::Syntax("an object was expected".to_owned())),
        Err(e) => Err(JsonError::Syntax(e.to_string())),
    }
}

/// Serializes without whitespace, keys in the order in which they were put in.
fn bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn as_i32(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|v| i32::try_from(v).ok())
}

fn int(map: &Map<String, Value>, key: &'static str) -> Result<i32, JsonError> {
    map.get(key).and_then(as_i32).ok_or(JsonError::Field(key))
}

fn long(map: &Map<String, Value>, key: &'static str) -> Result<i64, JsonError> {
    map.get(key).and_then(Value::as_i64).ok_or(JsonError::Field(key))
}

fn text(map: &Map<String, Value>, key: &'static str) -> Result<String, JsonError> {
    map.get(key).and_then(Value::as_str).map(str::to_owned).ok_or(JsonError::Field(key))
}

/// A 64-bit number that Kafka writes as a string.
fn long_text(map: &Map<String, Value>, key: &'static str) -> Result<i64, JsonError> {
    text(map, key)?.parse().map_err(|_| JsonError::Field(key))
}

fn ints(value: &Value) -> Option<Vec<i32>> {
    value.as_array()?.iter().map(as_i32).collect()
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect()
}

/// The decimal text of `/controller_epoch` and of a consumer's offset.
pub fn decode_number<T: std::str::FromStr>(data: &[u8]) -> Result<T, JsonError> {
    std::str::from_utf8(data)
        .ok()
        .and_then(|s| s.trim().parse().ok())
        .ok_or_else(|| JsonError::Invalid(format!("not a number: {:?}", String::from_utf8_lossy(data))))
}

#[cfg(test)]
mod tests;
