//! Who waits on a partition: produce requests for the high watermark, fetches for new data.
//!
//! Owns short lists behind mutexes that are taken only when somebody waits; the append path pays one
//! atomic load otherwise. Followers wait for the log's end, consumers for the high watermark, and neither is woken
//! for what it cannot read. Answers to Kafka's `DelayedProduce` and `DelayedFetch` purgatories, without their
//! shared timer: a waiter is a future, and whoever awaits it sets the time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::protocol::ErrorCode;

/// The waiting lists of one partition.
#[derive(Default)]
pub struct Waiters {
    high_watermark: Mutex<Vec<OffsetWaiter>>,
    followers: Mutex<Vec<Arc<FetchSignal>>>,
    consumers: Mutex<Vec<Arc<FetchSignal>>>,
    waiting: AtomicUsize,
}

/// What a parked fetch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Any append.
    LogEnd,
    /// Any advance of the high watermark.
    HighWatermark,
}

/// Resolves when the high watermark has come so far, or with the reason why it never will.
pub type Reached = oneshot::Receiver<Result<(), ErrorCode>>;

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
    pub fn await_offset(&self, offset: i64, reached: impl FnOnce() -> bool) -> Option<Reached> {
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

    fn list(&self, awaited: Awaited) -> &Mutex<Vec<Arc<FetchSignal>>> {
        match awaited {
            Awaited::LogEnd => &self.followers,
            Awaited::HighWatermark => &self.consumers,
        }
    }

    /// Adds a parked fetch. The caller checks for data again afterwards.
    pub fn await_data(&self, signal: &Arc<FetchSignal>, awaited: Awaited) {
        self.list(awaited).lock().push(signal.clone());
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes a parked fetch off its list.
    pub fn forget_data(&self, signal: &Arc<FetchSignal>, awaited: Awaited) {
        let mut list = self.list(awaited).lock();
        if let Some(at) = list.iter().position(|s| Arc::ptr_eq(s, signal)) {
            list.swap_remove(at);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The leader appended.
    pub fn log_end_moved(&self) {
        if self.waiting.load(Ordering::SeqCst) != 0 {
            self.wake(Awaited::LogEnd);
        }
    }

    /// The high watermark moved, to `high_watermark` or beyond.
    pub fn high_watermark_moved(&self, high_watermark: i64) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        self.release(|w| w.offset <= high_watermark, Ok(()));
        self.wake(Awaited::HighWatermark);
    }

    /// The replica stopped leading, or is no more: fetches look again.
    pub fn role_changed(&self) {
        self.wake(Awaited::LogEnd);
        self.wake(Awaited::HighWatermark);
    }

    /// The log was cut back to `end`: what was behind it is not there any more.
    pub fn truncated(&self, end: i64) {
        self.release(|w| w.offset > end, Err(ErrorCode::NotLeaderOrFollower));
    }

    /// The replica is no more: everybody is answered.
    pub fn fail(&self, error: ErrorCode) {
        self.release(|_| true, Err(error));
        self.role_changed();
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

    fn wake(&self, awaited: Awaited) {
        for signal in self.list(awaited).lock().iter() {
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
        waiters.high_watermark_moved(7);
        assert_eq!(near.await.unwrap(), Ok(()));
        waiters.fail(ErrorCode::NotLeaderOrFollower);
        assert_eq!(far.await.unwrap(), Err(ErrorCode::NotLeaderOrFollower));
        assert_eq!(waiters.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_signal_between_check_and_wait_is_not_lost() {
        let waiters = Waiters::default();
        let signal = Arc::new(FetchSignal::default());
        waiters.await_data(&signal, Awaited::HighWatermark);
        waiters.high_watermark_moved(1);
        signal.changed().await;
        waiters.forget_data(&signal, Awaited::HighWatermark);
        assert_eq!(waiters.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn followers_wait_for_appends_and_consumers_for_the_high_watermark() {
        let waiters = Waiters::default();
        let (follower, consumer) = (Arc::new(FetchSignal::default()), Arc::new(FetchSignal::default()));
        waiters.await_data(&follower, Awaited::LogEnd);
        waiters.await_data(&consumer, Awaited::HighWatermark);
        let is_woken = |signal: Arc<FetchSignal>| async move {
            tokio::time::timeout(std::time::Duration::ZERO, signal.changed()).await.is_ok()
        };
        waiters.log_end_moved();
        assert!(is_woken(follower.clone()).await && !is_woken(consumer.clone()).await);
        waiters.high_watermark_moved(1);
        assert!(!is_woken(follower).await && is_woken(consumer).await);
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
