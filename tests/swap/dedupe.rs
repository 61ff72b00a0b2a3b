//! A producer that is told nothing: its last batch is sent again after each swap, and must be known.

use bytes::Bytes;
use kafka_protocol::messages::InitProducerIdRequest;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use ottla::record::BatchBuilder;

use crate::common::admin::{NO_ERROR, now_ms};
use crate::common::{Cluster, PATIENCE, eventually};

const TOPIC: &str = "dedupe";
const PARTITIONS: i32 = 3;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const RECORDS: i32 = 3;

/// One producer, with a state per partition.
pub struct Repeater {
    producer_id: i64,
    epoch: i16,
    /// By partition, the batches so far: bytes and base offset.
    sent: Vec<Vec<(Bytes, i64)>>,
}

impl Repeater {
    /// Has sent a few batches to each partition.
    pub fn start(cluster: &Cluster) -> Repeater {
        let answer = eventually("a producer id", PATIENCE, || {
            let request =
                InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
            let answer = cluster.any().call(4, &request.with_producer_id((-1).into()).with_producer_epoch(-1));
            (answer.error_code == NO_ERROR).then_some(answer)
        });
        let sent = vec![Vec::new(); PARTITIONS as usize];
        let mut repeater = Repeater { producer_id: answer.producer_id.0, epoch: answer.producer_epoch, sent };
        for partition in 0..PARTITIONS {
            (0..6).for_each(|_| repeater.send_next(cluster, partition));
        }
        repeater
    }

    /// What was sent is known to the leaders of now, what leaves a gap is refused, what comes next is taken.
    pub fn check(&mut self, cluster: &Cluster) {
        for partition in 0..PARTITIONS {
            let sent = &self.sent[partition as usize];
            // A leader remembers five, but only the last one once it was started again.
            let (batch, offset) = sent.last().unwrap();
            let answer = produce(cluster, partition, batch);
            assert_eq!((answer.error_code, answer.base_offset), (NO_ERROR, *offset), "{answer:?}");
            // A leader of ours that has just come into office sends the producer to ask again instead.
            let gap = self.batch(sent.len() + 1);
            let refused = try_produce(cluster, partition, &gap).error_code;
            assert!([OUT_OF_ORDER_SEQUENCE_NUMBER, NOT_LEADER_OR_FOLLOWER].contains(&refused), "{refused}");
            self.send_next(cluster, partition);
        }
    }

    /// Nothing is there twice.
    pub fn assert_in_log(&self, cluster: &Cluster) {
        for (partition, sent) in self.sent.iter().enumerate() {
            let expected: Vec<String> = (0..sent.len()).flat_map(values).collect();
            assert_eq!(cluster.values(TOPIC, partition as i32), expected);
        }
    }

    fn send_next(&mut self, cluster: &Cluster, partition: i32) {
        let sent = &self.sent[partition as usize];
        let (batch, offset) = (self.batch(sent.len()), sent.len() as i64 * i64::from(RECORDS));
        let answer = produce(cluster, partition, &batch);
        assert_eq!((answer.error_code, answer.base_offset), (NO_ERROR, offset), "{answer:?}");
        self.sent[partition as usize].push((batch, offset));
    }

    fn batch(&self, number: usize) -> Bytes {
        let sequence = number as i32 * RECORDS;
        let mut builder = BatchBuilder::new(0).producer(self.producer_id, self.epoch, sequence);
        for value in values(number) {
            builder.append(now_ms(), None, Some(value.as_bytes())).unwrap();
        }
        builder.build().unwrap()
    }
}

fn values(number: usize) -> impl Iterator<Item = String> {
    (0..RECORDS).map(move |record| format!("{number}.{record}"))
}

fn try_produce(cluster: &Cluster, partition: i32, batch: &Bytes) -> PartitionProduceResponse {
    let leader = cluster.leader(TOPIC, partition);
    cluster.brokers[leader].wire().produce_batch(TOPIC, partition, batch.clone())
}

/// The answer of the leader; asked again while it is not in office yet.
fn produce(cluster: &Cluster, partition: i32, batch: &Bytes) -> PartitionProduceResponse {
    eventually("the leader takes the batch", PATIENCE, || {
        let answer = try_produce(cluster, partition, batch);
        (![NOT_LEADER_OR_FOLLOWER, NOT_ENOUGH_REPLICAS].contains(&answer.error_code)).then_some(answer)
    })
}
