//! The event loop: takes one event after the other and deals with it to the end before it takes the next.
//!
//! Answers to the `process` of Kafka's `KafkaController`. Owns the context and everything the decisions are
//! carried out with; runs on one task.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::batch::BatchSettings;
use super::channel::ControlChannel;
use super::context::ControllerContext;
use super::error::{ControllerError, ControllerResult};
use super::events::{Event, EventQueue};
use super::handle::{ControllerConfig, ControllerDeps, ControllerHooks, Shared};
use super::versions::ControlVersions;
use super::znodes::Znodes;
use crate::zk::store::Store;

pub(super) const TARGET: &str = "kafka.controller.KafkaController";

/// How long a controller that shuts down waits for other brokers' answers.
const FAREWELL: Duration = Duration::from_secs(1);

/// The controller's task.
pub(super) struct ControlLoop {
    pub me: i32,
    pub config: ControllerConfig,
    pub ctx: ControllerContext,
    pub znodes: Znodes,
    pub settings: BatchSettings,
    pub hooks: Arc<dyn ControllerHooks>,
    pub channel: Box<dyn ControlChannel>,
    pub queue: EventQueue,
    pub shared: Arc<Shared>,
    /// The timer of the next automatic rebalance.
    pub rebalance: Option<JoinHandle<()>>,
}

impl ControlLoop {
    pub fn new(deps: ControllerDeps, queue: EventQueue, shared: Arc<Shared>) -> ControlLoop {
        let settings = BatchSettings {
            me: deps.config.broker_id,
            versions: ControlVersions::of(deps.config.inter_broker_protocol),
            inter_broker_listener: deps.config.inter_broker_listener.clone(),
        };
        ControlLoop {
            me: deps.config.broker_id,
            config: deps.config,
            ctx: ControllerContext::default(),
            znodes: Znodes { store: deps.store },
            settings,
            hooks: deps.hooks,
            channel: deps.channel,
            queue,
            shared,
            rebalance: None,
        }
    }

    /// Runs until [`Event::Shutdown`].
    pub async fn run(mut self) {
        loop {
            let event = self.queue.take().await;
            if matches!(event, Event::Shutdown) {
                self.finish_sending().await;
                self.set_active_controller(-1);
                self.resign();
                return;
            }
            let name = event.name();
            self.process_logged(event, name).await;
            self.publish();
        }
    }

    /// A controller that leaves has just moved its leaderships: others hear of that before it goes, not from the next
    /// controller after its failover.
    async fn finish_sending(&self) {
        if self.is_active() && tokio::time::timeout(FAREWELL, self.channel.drained()).await.is_err() {
            self.info("Some brokers did not answer before the controller's shutdown");
        }
    }

    async fn process_logged(&mut self, event: Event, name: &str) {
        match self.process(event).await {
            Ok(()) => {}
            Err(ControllerError::Moved(why)) => {
                tracing::info!(
                    target: TARGET,
                    "[Controller id={}] Controller moved to another broker when processing {name}: {why}",
                    self.me
                );
                if let Err(error) = self.maybe_resign_and_stand().await {
                    tracing::error!(target: TARGET, "[Controller id={}] Error while resigning: {error}", self.me);
                }
            }
            Err(error) => {
                tracing::error!(target: TARGET, "[Controller id={}] Error processing event {name}: {error}", self.me);
            }
        }
    }

    async fn process(&mut self, event: Event) -> ControllerResult {
        match event {
            Event::Startup => self.startup().await,
            Event::ControllerChange => self.maybe_resign_and_stand().await,
            Event::Reelect => self.reelect().await,
            Event::RegisterBrokerAndReelect => self.register_broker_and_reelect().await,
            Event::Expire => {
                self.set_active_controller(-1);
                self.resign();
                Ok(())
            }
            Event::ReplicaLeaderElection { partitions, election, trigger, reply } => {
                self.replica_leader_election(partitions, election, trigger, reply).await
            }
            Event::ApiPartitionReassignment(request, reply) => self.api_reassignment(request, reply).await,
            Event::ListPartitionReassignments(request, reply) => {
                let _ = reply.send(self.list_reassignments(request));
                Ok(())
            }
            Event::ControlledShutdown(request, reply) => self.controlled_shutdown(request, reply).await,
            Event::AlterPartition(request, version, reply) => self.alter_partition(request, version, reply).await,
            Event::AllocateProducerIds(request, reply) => {
                let _ = reply.send(self.allocate_producer_ids(request).await);
                Ok(())
            }
            Event::Stats(reply) => {
                let _ = reply.send(self.ctx.stats());
                Ok(())
            }
            event if self.is_active() => self.process_as_controller(event).await,
            _ => Ok(()),
        }
    }

    /// Events that mean nothing to a broker that is not the controller.
    async fn process_as_controller(&mut self, event: Event) -> ControllerResult {
        match event {
            Event::BrokerChange => self.broker_change().await,
            Event::BrokerModifications(id) => self.broker_modifications(id).await,
            Event::TopicChange => self.topic_change().await,
            Event::PartitionModifications(topic) => self.partition_modifications(topic).await,
            Event::TopicDeletion => self.topic_deletion().await,
            Event::LogDirEventNotification => self.log_dir_events().await,
            Event::IsrChangeNotification => self.isr_changes().await,
            Event::ReassignedPartitionState(partition) => self.on_reassigned_state(&partition).await,
            Event::ZkPartitionReassignment => self.zk_reassignment().await.map(|_| ()),
            Event::AutoPreferredReplicaLeaderElection => self.auto_rebalance().await,
            Event::UncleanLeaderElectionEnable => {
                tracing::info!(
                    target: TARGET,
                    "[Controller id={}] Unclean leader election has been enabled by default",
                    self.me
                );
                self.bring_online(None).await.map(|_| ())
            }
            Event::TopicUncleanLeaderElectionEnable(topic) => {
                tracing::info!(
                    target: TARGET,
                    "[Controller id={}] Unclean leader election has been enabled for topic {topic}",
                    self.me
                );
                self.bring_online(Some(&topic)).await.map(|_| ())
            }
            Event::LeaderAndIsrResponse(broker, response) => self.leader_and_isr_answer(broker, response).await,
            Event::UpdateMetadataResponse(broker, response) => {
                self.update_metadata_answer(broker, &response);
                Ok(())
            }
            Event::StopReplicaResponse(broker, response, deleting) => {
                self.stop_replica_answer(broker, response, &deleting).await
            }
            _ => Ok(()),
        }
    }

    pub fn store(&self) -> &Store {
        &self.znodes.store
    }

    /// Whether this broker is the controller.
    pub fn is_active(&self) -> bool {
        *self.shared.active_controller.borrow() == self.me
    }

    pub fn set_active_controller(&self, id: i32) {
        self.shared.active_controller.send_if_modified(|known| std::mem::replace(known, id) != id);
    }

    pub fn set_broker_epoch(&self, epoch: i64) {
        self.shared.broker_epoch.store(epoch, Ordering::Release);
    }

    /// Lets others see what they may see of the context.
    fn publish(&self) {
        if **self.shared.topics_to_be_deleted.load() != self.ctx.topics_to_be_deleted {
            self.shared.topics_to_be_deleted.store(Arc::new(self.ctx.topics_to_be_deleted.clone()));
        }
    }
}
