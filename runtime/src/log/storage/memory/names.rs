//! The directory of a simulated disk: which names stand for which files, now and after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::super::StorageError;
use super::file::FileState;
use super::lock;

type File = Arc<Mutex<FileState>>;

/// A change of names that is not durable until its directory is synced.
enum Change {
    Set {
        name: String,
        file: File,
    },
    Remove {
        name: String,
    },
    /// Atomic, as journaled file systems do it.
    Rename {
        from: String,
        to: String,
    },
    MakeDir {
        name: String,
    },
}

impl Change {
    fn dir(&self) -> &str {
        match self {
            Self::Set { name, .. } | Self::Remove { name } | Self::MakeDir { name } => parent(name),
            Self::Rename { to, .. } => parent(to),
        }
    }
}

#[derive(Clone, Default)]
struct Tree {
    files: BTreeMap<String, File>,
    dirs: BTreeSet<String>,
}

impl Tree {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Set { name, file } => {
                self.files.insert(name.clone(), file.clone());
            }
            Change::Remove { name } => {
                self.files.remove(name);
            }
            Change::Rename { from, to } => {
                if let Some(file) = self.files.remove(from) {
                    self.files.insert(to.clone(), file);
                }
            }
            Change::MakeDir { name } => {
                self.dirs.insert(name.clone());
            }
        }
    }
}

#[derive(Default)]
pub(super) struct Names {
    now: Tree,
    durable: Tree,
    pending: Vec<Change>,
}

impl Names {
    pub(super) fn find(&self, name: &str) -> Option<File> {
        self.now.files.get(name).cloned()
    }

    pub(super) fn create(&mut self, name: &str) -> Result<File, StorageError> {
        let dir = parent(name);
        if !dir.is_empty() && !self.now.dirs.contains(dir) {
            return Err(StorageError::NotFound { file: dir.to_owned() });
        }
        let file = File::default();
        self.change(Change::Set { name: name.to_owned(), file: file.clone() });
        Ok(file)
    }

    pub(super) fn create_dir(&mut self, name: &str) {
        if !self.now.dirs.contains(name) {
            self.change(Change::MakeDir { name: name.to_owned() });
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), StorageError> {
        if !self.now.files.contains_key(from) {
            return Err(StorageError::NotFound { file: from.to_owned() });
        }
        self.change(Change::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.now.files.contains_key(name) {
            self.change(Change::Remove { name: name.to_owned() });
        }
    }

    pub(super) fn list(&self, dir: &str) -> Vec<String> {
        let files = self.now.files.keys().map(String::as_str);
        let all = files.chain(self.now.dirs.iter().map(String::as_str));
        let mut names: Vec<String> = all
            .filter(|name| parent(name) == dir)
            .filter_map(|name| name.rsplit('/').next())
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.now.files.values().map(|file| lock(file).len()).sum()
    }

    /// As `used_bytes`, without one file (whose lock the caller holds).
    pub(super) fn used_bytes_beside(&self, one: &File) -> u64 {
        self.now.files.values().filter(|file| !Arc::ptr_eq(file, one)).map(|file| lock(file).len()).sum()
    }

    pub(super) fn sync_dir(&mut self, dir: &str) {
        let (synced, left) = std::mem::take(&mut self.pending).into_iter().partition(|change| change.dir() == dir);
        let synced: Vec<Change> = synced;
        self.pending = left;
        for change in &synced {
            self.durable.apply(change);
        }
    }

    /// Each directory keeps a prefix of its pending changes; then each file keeps some of its sectors. A file whose
    /// directory did not survive is gone.
    pub(super) fn crash(&mut self, rng: &mut fastrand::Rng) {
        let kept = *rng.choice(&[0.0, 0.5, 0.9, 1.0]).unwrap_or(&0.5);
        let mut cut: BTreeSet<String> = BTreeSet::new();
        for change in std::mem::take(&mut self.pending) {
            let dir = change.dir();
            if cut.contains(dir) {
                continue;
            }
            if rng.f64() < kept {
                self.durable.apply(&change);
            } else {
                cut.insert(dir.to_owned());
            }
        }
        let dirs = &self.durable.dirs;
        self.durable.files.retain(|name, _| parent(name).is_empty() || dirs.contains(parent(name)));
        for file in self.durable.files.values() {
            lock(file).crash(rng, kept);
        }
        self.now = self.durable.clone();
    }

    fn change(&mut self, change: Change) {
        self.now.apply(&change);
        self.pending.push(change);
    }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}
