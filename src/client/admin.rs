//! An admin client: knows the cluster's brokers and controller, sends a call to the right one, and retries it until
//! its deadline as Kafka's does. The calls themselves (which api, what to make of the answer) are the callers'.
//!
//! State: the last metadata, swapped whole, and the connection pool. Locks: both mutexes are leaves, never held across
//! an await. It answers to KafkaAdminClient with AdminMetadataManager.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::ClientError;
use super::admin_config::AdminConfig;
use super::connection::Connection;
use super::lookup::{self, Cluster};
use super::pool::{Node, Pool};
use crate::protocol::codec::Request;
use crate::protocol::messages::{MetadataRequest, MetadataResponse};
use crate::protocol::{ProtocolError, api};

/// Who a call must go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Any live broker.
    Any,
    /// The controller, whoever it is when the call is sent.
    Controller,
    /// This broker.
    Broker(i32),
}

/// What kind of coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoordinatorKind {
    /// Of a consumer group.
    Group = 0,
    /// Of a transactional id.
    Transaction = 1,
}

/// One call: its name in errors, where it goes, and what it may take.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Kafka's name of the call, such as `listTopics`.
    pub name: &'a str,
    /// Who it goes to.
    pub target: Target,
    /// All tries together; none for `default.api.timeout.ms`.
    pub timeout: Option<Duration>,
    /// Lowest and highest version to use; none for all that both sides have.
    pub versions: Option<(i16, i16)>,
}

impl<'a> Call<'a> {
    /// A call with the default timeout and any version.
    pub fn new(name: &'a str, target: Target) -> Call<'a> {
        Call { name, target, timeout: None, versions: None }
    }

    /// With a timeout of its own.
    pub fn within(self, timeout: Duration) -> Call<'a> {
        Call { timeout: Some(timeout), ..self }
    }
}

/// An admin client. Cheap to share by reference; made once per tool.
pub struct Admin {
    config: AdminConfig,
    pool: Pool,
    known: Mutex<Option<Known>>,
}

struct Known {
    cluster: Arc<Cluster>,
    /// To be fetched anew before the next call.
    stale: bool,
}

impl Admin {
    /// Reads the configuration; connects to nothing yet, so an unreachable cluster shows in the first call, as it does
    /// with Kafka's client. Resolves the bootstrap names (blocking).
    pub fn new(bootstrap_servers: &str, properties: &[(String, String)]) -> Result<Admin, ClientError> {
        let config = AdminConfig::new(bootstrap_servers, properties)?;
        Ok(Admin { pool: Pool::new(config.clone()), config, known: Mutex::default() })
    }

    /// [`Admin::new`], then waits until the cluster has been seen.
    pub async fn connect(bootstrap_servers: &str, properties: &[(String, String)]) -> Result<Admin, ClientError> {
        let admin = Admin::new(bootstrap_servers, properties)?;
        admin.cluster("fetchMetadata").await?;
        Ok(admin)
    }

    /// The configuration in use.
    pub fn config(&self) -> &AdminConfig {
        &self.config
    }

    /// The cluster as last seen, fetched if it has not been yet. `call` names the call in a timeout error.
    pub async fn cluster(&self, call: &str) -> Result<Arc<Cluster>, ClientError> {
        let deadline = Instant::now() + self.config.api_timeout;
        match tokio::time::timeout_at(deadline, self.fresh_cluster()).await {
            Ok(cluster) => cluster,
            Err(_) => Err(ClientError::NodeAssignment(call.to_owned())),
        }
    }

    /// Fetches the cluster anew.
    pub async fn refresh(&self, call: &str) -> Result<Arc<Cluster>, ClientError> {
        self.forget();
        self.cluster(call).await
    }

