//! What the cluster holds before the swap: every kind of log that a real Kafka makes, and groups with offsets.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::{DeleteRecordsRequest, TopicName};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::common::admin::NO_ERROR;
use crate::common::{Cluster, PATIENCE, eventually};

pub struct Topic {
    pub name: &'static str,
    pub partitions: i32,
    pub configs: &'static [(&'static str, &'static str)],
}

impl Topic {
    pub fn is_compacted(&self) -> bool {
        self.configs.contains(&("cleanup.policy", "compact"))
    }
}

/// Segments are small, so that rolls, several indexes and the cleaner have part in it.
const COMPACTED: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.bytes", "70000"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("index.interval.bytes", "500"),
];

/// Topics that are not written any more once [`write`] is done.
pub const STILL: &[Topic] = &[
    Topic { name: "plain", partitions: 2, configs: &[("segment.bytes", "70000"), ("retention.ms", "86400000")] },
    Topic { name: "codecs", partitions: 4, configs: &[("max.message.bytes", "65000")] },
    Topic { name: "txn", partitions: 2, configs: &[("segment.bytes", "70000"), ("index.interval.bytes", "1000")] },
    Topic { name: "compacted", partitions: 1, configs: COMPACTED },
    Topic { name: "compacted-txn", partitions: 1, configs: COMPACTED },
    Topic { name: "trimmed", partitions: 1, configs: &[("segment.bytes", "70000")] },
    Topic { name: OPEN, partitions: 1, configs: &[] },
];
/// Topics under load.
pub const BUSY: &[Topic] = &[
    Topic { name: "load", partitions: 3, configs: &[("segment.bytes", "300000"), ("index.interval.bytes", "1000")] },
    Topic { name: "dedupe", partitions: 3, configs: &[("segment.bytes", "70000")] },
];
/// Has a transaction that nobody has ended.
pub const OPEN: &str = "open";
pub const GROUPS: &[&str] = &["by-hand", "in-transactions"];
const CODECS: &[&str] = &["gzip", "snappy", "lz4", "zstd"];
const LONG: Timeout = Timeout::After(Duration::from_secs(60));

/// What became of the records of a producer.
#[derive(Default)]
pub struct Deliveries {
    /// Number, partition and offset of each.
    pub acked: Mutex<Vec<(usize, i32, i64)>>,
    pub failed: Mutex<Vec<String>>,
    /// Of each partition, when it last acknowledged something, and its longest silence.
    silences: Mutex<BTreeMap<i32, (Instant, Duration)>>,
}

impl Deliveries {
    /// The longest time without an acknowledgement from one partition since the last call.
    pub fn longest_silence(&self) -> Duration {
        let mut silences = self.silences.lock().unwrap();
        let longest = silences.values().map(|(last, longest)| (*longest).max(last.elapsed())).max();
        *silences = BTreeMap::new();
        longest.unwrap_or_default()
    }

    fn heard_from(&self, partition: i32) {
        let mut silences = self.silences.lock().unwrap();
        let (last, longest) = silences.entry(partition).or_insert_with(|| (Instant::now(), Duration::ZERO));
        *longest = (*longest).max(last.elapsed());
        *last = Instant::now();
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        use rdkafka::Message;
        match result {
            Ok(message) => {
                self.heard_from(message.partition());
                self.acked.lock().unwrap().push((number, message.partition(), message.offset()));
            }
            Err((error, _)) => self.failed.lock().unwrap().push(format!("record {number}: {error}")),
        }
    }
}

/// Settings of every client: nothing may fail for want of patience.
pub fn client(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap());
    config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
    config
}

/// Settings of an idempotent producer.
pub fn producer(cluster: &Cluster, codec: &str) -> ClientConfig {
    let mut config = client(cluster);
    config.set("enable.idempotence", "true").set("compression.type", codec).set("batch.size", "8000");
    config.set("message.timeout.ms", "120000").set("retry.backoff.ms", "20").set("linger.ms", "5");
    config
}

/// A producer that waits for what it has sent.
struct Writer {
    producer: BaseProducer<Deliveries>,
    sent: usize,
}

impl Writer {
    fn new(config: &ClientConfig) -> Writer {
        Writer { producer: config.create_with_context(Deliveries::default()).unwrap(), sent: 0 }
    }

