//! What an interrupted deletion, cleaning or swap left in a partition directory, and how it is finished or undone.
//!
//! Answers to the first three passes of Kafka's `LogLoader.load`. Owns no state.

use std::io;
use std::path::Path;

use super::segment::{DELETED_SUFFIX, LOG_SUFFIX};
use crate::util::disk::{Disk, OpenMode};

pub const CLEANED_SUFFIX: &str = ".cleaned";
pub const SWAP_SUFFIX: &str = ".swap";
const LOGGER: &str = "kafka.log.LogLoader";

/// The offset a file name begins with: the digits before the first dot.
pub(super) fn offset_of(name: &str) -> Option<i64> {
    let digits = &name[..name.find('.')?];
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Leaves only whole segments: removes `.deleted` and `.cleaned` files, finishes swaps.
pub fn clean(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let files = |dir: &Path| -> io::Result<Vec<String>> {
        Ok(disk.list(dir)?.into_iter().filter(|i| !i.is_dir).map(|i| i.name).collect())
    };
    let mut swaps = Vec::new();
    let mut cleaned = Vec::new();
    for name in files(dir)? {
        if name.ends_with(DELETED_SUFFIX) {
            disk.remove_if_exists(&dir.join(&name))?;
        } else if name.ends_with(CLEANED_SUFFIX) {
            cleaned.push(name);
        } else if name.ends_with(SWAP_SUFFIX) {
            swaps.push(name);
        }
    }
    // A split that did not get all its parts to the swap stage is undone.
    let first_cleaned = cleaned.iter().filter_map(|n| offset_of(n)).min().unwrap_or(i64::MAX);
    let (undone, swaps): (Vec<String>, Vec<String>) =
        swaps.into_iter().partition(|n| offset_of(n).is_some_and(|base| base >= first_cleaned));
    for name in undone.iter().chain(&cleaned) {
        disk.remove_if_exists(&dir.join(name))?;
    }
    finish_swaps(disk, dir, &swaps)
}

/// Removes what the swapped-in segments replace, then gives them their names.
fn finish_swaps(disk: &dyn Disk, dir: &Path, swaps: &[String]) -> io::Result<()> {
    let (mut from, mut to) = (i64::MAX, i64::MIN);
    for name in swaps.iter().filter(|n| n.strip_suffix(SWAP_SUFFIX).is_some_and(|n| n.ends_with(LOG_SUFFIX))) {
        let Some(base) = offset_of(name) else { continue };
        tracing::info!(target: LOGGER, "Found log file {} from interrupted swap operation, which is recoverable from {SWAP_SUFFIX} files by renaming.", dir.join(name).display());
        from = from.min(base);
        to = to.max(next_offset(disk, &dir.join(name), base)?);
    }
    for item in disk.list(dir)? {
        if !item.is_dir
            && !item.name.ends_with(SWAP_SUFFIX)
            && offset_of(&item.name).is_some_and(|o| o >= from && o < to)
        {
            tracing::info!(target: LOGGER, "Deleting segment files {} that is compacted but has not been deleted yet.", item.name);
            disk.remove_if_exists(&dir.join(&item.name))?;
        }
    }
    for name in swaps {
        if let Some(plain) = name.strip_suffix(SWAP_SUFFIX) {
            tracing::info!(target: LOGGER, "Recovering file {} by renaming from {SWAP_SUFFIX} files.", dir.join(name).display());
            disk.rename(&dir.join(name), &dir.join(plain))?;
        }
    }
    Ok(())
}

/// The offset behind the last batch of a segment file.
fn next_offset(disk: &dyn Disk, path: &Path, base: i64) -> io::Result<i64> {
    let file = disk.open(path, OpenMode::Read)?;
    let mut walk = super::batch_walk::HeaderWalk::new(&*file, 0, file.len()?);
    let mut next = base;
    while let Ok(Some(batch)) = walk.next_batch() {
        next = batch.last_offset + 1;
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;
    use crate::util::disk::RealDisk;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = RealDisk.list(dir).unwrap().into_iter().map(|i| i.name).collect();
        names.sort();
        names
    }

    fn put(dir: &Path, offset: i64, suffix: &str, bytes: &[u8]) {
        std::fs::write(dir.join(super::super::location::offset_file_name(offset, suffix)), bytes).unwrap();
    }

    fn batch_at(offset: i64, last: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(offset).last_offset(last);
        builder.append(1, None, Some(b"v")).unwrap();
        builder.build().unwrap().to_vec()
    }

    #[test]
    fn an_interrupted_swap_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for base in [0, 10, 20, 30] {
            put(dir, base, ".log", b"");
            put(dir, base, ".index", b"");
        }
        put(dir, 10, ".snapshot", b"");
        put(dir, 5, ".log.deleted", b"");
        put(dir, 10, ".log.swap", &batch_at(12, 29));
        put(dir, 10, ".index.swap", b"i");
        std::fs::write(dir.join("leader-epoch-checkpoint"), "0\n0\n").unwrap();
        clean(&RealDisk, dir).unwrap();
        let bases = |suffix: &str| {
            names(dir).iter().filter(|n| n.ends_with(suffix)).filter_map(|n| offset_of(n)).collect::<Vec<_>>()
        };
        assert_eq!(bases(".log"), [0, 10, 30]);
        assert_eq!(bases(".index"), [0, 10, 30]);
        assert!(bases(".snapshot").is_empty());
        assert_eq!(names(dir).len(), 7);
        assert_eq!(std::fs::read(dir.join("00000000000000000010.index")).unwrap(), b"i");
    }

    #[test]
    fn an_incomplete_split_is_undone() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        put(dir, 0, ".log", b"");
        put(dir, 0, ".log.swap", &batch_at(0, 5));
        put(dir, 20, ".log.swap", &batch_at(20, 25));
        put(dir, 10, ".log.cleaned", b"");
        clean(&RealDisk, dir).unwrap();
        assert_eq!(names(dir), ["00000000000000000000.log"]);
        assert!(!std::fs::read(dir.join("00000000000000000000.log")).unwrap().is_empty());
    }
}
