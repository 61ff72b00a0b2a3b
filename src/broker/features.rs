//! Follows `/feature`: ApiVersions reports its data version, and a new controller waits until its own broker has
//! seen what it wrote. Answers to Kafka's `FinalizedFeatureChangeListener`.

use std::sync::Arc;

use tokio::sync::watch;

use crate::zk::store::{Store, StoreError};
use crate::zk::{ZkEvent, paths};

/// Data version while the znode is absent.
pub const ABSENT: i64 = -1;

/// Below protocol 2.7 it is not looked at.
pub fn nobody_follows() -> watch::Receiver<i64> {
    watch::channel(ABSENT).1
}

/// Reads `/feature` once and keeps following it. The receiver holds its data version.
pub async fn follow(store: Arc<Store>) -> Result<watch::Receiver<i64>, StoreError> {
    let mut events = store.zk().events();
    let (version, receiver) = watch::channel(read(&store).await?);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            let again = event.path() == Some(paths::FEATURE) || matches!(event, ZkEvent::SessionEstablished(_));
            if !again {
                continue;
            }
            match read(&store).await {
                Ok(now) => {
                    version.send_replace(now);
                }
                Err(error) => {
                    tracing::warn!(target: "kafka.server.FinalizedFeatureChangeListener", "Cannot read {}: {error}", paths::FEATURE);
                }
            }
        }
    });
    Ok(receiver)
}

async fn read(store: &Store) -> Result<i64, StoreError> {
    // The first arms a watch for creation, which reading a missing znode would not.
    if !store.exists(paths::FEATURE, true).await? {
        return Ok(ABSENT);
    }
    Ok(store.feature(true).await?.map_or(ABSENT, |(_, version)| i64::from(version)))
}
