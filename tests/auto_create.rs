//! Automatic topic creation, by producers and by consumers, and the settings around it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::admin::NO_ERROR;
use common::{Broker, PATIENCE, eventually};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const TOPIC_DELETION_DISABLED: i16 = 73;

fn client(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap());
    // For a topic that is not there a client gives up after this.
    config.set("topic.metadata.propagation.max.ms", "3000");
    config
}

/// Sends one record; what became of it.
fn produce_one(broker: &Broker, topic: &str) -> Result<(), KafkaError> {
    let producer: BaseProducer = client(broker).set("message.timeout.ms", "10000").create().unwrap();
    producer.send(BaseRecord::<(), str>::to(topic).payload("x")).map_err(|(e, _)| e)?;
    producer.flush(PATIENCE)?;
    let mut wire = broker.wire();
    let topic = wire.metadata(topic, false);
    match topic.error_code {
        NO_ERROR => Ok(()),
        _ => Err(KafkaError::MessageProduction(RDKafkaErrorCode::UnknownTopic)),
    }
}

fn consumer(broker: &Broker, topic: &str, may_create: bool) -> BaseConsumer {
    let consumer: BaseConsumer = client(broker)
        .set("group.id", "g")
        .set("auto.offset.reset", "earliest")
        .set("allow.auto.create.topics", if may_create { "true" } else { "false" })
        .set("topic.metadata.refresh.interval.ms", "200")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    consumer
}

#[test]
fn a_producer_creates_with_the_default_partition_count() {
    let broker = Broker::start(&[("auto.create.topics.enable", "true"), ("num.partitions", "3")]);
    produce_one(&broker, "made-by-producer").unwrap();
    let mut wire = broker.wire();
    wire.await_leaders("made-by-producer", 3);
    let values: Vec<String> = (0..3).flat_map(|p| wire.values("made-by-producer", p)).collect();
    assert_eq!(values, ["x"]);
}

#[test]
fn a_consumer_creates_and_then_reads() {
    let broker = Broker::start(&[("auto.create.topics.enable", "true"), ("num.partitions", "2")]);
    let consumer = consumer(&broker, "made-by-consumer", true);
    consumer.unsubscribe();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..2 {
        assignment.add_partition_offset("made-by-consumer", partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut wire = broker.wire();
    eventually("the consumer's topic is there", PATIENCE, || {
        let _ = consumer.poll(Duration::from_millis(50));
        wire.topics().contains_key("made-by-consumer").then_some(())
    });
    wire.await_leaders("made-by-consumer", 2);
    produce_one(&broker, "made-by-consumer").unwrap();
    let value = eventually("the record arrives", PATIENCE, || {
        consumer.poll(Duration::from_millis(100)).and_then(|m| m.ok().map(|m| m.payload().unwrap().to_vec()))
    });
    assert_eq!(value, b"x");
}

#[test]
fn nobody_creates_when_it_is_off() {
    let broker = Broker::start(&[("auto.create.topics.enable", "false")]);
    let refused = produce_one(&broker, "not-by-producer");
    assert!(refused.is_err(), "{refused:?}");
    let consumer = consumer(&broker, "not-by-consumer", true);
    let error = eventually("the consumer is told", PATIENCE, || match consumer.poll(Duration::from_millis(100)) {
        Some(Err(KafkaError::MessageConsumption(code))) => Some(code),
        _ => None,
    });
    assert_eq!(error, RDKafkaErrorCode::UnknownTopicOrPartition);
    let mut wire = broker.wire();
    assert_eq!(wire.metadata("not-by-request", true).error_code, UNKNOWN_TOPIC_OR_PARTITION);
    let topics = wire.topics();
    assert!(topics.keys().all(|name| name.starts_with("__")), "{topics:?}");
}

#[test]
fn a_request_that_does_not_allow_it_creates_nothing() {
    let broker = Broker::start(&[("auto.create.topics.enable", "true")]);
    let mut wire = broker.wire();
    assert_eq!(wire.metadata("never", false).error_code, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(wire.topics().len(), 0);
}

#[test]
fn a_replication_factor_of_one_is_what_one_broker_can_do() {
    let broker = Broker::start(&[("default.replication.factor", "1"), ("num.partitions", "2")]);
    let mut wire = broker.wire();
    wire.metadata("auto", true);
    wire.await_leaders("auto", 2);
    assert_eq!(wire.try_create_topic("by-default", -1, -1, &[]).0, NO_ERROR);
    wire.await_leaders("by-default", 2);
    assert!(wire.metadata("by-default", false).partitions.iter().all(|p| p.replica_nodes.len() == 1));
}

#[test]
fn a_replication_factor_of_two_is_refused_by_one_broker() {
    let broker = Broker::start(&[("default.replication.factor", "2")]);
    let mut wire = broker.wire();
    assert_eq!(wire.metadata("auto", true).error_code, INVALID_REPLICATION_FACTOR);
    let refused =
        (INVALID_REPLICATION_FACTOR, Some("Replication factor: 2 larger than available brokers: 1.".to_owned()));
    assert_eq!(wire.try_create_topic("by-default", 1, -1, &[]), refused);
    assert_eq!(wire.try_create_topic("by-request", 1, 2, &[]), refused);
    assert_eq!(wire.try_create_topic("one", 1, 1, &[]).0, NO_ERROR);
    assert_eq!(wire.topics().len(), 1);
}

#[test]
fn topics_are_deleted_only_where_that_is_allowed() {
    let broker = Broker::start(&[("delete.topic.enable", "false")]);
    let mut wire = broker.wire();
    wire.create_topic("stays", 1, &[]);
    assert_eq!(wire.delete_topic("stays"), TOPIC_DELETION_DISABLED);
    assert!(broker.data_dir().join("stays-0").is_dir());
    assert!(wire.topics().contains_key("stays"));

    let broker = Broker::start(&[("log.segment.delete.delay.ms", "100")]);
    let mut wire = broker.wire();
    wire.create_topic("goes", 2, &[]);
    wire.produce("goes", 0, &["x"], common::admin::now_ms());
    assert_eq!(wire.delete_topic("goes"), NO_ERROR);
    assert_eq!(wire.delete_topic("goes"), UNKNOWN_TOPIC_OR_PARTITION);
    eventually("nothing of the topic is left", PATIENCE, || {
        let mut left = std::fs::read_dir(broker.data_dir()).unwrap().flatten();
        let any = left.any(|f| f.file_name().to_string_lossy().starts_with("goes"));
        (!any && !wire.topics().contains_key("goes")).then_some(())
    });
    wire.create_topic("goes", 1, &[]);
    assert_eq!(wire.values("goes", 0), Vec::<String>::new(), "a new topic of that name is empty");
}
