//! Notes in ZooKeeper that others leave for the controller, and the block of producer ids it deals from:
//! ISR changes of old brokers, failed log dirs, and the legacy tools' reassignments and preferred elections.
//!
//! Answers to the matching part of Kafka's `KafkaZkClient`, and to `ZkProducerIdManager`.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;

use super::fence::{ControllerError, ControllerResult, fenced_delete, fenced_set};
use super::znodes::Znodes;
use crate::topic::TopicPartition;
use crate::zk::json::{IsrChangeNotification, LogDirEvent, PreferredElection, ProducerIdBlock, Reassignment};
use crate::zk::{ANY_VERSION, CreateMode, ZkError, paths};

const TARGET: &str = "kafka.controller.KafkaController";

impl Znodes {
    /// Paths of the notes below `parent` whose names begin with `prefix`; the watch on `parent` is armed.
    pub async fn notes(&self, parent: &str, prefix: &str) -> ControllerResult<Vec<String>> {
        let names = self.children(parent, true).await?;
        let notes = names.iter().filter(|name| name.starts_with(prefix));
        Ok(notes.map(|name| paths::child(parent, name)).collect())
    }

    async fn read_notes<T>(&self, notes: &[String], decode: impl Fn(&[u8]) -> Option<T>) -> ControllerResult<Vec<T>> {
        let found = try_join_all(notes.iter().map(|path| self.data(path))).await?;
        Ok(found.into_iter().flatten().filter_map(|(data, _)| decode(&data)).collect())
    }

    /// Brokers that the notes say have lost a log dir.
    pub async fn log_dir_events(&self, notes: &[String]) -> ControllerResult<BTreeSet<i32>> {
        let events = self.read_notes(notes, |data| LogDirEvent::decode(data).ok()).await?;
        Ok(events.into_iter().map(|event| event.broker).collect())
    }

    /// Partitions whose ISR the notes say has changed.
    pub async fn isr_changes(&self, notes: &[String]) -> ControllerResult<Vec<TopicPartition>> {
        let changes = self.read_notes(notes, |data| IsrChangeNotification::decode(data).ok()).await?;
        let partitions: BTreeSet<TopicPartition> = changes.into_iter().flat_map(|note| note.partitions).collect();
        Ok(partitions.into_iter().collect())
    }

    /// Whether the znode is there; if not, its creation is watched.
    pub async fn watch_creation(&self, path: &str) -> ControllerResult<bool> {
        Ok(self.zk.exists(path, true).await?.is_some())
    }

    /// What `/admin/reassign_partitions` asks for; nothing if it is missing or cannot be read.
    pub async fn reassignment(&self) -> ControllerResult<BTreeMap<TopicPartition, Vec<i32>>> {
        let Some((data, _)) = self.data(paths::REASSIGN_PARTITIONS).await? else { return Ok(BTreeMap::new()) };
        match Reassignment::decode(&data) {
            Ok(reassignment) => Ok(reassignment.partitions),
            Err(error) => {
                tracing::warn!(target: TARGET, "Ignoring partition reassignment due to invalid json: {error}");
                Ok(BTreeMap::new())
            }
        }
    }

    pub async fn set_reassignment(
        &self,
        fence: i32,
        partitions: BTreeMap<TopicPartition, Vec<i32>>,
    ) -> ControllerResult {
        let data = Reassignment { partitions }.encode();
        fenced_set(&*self.zk, fence, paths::REASSIGN_PARTITIONS.to_owned(), data, ANY_VERSION).await?;
        Ok(())
    }

    pub async fn delete_reassignment(&self, fence: i32) -> ControllerResult {
        fenced_delete(&*self.zk, fence, paths::REASSIGN_PARTITIONS.to_owned()).await
    }

    /// What `/admin/preferred_replica_election` asks for; nothing if it is missing or cannot be read.
    pub async fn preferred_election(&self) -> ControllerResult<Vec<TopicPartition>> {
        let Some((data, _)) = self.data(paths::PREFERRED_REPLICA_ELECTION).await? else { return Ok(Vec::new()) };
        Ok(PreferredElection::decode(&data).map(|election| election.partitions).unwrap_or_default())
    }

    pub async fn delete_preferred_election(&self, fence: i32) -> ControllerResult {
        fenced_delete(&*self.zk, fence, paths::PREFERRED_REPLICA_ELECTION.to_owned()).await
    }

    /// Deals the next block of producer ids to a broker. Not fenced, as Kafka does not: the write is conditional on
    /// the block read. A lost answer may skip a block, which harms nobody.
    pub async fn next_producer_ids(&self, broker: i32) -> ControllerResult<ProducerIdBlock> {
        loop {
            let read = self.data(paths::PRODUCER_ID_BLOCK).await?;
            let last = match &read {
                None => None,
                Some((data, _)) => ProducerIdBlock::decode(data)
                    .map_err(|error| ControllerError::Znode(format!("{}: {error}", paths::PRODUCER_ID_BLOCK)))?,
            };
            let block = ProducerIdBlock::next(last, broker)
                .ok_or_else(|| ControllerError::Broker("Have exhausted all producerIds.".to_owned()))?;
            let written = match &read {
                None => {
                    let created = self.zk.create(paths::PRODUCER_ID_BLOCK, block.encode(), CreateMode::Persistent);
                    created.await.map(|_| 0)
                }
                Some((_, stat)) => {
                    let set = self.zk.set_data(paths::PRODUCER_ID_BLOCK, block.encode(), stat.version);
                    set.await.map(|stat| stat.version)
                }
            };
            match written {
                Ok(version) => {
                    tracing::info!(
                        target: TARGET,
                        "Acquired new producerId block ProducerIdsBlock(assignedBrokerId={broker}, \
                         firstProducerId={}, size={}) by writing to Zk with path version {version}",
                        block.start,
                        ProducerIdBlock::SIZE
                    );
                    return Ok(block);
                }
                Err(ZkError::BadVersion | ZkError::NoNode | ZkError::NodeExists | ZkError::ConnectionLoss) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
