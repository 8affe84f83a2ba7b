//! `swarm`: many seeds, each with faults of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Mutex;

use clap::Args as ClapArgs;
use serde::Serialize;
use sim::fault::Kind;
use sim::oracle::Violation;
use sim::scenario::{Scenario, Wanted};
use sim::world;

use super::children::{Seen, child, each, locked, signature};
use super::{FAILS, HOLDS, Output, USAGE, shrink};
use crate::overrides;

#[derive(ClapArgs)]
#[command(after_help = "Example: bulkhead-sim swarm --seeds 200 --jobs 2 --budget 5m")]
pub struct Args {
    #[arg(long, default_value = "200")]
    pub seeds: u64,
    /// First seed
    #[arg(long, default_value = "1000")]
    pub from: u64,
    /// Worlds at once
    #[arg(long, default_value = "2")]
    pub jobs: usize,
    /// Real time after which no further world begins
    #[arg(long, default_value = "10m", value_parser = super::duration_ms)]
    pub budget: u64,
    /// Virtual time of each world
    #[arg(long, default_value = "10m", value_parser = super::duration_ms)]
    pub until: u64,
    /// Impressions a second
    #[arg(long, default_value = "2", value_parser = super::milli)]
    pub rate: u64,
    /// Writes one line of JSON there as each world ends
    #[arg(long)]
    pub results: Option<String>,
    /// Where shrunk scenarios are written
    #[arg(long)]
    pub save: Option<String>,
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

#[derive(Serialize, Default)]
struct Report {
    ok: bool,
    seeds: u64,
    violations: u64,
    signatures: Vec<Signature>,
    virtual_s: f64,
    wall_s: f64,
    faults: BTreeMap<String, u64>,
    weak: Vec<String>,
    cpu_s: f64,
    events: u64,
    virtual_s_per_cpu_s: f64,
    recovery_s: BTreeMap<String, f64>,
    simulator_failures: Vec<String>,
}

#[derive(Serialize, Clone)]
struct Signature {
    signature: String,
    seeds: Vec<u64>,
    first: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    shrunk: Option<shrink::Shrunk>,
}

#[derive(Default)]
struct Gathered {
    report: Report,
    by_signature: BTreeMap<String, Signature>,
    recoveries_s: Vec<f64>,
    /// A line a world.
    results: Option<std::fs::File>,
}

/// One line of `--results`.
#[derive(Serialize)]
struct Line<'a> {
    seed: u64,
    ok: bool,
    virtual_s: f64,
    cpu_s: f64,
    events: u64,
    impressions: u64,
    converged_s: f64,
    faults: &'a BTreeMap<String, u64>,
    violations: &'a [Violation],
    reproduce: String,
}

pub fn run(args: &Args) -> u8 {
    let started_s = overrides::wall_s();
    let mut gathered = Gathered::default();
    if let Some(file) = &args.results {
        match std::fs::File::create(file) {
            Ok(open) => gathered.results = Some(open),
            Err(error) => {
                eprintln!("{file}: {error}");
                return USAGE;
            }
        }
    }
    let gathered = Mutex::new(gathered);
    let passed_ms = || ((overrides::wall_s() - started_s) * 1e3) as u64;
    each(args.jobs, args.seeds as usize, |index| {
        let seed = args.from + index as u64;
        let arguments = arguments(seed, args);
        let result = child(&[arguments.as_slice(), &["--output".into(), "json".into()]].concat(), None);
        let mut gathered = locked(&gathered);
        gathered.add(seed, &arguments, result);
        let report = &gathered.report;
        if report.seeds % 20 == 0 {
            eprint!(
                "\r{} seeds, {:.1}/s, {:.1} virtual hours, {} faults, {} violations ",
                report.seeds,
                report.seeds as f64 / (overrides::wall_s() - started_s),
                report.virtual_s / 3_600.0,
                report.faults.values().sum::<u64>(),
                report.violations
            );
        }
        passed_ms() < args.budget
    });
    eprintln!();
    let mut gathered = gathered.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    for finding in gathered.by_signature.values_mut() {
        let Some(seed) = finding.seeds.first() else { continue };
        let scenario = Scenario::of(&wanted(*seed, args), &world::service_names());
        finding.shrunk = shrink::shrink(scenario, 60.0, args.save.as_deref()).ok();
    }
    let report = gathered.finish(overrides::wall_s() - started_s);
    match args.output {
        Output::Json => println!("{}", serde_json::to_string(&report).unwrap_or_default()),
        Output::Text => text(&report),
    }
    if report.ok { HOLDS } else { FAILS }
}

