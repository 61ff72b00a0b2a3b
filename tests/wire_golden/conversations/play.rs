//! Plays a recorded run of a broker: orders one after the other, fetches as they came, so that some wait while orders go on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::{EpochEndOffset, PartitionData};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AlterPartitionRequest, ApiKey, BrokerId, FetchRequest, FetchResponse, LeaderAndIsrRequest, ProduceRequest,
    RequestHeader, RequestKind, ResponseKind, UpdateMetadataRequest,
};
use ottla::record::Codec;

use uuid::Uuid;

use super::super::Score;
use super::super::common::Wire;
use super::super::common::admin::{LATEST, NO_ERROR, batch, now_ms, topic_name};
use super::super::difference;
use super::exchange::{Exchange, decode_answer, framed};
use super::past::{FENCED_LEADER_EPOCH, Key, Known, Past, QUIET, answered, states};
use super::stage::Stage;

const LEADER_AND_ISR: i16 = 7;
const UPDATE_METADATA: i16 = 8;
const FETCH: i16 = 16;
/// A fetch whose answer an order brings waits until that is given, however slow the machine.
const LONG_WAIT_MS: i32 = 2_000;
/// One that was answered with nothing need not take its whole time.
const SHORT_WAIT_MS: i32 = 10;

/// One follower's conversation.
struct Stream {
    wire: Wire,
    recorded_id: i32,
    present_id: i32,
    recorded_epoch: i32,
    present_epoch: i32,
    /// Sent; the answer has not been taken in.
    pending: Option<Exchange>,
    /// Where the follower was told to cut its logs.
    cuts: BTreeMap<Key, EpochEndOffset>,
    /// What it was told not to follow here any more, until the controller says more.
    lost: BTreeSet<Key>,
}

impl Stream {
    /// The session's next fetch, which changes nothing: errors are told again as long as they last.
    fn ask_again(&mut self, exchange: &Exchange) -> ResponseKind {
        let RequestKind::Fetch(earlier) = &exchange.request else { unreachable!("only fetches have sessions") };
        let mut request = earlier.clone();
        request.topics.clear();
        request.forgotten_topics_data.clear();
        (request.session_id, request.session_epoch) = (self.present_id, self.present_epoch);
        self.present_epoch += 1;
        self.wire.send_raw(&framed(&exchange.header, &RequestKind::Fetch(request))).expect("a fetch goes out");
        let frame = self.wire.receive().expect("an answer").expect("an open connection");
        decode_answer(exchange.api(), exchange.version(), frame)
    }
}

pub struct Player<'a> {
    stage: &'a Stage,
    known: &'a Known,
    past: Past,
    broker_epoch: i64,
    orders: Wire,
    streams: HashMap<String, Stream>,
    ends: BTreeMap<Key, i64>,
    /// Topics of which the recording has news; it has not all.
    announced: BTreeSet<Uuid>,
    /// Whose in-sync set the recorded broker had made smaller; ours has not been asked to.
    shrunk: BTreeSet<Key>,
    pub score: Score,
}

