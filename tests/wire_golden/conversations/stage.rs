//! A broker among stand-ins: the controller and the other brokers are played by the test.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

use kafka_protocol::messages::update_metadata_request::UpdateMetadataBroker;
use kafka_protocol::messages::{FetchResponse, RequestKind};

use super::super::common::znodes::Znodes;
use super::super::common::{Broker, PATIENCE, eventually};

/// Ports of the recorded brokers 0, 1 and 2.
pub const FIRST_PORT: i32 = 19_092;
/// Stands in `/controller`, so that nobody else stands for the office.
const NOBODY: i32 = 9;
/// What the broker says when its neighbours answer nothing.
const NEIGHBOURS_ARE_DUMB: &[&str] = &["Error in response for fetch request", "was unsuccessful", "Reset fetch offset"];

pub struct Stage {
    pub id: i32,
    pub broker: Broker,
    pub znodes: Znodes,
    ports: BTreeMap<i32, i32>,
    runs: usize,
    /// They take connections and never answer.
    _neighbours: Vec<TcpListener>,
}

impl Stage {
    /// One broker, which takes its orders from whoever speaks with this controller epoch.
    pub fn with_follower(id: i32, controller_epoch: i32) -> Stage {
        let stage = Stage::prepare(id);
        let controller = format!(r#"{{"version":2,"brokerid":{NOBODY},"timestamp":"1","kraftControllerEpoch":-1}}"#);
        stage.znodes.put("/controller", controller);
        stage.znodes.put("/controller_epoch", controller_epoch.to_string());
        stage
    }

    pub fn prepare(id: i32) -> Stage {
        let id_text = id.to_string();
        let mut broker = Broker::prepare(&[
            ("broker.id", &id_text),
            ("listeners", "PLAINTEXT://localhost:{port}"),
            ("controlled.shutdown.enable", "false"),
            ("replica.lag.time.max.ms", "600000"),
            ("auto.leader.rebalance.enable", "false"),
        ]);
        NEIGHBOURS_ARE_DUMB.iter().for_each(|text| broker.expect_log(text));
        let neighbours: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket")).collect();
        let port = |at: usize| i32::from(neighbours[at].local_addr().expect("an address").port());
        let ports =
            (0..3).zip(0..3).map(|(other, at)| (other, if other == id { i32::from(broker.port()) } else { port(at) }));
        let ports = ports.collect();
        let znodes = Znodes::connect(broker.zookeeper_connect());
        Stage { id, broker, znodes, ports, runs: 0, _neighbours: neighbours }
    }

    /// Starts the broker, for the first time or again after a kill, and waits until it serves.
    pub fn start(&mut self) {
        if self.runs > 0 {
            self.broker.kill();
            if self.broker.is_kafka() {
                let path = self.path();
                eventually("the session expires", PATIENCE, || self.znodes.owner(&path).is_none().then_some(()));
            }
        }
        self.runs += 1;
        self.broker.spawn();
        eventually("the broker has started", PATIENCE, || {
            assert_eq!(self.broker.exited(), None, "{}", self.broker.log());
            let started = self.broker.log().matches("started (kafka.server.KafkaServer)").count();
            (started == self.runs).then_some(())
        });
    }

    fn path(&self) -> String {
        format!("/brokers/ids/{}", self.id)
    }

    /// Epoch of the broker's present registration.
    pub fn broker_epoch(&self) -> i64 {
        self.znodes.created(&self.path()).expect("a registered broker")
    }

    /// Where a recorded broker is now, by its recorded port.
    fn present(&self, recorded: i32) -> i32 {
        self.ports.get(&(recorded - FIRST_PORT)).copied().unwrap_or(recorded)
    }

    pub fn port_of(&self, id: i32) -> i32 {
        self.ports[&id]
    }

    /// Puts present broker epochs and ports into a recorded order.
    pub fn address(&self, request: &mut RequestKind, broker_epoch: i64) {
        match request {
            RequestKind::LeaderAndIsr(r) => {
                r.broker_epoch = broker_epoch;
                r.live_leaders.iter_mut().for_each(|leader| leader.port = self.present(leader.port));
            }
            RequestKind::UpdateMetadata(r) => {
                r.broker_epoch = broker_epoch;
                self.move_brokers(&mut r.live_brokers);
            }
            RequestKind::StopReplica(r) => r.broker_epoch = broker_epoch,
            _ => {}
        }
    }

    pub fn move_brokers(&self, brokers: &mut [UpdateMetadataBroker]) {
        for endpoint in brokers.iter_mut().flat_map(|broker| &mut broker.endpoints) {
            endpoint.port = self.present(endpoint.port);
        }
    }

    /// Puts present ports into a recorded answer.
    pub fn move_endpoints(&self, answer: &mut FetchResponse) {
        answer.node_endpoints.iter_mut().for_each(|node| node.port = self.present(node.port));
    }
}
