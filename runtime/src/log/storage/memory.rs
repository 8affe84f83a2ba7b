//! Simulated files: what was written but not synced is pending, and a crash drops or tears it.
//!
//! Modelled on what file systems and disks do to programs that forget a sync: sectors of 512 bytes survive one by one, in
//! any order; a grown file may keep its length and lose its bytes; names are durable only after their directory was
//! synced, and those of one directory are lost from the end. After `crash` or `kill` every old handle and mount is dead, as its
//! process is.

mod file;
mod names;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::file::FileState;
use self::names::Names;
use super::{OpenMode, Storage, StorageError, StorageFile};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CallKind {
    Open,
    Read,
    Write,
    Sync,
    SetLen,
    Preallocate,
    CreateDir,
    Rename,
    Remove,
    SyncDir,
}

/// One storage call, as hooks see it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub kind: CallKind,
    pub file: &'a str,
    /// Position in the file, or the new length.
    pub offset: u64,
    /// Bytes to write; bytes found, when a read is observed; the new name of a rename.
    pub content: &'a [u8],
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Fails and changes nothing.
    Error,
    /// The disk is full; changes nothing.
    Full,
    /// Writes only: the first `bytes` are written, then it fails.
    Torn {
        bytes: usize,
    },
    /// Takes this much virtual time more (`Storage::take_delay_us`).
    Slow {
        delay_us: u64,
    },
    /// Reads only: one bit of what was found is turned over.
    Flip {
        bit: u64,
    },
    /// Syncs only: claimed, not made.
    Skip,
    /// The process dies in this call: it and every later one fail until `crash` has settled what is durable. Of a write,
    /// the first `bytes` are pending.
    Kill {
        bytes: usize,
    },
}

/// Scripts faults and watches calls; one a storage.
pub trait StorageHook: Send {
    /// Asked before each call.
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        let _ = call;
        Fault::None
    }
    /// Told after each call whether it succeeded.
    fn observe(&mut self, call: &Call<'_>, succeeded: bool) {
        let _ = (call, succeeded);
    }
}

/// What a sync that is only claimed gets in place of a number of bytes.
const SKIP: usize = usize::MAX;

struct Inner {
    names: Names,
    hook: Option<Box<dyn StorageHook>>,
    /// Handles and locks of an older generation are dead.
    generation: u64,
    killed: bool,
    locked: bool,
    delay_us: u64,
    capacity_bytes: u64,
}

