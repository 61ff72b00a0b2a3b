//! Idempotent producers and a reading group, under way while a test breaks things; [`Workload::finish`] says what they
//! saw, for [`super::checker`] to judge.
//!
//! Every producer numbers its records and deals them out to the partitions in turn, so that each partition must end with
//! every producer's own numbers in order and without a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::deadline::{PATIENCE, eventually};

const GROUP: &str = "readers";
const COMMIT_INTERVAL: Duration = Duration::from_millis(300);
const PRODUCER_TICK: Duration = Duration::from_millis(10);

#[derive(Clone)]
pub struct Shape {
    pub topic: String,
    pub partitions: i32,
    pub producers: usize,
    pub consumers: usize,
    /// Records a second, of each producer.
    pub rate: u64,
}

/// Which record: the producer's index and its number there.
pub type Stamp = (usize, u64);

fn encode(stamp: Stamp) -> String {
    // Lengths differ, so that batches and segments end at uneven places.
    let length = 20 + usize::try_from(stamp.1 * 37 % 400).unwrap_or(0);
    format!("{}-{} {}", stamp.0, stamp.1, "x".repeat(length))
}

pub fn decode(value: &[u8]) -> Option<Stamp> {
    let text = std::str::from_utf8(value).ok()?;
    let (producer, number) = text.split_once(' ')?.0.split_once('-')?;
    Some((producer.parse().ok()?, number.parse().ok()?))
}

#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub partition: i32,
    /// -1 where the answer to a duplicate did not say.
    pub offset: i64,
    pub stamp: Stamp,
}

#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub stamp: Option<Stamp>,
}

/// All that the clients saw.
pub struct Witness {
    pub shape: Shape,
    /// Records sent, of each producer.
    pub sent: Vec<u64>,
    pub acknowledged: Vec<Acknowledged>,
    pub seen: Vec<Seen>,
    /// What must not be, as they saw it: failed sends, steps back behind what was committed, order broken.
    pub complaints: Vec<String>,
    pub rebalances: usize,
    pub commits: usize,
}

/// What the group has committed of a partition.
#[derive(Clone, Copy, Default)]
struct Committed {
    /// The highest offset that was acknowledged.
    sure: i64,
    /// The lowest whose fate is unknown: a request that waits in a frozen broker's socket may be served long after.
    doubtful: Option<i64>,
}

impl Committed {
    fn floor(self) -> i64 {
        self.doubtful.map_or(self.sure, |doubtful| doubtful.min(self.sure))
    }
}

#[derive(Default)]
struct Record {
    acknowledged: Mutex<Vec<Acknowledged>>,
    seen: Mutex<Vec<Seen>>,
    committed: Mutex<BTreeMap<i32, Committed>>,
    complaints: Mutex<Vec<String>>,
    rebalances: AtomicUsize,
    commits: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Record {
    fn complain(&self, complaint: String) {
        let mut complaints = lock(&self.complaints);
        if complaints.len() < 20 {
            complaints.push(complaint);
        }
    }
}

pub struct Workload {
    shape: Shape,
    record: Arc<Record>,
    stop_producing: Arc<AtomicBool>,
    stop_reading: Arc<AtomicBool>,
    producers: Vec<JoinHandle<u64>>,
    consumers: Vec<JoinHandle<()>>,
}

impl Workload {
    /// Clients of a topic that exists.
    pub fn start(bootstrap: &str, shape: Shape) -> Workload {
        let record = Arc::new(Record::default());
        let (stop_producing, stop_reading) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let producer = |index: usize| {
            let (record, stop, shape) = (record.clone(), stop_producing.clone(), shape.clone());
            let producer = new_producer(bootstrap, index, record);
            std::thread::spawn(move || produce(&producer, index, &shape, &stop))
        };
        let producers = (0..shape.producers).map(producer).collect();
        let consumer = |index: usize| {
            let (record, stop) = (record.clone(), stop_reading.clone());
            let consumer = new_consumer(bootstrap, &shape, index, record.clone());
            let topic = shape.topic.clone();
            std::thread::spawn(move || read(&consumer, &topic, &record, &stop))
        };
        let consumers = (0..shape.consumers).map(consumer).collect();
        Workload { shape, record, stop_producing, stop_reading, producers, consumers }
    }

    pub fn acknowledged_count(&self) -> usize {
        lock(&self.record.acknowledged).len()
    }

