//! Carries out what the two state machines decide: reads the states they need from ZooKeeper, writes the states
//! they choose, and sends the batch of requests that comes of it.
//!
//! Answers to `handleStateChanges` of Kafka's state machines. Only the loss of the office ends a change early;
//! whatever else goes wrong with one partition is logged, and the others go on.

use std::collections::{BTreeMap, BTreeSet};

use super::assignment::join;
use super::batch::RequestBatch;
use super::context::PartitionAndReplica;
use super::control::ControlLoop;
use super::election::ElectionStrategy;
use super::error::ControllerResult;
use super::partition_machine::{self, ElectionResults, PartitionState, StateChangeError};
use super::replica_machine::{self, IsrRemoval, ReplicaState};
use super::znodes::StateWrite;
use crate::topic::TopicPartition;

const OFFLINE: ElectionStrategy = ElectionStrategy::Offline { allow_unclean: false };

impl ControlLoop {
    /// Sends a batch. Whom it names and who is not registered any more gets nothing.
    pub fn send(&mut self, batch: RequestBatch) {
        for (broker, request) in batch.into_requests(&self.ctx, &self.settings) {
            self.channel.send(broker, request);
        }
    }

    /// UpdateMetadata of `partitions` (perhaps none: then it tells of the brokers only).
    pub fn send_update_metadata(&mut self, brokers: &BTreeSet<i32>, partitions: &[TopicPartition]) {
        let mut batch = RequestBatch::new();
        batch.add_update_metadata(&self.ctx, brokers, partitions);
        self.send(batch);
    }

    /// The same to all brokers.
    pub fn send_update_metadata_to_all(&mut self, partitions: &[TopicPartition]) {
        self.send_update_metadata(&self.ctx.live_or_shutting_down_ids(), partitions);
    }

    /// Marks partitions as New, Offline or NonExistent.
    pub fn mark_partitions(&mut self, partitions: &[TopicPartition], target: PartitionState) {
        let admitted = partition_machine::admit(&self.ctx, self.me, partitions, target);
        partition_machine::mark(&mut self.ctx, self.me, &admitted, target);
    }