impl<'a> Player<'a> {
    /// Brings a broker that has just started to where it was when the run's recording began.
    pub fn set_up(stage: &'a Stage, known: &'a Known, run: &[Exchange]) -> Player<'a> {
        let past = Past::of(run);
        let mut player = Player {
            stage,
            known,
            broker_epoch: stage.broker_epoch(),
            orders: stage.broker.wire(),
            streams: HashMap::new(),
            ends: BTreeMap::new(),
            announced: run.iter().filter(|e| e.api() == ApiKey::UpdateMetadata).flat_map(topics).collect(),
            shrunk: BTreeSet::new(),
            score: Score::default(),
            past,
        };
        player.recall();
        player
    }

    fn recall(&mut self) {
        let me = self.stage.id;
        let keys: BTreeSet<Key> = self.past.logs.keys().chain(self.past.led.keys()).copied().collect();
        self.announce(self.known.metadata(me, keys.iter()));
        let written: BTreeMap<Key, i32> =
            self.past.logs.iter().map(|(key, (_, epoch))| (*key, (*epoch).max(0))).collect();
        self.make_leader(&written);
        let logs: Vec<(Key, i64)> = self.past.logs.iter().map(|(key, (end, _))| (*key, *end)).collect();
        for (key, end) in logs {
            self.fill(key, end);
        }
        let led = self.past.led.iter().filter(|(key, epoch)| written.get(*key) != Some(*epoch));
        let led = led.map(|(key, epoch)| (*key, *epoch)).collect();
        self.make_leader(&led);
    }

    fn announce(&mut self, mut news: UpdateMetadataRequest) {
        self.stage.move_brokers(&mut news.live_brokers);
        let answer = self.orders.call(UPDATE_METADATA, &news.with_broker_epoch(self.broker_epoch));
        assert_eq!(answer.error_code, NO_ERROR);
    }

    fn make_leader(&mut self, epochs: &BTreeMap<Key, i32>) {
        if epochs.is_empty() {
            return;
        }
        let order: LeaderAndIsrRequest = self.known.lead(self.stage.id, epochs);
        let answer = self.orders.call(LEADER_AND_ISR, &order.with_broker_epoch(self.broker_epoch));
        let errors = answer.topics.iter().flat_map(|t| &t.partition_errors).filter(|p| p.error_code != NO_ERROR);
        assert_eq!((answer.error_code, errors.count()), (NO_ERROR, 0), "{answer:?}");
    }

    /// Some records up to this offset.
    fn fill(&mut self, key: Key, end: i64) {
        let start = self.end(key);
        let missing = usize::try_from(end - start).expect("a log that is not longer already");
        if missing > 0 {
            self.append(key, batch(&vec!["x"; missing], now_ms(), Codec::None));
        }
        self.ends.insert(key, end);
    }

    fn end(&mut self, key: Key) -> i64 {
        let name = self.known.name(&key).to_owned();
        let known = self.ends.get(&key).copied();
        known.unwrap_or_else(|| self.stage.broker.wire().offset(&name, key.1, LATEST))
    }

    fn append(&mut self, key: Key, records: Bytes) {
        // A producer does not know the offset.
        let records: Bytes = [&[0; 8], &records[8..]].concat().into();
        let data = PartitionProduceData::default().with_index(key.1).with_records(Some(records));
        let topic =
            TopicProduceData::default().with_name(topic_name(self.known.name(&key))).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
        let answer = self.orders.call(9, &request).responses.remove(0).partition_responses.remove(0);
        assert_eq!(answer.error_code, NO_ERROR, "{}: {answer:?}", self.known.name(&key));
    }

    /// All of the run, in its order.
    pub fn play(mut self, run: &[Exchange]) -> Score {
        for exchange in run {
            match &exchange.request {
                RequestKind::Fetch(_) => self.fetch(exchange),
                RequestKind::AlterPartition(change) => self.shrunk.extend(shrunk(change)),
                _ => self.order(exchange),
            }
        }
        let clients: Vec<String> = self.streams.keys().cloned().collect();
        clients.iter().for_each(|client| self.settle(client));
        self.score
    }

    fn order(&mut self, exchange: &Exchange) {
        self.settle_early(|fetch| !notices(fetch, exchange));
        let mut request = exchange.request.clone();
        self.stage.address(&mut request, self.broker_epoch);
        self.orders.send_raw(&framed(&exchange.header, &request)).expect("an order goes out");
        let frame = self.orders.receive().expect("an answer").expect("an open connection");
        let present = decode_answer(exchange.api(), exchange.version(), frame);
        self.compare(exchange, exchange.answer.clone(), present);
        if let RequestKind::LeaderAndIsr(order) = &exchange.request {
            let keys = states(order).map(|(key, _)| key).filter(|key| !self.announced.contains(&key.0));
            let keys: BTreeSet<Key> = keys.collect();
            if !keys.is_empty() {
                self.announce(self.known.metadata(self.stage.id, keys.iter()));
            }
        }
    }

    fn fetch(&mut self, exchange: &Exchange) {
        let (RequestKind::Fetch(recorded), ResponseKind::Fetch(answer)) = (&exchange.request, &exchange.answer) else {
            return;
        };
        let client = &exchange.client_id;
        self.settle(client);
        let is_other = self.streams.get(client).is_none_or(|stream| stream.recorded_id != recorded.session_id);
        if is_other {
            self.open(client, recorded);
        }
        self.bring_records(answer);
        let Some(stream) = self.streams.get_mut(client) else { return };
        let mut request = recorded.clone();
        request.max_wait_ms = match () {
            () if answer.responses.is_empty() => SHORT_WAIT_MS,
            () if is_fenced(exchange) => LONG_WAIT_MS,
            () => recorded.max_wait_ms,
        };
        for topic in &recorded.topics {
            stream.lost.retain(|key| key.0 != topic.topic_id || topic.partitions.iter().all(|p| p.partition != key.1));
        }
        for topic in &recorded.forgotten_topics_data {
            stream.lost.retain(|key| key.0 != topic.topic_id || !topic.partitions.contains(&key.1));
        }
        if recorded.session_epoch > 0 {
            if recorded.session_epoch != stream.recorded_epoch + 1 {
                // The follower has done meanwhile what it was told.
                request.topics.extend(std::mem::take(&mut stream.cuts).into_iter().map(after_cut));
                request.forgotten_topics_data.extend(std::mem::take(&mut stream.lost).into_iter().map(forgotten));
            }
            request.session_id = stream.present_id;
            request.session_epoch = stream.present_epoch;
            stream.present_epoch += 1;
        }
        stream.recorded_epoch = recorded.session_epoch;
        let frame = framed(&exchange.header, &RequestKind::Fetch(request));
        stream.wire.send_raw(&frame).expect("a fetch goes out");
        stream.pending = Some(exchange.clone());
    }

    /// A connection for a follower; with the session it had already, if it had one.
    fn open(&mut self, client: &str, recorded: &FetchRequest) {
        let mut stream = Stream {
            wire: self.stage.broker.wire(),
            recorded_id: recorded.session_id,
            present_id: 0,
            recorded_epoch: recorded.session_epoch - 1,
            present_epoch: 1,
            pending: None,
            cuts: BTreeMap::new(),
            lost: BTreeSet::new(),
        };
        if recorded.session_epoch > 0 {
            let request = self.opening(client, recorded);
            stream.wire.send_raw(&framed(&header(), &RequestKind::Fetch(request))).expect("a fetch goes out");
            let frame = stream.wire.receive().expect("an answer").expect("an open connection");
            let ResponseKind::Fetch(answer) = decode_answer(ApiKey::Fetch, FETCH, frame) else { return };
            assert_ne!(answer.session_id, 0, "a session for {client}");
            stream.present_id = answer.session_id;
        }
        self.streams.insert(client.to_owned(), stream);
    }

    /// The first request of a session that was under way when the recording began.
    fn opening(&mut self, client: &str, recorded: &FetchRequest) -> FetchRequest {
        let held = self.past.sessions.get(client).cloned().unwrap_or_default();
        let topics = held.into_iter().chain([QUIET]).map(|key| {
            let epoch = self.past.led.get(&key).copied().unwrap_or(-1);
            let end = self.past.logs.get(&key).map_or(0, |(end, _)| *end);
            let partition = position(key.1, epoch, end, -1);
            FetchTopic::default().with_topic_id(key.0).with_partitions(vec![partition])
        });
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_replica_state(recorded.replica_state.clone())
            .with_min_bytes(1)
            .with_max_bytes(recorded.max_bytes)
            .with_session_epoch(0)
            .with_topics(topics.collect())
    }

    /// Appends what the answer holds, unless it is there already. Fetches that wait and were answered without it get their
    /// answers first.
    fn bring_records(&mut self, answer: &FetchResponse) {
        for (key, partition) in answered(answer) {
            for (base, next, bytes) in batches(partition.records.clone().unwrap_or_default()) {
                if self.end(key) <= base {
                    self.settle_early(|fetch| !is_fenced(fetch) && !tells_of(fetch, key));
                    self.append(key, bytes);
                    self.ends.insert(key, next);
                }
            }
        }
    }

    /// Takes in the answers to such fetches now.
    fn settle_early(&mut self, is_early: impl Fn(&Exchange) -> bool) {
        let early = self.streams.iter().filter(|(_, stream)| stream.pending.as_ref().is_some_and(&is_early));
        let early: Vec<String> = early.map(|(client, _)| client.clone()).collect();
        early.iter().for_each(|client| self.settle(client));
    }

    /// Takes in the answer to the follower's last fetch.
    fn settle(&mut self, client: &str) {
        let Some(stream) = self.streams.get_mut(client) else { return };
        let Some(exchange) = stream.pending.take() else { return };
        let frame = stream.wire.receive().expect("an answer").expect("an open connection");
        let mut present = decode_answer(exchange.api(), exchange.version(), frame);
        if tells_less(&exchange, &present) {
            present = stream.ask_again(&exchange);
        }
        let mut recorded = exchange.answer.clone();
        if let (ResponseKind::Fetch(r), ResponseKind::Fetch(p)) = (&mut recorded, &mut present) {
            if stream.present_id == 0 && r.session_id != 0 {
                (stream.recorded_id, stream.present_id) = (r.session_id, p.session_id);
            }
            if p.session_id == stream.present_id && p.session_id != 0 {
                p.session_id = stream.recorded_id;
            }
            self.stage.move_endpoints(r);
            let marks: BTreeMap<Key, i64> =
                answered(p).map(|(key, partition)| (key, partition.high_watermark)).collect();
            for (id, partition) in r.responses.iter_mut().flat_map(|t| t.partitions.iter_mut().map(|p| (t.topic_id, p)))
            {
                let key = (id, partition.partition_index);
                let mark =
                    marks.get(&key).filter(|mark| **mark < partition.high_watermark && self.shrunk.contains(&key));
                if let Some(mark) = mark {
                    // Here it waits for those who had left there.
                    (partition.high_watermark, partition.last_stable_offset) = (*mark, *mark);
                }
            }
            for (key, partition) in answered(r) {
                if partition.diverging_epoch.epoch >= 0 {
                    stream.cuts.insert(key, partition.diverging_epoch.clone());
                }
                if partition.error_code == FENCED_LEADER_EPOCH {
                    stream.lost.insert(key);
                }
            }
        }
        self.compare(&exchange, recorded, present);
    }

    fn compare(&mut self, exchange: &Exchange, mut recorded: ResponseKind, mut present: ResponseKind) {
        let was_identical = recorded == present;
        sort(&mut recorded);
        sort(&mut present);
        if recorded != present {
            let text = difference(&format!("{recorded:#?}"), &format!("{present:#?}"));
            self.score.different.push(format!("{}: {text}", exchange.name()));
        } else if was_identical {
            self.score.identical += 1;
        } else {
            self.score.equal += 1;
        }
    }
}

