//! Replays what Kafka 3.7.2 was asked (tests/golden/wire) against the broker under test, in the recorded order and so in the
//! recorded state, and compares the answers: byte for byte, or but for what must vary (reconcile.rs says what).
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
mod conversations;
#[path = "../common/datadir.rs"]
mod datadir;
mod neighbours;
mod reconcile;
mod recording;
mod translation;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use common::{Broker, PATIENCE, Wire, eventually};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, BrokerId, FindCoordinatorRequest, InitProducerIdRequest, RequestHeader, RequestKind,
    ResponseKind,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use recording::{Answer, Line};
use translation::Translation;

/// The apis of this stage; the others come with their issues. ControlledShutdown is asked of a cluster.
const APIS: &[&str] = &[
    "00-", "01-", "02-", "03-", "04-", "05-", "06-", "08-", "09-", "10-", "11-", "12-", "13-", "14-", "15-", "16-",
    "18-", "19-", "20-", "22-", "23-", "32-", "33-", "35-", "37-", "43-", "44-", "45-", "46-", "56-", "60-", "67-",
];

/// Why a line cannot be replayed on one broker, by a part of its note or of its request.
const SKIPPED: &[(&str, &str)] = &[
    ("before authentication", "needs a SASL listener"),
    ("transactional", "transactions"),
    ("timeout too large", "transactions"),
    ("transaction pends", "transactions"),
    ("transaction", "transactions"),
];

fn skip_reason(line: &Line, advertised: &BTreeMap<i16, i16>) -> Option<&'static str> {
    if let Some((_, reason)) = SKIPPED.iter().find(|(part, _)| line.note.contains(part)) {
        return Some(reason);
    }
    if line.request.windows(4).any(|w| w == b"wtx-") {
        return Some("transactions");
    }
    let known = line.api_key().is_some_and(|key| ApiKey::try_from(key).is_ok() && !advertised.contains_key(&key));
    known.then_some("the broker does not advertise the api")
}

#[derive(Default)]
struct Score {
    identical: usize,
    equal: usize,
    closed: usize,
    different: Vec<String>,
    skipped: BTreeMap<String, Vec<String>>,
}

impl Score {
    fn report(&self) {
        for (reason, lines) in &self.skipped {
            println!("skipped {}: {reason}", lines.len());
            lines.iter().for_each(|line| println!("    {line}"));
        }
        let compared = self.identical + self.equal + self.closed + self.different.len();
        let skipped: usize = self.skipped.values().map(Vec::len).sum();
        println!(
            "wire: {compared} compared, {} equal ({} byte for byte, {} but for what must vary, {} connections closed), \
             {} different, {skipped} skipped",
            compared - self.different.len(),
            self.identical,
            self.equal,
            self.closed,
            self.different.len(),
        );
    }
}

#[test]
fn the_recorded_requests_get_the_recorded_answers() {
    let broker = start();
    let mut wire = broker.wire();
    let advertised = advertised(&mut wire);
    await_coordinator(&mut wire);
    let lines = recording::load(&folder(), |file| APIS.iter().any(|api| file.starts_with(api)));
    let mut translation = Translation::default();
    let mut score = Score::default();
    for line in lines.iter().filter(|line| !neighbours::are_needed(line)) {
        if let Some(reason) = skip_reason(line, &advertised) {
            score.skipped.entry(reason.to_owned()).or_default().push(line.name());
            continue;
        }
        replay(line, &broker, &mut wire, &mut translation, &mut score);
    }
    score.report();
    assert!(score.different.is_empty(), "{}", score.different.join("\n\n"));
    assert!(score.identical + score.equal > 250, "hardly anything was compared");
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire")
}

/// A broker with the topics that the recorded cluster had from before.
fn start() -> Broker {
    let mut broker = Broker::prepare(&[("listeners", "PLAINTEXT://localhost:{port}")]);
    for archive in ["a-plain", "b-txn-clean"] {
        datadir::unpack(archive, &broker.data_dir());
    }
    datadir::remove(&broker.data_dir(), "__transaction_state");
    // Their leaders had changed four times.
    datadir::adopt(&broker, Some(4));
    broker.expect_log("connection"); // The recording has frames that end one.
    broker.expect_log("stale broker epoch"); // An AllocateProducerIds is recorded with a wrong one.
    broker.launch();
    broker
}

fn advertised(wire: &mut Wire) -> BTreeMap<i16, i16> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("tests"))
        .with_client_software_version(StrBytes::from_static_str("1"));
    wire.call(3, &request).api_keys.iter().map(|a| (a.api_key, a.max_version)).collect()
}

fn await_coordinator(wire: &mut Wire) {
    let request = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("wg"));
    eventually("the group coordinator is there", PATIENCE, || (wire.call(1, &request).error_code == 0).then_some(()));
    wire.await_leaders("__consumer_offsets", 5);
    // Kafka fetches its first block of producer ids behind an answer with an error.
    eventually("there are producer ids", PATIENCE, || {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        (wire.call(1, &request).error_code == 0).then_some(())
    });
}