    fn transactional(cluster: &Cluster, id: &str, codec: &str) -> Writer {
        let mut config = producer(cluster, codec);
        config.set("transactional.id", id).set("transaction.timeout.ms", "900000");
        let writer = Writer::new(&config);
        eventually("the coordinator answers", PATIENCE, || match writer.producer.init_transactions(LONG) {
            Err(KafkaError::Transaction(error)) if error.is_retriable() => None,
            done => {
                done.unwrap();
                Some(())
            }
        });
        writer
    }

    fn send(&mut self, topic: &str, partition: i32, key: &str, value: Option<&str>) {
        let header = Header { key: "number", value: Some(&self.sent.to_string()) };
        let headers = OwnedHeaders::new().insert(header).insert(Header { key: "null", value: None::<&str> });
        let mut record = BaseRecord::with_opaque_to(topic, self.sent).partition(partition).key(key).headers(headers);
        record.payload = value;
        while let Err((error, back)) = self.producer.send(record) {
            assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            record = back;
            self.producer.poll(Duration::from_millis(10));
        }
        self.sent += 1;
    }

    fn flush(&self) {
        self.producer.flush(LONG).unwrap();
        let deliveries = self.producer.client().context();
        assert_eq!(*deliveries.failed.lock().unwrap(), Vec::<String>::new());
        assert_eq!(deliveries.acked.lock().unwrap().len(), self.sent);
    }

    fn begin(&self) {
        self.producer.begin_transaction().unwrap();
    }

    fn end(&self, commit: bool) {
        // All of it is in the log, also what is given up.
        self.flush();
        match commit {
            true => self.producer.commit_transaction(LONG).unwrap(),
            false => self.producer.abort_transaction(LONG).unwrap(),
        }
    }
}

/// About 150 bytes.
fn value(what: &str, number: usize) -> String {
    format!("{what} {number:06} {}", "and some words that fill it. ".repeat(4))
}

pub fn create_topics(cluster: &Cluster) {
    for topic in STILL.iter().chain(BUSY) {
        let mut wire = cluster.brokers[cluster.controller()].wire();
        let answer = wire.try_create_topic(topic.name, topic.partitions, 3, topic.configs);
        assert_eq!(answer.0, NO_ERROR, "{answer:?}");
    }
    for id in cluster.running() {
        let mut wire = cluster.brokers[id].wire();
        STILL.iter().chain(BUSY).for_each(|topic| wire.await_leaders(topic.name, topic.partitions));
    }
}

/// Writes everything; returns the producer whose transaction stays open.
pub fn write(cluster: &Cluster) -> impl Drop + use<> {
    plain(cluster);
    transactions(cluster);
    compacted(cluster);
    trim(cluster);
    commit_by_hand(cluster);
    commit_in_transactions(cluster);
    await_cleaning(cluster);
    Abandoned(Some(open_transaction(cluster)))
}

struct Abandoned(Option<Writer>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        // A client that goes away says nothing to the coordinator.
        self.0.take();
    }
}

fn plain(cluster: &Cluster) {
    let mut writer = Writer::new(&producer(cluster, "none"));
    for number in 0..2000 {
        writer.send("plain", (number % 2) as i32, &format!("k{}", number % 7), Some(&value("plain", number)));
        writer.send("trimmed", 0, "k", Some(&value("trimmed", number)));
    }
    writer.flush();
    for (partition, codec) in CODECS.iter().enumerate() {
        let mut writer = Writer::new(&producer(cluster, codec));
        (0..1000).for_each(|number| writer.send("codecs", partition as i32, "k", Some(&value(codec, number))));
        writer.flush();
    }
}

/// Two producers whose transactions interleave, each second one aborted, and two that span segments.
fn transactions(cluster: &Cluster) {
    let mut a = Writer::transactional(cluster, "a", "none");
    let mut b = Writer::transactional(cluster, "b", "lz4");
    for round in 0..10 {
        a.begin();
        b.begin();
        for number in 0..20 {
            a.send("txn", number % 2, "a", Some(&value("a", round)));
            b.send("txn", number % 2, "b", Some(&value("b", round)));
        }
        a.end(round % 2 == 0);
        b.end(round % 3 == 0);
    }
    for commit in [true, false] {
        a.begin();
        b.begin();
        for number in 0..1000 {
            a.send("txn", 0, "a", Some(&value("long", number)));
            if number % 10 == 0 {
                b.send("txn", 0, "b", Some(&value("beside it", number)));
            }
        }
        a.end(commit);
        b.end(!commit);
    }
}

