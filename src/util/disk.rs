//! The disk seam: every file the log layer touches goes through [`Disk`] and [`DiskFile`], so that a test side can
//! inject errors or forget what was not synced. The real side is plain positional reads and writes, no mmap.
//!
//! Owns no state. All calls block; callers decide which thread pays.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist, reads only.
    Read,
    /// Must exist, reads and writes.
    Write,
    /// Reads and writes, made empty when missing; content of an existing file is kept.
    Create,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirItem {
    pub name: String,
    pub is_dir: bool,
}

/// What `stat` says about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Length in bytes.
    pub len: u64,
    /// Last modification, milliseconds since the epoch.
    pub modified_ms: i64,
    pub is_dir: bool,
}

/// An open file: positional reads and writes, shared between threads.
pub trait DiskFile: Send + Sync + Debug {
    /// Reads from `position` (bytes) until `buf` is full or the file ends; returns how many bytes were read.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes `parts` one behind the other from `position` (bytes); all of it or an error.
    fn write_at(&self, parts: &[&[u8]], position: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// True when the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends (with zeros) to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Forces data and metadata to the device.
    fn sync(&self) -> io::Result<()>;
    /// The descriptor for `sendfile`; `None` on disks that have none.
    fn as_fd(&self) -> Option<BorrowedFd<'_>>;
}

/// A lock on a file, held until dropped.
pub trait FileLock: Send + Sync + Debug {}

/// A file system.
pub trait Disk: Send + Sync + Debug {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Entries of a directory, in no order. Names that are not UTF-8 are given lossily.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirItem>>;
    fn stat(&self, path: &Path) -> io::Result<FileStat>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes renames, creations and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    fn set_modified(&self, path: &Path, modified_ms: i64) -> io::Result<()>;
    /// Locks a file, which is made when missing. `Ok(None)` when somebody else holds the lock, in this process or another.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>>;

    /// True when the path exists (any error counts as absent).
    fn exists(&self, path: &Path) -> bool {
        self.stat(path).is_ok()
    }

    /// The whole of a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let len = usize::try_from(file.len()?).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut bytes = vec![0; len];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Like `remove_file`, but a missing file is fine. Returns whether it was there.
    fn remove_if_exists(&self, path: &Path) -> io::Result<bool> {
        match self.remove_file(path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// The operating system's file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

impl RealDisk {
    /// The real disk, behind the trait.
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(RealDisk)
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read).create(mode == OpenMode::Create);
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirItem>> {
        fs::read_dir(dir)?
            .map(|entry| {
                let entry = entry?;
                let kind = entry.file_type()?;
                let is_dir = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
                Ok(DirItem { name: entry.file_name().to_string_lossy().into_owned(), is_dir })
            })
            .collect()
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let meta = fs::metadata(path)?;
        let modified_ms = match meta.modified()?.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Ok(FileStat { len: meta.len(), modified_ms, is_dir: meta.is_dir() })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn set_modified(&self, path: &Path, modified_ms: i64) -> io::Result<()> {
        let since = std::time::Duration::from_millis(u64::try_from(modified_ms).unwrap_or(0));
        OpenOptions::new().write(true).open(path)?.set_modified(UNIX_EPOCH + since)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match set_lock(&file, nix::libc::F_WRLCK as _) {
            Ok(_) => Ok(Some(Box::new(LockedFile(file)))),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// Locks the whole file, or unlocks it. A lock of the open file conflicts with the per-process locks of Java, and with
/// itself inside one process.
fn set_lock(file: &File, kind: nix::libc::c_short) -> nix::Result<i32> {
    let lock = nix::libc::flock { l_type: kind, l_whence: nix::libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return fcntl(file, FcntlArg::F_OFD_SETLK(&lock));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return fcntl(file, FcntlArg::F_SETLK(&lock));
}

/// A process that this one starts has the open file too, until it runs its own program: the lock must end before that.
#[derive(Debug)]
struct LockedFile(File);

impl FileLock for LockedFile {}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // The file is closed next, which unlocks it as well.
        let _ = set_lock(&self.0, nix::libc::F_UNLCK as _);
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], position + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, parts: &[&[u8]], position: u64) -> io::Result<()> {
        // Up to four parts fit the stack; appends have two.
        let mut slices = [IoSlice::new(&[]); 4];
        if parts.len() > slices.len() {
            let mut at = position;
            for part in parts {
                self.0.write_all_at(part, at)?;
                at += part.len() as u64;
            }
            return Ok(());
        }
        for (slot, part) in slices.iter_mut().zip(parts) {
            *slot = IoSlice::new(part);
        }
        let mut left: &mut [IoSlice<'_>] = &mut slices[..parts.len()];
        let mut remaining: usize = parts.iter().map(|p| p.len()).sum();
        let mut at = position;
        while remaining > 0 {
            let offset = i64::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
            match nix::sys::uio::pwritev(&self.0, left, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    IoSlice::advance_slices(&mut left, n);
                    remaining -= n;
                    at += n as u64;
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_parts_in_order_and_reads_short_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk;
        let file = disk.open(&dir.path().join("f"), OpenMode::Create).unwrap();
        file.write_at(&[b"ab", b"", b"cde"], 1).unwrap();
        file.write_at(&[b"1", b"2", b"3", b"4", b"5"], 6).unwrap();
        let mut buf = [9u8; 16];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 11);
        assert_eq!(&buf[..11], b"\0abcde12345");
        assert_eq!(file.read_at(&mut buf, 11).unwrap(), 0);
        assert!(!disk.remove_if_exists(&dir.path().join("none")).unwrap());
    }
}
