//! Where a running process can be found: a file of its own in a directory that only its user can read. The commands look
//! there, so that `bulkhead lag` needs no address and no token.
//!
//! A process holds a lock on its file for as long as it lives: what a killed one has left behind is known by its lock being
//! free, whoever has its number now, and is removed by the next one that looks.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// Longest file that is read.
const FILE_MAX_BYTES: u64 = 4 << 10;
/// Living processes that are looked at.
const PROCESSES_MAX: usize = 64;

/// One running process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// Address of its admin listener.
    pub admin: String,
    /// What may change something there.
    pub token: String,
    /// Its data directory, absolute.
    pub data: PathBuf,
}

/// Its file, locked, removed with it.
pub struct Announced {
    path: PathBuf,
    _locked: File,
}

impl Drop for Announced {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// `XDG_RUNTIME_DIR`, which is the user's own by definition, else a directory in the temporary one that has to be.
fn directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| Path::new(path).is_absolute()) {
        Some(path) => Path::new(&path).join("bulkhead"),
        None => std::env::temp_dir().join(format!("bulkhead-{}", rustix::process::getuid().as_raw())),
    }
}

/// Somebody else's directory of that name is not used: whoever made it could read the token.
fn is_ours(directory: &Path) -> bool {
    let ours = rustix::process::getuid().as_raw();
    std::fs::symlink_metadata(directory)
        .is_ok_and(|found| found.is_dir() && found.uid() == ours && found.mode() & 0o077 == 0)
}

/// Tells where this process is. Without a place to tell it, commands need `--admin` and a token.
///
/// # Errors
/// The directory is not ours, or cannot be written.
pub fn announce(process: &Process) -> std::io::Result<Announced> {
    announce_in(&directory(), process)
}

/// Processes that run, by number.
pub fn running() -> Vec<Process> {
    running_in(&directory())
}

fn announce_in(directory: &Path, process: &Process) -> std::io::Result<Announced> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    if !is_ours(directory) {
        let what = format!("{} is not a directory of this user alone", directory.display());
        return Err(std::io::Error::other(what));
    }
    // Locked before it has the name that others look for, which no dead one's file can have: none is removed by mistake.
    let before = directory.join(format!("{}.new", process.pid));
    let _ = std::fs::remove_file(&before);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&before)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    file.write_all(&serde_json::to_vec(process)?)?;
    let path = directory.join(format!("{}-{}.json", process.pid, file.metadata()?.ino()));
    std::fs::rename(&before, &path)?;
    Ok(Announced { path, _locked: file })
}

fn running_in(directory: &Path) -> Vec<Process> {
    if !is_ours(directory) {
        return Vec::new();
    }
    let mut found: Vec<Process> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| living(&entry.ok()?.path()))
        .take(PROCESSES_MAX)
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// What a file tells of a process that lives; a dead one's file is removed.
fn living(path: &Path) -> Option<Process> {
    if path.extension().is_none_or(|kind| kind != "json") {
        return None;
    }
    let file = File::open(path).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        let _ = std::fs::remove_file(path);
        return None;
    }
    let mut text = String::new();
    file.take(FILE_MAX_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32) -> Process {
        let admin = "127.0.0.1:1".to_owned();
        Process { pid, admin, token: String::new(), data: PathBuf::from("/d") }
    }

    #[test]
    fn however_many_were_killed_the_living_one_is_found() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("processes");
        for pid in 1..=200 {
            // A killed process removes nothing; the kernel frees its lock.
            let killed = announce_in(&directory, &process(pid)).expect("told");
            let bytes = std::fs::read(&killed.path).expect("read");
            let path = killed.path.clone();
            drop(killed);
            std::fs::write(path, bytes).expect("written");
        }
        let lives = announce_in(&directory, &process(1_000)).expect("told");
        let found: Vec<u32> = running_in(&directory).iter().map(|process| process.pid).collect();
        assert_eq!(found, [1_000]);
        drop(lives);
        assert_eq!(std::fs::read_dir(&directory).expect("read").count(), 0);
    }
}
