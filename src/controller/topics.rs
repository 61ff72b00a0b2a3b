//! Topics that are created, grow, or are deleted.
//!
//! Answers to `processTopicChange`, `processPartitionModifications`, `processTopicDeletion` and
//! `onNewPartitionCreation` of Kafka's `KafkaController`, and to the acting half of its `TopicDeletionManager`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::assignment::{describe, join};
use super::context::PartitionAndReplica;
use super::control::{ControlLoop, TARGET};
use super::deletion;
use super::election::ElectionStrategy;
use super::error::ControllerResult;
use super::partition_machine::PartitionState;
use super::replica_machine::ReplicaState;
use crate::protocol::ErrorCode;
use crate::protocol::messages::StopReplicaResponse;
use crate::topic::{TopicPartition, random_id};
use crate::zk::json::TopicZnode;
use crate::zk::paths;

impl ControlLoop {
    pub async fn topic_change(&mut self) -> ControllerResult {
        let found = self.znodes.topics().await?;
        let new: BTreeSet<Arc<str>> = found.difference(&self.ctx.topics).cloned().collect();
        let deleted: Vec<Arc<str>> = self.ctx.topics.difference(&found).cloned().collect();
        for topic in &deleted {
            self.ctx.remove_topic(topic);
        }
        self.ctx.topics = found;
        let partitions = match self.read_topics(&new).await {
            Ok(partitions) => partitions,
            Err(error) => {
                // Not known yet: the next change of the list finds them again.
                self.ctx.topics.retain(|topic| !new.contains(topic));
                return Err(error);
            }
        };
        let assigned = partitions.iter().filter_map(|p| Some(format!("{p} -> {}", describe(self.ctx.assignment(p)?))));
        self.info(&format!(
            "New topics: [Set({})], deleted topics: [HashSet({})], new partition replica assignment [{}]",
            join(&new),
            join(&deleted),
            join(assigned)
        ));
        if partitions.is_empty() {
            return Ok(());
        }
        self.on_new_partitions(&partitions).await
    }

    /// Reads topics with their ids and assignments into the context, arming a watch on each; answers their
    /// partitions. A topic without an id gets one.
    pub async fn read_topics(&mut self, topics: &BTreeSet<Arc<str>>) -> ControllerResult<Vec<TopicPartition>> {
        let mut partitions = Vec::new();
        for (topic, mut znode) in self.znodes.topic_znodes(topics).await? {
            if znode.topic_id.is_none() && self.settings.versions.topic_ids {
                znode.topic_id = Some(random_id());
                match self.store().set_topic(&topic, &znode, Some(self.ctx.fence())).await {
                    Err(error) if !error.is_no_node() => return Err(error.into()),
                    _ => {}
                }
            }
            if let Some(id) = znode.topic_id.filter(|id| !self.ctx.add_topic_id(&topic, *id)) {
                tracing::error!(
                    target: TARGET,
                    "[Controller id={}] topic ID map already contained ID for topic {topic} and new ID {id} did not \
                     match existing ID",
                    self.me
                );
                continue;
            }
            for (number, assignment) in znode.partitions {
                let partition = TopicPartition::new(topic.clone(), number);
                self.ctx.set_assignment(&partition, assignment);
                partitions.push(partition);
            }
        }
        Ok(partitions)
    }

    async fn on_new_partitions(&mut self, partitions: &[TopicPartition]) -> ControllerResult {
        self.info(&format!("New partition creation callback for {}", join(partitions)));
        self.mark_partitions(partitions, PartitionState::New);
        let replicas = self.ctx.replicas_of(partitions);
        self.change_replicas(&replicas, ReplicaState::New).await?;
        self.partitions_online(partitions, ElectionStrategy::Offline { allow_unclean: false }).await?;
        let replicas = self.ctx.replicas_of(partitions);
        self.change_replicas(&replicas, ReplicaState::Online).await
    }

