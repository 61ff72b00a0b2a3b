//! What the offset index and the time index share: a file of fixed-size, ascending entries.
//!
//! No mmap. New entries gather in a small tail in memory and go to the file in blocks, so an append costs no system
//! call; lookups take the tail first and then binary-search the file with positional reads, the last block read being
//! kept. An index of a cold segment is opened at the first lookup. The file is always exactly as long as its entries
//! (never preallocated), which is what Kafka expects after a clean stop and what it rebuilds after any other.
//!
//! Answers to Kafka's `AbstractIndex`. Locks: one read-write lock around the state; a lookup reads the file after
//! leaving it. Writers are serialized by the log's lock.

use std::cmp::Ordering;
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

use super::location::LazyFile;

/// Bytes of entries gathered before they are written.
const TAIL_BYTES: usize = 4096;
/// Bytes read at once during a lookup.
const BLOCK_BYTES: usize = 4096;

#[derive(Debug, Default)]
struct State {
    loaded: bool,
    /// Entries that are in the file.
    in_file: usize,
    /// Entries behind those, not yet written.
    tail: Vec<u8>,
}

#[derive(Debug)]
struct Block {
    /// Number of the first entry in `bytes`.
    first: usize,
    bytes: Vec<u8>,
}

/// A file of `N`-byte entries.
#[derive(Debug)]
pub struct IndexFile<const N: usize> {
    file: LazyFile,
    max_entries: usize,
    state: RwLock<State>,
    block: Mutex<Option<Arc<Block>>>,
}

impl<const N: usize> IndexFile<N> {
    /// An index whose file may hold `max_bytes`; nothing is opened yet.
    pub fn new(file: LazyFile, max_bytes: usize) -> IndexFile<N> {
        IndexFile { file, max_entries: max_bytes / N, state: RwLock::new(State::default()), block: Mutex::new(None) }
    }

    pub fn file(&self) -> &LazyFile {
        &self.file
    }

    pub fn max_entries(&self) -> usize {
        self.max_entries
    }

    /// Makes the file, empty, unless it exists.
    pub fn create(&self) -> io::Result<()> {
        self.file.create().map(|_| ())
    }

    fn load(&self) -> io::Result<()> {
        if self.state.read().loaded {
            return Ok(());
        }
        let mut state = self.state.write();
        if !state.loaded {
            self.load_into(&mut state)?;
        }
        Ok(())
    }

