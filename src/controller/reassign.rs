//! Carries out reassignments: through the phases to the last StopReplica.
//!
//! Answers to `onPartitionReassignment` and what belongs to it in Kafka's `KafkaController`. With RS the replicas,
//! TRS the target: phase U writes the new assignment to the topic's znode; while TRS is not in sync, phase A tells
//! all replicas and starts the new ones; when it is, phase B moves the leader, drops the old replicas, and writes
//! TRS as the assignment. The znode is written last, since it alone remembers the originals.

use std::collections::{BTreeMap, BTreeSet};

use super::assignment::{LeaderIsrAndControllerEpoch, ReplicaAssignment, describe, join};
use super::batch::RequestBatch;
use super::context::PartitionAndReplica;
use super::control::{ControlLoop, TARGET};
use super::deletion;
use super::election::ElectionStrategy;
use super::error::{ControllerError, ControllerResult};
use super::events::Event;
use super::reassignment::{self, ApiError};
use super::replica_machine::ReplicaState;
use super::znodes::StateWrite;
use crate::protocol::ErrorCode;
use crate::topic::TopicPartition;
use crate::zk::json::{Reassignment, TopicZnode};
use crate::zk::paths;

/// Per partition, what came of the request for its reassignment.
pub(super) type Outcomes = BTreeMap<TopicPartition, Result<(), ApiError>>;

impl ControlLoop {
    /// Starts reassignments whose targets have been checked.
    pub async fn trigger_reassignments(
        &mut self,
        reassignments: BTreeMap<TopicPartition, ReplicaAssignment>,
        outcomes: &mut Outcomes,
    ) -> ControllerResult {
        for (partition, assignment) in reassignments {
            let absent = Err(ApiError::with(ErrorCode::UnknownTopicOrPartition, "The partition does not exist."));
            let outcome = if self.ctx.is_queued_for_deletion(&partition.topic) {
                self.info(&format!("Skipping reassignment of {partition} since the topic is currently being deleted"));
                absent
            } else if self.ctx.replicas(&partition).is_empty() {
                absent
            } else {
                match self.on_reassignment(&partition, assignment).await {
                    Ok(()) => Ok(()),
                    Err(error) if error.is_moved() => return Err(error),
                    Err(error) => {
                        tracing::error!(
                            target: TARGET,
                            "[Controller id={}] Error completing reassignment of partition {partition}: {error}",
                            self.me
                        );
                        Err(ApiError::of(ErrorCode::UnknownServerError))
                    }
                }
            };
            outcomes.insert(partition, outcome);
        }
        Ok(())
    }

    /// What `/admin/reassign_partitions` asks for; answers the partitions taken up. Its creation is watched anew.
    pub async fn zk_reassignment(&mut self) -> ControllerResult<BTreeSet<TopicPartition>> {
        if !self.store().exists(paths::REASSIGN_PARTITIONS, true).await? {
            return Ok(BTreeSet::new());
        }
        let asked = self.znodes.reassignment().await?;
        let built: BTreeMap<TopicPartition, ReplicaAssignment> = asked
            .iter()
            .filter_map(|(p, target)| Some((p.clone(), reassignment::build(&self.ctx, p, Some(target))?)))
            .collect();
        let mut outcomes = Outcomes::new();
        self.trigger_reassignments(built, &mut outcomes).await?;
        let (taken, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(_, outcome)| outcome.is_ok());
        if !failed.is_empty() {
            tracing::warn!(
                target: TARGET,
                "[Controller id={}] Failed reassignment through zk with the following errors: {failed:?}",
                self.me
            );
            let failed: BTreeSet<TopicPartition> = failed.into_iter().map(|(partition, _)| partition).collect();
            self.remove_from_zk_reassignment(|partition, _| failed.contains(partition)).await?;
        }
        Ok(taken.into_iter().map(|(partition, _)| partition).collect())
    }

