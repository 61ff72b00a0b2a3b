//! Into the office and out of it: the election, what a new controller does before anything else, resignation.
//!
//! Answers to `elect`, `onControllerFailover`, `maybeResign` and `triggerControllerMove` of Kafka's
//! `KafkaController`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::assignment::join;
use super::context::PartitionAndReplica;
use super::control::{ControlLoop, TARGET};
use super::deletion;
use super::error::{ControllerError, ControllerResult};
use super::events::{ElectionTrigger, ElectionType, Event};
use super::partition_machine;
use super::replica_machine::{self, ReplicaState};
use crate::topic::TopicPartition;
use crate::zk::paths;
use crate::zk::store::Election;

/// The first automatic rebalance comes this long after the election.
const FIRST_REBALANCE: Duration = Duration::from_secs(5);

impl ControlLoop {
    pub async fn startup(&mut self) -> ControllerResult {
        self.store().exists(paths::CONTROLLER, true).await?;
        self.elect().await
    }

    pub async fn reelect(&mut self) -> ControllerResult {
        self.maybe_resign().await?;
        self.elect().await
    }

    /// A new session: the broker registers again, under a new epoch, before it stands for election.
    pub async fn register_broker_and_reelect(&mut self) -> ControllerResult {
        let epoch = self.hooks.register_broker().await.map_err(ControllerError::Broker)?;
        self.set_broker_epoch(epoch);
        self.reelect().await
    }

    /// Reads who is the controller; cleans up if this broker was and no longer is.
    pub async fn maybe_resign(&mut self) -> ControllerResult {
        let was_active = self.is_active();
        self.store().exists(paths::CONTROLLER, true).await?;
        self.read_controller().await?;
        if was_active && !self.is_active() {
            self.resign();
        }
        Ok(())
    }

    /// The same, and stands for election if the office is empty. Kafka leaves that to the watch; but a controller that
    /// comes and goes while this broker is busy is seen only here, with no watch set that would tell.
    pub async fn maybe_resign_and_stand(&mut self) -> ControllerResult {
        self.maybe_resign().await?;
        if *self.shared.active_controller.borrow() == -1 {
            self.queue.put(Event::Reelect);
        }
        Ok(())
    }

    async fn read_controller(&mut self) -> ControllerResult {
        let holder = self.store().controller_id().await?;
        self.set_holder(holder.unwrap_or(-1));
        Ok(())
    }

    /// A znode that names this broker while it has no term of office is left from an earlier life.
    fn set_holder(&self, holder: i32) {
        self.set_active_controller(if holder == self.me && self.ctx.epoch == 0 { -1 } else { holder });
    }

