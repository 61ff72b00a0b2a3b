//! What the tests of the controller share: brokers on an in-memory ZooKeeper, and a channel that keeps what is sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::batch::ControlRequest;
use super::channel::ControlChannel;
use super::context::{Broker, BrokerEndpoint};
use super::events::{Event, EventQueue};
use super::{Controller, ControllerConfig, ControllerDeps, ControllerHandle, ControllerHooks};
use crate::config::ProtocolVersion;
use crate::protocol::codec::StrBytes;
use crate::protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use crate::protocol::messages::leader_and_isr_response::{LeaderAndIsrPartitionError, LeaderAndIsrTopicError};
use crate::protocol::messages::stop_replica_response::StopReplicaPartitionError;
use crate::protocol::messages::{
    AlterPartitionRequest, AlterPartitionResponse, BrokerId, LeaderAndIsrResponse, StopReplicaResponse, TopicName,
};
use crate::topic::{TopicPartition, id_from_text};
use crate::zk::json::{Assignment, BrokerRegistration, Endpoint, TopicZnode};
use crate::zk::store::Store;
use crate::zk::twin::{Twin, TwinSession};
use crate::zk::{Zk, paths};

/// A broker with one listener, on port 9092 + id, whose epoch is 100 + id.
pub fn broker(id: i32) -> Broker {
    let endpoint = BrokerEndpoint {
        host: "localhost".to_owned(),
        port: 9092 + id,
        listener: "PLAINTEXT".to_owned(),
        security_protocol: 0,
    };
    Broker { id, endpoints: vec![endpoint], rack: None, epoch: 100 + i64::from(id) }
}

/// What a [`Sink`] has seen.
#[derive(Default)]
pub struct Sent {
    pub requests: Vec<(i32, ControlRequest)>,
    known: BTreeSet<i32>,
    answers: Option<EventQueue>,
}

/// A channel that delivers nothing: the test looks at what was sent, and answers by hand.
#[derive(Clone, Default)]
pub struct Sink(pub Arc<Mutex<Sent>>);

impl ControlChannel for Sink {
    fn add_broker(&mut self, broker: &Broker, answers: &EventQueue) {
        let mut sent = self.0.lock();
        sent.known.insert(broker.id);
        sent.answers = Some(answers.clone());
    }

    fn remove_broker(&mut self, id: i32) {
        self.0.lock().known.remove(&id);
    }

    fn send(&mut self, broker: i32, request: ControlRequest) {
        let mut sent = self.0.lock();
        assert!(sent.known.contains(&broker), "a request for broker {broker}, which has no channel");
        sent.requests.push((broker, request));
    }

    fn shutdown(&mut self) {
        self.0.lock().known.clear();
    }
}

fn list(ids: &[BrokerId]) -> String {
    super::assignment::join(ids.iter().map(|id| id.0))
}

/// One line for a request: what matters of it.
pub fn describe(to: i32, request: &ControlRequest) -> String {
    let mut out = Vec::new();
    match request {
        ControlRequest::LeaderAndIsr(request) => {
            out.push(format!("{to} LISR"));
            for topic in &request.topic_states {
                for p in &topic.partition_states {
                    let (name, number) = (topic.topic_name.as_str(), p.partition_index);
                    let mut text = format!(
                        "{name}-{number}[leader={} epoch={} isr={} version={} replicas={}",
                        p.leader.0,
                        p.leader_epoch,
                        list(&p.isr),
                        p.partition_epoch,
                        list(&p.replicas)
                    );
                    if !p.adding_replicas.is_empty() || !p.removing_replicas.is_empty() {
                        text += &format!("+{}-{}", list(&p.adding_replicas), list(&p.removing_replicas));
                    }
                    text += if p.is_new { " new]" } else { "]" };
                    out.push(text);
                }
            }
        }
        ControlRequest::UpdateMetadata(request) => {
            let brokers = super::assignment::join(request.live_brokers.iter().map(|broker| broker.id.0));
            out.push(format!("{to} UMR brokers={brokers}"));
            for topic in &request.topic_states {
                for p in &topic.partition_states {
                    out.push(format!(
                        "{}-{}[leader={} epoch={} isr={} version={} offline={}]",
                        topic.topic_name.as_str(),
                        p.partition_index,
                        p.leader.0,
                        p.leader_epoch,
                        list(&p.isr),
                        p.zk_version,
                        list(&p.offline_replicas)
                    ));
                }
            }
        }
        ControlRequest::StopReplica { request, .. } => {
            out.push(format!("{to} SR"));
            for topic in &request.topic_states {
                for p in &topic.partition_states {
                    let delete = if p.delete_partition { " delete" } else { "" };
                    let name = topic.topic_name.as_str();
                    out.push(format!("{name}-{}[epoch={}{delete}]", p.partition_index, p.leader_epoch));
                }
            }
        }
    }
    out.join(" ")
}

