//! `compare`: months of faults in three worlds, and how each bears more of them.

use std::sync::Mutex;

use clap::Args as ClapArgs;
use serde::Serialize;
use sim::compare::{Incident, chains, month, ours};
use sim::scenario::{Scenario, VERSION};
use sim::world;

use super::children::{self, each, locked};
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
    /// Writes one static page there
    #[arg(long)]
    pub html: Option<String>,
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

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
    /// Faults drawn, and those simulated: shorter pauses cannot make fifteen bad seconds.
    pub faults: usize,
    pub simulated: usize,
    pub violations: u64,
    pub wall_s: f64,
    pub reproduce: String,
}

/// What one window came to, in the order plain, tuned, ours.
type Fell = [bool; 3];

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
    let results: Mutex<Vec<(usize, Fell, bool)>> = Mutex::default();
    let failure: Mutex<Option<String>> = Mutex::default();
    each(args.jobs, windows.len(), |index| {
        if index % 50 == 0 {
            eprint!("\r{index} of {} faults ", windows.len());
        }
        match window(&windows[index].1, &[], &services) {
            Ok((fell, violated)) => locked(&results).push((index, fell, violated)),
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
    for (index, fell, violated) in &results {
        let (number, incident) = &windows[*index];
        violations += u64::from(*violated);
        for (world, fell) in worlds.iter_mut().zip(fell).filter(|(_, fell)| **fell) {
            world.cascades += u64::from(*fell);
            world.days[*number as usize].push(incident.day);
        }
    }
    for world in &mut worlds {
        world.cascades_per_month = world.cascades as f64 / args.months.max(1) as f64;
        world.days.iter_mut().for_each(|days| days.sort_unstable());
    }
    let curve = curve(args, &services);
    let ok = worlds.iter().any(|w| w.world == "bulkhead" && w.cascades == 0) && violations == 0 && args.months > 0;
    let report = Report {
        ok,
        months: args.months,
        worlds,
        curve,
        faults,
        simulated: results.len(),
        violations,
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

/// One fault in all three worlds; whether the platform broke an invariant.
fn window(incident: &Incident, more: &[Incident], services: &[&'static str]) -> Result<(Fell, bool), String> {
    const BEFORE_MS: u64 = 6_000;
    const AFTER_MS: u64 = 10_000;
    /// Bad seconds that make a cascade.
    const LEAST_S: u64 = 15;
    let chains = chains(incident, more);
    let until_ms = BEFORE_MS + incident.for_ms + AFTER_MS;
    let mut faults = vec![ours(incident, services, BEFORE_MS)];
    faults.extend(more.iter().enumerate().map(|(n, other)| {
        ours(other, services, 2_000 + (n as u64 + 1) * (until_ms - 2_000) / (more.len() as u64 + 1))
    }));
    faults.sort_by_key(|fault| fault.at_ms);
    let scenario = Scenario {
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
    };
    let seen = children::scenario(&scenario, &["--watch-ads"])?;
    Ok(([chains.plain, chains.tuned, seen.ads_late_s >= LEAST_S], !seen.violations.is_empty()))
}

/// More and more faults: whatever else falls into the window of one comes on top.
fn curve(args: &Args, services: &[&'static str]) -> Vec<Point> {
    let mut points = Vec::new();
    for factor in [1.0, 2.0, 5.0, 10.0, 20.0, 50.0] {
        let (anchors, _) = month(args.seed ^ 0xc0, 4.0);
        let anchors: Vec<Incident> = anchors.into_iter().rev().take(args.curve).collect();
        // Faults a month times the length of a window of 100 s, as a share of the month.
        let beside = 375.0 * factor * 100.0 / (30.0 * 86_400.0);
        let fell: Mutex<[u64; 3]> = Mutex::default();
        each(args.jobs, anchors.len(), |index| {
            let (others, _) = month(anchors[index].seed, beside / 375.0);
            if let Ok((one, _)) = window(&anchors[index], &others, services) {
                let mut fell = locked(&fell);
                fell.iter_mut().zip(one).for_each(|(sum, fell)| *sum += u64::from(fell));
            }
            true
        });
        let fell = *locked(&fell);
        // The anchors are the long faults, 15 a month.
        let a_month = |fell: u64| fell as f64 / anchors.len().max(1) as f64 * 15.0 * factor;
        points.push(Point {
            fault_rate: factor,
            plain: a_month(fell[0]),
            tuned: a_month(fell[1]),
            bulkhead: a_month(fell[2]),
        });
    }
    points
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
    println!("  again: {}", report.reproduce);
}
