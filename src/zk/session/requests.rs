//! The requests of [`Zk`] on the real session: waiting for a connection, bounding what is in flight, telling lost
//! answers from refusals, and translation to and from the client library. No state.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use zookeeper_client as client;

use super::super::{
    ANY_VERSION, CreateMode, MultiError, Op, OpResult, Stat, Zk, ZkError, ZkEvent, ZkFuture, ZnodeRead,
};
use super::watches::WatchKind;
use super::{Gate, LOGGER, Session};

/// Pause before a request whose connection broke is tried again.
const LOSS_PAUSE: Duration = Duration::from_millis(50);
/// How long closing waits for the server to confirm.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

impl Session {
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

    fn get_many(&self, paths: Vec<String>) -> ZkFuture<Vec<ZnodeRead>> {
        let paths: Arc<[String]> = paths.into();
        self.read(move |_, client| {
            let paths = paths.clone();
            async move {
                match read_in_one(&client, &paths).await {
                    // A server from before 3.6.
                    Err(client::Error::Unimplemented) => read_one_by_one(&client, &paths).await,
                    result => result,
                }
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

async fn read_in_one(client: &client::Client, paths: &[String]) -> Result<Vec<ZnodeRead>, client::Error> {
    let mut reader = client.new_multi_reader();
    for path in paths {
        reader.add_get_data(path)?;
    }
    let results = reader.commit().await?.into_iter().map(|result| match result {
        client::MultiReadResult::Data { data, stat } => Ok((Bytes::from(data), stat_from(&stat))),
        client::MultiReadResult::Error { err } => Err(translate(err)),
        _ => Err(ZkError::Other("an answer to something else".to_owned())),
    });
    Ok(results.collect())
}

async fn read_one_by_one(client: &client::Client, paths: &[String]) -> Result<Vec<ZnodeRead>, client::Error> {
    let mut results = Vec::with_capacity(paths.len());
    for path in paths {
        results.push(match client.get_data(path).await {
            Ok((data, stat)) => Ok((Bytes::from(data), stat_from(&stat))),
            Err(error @ (client::Error::ConnectionLoss | client::Error::Custom(_))) => return Err(error),
            Err(error) => Err(translate(error)),
        });
    }
    Ok(results)
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
