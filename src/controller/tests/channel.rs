//! The senders, against a socket: one request at a time, in order, sent again until it is answered.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::batch::ControlRequest;
use super::super::channel::{ControlChannel, NetworkChannel, controller_connector};
use super::super::context::Broker;
use super::super::events::{Event, EventQueue};
use super::super::testing::broker;
use crate::config::ProtocolVersion;
use crate::protocol::messages::{StopReplicaRequest, UpdateMetadataRequest};
use crate::topic::TopicPartition;

async fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_u32().await.unwrap();
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await.unwrap();
    frame
}

/// Answers with the request's correlation id, no tagged fields, and `body`.
async fn answer(stream: &mut TcpStream, frame: &[u8], body: &[u8]) {
    let mut out = frame[4..8].to_vec();
    out.push(0);
    out.extend_from_slice(body);
    stream.write_u32(out.len() as u32).await.unwrap();
    stream.write_all(&out).await.unwrap();
}

fn update(epoch: i64) -> ControlRequest {
    ControlRequest::UpdateMetadata(UpdateMetadataRequest::default().with_broker_epoch(epoch))
}

async fn setup() -> (TcpListener, NetworkChannel, Broker, EventQueue) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut node = broker(5);
    node.endpoints[0].host = "127.0.0.1".to_owned();
    node.endpoints[0].port = i32::from(listener.local_addr().unwrap().port());
    let connector = controller_connector(crate::client::tcp(), 3, Duration::from_secs(5));
    let channel = NetworkChannel::new(3, "PLAINTEXT", ProtocolVersion::parse("3.7").unwrap(), connector);
    (listener, channel, node, EventQueue::default())
}

#[tokio::test]
async fn in_order_one_by_one_and_again_after_a_broken_connection() {
    let (listener, mut channel, node, events) = setup().await;
    channel.add_broker(&node, &events);
    channel.send(5, update(1));
    channel.send(5, update(2));
    channel.send(9, update(3));
    let (mut first, _) = listener.accept().await.unwrap();
    let frame = read_frame(&mut first).await;
    // UpdateMetadata version 8, from client `3`, without asking for versions first.
    assert_eq!((&frame[..4], &frame[8..11]), (&[0, 6, 0, 8][..], &[0, 1, b'3'][..]));
    drop(first);
    let (mut second, _) = listener.accept().await.unwrap();
    let again = read_frame(&mut second).await;
    assert_eq!(again[12..], frame[12..]);
    // The second request waits for the first one's answer.
    let early = tokio::time::timeout(Duration::from_millis(50), second.read_u8()).await;
    assert!(early.is_err());
    answer(&mut second, &again, &[0, 11, 0]).await;
    let next = read_frame(&mut second).await;
    assert_ne!(next[12..], again[12..]);
    answer(&mut second, &next, &[0, 0, 0]).await;
    // An error is passed on, success is not worth an event.
    let Event::UpdateMetadataResponse(5, response) = events.take().await else { panic!("another event") };
    assert_eq!(response.error_code, 11);
}

#[tokio::test]
async fn answers_to_deletions_come_with_what_was_to_be_deleted() {
    let (listener, mut channel, node, events) = setup().await;
    channel.add_broker(&node, &events);
    let deleting = [TopicPartition::new("t", 0)].into();
    channel.send(5, ControlRequest::StopReplica { request: StopReplicaRequest::default(), deleting });
    let (mut stream, _) = listener.accept().await.unwrap();
    let frame = read_frame(&mut stream).await;
    assert_eq!(frame[..4], [0, 5, 0, 4]);
    // No error, one partition: topic `t`, partition 0, KAFKA_STORAGE_ERROR.
    answer(&mut stream, &frame, &[0, 0, 2, 2, b't', 0, 0, 0, 0, 0, 56, 0, 0]).await;
    let Event::StopReplicaResponse(5, response, deleting) = events.take().await else { panic!("another event") };
    assert_eq!((response.partition_errors[0].error_code, deleting.len()), (56, 1));
}

#[tokio::test]
async fn drained_when_the_last_answer_is_in() {
    let (listener, mut channel, node, events) = setup().await;
    channel.add_broker(&node, &events);
    channel.drained().await;
    channel.send(5, update(1));
    let drained = tokio::spawn(channel.drained());
    let (mut stream, _) = listener.accept().await.unwrap();
    let frame = read_frame(&mut stream).await;
    assert!(!drained.is_finished());
    answer(&mut stream, &frame, &[0, 0, 0]).await;
    drained.await.unwrap();
}

#[tokio::test]
async fn a_removed_broker_is_left_alone() {
    let (listener, mut channel, node, events) = setup().await;
    channel.add_broker(&node, &events);
    channel.send(5, update(1));
    let (mut stream, _) = listener.accept().await.unwrap();
    read_frame(&mut stream).await;
    channel.remove_broker(5);
    // The connection closes: nothing more comes.
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
    channel.add_broker(&node, &events);
    channel.send(5, update(2));
    let (mut stream, _) = listener.accept().await.unwrap();
    read_frame(&mut stream).await;
    channel.shutdown();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
}
