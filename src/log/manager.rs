//! All logs of a broker: finding them, making them, deleting them, and the directories they are in.
//!
//! Answers to Kafka's `LogManager`. Starting is in `startup`, periodic work and stopping in `maintenance`; this file has
//! the table. State and locks: one read-write lock around the table (never held across a system call), one mutex that
//! orders creation and deletion of logs (held across them), one mutex per log dir around its checkpoint files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::checkpoint;
use super::dirs::{self, DirLock};
use super::error::LogError;
use super::loader::{LogContext, OpenLog};
use super::log_dir::LogDir;
use super::partition_log::PartitionLog;
use crate::config::LogConfig;
use crate::topic::TopicPartition;

pub(super) const LOGGER: &str = "kafka.log.LogManager";

/// Milliseconds since the epoch.
pub type ClockMs = Arc<dyn Fn() -> i64 + Send + Sync>;

/// One log dir with what belongs to it alone.
#[derive(Debug)]
pub(super) struct DirState {
    pub dir: Arc<LogDir>,
    /// `None` once released.
    pub lock: Mutex<Option<DirLock>>,
    pub had_clean_marker: bool,
    /// All logs of the dir were loaded, so a clean marker may be written at the end.
    pub loaded: bool,
    /// High watermarks as last written or read; also orders writers of the checkpoint files.
    pub high_watermarks: Mutex<HashMap<TopicPartition, i64>>,
    pub checkpointing: Mutex<()>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub current: HashMap<TopicPartition, Arc<PartitionLog>>,
    pub future: HashMap<TopicPartition, Arc<PartitionLog>>,
    /// Where the next replica of a partition is to be put.
    pub preferred: HashMap<TopicPartition, PathBuf>,
}

/// A partition directory waiting to be removed.
#[derive(Debug)]
pub(super) struct DirDeletion {
    pub due_ms: i64,
    pub path: PathBuf,
    pub dir: Arc<LogDir>,
    pub log: Option<Arc<PartitionLog>>,
}

pub struct LogManager {
    pub(super) context: LogContext,
    pub(super) clock: ClockMs,
    /// `log.segment.delete.delay.ms`
    pub(super) delete_delay_ms: i64,
    pub(super) default_config: ArcSwap<LogConfig>,
    pub(super) topic_configs: RwLock<HashMap<String, Arc<LogConfig>>>,
    pub(super) dirs: Vec<DirState>,
    pub(super) table: RwLock<Table>,
    /// Orders creation and deletion.
    pub(super) changing: Mutex<()>,
    /// Shut down: what is written from now on would not be covered by the mark of a clean shutdown.
    pub(super) closed: AtomicBool,
    pub(super) to_delete: Mutex<Vec<DirDeletion>>,
    /// `num.recovery.threads.per.data.dir`, also used for closing.
    pub(super) threads_per_dir: usize,
}

impl std::fmt::Debug for LogManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogManager").field("dirs", &self.dirs).finish_non_exhaustive()
    }
}

impl LogManager {
    /// Whether it was shut down: nothing is written any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The log of a partition.
    pub fn get(&self, tp: &TopicPartition) -> Option<Arc<PartitionLog>> {
        self.table.read().current.get(tp).cloned()
    }

    /// The log a partition is being moved to.
    pub fn get_future(&self, tp: &TopicPartition) -> Option<Arc<PartitionLog>> {
        self.table.read().future.get(tp).cloned()
    }

    /// All current logs.
    pub fn logs(&self) -> Vec<Arc<PartitionLog>> {
        self.table.read().current.values().cloned().collect()
    }

    /// Whether all log dirs bore the mark of a clean shutdown when they were opened.
    pub fn was_shut_down_cleanly(&self) -> bool {
        self.dirs.iter().all(|dir| dir.had_clean_marker)
    }

    /// All current and future logs.
    pub fn all_logs(&self) -> Vec<Arc<PartitionLog>> {
        let table = self.table.read();
        table.current.values().chain(table.future.values()).cloned().collect()
    }

    /// The configured dirs with whether they are online.
    pub fn log_dirs(&self) -> Vec<(PathBuf, bool)> {
        self.dirs.iter().map(|d| (d.dir.path().to_owned(), !d.dir.is_offline())).collect()
    }

    pub fn has_offline_dirs(&self) -> bool {
        self.dirs.iter().any(|d| d.dir.is_offline())
    }

