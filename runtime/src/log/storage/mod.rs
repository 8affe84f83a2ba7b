//! The `Storage` seam: the few file operations that the log is made of, so that the simulation can tear, lose, delay and
//! refuse every write and sync (`memory`), while production talks to the operating system (`disk`).
//!
//! Names are relative to the data directory, with `/` between a directory and its file.

pub mod disk;
pub mod memory;

use std::sync::Arc;

pub use disk::DiskStorage;
pub use memory::{Call, CallKind, Fault, MemoryStorage, StorageHook};

/// Why a file operation failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    #[error("{file}: no space left on the device")]
    Full { file: String },
    #[error("{file}: not there")]
    NotFound { file: String },
    #[error("{file}: {reason}")]
    Io { file: String, reason: String },
    #[error("the data directory {dir} is in use by {holder}; stop that process or choose another directory")]
    InUse { dir: String, holder: String },
    /// Simulation only: the process that held this handle has died.
    #[error("{file}: the process is dead")]
    Dead { file: String },
}

impl StorageError {
    /// Stable name: metric label and dead letter header.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Full { .. } => "STORAGE_FULL",
            Self::NotFound { .. } => "STORAGE_NOT_FOUND",
            Self::Io { .. } => "STORAGE_IO",
            Self::InUse { .. } => "STORAGE_IN_USE",
            Self::Dead { .. } => "STORAGE_DEAD",
        }
    }
}

/// What `open` does about a file that is there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must be there; read only.
    Read,
    /// Must be there.
    Write,
    /// Made if absent; kept as it is if there.
    Create,
}

/// A data directory.
pub trait Storage: Send + Sync + 'static {
    /// What to call the directory in messages.
    fn describe(&self) -> String;
    /// # Errors
    /// `NotFound` where the mode wants it to be there.
    fn open(&self, name: &str, mode: OpenMode) -> Result<Arc<dyn StorageFile>, StorageError>;
    /// Makes a directory; one that is there is fine.
    fn create_dir(&self, name: &str) -> Result<(), StorageError>;
    /// Names in a directory (`""` is the data directory itself), sorted. Empty if it is not there.
    fn list(&self, dir: &str) -> Result<Vec<String>, StorageError>;
    /// Replaces `to` atomically.
    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError>;
    /// Removing what is not there is fine.
    fn remove(&self, name: &str) -> Result<(), StorageError>;
    /// Makes the names in a directory durable: created, renamed and removed ones.
    fn sync_dir(&self, dir: &str) -> Result<(), StorageError>;
    /// Makes many files, then the names in many directories durable; `files` are of this storage.
    fn sync_many(&self, files: &[Arc<dyn StorageFile>], dirs: &[String]) -> Result<(), StorageError> {
        files.iter().try_for_each(|file| file.sync())?;
        dirs.iter().try_for_each(|dir| self.sync_dir(dir))
    }
    fn free_bytes(&self) -> Result<u64, StorageError>;
    /// Takes the advisory lock of the directory; given back on drop, or by the end of the process.
    ///
    /// # Errors
    /// `InUse` with the holder's process id.
    fn lock(&self) -> Result<Box<dyn Send + Sync>, StorageError>;
    /// Simulation: virtual time that slow calls since the last question have cost; the journal's driver sleeps for it.
    fn take_delay_us(&self) -> u64 {
        0
    }
}

/// An open file. All positions are explicit, so that handles can be shared.
pub trait StorageFile: Send + Sync + 'static {
    fn byte_len(&self) -> Result<u64, StorageError>;
    /// Fills `buffer` from `offset`; fewer bytes only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError>;
    /// Writes all of `bytes` at `offset`, growing the file if needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError>;
    /// Makes contents and length durable. A failure is final: what was written may be lost whatever a second try says.
    fn sync(&self) -> Result<(), StorageError>;
    fn set_len(&self, len: u64) -> Result<(), StorageError>;
    /// Reserves space up to `len` and makes the file that long.
    fn preallocate(&self, len: u64) -> Result<(), StorageError>;
}

/// Reads the whole of a small file.
///
/// # Errors
/// `NotFound`, or `Io` when it is larger than `limit_bytes`.
pub fn read_whole(storage: &dyn Storage, name: &str, limit_bytes: u64) -> Result<Vec<u8>, StorageError> {
    let file = storage.open(name, OpenMode::Read)?;
    let len = file.byte_len()?;
    if len > limit_bytes {
        let reason = format!("{len} bytes, at most {limit_bytes} are expected");
        return Err(StorageError::Io { file: name.to_owned(), reason });
    }
    let mut bytes = vec![0; len as usize];
    let found = file.read_at(&mut bytes, 0)?;
    bytes.truncate(found);
    Ok(bytes)
}

/// Replaces a small file so that a crash leaves the old one or the new one, whole.
pub fn replace_whole(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
    let temporary = format!("{name}.new");
    let file = storage.open(&temporary, OpenMode::Create)?;
    file.set_len(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    drop(file);
    storage.rename(&temporary, name)?;
    storage.sync_dir("")
}
