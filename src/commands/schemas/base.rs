//! What a folder of schemas is compared with: another folder, or the same folder at a commit.

use std::path::{Path, PathBuf};
use std::process::Command;

use schemas::model::Schema;

use super::files::{self, References};
use crate::exit::CommandError;

/// Where the schemas in use are.
pub enum Base {
    Folder(PathBuf),
    /// The folder `dir` as it was at `rev`.
    Git {
        dir: PathBuf,
        rev: String,
    },
}

/// Why the schemas in use cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// A file that cannot be used.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// git does not answer: nothing was checked.
    #[error("git {what}: {why}: is {dir} in a repository that has this commit?")]
    Git { what: String, why: String, dir: String },
}

impl BaseError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Command(error) => error.kind(),
            Self::Git { .. } => "GIT",
        }
    }
}

impl Base {
    /// Names of the schema files, sorted.
    ///
    /// # Errors
    /// The folder or the commit cannot be read.
    pub fn names(&self) -> Result<Vec<String>, BaseError> {
        match self {
            Self::Folder(dir) => Ok(names(dir)?),
            Self::Git { dir, rev } => {
                let list = git(dir, &["ls-tree", "--name-only", rev, "./"])?;
                let mut names: Vec<_> = list.lines().filter(|n| n.ends_with(".avsc")).map(str::to_owned).collect();
                names.sort();
                Ok(names)
            }
        }
    }

    /// The schema in a file that `names` listed.
    ///
    /// # Errors
    /// The file cannot be read, or is no schema.
    pub fn schema(&self, name: &str, references: &References) -> Result<Schema, BaseError> {
        Ok(references.parse(&self.text(name)?, &self.label(name))?)
    }

    /// The text of a file that `names` listed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn text(&self, name: &str) -> Result<String, BaseError> {
        match self {
            Self::Folder(dir) => Ok(files::raw(&dir.join(name))?),
            Self::Git { dir, rev } => git(dir, &["show", &format!("{rev}:./{name}")]),
        }
    }

    /// How a file is called in messages.
    pub fn label(&self, name: &str) -> String {
        match self {
            Self::Folder(dir) => dir.join(name).display().to_string(),
            Self::Git { rev, .. } => format!("{name} at {rev}"),
        }
    }
}

/// Schema files of a folder, sorted.
///
/// # Errors
/// Usage: the folder cannot be read.
pub fn names(dir: &Path) -> Result<Vec<String>, CommandError> {
    let named = |error: std::io::Error| CommandError::usage(format!("{}: {error}", dir.display()));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(named)? {
        let name = entry.map_err(named)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".avsc") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A commit's name as people type it; never an option of git.
///
/// # Errors
/// Empty, or starting with a dash.
pub fn rev(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('-') || text.contains(char::is_whitespace) {
        return Err("no commit: write a branch, a tag or a hash".into());
    }
    Ok(text.to_owned())
}

fn git(dir: &Path, args: &[&str]) -> Result<String, BaseError> {
    let failed = |why: String| BaseError::Git { what: args.join(" "), why, dir: dir.display().to_string() };
    let out = Command::new("git").arg("-C").arg(dir).args(args).output().map_err(|e| failed(e.to_string()))?;
    if !out.status.success() {
        return Err(failed(String::from_utf8_lossy(&out.stderr).trim().to_owned()));
    }
    String::from_utf8(out.stdout).map_err(|e| failed(e.to_string()))
}
