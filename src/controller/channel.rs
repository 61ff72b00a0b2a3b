//! The way from the controller to the brokers: one task per broker, which sends one request at a time, in order, and
//! sends it again until it is answered or the broker is gone. The controller's own broker is one among them.
//!
//! Answers to Kafka's `ControllerChannelManager` and `RequestSendThread`. The queues are unbounded, since the
//! controller must not wait for a slow broker; a broker that does not answer loses its session before long, and
//! its queue goes with it. No locks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::batch::ControlRequest;
use super::context::Broker;
use super::events::{Event, EventQueue};
use super::versions::ControlVersions;
use crate::client::{self, ClientError, Connection, Options};
use crate::config::ProtocolVersion;
use crate::topic::TopicPartition;

/// Pause between two attempts to send.
const BACKOFF: Duration = Duration::from_millis(100);
/// After its first failure a request says so again after so many more.
const QUIET_FAILURES: u32 = 100;

/// Where the controller's requests go. The event loop is its only user. What it sends is kept in order per broker.
pub trait ControlChannel: Send + Sync {
    /// From now on requests for this broker are sent; answers come as events. No effect if it is known already.
    fn add_broker(&mut self, broker: &Broker, answers: &EventQueue);

    /// Drops the broker, and what has not been sent to it.
    fn remove_broker(&mut self, id: i32);

    /// Sends a request, sometime. Dropped if the broker is not known.
    fn send(&mut self, broker: i32, request: ControlRequest);

    /// Resolves when all that was to be sent to other brokers has been answered.
    fn drained(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    /// Drops all brokers. They may be added again.
    fn shutdown(&mut self);
}

/// Makes a connection to a broker's host and port.
pub type Connector = Arc<dyn Fn(String, u16) -> BoxFuture<'static, Result<Connection, ClientError>> + Send + Sync>;

/// A connector with `controller.socket.timeout.ms`, for connecting and for each request; the client id is the controller's
/// broker id.
pub fn controller_connector(connect: client::Connector, me: i32, timeout: Duration) -> Connector {
    Arc::new(move |host, port| {
        let options = Options { request_timeout: timeout, ..Options::new(&me.to_string(), timeout) };
        connect(host, port, options)
    })
}

/// The brokers, over the network.
pub struct NetworkChannel {
    me: i32,
    /// `control.plane.listener.name`, else the inter-broker listener.
    listener: String,
    versions: ControlVersions,
    connector: Connector,
    senders: BTreeMap<i32, Sender>,
}

struct Sender {
    requests: mpsc::UnboundedSender<ControlRequest>,
    /// Requests not answered yet.
    pending: Arc<watch::Sender<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NetworkChannel {
    pub fn new(
        me: i32,
        listener: &str,
        inter_broker_protocol: ProtocolVersion,
        connector: Connector,
    ) -> NetworkChannel {
        NetworkChannel {
            me,
            listener: listener.to_owned(),
            versions: ControlVersions::of(inter_broker_protocol),
            connector,
            senders: BTreeMap::new(),
        }
    }
}

impl ControlChannel for NetworkChannel {
    fn add_broker(&mut self, broker: &Broker, answers: &EventQueue) {
        if self.senders.contains_key(&broker.id) {
            return;
        }
        let address = broker.endpoint(&self.listener).and_then(|e| Some((e.host.clone(), u16::try_from(e.port).ok()?)));
        let Some((host, port)) = address else {
            tracing::error!(
                target: "kafka.controller.ControllerChannelManager",
                "[Channel manager on controller {}]: End point with listener name {} not found for broker {}",
                self.me,
                self.listener,
                broker.id
            );
            return;
        };
        let link = Link {
            me: self.me,
            broker: broker.id,
            node: format!("{host}:{port} (id: {} rack: {})", broker.id, broker.rack.as_deref().unwrap_or("null")),
            host,
            port,
            versions: self.versions,
            connector: self.connector.clone(),
            connection: None,
            answers: answers.clone(),
        };
        let (requests, queue) = mpsc::unbounded_channel();
        let pending = Arc::new(watch::Sender::new(0));
        let task = tokio::spawn(link.run(queue, pending.clone()));
        self.senders.insert(broker.id, Sender { requests, pending, task });
    }

