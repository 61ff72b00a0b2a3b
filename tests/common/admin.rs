//! What most tests need of a broker, by plain requests: topics, offsets, records in and out.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest,
    ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use ottla::record::{self, BatchBuilder, Codec, Record};

use super::deadline::{PATIENCE, eventually};
use super::wire::Wire;

pub const EARLIEST: i64 = -2;
pub const LATEST: i64 = -1;
pub const NO_ERROR: i16 = 0;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// More than any test's batch holds, decompressed.
const DECOMPRESSION_CAP: u64 = 64 << 20;

pub fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

impl Wire {
    /// Creates a topic with one replica; error code and message.
    pub fn try_create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(&str, &str)],
    ) -> (i16, Option<String>) {
        let config =
            |(k, v): &(&str, &str)| CreatableTopicConfig::default().with_name(text(k)).with_value(Some(text(v)));
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let response = self.call(5, &request);
        let topic = &response.topics[0];
        (topic.error_code, topic.error_message.as_ref().map(ToString::to_string))
    }

    /// Creates a topic with one replica and waits until all partitions have a leader.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let answer = self.try_create_topic(name, partitions, 1, configs);
        assert_eq!(answer.0, NO_ERROR, "{answer:?}");
        self.await_leaders(name, partitions);
    }

    pub fn delete_topic(&mut self, name: &str) -> i16 {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(name)]).with_timeout_ms(30_000);
        self.call(5, &request).responses[0].error_code
    }

    /// One topic's metadata, from a Metadata request that may create it.
    pub fn metadata(&mut self, name: &str, auto_create: bool) -> MetadataResponseTopic {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request =
            MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(auto_create);
        self.call(8, &request).topics.remove(0)
    }

    pub fn await_leaders(&mut self, name: &str, partitions: i32) {
        eventually("all partitions have a leader", PATIENCE, || {
            let topic = self.metadata(name, false);
            let count = i32::try_from(topic.partitions.len()).expect("a small topic");
            let led = topic.partitions.iter().all(|p| p.error_code == NO_ERROR && p.leader_id.0 >= 0);
            (topic.error_code == NO_ERROR && count == partitions && led).then_some(())
        });
    }

    /// Waits until the broker answers fetches of a partition.
    pub fn await_readable(&mut self, name: &str, partition: i32) {
        eventually("the partition can be read", PATIENCE, || {
            (self.fetch(name, partition, 0, 0, 0).error_code != UNKNOWN_TOPIC_OR_PARTITION).then_some(())
        });
    }

    /// All topics, with their partition counts.
    pub fn topics(&mut self) -> BTreeMap<String, usize> {
        let response = self.call(8, &MetadataRequest::default().with_topics(None));
        let named = |t: &MetadataResponseTopic| t.name.as_ref().map(|n| (n.to_string(), t.partitions.len()));
        response.topics.iter().filter_map(named).collect()
    }

    /// Produces one batch with acks=all.
    pub fn produce_batch(&mut self, topic: &str, partition: i32, batch: Bytes) -> PartitionProduceResponse {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
        self.call(9, &request).responses.remove(0).partition_responses.remove(0)
    }

    /// Produces values without keys, at these times (milliseconds since the epoch); the first offset.
    pub fn produce(&mut self, topic: &str, partition: i32, values: &[&str], now_ms: i64) -> i64 {
        let answer = self.produce_batch(topic, partition, batch(values, now_ms, Codec::None));
        assert_eq!(answer.error_code, NO_ERROR, "{answer:?}");
        answer.base_offset
    }

    /// The answer for one partition of a fetch; `isolation` 1 is read_committed.
    pub fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        isolation: i8,
        max_wait_ms: i32,
    ) -> PartitionData {
        let part = FetchPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(offset)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![part]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(max_wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(8 << 20)
            .with_isolation_level(isolation)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        self.call(12, &request).responses.remove(0).partitions.remove(0)
    }

    /// All records from `offset` to the high watermark, control records included.
    pub fn read(&mut self, topic: &str, partition: i32, offset: i64) -> Vec<Record> {
        let mut next = offset;
        let mut all = Vec::new();
        loop {
            let data = self.fetch(topic, partition, next, 0, 0);
            assert_eq!(data.error_code, NO_ERROR, "fetch at {next}");
            if next >= data.high_watermark {
                return all;
            }
            let before = next;
            for found in record::batches(data.records.unwrap_or_default()) {
                let found = found.expect("a batch");
                found.verify_crc().expect("a sound batch");
                next = found.next_offset();
                let records = found.records(DECOMPRESSION_CAP).map(|r| r.expect("a record"));
                all.extend(records.filter(|r| r.offset >= offset));
            }
            assert!(next > before, "nothing at {before} below the high watermark {}", data.high_watermark);
        }
    }

    /// All values from the log start on, as text.
    pub fn values(&mut self, topic: &str, partition: i32) -> Vec<String> {
        let start = self.offset(topic, partition, EARLIEST);
        let text = |r: Record| String::from_utf8_lossy(&r.value.unwrap_or_default()).into_owned();
        self.read(topic, partition, start).into_iter().map(text).collect()
    }

    /// Offset for a timestamp, [`EARLIEST`] or [`LATEST`].
    pub fn offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> i64 {
        let answer = self.try_offset(topic, partition, timestamp);
        assert_eq!(answer.error_code, NO_ERROR, "{answer:?}");
        answer.offset
    }

    /// The same with the error that there may be.
    pub fn try_offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> ListOffsetsPartitionResponse {
        let part = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![part]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        self.call(5, &request).topics.remove(0).partitions.remove(0)
    }
}

/// One batch of values without keys, all at one time.
pub fn batch(values: &[&str], now_ms: i64, codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(0).codec(codec);
    for value in values {
        builder.append(now_ms, None, Some(value.as_bytes())).expect("a record");
    }
    builder.build().expect("a batch")
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time after 1970");
    i64::try_from(now.as_millis()).expect("a time before the year 292 million")
}
