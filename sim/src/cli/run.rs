//! `run` and `replay`: one world and its verdict.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args as ClapArgs;
use serde::Serialize;
use sim::fault::Kind;
use sim::mutant::Mutant;
use sim::oracle::Violation;
use sim::oracle::flow::Conserved;
use sim::scenario::{Scenario, Wanted};
use sim::world::{self, Lags, Outcome, Watch, WorldError};

use super::{FAILS, HOLDS, Output, USAGE};
use crate::overrides;

#[derive(ClapArgs)]
#[command(after_help = "Example: bulkhead-sim run --seed 7 --until 2m --output json")]
pub struct Args {
    /// What everything is drawn from
    #[arg(long, value_parser = super::seed)]
    pub seed: u64,
    /// Virtual time of traffic and faults; the time to converge comes after it
    #[arg(long, default_value = "2m", value_parser = super::duration_ms)]
    pub until: u64,
    /// Impressions a second
    #[arg(long, default_value = "20", value_parser = super::milli)]
    pub rate: u64,
    /// Only these kinds of faults, by name, separated by commas; `none` for a calm run
    #[arg(long, value_parser = super::kinds)]
    pub faults: Option<BTreeSet<Kind>>,
    /// The log as Kafka is: no refusals, late and lost answers, two owners. By default the seed decides
    #[arg(long)]
    pub kafka: Option<bool>,
    /// A planted bug, see `mutants`
    #[arg(long, value_parser = super::mutant)]
    pub mutant: Option<Mutant>,
    /// Writes the scenario there instead of running it
    #[arg(long)]
    pub save: Option<String>,
    #[command(flatten)]
    pub shown: Shown,
}

#[derive(ClapArgs)]
pub struct ReplayArgs {
    /// A scenario; `-` reads standard input
    pub file: String,
    #[command(flatten)]
    pub shown: Shown,
}

/// How a run is shown.
#[derive(ClapArgs)]
pub struct Shown {
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
    /// Writes the trace there, one line a record
    #[arg(long)]
    pub trace: Option<String>,
    /// Writes one static page there
    #[arg(long)]
    pub html: Option<String>,
    /// Runs the same seed without its faults, too: what is different comes from them
    #[arg(long)]
    pub twin: bool,
    /// Changes the N-th record from outside in its last digit: the trace must show it
    #[arg(long, hide = true)]
    pub change: Option<u64>,
    /// The process dies in the N-th write or sync
    #[arg(long, hide = true, default_value = "0")]
    pub dies_in: u64,
    /// The process dies at the N-th step of a shard
    #[arg(long, hide = true, default_value = "0")]
    pub dies_at_step: u64,
    /// Watches how long ad serving is late in one go
    #[arg(long, hide = true)]
    pub watch_ads: bool,
    /// Says how far behind and how slow every service was, second by second
    #[arg(long, hide = true)]
    pub watch_services: bool,
}

/// `run --output json`.
#[derive(Serialize)]
pub struct Report {
    pub ok: bool,
    pub seed: String,
    pub virtual_s: f64,
    pub cpu_s: f64,
    pub events: u64,
    pub trace_sha256: String,
    pub faults: BTreeMap<String, u64>,
    pub invariants: Vec<Invariant>,
    pub reproduce: String,
    pub violations: Vec<Violation>,
    pub mode: &'static str,
    pub impressions: u64,
    pub virtual_s_per_cpu_s: f64,
    pub events_per_cpu_s: f64,
    pub commits: u64,
    pub void_records: u64,
    pub claims: u64,
    pub repetitions: u64,
    pub dead_letters: u64,
    pub converged_s: f64,
    pub points: u64,
    pub observations: u64,
    pub ads_late_s: u64,
    pub conserved: Vec<Conserved>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lags: Option<Lags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub twin: Option<Twin>,
}

/// The same seed without faults.
#[derive(Serialize)]
pub struct Twin {
    pub ok: bool,
    pub events: u64,
    pub impressions: u64,
    pub converged_s: f64,
    pub ads_late_s: u64,
}

#[derive(Serialize)]
pub struct Invariant {
    pub name: &'static str,
    pub ok: bool,
    pub checked: u64,
}

