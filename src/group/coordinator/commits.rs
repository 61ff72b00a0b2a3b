//! OffsetCommit and TxnOffsetCommit, and the ends of transactions.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::BoxFuture;

use super::table::GroupCell;
use super::{GroupCoordinator, Inner, complete_append};
use crate::group::config::Now;
use crate::group::group::{Group, MANAGER_LOG};
use crate::group::records::OffsetAndMetadata;
use crate::group::requests::MemberClaim;
use crate::group::state::GroupState;
use crate::group::storage::{AppendResult, TxnProducer, commit_append_error, offsets_batch};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use crate::protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestPartition;
use crate::protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use crate::protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use crate::topic::TopicPartition;

type Offset = (TopicPartition, OffsetAndMetadata);

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Before its partitions were looked at: the same for all of them.
    Refused(ErrorCode),
    /// The result of the write, for all partitions that had part in it.
    Written(ErrorCode),
}

impl Outcome {
    fn of_partition(self, is_too_long: bool) -> ErrorCode {
        match self {
            Outcome::Written(_) if is_too_long => ErrorCode::OffsetMetadataTooLarge,
            Outcome::Refused(error) | Outcome::Written(error) => error,
        }
    }
}

/// A commit that the group has taken, on its way into the log.
struct Commit {
    inner: Arc<Inner>,
    cell: Arc<GroupCell>,
    /// Those with acceptable metadata.
    offsets: Vec<Offset>,
    producer: Option<TxnProducer>,
}

