//! Opening a log: leftovers of interrupted work, loading segments, recovery after an unclean stop, producer state.
//!
//! Answers to Kafka's `LogLoader` and `UnifiedLog.rebuildProducerState`. Runs before the log is shared, one log per
//! call; many run in parallel at start-up.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use super::append::append_rules;
use super::batch_walk::{WholeWalk, producer_batch};
use super::epoch_cache::EpochCache;
use super::error::LogError;
use super::leftovers;
use super::location::LogLocation;
use super::log_dir::LogDir;
use super::partition_log::{Background, NO_UNSTABLE_OFFSET, PartitionLog, Writer, floor_segment, segment_settings};
use super::partition_metadata::{self, PARTITION_METADATA_FILE};
use super::producer_state::{ProducerState, ProducerStateConfig};
use super::segment::{INDEX_SUFFIX, LOG_SUFFIX, Segment, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX};
use super::segment_recovery::replay_batch;
use crate::config::LogConfig;
use crate::topic::TopicPartition;
use crate::util::disk::Disk;

const LOGGER: &str = "kafka.log.LogLoader";

/// What a log needs from around it; the same for all logs of a broker.
#[derive(Clone)]
pub struct LogContext {
    pub disk: Arc<dyn Disk>,
    pub background: Background,
    pub producers: ProducerStateConfig,
}

/// One log to open.
pub struct OpenLog<'a> {
    pub context: &'a LogContext,
    pub log_dir: &'a Arc<LogDir>,
    /// The partition directory; made when missing.
    pub dir: &'a Path,
    pub tp: TopicPartition,
    pub config: Arc<LogConfig>,
    pub is_future: bool,
    /// From `log-start-offset-checkpoint`; 0 when it has none.
    pub log_start_checkpoint: i64,
    /// From `recovery-point-offset-checkpoint`; 0 when it has none.
    pub recovery_point_checkpoint: i64,
    /// From `cleaner-offset-checkpoint`: whether the log cleaner has been at this log. Then offsets may be missing
    /// between its segments.
    pub was_cleaned: bool,
    pub had_clean_shutdown: bool,
    /// Segments still to be recovered, for progress reports.
    pub remaining_segments: Option<&'a AtomicUsize>,
    pub now_ms: i64,
}

/// State while loading.
struct Loader<'a> {
    open: &'a OpenLog<'a>,
    location: Arc<LogLocation>,
    segments: BTreeMap<i64, Arc<Segment>>,
    /// Base offsets of segments that lack an index, or have one that cannot be right.
    unindexed: Vec<i64>,
    epochs: EpochCache,
    /// Producer state as the recovery of the last segment left it. A snapshot knows only the last batch of a producer;
    /// this knows all that a retry may repeat.
    recovered: Option<ProducerState>,
}

