//! Producers and consumers. They send what a real client sends to whoever says to lead, and hand what they are told to the
//! checker. A producer that gets no answer, or an error, does not know, and says nothing.

use std::sync::Arc;

use bytes::Bytes;
use ottla::api::reply::{Frame, Reply};
use ottla::protocol::codec::{self, Request, StrBytes};
use ottla::protocol::header;
use ottla::protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla::protocol::messages::{BrokerId, FetchRequest, ProduceRequest, TopicName};
use ottla::record::BatchBuilder;
use ottla::topic::TopicPartition;
use ottla::util::clock;
use tokio::time::{sleep, timeout};

use crate::checker;
use crate::network::{CLIENT_PATIENCE, Server, bytes_of, peer};
use crate::random::Random;
use crate::world::World;

/// Sends one request and waits for its answer; `None` when there is none.
async fn ask<R: Request>(
    world: &Arc<World>,
    server: &Server,
    random: &mut Random,
    version: i16,
    request: &R,
) -> Option<R::Response> {
    let frame = codec::encode_request(1, Some("client"), version, request).unwrap().freeze();
    let process = &server.process;
    sleep(random.delay(world.traits.slow_network)).await;
    timeout(CLIENT_PATIENCE, process.awake()).await.ok()?;
    let reply = server.api.handle(&peer(), frame.slice(4..));
    world.step("client", process.id, "");
    let later = match reply {
        Reply::Now(frame) => return decode::<R>(version, frame),
        Reply::Later(later) | Reply::Exclusive(later) => later,
        Reply::Nothing => return None,
        Reply::Close(why) => panic!("a client's connection is closed: {why}"),
    };
    let answered = async {
        let frame = later.await;
        // A process that stands still or is gone has sent nothing.
        process.awake().await;
        frame
    };
    let frame = timeout(CLIENT_PATIENCE, answered).await.ok()??;
    world.step("answers", process.id, "");
    decode::<R>(version, frame)
}

fn decode<R: Request>(version: i16, frame: Frame) -> Option<R::Response> {
    let mut bytes = bytes_of(frame).slice(4..);
    header::parse_response(&mut bytes, R::KEY, version).unwrap();
    Some(codec::decode_response::<R>(version, bytes).unwrap())
}

/// Somebody who says to lead the partition; sometimes anybody.
fn leader(world: &World, tp: &TopicPartition, random: &mut Random) -> Option<Server> {
    let servers: Vec<Server> = world.serving().into_iter().filter_map(|id| world.network.server(id)).collect();
    let leads = |server: &&Server| {
        let partition = server.api.replicas.partition(&tp.topic, tp.partition);
        partition.is_ok_and(|partition| partition.is_leader())
    };
    let leaders: Vec<Server> = servers.iter().filter(leads).cloned().collect();
    let among = if leaders.is_empty() || random.chance(20) { &servers } else { &leaders };
    random.pick(among).cloned()
}

/// Produces a few records, in the background.
pub fn produce(world: &Arc<World>, number: u64) {
    let world = world.clone();
    let mut random = world.random("producer");
    tokio::spawn(async move {
        let Some(tp) = random.pick(&world.partitions).cloned() else { return };
        let Some(server) = leader(&world, &tp, &mut random) else { return };
        let acks = if random.chance(800) { -1 } else { 1 };
        let values: Vec<String> = (0..random.within(1, 3)).map(|at| format!("{number}.{at} acks {acks}")).collect();
        let request = produce_request(&tp, acks, &values);
        let Some(answer) = ask(&world, &server, &mut random, 9, &request).await else { return };
        let answer = &answer.responses[0].partition_responses[0];
        if answer.error_code == 0 && acks == -1 {
            world.say(|| format!("{tp} keeps {values:?} from {}", answer.base_offset));
            let noted = world.checker.lock().on_ack(&tp, answer.base_offset, &values);
            noted.unwrap_or_else(|violation| world.fail(violation));
        }
    });
}

fn produce_request(tp: &TopicPartition, acks: i16, values: &[String]) -> ProduceRequest {
    let mut batch = BatchBuilder::new(0);
    for value in values {
        batch.append(clock::now_ms(), None, Some(value.as_bytes())).unwrap();
    }
    let data = PartitionProduceData::default().with_index(tp.partition).with_records(Some(batch.build().unwrap()));
    let topic = TopicProduceData::default().with_name(name(tp)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1500).with_topic_data(vec![topic])
}

fn name(tp: &TopicPartition) -> TopicName {
    TopicName(StrBytes::from_string(tp.topic.to_string()))
}

/// Reads from somewhere in a partition, in the background.
pub fn consume(world: &Arc<World>) {
    let world = world.clone();
    let mut random = world.random("consumer");
    tokio::spawn(async move {
        let Some(tp) = random.pick(&world.partitions).cloned() else { return };
        let Some(server) = leader(&world, &tp, &mut random) else { return };
        let log = server.api.replicas.partition(&tp.topic, tp.partition).ok().and_then(|partition| partition.log());
        let from = random.below(log.map_or(0, |log| log.log_end_offset().max(0)) as u64 + 1) as i64;
        let Some(answer) = ask(&world, &server, &mut random, 11, &fetch_request(&tp, from)).await else { return };
        let Some(answer) = answer.responses.first().and_then(|topic| topic.partitions.first()) else { return };
        let records: Bytes = answer.records.clone().unwrap_or_default();
        if answer.error_code != 0 || records.is_empty() {
            return;
        }
        let read = checker::values(&records).and_then(|values| {
            let mut checker = world.checker.lock();
            let read = values.range(from..answer.high_watermark);
            read.into_iter().try_for_each(|(offset, value)| checker.on_read(&tp, *offset, value))
        });
        read.unwrap_or_else(|violation| world.fail(violation));
    });
}

fn fetch_request(tp: &TopicPartition, from: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(tp.partition)
        .with_fetch_offset(from)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(1 << 16);
    let topic = FetchTopic::default().with_topic(name(tp)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(1 << 16)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}