struct Hooks {
    id: i32,
    store: Arc<Store>,
}

fn registration(id: i32) -> BrokerRegistration {
    let endpoint = Endpoint {
        listener: "PLAINTEXT".to_owned(),
        host: "localhost".to_owned(),
        port: 9092 + id,
        security_protocol: "PLAINTEXT".to_owned(),
    };
    BrokerRegistration::new(vec![endpoint], None, 0)
}

impl ControllerHooks for Hooks {
    fn register_broker(&self) -> BoxFuture<'static, Result<i64, String>> {
        let (store, id) = (self.store.clone(), self.id);
        async move { store.register_broker(id, &registration(id), false).await.map_err(|e| e.to_string()) }.boxed()
    }

    fn unclean_leader_election_enable(&self) -> bool {
        false
    }

    fn now_ms(&self) -> i64 {
        1_700_000_000_000
    }
}

/// One broker: its session, its controller, and what that sent.
pub struct Member {
    pub id: i32,
    pub session: Arc<TwinSession>,
    pub store: Arc<Store>,
    pub controller: ControllerHandle,
    pub sink: Sink,
}

/// Waits until `condition` holds. Nothing in these tests takes time, so a failure shows after a moment.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2000 {
        for _ in 0..50 {
            if condition() {
                return;
            }
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never happened: {what}");
}

impl Member {
    /// Starts broker `id` on `twin`: registers it, and starts its controller.
    pub async fn start(twin: &Twin, id: i32) -> Member {
        Member::start_with(twin, id, |_| {}).await
    }

    pub async fn start_with(twin: &Twin, id: i32, change: impl FnOnce(&mut ControllerConfig)) -> Member {
        let session = twin.connect();
        let store = Arc::new(Store::new(session.clone()));
        store.ensure_top_level_paths().await.unwrap();
        let hooks = Arc::new(Hooks { id, store: store.clone() });
        let broker_epoch = hooks.register_broker().await.unwrap();
        let mut config = ControllerConfig {
            broker_id: id,
            inter_broker_listener: "PLAINTEXT".to_owned(),
            inter_broker_protocol: ProtocolVersion::parse("3.7-IV4").unwrap(),
            delete_topic_enable: true,
            auto_leader_rebalance: false,
            imbalance_check_interval: Duration::from_secs(300),
            imbalance_percentage: 10,
        };
        change(&mut config);
        let sink = Sink::default();
        let deps =
            ControllerDeps { config, store: store.clone(), broker_epoch, hooks, channel: Box::new(sink.clone()) };
        let controller = Controller::start(deps);
        eventually("an elected controller", || controller.active_controller_id() != -1).await;
        let member = Member { id, session, store, controller, sink };
        member.settle().await;
        member
    }

    /// Waits until the controller has dealt with everything that has happened so far. The events of watches are
    /// taken over by a task of their own, which gets to run first.
    pub async fn settle(&self) {
        for _ in 0..3 {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            self.controller.list_partition_reassignments(Default::default()).await;
        }
    }

    /// What was sent since the last call, one line per request.
    pub async fn sent(&self) -> Vec<String> {
        self.settle().await;
        let requests = std::mem::take(&mut self.sink.0.lock().requests);
        requests.iter().map(|(to, request)| describe(*to, request)).collect()
    }

    fn answers(&self) -> EventQueue {
        self.sink.0.lock().answers.clone().unwrap()
    }

    /// Every broker answers the StopReplica requests sent so far that delete: it has done so.
    pub async fn answer_deletions(&self) {
        self.settle().await;
        let requests = std::mem::take(&mut self.sink.0.lock().requests);
        for (to, request) in requests {
            let ControlRequest::StopReplica { deleting, .. } = request else { continue };
            if deleting.is_empty() {
                continue;
            }
            let errors = deleting.iter().map(|p| {
                let error = StopReplicaPartitionError::default().with_partition_index(p.partition);
                error.with_topic_name(TopicName(StrBytes::from_string(p.topic.to_string())))
            });
            let answer = StopReplicaResponse::default().with_partition_errors(errors.collect());
            self.answers().put(Event::StopReplicaResponse(to, answer, deleting));
        }
        self.settle().await;
    }

