//! `bulkhead schemas`: what may change, what bytes mean, and which schemas are built in.

mod base;
mod check;
mod decode;
mod files;
mod live;
mod ls;
mod register;
mod report;
mod sarif;
mod target;
mod transfer;
mod usage;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::Output;
use crate::exit::CommandError;

/// Check changes of Avro schemas, decode bytes with them, register, list, export and import them, tell who uses them
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
    Ls(usage::LsArgs),
    Register(register::RegisterArgs),
    Export(transfer::ExportArgs),
    Import(transfer::ImportArgs),
    Usage(usage::UsageArgs),
}

/// Runs one of them.
///
/// # Errors
/// An unusable file is usage, everything else a failure.
pub fn run(args: SchemasArgs, output: Output) -> Result<ExitCode, CommandError> {
    match args.command {
        SchemasCommand::Check(args) => check::run(&args, output),
        SchemasCommand::Decode(args) => decode::run(&args, output),
        SchemasCommand::Ls(args) if args.target.is_given() => usage::ls(&args.target, output),
        SchemasCommand::Ls(_) => ls::run(output),
        SchemasCommand::Register(args) => register::run(args, output),
        SchemasCommand::Export(args) => transfer::export(args, output),
        SchemasCommand::Import(args) => transfer::import(args, output),
        SchemasCommand::Usage(args) => usage::run(args, output),
    }
}

#[cfg(test)]
mod tests;
