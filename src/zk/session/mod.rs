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

mod watches;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use zookeeper_client as client;

use self::watches::{WatchKind, Watches};
use super::{ANY_VERSION, CreateMode, MultiError, Op, OpResult, Stat, Zk, ZkError, ZkEvent, ZkFuture};

const LOGGER: &str = "kafka.zookeeper.ZooKeeperClient";
/// Pause between attempts to get a session.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Pause before a request whose connection broke is tried again.
const LOSS_PAUSE: Duration = Duration::from_millis(50);
/// How long closing waits for the server to confirm.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

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

    /// Sends a request in the present session. Lost reads are sent again, lost writes are `ConnectionLoss`.
    fn run<T, F, Fut>(&self, lost: Lost, request: F) -> ZkFuture<T, MultiError>
    where
        T: Send + 'static,
        F: Fn(u64, client::Client) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, client::MultiWriteError>> + Send,
    {
        let shared = self.shared.clone();
        let made_in = shared.generation();
        async move {
            loop {
                let (generation, client) = shared.client(made_in).await?;
                let result = match shared.permits.acquire().await {
                    Ok(_permit) => request(generation, client).await,
                    Err(_) => return Err(ZkError::Closed.into()),
                };
                let (index, error) = match result {
                    Ok(value) => return Ok(value),
                    Err(client::MultiWriteError::RequestFailed { source }) => (None, source),
                    Err(client::MultiWriteError::OperationFailed { index, source }) => (Some(index), source),
                };
                match translate(error) {
                    ZkError::ConnectionLoss if lost == Lost::Resend => sleep(LOSS_PAUSE).await,
                    ZkError::ConnectionLoss => {
                        sleep(LOSS_PAUSE).await;
                        return Err(ZkError::ConnectionLoss.into());
                    }
                    error => return Err(MultiError { index, error }),
                }
            }
        }
        .boxed()
    }

    fn read<T, F, Fut>(&self, request: F) -> ZkFuture<T>
    where
        T: Send + 'static,
        F: Fn(u64, client::Client) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, client::Error>> + Send + 'static,
    {
        let request = move |generation, client| request(generation, client).map(|r| r.map_err(Into::into));
        self.run(Lost::Resend, request).map(|r| r.map_err(|e: MultiError| e.error)).boxed()
    }

    fn write<T, F, Fut>(&self, request: F) -> ZkFuture<T>
    where
        T: Send + 'static,
        F: Fn(client::Client) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, client::Error>> + Send + 'static,
    {
        let request = move |_, client| request(client).map(|r| r.map_err(Into::into));
        self.run(Lost::Tell, request).map(|r| r.map_err(|e: MultiError| e.error)).boxed()
    }

    /// Hands a watcher to the forwarding tasks.
    fn armer(&self, kind: WatchKind, path: &str) -> impl Fn(u64, client::OneshotWatcher) + Clone + Send + Sync + use<> {
        let (shared, path): (_, Arc<str>) = (Arc::downgrade(&self.shared), Arc::from(path));
        move |generation, watcher| {
            if let Some(shared) = shared.upgrade() {
                let emit = Arc::downgrade(&shared);
                shared.watches.arm(generation, kind, path.clone(), watcher, move |event| {
                    if let Some(shared) = emit.upgrade() {
                        shared.emit(event);
                    }
                });
            }
        }
    }
}

/// What to do about a request whose answer was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Resend,
    Tell,
}

impl Zk for Session {
    fn create(&self, path: &str, data: Bytes, mode: CreateMode) -> ZkFuture<(String, Stat)> {
        let path = path.to_owned();
        self.write(move |client| {
            let (path, data) = (path.clone(), data.clone());
            async move {
                let (stat, sequence) = client.create(&path, &data, &options(mode)).await?;
                let path = if mode.is_sequential() { format!("{path}{sequence}") } else { path.clone() };
                Ok((path, stat_from(&stat)))
            }
        })
    }

    fn delete(&self, path: &str, version: i32) -> ZkFuture<()> {
        let path = path.to_owned();
        self.write(move |client| {
            let path = path.clone();
            async move { client.delete(&path, expected(version)).await }
        })
    }

    fn exists(&self, path: &str, watch: bool) -> ZkFuture<Option<Stat>> {
        let (arm, path) = (self.armer(WatchKind::Data, path), path.to_owned());
        self.read(move |generation, client| {
            let (arm, path) = (arm.clone(), path.clone());
            async move {
                if !watch {
                    return Ok(client.check_stat(&path).await?.as_ref().map(stat_from));
                }
                let (stat, watcher) = client.check_and_watch_stat(&path).await?;
                arm(generation, watcher);
                Ok(stat.as_ref().map(stat_from))
            }
        })
    }

    fn get_data(&self, path: &str, watch: bool) -> ZkFuture<(Bytes, Stat)> {
        let (arm, path) = (self.armer(WatchKind::Data, path), path.to_owned());
        self.read(move |generation, client| {
            let (arm, path) = (arm.clone(), path.clone());
            async move {
                if !watch {
                    let (data, stat) = client.get_data(&path).await?;
                    return Ok((Bytes::from(data), stat_from(&stat)));
                }
                let (data, stat, watcher) = client.get_and_watch_data(&path).await?;
                arm(generation, watcher);
                Ok((Bytes::from(data), stat_from(&stat)))
            }
        })
    }

