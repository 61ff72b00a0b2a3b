//! `/brokers/topics/<t>/partitions/<p>/state`: leaders and isrs, written by the controller only.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::json::PartitionState;
use super::super::{CreateMode, Op, paths};
use super::controller::ControllerEpoch;
use super::write::stat_of;
use super::{Store, StoreError, pipelined};
use crate::topic::TopicPartition;

/// Leader and isr of a partition with the partition epoch (the znode's data version).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedState {
    pub state: PartitionState,
    pub version: i32,
}

/// Per partition, in the order asked for: the new data version, or why it was not written.
pub type WriteResults = Vec<(TopicPartition, Result<i32, StoreError>)>;

impl Store {
    pub async fn partition_state(&self, tp: &TopicPartition) -> Result<Option<VersionedState>, StoreError> {
        let path = paths::partition_state(&tp.topic, tp.partition);
        let found = self.read_as(&path, false, PartitionState::decode).await?;
        Ok(found.map(|(state, stat)| VersionedState { state, version: stat.version }))
    }

    /// Many partitions at once; those without a state are left out.
    pub async fn partition_states(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, VersionedState>, StoreError> {
        let reads =
            partitions.iter().map(|tp| async move { Ok(self.partition_state(tp).await?.map(|s| (tp.clone(), s))) });
        Ok(pipelined(reads).await?.into_iter().flatten().collect())
    }

    /// Creates the first state of partitions, with the directories above it. The whole call fails when the controller moved or the
    /// session is gone; a single partition may fail with NodeExists.
    pub async fn create_partition_states(
        &self,
        states: &[(TopicPartition, PartitionState)],
        epoch: ControllerEpoch,
    ) -> Result<WriteResults, StoreError> {
        let topics: BTreeSet<&str> = states.iter().map(|(tp, _)| &*tp.topic).collect();
        let directories = topics.iter().map(|t| paths::topic_partitions(t));
        pipelined(directories.map(|path| self.create_directory(path, epoch))).await?;
        let directories = states.iter().map(|(tp, _)| paths::topic_partition(&tp.topic, tp.partition));
        pipelined(directories.map(|path| self.create_directory(path, epoch))).await?;
        let writes = states.iter().map(|(tp, state)| async move {
            let path = paths::partition_state(&tp.topic, tp.partition);
            let op = Op::create(path, state.encode(), CreateMode::Persistent);
            let result = self.write_as_controller(op, Some(epoch)).await;
            sorted_out(tp, result.map(|_| 0))
        });
        pipelined(writes).await
    }

    async fn create_directory(&self, path: String, epoch: ControllerEpoch) -> Result<(), StoreError> {
        let op = Op::create(path, Bytes::new(), CreateMode::Persistent);
        match self.write_as_controller(op, Some(epoch)).await {
            // A topic that is being deleted below us: its states will fail one by one.
            Err(e) if e.is_node_exists() || e.is_no_node() => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Overwrites states, each if it still has the data version given. The whole call fails when the controller moved or the session is
    /// gone; a single partition may fail with BadVersion or NoNode.
    pub async fn set_partition_states(
        &self,
        states: &[(TopicPartition, PartitionState, i32)],
        epoch: ControllerEpoch,
    ) -> Result<WriteResults, StoreError> {
        let writes = states.iter().map(|(tp, state, version)| async move {
            let path = paths::partition_state(&tp.topic, tp.partition);
            let op = Op::set_data(&*path, state.encode(), *version);
            let result = self.write_as_controller(op, Some(epoch)).await;
            sorted_out(tp, result.and_then(|r| Ok(stat_of(&path, &r)?.version)))
        });
        pipelined(writes).await
    }
}

/// Keeps the refusal of one partition apart from what ends the whole call.
#[allow(clippy::type_complexity)]
fn sorted_out(
    tp: &TopicPartition,
    result: Result<i32, StoreError>,
) -> Result<(TopicPartition, Result<i32, StoreError>), StoreError> {
    match result {
        Err(e) if !(e.is_node_exists() || e.is_no_node() || e.is_bad_version()) => Err(e),
        result => Ok((tp.clone(), result)),
    }
}