    pub fn seen_count(&self) -> usize {
        lock(&self.record.seen).len()
    }

    /// Waits until so many more records are acknowledged, and as many read.
    pub fn await_progress(&self, count: usize) {
        let (acknowledged, seen) = (self.acknowledged_count() + count, self.seen_count() + count);
        eventually("records go in", PATIENCE, || (self.acknowledged_count() >= acknowledged).then_some(()));
        eventually("records come out", PATIENCE, || (self.seen_count() >= seen).then_some(()));
    }

    /// Stops sending, waits until all is acknowledged and read, or for long enough.
    pub fn finish(self) -> Witness {
        self.stop_producing.store(true, Ordering::Relaxed);
        let sent: Vec<u64> = self.producers.into_iter().map(|p| p.join().expect("the producer's thread")).collect();
        let total = usize::try_from(sent.iter().sum::<u64>()).expect("a count");
        let start = Instant::now();
        let mut read = BTreeSet::new();
        let mut counted = 0;
        while read.len() < total && start.elapsed() < PATIENCE {
            sleep(Duration::from_millis(50));
            let seen = lock(&self.record.seen);
            read.extend(seen[counted..].iter().map(|s| (s.partition, s.offset)));
            counted = seen.len();
        }
        self.stop_reading.store(true, Ordering::Relaxed);
        self.consumers.into_iter().for_each(|c| c.join().expect("the consumer's thread"));
        let record = &self.record;
        Witness {
            shape: self.shape,
            sent,
            acknowledged: std::mem::take(&mut lock(&record.acknowledged)),
            seen: std::mem::take(&mut lock(&record.seen)),
            complaints: std::mem::take(&mut lock(&record.complaints)),
            rebalances: record.rebalances.load(Ordering::Relaxed),
            commits: record.commits.load(Ordering::Relaxed),
        }
    }
}

/// What both kinds of client are told.
fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("retry.backoff.ms", "50")
        .set("socket.timeout.ms", "10000")
        .set("socket.connection.setup.timeout.ms", "3000")
        .set("topic.metadata.refresh.interval.ms", "5000");
    config
}

// --- producers

struct ProducerEnd {
    record: Arc<Record>,
    index: usize,
}

impl ClientContext for ProducerEnd {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // Lost connections are what this is about; a producer that cannot go on is not.
        if matches!(error.rdkafka_error_code(), Some(rdkafka::error::RDKafkaErrorCode::Fatal)) {
            self.record.complain(format!("producer {} cannot go on: {reason}", self.index));
        }
    }
}

impl ProducerContext for ProducerEnd {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                let stamp = message.payload().and_then(decode).expect("our own record");
                let (partition, offset) = (message.partition(), message.offset());
                lock(&self.record.acknowledged).push(Acknowledged { partition, offset, stamp });
            }
            Err((error, message)) => {
                let stamp = message.payload().and_then(decode);
                let partition = message.partition();
                self.record.complain(format!("send of {stamp:?} to partition {partition} failed: {error}"));
            }
        }
    }
}

fn new_producer(bootstrap: &str, index: usize, record: Arc<Record>) -> ThreadedProducer<ProducerEnd> {
    client(bootstrap)
        .set("client.id", format!("producer-{index}"))
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "5")
        .set("batch.size", "65536")
        .set("compression.type", ["none", "zstd", "gzip"][index % 3])
        .set("request.timeout.ms", "5000")
        .set("message.timeout.ms", "300000")
        .create_with_context(ProducerEnd { record, index })
        .expect("a producer")
}

/// Sends at an even rate until told to stop; how many.
fn produce(producer: &ThreadedProducer<ProducerEnd>, index: usize, shape: &Shape, stop: &AtomicBool) -> u64 {
    let start = Instant::now();
    let partitions = u64::try_from(shape.partitions).expect("a count");
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX) * shape.rate / 1000;
        while number < due && !stop.load(Ordering::Relaxed) {
            let value = encode((index, number));
            let partition = i32::try_from(number % partitions).expect("a partition");
            let record = BaseRecord::<(), str>::to(&shape.topic).partition(partition).payload(&value);
            if producer.send(record).is_err() {
                break; // The queue is full.
            }
            number += 1;
        }
        sleep(PRODUCER_TICK);
    }
    let context: &ProducerEnd = producer.context();
    if let Some((code, reason)) = producer.client().fatal_error() {
        lock(&context.record.complaints).insert(0, format!("producer {index} could not go on: {code}: {reason}"));
    }
    if let Err(error) = producer.flush(PATIENCE * 2) {
        context.record.complain(format!("producer {index} still waits for acknowledgements at the end: {error}"));
    }
    number
}

