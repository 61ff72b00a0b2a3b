//! `/brokers/topics/<t>/partitions/<p>/state`: leaders and isrs, written by the controller; isrs also by leaders whose
//! inter-broker protocol is below 2.7-IV2.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};

use super::super::json::PartitionState;
use super::super::{CreateMode, Op, ZkError, paths};
use super::controller::ControllerEpoch;
use super::write::{Refusal, stat_of};
use super::{PIPELINE, Store, StoreError, pipelined};
use crate::topic::TopicPartition;

/// Leader and isr of a partition with the partition epoch (the znode's data version).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedState {
    pub state: PartitionState,
    pub version: i32,
    /// Id of the transaction (mzxid) that wrote it: comparable with broker epochs.
    pub written: i64,
}

/// Per partition, in the order asked for: the new data version, or why it was not written.
pub type WriteResults = Vec<(TopicPartition, Result<i32, StoreError>)>;

/// Per partition, in the order asked for: the state, if there is one, or why it cannot be told.
pub type ReadResults = Vec<(TopicPartition, Result<Option<VersionedState>, StoreError>)>;

/// States read by one request: some 20 KB, far below what a server answers at most (1 MiB).
const READ_AT_ONCE: usize = 128;
/// States written by one request.
const WRITE_AT_ONCE: usize = 64;

impl Store {
    pub async fn partition_state(&self, tp: &TopicPartition) -> Result<Option<VersionedState>, StoreError> {
        let path = paths::partition_state(&tp.topic, tp.partition);
        let found = self.read_as(&path, false, PartitionState::decode).await?;
        Ok(found.map(|(state, stat)| VersionedState { state, version: stat.version, written: stat.mzxid }))
    }

