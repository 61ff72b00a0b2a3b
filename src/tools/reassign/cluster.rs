//! What the tool asks of the brokers, through the admin client.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;

use super::plan::Assignment;
use crate::client::{Admin, Call, ClientError, Node, Target};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use crate::protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use crate::protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use crate::protocol::messages::list_partition_reassignments_response::OngoingPartitionReassignment;
use crate::protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId, IncrementalAlterConfigsRequest,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, TopicName,
};
use crate::tools::admin::{execution_error, in_execution};
use crate::tools::failure::JavaError;
use crate::tools::java_names::api_error;
use crate::topic::TopicPartition;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;

/// Moves that are under way.
pub type Ongoing = BTreeMap<TopicPartition, Move>;

/// A partition that is being moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Move {
    /// All, those that are added and those that are removed as well.
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

/// A resource whose settings are changed: `None` deletes one.
pub struct Change<'a> {
    pub resource: Resource,
    pub settings: Vec<(&'a str, Option<String>)>,
}

pub enum Resource {
    Topic(String),
    Broker(i32),
}

pub struct Cluster<'a> {
    pub admin: &'a Admin,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn ids(ids: &[BrokerId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}

/// Topics with the partitions given of each.
pub fn by_topic<'p>(partitions: impl IntoIterator<Item = &'p TopicPartition>) -> BTreeMap<&'p str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    partitions.into_iter().for_each(|tp| topics.entry(&tp.topic).or_default().push(tp.partition));
    topics
}

