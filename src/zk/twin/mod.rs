//! An in-memory ZooKeeper, for simulation and tests: sessions, versions, multi, watches, and faults on demand.
//!
//! [`Twin`] is the ensemble and the test's hand on it; [`TwinSession`] is one broker's connection, and answers to
//! [`Zk`] as the real one does. Everything is deterministic: no clock but [`Twin::set_now_ms`], ids count up, and a
//! request is carried out when its future is first polled while connected.
//!
//! State: one tree and the table of clients under one mutex, never held across an await.

mod tree;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use self::tree::{ClientId, Tree};
use super::{CreateMode, MultiError, Op, OpResult, Stat, Zk, ZkError, ZkEvent, ZkFuture};

/// What shall befall one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The write is carried out, its answer is lost: the caller sees ConnectionLoss.
    LoseReply,
    /// The write never arrives: the caller sees ConnectionLoss.
    LoseRequest,
    /// Refused with this error.
    Fail(ZkError),
}

/// Decides about each write (all single writes come as one operation) of a session. Runs under the twin's lock: it must not
/// call the twin.
pub type FaultHook = Box<dyn FnMut(i64, &[Op]) -> Option<Fault> + Send>;

struct Client {
    /// 0 between expiry and renewal.
    session: i64,
    connected: bool,
    closed: bool,
    subscribers: Vec<mpsc::UnboundedSender<ZkEvent>>,
    /// Fired while disconnected; delivered on reconnection.
    held: Vec<ZkEvent>,
    /// Wakes the requests that wait, in their order, to look again.
    changed: Arc<Notify>,
}

impl Client {
    fn emit(&mut self, event: ZkEvent) {
        self.subscribers.retain(|s| s.send(event.clone()).is_ok());
    }

    fn deliver(&mut self, event: ZkEvent) {
        if self.connected {
            self.emit(event);
        } else {
            self.held.push(event);
        }
    }

    fn wake(&self) {
        self.changed.notify_waiters();
    }
}

struct State {
    tree: Tree,
    clients: BTreeMap<ClientId, Client>,
    last_client: ClientId,
    last_session: i64,
    hook: Option<FaultHook>,
}

impl State {
    fn deliver(&mut self, events: Vec<(ClientId, ZkEvent)>) {
        for (client, event) in events {
            if let Some(client) = self.clients.get_mut(&client) {
                client.deliver(event);
            }
        }
    }

    fn new_session_id(&mut self) -> i64 {
        self.last_session += 1;
        self.last_session
    }

    fn write(&mut self, client: ClientId, session: i64, ops: &[Op]) -> Result<Vec<OpResult>, MultiError> {
        let fault = self.hook.as_mut().and_then(|hook| hook(session, ops));
        match fault {
            Some(Fault::Fail(error)) => return Err(error.into()),
            Some(Fault::LoseRequest) => {
                self.blink(client);
                return Err(ZkError::ConnectionLoss.into());
            }
            _ => {}
        }
        let applied = self.tree.apply(session, ops);
        let results = match applied {
            Ok((results, events)) => {
                self.deliver(events);
                Ok(results)
            }
            Err(e) => Err(e),
        };
        if fault == Some(Fault::LoseReply) {
            self.blink(client);
            return Err(ZkError::ConnectionLoss.into());
        }
        results
    }

    /// The connection goes and comes back at once.
    fn blink(&mut self, client: ClientId) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.emit(ZkEvent::Disconnected);
            client.emit(ZkEvent::Connected);
        }
    }

    fn client_of(&mut self, session: i64) -> Option<ClientId> {
        self.clients.iter().find(|(_, c)| c.session == session && session != 0).map(|(id, _)| *id)
    }
}

/// The in-memory ensemble. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Twin {
    state: Arc<Mutex<State>>,
}

impl Default for Twin {
    fn default() -> Twin {
        Twin::new()
    }
}

impl Twin {
    pub fn new() -> Twin {
        let state = State {
            tree: Tree::new(),
            clients: BTreeMap::new(),
            last_client: 0,
            last_session: 0x1000_0000,
            hook: None,
        };
        Twin { state: Arc::new(Mutex::new(state)) }
    }