    pub async fn partition_modifications(&mut self, topic: Arc<str>) -> ControllerResult {
        if !self.ctx.topics.contains(&topic) {
            // Deleted meanwhile; if it was created anew, the change of the list of topics finds it.
            return Ok(());
        }
        let Some((_, znode)) = self.znodes.topic_znodes(&BTreeSet::from([topic.clone()])).await?.pop() else {
            return Ok(());
        };
        if let (None, Some(id)) = (self.ctx.topic_id(&topic), znode.topic_id) {
            // The znode could not be read when the topic was found.
            self.ctx.add_topic_id(&topic, id);
        }
        let partition = |number: i32| TopicPartition::new(topic.clone(), number);
        let numbers = znode.partitions.keys().copied();
        let new: Vec<i32> = numbers.filter(|number| self.ctx.replicas(&partition(*number)).is_empty()).collect();
        if self.ctx.is_queued_for_deletion(&topic) {
            if new.is_empty() {
                self.info("Ignoring partition change during topic deletion as no new partitions are added");
                return Ok(());
            }
            tracing::warn!(
                target: TARGET,
                "[Controller id={}] Skipping adding partitions {} for topic {topic} since it is currently being deleted",
                self.me,
                join(&new)
            );
            return self.restore_assignment(&topic, znode).await;
        }
        let mut added = Vec::with_capacity(new.len());
        for number in new {
            if let Some(assignment) = znode.partitions.get(&number) {
                self.ctx.set_assignment(&partition(number), assignment.clone());
                added.push(partition(number));
            }
        }
        if added.is_empty() {
            return Ok(());
        }
        self.info(&format!("New partitions to be added {}", join(&added)));
        self.on_new_partitions(&added).await
    }

    /// Takes partitions out of a topic's znode that were added while it is being deleted.
    async fn restore_assignment(&mut self, topic: &Arc<str>, mut znode: TopicZnode) -> ControllerResult {
        self.info(&format!("Restoring the partition replica assignment for topic {topic}"));
        let existing = self.store().children(&paths::topic_partitions(topic), false).await?;
        znode.partitions.retain(|number, _| existing.contains(&number.to_string()));
        let known = self.ctx.topic_assignment(topic);
        for (number, assignment) in &mut znode.partitions {
            *assignment = known.get(number).cloned().unwrap_or_default();
        }
        znode.topic_id = self.ctx.topic_id(topic);
        Ok(self.store().set_topic(topic, &znode, Some(self.ctx.fence())).await?)
    }

    // Deletion.

    pub async fn topic_deletion(&mut self) -> ControllerResult {
        let mut topics = self.znodes.topic_deletions().await?;
        tracing::debug!(
            target: TARGET,
            "[Controller id={}] Delete topics listener fired for topics {} to be deleted",
            self.me,
            join(&topics)
        );
        let fence = self.ctx.fence();
        let unknown: BTreeSet<Arc<str>> = topics.difference(&self.ctx.topics).cloned().collect();
        if !unknown.is_empty() {
            tracing::warn!(
                target: TARGET,
                "[Controller id={}] Ignoring request to delete non-existing topics {}",
                self.me,
                join(&unknown)
            );
            self.znodes.delete_topic_deletions(fence, &unknown).await?;
        }
        topics.retain(|topic| !unknown.contains(topic));
        if !self.config.delete_topic_enable {
            self.info(&format!("Removing Set({}) since delete topic is disabled", join(&topics)));
            return self.znodes.delete_topic_deletions(fence, &topics).await;
        }
        if topics.is_empty() {
            return Ok(());
        }
        self.info(&format!("Starting topic deletion for topics {}", join(&topics)));
        // As in Kafka, a reassignment that runs halts only topics that were queued before.
        let moving: BTreeSet<Arc<str>> = self.ctx.being_reassigned.iter().map(|p| p.topic.clone()).collect();
        let halted = topics.intersection(&moving).cloned().collect();
        deletion::mark_ineligible(&mut self.ctx, self.me, &halted, "topic reassignment in progress");
        self.ctx.topics_to_be_deleted.extend(topics);
        self.resume_deletions().await
    }

    /// Something changed that these topics may have waited for.
    pub async fn resume_deletions_of(&mut self, topics: &BTreeSet<Arc<str>>) -> ControllerResult {
        if self.config.delete_topic_enable && deletion::unmark_ineligible(&mut self.ctx, topics) {
            self.resume_deletions().await?;
        }
        Ok(())
    }

