//! Crash-safe replacement of small files: write a `.tmp` beside it, fsync, rename over it, fsync the directory.
//! After a crash a reader sees the old or the new content, never a mixture (Kafka's `Utils.atomicMoveWithFallback`).

use std::io;
use std::path::{Path, PathBuf};

use crate::util::disk::{Disk, OpenMode};

/// Whether `replace` waits until the new content is what a reader finds after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is.
    Sync,
    /// The directory is not synced: the old content may come back.
    NoSync,
}

/// `path` with `suffix` appended to its file name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Replaces the content of `path` with `bytes`.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let tmp = with_suffix(path, ".tmp");
    {
        let file = disk.open(&tmp, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_at(&[bytes], 0)?;
        // Without this a loss of power may leave the new name with no content, or half of it.
        file.sync()?;
    }
    disk.rename(&tmp, path)?;
    match path.parent() {
        Some(dir) if durability == Durability::Sync => disk.sync_dir(dir),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::disk::RealDisk;

    #[test]
    fn replaces_longer_content_and_leaves_no_tmp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace(&RealDisk, &path, b"long content", Durability::Sync).unwrap();
        std::fs::write(with_suffix(&path, ".tmp"), b"a leftover that is longer than the new content").unwrap();
        replace(&RealDisk, &path, b"new", Durability::NoSync).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(RealDisk.list(dir.path()).unwrap().len(), 1);
    }
}
