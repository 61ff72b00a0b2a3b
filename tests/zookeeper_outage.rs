//! ZooKeeper goes away and comes back: clients notice nothing meanwhile, and afterwards all is as before.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use common::admin::{NO_ERROR, now_ms};
use common::znodes::Znodes;
use common::zookeeper::ZooKeeperServer;
use common::{Broker, PATIENCE, Wire, eventually};
use nix::sys::signal::Signal;

const REQUEST_TIMED_OUT: i16 = 7;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const NOT_CONTROLLER: i16 = 41;

fn outage_length() -> Duration {
    Duration::from_secs(std::env::var("OTTLA_TEST_OUTAGE").ok().and_then(|s| s.parse().ok()).unwrap_or(10))
}

/// Goes on producing and consuming while `until` has not passed; counts.
fn traffic(wire: &mut Wire, until: Instant, next: &mut i64) {
    let mut slowest = Duration::ZERO;
    while Instant::now() < until {
        let start = Instant::now();
        let value = next.to_string();
        assert_eq!(wire.produce("t", 0, &[&value], now_ms()), *next);
        let data = wire.fetch("t", 0, *next, 0, 0);
        assert_eq!((data.error_code, data.high_watermark), (NO_ERROR, *next + 1));
        slowest = slowest.max(start.elapsed());
        *next += 1;
    }
    assert!(slowest < Duration::from_secs(5), "{slowest:?} for one record while ZooKeeper was away");
}

fn start(server: &ZooKeeperServer, session_timeout: &str) -> (Broker, String) {
    let connect = format!("{}/outage", server.connect());
    let mut broker = Broker::prepare_on(&connect, &[("zookeeper.session.timeout.ms", session_timeout)]);
    for word in ["ZooKeeper", "zookeeper", "session", "controller"] {
        broker.expect_log(word);
    }
    broker.launch();
    broker.wire().create_topic("t", 1, &[]);
    (broker, connect)
}

/// Registered, controller, able to create a topic; all without a restart. The session that owns all this.
fn await_all_well(broker: &Broker, connect: &str, not: Option<i64>) -> i64 {
    let znodes = Znodes::connect(connect);
    let owner = eventually("the broker is registered", PATIENCE, || {
        znodes.owner("/brokers/ids/0").filter(|owner| Some(*owner) != not)
    });
    eventually("it is the controller", PATIENCE, || (znodes.owner("/controller") == Some(owner)).then_some(()));
    let mut wire = broker.wire();
    // What a new controller tells the brokers takes a moment, as in Kafka.
    let tolerated = [NO_ERROR, TOPIC_ALREADY_EXISTS, REQUEST_TIMED_OUT, INVALID_REPLICATION_FACTOR, NOT_CONTROLLER];
    eventually("topics can be created", PATIENCE, || {
        let answer = wire.try_create_topic("after", 2, 1, &[]);
        assert!(tolerated.contains(&answer.0), "{answer:?}");
        [NO_ERROR, TOPIC_ALREADY_EXISTS].contains(&answer.0).then_some(())
    });
    wire.await_leaders("after", 2);
    assert_eq!(wire.produce("after", 1, &["x"], now_ms()), 0);
    owner
}

fn check_values(wire: &mut Wire, count: i64) {
    let expected: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    assert_eq!(wire.values("t", 0), expected);
}

fn outage(session_timeout: &str) {
    let mut server = ZooKeeperServer::start();
    let (broker, connect) = start(&server, session_timeout);
    let mut wire = broker.wire();
    let mut next = 0;
    traffic(&mut wire, Instant::now() + Duration::from_secs(1), &mut next);
    server.stop();
    traffic(&mut wire, Instant::now() + outage_length(), &mut next);
    server.restart();
    await_all_well(&broker, &connect, None);
    traffic(&mut broker.wire(), Instant::now() + Duration::from_secs(1), &mut next);
    check_values(&mut wire, next);
}

#[test]
fn an_outage_shorter_than_the_session() {
    outage("40000");
}

#[test]
fn an_outage_longer_than_the_session() {
    outage("3000");
}

#[test]
fn a_broker_that_froze_until_its_session_was_gone_takes_a_new_one() {
    let server = ZooKeeperServer::start();
    let (broker, connect) = start(&server, "2000");
    let znodes = Znodes::connect(&connect);
    let owner = znodes.owner("/brokers/ids/0").expect("a registered broker");
    let mut wire = broker.wire();
    let mut next = 0;
    traffic(&mut wire, Instant::now() + Duration::from_secs(1), &mut next);
    broker.signal(Signal::SIGSTOP);
    eventually("its session expires", PATIENCE, || znodes.owner("/brokers/ids/0").is_none().then_some(()));
    broker.signal(Signal::SIGCONT);
    assert_ne!(await_all_well(&broker, &connect, Some(owner)), owner);
    traffic(&mut wire, Instant::now() + Duration::from_secs(1), &mut next);
    check_values(&mut wire, next);
}
