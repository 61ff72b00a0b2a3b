//! The controller's outside: what it needs to start, and what the rest of the broker can ask of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::channel::ControlChannel;
use super::context::ControllerStats;
use super::control::ControlLoop;
use super::events::{ElectionAnswer, ElectionTrigger, ElectionType, Event, EventQueue, Reply};
use crate::config::ProtocolVersion;
use crate::protocol::ErrorCode;
use crate::protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse, AlterPartitionRequest, AlterPartitionResponse, ControlledShutdownRequest,
    ControlledShutdownResponse, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use crate::topic::TopicPartition;
use crate::zk::ZkEvent;
use crate::zk::store::Store;

/// How long a shutdown waits for the event being processed.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// The settings the controller goes by, named after their keys.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    pub broker_id: i32,
    /// `inter.broker.listener.name` (or what `security.inter.broker.protocol` stands for).
    pub inter_broker_listener: String,
    /// `inter.broker.protocol.version`.
    pub inter_broker_protocol: ProtocolVersion,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// `auto.leader.rebalance.enable`.
    pub auto_leader_rebalance: bool,
    /// `leader.imbalance.check.interval.seconds`.
    pub imbalance_check_interval: Duration,
    /// `leader.imbalance.per.broker.percentage`.
    pub imbalance_percentage: i32,
}

/// What the controller asks of the rest of its broker.
pub trait ControllerHooks: Send + Sync {
    /// Registers the broker in a new session of ZooKeeper and answers the new broker epoch.
    fn register_broker(&self) -> BoxFuture<'static, Result<i64, String>>;

    /// Waits until the broker has seen this data version of `/feature`, for at most the connection timeout.
    fn await_feature_version(&self, _version: i32) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// The broker's present `unclean.leader.election.enable`, which topics may override.
    fn unclean_leader_election_enable(&self) -> bool;

    /// Milliseconds since the epoch, for the controller's znode.
    fn now_ms(&self) -> i64;
}

/// What a controller is made of.
pub struct ControllerDeps {
    pub config: ControllerConfig,
    pub store: Arc<Store>,
    /// Epoch of the broker's first registration.
    pub broker_epoch: i64,
    pub hooks: Arc<dyn ControllerHooks>,
    pub channel: Box<dyn ControlChannel>,
}

/// What the loop lets others see.
pub(super) struct Shared {
    pub active_controller: watch::Sender<i32>,
    pub broker_epoch: AtomicI64,
    pub topics_to_be_deleted: ArcSwap<BTreeSet<Arc<str>>>,
}

/// The controller of one broker.
pub struct Controller;

impl Controller {
    /// Starts the event loop, which takes part in the election at once. The broker must be registered.
    pub fn start(deps: ControllerDeps) -> ControllerHandle {
        let queue = EventQueue::default();
        let shared = Arc::new(Shared {
            active_controller: watch::channel(-1).0,
            broker_epoch: AtomicI64::new(deps.broker_epoch),
            topics_to_be_deleted: ArcSwap::default(),
        });
        let me = deps.config.broker_id;
        let watches = tokio::spawn(follow_zk(deps.store.zk().events(), queue.clone()));
        // A session that ended since the registration has told nobody of it yet.
        if deps.store.has_lost_registration() {
            queue.put(Event::RegisterBrokerAndReelect);
        }
        queue.put(Event::Startup);
        let running = tokio::spawn(ControlLoop::new(deps, queue.clone(), shared.clone()).run());
        let tasks = Arc::new(parking_lot::Mutex::new(Some((watches, running))));
        ControllerHandle { me, queue, shared, tasks }
    }
}

/// Turns watches and the fate of the session into events. When a session ends, what waits is dropped, and the
/// first thing the controller does is to forget everything.
async fn follow_zk(mut events: tokio::sync::mpsc::UnboundedReceiver<ZkEvent>, queue: EventQueue) {
    while let Some(event) = events.recv().await {
        if event == ZkEvent::SessionExpired {
            queue.clear_and_put(Event::Expire);
        } else if let Some(event) = Event::of_watch(&event) {
            queue.put(event);
        }
    }
}

type Tasks = Arc<parking_lot::Mutex<Option<(JoinHandle<()>, JoinHandle<()>)>>>;

/// A hand on the running controller. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct ControllerHandle {
    me: i32,
    queue: EventQueue,
    shared: Arc<Shared>,
    tasks: Tasks,
}

impl ControllerHandle {
    /// Whether this broker is the controller.
    pub fn is_active(&self) -> bool {
        self.active_controller_id() == self.me
    }

    /// Broker id of the controller as this broker last read it, -1 for none.
    pub fn active_controller_id(&self) -> i32 {
        *self.shared.active_controller.borrow()
    }

