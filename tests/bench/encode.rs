//! Requests encoded once, before anything is measured: the load must not cost what it measures.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, ProduceRequest, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Encodable, Request, StrBytes};

pub const PRODUCE_VERSION: i16 = 9;
pub const FETCH_VERSION: i16 = 12;
/// Bytes of a record's value in the large batches.
pub const VALUE: usize = 1000;
/// Records of a large batch: just under the default `max.message.bytes` of 1 MiB.
pub const RECORDS: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    Lz4,
}

/// A record batch of format 2.
pub struct Batch {
    pub bytes: Bytes,
    pub records: usize,
}

impl Batch {
    /// 1 KiB records up to 1 MiB, before compression.
    pub fn large(codec: Codec) -> Batch {
        Batch::new(RECORDS, VALUE, codec)
    }

    /// One record; 1 KiB in all.
    pub fn small() -> Batch {
        Batch::of(1)
    }

    /// So many records of a little less than 1 KiB.
    pub fn of(records: usize) -> Batch {
        Batch::new(records, 1024 - 61 - 12, Codec::None)
    }

    fn new(count: usize, value: usize, codec: Codec) -> Batch {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        let mut records = BytesMut::new();
        for index in 0..count {
            put_record(&mut records, index, &text(index, value));
        }
        let records = match codec {
            Codec::None => records.to_vec(),
            Codec::Lz4 => lz4(&records),
        };
        let mut checked = BytesMut::new();
        checked.put_i16(if codec == Codec::Lz4 { 3 } else { 0 });
        checked.put_i32(count as i32 - 1);
        checked.put_i64(now);
        checked.put_i64(now);
        checked.put_i64(-1);
        checked.put_i16(-1);
        checked.put_i32(-1);
        checked.put_i32(count as i32);
        checked.put_slice(&records);
        let mut batch = BytesMut::new();
        batch.put_i64(0);
        batch.put_i32(checked.len() as i32 + 9);
        batch.put_i32(-1);
        batch.put_i8(2);
        batch.put_u32(crc32c::crc32c(&checked));
        batch.put_slice(&checked);
        Batch { bytes: batch.freeze(), records: count }
    }
}

fn put_record(out: &mut BytesMut, index: usize, value: &[u8]) {
    let mut body = BytesMut::new();
    body.put_u8(0);
    put_varint(&mut body, 0);
    put_varint(&mut body, index as i64);
    put_varint(&mut body, -1);
    put_varint(&mut body, value.len() as i64);
    body.put_slice(value);
    put_varint(&mut body, 0);
    put_varint(out, body.len() as i64);
    out.put_slice(&body);
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.put_u8(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.put_u8(zigzag as u8);
}

/// Half words that repeat, half digits that do not: about what lz4 meets in JSON.
fn text(seed: usize, length: usize) -> Vec<u8> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut out = Vec::with_capacity(length + 40);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(format!("{{\"account\":\"{state:016x}\",\"kind\":\"click\"}}").as_bytes());
    }
    out.truncate(length);
    out
}

fn lz4(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(data).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}

/// A whole frame: length, header, body.
fn request<R: Request>(version: i16, body: &R) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(1)
        .with_client_id(Some(StrBytes::from_static_str("bench")));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header.encode(&mut frame, R::header_version(version)).expect("a request header");
    body.encode(&mut frame, version).expect("a request");
    let length = frame.len() as i32 - 4;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.to_vec()
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

pub fn produce(topic: &str, partition: i32, acks: i16, batch: &Batch) -> Vec<u8> {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.bytes.clone()));
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
    let body = ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    request(PRODUCE_VERSION, &body)
}

/// As a consumer with default settings asks, but for one partition and without a session.
pub fn fetch(topic: &str, partition: i32, offset: i64, partition_max_bytes: i32) -> Vec<u8> {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(partition_max_bytes);
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
    let body = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    request(FETCH_VERSION, &body)
}

/// Topics of factor 3 on brokers 0 to 2: partition p of each is led by broker p % 3.
pub fn create_replicated(topics: &[String], partitions: i32) -> CreateTopicsRequest {
    let assigned = |partition: i32| {
        let replicas = (0..3).map(|n| BrokerId((partition + n) % 3)).collect();
        CreatableReplicaAssignment::default().with_partition_index(partition).with_broker_ids(replicas)
    };
    let topics = topics.iter().map(|topic| {
        CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments((0..partitions).map(assigned).collect())
    });
    CreateTopicsRequest::default().with_topics(topics.collect()).with_timeout_ms(60_000)
}

pub fn create_topic(topic: &str, partitions: i32, configs: &[(&str, &str)]) -> CreateTopicsRequest {
    let text = |s: &str| StrBytes::from_string(s.to_owned());
    let configs = configs
        .iter()
        .map(|(k, v)| CreatableTopicConfig::default().with_name(text(k)).with_value(Some(text(v))))
        .collect();
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs);
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000)
}

pub fn delete_topic(topic: &str) -> DeleteTopicsRequest {
    DeleteTopicsRequest::default().with_topic_names(vec![name(topic)]).with_timeout_ms(30_000)
}