/// Keys that are written again and again, and some of them deleted.
fn compacted(cluster: &Cluster) {
    let mut writer = Writer::new(&producer(cluster, "none"));
    let mut transactional = Writer::transactional(cluster, "compacted", "none");
    for round in 0..25 {
        transactional.begin();
        for number in 0..100 {
            let key = format!("k{}", (number * 7 + round) % 60);
            let text = value(&key, round);
            let value = (number % 9 != 0).then_some(text.as_str());
            writer.send("compacted", 0, &key, value);
            transactional.send("compacted-txn", 0, &key, value);
        }
        writer.flush();
        transactional.end(round % 4 != 3);
    }
    // Another producer, so that the last batches of the first are kept for their sequence numbers alone.
    let mut other = Writer::new(&producer(cluster, "zstd"));
    for number in 0..1000 {
        other.send("compacted", 0, &format!("k{}", number % 60), Some(&value("later", number)));
        other.send("compacted-txn", 0, &format!("k{}", number % 60), Some(&value("later", number)));
    }
    other.flush();
}

/// Moves the start of a log into the middle of a segment.
fn trim(cluster: &Cluster) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(777);
    let topic = DeleteRecordsTopic::default()
        .with_name(TopicName::from(kafka_protocol::protocol::StrBytes::from_static_str("trimmed")))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let answer = cluster.brokers[cluster.leader("trimmed", 0)].wire().call(2, &request);
    assert_eq!(answer.topics[0].partitions[0].error_code, NO_ERROR, "{answer:?}");
}

fn offsets(offset: i64, metadata: &str) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in [("plain", 0), ("plain", 1), ("txn", 0)] {
        let mut element = list.add_partition(topic, partition);
        element.set_offset(Offset::Offset(offset + i64::from(partition))).unwrap();
        element.set_metadata(metadata);
    }
    list
}

fn commit_by_hand(cluster: &Cluster) {
    let mut config = client(cluster);
    config.set("group.id", "by-hand").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    for offset in [10, 100] {
        consumer.commit(&offsets(offset, "as I said"), CommitMode::Sync).unwrap();
    }
}

/// What is committed in a transaction counts, what is aborted does not.
fn commit_in_transactions(cluster: &Cluster) {
    let mut config = client(cluster);
    config.set("group.id", "in-transactions").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let group = consumer.group_metadata().unwrap();
    let mut writer = Writer::transactional(cluster, "offsets", "gzip");
    for (offset, commit) in [(20, true), (200, true), (300, false)] {
        writer.begin();
        writer.send("txn", 1, "k", Some(&value("with offsets", 0)));
        writer.producer.send_offsets_to_transaction(&offsets(offset, ""), &group, LONG).unwrap();
        writer.end(commit);
    }
}

fn open_transaction(cluster: &Cluster) -> Writer {
    let mut writer = Writer::transactional(cluster, OPEN, "none");
    writer.begin();
    (0..10).for_each(|number| writer.send(OPEN, 0, "k", Some(&value("committed", number))));
    writer.end(true);
    writer.begin();
    (0..10).for_each(|number| writer.send(OPEN, 0, "k", Some(&value("never ended", number))));
    writer.flush();
    writer
}

/// Waits until every broker has cleaned its replicas of the compacted topics.
fn await_cleaning(cluster: &Cluster) {
    for broker in &cluster.brokers {
        eventually("the logs are cleaned", PATIENCE, || {
            let checkpoint = std::fs::read_to_string(broker.data_dir().join("cleaner-offset-checkpoint")).ok()?;
            let cleaned =
                |topic: &&Topic| checkpoint.lines().any(|line| line.starts_with(&format!("{} 0 ", topic.name)));
            STILL.iter().filter(|topic| topic.is_compacted()).all(|topic| cleaned(&topic)).then_some(())
        });
    }
}

/// The transactions go on where they were: the open one is given up, the next is committed.
pub fn go_on(cluster: &Cluster) {
    let mut writer = Writer::transactional(cluster, OPEN, "none");
    writer.begin();
    (0..10).for_each(|number| writer.send(OPEN, 0, "k", Some(&value("afterwards", number))));
    writer.end(true);
}