    /// Follows [`ControllerHandle::active_controller_id`].
    pub fn watch_active_controller(&self) -> watch::Receiver<i32> {
        self.shared.active_controller.subscribe()
    }

    /// Epoch of this broker's present registration.
    pub fn broker_epoch(&self) -> i64 {
        self.shared.broker_epoch.load(Ordering::Acquire)
    }

    /// Whether the (active) controller has the topic on its list of those to delete.
    pub fn is_topic_queued_for_deletion(&self, topic: &str) -> bool {
        self.shared.topics_to_be_deleted.load().contains(topic)
    }

    async fn ask<T>(&self, event: impl FnOnce(Reply<T>) -> Event, lost: impl FnOnce() -> T) -> T {
        let (reply, answer) = oneshot::channel();
        self.queue.put(event(reply));
        // The reply is lost when processing the event failed; the log has said why.
        answer.await.unwrap_or_else(|_| lost())
    }

    /// The figures of the metrics. Counting them takes time in the order of the number of partitions.
    pub async fn stats(&self) -> ControllerStats {
        self.ask(Event::Stats, ControllerStats::default).await
    }

    /// AlterPartition of `version`: a leader changes its in-sync replicas.
    pub async fn alter_partition(&self, request: AlterPartitionRequest, version: i16) -> AlterPartitionResponse {
        let failed = || AlterPartitionResponse::default().with_error_code(ErrorCode::UnknownServerError.code());
        self.ask(|reply| Event::AlterPartition(request, version, reply), failed).await
    }

    /// ControlledShutdown: a broker wants to leave.
    pub async fn controlled_shutdown(&self, request: ControlledShutdownRequest) -> ControlledShutdownResponse {
        let failed = || ControlledShutdownResponse::default().with_error_code(ErrorCode::UnknownServerError.code());
        self.ask(|reply| Event::ControlledShutdown(request, reply), failed).await
    }

    /// AllocateProducerIds: a broker asks for a block of producer ids.
    pub async fn allocate_producer_ids(&self, request: AllocateProducerIdsRequest) -> AllocateProducerIdsResponse {
        let failed = || AllocateProducerIdsResponse::default().with_error_code(ErrorCode::UnknownServerError.code());
        self.ask(|reply| Event::AllocateProducerIds(request, reply), failed).await
    }

    /// Elects leaders; the answer has an entry for each partition. Whoever answers the client waits until the new
    /// leaders show in the metadata, and leaves out ELECTION_NOT_NEEDED if the client asked for all partitions.
    pub async fn elect_leaders(&self, partitions: BTreeSet<TopicPartition>, election: ElectionType) -> ElectionAnswer {
        let asked = partitions.clone();
        let event = |reply| Event::ReplicaLeaderElection {
            partitions: Some(partitions),
            election,
            trigger: ElectionTrigger::AdminClient,
            reply: Some(reply),
        };
        let failed = super::ApiError { code: ErrorCode::UnknownServerError, message: None };
        self.ask(event, || asked.into_iter().map(|partition| (partition, Err(failed.clone()))).collect()).await
    }

    /// AlterPartitionReassignments.
    pub async fn alter_partition_reassignments(
        &self,
        request: AlterPartitionReassignmentsRequest,
    ) -> AlterPartitionReassignmentsResponse {
        let failed =
            || AlterPartitionReassignmentsResponse::default().with_error_code(ErrorCode::UnknownServerError.code());
        self.ask(|reply| Event::ApiPartitionReassignment(request, reply), failed).await
    }

    /// ListPartitionReassignments.
    pub async fn list_partition_reassignments(
        &self,
        request: ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        let failed =
            || ListPartitionReassignmentsResponse::default().with_error_code(ErrorCode::UnknownServerError.code());
        self.ask(|reply| Event::ListPartitionReassignments(request, reply), failed).await
    }

    /// The broker's `unclean.leader.election.enable` became true: partitions without a leader may have one now.
    pub fn unclean_leader_election_enabled(&self) {
        self.queue.put(Event::UncleanLeaderElectionEnable);
    }

    /// The same for one topic's configuration.
    pub fn topic_unclean_leader_election_enabled(&self, topic: &str) {
        if self.is_active() {
            self.queue.put(Event::TopicUncleanLeaderElectionEnable(Arc::from(topic)));
        }
    }

    /// Ends the loop: what waits is preempted, the senders stop. `/controller` goes with the session.
    pub async fn shutdown(&self) {
        self.queue.close();
        let tasks = self.tasks.lock().take();
        if let Some((watches, mut running)) = tasks {
            watches.abort();
            // What it is about may wait for ZooKeeper, which may not come back.
            if tokio::time::timeout(SHUTDOWN_PATIENCE, &mut running).await.is_err() {
                running.abort();
                self.shared.active_controller.send_replace(-1);
            }
        }
    }
}
