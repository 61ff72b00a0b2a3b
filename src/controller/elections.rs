//! Elections on request: of the admin API, of the legacy znode, and of the timer that brings leaders back to the
//! first replicas.
//!
//! Answers to `processReplicaLeaderElection` and `checkAndTriggerAutoLeaderRebalance` of Kafka's `KafkaController`.

use std::collections::{BTreeMap, BTreeSet};

use super::assignment::{NO_LEADER, join};
use super::control::{ControlLoop, TARGET};
use super::election::{ElectionStrategy, preferred_leader};
use super::error::ControllerResult;
use super::events::{ElectionAnswer, ElectionTrigger, ElectionType, Event, Reply, not_controller_elections};
use super::partition_machine::{ElectionResults, StateChangeError};
use super::reassignment::ApiError;
use crate::protocol::ErrorCode;
use crate::topic::TopicPartition;
use crate::zk::paths;

impl ControlLoop {
    pub async fn replica_leader_election(
        &mut self,
        partitions: Option<BTreeSet<TopicPartition>>,
        election: ElectionType,
        trigger: ElectionTrigger,
        reply: Option<Reply<ElectionAnswer>>,
    ) -> ControllerResult {
        let answer = if !self.is_active() {
            not_controller_elections(partitions)
        } else {
            let by_znode = trigger != ElectionTrigger::AdminClient;
            if by_znode && !self.store().exists(paths::PREFERRED_REPLICA_ELECTION, true).await? {
                return Ok(());
            }
            let partitions = match partitions {
                Some(partitions) => partitions,
                None => self.znodes.preferred_election().await?,
            };
            self.elections_on_request(partitions, election, trigger).await?
        };
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
        Ok(())
    }

    async fn elections_on_request(
        &mut self,
        partitions: BTreeSet<TopicPartition>,
        election: ElectionType,
        trigger: ElectionTrigger,
    ) -> ControllerResult<ElectionAnswer> {
        let mut answer = ElectionAnswer::new();
        let mut electable = Vec::new();
        for partition in partitions {
            let refused = if self.ctx.assignment(&partition).is_none() {
                self.info(&format!(
                    "Skipping replica leader election ({election}) for partition {partition} by {trigger} since it \
                     doesn't exist."
                ));
                ApiError::with(ErrorCode::UnknownTopicOrPartition, "The partition does not exist.")
            } else if self.ctx.is_queued_for_deletion(&partition.topic) {
                tracing::warn!(
                    target: TARGET,
                    "[Controller id={}] Skipping replica leader election ({election}) for partitions {partition} by \
                     {trigger} since the respective topics are being deleted",
                    self.me
                );
                ApiError::with(ErrorCode::InvalidTopicException, "The topic is being deleted")
            } else if !self.needs_election(&partition, election) {
                ApiError::of(ErrorCode::ElectionNotNeeded)
            } else {
                electable.push(partition);
                continue;
            };
            answer.insert(partition, Err(refused));
        }
        let unavailable = match election {
            ElectionType::Preferred => ErrorCode::PreferredLeaderNotAvailable,
            ElectionType::Unclean => ErrorCode::EligibleLeadersNotAvailable,
        };
        for (partition, result) in self.elect_replicas(&electable, election, trigger).await? {
            let result = match result {
                Ok(state) => Ok(state.leader),
                Err(StateChangeError::Failed(why)) => Err(ApiError::with(unavailable, why)),
                Err(StateChangeError::Zk(_)) => Err(ApiError::of(ErrorCode::UnknownServerError)),
            };
            answer.insert(partition, result);
        }
        Ok(answer)
    }

    fn needs_election(&self, partition: &TopicPartition, election: ElectionType) -> bool {
        // Kafka fails here when no leader was ever elected; such a partition can but need one.
        let Some(state) = self.ctx.leader_and_isr(partition) else { return true };
        match election {
            ElectionType::Preferred => self.ctx.replicas(partition).first() != Some(&state.leader),
            ElectionType::Unclean => state.leader == NO_LEADER || !self.ctx.is_live(state.leader),
        }
    }

