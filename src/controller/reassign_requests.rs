//! AlterPartitionReassignments and ListPartitionReassignments: the requests and their answers.
//!
//! Answers to `processApiPartitionReassignment` and `processListPartitionReassignments` of Kafka's `KafkaController`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::control::ControlLoop;
use super::error::ControllerResult;
use super::events::{Reply, not_controller_listing, not_controller_reassignments};
use super::reassign::Outcomes;
use super::reassignment::{self, ApiError};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use crate::protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, TopicName,
};
use crate::topic::TopicPartition;

fn brokers(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().map(|id| BrokerId(*id)).collect()
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

impl ControlLoop {
    /// AlterPartitionReassignments.
    pub async fn api_reassignment(
        &mut self,
        request: AlterPartitionReassignmentsRequest,
        reply: Reply<AlterPartitionReassignmentsResponse>,
    ) -> ControllerResult {
        if !self.is_active() {
            let _ = reply.send(not_controller_reassignments());
            return Ok(());
        }
        let mut outcomes = Outcomes::new();
        let mut accepted = BTreeMap::new();
        for topic in &request.topics {
            for asked in &topic.partitions {
                let partition = TopicPartition::new(topic.name.as_str(), asked.partition_index);
                let target: Option<Vec<i32>> =
                    asked.replicas.as_ref().map(|replicas| replicas.iter().map(|id| id.0).collect());
                let valid = match &target {
                    Some(target) => reassignment::validate(&self.ctx, &partition, target),
                    None => Ok(()),
                };
                match valid.map(|()| reassignment::build(&self.ctx, &partition, target.as_deref())) {
                    Ok(Some(assignment)) => drop(accepted.insert(partition, assignment)),
                    Ok(None) => {
                        let error = ApiError::of(ErrorCode::NoReassignmentInProgress);
                        outcomes.insert(partition, Err(error));
                    }
                    Err(error) => drop(outcomes.insert(partition, Err(error))),
                }
            }
        }
        // The newest word counts, whichever way it came.
        self.remove_from_zk_reassignment(|partition, _| accepted.contains_key(partition)).await?;
        self.trigger_reassignments(accepted, &mut outcomes).await?;
        let _ = reply.send(reassignments_response(outcomes));
        Ok(())
    }

    /// ListPartitionReassignments.
    pub fn list_reassignments(&self, request: ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse {
        if !self.is_active() {
            return not_controller_listing();
        }
        let asked: BTreeSet<TopicPartition> = match request.topics {
            None => self.ctx.being_reassigned.clone(),
            Some(topics) => {
                let all = topics.iter().flat_map(|topic| {
                    topic.partition_indexes.iter().map(|number| TopicPartition::new(topic.name.as_str(), *number))
                });
                all.collect()
            }
        };
        let mut topics: BTreeMap<Arc<str>, Vec<OngoingPartitionReassignment>> = BTreeMap::new();
        for partition in asked {
            let Some(assignment) = self.ctx.assignment(&partition).filter(|a| a.is_being_reassigned()) else {
                continue;
            };
            let ongoing = OngoingPartitionReassignment::default()
                .with_partition_index(partition.partition)
                .with_replicas(brokers(&assignment.replicas))
                .with_adding_replicas(brokers(&assignment.adding))
                .with_removing_replicas(brokers(&assignment.removing));
            topics.entry(partition.topic).or_default().push(ongoing);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OngoingTopicReassignment::default().with_name(topic_name(&topic)).with_partitions(partitions)
        });
        ListPartitionReassignmentsResponse::default()
            .with_error_message(Some(StrBytes::default()))
            .with_topics(topics.collect())
    }
}

fn reassignments_response(outcomes: Outcomes) -> AlterPartitionReassignmentsResponse {
    let mut topics: BTreeMap<Arc<str>, Vec<ReassignablePartitionResponse>> = BTreeMap::new();
    for (partition, outcome) in outcomes {
        let answer = ReassignablePartitionResponse::default().with_partition_index(partition.partition);
        let answer = match outcome {
            Ok(()) => answer.with_error_message(None),
            Err(error) => {
                answer.with_error_code(error.code.code()).with_error_message(error.message.map(StrBytes::from_string))
            }
        };
        topics.entry(partition.topic).or_default().push(answer);
    }
    let responses = topics.into_iter().map(|(topic, partitions)| {
        ReassignableTopicResponse::default().with_name(topic_name(&topic)).with_partitions(partitions)
    });
    AlterPartitionReassignmentsResponse::default()
        .with_error_message(Some(StrBytes::default()))
        .with_responses(responses.collect())
}
