//! Load on the cluster while its brokers are swapped: idempotent producers, reading groups, and what they must have seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use crate::common::consume::READ_UNCOMMITTED;
use crate::common::{Cluster, PATIENCE, eventually};
use crate::data::{Deliveries, client, producer};

pub const TOPIC: &str = "load";
const PARTITIONS: i32 = 3;
const CODECS: [&str; 2] = ["none", "lz4"];
/// Between two records of a producer.
const PAUSE: Duration = Duration::from_millis(4);

/// What one group has read.
#[derive(Default)]
pub struct Group {
    name: &'static str,
    /// By partition, the values from offset 0 on.
    read: Mutex<BTreeMap<i32, Vec<String>>>,
    wrong: Mutex<Vec<String>>,
    again: AtomicUsize,
    rebalances: AtomicUsize,
}

impl Group {
    fn take(&self, partition: i32, offset: i64, value: &str) {
        let mut read = self.read.lock().unwrap();
        let values = read.entry(partition).or_default();
        let at = usize::try_from(offset).unwrap();
        let wrong = match values.get(at) {
            Some(before) if before == value => {
                self.again.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Some(before) => format!("{partition}@{offset} was {before} and is {value}"),
            None if values.len() == at => return values.push(value.to_owned()),
            None => format!("{partition}@{offset} comes after {}", values.len()),
        };
        self.wrong.lock().unwrap().push(wrong);
    }

    fn count(&self) -> usize {
        self.read.lock().unwrap().values().map(Vec::len).sum()
    }

    pub fn rebalances(&self) -> usize {
        self.rebalances.load(Ordering::Relaxed)
    }
}

struct Member(Arc<Group>);

impl ClientContext for Member {}

impl ConsumerContext for Member {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.0.rebalances.fetch_add(1, Ordering::Relaxed);
    }
}

/// The load; it ends with [`Load::finish`].
pub struct Load {
    writing: Arc<AtomicBool>,
    reading: Arc<AtomicBool>,
    producers: Vec<Arc<ThreadedProducer<Deliveries>>>,
    writers: Vec<JoinHandle<usize>>,
    readers: Vec<JoinHandle<()>>,
    pub groups: Vec<Arc<Group>>,
}

/// What came of it.
pub struct Summary {
    pub records: usize,
    /// Records that a group was given more than once.
    pub again: usize,
    /// By producer and partition, what was acknowledged: number and offset in the order of numbers.
    pub acked: Vec<Vec<(usize, i32, i64)>>,
}

impl Load {
    pub fn start(cluster: &Cluster) -> Load {
        let writing = Arc::new(AtomicBool::new(true));
        let reading = Arc::new(AtomicBool::new(true));
        let make = |codec: &&str| -> Arc<ThreadedProducer<Deliveries>> {
            Arc::new(producer(cluster, codec).create_with_context(Deliveries::default()).unwrap())
        };
        let producers: Vec<_> = CODECS.iter().map(make).collect();
        let write = |(name, producer): (usize, &Arc<ThreadedProducer<Deliveries>>)| {
            let (producer, writing) = (producer.clone(), writing.clone());
            thread::spawn(move || write(name, &producer, &writing))
        };
        let writers = producers.iter().enumerate().map(write).collect();
        let mut readers = Vec::new();
        let mut groups = Vec::new();
        for (name, members) in [("readers", 2), ("static", 2), ("committed", 1)] {
            let group = Arc::new(Group { name, ..Group::default() });
            for member in 0..members {
                let config = reader(cluster, name, member);
                let (group, reading) = (group.clone(), reading.clone());
                readers.push(thread::spawn(move || read(&config, group, &reading)));
            }
            groups.push(group);
        }
        Load { writing, reading, producers, writers, readers, groups }
    }

    pub fn acked(&self) -> usize {
        self.producers.iter().map(|p| p.context().acked.lock().unwrap().len()).sum()
    }

    /// The longest time without an acknowledgement from one partition to one producer since the last call.
    pub fn longest_silence(&self) -> Duration {
        self.producers.iter().map(|p| p.context().longest_silence()).max().unwrap_or_default()
    }

    /// Waits until so many more records are acknowledged, and until every group has read what was acknowledged before.
    pub fn await_progress(&self, records: usize) {
        let before = self.acked();
        eventually("records are acknowledged", PATIENCE, || (self.acked() >= before + records).then_some(()));
        for group in &self.groups {
            let what = format!("group {} reads on", group.name);
            eventually(&what, PATIENCE, || (group.count() >= before).then_some(()));
        }
        self.assert_good();
    }

    fn assert_good(&self) {
        for producer in &self.producers {
            assert_eq!(*producer.context().failed.lock().unwrap(), Vec::<String>::new(), "no send fails");
        }
        for group in &self.groups {
            assert_eq!(*group.wrong.lock().unwrap(), Vec::<String>::new(), "group {}", group.name);
        }
    }