impl GroupCoordinator {
    /// OffsetCommit 1 to 9, with the partitions that exist and that the client may read; the caller answers the others
    /// (and version 0, which goes to ZooKeeper).
    pub async fn offset_commit(&self, request: OffsetCommitRequest) -> OffsetCommitResponse {
        let now_ms = self.inner.clock.now().wall_ms;
        let expire_timestamp =
            (request.retention_time_ms != -1).then(|| now_ms.saturating_add(request.retention_time_ms));
        let value = |given: &OffsetCommitRequestPartition| OffsetAndMetadata {
            offset: given.committed_offset,
            leader_epoch: given.committed_leader_epoch,
            metadata: metadata(&given.committed_metadata),
            commit_timestamp: if given.commit_timestamp == -1 { now_ms } else { given.commit_timestamp },
            expire_timestamp,
        };
        let mut offsets = Vec::new();
        for topic in &request.topics {
            let name: Arc<str> = Arc::from(&**topic.name);
            let partition = |index| TopicPartition { topic: name.clone(), partition: index };
            offsets.extend(topic.partitions.iter().map(|given| (partition(given.partition_index), value(given))));
        }
        let claim = MemberClaim {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id_or_member_epoch,
        };
        let outcome = self.commit(&request.group_id, claim, offsets, None).await;
        let mut response = OffsetCommitResponse::default();
        for topic in request.topics {
            let partition = |given: OffsetCommitRequestPartition| {
                let error = outcome.of_partition(self.inner.is_too_long(&given.committed_metadata));
                OffsetCommitResponsePartition::default()
                    .with_partition_index(given.partition_index)
                    .with_error_code(error.code())
            };
            let partitions = topic.partitions.into_iter().map(partition).collect();
            response
                .topics
                .push(OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions));
        }
        response
    }

    /// TxnOffsetCommit 0 to 3, once the caller has verified the producer's transaction.
    pub async fn txn_offset_commit(&self, version: i16, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
        let now_ms = self.inner.clock.now().wall_ms;
        let value = |given: &TxnOffsetCommitRequestPartition| OffsetAndMetadata {
            offset: given.committed_offset,
            leader_epoch: given.committed_leader_epoch,
            metadata: metadata(&given.committed_metadata),
            commit_timestamp: now_ms,
            expire_timestamp: None,
        };
        let mut offsets = Vec::new();
        for topic in &request.topics {
            let name: Arc<str> = Arc::from(&**topic.name);
            let partition = |index| TopicPartition { topic: name.clone(), partition: index };
            offsets.extend(topic.partitions.iter().map(|given| (partition(given.partition_index), value(given))));
        }
        let claim = MemberClaim {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
        };
        let producer = TxnProducer { producer_id: *request.producer_id, producer_epoch: request.producer_epoch };
        let outcome = self.commit(&request.group_id, claim, offsets, Some(producer)).await;
        let mut response = TxnOffsetCommitResponse::default();
        for topic in request.topics {
            let partition = |given: TxnOffsetCommitRequestPartition| {
                let error = match outcome.of_partition(self.inner.is_too_long(&given.committed_metadata)) {
                    // Clients of the first two versions do not know this error.
                    ErrorCode::CoordinatorLoadInProgress if version < 2 => ErrorCode::CoordinatorNotAvailable,
                    error => error,
                };
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(given.partition_index)
                    .with_error_code(error.code())
            };
            let partitions = topic.partitions.into_iter().map(partition).collect();
            response
                .topics
                .push(TxnOffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions));
        }
        response
    }

    async fn commit(
        &self,
        group_id: &str,
        claim: MemberClaim<'_>,
        offsets: Vec<Offset>,
        producer: Option<TxnProducer>,
    ) -> Outcome {
        let (append, commit) = match self.start_commit(group_id, claim, offsets, producer) {
            Ok(Some(started)) => started,
            // All of them were too long.
            Ok(None) => return Outcome::Written(ErrorCode::None),
            Err(error) => return Outcome::Refused(error),
        };
        let error = complete_append(append, move |result| commit.finish(result)).await;
        Outcome::Written(error.unwrap_or(ErrorCode::UnknownServerError))
    }

    /// Checks the commit and writes it; `None` if nothing is left of it to write.
    fn start_commit(
        &self,
        group_id: &str,
        claim: MemberClaim<'_>,
        mut offsets: Vec<Offset>,
        producer: Option<TxnProducer>,
    ) -> Result<Option<(BoxFuture<'static, AppendResult>, Commit)>, ErrorCode> {
        let inner = &self.inner;
        let partition = inner.check_group(group_id, producer.is_none())?;
        let cell = match inner.table.get(group_id) {
            Some(cell) => cell,
            None if claim.generation >= 0 && producer.is_none() => return Err(ErrorCode::IllegalGeneration),
            None => inner.get_or_create(group_id, partition)?,
        };
        offsets.retain(|(_, value)| !inner.is_metadata_too_long(&value.metadata));
        let append = inner.step(&cell, |group, now, _| {
            group.allow_commit(claim, producer.is_some(), now)?;
            if offsets.is_empty() {
                return Ok(None);
            }
            inner.append_offsets(group, &offsets, producer, now).map(Some)
        })?;
        Ok(append.map(|append| (append, Commit { inner: inner.clone(), cell, offsets, producer })))
    }
}

impl Inner {
    fn append_offsets(
        &self,
        group: &mut Group,
        offsets: &[Offset],
        producer: Option<TxnProducer>,
        now: Now,
    ) -> Result<BoxFuture<'static, AppendResult>, ErrorCode> {
        if !group.offsets.is_consistent() {
            tracing::warn!(
                target: MANAGER_LOG,
                "[GroupMetadataManager brokerId={}] group: {} with leader: {} has received offset commits from \
                 consumers as well as transactional producers. Mixing both types of offset commits will generally \
                 result in surprises and should be avoided.",
                self.config.broker_id,
                group.id,
                group.leader().unwrap_or("null")
            );
        }
        let batch = offsets_batch(&self.config, &group.id, offsets, producer, now.wall_ms).map_err(|error| {
            tracing::error!(target: MANAGER_LOG, "Cannot build the offset records of group {}: {error}", group.id);
            ErrorCode::UnknownServerError
        })?;
        match producer {
            Some(TxnProducer { producer_id, .. }) => {
                self.open_txns.lock().entry(producer_id).or_default().insert(group.id.clone());
                group.offsets.prepare_txn(producer_id, offsets.iter());
            }
            None => group.offsets.prepare(offsets.iter()),
        }
        Ok(self.log.append(group.partition, batch, self.config.offsets_commit_timeout_ms))
    }

    /// The group has no part in the producer's transaction any more.
    pub(super) fn close_txn(&self, producer_id: i64, group_id: &str) {
        let mut open = self.open_txns.lock();
        if let Some(groups) = open.get_mut(&producer_id) {
            groups.remove(group_id);
            if groups.is_empty() {
                open.remove(&producer_id);
            }
        }
    }

    fn is_too_long(&self, metadata: &Option<StrBytes>) -> bool {
        metadata.as_deref().is_some_and(|metadata| self.is_metadata_too_long(metadata))
    }

    fn is_metadata_too_long(&self, metadata: &str) -> bool {
        let limit = usize::try_from(self.config.offset_metadata_max_bytes).unwrap_or(0);
        // Java counts UTF-16 units; a text has never more of those than bytes.
        metadata.len() > limit && metadata.encode_utf16().count() > limit
    }
}

