//! Leader epochs of one log: which epoch began at which offset, kept in memory and in `leader-epoch-checkpoint`.
//!
//! Answers to Kafka's `LeaderEpochFileCache`. Owns the entries, ascending in both fields. Not synchronized itself: it
//! lives behind the log's epoch lock.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::checkpoint;
use super::location::LogLocation;
use crate::util::crashsafe::Durability;
use crate::util::disk::Disk;

/// What epoch and offset lookups answer when nothing is known.
pub const UNDEFINED_EPOCH: i32 = -1;
pub const UNDEFINED_EPOCH_OFFSET: i64 = -1;

pub const LEADER_EPOCH_FILE: &str = "leader-epoch-checkpoint";

/// The epoch of a leader and the first offset it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    pub epoch: i32,
    pub start_offset: i64,
}

#[derive(Debug)]
pub struct EpochCache {
    disk: Arc<dyn Disk>,
    location: Arc<LogLocation>,
    entries: Vec<EpochEntry>,
    /// Times the file was written, and how many of them are on the device.
    written: u64,
    synced: u64,
}

impl EpochCache {
    /// Reads the file beside the log; makes an empty one when there is none.
    pub fn open(disk: Arc<dyn Disk>, location: Arc<LogLocation>) -> io::Result<EpochCache> {
        let path = location.file(LEADER_EPOCH_FILE);
        let mut entries: Vec<EpochEntry> = Vec::new();
        for line in checkpoint::read_lines(&*disk, &path)? {
            let parsed = line
                .split_once(char::is_whitespace)
                .and_then(|(epoch, start)| Some((epoch.trim().parse().ok()?, start.trim().parse().ok()?)));
            let Some((epoch, start_offset)) = parsed else {
                let text = format!("Malformed line in checkpoint file ({}): {line}", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            };
            entries.push(EpochEntry { epoch, start_offset });
        }
        entries.sort_by_key(|e| e.epoch);
        entries.dedup_by_key(|e| e.epoch);
        if !disk.exists(&path) {
            disk.open(&path, crate::util::disk::OpenMode::Create)?;
        }
        Ok(EpochCache { disk, location, entries, written: 0, synced: 0 })
    }

    fn path(&self) -> PathBuf {
        self.location.file(LEADER_EPOCH_FILE)
    }

    fn write(&mut self, durability: Durability) -> io::Result<()> {
        let lines: String = self.entries.iter().map(|e| format!("{} {}\n", e.epoch, e.start_offset)).collect();
        self.written += 1;
        checkpoint::write_lines(&*self.disk, &self.path(), self.entries.len(), &lines, durability)?;
        if durability == Durability::Sync {
            self.synced = self.written;
        }
        Ok(())
    }

    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    pub fn earliest(&self) -> Option<EpochEntry> {
        self.entries.first().copied()
    }

    /// True when `assign` would change nothing.
    pub fn covers(&self, epoch: i32, start_offset: i64) -> bool {
        self.entries.last().is_some_and(|last| last.epoch == epoch && start_offset >= last.start_offset)
    }

    /// Records that `epoch` begins at `start_offset`. Entries that contradict it are dropped from the tail. The file is
    /// rewritten only when something changed; the caller sees to it that it reaches the device, sometime: the batches of
    /// the epoch tell of it as well.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> io::Result<()> {
        if self.covers(epoch, start_offset) {
            return Ok(());
        }
        if epoch < 0 || start_offset < 0 {
            let text = format!(
                "Received invalid partition leader epoch entry EpochEntry(epoch={epoch}, startOffset={start_offset})"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        while self.entries.last().is_some_and(|e| e.epoch >= epoch || e.start_offset >= start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        self.write(Durability::NoSync)
    }

    /// Takes in what recovery finds: a batch of `epoch` at `offset`. Entries that say otherwise are wrong, as the file may be
    /// newer than the batches that a loss of power left; what follows them is found again by the batches that follow.
    pub fn reconcile(&mut self, epoch: i32, offset: i64) -> io::Result<()> {
        let before_all = self.entries.first().is_some_and(|first| offset < first.start_offset && epoch <= first.epoch);
        if before_all || self.epoch_for_offset(offset) == Some(epoch) {
            return Ok(());
        }
        self.entries.retain(|e| e.start_offset < offset && e.epoch <= epoch);
        if self.entries.last().is_none_or(|last| last.epoch < epoch) {
            self.entries.push(EpochEntry { epoch, start_offset: offset });
        }
        self.write(Durability::Sync)
    }

    /// Where `epoch` ends in this log: (epoch found, its end offset), or (-1, -1) when that cannot be told.
    pub fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> (i32, i64) {
        let undefined = (UNDEFINED_EPOCH, UNDEFINED_EPOCH_OFFSET);
        let Some(last) = self.entries.last() else { return undefined };
        if epoch == UNDEFINED_EPOCH || epoch > last.epoch {
            return undefined;
        }
        if epoch == last.epoch {
            return (epoch, log_end_offset);
        }
        let above = self.entries.partition_point(|e| e.epoch <= epoch);
        let Some(higher) = self.entries.get(above) else { return undefined };
        match above.checked_sub(1).and_then(|i| self.entries.get(i)) {
            Some(floor) => (floor.epoch, higher.start_offset),
            // Older than everything here: the first known offset is where the requested epoch ended.
            None => (epoch, higher.start_offset),
        }
    }

    /// The epoch that wrote `offset`, if known.
    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        let above = self.entries.partition_point(|e| e.start_offset <= offset);
        above.checked_sub(1).and_then(|i| self.entries.get(i)).map(|e| e.epoch)
    }

    /// Forgets epochs that begin at or above `end_offset`.
    pub fn truncate_from_end(&mut self, end_offset: i64) -> io::Result<()> {
        let before = self.entries.len();
        if end_offset >= 0 {
            while self.entries.last().is_some_and(|e| e.start_offset >= end_offset) {
                self.entries.pop();
            }
        }
        if self.entries.len() == before {
            return Ok(());
        }
        self.write(Durability::NoSync)
    }

    /// Forgets epochs that end at or below `start_offset`; the one that contains it then begins there.
    pub fn truncate_from_start(&mut self, start_offset: i64) -> io::Result<()> {
        let covered = self.entries.partition_point(|e| e.start_offset <= start_offset);
        let Some(keep) = covered.checked_sub(1) else { return Ok(()) };
        if keep == 0 && self.entries.first().is_some_and(|e| e.start_offset == start_offset) {
            return Ok(());
        }
        self.entries.drain(..keep);
        if let Some(first) = self.entries.first_mut() {
            first.start_offset = start_offset;
        }
        self.write(Durability::NoSync)
    }

    pub fn clear_and_flush(&mut self) -> io::Result<()> {
        self.entries.clear();
        self.write(Durability::Sync)
    }

    /// The file, if what was written to it last is not on the device yet, and which writing that was. The caller forces
    /// it, without the lock that this cache lives behind, and says so by [`EpochCache::synced`].
    pub fn unsynced(&self) -> Option<(PathBuf, u64)> {
        (self.synced < self.written).then(|| (self.path(), self.written))
    }

    pub fn synced(&mut self, written: u64) {
        self.synced = self.synced.max(written);
    }

    /// Empties the cache in memory only (the log is being deleted).
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::disk::RealDisk;

    fn cache(dir: &std::path::Path) -> EpochCache {
        EpochCache::open(RealDisk::shared(), LogLocation::shared(dir)).unwrap()
    }

    #[test]
    fn assign_persists_and_cuts_contradictions() {
        let dir = tempfile::tempdir().unwrap();
        let mut c = cache(dir.path());
        assert_eq!(std::fs::read(dir.path().join(LEADER_EPOCH_FILE)).unwrap(), b"");
        c.assign(2, 10).unwrap();
        c.assign(4, 20).unwrap();
        c.assign(4, 25).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(LEADER_EPOCH_FILE)).unwrap(), "0\n2\n2 10\n4 20\n");
        assert_eq!(cache(dir.path()).entries(), c.entries());
        c.assign(3, 22).unwrap();
        assert_eq!(c.entries(), [EpochEntry { epoch: 2, start_offset: 10 }, EpochEntry { epoch: 3, start_offset: 22 }]);
        assert!(c.assign(-1, 30).is_err());
    }

