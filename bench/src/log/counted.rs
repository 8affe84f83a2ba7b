//! Real files whose syncs are counted, so that the bare loop can do as many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runtime::log::storage::{OpenMode, Storage, StorageError, StorageFile};

#[derive(Default)]
pub struct Counts {
    syncs: AtomicU64,
    journal_syncs: AtomicU64,
}

impl Counts {
    /// All syncs, and those of the journal.
    pub fn syncs(&self) -> (u64, u64) {
        (self.syncs.load(Ordering::Relaxed), self.journal_syncs.load(Ordering::Relaxed))
    }
}

pub struct CountedStorage {
    inner: Arc<dyn Storage>,
    counts: Arc<Counts>,
}

impl CountedStorage {
    pub fn new(inner: Arc<dyn Storage>) -> (Self, Arc<Counts>) {
        let counts = Arc::<Counts>::default();
        (Self { inner, counts: counts.clone() }, counts)
    }
}

impl Storage for CountedStorage {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn open(&self, name: &str, mode: OpenMode) -> Result<Arc<dyn StorageFile>, StorageError> {
        let inner = self.inner.open(name, mode)?;
        Ok(Arc::new(CountedFile { inner, journal: name.starts_with("journal."), counts: self.counts.clone() }))
    }

    fn create_dir(&self, name: &str) -> Result<(), StorageError> {
        self.inner.create_dir(name)
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, StorageError> {
        self.inner.list(dir)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.inner.remove(name)
    }

    fn sync_dir(&self, dir: &str) -> Result<(), StorageError> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner.sync_dir(dir)
    }

    fn sync_many(&self, files: &[Arc<dyn StorageFile>], dirs: &[String]) -> Result<(), StorageError> {
        self.counts.syncs.fetch_add(dirs.len() as u64, Ordering::Relaxed);
        self.inner.sync_many(files, dirs)
    }

    fn free_bytes(&self) -> Result<u64, StorageError> {
        self.inner.free_bytes()
    }

    fn lock(&self) -> Result<Box<dyn Send + Sync>, StorageError> {
        self.inner.lock()
    }
}

struct CountedFile {
    inner: Arc<dyn StorageFile>,
    journal: bool,
    counts: Arc<Counts>,
}

impl StorageFile for CountedFile {
    fn byte_len(&self) -> Result<u64, StorageError> {
        self.inner.byte_len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        self.inner.write_at(bytes, offset)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        if self.journal {
            self.counts.journal_syncs.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.sync()
    }

    fn set_len(&self, len: u64) -> Result<(), StorageError> {
        self.inner.set_len(len)
    }

    fn preallocate(&self, len: u64) -> Result<(), StorageError> {
        self.inner.preallocate(len)
    }
}