    /// Elects, and tidies up after the legacy znode if it asked.
    pub async fn elect_replicas(
        &mut self,
        partitions: &[TopicPartition],
        election: ElectionType,
        trigger: ElectionTrigger,
    ) -> ControllerResult<ElectionResults> {
        self.notice_returned().await?;
        self.info(&format!(
            "Starting replica leader election ({election}) for partitions {} triggered by {trigger}",
            join(partitions)
        ));
        let by_admin = trigger == ElectionTrigger::AdminClient;
        let strategy = match election {
            ElectionType::Preferred => ElectionStrategy::Preferred,
            ElectionType::Unclean => ElectionStrategy::Offline { allow_unclean: by_admin },
        };
        let results = self.partitions_online(partitions, strategy).await?;
        if by_admin {
            return Ok(results);
        }
        for (partition, result) in &results {
            if let Err(error) = result {
                tracing::error!(
                    target: TARGET,
                    "[Controller id={}] Error completing replica leader election ({election}) for partition \
                     {partition}: {error}",
                    self.me
                );
            }
        }
        self.log_preferred_results(partitions);
        if trigger == ElectionTrigger::Zk {
            self.store().delete_preferred_election(self.ctx.fence()).await?;
            // So that the next one is noticed.
            self.queue.put(Event::ReplicaLeaderElection {
                partitions: None,
                election: ElectionType::Preferred,
                trigger: ElectionTrigger::Zk,
                reply: None,
            });
        }
        Ok(results)
    }

    fn log_preferred_results(&self, partitions: &[TopicPartition]) {
        for partition in partitions {
            let leader = self.ctx.leader_and_isr(partition).map_or(NO_LEADER, |state| state.leader);
            let preferred = self.ctx.replicas(partition).first().copied().unwrap_or(NO_LEADER);
            if leader == preferred {
                self.info(&format!(
                    "Partition {partition} completed preferred replica leader election. New leader is {preferred}"
                ));
            } else {
                tracing::warn!(
                    target: TARGET,
                    "[Controller id={}] Partition {partition} failed to complete preferred replica leader election to \
                     {preferred}. Leader is still {leader}",
                    self.me
                );
            }
        }
    }

    /// The timer of the automatic rebalance. It is set again whatever comes of this round.
    pub async fn auto_rebalance(&mut self) -> ControllerResult {
        self.info("Processing automatic preferred replica leader election");
        let result = self.rebalance_leaders().await;
        if self.is_active() {
            self.schedule_rebalance(self.config.imbalance_check_interval);
        }
        result
    }

    async fn rebalance_leaders(&mut self) -> ControllerResult {
        for candidates in self.imbalanced() {
            self.elect_replicas(&candidates, ElectionType::Preferred, ElectionTrigger::Auto).await?;
        }
        Ok(())
    }

    /// For each broker that leads too few of the partitions it should lead: those it can lead right away.
    fn imbalanced(&self) -> Vec<Vec<TopicPartition>> {
        let mut by_head: BTreeMap<i32, (usize, Vec<TopicPartition>)> = BTreeMap::new();
        for (partition, assignment) in self.ctx.each_assignment() {
            let Some(head) = assignment.replicas.first() else { continue };
            if self.ctx.is_queued_for_deletion(&partition.topic) {
                continue;
            }
            let (total, elsewhere) = by_head.entry(*head).or_default();
            *total += 1;
            if self.ctx.leader_and_isr(&partition).is_some_and(|state| state.leader != *head) {
                elsewhere.push(partition);
            }
        }
        let limit = f64::from(self.config.imbalance_percentage) / 100.0;
        let over = by_head.into_values().filter(|(total, elsewhere)| elsewhere.len() as f64 / *total as f64 > limit);
        let candidates = over.map(|(_, mut elsewhere)| {
            elsewhere.retain(|partition| {
                let isr = self.ctx.leader_and_isr(partition).map(|state| state.isr.as_slice());
                preferred_leader(&self.ctx, partition, isr.unwrap_or_default()).is_some()
            });
            elsewhere
        });
        candidates.collect()
    }
}
