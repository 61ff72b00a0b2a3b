//! Brokers that come, go, come back at once, move to other addresses, lose a disk, or ask to leave.
//!
//! Answers to `processBrokerChange`, `onBrokerStartup`, `onBrokerFailure`, `onReplicasBecomeOffline`,
//! `doControlledShutdown` and the log dir events of Kafka's `KafkaController`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::assignment::join;
use super::batch::RequestBatch;
use super::context::{Broker, PartitionAndReplica};
use super::control::{ControlLoop, TARGET};
use super::deletion;
use super::election::ElectionStrategy;
use super::error::ControllerResult;
use super::events::Reply;
use super::partition_machine::PartitionState;
use super::replica_machine::ReplicaState;
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::controlled_shutdown_response::RemainingPartition;
use crate::protocol::messages::{
    ControlledShutdownRequest, ControlledShutdownResponse, LeaderAndIsrResponse, TopicName, UpdateMetadataResponse,
};
use crate::topic::TopicPartition;

impl ControlLoop {
    pub async fn broker_change(&mut self) -> ControllerResult {
        let registered = self.znodes.brokers().await?;
        let ids: BTreeSet<i32> = registered.iter().map(|broker| broker.id).collect();
        let dead: BTreeSet<i32> = self.ctx.live_or_shutting_down_ids().difference(&ids).copied().collect();
        let known = |broker: &Broker| self.ctx.broker(broker.id).map(|known| known.epoch);
        let new: Vec<Broker> = registered.iter().filter(|broker| known(broker).is_none()).cloned().collect();
        let bounced: Vec<Broker> =
            registered.iter().filter(|b| known(b).is_some_and(|epoch| b.epoch > epoch)).cloned().collect();
        let id_list = |brokers: &[Broker]| join(brokers.iter().map(|broker| broker.id));
        self.info(&format!(
            "Newly added brokers: {}, deleted brokers: {}, bounced brokers: {}, all live brokers: {}",
            id_list(&new),
            join(&dead),
            id_list(&bounced),
            join(&ids)
        ));
        for broker in &new {
            self.channel.add_broker(broker, &self.queue);
        }
        for broker in &bounced {
            self.channel.remove_broker(broker.id);
            self.channel.add_broker(broker, &self.queue);
        }
        for id in &dead {
            self.channel.remove_broker(*id);
        }
        if !new.is_empty() {
            let ids = new.iter().map(|broker| broker.id).collect();
            self.ctx.add_live_brokers(new.clone());
            self.on_broker_startup(&ids).await?;
        }
        // All that were gone are gone for all: Kafka sees to the bounced first, and what they led may go to the dead.
        let ids: BTreeSet<i32> = bounced.iter().map(|broker| broker.id).collect();
        self.ctx.remove_live_brokers(&(&dead | &ids));
        if !dead.is_empty() {
            self.on_broker_failure(&dead).await?;
        }
        if !bounced.is_empty() {
            self.on_broker_failure(&ids).await?;
            self.ctx.add_live_brokers(bounced.clone());
            self.on_broker_startup(&ids).await?;
        }
        if !(new.is_empty() && bounced.is_empty() && dead.is_empty()) {
            self.info(&format!("Updated broker epochs cache: {}", self.broker_epochs()));
        }
        Ok(())
    }

    /// Looks whether brokers have come back from the dead whose watches have not told it yet. Before the controller
    /// elects or confirms in-sync replicas on somebody's request: one that has returned may lack what it had, and a
    /// state written after its registration would hide that from the next controller. Kafka waits for the watch.
    pub async fn notice_returned(&mut self) -> ControllerResult {
        let known: Vec<(i32, i64)> = self.ctx.live_or_shutting_down_brokers().map(|b| (b.id, b.epoch)).collect();
        let ids: Vec<i32> = known.iter().map(|(id, _)| *id).collect();
        let found = self.store().broker_epochs(&ids).await?;
        let returned = known.iter().any(|(id, epoch)| found.get(id).is_some_and(|now| now > epoch));
        if returned { self.broker_change().await } else { Ok(()) }
    }