impl Commit {
    /// The write is over: the offsets become visible, or are forgotten. Returns what the client is told.
    fn finish(self, result: AppendResult) -> ErrorCode {
        let Commit { inner, cell, offsets, producer } = self;
        let mut closes = None;
        let told = inner.step(&cell, |group, _, _| {
            let is_dead = group.is(GroupState::Dead);
            match result {
                Ok(batch_offset) => {
                    for (partition, value) in offsets.iter().filter(|_| !is_dead) {
                        match producer {
                            Some(TxnProducer { producer_id, .. }) => {
                                group.offsets.on_txn_append(producer_id, partition, value, batch_offset);
                            }
                            None => group.offsets.on_append(partition, value, batch_offset),
                        }
                    }
                    inner.metrics.offset_commits.fetch_add(offsets.len() as u64, Ordering::Relaxed);
                    ErrorCode::None
                }
                Err(error) => {
                    for (partition, value) in offsets.iter().filter(|_| !is_dead) {
                        match producer {
                            Some(TxnProducer { producer_id, .. }) => {
                                group.offsets.on_txn_append_failed(producer_id, partition);
                            }
                            None => group.offsets.on_append_failed(partition, value),
                        }
                    }
                    closes = producer.map(|p| p.producer_id).filter(|id| !group.offsets.has_open_producer(*id));
                    tracing::debug!(
                        target: MANAGER_LOG,
                        "[GroupMetadataManager brokerId={}] Offset commit of {} offsets from group {} with generation \
                         {} failed when appending to log due to {error}",
                        inner.config.broker_id,
                        offsets.len(),
                        group.id,
                        group.generation()
                    );
                    commit_append_error(error)
                }
            }
        });
        if let Some(producer_id) = closes {
            inner.close_txn(producer_id, &cell.id);
        }
        told
    }
}

impl GroupCoordinator {
    /// Markers of `producer_id` were written to these partitions of `__consumer_offsets`: its pending offsets there
    /// become visible, or are dropped.
    pub fn on_transaction_completed(&self, producer_id: i64, partitions: &[i32], commit: bool) {
        let inner = &self.inner;
        let groups: Vec<Arc<str>> = {
            let open = inner.open_txns.lock();
            let groups = open.get(&producer_id).into_iter().flatten();
            groups.filter(|group| partitions.contains(&inner.partition_for(group))).cloned().collect()
        };
        for group_id in groups {
            match inner.table.get(&group_id) {
                Some(cell) => inner.step(&cell, |group, _, _| {
                    if !group.is(GroupState::Dead) {
                        group.offsets.complete_txn(producer_id, commit);
                    }
                }),
                None => tracing::info!(
                    target: MANAGER_LOG,
                    "[GroupMetadataManager brokerId={0}] Group {group_id} has moved away from {0} after transaction \
                     marker was written but before the cache was updated. The cache on the new group owner will be \
                     updated instead.",
                    inner.config.broker_id
                ),
            }
            inner.close_txn(producer_id, &group_id);
        }
    }
}

fn metadata(given: &Option<StrBytes>) -> Arc<str> {
    Arc::from(given.as_deref().unwrap_or_default())
}
