//! The messages fetchers send: Fetch in the follower's form, ListOffsets, OffsetForLeaderEpoch.
//! Answers to Kafka's `RemoteLeaderEndPoint` (spec zookeeper 4.12).

use std::sync::Arc;

use uuid::Uuid;

use super::FetcherSettings;
use super::session::{Asked, SessionRequest};
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use crate::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use crate::protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, TopicName};
use crate::topic::TopicPartition;

/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;
/// First version with the replica's state in a tagged field.
const REPLICA_STATE: i16 = 15;

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// The version to fetch in: topics without ids know only the older ones.
pub fn fetch_version(settings: &FetcherSettings, uses_topic_ids: bool) -> i16 {
    let version = settings.versions.fetch;
    if uses_topic_ids { version } else { version.min(TOPIC_IDS - 1) }
}

/// Whether topics could be named by id at all.
pub fn may_use_topic_ids(settings: &FetcherSettings) -> bool {
    settings.versions.fetch >= TOPIC_IDS
}

/// A follower's Fetch. Neighbours of one topic share an entry.
pub fn fetch(settings: &FetcherSettings, version: i16, broker_epoch: i64, session: SessionRequest) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (tp, asked) in &session.asked {
        let partition = fetch_partition(settings, tp.partition, asked);
        match topics.last_mut() {
            Some(last) if *last.topic.0 == *tp.topic && last.topic_id == asked.topic_id => {
                last.partitions.push(partition);
            }
            _ => topics.push(
                FetchTopic::default()
                    .with_topic(topic_name(&tp.topic))
                    .with_topic_id(asked.topic_id)
                    .with_partitions(vec![partition]),
            ),
        }
    }
    let request = FetchRequest::default()
        .with_max_wait_ms(settings.max_wait_ms)
        .with_min_bytes(settings.min_bytes)
        .with_max_bytes(settings.max_bytes)
        .with_session_id(session.id)
        .with_session_epoch(if settings.versions.sessions { session.epoch } else { -1 })
        .with_topics(topics)
        .with_forgotten_topics_data(forgotten(&session.forgotten));
    if version < REPLICA_STATE {
        return request.with_replica_id(BrokerId(settings.broker_id));
    }
    let state = ReplicaState::default().with_replica_id(BrokerId(settings.broker_id)).with_replica_epoch(broker_epoch);
    request.with_replica_state(state)
}

fn fetch_partition(settings: &FetcherSettings, partition: i32, asked: &Asked) -> FetchPartition {
    FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(asked.leader_epoch)
        .with_fetch_offset(asked.fetch_offset)
        .with_last_fetched_epoch(asked.last_fetched_epoch)
        .with_log_start_offset(asked.log_start_offset)
        .with_partition_max_bytes(settings.partition_max_bytes)
}

fn forgotten(partitions: &[(TopicPartition, Uuid)]) -> Vec<ForgottenTopic> {
    let mut topics: Vec<ForgottenTopic> = Vec::new();
    for (tp, id) in partitions {
        match topics.last_mut() {
            Some(last) if *last.topic.0 == *tp.topic && last.topic_id == *id => last.partitions.push(tp.partition),
            _ => topics.push(
                ForgottenTopic::default()
                    .with_topic(topic_name(&tp.topic))
                    .with_topic_id(*id)
                    .with_partitions(vec![tp.partition]),
            ),
        }
    }
    topics
}

/// Groups by topic: (partition, value) lists in the order given.
fn by_topic<T>(items: impl IntoIterator<Item = (TopicPartition, T)>) -> Vec<(Arc<str>, Vec<T>)> {
    let mut topics: Vec<(Arc<str>, Vec<T>)> = Vec::new();
    for (tp, item) in items {
        match topics.last_mut() {
            Some((topic, list)) if *topic == tp.topic => list.push(item),
            _ => topics.push((tp.topic, vec![item])),
        }
    }
    topics
}

/// Asks for the offset at `timestamp` (-1 latest, -2 earliest) of each partition in its leader epoch.
pub fn list_offsets(settings: &FetcherSettings, timestamp: i64, asked: &[(TopicPartition, i32)]) -> ListOffsetsRequest {
    let partitions = asked.iter().map(|(tp, epoch)| {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(tp.partition)
            .with_current_leader_epoch(*epoch)
            .with_timestamp(timestamp)
            .with_max_num_offsets(1);
        (tp.clone(), partition)
    });
    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        ListOffsetsTopic::default().with_name(topic_name(&topic)).with_partitions(partitions)
    });
    ListOffsetsRequest::default().with_replica_id(BrokerId(settings.broker_id)).with_topics(topics.collect())
}

/// Asks where epochs end: (partition, current leader epoch, epoch asked about).
pub fn epochs(settings: &FetcherSettings, asked: &[(TopicPartition, i32, i32)]) -> OffsetForLeaderEpochRequest {
    let partitions = asked.iter().map(|(tp, current, epoch)| {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(tp.partition)
            .with_current_leader_epoch(*current)
            .with_leader_epoch(*epoch);
        (tp.clone(), partition)
    });
    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        OffsetForLeaderTopic::default().with_topic(topic_name(&topic)).with_partitions(partitions)
    });
    OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(settings.broker_id)).with_topics(topics.collect())
}
