//! The real [`Zk`]: a ZooKeeper session that renews itself, over crate `zookeeper-client`.
//!
//! Duty: connect (creating the chroot), keep a client, build a new one when its session is over, bound the requests in
//! flight, turn one-shot watchers into events. Answers to Kafka's `ZooKeeperClient`.
//!
//! State: the gate (which client requests go to, swapped by the supervisor task), the armed watches, the
//! subscribers; the latter two under short mutexes, never across an await.
//!
//! The client library, as found:
//! - While disconnected it queues requests, and sends them on reconnection; only those under way are lost, with
//!   `Custom` or `ConnectionLoss`.
//! - Every terminal state is final for a client, so the supervisor makes a new one. The library may think a session expired
//!   that the server still knows (after 7/5 of the session timeout without an answer): our old ephemeral znodes may
//!   outlive `SessionExpired`. The store compares owners.
//! - Watches are set again by the library on reconnection, and what happened meanwhile is delivered then.
//! - An event may reach subscribers shortly after a read that shows its effect; never is one lost.

mod requests;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use zookeeper_client as client;

use self::watches::Watches;
use super::{ZkError, ZkEvent};

const LOGGER: &str = "kafka.zookeeper.ZooKeeperClient";
/// Pause between attempts to get a session.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// What a session needs to know.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// `host:port,host:port`, without chroot (the first half of `zookeeper.connect`).
    pub servers: String,
    /// `/path`, or empty.
    pub chroot: String,
    /// `zookeeper.session.timeout.ms`; the server may negotiate.
    pub session_timeout: Duration,
    /// `zookeeper.connection.timeout.ms`: patience at start-up.
    pub connection_timeout: Duration,
    /// `zookeeper.max.in.flight.requests`.
    pub max_in_flight: usize,
}

impl SessionConfig {
    /// Kafka's defaults for a `zookeeper.connect`.
    pub fn new(connect: &str) -> SessionConfig {
        let (servers, chroot) = match connect.find('/') {
            Some(i) => connect.split_at(i),
            None => (connect, ""),
        };
        SessionConfig {
            servers: servers.to_owned(),
            chroot: chroot.trim_end_matches('/').to_owned(),
            session_timeout: Duration::from_millis(18000),
            connection_timeout: Duration::from_millis(18000),
            max_in_flight: 10,
        }
    }
}

/// Where requests go.
#[derive(Clone)]
enum Gate {
    /// The client of the `n`th session.
    Open(u64, client::Client),
    /// Between the `n`th session and the next.
    Waiting,
    Closed,
}

struct Shared {
    config: SessionConfig,
    gate: watch::Sender<Gate>,
    permits: Semaphore,
    subscribers: Mutex<Vec<mpsc::UnboundedSender<ZkEvent>>>,
    watches: Watches,
}

impl Shared {
    fn emit(&self, event: ZkEvent) {
        self.subscribers.lock().retain(|s| s.send(event.clone()).is_ok());
    }

    /// Number of the present session, if there is one.
    fn generation(&self) -> Option<u64> {
        match &*self.gate.borrow() {
            Gate::Open(generation, _) => Some(*generation),
            _ => None,
        }
    }

    /// The client for a request made in session `made_in` (`None`: between sessions, any will do).
    async fn client(&self, made_in: Option<u64>) -> Result<(u64, client::Client), ZkError> {
        let mut gate = self.gate.subscribe();
        loop {
            let now = gate.borrow_and_update().clone();
            match (now, made_in) {
                (Gate::Closed, _) => return Err(ZkError::Closed),
                (Gate::Open(generation, client), None) => return Ok((generation, client)),
                (Gate::Open(generation, client), Some(n)) if n == generation => return Ok((generation, client)),
                (_, Some(_)) => return Err(ZkError::SessionExpired),
                (Gate::Waiting, None) => {}
            }
            if gate.changed().await.is_err() {
                return Err(ZkError::Closed);
            }
        }
    }

    /// One connected client, or why not.
    async fn connect_once(&self) -> Result<client::Client, client::Error> {
        let connector = client::Client::connector().with_session_timeout(self.config.session_timeout);
        let client = connector.connect(&self.config.servers).await?;
        if self.config.chroot.is_empty() {
            return Ok(client);
        }
        ensure_chroot(&client, &self.config.chroot).await?;
        let chroot = self.config.chroot.clone();
        client.chroot(chroot).map_err(|_| client::Error::BadArguments(&"invalid chroot in zookeeper.connect"))
    }

