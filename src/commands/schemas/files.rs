//! Schema files: any JSON schema under any name.

use std::path::Path;

use schemas::model::{SCHEMA_BYTES_MAX, Schema};

use crate::exit::CommandError;

/// Reads one schema.
///
/// # Errors
/// Usage: the file cannot be read, is too large, or is no schema; with its name.
pub fn read(path: &Path) -> Result<Schema, CommandError> {
    let named = |error: &dyn std::fmt::Display| CommandError::usage(format!("{}: {error}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|e| named(&e))?.len();
    if bytes > SCHEMA_BYTES_MAX as u64 {
        return Err(named(&format!("{bytes} bytes; a schema has at most {SCHEMA_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| named(&e))?;
    Schema::parse(&text).map_err(|e| named(&e))
}
