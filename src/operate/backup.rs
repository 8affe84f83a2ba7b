//! Copies of a data directory: consistent while a process runs on it, and the way back.

use std::path::Path;
use std::sync::Arc;

use runtime::env::{BulkheadRuntime, Env};
use runtime::log::Log;
use runtime::log::segment::{self, Copied, EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::DiskStorage;

use super::OperateError;
use crate::edge::keyfile;
use crate::registry::external;

/// What lies beside the log and belongs to the directory: click URLs that are out in the world, and which registry it is.
const BESIDE: [&str; 2] = [keyfile::FILE, external::MARKER];

/// Copies what a process runs on; everything else goes on meanwhile.
///
/// # Errors
/// `to` holds something, the log is a cluster's, or a file cannot be read or written.
pub async fn live(env: &Env, log: Arc<dyn Log>, data: &Path, to: &Path) -> Result<Copied, OperateError> {
    empty(to)?;
    let (data, to) = (data.to_owned(), to.to_owned());
    // Copying blocks, and the admin listener has others to answer.
    let runtime = BulkheadRuntime::new(env, "backup", 1, 5).map_err(OperateError::failed)?;
    let copied = runtime.spawn(async move { copy(log.as_ref(), &data, &to) }).await;
    copied.map_err(OperateError::failed)?
}

/// Copies a directory at rest.
///
/// # Errors
/// As [`live`], or the directory does not open.
pub fn at_rest(data: &Path, to: &Path) -> Result<Copied, OperateError> {
    empty(to)?;
    if !data.join("VERSION").is_file() {
        return Err(OperateError::Wrong(format!("{} is no data directory: it has no file VERSION", data.display())));
    }
    let storage = Arc::new(DiskStorage::open(data).map_err(OperateError::failed)?);
    let log = EmbeddedLog::open(&Env::production(), storage, SegmentLogConfig::default());
    copy(log.map_err(OperateError::failed)?.as_ref(), data, to)
}

/// Makes a data directory of a copy.
///
/// # Errors
/// `from` is no copy, or `data` holds something.
pub fn restore(from: &Path, data: &Path) -> Result<Copied, OperateError> {
    if !from.is_dir() {
        return Err(OperateError::Wrong(format!("{}: there is no such directory", from.display())));
    }
    empty(data)?;
    let (source, target) = (storage(from)?, storage(data)?);
    let copied = segment::restore(&source, &target)
        .map_err(|error| OperateError::Wrong(format!("{}: {error}", from.display())))?;
    beside(from, data)?;
    Ok(copied)
}

fn copy(log: &dyn Log, data: &Path, to: &Path) -> Result<Copied, OperateError> {
    let target = storage(to)?;
    // Before the log: its checkpoint says that the copy is whole.
    beside(data, to)?;
    let copied = log.copy_to(&target).ok_or_else(|| {
        OperateError::Wrong("the log is a cluster's, which keeps copies itself; nothing was copied".to_owned())
    })?;
    copied.map_err(OperateError::failed)
}

fn storage(directory: &Path) -> Result<DiskStorage, OperateError> {
    DiskStorage::open(directory).map_err(OperateError::failed)
}

fn beside(from: &Path, to: &Path) -> Result<(), OperateError> {
    for name in BESIDE.iter().filter(|name| from.join(name).is_file()) {
        std::fs::copy(from.join(name), to.join(name))
            .map_err(|error| OperateError::Failed(format!("{}: {error}", to.join(name).display())))?;
    }
    Ok(())
}

/// A copy is never mixed with anything.
fn empty(directory: &Path) -> Result<(), OperateError> {
    match std::fs::read_dir(directory).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Err(OperateError::Wrong(format!(
            "{} is not empty; choose a directory that is, or remove what is in it",
            directory.display()
        ))),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(OperateError::Wrong(format!("{}: {error}", directory.display())))
        }
        _ => Ok(()),
    }
}
