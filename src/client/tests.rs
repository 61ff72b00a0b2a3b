//! The client against brokers of a few lines: a pipe for one connection, a socket for the admin client.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;

use super::*;
use crate::protocol::codec::{StrBytes, decode_request, encode_response};
use crate::protocol::messages::api_versions_response::ApiVersion;
use crate::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::messages::*;
use crate::protocol::{ErrorCode, api, header};

fn pipe(timeout: Duration) -> (Connection, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let options = Options { request_timeout: timeout, ..Options::new("test", timeout) };
    (Connection::over(ours, options), theirs)
}

async fn read_frame<S: AsyncReadExt + Unpin>(stream: &mut S) -> Option<Bytes> {
    let size = stream.read_i32().await.ok()?;
    let mut frame = vec![0; usize::try_from(size).unwrap()];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame.into())
}

/// Reads a request and answers with `correlation_id + shift` and a Metadata body of one broker by that id.
async fn answer_metadata(broker: &mut DuplexStream, shift: i32) {
    let mut frame = read_frame(broker).await.unwrap();
    let request = header::parse(&mut frame).unwrap();
    assert_eq!((request.api_key, request.client_id.as_deref()), (3, Some("test")));
    let id = request.correlation_id;
    let body = MetadataResponse::default().with_controller_id(id.into());
    let response = encode_response(id + shift, 3, request.api_version, &body).unwrap();
    // In two parts, as networks do.
    broker.write_all(&response[..6]).await.unwrap();
    broker.write_all(&response[6..]).await.unwrap();
}

fn metadata() -> MetadataRequest {
    MetadataRequest::default()
}

#[tokio::test]
async fn requests_are_pipelined_and_answered_in_order() {
    let (connection, mut broker) = pipe(Duration::from_secs(10));
    let other = connection.clone();
    // Neither answer is sent before both requests are there.
    let broker = tokio::spawn(async move {
        let mut frames = BytesMut::new();
        let mut headers = Vec::new();
        for _ in 0..2 {
            let mut frame = read_frame(&mut broker).await.unwrap();
            headers.push(header::parse(&mut frame).unwrap());
        }
        for request in headers {
            let body = MetadataResponse::default().with_controller_id(request.correlation_id.into());
            let version = request.api_version;
            frames.extend_from_slice(&encode_response(request.correlation_id, 3, version, &body).unwrap());
        }
        broker.write_all(&frames).await.unwrap();
        broker
    });
    let (first, second) = tokio::join!(connection.request(12, metadata()), other.request(1, metadata()));
    assert_eq!((first.unwrap().controller_id.0, second.unwrap().controller_id.0), (0, 1));
    drop(broker.await.unwrap());
}

#[tokio::test]
async fn a_wrong_correlation_id_closes_the_connection() {
    let (connection, mut broker) = pipe(Duration::from_secs(10));
    let (result, ()) = tokio::join!(connection.request(9, metadata()), answer_metadata(&mut broker, 1));
    assert!(matches!(result, Err(ClientError::Disconnected(_))), "{result:?}");
    // The reader closes after it has handed the error out.
    let again = connection.request(9, metadata()).await;
    assert!(matches!(again, Err(ClientError::Disconnected(_))), "{again:?}");
}

