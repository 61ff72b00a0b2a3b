//! Armed one-shot watches of the real session: one forwarding task per watched path and kind.
//!
//! State: the table of forwarding tasks under a short mutex. A path that is read with a watch again and again, without ever
//! changing, keeps one task and one watcher.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use zookeeper_client::{EventType, OneshotWatcher, WatchedEvent};

use crate::zk::ZkEvent;

/// Which of a znode's two watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum WatchKind {
    Data,
    Children,
}

type Key = (u64, WatchKind, Arc<str>);
type Table = Arc<Mutex<HashMap<Key, mpsc::UnboundedSender<OneshotWatcher>>>>;

/// All armed watches. Cloned handles share the table.
#[derive(Default)]
pub(super) struct Watches {
    table: Table,
}

impl Watches {
    /// Forwards what befalls `watcher` to `emit`, once, whether or not the path is watched already.
    pub fn arm(
        &self,
        generation: u64,
        kind: WatchKind,
        path: Arc<str>,
        watcher: OneshotWatcher,
        emit: impl Fn(ZkEvent) + Send + 'static,
    ) {
        let key = (generation, kind, path);
        let mut table = self.table.lock();
        let watcher = match table.get(&key) {
            Some(task) => match task.send(watcher) {
                Ok(()) => return,
                Err(refused) => refused.0,
            },
            None => watcher,
        };
        let (sender, newer) = mpsc::unbounded_channel();
        table.insert(key.clone(), sender);
        tokio::spawn(forward(self.table.clone(), key, watcher, newer, emit));
    }

    /// The session is over: its watches are dead.
    pub fn clear(&self) {
        self.table.lock().clear();
    }
}

async fn forward(
    table: Table,
    key: Key,
    first: OneshotWatcher,
    mut newer: mpsc::UnboundedReceiver<OneshotWatcher>,
    emit: impl Fn(ZkEvent) + Send,
) {
    let mut watcher = first;
    loop {
        let (event, mut next) = fired(watcher, &mut newer).await;
        // A watcher handed over since then was armed after ours fired. Taking it or leaving the table must be one step.
        {
            let mut table = table.lock();
            next = std::iter::from_fn(|| newer.try_recv().ok()).last().or(next);
            if next.is_none() {
                table.remove(&key);
            }
        }
        let path = Arc::from(event.path.as_str());
        match event.event_type {
            EventType::NodeCreated => emit(ZkEvent::Created(path)),
            EventType::NodeDeleted => emit(ZkEvent::Deleted(path)),
            EventType::NodeDataChanged => emit(ZkEvent::DataChanged(path)),
            EventType::NodeChildrenChanged => emit(ZkEvent::ChildrenChanged(path)),
            EventType::Session => return,
        }
        match next {
            Some(next) => watcher = next,
            None => return,
        }
    }
}

/// Waits until `watcher` fires. Watchers handed over while it had not are superfluous: both are armed and would fire together.
/// One handed over when it had is answered too.
async fn fired(
    watcher: OneshotWatcher,
    newer: &mut mpsc::UnboundedReceiver<OneshotWatcher>,
) -> (WatchedEvent, Option<OneshotWatcher>) {
    let mut changed = pin!(watcher.changed());
    let mut all_handed_over = false;
    loop {
        let other = tokio::select! {
            biased;
            event = &mut changed => return (event, None),
            other = newer.recv(), if !all_handed_over => other,
        };
        match other {
            // Only now is it known whether ours was still armed when this one was.
            Some(other) => {
                if let Some(event) = changed.as_mut().now_or_never() {
                    return (event, Some(other));
                }
            }
            // The session is over; ours will tell.
            None => all_handed_over = true,
        }
    }
}
