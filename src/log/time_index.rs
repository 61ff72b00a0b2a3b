//! The time index of one segment: (timestamp as int64, offset - base as int32), 12 bytes an entry, ascending in time.
//! An entry says that no record before or at its offset has a larger timestamp.
//!
//! Answers to Kafka's `TimeIndex`. State and locks: see `index_file`.

use std::io;

use super::index_file::IndexFile;
use super::location::LazyFile;
use super::offset_index::relative_offset;

pub const ENTRY_SIZE: usize = 12;

/// A timestamp (ms since the epoch) and the offset that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp: i64,
    pub offset: i64,
}

impl TimestampOffset {
    /// Nothing known yet.
    pub const UNKNOWN: TimestampOffset = TimestampOffset { timestamp: -1, offset: -1 };
}

#[derive(Debug)]
pub struct TimeIndex {
    base_offset: i64,
    entries: IndexFile<ENTRY_SIZE>,
}

impl TimeIndex {
    pub fn new(file: LazyFile, base_offset: i64, max_bytes: usize) -> TimeIndex {
        TimeIndex { base_offset, entries: IndexFile::new(file, max_bytes) }
    }

    /// The file and its entries, for life-cycle work.
    pub fn storage(&self) -> &IndexFile<ENTRY_SIZE> {
        &self.entries
    }

    fn decode(&self, entry: [u8; ENTRY_SIZE]) -> TimestampOffset {
        let [t0, t1, t2, t3, t4, t5, t6, t7, o0, o1, o2, o3] = entry;
        TimestampOffset {
            timestamp: i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            offset: self.base_offset + i64::from(u32::from_be_bytes([o0, o1, o2, o3])),
        }
    }

    /// True when only the slot reserved for the final entry is left.
    pub fn is_full(&self) -> io::Result<bool> {
        Ok(self.entries.entries()? >= self.entries.max_entries().saturating_sub(1))
    }

    /// The last entry; (-1, base offset) when there is none.
    pub fn last(&self) -> io::Result<TimestampOffset> {
        Ok(self.entries.last()?.map_or(self.none(), |e| self.decode(e)))
    }

    fn none(&self) -> TimestampOffset {
        TimestampOffset { timestamp: -1, offset: self.base_offset }
    }

    /// Adds an entry if its timestamp is above the last one's. `final_entry` may use the reserved slot.
    pub fn maybe_append(&self, entry: TimestampOffset, final_entry: bool) -> io::Result<()> {
        if !final_entry && self.is_full()? {
            let path = self.entries.file().path();
            return Err(io::Error::other(format!("Attempt to append to a full time index ({})", path.display())));
        }
        let last = self.last()?;
        let some = self.entries.entries()? > 0;
        if some && entry.offset == last.offset {
            return Ok(());
        }
        if some && (entry.offset < last.offset || entry.timestamp < last.timestamp) {
            let path = self.entries.file().path();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "Attempt to append a timestamp ({}) or offset ({}) no larger than the last one appended ({}, {}) to {}",
                    entry.timestamp,
                    entry.offset,
                    last.timestamp,
                    last.offset,
                    path.display()
                ),
            ));
        }
        if entry.timestamp > last.timestamp {
            let relative = relative_offset(self.base_offset, entry.offset)?;
            let mut bytes = [0; ENTRY_SIZE];
            let (time, offset) = bytes.split_at_mut(8);
            time.copy_from_slice(&entry.timestamp.to_be_bytes());
            offset.copy_from_slice(&relative.to_be_bytes());
            self.entries.push(bytes)?;
        }
        Ok(())
    }

    /// The entry with the largest timestamp not above `target`; (-1, base offset) when there is none.
    pub fn lookup(&self, target: i64) -> io::Result<TimestampOffset> {
        let found = self.entries.floor(|e| self.decode(*e).timestamp.cmp(&target))?;
        Ok(found.map_or(self.none(), |(_, e)| self.decode(e)))
    }

    /// Drops the entries with offsets at or above `offset`.
    pub fn truncate_to(&self, offset: i64) -> io::Result<()> {
        let keep = self.entries.floor(|e| self.decode(*e).offset.cmp(&(offset - 1)))?;
        self.entries.truncate(keep.map_or(0, |(number, _)| number + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::location::LogLocation;
    use crate::util::disk::RealDisk;

    fn at(timestamp: i64, offset: i64) -> TimestampOffset {
        TimestampOffset { timestamp, offset }
    }

    fn index(dir: &std::path::Path, base: i64, max: usize) -> TimeIndex {
        TimeIndex::new(LazyFile::new(RealDisk::shared(), LogLocation::shared(dir), "t".into()), base, max)
    }

    #[test]
    fn recorded_entry() {
        let dir = tempfile::tempdir().unwrap();
        let t = index(dir.path(), 5, 1200);
        t.maybe_append(at(1_700_000_000_007, 6), false).unwrap();
        t.storage().write_out().unwrap();
        let hex: String = std::fs::read(dir.path().join("t")).unwrap().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "0000018bcfe5680700000001");
    }

    #[test]
    fn rules_of_appending() {
        let dir = tempfile::tempdir().unwrap();
        let t = index(dir.path(), 0, 4 * ENTRY_SIZE);
        t.maybe_append(at(10, 1), false).unwrap();
        t.maybe_append(at(10, 5), false).unwrap();
        t.maybe_append(at(9, 1), false).unwrap();
        assert_eq!(t.storage().entries().unwrap(), 1);
        assert!(t.maybe_append(at(9, 2), false).is_err());
        assert!(t.maybe_append(at(11, 0), false).is_err());
        t.maybe_append(at(20, 6), false).unwrap();
        t.maybe_append(at(30, 7), false).unwrap();
        assert!(t.is_full().unwrap());
        assert!(t.maybe_append(at(40, 8), false).is_err());
        t.maybe_append(at(40, 8), true).unwrap();
        assert_eq!(t.lookup(29).unwrap(), at(20, 6));
        assert_eq!(t.lookup(9).unwrap(), at(-1, 0));
        t.truncate_to(7).unwrap();
        assert_eq!(t.last().unwrap(), at(20, 6));
    }
}
