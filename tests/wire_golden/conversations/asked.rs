//! What Kafka's brokers asked of their controller: changes of in-sync sets, shutdowns, producer ids.
//!
//! Our broker is the controller; the three recorded ones are entries in ZooKeeper. Each recorded change has a topic of its
//! own, whose state is made what it must have been.

use std::collections::{BTreeMap, HashMap};

use kafka_protocol::messages::alter_partition_request::PartitionData;
use kafka_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse, RequestKind, ResponseKind};
use ottla::zk::json::{Assignment, BrokerRegistration, Endpoint, PartitionState, ProducerIdBlock, TopicZnode};
use uuid::Uuid;

use super::super::common::{PATIENCE, Wire, eventually};
use super::super::{Score, difference};
use super::exchange::{Exchange, RECORDINGS, decode_answer, framed, load};
use super::stage::Stage;

const CONTROLLER: i32 = 9;
const NOT_CONTROLLER: i16 = 41;

#[test]
fn changes_of_in_sync_sets_are_answered_as_kafkas_controller_answered_them() {
    let changes = asked(|request| matches!(request, RequestKind::AlterPartition(_)));
    let mut stage = Stage::prepare(CONTROLLER);
    let mut present = Names::default();
    for (number, exchange) in changes.iter().enumerate() {
        present.prepare(&stage, number, exchange);
    }
    // After the states: a controller takes one that is newer than some of these brokers for one that has come back.
    (0..3).for_each(|id| register(&stage, id));
    stage.start();
    let mut wire = stage.broker.wire();
    let mut score = Score::default();
    for (number, exchange) in changes.iter().enumerate() {
        let mut request = exchange.request.clone();
        present.put_into(&stage, number, &mut request);
        let mut answer = ask(&mut wire, exchange, &request);
        present.take_out_of(number, &mut answer);
        compare(exchange, answer, &mut score);
    }
    finish(&score, 24);
}

/// Each time the broker leads one partition that another can take over, and those that nobody can.
#[test]
fn shutdowns_and_producer_ids_are_answered_as_kafkas_controller_answered_them() {
    let others = asked(|r| matches!(r, RequestKind::ControlledShutdown(_) | RequestKind::AllocateProducerIds(_)));
    let mut score = Score::default();
    for exchange in &others {
        let mut stage = Stage::prepare(CONTROLLER);
        let mut request = exchange.request.clone();
        match (&mut request, &exchange.answer) {
            (RequestKind::ControlledShutdown(r), ResponseKind::ControlledShutdown(a)) => {
                put_topic(&stage, "moves", Uuid::new_v4(), &[(0, led_by(r.broker_id.0, &[CONTROLLER], 0), 0)]);
                let mut remaining: BTreeMap<&str, Vec<_>> = BTreeMap::new();
                for left in &a.remaining_partitions {
                    let partition = (left.partition_index, led_by(r.broker_id.0, &[], 0), 0);
                    remaining.entry(left.topic_name.as_str()).or_default().push(partition);
                }
                remaining.iter().for_each(|(topic, led)| put_topic(&stage, topic, Uuid::new_v4(), led));
                (0..3).for_each(|id| register(&stage, id)); // After the states, as above.
                r.broker_epoch = epoch_of(&stage, r.broker_id.0);
            }
            (RequestKind::AllocateProducerIds(r), ResponseKind::AllocateProducerIds(a)) => {
                (0..3).for_each(|id| register(&stage, id));
                r.broker_epoch = epoch_of(&stage, r.broker_id.0);
                let start = a.producer_id_start.0;
                let last = ProducerIdBlock { broker: 0, start: start - ProducerIdBlock::SIZE, end: start - 1 };
                stage.znodes.put("/latest_producer_id_block", text(&last.encode()));
            }
            _ => {}
        }
        stage.broker.expect_log("under strategy ControlledShutdownPartitionLeaderElectionStrategy");
        stage.start();
        let answer = ask(&mut stage.broker.wire(), exchange, &request);
        compare(exchange, answer, &mut score);
        if let RequestKind::ControlledShutdown(_) = request {
            let state = stage.znodes.data("/brokers/topics/moves/partitions/0/state").unwrap();
            let state = PartitionState::decode(state.as_bytes()).unwrap();
            assert_eq!((state.leader, state.isr), (CONTROLLER, vec![CONTROLLER]), "the leadership moves first");
        }
    }
    finish(&score, 5);
}

fn asked(is_wanted: impl Fn(&RequestKind) -> bool) -> Vec<Exchange> {
    RECORDINGS.iter().flat_map(|name| load(name)).filter(|exchange| is_wanted(&exchange.request)).collect()
}

fn finish(score: &Score, count: usize) {
    score.report();
    assert!(score.different.is_empty(), "{}", score.different.join("\n\n"));
    assert_eq!(score.identical + score.equal, count);
}

fn path(id: i32) -> String {
    format!("/brokers/ids/{id}")
}

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// Enters one of the recorded brokers into ZooKeeper, as long as the stage lasts.
pub fn register(stage: &Stage, id: i32) {
    let endpoint = Endpoint {
        listener: "PLAINTEXT".to_owned(),
        host: "localhost".to_owned(),
        port: stage.port_of(id),
        security_protocol: "PLAINTEXT".to_owned(),
    };
    stage.znodes.put_ephemeral(&path(id), text(&BrokerRegistration::new(vec![endpoint], None, 1).encode()));
}

