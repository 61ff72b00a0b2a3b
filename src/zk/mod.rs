//! ZooKeeper: the seam (`trait Zk`), its real and in-memory sides, typed paths and JSON of the znodes,
//! and the operations a broker does with them in domain words (`store::Store`).
//!
//! Duty: everything that reads or writes ZooKeeper goes through here. `session` is the supervised real
//! session, `twin` models a ZooKeeper in memory for simulation and tests; both answer to the same trait.
//! Answers to Kafka's `ZooKeeperClient` (session), `ZkData` (paths, json), `KafkaZkClient` and `AdminZkClient` (store).
//!
//! Rules every caller may rely on:
//! - Watches are one-shot, as ZooKeeper's are. `watch: true` on a read arms one for that path; when it fires, one
//!   [`ZkEvent`] goes to every subscriber. Re-arm first (by the next read with `watch: true`), then act on what was read.
//!   Watches die with their session: after [`ZkEvent::SessionEstablished`] everything must be read (and armed) again.
//! - A subscriber gets every event, in order, from the moment it called [`Zk::events`].
//! - A read survives the loss of a connection (it is sent again). A write whose answer was lost fails with
//!   [`ZkError::ConnectionLoss`], which means "unknown": it may have been applied. The store decides what to do.
//! - Requests wait while the connection is down; those that were under way when the session expired fail with
//!   [`ZkError::SessionExpired`].
//! - Empty data and absent (null) data are the same. Kafka creates directories with null data; the client library can
//!   only send empty data. Nobody looks at the data of those, with one exception: Kafka's controller parses
//!   `/latest_producer_id_block` unless it is null, and fails on empty bytes. So Ottla does not create that path at start-up
//!   (Kafka does); the first allocation of producer ids creates it with its data.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::sync::mpsc;

pub mod json;
pub mod paths;
pub mod session;
pub mod store;
pub mod twin;

/// The answer to one ZooKeeper request: owns all it needs, so many can be polled together (pipelining).
pub type ZkFuture<T, E = ZkError> = BoxFuture<'static, Result<T, E>>;

/// One of the answers to [`Zk::get_many`].
pub type ZnodeRead = Result<(Bytes, Stat), ZkError>;

/// `version` for "whatever version the znode has".
pub const ANY_VERSION: i32 = -1;

/// One ZooKeeper session that renews itself. All paths are relative to the chroot, and start with `/`.
pub trait Zk: Send + Sync {
    /// Creates a znode (world:anyone may do everything). Answers its path, which differs from `path` for
    /// sequential modes by ten digits at the end. Does not create parents.
    fn create(&self, path: &str, data: Bytes, mode: CreateMode) -> ZkFuture<(String, Stat)>;

    /// Deletes a znode without children, if it has `version` ([`ANY_VERSION`] for any).
    fn delete(&self, path: &str, version: i32) -> ZkFuture<()>;

    /// Stat of a znode, or `None`. The watch fires on creation, deletion and change of data.
    fn exists(&self, path: &str, watch: bool) -> ZkFuture<Option<Stat>>;

    /// Data and stat. The watch fires on change of data and deletion; a missing znode arms nothing.
    fn get_data(&self, path: &str, watch: bool) -> ZkFuture<(Bytes, Stat)>;

    /// Data and stat of many znodes, each with its own outcome, in the order asked for; without watches. In one request
    /// where the server can do that (3.6 and later).
    fn get_many(&self, paths: Vec<String>) -> ZkFuture<Vec<ZnodeRead>> {
        let reads: Vec<_> = paths.iter().map(|path| self.get_data(path, false)).collect();
        join_all(reads).map(Ok).boxed()
    }

    /// Names of the children in no order, and the stat of the parent. The watch fires when a child comes or goes, and on
    /// deletion of the parent; a missing znode arms nothing.
    fn get_children(&self, path: &str, watch: bool) -> ZkFuture<(Vec<String>, Stat)>;

    /// Replaces the data if the znode has `version` ([`ANY_VERSION`] for any).
    fn set_data(&self, path: &str, data: Bytes, version: i32) -> ZkFuture<Stat>;

    /// All of the operations or none of them; one result per operation.
    fn multi(&self, ops: Vec<Op>) -> ZkFuture<Vec<OpResult>, MultiError>;

    /// Id of the present session (the `ephemeral_owner` of what it creates).
    fn session_id(&self) -> i64;

    /// A new subscription to all events from now on. Unbounded: drop it when you no longer read it.
    fn events(&self) -> mpsc::UnboundedReceiver<ZkEvent>;

    /// Ends the session: its ephemeral znodes vanish at once. Later requests fail with [`ZkError::Closed`].
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// Lifetime and naming of a new znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    Persistent,
    Ephemeral,
    PersistentSequential,
    EphemeralSequential,
}

impl CreateMode {
    pub fn is_ephemeral(self) -> bool {
        matches!(self, CreateMode::Ephemeral | CreateMode::EphemeralSequential)
    }

