//! One segment: a file of batches, its two indexes and its list of aborted transactions.
//!
//! Answers to Kafka's `LogSegment`. Owns the files. Appends, truncation and rolling happen under the log's lock; reads
//! take no lock of the log and see the size that was last published. Own locks: a short one around the bookkeeping of
//! appends and one around the ring of recent batches, neither held across a system call.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::batch_walk::{BatchMeta, HeaderWalk};
use super::location::{LazyFile, LogLocation, offset_file_name};
use super::offset_index::OffsetIndex;
use super::time_index::{TimeIndex, TimestampOffset};
use super::txn_index::TxnIndex;
use crate::util::disk::{Disk, DiskFile};

pub const LOG_SUFFIX: &str = ".log";
pub const INDEX_SUFFIX: &str = ".index";
pub const TIME_INDEX_SUFFIX: &str = ".timeindex";
pub const TXN_INDEX_SUFFIX: &str = ".txnindex";
pub const DELETED_SUFFIX: &str = ".deleted";

/// How many of the last appended batches are remembered with their positions.
const RECENT_BATCHES: usize = 32;

/// What a segment takes from the topic's configuration when it is opened.
#[derive(Clone, Copy, Debug)]
pub struct SegmentSettings {
    pub index_interval_bytes: u32,
    pub segment_index_bytes: usize,
    /// How much earlier than `segment.ms` this segment rolls.
    pub roll_jitter_ms: i64,
}

/// What decides whether an append needs a new segment.
#[derive(Clone, Copy, Debug)]
pub struct RollParams {
    pub max_segment_ms: i64,
    pub max_segment_bytes: u64,
    pub max_timestamp: i64,
    pub last_offset: i64,
    /// Bytes about to be appended.
    pub size: u64,
    pub now_ms: i64,
}

#[derive(Debug)]
pub(super) struct Bookkeeping {
    pub(super) bytes_since_index_entry: u64,
    /// `None` until the time index was read.
    pub(super) max_timestamp: Option<TimestampOffset>,
    /// Timestamp of the first append, which starts the clock of rolling by time.
    pub(super) rolling_timestamp: Option<i64>,
    pub(super) created_ms: i64,
}

#[derive(Debug)]
pub struct Segment {
    pub(super) base_offset: i64,
    pub(super) settings: SegmentSettings,
    pub(super) log: LazyFile,
    pub(super) offset_index: OffsetIndex,
    pub(super) time_index: TimeIndex,
    pub(super) txn_index: TxnIndex,
    /// Bytes of batches; readers go no further.
    pub(super) size: AtomicU64,
    pub(super) bookkeeping: Mutex<Bookkeeping>,
    recent: Mutex<Recent>,
    deleted: AtomicBool,
    /// Something was written since the last flush.
    dirty: AtomicBool,
}

/// The last batches appended by this process: tail readers and high watermarks find their positions here.
#[derive(Debug, Default)]
struct Recent {
    batches: Vec<BatchMeta>,
    next: usize,
}

/// What a read of a segment found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRange {
    /// Bytes in the segment file.
    pub position: u64,
    pub len: u32,
    /// The first batch is larger than the limit, so it comes cut or not at all.
    pub first_batch_incomplete: bool,
}

impl Segment {
    fn files(disk: &Arc<dyn Disk>, location: &Arc<LogLocation>, base_offset: i64, suffix: &str) -> LazyFile {
        LazyFile::new(Arc::clone(disk), Arc::clone(location), offset_file_name(base_offset, suffix))
    }