    /// Ends it: everything sent is acknowledged, every group has read all of it.
    pub fn finish(self, cluster: &Cluster) -> Summary {
        self.writing.store(false, Ordering::Relaxed);
        let sent: Vec<usize> = self.writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        let mut acked = Vec::new();
        for (producer, sent) in self.producers.iter().zip(&sent) {
            producer.flush(Duration::from_secs(120)).unwrap();
            let deliveries = producer.context();
            assert_eq!(*deliveries.failed.lock().unwrap(), Vec::<String>::new(), "no send fails");
            let mut own = deliveries.acked.lock().unwrap().clone();
            own.sort_unstable();
            assert_eq!(own.len(), *sent, "every record is acknowledged once");
            acked.push(own);
        }
        assert_eq!(doubled(cluster), Vec::<String>::new(), "doubled records");
        let records = sent.iter().sum();
        let mut again = 0;
        for group in &self.groups {
            let what = format!("group {} has read everything", group.name);
            eventually(&what, PATIENCE, || (group.count() >= records).then_some(()));
            assert_eq!(*group.wrong.lock().unwrap(), Vec::<String>::new(), "group {}", group.name);
            again += group.again.load(Ordering::Relaxed);
        }
        self.reading.store(false, Ordering::Relaxed);
        self.readers.into_iter().for_each(|reader| reader.join().unwrap());
        Summary { records, again, acked }
    }
}

/// Records that are in the log more than once, with what tells how that came about.
fn doubled(cluster: &Cluster) -> Vec<String> {
    let mut doubled = Vec::new();
    for partition in 0..PARTITIONS {
        let leader = cluster.leader(TOPIC, partition);
        let (_, records) = cluster.brokers[leader].wire().consume(TOPIC, partition, READ_UNCOMMITTED);
        let mut first = BTreeMap::new();
        for (batch, record) in records {
            let place = format!(
                "offset {} (producer {} epoch {} sequence {}, leader epoch {})",
                record.offset,
                batch.producer_id(),
                batch.producer_epoch(),
                record.sequence,
                batch.partition_leader_epoch()
            );
            if let Some(before) = first.insert(record.value.clone(), place.clone()) {
                doubled.push(format!("{:?} in partition {partition} at {before} and {place}", record.value));
            }
        }
    }
    doubled
}

/// Sends numbered records to all partitions in turn; how many.
fn write(name: usize, producer: &ThreadedProducer<Deliveries>, writing: &AtomicBool) -> usize {
    let mut number = 0;
    while writing.load(Ordering::Relaxed) {
        let partition = number as i32 % PARTITIONS;
        let (key, value) = (name.to_string(), format!("{name} {number}"));
        let record = BaseRecord::with_opaque_to(TOPIC, number).partition(partition).key(&key).payload(&value);
        // A full queue is tried again.
        if producer.send(record).is_ok() {
            number += 1;
        }
        thread::sleep(PAUSE);
    }
    number
}

fn reader(cluster: &Cluster, group: &str, member: usize) -> ClientConfig {
    let mut config = client(cluster);
    config.set("group.id", group).set("auto.offset.reset", "earliest").set("auto.commit.interval.ms", "300");
    config.set("session.timeout.ms", "20000").set("heartbeat.interval.ms", "500").set("fetch.wait.max.ms", "100");
    config.set("isolation.level", if group == "committed" { "read_committed" } else { "read_uncommitted" });
    if group == "static" {
        config.set("group.instance.id", format!("member-{member}"));
    }
    config
}

fn read(config: &ClientConfig, group: Arc<Group>, reading: &AtomicBool) {
    let consumer: BaseConsumer<Member> = config.create_with_context(Member(group.clone())).unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    while reading.load(Ordering::Relaxed) {
        // Errors are of brokers that go away, which the client gets over.
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
        let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
        group.take(message.partition(), message.offset(), &value);
    }
}

impl Summary {
    /// Compares the log of the topic with what was acknowledged: each record once, where it was said to be, in order.
    pub fn assert_in_log(&self, cluster: &Cluster) {
        for partition in 0..PARTITIONS {
            let leader = cluster.leader(TOPIC, partition);
            let records = cluster.brokers[leader].wire().read(TOPIC, partition, 0);
            let text = |value: Option<bytes::Bytes>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
            let found: Vec<(i64, String)> = records.into_iter().map(|r| (r.offset, text(r.value))).collect();
            let mut total = 0;
            for (name, acked) in self.acked.iter().enumerate() {
                let acked: Vec<_> = acked.iter().filter(|(_, p, _)| *p == partition).collect();
                let start = format!("{name} ");
                let own: Vec<_> = found.iter().filter(|(_, value)| value.starts_with(&start)).collect();
                assert_eq!(own.len(), acked.len(), "records of producer {name} in partition {partition}");
                for ((number, _, offset), (at, value)) in acked.into_iter().zip(own) {
                    assert_eq!(*value, format!("{name} {number}"), "at {at} in partition {partition}");
                    // A repeated request may be acknowledged without telling where its records are.
                    assert!(*offset < 0 || offset == at, "{value} is at {at} in partition {partition}, not {offset}");
                    total += 1;
                }
            }
            assert_eq!(total, found.len(), "records in partition {partition}");
        }
    }
}