    /// Many partitions at once; those without a state are left out.
    pub async fn partition_states(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, VersionedState>, StoreError> {
        let mut found = BTreeMap::new();
        for (tp, read) in self.read_partition_states(partitions).await {
            if let Some(state) = read? {
                found.insert(tp, state);
            }
        }
        Ok(found)
    }

    /// Many partitions at once, each with its own outcome, in the order asked for.
    pub async fn read_partition_states(&self, partitions: &[TopicPartition]) -> ReadResults {
        let reads: Vec<_> = partitions.chunks(READ_AT_ONCE).map(|chunk| self.read_chunk(chunk).boxed()).collect();
        stream::iter(reads).buffered(PIPELINE).concat().await
    }

    async fn read_chunk(&self, partitions: &[TopicPartition]) -> ReadResults {
        let all = partitions.iter().map(|tp| paths::partition_state(&tp.topic, tp.partition));
        let mut reads = self.zk.get_many(all.collect()).await.map(Vec::into_iter);
        let each = partitions.iter().map(|tp| {
            let path = || paths::partition_state(&tp.topic, tp.partition);
            let missing = || Err(ZkError::Other("an answer is missing".to_owned()));
            let read = match &mut reads {
                Ok(reads) => reads.next().unwrap_or_else(missing),
                Err(e) => Err(e.clone()),
            };
            let found = match read {
                Ok((data, stat)) => PartitionState::decode(&data)
                    .map(|state| Some(VersionedState { state, version: stat.version, written: stat.mzxid }))
                    .map_err(|e| StoreError::bad_data(path(), e)),
                Err(ZkError::NoNode) => Ok(None),
                Err(e) => Err(StoreError::zk(path(), e)),
            };
            (tp.clone(), found)
        });
        each.collect()
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
        let chunks = states.chunks(WRITE_AT_ONCE).map(|chunk| self.create_chunk(chunk, epoch));
        Ok(pipelined(chunks).await?.into_iter().flatten().collect())
    }

    async fn create_chunk(
        &self,
        states: &[(TopicPartition, PartitionState)],
        epoch: ControllerEpoch,
    ) -> Result<WriteResults, StoreError> {
        let ops = states.iter().flat_map(|(tp, state)| {
            let directory = paths::topic_partition(&tp.topic, tp.partition);
            let path = paths::partition_state(&tp.topic, tp.partition);
            [
                Op::create(directory, Bytes::new(), CreateMode::Persistent),
                Op::create(path, state.encode(), CreateMode::Persistent),
            ]
        });
        let mut results = self.write_many_as_controller(ops.collect(), epoch).await?.into_iter();
        let mut written = Vec::with_capacity(states.len());
        for (tp, _) in states {
            match results.next() {
                Some(Err(e)) if e.concerns_all() => return Err(e),
                // Without a directory, the state fails too.
                _ => {}
            }
            if let Some(result) = results.next() {
                written.push(sorted_out(tp, result.map(|_| 0))?);
            }
        }
        Ok(written)
    }

    async fn create_directory(&self, path: String, epoch: ControllerEpoch) -> Result<(), StoreError> {
        let op = Op::create(path, Bytes::new(), CreateMode::Persistent);
        match self.write_as_controller(op, Some(epoch)).await {
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
        let chunks = states.chunks(WRITE_AT_ONCE).map(|chunk| self.set_chunk(chunk, epoch));
        Ok(pipelined(chunks).await?.into_iter().flatten().collect())
    }

    async fn set_chunk(
        &self,
        states: &[(TopicPartition, PartitionState, i32)],
        epoch: ControllerEpoch,
    ) -> Result<WriteResults, StoreError> {
        let ops = states.iter().map(|(tp, state, version)| {
            Op::set_data(paths::partition_state(&tp.topic, tp.partition), state.encode(), *version)
        });
        let results = self.write_many_as_controller(ops.collect(), epoch).await?;
        let written = states.iter().zip(results).map(|((tp, ..), result)| {
            let version = |r| Ok(stat_of(&paths::partition_state(&tp.topic, tp.partition), &r)?.version);
            sorted_out(tp, result.and_then(version))
        });
        written.collect()
    }

    /// Arms a watch for the next change of a state.
    pub async fn watch_partition_state(&self, tp: &TopicPartition) -> Result<(), StoreError> {
        self.exists(&paths::partition_state(&tp.topic, tp.partition), true).await.map(|_| ())
    }

    /// Overwrites a state if it still has the data version given; the new one. For leaders of the old protocol.
    pub async fn write_isr(
        &self,
        tp: &TopicPartition,
        state: &PartitionState,
        version: i32,
    ) -> Result<i32, StoreError> {
        let path = paths::partition_state(&tp.topic, tp.partition);
        let result = self.write_plain(Op::set_data(&*path, state.encode(), version)).await?;
        Ok(stat_of(&path, &result)?.version)
    }

    /// The same, and only if no broker has returned to ISRs since [`Store::counted_brokers`] answered this count; a bad
    /// version otherwise.
    pub async fn write_isr_unless_returned(
        &self,
        tp: &TopicPartition,
        state: &PartitionState,
        version: i32,
        count: i32,
    ) -> Result<i32, StoreError> {
        let path = paths::partition_state(&tp.topic, tp.partition);
        let nobody_returned = Op::check(paths::BROKER_IDS, count);
        let written = self.write(Some(nobody_returned), Op::set_data(&*path, state.encode(), version)).await;
        let result = written.map_err(|refusal| match refusal {
            Refusal::Guard(e) => StoreError::zk(paths::BROKER_IDS, e),
            Refusal::Op(e) => StoreError::zk(&*path, e),
        })?;
        Ok(stat_of(&path, &result)?.version)
    }
}

/// Keeps the refusal of one partition, of whatever kind, apart from what ends the whole call.
#[allow(clippy::type_complexity)]
fn sorted_out(
    tp: &TopicPartition,
    result: Result<i32, StoreError>,
) -> Result<(TopicPartition, Result<i32, StoreError>), StoreError> {
    match result {
        Err(e) if e.concerns_all() => Err(e),
        result => Ok((tp.clone(), result)),
    }
}
