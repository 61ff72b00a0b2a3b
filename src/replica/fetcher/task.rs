//! The asynchronous edge of a fetcher: one connection to the leader, one exchange at a time, until it is ended.
//!
//! Shares the core behind a mutex with the orders of the controller. Whatever may touch the disk runs on the
//! blocking pool, never on a network thread, and never with the mutex held across an await.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::core::{FetcherCore, Incoming, Outgoing, Step, TARGET};
use crate::client::{ClientError, Connection};
use crate::util::{blocking, clock};

/// Makes the connection to the leader.
pub type ToLeader = Arc<dyn Fn() -> BoxFuture<'static, Result<Connection, ClientError>> + Send + Sync>;

/// What a fetcher's task and its manager share.
pub struct Shared {
    pub core: Mutex<FetcherCore>,
    /// The partitions changed.
    pub wake: Notify,
    pub ended: AtomicBool,
}

/// Everything a fetcher's task needs.
pub struct FetcherTask {
    pub shared: Arc<Shared>,
    pub connector: ToLeader,
    pub broker_epoch: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// `replica.socket.timeout.ms`.
    pub timeout: Duration,
    pub connection: Option<Connection>,
    /// Exchanges that failed in a row.
    pub failures: u32,
}

impl FetcherTask {
    /// Runs until ended. Dropping the future at any time is safe: what is on the blocking pool finishes there.
    pub async fn run(mut self) {
        while !self.shared.ended.load(Ordering::Acquire) {
            let step = self.shared.core.lock().next_step((self.broker_epoch)(), clock::now_ms());
            match step {
                Step::Truncate => self.blocking(|core| core.truncate(clock::now_ms())).await,
                Step::Send(request) => self.exchange(request).await,
                Step::Wait(until) => self.wait(until).await,
            }
        }
    }

    async fn wait(&self, until_ms: Option<i64>) {
        let woken = self.shared.wake.notified();
        match until_ms {
            Some(until) => {
                let pause = u64::try_from(until - clock::now_ms()).unwrap_or(0);
                let _ = tokio::time::timeout_at(Instant::now() + Duration::from_millis(pause), woken).await;
            }
            None => woken.await,
        }
    }

    async fn blocking(&self, work: impl FnOnce(&mut FetcherCore) + Send + 'static) {
        let shared = self.shared.clone();
        let done = blocking::run(move || {
            let mut core = shared.core.lock();
            if !shared.ended.load(Ordering::Acquire) {
                work(&mut core);
            }
        });
        if let Err(error) = done.await {
            tracing::error!(target: TARGET, "A fetcher failed: {error}");
            self.shared.ended.store(true, Ordering::Release);
        }
    }

    async fn exchange(&mut self, request: Outgoing) {
        match self.send(request).await {
            // The usual idle answer says nothing about any partition.
            Ok(Incoming::Fetch(answer)) if answer.responses.is_empty() => {
                self.failures = 0;
                self.shared.core.lock().on_response(Incoming::Fetch(answer), clock::now_ms());
            }
            Ok(answer) => {
                self.failures = 0;
                self.blocking(move |core| core.on_response(answer, clock::now_ms())).await;
            }
            Err(error) => {
                self.connection = None;
                let mut core = self.shared.core.lock();
                if self.failures == 0 && !core.is_idle() {
                    tracing::warn!(target: TARGET, "{} Error in response for fetch request: {error}", core.name());
                } else {
                    tracing::debug!(target: TARGET, "{} Error in response for fetch request: {error}", core.name());
                }
                self.failures += 1;
                core.on_failure(clock::now_ms());
            }
        }
    }

    async fn send(&mut self, request: Outgoing) -> Result<Incoming, ClientError> {
        let connection = match &self.connection {
            Some(connection) => connection.clone(),
            None => self.connection.insert((self.connector)().await?).clone(),
        };
        Ok(match request {
            Outgoing::Fetch(version, request) => {
                Incoming::Fetch(connection.request_within(version, request, self.timeout).await?)
            }
            Outgoing::ListOffsets(version, request) => {
                Incoming::ListOffsets(connection.request_within(version, request, self.timeout).await?)
            }
            Outgoing::Epochs(version, request) => {
                Incoming::Epochs(connection.request_within(version, request, self.timeout).await?)
            }
        })
    }
}
