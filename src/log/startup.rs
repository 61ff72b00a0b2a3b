//! Starting: the log dirs are checked, locked, and all their logs opened, several at a time.
//!
//! Answers to the constructor, `startup` and `loadLogs` of Kafka's `LogManager`. Runs once, before anything is shared.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use super::checkpoint::{self, CLEANER_OFFSET_FILE, HIGH_WATERMARK_FILE, LOG_START_OFFSET_FILE, RECOVERY_POINT_FILE};
use super::dirs::{self, DirKind, DirLock};
use super::error::LogError;
use super::loader::{LogContext, OpenLog};
use super::log_dir::{FailureHandler, LogDir};
use super::manager::{ClockMs, DirDeletion, DirState, LOGGER, LogManager, Table};
use super::partition_log::{Background, PartitionLog};
use super::producer_state::ProducerStateConfig;
use crate::config::LogConfig;
use crate::topic::TopicPartition;
use crate::util::disk::Disk;

/// What a manager is made of.
pub struct ManagerOptions {
    /// `log.dirs`, absolute.
    pub dirs: Vec<PathBuf>,
    /// Dirs that failed before, while reading `meta.properties`.
    pub offline_dirs: Vec<PathBuf>,
    /// Configuration of topics without one of their own.
    pub default_config: Arc<LogConfig>,
    pub topic_configs: HashMap<String, Arc<LogConfig>>,
    pub disk: Arc<dyn Disk>,
    pub background: Background,
    pub producers: ProducerStateConfig,
    /// Told once per failing dir; must not call back.
    pub on_dir_failure: FailureHandler,
    pub clock: ClockMs,
    /// `num.recovery.threads.per.data.dir`
    pub threads_per_dir: usize,
    /// `log.segment.delete.delay.ms`
    pub delete_delay_ms: i64,
}

/// Why a broker cannot start with its log dirs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("Duplicate log directory found: {0}")]
    DuplicateDir(String),
    #[error("Failed to acquire lock on file .lock in {}. A Kafka instance in another process or thread is using this directory.", .0.display())]
    Locked(PathBuf),
    #[error("Shutdown broker because none of the specified log dirs from {0} can be created or validated")]
    NoLiveDir(String),
    #[error("Duplicate log directories for {tp} are found in both {} and {}. It is likely because log directory failure happened while broker was replacing current replica with future replica. Recover broker from this failure by manually deleting one of the two directories for this partition. It is recommended to delete the partition in the log directory that is known to have failed recently.", first.display(), second.display())]
    DuplicateLog { tp: TopicPartition, first: PathBuf, second: PathBuf },
    #[error("There was an error in one of the threads during logs loading: {0}")]
    Load(#[from] LogError),
}

/// One partition directory found in a log dir.
struct Found {
    tp: TopicPartition,
    kind: DirKind,
    path: PathBuf,
}

/// Checkpoints and marker of one dir, as they were found.
struct Before {
    clean: bool,
    recovery_points: HashMap<TopicPartition, i64>,
    log_starts: HashMap<TopicPartition, i64>,
    /// `None`: the file makes no sense, and any log may have been cleaned.
    cleaned: Option<HashMap<TopicPartition, i64>>,
    found: Vec<Found>,
}

