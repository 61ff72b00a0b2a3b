//! Data directories that Kafka 3.7.2 left behind (tests/golden/datadirs), put in place for a broker.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use uuid::Uuid;

use super::common::Broker;
use super::common::znodes::Znodes;

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/datadirs").join(name)
}

/// Unpacks `NAME.tar.gz` into a data directory.
pub fn unpack(name: &str, data_dir: &Path) {
    let archive = golden(&format!("{name}.tar.gz"));
    let status = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(data_dir).status().expect("tar");
    assert!(status.success(), "{}", archive.display());
}

/// Removes the partitions of all topics that begin so.
pub fn remove(data_dir: &Path, prefix: &str) {
    for entry in fs::read_dir(data_dir).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

/// Tells ZooKeeper of every topic in the data directory of a broker that does not run yet. `leader_epoch`: of all
/// partitions; without it, of each the last that its log knows.
pub fn adopt(broker: &Broker, leader_epoch: Option<i32>) {
    let mut topics: BTreeMap<String, (Uuid, BTreeMap<i32, i32>)> = BTreeMap::new();
    for entry in fs::read_dir(broker.data_dir()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((topic, partition)) = name.rsplit_once('-').filter(|_| entry.path().is_dir()) else { continue };
        let Ok(partition) = partition.parse() else { continue };
        let id = topic_id(&entry.path().join("partition.metadata"));
        let epoch = leader_epoch.unwrap_or_else(|| last_epoch(&entry.path().join("leader-epoch-checkpoint")));
        topics.entry(topic.to_owned()).or_insert_with(|| (id, BTreeMap::new())).1.insert(partition, epoch);
    }
    let znodes = Znodes::connect(broker.zookeeper_connect());
    for (topic, (id, epochs)) in &topics {
        znodes.adopt_topic(topic, *id, epochs);
    }
}

fn topic_id(metadata: &Path) -> Uuid {
    let text = fs::read_to_string(metadata).unwrap();
    let id = text.lines().find_map(|l| l.strip_prefix("topic_id: ")).expect("a topic id");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(id).unwrap();
    Uuid::from_slice(&bytes).unwrap()
}

fn last_epoch(checkpoint: &Path) -> i32 {
    let text = fs::read_to_string(checkpoint).unwrap();
    let last = text.lines().skip(2).last();
    last.and_then(|l| l.split(' ').next()?.parse().ok()).unwrap_or(0)
}