    fn offline_dirs(&self) -> String {
        let offline = self.dirs.iter().filter(|d| d.dir.is_offline());
        offline.map(|d| d.dir.path().display().to_string()).collect::<Vec<_>>().join(",")
    }

    pub(super) fn dir_of(&self, log: &PartitionLog) -> Option<&DirState> {
        self.dirs.iter().find(|d| Arc::ptr_eq(&d.dir, log.log_dir()))
    }

    /// The configuration a topic's logs have.
    pub fn topic_config(&self, topic: &str) -> Arc<LogConfig> {
        let own = self.topic_configs.read().get(topic).cloned();
        own.unwrap_or_else(|| self.default_config.load_full())
    }

    /// The topics that have a configuration of their own.
    pub fn topic_configs(&self) -> Vec<(String, Arc<LogConfig>)> {
        self.topic_configs.read().iter().map(|(topic, config)| (topic.clone(), config.clone())).collect()
    }

    /// Gives a topic its own configuration, or takes it away, for its logs and for those to come.
    pub fn set_topic_config(&self, topic: &str, config: Option<Arc<LogConfig>>) {
        match config {
            Some(config) => self.topic_configs.write().insert(topic.to_owned(), config),
            None => self.topic_configs.write().remove(topic),
        };
        let config = self.topic_config(topic);
        for log in self.all_logs().iter().filter(|l| &*l.topic_partition().topic == topic) {
            log.set_config(Arc::clone(&config));
        }
    }

    /// Changes the configuration of all topics without one of their own. Those with one must be set again.
    pub fn set_default_config(&self, config: Arc<LogConfig>) {
        self.default_config.store(config);
        for log in self.all_logs() {
            log.set_config(self.topic_config(&log.topic_partition().topic));
        }
    }

    /// Remembers where a partition's next replica is to be put (AlterReplicaLogDirs).
    pub fn set_preferred_dir(&self, tp: &TopicPartition, dir: &Path) -> Result<(), LogError> {
        let known = self.dirs.iter().find(|d| d.dir.path() == dir);
        let Some(known) = known else {
            return Err(LogError::Invalid(format!("Log dir {} is not found in the config.", dir.display())));
        };
        known.dir.check()?;
        let mut table = self.table.write();
        // A log that is there already needs no preference.
        if table.current.get(tp).is_none_or(|log| log.log_dir().path() != dir) {
            table.preferred.insert(tp.clone(), dir.to_owned());
        }
        Ok(())
    }

    /// The high watermark a partition had when it was last written down; 0 when it was not.
    pub fn checkpointed_high_watermark(&self, tp: &TopicPartition) -> i64 {
        let log = self.get(tp);
        let dir = log.as_ref().and_then(|log| self.dir_of(log));
        dir.and_then(|d| d.high_watermarks.lock().get(tp).copied()).unwrap_or(0)
    }

    /// The log of a partition, made when there is none. A replica that is not new is not made while a dir is offline,
    /// for it may be there.
    pub fn get_or_create(
        &self,
        tp: &TopicPartition,
        is_new: bool,
        topic_id: Option<Uuid>,
    ) -> Result<Arc<PartitionLog>, LogError> {
        let _changing = self.changing.lock();
        if let Some(log) = self.get(tp) {
            self.match_topic_id(&log, topic_id)?;
            return Ok(log);
        }
        if !is_new && self.has_offline_dirs() {
            return Err(LogError::NoLogDir(format!(
                "Can not create log for {tp} because log directories {} are offline",
                self.offline_dirs()
            )));
        }
        let log = self.create(tp, &dirs::current_dir_name(tp), self.candidates(tp), false)?;
        if let Some(id) = topic_id {
            log.set_topic_id(id)?;
        }
        let mut table = self.table.write();
        table.preferred.remove(tp);
        table.current.insert(tp.clone(), Arc::clone(&log));
        Ok(log)
    }

