//! What this broker knows of the cluster: which brokers live, which topics exist, who leads what.
//!
//! Owns one immutable [`ClusterImage`], swapped whole when the controller's UpdateMetadata arrives; readers
//! take no lock and never see half an update. Nothing here is read from ZooKeeper: a broker that just started
//! has an empty image until the controller speaks to it.
//! Answers to Kafka's `ZkMetadataCache`. One mutex orders writers; it is never held across an await.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::protocol::messages::UpdateMetadataRequest;
use crate::protocol::messages::update_metadata_request::UpdateMetadataPartitionState;
use crate::topic::{TopicPartition, is_internal};

/// Leader value by which the controller says that a partition is being deleted.
pub const LEADER_DURING_DELETE: i32 = -2;

/// Where one listener of a broker is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub listener: Arc<str>,
    pub host: Arc<str>,
    pub port: i32,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveBroker {
    pub id: i32,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<Arc<str>>,
}

impl LiveBroker {
    /// The endpoint of the named listener, if the broker has one.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|e| &*e.listener == listener)
    }
}

/// The state of one partition as the controller announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionImage {
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    pub replicas: Vec<i32>,
    pub offline_replicas: Vec<i32>,
    pub partition_epoch: i32,
    pub controller_epoch: i32,
}

/// A topic and its partitions by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    pub name: Arc<str>,
    /// Nil when the topic has no id (inter.broker.protocol.version before 2.8).
    pub id: Uuid,
    pub partitions: BTreeMap<i32, PartitionImage>,
}

/// One consistent view of the cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterImage {
    pub controller_id: Option<i32>,
    pub brokers: BTreeMap<i32, LiveBroker>,
    topics: HashMap<Arc<str>, Arc<TopicImage>>,
    names_by_id: HashMap<Uuid, Arc<str>>,
}

impl ClusterImage {
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.names_by_id.get(&id).and_then(|name| self.topics.get(name))
    }

    /// The id of a topic; nil if the topic is unknown or has none.
    pub fn topic_id(&self, name: &str) -> Uuid {
        self.topics.get(name).map_or(Uuid::nil(), |topic| topic.id)
    }

    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionImage> {
        self.topics.get(topic)?.partitions.get(&partition)
    }

    pub fn contains(&self, tp: &TopicPartition) -> bool {
        self.partition(&tp.topic, tp.partition).is_some()
    }

    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    pub fn is_alive(&self, broker: i32) -> bool {
        self.brokers.contains_key(&broker)
    }

    /// The endpoint of a live broker for a listener.
    pub fn endpoint(&self, broker: i32, listener: &str) -> Option<&Endpoint> {
        self.brokers.get(&broker)?.endpoint(listener)
    }

    /// True when every partition of the topic has a leader and there are at least `partitions` of them.
    pub fn all_led(&self, topic: &str, partitions: usize) -> bool {
        self.topic(topic)
            .is_some_and(|t| t.partitions.len() >= partitions && t.partitions.values().all(|p| p.leader >= 0))
    }
}

/// What an UpdateMetadata changed, for those who act on it.
#[derive(Debug, Default)]
pub struct UpdateOutcome {
    /// Partitions that the controller declared deleted and that were known before.
    pub deleted: Vec<TopicPartition>,
}

/// The cell that holds the current image and tells waiters of each swap.
///
/// A controller may tell a broker that has just started of some partitions before it tells it of all: one that takes
/// office names only the brokers at first, and one that sees a broker come back at once moves its leaderships away
/// first. Clients that are shown less than there is give up what they have in hand, so the cache knows what to expect.
pub struct MetadataCache {
    image: ArcSwap<ClusterImage>,
    /// Orders writers; the topics, with how many partitions they have, that the image still lacks.
    lacking: Mutex<HashMap<Arc<str>, usize>>,
    whole: AtomicBool,
    swaps: watch::Sender<u64>,
}

impl Default for MetadataCache {
    fn default() -> Self {
        Self::new()
    }
}

impl MetadataCache {
    pub fn new() -> MetadataCache {
        MetadataCache {
            image: ArcSwap::from_pointee(ClusterImage::default()),
            lacking: Mutex::new(HashMap::new()),
            whole: AtomicBool::new(true),
            swaps: watch::Sender::new(0),
        }
    }

    /// Topics that are there, by ZooKeeper, with how many partitions they have. The image is not whole until the
    /// controller has told of all of them.
    pub fn expect(&self, topics: impl IntoIterator<Item = (Arc<str>, usize)>) {
        let mut lacking = self.lacking.lock();
        lacking.extend(topics);
        self.whole.store(false, Ordering::Release);
        self.note_what_came(&mut lacking);
    }