    pub fn is_sequential(self) -> bool {
        matches!(self, CreateMode::PersistentSequential | CreateMode::EphemeralSequential)
    }
}

/// ZooKeeper's record about a znode. `czxid` and `mzxid` are the transactions that created and last changed it;
/// `ctime` and `mtime` are in milliseconds since the epoch by the server's clock; `ephemeral_owner` is a session id or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub pzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
}

/// One operation of a [`Zk::multi`]. `version` as in the single operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Create { path: String, data: Bytes, mode: CreateMode },
    SetData { path: String, data: Bytes, version: i32 },
    Delete { path: String, version: i32 },
    Check { path: String, version: i32 },
}

impl Op {
    pub fn create(path: impl Into<String>, data: impl Into<Bytes>, mode: CreateMode) -> Op {
        Op::Create { path: path.into(), data: data.into(), mode }
    }

    pub fn set_data(path: impl Into<String>, data: impl Into<Bytes>, version: i32) -> Op {
        Op::SetData { path: path.into(), data: data.into(), version }
    }

    pub fn delete(path: impl Into<String>, version: i32) -> Op {
        Op::Delete { path: path.into(), version }
    }

    pub fn check(path: impl Into<String>, version: i32) -> Op {
        Op::Check { path: path.into(), version }
    }

    pub fn path(&self) -> &str {
        match self {
            Op::Create { path, .. } | Op::SetData { path, .. } | Op::Delete { path, .. } | Op::Check { path, .. } => {
                path
            }
        }
    }
}

/// What one operation of a successful multi did. The stat of a `Created` is blank (czxid -1) with servers that do not send
/// it in a multi: add a `SetData` and use its stat where it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    Created { path: String, stat: Stat },
    DataSet { stat: Stat },
    Deleted,
    Checked,
}

impl OpResult {
    /// The stat of a created or changed znode.
    pub fn stat(&self) -> Option<Stat> {
        match self {
            OpResult::Created { stat, .. } | OpResult::DataSet { stat } => Some(*stat),
            OpResult::Deleted | OpResult::Checked => None,
        }
    }
}

/// Why a multi did nothing (or, for [`ZkError::ConnectionLoss`], why that is not known).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct MultiError {
    /// The operation that failed, from 0; `None` when the request as a whole failed.
    pub index: Option<usize>,
    #[source]
    pub error: ZkError,
}

impl fmt::Display for MultiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "operation {index} of a multi: {}", self.error),
            None => write!(f, "{}", self.error),
        }
    }
}

impl From<ZkError> for MultiError {
    fn from(error: ZkError) -> MultiError {
        MultiError { index: None, error }
    }
}

/// Outcome of a request other than success: ZooKeeper's codes, and what can befall a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZkError {
    #[error("NoNode")]
    NoNode,
    #[error("NodeExists")]
    NodeExists,
    #[error("BadVersion")]
    BadVersion,
    #[error("Directory not empty")]
    NotEmpty,
    #[error("NoChildrenForEphemerals")]
    NoChildrenForEphemerals,
    #[error("NoAuth")]
    NoAuth,
    #[error("InvalidACL")]
    InvalidAcl,
    #[error("AuthFailed")]
    AuthFailed,
    /// The answer was lost: the request may or may not have been carried out.
    #[error("ConnectionLoss")]
    ConnectionLoss,
    #[error("Session expired")]
    SessionExpired,
    /// [`Zk::close`] was called.
    #[error("The session was closed")]
    Closed,
    #[error("Bad arguments: {0}")]
    BadArguments(String),
    /// No session at start-up within `zookeeper.connection.timeout.ms`.
    #[error(
        "Timed out waiting for connection to ZooKeeper at zookeeper.connect={connect} after {timeout_ms} ms ({reason})"
    )]
    ConnectTimeout { connect: String, timeout_ms: u64, reason: String },
    /// Any other code of ZooKeeper, or an answer that could not be read.
    #[error("{0}")]
    Other(String),
}

/// What happened to a watched znode or to the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZkEvent {
    Created(Arc<str>),
    Deleted(Arc<str>),
    DataChanged(Arc<str>),
    ChildrenChanged(Arc<str>),
    /// The connection is lost; the session may live on. Nothing is lost: watches are delivered on reconnection.
    Disconnected,
    /// The same session is connected again.
    Connected,
    /// The session is gone, with its ephemeral znodes and watches. [`ZkEvent::SessionEstablished`] follows, however long
    /// that takes.
    SessionExpired,
    /// A new session (its id): register, elect and read everything again.
    SessionEstablished(i64),
}

impl ZkEvent {
    /// The znode the event is about, if it is about one.
    pub fn path(&self) -> Option<&str> {
        match self {
            ZkEvent::Created(p) | ZkEvent::Deleted(p) | ZkEvent::DataChanged(p) | ZkEvent::ChildrenChanged(p) => {
                Some(p)
            }
            _ => None,
        }
    }
}