    /// A new client with a session of its own.
    pub fn connect(&self) -> Arc<TwinSession> {
        let mut state = self.state.lock();
        state.last_client += 1;
        let id = state.last_client;
        let session = state.new_session_id();
        let client = Client {
            session,
            connected: true,
            closed: false,
            subscribers: Vec::new(),
            held: Vec::new(),
            changed: Arc::default(),
        };
        state.clients.insert(id, client);
        Arc::new(TwinSession { state: self.state.clone(), client: id })
    }

    /// The time for `ctime` and `mtime`, in milliseconds since the epoch.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.state.lock().tree.now_ms = now_ms;
    }

    /// Asks `hook` about every write from now on.
    pub fn set_fault_hook(&self, hook: impl FnMut(i64, &[Op]) -> Option<Fault> + Send + 'static) {
        self.state.lock().hook = Some(Box::new(hook));
    }

    pub fn clear_fault_hook(&self) {
        self.state.lock().hook = None;
    }

    /// The next write of any session that touches `path` meets `fault`; later ones do not.
    pub fn fault_next(&self, path: &str, fault: Fault) {
        let path = path.to_owned();
        let mut fault = Some(fault);
        self.set_fault_hook(move |_, ops| if ops.iter().any(|op| op.path() == path) { fault.take() } else { None });
    }

    /// Cuts a session's connection: its requests wait, its watches are held back.
    pub fn disconnect(&self, session: i64) {
        let mut state = self.state.lock();
        let Some(client) = state.client_of(session).and_then(|id| state.clients.get_mut(&id)) else { return };
        if client.connected {
            client.emit(ZkEvent::Disconnected);
            client.connected = false;
        }
    }

    /// Connects a session again.
    pub fn reconnect(&self, session: i64) {
        let mut state = self.state.lock();
        let Some(client) = state.client_of(session).and_then(|id| state.clients.get_mut(&id)) else { return };
        if !client.connected {
            client.connected = true;
            client.emit(ZkEvent::Connected);
            for event in std::mem::take(&mut client.held) {
                client.emit(event);
            }
            client.wake();
        }
    }

    /// Expires a session: its ephemeral znodes go, its client is told, and gets a new session at once, whose id is
    /// answered. `None` if there is no such session.
    pub fn expire(&self, session: i64) -> Option<i64> {
        let client = self.expire_and_hold(session)?;
        self.renew(client)
    }

    /// Expires a session, but gives its client no new one before [`Twin::renew`] is called with the number answered here.
    pub fn expire_and_hold(&self, session: i64) -> Option<u64> {
        let mut state = self.state.lock();
        let id = state.client_of(session)?;
        let events = state.tree.end_session(id, session);
        if let Some(client) = state.clients.get_mut(&id) {
            client.session = 0;
            client.held.clear();
            client.emit(ZkEvent::SessionExpired);
            client.wake();
        }
        state.deliver(events);
        Some(id)
    }

    /// Gives an expired client its new session; answers its id.
    pub fn renew(&self, client: u64) -> Option<i64> {
        let mut state = self.state.lock();
        let session = state.new_session_id();
        let client = state.clients.get_mut(&client).filter(|c| c.session == 0 && !c.closed)?;
        client.session = session;
        client.connected = true;
        client.emit(ZkEvent::SessionEstablished(session));
        client.wake();
        Some(session)
    }

    /// The process behind a session dies: nobody waits for it any more, but its ephemeral znodes stay until the session
    /// is expired.
    pub fn kill(&self, session: i64) {
        let mut state = self.state.lock();
        if let Some(client) = state.client_of(session).and_then(|id| state.clients.get_mut(&id)) {
            client.closed = true;
            client.subscribers.clear();
            client.wake();
        }
    }

    /// Data and stat of one znode.
    pub fn peek(&self, path: &str) -> Option<(Bytes, Stat)> {
        self.state.lock().tree.node(path).map(|node| (node.data.clone(), node.stat()))
    }

    /// Every znode with its data and stat, by path.
    pub fn dump(&self) -> BTreeMap<String, (Bytes, Stat)> {
        let state = self.state.lock();
        state.tree.nodes().map(|(path, node)| (path.clone(), (node.data.clone(), node.stat()))).collect()
    }
}