    /// Counts the entries in the file. Trailing zero entries (preallocated by Kafka and never filled) do not count.
    fn load_into(&self, state: &mut State) -> io::Result<()> {
        let mut in_file = match self.file.open() {
            Ok(file) => usize::try_from(file.len()?).unwrap_or(usize::MAX) / N,
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(e),
        };
        let is_zero = |number: usize| self.entry_in_file(number).map(|e| e == [0; N]);
        if in_file > 0 && is_zero(in_file - 1)? {
            let (mut low, mut high) = (0, in_file - 1);
            while low < high {
                let middle = (low + high) / 2;
                if is_zero(middle)? {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            in_file = low;
        }
        *state = State { loaded: true, in_file, tail: Vec::new() };
        Ok(())
    }

    fn entry_in_file(&self, number: usize) -> io::Result<[u8; N]> {
        let mut entry = [0; N];
        self.file.open()?.read_at(&mut entry, (number * N) as u64)?;
        Ok(entry)
    }

    /// How many entries there are.
    pub fn entries(&self) -> io::Result<usize> {
        self.load()?;
        let state = self.state.read();
        Ok(state.in_file + state.tail.len() / N)
    }

    /// Entry by number.
    pub fn get(&self, number: usize) -> io::Result<Option<[u8; N]>> {
        self.load()?;
        let state = self.state.read();
        if number < state.in_file {
            drop(state);
            return self.entry_in_file(number).map(Some);
        }
        let at = (number - state.in_file) * N;
        Ok(state.tail.get(at..at + N).and_then(|e| e.try_into().ok()))
    }

    /// The last entry.
    pub fn last(&self) -> io::Result<Option<[u8; N]>> {
        match self.entries()? {
            0 => Ok(None),
            n => self.get(n - 1),
        }
    }

    /// Adds an entry; the caller has checked order and room.
    pub fn push(&self, entry: [u8; N]) -> io::Result<()> {
        self.load()?;
        let mut state = self.state.write();
        if state.tail.capacity() == 0 {
            state.tail.reserve_exact(TAIL_BYTES - TAIL_BYTES % N);
        }
        state.tail.extend_from_slice(&entry);
        if state.tail.len() + N > TAIL_BYTES {
            self.write_tail(&mut state)?;
        }
        Ok(())
    }

    fn write_tail(&self, state: &mut RwLockWriteGuard<'_, State>) -> io::Result<()> {
        if !state.tail.is_empty() {
            let file = self.file.create()?;
            file.write_at(&[&state.tail], (state.in_file * N) as u64)?;
            state.in_file += state.tail.len() / N;
            state.tail.clear();
        }
        Ok(())
    }

    /// Number of the last entry for which `order` is not `Greater`, and that entry. `order` compares an entry with the
    /// target.
    pub fn floor(&self, order: impl Fn(&[u8; N]) -> Ordering) -> io::Result<Option<(usize, [u8; N])>> {
        self.load()?;
        let in_file = {
            let state = self.state.read();
            if let Some(found) = floor_in(&state.tail, &order) {
                return Ok(Some((state.in_file + found.0, found.1)));
            }
            state.in_file
        };
        if in_file == 0 {
            return Ok(None);
        }
        let per_block = BLOCK_BYTES / N;
        if let Some(block) = self.cached_block(&order, in_file) {
            return Ok(floor_in::<N>(&block.bytes, &order).map(|(i, e)| (block.first + i, e)));
        }
        // The last block whose first entry is not beyond the target.
        let (mut low, mut high) = (0, in_file.div_ceil(per_block));
        while low < high {
            let middle = (low + high) / 2;
            if order(&self.entry_in_file(middle * per_block)?) == Ordering::Greater {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let Some(block_number) = low.checked_sub(1) else { return Ok(None) };
        let first = block_number * per_block;
        let block = Arc::new(self.read_block(first, per_block.min(in_file - first))?);
        *self.block.lock() = Some(Arc::clone(&block));
        Ok(floor_in::<N>(&block.bytes, &order).map(|(i, e)| (first + i, e)))
    }

    /// The block read last, if the answer must be in it.
    fn cached_block(&self, order: &impl Fn(&[u8; N]) -> Ordering, in_file: usize) -> Option<Arc<Block>> {
        let block = self.block.lock().clone()?;
        let (entries, _) = block.bytes.as_chunks::<N>();
        let inside = order(entries.first()?) != Ordering::Greater
            && (order(entries.last()?) == Ordering::Greater || block.first + entries.len() == in_file);
        inside.then_some(block)
    }

    fn read_block(&self, first: usize, count: usize) -> io::Result<Block> {
        let mut bytes = vec![0; count * N];
        let read = self.file.open()?.read_at(&mut bytes, (first * N) as u64)?;
        bytes.truncate(read - read % N);
        Ok(Block { first, bytes })
    }

    /// Keeps the first `entries` entries.
    pub fn truncate(&self, entries: usize) -> io::Result<()> {
        self.load()?;
        let mut state = self.state.write();
        *self.block.lock() = None;
        if entries <= state.in_file {
            state.tail.clear();
            state.in_file = entries;
            self.file.create()?.set_len((entries * N) as u64)?;
        } else {
            let keep = (entries - state.in_file) * N;
            state.tail.truncate(keep);
        }
        Ok(())
    }

    /// Drops every entry, whatever the file held.
    pub fn reset(&self) -> io::Result<()> {
        let mut state = self.state.write();
        *self.block.lock() = None;
        *state = State { loaded: true, in_file: 0, tail: Vec::new() };
        self.file.create()?.set_len(0)
    }

    /// Writes what is still in memory, so that the file holds all entries and nothing else.
    pub fn write_out(&self) -> io::Result<()> {
        let mut state = self.state.write();
        if !state.loaded {
            return Ok(());
        }
        self.write_tail(&mut state)
    }

    /// Like `write_out`, and cuts whatever the file has behind its entries (Kafka's preallocation). Returns whether
    /// the file had to be cut.
    pub fn trim_to_valid_size(&self) -> io::Result<bool> {
        self.load()?;
        let mut state = self.state.write();
        self.write_tail(&mut state)?;
        let exact = (state.in_file * N) as u64;
        let file = self.file.create()?;
        let oversized = file.len()? != exact;
        if oversized {
            file.set_len(exact)?;
        }
        state.tail = Vec::new();
        Ok(oversized)
    }

    /// Drops handle and cached block unless used since the last call.
    pub fn close_if_idle(&self) -> bool {
        let closed = self.file.close_if_idle();
        if closed {
            *self.block.lock() = None;
        }
        closed
    }
}

fn floor_in<const N: usize>(bytes: &[u8], order: &impl Fn(&[u8; N]) -> Ordering) -> Option<(usize, [u8; N])> {
    let (entries, _) = bytes.as_chunks::<N>();
    let above = entries.partition_point(|e| order(e) != Ordering::Greater);
    let number = above.checked_sub(1)?;
    entries.get(number).map(|e| (number, *e))
}