    async fn on_broker_startup(&mut self, new: &BTreeSet<i32>) -> ControllerResult {
        self.info(&format!("New broker startup callback for {}", join(new)));
        for id in new {
            self.ctx.offline_dirs.remove(id);
        }
        let existing = self.ctx.live_or_shutting_down_ids().difference(new).copied().collect();
        self.send_update_metadata(&existing, &[]);
        let known = self.ctx.partitions_with_leaders();
        self.send_update_metadata(new, &known);
        let replicas = self.ctx.replicas_on(new);
        self.change_replicas(&replicas, ReplicaState::Online).await?;
        self.bring_online(None).await?;
        self.resume_reassignments(|_, assignment| assignment.target().iter().any(|id| new.contains(id))).await?;
        let mut deleting = replicas;
        deleting.retain(|replica| self.ctx.is_queued_for_deletion(&replica.partition.topic));
        if !deleting.is_empty() {
            self.info(&format!(
                "Some replicas {} for topics scheduled for deletion {} are on the newly restarted brokers {}. Signaling \
                 restart of topic deletion for these topics",
                join(&deleting),
                join(&self.ctx.topics_to_be_deleted),
                join(new)
            ));
            let topics = deleting.into_iter().map(|replica| replica.partition.topic).collect();
            self.resume_deletions_of(&topics).await?;
        }
        Ok(())
    }

    async fn on_broker_failure(&mut self, dead: &BTreeSet<i32>) -> ControllerResult {
        self.info(&format!("Broker failure callback for {}", join(dead)));
        let mut left = Vec::new();
        for id in dead {
            self.ctx.offline_dirs.remove(id);
            if self.ctx.shutting_down.remove(id) {
                left.push(*id);
            }
        }
        if !left.is_empty() {
            self.info(&format!("Removed {} from list of shutting down brokers.", join(&left)));
        }
        let replicas = self.ctx.replicas_on(dead);
        self.on_replicas_offline(replicas).await
    }

    /// Replicas died: with their brokers, or with a log dir.
    async fn on_replicas_offline(&mut self, replicas: Vec<PartitionAndReplica>) -> ControllerResult {
        let (deleting, others): (Vec<_>, Vec<_>) =
            replicas.into_iter().partition(|r| self.ctx.is_queued_for_deletion(&r.partition.topic));
        let leaderless = self.ctx.partitions_with_offline_leader();
        self.mark_partitions(&leaderless, PartitionState::Offline);
        let elections = self.bring_online(None).await?;
        self.change_replicas(&others, ReplicaState::Offline).await?;
        if !deleting.is_empty() {
            self.fail_replica_deletion(&deleting).await?;
        }
        // If nothing changed, nobody has been told yet that the brokers are gone.
        if others.is_empty() && elections.iter().all(|(_, result)| result.is_err()) {
            self.send_update_metadata_to_all(&[]);
        }
        Ok(())
    }

    pub async fn broker_modifications(&mut self, id: i32) -> ControllerResult {
        let Some(found) = self.znodes.broker(id).await? else { return Ok(()) };
        let Some(known) = self.ctx.broker(id) else { return Ok(()) };
        if known.endpoints == found.endpoints {
            return Ok(());
        }
        self.info(&format!("Updated broker metadata: {known:?} -> {found:?}"));
        // A new incarnation is for the change of the broker list to find.
        let updated = Broker { epoch: known.epoch, ..found };
        self.ctx.add_live_brokers([updated]);
        self.info(&format!("Broker info update callback for {id}"));
        self.send_update_metadata_to_all(&[]);
        Ok(())
    }

