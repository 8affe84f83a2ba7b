//! `bulkhead-sim`: the chaos simulation from the command line. It replaces libc's clock and randomness for the whole
//! process, which is why it is a program of its own.

mod cli;
mod overrides;

use std::process::ExitCode;

use clap::Parser as _;

/// Worlds are many small objects; a tenth of the time was the allocator's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    ExitCode::from(match cli.command {
        cli::Command::Run(args) => cli::run::run(&args),
        cli::Command::Replay(args) => cli::run::replay(&args),
        cli::Command::Swarm(args) => cli::swarm::run(&args),
        cli::Command::Shrink(args) => cli::shrink::run(&args),
        cli::Command::Mutants(args) => cli::mutants::run(&args),
        cli::Command::Crashpoints(args) => cli::crashpoints::run(&args),
        cli::Command::Compare(args) => cli::compare::run(&args),
        cli::Command::Explain(args) => cli::explain::run(&args),
        cli::Command::Model(args) => cli::model::run(&args),
        cli::Command::Isolation(args) => cli::isolation::run(&args),
        cli::Command::IsolationRun => cli::isolation::child(),
        cli::Command::Diff { a, b } => diff(&a, &b),
    })
}

fn diff(a: &str, b: &str) -> u8 {
    match sim::trace::first_difference(a, b) {
        Ok(None) => {
            println!("the same");
            cli::HOLDS
        }
        Ok(Some((line, left, right))) => {
            println!("line {line}\n< {left}\n> {right}");
            cli::FAILS
        }
        Err(error) => {
            eprintln!("{error}");
            cli::USAGE
        }
    }
}