// --- consumers

struct ConsumerEnd {
    record: Arc<Record>,
    index: usize,
    /// Where reading may begin at the earliest, by what was committed before the partition was assigned; then the last
    /// offset read.
    floors: Mutex<BTreeMap<i32, i64>>,
    /// What to commit: the offsets after the last that were read since the assignment.
    next: Mutex<BTreeMap<i32, i64>>,
}

impl ClientContext for ConsumerEnd {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for ConsumerEnd {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(assigned) = rebalance {
            self.record.rebalances.fetch_add(1, Ordering::Relaxed);
            let committed = lock(&self.record.committed);
            let floor = |p: i32| (p, committed.get(&p).copied().unwrap_or_default().floor());
            *lock(&self.floors) = assigned.elements().iter().map(|e| floor(e.partition())).collect();
            lock(&self.next).clear();
        }
    }
}

impl ConsumerEnd {
    fn take(&self, partition: i32, offset: i64, payload: Option<&[u8]>) {
        let mut floors = lock(&self.floors);
        if let Some(floor) = floors.insert(partition, offset + 1).filter(|floor| offset < *floor) {
            let complaint = format!("consumer {} read partition {partition} offset {offset}", self.index);
            self.record.complain(format!("{complaint}, which lies before {floor}"));
        }
        lock(&self.next).insert(partition, offset + 1);
        lock(&self.record.seen).push(Seen { partition, offset, stamp: payload.and_then(decode) });
    }
}

fn new_consumer(bootstrap: &str, shape: &Shape, index: usize, record: Arc<Record>) -> BaseConsumer<ConsumerEnd> {
    let end = ConsumerEnd { record, index, floors: Mutex::default(), next: Mutex::default() };
    let consumer: BaseConsumer<ConsumerEnd> = client(bootstrap)
        .set("client.id", format!("consumer-{index}"))
        .set("group.id", GROUP)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .set("fetch.wait.max.ms", "200")
        .create_with_context(end)
        .expect("a consumer");
    consumer.subscribe(&[&shape.topic]).expect("a subscription");
    consumer
}

fn read(consumer: &BaseConsumer<ConsumerEnd>, topic: &str, record: &Record, stop: &AtomicBool) {
    let mut committed = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                consumer.context().take(message.partition(), message.offset(), message.payload());
            }
            Some(Err(error)) if is_serious(&error) => record.complain(format!("a consumer got: {error}")),
            Some(Err(_)) | None => {}
        }
        if committed.elapsed() >= COMMIT_INTERVAL {
            commit(consumer, topic);
            committed = Instant::now();
        }
    }
}

/// Waits for the answer: with two commits under way, the older one may arrive last.
fn commit(consumer: &BaseConsumer<ConsumerEnd>, topic: &str) {
    let end = consumer.context();
    let next = std::mem::take(&mut *lock(&end.next));
    if next.is_empty() {
        return;
    }
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in &next {
        offsets.add_partition_offset(topic, *partition, Offset::Offset(*offset)).expect("an offset");
    }
    let done = consumer.commit(&offsets, CommitMode::Sync);
    let mut committed = lock(&end.record.committed);
    for (partition, offset) in next {
        let entry = committed.entry(partition).or_default();
        if done.is_ok() {
            entry.sure = entry.sure.max(offset);
            end.record.commits.fetch_add(1, Ordering::Relaxed);
        } else {
            entry.doubtful = Some(entry.doubtful.map_or(offset, |lowest| lowest.min(offset)));
        }
    }
}

/// Errors that no fault of brokers and networks explains.
fn is_serious(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode::{
        AutoOffsetReset, BadMessage, Fatal, InvalidMessage, LogTruncation, MessageSizeTooLarge, OffsetOutOfRange,
        TopicAuthorizationFailed, UnknownProtocol,
    };
    let serious = [
        AutoOffsetReset,
        BadMessage,
        Fatal,
        InvalidMessage,
        LogTruncation,
        MessageSizeTooLarge,
        OffsetOutOfRange,
        TopicAuthorizationFailed,
        UnknownProtocol,
    ];
    error.rdkafka_error_code().is_some_and(|code| serious.contains(&code))
}
