//! `meta.properties` of a log dir: which cluster and broker it belongs to.
//!
//! Answers to Kafka's `MetaProperties` and `MetaPropertiesEnsemble`, of which a ZooKeeper-mode broker needs version 0.
//! Owns no state; runs once at start-up.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::util::crashsafe::{self, Durability};
use crate::util::disk::Disk;

pub const META_PROPERTIES_FILE: &str = "meta.properties";

/// The contents of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaProperties {
    /// 0, or 1 for directories of KRaft brokers.
    pub version: i32,
    pub cluster_id: Option<String>,
    /// `broker.id` of version 0, `node.id` of version 1.
    pub broker_id: Option<i32>,
    /// Kept when there, never made here.
    pub directory_id: Option<String>,
}

/// Why the log dirs cannot be this broker's. The texts are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    #[error(
        "Found unexpected version in {}. ZK-based brokers that are not migrating only support version 0 (which is implicit when the `version` field is missing).",
        .0.display()
    )]
    Version(PathBuf),
    #[error("Invalid cluster.id in: {}. Expected {expected}, but read {found}", path.display())]
    ClusterId { path: PathBuf, expected: String, found: String },
    #[error(
        "Stored node id {found} doesn't match previous node id {expected} in {}. If you moved your data, make sure your configured node id matches. If you intend to create a new node, you should remove all data in your data directories.",
        path.display()
    )]
    NodeId { path: PathBuf, expected: i32, found: i32 },
    #[error("Duplicate directory ID {id} found. It was the ID of {}, but also of {}", first.display(), second.display())]
    DirectoryId { id: String, first: PathBuf, second: PathBuf },
}

/// Reads the file in `dir`; `None` when there is none, an error when it makes no sense.
pub fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<MetaProperties>> {
    let path = dir.join(META_PROPERTIES_FILE);
    let mut bytes = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    bytes.push(b'\n');
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{what} in {}", path.display()));
    let map: HashMap<String, String> = java_properties::read(&*bytes).map_err(|e| invalid(e.to_string()))?;
    let number = |key: &str| match map.get(key) {
        None => Ok(None),
        Some(text) => text
            .trim()
            .parse::<i32>()
            .map(Some)
            .map_err(|_| invalid(format!("Unable to read {key} as a base-10 number"))),
    };
    let version = number("version")?.unwrap_or(0);
    let broker_id = number(if version == 0 { "broker.id" } else { "node.id" })?;
    let text = |key: &str| map.get(key).cloned();
    Ok(Some(MetaProperties { version, cluster_id: text("cluster.id"), broker_id, directory_id: text("directory.id") }))
}

/// Replaces the file in `dir`, durably. `now_ms` goes into the comment Java writes.
pub fn write(disk: &dyn Disk, dir: &Path, meta: &MetaProperties, now_ms: i64) -> io::Result<()> {
    let date = chrono::DateTime::from_timestamp_millis(now_ms).unwrap_or_default();
    let mut text = format!("#\n#{}\n", date.format("%a %b %d %H:%M:%S UTC %Y"));
    if let Some(id) = meta.broker_id {
        text.push_str(&format!("broker.id={id}\n"));
    }
    text.push_str(&format!("version={}\n", meta.version));
    if let Some(id) = &meta.cluster_id {
        text.push_str(&format!("cluster.id={id}\n"));
    }
    if let Some(id) = &meta.directory_id {
        text.push_str(&format!("directory.id={id}\n"));
    }
    crashsafe::replace(disk, &dir.join(META_PROPERTIES_FILE), text.as_bytes(), Durability::Sync)
}

/// Checks all dirs against each other and against what is known; returns the broker id they agree on, if any has one.
pub fn verify(
    dirs: &[(PathBuf, MetaProperties)],
    cluster_id: Option<&str>,
    configured_broker_id: Option<i32>,
) -> Result<Option<i32>, MetaError> {
    let mut expected_cluster = cluster_id.map(str::to_owned);
    let mut expected_id = configured_broker_id;
    let mut directory_ids: HashMap<&str, &Path> = HashMap::new();
    for (dir, meta) in dirs {
        let path = dir.join(META_PROPERTIES_FILE);
        if meta.version != 0 {
            return Err(MetaError::Version(path));
        }
        match (&expected_cluster, &meta.cluster_id) {
            (Some(expected), Some(found)) if expected != found => {
                let (expected, found) = (expected.clone(), found.clone());
                return Err(MetaError::ClusterId { path, expected, found });
            }
            (None, Some(found)) => expected_cluster = Some(found.clone()),
            _ => {}
        }
        match (expected_id, meta.broker_id) {
            (Some(expected), Some(found)) if expected != found => {
                return Err(MetaError::NodeId { path, expected, found });
            }
            (None, found) => expected_id = found,
            _ => {}
        }
        if let Some(id) = &meta.directory_id
            && let Some(first) = directory_ids.insert(id, dir)
        {
            return Err(MetaError::DirectoryId { id: id.clone(), first: first.to_owned(), second: dir.clone() });
        }
    }
    Ok(expected_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::disk::RealDisk;

    fn meta(cluster: &str, id: i32) -> MetaProperties {
        MetaProperties { version: 0, cluster_id: Some(cluster.into()), broker_id: Some(id), directory_id: None }
    }

    #[test]
    fn round_trip_keeps_the_directory_id() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&RealDisk, dir.path()).unwrap(), None);
        let mut one = meta("abc", 3);
        one.directory_id = Some("xyz".into());
        write(&RealDisk, dir.path(), &one, 1_700_000_000_000).unwrap();
        let text = std::fs::read_to_string(dir.path().join(META_PROPERTIES_FILE)).unwrap();
        assert_eq!(
            text,
            "#\n#Tue Nov 14 22:13:20 UTC 2023\nbroker.id=3\nversion=0\ncluster.id=abc\ndirectory.id=xyz\n"
        );
        assert_eq!(read(&RealDisk, dir.path()).unwrap(), Some(one));
        std::fs::write(dir.path().join(META_PROPERTIES_FILE), "broker.id=x").unwrap();
        assert!(read(&RealDisk, dir.path()).is_err());
    }

    #[test]
    fn disagreements() {
        let dirs = |a: MetaProperties, b: MetaProperties| [(PathBuf::from("/a"), a), (PathBuf::from("/b"), b)];
        assert_eq!(verify(&dirs(meta("c", 1), meta("c", 1)), Some("c"), None), Ok(Some(1)));
        let other_cluster = verify(&dirs(meta("c", 1), meta("d", 1)), None, None).unwrap_err();
        assert_eq!(other_cluster.to_string(), "Invalid cluster.id in: /b/meta.properties. Expected c, but read d");
        assert!(matches!(verify(&dirs(meta("c", 1), meta("c", 2)), None, None), Err(MetaError::NodeId { .. })));
        assert!(matches!(verify(&dirs(meta("c", 1), meta("c", 1)), None, Some(7)), Err(MetaError::NodeId { .. })));
        let kraft = MetaProperties { version: 1, ..meta("c", 1) };
        assert!(matches!(verify(&dirs(kraft, meta("c", 1)), None, None), Err(MetaError::Version(_))));
    }
}
