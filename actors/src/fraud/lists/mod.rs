//! What is known about agents and networks before any behaviour is looked at: user agents of programs, and address ranges
//! where no person sits. Read-only snapshots; a new list is a new snapshot with a new version.
//!
//! The project ships no list of others. Built in are names that well-known programs give themselves, and ranges reserved by
//! RFCs, so that tests and the generator have something to find. Real lists are loaded from a directory ([`Lists::load`]).

mod agents;
mod networks;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use agents::{AgentClass, Agents};
pub use networks::{NetworkClass, Networks};

/// Largest list file.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Most list files of a directory.
const FILES_MAX: usize = 256;

/// File of agent patterns in a list directory: a JSON array of objects with a `pattern` (the format of crawler-user-agents).
pub const AGENTS_FILE: &str = "crawler-user-agents.json";
/// File of patterns that only raise a suspicion: a JSON array of patterns (the format of isbot).
pub const SUSPECTS_FILE: &str = "isbot_patterns.json";
/// Folder of range files in a list directory: one CIDR a line, class by file name.
pub const NETWORKS_FOLDER: &str = "ip";

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A file or folder cannot be read.
    #[error("cannot read list {}: {source}; check the path and its permissions", .path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is too large, or there are too many.
    #[error("list {}: {what}", .path.display())]
    TooLarge {
        /// Where.
        path: PathBuf,
        /// Which limit.
        what: String,
    },
    /// A file is not in its format.
    #[error("list {} line {line}: {what}; correct or remove it", .path.display())]
    Syntax {
        /// Where.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The directory holds no list at all.
    #[error("no list in {}: expected {AGENTS_FILE}, {NETWORKS_FOLDER}/*.txt or *_cidr.txt", .path.display())]
    Empty {
        /// Where.
        path: PathBuf,
    },
}

impl ListError {
    /// Stable name of the class of error.
    pub fn kind(&self) -> &'static str {
        match self {
            ListError::Read { .. } => "read",
            ListError::TooLarge { .. } => "too_large",
            ListError::Syntax { .. } => "syntax",
            ListError::Empty { .. } => "empty",
        }
    }
}

/// One version of all lists.
#[derive(Clone, Debug)]
pub struct Lists {
    /// Names what was decided with: `builtin-1`, or `lists-` and a hash over the loaded files.
    pub version: String,
    /// User agents of programs.
    pub agents: Agents,
    /// Address ranges.
    pub networks: Networks,
}

impl Lists {
    /// The lists that need no file.
    pub fn builtin() -> Lists {
        Lists { version: "builtin-1".into(), agents: Agents::builtin(), networks: Networks::builtin() }
    }

    /// What a user agent is.
    pub fn user_agent(&self, agent: Option<&str>) -> AgentClass {
        self.agents.class_of(agent)
    }

    /// What is known of a network, given as text; `None` if nothing, or if it is no address.
    pub fn network(&self, address: &str) -> Option<NetworkClass> {
        self.networks.class_of(crate::net::parse_address(address)?)
    }

    /// The built-in lists and those of a directory: [`AGENTS_FILE`], [`SUSPECTS_FILE`], `ip/*.txt`, `*_cidr.txt`, each
    /// optional.
    ///
    /// # Errors
    /// [`ListError`]; a list that is half understood would let traffic through unseen, so nothing is passed over silently.
    pub fn load(directory: &Path) -> Result<Lists, ListError> {
        let mut hash = Sha256::new();
        let mut lists = Lists::builtin();
        let mut found = false;
        let agents = directory.join(AGENTS_FILE);
        if agents.exists() {
            let text = read(&agents, &mut hash)?;
            lists.agents = lists.agents.with_patterns(&agents, &text)?;
            found = true;
        }
        let suspects = directory.join(SUSPECTS_FILE);
        if suspects.exists() {
            let text = read(&suspects, &mut hash)?;
            lists.agents = lists.agents.with_suspects(&suspects, &text)?;
            found = true;
        }
        let mut files = files_of(&directory.join(NETWORKS_FOLDER), ".txt")?;
        files.extend(files_of(directory, "_cidr.txt")?);
        for file in files {
            let text = read(&file, &mut hash)?;
            lists.networks.add_text(&file, &text)?;
            found = true;
        }
        if !found {
            return Err(ListError::Empty { path: directory.to_owned() });
        }
        lists.networks.merge();
        let digest = hash.finalize();
        lists.version = format!("lists-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
        Ok(lists)
    }
}

/// Files whose name ends with `suffix`, sorted by name; none if the folder is absent.
fn files_of(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>, ListError> {
    let fail = |source| ListError::Read { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        if path.is_file() && path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(suffix)) {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(ListError::TooLarge { path: folder.to_owned(), what: format!("more than {FILES_MAX} files") });
        }
    }
    // The system's order is not ours: version and merge must not depend on it.
    files.sort();
    Ok(files)
}

fn read(path: &Path, hash: &mut Sha256) -> Result<String, ListError> {
    let fail = |source| ListError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    let length = file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text).map_err(fail)?;
    if length as u64 > FILE_MAX_BYTES {
        let what = format!("larger than {} MiB", FILE_MAX_BYTES >> 20);
        return Err(ListError::TooLarge { path: path.to_owned(), what });
    }
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
    Ok(text)
}