impl<'a> Cluster<'a> {
    pub fn new(admin: &'a Admin) -> Cluster<'a> {
        Cluster { admin }
    }

    /// How long the brokers may take over a change, in milliseconds.
    fn timeout_ms(&self) -> i32 {
        let config = self.admin.config();
        i32::try_from(config.request_timeout.min(config.api_timeout).as_millis()).unwrap_or(i32::MAX)
    }

    /// The live brokers, by id.
    pub async fn brokers(&self) -> Result<Vec<Node>, JavaError> {
        let cluster = self.admin.refresh("listNodes").await.map_err(execution_error)?;
        Ok(cluster.brokers.values().cloned().collect())
    }

    /// Moves under way: all, or those of some partitions.
    pub async fn ongoing(&self, of: Option<&BTreeSet<TopicPartition>>) -> Result<Ongoing, JavaError> {
        let topics = of.map(|partitions| {
            let topic = |(name, indexes)| {
                ListPartitionReassignmentsTopics::default()
                    .with_name(TopicName(text(name)))
                    .with_partition_indexes(indexes)
            };
            by_topic(partitions).into_iter().map(topic).collect()
        });
        let request =
            ListPartitionReassignmentsRequest::default().with_topics(topics).with_timeout_ms(self.timeout_ms());
        let judge = |answer: &ListPartitionReassignmentsResponse| {
            ClientError::from_code(answer.error_code, answer.error_message.as_ref().map(|text| text.to_string()))
        };
        let call = Call::new("listPartitionReassignments", Target::Controller);
        let answer = self.admin.call(call, |_| Ok(request.clone()), judge).await.map_err(execution_error)?;
        let one = |moving: &OngoingPartitionReassignment| Move {
            replicas: ids(&moving.replicas),
            adding: ids(&moving.adding_replicas),
            removing: ids(&moving.removing_replicas),
        };
        let all = answer.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(move |p| (TopicPartition::new(&*topic.name.0, p.partition_index), one(p)))
        });
        Ok(all.collect())
    }

    /// Replicas of the partitions of one topic by index; an error for a topic as a whole.
    pub async fn describe(
        &self,
        topics: &[String],
    ) -> Result<BTreeMap<String, Result<Vec<Vec<i32>>, ErrorCode>>, JavaError> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let answer = self.admin.metadata("describeTopics", Some(&names)).await.map_err(execution_error)?;
        let described = answer.topics.into_iter().map(|mut topic| {
            let name = topic.name.map(|name| name.to_string()).unwrap_or_default();
            topic.partitions.sort_by_key(|p| p.partition_index);
            let outcome = match ErrorCode::from_code(topic.error_code) {
                ErrorCode::None => Ok(topic.partitions.iter().map(|p| ids(&p.replica_nodes)).collect()),
                code => Err(code),
            };
            (name, outcome)
        });
        Ok(described.collect())
    }

    /// Replicas of all partitions of these topics, which must be there.
    pub async fn assignments(&self, topics: &[String]) -> Result<Assignment, JavaError> {
        let mut all = Assignment::new();
        for (topic, outcome) in self.describe(topics).await? {
            let partitions = outcome.map_err(|code| match code {
                ErrorCode::UnknownTopicOrPartition => {
                    in_execution(api_error(code, Some(&format!("Topic {topic} not found."))))
                }
                code => in_execution(api_error(code, None)),
            })?;
            let numbered = (0..).zip(partitions);
            all.extend(numbered.map(|(index, replicas)| (TopicPartition::new(topic.as_str(), index), replicas)));
        }
        Ok(all)
    }

    /// Orders moves, or (`None`) cancels them; what went wrong, by partition.
    pub async fn reassign(
        &self,
        orders: &BTreeMap<TopicPartition, Option<Vec<i32>>>,
    ) -> Result<BTreeMap<TopicPartition, String>, JavaError> {
        let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
        for (tp, replicas) in orders {
            let replicas = replicas.as_ref().map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
            let order = ReassignablePartition::default().with_partition_index(tp.partition).with_replicas(replicas);
            topics.entry(&tp.topic).or_default().push(order);
        }
        let topic = |(name, partitions)| {
            ReassignableTopic::default().with_name(TopicName(text(name))).with_partitions(partitions)
        };
        let request = AlterPartitionReassignmentsRequest::default()
            .with_topics(topics.into_iter().map(topic).collect())
            .with_timeout_ms(self.timeout_ms());
        let judge = |answer: &AlterPartitionReassignmentsResponse| {
            ClientError::from_code(answer.error_code, answer.error_message.as_ref().map(|text| text.to_string()))
        };
        let call = Call::new("alterPartitionReassignments", Target::Controller);
        let answer = self.admin.call(call, |_| Ok(request.clone()), judge).await.map_err(execution_error)?;
        let mut errors = BTreeMap::new();
        for topic in &answer.responses {
            for partition in &topic.partitions {
                let code = ErrorCode::from_code(partition.error_code);
                if !code.is_none() {
                    let error = api_error(code, partition.error_message.as_deref());
                    let tp = TopicPartition::new(&*topic.name.0, partition.partition_index);
                    errors.insert(tp, error.message().to_owned());
                }
            }
        }
        Ok(errors)
    }

    /// Changes settings: those of brokers at the brokers themselves, those of topics anywhere.
    pub async fn alter_configs(&self, changes: &[Change<'_>]) -> Result<(), JavaError> {
        let (mut calls, mut topics) = (Vec::new(), Vec::new());
        for change in changes {
            match &change.resource {
                Resource::Topic(name) => topics.push(wire_resource(TOPIC, name, change)),
                Resource::Broker(id) => {
                    calls.push((Target::Broker(*id), vec![wire_resource(BROKER, &id.to_string(), change)]));
                }
            }
        }
        if !topics.is_empty() {
            calls.push((Target::Any, topics));
        }
        let sent = calls.into_iter().map(|(target, resources)| self.alter_configs_at(target, resources));
        try_join_all(sent).await.map(|_| ())
    }

    async fn alter_configs_at(&self, target: Target, resources: Vec<AlterConfigsResource>) -> Result<(), JavaError> {
        let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
        let call = Call::new("incrementalAlterConfigs", target);
        let answer = self.admin.call(call, |_| Ok(request.clone()), |_| Ok(())).await.map_err(execution_error)?;
        answer.responses.iter().try_for_each(|resource| match ErrorCode::from_code(resource.error_code) {
            ErrorCode::None => Ok(()),
            code => Err(in_execution(api_error(code, resource.error_message.as_deref()))),
        })
    }
}

fn wire_resource(kind: i8, name: &str, change: &Change<'_>) -> AlterConfigsResource {
    let setting = |(name, value): &(&str, Option<String>)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(if value.is_some() { SET } else { DELETE })
            .with_value(value.as_deref().map(text))
    };
    AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(change.settings.iter().map(setting).collect())
}