    /// `broker` answers StopReplica (that deletes) with this code for a partition.
    pub async fn answer_stop_replica(&self, broker: i32, topic: &str, partition: i32, code: i16) {
        let error = StopReplicaPartitionError::default()
            .with_topic_name(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partition_index(partition)
            .with_error_code(code);
        let answer = StopReplicaResponse::default().with_partition_errors(vec![error]);
        let deleting = BTreeSet::from([TopicPartition::new(topic, partition)]);
        self.answers().put(Event::StopReplicaResponse(broker, answer, deleting));
        self.settle().await;
    }

    /// The timer of the automatic rebalance fires.
    pub async fn rebalance(&self) {
        self.answers().put(Event::AutoPreferredReplicaLeaderElection);
        self.settle().await;
    }

    /// `broker` answers LeaderAndIsr with this code for a partition.
    pub async fn answer_leader_and_isr(&self, broker: i32, topic: &str, partition: i32, code: i16) {
        let topic_id = self.store.topic(topic, false).await.unwrap().unwrap().topic_id.unwrap();
        let error = LeaderAndIsrPartitionError::default().with_partition_index(partition).with_error_code(code);
        let topic = LeaderAndIsrTopicError::default().with_topic_id(topic_id).with_partition_errors(vec![error]);
        self.answers()
            .put(Event::LeaderAndIsrResponse(broker, LeaderAndIsrResponse::default().with_topics(vec![topic])));
        self.settle().await;
    }

    pub async fn create_topic(&self, topic: &str, assignment: &[&[i32]]) {
        let topic_id = id_from_text("cURbIGnKSw2dKzEkAHCzvA");
        let mut znode = TopicZnode { partitions: partitions(assignment), topic_id };
        if topic != "t1" {
            znode.topic_id = Some(crate::topic::random_id());
        }
        self.store.create_topic(topic, &Default::default(), &znode).await.unwrap();
        self.settle().await;
    }

    /// A leader changes the ISR of one partition, with the epochs of the state in ZooKeeper.
    pub async fn alter_isr(&self, partition: &TopicPartition, isr: &[i32]) -> AlterPartitionResponse {
        let found = self.store.partition_state(partition).await.unwrap().unwrap();
        let leader = found.state.leader;
        let data = PartitionData::default()
            .with_partition_index(partition.partition)
            .with_leader_epoch(found.state.leader_epoch)
            .with_new_isr_with_epochs(
                isr.iter().map(|id| BrokerState::default().with_broker_id(BrokerId(*id))).collect(),
            )
            .with_partition_epoch(found.version);
        self.alter_partition(leader, &partition.topic, data).await
    }

    pub async fn alter_partition(&self, leader: i32, topic: &str, data: PartitionData) -> AlterPartitionResponse {
        let topic_id = self.store.topic(topic, false).await.unwrap().unwrap().topic_id.unwrap();
        let request = AlterPartitionRequest::default()
            .with_broker_id(BrokerId(leader))
            .with_broker_epoch(self.store.broker(leader, false).await.unwrap().unwrap().epoch)
            .with_topics(vec![TopicData::default().with_topic_id(topic_id).with_partitions(vec![data])]);
        let response = self.controller.alter_partition(request, 3).await;
        self.settle().await;
        response
    }

    /// The broker's process ends, and its session with it.
    pub async fn die(&self, twin: &Twin) {
        let session = self.session.session_id();
        twin.kill(session);
        twin.expire_and_hold(session);
    }
}

pub fn partitions(assignment: &[&[i32]]) -> std::collections::BTreeMap<i32, Assignment> {
    (0..).zip(assignment).map(|(number, replicas)| (number, Assignment::new(replicas.to_vec()))).collect()
}

/// Data and version of a znode, as text.
pub fn znode(twin: &Twin, path: &str) -> Option<(String, i32)> {
    let dump = twin.dump();
    let (data, stat) = dump.get(path)?;
    Some((String::from_utf8(data.to_vec()).unwrap(), stat.version))
}

/// A partition's state znode: data and version.
pub fn state(twin: &Twin, topic: &str, partition: i32) -> (String, i32) {
    znode(twin, &paths::partition_state(topic, partition)).unwrap()
}

/// A state znode as Kafka writes it.
pub fn state_json(controller_epoch: i32, leader: i32, leader_epoch: i32, isr: &str) -> String {
    format!(
        r#"{{"controller_epoch":{controller_epoch},"leader":{leader},"version":1,"leader_epoch":{leader_epoch},"isr":[{isr}]}}"#
    )
}
