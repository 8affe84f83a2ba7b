//! Schema files: any JSON schema under any name, and the files of named types that it takes from elsewhere.

use std::path::{Path, PathBuf};

use clap::Args;
use schemas::model::{SCHEMA_BYTES_MAX, Schema, SchemaErrorKind};

use super::base::{Base, BaseError};
use crate::exit::CommandError;

/// A schema names at most so many files: a registry's own limit is of the same size.
const REFERENCES_MAX: usize = 64;

/// Files that define what the schemas of a command name without defining it.
#[derive(Args, Clone, Debug, Default)]
pub struct ReferenceArgs {
    /// File of named types that the schemas take from elsewhere
    #[arg(long = "reference", value_name = "FILE", value_delimiter = ',')]
    files: Vec<PathBuf>,
}

/// The texts of such files.
#[derive(Default)]
pub struct References(Vec<String>);

impl ReferenceArgs {
    /// The files as they lie there.
    ///
    /// # Errors
    /// Usage: one cannot be read, is too large or is no schema; or there are too many.
    pub fn load(&self) -> Result<References, CommandError> {
        self.texts(raw)
    }

    /// The same types as they were for the schemas in use: a file of `dir` has its namesake there, if that was there.
    ///
    /// # Errors
    /// As `load`, and what the base answers.
    pub fn load_at(&self, dir: &Path, base: &Base) -> Result<References, BaseError> {
        if self.files.is_empty() {
            return Ok(References::default());
        }
        let old = base.names()?;
        self.texts(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let of_dir = path.parent().and_then(|p| p.canonicalize().ok()) == dir.canonicalize().ok();
            if of_dir && old.contains(&name) { base.text(&name) } else { Ok(raw(path)?) }
        })
    }

    fn texts<E: From<CommandError>>(&self, text: impl Fn(&Path) -> Result<String, E>) -> Result<References, E> {
        if self.files.len() > REFERENCES_MAX {
            let message = format!("{} files of --reference: at most {REFERENCES_MAX} are read", self.files.len());
            return Err(CommandError::usage(message).into());
        }
        let mut references = References::default();
        for path in &self.files {
            references.0.push(text(path)?);
        }
        // Together, because they may name each other: a mistake is told of the file that has it, not of who names it.
        for (i, path) in self.files.iter().enumerate() {
            references.parse(&references.0[i], &path.display().to_string())?;
        }
        Ok(references)
    }
}

impl References {
    /// Reads one schema.
    ///
    /// # Errors
    /// Usage: the file cannot be read, is too large, or is no schema; with its name.
    pub fn read(&self, path: &Path) -> Result<Schema, CommandError> {
        self.parse(&raw(path)?, &path.display().to_string())
    }

    /// A schema from its text; `label` says whose it is.
    ///
    /// # Errors
    /// Usage: the text is no schema.
    pub fn parse(&self, text: &str, label: &str) -> Result<Schema, CommandError> {
        let others: Vec<&str> = self.0.iter().map(String::as_str).filter(|other| *other != text).collect();
        Schema::parse_with(text, &others).map_err(|e| {
            let hint = match e.kind {
                SchemaErrorKind::Reference => "; is it in a file of its own? name it: --reference FILE",
                _ => "",
            };
            CommandError::usage(format!("{label}: {e}{hint}"))
        })
    }
}

/// The text of a schema that stands by itself.
///
/// # Errors
/// As `References::read`.
pub fn text(path: &Path) -> Result<String, CommandError> {
    References::default().read(path)?;
    raw(path)
}

/// The text of a file that may be a schema.
///
/// # Errors
/// Usage: the file cannot be read or is too large; with its name.
pub fn raw(path: &Path) -> Result<String, CommandError> {
    let named = |error: &dyn std::fmt::Display| CommandError::usage(format!("{}: {error}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|e| named(&e))?.len();
    if bytes > SCHEMA_BYTES_MAX as u64 {
        return Err(named(&format!("{bytes} bytes; a schema has at most {SCHEMA_BYTES_MAX}")));
    }
    std::fs::read_to_string(path).map_err(|e| named(&e))
}
