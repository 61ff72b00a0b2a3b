//! Legacy requests by znode: `/admin/reassign_partitions` and `/admin/preferred_replica_election`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::notification::{decode_partitions, encode_partitions};
use super::{JsonError, as_i32, bytes, int, ints, object};
use crate::topic::TopicPartition;

/// Target replicas by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reassignment {
    pub partitions: BTreeMap<TopicPartition, Vec<i32>>,
}

impl Reassignment {
    pub fn encode(&self) -> Bytes {
        let list: Vec<Value> = self
            .partitions
            .iter()
            .map(|(tp, replicas)| json!({"topic": &*tp.topic, "partition": tp.partition, "replicas": replicas}))
            .collect();
        bytes(&json!({"version": 1, "partitions": list}))
    }

    /// Strict, as Kafka is here: an unknown field makes the whole znode invalid.
    pub fn decode(data: &[u8]) -> Result<Reassignment, JsonError> {
        let map = object(data)?;
        only(map.keys(), &["version", "partitions"])?;
        int(&map, "version")?;
        let list = map.get("partitions").and_then(Value::as_array).ok_or(JsonError::Field("partitions"))?;
        let mut partitions = BTreeMap::new();
        for entry in list {
            let entry = entry.as_object().ok_or(JsonError::Field("partitions"))?;
            only(entry.keys(), &["topic", "partition", "replicas"])?;
            let topic = entry.get("topic").and_then(Value::as_str).ok_or(JsonError::Field("topic"))?;
            let partition = entry.get("partition").and_then(as_i32).ok_or(JsonError::Field("partition"))?;
            let replicas = entry.get("replicas").and_then(ints).ok_or(JsonError::Field("replicas"))?;
            partitions.insert(TopicPartition::new(topic, partition), replicas);
        }
        Ok(Reassignment { partitions })
    }
}

fn only<'a>(keys: impl Iterator<Item = &'a String>, known: &[&str]) -> Result<(), JsonError> {
    for key in keys {
        if !known.contains(&key.as_str()) {
            return Err(JsonError::Invalid(format!("unknown field '{key}'")));
        }
    }
    Ok(())
}

/// Partitions whose preferred replica shall lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreferredElection {
    pub partitions: Vec<TopicPartition>,
}

impl PreferredElection {
    pub fn encode(&self) -> Bytes {
        encode_partitions(&self.partitions)
    }

    pub fn decode(data: &[u8]) -> Result<PreferredElection, JsonError> {
        Ok(PreferredElection { partitions: decode_partitions(&object(data)?)? })
    }
}
