//! A broker's way to ZooKeeper: the twin's session behind a wire that takes time, loses answers of writes, and holds
//! everything back while the process is paused, dead or cut off. Requests arrive in their order; watches come by a lane
//! of their own, so they may be later than answers that were sent after them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ottla::zk::twin::TwinSession;
use ottla::zk::{CreateMode, MultiError, Op, OpResult, Stat, Zk, ZkError, ZkEvent, ZkFuture};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::process::Process;
use crate::random::Random;
use crate::world::World;

/// The wire in both directions.
struct Wire {
    random: Random,
    last_arrival: Instant,
    last_answer: Instant,
}

pub struct SimZk {
    inner: Arc<TwinSession>,
    process: Arc<Process>,
    world: Arc<World>,
    wire: Arc<Mutex<Wire>>,
    subscribers: Arc<Mutex<Vec<mpsc::UnboundedSender<ZkEvent>>>>,
    /// How many writes in a thousand meet a lost connection.
    losses: Arc<AtomicU64>,
}

enum Loss {
    Request,
    Answer,
}

impl SimZk {
    pub fn connect(world: &Arc<World>, process: &Arc<Process>) -> Arc<SimZk> {
        let inner = world.twin.connect();
        let subscribers: Arc<Mutex<Vec<mpsc::UnboundedSender<ZkEvent>>>> = Arc::default();
        let random = world.random(&format!("events of {}", process.id));
        tokio::spawn(deliver(inner.events(), subscribers.clone(), process.clone(), world.clone(), random));
        let now = Instant::now();
        let random = world.random(&format!("zk of {}", process.id));
        Arc::new(SimZk {
            inner,
            process: process.clone(),
            world: world.clone(),
            wire: Arc::new(Mutex::new(Wire { random, last_arrival: now, last_answer: now })),
            subscribers,
            losses: Arc::default(),
        })
    }

    pub fn lose_writes(&self, permille: u64) {
        self.losses.store(permille, Ordering::Relaxed);
    }

    /// Sends `request` over the wire.
    fn send<T, E>(&self, what: &'static str, request: ZkFuture<T, E>, is_write: bool) -> ZkFuture<T, E>
    where
        T: Send + 'static,
        E: From<ZkError> + Send + 'static,
    {
        let (process, world, wire) = (self.process.clone(), self.world.clone(), self.wire.clone());
        let slow = world.traits.slow_zk;
        let (arrival, loss) = {
            let mut wire = wire.lock();
            wire.last_arrival = wire.last_arrival.max(Instant::now() + wire.random.delay(slow));
            let lossy = is_write && {
                let permille = self.losses.load(Ordering::Relaxed);
                wire.random.chance(permille)
            };
            let loss = lossy.then(|| if wire.random.chance(500) { Loss::Request } else { Loss::Answer });
            (wire.last_arrival, loss)
        };
        async move {
            sleep_until(arrival).await;
            process.reaches_zk().await;
            let result = match loss {
                Some(Loss::Request) => Err(ZkError::ConnectionLoss.into()),
                Some(Loss::Answer) => {
                    drop(request.await);
                    Err(ZkError::ConnectionLoss.into())
                }
                None => request.await,
            };
            world.step("zk", process.id, what);
            let answer = {
                let mut wire = wire.lock();
                wire.last_answer = wire.last_answer.max(Instant::now() + wire.random.delay(slow));
                wire.last_answer
            };
            sleep_until(answer).await;
            process.reaches_zk().await;
            result
        }
        .boxed()
    }
}

/// Hands the session's events on, late and in order.
async fn deliver(
    mut events: mpsc::UnboundedReceiver<ZkEvent>,
    subscribers: Arc<Mutex<Vec<mpsc::UnboundedSender<ZkEvent>>>>,
    process: Arc<Process>,
    world: Arc<World>,
    mut random: Random,
) {
    while let Some(event) = events.recv().await {
        let late = if random.chance(world.traits.late_watches) {
            random.millis(20, 1500)
        } else {
            random.delay(world.traits.slow_zk)
        };
        tokio::time::sleep(late).await;
        process.reaches_zk().await;
        subscribers.lock().retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }
}

impl Zk for SimZk {
    fn create(&self, path: &str, data: Bytes, mode: CreateMode) -> ZkFuture<(String, Stat)> {
        self.send("create", self.inner.create(path, data, mode), true)
    }

    fn delete(&self, path: &str, version: i32) -> ZkFuture<()> {
        self.send("delete", self.inner.delete(path, version), true)
    }

    fn exists(&self, path: &str, watch: bool) -> ZkFuture<Option<Stat>> {
        self.send("exists", self.inner.exists(path, watch), false)
    }

    fn get_data(&self, path: &str, watch: bool) -> ZkFuture<(Bytes, Stat)> {
        self.send("get", self.inner.get_data(path, watch), false)
    }

    fn get_children(&self, path: &str, watch: bool) -> ZkFuture<(Vec<String>, Stat)> {
        self.send("children", self.inner.get_children(path, watch), false)
    }

    fn set_data(&self, path: &str, data: Bytes, version: i32) -> ZkFuture<Stat> {
        self.send("set", self.inner.set_data(path, data, version), true)
    }

    fn multi(&self, ops: Vec<Op>) -> ZkFuture<Vec<OpResult>, MultiError> {
        self.send("multi", self.inner.multi(ops), true)
    }

    fn session_id(&self) -> i64 {
        self.inner.session_id()
    }

    fn events(&self) -> mpsc::UnboundedReceiver<ZkEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscribers.lock().push(sender);
        receiver
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let (inner, process) = (self.inner.clone(), self.process.clone());
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            process.reaches_zk().await;
            inner.close().await;
        }
        .boxed()
    }
}
