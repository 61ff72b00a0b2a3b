//! Where the files of one log are, and files opened when they are first needed.
//!
//! A partition directory can be renamed while it is in use (deletion, a finished move between log dirs) and a segment's
//! files get suffixes; everything that opens a file asks here for its present path. Locks: one short lock around the
//! path, one around each file's handle; never held across a read or write of data.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::util::disk::{Disk, DiskFile, OpenMode};

/// The present directory of a log.
#[derive(Debug)]
pub struct LogLocation {
    dir: RwLock<PathBuf>,
}

impl LogLocation {
    pub fn shared(dir: &Path) -> Arc<LogLocation> {
        Arc::new(LogLocation { dir: RwLock::new(dir.to_owned()) })
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.read().clone()
    }

    pub fn set_dir(&self, dir: &Path) {
        *self.dir.write() = dir.to_owned();
    }

    /// Path of a file in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.read().join(name)
    }
}

/// `%020d<suffix>`, the name of a file that belongs to an offset.
pub fn offset_file_name(offset: i64, suffix: &str) -> String {
    format!("{offset:020}{suffix}")
}

/// A file of a segment: opened at first use, closed again when idle.
#[derive(Debug)]
pub struct LazyFile {
    disk: Arc<dyn Disk>,
    location: Arc<LogLocation>,
    name: Mutex<String>,
    handle: Mutex<Option<Arc<dyn DiskFile>>>,
    touched: AtomicBool,
}

impl LazyFile {
    pub fn new(disk: Arc<dyn Disk>, location: Arc<LogLocation>, name: String) -> LazyFile {
        LazyFile { disk, location, name: Mutex::new(name), handle: Mutex::new(None), touched: AtomicBool::new(false) }
    }

    pub fn path(&self) -> PathBuf {
        self.location.file(&self.name.lock())
    }

    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub fn exists(&self) -> bool {
        self.handle.lock().is_some() || self.disk.exists(&self.path())
    }

    /// The open file; an error of kind `NotFound` when there is none.
    pub fn open(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.open_as(OpenMode::Write)
    }

    /// The open file, made empty when there was none.
    pub fn create(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.open_as(OpenMode::Create)
    }

    fn open_as(&self, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.touched.store(true, Ordering::Relaxed);
        let mut handle = self.handle.lock();
        if let Some(file) = &*handle {
            return Ok(Arc::clone(file));
        }
        let opened = match self.disk.open(&self.path(), mode) {
            // The directory may have been renamed between asking for its path and opening.
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.disk.open(&self.path(), mode)?,
            other => other?,
        };
        *handle = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Length in bytes; 0 when the file does not exist.
    pub fn len(&self) -> io::Result<u64> {
        if let Some(file) = &*self.handle.lock() {
            return file.len();
        }
        match self.disk.stat(&self.path()) {
            Ok(stat) => Ok(stat.len),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(e) => Err(e),
        }
    }

    /// Gives the file a new name in the same directory; a missing file only changes the name.
    pub fn rename(&self, new_name: String) -> io::Result<()> {
        let mut name = self.name.lock();
        match self.disk.rename(&self.location.file(&name), &self.location.file(&new_name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        *name = new_name;
        Ok(())
    }

    /// Removes the file, if it is there.
    pub fn remove(&self) -> io::Result<bool> {
        *self.handle.lock() = None;
        self.disk.remove_if_exists(&self.path())
    }

    /// fsync, if the file exists.
    pub fn sync(&self) -> io::Result<()> {
        match self.open() {
            Ok(file) => file.sync(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Drops the handle; readers that hold it keep theirs.
    pub fn close(&self) {
        *self.handle.lock() = None;
    }

    /// Drops the handle unless it was used since the last call. Returns whether it closed one.
    pub fn close_if_idle(&self) -> bool {
        !self.touched.swap(false, Ordering::Relaxed) && self.handle.lock().take().is_some()
    }
}
