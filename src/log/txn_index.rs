//! The transaction index of one segment: the aborted transactions whose marker is in it, 34 bytes an entry, in order
//! of their last offset. The file is made at the first abort.
//!
//! Answers to Kafka's `TransactionIndex`. Owns the lazily opened file and the entries (few; read once and kept).
//! Locks: one around the entries. Writers are serialized by the log's lock.

use std::io;
use std::sync::Arc;

use parking_lot::RwLock;

use super::location::LazyFile;
use super::producer_entry::CompletedTxn;

pub const ENTRY_SIZE: usize = 34;
const VERSION: i16 = 0;

/// One aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTxn {
    pub producer_id: i64,
    /// First offset of the transaction.
    pub first_offset: i64,
    /// Offset of the abort marker.
    pub last_offset: i64,
    /// The last stable offset right after the abort.
    pub last_stable_offset: i64,
}

impl AbortedTxn {
    pub fn new(txn: &CompletedTxn, last_stable_offset: i64) -> AbortedTxn {
        AbortedTxn {
            producer_id: txn.producer_id,
            first_offset: txn.first_offset,
            last_offset: txn.last_offset,
            last_stable_offset,
        }
    }

    fn encode(&self) -> [u8; ENTRY_SIZE] {
        let mut bytes = [0; ENTRY_SIZE];
        let fields = [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset];
        for (slot, field) in bytes[2..].chunks_exact_mut(8).zip(fields) {
            slot.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_SIZE]) -> Option<AbortedTxn> {
        if i16::from_be_bytes([bytes[0], bytes[1]]) != VERSION {
            return None;
        }
        let mut fields = [0i64; 4];
        for (field, slot) in fields.iter_mut().zip(bytes[2..].as_chunks::<8>().0) {
            *field = i64::from_be_bytes(*slot);
        }
        let [producer_id, first_offset, last_offset, last_stable_offset] = fields;
        Some(AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset })
    }
}

#[derive(Debug)]
pub struct TxnIndex {
    file: LazyFile,
    base_offset: i64,
    /// `None` until the file was read. Shared so that readers copy no entries.
    entries: RwLock<Option<Arc<Vec<AbortedTxn>>>>,
}

impl TxnIndex {
    pub fn new(file: LazyFile, base_offset: i64) -> TxnIndex {
        TxnIndex { file, base_offset, entries: RwLock::new(None) }
    }

    /// A segment known to have no file yet.
    pub fn empty(file: LazyFile, base_offset: i64) -> TxnIndex {
        TxnIndex { file, base_offset, entries: RwLock::new(Some(Arc::new(Vec::new()))) }
    }

    pub fn file(&self) -> &LazyFile {
        &self.file
    }

    /// All entries. An error of kind `InvalidData` when the file is not what Kafka would accept.
    pub fn all(&self) -> io::Result<Arc<Vec<AbortedTxn>>> {
        if let Some(entries) = &*self.entries.read() {
            return Ok(Arc::clone(entries));
        }
        let mut slot = self.entries.write();
        let bytes = match self.file.disk().read(&self.file.path()) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let corrupt = |what: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{what} in txn index {}", self.file.path().display()))
        };
        let (chunks, rest) = bytes.as_chunks::<ENTRY_SIZE>();
        if !rest.is_empty() {
            return Err(corrupt("An entry cut short".into()));
        }
        let mut entries = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let entry =
                AbortedTxn::decode(chunk).ok_or_else(|| corrupt("Unexpected aborted transaction version".into()))?;
            if entry.last_offset < self.base_offset {
                return Err(corrupt(format!(
                    "Last offset of aborted transaction {entry:?} is less than start offset {}",
                    self.base_offset
                )));
            }
            entries.push(entry);
        }
        let entries = Arc::new(entries);
        *slot = Some(Arc::clone(&entries));
        Ok(entries)
    }

    pub fn append(&self, txn: AbortedTxn) -> io::Result<()> {
        let known = self.all()?;
        if known.last().is_some_and(|last| last.last_offset >= txn.last_offset) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "The last offset of appended transactions must increase sequentially, but {} is not greater than current last offset of index {}",
                    txn.last_offset,
                    self.file.path().display()
                ),
            ));
        }
        self.file.create()?.write_at(&[&txn.encode()], (known.len() * ENTRY_SIZE) as u64)?;
        let mut slot = self.entries.write();
        drop(known);
        if let Some(entries) = &mut *slot {
            Arc::make_mut(entries).push(txn);
        }
        Ok(())
    }

    /// Aborted transactions that overlap [fetch_offset, upper_bound), added to `found`; true when later segments
    /// cannot have more.
    pub fn collect(&self, fetch_offset: i64, upper_bound: i64, found: &mut Vec<AbortedTxn>) -> io::Result<bool> {
        for txn in self.all()?.iter() {
            if txn.last_offset >= fetch_offset && txn.first_offset < upper_bound {
                found.push(*txn);
            }
            if txn.last_stable_offset >= upper_bound {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Drops the entries whose marker is at or above `offset`.
    pub fn truncate_to(&self, offset: i64) -> io::Result<()> {
        let entries = self.all()?;
        let keep = entries.iter().position(|txn| txn.last_offset >= offset).unwrap_or(entries.len());
        if keep < entries.len() {
            self.file.create()?.set_len((keep * ENTRY_SIZE) as u64)?;
            *self.entries.write() = Some(Arc::new(entries[..keep].to_vec()));
        }
        Ok(())
    }

    /// Forgets everything, whatever the file held.
    pub fn reset(&self) -> io::Result<()> {
        if self.file.exists() {
            self.file.create()?.set_len(0)?;
        }
        *self.entries.write() = Some(Arc::new(Vec::new()));
        Ok(())
    }

    /// True when a file is there to be synced or renamed.
    pub fn has_file(&self) -> bool {
        self.file.exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::location::LogLocation;
    use crate::util::disk::RealDisk;

    fn index(dir: &std::path::Path, base: i64) -> TxnIndex {
        TxnIndex::new(LazyFile::new(RealDisk::shared(), LogLocation::shared(dir), "x".into()), base)
    }

    fn txn(producer_id: i64, first_offset: i64, last_offset: i64, last_stable_offset: i64) -> AbortedTxn {
        AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset }
    }

    #[test]
    fn recorded_entry_and_collection() {
        let dir = tempfile::tempdir().unwrap();
        let x = index(dir.path(), 0);
        assert!(!x.has_file());
        x.append(txn(1000, 5, 7, 8)).unwrap();
        let hex: String = std::fs::read(dir.path().join("x")).unwrap().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "000000000000000003e8000000000000000500000000000000070000000000000008");
        x.append(txn(1001, 9, 20, 12)).unwrap();
        x.append(txn(1002, 12, 30, 31)).unwrap();
        assert!(x.append(txn(1003, 1, 30, 31)).is_err());
        let x = index(dir.path(), 0);
        let mut found = Vec::new();
        assert!(!x.collect(8, 40, &mut found).unwrap());
        assert_eq!(found.iter().map(|t| t.producer_id).collect::<Vec<_>>(), [1001, 1002]);
        found.clear();
        assert!(x.collect(0, 8, &mut found).unwrap());
        assert_eq!(found, [txn(1000, 5, 7, 8)]);
        x.truncate_to(20).unwrap();
        assert_eq!(index(dir.path(), 0).all().unwrap().len(), 1);
        assert!(index(dir.path(), 8).all().is_err());
    }
}