pub fn epoch_of(stage: &Stage, id: i32) -> i64 {
    stage.znodes.created(&path(id)).expect("a registered broker")
}

/// A topic with these partitions: number, state and partition epoch.
pub fn put_topic(stage: &Stage, name: &str, id: Uuid, partitions: &[(i32, PartitionState, i32)]) {
    let replicas = |state: &PartitionState| {
        let others = state.isr.iter().copied().chain([0, 1, 2]).filter(|id| *id != state.leader);
        let mut all = vec![state.leader];
        others.for_each(|id| {
            if !all.contains(&id) {
                all.push(id)
            }
        });
        Assignment::new(all)
    };
    let topic = format!("/brokers/topics/{name}");
    for (partition, state, epoch) in partitions {
        let path = format!("{topic}/partitions/{partition}/state");
        stage.znodes.put(&path, text(&state.encode()));
        (0..*epoch).for_each(|_| stage.znodes.set(&path, text(&state.encode())));
    }
    let assignments = partitions.iter().map(|(partition, state, _)| (*partition, replicas(state))).collect();
    stage.znodes.set(&topic, text(&TopicZnode { partitions: assignments, topic_id: Some(id) }.encode()));
}

/// Present topic ids by number of the exchange and recorded id.
#[derive(Default)]
struct Names(HashMap<(usize, Uuid), Uuid>);

impl Names {
    fn prepare(&mut self, stage: &Stage, number: usize, exchange: &Exchange) {
        let (RequestKind::AlterPartition(request), ResponseKind::AlterPartition(answer)) =
            (&exchange.request, &exchange.answer)
        else {
            return;
        };
        for topic in &request.topics {
            let id = Uuid::new_v4();
            self.0.insert((number, topic.topic_id), id);
            let states: Vec<_> = topic
                .partitions
                .iter()
                .map(|asked| (asked.partition_index, state_before(request, asked), asked.partition_epoch))
                .collect();
            put_topic(stage, &format!("t-{number}-{}", topic.topic_id.simple()), id, &states);
        }
        assert_eq!(answer.error_code, 0, "{}", exchange.name());
    }

    fn put_into(&self, stage: &Stage, number: usize, request: &mut RequestKind) {
        if let RequestKind::AlterPartition(r) = request {
            r.broker_epoch = epoch_of(stage, r.broker_id.0);
            r.topics.iter_mut().for_each(|topic| topic.topic_id = self.0[&(number, topic.topic_id)]);
        }
    }

    fn take_out_of(&self, number: usize, answer: &mut ResponseKind) {
        let ResponseKind::AlterPartition(r) = answer else { return };
        for topic in &mut r.topics {
            let recorded = self.0.iter().find(|((n, _), present)| *n == number && **present == topic.topic_id);
            topic.topic_id = recorded.map_or(Uuid::nil(), |((_, id), _)| *id);
        }
    }
}

/// The asker led, and had another in-sync set.
fn state_before(request: &AlterPartitionRequest, asked: &PartitionData) -> PartitionState {
    let leader = request.broker_id.0;
    let shrinks = asked.new_isr_with_epochs.len() == 1;
    led_by(leader, if shrinks { &[CONTROLLER] } else { &[] }, asked.leader_epoch)
}

pub fn led_by(leader: i32, others: &[i32], leader_epoch: i32) -> PartitionState {
    let isr = [&[leader], others].concat();
    PartitionState { leader, leader_epoch, isr, controller_epoch: 1, leader_recovery_state: 0 }
}

fn ask(wire: &mut Wire, exchange: &Exchange, request: &RequestKind) -> ResponseKind {
    eventually("the broker is the controller", PATIENCE, || {
        wire.send_raw(&framed(&exchange.header, request)).expect("a request goes out");
        let frame = wire.receive().expect("an answer").expect("an open connection");
        let answer = decode_answer(exchange.api(), exchange.version(), frame);
        let code = match &answer {
            ResponseKind::AlterPartition(a) => a.error_code,
            ResponseKind::ControlledShutdown(a) => a.error_code,
            ResponseKind::AllocateProducerIds(a) => a.error_code,
            other => panic!("{other:?}"),
        };
        let not_yet = code == NOT_CONTROLLER;
        (!not_yet).then_some(answer)
    })
}

fn compare(exchange: &Exchange, mut present: ResponseKind, score: &mut Score) {
    let mut recorded = exchange.answer.clone();
    if recorded == present {
        score.identical += 1;
        return;
    }
    for answer in [&mut recorded, &mut present] {
        match answer {
            ResponseKind::AlterPartition(answer) => sort(answer),
            ResponseKind::ControlledShutdown(answer) => {
                answer.remaining_partitions.sort_by_key(|p| (p.topic_name.to_string(), p.partition_index));
            }
            _ => {}
        }
    }
    match recorded == present {
        true => score.equal += 1,
        false => {
            let text = difference(&format!("{recorded:#?}"), &format!("{present:#?}"));
            score.different.push(format!("{}: {text}", exchange.name()));
        }
    }
}

/// Kafka answers in the order of its hash maps.
fn sort(answer: &mut AlterPartitionResponse) {
    answer.topics.sort_by_key(|topic| topic.topic_id);
    answer.topics.iter_mut().for_each(|topic| topic.partitions.sort_by_key(|p| p.partition_index));
}