/// One client's connection to a [`Twin`].
pub struct TwinSession {
    state: Arc<Mutex<State>>,
    client: ClientId,
}

impl TwinSession {
    /// Runs `request` as soon as the session it was made in is connected. A request made between two sessions waits for the
    /// next; one whose session expires meanwhile fails.
    fn run<T, E, F>(&self, request: F) -> ZkFuture<T, E>
    where
        T: Send + 'static,
        E: From<ZkError> + Send + 'static,
        F: FnOnce(&mut State, i64) -> Result<T, E> + Send + 'static,
    {
        let (state, id) = (self.state.clone(), self.client);
        let made_in = state.lock().clients.get(&id).map_or(0, |c| c.session);
        async move {
            let Some(changed) = state.lock().clients.get(&id).map(|c| c.changed.clone()) else {
                return Err(ZkError::Closed.into());
            };
            loop {
                let mut woken = pin!(changed.notified());
                woken.as_mut().enable();
                {
                    let mut state = state.lock();
                    let Some(client) = state.clients.get(&id).filter(|c| !c.closed) else {
                        return Err(ZkError::Closed.into());
                    };
                    let session = client.session;
                    if made_in != 0 && session != made_in {
                        return Err(ZkError::SessionExpired.into());
                    }
                    if session != 0 && client.connected {
                        return request(&mut state, session);
                    }
                }
                woken.await;
            }
        }
        .boxed()
    }

    fn write_one<T: Send + 'static>(&self, op: Op, pick: fn(OpResult) -> Option<T>) -> ZkFuture<T> {
        let id = self.client;
        self.run(move |state, session| {
            let result = state.write(id, session, &[op]).map_err(|e| e.error)?.into_iter().next();
            result.and_then(pick).ok_or_else(|| ZkError::Other("no result for the operation".to_owned()))
        })
    }
}

impl Zk for TwinSession {
    fn create(&self, path: &str, data: Bytes, mode: CreateMode) -> ZkFuture<(String, Stat)> {
        self.write_one(Op::create(path, data, mode), |result| match result {
            OpResult::Created { path, stat } => Some((path, stat)),
            _ => None,
        })
    }

    fn delete(&self, path: &str, version: i32) -> ZkFuture<()> {
        self.write_one(Op::delete(path, version), |result| (result == OpResult::Deleted).then_some(()))
    }

    fn exists(&self, path: &str, watch: bool) -> ZkFuture<Option<Stat>> {
        let (id, path) = (self.client, path.to_owned());
        self.run(move |state, _| Ok(state.tree.exists(id, &path, watch)))
    }

    fn get_data(&self, path: &str, watch: bool) -> ZkFuture<(Bytes, Stat)> {
        let (id, path) = (self.client, path.to_owned());
        self.run(move |state, _| state.tree.get_data(id, &path, watch))
    }

    fn get_children(&self, path: &str, watch: bool) -> ZkFuture<(Vec<String>, Stat)> {
        let (id, path) = (self.client, path.to_owned());
        self.run(move |state, _| state.tree.get_children(id, &path, watch))
    }

    fn set_data(&self, path: &str, data: Bytes, version: i32) -> ZkFuture<Stat> {
        self.write_one(Op::set_data(path, data, version), |result| result.stat())
    }

    fn multi(&self, ops: Vec<Op>) -> ZkFuture<Vec<OpResult>, MultiError> {
        let id = self.client;
        self.run(move |state, session| state.write(id, session, &ops))
    }

    fn session_id(&self) -> i64 {
        self.state.lock().clients.get(&self.client).map_or(0, |c| c.session)
    }

    fn events(&self) -> mpsc::UnboundedReceiver<ZkEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        if let Some(client) = self.state.lock().clients.get_mut(&self.client) {
            client.subscribers.push(sender);
        }
        receiver
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let (state, id) = (self.state.clone(), self.client);
        async move {
            let mut state = state.lock();
            let Some(client) = state.clients.get_mut(&id) else { return };
            client.closed = true;
            client.subscribers.clear();
            client.wake();
            let session = std::mem::take(&mut client.session);
            let events = state.tree.end_session(id, session);
            state.deliver(events);
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
