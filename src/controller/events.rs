//! Everything that reaches the controller comes as an event, one after the other, through one queue: watches of
//! ZooKeeper, requests of brokers and clients, answers of brokers, timers.
//!
//! Answers to Kafka's `ControllerEvent` and `ControllerEventManager`. The queue is a deque behind one mutex, held
//! for a push or a pop only. It is not bounded by a number: watches fire once until they are armed again, answers
//! are bounded by the requests sent, and requests by the connections they came on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::context::ControllerStats;
use super::reassignment::ApiError;
use crate::protocol::ErrorCode;
use crate::protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse, AlterPartitionRequest, AlterPartitionResponse, ControlledShutdownRequest,
    ControlledShutdownResponse, LeaderAndIsrResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, StopReplicaResponse, UpdateMetadataResponse,
};
use crate::topic::TopicPartition;
use crate::zk::{ZkEvent, paths};

/// Where an answer goes. The asker may have gone; then nobody minds.
pub type Reply<T> = oneshot::Sender<T>;

/// Kind of an election that is asked for (`ElectionType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionType {
    Preferred,
    Unclean,
}

impl std::fmt::Display for ElectionType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ElectionType::Preferred => "PREFERRED",
            ElectionType::Unclean => "UNCLEAN",
        })
    }
}

/// Who asked for an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionTrigger {
    AdminClient,
    Zk,
    Auto,
}

impl std::fmt::Display for ElectionTrigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ElectionTrigger::AdminClient => "AdminClientTriggered",
            ElectionTrigger::Zk => "ZkTriggered",
            ElectionTrigger::Auto => "AutoTriggered",
        })
    }
}

/// Answer to a request for elections: per partition the leader elected, or why none was.
pub type ElectionAnswer = BTreeMap<TopicPartition, Result<i32, ApiError>>;

/// One thing for the controller to deal with.
#[derive(Debug)]
pub enum Event {
    Startup,
    ControllerChange,
    Reelect,
    RegisterBrokerAndReelect,
    Expire,
    BrokerChange,
    BrokerModifications(i32),
    TopicChange,
    PartitionModifications(Arc<str>),
    TopicDeletion,
    LogDirEventNotification,
    IsrChangeNotification,
    /// The state of a partition that is being reassigned, with leaders that write it themselves.
    ReassignedPartitionState(TopicPartition),
    ZkPartitionReassignment,
    AutoPreferredReplicaLeaderElection,
    UncleanLeaderElectionEnable,
    TopicUncleanLeaderElectionEnable(Arc<str>),
    /// `partitions` `None`: those the legacy znode names.
    ReplicaLeaderElection {
        partitions: Option<BTreeSet<TopicPartition>>,
        election: ElectionType,
        trigger: ElectionTrigger,
        reply: Option<Reply<ElectionAnswer>>,
    },
    ApiPartitionReassignment(AlterPartitionReassignmentsRequest, Reply<AlterPartitionReassignmentsResponse>),
    ListPartitionReassignments(ListPartitionReassignmentsRequest, Reply<ListPartitionReassignmentsResponse>),
    ControlledShutdown(ControlledShutdownRequest, Reply<ControlledShutdownResponse>),
    AlterPartition(AlterPartitionRequest, i16, Reply<AlterPartitionResponse>),
    AllocateProducerIds(AllocateProducerIdsRequest, Reply<AllocateProducerIdsResponse>),
    LeaderAndIsrResponse(i32, LeaderAndIsrResponse),
    UpdateMetadataResponse(i32, UpdateMetadataResponse),
    /// The figures of the metrics.
    Stats(Reply<ControllerStats>),
    /// With the partitions that the broker was told to delete.
    StopReplicaResponse(i32, StopReplicaResponse, BTreeSet<TopicPartition>),
    Shutdown,
}

