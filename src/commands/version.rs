//! `bulkhead version`.

use std::process::ExitCode;

use crate::cli::Output;
use crate::exit::CommandError;

/// Prints what this build is.
///
/// # Errors
/// None; the type is that of every command.
pub fn run(output: Output) -> Result<ExitCode, CommandError> {
    let version = env!("CARGO_PKG_VERSION");
    match output {
        Output::Text => println!("bulkhead {version}"),
        Output::Json => println!("{}", serde_json::json!({ "name": "bulkhead", "version": version })),
    }
    Ok(ExitCode::SUCCESS)
}
