//! `shrink`: the smallest scenario that still breaks the same invariant: faults by delta debugging, then traffic, then time.

use clap::Args as ClapArgs;
use serde::Serialize;
use sim::fault::Fault;
use sim::scenario::{Scenario, Wanted};
use sim::world;

use super::children::{self, Seen};
use super::{FAILS, HOLDS, Output, USAGE};
use crate::overrides;

#[derive(ClapArgs)]
#[command(after_help = "Example: bulkhead-sim shrink --seed 7 --mutant no-republication --save small.json")]
pub struct Args {
    #[arg(long, value_parser = super::seed)]
    pub seed: u64,
    #[arg(long, default_value = "2m", value_parser = super::duration_ms)]
    pub until: u64,
    #[arg(long, default_value = "20", value_parser = super::milli)]
    pub rate: u64,
    #[arg(long, value_parser = super::mutant)]
    pub mutant: Option<sim::mutant::Mutant>,
    #[arg(long)]
    pub kafka: Option<bool>,
    /// Real time
    #[arg(long, default_value = "60s", value_parser = super::duration_ms)]
    pub budget: u64,
    /// Writes the scenario there: `replay` runs it, and it can be kept as a regression test
    #[arg(long)]
    pub save: Option<String>,
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

/// A small scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Shrunk {
    pub invariant: String,
    pub message: String,
    pub faults: Vec<Fault>,
    pub bids: u64,
    pub until_ms: u64,
    pub runs: u64,
    pub wall_s: f64,
}

pub fn run(args: &Args) -> u8 {
    let wanted = Wanted {
        seed: args.seed,
        until_ms: args.until,
        rate_milli: args.rate,
        only: None,
        kafka: args.kafka,
        mutant: args.mutant,
    };
    let scenario = Scenario::of(&wanted, &world::service_names());
    let shrunk = match shrink(scenario, args.budget as f64 / 1e3, args.save.as_deref()) {
        Ok(shrunk) => shrunk,
        Err(error) => {
            eprintln!("{error}");
            return if error.starts_with("nothing") { HOLDS } else { USAGE };
        }
    };
    match args.output {
        Output::Json => println!("{}", serde_json::to_string(&shrunk).unwrap_or_default()),
        Output::Text => {
            println!("{}: {}", shrunk.invariant, shrunk.message);
            println!(
                "{} faults, {} bids, {} ms, after {} runs in {:.1} s",
                shrunk.faults.len(),
                shrunk.bids,
                shrunk.until_ms,
                shrunk.runs,
                shrunk.wall_s
            );
            for fault in &shrunk.faults {
                println!("  {:>8} ms +{} {} {}", fault.at_ms, fault.for_ms, fault.kind.name(), fault.service);
            }
        }
    }
    FAILS
}

struct Shrinking {
    best: Scenario,
    seen: Seen,
    invariant: String,
    runs: u64,
    until_s: f64,
}

/// # Errors
/// Nothing broke, the simulator failed, or the file cannot be written.
pub fn shrink(scenario: Scenario, budget_s: f64, save: Option<&str>) -> Result<Shrunk, String> {
    let started_s = overrides::wall_s();
    let seen = children::scenario(&scenario, &[])?;
    let Some(first) = seen.violations.first() else { return Err("nothing to shrink: every invariant held".into()) };
    let invariant = first.invariant.clone();
    let mut shrinking = Shrinking { best: scenario, seen, invariant, runs: 1, until_s: started_s + budget_s };
    // Each smaller dimension makes the runs of the next cheaper; faults may become superfluous with less traffic.
    shrinking.cut_time();
    shrinking.cut_faults();
    shrinking.cut_bids();
    shrinking.cut_time();
    shrinking.cut_faults();
    let Shrinking { best, seen, invariant, runs, .. } = shrinking;
    if let Some(file) = save {
        std::fs::write(file, best.to_json()).map_err(|error| format!("{file}: {error}"))?;
    }
    let message = seen.violations.iter().find(|v| v.invariant == invariant).map(|v| v.message.clone());
    Ok(Shrunk {
        invariant,
        message: message.unwrap_or_default(),
        faults: best.faults.clone(),
        bids: best.bids_max.unwrap_or(seen.impressions),
        until_ms: best.until_ms,
        runs,
        wall_s: overrides::wall_s() - started_s,
    })
}

impl Shrinking {
    /// Takes the candidate if it still breaks the same invariant.
    fn try_on(&mut self, candidate: Scenario) -> bool {
        if overrides::wall_s() > self.until_s {
            return false;
        }
        self.runs += 1;
        match children::scenario(&candidate, &[]) {
            Ok(seen) if seen.violations.iter().any(|v| v.invariant == self.invariant) => {
                (self.best, self.seen) = (candidate, seen);
                true
            }
            _ => false,
        }
    }

    /// Delta debugging (Zeller): leaves out ever smaller parts of the schedule.
    fn cut_faults(&mut self) {
        let mut parts = 2;
        while !self.best.faults.is_empty() && parts <= 2 * self.best.faults.len() {
            let count = self.best.faults.len();
            let size = count.div_ceil(parts).max(1);
            let mut cut = false;
            for from in (0..count).step_by(size) {
                let mut faults = self.best.faults.clone();
                faults.drain(from..(from + size).min(count));
                if self.try_on(Scenario { faults, ..self.best.clone() }) {
                    cut = true;
                    break;
                }
            }
            if cut {
                parts = parts.saturating_sub(1).max(2);
            } else if size == 1 {
                return;
            } else {
                parts *= 2;
            }
        }
    }

    fn cut_bids(&mut self) {
        let mut most = self.best.bids_max.unwrap_or(self.seen.impressions.max(1) * 2);
        let mut least = 0;
        while least < most && overrides::wall_s() < self.until_s {
            let middle = least + (most - least) / 2;
            if self.try_on(Scenario { bids_max: Some(middle), ..self.best.clone() }) {
                most = middle;
            } else {
                least = middle + 1;
            }
        }
    }

    fn cut_time(&mut self) {
        for _ in 0..8 {
            let until_ms = self.best.until_ms / 2;
            let faults = self.best.faults.iter().filter(|fault| fault.at_ms < until_ms).cloned().collect();
            if until_ms < 2_000 || !self.try_on(Scenario { until_ms, faults, ..self.best.clone() }) {
                return;
            }
        }
    }
}
