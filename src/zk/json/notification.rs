//! `/isr_change_notification/isr_change_N` and `/log_dir_event_notification/log_dir_event_N`.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{JsonError, as_i32, bytes, int, object};
use crate::topic::TopicPartition;

/// Reads `"partitions":[{"topic":…,"partition":…}]`.
pub fn decode_partitions(map: &Map<String, Value>) -> Result<Vec<TopicPartition>, JsonError> {
    let read = |v: &Value| Some(TopicPartition::new(v.get("topic")?.as_str()?, v.get("partition").and_then(as_i32)?));
    map.get("partitions")
        .and_then(Value::as_array)
        .and_then(|list| list.iter().map(read).collect())
        .ok_or(JsonError::Field("partitions"))
}

pub(super) fn encode_partitions(partitions: &[TopicPartition]) -> Bytes {
    let list: Vec<Value> =
        partitions.iter().map(|tp| json!({"topic": &*tp.topic, "partition": tp.partition})).collect();
    bytes(&json!({"version": 1, "partitions": list}))
}

/// Written by brokers with an IBP before 2.7 only: the partitions whose isr they changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrChangeNotification {
    pub partitions: Vec<TopicPartition>,
}

impl IsrChangeNotification {
    pub fn encode(&self) -> Bytes {
        encode_partitions(&self.partitions)
    }

    pub fn decode(data: &[u8]) -> Result<IsrChangeNotification, JsonError> {
        Ok(IsrChangeNotification { partitions: decode_partitions(&object(data)?)? })
    }
}

/// A broker tells the controller that one of its log directories failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogDirEvent {
    pub broker: i32,
}

impl LogDirEvent {
    /// The only kind of event there is.
    const FAILURE: i32 = 1;

    pub fn encode(&self) -> Bytes {
        bytes(&json!({"version": 1, "broker": self.broker, "event": Self::FAILURE}))
    }

    pub fn decode(data: &[u8]) -> Result<LogDirEvent, JsonError> {
        Ok(LogDirEvent { broker: int(&object(data)?, "broker")? })
    }
}