    /// Brings partitions online: new ones get their first state, others a leader by `strategy`. Answers the
    /// results of the elections (not of the first states).
    pub async fn partitions_online(
        &mut self,
        partitions: &[TopicPartition],
        strategy: ElectionStrategy,
    ) -> ControllerResult<ElectionResults> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let admitted = partition_machine::admit(&self.ctx, self.me, partitions, PartitionState::Online);
        let (new, mut known): (Vec<_>, Vec<_>) =
            admitted.into_iter().partition(|p| self.ctx.partition_state(p) == PartitionState::New);
        let mut batch = RequestBatch::new();
        let existing = self.initialize(&mut batch, &new).await?;
        self.mark_partitions(&existing, PartitionState::Offline);
        known.extend(existing);
        let results = self.elect_leaders(&mut batch, known, strategy).await?;
        self.send(batch);
        Ok(results)
    }

    /// Gives new partitions their first state. Answers those that have one: when our own first attempt lost its answer,
    /// and a broker that crashed has left the ISR since. Kafka's controller leaves them without a leader.
    async fn initialize(
        &mut self,
        batch: &mut RequestBatch,
        partitions: &[TopicPartition],
    ) -> ControllerResult<Vec<TopicPartition>> {
        let planned = partition_machine::plan_initialization(&self.ctx, self.me, partitions);
        let mut existing = Vec::new();
        if planned.is_empty() {
            return Ok(existing);
        }
        let created = self.znodes.create_states(self.ctx.fence(), planned).await?;
        for (partition, state, result) in created {
            match result {
                Ok(()) => partition_machine::initialized(&mut self.ctx, self.me, batch, &partition, state),
                Err(error) => {
                    let (from, to) = (PartitionState::New, PartitionState::Online);
                    partition_machine::log_failed(&self.ctx, self.me, &partition, from, to, &error);
                    if error.is_node_exists() {
                        existing.push(partition);
                    }
                }
            }
        }
        Ok(existing)
    }

    async fn elect_leaders(
        &mut self,
        batch: &mut RequestBatch,
        partitions: Vec<TopicPartition>,
        strategy: ElectionStrategy,
    ) -> ControllerResult<ElectionResults> {
        let mut results = Vec::with_capacity(partitions.len());
        let mut remaining = partitions;
        while !remaining.is_empty() {
            remaining = self.elect_once(batch, &remaining, strategy, &mut results).await?;
            if !remaining.is_empty() {
                tracing::info!(
                    target: "kafka.controller.PartitionStateMachine",
                    "[PartitionStateMachine controllerId={}] Retrying leader election with strategy {strategy} for \
                     partitions {}",
                    self.me,
                    join(&remaining)
                );
            }
        }
        for (partition, result) in &results {
            if let Err(error) = result {
                let from = self.ctx.partition_state(partition);
                let to = PartitionState::Online;
                partition_machine::log_failed(&self.ctx, self.me, partition, from, to, error);
            }
        }
        Ok(results)
    }

    /// One round; answers the partitions somebody else wrote meanwhile.
    async fn elect_once(
        &mut self,
        batch: &mut RequestBatch,
        partitions: &[TopicPartition],
        strategy: ElectionStrategy,
        results: &mut ElectionResults,
    ) -> ControllerResult<Vec<TopicPartition>> {
        let reads = self.znodes.read_states_in_office(self.ctx.fence(), partitions).await?;
        let states = partition_machine::legible_states(&self.ctx, self.me, reads, results);
        let asked = partition_machine::topics_to_ask_for_unclean(&self.ctx, &states, strategy);
        let unclean = match asked.is_empty() {
            true => asked,
            false => self.znodes.unclean_topics(asked, self.hooks.unclean_leader_election_enable()).await,
        };
        let recovery = self.settings.versions.leader_recovery;
        let planned = partition_machine::plan_election(&self.ctx, states, strategy, &unclean, recovery, results);
        let writes = planned.iter().map(|plan| (plan.partition.clone(), plan.state.clone())).collect();
        let mut written = self.znodes.update_states(self.ctx.fence(), writes).await?;
        let mut retry = Vec::new();
        for plan in planned {
            match written.remove(&plan.partition) {
                Some(StateWrite::Written(state)) => {
                    let (partition, recipients) = (&plan.partition, &plan.recipients);
                    partition_machine::elected(&mut self.ctx, self.me, batch, partition, recipients, &state);
                    results.push((plan.partition, Ok(state)));
                }
                Some(StateWrite::Failed(error)) => {
                    results.push((plan.partition, Err(StateChangeError::Zk(error.to_string()))));
                }
                Some(StateWrite::BadVersion) | None => retry.push(plan.partition),
            }
        }
        Ok(retry)
    }

    /// Tries to find leaders for all new and offline partitions, of one topic or of all.
    pub async fn bring_online(&mut self, topic: Option<&str>) -> ControllerResult<ElectionResults> {
        let partitions = self.ctx.partitions_to_bring_online(topic);
        self.partitions_online(&partitions, OFFLINE).await
    }

    /// Moves replicas to `target`, as one batch of requests.
    pub async fn change_replicas(
        &mut self,
        replicas: &[PartitionAndReplica],
        target: ReplicaState,
    ) -> ControllerResult {
        if replicas.is_empty() {
            return Ok(());
        }
        let admitted = replica_machine::admit(&self.ctx, self.me, replicas, target);
        let mut batch = RequestBatch::new();
        if target == ReplicaState::Offline {
            let mut by_broker: BTreeMap<i32, Vec<PartitionAndReplica>> = BTreeMap::new();
            for replica in admitted {
                by_broker.entry(replica.replica).or_default().push(replica);
            }
            for (broker, replicas) in by_broker {
                self.replicas_offline(&mut batch, broker, &replicas).await?;
            }
        } else {
            replica_machine::change(&mut self.ctx, self.me, &mut batch, &admitted, target);
        }
        self.send(batch);
        Ok(())
    }

    /// Takes one broker's replicas offline, and out of the ISRs.
    async fn replicas_offline(
        &mut self,
        batch: &mut RequestBatch,
        broker: i32,
        replicas: &[PartitionAndReplica],
    ) -> ControllerResult {
        let mut remaining = replica_machine::begin_offline(&mut self.ctx, batch, replicas);
        while !remaining.is_empty() {
            let reads = self.znodes.read_states_in_office(self.ctx.fence(), &remaining).await?;
            let mut writes = Vec::new();
            for removal in replica_machine::plan_isr_removal(&self.ctx, self.me, broker, reads) {
                match removal {
                    IsrRemoval::Write(partition, state) => writes.push((partition, state)),
                    IsrRemoval::Unchanged(partition, state) => {
                        let replica = PartitionAndReplica::new(partition, broker);
                        replica_machine::finish_offline(&mut self.ctx, self.me, batch, &replica, state);
                    }
                }
            }
            let written = self.znodes.update_states(self.ctx.fence(), writes).await?;
            remaining = Vec::new();
            for (partition, write) in written {
                let replica = PartitionAndReplica::new(partition.clone(), broker);
                match write {
                    StateWrite::Written(state) => {
                        replica_machine::finish_offline(&mut self.ctx, self.me, batch, &replica, state);
                    }
                    StateWrite::BadVersion => remaining.push(partition),
                    StateWrite::Failed(error) => {
                        replica_machine::isr_removal_failed(&self.ctx, self.me, &replica, &error.to_string());
                    }
                }
            }
        }
        Ok(())
    }
}
