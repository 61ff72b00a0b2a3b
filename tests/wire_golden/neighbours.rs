//! Recorded requests that need a cluster: asked of a broker that is not the leader, the coordinator or the controller, and
//! what is asked of the controller about other brokers.

use kafka_protocol::messages::FindCoordinatorRequest;
use kafka_protocol::protocol::StrBytes;

use super::common::admin::NO_ERROR;
use super::common::{Cluster, PATIENCE, eventually};
use super::recording::{self, Answer, Line};
use super::translation::Translation;
use super::{Score, compare, folder};

/// Ports of the recorded brokers 0, 1 and 2.
const PORTS: std::ops::Range<u16> = 19_092..19_095;
/// Who was the controller.
const CONTROLLER: usize = 1;
const NOTES: &[&str] = &["not the leader", "not leader", "not the coordinator", "not the controller"];
const GROUP: &str = "wg-err";

/// Whether one broker alone cannot be asked this.
pub fn are_needed(line: &Line) -> bool {
    line.file.starts_with("07-") || NOTES.iter().any(|note| line.note.contains(note))
}

#[test]
fn brokers_refuse_what_others_must_do_as_kafka_does() {
    let mut cluster = Cluster::start(3, &[("listeners", "PLAINTEXT://localhost:{port}")]);
    cluster.expect_log("connection");
    cluster.make_controller(CONTROLLER);
    let mut translation = Translation::default();
    for (recorded, broker) in PORTS.zip(&cluster.brokers) {
        translation.add_port(recorded, broker.port());
    }
    let lines = recording::load(&folder(), |_| true);
    let mut score = Score::default();
    let creates = |line: &&Line| line.file.starts_with("19-") && holds(line, b"wire-1") && holds(line, b"wire-compact");
    replay(
        lines.iter().find(creates).expect("the creation of wire-1"),
        CONTROLLER,
        &cluster,
        &mut translation,
        &mut score,
    );
    for broker in &cluster.brokers {
        broker.wire().await_leaders("wire-1", 1);
    }
    let coordinator = coordinator(&cluster);
    for line in lines.iter().filter(|line| are_needed(line)) {
        let asked = match line.note.as_str() {
            "not the coordinator" => (coordinator + 1) % cluster.brokers.len(),
            _ => recorded_broker(line),
        };
        replay(line, asked, &cluster, &mut translation, &mut score);
    }
    score.report();
    assert!(score.different.is_empty(), "{}", score.different.join("\n\n"));
    assert_eq!(score.identical + score.equal, 12);
}

fn holds(line: &Line, name: &[u8]) -> bool {
    line.request.windows(name.len()).any(|window| window == name)
}

fn recorded_broker(line: &Line) -> usize {
    let port = line.broker.rsplit(':').next().and_then(|port| port.parse().ok());
    PORTS.into_iter().position(|known| Some(known) == port).unwrap_or(CONTROLLER)
}

fn coordinator(cluster: &Cluster) -> usize {
    let request = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str(GROUP));
    eventually("the group has a coordinator", PATIENCE, || {
        let answer = cluster.brokers[0].wire().call(1, &request);
        (answer.error_code == NO_ERROR).then(|| usize::try_from(answer.node_id.0).expect("a broker id"))
    })
}

fn replay(line: &Line, id: usize, cluster: &Cluster, translation: &mut Translation, score: &mut Score) {
    let Answer::Frame(recorded) = &line.answer else { panic!("{} has no answer", line.name()) };
    let mut wire = cluster.brokers[id].wire();
    wire.send_raw(&translation.to_present(&line.request)).expect("a request goes out");
    match wire.receive() {
        Ok(Some(present)) => compare(line, &recorded.slice(4..), &present, translation, score),
        other => score.different.push(format!("{}: {other:?}", line.name())),
    }
}
