//! Real files.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{OpenMode, Storage, StorageError, StorageFile};

const LOCK: &str = "LOCK";

/// A directory of the file system.
pub struct DiskStorage {
    root: PathBuf,
}

impl DiskStorage {
    /// Makes the directory if it is absent.
    ///
    /// # Errors
    /// `Io` when it cannot be made or is not a directory.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let root = root.into();
        std::fs::create_dir_all(&root).map_err(|error| failed(&root.display().to_string(), &error))?;
        raise_file_limit();
        Ok(Self { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// Every partition keeps its last segment open, and the usual soft limit is 1,024 files a process.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves it as it was: opening one file too many is an error of its own.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn failed(file: &str, error: &io::Error) -> StorageError {
    let file = file.to_owned();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StorageError::Full { file },
        ErrorKind::NotFound => StorageError::NotFound { file },
        _ => StorageError::Io { file, reason: error.to_string() },
    }
}

impl Storage for DiskStorage {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn open(&self, name: &str, mode: OpenMode) -> Result<Arc<dyn StorageFile>, StorageError> {
        let file = OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::Read)
            .create(mode == OpenMode::Create)
            .truncate(false)
            .open(self.path(name));
        let shown = self.shown(name);
        match file {
            Ok(file) => Ok(Arc::new(DiskFile { file, shown })),
            Err(error) => Err(failed(&shown, &error)),
        }
    }

    fn create_dir(&self, name: &str) -> Result<(), StorageError> {
        std::fs::create_dir_all(self.path(name)).map_err(|error| failed(&self.shown(name), &error))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, StorageError> {
        let entries = match std::fs::read_dir(self.path(dir)) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(failed(&self.shown(dir), &error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed(&self.shown(dir), &error))?;
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        std::fs::rename(self.path(from), self.path(to)).map_err(|error| failed(&self.shown(from), &error))
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(&self.shown(name), &error)),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &str) -> Result<(), StorageError> {
        File::open(self.path(dir)).and_then(|dir| dir.sync_all()).map_err(|error| failed(&self.shown(dir), &error))
    }

    /// A file system commits syncs that come at the same time together: 200 files take a tenth of the time this way.
    fn sync_many(&self, files: &[Arc<dyn StorageFile>], dirs: &[String]) -> Result<(), StorageError> {
        in_parallel(files, |file| file.sync())?;
        in_parallel(dirs, |dir| self.sync_dir(dir))
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        let found = rustix::fs::statvfs(&self.root)
            .map_err(|error| failed(&self.describe(), &io::Error::from_raw_os_error(error.raw_os_error())))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn lock(&self) -> Result<Box<dyn Send + Sync>, StorageError> {
        let path = self.path(LOCK);
        let shown = self.shown(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| failed(&shown, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = file.take(20).read_to_string(&mut pid);
                let holder = match read {
                    Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
                    _ => "another process".to_owned(),
                };
                return Err(StorageError::InUse { dir: self.describe(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed(&shown, &error)),
        }
        // The process id only serves the message above: the lock itself is the operating system's.
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(|error| failed(&shown, &error))?;
        Ok(Box::new(file))
    }
}

/// Threads that sync many files; they wait for the disk, not for a core.
const SYNC_THREADS: usize = 8;

fn in_parallel<T: Sync>(all: &[T], act: impl Fn(&T) -> Result<(), StorageError> + Sync) -> Result<(), StorageError> {
    if all.len() < SYNC_THREADS {
        return all.iter().try_for_each(act);
    }
    let act = &act;
    std::thread::scope(|scope| {
        let mut threads = Vec::with_capacity(SYNC_THREADS);
        for part in all.chunks(all.len().div_ceil(SYNC_THREADS)) {
            let builder = std::thread::Builder::new().name("log-sync".to_owned());
            match builder.spawn_scoped(scope, move || part.iter().try_for_each(act)) {
                Ok(thread) => threads.push(thread),
                // No thread to be had: it takes longer.
                Err(_) => part.iter().try_for_each(act)?,
            }
        }
        threads.into_iter().try_for_each(|thread| {
            let died = |_| StorageError::Io { file: "log-sync".to_owned(), reason: "a syncing thread died".to_owned() };
            thread.join().map_err(died).flatten()
        })
    })
}

struct DiskFile {
    file: File,
    shown: String,
}

impl DiskFile {
    fn failed(&self, error: &io::Error) -> StorageError {
        failed(&self.shown, error)
    }
}

impl StorageFile for DiskFile {
    fn byte_len(&self) -> Result<u64, StorageError> {
        self.file.metadata().map(|found| found.len()).map_err(|error| self.failed(&error))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(found) => filled += found,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed(&error))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(|error| self.failed(&error))
    }

    fn set_len(&self, len: u64) -> Result<(), StorageError> {
        self.file.set_len(len).map_err(|error| self.failed(&error))
    }

    fn preallocate(&self, len: u64) -> Result<(), StorageError> {
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // Some file systems cannot reserve; then admission's own reserve must do.
            Err(rustix::io::Errno::OPNOTSUPP) => self.set_len(len),
            Err(error) => Err(self.failed(&io::Error::from_raw_os_error(error.raw_os_error()))),
        }
    }
}