impl LogManager {
    /// Opens everything. A dir that fails goes offline and the others go on; what is no failure of a disk ends the
    /// start.
    pub fn start(options: ManagerOptions) -> Result<Arc<LogManager>, StartError> {
        let disk = Arc::clone(&options.disk);
        let all = options.dirs.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(", ");
        let log_dirs = validate_dirs(&options, &all)?;
        let locks = lock_dirs(&*disk, &log_dirs)?;
        if log_dirs.iter().all(|d| d.is_offline()) {
            return Err(StartError::NoLiveDir(all));
        }
        let context = LogContext {
            disk: Arc::clone(&disk),
            background: Arc::clone(&options.background),
            producers: options.producers,
        };
        let mut manager = LogManager {
            context,
            clock: Arc::clone(&options.clock),
            delete_delay_ms: options.delete_delay_ms,
            default_config: ArcSwap::new(Arc::clone(&options.default_config)),
            topic_configs: RwLock::new(options.topic_configs),
            dirs: Vec::new(),
            table: RwLock::new(Table::default()),
            changing: Mutex::new(()),
            closed: AtomicBool::new(false),
            to_delete: Mutex::new(Vec::new()),
            threads_per_dir: options.threads_per_dir,
        };
        let now_ms = (manager.clock)();
        let results: Vec<Result<bool, StartError>> = std::thread::scope(|scope| {
            let manager = &manager;
            let loads: Vec<_> = log_dirs.iter().map(|dir| scope.spawn(move || manager.load_dir(dir, now_ms))).collect();
            loads.into_iter().map(|load| load.join().unwrap_or_else(|_| Err(panicked()))).collect()
        });
        for ((dir, lock), result) in log_dirs.into_iter().zip(locks).zip(results) {
            let had_clean_marker = result?;
            let loaded = !dir.is_offline();
            let marks = high_watermarks(&*disk, &dir);
            manager.dirs.push(DirState {
                dir,
                lock: Mutex::new(lock),
                had_clean_marker,
                loaded,
                high_watermarks: Mutex::new(marks),
                checkpointing: Mutex::new(()),
            });
        }
        if manager.dirs.iter().all(|d| d.dir.is_offline()) {
            return Err(StartError::NoLiveDir(all));
        }
        let failed: Vec<PathBuf> =
            manager.dirs.iter().filter(|d| d.dir.is_offline()).map(|d| d.dir.path().to_owned()).collect();
        for dir in failed {
            manager.handle_dir_failure(&dir);
        }
        let manager = Arc::new(manager);
        for (at, dir) in manager.dirs.iter().enumerate() {
            let manager = Arc::downgrade(&manager);
            dir.dir.set_checkpointer(Box::new(move || {
                if let Some(manager) = manager.upgrade() {
                    // Failures take the dir offline and are logged there.
                    let _ = manager.checkpoint_recovery_points_in(&manager.dirs[at]);
                }
            }));
        }
        Ok(manager)
    }

    /// Loads one dir; returns whether it had the clean marker. Only errors that end the start come out.
    fn load_dir(&self, dir: &Arc<LogDir>, now_ms: i64) -> Result<bool, StartError> {
        if dir.is_offline() {
            return Ok(false);
        }
        let before = match self.survey(dir.path()) {
            Ok(before) => before?,
            Err(e) => {
                dir.fail("Error while loading log dir", &e);
                return Ok(false);
            }
        };
        let how = if before.clean { "clean" } else { "unclean" };
        tracing::info!(target: LOGGER, "Loading {} logs of {} after {how} shutdown", before.found.len(), dir.path().display());
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<StartError>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..self.threads_per_dir.clamp(1, before.found.len().max(1)) {
                scope.spawn(|| {
                    while let Some(found) = before.found.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if dir.is_offline() || failure.lock().is_some() {
                            return;
                        }
                        if let Err(e) = self.load_log(dir, found, &before, now_ms) {
                            failure.lock().get_or_insert(e);
                        }
                    }
                });
            }
        });
        match failure.into_inner() {
            Some(e) => Err(e),
            None => Ok(before.clean),
        }
    }

    /// What is in a dir. The marker is gone afterwards.
    fn survey(&self, path: &Path) -> io::Result<Result<Before, StartError>> {
        let disk = &*self.context.disk;
        let clean = dirs::take_clean_marker(disk, path)?;
        let lenient = |file: &str| {
            checkpoint::read_offsets(disk, &path.join(file)).unwrap_or_else(|e| {
                tracing::warn!(target: LOGGER, "Error occurred while reading {file} file of directory {}, resetting the recovery checkpoint to 0: {e}", path.display());
                HashMap::new()
            })
        };
        let (recovery_points, log_starts) = (lenient(RECOVERY_POINT_FILE), lenient(LOG_START_OFFSET_FILE));
        let cleaned = checkpoint::read_offsets(disk, &path.join(CLEANER_OFFSET_FILE)).inspect_err(|e| {
            tracing::warn!(target: LOGGER, "Error occurred while reading {CLEANER_OFFSET_FILE} file of directory {}, taking all its logs for cleaned: {e}", path.display());
        });
        let mut found = Vec::new();
        for item in disk.list(path)?.into_iter().filter(|i| i.is_dir && !dirs::is_skipped(&i.name)) {
            match dirs::parse_dir_name(&item.name) {
                Ok((tp, kind)) => found.push(Found { tp, kind, path: path.join(&item.name) }),
                Err(e) => return Ok(Err(e.into())),
            }
        }
        Ok(Ok(Before { clean, recovery_points, log_starts, cleaned: cleaned.ok(), found }))
    }

    fn load_log(&self, dir: &Arc<LogDir>, found: &Found, before: &Before, now_ms: i64) -> Result<(), StartError> {
        match found.kind {
            DirKind::Stray => return Ok(()),
            DirKind::Delete => {
                let due_ms = now_ms.saturating_add(self.delete_delay_ms);
                let deletion = DirDeletion { due_ms, path: found.path.clone(), dir: Arc::clone(dir), log: None };
                self.to_delete.lock().push(deletion);
                return Ok(());
            }
            DirKind::Current | DirKind::Future => {}
        }
        let open = OpenLog {
            context: &self.context,
            log_dir: dir,
            dir: &found.path,
            tp: found.tp.clone(),
            config: self.topic_config(&found.tp.topic),
            is_future: found.kind == DirKind::Future,
            log_start_checkpoint: before.log_starts.get(&found.tp).copied().unwrap_or(0),
            was_cleaned: before.cleaned.as_ref().is_none_or(|cleaned| cleaned.contains_key(&found.tp)),
            recovery_point_checkpoint: before.recovery_points.get(&found.tp).copied().unwrap_or(0),
            had_clean_shutdown: before.clean,
            remaining_segments: None,
            now_ms,
        };
        let log = match open.open() {
            Ok(log) => log,
            // The dir is offline now.
            Err(e) if e.is_storage() => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        self.register(found, log)
    }

    fn register(&self, found: &Found, log: Arc<PartitionLog>) -> Result<(), StartError> {
        let mut table = self.table.write();
        let logs = if found.kind == DirKind::Future { &mut table.future } else { &mut table.current };
        match logs.insert(found.tp.clone(), log) {
            None => Ok(()),
            Some(other) => {
                Err(StartError::DuplicateLog { tp: found.tp.clone(), first: found.path.clone(), second: other.dir() })
            }
        }
    }
}