    /// A broker asks to leave: its partitions get other leaders, its followers stop.
    pub async fn controlled_shutdown(
        &mut self,
        request: ControlledShutdownRequest,
        reply: Reply<ControlledShutdownResponse>,
    ) -> ControllerResult {
        let id = request.broker_id.0;
        let failed = |code: ErrorCode| ControlledShutdownResponse::default().with_error_code(code.code());
        let response = match self.shut_down_if_known(id, request.broker_epoch).await {
            Ok(Ok(remaining)) => ControlledShutdownResponse::default().with_remaining_partitions(remaining),
            Ok(Err(code)) => failed(code),
            Err(error) if error.is_moved() => {
                // Kafka keeps this from its resignation logic; here the office is given up as with any event.
                let _ = reply.send(failed(ErrorCode::StaleControllerEpoch));
                return Err(error);
            }
            Err(error) => {
                tracing::error!(target: TARGET, "Error during controlled shutdown of broker {id}: {error}");
                failed(ErrorCode::UnknownServerError)
            }
        };
        let _ = reply.send(response);
        Ok(())
    }

    /// The partitions that the broker still leads, or why it may not ask.
    async fn shut_down_if_known(
        &mut self,
        id: i32,
        epoch: i64,
    ) -> ControllerResult<Result<Vec<RemainingPartition>, ErrorCode>> {
        if self.is_active() {
            self.notice_returned().await?;
        }
        match self.check_shutdown(id, epoch) {
            Ok(()) => self.shut_down_broker(id).await.map(Ok),
            Err(code) => Ok(Err(code)),
        }
    }

    fn check_shutdown(&self, id: i32, epoch: i64) -> Result<(), ErrorCode> {
        if !self.is_active() {
            return Err(ErrorCode::StaleControllerEpoch);
        }
        match (self.ctx.broker(id), epoch) {
            (None, -1) => Err(ErrorCode::BrokerNotAvailable),
            (None, _) => Err(ErrorCode::UnknownServerError),
            (Some(_), -1) => Ok(()),
            (Some(broker), _) if epoch < broker.epoch => {
                self.info(&format!(
                    "Received controlled shutdown request from an old broker epoch {epoch} for broker {id}. Current \
                     broker epoch is {}.",
                    broker.epoch
                ));
                Err(ErrorCode::StaleBrokerEpoch)
            }
            (Some(_), _) => Ok(()),
        }
    }

    async fn shut_down_broker(&mut self, id: i32) -> ControllerResult<Vec<RemainingPartition>> {
        self.info(&format!("Shutting down broker {id}"));
        self.ctx.shutting_down.insert(id);
        let mut partitions = self.ctx.partitions_on(id);
        partitions.retain(|partition| {
            self.ctx.replicas(partition).len() > 1
                && self.ctx.leadership(partition).is_some()
                && !self.ctx.is_queued_for_deletion(&partition.topic)
        });
        let leads = |p: &TopicPartition| self.ctx.leader_and_isr(p).is_some_and(|state| state.leader == id);
        let (led, followed): (Vec<_>, Vec<_>) = partitions.into_iter().partition(leads);
        self.partitions_online(&led, ElectionStrategy::ControlledShutdown).await?;
        let mut batch = RequestBatch::new();
        for partition in &followed {
            batch.add_stop_replica(&self.ctx, &[id], partition, false);
        }
        self.send(batch);
        let replicas: Vec<PartitionAndReplica> =
            followed.into_iter().map(|partition| PartitionAndReplica::new(partition, id)).collect();
        self.change_replicas(&replicas, ReplicaState::Offline).await?;
        let remaining = self.ctx.partitions_led_by(id).into_iter().map(|partition| {
            RemainingPartition::default()
                .with_topic_name(TopicName(StrBytes::from_string(partition.topic.to_string())))
                .with_partition_index(partition.partition)
        });
        Ok(remaining.collect())
    }

    // Log dirs.

