//! The async edge of the group coordinator: requests in, answers out, appends and timers in between.
//!
//! Each group is a synchronous state machine behind one mutex. A request locks it, lets it take a step, and carries out
//! the effects: parked requests are answered through oneshot channels, records are handed to the log while the lock is
//! held (so that the log has them in the order of the decisions) and their acknowledgement is awaited without it.
//! Answers to Kafka's `GroupCoordinator`, `GroupMetadataManager` and `GroupCoordinatorAdapter`.

mod admin;
mod cleanup;
mod commits;
mod fetches;
mod leadership;
mod membership;
mod table;
mod timer;

pub use fetches::{offset_fetch_groups, offset_fetch_response};

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod loading_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use self::table::{GroupCell, GroupEdge, GroupTable};
use self::timer::TimerQueue;
use super::config::{GroupClock, GroupConfig, Now};
use super::group::{COORDINATOR_LOG, Effect, Effects, Group, MANAGER_LOG, Store, StorePurpose};
use super::state::GroupState;
use super::storage::{AppendResult, SharedLog, group_append_error, group_batch};
use crate::protocol::ErrorCode;
use crate::protocol::codec::StrBytes;
use crate::topic::partition_for;

/// Partitions of the topic that are loaded at the same time.
const CONCURRENT_LOADS: usize = 2;

/// Who sent a request, as the coordinator needs to know it.
#[derive(Clone, Debug)]
pub struct GroupRequestContext {
    pub api_version: i16,
    /// From the request header; empty if it has none.
    pub client_id: Arc<str>,
    /// See `client_host`.
    pub client_host: Arc<str>,
}

/// An address as Java prints it and as group records hold it: `/127.0.0.1`.
pub fn client_host(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("/{v4}"),
        IpAddr::V6(v6) => format!("/{}", v6.segments().map(|segment| format!("{segment:x}")).join(":")),
    }
}

/// Counters and sums behind Kafka's `group-coordinator-metrics`; they only grow.
#[derive(Debug, Default)]
pub struct GroupMetrics {
    pub completed_rebalances: AtomicU64,
    pub offset_commits: AtomicU64,
    pub offset_expirations: AtomicU64,
    pub offset_deletions: AtomicU64,
    pub partition_loads: AtomicU64,
    pub partition_load_ms: AtomicU64,
    pub partition_load_max_ms: AtomicU64,
}

/// Gauges of `GroupMetadataManager`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupGauges {
    pub groups: usize,
    pub offsets: usize,
    pub empty: usize,
    pub preparing_rebalance: usize,
    pub completing_rebalance: usize,
    pub stable: usize,
    pub dead: usize,
}

/// The group coordinator of this broker. Clones are handles to the same one.
#[derive(Clone)]
pub struct GroupCoordinator {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    config: Arc<GroupConfig>,
    log: SharedLog,
    clock: Arc<dyn GroupClock>,
    /// Partitions of the topic when the coordinator started; placement of groups must not change under it.
    partition_count: i32,
    active: AtomicBool,
    table: GroupTable,
    timers: TimerQueue,
    /// Groups with commits in an open transaction, by producer id: a marker names only the producer.
    open_txns: Mutex<HashMap<i64, HashSet<Arc<str>>>>,
    metrics: GroupMetrics,
    loads: Arc<Semaphore>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

impl GroupCoordinator {
    /// Starts the coordinator: its timer and the periodic removal of expired offsets. Needs a tokio runtime. It
    /// coordinates nothing until `on_leadership`.
    pub fn start(config: GroupConfig, log: SharedLog, clock: Arc<dyn GroupClock>) -> GroupCoordinator {
        let ident = format!("[GroupCoordinator {}]: ", config.broker_id);
        tracing::info!(target: COORDINATOR_LOG, "{ident}Starting up.");
        let partition_count = log.partition_count().max(1);
        let inner = Arc::new(Inner {
            config: Arc::new(config),
            log,
            clock,
            partition_count,
            active: AtomicBool::new(true),
            table: GroupTable::default(),
            timers: TimerQueue::default(),
            open_txns: Mutex::new(HashMap::new()),
            metrics: GroupMetrics::default(),
            loads: Arc::new(Semaphore::new(CONCURRENT_LOADS)),
            tasks: Mutex::new(Vec::new()),
        });
        let timer = tokio::spawn(timer::run(Arc::downgrade(&inner)));
        let expiry = tokio::spawn(cleanup::run(Arc::downgrade(&inner)));
        inner.tasks.lock().extend([timer.abort_handle(), expiry.abort_handle()]);
        tracing::info!(target: COORDINATOR_LOG, "{ident}Startup complete.");
        GroupCoordinator { inner }
    }