    /// Whether the controller has told of everything that was to be expected.
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire) && !self.image.load().brokers.is_empty()
    }

    /// Takes what is known for all there is.
    pub fn expect_no_more(&self) {
        self.lacking.lock().clear();
        self.whole.store(true, Ordering::Release);
    }

    fn note_what_came(&self, lacking: &mut HashMap<Arc<str>, usize>) {
        let image = self.image.load();
        lacking.retain(|name, count| image.topic(name).is_none_or(|topic| topic.partitions.len() < *count));
        if lacking.is_empty() {
            self.whole.store(true, Ordering::Release);
        }
    }

    /// The current image. Hold the guard only briefly; `Arc`s taken from it may be kept.
    pub fn image(&self) -> arc_swap::Guard<Arc<ClusterImage>> {
        self.image.load()
    }

    /// The current image, for keeping across awaits.
    pub fn snapshot(&self) -> Arc<ClusterImage> {
        self.image.load_full()
    }

    /// Resolves when `reached` holds for an image, or with `false` at the deadline.
    pub async fn wait_until(&self, deadline: tokio::time::Instant, reached: impl Fn(&ClusterImage) -> bool) -> bool {
        let mut swaps = self.swaps.subscribe();
        loop {
            swaps.borrow_and_update();
            if reached(&self.image.load()) {
                return true;
            }
            match tokio::time::timeout_at(deadline, swaps.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return reached(&self.image.load()),
            }
        }
    }

    /// Applies an UpdateMetadata (all versions): brokers are replaced, named partitions are put or removed,
    /// everything else stays (spec 5.1).
    pub fn apply(&self, request: &UpdateMetadataRequest) -> UpdateOutcome {
        let mut lacking = self.lacking.lock();
        let mut next = ClusterImage::clone(&self.image.load());
        let mut outcome = UpdateOutcome::default();
        next.controller_id = (*request.controller_id >= 0).then_some(*request.controller_id);
        next.brokers = request.live_brokers.iter().map(|b| (*b.id, live_broker(b))).collect();
        let mut edited: HashMap<Arc<str>, TopicImage> = HashMap::new();
        for topic in &request.topic_states {
            for state in &topic.partition_states {
                edit(&next, &mut edited, &mut outcome, &topic.topic_name, Some(topic.topic_id), state);
            }
        }
        for state in &request.ungrouped_partition_states {
            edit(&next, &mut edited, &mut outcome, &state.topic_name, None, state);
        }
        for (name, topic) in edited {
            // One that is told of without partitions is being deleted: there is nothing more to come.
            if topic.partitions.is_empty() {
                lacking.remove(&name);
            }
            next.put(name, topic);
        }
        self.image.store(Arc::new(next));
        if !self.whole.load(Ordering::Acquire) {
            self.note_what_came(&mut lacking);
        }
        self.swaps.send_modify(|n| *n += 1);
        outcome
    }
}

impl ClusterImage {
    fn put(&mut self, name: Arc<str>, topic: TopicImage) {
        if let Some(old) = self.topics.get(&name)
            && !old.id.is_nil()
        {
            self.names_by_id.remove(&old.id);
        }
        if topic.partitions.is_empty() {
            self.topics.remove(&name);
            return;
        }
        if !topic.id.is_nil() {
            self.names_by_id.insert(topic.id, name.clone());
        }
        self.topics.insert(name, Arc::new(topic));
    }
}

fn edit(
    image: &ClusterImage,
    edited: &mut HashMap<Arc<str>, TopicImage>,
    outcome: &mut UpdateOutcome,
    name: &str,
    id: Option<Uuid>,
    state: &UpdateMetadataPartitionState,
) {
    if !edited.contains_key(name) {
        let known = image.topic(name);
        let fresh = match known {
            Some(topic) => TopicImage::clone(topic),
            None => TopicImage { name: Arc::from(name), id: Uuid::nil(), partitions: BTreeMap::new() },
        };
        edited.insert(fresh.name.clone(), fresh);
    }
    let Some(topic) = edited.get_mut(name) else { return };
    topic.id = id.unwrap_or(Uuid::nil());
    if *state.leader == LEADER_DURING_DELETE {
        if topic.partitions.remove(&state.partition_index).is_some() {
            outcome.deleted.push(TopicPartition::new(topic.name.clone(), state.partition_index));
        }
    } else {
        topic.partitions.insert(state.partition_index, partition_image(state));
    }
}

fn partition_image(state: &UpdateMetadataPartitionState) -> PartitionImage {
    let ids = |list: &[crate::protocol::messages::BrokerId]| list.iter().map(|id| **id).collect();
    PartitionImage {
        leader: *state.leader,
        leader_epoch: state.leader_epoch,
        isr: ids(&state.isr),
        replicas: ids(&state.replicas),
        offline_replicas: ids(&state.offline_replicas),
        partition_epoch: state.zk_version,
        controller_epoch: state.controller_epoch,
    }
}

fn live_broker(broker: &crate::protocol::messages::update_metadata_request::UpdateMetadataBroker) -> LiveBroker {
    let mut endpoints: Vec<Endpoint> = broker
        .endpoints
        .iter()
        .map(|e| Endpoint {
            // Before version 3 the listener is named by its security protocol.
            listener: if e.listener.is_empty() {
                Arc::from(security_protocol_name(e.security_protocol))
            } else {
                Arc::from(&*e.listener)
            },
            host: Arc::from(&*e.host),
            port: e.port,
            security_protocol: e.security_protocol,
        })
        .collect();
    if endpoints.is_empty() && !broker.v0_host.is_empty() {
        let host = Arc::from(&*broker.v0_host);
        endpoints.push(Endpoint { listener: Arc::from("PLAINTEXT"), host, port: broker.v0_port, security_protocol: 0 });
    }
    LiveBroker { id: *broker.id, endpoints, rack: broker.rack.as_ref().map(|r| Arc::from(&**r)) }
}

