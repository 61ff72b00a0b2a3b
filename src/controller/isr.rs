//! Leaders that change their in-sync replicas, by AlterPartition or (old brokers) by a note in ZooKeeper; and the
//! dealing of producer ids.
//!
//! Answers to `processAlterPartition`, `processIsrChangeNotification` and `processAllocateProducerIds` of Kafka's
//! `KafkaController`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::assignment::{LeaderAndIsr, join};
use super::control::{ControlLoop, TARGET};
use super::error::ControllerResult;
use super::events::Reply;
use super::znodes::StateWrite;
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::alter_partition_request;
use crate::protocol::messages::alter_partition_response::{PartitionData, TopicData};
use crate::protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, AlterPartitionRequest, AlterPartitionResponse, BrokerId,
    ProducerId, TopicName,
};
use crate::topic::TopicPartition;
use crate::zk::json::ProducerIdBlock;

type Outcomes = BTreeMap<TopicPartition, Result<LeaderAndIsr, ErrorCode>>;

/// What an AlterPartition comes to for one partition before anything is written.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Write,
    /// The state is that already.
    Done(LeaderAndIsr),
    Refuse(ErrorCode),
}

impl ControlLoop {
    pub async fn alter_partition(
        &mut self,
        request: AlterPartitionRequest,
        version: i16,
        reply: Reply<AlterPartitionResponse>,
    ) -> ControllerResult {
        let failed = |code: ErrorCode| AlterPartitionResponse::default().with_error_code(code.code());
        let (response, succeeded) = match self.alter_partitions(&request, version).await {
            Ok(answer) => answer,
            Err(error) if error.is_moved() => {
                // Kafka answers UNKNOWN_SERVER_ERROR and goes on; a controller that has lost its office does better to
                // know it, and the leader asks the next one.
                let _ = reply.send(failed(ErrorCode::NotController));
                return Err(error);
            }
            Err(error) => {
                tracing::error!(target: TARGET, "[Controller id={}] Error when processing AlterPartition: {error}", self.me);
                let _ = reply.send(failed(ErrorCode::UnknownServerError));
                return Ok(());
            }
        };
        let _ = reply.send(response);
        for partition in succeeded {
            if self.ctx.being_reassigned.contains(&partition) {
                self.maybe_complete_reassignment(&partition).await?;
            }
        }
        Ok(())
    }

    fn check_alter_partition(&self, request: &AlterPartitionRequest) -> Result<(), ErrorCode> {
        if !self.is_active() {
            return Err(ErrorCode::NotController);
        }
        let (id, epoch) = (request.broker_id.0, request.broker_epoch);
        match self.ctx.broker(id) {
            None => {
                self.info(&format!("Ignoring AlterPartition due to unknown broker {id}"));
                Err(ErrorCode::StaleBrokerEpoch)
            }
            Some(broker) if broker.epoch != epoch => {
                self.info(&format!(
                    "Ignoring AlterPartition due to stale broker epoch {epoch} and local broker epoch Some({}) for broker \
                     {id}",
                    broker.epoch
                ));
                Err(ErrorCode::StaleBrokerEpoch)
            }
            Some(_) => Ok(()),
        }
    }

