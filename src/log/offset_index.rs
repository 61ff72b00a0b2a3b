//! The offset index of one segment: (offset - base as int32, position as int32), 8 bytes an entry, ascending.
//! The offset of an entry is the last one of an append, the position is where that append began.
//!
//! Answers to Kafka's `OffsetIndex`. State and locks: see `index_file`.

use std::io;

use super::index_file::IndexFile;
use super::location::LazyFile;

pub const ENTRY_SIZE: usize = 8;

/// An offset and the position (bytes in the segment file) to start scanning from for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetPosition {
    pub offset: i64,
    pub position: u32,
}

#[derive(Debug)]
pub struct OffsetIndex {
    base_offset: i64,
    entries: IndexFile<ENTRY_SIZE>,
}

fn encode(relative: i32, position: u32) -> [u8; ENTRY_SIZE] {
    ((u64::from(relative as u32) << 32) | u64::from(position)).to_be_bytes()
}

impl OffsetIndex {
    pub fn new(file: LazyFile, base_offset: i64, max_bytes: usize) -> OffsetIndex {
        OffsetIndex { base_offset, entries: IndexFile::new(file, max_bytes) }
    }

    /// The file and its entries, for life-cycle work.
    pub fn storage(&self) -> &IndexFile<ENTRY_SIZE> {
        &self.entries
    }

    fn decode(&self, entry: [u8; ENTRY_SIZE]) -> OffsetPosition {
        let word = u64::from_be_bytes(entry);
        OffsetPosition { offset: self.base_offset + (word >> 32) as i64, position: word as u32 }
    }

    pub fn is_full(&self) -> io::Result<bool> {
        Ok(self.entries.entries()? >= self.entries.max_entries())
    }

    /// The last entry; (base offset, 0) when there is none.
    pub fn last(&self) -> io::Result<OffsetPosition> {
        Ok(self.entries.last()?.map_or(self.start(), |e| self.decode(e)))
    }

    fn start(&self) -> OffsetPosition {
        OffsetPosition { offset: self.base_offset, position: 0 }
    }

    /// Adds an entry. Offsets must ascend and be within 2^31 of the base.
    pub fn append(&self, offset: i64, position: u32) -> io::Result<()> {
        let relative = relative_offset(self.base_offset, offset)?;
        if self.is_full()? {
            return Err(io::Error::other(format!("Attempt to append to a full index ({})", self.describe())));
        }
        if let Some(last) = self.entries.last()?.map(|e| self.decode(e))
            && offset <= last.offset
        {
            let (entries, last) = (self.entries.entries()?, last.offset);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "Attempt to append an offset ({offset}) to position {entries} no larger than the last offset appended ({last}) to {}",
                    self.describe()
                ),
            ));
        }
        self.entries.push(encode(relative, position))
    }

    fn describe(&self) -> String {
        self.entries.file().path().display().to_string()
    }

    /// The entry with the largest offset not above `target`; (base offset, 0) when there is none.
    pub fn lookup(&self, target: i64) -> io::Result<OffsetPosition> {
        if target <= self.base_offset {
            return Ok(self.start());
        }
        let found = self.entries.floor(|e| self.decode(*e).offset.cmp(&target))?;
        Ok(found.map_or(self.start(), |(_, e)| self.decode(e)))
    }

    /// An entry at or beyond `start.position + fetch_size`, which bounds what such a fetch can contain.
    pub fn fetch_upper_bound(&self, start: OffsetPosition, fetch_size: u32) -> io::Result<Option<OffsetPosition>> {
        let target = u64::from(start.position) + u64::from(fetch_size);
        let below = self.entries.floor(|e| {
            // Entries below the target position count as "not beyond".
            if u64::from(self.decode(*e).position) < target {
                std::cmp::Ordering::Less
            } else {
                std::cmp::Ordering::Greater
            }
        })?;
        let next = below.map_or(0, |(number, _)| number + 1);
        Ok(self.entries.get(next)?.map(|e| self.decode(e)))
    }

    /// Drops the entries with offsets at or above `offset`.
    pub fn truncate_to(&self, offset: i64) -> io::Result<()> {
        let keep = self.entries.floor(|e| self.decode(*e).offset.cmp(&(offset - 1)))?;
        self.entries.truncate(keep.map_or(0, |(number, _)| number + 1))
    }
}

/// `offset - base` as an index stores it.
pub fn relative_offset(base_offset: i64, offset: i64) -> io::Result<i32> {
    offset.checked_sub(base_offset).filter(|r| *r >= 0).and_then(|r| i32::try_from(r).ok()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("Integer overflow for offset: {offset} (base offset {base_offset})"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::location::LogLocation;
    use crate::util::disk::RealDisk;

    fn index(dir: &std::path::Path, base: i64) -> OffsetIndex {
        let file = LazyFile::new(RealDisk::shared(), LogLocation::shared(dir), "i".into());
        OffsetIndex::new(file, base, 10 << 20)
    }

    #[test]
    fn recorded_entry() {
        let dir = tempfile::tempdir().unwrap();
        let i = index(dir.path(), 5);
        i.append(6, 0).unwrap();
        i.storage().write_out().unwrap();
        assert_eq!(std::fs::read(dir.path().join("i")).unwrap(), [0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn lookups_match_a_plain_list_across_tail_and_file() {
        let dir = tempfile::tempdir().unwrap();
        let i = index(dir.path(), 100);
        let all: Vec<OffsetPosition> =
            (1..3000u32).map(|n| OffsetPosition { offset: 100 + i64::from(n) * 3, position: n * 50 }).collect();
        for (n, e) in all.iter().enumerate() {
            i.append(e.offset, e.position).unwrap();
            if n % 577 == 0 {
                assert_eq!(i.lookup(e.offset).unwrap(), *e);
            }
        }
        let check = |i: &OffsetIndex| {
            for target in (90..9200).step_by(7) {
                let want = all.iter().rfind(|e| e.offset <= target).copied();
                assert_eq!(i.lookup(target).unwrap(), want.unwrap_or(OffsetPosition { offset: 100, position: 0 }));
            }
            for size in [0, 1, 49, 50, 51, 30_000, 200_000] {
                let start = OffsetPosition { offset: 400, position: 5000 };
                let want = all.iter().find(|e| e.position >= 5000 + size).copied();
                assert_eq!(i.fetch_upper_bound(start, size).unwrap(), want, "{size}");
            }
        };
        check(&i);
        i.storage().trim_to_valid_size().unwrap();
        let reopened = index(dir.path(), 100);
        check(&reopened);
        assert!(reopened.append(all[10].offset, 1).is_err());
        reopened.truncate_to(all[20].offset).unwrap();
        assert_eq!(reopened.last().unwrap(), all[19]);
        assert_eq!(reopened.lookup(i64::MAX).unwrap(), all[19]);
        reopened.truncate_to(0).unwrap();
        assert_eq!(reopened.last().unwrap().position, 0);
    }

    #[test]
    fn a_preallocated_zero_tail_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let i = index(dir.path(), 0);
        i.append(7, 70).unwrap();
        i.append(9, 90).unwrap();
        i.storage().write_out().unwrap();
        std::fs::OpenOptions::new().write(true).open(dir.path().join("i")).unwrap().set_len(10 << 20).unwrap();
        let i = index(dir.path(), 0);
        assert_eq!(i.storage().entries().unwrap(), 2);
        i.append(11, 110).unwrap();
        i.storage().trim_to_valid_size().unwrap();
        assert_eq!(std::fs::metadata(dir.path().join("i")).unwrap().len(), 24);
    }
}
