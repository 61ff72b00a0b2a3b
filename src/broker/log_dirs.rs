//! What happens when a log directory fails: its replicas go offline and the controller is told through ZooKeeper;
//! when the last directory fails the broker halts. Answers to `ReplicaManager.handleLogDirFailure` (spec 4.16).

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::log::{FailureHandler, LogManager};
use crate::replica::ReplicaTable;
use crate::zk::store::Store;

/// The failure handler for the log layer, and the stream of failed directories it feeds.
pub fn channel() -> (FailureHandler, mpsc::UnboundedReceiver<PathBuf>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    // Sending fails only after shutdown, when nobody needs to know.
    let handler: FailureHandler = Arc::new(move |dir| drop(sender.send(dir.to_path_buf())));
    (handler, receiver)
}

/// Handles failures for the life of the broker.
pub async fn follow(
    mut failures: mpsc::UnboundedReceiver<PathBuf>,
    broker_id: i32,
    logs: Arc<LogManager>,
    replicas: Arc<ReplicaTable>,
    store: Arc<Store>,
    halt: watch::Sender<Option<String>>,
) {
    while let Some(dir) = failures.recv().await {
        let lost: Vec<_> = replicas
            .online()
            .into_iter()
            .filter(|p| p.log().is_some_and(|log| log.log_dir().path() == dir))
            .map(|p| p.tp.clone())
            .collect();
        tracing::warn!(target: "kafka.server.ReplicaManager", "Stopping serving replicas in dir {}: {} partitions", dir.display(), lost.len());
        for tp in &lost {
            replicas.set_offline(tp);
        }
        logs.handle_dir_failure(&dir);
        if logs.log_dirs().iter().all(|(_, live)| !live) {
            halt.send_replace(Some(format!("all log dirs have failed, the last one is {}", dir.display())));
            return;
        }
        if let Err(error) = store.notify_log_dir_failure(broker_id).await {
            tracing::error!(target: "kafka.server.ReplicaManager", "Cannot tell the controller that {} failed: {error}", dir.display());
        }
    }
}