    /// The log a partition is moved to, made in its preferred dir when there is none.
    pub fn get_or_create_future(&self, tp: &TopicPartition) -> Result<Arc<PartitionLog>, LogError> {
        let _changing = self.changing.lock();
        if let Some(log) = self.get_future(tp) {
            return Ok(log);
        }
        let preferred = self.table.read().preferred.get(tp).cloned();
        let Some(dir) = preferred.and_then(|p| self.dirs.iter().find(|d| d.dir.path() == p)) else {
            return Err(LogError::Invalid(format!(
                "Can not create the future log for {tp} without having a preferred log directory"
            )));
        };
        if self.get(tp).is_some_and(|log| Arc::ptr_eq(log.log_dir(), &dir.dir)) {
            return Err(LogError::Invalid(format!(
                "Can not create the future log for {tp} in the current log directory of this partition"
            )));
        }
        let log = self.create(tp, &dirs::future_dir_name(tp)?, vec![Arc::clone(&dir.dir)], true)?;
        let mut table = self.table.write();
        table.preferred.remove(tp);
        table.future.insert(tp.clone(), Arc::clone(&log));
        Ok(log)
    }

    fn match_topic_id(&self, log: &PartitionLog, topic_id: Option<Uuid>) -> Result<(), LogError> {
        match (topic_id, log.topic_id()) {
            (Some(expected), Some(found)) if expected != found => Err(LogError::InconsistentTopicId {
                tp: log.topic_partition().clone(),
                expected: crate::topic::id_to_text(expected),
                found: crate::topic::id_to_text(found),
            }),
            _ => Ok(()),
        }
    }

    /// Where a new log may go: the preferred dir alone, or all live ones, the emptiest first.
    fn candidates(&self, tp: &TopicPartition) -> Vec<Arc<LogDir>> {
        let table = self.table.read();
        if let Some(preferred) = table.preferred.get(tp) {
            return self.dirs.iter().filter(|d| d.dir.path() == preferred).map(|d| Arc::clone(&d.dir)).collect();
        }
        let logs = || table.current.values().chain(table.future.values());
        let load = |dir: &Arc<LogDir>| logs().filter(|log| Arc::ptr_eq(log.log_dir(), dir)).count();
        let mut live: Vec<Arc<LogDir>> =
            self.dirs.iter().filter(|d| !d.dir.is_offline()).map(|d| Arc::clone(&d.dir)).collect();
        live.sort_by_cached_key(load);
        live
    }

    fn create(
        &self,
        tp: &TopicPartition,
        name: &str,
        candidates: Vec<Arc<LogDir>>,
        is_future: bool,
    ) -> Result<Arc<PartitionLog>, LogError> {
        if self.is_closed() {
            return Err(LogError::Closed(tp.clone()));
        }
        let mut last = LogError::NoLogDir(format!("No log directories available. Tried {}", self.offline_dirs()));
        for log_dir in candidates {
            if log_dir.is_offline() {
                last = LogError::NoLogDir(format!(
                    "Can not create log {name} because log directory {} is offline",
                    log_dir.path().display()
                ));
                continue;
            }
            let dir = log_dir.path().join(name);
            let open = OpenLog {
                context: &self.context,
                log_dir: &log_dir,
                dir: &dir,
                tp: tp.clone(),
                config: self.topic_config(&tp.topic),
                is_future,
                log_start_checkpoint: 0,
                was_cleaned: false,
                recovery_point_checkpoint: 0,
                had_clean_shutdown: true,
                remaining_segments: None,
                now_ms: (self.clock)(),
            };
            match open.open() {
                Ok(log) => {
                    tracing::info!(target: LOGGER, "Created log for partition {tp} in {}", dir.display());
                    return Ok(log);
                }
                // That dir is offline now; the next one may do.
                Err(e) if e.is_storage() => last = e,
                Err(e) => return Err(e),
            }
        }
        Err(last)
    }

    /// Takes a log away: its directory is renamed at once and removed later. `Ok` when there is none, unless it may be
    /// in a dir that is offline.
    pub fn async_delete(&self, tp: &TopicPartition, now_ms: i64) -> Result<(), LogError> {
        let _changing = self.changing.lock();
        let removed = {
            let mut table = self.table.write();
            table.preferred.remove(tp);
            [table.current.remove(tp), table.future.remove(tp)]
        };
        let mut any = false;
        for log in removed.into_iter().flatten() {
            any = true;
            self.delete_log(&log, now_ms)?;
        }
        if !any && self.has_offline_dirs() {
            return Err(LogError::NoLogDir(format!(
                "Failed to delete log for {tp} because it may be in one of the offline directories {}",
                self.offline_dirs()
            )));
        }
        Ok(())
    }

    /// Gives up a move between log dirs: only the future log is deleted.
    pub fn delete_future(&self, tp: &TopicPartition, now_ms: i64) -> Result<(), LogError> {
        let _changing = self.changing.lock();
        let removed = self.table.write().future.remove(tp);
        removed.map_or(Ok(()), |log| self.delete_log(&log, now_ms))
    }