#[tokio::test]
async fn a_lost_connection_fails_everything_in_flight() {
    let (connection, mut broker) = pipe(Duration::from_secs(10));
    let cut = async {
        for _ in 0..2 {
            read_frame(&mut broker).await.unwrap();
        }
        drop(broker);
    };
    let (first, second, ()) = tokio::join!(connection.request(9, metadata()), connection.request(9, metadata()), cut);
    let expected = Err(ClientError::Disconnected("the broker closed the connection".to_owned()));
    assert_eq!((first.map(|_| ()), second.map(|_| ())), (expected.clone(), expected));
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_request_without_an_answer_times_out_and_takes_the_connection_along() {
    let (connection, broker) = pipe(Duration::from_millis(100));
    let (first, second) = tokio::join!(
        connection.request(9, metadata()),
        connection.request_within(9, metadata(), Duration::from_secs(60)),
    );
    assert_eq!(first.map(|_| ()), Err(ClientError::Timeout(Duration::from_millis(100))));
    assert_eq!(second.map(|_| ()), Err(ClientError::Disconnected("a request timed out".to_owned())));
    drop(broker);
}

#[tokio::test]
async fn lengths_beyond_the_limit_are_not_believed() {
    for prefix in [i32::MAX, -1] {
        let (connection, mut broker) = pipe(Duration::from_secs(10));
        let lie = async {
            read_frame(&mut broker).await.unwrap();
            broker.write_i32(prefix).await.unwrap();
            broker.read_u8().await // stays open until we have hung up
        };
        let request = async {
            let result = connection.request(9, metadata()).await;
            connection.close();
            result
        };
        let (result, _) = tokio::join!(request, lie);
        assert!(matches!(&result, Err(ClientError::Disconnected(text)) if text.contains("bytes")), "{result:?}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_decode_is_an_error_of_its_request_alone() {
    let (connection, mut broker) = pipe(Duration::from_secs(10));
    let nonsense = async {
        read_frame(&mut broker).await.unwrap();
        // Correlation id 0, then an array of 2^31-1 brokers.
        broker.write_all(b"\x00\x00\x00\x08\x00\x00\x00\x00\x7f\xff\xff\xff").await.unwrap();
        answer_metadata(&mut broker, 0).await;
    };
    let requests = async {
        let first = connection.request(1, metadata()).await;
        (first, connection.request(1, metadata()).await)
    };
    let ((first, second), ()) = tokio::join!(requests, nonsense);
    assert!(matches!(first, Err(ClientError::Protocol(_))), "{first:?}");
    assert_eq!(second.unwrap().controller_id.0, 1);
}

#[tokio::test]
async fn an_old_broker_is_asked_for_its_versions_again_in_its_own() {
    let (connection, mut broker) = pipe(Duration::from_secs(10));
    let rows = |error_code| {
        let row = |key, max| ApiVersion::default().with_api_key(key).with_min_version(0).with_max_version(max);
        ApiVersionsResponse::default().with_error_code(error_code).with_api_keys(vec![row(3, 5), row(18, 1)])
    };
    let old = async {
        for (expected, error_code, answered_in) in [(3, 35, 0), (1, 0, 1)] {
            let mut frame = read_frame(&mut broker).await.unwrap();
            let request = header::parse(&mut frame).unwrap();
            assert_eq!((request.api_key, request.api_version), (18, expected));
            let response = encode_response(request.correlation_id, 18, answered_in, &rows(error_code)).unwrap();
            broker.write_all(&response).await.unwrap();
        }
    };
    let (negotiated, ()) = tokio::join!(connection.negotiate(), old);
    negotiated.unwrap();
    assert_eq!((connection.negotiated(3, 0, 12), connection.negotiated(3, 6, 12)), (Some(5), None));
    assert_eq!(connection.version_of(19).unwrap_err().to_string(), "The node does not support CREATE_TOPICS");
    let range = connection.version_within(api::find(3).unwrap(), 6, 12).unwrap_err().to_string();
    assert_eq!(range, "The node does not support METADATA with version in range [6,12]. The supported range is [0,5].");
}

/// A broker on a socket: knows its port, counts CreateTopics calls, and says NOT_CONTROLLER to the first of them.
struct FakeBroker {
    port: u16,
    created: Arc<Mutex<u32>>,
}

impl FakeBroker {
    async fn start() -> FakeBroker {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let created = Arc::new(Mutex::new(0));
        let shared = Arc::clone(&created);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let created = Arc::clone(&shared);
                tokio::spawn(async move {
                    while let Some(frame) = read_frame(&mut stream).await {
                        stream.write_all(&answer(frame, port, &created)).await.unwrap();
                    }
                });
            }
        });
        FakeBroker { port, created }
    }

    fn admin(&self, properties: &[(&str, &str)]) -> Admin {
        let properties: Vec<_> = properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Admin::new(&format!("127.0.0.1:{}", self.port), &properties).unwrap()
    }
}

