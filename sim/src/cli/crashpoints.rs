//! `crashpoints`: every write, sync and step of small scenarios is once the last thing that a process did.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args as ClapArgs;
use serde::Serialize;
use sim::fault::{Fault, Kind};
use sim::scenario::{Scenario, VERSION};

use super::children::{self, each, locked, signature};
use super::{FAILS, HOLDS, Output, USAGE};
use crate::overrides;

#[derive(ClapArgs)]
#[command(after_help = "Example: bulkhead-sim crashpoints snapshots --points 300")]
pub struct Args {
    /// Only this scenario: calm, snapshots, panics, kills, drain, duplicates
    pub scenario: Option<String>,
    /// At most so many points a scenario, spread evenly; all by default
    #[arg(long)]
    pub points: Option<usize>,
    #[arg(long, default_value = "2")]
    pub jobs: usize,
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    scenarios: usize,
    points: u64,
    violations: usize,
    wall_s: f64,
    of: Vec<(String, u64)>,
    findings: Vec<String>,
}

fn fault(kind: Kind, at_ms: u64, for_ms: u64, service: &str) -> Fault {
    Fault { kind, at_ms, for_ms, service: service.to_owned(), draw: 7 }
}

/// Small worlds that between them do everything a shard does.
fn scenarios() -> Vec<(&'static str, Scenario)> {
    let base = |seed, trim, until_ms, faults| Scenario {
        version: VERSION,
        seed,
        until_ms,
        rate_milli: 4_000,
        partitions: 1,
        kafka: false,
        trim,
        bids_max: Some(8),
        mutant: None,
        faults,
    };
    vec![
        ("calm", base(1, false, 3_000, vec![])),
        ("snapshots", Scenario { bids_max: Some(40), rate_milli: 12_000, ..base(2, true, 4_000, vec![]) }),
        ("panics", base(3, false, 3_500, vec![fault(Kind::Panic, 1_500, 900, "billing")])),
        (
            "kills",
            base(
                4,
                true,
                3_500,
                vec![fault(Kind::ServiceKill, 1_800, 100, "ads"), fault(Kind::ShardKill, 2_200, 100, "billing")],
            ),
        ),
        ("drain", base(5, true, 4_000, vec![fault(Kind::DrainRestart, 2_000, 100, "")])),
        ("duplicates", base(6, false, 3_500, vec![fault(Kind::DuplicateDelivery, 1_000, 2_500, "")])),
    ]
}

pub fn run(args: &Args) -> u8 {
    let started_s = overrides::wall_s();
    let mut chosen = scenarios();
    if let Some(name) = &args.scenario {
        let known: Vec<&str> = chosen.iter().map(|(name, _)| *name).collect();
        if !known.contains(&name.as_str()) {
            eprintln!("no scenario is named {name}; there are {}", known.join(", "));
            return USAGE;
        }
        chosen.retain(|(known, _)| known == name);
    }
    let mut report = Report {
        ok: true,
        scenarios: chosen.len(),
        points: 0,
        violations: 0,
        wall_s: 0.0,
        of: Vec::new(),
        findings: Vec::new(),
    };
    for (name, scenario) in &chosen {
        let calm = match children::scenario(scenario, &[]) {
            Ok(calm) => calm,
            Err(error) => {
                eprintln!("the simulator itself failed: {error}");
                return USAGE;
            }
        };
        let mut deaths: Vec<String> = (1..=calm.points).map(|n| format!("--dies-in={n}")).collect();
        deaths.extend((1..=calm.observations).map(|n| format!("--dies-at-step={n}")));
        if let Some(most) = args.points.filter(|most| *most < deaths.len()) {
            let all = deaths.len();
            deaths = (0..most).map(|index| deaths[index * all / most].clone()).collect();
        }
        let done = AtomicU64::new(0);
        let findings: Mutex<Vec<String>> = Mutex::default();
        each(args.jobs, deaths.len(), |index| {
            let finding = match children::scenario(scenario, &[&deaths[index]]) {
                Ok(seen) => seen.violations.first().map(signature),
                Err(error) => Some(format!("simulator: {error}")),
            };
            if let Some(finding) = finding {
                locked(&findings).push(format!("{name} {}: {finding}", deaths[index]));
            }
            if done.fetch_add(1, Ordering::Relaxed) % 100 == 99 {
                eprint!("\r{name}: {} of {} ", done.load(Ordering::Relaxed), deaths.len());
            }
            true
        });
        report.points += deaths.len() as u64;
        report.of.push(((*name).to_owned(), deaths.len() as u64));
        report.findings.extend(findings.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
    eprintln!();
    report.findings.sort();
    report.violations = report.findings.len();
    report.ok = report.violations == 0 && report.points > 0;
    report.wall_s = overrides::wall_s() - started_s;
    match args.output {
        Output::Json => println!("{}", serde_json::to_string(&report).unwrap_or_default()),
        Output::Text => {
            println!(
                "{} deaths in {} scenarios, {} violations, {:.0} s: {:?}",
                report.points, report.scenarios, report.violations, report.wall_s, report.of
            );
            report.findings.iter().take(20).for_each(|finding| println!("  ! {finding}"));
        }
    }
    if report.ok { HOLDS } else { FAILS }
}