    fn delete_log(&self, log: &Arc<PartitionLog>, now_ms: i64) -> Result<(), LogError> {
        let tp = log.topic_partition();
        log.abandon();
        self.rename_log(log, &dirs::delete_dir_name(tp))?;
        self.to_delete.lock().push(DirDeletion {
            due_ms: now_ms.saturating_add(self.delete_delay_ms),
            path: log.dir(),
            dir: Arc::clone(log.log_dir()),
            log: Some(Arc::clone(log)),
        });
        if let Some(dir) = self.dir_of(log) {
            dir.high_watermarks.lock().remove(tp);
            self.checkpoint_dir(dir)?;
            self.forget_cleaned(dir, tp)?;
        }
        tracing::info!(target: LOGGER, "Log for partition {tp} is renamed to {} and is scheduled for deletion", log.dir().display());
        Ok(())
    }

    fn rename_log(&self, log: &PartitionLog, name: &str) -> Result<(), LogError> {
        let to = log.log_dir().path().join(name);
        let renamed = self.context.disk.rename(&log.dir(), &to);
        let synced = renamed.and_then(|()| self.context.disk.sync_dir(log.log_dir().path()));
        synced.map_err(|e| {
            log.log_dir().storage(e, || format!("Error while renaming dir for {}", log.topic_partition()))
        })?;
        log.location.set_dir(&to);
        Ok(())
    }

    /// Ends a move: the future log becomes the current one, the old one is deleted. The caller has stopped appends.
    pub fn replace_current_with_future(&self, tp: &TopicPartition, now_ms: i64) -> Result<(), LogError> {
        let _changing = self.changing.lock();
        let Some(future) = self.get_future(tp) else {
            return Err(LogError::Invalid(format!("The future replica for {tp} is offline")));
        };
        self.rename_log(&future, &dirs::current_dir_name(tp))?;
        future.is_future.store(false, std::sync::atomic::Ordering::Release);
        let old = {
            let mut table = self.table.write();
            table.future.remove(tp);
            table.current.insert(tp.clone(), Arc::clone(&future))
        };
        match old {
            Some(old) => self.delete_log(&old, now_ms),
            None => Ok(()),
        }
    }

    /// Stops serving the logs of a failed dir; returns their partitions. Call after the failure handler fired.
    pub fn handle_dir_failure(&self, path: &Path) -> Vec<TopicPartition> {
        let Some(dir) = self.dirs.iter().find(|d| d.dir.path() == path) else { return Vec::new() };
        tracing::warn!(target: LOGGER, "Stopping serving logs in dir {}", path.display());
        let mut gone = Vec::new();
        let mut take = |logs: &mut HashMap<TopicPartition, Arc<PartitionLog>>| {
            logs.retain(|tp, log| {
                let stays = !Arc::ptr_eq(log.log_dir(), &dir.dir);
                if !stays {
                    gone.push((tp.clone(), Arc::clone(log)));
                }
                stays
            });
        };
        {
            let mut table = self.table.write();
            let Table { current, future, .. } = &mut *table;
            take(current);
            take(future);
        }
        *dir.lock.lock() = None;
        gone.into_iter()
            .map(|(tp, log)| {
                log.abandon();
                tp
            })
            .collect()
    }

    /// Rewrites the recovery-point and log-start checkpoints of one dir.
    pub(super) fn checkpoint_dir(&self, dir: &DirState) -> Result<(), LogError> {
        self.checkpoint_recovery_points_in(dir)?;
        self.checkpoint_log_starts_in(dir)
    }

    pub(super) fn logs_in(&self, dir: &DirState) -> Vec<Arc<PartitionLog>> {
        self.all_logs().into_iter().filter(|log| Arc::ptr_eq(log.log_dir(), &dir.dir)).collect()
    }

    pub(super) fn write_checkpoint<'a>(
        &self,
        dir: &DirState,
        file: &str,
        entries: impl IntoIterator<Item = (&'a TopicPartition, i64)>,
    ) -> Result<(), LogError> {
        dir.dir.check()?;
        checkpoint::write_offsets(&*self.context.disk, &dir.dir.path().join(file), entries)
            .map_err(|e| dir.dir.storage(e, || format!("Disk error while writing to {file} file")))
    }
}