impl Event {
    /// The event a watch stands for; `None` if it is not for the controller.
    pub fn of_watch(event: &ZkEvent) -> Option<Event> {
        match event {
            ZkEvent::Created(path) => match &**path {
                paths::CONTROLLER => Some(Event::ControllerChange),
                paths::REASSIGN_PARTITIONS => Some(Event::ZkPartitionReassignment),
                paths::PREFERRED_REPLICA_ELECTION => Some(Event::ReplicaLeaderElection {
                    partitions: None,
                    election: ElectionType::Preferred,
                    trigger: ElectionTrigger::Zk,
                    reply: None,
                }),
                _ => None,
            },
            ZkEvent::Deleted(path) => (**path == *paths::CONTROLLER).then_some(Event::Reelect),
            ZkEvent::DataChanged(path) => {
                if **path == *paths::CONTROLLER {
                    return Some(Event::ControllerChange);
                }
                if let Some(partition) = paths::partition_of_state(path) {
                    return Some(Event::ReassignedPartitionState(partition));
                }
                let (parent, name) = path.rsplit_once('/')?;
                match parent {
                    paths::BROKER_IDS => Some(Event::BrokerModifications(name.parse().ok()?)),
                    paths::TOPICS => Some(Event::PartitionModifications(Arc::from(name))),
                    _ => None,
                }
            }
            ZkEvent::ChildrenChanged(path) => match &**path {
                paths::BROKER_IDS => Some(Event::BrokerChange),
                paths::TOPICS => Some(Event::TopicChange),
                paths::DELETE_TOPICS => Some(Event::TopicDeletion),
                paths::LOG_DIR_EVENT_NOTIFICATION => Some(Event::LogDirEventNotification),
                paths::ISR_CHANGE_NOTIFICATION => Some(Event::IsrChangeNotification),
                _ => None,
            },
            ZkEvent::SessionEstablished(_) => Some(Event::RegisterBrokerAndReelect),
            ZkEvent::Disconnected | ZkEvent::Connected | ZkEvent::SessionExpired => None,
        }
    }

    /// Kafka's name of the event, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Startup => "Startup",
            Event::ControllerChange => "ControllerChange",
            Event::Reelect => "Reelect",
            Event::RegisterBrokerAndReelect => "RegisterBrokerAndReelect",
            Event::Expire => "Expire",
            Event::BrokerChange => "BrokerChange",
            Event::BrokerModifications(_) => "BrokerModifications",
            Event::TopicChange => "TopicChange",
            Event::PartitionModifications(_) => "PartitionModifications",
            Event::TopicDeletion => "TopicDeletion",
            Event::LogDirEventNotification => "LogDirEventNotification",
            Event::IsrChangeNotification => "IsrChangeNotification",
            Event::ReassignedPartitionState(_) => "PartitionReassignmentIsrChange",
            Event::ZkPartitionReassignment => "ZkPartitionReassignment",
            Event::AutoPreferredReplicaLeaderElection => "AutoPreferredReplicaLeaderElection",
            Event::UncleanLeaderElectionEnable => "UncleanLeaderElectionEnable",
            Event::TopicUncleanLeaderElectionEnable(_) => "TopicUncleanLeaderElectionEnable",
            Event::ReplicaLeaderElection { .. } => "ReplicaLeaderElection",
            Event::ApiPartitionReassignment(..) => "ApiPartitionReassignment",
            Event::ListPartitionReassignments(..) => "ListPartitionReassignments",
            Event::ControlledShutdown(..) => "ControlledShutdown",
            Event::AlterPartition(..) => "AlterPartitionReceived",
            Event::AllocateProducerIds(..) => "AllocateProducerIds",
            Event::LeaderAndIsrResponse(..) => "LeaderAndIsrResponseReceived",
            Event::UpdateMetadataResponse(..) => "UpdateMetadataResponseReceived",
            Event::StopReplicaResponse(..) => "TopicDeletionStopReplicaResponseReceived",
            Event::Stats(_) => "Stats",
            Event::Shutdown => "ShutdownEventThread",
        }
    }

    /// Answers an event that will not be processed, because the session ended or the broker shuts down: as a broker
    /// answers that is not the controller. Kafka leaves AlterPartition and AllocateProducerIds without an answer,
    /// and the asker waits for its timeout; here it is told at once to look for the controller.
    pub fn preempt(self) {
        match self {
            Event::ReplicaLeaderElection { partitions, reply: Some(reply), .. } => {
                let _ = reply.send(not_controller_elections(partitions));
            }
            Event::ApiPartitionReassignment(_, reply) => {
                let _ = reply.send(not_controller_reassignments());
            }
            Event::ListPartitionReassignments(_, reply) => {
                let _ = reply.send(not_controller_listing());
            }
            Event::ControlledShutdown(_, reply) => {
                let code = ErrorCode::StaleControllerEpoch.code();
                let _ = reply.send(ControlledShutdownResponse::default().with_error_code(code));
            }
            Event::AlterPartition(_, _, reply) => {
                let code = ErrorCode::NotController.code();
                let _ = reply.send(AlterPartitionResponse::default().with_error_code(code));
            }
            Event::AllocateProducerIds(_, reply) => {
                let code = ErrorCode::NotController.code();
                let _ = reply.send(AllocateProducerIdsResponse::default().with_error_code(code));
            }
            _ => {}
        }
    }
}

