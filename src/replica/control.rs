//! What the controller orders: LeaderAndIsr and StopReplica, applied to the table.
//!
//! Both run whole under the table's controller-epoch lock, as Kafka's replica state change lock, so that two
//! controllers' orders never mix. They open and rename files: call them on a thread that may block.
//! Answers to `ReplicaManager.becomeLeaderOrFollower` and `stopReplicas` (spec zookeeper 4.1, 4.4).

use std::sync::Arc;

use parking_lot::MutexGuard;
use uuid::Uuid;

use super::fetcher::FollowOrder;
use super::partition::{LeaderAndIsr, Partition};
use super::table::{Hosted, ReplicaTable};
use crate::log::PartitionLog;
use crate::protocol::ErrorCode;
use crate::topic::{TopicPartition, is_internal};

/// One partition of a LeaderAndIsr request.
#[derive(Clone, Debug)]
pub struct LeadershipOrder {
    pub tp: TopicPartition,
    /// Nil when the request carries none.
    pub topic_id: Uuid,
    pub state: LeaderAndIsr,
}

/// One partition of a StopReplica request.
#[derive(Clone, Debug)]
pub struct StopOrder {
    pub tp: TopicPartition,
    /// -1 not given, -2 the topic is being deleted.
    pub leader_epoch: i32,
    pub delete: bool,
}

/// A coordinator partition that came or went, for the coordinators to load or unload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoordinatorChange {
    Elected { tp: TopicPartition, leader_epoch: i32 },
    Resigned { tp: TopicPartition, leader_epoch: Option<i32> },
}

/// What an order did: an error code per partition and what the coordinators must hear of.
#[derive(Debug, Default)]
pub struct OrderOutcome {
    pub errors: Vec<(TopicPartition, Uuid, ErrorCode)>,
    pub coordinator_changes: Vec<CoordinatorChange>,
    /// Logs that began a leader epoch.
    begun: Vec<Arc<PartitionLog>>,
}

enum Role {
    Leader,
    Follower,
}

impl ReplicaTable {
    /// Takes note of a controller epoch; `StaleControllerEpoch` if a newer one was seen.
    pub fn accept_controller_epoch(&self, epoch: i32) -> Result<(), ErrorCode> {
        self.obey(epoch).map(drop)
    }

