//! What a broker does with ZooKeeper, in domain words, over any [`Zk`].
//!
//! Duty: each operation of Kafka's `KafkaZkClient`, `AdminZkClient` and `ProducerIdManager`'s ZooKeeper half, with one file
//! per noun. Owns no state but the session that holds our registration (needed to tell our leftovers from another
//! broker's node). No locks. Nothing here is retried on refusal unless Kafka does so.
//!
//! A write whose answer was lost is sent again, as Kafka does; but when the repetition is refused, what is in ZooKeeper is
//! compared with what was meant, so that our own success does not look like somebody else's (see `write`).
//!
//! Controller writes carry a [`ControllerEpoch`]: each goes as a multi with a check of `/controller_epoch`'s version, and
//! fails with [`StoreError::ControllerMoved`] once another controller was elected.

mod broker;
mod cluster;
mod config;
mod controller;
mod legacy;
mod notification;
mod partition;
mod topic;
mod write;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};

use super::json::JsonError;
use super::{CreateMode, Op, Stat, Zk, ZkError, paths};

pub use broker::RegisteredBroker;
pub use controller::{ControllerEpoch, Election};
pub use notification::CHANGE_EXPIRATION_MS;
pub use partition::{VersionedState, WriteResults};

/// Requests polled together; the session bounds what is really in flight.
const PIPELINE: usize = 64;

/// Why an operation did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// ZooKeeper's own answer about `path`.
    #[error("{source} for {path}")]
    Zk { path: String, source: ZkError },
    /// Another broker is the controller now (or none, or a KRaft one, where the text says so).
    #[error("{0}")]
    ControllerMoved(String),
    #[error("Failed to parse the data of {path}: {source}")]
    BadData { path: String, source: JsonError },
    /// The znode of our broker id belongs to a live session of somebody else.
    #[error(
        "Error while creating ephemeral at {path}, node already exists and owner '{owner:#x}' does not match current session '{session:#x}'"
    )]
    BrokerIdInUse { path: String, owner: i64, session: i64 },
    #[error("Configured end points {endpoints} in advertised listeners are already registered by broker {broker}")]
    EndpointsInUse { endpoints: String, broker: i32 },
    #[error("Exhausted all producerIds as the next block's end producerId has exceeded long type limit")]
    ProducerIdsExhausted,
}

impl StoreError {
    fn zk(path: impl Into<String>, source: ZkError) -> StoreError {
        StoreError::Zk { path: path.into(), source }
    }

    fn bad_data(path: impl Into<String>, source: JsonError) -> StoreError {
        StoreError::BadData { path: path.into(), source }
    }

    /// ZooKeeper's code, where it is one.
    pub fn zk_error(&self) -> Option<&ZkError> {
        match self {
            StoreError::Zk { source, .. } => Some(source),
            _ => None,
        }
    }

    pub fn is_controller_moved(&self) -> bool {
        matches!(self, StoreError::ControllerMoved(_))
    }

    /// Whether other requests of this session or this controller fare no better.
    pub fn concerns_all(&self) -> bool {
        self.is_controller_moved()
            || matches!(self.zk_error(), Some(ZkError::SessionExpired | ZkError::Closed | ZkError::ConnectionLoss))
    }

    pub fn is_node_exists(&self) -> bool {
        self.zk_error() == Some(&ZkError::NodeExists)
    }

    pub fn is_no_node(&self) -> bool {
        self.zk_error() == Some(&ZkError::NoNode)
    }

    pub fn is_bad_version(&self) -> bool {
        self.zk_error() == Some(&ZkError::BadVersion)
    }
}

/// Domain operations over one ZooKeeper session. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    zk: Arc<dyn Zk>,
    /// Session that holds our `/brokers/ids/<id>`; 0 for none.
    registered_session: Arc<AtomicI64>,
}

impl Store {
    pub fn new(zk: Arc<dyn Zk>) -> Store {
        Store { zk, registered_session: Arc::new(AtomicI64::new(0)) }
    }

    pub fn zk(&self) -> &Arc<dyn Zk> {
        &self.zk
    }

    /// Makes sure of the persistent paths every broker needs at start-up, without `/latest_producer_id_block` (see `zk`).
    pub async fn ensure_top_level_paths(&self) -> Result<(), StoreError> {
        // Looking first: a create is a write that ZooKeeper forces to its disk even when it refuses it.
        let looks = paths::TOP_LEVEL.iter().map(|path| async move { Ok((*path, self.exists(path, false).await?)) });
        let missing: Vec<&str> =
            pipelined(looks).await?.into_iter().filter(|(_, there)| !there).map(|(path, _)| path).collect();
        pipelined(missing.into_iter().map(|path| self.ensure_path(path))).await.map(|_| ())
    }

