//! A broker's disk in memory, which knows what was synced: a crash of the process keeps everything, a crash of the machine
//! may lose whatever was not. Names go as with a file system that keeps a journal: every sync writes it down to its end, and
//! a crash keeps some beginning of the rest.
//!
//! Each life of the broker opens the disk anew; what an earlier life still tries fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla::util::disk::{DirItem, Disk, DiskFile, FileLock, FileStat, OpenMode};
use parking_lot::Mutex;

use crate::process::Process;
use crate::random::Random;

#[derive(Debug, Default)]
struct Inode {
    data: Vec<u8>,
    /// As of the last sync.
    synced: Vec<u8>,
    dirty: bool,
    modified_ms: i64,
}

type File = Arc<Mutex<Inode>>;

/// A change of names.
#[derive(Clone, Debug)]
enum Change {
    Made(PathBuf, File),
    MadeDir(PathBuf),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, File>,
    dirs: BTreeSet<PathBuf>,
}

impl Names {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Made(path, file) => drop(self.files.insert(path.clone(), file.clone())),
            Change::MadeDir(path) => drop(self.dirs.insert(path.clone())),
            Change::Renamed(from, to) => {
                for (path, file) in self.take(from) {
                    self.files.insert(moved(&path, from, to), file);
                }
                for path in self.take_dirs(from) {
                    self.dirs.insert(moved(&path, from, to));
                }
            }
            Change::Removed(path) => {
                self.take(path);
                self.take_dirs(path);
            }
        }
    }

    fn take(&mut self, path: &Path) -> Vec<(PathBuf, File)> {
        let paths: Vec<PathBuf> = below(self.files.range(path.to_owned()..).map(|(p, _)| p), path);
        paths.into_iter().filter_map(|p| self.files.remove_entry(&p)).collect()
    }

    fn take_dirs(&mut self, path: &Path) -> Vec<PathBuf> {
        let paths = below(self.dirs.range(path.to_owned()..), path);
        self.dirs.retain(|dir| !dir.starts_with(path));
        paths
    }
}

fn below<'a>(paths: impl Iterator<Item = &'a PathBuf>, root: &Path) -> Vec<PathBuf> {
    paths.take_while(|p| p.starts_with(root)).cloned().collect()
}

fn moved(path: &Path, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
        Ok(rest) => to.join(rest),
        Err(_) => path.to_owned(),
    }
}

#[derive(Debug, Default)]
struct State {
    now: Names,
    synced: Names,
    journal: Vec<Change>,
    /// Writes until the process dies in the midst of them.
    fuse: Option<u64>,
}

impl State {
    fn change(&mut self, change: Change) {
        self.now.apply(&change);
        self.journal.push(change);
    }

    fn sync_names(&mut self) {
        for change in std::mem::take(&mut self.journal) {
            self.synced.apply(&change);
        }
    }
}

/// The disk of a broker, over all its lives.
#[derive(Clone, Default)]
pub struct Platter {
    state: Arc<Mutex<State>>,
}

impl Platter {
    /// The disk for one life.
    pub fn open(&self, process: &Arc<Process>) -> Arc<dyn Disk> {
        self.state.lock().fuse = None;
        Arc::new(SimDisk { state: self.state.clone(), process: process.clone() })
    }

    /// Kills the process at the `writes`-th change from now.
    pub fn set_fuse(&self, writes: u64) {
        self.state.lock().fuse = Some(writes);
    }

    pub fn has_fuse(&self) -> bool {
        self.state.lock().fuse.is_some()
    }

    pub fn clear_fuse(&self) {
        self.state.lock().fuse = None;
    }

    /// The machine loses its power: what was not synced may be lost.
    pub fn lose_power(&self, random: &mut Random) {
        let mut state = self.state.lock();
        let kept = random.below(state.journal.len() as u64 + 1) as usize;
        let mut names = state.synced.clone();
        state.journal.iter().take(kept).for_each(|change| names.apply(change));
        state.journal.clear();
        for file in names.files.values() {
            let mut inode = file.lock();
            if inode.dirty {
                inode.data = survivor(&inode, random);
                inode.synced = inode.data.clone();
                inode.dirty = false;
            }
        }
        state.now = names.clone();
        state.synced = names;
    }
}

/// What is left of a file that was not synced.
fn survivor(inode: &Inode, random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => inode.data.clone(),
        1 => inode.synced.clone(),
        kind if inode.data.starts_with(&inode.synced) => {
            let tail = inode.data.len() - inode.synced.len();
            let kept = inode.synced.len() + random.below(tail as u64 + 1) as usize;
            let mut data = inode.data[..kept].to_vec();
            if kind == 3 {
                // The length came to the disk, some of the bytes did not.
                data.resize(inode.data.len(), 0);
            }
            data
        }
        _ => inode.synced.clone(),
    }
}