    fn remove_broker(&mut self, id: i32) {
        self.senders.remove(&id);
    }

    fn send(&mut self, broker: i32, request: ControlRequest) {
        match self.senders.get(&broker) {
            // The task ends only when its sender is dropped.
            Some(sender) => {
                sender.pending.send_modify(|pending| *pending += 1);
                drop(sender.requests.send(request));
            }
            None => tracing::warn!(
                target: "kafka.controller.ControllerChannelManager",
                "[Channel manager on controller {}]: Not sending request to broker {broker}, since it is offline.",
                self.me
            ),
        }
    }

    fn drained(&self) -> BoxFuture<'static, ()> {
        let others = self.senders.iter().filter(|(id, _)| **id != self.me);
        let pending: Vec<_> = others.map(|(_, sender)| sender.pending.subscribe()).collect();
        Box::pin(async move {
            for mut pending in pending {
                // An error means that the broker was dropped, and its requests with it.
                let _ = pending.wait_for(|pending| *pending == 0).await;
            }
        })
    }

    fn shutdown(&mut self) {
        self.senders.clear();
    }
}

/// One broker's end of the channel.
struct Link {
    me: i32,
    broker: i32,
    node: String,
    host: String,
    port: u16,
    versions: ControlVersions,
    connector: Connector,
    connection: Option<Connection>,
    answers: EventQueue,
}

impl Link {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<ControlRequest>, pending: Arc<watch::Sender<usize>>) {
        while let Some(request) = queue.recv().await {
            let mut failures = 0;
            while let Err(error) = self.attempt(&request).await {
                self.connection = None;
                self.log_failure(failures, &error);
                failures += 1;
                tokio::time::sleep(BACKOFF).await;
            }
            pending.send_modify(|pending| *pending -= 1);
        }
    }

    fn log_failure(&self, failures: u32, error: &ClientError) {
        if failures.is_multiple_of(QUIET_FAILURES) {
            tracing::warn!(
                target: "kafka.controller.RequestSendThread",
                "[RequestSendThread controllerId={me}] Controller {me}'s connection to broker {} was unsuccessful: \
                 {error}",
                self.node,
                me = self.me
            );
        }
    }

    async fn connection(&mut self) -> Result<Connection, ClientError> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let connection = (self.connector)(self.host.clone(), self.port).await?;
        tracing::info!(
            target: "kafka.controller.RequestSendThread",
            "[RequestSendThread controllerId={me}] Controller {me} connected to {} for sending state change requests",
            self.node,
            me = self.me
        );
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    /// Sends the request and hands in the answer.
    async fn attempt(&mut self, request: &ControlRequest) -> Result<(), ClientError> {
        let connection = self.connection().await?;
        match request {
            ControlRequest::LeaderAndIsr(request) => {
                let answer = connection.request(self.versions.leader_and_isr, request.clone()).await?;
                self.answers.put(Event::LeaderAndIsrResponse(self.broker, answer));
            }
            ControlRequest::UpdateMetadata(request) => {
                let answer = connection.request(self.versions.update_metadata, request.clone()).await?;
                if answer.error_code != 0 {
                    self.answers.put(Event::UpdateMetadataResponse(self.broker, answer));
                }
            }
            ControlRequest::StopReplica { request, deleting } => {
                let answer = connection.request(self.versions.stop_replica, request.clone()).await?;
                self.stop_replica_answer(answer, deleting);
            }
        }
        Ok(())
    }

    fn stop_replica_answer(
        &self,
        answer: crate::protocol::messages::StopReplicaResponse,
        deleting: &BTreeSet<TopicPartition>,
    ) {
        if !deleting.is_empty() {
            self.answers.put(Event::StopReplicaResponse(self.broker, answer, deleting.clone()));
        }
    }
}
