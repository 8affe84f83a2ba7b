//! `mutants`: planted bugs, and how long it takes to find each.

use std::sync::Mutex;

use clap::Args as ClapArgs;
use serde::Serialize;
use sim::mutant::Mutant;
use sim::scenario::{Scenario, Wanted};
use sim::world;

use super::children::{self, each, locked};
use super::{FAILS, HOLDS, Output};
use crate::overrides;

#[derive(ClapArgs)]
#[command(after_help = "Example: bulkhead-sim mutants --only no-read-back,no-marks")]
pub struct Args {
    /// Most seeds for one
    #[arg(long, default_value = "200")]
    pub seeds: u64,
    #[arg(long, default_value = "2")]
    pub jobs: usize,
    /// Only these
    #[arg(long, value_delimiter = ',', value_parser = super::mutant)]
    pub only: Vec<Mutant>,
    #[arg(long, default_value = "40s", value_parser = super::duration_ms)]
    pub until: u64,
    #[arg(long, default_value = "10", value_parser = super::milli)]
    pub rate: u64,
    /// Real time after which the search for one ends
    #[arg(long, default_value = "90s", value_parser = super::duration_ms)]
    pub budget: u64,
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    planted: usize,
    found: usize,
    mutants: Vec<Row>,
    score: f64,
}

#[derive(Serialize, Clone)]
struct Row {
    name: String,
    found: bool,
    seeds_to_find: u64,
    cpu_s_to_find: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    invariant: String,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    explained: Option<&'static str>,
}

pub fn run(args: &Args) -> u8 {
    let planted: Vec<Mutant> =
        Mutant::ALL.iter().copied().filter(|m| args.only.is_empty() || args.only.contains(m)).collect();
    let rows: Mutex<Vec<(usize, Row)>> = Mutex::default();
    each(args.jobs, planted.len(), |index| {
        let row = hunt(planted[index], args);
        eprintln!(
            "{:<28} {} after {} seeds, {:.1} CPU s: {}",
            row.name,
            if row.found { "found" } else { "SURVIVED" },
            row.seeds_to_find,
            row.cpu_s_to_find,
            row.invariant
        );
        locked(&rows).push((index, row));
        true
    });
    let mut rows = rows.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    rows.sort_by_key(|(index, _)| *index);
    let mutants: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    let found = mutants.iter().filter(|row| row.found).count();
    // What another guard covers for is planted to show that it does.
    let wanted = mutants.iter().filter(|row| row.explained.is_none()).count();
    let hit = mutants.iter().filter(|row| row.found && row.explained.is_none()).count();
    let score = if wanted == 0 { 1.0 } else { hit as f64 / wanted as f64 };
    let report = Report { ok: score >= 0.95, planted: mutants.len(), found, mutants, score };
    match args.output {
        Output::Json => println!("{}", serde_json::to_string(&report).unwrap_or_default()),
        Output::Text => {
            println!(
                "{} of {} planted bugs found; {:.0} % of those that no other guard covers for",
                found,
                report.planted,
                score * 100.0
            );
            for row in report.mutants.iter().filter(|row| !row.found) {
                println!("  {} survived: {}", row.name, row.explained.unwrap_or("not found within these seeds"));
            }
        }
    }
    if report.ok { HOLDS } else { FAILS }
}

fn hunt(mutant: Mutant, args: &Args) -> Row {
    let started_s = overrides::wall_s();
    let services = world::service_names();
    let mut row = Row {
        name: mutant.name(),
        found: false,
        seeds_to_find: 0,
        cpu_s_to_find: 0.0,
        seed: None,
        invariant: String::new(),
        what: mutant.what(),
        explained: mutant.covered_by(),
    };
    for seed in 0..args.seeds {
        if overrides::wall_s() - started_s > args.budget as f64 / 1e3 {
            break;
        }
        row.seeds_to_find = seed + 1;
        let wanted = Wanted {
            seed,
            until_ms: args.until,
            rate_milli: args.rate,
            only: None,
            kafka: mutant.kafka(),
            mutant: Some(mutant),
        };
        match children::scenario(&Scenario::of(&wanted, &services), &[]) {
            Ok(seen) => {
                row.cpu_s_to_find += seen.cpu_s;
                if let Some(violation) = seen.violations.first() {
                    row.found = true;
                    row.seed = Some(seed);
                    row.invariant = violation.invariant.clone();
                    break;
                }
            }
            Err(error) => {
                row.invariant = format!("the simulator failed: {error}");
                break;
            }
        }
    }
    row
}
