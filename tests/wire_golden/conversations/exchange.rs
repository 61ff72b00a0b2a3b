//! What Kafka's brokers said to each other (tests/golden/conversations), decoded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::read::GzDecoder;
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use serde_json::Value;
use uuid::Uuid;

use super::super::recording::decode_hex;

pub const RECORDINGS: &[&str] = &["inter-broker", "inter-broker-2", "inter-broker-3"];

/// One request between brokers and its answer.
#[derive(Clone)]
pub struct Exchange {
    /// File and line of the recording.
    pub place: String,
    pub to: i32,
    pub client_id: String,
    pub header: RequestHeader,
    pub request: RequestKind,
    pub answer: ResponseKind,
}

impl Exchange {
    pub fn api(&self) -> ApiKey {
        ApiKey::try_from(self.header.request_api_key).expect("a known api")
    }

    pub fn version(&self) -> i16 {
        self.header.request_api_version
    }

    pub fn name(&self) -> String {
        format!("{} {:?} v{} from {} to {}", self.place, self.api(), self.version(), self.client_id, self.to)
    }

    /// The broker epoch the request names: the receiver's in orders, else the sender's.
    pub fn broker_epoch(&self) -> Option<i64> {
        match &self.request {
            RequestKind::LeaderAndIsr(r) => Some(r.broker_epoch),
            RequestKind::UpdateMetadata(r) => Some(r.broker_epoch),
            RequestKind::StopReplica(r) => Some(r.broker_epoch),
            _ => None,
        }
    }

    /// Topics with ids that the request tells of.
    pub fn topic_ids(&self) -> BTreeMap<Uuid, Arc<str>> {
        match &self.request {
            RequestKind::LeaderAndIsr(r) => {
                r.topic_states.iter().map(|t| (t.topic_id, Arc::from(t.topic_name.as_str()))).collect()
            }
            RequestKind::UpdateMetadata(r) => {
                r.topic_states.iter().map(|t| (t.topic_id, Arc::from(t.topic_name.as_str()))).collect()
            }
            _ => BTreeMap::new(),
        }
    }
}

/// A request as it goes over the wire.
pub fn framed(header: &RequestHeader, request: &RequestKind) -> Bytes {
    let api = ApiKey::try_from(header.request_api_key).expect("a known api");
    let version = header.request_api_version;
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header.encode(&mut frame, api.request_header_version(version)).expect("a header");
    request.encode(&mut frame, version).expect("a request");
    let length = i32::try_from(frame.len() - 4).expect("a small request");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

/// An answer without its length.
pub fn decode_answer(api: ApiKey, version: i16, mut frame: Bytes) -> ResponseKind {
    frame.advance(if api.response_header_version(version) == 0 { 4 } else { 5 });
    let answer = ResponseKind::decode(api, &mut frame, version).expect("an answer of the request's version");
    assert!(frame.is_empty(), "{} bytes left over in an answer to {api:?} v{version}", frame.len());
    answer
}

/// All of one recording, in the order in which the requests went out.
pub fn load(recording: &str) -> Vec<Exchange> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/conversations");
    let file = File::open(folder.join(format!("{recording}.jsonl.gz"))).expect("a recording");
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines.map(|line| parse(recording, &line.expect("a line of text"))).collect()
}

fn parse(recording: &str, line: &str) -> Exchange {
    let value: Value = serde_json::from_str(line).expect("a line of JSON");
    let bytes = |key: &str| ordinary(&decode_hex(value[key].as_str().expect("hex"))).slice(4..);
    let mut request = bytes("request_hex");
    let (key, version) = (request.clone().get_i16(), request.slice(2..).get_i16());
    let api = ApiKey::try_from(key).expect("a known api");
    let header = RequestHeader::decode(&mut request, api.request_header_version(version)).expect("a header");
    Exchange {
        place: format!("{recording}:{}", value["line"]),
        to: i32::try_from(value["to_broker"].as_i64().expect("a broker id")).expect("a broker id"),
        client_id: value["client_id"].as_str().expect("a client id").to_owned(),
        header,
        request: RequestKind::decode(api, &mut request, version).expect("a recorded request"),
        answer: decode_answer(api, version, bytes("response_hex")),
    }
}

/// Gives internal topics other names: any client may write to them then, and no coordinator reads them.
fn ordinary(frame: &[u8]) -> Bytes {
    let mut frame = frame.to_vec();
    for name in [&b"__consumer_offsets"[..], b"__transaction_state"] {
        while let Some(at) = frame.windows(name.len()).position(|window| window == name) {
            frame[at..at + 2].copy_from_slice(b"of");
        }
    }
    frame.into()
}