    /// Takes partitions out of the legacy znode, which goes with the last of them.
    pub async fn remove_from_zk_reassignment(
        &mut self,
        gone: impl Fn(&TopicPartition, &[i32]) -> bool,
    ) -> ControllerResult {
        if !self.store().exists(paths::REASSIGN_PARTITIONS, true).await? {
            return Ok(());
        }
        let asked = self.znodes.reassignment().await?;
        let (removed, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
            asked.into_iter().partition(|(partition, target)| gone(partition, target));
        self.info(&format!("Removing partitions {removed:?} from the list of reassigned partitions in zookeeper"));
        if left.is_empty() {
            self.info(&format!(
                "No more partitions need to be reassigned. Deleting zk path {}",
                paths::REASSIGN_PARTITIONS
            ));
            // So that the next one is noticed.
            self.queue.put(Event::ZkPartitionReassignment);
        }
        Ok(self.store().set_reassignment(&Reassignment { partitions: left }, self.ctx.fence()).await?)
    }

    /// Takes up again the running reassignments that `wanted` chooses.
    pub async fn resume_reassignments(
        &mut self,
        wanted: impl Fn(&TopicPartition, &ReplicaAssignment) -> bool,
    ) -> ControllerResult {
        for partition in self.ctx.being_reassigned.clone() {
            let assignment = self.ctx.assignment(&partition).cloned().unwrap_or_default();
            let deleting = self.ctx.topics_with_deletion_started.contains(&partition.topic);
            if !deleting && wanted(&partition, &assignment) {
                self.on_reassignment(&partition, assignment).await?;
            }
        }
        Ok(())
    }

    /// After an ISR grew: is a reassignment complete now?
    pub async fn maybe_complete_reassignment(&mut self, partition: &TopicPartition) -> ControllerResult {
        let assignment = self.ctx.assignment(partition).cloned().unwrap_or_default();
        if self.reassignment_complete(partition, &assignment).await? {
            self.info(&format!(
                "Target replicas {} have all caught up with the leader for reassigning partition {partition}",
                join(assignment.target())
            ));
            self.on_reassignment(partition, assignment).await?;
        }
        Ok(())
    }

    /// The state of a partition has changed: perhaps its leader has let the last new replica in.
    pub async fn on_reassigned_state(&mut self, partition: &TopicPartition) -> ControllerResult {
        if !self.ctx.being_reassigned.contains(partition) {
            return Ok(());
        }
        self.store().watch_partition_state(partition).await?;
        self.maybe_complete_reassignment(partition).await
    }

    async fn reassignment_complete(
        &self,
        partition: &TopicPartition,
        assignment: &ReplicaAssignment,
    ) -> ControllerResult<bool> {
        if !assignment.is_being_reassigned() {
            return Ok(true);
        }
        let states = self.znodes.known_states(std::slice::from_ref(partition)).await?;
        let isr = states.first().map(|(_, info)| info.leader_and_isr.isr.as_slice());
        Ok(reassignment::is_complete(assignment, isr))
    }

    async fn on_reassignment(&mut self, partition: &TopicPartition, assignment: ReplicaAssignment) -> ControllerResult {
        let topics = BTreeSet::from([partition.topic.clone()]);
        deletion::mark_ineligible(&mut self.ctx, self.me, &topics, "topic reassignment in progress");
        self.update_current_reassignment(partition, &assignment).await?;
        if !self.reassignment_complete(partition, &assignment).await? {
            // A1, A2
            self.bump_epoch_and_tell(partition, &assignment).await?;
            for replica in replicas(partition, &assignment.adding) {
                // Taken up again (the same order once more, another controller), it may be there already: not an error.
                if self.ctx.replica_state(&replica) == ReplicaState::NonExistent {
                    self.change_replicas(&[replica], ReplicaState::New).await?;
                }
            }
            return Ok(());
        }
        // B1, B2
        let adding = replicas(partition, &assignment.adding);
        self.change_replicas(&adding, ReplicaState::Online).await?;
        let done = ReplicaAssignment::new(assignment.target());
        self.ctx.set_assignment(partition, done.clone());
        // B3, B4 and B5, B6, B7
        self.move_leader_if_required(partition, &done).await?;
        self.stop_removed_replicas(partition, &assignment.removing).await?;
        self.write_assignment(partition, &done).await?;
        self.forget_reassignment(partition, &done).await?;
        // B8
        self.send_update_metadata_to_all(std::slice::from_ref(partition));
        self.resume_deletions_of(&topics).await
    }

    /// Phase U.
    async fn update_current_reassignment(
        &mut self,
        partition: &TopicPartition,
        assignment: &ReplicaAssignment,
    ) -> ControllerResult {
        let current = self.ctx.assignment(partition).cloned().unwrap_or_default();
        if current != *assignment {
            self.write_assignment(partition, assignment).await?;
            self.ctx.set_assignment(partition, assignment.clone());
            let unneeded: Vec<i32> =
                current.replicas.into_iter().filter(|id| !assignment.replicas.contains(id)).collect();
            self.stop_removed_replicas(partition, &unneeded).await?;
        }
        self.ctx.being_reassigned.insert(partition.clone());
        if !self.settings.versions.leaders_ask {
            self.store().watch_partition_state(partition).await?;
        }
        Ok(())
    }

    async fn move_leader_if_required(
        &mut self,
        partition: &TopicPartition,
        assignment: &ReplicaAssignment,
    ) -> ControllerResult {
        let leader = self.ctx.leader_and_isr(partition).map(|state| state.leader).ok_or_else(|| {
            ControllerError::StateChange(format!("No leader is known for partition {partition} being reassigned"))
        })?;
        let stays = assignment.replicas.contains(&leader);
        let alive = self.ctx.is_replica_online(leader, partition);
        self.info(&format!(
            "Leader {leader} for partition {partition} being reassigned, {}",
            match (stays, alive) {
                (false, _) =>
                    format!("is not in the new list of replicas {}. Re-electing leader", join(&assignment.replicas)),
                (true, true) =>
                    format!("is already in the new list of replicas {} and is alive", join(&assignment.replicas)),
                (true, false) =>
                    format!("is already in the new list of replicas {} but is dead", join(&assignment.replicas)),
            }
        ));
        if stays && alive {
            return self.bump_epoch_and_tell(partition, assignment).await;
        }
        self.partitions_online(std::slice::from_ref(partition), ElectionStrategy::Reassign).await?;
        Ok(())
    }

    /// Stops and deletes replicas for good, without waiting for the brokers' answers.
    async fn stop_removed_replicas(&mut self, partition: &TopicPartition, ids: &[i32]) -> ControllerResult {
        let removed = replicas(partition, ids);
        self.change_replicas(&removed, ReplicaState::Offline).await?;
        self.change_replicas(&removed, ReplicaState::DeletionStarted).await?;
        self.change_replicas(&removed, ReplicaState::DeletionSuccessful).await?;
        self.change_replicas(&removed, ReplicaState::NonExistent).await
    }

    async fn write_assignment(
        &mut self,
        partition: &TopicPartition,
        assignment: &ReplicaAssignment,
    ) -> ControllerResult {
        let topic = &partition.topic;
        let mut partitions = self.ctx.topic_assignment(topic);
        partitions.insert(partition.partition, assignment.clone());
        let znode = TopicZnode { partitions, topic_id: self.ctx.topic_id(topic) };
        self.store().set_topic(topic, &znode, Some(self.ctx.fence())).await?;
        self.info(&format!("Successfully updated assignment of partition {partition} to {}", describe(assignment)));
        Ok(())
    }

    async fn forget_reassignment(&mut self, partition: &TopicPartition, done: &ReplicaAssignment) -> ControllerResult {
        self.remove_from_zk_reassignment(|p, target| p == partition && target == done.replicas).await?;
        self.ctx.being_reassigned.remove(partition);
        Ok(())
    }

    /// A new leader epoch, with the same leader and ISR, told to all replicas: the leader learns the new list.
    async fn bump_epoch_and_tell(
        &mut self,
        partition: &TopicPartition,
        assignment: &ReplicaAssignment,
    ) -> ControllerResult {
        let info = self.bump_epoch(partition).await?;
        let mut batch = RequestBatch::new();
        // Not new to the originals: one on a failed log dir must not be made again elsewhere.
        batch.add_leader_and_isr(&self.ctx, &assignment.origin(), partition, false);
        batch.add_leader_and_isr(&self.ctx, &assignment.adding, partition, true);
        self.send(batch);
        tracing::info!(
            target: "state.change.logger",
            "[Controller id={} epoch={}] Sent LeaderAndIsr request {info} with new replica assignment {} to leader {} for \
             partition being reassigned {partition}",
            self.me,
            self.ctx.epoch,
            describe(assignment),
            info.leader_and_isr.leader
        );
        Ok(())
    }

    async fn bump_epoch(&mut self, partition: &TopicPartition) -> ControllerResult<LeaderIsrAndControllerEpoch> {
        loop {
            let mut states = self.znodes.known_states(std::slice::from_ref(partition)).await?;
            let Some((_, found)) = states.pop() else {
                return Err(ControllerError::StateChange(format!(
                    "Cannot update leader epoch for partition {partition} as leaderAndIsr path is empty. This could mean \
                     we somehow tried to reassign a partition that doesn't exist"
                )));
            };
            let (epoch, newer) = (self.ctx.epoch, found.controller_epoch);
            if newer > epoch {
                return Err(ControllerError::StateChange(format!(
                    "Leader and isr path written by another controller. This probably means the current controller with \
                     epoch {epoch} went through a soft failure and another controller was elected with epoch {newer}. \
                     Aborting state change by this controller"
                )));
            }
            let bumped = vec![(partition.clone(), found.leader_and_isr.new_epoch())];
            let mut written = self.znodes.update_states(self.ctx.fence(), bumped).await?;
            match written.remove(partition) {
                Some(StateWrite::Written(state)) => {
                    self.info(&format!(
                        "Updated leader epoch for partition {partition} to {}, zkVersion={}",
                        state.leader_epoch, state.partition_epoch
                    ));
                    let info = LeaderIsrAndControllerEpoch { leader_and_isr: state, controller_epoch: epoch };
                    self.ctx.set_leadership(partition, info.clone());
                    return Ok(info);
                }
                Some(StateWrite::Failed(error)) => return Err(error.into()),
                Some(StateWrite::BadVersion) | None => {}
            }
        }
    }
}

fn replicas(partition: &TopicPartition, ids: &[i32]) -> Vec<PartitionAndReplica> {
    ids.iter().map(|id| PartitionAndReplica::new(partition.clone(), *id)).collect()
}