/// Shared by clones, like a disk by the processes that come and go.
#[derive(Clone)]
pub struct MemoryStorage {
    inner: Arc<Mutex<Inner>>,
    /// The generation of the process that mounted it; `None`: outside of every process, always alive.
    mounted: Option<u64>,
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStorage {
    pub fn new() -> Self {
        let inner = Inner {
            names: Names::default(),
            hook: None,
            generation: 0,
            killed: false,
            locked: false,
            delay_us: 0,
            capacity_bytes: u64::MAX,
        };
        Self { inner: Arc::new(Mutex::new(inner)), mounted: None }
    }

    /// The disk as a process of now sees it: dead with that process, whatever of its code still runs afterwards.
    pub fn mount(&self) -> Self {
        let mounted = Some(self.lock_inner().generation);
        Self { inner: self.inner.clone(), mounted }
    }

    /// Replaces the hook.
    pub fn set_hook(&self, hook: Option<Box<dyn StorageHook>>) {
        self.lock_inner().hook = hook;
    }

    /// Size of the disk, bytes; unlimited at first.
    pub fn set_capacity(&self, capacity_bytes: u64) {
        self.lock_inner().capacity_bytes = capacity_bytes;
    }

    /// Bytes of all files.
    pub fn used_bytes(&self) -> u64 {
        self.lock_inner().names.used_bytes()
    }

    /// The process dies: what was not synced survives in part or not at all, and the directory can be locked again.
    pub fn crash(&self, rng: &mut fastrand::Rng) {
        let mut inner = self.lock_inner();
        inner.names.crash(rng);
        inner.generation += 1;
        inner.killed = false;
        inner.locked = false;
        inner.delay_us = 0;
    }

    /// The process dies but the machine lives: everything written is kept.
    pub fn kill(&self) {
        let mut inner = self.lock_inner();
        inner.generation += 1;
        inner.killed = false;
        inner.locked = false;
        inner.delay_us = 0;
    }

    /// Turns one bit of a file over, on the medium itself.
    pub fn flip_bit(&self, name: &str, byte: u64, bit: u8) {
        let inner = self.lock_inner();
        if let Some(file) = inner.names.find(name) {
            lock(&file).flip_bit(byte, bit);
        }
    }

    fn lock_inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Whose call it is: of the process that mounted the disk, else of whichever lives.
    fn generation(&self) -> u64 {
        self.mounted.unwrap_or_else(|| self.lock_inner().generation)
    }

    /// Runs one call under its fault: `act` gets the inner state and how many bytes of a write to take.
    fn call<T>(
        &self,
        generation: u64,
        call: &Call<'_>,
        act: impl FnOnce(&mut Inner, usize) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut inner = self.lock_inner();
        let file = || call.file.to_owned();
        if inner.killed || inner.generation != generation {
            return Err(StorageError::Dead { file: file() });
        }
        let fault = inner.hook.as_mut().map_or(Fault::None, |hook| hook.decide(call));
        let all = call.content.len();
        let result = match fault {
            Fault::None | Fault::Flip { .. } => act(&mut inner, all),
            Fault::Skip => {
                let is_sync = matches!(call.kind, CallKind::Sync | CallKind::SyncDir);
                act(&mut inner, if is_sync { SKIP } else { all })
            }
            Fault::Slow { delay_us } => {
                inner.delay_us += delay_us;
                act(&mut inner, all)
            }
            Fault::Full => Err(StorageError::Full { file: file() }),
            Fault::Error => Err(StorageError::Io { file: file(), reason: "simulated failure".to_owned() }),
            Fault::Torn { bytes } => {
                if call.kind == CallKind::Write {
                    let _ = act(&mut inner, bytes.min(all));
                }
                Err(StorageError::Io { file: file(), reason: "simulated torn write".to_owned() })
            }
            Fault::Kill { bytes } => {
                if call.kind == CallKind::Write {
                    let _ = act(&mut inner, bytes.min(all));
                }
                inner.killed = true;
                Err(StorageError::Dead { file: file() })
            }
        };
        if call.kind != CallKind::Read
            && let Some(hook) = &mut inner.hook
        {
            hook.observe(call, result.is_ok());
        }
        result
    }
}

impl Storage for MemoryStorage {
    fn describe(&self) -> String {
        "simulated disk".to_owned()
    }

    fn open(&self, name: &str, mode: OpenMode) -> Result<Arc<dyn StorageFile>, StorageError> {
        let generation = self.generation();
        let call = Call { kind: CallKind::Open, file: name, offset: 0, content: &[] };
        let state = self.call(generation, &call, |inner, _| match inner.names.find(name) {
            Some(state) => Ok(state),
            None if mode == OpenMode::Create => inner.names.create(name),
            None => Err(StorageError::NotFound { file: name.to_owned() }),
        })?;
        Ok(Arc::new(MemoryFile { storage: self.clone(), name: name.to_owned(), generation, state }))
    }