    /// Stops timers and refuses requests with COORDINATOR_NOT_AVAILABLE.
    pub fn shutdown(&self) {
        let broker = self.inner.config.broker_id;
        tracing::info!(target: COORDINATOR_LOG, "[GroupCoordinator {broker}]: Shutting down.");
        self.inner.active.store(false, Ordering::Release);
        for task in self.inner.tasks.lock().drain(..) {
            task.abort();
        }
        tracing::info!(target: COORDINATOR_LOG, "[GroupCoordinator {broker}]: Shutdown complete.");
    }

    /// The partition of `__consumer_offsets` that holds the group.
    pub fn partition_for(&self, group_id: &str) -> i32 {
        self.inner.partition_for(group_id)
    }

    pub fn metrics(&self) -> &GroupMetrics {
        &self.inner.metrics
    }

    /// Counts the groups; takes every group's lock once.
    pub fn gauges(&self) -> GroupGauges {
        let mut gauges = GroupGauges::default();
        for cell in self.inner.table.all() {
            let edge = cell.edge.lock();
            gauges.groups += 1;
            gauges.offsets += edge.group.offsets.len();
            *match edge.group.state() {
                GroupState::Empty => &mut gauges.empty,
                GroupState::PreparingRebalance => &mut gauges.preparing_rebalance,
                GroupState::CompletingRebalance => &mut gauges.completing_rebalance,
                GroupState::Stable => &mut gauges.stable,
                GroupState::Dead => &mut gauges.dead,
            } += 1;
        }
        gauges
    }
}

impl Inner {
    fn partition_for(&self, group_id: &str) -> i32 {
        partition_for(group_id, self.partition_count)
    }

    /// The checks every request begins with; the group's partition if they pass.
    fn check_group(&self, group_id: &str, may_be_empty: bool) -> Result<i32, ErrorCode> {
        if group_id.is_empty() && !may_be_empty {
            return Err(ErrorCode::InvalidGroupId);
        }
        if !self.active.load(Ordering::Acquire) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let partition = self.partition_for(group_id);
        self.table.check_partition(partition)?;
        Ok(partition)
    }

    fn get_or_create(&self, group_id: &str, partition: i32) -> Result<Arc<GroupCell>, ErrorCode> {
        self.table.get_or_create(group_id, partition, || {
            Group::new(Arc::from(group_id), partition, self.config.clone(), self.clock.now())
        })
    }

    /// Lets the group take a step and carries out its effects.
    fn step<R>(self: &Arc<Self>, cell: &Arc<GroupCell>, step: impl FnOnce(&mut Group, Now, &mut Effects) -> R) -> R {
        self.step_edge(cell, |edge, now, fx| step(&mut edge.group, now, fx))
    }

    fn step_edge<R>(
        self: &Arc<Self>,
        cell: &Arc<GroupCell>,
        step: impl FnOnce(&mut GroupEdge, Now, &mut Effects) -> R,
    ) -> R {
        let now = self.clock.now();
        let mut fx = Effects::new();
        let mut stores = Vec::new();
        let result = {
            let mut edge = cell.edge.lock();
            let result = step(&mut edge, now, &mut fx);
            for effect in fx {
                match effect {
                    // Nobody may be waiting any more: then the client has gone, and will find out.
                    Effect::Join(ticket, answer) => {
                        if let Some(parked) = edge.joins.remove(&ticket) {
                            let _ = parked.send(answer);
                        }
                    }
                    Effect::Sync(ticket, answer) => {
                        if let Some(parked) = edge.syncs.remove(&ticket) {
                            let _ = parked.send(answer);
                        }
                    }
                    Effect::Store(store) => stores.push(self.append_group(cell, store, now)),
                }
            }
            if let Some(deadline) = edge.group.take_wake() {
                self.arm(cell, &mut edge, deadline);
            }
            result
        };
        for (append, purpose) in stores {
            self.await_store(cell, append, purpose);
        }
        result
    }

