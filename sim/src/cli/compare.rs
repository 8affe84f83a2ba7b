//! `compare`: months of faults in three worlds, and how each bears more of them.

use std::sync::Mutex;

use clap::Args as ClapArgs;
use serde::Serialize;
use sim::compare::{Incident, MONTH_S, chains, month, ours};
use sim::scenario::{Scenario, VERSION};
use sim::world;

use super::breaking::{self, Hang};
use super::children::{self, each, locked};
use super::evidence::{self, Evidence};
use super::{FAILS, HOLDS, Output, USAGE, html};
use crate::overrides;

#[derive(ClapArgs)]
#[command(after_help = "Example: bulkhead-sim compare --months 6 --html month.html")]
pub struct Args {
    #[arg(long, default_value = "6")]
    pub months: u64,
    #[arg(long, default_value = "1", value_parser = super::seed)]
    pub seed: u64,
    #[arg(long, default_value = "2")]
    pub jobs: usize,
    /// Faults simulated at each rate of the curve
    #[arg(long, default_value = "40")]
    pub curve: usize,
    /// Only counts the cascades of the two chains over so many months: the rates of faults are set by it
    #[arg(long)]
    pub calibrate: Option<u64>,
    /// Writes one static page there; it holds seeds with every kind of fault and the planted bugs, too
    #[arg(long)]
    pub html: Option<String>,
    /// Seeds that the page shows beside the months
    #[arg(long, default_value = "40")]
    pub evidence: u64,
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Bad seconds in a row that make a cascade.
pub const BAD_SECONDS_MIN: u64 = 15;

/// One world over all months.
#[derive(Serialize, Clone, Default)]
pub struct World {
    pub world: &'static str,
    pub cascades: u64,
    pub cascades_per_month: f64,
    /// Days with a cascade, by month.
    pub days: Vec<Vec<u32>>,
}

#[derive(Serialize, Clone)]
pub struct Point {
    pub fault_rate: f64,
    pub plain: f64,
    pub tuned: f64,
    pub bulkhead: f64,
}

#[derive(Serialize)]
pub struct Report {
    pub ok: bool,
    pub months: u64,
    pub worlds: Vec<World>,
    pub curve: Vec<Point>,
    /// Longer and longer hangs of the disk that all services stand on, to the first that is a cascade.
    pub breaking: Vec<Hang>,
    /// Faults drawn, and those simulated: shorter pauses cannot make fifteen bad seconds.
    pub faults: usize,
    pub simulated: usize,
    pub violations: u64,
    /// From the end of each fault until the platform was calm.
    #[serde(skip)]
    pub recoveries_s: Vec<f64>,
    #[serde(skip)]
    pub evidence: Option<Evidence>,
    pub wall_s: f64,
    pub reproduce: String,
}

/// What one window came to.
#[derive(Clone, Copy)]
struct Came {
    /// Which worlds fell: plain, tuned, ours.
    fell: [bool; 3],
    /// The platform broke an invariant.
    violated: bool,
    /// From the end of the platform's faults until all was calm.
    recovery_s: f64,
}

pub fn run(args: &Args) -> u8 {
    if let Some(months) = args.calibrate {
        return calibrate(args, months);
    }
    let started_s = overrides::wall_s();
    let services = world::service_names();
    let mut windows: Vec<(u64, Incident)> = Vec::new();
    let mut faults = 0;
    for number in 0..args.months {
        let (incidents, drawn) = month(args.seed.wrapping_add(number), 1.0);
        faults += drawn;
        windows.extend(incidents.into_iter().map(|incident| (number, incident)));
    }
    let results: Mutex<Vec<(usize, Came)>> = Mutex::default();
    let failure: Mutex<Option<String>> = Mutex::default();
    each(args.jobs, windows.len(), |index| {
        if index % 50 == 0 {
            eprint!("\r{index} of {} faults ", windows.len());
        }
        match window(&windows[index].1, &[], &services) {
            Ok(came) => locked(&results).push((index, came)),
            Err(error) => *locked(&failure) = Some(error),
        }
        locked(&failure).is_none()
    });
    eprintln!();
    if let Some(error) = failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        eprintln!("the simulator itself failed: {error}");
        return USAGE;
    }
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut worlds: Vec<World> = ["plain", "tuned", "bulkhead"]
        .map(|world| World { world, days: vec![Vec::new(); args.months as usize], ..World::default() })
        .to_vec();
    let mut violations = 0;
    for (index, came) in &results {
        let (number, incident) = &windows[*index];
        violations += u64::from(came.violated);
        for (world, _) in worlds.iter_mut().zip(came.fell).filter(|(_, fell)| *fell) {
            world.cascades += 1;
            world.days[*number as usize].push(incident.day);
        }
    }
    for world in &mut worlds {
        world.cascades_per_month = world.cascades as f64 / args.months.max(1) as f64;
        world.days.iter_mut().for_each(|days| days.sort_unstable());
    }
    let curve = curve(args, &services);
    let breaking = match windows.first().map_or(Ok(Vec::new()), |(_, first)| breaking::point(first, &services)) {
        Ok(breaking) => breaking,
        Err(error) => {
            eprintln!("the simulator itself failed: {error}");
            return USAGE;
        }
    };
    let evidence = args.html.as_ref().map(|_| evidence::gather(args.jobs, args.evidence, &windows));
    let evidence = match evidence.transpose() {
        Ok(evidence) => evidence,
        Err(error) => {
            eprintln!("the simulator itself failed: {error}");
            return USAGE;
        }
    };
    let ok = worlds.iter().any(|w| w.world == "bulkhead" && w.cascades == 0) && violations == 0 && args.months > 0;
    let report = Report {
        ok,
        months: args.months,
        worlds,
        curve,
        breaking,
        faults,
        simulated: results.len(),
        violations,
        recoveries_s: results.iter().map(|(_, came)| came.recovery_s).collect(),
        evidence,
        wall_s: overrides::wall_s() - started_s,
        reproduce: format!("bulkhead-sim compare --months {} --seed {}", args.months, args.seed),
    };
    if let Some(file) = &args.html
        && let Err(error) = std::fs::write(file, html::page(&report))
    {
        eprintln!("{file}: {error}");
        return USAGE;
    }
    match args.output {
        Output::Json => println!("{}", serde_json::to_string(&report).unwrap_or_default()),
        Output::Text => text(&report),
    }
    if report.ok { HOLDS } else { FAILS }
}