    /// The same, and keeps other orders out while the guard lives.
    fn obey(&self, epoch: i32) -> Result<MutexGuard<'_, i32>, ErrorCode> {
        let mut latest = self.controller_epoch.lock();
        if epoch < *latest {
            return Err(ErrorCode::StaleControllerEpoch);
        }
        *latest = epoch;
        Ok(latest)
    }

    /// Applies a LeaderAndIsr. `Err` is the top-level error of a stale controller.
    pub fn become_leader_or_follower(
        &self,
        controller_epoch: i32,
        orders: Vec<LeadershipOrder>,
        now_ms: i64,
    ) -> Result<OrderOutcome, ErrorCode> {
        let _one_at_a_time = self.obey(controller_epoch)?;
        let mut outcome = OrderOutcome::default();
        let decided: Vec<_> = orders.iter().map(|order| self.decide(order)).collect();
        let leaders = orders.iter().zip(&decided).filter(|(_, d)| matches!(d, Ok((Role::Leader, _))));
        let leaders: Vec<TopicPartition> = leaders.map(|(order, _)| order.tp.clone()).collect();
        self.fetchers.unfollow(&leaders);
        let mut following = Vec::new();
        for (order, decided) in orders.iter().zip(decided) {
            let code = match decided {
                Ok((Role::Leader, partition)) => self.lead(order, &partition, now_ms, &mut outcome),
                Ok((Role::Follower, partition)) => self.follow(order, &partition, &mut outcome, &mut following),
                Err(code) => code,
            };
            outcome.errors.push((order.tp.clone(), order.topic_id, code));
        }
        // Not before: a fetch parked on several of them hears of all at once.
        following.iter().for_each(|(_, partition)| partition.waiters.role_changed());
        self.start_following(following);
        PartitionLog::sync_epochs_later(std::mem::take(&mut outcome.begun));
        self.begin_checkpointing();
        self.fetchers.end_idle();
        Ok(outcome)
    }

    /// Which role an order gives to which replica, or why it gives none.
    fn decide(&self, order: &LeadershipOrder) -> Result<(Role, Arc<Partition>), ErrorCode> {
        let known = self.hosted(&order.tp.topic, order.tp.partition).is_some();
        let Hosted::Online(partition) = self.get_or_insert(&order.tp) else {
            return Err(ErrorCode::KafkaStorageError);
        };
        match self.role_for(order, &partition) {
            Ok(role) => Ok((role, partition)),
            Err(code) => {
                if !known && partition.log().is_none() && code == ErrorCode::UnknownTopicOrPartition {
                    self.remove(&order.tp);
                }
                Err(code)
            }
        }
    }

    /// Hands partitions to the fetchers, after those have let go of them: only now is the log end what it will be.
    fn start_following(&self, partitions: Vec<(LeadershipOrder, Arc<Partition>)>) {
        let names: Vec<TopicPartition> = partitions.iter().map(|(order, _)| order.tp.clone()).collect();
        self.fetchers.unfollow(&names);
        let orders = partitions.into_iter().filter_map(|(order, partition)| {
            let log = partition.log()?;
            // Otherwise it is cut to there if the leader cannot tell where the logs part.
            let is_told = self.settings.truncates_on_fetch && log.latest_epoch().is_some();
            Some(FollowOrder {
                tp: order.tp,
                topic_id: if order.topic_id.is_nil() { log.topic_id().unwrap_or_default() } else { order.topic_id },
                leader: order.state.leader,
                leader_epoch: order.state.leader_epoch,
                initial_offset: if is_told { log.log_end_offset() } else { log.high_watermark() },
                log: partition,
            })
        });
        self.fetchers.follow(orders.collect());
    }

    fn role_for(&self, order: &LeadershipOrder, partition: &Partition) -> Result<Role, ErrorCode> {
        let log = partition.log().or_else(|| self.logs.get(&order.tp));
        let local_id = log.as_ref().and_then(|log| log.topic_id());
        if let Some(id) = local_id
            && !order.topic_id.is_nil()
            && id != order.topic_id
        {
            tracing::error!(target: "state.change.logger", "Topic ID in memory {} does not match the topic ID for partition {} received {}",
                crate::topic::id_to_text(id), order.tp, crate::topic::id_to_text(order.topic_id));
            return Err(ErrorCode::InconsistentTopicId);
        }
        let current = partition.leader_epoch();
        if order.state.leader_epoch < current {
            return Err(ErrorCode::StaleControllerEpoch);
        }
        if order.state.leader_epoch == current {
            // Same epoch: only a topic id may be news.
            return match log {
                Some(log) if local_id.is_none() && !order.topic_id.is_nil() => {
                    self.fetchers.set_topic_id(&order.tp, order.topic_id);
                    Err(assign_topic_id(&log, order.topic_id))
                }
                Some(_) if local_id.is_some() && order.topic_id.is_nil() && !partition.is_leader() => {
                    self.fetchers.set_topic_id(&order.tp, Uuid::nil());
                    Err(ErrorCode::None)
                }
                _ => Err(ErrorCode::StaleControllerEpoch),
            };
        }
        if !order.state.replicas.contains(&self.broker_id()) {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        Ok(if order.state.leader == self.broker_id() { Role::Leader } else { Role::Follower })
    }

    fn open_log(&self, order: &LeadershipOrder, partition: &Partition) -> Result<Arc<PartitionLog>, ErrorCode> {
        if let Some(log) = partition.log() {
            return Ok(log);
        }
        let topic_id = (!order.topic_id.is_nil()).then_some(order.topic_id);
        let opened = self.logs.get_or_create(&order.tp, order.state.is_new, topic_id);
        let log = opened.map_err(|error| {
            tracing::error!(target: "state.change.logger", "Error creating the log of {}: {error}", order.tp);
            ErrorCode::KafkaStorageError
        })?;
        log.set_high_watermark(self.logs.checkpointed_high_watermark(&order.tp));
        partition.set_log(log.clone());
        Ok(log)
    }

    fn lead(
        &self,
        order: &LeadershipOrder,
        partition: &Partition,
        now_ms: i64,
        outcome: &mut OrderOutcome,
    ) -> ErrorCode {
        let log = match self.open_log(order, partition) {
            Ok(log) => log,
            Err(code) => return self.lost(order, code),
        };
        let made = partition.make_leader(&order.state, &log, &|id| self.is_alive(id), now_ms);
        outcome.begun.push(log.clone());
        match made {
            Ok(true) => {
                tracing::info!(target: "state.change.logger", "Leader {} with partition epoch {} starts at leader epoch {} from offset {}",
                    order.tp, order.state.partition_epoch, order.state.leader_epoch, log.log_end_offset());
                if is_internal(&order.tp.topic) {
                    let (tp, leader_epoch) = (order.tp.clone(), order.state.leader_epoch);
                    outcome.coordinator_changes.push(CoordinatorChange::Elected { tp, leader_epoch });
                }
                ErrorCode::None
            }
            Ok(false) => ErrorCode::None,
            Err(error) => {
                tracing::error!(target: "state.change.logger", "Error making {} leader: {error}", order.tp);
                self.lost(order, ErrorCode::KafkaStorageError)
            }
        }
    }

    fn follow(
        &self,
        order: &LeadershipOrder,
        partition: &Arc<Partition>,
        outcome: &mut OrderOutcome,
        following: &mut Vec<(LeadershipOrder, Arc<Partition>)>,
    ) -> ErrorCode {
        if let Err(code) = self.open_log(order, partition) {
            return self.lost(order, code);
        }
        if !self.is_alive(order.state.leader) {
            // Epochs stay as they are, so that the same order is accepted once the leader is known.
            tracing::info!(target: "state.change.logger", "Received LeaderAndIsr for {} but cannot become follower since the new leader {} is unavailable", order.tp, order.state.leader);
            return ErrorCode::None;
        }
        if !partition.make_follower(&order.state) {
            return ErrorCode::None;
        }
        following.push((order.clone(), partition.clone()));
        if is_internal(&order.tp.topic) {
            let (tp, leader_epoch) = (order.tp.clone(), Some(order.state.leader_epoch));
            outcome.coordinator_changes.push(CoordinatorChange::Resigned { tp, leader_epoch });
        }
        ErrorCode::None
    }

    fn lost(&self, order: &LeadershipOrder, code: ErrorCode) -> ErrorCode {
        self.set_offline(&order.tp);
        code
    }

    /// Applies a StopReplica. `Err` is the top-level error of a stale controller.
    pub fn stop_replicas(
        &self,
        controller_epoch: i32,
        orders: Vec<StopOrder>,
        now_ms: i64,
    ) -> Result<OrderOutcome, ErrorCode> {
        let _one_at_a_time = self.obey(controller_epoch)?;
        let mut outcome = OrderOutcome::default();
        for order in orders {
            let code = self.stop(&order, now_ms, &mut outcome);
            outcome.errors.push((order.tp, Uuid::nil(), code));
        }
        self.fetchers.end_idle();
        Ok(outcome)
    }

    fn stop(&self, order: &StopOrder, now_ms: i64, outcome: &mut OrderOutcome) -> ErrorCode {
        match self.hosted(&order.tp.topic, order.tp.partition) {
            Some(Hosted::Offline) => return ErrorCode::KafkaStorageError,
            Some(Hosted::Online(partition)) => {
                if order.leader_epoch >= 0 && order.leader_epoch < partition.leader_epoch() {
                    return ErrorCode::FencedLeaderEpoch;
                }
                self.fetchers.unfollow(std::slice::from_ref(&order.tp));
                if order.delete {
                    self.remove(&order.tp);
                    partition.retire();
                } else {
                    partition.stop();
                }
            }
            None => {}
        }
        if !order.delete {
            return ErrorCode::None;
        }
        if is_internal(&order.tp.topic) {
            let (tp, leader_epoch) = (order.tp.clone(), (order.leader_epoch >= 0).then_some(order.leader_epoch));
            outcome.coordinator_changes.push(CoordinatorChange::Resigned { tp, leader_epoch });
        }
        match self.logs.async_delete(&order.tp, now_ms) {
            Ok(()) => ErrorCode::None,
            Err(error) => {
                tracing::error!(target: "state.change.logger", "Error deleting the log of {}: {error}", order.tp);
                ErrorCode::KafkaStorageError
            }
        }
    }
}

fn assign_topic_id(log: &PartitionLog, id: Uuid) -> ErrorCode {
    match log.set_topic_id(id) {
        Ok(()) => ErrorCode::None,
        Err(error) => {
            tracing::error!(target: "state.change.logger", "Cannot write the topic id of {}: {error}", log.topic_partition());
            ErrorCode::KafkaStorageError
        }
    }
}