    /// The first connection, within the connection timeout.
    async fn connect_first(&self) -> Result<client::Client, ZkError> {
        let patience = self.config.connection_timeout;
        let deadline = Instant::now() + patience;
        let mut reason = "no answer".to_owned();
        while Instant::now() < deadline {
            match tokio::time::timeout_at(deadline, self.connect_once()).await {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(client::Error::BadArguments(what))) => {
                    return Err(ZkError::BadArguments(format!("{what} (zookeeper.connect={})", self.config.servers)));
                }
                Ok(Err(client::Error::AuthFailed)) => return Err(ZkError::AuthFailed),
                Ok(Err(e)) => reason = e.to_string(),
                Err(_) => break,
            }
            sleep(RECONNECT_PAUSE.min(deadline.saturating_duration_since(Instant::now()))).await;
        }
        Err(ZkError::ConnectTimeout {
            connect: format!("{}{}", self.config.servers, self.config.chroot),
            timeout_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            reason,
        })
    }

    /// Follows the states of the clients for ever: tells subscribers, and gets a new session when one is over.
    async fn supervise(self: Arc<Self>, first: client::Client) {
        let mut states = first.state_watcher();
        let mut generation = 1;
        drop(first);
        loop {
            let state = states.changed().await;
            if matches!(*self.gate.borrow(), Gate::Closed) {
                return;
            }
            match state {
                client::SessionState::Disconnected => {
                    tracing::info!(target: LOGGER, "Connection to ZooKeeper lost");
                    self.emit(ZkEvent::Disconnected);
                }
                client::SessionState::SyncConnected | client::SessionState::ConnectedReadOnly => {
                    tracing::info!(target: LOGGER, "Connected to ZooKeeper again");
                    self.emit(ZkEvent::Connected);
                }
                _ => {
                    generation += 1;
                    match self.renew(state, generation).await {
                        Some(new) => states = new,
                        None => return,
                    }
                }
            }
        }
    }

    /// Session over: tells so, and tries for a new one until it is there. `None` when closed meanwhile.
    async fn renew(&self, why: client::SessionState, generation: u64) -> Option<client::StateWatcher> {
        tracing::info!(target: LOGGER, "Session is over ({why}): initializing a new session to {}", self.config.servers);
        if !self.replace_gate(Gate::Waiting) {
            return None;
        }
        self.watches.clear();
        self.emit(ZkEvent::SessionExpired);
        let client = loop {
            match self.connect_once().await {
                Ok(client) => break client,
                Err(e) => tracing::debug!(target: LOGGER, "No new session yet: {e}"),
            }
            sleep(RECONNECT_PAUSE).await;
            if matches!(*self.gate.borrow(), Gate::Closed) {
                return None;
            }
        };
        let (states, session) = (client.state_watcher(), client.session_id().0);
        if !self.replace_gate(Gate::Open(generation, client)) {
            return None;
        }
        tracing::info!(target: LOGGER, "New ZooKeeper session {session:#x}");
        self.emit(ZkEvent::SessionEstablished(session));
        Some(states)
    }

    /// Swaps the gate unless it is closed for good.
    fn replace_gate(&self, to: Gate) -> bool {
        self.gate.send_if_modified(|gate| {
            let open = !matches!(gate, Gate::Closed);
            if open {
                *gate = to;
            }
            open
        })
    }
}

async fn ensure_chroot(client: &client::Client, chroot: &str) -> Result<(), client::Error> {
    if client.check_stat(chroot).await?.is_some() {
        return Ok(());
    }
    let options = client::CreateMode::Persistent.with_acls(client::Acls::anyone_all());
    let ends = chroot.match_indices('/').map(|(i, _)| i).filter(|i| *i > 0).chain([chroot.len()]);
    for path in ends.filter_map(|end| chroot.get(..end)) {
        match client.create(path, &[], &options).await {
            Ok(_) | Err(client::Error::NodeExists) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// A self-renewing session. Dropping it closes the session.
pub struct Session {
    shared: Arc<Shared>,
    supervisor: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.gate.send_replace(Gate::Closed);
        self.supervisor.abort();
    }
}

impl Session {
    /// Connects, creating the chroot if it is missing. Must run in a tokio runtime, which keeps the session alive.
    pub async fn connect(config: SessionConfig) -> Result<Session, ZkError> {
        let shared = Arc::new(Shared {
            permits: Semaphore::new(config.max_in_flight.max(1)),
            config,
            gate: watch::channel(Gate::Waiting).0,
            subscribers: Mutex::new(Vec::new()),
            watches: Watches::default(),
        });
        let client = shared.connect_first().await?;
        shared.gate.send_replace(Gate::Open(1, client.clone()));
        let supervisor = tokio::spawn(shared.clone().supervise(client));
        Ok(Session { shared, supervisor })
    }
}