    /// Creates a persistent path without data, with its parents, unless it is there.
    pub async fn ensure_path(&self, path: &str) -> Result<(), StoreError> {
        match self.create_with_parents(path, Bytes::new()).await {
            Err(e) if e.is_node_exists() => Ok(()),
            other => other,
        }
    }

    /// Creates a persistent znode; when a parent is missing, all of them first. Fails with NodeExists if it is there.
    pub(in crate::zk) async fn create_with_parents(&self, path: &str, data: Bytes) -> Result<(), StoreError> {
        let create = || self.write_plain(Op::create(path, data.clone(), CreateMode::Persistent));
        match create().await {
            Err(e) if e.is_no_node() => {}
            other => return other.map(|_| ()),
        }
        let mut missing: Vec<&str> = std::iter::successors(paths::parent(path), |p| paths::parent(p)).collect();
        missing.pop(); // the root
        for parent in missing.into_iter().rev() {
            match self.write_plain(Op::create(parent, Bytes::new(), CreateMode::Persistent)).await {
                Err(e) if !e.is_node_exists() => return Err(e),
                _ => {}
            }
        }
        create().await.map(|_| ())
    }

    /// Data and stat, `None` if the znode is missing.
    async fn read(&self, path: &str, watch: bool) -> Result<Option<(Bytes, Stat)>, StoreError> {
        match self.zk.get_data(path, watch).await {
            Ok(found) => Ok(Some(found)),
            Err(ZkError::NoNode) => Ok(None),
            Err(e) => Err(StoreError::zk(path, e)),
        }
    }

    /// Decoded data and stat, `None` if the znode is missing.
    async fn read_as<T>(
        &self,
        path: &str,
        watch: bool,
        decode: impl FnOnce(&[u8]) -> Result<T, JsonError>,
    ) -> Result<Option<(T, Stat)>, StoreError> {
        match self.read(path, watch).await? {
            None => Ok(None),
            Some((data, stat)) => Ok(Some((decode(&data).map_err(|e| StoreError::bad_data(path, e))?, stat))),
        }
    }

    /// Names of the children, sorted; none if the znode is missing.
    pub async fn children(&self, path: &str, watch: bool) -> Result<Vec<String>, StoreError> {
        match self.zk.get_children(path, watch).await {
            Ok((mut names, _)) => {
                names.sort_unstable();
                Ok(names)
            }
            Err(ZkError::NoNode) => Ok(Vec::new()),
            Err(e) => Err(StoreError::zk(path, e)),
        }
    }

    /// True if the znode is there. The watch fires on creation, deletion and change of data, and is armed in either case.
    pub async fn exists(&self, path: &str, watch: bool) -> Result<bool, StoreError> {
        let stat = self.zk.exists(path, watch).await.map_err(|e| StoreError::zk(path, e))?;
        Ok(stat.is_some())
    }

    /// Deletes a znode and all below it, level by level; `epoch` guards each deletion. What is already gone is fine.
    pub async fn delete_recursive(&self, path: &str, epoch: Option<ControllerEpoch>) -> Result<(), StoreError> {
        let mut levels = Vec::new();
        let mut level = vec![path.to_owned()];
        while !level.is_empty() {
            let children = level.iter().map(|parent| async move {
                let names = self.children(parent, false).await?;
                Ok(names.iter().map(|name| paths::child(parent, name)).collect::<Vec<String>>())
            });
            let below = pipelined(children).await?.into_iter().flatten().collect();
            levels.push(std::mem::replace(&mut level, below));
        }
        for level in levels.into_iter().rev() {
            pipelined(level.into_iter().map(|path| self.delete_if_there(path, epoch))).await?;
        }
        Ok(())
    }

    async fn delete_if_there(&self, path: String, epoch: Option<ControllerEpoch>) -> Result<(), StoreError> {
        match self.write_as_controller(Op::delete(path, super::ANY_VERSION), epoch).await {
            Err(e) if !e.is_no_node() => Err(e),
            _ => Ok(()),
        }
    }
}

/// Runs many requests with bounded overlap; results in the order of the requests, or the first error. The requests are boxed
/// here, and not made one by one while others run: so the future may be used in a spawned task (rustc cannot prove an
/// iterator of borrowing closures `Send` across an await).
fn pipelined<'a, T, F>(requests: impl Iterator<Item = F>) -> BoxFuture<'a, Result<Vec<T>, StoreError>>
where
    T: Send + 'a,
    F: Future<Output = Result<T, StoreError>> + Send + 'a,
{
    let requests: Vec<BoxFuture<'a, Result<T, StoreError>>> = requests.map(FutureExt::boxed).collect();
    let run = async move {
        let mut all = Vec::with_capacity(requests.len());
        let mut results = stream::iter(requests).buffered(PIPELINE);
        while let Some(result) = results.next().await {
            all.push(result?);
        }
        Ok(all)
    };
    run.boxed()
}

/// Text pairs, as configurations are.
pub type StringMap = BTreeMap<String, String>;

#[cfg(test)]
mod tests;