    /// Brokers report failed log dirs: asking them about all their replicas shows which ones are gone.
    pub async fn log_dir_events(&mut self) -> ControllerResult {
        let notes = self.store().log_dir_events(true).await?;
        let result = match self.store().brokers_of_log_dir_events(&notes).await {
            Ok(brokers) => {
                let brokers = brokers.into_iter().collect();
                self.info(&format!("Handling log directory failure for brokers {}", join(&brokers)));
                let replicas = self.ctx.replicas_on(&brokers);
                self.change_replicas(&replicas, ReplicaState::Online).await
            }
            Err(error) => Err(error.into()),
        };
        self.store().delete_log_dir_events(&notes, self.ctx.fence()).await?;
        result
    }

    pub async fn leader_and_isr_answer(&mut self, broker: i32, response: LeaderAndIsrResponse) -> ControllerResult {
        let code = ErrorCode::from_code(response.error_code);
        if !code.is_none() {
            tracing::error!(
                target: "state.change.logger",
                "[Controller id={} epoch={}] Received error {code} in LeaderAndIsr response from broker {broker}",
                self.me,
                self.ctx.epoch
            );
            return Ok(());
        }
        let mut newly_offline = Vec::new();
        for (partition, code) in self.partition_errors(response) {
            let offline = self.ctx.offline_dirs.entry(broker).or_default();
            match code {
                ErrorCode::KafkaStorageError if offline.insert(partition.clone()) => {
                    newly_offline.push(PartitionAndReplica::new(partition, broker));
                }
                ErrorCode::None => {
                    offline.remove(&partition);
                }
                _ => {}
            }
        }
        if newly_offline.is_empty() {
            return Ok(());
        }
        tracing::info!(
            target: "state.change.logger",
            "[Controller id={} epoch={}] Mark replicas {} on broker {broker} as offline",
            self.me,
            self.ctx.epoch,
            join(newly_offline.iter().map(|replica| &replica.partition))
        );
        self.on_replicas_offline(newly_offline).await
    }

    /// Errors by partition: since version 5 under topic ids, before under names.
    fn partition_errors(&self, response: LeaderAndIsrResponse) -> Vec<(TopicPartition, ErrorCode)> {
        let mut errors = Vec::new();
        for error in response.partition_errors {
            let partition = TopicPartition::new(error.topic_name.as_str(), error.partition_index);
            errors.push((partition, ErrorCode::from_code(error.error_code)));
        }
        for topic in response.topics {
            let Some(name) = self.ctx.topic_name(topic.topic_id) else { continue };
            for error in topic.partition_errors {
                let partition = TopicPartition::new(name.clone(), error.partition_index);
                errors.push((partition, ErrorCode::from_code(error.error_code)));
            }
        }
        errors
    }

    pub fn update_metadata_answer(&self, broker: i32, response: &UpdateMetadataResponse) {
        let code = ErrorCode::from_code(response.error_code);
        if !code.is_none() {
            tracing::error!(
                target: "state.change.logger",
                "[Controller id={} epoch={}] Received error {code} in UpdateMetadata response from broker {broker}",
                self.me,
                self.ctx.epoch
            );
        }
    }

    /// Replicas of topics being deleted could not be deleted: their topics wait.
    pub async fn fail_replica_deletion(&mut self, replicas: &[PartitionAndReplica]) -> ControllerResult {
        let mut failed = replicas.to_vec();
        failed.retain(|replica| self.ctx.is_queued_for_deletion(&replica.partition.topic));
        if failed.is_empty() || !self.config.delete_topic_enable {
            return Ok(());
        }
        self.change_replicas(&failed, ReplicaState::DeletionIneligible).await?;
        let topics: BTreeSet<Arc<str>> = failed.into_iter().map(|replica| replica.partition.topic).collect();
        deletion::mark_ineligible(&mut self.ctx, self.me, &topics, "replica deletion failure");
        self.resume_deletions().await
    }
}