    fn create_dir(&self, name: &str) -> Result<(), StorageError> {
        let generation = self.generation();
        let call = Call { kind: CallKind::CreateDir, file: name, offset: 0, content: &[] };
        self.call(generation, &call, |inner, _| {
            inner.names.create_dir(name);
            Ok(())
        })
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, StorageError> {
        Ok(self.lock_inner().names.list(dir))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        let generation = self.generation();
        let call = Call { kind: CallKind::Rename, file: from, offset: 0, content: to.as_bytes() };
        self.call(generation, &call, |inner, _| inner.names.rename(from, to))
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        let generation = self.generation();
        let call = Call { kind: CallKind::Remove, file: name, offset: 0, content: &[] };
        self.call(generation, &call, |inner, _| {
            inner.names.remove(name);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &str) -> Result<(), StorageError> {
        let generation = self.generation();
        let call = Call { kind: CallKind::SyncDir, file: dir, offset: 0, content: &[] };
        self.call(generation, &call, |inner, taken| {
            if taken != SKIP {
                inner.names.sync_dir(dir);
            }
            Ok(())
        })
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        let inner = self.lock_inner();
        Ok(inner.capacity_bytes.saturating_sub(inner.names.used_bytes()))
    }

    fn lock(&self) -> Result<Box<dyn Send + Sync>, StorageError> {
        let generation = self.generation();
        let mut inner = self.lock_inner();
        if inner.generation != generation {
            return Err(StorageError::Dead { file: "LOCK".to_owned() });
        }
        if inner.locked {
            return Err(StorageError::InUse { dir: self.describe(), holder: "another simulated process".to_owned() });
        }
        inner.locked = true;
        Ok(Box::new(Held { storage: self.clone(), generation }))
    }

    fn take_delay_us(&self) -> u64 {
        let generation = self.generation();
        let mut inner = self.lock_inner();
        if inner.generation == generation { std::mem::take(&mut inner.delay_us) } else { 0 }
    }
}

/// The lock of a simulated process.
struct Held {
    storage: MemoryStorage,
    generation: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut inner = self.storage.lock_inner();
        // A zombie's lock died with its process.
        if inner.generation == self.generation {
            inner.locked = false;
        }
    }
}

struct MemoryFile {
    storage: MemoryStorage,
    name: String,
    generation: u64,
    state: Arc<Mutex<FileState>>,
}

impl MemoryFile {
    fn call<T>(
        &self,
        kind: CallKind,
        offset: u64,
        content: &[u8],
        act: impl FnOnce(&mut FileState, usize) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let call = Call { kind, file: &self.name, offset, content };
        self.storage.call(self.generation, &call, |inner, bytes| {
            let grown_to = match kind {
                CallKind::Write => offset + bytes as u64,
                CallKind::SetLen | CallKind::Preallocate => offset,
                _ => 0,
            };
            let mut state = lock(&self.state);
            let more = grown_to.saturating_sub(state.len());
            // Summing up the files is only worth it on a disk that can be full.
            if more > 0 && inner.capacity_bytes != u64::MAX {
                let used = inner.names.used_bytes_beside(&self.state) + state.len();
                if used.saturating_add(more) > inner.capacity_bytes {
                    return Err(StorageError::Full { file: self.name.clone() });
                }
            }
            act(&mut state, bytes)
        })
    }
}

impl StorageFile for MemoryFile {
    fn byte_len(&self) -> Result<u64, StorageError> {
        Ok(lock(&self.state).len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        let mut inner = self.storage.lock_inner();
        if inner.killed || inner.generation != self.generation {
            return Err(StorageError::Dead { file: self.name.clone() });
        }
        let asked = Call { kind: CallKind::Read, file: &self.name, offset, content: &[] };
        let fault = inner.hook.as_mut().map_or(Fault::None, |hook| hook.decide(&asked));
        let failure = match fault {
            Fault::None | Fault::Flip { .. } | Fault::Full | Fault::Torn { .. } | Fault::Skip => None,
            Fault::Slow { delay_us } => {
                inner.delay_us += delay_us;
                None
            }
            Fault::Kill { .. } => {
                inner.killed = true;
                Some(StorageError::Dead { file: self.name.clone() })
            }
            Fault::Error => Some(StorageError::Io { file: self.name.clone(), reason: "simulated failure".to_owned() }),
        };
        if let Some(failure) = failure {
            return Err(failure);
        }
        let found = lock(&self.state).read(buffer, offset);
        if let Fault::Flip { bit } = fault
            && found > 0
        {
            let bit = bit % (found as u64 * 8);
            buffer[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        if let Some(hook) = &mut inner.hook {
            hook.observe(&Call { content: &buffer[..found], ..asked }, true);
        }
        Ok(found)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        self.call(CallKind::Write, offset, bytes, |state, taken| {
            state.write(&bytes[..taken], offset);
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.call(CallKind::Sync, 0, &[], |state, taken| {
            if taken != SKIP {
                state.sync();
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<(), StorageError> {
        self.call(CallKind::SetLen, len, &[], |state, _| {
            state.set_len(len);
            Ok(())
        })
    }

    fn preallocate(&self, len: u64) -> Result<(), StorageError> {
        self.call(CallKind::Preallocate, len, &[], |state, _| {
            if state.len() < len {
                state.set_len(len);
            }
            Ok(())
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
