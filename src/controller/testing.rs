//! What the tests of the controller share: brokers, and a channel that keeps what is sent.

use std::sync::Arc;

use parking_lot::Mutex;

use super::batch::ControlRequest;
use super::channel::ControlChannel;
use super::context::{Broker, BrokerEndpoint};
use super::events::EventQueue;

/// A broker with one listener, on port 9092 + id, whose epoch is 100 + id.
pub fn broker(id: i32) -> Broker {
    let endpoint = BrokerEndpoint {
        host: "localhost".to_owned(),
        port: 9092 + id,
        listener: "PLAINTEXT".to_owned(),
        security_protocol: 0,
    };
    Broker { id, endpoints: vec![endpoint], rack: None, epoch: 100 + i64::from(id) }
}

/// What a [`Sink`] has seen.
#[derive(Default)]
pub struct Sent {
    pub requests: Vec<(i32, ControlRequest)>,
    pub known: std::collections::BTreeSet<i32>,
    pub answers: Option<EventQueue>,
}

/// A channel that delivers nothing: the test looks at what was sent, and answers by hand.
#[derive(Clone, Default)]
pub struct Sink(pub Arc<Mutex<Sent>>);

impl ControlChannel for Sink {
    fn add_broker(&mut self, broker: &Broker, answers: &EventQueue) {
        let mut sent = self.0.lock();
        sent.known.insert(broker.id);
        sent.answers = Some(answers.clone());
    }

    fn remove_broker(&mut self, id: i32) {
        self.0.lock().known.remove(&id);
    }

    fn send(&mut self, broker: i32, request: ControlRequest) {
        let mut sent = self.0.lock();
        if sent.known.contains(&broker) {
            sent.requests.push((broker, request));
        }
    }

    fn shutdown(&mut self) {
        self.0.lock().known.clear();
    }
}
