//! The directories logs live in: creating and locking them, the clean-shutdown marker, and the names of partition
//! directories.
//!
//! Answers to Kafka's `LogManager.createAndValidateLogDirs`, `lockLogDirs`, `CleanShutdownFileHandler` and
//! `LocalLog.parseTopicPartitionName`.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::error::LogError;
use crate::topic::TopicPartition;
use crate::util::disk::{Disk, FileLock, OpenMode};

pub const LOCK_FILE: &str = ".lock";
pub const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";
const DELETE_SUFFIX: &str = "-delete";
const FUTURE_SUFFIX: &str = "-future";
const STRAY_SUFFIX: &str = "-stray";
/// Longest name of a file.
const MAX_FILE_NAME: usize = 255;

/// What a partition directory is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirKind {
    Current,
    /// Waiting to be removed.
    Delete,
    /// Being filled by a move between log dirs.
    Future,
    /// Not to be touched.
    Stray,
}

/// Reads the name of a partition directory. Anything else is an error that stops the start.
pub fn parse_dir_name(name: &str) -> Result<(TopicPartition, DirKind), LogError> {
    let invalid = || {
        LogError::Invalid(format!(
            "Found directory {name}, '{name}' is not in the form of topic-partition or topic-partition.uniqueId-delete (if marked for deletion).\nKafka's log directories (and children) should only contain Kafka topic data."
        ))
    };
    let kinds = [(DELETE_SUFFIX, DirKind::Delete), (FUTURE_SUFFIX, DirKind::Future), (STRAY_SUFFIX, DirKind::Stray)];
    let suffixed = kinds.into_iter().find(|(suffix, _)| name.ends_with(suffix));
    let (base, kind) = match suffixed {
        None => (name, DirKind::Current),
        Some((suffix, kind)) => {
            let rest = name.strip_suffix(suffix).ok_or_else(invalid)?;
            let (base, unique) = rest.rsplit_once('.').ok_or_else(invalid)?;
            if unique.is_empty() || rest.contains(char::is_whitespace) {
                return Err(invalid());
            }
            (base, kind)
        }
    };
    let (topic, partition) = base.rsplit_once('-').ok_or_else(invalid)?;
    if topic.is_empty() || partition.is_empty() {
        return Err(invalid());
    }
    let partition: i32 = partition.parse().map_err(|_| invalid())?;
    Ok((TopicPartition::new(topic, partition), kind))
}

/// Sub-directories of a log dir that hold no partition of ours.
pub fn is_skipped(name: &str) -> bool {
    let metadata = name.strip_prefix(crate::topic::CLUSTER_METADATA_TOPIC).and_then(|rest| rest.strip_prefix('-'));
    name == "remote-log-index-cache" || metadata.is_some_and(|p| p.parse::<i32>().is_ok())
}

/// Name of the live directory.
pub fn current_dir_name(tp: &TopicPartition) -> String {
    tp.to_string()
}

/// A fresh name for a directory to be deleted; the topic is cut so that the name is not too long.
pub fn delete_dir_name(tp: &TopicPartition) -> String {
    let suffix = format!("-{}.{}{DELETE_SUFFIX}", tp.partition, Uuid::new_v4().simple());
    let keep = tp.topic.len().min(MAX_FILE_NAME.saturating_sub(suffix.len()));
    format!("{}{suffix}", tp.topic.get(..keep).unwrap_or(&tp.topic))
}

/// A fresh name for a directory a partition is moved to.
pub fn future_dir_name(tp: &TopicPartition) -> Result<String, LogError> {
    let name = format!("{tp}.{}{FUTURE_SUFFIX}", Uuid::new_v4().simple());
    if name.len() > MAX_FILE_NAME {
        return Err(LogError::NameTooLong(format!(
            "The name of the log directory {name} would be longer than {MAX_FILE_NAME} characters"
        )));
    }
    Ok(name)
}

/// Makes the directory if it is missing; an error if it is no readable directory.
pub fn create_and_validate(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    if !disk.exists(dir) {
        tracing::info!(target: "kafka.log.LogManager", "Log directory {} not found, creating it.", dir.display());
        disk.create_dir_all(dir)?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            disk.sync_dir(parent)?;
        }
    }
    disk.list(dir).map(|_| ())
}

