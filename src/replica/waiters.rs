//! Who waits on a partition: produce requests for the high watermark, fetches for new data.
//!
//! Owns two short lists behind mutexes that are taken only when somebody waits; the append path pays one
//! atomic load otherwise. Answers to Kafka's `DelayedProduce` and `DelayedFetch` purgatories, without their
//! shared timer: a waiter is a future, and whoever awaits it sets the time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::protocol::ErrorCode;

/// The two waiting lists of one partition.
#[derive(Default)]
pub struct Waiters {
    high_watermark: Mutex<Vec<OffsetWaiter>>,
    data: Mutex<Vec<Arc<FetchSignal>>>,
    waiting: AtomicUsize,
}

struct OffsetWaiter {
    /// Satisfied once the high watermark is at least this.
    offset: i64,
    done: oneshot::Sender<Result<(), ErrorCode>>,
}

/// Wakes one parked fetch; shared by all the partitions it reads.
#[derive(Default)]
pub struct FetchSignal {
    notify: Notify,
}

impl FetchSignal {
    /// Resolves once after any of the partitions changed since the signal was made or last awaited.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Waiters {
    /// Registers for `offset`; `reached` is asked under the list's lock, so no advance can be missed.
    pub fn await_offset(
        &self,
        offset: i64,
        reached: impl FnOnce() -> bool,
    ) -> Option<oneshot::Receiver<Result<(), ErrorCode>>> {
        let mut list = self.high_watermark.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if reached() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let (done, receiver) = oneshot::channel();
        // Requests that gave up (time limit, closed connection) leave closed entries behind.
        let before = list.len();
        list.retain(|w| !w.done.is_closed());
        self.waiting.fetch_sub(before - list.len(), Ordering::SeqCst);
        list.push(OffsetWaiter { offset, done });
        Some(receiver)
    }

    /// Adds a parked fetch. The caller checks for data again afterwards.
    pub fn await_data(&self, signal: &Arc<FetchSignal>) {
        self.data.lock().push(signal.clone());
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes a parked fetch off the list.
    pub fn forget_data(&self, signal: &Arc<FetchSignal>) {
        let mut list = self.data.lock();
        if let Some(at) = list.iter().position(|s| Arc::ptr_eq(s, signal)) {
            list.swap_remove(at);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Tells everyone that the log end or the high watermark moved; `high_watermark` is the current value.
    pub fn advanced(&self, high_watermark: i64) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        self.release(|w| w.offset <= high_watermark, Ok(()));
        self.wake_fetches();
    }

    /// The replica stopped leading: produce waiters fail, fetches look again.
    pub fn fail(&self, error: ErrorCode) {
        self.release(|_| true, Err(error));
        self.wake_fetches();
    }

    fn release(&self, done: impl Fn(&OffsetWaiter) -> bool, result: Result<(), ErrorCode>) {
        let mut list = self.high_watermark.lock();
        let mut at = 0;
        while at < list.len() {
            if done(&list[at]) {
                // The receiver may be gone: then nobody needs the answer.
                let _ = list.swap_remove(at).done.send(result);
                self.waiting.fetch_sub(1, Ordering::SeqCst);
            } else {
                at += 1;
            }
        }
    }

    fn wake_fetches(&self) {
        for signal in self.data.lock().iter() {
            signal.notify.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn offset_waiters_are_released_in_any_order_they_are_reached() {
        let waiters = Waiters::default();
        let far = waiters.await_offset(10, || false).unwrap();
        let near = waiters.await_offset(5, || false).unwrap();
        assert!(waiters.await_offset(1, || true).is_none());
        waiters.advanced(7);
        assert_eq!(near.await.unwrap(), Ok(()));
        waiters.fail(ErrorCode::NotLeaderOrFollower);
        assert_eq!(far.await.unwrap(), Err(ErrorCode::NotLeaderOrFollower));
        assert_eq!(waiters.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_signal_between_check_and_wait_is_not_lost() {
        let waiters = Waiters::default();
        let signal = Arc::new(FetchSignal::default());
        waiters.await_data(&signal);
        waiters.advanced(1);
        signal.changed().await;
        waiters.forget_data(&signal);
        assert_eq!(waiters.waiting.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn abandoned_waiters_are_swept() {
        let waiters = Waiters::default();
        for offset in 0..100 {
            drop(waiters.await_offset(offset + 1_000, || false));
        }
        assert!(waiters.high_watermark.lock().len() <= 1);
    }
}
