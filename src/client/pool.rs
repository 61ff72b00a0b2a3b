//! The connections of one admin client: one per address, made when needed, not again before its backoff has passed.
//!
//! State: one entry per address behind a mutex that is never held across an await. It answers to
//! ClusterConnectionStates.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::ClientError;
use super::admin_config::AdminConfig;
use super::connection::{Connection, Options};

/// A broker as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Broker id; below zero for an entry of `bootstrap.servers` (-1 for the first, as Kafka counts).
    pub id: i32,
    /// Name or number.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The rack, if the broker has one.
    pub rack: Option<String>,
}

#[derive(Default)]
struct Entry {
    connection: Option<Connection>,
    failures: u32,
    /// Not to be connected to before.
    not_before: Option<Instant>,
}

pub(super) struct Pool {
    options: Options,
    config: AdminConfig,
    entries: Mutex<HashMap<(String, u16), Entry>>,
}

impl Pool {
    pub fn new(config: AdminConfig) -> Pool {
        let options = Options {
            request_timeout: config.request_timeout,
            ..Options::new(&config.client_id, config.connect_timeout)
        };
        Pool { options, config, entries: Mutex::default() }
    }

    /// How long a request to `node` would have to wait for its turn to connect; zero if connected.
    pub fn wait_for(&self, node: &Node) -> Duration {
        let entries = self.entries.lock();
        let not_before = entries.get(&(node.host.clone(), node.port)).and_then(|entry| entry.not_before);
        not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }

    /// A live connection to `node` that has negotiated its versions.
    pub async fn get(&self, node: &Node) -> Result<Connection, ClientError> {
        let key = (node.host.clone(), node.port);
        let live = self.entries.lock().get(&key).and_then(|entry| entry.connection.clone());
        if let Some(connection) = live.filter(|connection| !connection.is_closed()) {
            return Ok(connection);
        }
        tokio::time::sleep(self.wait_for(node)).await;
        let made = self.open(node).await;
        let mut entries = self.entries.lock();
        let entry = entries.entry(key).or_default();
        match made {
            Ok(connection) => {
                *entry = Entry { connection: Some(connection.clone()), ..Entry::default() };
                Ok(connection)
            }
            Err(error) => {
                entry.connection = None;
                entry.not_before = Some(Instant::now() + self.config.reconnect_backoff.after(entry.failures));
                entry.failures = entry.failures.saturating_add(1);
                Err(error)
            }
        }
    }

    async fn open(&self, node: &Node) -> Result<Connection, ClientError> {
        let connection = match Connection::connect_with(&node.host, node.port, self.options.clone()).await {
            Ok(connection) => connection,
            Err(error) => {
                if let ClientError::Connect { address, .. } = &error {
                    tracing::warn!(
                        target: "org.apache.kafka.clients.NetworkClient",
                        "[AdminClient clientId={}] Connection to node {} ({address}) could not be established. \
                         Node may not be available.",
                        self.options.client_id, node.id
                    );
                }
                return Err(error);
            }
        };
        connection.negotiate().await?;
        Ok(connection)
    }
}