pub fn run(args: &Args) -> u8 {
    let wanted = Wanted {
        seed: args.seed,
        until_ms: args.until,
        rate_milli: args.rate,
        only: args.faults.clone(),
        kafka: args.kafka,
        mutant: args.mutant,
    };
    let scenario = Scenario::of(&wanted, &world::service_names());
    if let Some(file) = &args.save {
        return match std::fs::write(file, scenario.to_json()) {
            Ok(()) => HOLDS,
            Err(error) => {
                eprintln!("{file}: {error}");
                USAGE
            }
        };
    }
    let mut reproduce =
        format!("bulkhead-sim run --seed {} --until {}ms --rate {}", args.seed, args.until, Milli(args.rate));
    if let Some(kinds) = &args.faults {
        let names: Vec<String> = kinds.iter().map(|kind| kind.name()).collect();
        reproduce.push_str(&format!(" --faults {}", if names.is_empty() { "none".into() } else { names.join(",") }));
    }
    if let Some(kafka) = args.kafka {
        reproduce.push_str(&format!(" --kafka {kafka}"));
    }
    if let Some(mutant) = args.mutant {
        reproduce.push_str(&format!(" --mutant {}", mutant.name()));
    }
    show(scenario, &args.shown, reproduce)
}

pub fn replay(args: &ReplayArgs) -> u8 {
    match Scenario::load(&args.file) {
        Ok(scenario) => show(scenario, &args.shown, format!("bulkhead-sim replay {}", args.file)),
        Err(error) => {
            eprintln!("{}: {error}", error.kind());
            USAGE
        }
    }
}

struct Milli(u64);
impl std::fmt::Display for Milli {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

/// Runs a scenario on this thread, in virtual time. The processor time it took comes with it.
pub fn simulate(scenario: Scenario, watch: Watch) -> Result<(Outcome, f64), WorldError> {
    let started_s = overrides::cpu_s();
    let outcome = in_virtual_time(world::run(scenario, watch))?;
    Ok((outcome, overrides::cpu_s() - started_s))
}

/// Runs a world to its end on this thread; from now on this process has no real time.
pub fn in_virtual_time<T>(world: impl Future<Output = Result<T, WorldError>>) -> Result<T, WorldError> {
    overrides::engage();
    quiet_panics();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().map_err(|e| WorldError::Start(e.to_string()))?;
    runtime.block_on(world)
}

/// Injected panics are part of the plan; what the platform catches needs no backtrace on the screen.
fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let ours = info.payload().downcast_ref::<&str>().is_some_and(|text| text.starts_with("injected:"));
        if !ours {
            usual(info);
        }
    }));
}

fn show(scenario: Scenario, shown: &Shown, reproduce: String) -> u8 {
    let trace_file = match shown.trace.as_deref().map(std::fs::File::create) {
        None => None,
        Some(Ok(file)) => Some(file),
        Some(Err(error)) => {
            eprintln!("{}: {error}", shown.trace.as_deref().unwrap_or_default());
            return USAGE;
        }
    };
    let twin = if shown.twin { Some(twin(&scenario)) } else { None };
    let twin = match twin.transpose() {
        Ok(twin) => twin,
        Err(error) => {
            eprintln!("the simulator itself failed: {error}");
            return USAGE;
        }
    };
    let kept = shown.html.is_some().then(|| scenario.clone());
    let (seed, mode) = (scenario.seed, if scenario.kafka { "kafka" } else { "embedded" });
    let watch = Watch {
        trace_file,
        recent_lines: 0,
        dies_in: shown.dies_in,
        dies_at_step: shown.dies_at_step,
        ads: shown.watch_ads || shown.twin,
        lags: shown.html.is_some() || shown.watch_services,
        changed_parcel: shown.change,
    };
    let (mut outcome, cpu_s) = match simulate(scenario, watch) {
        Ok(done) => done,
        Err(error) => {
            eprintln!("the simulator itself failed ({}): {error}", error.kind());
            return USAGE;
        }
    };
    let lags = std::mem::take(&mut outcome.lags);
    let mut report = Report { twin, ..report(seed, mode, outcome, cpu_s, reproduce) };
    if let (Some(file), Some(scenario)) = (&shown.html, &kept)
        && let Err(error) = std::fs::write(file, super::html_run::page(&report, scenario, &lags))
    {
        eprintln!("{file}: {error}");
        return USAGE;
    }
    report.lags = shown.watch_services.then_some(lags);
    match shown.output {
        Output::Json => println!("{}", serde_json::to_string(&report).unwrap_or_default()),
        Output::Text => text(&report),
    }
    if report.ok { HOLDS } else { FAILS }
}