    async fn alter_partitions(
        &mut self,
        request: &AlterPartitionRequest,
        version: i16,
    ) -> ControllerResult<(AlterPartitionResponse, Vec<TopicPartition>)> {
        if self.is_active() {
            self.notice_returned().await?;
        }
        if let Err(code) = self.check_alter_partition(request) {
            return Ok((AlterPartitionResponse::default().with_error_code(code.code()), Vec::new()));
        }
        let mut topics = Vec::new();
        let mut outcomes = Outcomes::new();
        let mut writes = Vec::new();
        for topic in &request.topics {
            let name = match version > 1 {
                true => self.ctx.topic_name(topic.topic_id).cloned(),
                false => Some(Arc::from(topic.topic_name.as_str())),
            };
            let Some(name) = name else {
                topics.push(unknown_topic(topic));
                continue;
            };
            for asked in &topic.partitions {
                let partition = TopicPartition::new(name.clone(), asked.partition_index);
                let wanted = wanted_state(request.broker_id.0, asked, version);
                match self.judge(&partition, &wanted, version) {
                    Verdict::Write if self.has_restarted_member(&partition, asked) => {
                        outcomes.insert(partition, Err(ErrorCode::IneligibleReplica));
                    }
                    Verdict::Write => writes.push((partition.clone(), wanted)),
                    Verdict::Done(state) => drop(outcomes.insert(partition, Ok(state))),
                    Verdict::Refuse(code) => drop(outcomes.insert(partition, Err(code))),
                }
            }
        }
        self.write_isrs(writes, &mut outcomes).await?;
        let all: Vec<TopicPartition> = outcomes.keys().cloned().collect();
        self.send_update_metadata_to_all(&all);
        let succeeded = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(p, _)| p.clone()).collect();
        topics.extend(self.answer_topics(outcomes, version));
        Ok((AlterPartitionResponse::default().with_topics(topics), succeeded))
    }

    /// The first rule that fits, in Kafka's order.
    fn judge(&self, partition: &TopicPartition, wanted: &LeaderAndIsr, version: i16) -> Verdict {
        let Some(current) = self.ctx.leader_and_isr(partition) else {
            return Verdict::Refuse(ErrorCode::UnknownTopicOrPartition);
        };
        if wanted.partition_epoch > current.partition_epoch || wanted.leader_epoch > current.leader_epoch {
            // The leader knows more than we: there must be a newer controller.
            return Verdict::Refuse(ErrorCode::NotController);
        }
        if wanted.leader_epoch < current.leader_epoch {
            return Verdict::Refuse(ErrorCode::FencedLeaderEpoch);
        }
        if wanted.equals_allow_stale_partition_epoch(current) {
            return Verdict::Done(current.clone());
        }
        if wanted.partition_epoch < current.partition_epoch {
            return Verdict::Refuse(ErrorCode::InvalidUpdateVersion);
        }
        let rejected = |why: &str| {
            self.info(&format!("Rejecting AlterPartition from node {} for {partition} because {why}", wanted.leader));
        };
        if wanted.recovering && wanted.isr.len() > 1 {
            rejected(&format!("leader is recovering and ISR is greater than 1: {wanted}"));
            return Verdict::Refuse(ErrorCode::InvalidRequest);
        }
        if wanted.recovering && !current.recovering {
            rejected(&format!("the leader recovery state cannot change from RECOVERED to RECOVERING: {wanted}"));
            return Verdict::Refuse(ErrorCode::InvalidRequest);
        }
        let ineligible: Vec<i32> = wanted.isr.iter().copied().filter(|id| !self.ctx.is_live(*id)).collect();
        if ineligible.is_empty() {
            return Verdict::Write;
        }
        rejected(&format!("it specified ineligible replicas Set({}) in the new ISR.", join(ineligible)));
        match version > 1 {
            true => Verdict::Refuse(ErrorCode::IneligibleReplica),
            false => Verdict::Refuse(ErrorCode::OperationNotAttempted),
        }
    }

    /// A member that the leader last heard of in an earlier life may have lost what it had. Kafka's controller does
    /// not look in ZooKeeper mode, and its leaders send -1; ours say what they know.
    fn has_restarted_member(&self, partition: &TopicPartition, asked: &alter_partition_request::PartitionData) -> bool {
        let restarted = asked.new_isr_with_epochs.iter().find(|member| {
            let registered = self.ctx.broker(member.broker_id.0).map(|broker| broker.epoch);
            member.broker_epoch >= 0 && registered != Some(member.broker_epoch)
        });
        if let Some(member) = restarted {
            self.info(&format!(
                "Rejecting AlterPartition for {partition} because replica {} has restarted since epoch {}",
                member.broker_id.0, member.broker_epoch
            ));
        }
        restarted.is_some()
    }

    async fn write_isrs(
        &mut self,
        writes: Vec<(TopicPartition, LeaderAndIsr)>,
        outcomes: &mut Outcomes,
    ) -> ControllerResult {
        let written = self.znodes.update_states(self.ctx.fence(), writes).await?;
        for (partition, write) in written {
            let outcome = match write {
                StateWrite::Written(state) => {
                    tracing::debug!(target: TARGET, "ISR for partition {partition} updated to {state}.");
                    self.ctx.set_own_leadership(&partition, state.clone());
                    Ok(state)
                }
                StateWrite::BadVersion => {
                    self.info(&format!("Failed to update ISR for partition {partition}, bad ZK version."));
                    Err(ErrorCode::InvalidUpdateVersion)
                }
                StateWrite::Failed(error) => {
                    tracing::error!(
                        target: TARGET,
                        "[Controller id={}] Failed to update ISR for partition {partition}: {error}",
                        self.me
                    );
                    Err(ErrorCode::UnknownServerError)
                }
            };
            outcomes.insert(partition, outcome);
        }
        Ok(())
    }

    fn answer_topics(&self, outcomes: Outcomes, version: i16) -> Vec<TopicData> {
        let mut topics: BTreeMap<Arc<str>, Vec<PartitionData>> = BTreeMap::new();
        for (partition, outcome) in outcomes {
            let data = PartitionData::default().with_partition_index(partition.partition);
            let data = match outcome {
                Err(code) => data.with_error_code(code.code()),
                Ok(state) => data
                    .with_leader_id(BrokerId(state.leader))
                    .with_leader_epoch(state.leader_epoch)
                    .with_isr(state.isr.into_iter().map(BrokerId).collect())
                    .with_leader_recovery_state(i8::from(state.recovering))
                    .with_partition_epoch(state.partition_epoch),
            };
            topics.entry(partition.topic).or_default().push(data);
        }
        let named = topics.into_iter().map(|(topic, partitions)| {
            let data = TopicData::default().with_partitions(partitions);
            match version > 1 {
                true => data.with_topic_id(self.ctx.topic_id(&topic).unwrap_or_default()),
                false => data.with_topic_name(TopicName(StrBytes::from_string(topic.to_string()))),
            }
        });
        named.collect()
    }

    /// Notes of brokers with an old inter-broker protocol: they wrote the ISR themselves.
    pub async fn isr_changes(&mut self) -> ControllerResult {
        let notes = self.store().isr_changes(true).await?;
        let result = self.take_in_isr_changes(&notes).await;
        self.store().delete_isr_changes(&notes, self.ctx.fence()).await?;
        result
    }

    async fn take_in_isr_changes(&mut self, notes: &[String]) -> ControllerResult {
        let named = self.store().partitions_of_isr_changes(notes).await?;
        let partitions: Vec<TopicPartition> = named.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        if partitions.is_empty() {
            return Ok(());
        }
        self.refresh_leadership(&partitions).await?;
        self.send_update_metadata_to_all(&partitions);
        for partition in partitions {
            if self.ctx.being_reassigned.contains(&partition) {
                self.maybe_complete_reassignment(&partition).await?;
            }
        }
        Ok(())
    }

    /// AllocateProducerIds.
    pub async fn allocate_producer_ids(&mut self, request: AllocateProducerIdsRequest) -> AllocateProducerIdsResponse {
        let (id, epoch) = (request.broker_id.0, request.broker_epoch);
        let failed = |code: ErrorCode| AllocateProducerIdsResponse::default().with_error_code(code.code());
        if !self.is_active() {
            return failed(ErrorCode::NotController);
        }
        match self.ctx.broker(id) {
            None => {
                tracing::warn!(target: TARGET, "Ignoring AllocateProducerIds due to unknown broker {id}");
                return failed(ErrorCode::BrokerIdNotRegistered);
            }
            Some(broker) if broker.epoch != epoch => {
                tracing::warn!(
                    target: TARGET,
                    "Ignoring AllocateProducerIds due to stale broker epoch {epoch} for broker {id}"
                );
                return failed(ErrorCode::StaleBrokerEpoch);
            }
            Some(_) => {}
        }
        match self.store().allocate_producer_id_block(id).await {
            Ok(block) => {
                let size = i32::try_from(ProducerIdBlock::SIZE).unwrap_or(i32::MAX);
                self.info(&format!(
                    "Acquired new producerId block ProducerIdsBlock(assignedBrokerId={id}, firstProducerId={}, size={size})",
                    block.start
                ));
                let response = AllocateProducerIdsResponse::default().with_producer_id_start(ProducerId(block.start));
                response.with_producer_id_len(size)
            }
            Err(error) => {
                tracing::error!(target: TARGET, "Failed to allocate producer ids for broker {id}: {error}");
                failed(ErrorCode::UnknownServerError)
            }
        }
    }
}

fn wanted_state(leader: i32, asked: &alter_partition_request::PartitionData, version: i16) -> LeaderAndIsr {
    let isr = match version >= 3 {
        true => asked.new_isr_with_epochs.iter().map(|member| member.broker_id.0).collect(),
        false => asked.new_isr.iter().map(|id| id.0).collect(),
    };
    LeaderAndIsr {
        leader,
        leader_epoch: asked.leader_epoch,
        isr,
        recovering: asked.leader_recovery_state == 1,
        partition_epoch: asked.partition_epoch,
    }
}

fn unknown_topic(topic: &alter_partition_request::TopicData) -> TopicData {
    let partitions = topic.partitions.iter().map(|asked| {
        let data = PartitionData::default().with_partition_index(asked.partition_index);
        data.with_error_code(ErrorCode::UnknownTopicId.code())
    });
    TopicData::default().with_topic_id(topic.topic_id).with_partitions(partitions.collect())
}