fn arguments(seed: u64, args: &Args) -> Vec<String> {
    let rate = format!("{}.{:03}", args.rate / 1_000, args.rate % 1_000);
    let all = ["run", "--seed", &seed.to_string(), "--until", &format!("{}ms", args.until), "--rate", &rate];
    all.map(str::to_owned).to_vec()
}

fn wanted(seed: u64, args: &Args) -> Wanted {
    Wanted { seed, until_ms: args.until, rate_milli: args.rate, only: None, kafka: None, mutant: None }
}

impl Gathered {
    fn add(&mut self, seed: u64, arguments: &[String], result: Result<Seen, String>) {
        let seen = match result {
            Ok(seen) => seen,
            Err(error) => return self.report.simulator_failures.push(format!("seed {seed}: {error}")),
        };
        if let Err(error) = self.write(seed, arguments, &seen) {
            self.report.simulator_failures.push(format!("writing the result of seed {seed}: {error}"));
        }
        let report = &mut self.report;
        report.seeds += 1;
        report.virtual_s += seen.virtual_s;
        report.cpu_s += seen.cpu_s;
        report.events += seen.events;
        self.recoveries_s.push(seen.converged_s);
        for (kind, fired) in seen.faults {
            *report.faults.entry(kind).or_default() += fired;
        }
        if let Some(first) = seen.violations.first() {
            report.violations += 1;
            let signature = signature(first);
            let entry = self.by_signature.entry(signature.clone()).or_insert_with(|| Signature {
                signature,
                seeds: Vec::new(),
                first: format!("{} (bulkhead-sim {})", first.message, arguments.join(" ")),
                shrunk: None,
            });
            entry.seeds.push(seed);
            entry.seeds.sort_unstable();
        }
    }

    fn write(&mut self, seed: u64, arguments: &[String], seen: &Seen) -> std::io::Result<()> {
        let Some(file) = &mut self.results else { return Ok(()) };
        let line = Line {
            seed,
            ok: seen.violations.is_empty(),
            virtual_s: seen.virtual_s,
            cpu_s: seen.cpu_s,
            events: seen.events,
            impressions: seen.impressions,
            converged_s: seen.converged_s,
            faults: &seen.faults,
            violations: &seen.violations,
            reproduce: format!("bulkhead-sim {}", arguments.join(" ")),
        };
        serde_json::to_writer(&mut *file, &line)?;
        file.write_all(b"\n")
    }

    fn finish(mut self, wall_s: f64) -> Report {
        let report = &mut self.report;
        report.signatures = self.by_signature.into_values().collect();
        report.wall_s = wall_s;
        report.virtual_s_per_cpu_s = report.virtual_s / report.cpu_s.max(1e-6);
        let fired: BTreeSet<&String> = report.faults.iter().filter(|(_, n)| **n > 0).map(|(kind, _)| kind).collect();
        let unfired = Kind::ALL.map(Kind::name).into_iter().filter(|name| !fired.contains(name));
        report.weak = unfired.map(|name| format!("{name} never fired")).collect();
        self.recoveries_s.sort_by(f64::total_cmp);
        let at = |share: f64| self.recoveries_s.get((self.recoveries_s.len() as f64 * share) as usize).copied();
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 0.999_999)] {
            report.recovery_s.insert(name.to_owned(), at(share).unwrap_or(0.0));
        }
        report.ok = report.violations == 0 && report.seeds > 0 && report.simulator_failures.is_empty();
        self.report
    }
}

fn text(report: &Report) {
    println!(
        "{} seeds, {:.1} virtual hours in {:.0} s ({:.0} virtual s per CPU s), {} events, {} faults of {} kinds",
        report.seeds,
        report.virtual_s / 3_600.0,
        report.wall_s,
        report.virtual_s_per_cpu_s,
        report.events,
        report.faults.values().sum::<u64>(),
        report.faults.len()
    );
    println!("  violations: {}; calm after the last fault: {:?} s", report.violations, report.recovery_s);
    for finding in &report.signatures {
        println!("  ! {} ({} seeds): {}", finding.signature, finding.seeds.len(), finding.first);
        if let Some(shrunk) = &finding.shrunk {
            println!("    shrunk to {} faults, {} bids, {} ms", shrunk.faults.len(), shrunk.bids, shrunk.until_ms);
        }
    }
    report.simulator_failures.iter().for_each(|failure| println!("  simulator: {failure}"));
    if !report.weak.is_empty() {
        println!("  weak: {}", report.weak.join(", "));
    }
}