    /// Takes every queued topic one step on, if it can go on.
    pub async fn resume_deletions(&mut self) -> ControllerResult {
        if !self.config.delete_topic_enable || self.ctx.topics_to_be_deleted.is_empty() {
            return Ok(());
        }
        self.deletion_info(&format!("Handling deletion for topics {}", join(&self.ctx.topics_to_be_deleted)));
        let plan = deletion::resume(&self.ctx);
        for topic in &plan.complete {
            self.complete_deletion(topic).await?;
            self.deletion_info(&format!("Deletion of topic {topic} successfully completed"));
        }
        for topic in &plan.start {
            self.deletion_info(&format!("Deletion of topic {topic} (re)started"));
        }
        self.change_replicas(&plan.retry, ReplicaState::Offline).await?;
        if !plan.start.is_empty() {
            self.start_deletion(&plan.start).await?;
        }
        Ok(())
    }

    fn deletion_info(&self, text: &str) {
        tracing::info!(
            target: "kafka.controller.TopicDeletionManager",
            "[Topic Deletion Manager {}] {text}",
            self.me
        );
    }

    async fn complete_deletion(&mut self, topic: &Arc<str>) -> ControllerResult {
        self.znodes.delete_topic(self.ctx.fence(), topic).await?;
        let deleted = self.ctx.replicas_in_state(topic, ReplicaState::DeletionSuccessful);
        self.change_replicas(&deleted, ReplicaState::NonExistent).await?;
        self.ctx.remove_topic(topic);
        Ok(())
    }

    async fn start_deletion(&mut self, topics: &[Arc<str>]) -> ControllerResult {
        let unseen = topics.iter().filter(|topic| !self.ctx.topics_with_deletion_started.contains(*topic));
        let unseen: Vec<Arc<str>> = unseen.cloned().collect();
        let partitions: Vec<TopicPartition> = unseen.iter().flat_map(|topic| self.ctx.partitions_of(topic)).collect();
        self.mark_partitions(&partitions, PartitionState::Offline);
        self.mark_partitions(&partitions, PartitionState::NonExistent);
        self.ctx.topics_with_deletion_started.extend(unseen);
        // With the leader that says "being deleted", so that brokers stop to serve the topics.
        let all: Vec<TopicPartition> = topics.iter().flat_map(|topic| self.ctx.partitions_of(topic)).collect();
        self.send_update_metadata_to_all(&all);
        let plan = deletion::plan_replica_deletion(&self.ctx, topics);
        self.change_replicas(&plan.dead, ReplicaState::DeletionIneligible).await?;
        self.change_replicas(&plan.alive, ReplicaState::Offline).await?;
        self.change_replicas(&plan.alive, ReplicaState::DeletionStarted).await?;
        deletion::mark_ineligible(&mut self.ctx, self.me, &plan.halted, "offline replicas");
        Ok(())
    }

    /// A broker has answered StopReplica: did the replicas go that it was told to delete?
    pub async fn stop_replica_answer(
        &mut self,
        broker: i32,
        response: StopReplicaResponse,
        deleting: &BTreeSet<TopicPartition>,
    ) -> ControllerResult {
        let request_failed = response.error_code != 0;
        let (mut failed, mut deleted) = (Vec::new(), Vec::new());
        for error in response.partition_errors {
            let partition = TopicPartition::new(error.topic_name.as_str(), error.partition_index);
            let started = self.ctx.topics_with_deletion_started.contains(&partition.topic);
            if !started || !deleting.contains(&partition) {
                continue;
            }
            let replica = PartitionAndReplica::new(partition, broker);
            if request_failed || error.error_code != 0 {
                tracing::debug!(
                    target: TARGET,
                    "[Controller id={}] Deletion of replica {replica} failed: {}",
                    self.me,
                    ErrorCode::from_code(error.error_code)
                );
                failed.push(replica);
            } else {
                deleted.push(replica);
            }
        }
        self.fail_replica_deletion(&failed).await?;
        deleted.retain(|replica| self.ctx.is_queued_for_deletion(&replica.partition.topic));
        if !deleted.is_empty() {
            self.change_replicas(&deleted, ReplicaState::DeletionSuccessful).await?;
            self.resume_deletions().await?;
        }
        Ok(())
    }
}
