//! `/brokers/topics/<t>` (assignments and id of a topic) and its partitions' `state` znodes (leader and isr).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{JsonError, as_i32, bytes, int, ints, object};
use crate::topic::{id_from_text, id_to_text};

/// Replicas of one partition. During a reassignment `replicas` is the target followed by those that will go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

impl Assignment {
    /// An assignment that is not changing.
    pub fn new(replicas: Vec<i32>) -> Assignment {
        Assignment { replicas, adding: Vec::new(), removing: Vec::new() }
    }

    pub fn is_being_reassigned(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas before the reassignment.
    pub fn origin(&self) -> Vec<i32> {
        self.replicas.iter().copied().filter(|r| !self.adding.contains(r)).collect()
    }

    /// The replicas after the reassignment.
    pub fn target(&self) -> Vec<i32> {
        self.replicas.iter().copied().filter(|r| !self.removing.contains(r)).collect()
    }
}

/// All partitions of a topic, and its id (absent in topics created before Kafka 2.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicZnode {
    pub partitions: BTreeMap<i32, Assignment>,
    pub topic_id: Option<Uuid>,
}

fn replica_map<'a>(entries: impl Iterator<Item = (i32, &'a Vec<i32>)>) -> Value {
    Value::Object(entries.map(|(p, replicas)| (p.to_string(), json!(replicas))).collect())
}

fn read_replica_map(map: &Map<String, Value>, key: &'static str) -> Result<BTreeMap<i32, Vec<i32>>, JsonError> {
    let Some(value) = map.get(key) else { return Ok(BTreeMap::new()) };
    let entries = value.as_object().ok_or(JsonError::Field(key))?;
    entries
        .iter()
        .map(|(p, replicas)| Some((p.parse().ok()?, ints(replicas)?)))
        .collect::<Option<_>>()
        .ok_or(JsonError::Field(key))
}

impl TopicZnode {
    pub fn encode(&self) -> Bytes {
        let all = |pick: fn(&Assignment) -> &Vec<i32>| self.partitions.iter().map(move |(p, a)| (*p, pick(a)));
        let mut map = Map::new();
        map.insert("partitions".to_owned(), replica_map(all(|a| &a.replicas)));
        if let Some(id) = &self.topic_id {
            map.insert("topic_id".to_owned(), json!(id_to_text(*id)));
        }
        let adding = all(|a| &a.adding).filter(|(_, r)| !r.is_empty());
        map.insert("adding_replicas".to_owned(), replica_map(adding));
        let removing = all(|a| &a.removing).filter(|(_, r)| !r.is_empty());
        map.insert("removing_replicas".to_owned(), replica_map(removing));
        map.insert("version".to_owned(), json!(3));
        bytes(&Value::Object(map))
    }

    /// Adding and removing replicas of a partition that is not listed are dropped.
    pub fn decode(data: &[u8]) -> Result<TopicZnode, JsonError> {
        let map = object(data)?;
        let mut adding = read_replica_map(&map, "adding_replicas")?;
        let mut removing = read_replica_map(&map, "removing_replicas")?;
        let partitions = read_replica_map(&map, "partitions")?
            .into_iter()
            .map(|(p, replicas)| {
                let assignment = Assignment {
                    replicas,
                    adding: adding.remove(&p).unwrap_or_default(),
                    removing: removing.remove(&p).unwrap_or_default(),
                };
                (p, assignment)
            })
            .collect();
        let topic_id = match map.get("topic_id") {
            None | Some(Value::Null) => None,
            Some(id) => Some(id.as_str().and_then(id_from_text).ok_or(JsonError::Field("topic_id"))?),
        };
        Ok(TopicZnode { partitions, topic_id })
    }
}

/// Leader and isr of a partition as the controller wrote them. The partition epoch is the znode's data version, and not in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// -1 for none.
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    /// Epoch of the controller that wrote this.
    pub controller_epoch: i32,
    /// 0 recovered, 1 recovering (after an unclean election).
    pub leader_recovery_state: i8,
}

impl PartitionState {
    pub fn encode(&self) -> Bytes {
        let mut map = Map::new();
        map.insert("controller_epoch".to_owned(), json!(self.controller_epoch));
        map.insert("leader".to_owned(), json!(self.leader));
        map.insert("version".to_owned(), json!(1));
        if self.leader_recovery_state != 0 {
            map.insert("leader_recovery_state".to_owned(), json!(self.leader_recovery_state));
        }
        map.insert("leader_epoch".to_owned(), json!(self.leader_epoch));
        map.insert("isr".to_owned(), json!(self.isr));
        bytes(&Value::Object(map))
    }

    pub fn decode(data: &[u8]) -> Result<PartitionState, JsonError> {
        let map = object(data)?;
        let recovery = map.get("leader_recovery_state").and_then(as_i32).unwrap_or(0);
        Ok(PartitionState {
            leader: int(&map, "leader")?,
            leader_epoch: int(&map, "leader_epoch")?,
            isr: map.get("isr").and_then(ints).ok_or(JsonError::Field("isr"))?,
            controller_epoch: int(&map, "controller_epoch")?,
            leader_recovery_state: i8::from(recovery == 1),
        })
    }
}