impl OpenLog<'_> {
    /// Opens the log, recovering it where that is needed.
    pub fn open(self) -> Result<Arc<PartitionLog>, LogError> {
        let log_dir = Arc::clone(self.log_dir);
        let tp = self.tp.clone();
        log_dir.check()?;
        self.load().map_err(|e| log_dir.storage(e, || format!("Error while loading log of {tp}")))
    }

    fn load(&self) -> io::Result<Arc<PartitionLog>> {
        let disk = &self.context.disk;
        disk.create_dir_all(self.dir)?;
        let location = LogLocation::shared(self.dir);
        leftovers::clean(&**disk, self.dir)?;
        let epochs = EpochCache::open(Arc::clone(disk), Arc::clone(&location))?;
        let topic_id = partition_metadata::read(&**disk, &self.dir.join(PARTITION_METADATA_FILE))?;
        let mut loader = Loader {
            open: self,
            location: Arc::clone(&location),
            segments: BTreeMap::new(),
            unindexed: Vec::new(),
            epochs,
            recovered: None,
        };
        loader.load_segments()?;
        let (recovery_point, end_offset) = loader.recover_log()?;
        loader.epochs.truncate_from_end(end_offset)?;
        loader.epochs.truncate_from_start(self.log_start_checkpoint)?;
        let segments: Vec<Arc<Segment>> = loader.segments.into_values().collect();
        let first_base = segments.first().map_or(0, |s| s.base_offset());
        let log_start = self.log_start_checkpoint.max(first_base);
        let recovered = loader.recovered.filter(|producers| producers.map_end_offset() == end_offset);
        let mut producers = recovered.map_or_else(|| self.producer_state(&location), Ok)?;
        producers.remove_stray_snapshots(&PartitionLog::base_offsets(&segments))?;
        let rebuild = Rebuild {
            segments: &segments,
            tp: &self.tp,
            log_start_offset: log_start,
            end_offset,
            clean: self.had_clean_shutdown,
            now_ms: self.now_ms,
        };
        rebuild_producers(&mut producers, &rebuild)?;
        // A broker with many logs must not need a descriptor for each.
        segments.iter().for_each(|s| s.close());
        let offsets = Offsets { log_start, end_offset, recovery_point };
        Ok(self.assemble(location, segments, loader.epochs, producers, topic_id, offsets))
    }

    fn producer_state(&self, location: &Arc<LogLocation>) -> io::Result<ProducerState> {
        let disk = Arc::clone(&self.context.disk);
        ProducerState::open(disk, Arc::clone(location), self.tp.clone(), self.context.producers)
    }

    fn assemble(
        &self,
        location: Arc<LogLocation>,
        segments: Vec<Arc<Segment>>,
        epochs: EpochCache,
        producers: ProducerState,
        topic_id: Option<uuid::Uuid>,
        offsets: Offsets,
    ) -> Arc<PartitionLog> {
        let writer = Writer { producers, updates: Vec::new(), unwritten_topic_id: None, flush_request: None };
        let log = Arc::new_cyclic(|this| PartitionLog {
            this: this.clone(),
            tp: self.tp.clone(),
            disk: Arc::clone(&self.context.disk),
            location,
            log_dir: Arc::clone(self.log_dir),
            background: Arc::clone(&self.context.background),
            rules: ArcSwap::from_pointee(append_rules(&self.config)),
            config: ArcSwap::new(Arc::clone(&self.config)),
            segments: ArcSwap::from_pointee(segments),
            log_start_offset: AtomicI64::new(offsets.log_start),
            log_end_offset: AtomicI64::new(offsets.end_offset),
            high_watermark: AtomicI64::new(offsets.log_start),
            first_unstable: AtomicI64::new(NO_UNSTABLE_OFFSET),
            recovery_point: AtomicI64::new(offsets.recovery_point),
            truncations: AtomicU64::new(0),
            last_flush_ms: AtomicI64::new(self.now_ms),
            is_future: AtomicBool::new(self.is_future),
            closed: AtomicBool::new(false),
            topic_id: RwLock::new(topic_id),
            epochs: RwLock::new(epochs),
            writer: Mutex::new(writer),
            deletions: Mutex::new(Vec::new()),
        });
        log.refresh_first_unstable(&log.writer.lock());
        log
    }
}

struct Offsets {
    log_start: i64,
    end_offset: i64,
    recovery_point: i64,
}