    #[test]
    fn batches_found_by_recovery_are_right() {
        let dir = tempfile::tempdir().unwrap();
        let mut c = cache(dir.path());
        let entries = |c: &EpochCache| c.entries().iter().map(|e| (e.epoch, e.start_offset)).collect::<Vec<_>>();
        for (epoch, offset) in [(0, 5), (3, 7), (4, 12)] {
            c.assign(epoch, offset).unwrap();
        }
        // What agrees changes nothing, nor does what is below the first entry.
        for (epoch, offset) in [(0, 2), (0, 6), (3, 11), (4, 20)] {
            c.reconcile(epoch, offset).unwrap();
        }
        assert_eq!(entries(&c), [(0, 5), (3, 7), (4, 12)]);
        // The batches at 7 and 9 are of earlier epochs than the file says.
        c.reconcile(0, 7).unwrap();
        c.reconcile(2, 9).unwrap();
        c.reconcile(4, 15).unwrap();
        assert_eq!(entries(&c), [(0, 5), (2, 9), (4, 15)]);
        assert_eq!(cache(dir.path()).entries(), c.entries());
    }

    #[test]
    fn end_offsets() {
        let dir = tempfile::tempdir().unwrap();
        let mut c = cache(dir.path());
        assert_eq!(c.end_offset_for(0, 7), (-1, -1));
        c.assign(2, 10).unwrap();
        c.assign(4, 20).unwrap();
        assert_eq!(c.end_offset_for(-1, 30), (-1, -1));
        assert_eq!(c.end_offset_for(1, 30), (1, 10));
        assert_eq!(c.end_offset_for(2, 30), (2, 20));
        assert_eq!(c.end_offset_for(3, 30), (2, 20));
        assert_eq!(c.end_offset_for(4, 30), (4, 30));
        assert_eq!(c.end_offset_for(5, 30), (-1, -1));
        assert_eq!(c.epoch_for_offset(19), Some(2));
        assert_eq!(c.epoch_for_offset(9), None);
    }

    #[test]
    fn truncation() {
        let dir = tempfile::tempdir().unwrap();
        let mut c = cache(dir.path());
        for (e, s) in [(1, 0), (2, 10), (4, 20)] {
            c.assign(e, s).unwrap();
        }
        c.truncate_from_start(15).unwrap();
        assert_eq!(c.earliest(), Some(EpochEntry { epoch: 2, start_offset: 15 }));
        c.truncate_from_end(20).unwrap();
        assert_eq!(c.latest(), Some(EpochEntry { epoch: 2, start_offset: 15 }));
        assert_eq!(cache(dir.path()).entries(), c.entries());
        c.clear_and_flush().unwrap();
        assert!(cache(dir.path()).entries().is_empty());
    }
}