fn replay(line: &Line, broker: &Broker, wire: &mut Wire, translation: &mut Translation, score: &mut Score) {
    let request = for_one_broker(line, &translation.to_present(&line.request));
    let own_connection = line.broker.is_empty();
    let mut own = own_connection.then(|| broker.wire());
    let connection = own.as_mut().unwrap_or(wire);
    connection.send_raw(&request).expect("a request goes out");
    match &line.answer {
        Answer::Nothing => {}
        Answer::ConnectionClosed => match connection.receive() {
            Ok(None) => score.closed += 1,
            other => score.different.push(format!("{}: the connection stays open: {other:?}", line.name())),
        },
        Answer::Frame(recorded) => {
            let Ok(Some(present)) = connection.receive() else {
                score.different.push(format!("{}: the broker closed the connection", line.name()));
                *wire = broker.wire();
                return;
            };
            compare(line, &recorded.slice(4..), &present, translation, score);
            if line.note.starts_with("two topics and an unknown one") {
                wire.await_leaders("nosuch-topic", 1); // The first of these creates it.
            }
        }
    }
}

/// Replicas on brokers that are not there become one on broker 0.
fn for_one_broker(line: &Line, request: &Bytes) -> Bytes {
    let (Some(key), Some(version)) = (line.api_key(), line.version()) else { return request.clone() };
    let Ok(api) = ApiKey::try_from(key) else { return request.clone() };
    if api != ApiKey::CreateTopics {
        return request.clone();
    }
    let mut rest = request.slice(4..);
    let header = RequestHeader::decode(&mut rest, api.request_header_version(version)).unwrap();
    let mut body = RequestKind::decode(api, &mut rest, version).unwrap();
    if let RequestKind::CreateTopics(topics) = &mut body {
        for topic in &mut topics.topics {
            let many = topic.replication_factor == 2;
            topic.replication_factor = if many { 1 } else { topic.replication_factor };
            // Those of "asg" are wrong, and stay so.
            if topic.assignments.len() == 1 {
                topic.assignments[0].broker_ids = vec![BrokerId(0)];
            }
        }
    }
    let mut frame = BytesMut::new();
    header.encode(&mut frame, api.request_header_version(version)).unwrap();
    body.encode(&mut frame, version).unwrap();
    let mut whole = BytesMut::new();
    whole.put_i32(frame.len().try_into().unwrap());
    whole.put(frame);
    whole.freeze()
}

fn compare(line: &Line, recorded: &Bytes, present: &Bytes, translation: &mut Translation, score: &mut Score) {
    let (api, version) = (ApiKey::try_from(line.api_key().unwrap()).unwrap(), line.version().unwrap());
    // The answer to a version that is not there has the form of version 0.
    let version = if api == ApiKey::ApiVersions && version > 3 { 0 } else { version };
    let parse = |frame: &Bytes| -> Result<ResponseKind, String> {
        let mut rest = frame.clone();
        let header = if api.response_header_version(version) == 0 { 4 } else { 5 };
        if rest.len() < header {
            return Err("too short".to_owned());
        }
        rest.advance(header);
        let kind = ResponseKind::decode(api, &mut rest, version).map_err(|e| e.to_string())?;
        if rest.is_empty() { Ok(kind) } else { Err(format!("{} bytes too many", rest.len())) }
    };
    let mut expected = parse(recorded).expect("a recorded answer");
    match parse(present) {
        Err(e) => return score.different.push(format!("{}: {e}: {present:?}", line.name())),
        Ok(found) => translation.learn(&expected, &found),
    }
    let present = translation.to_recorded(present);
    if present == *recorded {
        score.identical += 1;
        return;
    }
    let mut found = parse(&present).unwrap();
    let verdict = reconcile::reconcile(&mut expected, &mut found).and_then(|()| {
        let same = recorded[..4] == present[..4] && expected == found;
        same.then_some(()).ok_or_else(|| difference(&format!("{expected:#?}"), &format!("{found:#?}")))
    });
    match verdict {
        Ok(()) => score.equal += 1,
        Err(text) => score.different.push(format!("{}: {text}", line.name())),
    }
}

/// Lines that one text has and the other has not, in order.
fn difference(expected: &str, found: &str) -> String {
    let (mut a, mut b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same_start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let context: Vec<String> =
        a[same_start.saturating_sub(4)..same_start].iter().map(|l| format!("      {l}")).collect();
    (a, b) = (a.split_off(same_start), b.split_off(same_start));
    while a.last().is_some_and(|l| b.last() == Some(l)) {
        a.pop();
        b.pop();
    }
    let few = |lines: &[&str], sign: char| -> Vec<String> {
        lines.iter().take(12).map(|l| format!("    {sign} {l}")).collect()
    };
    let parts = [context, few(&a, '-'), few(&b, '+')].concat();
    format!("(- recorded, + found)\n{}", parts.join("\n"))
}