fn panicked() -> StartError {
    StartError::Load(LogError::Invalid("a loading thread ended abnormally".into()))
}

/// Makes missing dirs; those that cannot be used are offline from the beginning.
fn validate_dirs(options: &ManagerOptions, all: &str) -> Result<Vec<Arc<LogDir>>, StartError> {
    let mut seen = HashSet::new();
    let mut dirs_out = Vec::new();
    for path in &options.dirs {
        let dir = LogDir::new(path.clone(), Arc::clone(&options.on_dir_failure));
        let checked = if options.offline_dirs.contains(path) {
            Err(io::Error::other(format!("Failed to load {} during broker startup", path.display())))
        } else {
            dirs::create_and_validate(&*options.disk, path)
        };
        match checked {
            Ok(()) if !seen.insert(dirs::canonical(path)) => return Err(StartError::DuplicateDir(all.to_owned())),
            Ok(()) => {}
            Err(e) => dir.fail("Failed to create or validate data directory", &e),
        }
        dirs_out.push(dir);
    }
    Ok(dirs_out)
}

/// One lock per live dir. A dir in use elsewhere ends the start.
fn lock_dirs(disk: &dyn Disk, log_dirs: &[Arc<LogDir>]) -> Result<Vec<Option<DirLock>>, StartError> {
    let mut locks = Vec::new();
    for dir in log_dirs {
        if dir.is_offline() {
            locks.push(None);
            continue;
        }
        match DirLock::try_acquire(disk, dir.path()) {
            Ok(Some(lock)) => locks.push(Some(lock)),
            Ok(None) => return Err(StartError::Locked(dir.path().to_owned())),
            Err(e) => {
                dir.fail("Disk error while locking directory", &e);
                locks.push(None);
            }
        }
    }
    Ok(locks)
}

/// The high watermarks of a dir; a file that makes no sense takes the dir offline.
fn high_watermarks(disk: &dyn Disk, dir: &LogDir) -> HashMap<TopicPartition, i64> {
    if dir.is_offline() {
        return HashMap::new();
    }
    checkpoint::read_offsets(disk, &dir.path().join(HIGH_WATERMARK_FILE)).unwrap_or_else(|e| {
        dir.fail("Error while reading the high watermark checkpoint", &e);
        HashMap::new()
    })
}