fn topics(exchange: &Exchange) -> Vec<Uuid> {
    exchange.topic_ids().into_keys().collect()
}

/// Whether the recorded answer to a waiting fetch tells of this order: the others were answered before it, and so was one
/// that tells of an older state.
fn notices(fetch: &Exchange, order: &Exchange) -> bool {
    let (ResponseKind::Fetch(answer), RequestKind::LeaderAndIsr(order)) = (&fetch.answer, &order.request) else {
        return is_fenced(fetch);
    };
    let epochs: BTreeMap<Key, i32> = states(order).map(|(key, state)| (key, state.leader_epoch)).collect();
    let older =
        |(key, told): (Key, &PartitionData)| epochs.get(&key).is_some_and(|e| *e > told.current_leader.leader_epoch);
    is_fenced(fetch) && !answered(answer).any(older)
}

fn tells_of(fetch: &Exchange, key: Key) -> bool {
    let ResponseKind::Fetch(answer) = &fetch.answer else { return false };
    answered(answer).any(|(told, _)| told == key)
}

fn is_fenced(fetch: &Exchange) -> bool {
    let ResponseKind::Fetch(answer) = &fetch.answer else { return false };
    answered(answer).any(|(_, partition)| partition.error_code == FENCED_LEADER_EPOCH)
}