impl Loader<'_> {
    fn load_segments(&mut self) -> io::Result<()> {
        let open = self.open;
        let disk = &open.context.disk;
        let mut names: Vec<String> = disk.list(open.dir)?.into_iter().filter(|i| !i.is_dir).map(|i| i.name).collect();
        names.sort();
        let has =
            |base: i64, suffix: &str| names.binary_search(&super::location::offset_file_name(base, suffix)).is_ok();
        for name in &names {
            let index_of = [INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX].into_iter().find(|s| name.ends_with(s));
            if index_of.is_some() {
                let Some(base) = leftovers::offset_of(name) else { continue };
                if !has(base, LOG_SUFFIX) {
                    tracing::warn!(target: LOGGER, "Found an orphaned index file {}, with no corresponding log file.", open.dir.join(name).display());
                    disk.remove_if_exists(&open.dir.join(name))?;
                }
            } else if name.ends_with(LOG_SUFFIX) {
                let Some(base) = leftovers::offset_of(name) else { continue };
                self.load_segment(
                    base,
                    has(base, INDEX_SUFFIX),
                    has(base, TIME_INDEX_SUFFIX),
                    has(base, TXN_INDEX_SUFFIX),
                )?;
            }
        }
        Ok(())
    }

    fn load_segment(
        &mut self,
        base: i64,
        has_index: bool,
        has_time_index: bool,
        has_txn_index: bool,
    ) -> io::Result<()> {
        let open = self.open;
        let disk = &open.context.disk;
        let path = open.dir.join(super::location::offset_file_name(base, LOG_SUFFIX));
        let size = disk.stat(&path)?.len;
        let settings = segment_settings(&open.config);
        let segment = Segment::existing(disk, &self.location, base, size, has_txn_index, settings, open.now_ms);
        let segment = Arc::new(segment);
        if !has_index {
            if open.had_clean_shutdown || base < open.recovery_point_checkpoint {
                tracing::error!(target: LOGGER, "Could not find offset index file corresponding to log file {}, recovering segment and rebuilding index files...", path.display());
            }
            self.unindexed.push(base);
        } else if has_txn_index && let Err(e) = segment.txn_index().all() {
            if e.kind() != io::ErrorKind::InvalidData {
                return Err(e);
            }
            tracing::warn!(target: LOGGER, "Found a corrupted index file corresponding to log file {} due to {e}, recovering segment and rebuilding index files...", path.display());
            self.unindexed.push(base);
        } else if !has_time_index {
            segment.time_index().storage().create()?;
        }
        self.segments.insert(base, segment);
        Ok(())
    }

    /// Recovers one segment with the producer state of its base. Returns how many bytes were cut.
    fn recover_segment(&mut self, segment: &Arc<Segment>) -> io::Result<u64> {
        let open = self.open;
        let base = segment.base_offset();
        let carried = self.recovered.take().filter(|producers| producers.map_end_offset() == base);
        let mut producers = match carried {
            Some(producers) => producers,
            None => self.producers_at(base)?,
        };
        let cut = segment.recover(&mut producers, &mut self.epochs, &open.tp)?;
        // So that the next segment's recovery need not read this one again.
        producers.take_snapshot(true)?;
        self.recovered = Some(producers);
        Ok(cut)
    }

    /// Producer state at the base of a segment, from snapshots and the segments below.
    fn producers_at(&self, base: i64) -> io::Result<ProducerState> {
        let open = self.open;
        let mut producers = open.producer_state(&self.location)?;
        let below: Vec<Arc<Segment>> = self.segments.range(..base).map(|(_, s)| Arc::clone(s)).collect();
        let rebuild = Rebuild {
            segments: &below,
            tp: &open.tp,
            log_start_offset: open.log_start_checkpoint,
            end_offset: base,
            clean: false,
            now_ms: open.now_ms,
        };
        rebuild_producers(&mut producers, &rebuild)?;
        Ok(producers)
    }

    /// Recovers what may not be on the device. Returns (recovery point, log end offset).
    fn recover_log(&mut self) -> io::Result<(i64, i64)> {
        let open = self.open;
        self.recover_unindexed()?;
        if !open.had_clean_shutdown {
            self.recover_unflushed()?;
        }
        let end = match self.segments.last_key_value() {
            Some((_, last)) => Some(last.read_next_offset()?),
            None => None,
        };
        let end = match end {
            Some(end) if end < open.log_start_checkpoint => {
                tracing::warn!(target: LOGGER, "Deleting all segments because logEndOffset ({end}) is smaller than logStartOffset {}. This could happen if segment files were deleted from the file system.", open.log_start_checkpoint);
                for segment in std::mem::take(&mut self.segments).into_values() {
                    segment.remove_files()?;
                }
                self.epochs.clear_and_flush()?;
                open.producer_state(&self.location)?.truncate_fully_and_start_at(open.log_start_checkpoint)?;
                None
            }
            other => other,
        };
        if self.segments.is_empty() {
            self.create_first_segment()?;
        }
        match end {
            Some(end) if open.had_clean_shutdown => Ok((end, end)),
            // Only a flush may move the recovery point forward.
            Some(end) => Ok((open.recovery_point_checkpoint.min(end), end)),
            None => Ok((open.recovery_point_checkpoint.min(open.log_start_checkpoint), open.log_start_checkpoint)),
        }
    }

    fn create_first_segment(&mut self) -> io::Result<()> {
        let open = self.open;
        let preallocate = open.config.preallocate.then(|| u64::try_from(open.config.segment_bytes).unwrap_or(0));
        let settings = segment_settings(&open.config);
        let base = open.log_start_checkpoint;
        let segment = Segment::create(&open.context.disk, &self.location, base, preallocate, settings, open.now_ms)?;
        self.segments.insert(base, Arc::new(segment));
        Ok(())
    }

    /// Makes the indexes anew of segments that the recovery of what is unflushed will not come to. Kafka does it for
    /// all; but that reads the segments below, and what of them is not flushed may be damaged.
    fn recover_unindexed(&mut self) -> io::Result<()> {
        let first_unflushed = match self.open.had_clean_shutdown {
            true => None,
            false => self.unflushed().first().map(|segment| segment.base_offset()),
        };
        for base in std::mem::take(&mut self.unindexed) {
            if first_unflushed.is_none_or(|first| base < first)
                && let Some(segment) = self.segments.get(&base).cloned()
            {
                self.recover_segment(&segment)?;
            }
        }
        Ok(())
    }

    /// The segment with the recovery point, and those behind it.
    fn unflushed(&self) -> Vec<Arc<Segment>> {
        let mut all: Vec<Arc<Segment>> = self.segments.values().cloned().collect();
        let from = floor_segment(&all, self.open.recovery_point_checkpoint).unwrap_or(0);
        all.split_off(from.min(all.len()))
    }

    fn recover_unflushed(&mut self) -> io::Result<()> {
        let open = self.open;
        let unflushed = self.unflushed();
        let report = |left: usize| {
            if let Some(remaining) = open.remaining_segments {
                remaining.store(left, std::sync::atomic::Ordering::Relaxed);
            }
        };
        report(unflushed.len());
        for (done, segment) in unflushed.iter().enumerate() {
            let base = segment.base_offset();
            tracing::info!(target: LOGGER, "[LogLoader partition={}, dir={}] Recovering unflushed segment {base}. {done}/{} recovered for {}.", open.tp, open.log_dir.path().display(), unflushed.len(), open.tp);
            let cut = match self.recover_segment(segment) {
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!(target: LOGGER, "Found invalid offset during recovery. Deleting the corrupt segment and creating an empty one with starting offset {base}");
                    segment.truncate_to(base, open.now_ms)?
                }
                other => other?,
            };
            let later = &unflushed[done + 1..];
            if cut > 0 || self.is_hole_behind(segment, later.first())? {
                tracing::warn!(target: LOGGER, "[LogLoader partition={}, dir={}] Corruption found in segment {base}, truncating to offset {}", open.tp, open.log_dir.path().display(), segment.read_next_offset()?);
                for later in later {
                    self.segments.remove(&later.base_offset());
                    later.remove_files()?;
                }
                break;
            }
            report(later.len());
        }
        report(0);
        Ok(())
    }

    /// A file that was rolled before it was forced to the disk may come out of a loss of power shorter, or empty, and
    /// end between two batches by chance: nothing in it is wrong, but the next segment does not go on where it ends.
    /// Kafka takes no notice. Only the cleaner leaves such holes on purpose.
    fn is_hole_behind(&self, segment: &Segment, next: Option<&Arc<Segment>>) -> io::Result<bool> {
        match next {
            Some(next) if !self.open.config.cleanup_compact && !self.open.was_cleaned => {
                Ok(segment.read_next_offset()? < next.base_offset())
            }
            _ => Ok(false),
        }
    }
}

