//! What had happened to a broker before a recording of it began, as far as the recording shows: which logs it had, which
//! partitions it led, what its followers' fetch sessions held.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::leader_and_isr_request::{LeaderAndIsrPartitionState, LeaderAndIsrTopicState};
use kafka_protocol::messages::update_metadata_request::{
    UpdateMetadataBroker, UpdateMetadataPartitionState, UpdateMetadataTopicState,
};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse, LeaderAndIsrRequest, RequestKind, ResponseKind, TopicName,
    UpdateMetadataRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::exchange::Exchange;

pub const FENCED_LEADER_EPOCH: i16 = 74;
pub const UNKNOWN_TOPIC_ID: i16 = 100;

/// Topic id and partition.
pub type Key = (Uuid, i32);

/// A partition where nothing happens, for sessions of which nothing is known.
pub const QUIET: Key = (Uuid::from_u128(0x5e6d_0002_4a4e_4e6f_9d1c_0a0b_0c0d_0e0f), 0);

/// What a whole recording says of topics and brokers.
pub struct Known {
    names: BTreeMap<Uuid, Arc<str>>,
    states: HashMap<Key, LeaderAndIsrPartitionState>,
    brokers: Vec<UpdateMetadataBroker>,
    controller_epoch: i32,
}

impl Known {
    pub fn of(recording: &[Exchange]) -> Known {
        let named = recording.iter().flat_map(Exchange::topic_ids);
        let mut known = Known {
            names: named.chain([(QUIET.0, Arc::from("quiet"))]).collect(),
            states: HashMap::new(),
            brokers: Vec::new(),
            controller_epoch: 0,
        };
        for exchange in recording {
            match &exchange.request {
                RequestKind::LeaderAndIsr(r) => {
                    known.controller_epoch = r.controller_epoch;
                    for (key, state) in states(r) {
                        known.states.entry(key).or_insert_with(|| state.clone());
                    }
                }
                RequestKind::UpdateMetadata(r) if r.live_brokers.len() > known.brokers.len() => {
                    known.brokers.clone_from(&r.live_brokers);
                }
                _ => {}
            }
        }
        known
    }

    pub fn controller_epoch(&self) -> i32 {
        self.controller_epoch
    }

    pub fn name(&self, key: &Key) -> &str {
        self.names.get(&key.0).expect("a topic the recording names")
    }

    /// An order that makes a broker the leader of these partitions, alone, in these epochs.
    pub fn lead(&self, me: i32, epochs: &BTreeMap<Key, i32>) -> LeaderAndIsrRequest {
        let topic = |(key, epoch): (&Key, &i32)| {
            let known = self.states.get(key);
            let state = LeaderAndIsrPartitionState::default()
                .with_partition_index(key.1)
                .with_controller_epoch(self.controller_epoch)
                .with_leader(BrokerId(me))
                .with_leader_epoch(*epoch)
                .with_isr(vec![BrokerId(me)])
                .with_replicas(known.map_or_else(|| (0..3).map(BrokerId).collect(), |s| s.replicas.clone()));
            LeaderAndIsrTopicState::default()
                .with_topic_name(topic_name(self.name(key)))
                .with_topic_id(key.0)
                .with_partition_states(vec![state])
        };
        LeaderAndIsrRequest::default()
            .with_controller_epoch(self.controller_epoch)
            .with_topic_states(epochs.iter().map(topic).collect())
    }