/// Whether a fetch came while the order was being applied, and was told of some of it only. Kafka can meet that as well;
/// here it is likelier, since the order follows at once.
fn tells_less(fetch: &Exchange, present: &ResponseKind) -> bool {
    let (RequestKind::Fetch(request), ResponseKind::Fetch(recorded), ResponseKind::Fetch(present)) =
        (&fetch.request, &fetch.answer, present)
    else {
        return false;
    };
    let told: BTreeSet<Key> = answered(present).map(|(key, _)| key).collect();
    let fenced = answered(recorded).filter(|(_, partition)| partition.error_code == FENCED_LEADER_EPOCH);
    request.session_epoch > 0 && !told.is_empty() && fenced.map(|(key, _)| key).any(|key| !told.contains(&key))
}

fn header() -> RequestHeader {
    RequestHeader::default().with_request_api_key(ApiKey::Fetch as i16).with_request_api_version(FETCH)
}

fn position(partition: i32, leader_epoch: i32, offset: i64, last_epoch: i32) -> FetchPartition {
    FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(leader_epoch)
        .with_fetch_offset(offset)
        .with_last_fetched_epoch(last_epoch)
        .with_partition_max_bytes(1 << 20)
}

fn shrunk(change: &AlterPartitionRequest) -> impl Iterator<Item = Key> {
    let all = change.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic.topic_id, p)));
    all.filter(|(_, p)| p.new_isr_with_epochs.len() == 1).map(|(id, p)| (id, p.partition_index))
}