/// The name of a security protocol id; ids Kafka does not know count as PLAINTEXT.
pub fn security_protocol_name(id: i16) -> &'static str {
    match id {
        1 => "SSL",
        2 => "SASL_PLAINTEXT",
        3 => "SASL_SSL",
        _ => "PLAINTEXT",
    }
}

/// Topic names of `image` that a client may list: all of them, or without the internal ones.
pub fn topic_names(image: &ClusterImage, internal: bool) -> HashSet<Arc<str>> {
    image.topics().filter(|t| internal || !is_internal(&t.name)).map(|t| t.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::update_metadata_request::{UpdateMetadataBroker, UpdateMetadataTopicState};
    use crate::protocol::messages::{BrokerId, TopicName};

    fn update(topic: &'static str, id: Uuid, partitions: &[(i32, i32)]) -> UpdateMetadataRequest {
        let states = partitions
            .iter()
            .map(|(index, leader)| {
                UpdateMetadataPartitionState::default().with_partition_index(*index).with_leader(BrokerId(*leader))
            })
            .collect();
        UpdateMetadataRequest::default().with_controller_id(BrokerId(1)).with_topic_states(vec![
            UpdateMetadataTopicState::default()
                .with_topic_name(TopicName(topic.into()))
                .with_topic_id(id)
                .with_partition_states(states),
        ])
    }

    #[test]
    fn partitions_not_named_stay_and_deleted_ones_go() {
        let cache = MetadataCache::new();
        let id = Uuid::from_u128(7);
        cache.apply(&update("t", id, &[(0, 1), (1, 1)]));
        cache.apply(&update("t", id, &[(1, 2)]));
        assert_eq!(cache.image().partition("t", 0).unwrap().leader, 1);
        assert_eq!(cache.image().partition("t", 1).unwrap().leader, 2);
        let gone = cache.apply(&update("t", id, &[(0, LEADER_DURING_DELETE)]));
        assert_eq!(gone.deleted, vec![TopicPartition::new("t", 0)]);
        assert!(cache.image().topic_by_id(id).is_some());
        cache.apply(&update("t", id, &[(1, LEADER_DURING_DELETE)]));
        assert!(cache.image().topic("t").is_none() && cache.image().topic_by_id(id).is_none());
    }

    #[test]
    fn a_topic_made_again_has_its_new_id_only() {
        let cache = MetadataCache::new();
        cache.apply(&update("t", Uuid::from_u128(1), &[(0, 1)]));
        cache.apply(&update("t", Uuid::from_u128(2), &[(0, 1)]));
        assert!(cache.image().topic_by_id(Uuid::from_u128(1)).is_none());
        assert_eq!(cache.image().topic_id("t"), Uuid::from_u128(2));
    }
    #[test]
    fn the_image_is_whole_when_everything_expected_was_told() {
        let brokers = |request: UpdateMetadataRequest| {
            let broker = UpdateMetadataBroker::default().with_id(BrokerId(1));
            request.with_live_brokers(vec![broker])
        };
        let cache = MetadataCache::new();
        assert!(!cache.is_whole(), "nobody is there");
        cache.expect([(Arc::from("t"), 2), (Arc::from("u"), 1)]);
        // What controllers tell first: the brokers alone, and leaders that move because we were away.
        cache.apply(&brokers(UpdateMetadataRequest::default()));
        cache.apply(&brokers(update("t", Uuid::from_u128(1), &[(1, 1)])));
        cache.apply(&brokers(update("u", Uuid::from_u128(2), &[(0, 1)])));
        assert!(!cache.is_whole(), "one partition of t is not known");
        cache.apply(&brokers(update("t", Uuid::from_u128(1), &[(0, 1)])));
        assert!(cache.is_whole());
        // It stays so when topics go.
        cache.apply(&brokers(update("u", Uuid::from_u128(2), &[(0, LEADER_DURING_DELETE)])));
        assert!(cache.is_whole());

        let empty = MetadataCache::new();
        empty.expect([]);
        empty.apply(&brokers(UpdateMetadataRequest::default()));
        assert!(empty.is_whole(), "there is nothing to be told");

        let going = MetadataCache::new();
        going.expect([(Arc::from("t"), 2)]);
        let deleted = [(0, LEADER_DURING_DELETE), (1, LEADER_DURING_DELETE)];
        going.apply(&brokers(update("t", Uuid::from_u128(1), &deleted)));
        assert!(going.is_whole(), "its deletion began when we had read that it is there");

        let given_up = MetadataCache::new();
        given_up.expect([(Arc::from("being deleted"), 1)]);
        given_up.apply(&brokers(UpdateMetadataRequest::default()));
        given_up.expect_no_more();
        assert!(given_up.is_whole());
    }
}
