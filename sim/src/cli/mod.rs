//! The command line.

mod breaking;
mod children;
pub mod compare;
pub mod crashpoints;
mod evidence;
pub mod explain;
mod html;
mod html_evidence;
mod html_run;
mod html_services;
pub mod isolation;
pub mod model;
pub mod mutants;
pub mod run;
pub mod shrink;
pub mod swarm;

use std::collections::BTreeSet;

use clap::{Parser, Subcommand, ValueEnum};
use sim::fault::Kind;
use sim::mutant::Mutant;

/// Exit codes of every command.
pub const HOLDS: u8 = 0;
pub const FAILS: u8 = 1;
pub const USAGE: u8 = 2;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Parser)]
#[command(
    name = "bulkhead-sim",
    version,
    about = "The platform's own services, shards, log and supervision under a seed, in virtual time",
    after_help = "Example: bulkhead-sim run --seed 1 --until 30m"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// One seed, one world: its verdict, trace hash and the line that reproduces it
    Run(run::Args),
    /// Many seeds, each with faults of its own
    Swarm(swarm::Args),
    /// What every service did around the first violation of a seed, side by side
    Explain(explain::Args),
    /// The smallest scenario that still breaks the same invariant
    Shrink(shrink::Args),
    /// Planted bugs, and how long it takes to find each
    Mutants(mutants::Args),
    /// Small scenarios with a death at every write, sync and step
    Crashpoints(crashpoints::Args),
    /// Months of faults in three worlds: the synchronous chain, the same tuned, and the platform
    Compare(compare::Args),
    /// The commit protocol searched exhaustively, whole and with each rule weakened
    Model(model::Args),
    /// Every pair of services and every kind of fault: does anybody feel it?
    Isolation(isolation::Args),
    /// One run of `isolation`
    #[command(hide = true)]
    IsolationRun,
    /// A scenario file again, as `shrink` saved it
    Replay(run::ReplayArgs),
    /// First diverging line of two trace files
    Diff {
        /// A file written with `run --trace`
        a: String,
        /// Another one
        b: String,
    },
}

/// Reads `200ms`, `10s`, `5m`, `6h`; milliseconds.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        other => return Err(format!("{other:?} is no unit of time; write 200ms, 10s, 5m or 6h")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is no whole number"))?;
    number.checked_mul(unit).filter(|ms| *ms <= 366 * 86_400_000).ok_or_else(|| format!("{text} is over a year"))
}

/// Reads a list of fault kinds; `none` is none.
pub fn kinds(text: &str) -> Result<BTreeSet<Kind>, String> {
    if text == "none" {
        return Ok(BTreeSet::new());
    }
    let known = || Kind::ALL.map(Kind::name).join(", ");
    text.split(',')
        .map(|name| Kind::parse(name).ok_or_else(|| format!("unknown fault {name}; there are {}", known())))
        .collect()
}

/// Reads the name of a planted bug.
pub fn mutant(name: &str) -> Result<Mutant, String> {
    let known = || Mutant::ALL.iter().map(|mutant| mutant.name()).collect::<Vec<_>>().join(", ");
    Mutant::parse(name).ok_or_else(|| format!("unknown mutant {name}; there are {}", known()))
}

/// Reads a decimal or 0x number.
pub fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text:?} is no seed; write a number or 0x..."))
}

/// Thousandths of a number such as `20` or `0.5`.
pub fn milli(text: &str) -> Result<u64, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = format!("{part:0<3}");
    let number = || Some(whole.parse::<u64>().ok()?.checked_mul(1_000)? + part.get(..3)?.parse::<u64>().ok()?);
    number()
        .filter(|n| (1..=100_000_000).contains(n))
        .ok_or_else(|| format!("{text:?} is no rate above 0 and up to 100000"))
}