/// The answer of a broker that is not the controller.
pub fn not_controller_elections(partitions: Option<BTreeSet<TopicPartition>>) -> ElectionAnswer {
    let refused = ApiError { code: ErrorCode::NotController, message: None };
    partitions.unwrap_or_default().into_iter().map(|partition| (partition, Err(refused.clone()))).collect()
}

/// The answer of a broker that is not the controller.
pub fn not_controller_reassignments() -> AlterPartitionReassignmentsResponse {
    AlterPartitionReassignmentsResponse::default()
        .with_error_code(ErrorCode::NotController.code())
        .with_error_message(Some(ErrorCode::NotController.message().into()))
}

/// The answer of a broker that is not the controller.
pub fn not_controller_listing() -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
        .with_error_code(ErrorCode::NotController.code())
        .with_error_message(Some(ErrorCode::NotController.message().into()))
}

/// The queue of events. Cloning gives another handle to the same one.
#[derive(Clone, Default)]
pub struct EventQueue {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    events: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    closed: bool,
}

impl EventQueue {
    /// Adds an event at the end. After [`EventQueue::close`] it is preempted at once.
    pub fn put(&self, event: Event) {
        let refused = {
            let mut queue = self.inner.events.lock();
            if queue.closed {
                Some(event)
            } else {
                queue.events.push_back(event);
                None
            }
        };
        match refused {
            Some(event) => event.preempt(),
            None => self.inner.arrived.notify_one(),
        }
    }

    /// Drops what waits (each event is preempted) and puts `event` in its place. No effect after
    /// [`EventQueue::close`], so that the end of a session does not take the order to shut down away.
    pub fn clear_and_put(&self, event: Event) {
        self.replace(event, false);
    }

    /// As [`EventQueue::clear_and_put`] of [`Event::Shutdown`]; nothing is taken in any more.
    pub fn close(&self) {
        self.replace(Event::Shutdown, true);
    }

    fn replace(&self, event: Event, close: bool) {
        let dropped = {
            let mut queue = self.inner.events.lock();
            if queue.closed {
                return;
            }
            queue.closed = close;
            std::mem::replace(&mut queue.events, VecDeque::from([event]))
        };
        dropped.into_iter().for_each(Event::preempt);
        self.inner.arrived.notify_one();
    }

    /// The next event; waits for one.
    pub async fn take(&self) -> Event {
        loop {
            if let Some(event) = self.inner.events.lock().events.pop_front() {
                return event;
            }
            self.inner.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn preempted_requests_are_answered() {
        let queue = EventQueue::default();
        let (reply, answer) = oneshot::channel();
        queue.put(Event::ControlledShutdown(ControlledShutdownRequest::default(), reply));
        queue.put(Event::TopicChange);
        queue.clear_and_put(Event::Expire);
        assert_eq!(answer.await.unwrap().error_code, 11);
        assert!(matches!(queue.take().await, Event::Expire));
        queue.close();
        let (reply, answer) = oneshot::channel();
        queue.put(Event::AlterPartition(AlterPartitionRequest::default(), 3, reply));
        assert_eq!(answer.await.unwrap().error_code, 41);
        queue.clear_and_put(Event::Expire);
        assert!(matches!(queue.take().await, Event::Shutdown));
    }

    #[test]
    fn watches_become_events() {
        let event = |e: ZkEvent| format!("{:?}", Event::of_watch(&e));
        assert_eq!(event(ZkEvent::DataChanged("/brokers/ids/7".into())), "Some(BrokerModifications(7))");
        assert_eq!(event(ZkEvent::DataChanged("/brokers/topics/t".into())), "Some(PartitionModifications(\"t\"))");
        assert_eq!(event(ZkEvent::Deleted("/controller".into())), "Some(Reelect)");
        assert_eq!(event(ZkEvent::Created("/controller".into())), "Some(ControllerChange)");
        assert_eq!(event(ZkEvent::DataChanged("/config/topics/t".into())), "None");
    }
}