/// Input of `rebuild_producers`.
pub(super) struct Rebuild<'a> {
    pub segments: &'a [Arc<Segment>],
    pub tp: &'a TopicPartition,
    pub log_start_offset: i64,
    pub end_offset: i64,
    /// The log was closed cleanly.
    pub clean: bool,
    pub now_ms: i64,
}

/// Brings producer state to the end offset: from the newest usable snapshot, then by reading what is behind it.
pub(super) fn rebuild_producers(producers: &mut ProducerState, job: &Rebuild<'_>) -> io::Result<()> {
    let last_bases: Vec<i64> = job.segments.iter().rev().take(2).rev().map(|s| s.base_offset()).collect();
    if producers.snapshots().is_empty() && job.clean {
        // A log of before there were snapshots: no producers, and no scan of everything to learn that.
        for offset in last_bases.into_iter().chain([job.end_offset]) {
            producers.set_map_end_offset(offset);
            producers.take_snapshot(true)?;
        }
        return Ok(());
    }
    let was_empty = producers.is_empty() && producers.map_end_offset() >= job.end_offset;
    producers.truncate_and_reload(job.log_start_offset, job.end_offset, job.now_ms)?;
    if job.end_offset > producers.map_end_offset() && !was_empty {
        let first = floor_segment(job.segments, producers.map_end_offset()).unwrap_or(0);
        for segment in job.segments.get(first..).unwrap_or_default() {
            if segment.base_offset() >= job.end_offset {
                break;
            }
            let start = segment.base_offset().max(producers.map_end_offset()).max(job.log_start_offset);
            producers.set_map_end_offset(start);
            if last_bases.contains(&segment.base_offset()) {
                producers.take_snapshot(true)?;
            }
            replay_segment(producers, segment, start, job.tp)?;
        }
    }
    producers.set_map_end_offset(job.end_offset);
    producers.take_snapshot(true).map(|_| ())
}

fn replay_segment(producers: &mut ProducerState, segment: &Segment, start: i64, tp: &TopicPartition) -> io::Result<()> {
    let Some(first) = segment.translate(start)? else { return Ok(()) };
    let file = segment.file()?;
    let mut walk = WholeWalk::new(&*file, first.position, segment.size());
    while let Some(batch) = walk.next_batch()? {
        let batch = batch.map_err(io::Error::other)?;
        let entry = producer_batch(&batch).map_err(io::Error::other)?;
        replay_batch(None, producers, entry.as_ref(), batch.next_offset(), tp)?;
    }
    Ok(())
}