    async fn elect(&mut self) -> ControllerResult {
        let me = self.me;
        match self.take_over().await {
            Ok(None) => Ok(()),
            Ok(Some(holder)) => {
                tracing::debug!(
                    target: TARGET,
                    "[Controller id={me}] Broker {holder} has been elected as the controller, so stopping the election \
                     process."
                );
                Ok(())
            }
            Err(ControllerError::Moved(why)) => {
                self.maybe_resign_and_stand().await?;
                let holder = *self.shared.active_controller.borrow();
                if holder != -1 {
                    tracing::debug!(
                        target: TARGET,
                        "[Controller id={me}] Broker {holder} was elected as controller instead of broker {me}: {why}"
                    );
                } else {
                    tracing::warn!(
                        target: TARGET,
                        "[Controller id={me}] A controller has been elected but just resigned, this will result in \
                         another round of election: {why}"
                    );
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(
                    target: TARGET,
                    "[Controller id={me}] Error while electing or becoming controller on broker {me}. Trigger \
                     controller movement immediately: {error}"
                );
                self.trigger_move().await
            }
        }
    }

    /// Takes the office and fills it; answers who holds it if it is taken.
    async fn take_over(&mut self) -> ControllerResult<Option<i32>> {
        let term = match self.store().elect_controller(self.me, self.ctx.epoch != 0, self.hooks.now_ms()).await? {
            Election::Lost { controller_id } => {
                self.set_holder(controller_id);
                return Ok(Some(controller_id));
            }
            Election::Won(term) => term,
        };
        self.ctx.epoch = term.epoch;
        self.ctx.epoch_zk_version = term.zk_version;
        self.set_active_controller(self.me);
        tracing::info!(
            target: TARGET,
            "[Controller id={me}] {me} successfully elected as the controller. Epoch incremented to {} and epoch zk \
             version is now {}",
            term.epoch,
            term.zk_version,
            me = self.me
        );
        self.on_failover().await?;
        Ok(None)
    }

    /// Answers the data version of `/feature` that its broker must see before it goes on.
    async fn set_up_features(&self) -> ControllerResult<Option<i32>> {
        let versions = self.settings.versions;
        if versions.features {
            return self.znodes.enable_features(versions.feature_znode).await;
        }
        // Nobody follows it with this protocol.
        self.znodes.disable_features(versions.feature_znode).await?;
        Ok(None)
    }

    async fn on_failover(&mut self) -> ControllerResult {
        if let Some(version) = self.set_up_features().await? {
            self.hooks.await_feature_version(version).await.map_err(ControllerError::Broker)?;
        }
        self.info("Deleting log dir event notifications");
        let fence = self.ctx.fence();
        let notes = self.store().log_dir_events(true).await?;
        self.store().delete_log_dir_events(&notes, fence).await?;
        self.info("Deleting isr change notifications");
        let notes = self.store().isr_changes(true).await?;
        self.store().delete_isr_changes(&notes, fence).await?;
        self.info("Initializing controller context");
        self.initialize_context().await?;
        self.initialize_deletions().await?;
        self.meet_brokers().await?;
        // Brokers must know each other before they can follow what LeaderAndIsr tells them.
        self.info("Sending update metadata request");
        self.send_update_metadata_to_all(&[]);
        self.start_machines().await?;
        self.info(&format!("Ready to serve as the new controller with epoch {}", self.ctx.epoch));
        self.initialize_reassignments().await?;
        self.resume_deletions().await?;
        self.pending_preferred_elections().await?;
        self.info("Starting the controller scheduler");
        if self.config.auto_leader_rebalance {
            self.schedule_rebalance(FIRST_REBALANCE);
        }
        Ok(())
    }

    pub fn info(&self, text: &str) {
        tracing::info!(target: TARGET, "[Controller id={}] {text}", self.me);
    }

    async fn initialize_context(&mut self) -> ControllerResult {
        let brokers = self.znodes.brokers().await?;
        self.ctx.set_live_brokers(brokers);
        self.info(&format!("Initialized broker epochs cache: {}", self.broker_epochs()));
        self.ctx.topics = self.znodes.topics().await?;
        let topics = self.ctx.topics.clone();
        let partitions = self.read_topics(&topics).await?;
        for partition in partitions {
            if self.ctx.assignment(&partition).is_some_and(|assignment| assignment.is_being_reassigned()) {
                self.ctx.being_reassigned.insert(partition);
            }
        }
        self.ctx.clear_leadership();
        self.ctx.shutting_down.clear();
        self.take_over_leadership().await?;
        self.info(&format!("Currently active brokers in the cluster: Set({})", join(self.ctx.live_ids())));
        self.info("Currently shutting brokers in the cluster: HashSet()");
        self.info(&format!("Current list of topics in the cluster: HashSet({})", join(&self.ctx.topics)));
        Ok(())
    }

    /// Takes over all states ZooKeeper has. A member of an ISR whose broker has registered after that ISR was written
    /// has come back from the dead unseen, perhaps from a machine that crashed with its unsynced records: while another
    /// member was there all the time, it counts as offline until it has left the ISR and the leadership. (A broker that
    /// comes back under a controller in office is treated so as "bounced".) Kafka lets it lead on.
    async fn take_over_leadership(&mut self) -> ControllerResult {
        let mut returned = BTreeSet::new();
        let all = self.ctx.all_partitions();
        for (partition, info, written) in self.znodes.dated_states(&all).await? {
            let epoch = |id: &i32| self.ctx.broker(*id).map(|broker| broker.epoch);
            let isr = &info.leader_and_isr.isr;
            if isr.iter().any(|id| epoch(id).is_some_and(|epoch| epoch < written)) {
                let back = isr.iter().filter(|id| epoch(id).is_some_and(|epoch| epoch > written));
                returned.extend(back.map(|id| PartitionAndReplica::new(partition.clone(), *id)));
            }
            self.ctx.set_leadership(&partition, info);
        }
        if !returned.is_empty() {
            self.info(&format!("In-sync replicas whose brokers have returned unseen: {}", join(&returned)));
        }
        self.ctx.returned = returned;
        Ok(())
    }

    /// Opens channels to the brokers. To read all that came before took a while, and who has returned meanwhile must not
    /// be taken for who was there all the time.
    async fn meet_brokers(&mut self) -> ControllerResult {
        loop {
            let brokers = self.znodes.brokers().await?;
            if self.ctx.live_or_shutting_down_brokers().eq(&brokers) {
                break;
            }
            self.ctx.set_live_brokers(brokers);
            self.info(&format!("Updated broker epochs cache: {}", self.broker_epochs()));
            self.take_over_leadership().await?;
        }
        for broker in self.ctx.live_or_shutting_down_brokers() {
            self.channel.add_broker(broker, &self.queue);
        }
        Ok(())
    }

    /// Brokers and their epochs, for the log.
    pub fn broker_epochs(&self) -> String {
        let brokers = self.ctx.live_or_shutting_down_brokers();
        let brokers: Vec<String> = brokers.map(|broker| format!("{} -> {}", broker.id, broker.epoch)).collect();
        format!("HashMap({})", brokers.join(", "))
    }

    /// Takes over the states ZooKeeper has for these partitions.
    pub async fn refresh_leadership(&mut self, partitions: &[TopicPartition]) -> ControllerResult {
        for (partition, info) in self.znodes.known_states(partitions).await? {
            self.ctx.set_leadership(&partition, info);
        }
        Ok(())
    }

    async fn initialize_deletions(&mut self) -> ControllerResult {
        self.info("Fetching topic deletions in progress");
        let queued = self.znodes.topic_deletions().await?;
        let ineligible = deletion::ineligible_at_start(&self.ctx);
        self.info(&format!("List of topics to be deleted: {}", join(&queued)));
        self.info(&format!("List of topics ineligible for deletion: {}", join(&ineligible)));
        self.info("Initializing topic deletion manager");
        if !self.config.delete_topic_enable {
            self.info(&format!("Removing {queued:?} since delete topic is disabled"));
            return self.znodes.delete_topic_deletions(self.ctx.fence(), &queued).await;
        }
        self.ctx.topics_ineligible_for_deletion = ineligible.intersection(&queued).cloned().collect();
        self.ctx.topics_to_be_deleted = queued;
        Ok(())
    }

    /// Kafka first takes the dead brokers' replicas offline, which writes the state of every partition they have, and
    /// then elects. Here the partitions without a live leader, which clients wait for, come first: an election takes the
    /// dead out of the ISR by the same write.
    async fn start_machines(&mut self) -> ControllerResult {
        self.info("Initializing replica state");
        let (online, offline) = replica_machine::initial_states(&mut self.ctx);
        self.info("Initializing partition state");
        partition_machine::initial_states(&mut self.ctx);
        self.info("Triggering online partition state changes");
        self.bring_online(None).await?;
        self.info("Triggering online replica state changes");
        self.change_replicas(&online, ReplicaState::Online).await?;
        self.info("Triggering offline replica state changes");
        self.change_replicas(&offline, ReplicaState::Offline).await?;
        let returned: Vec<PartitionAndReplica> = std::mem::take(&mut self.ctx.returned).into_iter().collect();
        self.change_replicas(&returned, ReplicaState::Online).await
    }

    async fn initialize_reassignments(&mut self) -> ControllerResult {
        // Those asked for by the znode take the place of those asked for by requests.
        let resumed = self.zk_reassignment().await?;
        self.resume_reassignments(|partition, _| !resumed.contains(partition)).await
    }

    /// Preferred elections that the legacy znode asks for and that were not finished.
    async fn pending_preferred_elections(&mut self) -> ControllerResult {
        if !self.store().exists(paths::PREFERRED_REPLICA_ELECTION, true).await? {
            return Ok(());
        }
        let pending = self.znodes.preferred_election().await?;
        let undone = pending.into_iter().filter(|partition| {
            let head = self.ctx.replicas(partition).first();
            let leader = self.ctx.leader_and_isr(partition).map(|state| state.leader);
            head.is_some() && leader.is_some_and(|leader| head != Some(&leader))
        });
        let undone: Vec<TopicPartition> =
            undone.filter(|partition| !self.ctx.is_queued_for_deletion(&partition.topic)).collect();
        self.info(&format!("Resuming preferred replica election for partitions: {}", join(&undone)));
        self.elect_replicas(&undone, ElectionType::Preferred, ElectionTrigger::Zk).await?;
        Ok(())
    }

    /// Lets the timer of the automatic rebalance run.
    pub fn schedule_rebalance(&mut self, delay: Duration) {
        let queue = self.queue.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            queue.put(Event::AutoPreferredReplicaLeaderElection);
        });
        if let Some(last) = self.rebalance.replace(timer) {
            last.abort();
        }
    }

    /// Forgets all that only a controller knows, and stops what only a controller runs.
    pub fn resign(&mut self) {
        tracing::debug!(target: TARGET, "[Controller id={}] Resigning", self.me);
        if let Some(timer) = self.rebalance.take() {
            timer.abort();
        }
        self.channel.shutdown();
        self.ctx.reset();
        self.info("Resigned");
    }

    /// Gives up the office although nobody took it, since this broker cannot fill it.
    async fn trigger_move(&mut self) -> ControllerResult {
        self.read_controller().await?;
        let moved = || {
            tracing::warn!(
                target: TARGET,
                "Controller has already moved when trying to trigger controller movement"
            );
        };
        if !self.is_active() {
            moved();
            // Not in office, but perhaps half way into it.
            self.resign();
            return Ok(());
        }
        let fence = self.ctx.fence();
        self.set_active_controller(-1);
        self.resign();
        match self.store().delete_controller(fence).await {
            Err(error) if error.is_controller_moved() => {
                moved();
                Ok(())
            }
            result => Ok(result?),
        }
    }
}