    fn get_children(&self, path: &str, watch: bool) -> ZkFuture<(Vec<String>, Stat)> {
        let (arm, path) = (self.armer(WatchKind::Children, path), path.to_owned());
        self.read(move |generation, client| {
            let (arm, path) = (arm.clone(), path.clone());
            async move {
                if !watch {
                    let (children, stat) = client.get_children(&path).await?;
                    return Ok((children, stat_from(&stat)));
                }
                let (children, stat, watcher) = client.get_and_watch_children(&path).await?;
                arm(generation, watcher);
                Ok((children, stat_from(&stat)))
            }
        })
    }

    fn set_data(&self, path: &str, data: Bytes, version: i32) -> ZkFuture<Stat> {
        let path = path.to_owned();
        self.write(move |client| {
            let (path, data) = (path.clone(), data.clone());
            async move { Ok(stat_from(&client.set_data(&path, &data, expected(version)).await?)) }
        })
    }

    fn multi(&self, ops: Vec<Op>) -> ZkFuture<Vec<OpResult>, MultiError> {
        let ops = Arc::new(ops);
        self.run(Lost::Tell, move |_, client| {
            let ops = ops.clone();
            async move {
                let mut writer = client.new_multi_writer();
                for op in ops.iter() {
                    match op {
                        Op::Create { path, data, mode } => writer.add_create(path, data, &options(*mode))?,
                        Op::SetData { path, data, version } => writer.add_set_data(path, data, expected(*version))?,
                        Op::Delete { path, version } => writer.add_delete(path, expected(*version))?,
                        Op::Check { path, version } => writer.add_check_version(path, *version)?,
                    }
                }
                let results = writer.commit().await?;
                Ok(results.into_iter().filter_map(op_result).collect())
            }
        })
    }

    fn session_id(&self) -> i64 {
        match &*self.shared.gate.borrow() {
            Gate::Open(_, client) => client.session_id().0,
            _ => 0,
        }
    }

    fn events(&self) -> mpsc::UnboundedReceiver<ZkEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.shared.subscribers.lock().push(sender);
        receiver
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        async move {
            let Gate::Open(_, client) = shared.gate.send_replace(Gate::Closed) else { return };
            shared.subscribers.lock().clear();
            let mut states = client.state_watcher();
            drop(client);
            let ended = async { while !states.changed().await.is_terminated() {} };
            if timeout(CLOSE_PATIENCE, ended).await.is_err() {
                tracing::debug!(target: LOGGER, "ZooKeeper did not confirm the end of the session");
            }
        }
        .boxed()
    }
}

fn expected(version: i32) -> Option<i32> {
    (version != ANY_VERSION).then_some(version)
}

fn options(mode: CreateMode) -> client::CreateOptions<'static> {
    let mode = match mode {
        CreateMode::Persistent => client::CreateMode::Persistent,
        CreateMode::Ephemeral => client::CreateMode::Ephemeral,
        CreateMode::PersistentSequential => client::CreateMode::PersistentSequential,
        CreateMode::EphemeralSequential => client::CreateMode::EphemeralSequential,
    };
    mode.with_acls(client::Acls::anyone_all())
}

fn stat_from(stat: &client::Stat) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        pzxid: stat.pzxid,
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        cversion: stat.cversion,
        ephemeral_owner: stat.ephemeral_owner,
        data_length: stat.data_length,
        num_children: stat.num_children,
    }
}

fn op_result(result: client::MultiWriteResult) -> Option<OpResult> {
    match result {
        client::MultiWriteResult::Create { path, stat } => Some(OpResult::Created { path, stat: stat_from(&stat) }),
        client::MultiWriteResult::SetData { stat } => Some(OpResult::DataSet { stat: stat_from(&stat) }),
        client::MultiWriteResult::Delete => Some(OpResult::Deleted),
        client::MultiWriteResult::Check => Some(OpResult::Checked),
        _ => None,
    }
}

fn translate(error: client::Error) -> ZkError {
    use client::Error;
    match error {
        Error::NoNode => ZkError::NoNode,
        Error::NodeExists => ZkError::NodeExists,
        Error::BadVersion => ZkError::BadVersion,
        Error::NotEmpty => ZkError::NotEmpty,
        Error::NoChildrenForEphemerals => ZkError::NoChildrenForEphemerals,
        Error::NoAuth => ZkError::NoAuth,
        Error::InvalidAcl => ZkError::InvalidAcl,
        Error::AuthFailed => ZkError::AuthFailed,
        // An error of the connection, given to all that was under way on it.
        Error::ConnectionLoss | Error::Custom(_) => ZkError::ConnectionLoss,
        // A client is closed by us only after the gate was; any other end of it is the session's.
        Error::SessionExpired | Error::SessionMoved | Error::ClientClosed | Error::Timeout => ZkError::SessionExpired,
        Error::BadArguments(what) => ZkError::BadArguments((*what).to_owned()),
        other => ZkError::Other(other.to_string()),
    }
}