/// The same world without its faults, in a process of its own.
fn twin(scenario: &Scenario) -> Result<Twin, String> {
    let calm = Scenario { faults: Vec::new(), ..scenario.clone() };
    let seen = super::children::scenario(&calm, &["--watch-ads"])?;
    Ok(Twin {
        ok: seen.violations.is_empty(),
        events: seen.events,
        impressions: seen.impressions,
        converged_s: seen.converged_s,
        ads_late_s: seen.ads_late_s,
    })
}

fn report(seed: u64, mode: &'static str, outcome: Outcome, cpu_s: f64, reproduce: String) -> Report {
    let virtual_s = outcome.virtual_ms as f64 / 1e3;
    let broken: BTreeSet<&str> = outcome.violations.iter().map(|v| v.invariant.as_str()).collect();
    let invariants: Vec<Invariant> = outcome
        .checked
        .iter()
        .map(|(name, checked)| Invariant { name, ok: !broken.contains(name), checked: *checked })
        .collect();
    Report {
        ok: outcome.violations.is_empty(),
        seed: seed.to_string(),
        virtual_s,
        cpu_s,
        events: outcome.handled,
        trace_sha256: outcome.sha256,
        faults: outcome.fired.iter().map(|(kind, n)| (kind.name(), *n)).collect(),
        invariants,
        reproduce,
        violations: outcome.violations,
        mode,
        impressions: outcome.impressions,
        virtual_s_per_cpu_s: virtual_s / cpu_s.max(1e-6),
        events_per_cpu_s: outcome.handled as f64 / cpu_s.max(1e-6),
        commits: outcome.commits,
        void_records: outcome.voids,
        claims: outcome.claims,
        repetitions: outcome.published.repetitions,
        dead_letters: outcome.dead_letters,
        converged_s: outcome.converged_ms as f64 / 1e3,
        points: outcome.points,
        observations: outcome.observations,
        ads_late_s: outcome.ads_late_s,
        conserved: outcome.conserved,
        lags: None,
        twin: None,
    }
}

fn text(report: &Report) {
    println!(
        "seed {} on the {} log: {}",
        report.seed,
        report.mode,
        if report.ok { "everything held" } else { "VIOLATED" }
    );
    println!(
        "  {:.1} virtual s in {:.2} CPU s ({:.0} x), {} events ({:.0}/CPU s), {} impressions",
        report.virtual_s,
        report.cpu_s,
        report.virtual_s_per_cpu_s,
        report.events,
        report.events_per_cpu_s,
        report.impressions
    );
    println!(
        "  {} commits, {} void records, {} claims, {} repetitions, {} dead letters, calm {:.1} s after the last fault",
        report.commits, report.void_records, report.claims, report.repetitions, report.dead_letters, report.converged_s
    );
    let faults: Vec<String> = report.faults.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    println!("  faults: {}", if faults.is_empty() { "none".into() } else { faults.join(", ") });
    for invariant in &report.invariants {
        let mark = if invariant.ok { "held" } else { "BROKEN" };
        println!("  {mark:<6} {:<26} checked {}", invariant.name, invariant.checked);
    }
    for violation in report.violations.iter().take(10) {
        println!("  ! {} at {} ms: {}", violation.invariant, violation.at_ms, violation.message);
    }
    if let Some(twin) = &report.twin {
        println!(
            "  without faults: {} events ({} with), {} impressions ({}), ads late for {} s in one go ({}), calm after {:.1} s ({:.1})",
            twin.events,
            report.events,
            twin.impressions,
            report.impressions,
            twin.ads_late_s,
            report.ads_late_s,
            twin.converged_s,
            report.converged_s
        );
    }
    println!("  trace {}", report.trace_sha256);
    println!("  again: {}", report.reproduce);
}