fn answer(mut frame: Bytes, port: u16, created: &Mutex<u32>) -> BytesMut {
    let request = header::parse(&mut frame).unwrap();
    let (id, version) = (request.correlation_id, request.api_version);
    match decode_request(request.api_key, version, frame).unwrap() {
        RequestKind::ApiVersions(_) => {
            let rows = api::table().iter().map(|row| {
                ApiVersion::default().with_api_key(row.key).with_min_version(row.min).with_max_version(row.max)
            });
            encode_response(id, 18, version, &ApiVersionsResponse::default().with_api_keys(rows.collect()))
        }
        RequestKind::Metadata(request) => {
            let broker = MetadataResponseBroker::default()
                .with_node_id(7.into())
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(port.into());
            let partition = MetadataResponsePartition::default().with_leader_id(7.into());
            let topics = request.topics.unwrap_or_default().into_iter();
            let topics = topics.map(|topic| {
                MetadataResponseTopic::default().with_name(topic.name).with_partitions(vec![partition.clone()])
            });
            let body = MetadataResponse::default()
                .with_brokers(vec![broker])
                .with_controller_id(7.into())
                .with_topics(topics.collect());
            encode_response(id, 3, version, &body)
        }
        RequestKind::FindCoordinator(request) => {
            let coordinator = find_coordinator_response::Coordinator::default()
                .with_key(request.coordinator_keys[0].clone())
                .with_node_id(7.into())
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(port.into());
            encode_response(id, 10, version, &FindCoordinatorResponse::default().with_coordinators(vec![coordinator]))
        }
        RequestKind::CreateTopics(_) => {
            let mut calls = created.lock();
            *calls += 1;
            let code = if *calls == 1 { ErrorCode::NotController } else { ErrorCode::None };
            let topic = create_topics_response::CreatableTopicResult::default()
                .with_topic_config_error_code(0)
                .with_error_code(code.code());
            encode_response(id, 19, version, &CreateTopicsResponse::default().with_topics(vec![topic]))
        }
        other => panic!("{other:?}"),
    }
    .unwrap()
}

async fn create_topics(admin: &Admin) -> Result<CreateTopicsResponse, ClientError> {
    let call = Call::new("createTopics", Target::Controller);
    let not_controller = |response: &CreateTopicsResponse| {
        let refused = response.topics.iter().find(|topic| topic.error_code == ErrorCode::NotController.code());
        refused.map_or(Ok(()), |topic| ClientError::from_code(topic.error_code, None))
    };
    admin.call(call, |_| Ok(CreateTopicsRequest::default()), not_controller).await
}

#[tokio::test]
async fn a_call_goes_to_the_controller_and_again_after_not_controller() {
    let broker = FakeBroker::start().await;
    let admin = broker.admin(&[("retry.backoff.ms", "1")]);
    let response = create_topics(&admin).await.unwrap();
    assert_eq!((response.topics.len(), *broker.created.lock()), (1, 2));
    assert_eq!(admin.cluster("x").await.unwrap().controller, Some(7));
}

#[tokio::test]
async fn retries_run_out_in_kafkas_words() {
    let broker = FakeBroker::start().await;
    let error = create_topics(&broker.admin(&[("retries", "0")])).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("Call(callName=createTopics, deadlineMs="), "{text}");
    assert!(text.contains(", tries=1, nextAllowedTryMs=") && text.ends_with(" after 1 attempt(s)"), "{text}");
    assert_eq!(error.code(), Some(ErrorCode::NotController));
}

#[tokio::test]
async fn leaders_and_coordinators_are_found() {
    let broker = FakeBroker::start().await;
    let timeout = [("default.api.timeout.ms".to_owned(), "300".to_owned())];
    let admin = Admin::connect(&format!("127.0.0.1:{}", broker.port), &timeout).await.unwrap();
    let leader = admin.leader_of("listOffsets(api=METADATA)", "t", 0).await.unwrap();
    let coordinator = admin.coordinator(CoordinatorKind::Group, "g").await.unwrap();
    assert_eq!((leader.id, leader.port, coordinator.id), (7, broker.port, 7));
    let missing = admin.leader_of("listOffsets(api=METADATA)", "t", 1).await.unwrap_err();
    // In Kafka's words, which depend on whether a request was under way then.
    assert!(missing.is_timeout() && missing.to_string().contains("listOffsets(api=METADATA)"), "{missing}");
}

#[tokio::test]
async fn an_unreachable_cluster_times_out_in_kafkas_words() {
    let port = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let properties = [("default.api.timeout.ms".to_owned(), "300".to_owned())];
    let admin = Admin::new(&format!("127.0.0.1:{port}"), &properties).unwrap();
    let error = admin.metadata("listTopics", None).await.unwrap_err();
    assert_eq!(error.to_string(), "Timed out waiting for a node assignment. Call: listTopics");
    assert!(error.is_timeout());
}