    /// A segment that is there. `size` is the length of its `.log` in bytes. Opens nothing.
    pub fn existing(
        disk: &Arc<dyn Disk>,
        location: &Arc<LogLocation>,
        base_offset: i64,
        size: u64,
        has_txn_index: bool,
        settings: SegmentSettings,
        now_ms: i64,
    ) -> Segment {
        let file = |suffix| Segment::files(disk, location, base_offset, suffix);
        let txn = file(TXN_INDEX_SUFFIX);
        Segment {
            base_offset,
            settings,
            log: file(LOG_SUFFIX),
            offset_index: OffsetIndex::new(file(INDEX_SUFFIX), base_offset, settings.segment_index_bytes),
            time_index: TimeIndex::new(file(TIME_INDEX_SUFFIX), base_offset, settings.segment_index_bytes),
            txn_index: if has_txn_index { TxnIndex::new(txn, base_offset) } else { TxnIndex::empty(txn, base_offset) },
            size: AtomicU64::new(size),
            bookkeeping: Mutex::new(Bookkeeping {
                bytes_since_index_entry: 0,
                max_timestamp: None,
                rolling_timestamp: None,
                created_ms: now_ms,
            }),
            recent: Mutex::new(Recent::default()),
            deleted: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
        }
    }

    /// A new segment; leftovers with its names are removed. `preallocate` gives the `.log` that many bytes.
    pub fn create(
        disk: &Arc<dyn Disk>,
        location: &Arc<LogLocation>,
        base_offset: i64,
        preallocate: Option<u64>,
        settings: SegmentSettings,
        now_ms: i64,
    ) -> io::Result<Segment> {
        let segment = Segment::existing(disk, location, base_offset, 0, false, settings, now_ms);
        segment.remove_files()?;
        segment.mark_dirty();
        let log = segment.log.create()?;
        if let Some(bytes) = preallocate {
            log.set_len(bytes)?;
        }
        segment.offset_index.storage().reset()?;
        segment.time_index.storage().reset()?;
        segment.bookkeeping.lock().max_timestamp = Some(TimestampOffset { timestamp: -1, offset: base_offset });
        Ok(segment)
    }

    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Bytes of batches.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub fn log_path(&self) -> PathBuf {
        self.log.path()
    }

