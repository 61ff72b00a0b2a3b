//! What the tool asks of the brokers: which replicas there are, where to begin, and their records.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join_all};
use regex::Regex;
use uuid::Uuid;

use super::Order;
use super::compare::{Answer, Answers, Replicas};
use crate::client::{Admin, Call, Target};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use crate::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::protocol::messages::{BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, TopicName};
use crate::tools::admin::{in_execution, java_error};
use crate::tools::failure::JavaError;
use crate::tools::java_names::api_error;
use crate::topic::TopicPartition;

/// A consumer that any replica answers.
const DEBUGGING: i32 = -2;
const LATEST: i64 = -1;
/// First versions with topic ids, and with the replica's id in a field of its own.
const TOPIC_IDS: i16 = 13;
const REPLICA_STATE: i16 = 15;

/// A topic to be looked at.
pub struct Topic {
    name: String,
    id: Uuid,
    /// Leader and replicas by index.
    partitions: BTreeMap<i32, (i32, Vec<i32>)>,
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub async fn topics(admin: &Admin, pattern: &Regex) -> Result<Vec<Topic>, JavaError> {
    let metadata = admin.metadata("listTopics", None).await.map_err(|e| in_execution(java_error(e)))?;
    let named = metadata.topics.into_iter().filter_map(|topic| {
        let name = topic.name.as_ref()?.to_string();
        let partition = |p: &crate::protocol::messages::metadata_response::MetadataResponsePartition| {
            (p.partition_index, (p.leader_id.0, p.replica_nodes.iter().map(|id| id.0).collect()))
        };
        let partitions = topic.partitions.iter().map(partition).collect();
        pattern.is_match(&name).then_some(Topic { name, id: topic.topic_id, partitions })
    });
    Ok(named.collect())
}

/// Where each partition is at a time, by its leader.
pub async fn initial_offsets(
    admin: &Admin,
    topics: &[Topic],
    timestamp: i64,
) -> Result<BTreeMap<TopicPartition, i64>, JavaError> {
    let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<i32>>> = BTreeMap::new();
    for topic in topics {
        for (index, (leader, _)) in &topic.partitions {
            by_leader.entry(*leader).or_default().entry(&topic.name).or_default().push(*index);
        }
    }
    let asked = by_leader.into_iter().map(|(leader, of)| offsets_at(admin, leader, of, timestamp));
    Ok(try_join_all(asked).await?.into_iter().flatten().collect())
}

async fn offsets_at(
    admin: &Admin,
    leader: i32,
    topics: BTreeMap<&str, Vec<i32>>,
    timestamp: i64,
) -> Result<Vec<(TopicPartition, i64)>, JavaError> {
    let mut found = Vec::new();
    let mut wanted = topics;
    // A time behind the last record has no offset: there the end will do.
    for timestamp in [timestamp, LATEST] {
        let topics = wanted.iter().map(|(name, indexes)| {
            let partition = |index: &i32| {
                ListOffsetsPartition::default()
                    .with_partition_index(*index)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(timestamp)
                    .with_max_num_offsets(1)
            };
            let partitions = indexes.iter().map(partition).collect();
            ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(partitions)
        });
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect());
        let call = Call { versions: Some((1, i16::MAX)), ..Call::new("listOffsets", Target::Broker(leader)) };
        let answer = admin.call(call, |_| Ok(request.clone()), |_| Ok(())).await.map_err(java_error)?;
        let mut missing: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let code = ErrorCode::from_code(partition.error_code);
                if !code.is_none() {
                    return Err(api_error(code, None));
                }
                let tp = TopicPartition::new(&*topic.name.0, partition.partition_index);
                match partition.offset {
                    0.. => found.push((tp, partition.offset)),
                    _ => missing.entry(tp.topic.to_string()).or_default().push(tp.partition),
                }
            }
        }
        wanted.retain(|name, indexes| {
            let left = missing.remove(*name).unwrap_or_default();
            indexes.retain(|index| left.contains(index));
            !indexes.is_empty()
        });
        if wanted.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// One fetch of every replica. A broker that does not answer has nothing to say for this round.