    fn arm(&self, cell: &Arc<GroupCell>, edge: &mut GroupEdge, deadline: i64) {
        if edge.armed.is_none_or(|armed| deadline < armed) {
            edge.armed = Some(deadline);
            self.timers.push(deadline, cell);
        }
    }

    /// The timer reached a deadline the group was armed for.
    fn fire(self: &Arc<Self>, cell: &Arc<GroupCell>, deadline: i64) {
        self.step_edge(cell, |edge, now, fx| {
            if edge.armed != Some(deadline) {
                return;
            }
            edge.armed = None;
            edge.group.tick(now, fx);
            edge.group.take_wake();
            if let Some(next) = edge.group.next_deadline() {
                self.arm(cell, edge, next);
            }
        });
    }

    /// Writes the group's record; called with the group's lock held.
    fn append_group(
        &self,
        cell: &GroupCell,
        store: Store,
        now: Now,
    ) -> (BoxFuture<'static, AppendResult>, StorePurpose) {
        if matches!(store.purpose, StorePurpose::Assignment { .. }) {
            self.metrics.completed_rebalances.fetch_add(1, Ordering::Relaxed);
        }
        let batch = store.value.and_then(|value| {
            group_batch(&self.config, &cell.id, Some(&value), now.wall_ms).map_err(|error| {
                tracing::error!(target: MANAGER_LOG, "Cannot build the record of group {}: {error}", cell.id);
                ErrorCode::UnknownServerError
            })
        });
        let append = match batch {
            Ok(batch) => self.log.append(cell.partition, batch, self.config.offsets_commit_timeout_ms),
            Err(error) => futures::future::ready(Err(error)).boxed(),
        };
        (append, store.purpose)
    }

    /// Waits for the record, on a task of its own unless it is there already: the request that caused it may be gone
    /// before.
    fn await_store(
        self: &Arc<Self>,
        cell: &Arc<GroupCell>,
        mut append: BoxFuture<'static, AppendResult>,
        purpose: StorePurpose,
    ) {
        if let Some(result) = (&mut append).now_or_never() {
            self.stored(cell, result, purpose);
            return;
        }
        let (inner, cell) = (self.clone(), cell.clone());
        tokio::spawn(async move {
            let result = append.await;
            inner.stored(&cell, result, purpose);
        });
    }

    fn stored(self: &Arc<Self>, cell: &Arc<GroupCell>, result: AppendResult, purpose: StorePurpose) {
        let error = match result {
            Ok(_) => ErrorCode::None,
            Err(error) => {
                let told = group_append_error(error);
                if told == ErrorCode::UnknownServerError || told == error {
                    tracing::error!(
                        target: MANAGER_LOG,
                        "[GroupMetadataManager brokerId={}] Appending metadata message for group {} failed due to \
                         {error}, returning {told} error code to the client",
                        self.config.broker_id,
                        cell.id
                    );
                }
                told
            }
        };
        self.step(cell, |group, now, fx| group.on_stored(purpose, error, now, fx));
    }
}

/// Runs `append` to its end even if the caller goes away, then `complete`. Polls once in place, so that an append that
/// is done already costs no task.
async fn complete_append<R: Send + 'static>(
    mut append: BoxFuture<'static, AppendResult>,
    complete: impl FnOnce(AppendResult) -> R + Send + 'static,
) -> Option<R> {
    if let Some(result) = (&mut append).now_or_never() {
        return Some(complete(result));
    }
    tokio::spawn(async move { complete(append.await) }).await.ok()
}

/// A text for an answer.
fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// An interval from milliseconds that may not be positive.
fn interval(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1))
}
