//! Threads for clients that read much: consumers far behind the end of their partitions.
//!
//! Such a client takes an answer in many pieces, as fast as its socket's buffer gets room, and each piece is an event
//! for the runtime. The one that serves all others wakes two of its threads per event and lets the connection wander
//! between them; here a connection stays with one thread, as with Kafka's network threads, which takes less of the
//! processor for the same bytes. And what the disk takes for ranges that are not in memory keeps only readers waiting.
//!
//! State: the threads, each a runtime of its own, started with the first such client.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Runtime};

/// A client that gets so many bytes of files by one answer reads much.
pub const MUCH: usize = 256 * 1024;

#[derive(Debug)]
pub struct ReaderThreads {
    count: usize,
    threads: OnceLock<Vec<ReaderThread>>,
}

#[derive(Debug)]
struct ReaderThread {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    connections: Arc<AtomicUsize>,
}

/// A connection, counted until it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ReaderThreads {
    /// So many (`num.network.threads`).
    pub fn new(count: usize) -> ReaderThreads {
        ReaderThreads { count, threads: OnceLock::new() }
    }

    /// Serves a connection by the thread that has fewest.
    pub fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let threads = self.threads.get_or_init(|| (0..self.count).filter_map(|_| ReaderThread::start()).collect());
        let fewest = threads.iter().min_by_key(|thread| thread.connections.load(Ordering::Relaxed));
        match fewest.and_then(|thread| Some((thread.runtime.as_ref()?, thread.connections.clone()))) {
            Some((runtime, connections)) => {
                connections.fetch_add(1, Ordering::Relaxed);
                let counted = Counted(connections);
                runtime.spawn(async move {
                    let _counted = counted;
                    connection.await;
                });
            }
            None => drop(tokio::spawn(connection)),
        }
    }
}

impl ReaderThread {
    fn start() -> Option<ReaderThread> {
        // Of the kind that has a pool for what blocks.
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("ottla-reader").enable_all().build();
        let runtime = runtime.inspect_err(|error| {
            tracing::error!(target: "kafka.network.SocketServer", "Cannot start a thread for readers: {error}");
        });
        Some(ReaderThread { runtime: Some(runtime.ok()?), connections: Arc::default() })
    }
}

impl Drop for ReaderThread {
    fn drop(&mut self) {
        // The usual end of a runtime waits, which a task may not do.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_goes_to_the_thread_with_fewest() {
        let threads = ReaderThreads::new(2);
        let (told, mut names) = tokio::sync::mpsc::unbounded_channel();
        let serve = |end: tokio::sync::oneshot::Receiver<()>| {
            let told = told.clone();
            threads.serve(async move {
                told.send(std::thread::current().id()).unwrap();
                drop(end.await);
                told.send(std::thread::current().id()).unwrap();
            });
        };
        let ((first, ended), (second, other_ended)) =
            (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel());
        serve(ended);
        let one = names.recv().await.unwrap();
        serve(other_ended);
        let other = names.recv().await.unwrap();
        assert!(one != other && one != std::thread::current().id() && other != std::thread::current().id());
        drop(second);
        assert_eq!(names.recv().await, Some(other));
        while threads.threads.get().unwrap()[1].connections.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        serve(tokio::sync::oneshot::channel().1);
        assert_eq!(names.recv().await, Some(other));
        drop(first);
    }
}
