//! Wakes groups at their deadlines: one task and one heap for all of them.
//!
//! A group is in the heap at most at the time it is armed for (plus stale entries, which are skipped). Deadlines that
//! move back, as sessions do with every heartbeat, cost nothing: the group is looked at when the old one comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Inner;
use super::table::GroupCell;

#[derive(Default)]
pub(super) struct TimerQueue {
    heap: Mutex<Heap>,
    /// A deadline earlier than all others was pushed.
    earlier: Arc<Notify>,
}

#[derive(Default)]
struct Heap {
    /// Earliest first; of equals, the one pushed first.
    entries: BinaryHeap<Reverse<Entry>>,
    next_sequence: u64,
}

struct Entry {
    deadline: i64,
    sequence: u64,
    cell: Weak<GroupCell>,
}

impl Entry {
    fn key(&self) -> (i64, u64) {
        (self.deadline, self.sequence)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl TimerQueue {
    pub(super) fn push(&self, deadline: i64, cell: &Arc<GroupCell>) {
        let is_first = {
            let mut heap = self.heap.lock();
            let is_first = heap.entries.peek().is_none_or(|Reverse(first)| deadline < first.deadline);
            heap.next_sequence += 1;
            let sequence = heap.next_sequence;
            heap.entries.push(Reverse(Entry { deadline, sequence, cell: Arc::downgrade(cell) }));
            is_first
        };
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// Takes out one entry that is due; otherwise says when the next one is.
    fn next(&self, now_ms: i64) -> Result<(i64, Weak<GroupCell>), Option<i64>> {
        let mut heap = self.heap.lock();
        match heap.entries.peek() {
            Some(Reverse(first)) if first.deadline > now_ms => Err(Some(first.deadline)),
            Some(_) => heap.entries.pop().map(|Reverse(entry)| (entry.deadline, entry.cell)).ok_or(None),
            None => Err(None),
        }
    }
}

/// Runs until the coordinator is gone.
pub(super) async fn run(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let earlier = strong.timers.earlier.clone();
        let now_ms = strong.clock.now().mono_ms;
        let next = match strong.timers.next(now_ms) {
            Ok((deadline, cell)) => {
                if let Some(cell) = cell.upgrade() {
                    strong.fire(&cell, deadline);
                }
                continue;
            }
            Err(next) => next,
        };
        drop(strong);
        match next {
            Some(deadline) => {
                let wait = Duration::from_millis(u64::try_from(deadline.saturating_sub(now_ms)).unwrap_or(0));
                tokio::select! {
                    () = earlier.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
            None => earlier.notified().await,
        }
    }
}
