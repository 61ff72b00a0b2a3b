//! Producer ids: handed out from blocks of a thousand that the controller allocates.
//!
//! Owns the current block and the next one, fetched ahead when most of the current is used. One mutex, never
//! held across an await; one fetch at a time. Unlike Kafka, which answers COORDINATOR_LOAD_IN_PROGRESS while it
//! fetches, a request waits for the block (within the request timeout): the client sees a success instead of a retry.
//! Answers to `RPCProducerIdManager` (spec zookeeper 5.4).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::protocol::ErrorCode;

/// Ask for the next block when this share of the current one is used.
const PREFETCH: f64 = 0.9;

/// Where blocks come from: the active controller, over the network.
pub trait BlockSource: Send + Sync {
    /// A fresh block that nobody else has.
    fn allocate(&self) -> BoxFuture<'static, Result<Range<i64>, ErrorCode>>;
}

#[derive(Default)]
struct Blocks {
    current: Range<i64>,
    /// Id at which to fetch ahead.
    prefetch_at: i64,
    next: Option<Range<i64>>,
}

impl Blocks {
    fn take(&mut self) -> Option<i64> {
        if self.current.is_empty() {
            let next = self.next.take()?;
            self.start(next);
        }
        self.current.next()
    }

    fn start(&mut self, block: Range<i64>) {
        let size = block.end - block.start;
        self.prefetch_at = block.start + (size as f64 * PREFETCH) as i64;
        self.current = block;
    }

    fn wants_more(&self) -> bool {
        self.next.is_none() && self.current.start >= self.prefetch_at
    }
}

pub struct ProducerIds {
    source: Arc<dyn BlockSource>,
    blocks: Mutex<Blocks>,
    /// Held while a block is being fetched.
    fetching: tokio::sync::Mutex<()>,
    /// Longest wait of a request for a block.
    patience: Duration,
}

impl ProducerIds {
    pub fn new(source: Arc<dyn BlockSource>, patience: Duration) -> ProducerIds {
        ProducerIds { source, blocks: Mutex::default(), fetching: tokio::sync::Mutex::new(()), patience }
    }

    /// The next producer id, or `CoordinatorLoadInProgress` when no block can be had now.
    pub async fn next(self: &Arc<Self>) -> Result<i64, ErrorCode> {
        if let Some(id) = self.take() {
            return Ok(id);
        }
        let fetched = tokio::time::timeout(self.patience, self.fetch_and_take()).await;
        fetched.unwrap_or(Err(ErrorCode::CoordinatorLoadInProgress))
    }

    fn take(self: &Arc<Self>) -> Option<i64> {
        let (id, wants_more) = {
            let mut blocks = self.blocks.lock();
            (blocks.take(), blocks.wants_more())
        };
        if id.is_some() && wants_more {
            let ids = self.clone();
            tokio::spawn(async move { ids.fetch().await });
        }
        id
    }

    async fn fetch_and_take(self: &Arc<Self>) -> Result<i64, ErrorCode> {
        loop {
            self.fetch().await?;
            let id = self.blocks.lock().take();
            if let Some(id) = id {
                return Ok(id);
            }
        }
    }

    async fn fetch(&self) -> Result<(), ErrorCode> {
        let _one_at_a_time = self.fetching.lock().await;
        if !self.blocks.lock().wants_more() {
            return Ok(());
        }
        let block = self.source.allocate().await.map_err(|code| {
            tracing::info!(target: "kafka.coordinator.transaction.ProducerIdManager", "No block of producer ids: {code}");
            ErrorCode::CoordinatorLoadInProgress
        })?;
        self.blocks.lock().next = Some(block);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    struct Tens(AtomicI64);

    impl BlockSource for Tens {
        fn allocate(&self) -> BoxFuture<'static, Result<Range<i64>, ErrorCode>> {
            let start = self.0.fetch_add(10, Ordering::SeqCst);
            Box::pin(std::future::ready(if start < 100 {
                Ok(start..start + 10)
            } else {
                Err(ErrorCode::NotController)
            }))
        }
    }

    #[tokio::test]
    async fn ids_are_unique_across_blocks_and_the_end_is_a_retriable_error() {
        let ids = Arc::new(ProducerIds::new(Arc::new(Tens(AtomicI64::new(0))), Duration::from_secs(5)));
        let mut seen = Vec::new();
        for _ in 0..100 {
            seen.push(ids.next().await.unwrap());
        }
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!(ids.next().await, Err(ErrorCode::CoordinatorLoadInProgress));
    }
}
