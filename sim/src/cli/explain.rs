//! `explain`: a seed again, and what happened around its first violation.

use clap::Args as ClapArgs;
use sim::explain::story;
use sim::mutant::Mutant;
use sim::scenario::{Scenario, Wanted};
use sim::world::{self, Watch};

use super::run::simulate;
use super::{FAILS, HOLDS, USAGE};

/// Lines of the trace kept: some minutes of a busy world.
const LINES_KEPT: usize = 400_000;

#[derive(ClapArgs)]
#[command(after_help = "Example: bulkhead-sim explain --seed 0 --mutant no-marks")]
pub struct Args {
    #[arg(long, value_parser = super::seed, required_unless_present = "scenario")]
    pub seed: Option<u64>,
    /// A scenario file instead of a seed, as `shrink` saves it
    #[arg(long, conflicts_with = "seed")]
    pub scenario: Option<String>,
    #[arg(long, default_value = "2m", value_parser = super::duration_ms)]
    pub until: u64,
    #[arg(long, default_value = "20", value_parser = super::milli)]
    pub rate: u64,
    #[arg(long)]
    pub kafka: Option<bool>,
    #[arg(long, value_parser = super::mutant)]
    pub mutant: Option<Mutant>,
    /// Lines of the story
    #[arg(long, default_value = "60", value_parser = clap::value_parser!(u16).range(5..=2000))]
    pub rows: u16,
}

pub fn run(args: &Args) -> u8 {
    let scenario = match (&args.scenario, args.seed) {
        (Some(file), _) => match Scenario::load(file) {
            Ok(scenario) => scenario,
            Err(error) => {
                eprintln!("{}: {error}", error.kind());
                return USAGE;
            }
        },
        (None, seed) => {
            let (seed, until_ms, rate_milli) = (seed.unwrap_or_default(), args.until, args.rate);
            let (kafka, mutant) = (args.kafka, args.mutant);
            Scenario::of(&Wanted { seed, until_ms, rate_milli, only: None, kafka, mutant }, &world::service_names())
        }
    };
    let watch = Watch { recent_lines: LINES_KEPT, ..Watch::default() };
    let (outcome, _) = match simulate(scenario, watch) {
        Ok(done) => done,
        Err(error) => {
            eprintln!("the simulator itself failed ({}): {error}", error.kind());
            return USAGE;
        }
    };
    let Some(first) = outcome.violations.iter().min_by_key(|violation| violation.at_ms) else {
        println!("nothing to explain: every invariant held");
        return HOLDS;
    };
    print!("{}", story(&outcome.recent, first, args.rows.into()));
    let others = outcome.violations.len() - 1;
    if others > 0 {
        println!("and {others} more violations after it");
    }
    FAILS
}
