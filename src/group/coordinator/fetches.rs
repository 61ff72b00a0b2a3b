//! OffsetFetch.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{GroupCoordinator, text};
use crate::group::group::Group;
use crate::group::records::OffsetAndMetadata;
use crate::group::state::GroupState;
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use crate::topic::TopicPartition;

impl GroupCoordinator {
    /// OffsetFetch 1 to 9 as a whole, without authorization (version 0 goes to ZooKeeper).
    pub fn offset_fetch(&self, version: i16, request: OffsetFetchRequest) -> OffsetFetchResponse {
        let require_stable = request.require_stable && version >= 7;
        let groups = offset_fetch_groups(version, request);
        let fetch = |group: &OffsetFetchRequestGroup| {
            let mut answer = self.fetch_offsets(&group.group_id, group.topics.as_deref(), require_stable);
            if version < 2 && answer.error_code != 0 {
                // There is no other place for the error in this version.
                answer.topics = all_with_error(group.topics.as_deref(), answer.error_code);
            }
            answer
        };
        offset_fetch_response(version, groups.iter().map(fetch).collect())
    }

    /// The offsets of one group: of `topics`, or all it has. An error of the group comes without topics.
    pub fn fetch_offsets(
        &self,
        group_id: &str,
        topics: Option<&[OffsetFetchRequestTopics]>,
        require_stable: bool,
    ) -> OffsetFetchResponseGroup {
        let answer = OffsetFetchResponseGroup::default().with_group_id(text(group_id).into());
        if let Err(error) = self.inner.check_group(group_id, true) {
            return answer.with_error_code(error.code());
        }
        let Some(cell) = self.inner.table.get(group_id) else { return answer.with_topics(read(None, topics, false)) };
        let edge = cell.edge.lock();
        let group = (!edge.group.is(GroupState::Dead)).then_some(&edge.group);
        answer.with_topics(read(group, topics, require_stable))
    }
}

/// The groups an OffsetFetch asks for, in the form of version 8.
pub fn offset_fetch_groups(version: i16, request: OffsetFetchRequest) -> Vec<OffsetFetchRequestGroup> {
    if version >= 8 {
        return request.groups;
    }
    let topics = request.topics.map(|topics| {
        let topic = |topic: crate::protocol::messages::offset_fetch_request::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics::default().with_name(topic.name).with_partition_indexes(topic.partition_indexes)
        };
        topics.into_iter().map(topic).collect()
    });
    vec![OffsetFetchRequestGroup::default().with_group_id(request.group_id).with_topics(topics)]
}

/// The answers of `fetch_offsets` in the form of `version`.
pub fn offset_fetch_response(version: i16, groups: Vec<OffsetFetchResponseGroup>) -> OffsetFetchResponse {
    if version >= 8 {
        return OffsetFetchResponse::default().with_groups(groups);
    }
    let Some(group) = groups.into_iter().next() else { return OffsetFetchResponse::default() };
    let partition = |partition: OffsetFetchResponsePartitions| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(if version >= 5 { partition.committed_leader_epoch } else { -1 })
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    };
    let topic = |topic: OffsetFetchResponseTopics| {
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(topic.partitions.into_iter().map(partition).collect())
    };
    OffsetFetchResponse::default()
        .with_error_code(if version >= 2 { group.error_code } else { 0 })
        .with_topics(group.topics.into_iter().map(topic).collect())
}

fn all_with_error(topics: Option<&[OffsetFetchRequestTopics]>, error: i16) -> Vec<OffsetFetchResponseTopics> {
    let mut answers = read(None, topics, false);
    for partition in answers.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.error_code = error;
    }
    answers
}

fn read(
    group: Option<&Group>,
    topics: Option<&[OffsetFetchRequestTopics]>,
    require_stable: bool,
) -> Vec<OffsetFetchResponseTopics> {
    let mut asked: Vec<(TopicName, Vec<i32>)> = Vec::new();
    match topics {
        Some(topics) => {
            asked.extend(topics.iter().map(|topic| (topic.name.clone(), topic.partition_indexes.clone())));
        }
        None => {
            let mut all: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
            for (partition, _) in group.into_iter().flat_map(|group| group.offsets.iter()) {
                all.entry(partition.topic.clone()).or_default().push(partition.partition);
            }
            asked.extend(all.into_iter().map(|(topic, mut partitions)| {
                partitions.sort_unstable();
                (TopicName(text(&topic)), partitions)
            }));
        }
    }
    let topic = |(name, partitions): (TopicName, Vec<i32>)| {
        let topic: Arc<str> = Arc::from(&**name);
        let answer = |index| read_one(group, TopicPartition { topic: topic.clone(), partition: index }, require_stable);
        let partitions = partitions.into_iter().map(answer).collect();
        OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions)
    };
    asked.into_iter().map(topic).collect()
}

fn read_one(group: Option<&Group>, partition: TopicPartition, require_stable: bool) -> OffsetFetchResponsePartitions {
    let is_unstable = require_stable && group.is_some_and(|group| group.offsets.is_unstable(&partition));
    let found: Option<&OffsetAndMetadata> = match group {
        Some(group) if !is_unstable => group.offsets.get(&partition),
        _ => None,
    };
    OffsetFetchResponsePartitions::default()
        .with_partition_index(partition.partition)
        .with_committed_offset(found.map_or(-1, |found| found.offset))
        .with_committed_leader_epoch(found.map_or(-1, |found| found.leader_epoch))
        .with_metadata(Some(found.map_or_else(StrBytes::default, |found| text(&found.metadata))))
        .with_error_code(if is_unstable { ErrorCode::UnstableOffsetCommit.code() } else { 0 })
}
