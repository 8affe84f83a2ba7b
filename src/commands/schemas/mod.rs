//! `bulkhead schemas`: what may change, what bytes mean, and which schemas are built in.

mod base;
mod check;
mod decode;
mod files;
mod ls;
mod report;
mod sarif;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::Output;
use crate::exit::CommandError;

/// Check changes of Avro schemas, decode bytes with them, list those that are built in
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bulkhead schemas check --reader new.avsc --writer old.avsc")]
pub struct SchemasArgs {
    #[command(subcommand)]
    command: SchemasCommand,
}

#[derive(Subcommand, Debug)]
enum SchemasCommand {
    Check(check::CheckArgs),
    Decode(decode::DecodeArgs),
    /// List the schemas of this binary with their ids and fingerprints
    #[command(after_help = "Example:\n  bulkhead schemas ls --output json")]
    Ls,
}

/// Runs one of them.
///
/// # Errors
/// An unusable file is usage, everything else a failure.
pub fn run(args: SchemasArgs, output: Output) -> Result<ExitCode, CommandError> {
    match args.command {
        SchemasCommand::Check(args) => check::run(&args, output),
        SchemasCommand::Decode(args) => decode::run(&args, output),
        SchemasCommand::Ls => ls::run(output),
    }
}

#[cfg(test)]
mod tests;
