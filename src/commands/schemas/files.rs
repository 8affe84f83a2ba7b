//! Schema files: any JSON schema under any name.

use std::path::Path;

use schemas::model::{SCHEMA_BYTES_MAX, Schema};

use crate::exit::CommandError;

/// Reads one schema.
///
/// # Errors
/// Usage: the file cannot be read, is too large, or is no schema; with its name.
pub fn read(path: &Path) -> Result<Schema, CommandError> {
    Schema::parse(&raw(path)?).map_err(|e| CommandError::usage(format!("{}: {e}", path.display())))
}

/// The text of a schema that stands by itself.
///
/// # Errors
/// As `read`.
pub fn text(path: &Path) -> Result<String, CommandError> {
    read(path)?;
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