    /// Sends a call and retries it until it is done or its deadline has passed. `build` makes the request for the
    /// version that was negotiated; `judge` looks at the answer: an error that is retriable (NOT_CONTROLLER, say) makes
    /// the call go out again, any other ends it. Errors that belong to one entry of many are for the caller to keep.
    pub async fn call<R, B, J>(&self, call: Call<'_>, build: B, judge: J) -> Result<R::Response, ClientError>
    where
        R: Request,
        B: Fn(i16) -> Result<R, ClientError>,
        J: Fn(&R::Response) -> Result<(), ClientError>,
    {
        let timeout = call.timeout.unwrap_or(self.config.api_timeout);
        let deadline = Instant::now() + timeout;
        let deadline_ms = now_ms().saturating_add(i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX));
        let mut tries = 0;
        loop {
            let connection = match tokio::time::timeout_at(deadline, self.assign(call.target)).await {
                Ok(assigned) => assigned?,
                Err(_) => return Err(ClientError::NodeAssignment(call.name.to_owned())),
            };
            let error = match self.exchange(&connection, &call, &build, deadline).await {
                Ok(response) => match judge(&response) {
                    Ok(()) => return Ok(response),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            let wait = self.config.retry_backoff.after(tries);
            tries += 1;
            let late = Instant::now() >= deadline;
            if !late && !error.is_retriable() {
                return Err(error);
            }
            if late || tries > self.config.retries {
                return Err(timed_out(call.name, deadline_ms, tries, wait, error));
            }
            tracing::debug!(target: "org.apache.kafka.clients.admin.KafkaAdminClient", "{} failed: {error}", call.name);
            self.forget();
            let again = Instant::now() + wait;
            tokio::time::sleep_until(again.min(deadline)).await;
            if again >= deadline {
                // Its time passes while it waits for its turn; Kafka counts that as not having found a node.
                return Err(ClientError::NodeAssignment(call.name.to_owned()));
            }
        }
    }

    async fn exchange<R, B>(
        &self,
        connection: &Connection,
        call: &Call<'_>,
        build: &B,
        deadline: Instant,
    ) -> Result<R::Response, ClientError>
    where
        R: Request,
        B: Fn(i16) -> Result<R, ClientError>,
    {
        let api = api::find(R::KEY).ok_or(ProtocolError::UnknownApi(R::KEY))?;
        let (min, max) = call.versions.unwrap_or((api.min, api.max));
        let version = connection.version_within(api, min, max)?;
        let left = deadline.saturating_duration_since(Instant::now());
        connection.request_within(version, build(version)?, left.min(self.config.request_timeout)).await
    }

    /// Finds who coordinates `key`, waiting while the coordinator is being elected or loads.
    pub async fn coordinator(&self, kind: CoordinatorKind, key: &str) -> Result<Node, ClientError> {
        let call = Call::new("findCoordinator", Target::Any);
        let build = |version| Ok(lookup::coordinator_request(version, kind as i8, key));
        let response = self.call(call, build, |response| lookup::coordinator_in(response).map(|_| ())).await?;
        lookup::coordinator_in(&response)
    }

    /// Metadata of some topics, or of all; never creates one. Errors of topics are for the caller to look at.
    /// `call` names the call in errors.
    pub async fn metadata(&self, call: &str, topics: Option<&[&str]>) -> Result<MetadataResponse, ClientError> {
        self.call(Call::new(call, Target::Any), |version| lookup::metadata_request(version, topics), |_| Ok(())).await
    }

    /// The leader of a partition, waiting while it has none or is not known, as Kafka's client does for calls that go
    /// to leaders. `call` names the call in errors, such as `listOffsets(api=METADATA)`.
    pub async fn leader_of(&self, call: &str, topic: &str, partition: i32) -> Result<Node, ClientError> {
        let topics = [topic];
        let call = Call::new(call, Target::Any);
        let build = |version| lookup::metadata_request(version, Some(&topics));
        let response = self.call(call, build, |response| lookup::leader_in(response, partition).map(|_| ())).await?;
        lookup::leader_in(&response, partition)
    }

    /// What is known is not to be relied on any more; the brokers in it stay as places to ask.
    fn forget(&self) {
        if let Some(known) = self.known.lock().as_mut() {
            known.stale = true;
        }
    }

    async fn assign(&self, target: Target) -> Result<Connection, ClientError> {
        let mut attempts = 0;
        loop {
            let cluster = self.fresh_cluster().await?;
            let node = match target {
                Target::Any => self.readiest(cluster.brokers.values()),
                Target::Controller => cluster.controller.and_then(|id| cluster.brokers.get(&id)),
                Target::Broker(id) => cluster.brokers.get(&id),
            };
            if let Some(node) = node {
                match self.pool.get(node).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) if !error.is_retriable() => return Err(error),
                    Err(_) => {}
                }
            }
            self.forget();
            tokio::time::sleep(self.config.retry_backoff.after(attempts)).await;
            attempts = attempts.saturating_add(1);
        }
    }

    /// The node that can be asked soonest; of several, one by chance.
    fn readiest<'a>(&self, nodes: impl Iterator<Item = &'a Node>) -> Option<&'a Node> {
        nodes.min_by_key(|node| (self.pool.wait_for(node), rand::random::<u32>()))
    }

    /// The cluster as known, or fetched: from the brokers that are known, else from the bootstrap servers. Goes on
    /// until it has one; an error is one that trying again cannot mend.
    async fn fresh_cluster(&self) -> Result<Arc<Cluster>, ClientError> {
        loop {
            let mut nodes = self.bootstrap_nodes();
            if let Some(known) = self.known.lock().as_ref() {
                if !known.stale {
                    return Ok(Arc::clone(&known.cluster));
                }
                // All of them down: ask the bootstrap servers again, among which some may be new.
                nodes.extend(known.cluster.brokers.values().cloned());
            }
            let Some(node) = self.readiest(nodes.iter()) else {
                return Err(ClientError::Config("No resolvable bootstrap urls given in bootstrap.servers".to_owned()));
            };
            match self.fetch_cluster(node).await {
                Ok(cluster) if !cluster.brokers.is_empty() => {
                    let cluster = Arc::new(cluster);
                    *self.known.lock() = Some(Known { cluster: Arc::clone(&cluster), stale: false });
                    return Ok(cluster);
                }
                Err(error) if !error.is_retriable() => return Err(error),
                Ok(_) | Err(_) => tokio::time::sleep(self.config.reconnect_backoff.after(0)).await,
            }
        }
    }

    async fn fetch_cluster(&self, node: &Node) -> Result<Cluster, ClientError> {
        let connection = self.pool.get(node).await?;
        let version = connection.version_of(MetadataRequest::KEY)?;
        let response = connection.request(version, lookup::metadata_request(version, Some(&[]))?).await?;
        Ok(Cluster::from_response(&response))
    }

    fn bootstrap_nodes(&self) -> Vec<Node> {
        let numbered = (1..).zip(&self.config.bootstrap);
        numbered.map(|(n, server)| Node { id: -n, host: server.host.clone(), port: server.port, rack: None }).collect()
    }
}

fn timed_out(call: &str, deadline_ms: i64, tries: u32, wait: Duration, cause: ClientError) -> ClientError {
    let at_ms = now_ms();
    let next = at_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    let call = format!("Call(callName={call}, deadlineMs={deadline_ms}, tries={tries}, nextAllowedTryMs={next})");
    ClientError::CallTimeout { call, at_ms, tries, cause: Box::new(cause) }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