/// The lock of a log dir, held until dropped. Java's `FileChannel.tryLock` conflicts with it.
#[derive(Debug)]
pub struct DirLock {
    _file: Box<dyn FileLock>,
}

impl DirLock {
    /// `Ok(None)` when somebody else holds the lock, in this process or another.
    pub fn try_acquire(disk: &dyn Disk, dir: &Path) -> io::Result<Option<DirLock>> {
        Ok(disk.lock(&dir.join(LOCK_FILE))?.map(|file| DirLock { _file: file }))
    }
}

/// Removes the marker and tells whether it was there.
pub fn take_clean_marker(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    let was_there = disk.remove_if_exists(&dir.join(CLEAN_SHUTDOWN_FILE))?;
    if was_there {
        disk.sync_dir(dir)?;
    }
    Ok(was_there)
}

/// Writes the marker, durably. Everything it vouches for must be durable already.
pub fn write_clean_marker(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let file = disk.open(&dir.join(CLEAN_SHUTDOWN_FILE), OpenMode::Create)?;
    file.set_len(0)?;
    file.write_at(&[b"{\"version\":0,\"brokerEpoch\":-1}"], 0)?;
    file.sync()?;
    disk.sync_dir(dir)
}

/// (total, usable) bytes of the file system of `dir`.
pub fn space(dir: &Path) -> io::Result<(u64, u64)> {
    let stat = nix::sys::statvfs::statvfs(dir)?;
    let unit = stat.fragment_size() as u64;
    Ok((stat.blocks() as u64 * unit, stat.blocks_available() as u64 * unit))
}

/// The path without links and dots, for comparing.
pub fn canonical(dir: &Path) -> PathBuf {
    dir.canonicalize().unwrap_or_else(|_| dir.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::disk::RealDisk;

    #[test]
    fn names_round_trip() {
        let tp = TopicPartition::new("a-b.c", 12);
        assert_eq!(parse_dir_name(&current_dir_name(&tp)).unwrap(), (tp.clone(), DirKind::Current));
        assert_eq!(parse_dir_name(&delete_dir_name(&tp)).unwrap(), (tp.clone(), DirKind::Delete));
        assert_eq!(parse_dir_name(&future_dir_name(&tp).unwrap()).unwrap(), (tp.clone(), DirKind::Future));
        let stray = format!("{tp}.{}-stray", Uuid::new_v4().simple());
        assert_eq!(parse_dir_name(&stray).unwrap(), (tp, DirKind::Stray));
        let long = TopicPartition::new("x".repeat(249), 100);
        assert_eq!(delete_dir_name(&long).len(), 255);
        assert!(parse_dir_name(&delete_dir_name(&long)).is_ok());
        assert!(future_dir_name(&long).is_err());
        for bad in ["lost+found", "backup", "-1", "t-", "t-x", "t-1-delete", "t-1.-delete"] {
            assert!(parse_dir_name(bad).is_err(), "{bad}");
        }
        assert!(is_skipped("remote-log-index-cache") && is_skipped("__cluster_metadata-0"));
        assert!(!is_skipped("__cluster_metadatas-0"));
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::try_acquire(&RealDisk, dir.path()).unwrap().unwrap();
        assert!(DirLock::try_acquire(&RealDisk, dir.path()).unwrap().is_none());
        // Trying must not have released it.
        assert!(DirLock::try_acquire(&RealDisk, dir.path()).unwrap().is_none());
        drop(first);
        assert!(DirLock::try_acquire(&RealDisk, dir.path()).unwrap().is_some());
    }

    #[test]
    fn clean_marker() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!take_clean_marker(&RealDisk, dir.path()).unwrap());
        write_clean_marker(&RealDisk, dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join(CLEAN_SHUTDOWN_FILE)).unwrap();
        assert_eq!(text, "{\"version\":0,\"brokerEpoch\":-1}");
        assert!(take_clean_marker(&RealDisk, dir.path()).unwrap());
        assert!(!take_clean_marker(&RealDisk, dir.path()).unwrap());
    }
}
