//! Where a running process can be found: a file of its own in a directory that only its user can read. The commands look
//! there, so that `bulkhead lag` needs no address and no token.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest file that is read.
const FILE_MAX_BYTES: u64 = 4 << 10;
/// Processes that are looked at.
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

/// Its file, removed with it.
pub struct Announced(PathBuf);

impl Drop for Announced {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
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
    let directory = directory();
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    if !is_ours(&directory) {
        let what = format!("{} is not a directory of this user alone", directory.display());
        return Err(std::io::Error::other(what));
    }
    let path = directory.join(format!("{}.json", process.pid));
    let _ = std::fs::remove_file(&path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(&serde_json::to_vec(process)?)?;
    Ok(Announced(path))
}

/// Processes that run, by number. What a killed one has left behind is passed over.
pub fn running() -> Vec<Process> {
    let directory = directory();
    if !is_ours(&directory) {
        return Vec::new();
    }
    let mut found: Vec<Process> = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .take(PROCESSES_MAX)
        .filter_map(|entry| read(&entry.ok()?.path()))
        .filter(|process| Path::new("/proc").join(process.pid.to_string()).exists())
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

fn read(path: &Path) -> Option<Process> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(FILE_MAX_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