    /// The open `.log`.
    pub fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.log.open()
    }

    pub fn txn_index(&self) -> &TxnIndex {
        &self.txn_index
    }

    pub fn offset_index(&self) -> &OffsetIndex {
        &self.offset_index
    }

    pub fn time_index(&self) -> &TimeIndex {
        &self.time_index
    }

    /// True once the segment was taken out of its log and its files may vanish.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Appends batches that lie in `parts` one behind the other; the caller has chosen the segment and checked offsets.
    /// Returns where they begin.
    pub fn write(&self, parts: &[&[u8]], batches: &[BatchMeta]) -> io::Result<u64> {
        let position = self.size();
        let Some(last) = batches.last() else { return Ok(position) };
        super::offset_index::relative_offset(self.base_offset, last.last_offset)?;
        self.mark_dirty();
        self.log.open()?.write_at(parts, position)?;
        let mut bytes = 0u64;
        let mut newest = TimestampOffset::UNKNOWN;
        let known = self.max_timestamp()?;
        for batch in batches {
            bytes += u64::from(batch.size);
            if batch.max_timestamp > newest.timestamp {
                newest = TimestampOffset { timestamp: batch.max_timestamp, offset: batch.last_offset };
            }
        }
        let max = if newest.timestamp > known.timestamp { newest } else { known };
        let index_now = {
            let mut books = self.bookkeeping.lock();
            if position == 0 {
                books.rolling_timestamp = Some(newest.timestamp);
            }
            books.max_timestamp = Some(max);
            let index_now = books.bytes_since_index_entry > u64::from(self.settings.index_interval_bytes);
            books.bytes_since_index_entry = if index_now { bytes } else { books.bytes_since_index_entry + bytes };
            index_now
        };
        if index_now {
            self.offset_index.append(last.last_offset, position_u32(position)?)?;
            self.time_index.maybe_append(max, false)?;
        }
        self.remember(batches, position);
        Ok(position)
    }

    /// Makes what `write` wrote visible to readers: called after the log end offset moved.
    pub fn publish(&self, bytes: u64) {
        self.size.fetch_add(bytes, Ordering::Release);
    }

    fn remember(&self, batches: &[BatchMeta], position: u64) {
        let mut recent = self.recent.lock();
        let mut at = position;
        for batch in batches {
            let placed = BatchMeta { position: at, ..*batch };
            at += u64::from(batch.size);
            let next = recent.next;
            match recent.batches.get_mut(next) {
                Some(slot) => *slot = placed,
                None => recent.batches.push(placed),
            }
            recent.next = (next + 1) % RECENT_BATCHES;
        }
    }

    pub(super) fn forget_recent(&self) {
        *self.recent.lock() = Recent::default();
    }

    /// (position, size) of the batch that contains `offset` or, if none does, of the next one; `None` past the end.
    pub fn translate(&self, offset: i64) -> io::Result<Option<BatchMeta>> {
        let end = self.size();
        {
            let recent = self.recent.lock();
            let found = recent.batches.iter().find(|b| b.base_offset <= offset && offset <= b.last_offset);
            if let Some(batch) = found.filter(|b| b.end() <= end) {
                return Ok(Some(*batch));
            }
            let newest = (recent.next + RECENT_BATCHES - 1) % RECENT_BATCHES;
            if recent.batches.get(newest).is_some_and(|last| last.last_offset < offset && last.end() == end) {
                return Ok(None);
            }
        }
        let start = self.offset_index.lookup(offset)?;
        let file = self.file()?;
        let mut walk = HeaderWalk::new(&*file, u64::from(start.position), end);
        while let Some(batch) = walk.next_batch()? {
            if batch.last_offset >= offset {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Where a reader that may not see `offset` and beyond must stop, bytes in the file.
    pub fn position_of(&self, offset: i64) -> io::Result<u64> {
        Ok(self.translate(offset)?.map_or(self.size(), |batch| batch.position))
    }

    /// The range to send to a reader at `start_offset`; `None` when this segment has nothing at or beyond it.
    pub fn read(
        &self,
        start_offset: i64,
        max_bytes: u32,
        max_position: u64,
        min_one: bool,
    ) -> io::Result<Option<SegmentRange>> {
        let Some(first) = self.translate(start_offset)? else { return Ok(None) };
        let limit = if min_one { max_bytes.max(first.size) } else { max_bytes };
        let available = max_position.saturating_sub(first.position);
        let len = u32::try_from(available).unwrap_or(u32::MAX).min(limit);
        Ok(Some(SegmentRange { position: first.position, len, first_batch_incomplete: limit < first.size }))
    }

    /// Largest timestamp so far with its offset; (-1, base offset) when there is none.
    pub fn max_timestamp(&self) -> io::Result<TimestampOffset> {
        if let Some(known) = self.bookkeeping.lock().max_timestamp {
            return Ok(known);
        }
        let last = self.time_index.last()?;
        Ok(*self.bookkeeping.lock().max_timestamp.get_or_insert(last))
    }

    /// Largest record timestamp, or when the file was last written if its records have none. Milliseconds.
    pub fn largest_timestamp(&self) -> io::Result<i64> {
        match self.max_timestamp()?.timestamp {
            none if none < 0 => self.last_modified(),
            timestamp => Ok(timestamp),
        }
    }

    /// When the `.log` was last written, milliseconds since the epoch.
    pub fn last_modified(&self) -> io::Result<i64> {
        self.log.disk().stat(&self.log.path()).map(|stat| stat.modified_ms)
    }

    /// Whether an append must go to a new segment.
    pub fn should_roll(&self, roll: &RollParams) -> io::Result<bool> {
        let size = self.size();
        if size + roll.size > roll.max_segment_bytes {
            return Ok(true);
        }
        let waited_too_long = size > 0
            && self.waited_for_roll(roll.now_ms, roll.max_timestamp)?
                > roll.max_segment_ms - self.settings.roll_jitter_ms;
        Ok(waited_too_long
            || self.offset_index.is_full()?
            || self.time_index.is_full()?
            || roll.last_offset - self.base_offset > i64::from(i32::MAX))
    }

    /// How long the segment is active, by the clock of its records where they have one.
    fn waited_for_roll(&self, now_ms: i64, newest_timestamp: i64) -> io::Result<i64> {
        let known = self.bookkeeping.lock().rolling_timestamp;
        let first = match known {
            Some(first) => first,
            None => {
                let file = self.file()?;
                let first = HeaderWalk::new(&*file, 0, self.size()).next_batch()?.map_or(-1, |b| b.max_timestamp);
                self.bookkeeping.lock().rolling_timestamp = Some(first);
                first
            }
        };
        Ok(match first {
            none if none < 0 => now_ms - self.bookkeeping.lock().created_ms,
            first => newest_timestamp - first,
        })
    }

    /// The offset behind the last batch; the base offset when there is none.
    pub fn read_next_offset(&self) -> io::Result<i64> {
        let start = self.offset_index.last()?;
        let file = self.file()?;
        let mut walk = HeaderWalk::new(&*file, u64::from(start.position), self.size());
        let mut next = self.base_offset;
        while let Some(batch) = walk.next_batch()? {
            next = batch.last_offset + 1;
        }
        Ok(next)
    }

    /// The last time-index entry, both indexes and the file cut to what they hold.
    pub fn on_become_inactive(&self) -> io::Result<()> {
        let entries = self.time_index.storage().entries()?;
        self.time_index.maybe_append(self.max_timestamp()?, true)?;
        let (file, size) = (self.file()?, self.size());
        let oversized = file.len()? != size;
        if oversized {
            file.set_len(size)?;
        }
        let trimmed =
            self.offset_index.storage().trim_to_valid_size()? | self.time_index.storage().trim_to_valid_size()?;
        if oversized || trimmed || self.time_index.storage().entries()? != entries {
            self.mark_dirty();
        }
        Ok(())
    }

    pub(super) fn mark_dirty(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    /// Writes what is in memory and forces all files to the device. Returns whether there was anything to do.
    pub fn flush(&self) -> io::Result<bool> {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        let done = self.flush_files();
        if done.is_err() {
            self.mark_dirty();
        }
        done.map(|()| true)
    }

    fn flush_files(&self) -> io::Result<()> {
        self.offset_index.storage().write_out()?;
        self.time_index.storage().write_out()?;
        self.log.sync()?;
        self.offset_index.storage().file().sync()?;
        self.time_index.storage().file().sync()?;
        if self.txn_index.has_file() { self.txn_index.file().sync() } else { Ok(()) }
    }

    fn all_files(&self) -> [&LazyFile; 4] {
        [&self.log, self.offset_index.storage().file(), self.time_index.storage().file(), self.txn_index.file()]
    }

    /// Gives all files the suffix `.deleted`; they are to be removed later. The segment is out of its log.
    pub fn mark_deleted(&self) -> io::Result<()> {
        self.deleted.store(true, Ordering::Release);
        let suffixes = [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX];
        for (file, suffix) in self.all_files().into_iter().zip(suffixes) {
            file.rename(format!("{}{DELETED_SUFFIX}", offset_file_name(self.base_offset, suffix)))?;
        }
        Ok(())
    }

    /// Removes all files.
    pub fn remove_files(&self) -> io::Result<()> {
        for file in self.all_files() {
            file.remove()?;
        }
        Ok(())
    }

    /// Drops all handles.
    pub fn close(&self) {
        for file in self.all_files() {
            file.close();
        }
    }

    /// Drops handles not used since the last call; returns how many.
    pub fn close_idle(&self) -> usize {
        usize::from(self.log.close_if_idle())
            + usize::from(self.offset_index.storage().close_if_idle())
            + usize::from(self.time_index.storage().close_if_idle())
            + usize::from(self.txn_index.file().close_if_idle())
    }
}

/// A position as the index stores it.
pub(super) fn position_u32(position: u64) -> io::Result<u32> {
    u32::try_from(position).ok().filter(|p| i32::try_from(*p).is_ok()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("Position {position} is beyond what an index can hold"))
    })
}