    /// News of all brokers and of these partitions.
    pub fn metadata<'a>(&self, me: i32, keys: impl Iterator<Item = &'a Key>) -> UpdateMetadataRequest {
        let topic = |key: &Key| {
            let state = UpdateMetadataPartitionState::default()
                .with_partition_index(key.1)
                .with_controller_epoch(self.controller_epoch)
                .with_leader(BrokerId(me))
                .with_isr(vec![BrokerId(me)])
                .with_replicas(vec![BrokerId(me)]);
            UpdateMetadataTopicState::default()
                .with_topic_name(topic_name(self.name(key)))
                .with_topic_id(key.0)
                .with_partition_states(vec![state])
        };
        UpdateMetadataRequest::default()
            .with_controller_epoch(self.controller_epoch)
            .with_live_brokers(self.brokers.clone())
            .with_topic_states(keys.map(topic).collect())
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub fn states(order: &LeaderAndIsrRequest) -> impl Iterator<Item = (Key, &LeaderAndIsrPartitionState)> {
    order.topic_states.iter().flat_map(|t| t.partition_states.iter().map(|p| ((t.topic_id, p.partition_index), p)))
}

/// What has to be made so before a part of a recording is played.
#[derive(Default)]
pub struct Past {
    /// Records of each log, and their leader epoch.
    pub logs: BTreeMap<Key, (i64, i32)>,
    /// Epochs in which the broker led.
    pub led: BTreeMap<Key, i32>,
    /// What the session of each follower held from before.
    pub sessions: BTreeMap<String, BTreeSet<Key>>,
    positioned: BTreeSet<Key>,
    ordered: BTreeSet<Key>,
}

impl Past {
    pub fn of(part: &[Exchange]) -> Past {
        let mut past = Past { led: BTreeMap::from([(QUIET, 0)]), ..Past::default() };
        let mut asked: BTreeMap<&str, BTreeSet<Key>> = BTreeMap::new();
        for exchange in part {
            match (&exchange.request, &exchange.answer) {
                (RequestKind::LeaderAndIsr(r), _) => past.ordered.extend(states(r).map(|(key, _)| key)),
                (RequestKind::Fetch(r), ResponseKind::Fetch(a)) => {
                    let asked = asked.entry(&exchange.client_id).or_default();
                    past.take_in_request(r, a, asked);
                    past.take_in_answer(&exchange.client_id, a, asked);
                }
                _ => {}
            }
        }
        past
    }

    fn take_in_request(&mut self, request: &FetchRequest, answer: &FetchResponse, asked: &mut BTreeSet<Key>) {
        for (topic, partition) in request.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (t, p))) {
            let key = (topic.topic_id, partition.partition);
            asked.insert(key);
            let is_unknown = answered(answer).any(|(k, p)| k == key && p.error_code == UNKNOWN_TOPIC_ID);
            if is_unknown || !self.positioned.insert(key) {
                continue;
            }
            if partition.fetch_offset > 0 {
                self.logs.insert(key, (partition.fetch_offset, partition.last_fetched_epoch));
            }
            if !self.ordered.contains(&key) {
                self.led.entry(key).or_insert(partition.current_leader_epoch);
            }
        }
    }

    fn take_in_answer(&mut self, client: &str, answer: &FetchResponse, asked: &BTreeSet<Key>) {
        for (key, partition) in answered(answer) {
            if partition.diverging_epoch.epoch >= 0 {
                // The log agrees with the follower's up to here, and has nothing of a later epoch.
                self.logs.insert(key, (partition.diverging_epoch.end_offset, partition.diverging_epoch.epoch));
            }
            if partition.error_code == FENCED_LEADER_EPOCH && !self.positioned.contains(&key) {
                self.led.insert(key, partition.current_leader.leader_epoch - 1);
            }
            if !asked.contains(&key) {
                self.sessions.entry(client.to_owned()).or_default().insert(key);
            }
        }
    }
}

pub fn answered(answer: &FetchResponse) -> impl Iterator<Item = (Key, &PartitionData)> {
    answer.responses.iter().flat_map(|t| t.partitions.iter().map(|p| ((t.topic_id, p.partition_index), p)))
}

/// What was said to one broker, run by run: a new broker epoch is a new run. A fetch that found its topic unknown goes
/// before the order that made it known, as it must have come before it took effect. What the broker asked for is there too.
pub fn runs(recording: &[Exchange], broker: i32) -> Vec<Vec<Exchange>> {
    let mut runs: Vec<Vec<Exchange>> = vec![Vec::new()];
    let mut epoch = None;
    let asks = |e: &&Exchange| matches!(e.request, RequestKind::AlterPartition(_)) && e.client_id == broker.to_string();
    for exchange in recording.iter().filter(|e| e.to == broker && is_order_or_fetch(e) || asks(e)) {
        if exchange.broker_epoch().is_some() && epoch.is_some() && epoch != exchange.broker_epoch() {
            runs.push(Vec::new());
        }
        epoch = exchange.broker_epoch().or(epoch);
        let Some(run) = runs.last_mut() else { continue };
        let unknown = unknown_topics(exchange);
        let at = run.iter().position(|earlier| unknown.iter().any(|id| earlier.topic_ids().contains_key(id)));
        run.insert(at.unwrap_or(run.len()), exchange.clone());
    }
    runs
}

fn is_order_or_fetch(exchange: &Exchange) -> bool {
    matches!(
        exchange.request,
        RequestKind::LeaderAndIsr(_)
            | RequestKind::UpdateMetadata(_)
            | RequestKind::StopReplica(_)
            | RequestKind::Fetch(_)
    )
}

fn unknown_topics(exchange: &Exchange) -> Vec<Uuid> {
    let ResponseKind::Fetch(answer) = &exchange.answer else { return Vec::new() };
    answered(answer).filter(|(_, p)| p.error_code == UNKNOWN_TOPIC_ID).map(|(key, _)| key.0).collect()
}