/// Cascades a month that the plain chain is meant to have, and by how much it may miss them.
const CASCADES_A_MONTH: (f64, f64) = (8.0, 2.0);

fn calibrate(args: &Args, months: u64) -> u8 {
    let incidents: Vec<Incident> =
        (0..months).flat_map(|number| month(args.seed.wrapping_add(number), 1.0).0).collect();
    let fell: Mutex<[u64; 2]> = Mutex::default();
    each(args.jobs, incidents.len(), |index| {
        let one = chains(&incidents[index], &[]);
        let mut fell = locked(&fell);
        fell[0] += u64::from(one.plain);
        fell[1] += u64::from(one.tuned);
        true
    });
    let [plain, tuned] = locked(&fell).map(|fell| fell as f64 / months.max(1) as f64);
    let (wanted, within) = CASCADES_A_MONTH;
    let ok = (plain - wanted).abs() <= within && tuned < plain;
    match args.output {
        Output::Json => println!("{}", serde_json::json!({"ok": ok, "months": months, "plain": plain, "tuned": tuned})),
        Output::Text => println!("{months} months: plain {plain:.2}, tuned {tuned:.2} cascades a month"),
    }
    if ok { HOLDS } else { FAILS }
}

/// One fault in all three worlds.
fn window(incident: &Incident, more: &[Incident], services: &[&'static str]) -> Result<Came, String> {
    let chains = chains(incident, more);
    let seen = children::scenario(&scenario_of(incident, more, services), &["--watch-ads"])?;
    Ok(Came {
        fell: [chains.plain, chains.tuned, seen.ads_late_s >= BAD_SECONDS_MIN],
        violated: !seen.violations.is_empty(),
        recovery_s: seen.converged_s,
    })
}

/// The platform's window around a fault. Its window is shorter than the chains', so that `more` come closer together.
pub fn scenario_of(incident: &Incident, more: &[Incident], services: &[&'static str]) -> Scenario {
    const BEFORE_MS: u64 = 6_000;
    const AFTER_MS: u64 = 10_000;
    let until_ms = BEFORE_MS + incident.for_ms + AFTER_MS;
    let mut faults = vec![ours(incident, services, BEFORE_MS)];
    faults.extend(more.iter().enumerate().map(|(n, other)| {
        ours(other, services, 2_000 + (n as u64 + 1) * (until_ms - 2_000) / (more.len() as u64 + 1))
    }));
    faults.sort_by_key(|fault| fault.at_ms);
    Scenario {
        version: VERSION,
        seed: incident.seed,
        until_ms,
        rate_milli: 10_000,
        partitions: 2,
        kafka: false,
        trim: true,
        bids_max: None,
        mutant: None,
        faults,
    }
}

/// More and more faults: whatever else falls into the window of one comes on top. The kinds come in equal numbers, so that
/// rare ones are seen too, and each counts by how often it comes; a window with several faults is met from each of them, so
/// it counts by one over their number.
fn curve(args: &Args, services: &[&'static str]) -> Vec<Point> {
    const FACTORS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 200.0, 1_000.0];
    /// Months' worth of faults that the anchors are taken from.
    const DRAWN: f64 = 60.0;
    let (drawn, _) = month(args.seed ^ 0xc0, DRAWN);
    let mut anchors: Vec<(f64, Incident)> = Vec::new();
    for kind in drawn.chunk_by(|a, b| std::mem::discriminant(&a.trouble) == std::mem::discriminant(&b.trouble)) {
        let taken = args.curve.div_ceil(4).min(kind.len());
        let weight = kind.len() as f64 / DRAWN / taken.max(1) as f64;
        anchors.extend(kind.iter().take(taken).map(|incident| (weight, *incident)));
    }
    FACTORS.map(|factor| point(args, services, &anchors, factor)).to_vec()
}

fn point(args: &Args, services: &[&'static str], anchors: &[(f64, Incident)], factor: f64) -> Point {
    let a_month: Mutex<[f64; 3]> = Mutex::default();
    each(args.jobs, anchors.len(), |index| {
        let (weight, incident) = &anchors[index];
        let share_of_month = incident.window_s() as f64 / MONTH_S;
        let (others, _) = month(incident.seed, factor * share_of_month);
        if let Ok(one) = window(incident, &others, services) {
            let counts = weight * factor / (1 + others.len()) as f64;
            let mut a_month = locked(&a_month);
            a_month.iter_mut().zip(one.fell).filter(|(_, fell)| *fell).for_each(|(sum, _)| *sum += counts);
        }
        true
    });
    let [plain, tuned, bulkhead] = *locked(&a_month);
    Point { fault_rate: factor, plain, tuned, bulkhead }
}

fn text(report: &Report) {
    println!(
        "{} months, {} faults ({} long enough to be simulated), {:.0} s",
        report.months, report.faults, report.simulated, report.wall_s
    );
    for world in &report.worlds {
        println!("  {:<9} {:>4} cascades, {:.1} a month", world.world, world.cascades, world.cascades_per_month);
    }
    println!("  faults x   plain   tuned  bulkhead   (cascades a month)");
    for point in &report.curve {
        println!("  {:>8} {:>7.1} {:>7.1} {:>9.1}", point.fault_rate, point.plain, point.tuned, point.bulkhead);
    }
    println!("  {}", breaking::sentence(&report.breaking));
    println!("  again: {}", report.reproduce);
}