pub async fn round(admin: &Admin, topics: &[Topic], replicas: &Replicas, order: &Order) -> Result<Answers, JavaError> {
    let mut brokers: BTreeMap<i32, Vec<(&Topic, Vec<i32>)>> = BTreeMap::new();
    for topic in topics {
        let mut of_topic: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (index, (_, ids)) in &topic.partitions {
            ids.iter().for_each(|id| of_topic.entry(*id).or_default().push(*index));
        }
        of_topic.into_iter().for_each(|(id, indexes)| brokers.entry(id).or_default().push((topic, indexes)));
    }
    let asked = brokers.iter().map(|(id, topics)| fetch(admin, *id, topics, replicas, order));
    let mut answers = Answers::new();
    for ((id, topics), answer) in brokers.iter().zip(join_all(asked).await) {
        for (topic, indexes) in topics {
            for index in indexes {
                let tp = TopicPartition::new(topic.name.as_str(), *index);
                let silent = Answer { high_watermark: -1, ..Answer::default() };
                let answer = answer.as_ref().and_then(|a| part(a, topic, *index)).unwrap_or(Ok(silent));
                answers.entry(tp).or_default().insert(*id, answer?);
            }
        }
    }
    Ok(answers)
}

/// The part of an answer about one partition.
fn part(answer: &FetchResponse, topic: &Topic, index: i32) -> Option<Result<Answer, JavaError>> {
    let of_topic = |t: &&crate::protocol::messages::fetch_response::FetchableTopicResponse| {
        *t.topic.0 == *topic.name || (!topic.id.is_nil() && t.topic_id == topic.id)
    };
    let found = answer.responses.iter().find(of_topic)?.partitions.iter().find(|p| p.partition_index == index)?;
    let records = found.records.clone().unwrap_or_default();
    Some(Ok(Answer { high_watermark: found.high_watermark, records }))
}

async fn fetch(
    admin: &Admin,
    broker: i32,
    topics: &[(&Topic, Vec<i32>)],
    replicas: &Replicas,
    order: &Order,
) -> Option<FetchResponse> {
    let topics = topics.iter().map(|(topic, indexes)| {
        let partition = |index: &i32| {
            FetchPartition::default()
                .with_partition(*index)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(replicas.offset(&TopicPartition::new(topic.name.as_str(), *index)))
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(0)
                .with_partition_max_bytes(order.fetch_size)
        };
        FetchTopic::default()
            .with_topic(topic_name(&topic.name))
            .with_topic_id(topic.id)
            .with_partitions(indexes.iter().map(partition).collect())
    });
    let request = FetchRequest::default()
        .with_max_wait_ms(order.max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(i32::MAX)
        .with_session_epoch(-1)
        .with_topics(topics.collect());
    let build = |version: i16| {
        Ok(match version {
            REPLICA_STATE.. => {
                let state = ReplicaState::default().with_replica_id(BrokerId(DEBUGGING)).with_replica_epoch(-1);
                request.clone().with_replica_state(state)
            }
            _ => request.clone().with_replica_id(BrokerId(DEBUGGING)),
        })
    };
    let newest = if request.topics.iter().all(|t| !t.topic_id.is_nil()) { i16::MAX } else { TOPIC_IDS - 1 };
    let call = Call { versions: Some((4, newest)), ..Call::new("fetch", Target::Broker(broker)) };
    // One try: whoever is down is asked again in the next round.
    let patience = std::time::Duration::from_millis(u64::try_from(order.max_wait_ms).unwrap_or(0))
        + admin.config().retry_backoff.max * 2;
    admin.call(call.within(patience), build, |_| Ok(())).await.ok()
}
