//! Who this broker is: its cluster's id, its own id, and the `meta.properties` that bind log directories to both.
//! Answers to `KafkaServer.getOrGenerateBrokerId` and `MetaPropertiesEnsemble` (spec log 1.10, zookeeper 2.3).

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::config::BrokerConfig;
use crate::log::meta_properties::{self, MetaProperties};
use crate::util::disk::Disk;
use crate::zk::store::Store;

/// The identity of a broker and what its directories say of it.
pub struct Identity {
    pub cluster_id: String,
    pub broker_id: i32,
    /// Directories whose `meta.properties` cannot be read.
    pub offline: Vec<PathBuf>,
    found: Vec<(PathBuf, Option<MetaProperties>)>,
}

/// Reads or creates the cluster id, checks the directories against it, and decides the broker id.
pub async fn establish(store: &Store, cfg: &BrokerConfig, disk: &dyn Disk) -> anyhow::Result<Identity> {
    let cluster_id = store.cluster_id_or_create().await.context("cannot read or create the cluster id")?;
    let (mut found, mut offline) = (Vec::new(), Vec::new());
    for dir in cfg.log_dirs() {
        match meta_properties::read(disk, &dir) {
            Ok(meta) => found.push((dir, meta)),
            Err(error) => {
                tracing::error!(target: "kafka.server.KafkaServer", "Cannot read meta.properties in {}: {error}", dir.display());
                offline.push(dir);
            }
        }
    }
    let written: Vec<_> = found.iter().filter_map(|(dir, meta)| Some((dir.clone(), meta.clone()?))).collect();
    let configured = (cfg.broker_id() >= 0).then_some(cfg.broker_id());
    let stored = meta_properties::verify(&written, Some(&cluster_id), configured)?;
    let broker_id = match configured.or(stored) {
        Some(id) => id,
        None if cfg.bool("broker.id.generation.enable") => {
            let reserved = cfg.int("reserved.broker.max.id");
            store.generate_broker_id(reserved).await.context("cannot generate a broker id")?
        }
        None => bail!("No broker ID found in meta.properties, and broker.id.generation.enable is false: set broker.id"),
    };
    Ok(Identity { cluster_id, broker_id, offline, found })
}

impl Identity {
    /// Writes `meta.properties` where it is missing or says something else. Call with the directories locked.
    pub fn write(&self, disk: &dyn Disk, now_ms: i64) -> anyhow::Result<()> {
        for (dir, meta) in &self.found {
            let wanted = MetaProperties {
                version: 0,
                cluster_id: Some(self.cluster_id.clone()),
                broker_id: Some(self.broker_id),
                directory_id: meta.as_ref().and_then(|meta| meta.directory_id.clone()),
            };
            if meta.as_ref() != Some(&wanted) {
                let written = meta_properties::write(disk, dir, &wanted, now_ms);
                written.with_context(|| format!("cannot write meta.properties in {}", dir.display()))?;
            }
        }
        Ok(())
    }
}
