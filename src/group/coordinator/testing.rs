//! A log in memory that can be slow, fail, or not be there; a clock that follows tokio's paused time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{GroupCoordinator, GroupRequestContext};
use crate::group::config::{GroupClock, GroupConfig, Now};
use crate::group::storage::{AppendResult, OffsetsLog};
use crate::protocol::ErrorCode;
use crate::record::{Batch, Record, batches};

pub(super) const WALL: i64 = 1_700_000_000_000;

/// What becomes of appends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Succeed,
    /// Not written.
    Refuse(ErrorCode),
    /// Written, and acknowledged by `MemoryLog::acknowledge`.
    Hold,
}

#[derive(Default)]
struct Replica {
    start: i64,
    end: i64,
    batches: Vec<(i64, Bytes)>,
}

#[derive(Default)]
struct State {
    replicas: HashMap<i32, Replica>,
    mode: Mode,
    held: Vec<(i64, oneshot::Sender<AppendResult>)>,
}

#[derive(Default)]
pub(super) struct MemoryLog {
    state: Mutex<State>,
    partitions: i32,
    /// Reads wait for it.
    pub gate: Mutex<()>,
}

impl MemoryLog {
    pub fn new(partitions: i32) -> Arc<MemoryLog> {
        let log = MemoryLog { partitions, ..MemoryLog::default() };
        log.state.lock().replicas = (0..partitions).map(|partition| (partition, Replica::default())).collect();
        Arc::new(log)
    }

    pub fn set_mode(&self, mode: Mode) {
        self.state.lock().mode = mode;
    }

    /// The oldest held append ends with `outcome`.
    pub fn acknowledge(&self, outcome: Result<(), ErrorCode>) {
        let (base, held) = self.state.lock().held.remove(0);
        held.send(outcome.map(|()| base)).unwrap();
    }

    pub fn held(&self) -> usize {
        self.state.lock().held.len()
    }

    /// Appends batches as they are, with the offsets they have.
    pub fn put(&self, partition: i32, bytes: Bytes) {
        let mut state = self.state.lock();
        let replica = state.replicas.get_mut(&partition).unwrap();
        for batch in batches(bytes) {
            let batch = batch.unwrap();
            replica.batches.push((batch.base_offset().unwrap(), batch.bytes().clone()));
            replica.end = batch.next_offset();
        }
    }

    pub fn remove(&self, partition: i32) {
        self.state.lock().replicas.remove(&partition);
    }

    pub fn batches(&self, partition: i32) -> Vec<Batch> {
        let state = self.state.lock();
        state.replicas[&partition].batches.iter().map(|(_, bytes)| Batch::parse(bytes.clone()).unwrap()).collect()
    }

    /// All records of a partition: key and value.
    pub fn records(&self, partition: i32) -> Vec<Record> {
        let records = |batch: Batch| batch.records(1 << 20).map(|record| record.unwrap()).collect::<Vec<Record>>();
        self.batches(partition).into_iter().flat_map(records).collect()
    }

    fn write(&self, partition: i32, batch: &Bytes) -> AppendResult {
        let mut state = self.state.lock();
        let replica = state.replicas.get_mut(&partition).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let base = replica.end;
        let mut bytes = BytesMut::from(&batch[..]);
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        let batch = Batch::parse(bytes.freeze()).unwrap();
        batch.verify_crc().unwrap();
        replica.end = batch.next_offset();
        replica.batches.push((base, batch.bytes().clone()));
        Ok(base)
    }
}

impl OffsetsLog for MemoryLog {
    fn append(&self, partition: i32, batch: Bytes, _timeout_ms: i32) -> BoxFuture<'static, AppendResult> {
        let mode = self.state.lock().mode;
        let result = match mode {
            Mode::Refuse(error) => Err(error),
            Mode::Succeed | Mode::Hold => self.write(partition, &batch),
        };
        match result {
            Ok(base) if mode == Mode::Hold => {
                let (held, wait) = oneshot::channel();
                self.state.lock().held.push((base, held));
                async move { wait.await.unwrap_or(Err(ErrorCode::RequestTimedOut)) }.boxed()
            }
            result => futures::future::ready(result).boxed(),
        }
    }

    fn append_local(&self, partition: i32, batch: Bytes) -> AppendResult {
        self.write(partition, &batch)
    }

    fn read(&self, partition: i32, from: i64, max_bytes: i32) -> Result<Bytes, ErrorCode> {
        let _open = self.gate.lock();
        let state = self.state.lock();
        let replica = state.replicas.get(&partition).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let mut out = BytesMut::new();
        let first = replica.batches.partition_point(|(base, _)| *base <= from).saturating_sub(1);
        for (_, bytes) in &replica.batches[first..] {
            if !out.is_empty() && out.len() + bytes.len() > max_bytes as usize {
                break;
            }
            out.extend_from_slice(bytes);
        }
        Ok(out.freeze())
    }

    fn log_start(&self, partition: i32) -> Option<i64> {
        self.state.lock().replicas.get(&partition).map(|replica| replica.start)
    }

    fn log_end(&self, partition: i32) -> Option<i64> {
        self.state.lock().replicas.get(&partition).map(|replica| replica.end)
    }

    fn partition_count(&self) -> i32 {
        self.partitions
    }
}

/// tokio's clock, paused in tests.
pub(super) struct TestClock(tokio::time::Instant);

impl GroupClock for TestClock {
    fn now(&self) -> Now {
        let mono_ms = self.0.elapsed().as_millis() as i64;
        Now { wall_ms: WALL + mono_ms, mono_ms }
    }
}

/// A coordinator that owns all partitions of `log`, once it has loaded them.
pub(super) async fn coordinator(config: GroupConfig, log: &Arc<MemoryLog>) -> GroupCoordinator {
    let coordinator = idle(config, log);
    for partition in 0..log.partitions {
        coordinator.on_leadership(partition, 0);
    }
    loaded(&coordinator).await;
    coordinator
}

/// A coordinator that owns nothing yet.
pub(super) fn idle(config: GroupConfig, log: &Arc<MemoryLog>) -> GroupCoordinator {
    GroupCoordinator::start(config, log.clone(), Arc::new(TestClock(tokio::time::Instant::now())))
}

/// Waits for loads, which run on real threads, without letting paused time run away.
pub(super) async fn loaded(coordinator: &GroupCoordinator) {
    while coordinator.inner.table.is_any_loading() {
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
}

pub(super) fn context(api_version: i16) -> GroupRequestContext {
    GroupRequestContext { api_version, client_id: Arc::from("gold"), client_host: Arc::from("/127.0.0.1") }
}

/// Runs a request on a task of its own and lets it get as far as it can.
pub(super) async fn start<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let task = tokio::spawn(future);
    settle().await;
    task
}

/// Lets every task run until it waits.
pub(super) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