fn forgotten(key: Key) -> ForgottenTopic {
    ForgottenTopic::default().with_topic_id(key.0).with_partitions(vec![key.1])
}

/// Where a follower goes on after a cut.
fn after_cut((key, told): (Key, EpochEndOffset)) -> FetchTopic {
    let partition = position(key.1, -1, told.end_offset, told.epoch);
    FetchTopic::default().with_topic_id(key.0).with_partitions(vec![partition])
}

/// Base offset, next offset and bytes of each batch of format 2.
fn batches(mut records: Bytes) -> Vec<(i64, i64, Bytes)> {
    let mut all = Vec::new();
    while records.len() > 61 {
        let long = |at: usize| i64::from_be_bytes(records[at..at + 8].try_into().expect("eight bytes"));
        let int = |at: usize| i32::from_be_bytes(records[at..at + 4].try_into().expect("four bytes"));
        let (base, length, last) = (long(0), 12 + usize::try_from(int(8)).expect("a length"), i64::from(int(23)));
        all.push((base, base + last + 1, records.split_to(length)));
    }
    all
}

/// Kafka answers in the order of its hash maps.
fn sort(answer: &mut ResponseKind) {
    match answer {
        ResponseKind::LeaderAndIsr(r) => {
            r.topics.sort_by_key(|t| t.topic_id);
            r.topics.iter_mut().for_each(|t| t.partition_errors.sort_by_key(|p| p.partition_index));
        }
        ResponseKind::StopReplica(r) => {
            r.partition_errors
                .sort_by(|a, b| (&a.topic_name, a.partition_index).cmp(&(&b.topic_name, b.partition_index)));
        }
        ResponseKind::Fetch(r) => {
            let mut merged: BTreeMap<Uuid, _> = BTreeMap::new();
            for topic in std::mem::take(&mut r.responses) {
                merged.entry(topic.topic_id).or_insert_with(Vec::new).extend(topic.partitions);
            }
            for (id, mut partitions) in merged {
                partitions.sort_by_key(|p| p.partition_index);
                let topic = kafka_protocol::messages::fetch_response::FetchableTopicResponse::default();
                r.responses.push(topic.with_topic_id(id).with_partitions(partitions));
            }
            r.node_endpoints.sort_by_key(|node| node.node_id);
        }
        _ => {}
    }
}
