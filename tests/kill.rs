//! `kill -9` under load: whatever was acknowledged with acks=all is there afterwards, once and in order.
//!
//! `OTTLA_TEST_KILLS` says how many times (5 unless set; the acceptance run takes 50).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use common::{Broker, PATIENCE, eventually};
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

const PARTITIONS: i32 = 3;
/// From the start of the process to serving, of our broker.
const START_LIMIT: Duration = Duration::from_secs(1);

/// What the broker acknowledged: (partition, offset, value).
#[derive(Clone, Default)]
struct Acknowledged(Arc<Mutex<Vec<(i32, i64, String)>>>);

impl ClientContext for Acknowledged {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: rdkafka::error::KafkaError, _: &str) {} // Lost connections are what this is about.
}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let message = result.as_ref().expect("an idempotent producer gives up only after minutes");
        let value = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
        self.0.lock().unwrap().push((message.partition(), message.offset(), value));
    }
}

/// Produces numbered values until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    acknowledged: Acknowledged,
    thread: JoinHandle<()>,
}

impl Load {
    fn start(bootstrap: String) -> Load {
        let (stop, sent, acknowledged) = <(Arc<AtomicBool>, Arc<AtomicU64>, Acknowledged)>::default();
        let (stopped, counter, context) = (stop.clone(), sent.clone(), acknowledged.clone());
        let thread = std::thread::spawn(move || {
            let producer: ThreadedProducer<Acknowledged> = ClientConfig::new()
                .set("bootstrap.servers", bootstrap)
                .set("enable.idempotence", "true")
                .set("acks", "all")
                .set("linger.ms", "1")
                .set("message.timeout.ms", "120000")
                .set("reconnect.backoff.ms", "10")
                .set("reconnect.backoff.max.ms", "100")
                .set("retry.backoff.ms", "20")
                .set("queue.buffering.max.messages", "2000")
                .create_with_context(context)
                .unwrap();
            while !stopped.load(Ordering::Relaxed) {
                let number = counter.load(Ordering::Relaxed);
                let partition = i32::try_from(number % 3).unwrap();
                let value = format!("{number} {}", "x".repeat(300));
                let record = BaseRecord::<(), str>::to("t").partition(partition).payload(&value);
                match producer.send(record) {
                    Ok(()) => counter.store(number + 1, Ordering::Relaxed),
                    Err(_) => std::thread::sleep(Duration::from_millis(1)), // The queue is full.
                }
            }
            producer.flush(PATIENCE * 2).expect("all that was sent is acknowledged in the end");
        });
        Load { stop, sent, acknowledged, thread }
    }

    fn acknowledged_count(&self) -> usize {
        self.acknowledged.0.lock().unwrap().len()
    }

    fn finish(self) -> (u64, Vec<(i32, i64, String)>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let acknowledged = std::mem::take(&mut *self.acknowledged.0.lock().unwrap());
        (self.sent.load(Ordering::Relaxed), acknowledged)
    }
}

#[test]
fn acknowledged_records_survive_kills() {
    let kills: u32 = std::env::var("OTTLA_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let mut broker = Broker::start(&[("log.segment.bytes", "1048576")]);
    broker.expect_log("(kafka.log.LogLoader)"); // A kill may tear the last batch.
    broker.wire().create_topic("t", PARTITIONS, &[]);
    let load = Load::start(broker.bootstrap());
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        let enough = load.acknowledged_count() + 500;
        eventually("the load goes on", PATIENCE, || (load.acknowledged_count() >= enough).then_some(()));
        // Not always in the same state: sometimes at once, sometimes a little later.
        std::thread::sleep(Duration::from_millis(u64::from(kill) * 37 % 200));
        slowest = slowest.max(broker.kill_and_restart());
        broker.wire().await_leaders("t", PARTITIONS);
    }
    let enough = load.acknowledged_count() + 500;
    eventually("the load goes on", PATIENCE, || (load.acknowledged_count() >= enough).then_some(()));
    let (sent, acknowledged) = load.finish();
    println!("kills: {kills}, {sent} records sent, the slowest start took {slowest:?}");
    assert!(broker.is_kafka() || slowest < START_LIMIT, "{slowest:?} until it served again");

    assert_eq!(acknowledged.len() as u64, sent);
    let mut wire = broker.wire();
    let logs: Vec<Vec<String>> = (0..PARTITIONS).map(|p| wire.values("t", p)).collect();
    for (partition, offset, value) in &acknowledged {
        // A duplicate's answer may carry no offset, when the batch is older than the last five.
        let log = &logs[usize::try_from(*partition).unwrap()];
        let found = usize::try_from(*offset).ok().and_then(|o| log.get(o));
        assert!(*offset < 0 || found == Some(value), "partition {partition} offset {offset}");
    }
    for (partition, log) in logs.iter().enumerate() {
        let numbers: Vec<u64> = log.iter().map(|v| v.split(' ').next().unwrap().parse().unwrap()).collect();
        let expected: Vec<u64> = (0..sent).filter(|n| n % 3 == partition as u64).collect();
        assert!(numbers == expected, "partition {partition}: {}", first_difference(&numbers, &expected));
    }
}

fn first_difference(found: &[u64], expected: &[u64]) -> String {
    let at = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
    let around = at.saturating_sub(2)..;
    let few = |all: &[u64]| all.get(around.clone()).unwrap_or_default().iter().take(6).copied().collect::<Vec<_>>();
    format!("{} records, not {}; at {at}: {:?}, not {:?}", found.len(), expected.len(), few(found), few(expected))
}