/// The disk as one life of the broker sees it.
struct SimDisk {
    state: Arc<Mutex<State>>,
    process: Arc<Process>,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimDisk({})", self.process.id)
    }
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// An error in a dead process; burns the fuse.
fn touch(state: &Mutex<State>, process: &Process, writes: bool) -> io::Result<()> {
    if writes {
        let mut state = state.lock();
        if let Some(left) = &mut state.fuse {
            *left = left.saturating_sub(1);
            if *left == 0 {
                state.fuse = None;
                process.kill();
            }
        }
    }
    if process.is_dead() { Err(gone()) } else { Ok(()) }
}

impl SimDisk {
    fn touch(&self, writes: bool) -> io::Result<()> {
        touch(&self.state, &self.process, writes)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.touch(false)?;
        let found = self.state.lock().now.files.get(path).cloned();
        let inode = match found {
            Some(inode) => inode,
            None if mode == OpenMode::Create => {
                self.touch(true)?;
                let mut state = self.state.lock();
                if path.parent().is_some_and(|dir| !state.now.dirs.contains(dir)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let inode = File::default();
                state.change(Change::Made(path.to_owned(), inode.clone()));
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimFile { inode, state: self.state.clone(), process: self.process.clone() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirItem>> {
        self.touch(false)?;
        let state = self.state.lock();
        if !state.now.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let item = |path: &PathBuf, is_dir| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            (path.parent() == Some(dir)).then_some(DirItem { name, is_dir })
        };
        let files = state.now.files.range(dir.to_owned()..).map(|(p, _)| p).take_while(|p| p.starts_with(dir));
        let dirs = state.now.dirs.range(dir.to_owned()..).take_while(|p| p.starts_with(dir));
        Ok(files.filter_map(|p| item(p, false)).chain(dirs.filter_map(|p| item(p, true))).collect())
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.touch(false)?;
        let state = self.state.lock();
        if state.now.dirs.contains(path) {
            return Ok(FileStat { len: 0, modified_ms: 0, is_dir: true });
        }
        let inode = state.now.files.get(path).ok_or(io::ErrorKind::NotFound)?.lock();
        Ok(FileStat { len: inode.data.len() as u64, modified_ms: inode.modified_ms, is_dir: false })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.touch(true)?;
        let mut state = self.state.lock();
        if !state.now.files.contains_key(from) && !state.now.dirs.contains(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.touch(true)?;
        let mut state = self.state.lock();
        if !state.now.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Removed(path.to_owned()));
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.touch(true)?;
        let mut state = self.state.lock();
        if !state.now.dirs.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Removed(path.to_owned()));
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.touch(true)?;
        let mut state = self.state.lock();
        let missing: Vec<PathBuf> =
            path.ancestors().filter(|dir| !state.now.dirs.contains(*dir)).map(Path::to_owned).collect();
        missing.into_iter().rev().for_each(|dir| state.change(Change::MadeDir(dir)));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.touch(true)?;
        self.state.lock().sync_names();
        Ok(())
    }

    fn set_modified(&self, path: &Path, modified_ms: i64) -> io::Result<()> {
        self.touch(false)?;
        let state = self.state.lock();
        state.now.files.get(path).ok_or(io::ErrorKind::NotFound)?.lock().modified_ms = modified_ms;
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        self.touch(false)?;
        Ok(Some(Box::new(NoLock)))
    }
}

/// Two lives of a broker never overlap here.
#[derive(Debug)]
struct NoLock;

impl FileLock for NoLock {}

struct SimFile {
    inode: File,
    state: Arc<Mutex<State>>,
    process: Arc<Process>,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimFile({} bytes)", self.inode.lock().data.len())
    }
}

impl SimFile {
    fn touch(&self, writes: bool) -> io::Result<()> {
        touch(&self.state, &self.process, writes)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        // Reading what is there harms nobody, and a dead process's answers go nowhere.
        let inode = self.inode.lock();
        let from = (position as usize).min(inode.data.len());
        let count = buf.len().min(inode.data.len() - from);
        buf[..count].copy_from_slice(&inode.data[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, parts: &[&[u8]], position: u64) -> io::Result<()> {
        self.touch(true)?;
        let mut inode = self.inode.lock();
        inode.dirty = true;
        let mut at = position as usize;
        for part in parts {
            if inode.data.len() < at + part.len() {
                inode.data.resize(at + part.len(), 0);
            }
            inode.data[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.lock().data.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.touch(true)?;
        let mut inode = self.inode.lock();
        inode.dirty = true;
        inode.data.resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.touch(true)?;
        {
            let mut inode = self.inode.lock();
            inode.synced = inode.data.clone();
            inode.dirty = false;
        }
        self.state.lock().sync_names();
        Ok(())
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
