//! One `log.dirs` entry while the broker runs: its path and whether it still works.
//!
//! The first failing system call takes a dir offline for the life of the process; whoever registered hears of it once.
//! Answers to Kafka's `LogDirFailureChannel`. Locks: none but the callback's own.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::error::LogError;

/// Called once per dir, on the thread that met the failure; must not block or call back into the log layer.
pub type FailureHandler = Arc<dyn Fn(&Path) + Send + Sync>;

pub struct LogDir {
    path: PathBuf,
    offline: AtomicBool,
    on_failure: FailureHandler,
    /// Writes the recovery points down at once; set by the manager.
    checkpointer: OnceLock<Checkpointer>,
}

pub(super) type Checkpointer = Box<dyn Fn() + Send + Sync>;

impl fmt::Debug for LogDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogDir({}, offline: {})", self.path.display(), self.is_offline())
    }
}

impl LogDir {
    pub fn new(path: PathBuf, on_failure: FailureHandler) -> Arc<LogDir> {
        Arc::new(LogDir { path, offline: AtomicBool::new(false), on_failure, checkpointer: OnceLock::new() })
    }

    /// Sets what writes the recovery points of the dir down; once.
    pub(super) fn set_checkpointer(&self, checkpointer: Checkpointer) {
        let _ = self.checkpointer.set(checkpointer);
    }

    /// A log was cut below its recovery point: a crash must not find the old one. Not under a log's lock.
    pub(super) fn recovery_points_fell(&self) {
        if let Some(checkpointer) = self.checkpointer.get() {
            checkpointer();
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Acquire)
    }

    /// An error if the dir is offline.
    pub fn check(&self) -> Result<(), LogError> {
        if self.is_offline() { Err(LogError::Offline(self.path.clone())) } else { Ok(()) }
    }

    /// Takes the dir offline.
    pub fn fail(&self, context: &str, error: &io::Error) {
        if !self.offline.swap(true, Ordering::AcqRel) {
            tracing::error!(target: "kafka.server.LogDirFailureChannel", "{context} in dir {}: {error}", self.path.display());
            (self.on_failure)(&self.path);
        }
    }

    /// Turns a failed system call into an error, and takes the dir offline. Complaints about contents
    /// (`InvalidData`, `InvalidInput`) and refusals of our own are no failure of the disk.
    pub fn storage(&self, error: io::Error, context: impl FnOnce() -> String) -> LogError {
        let about_content = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput);
        if about_content || (error.kind() == io::ErrorKind::Other && error.raw_os_error().is_none()) {
            return LogError::Invalid(error.to_string());
        }
        let context = context();
        self.fail(&context, &error);
        LogError::Storage { dir: self.path.clone(), context, source: Arc::new(error) }
    }
}
