//! Interleaved pairs: a calm window, then one with the fault, again and again, so that both meet the same machine.

use std::time::Duration;

use runtime::env::Env;
use runtime::fault::FaultKind;
use runtime::topology;
use sim::isolation::{Cell, KEEPS_A_THREAD, Report};

use super::interval::{median, of_median};
use super::rig::{Rig, Watched, Window};
use crate::exit::CommandError;

/// A healthy neighbour may be this much slower: what a scheduler's slice and a disk's bad moment cost.
pub const MORE_MS_MAX: f64 = 2.0;
/// Services that spin beside the broken one until every core has its spinner: nobody reads what they write but each other.
const SPINNERS: [&str; 2] = ["attribution", "analytics"];
/// Pairs of the control: its harm is hundreds of times what is asked about, and who is harmed needs seconds to catch up.
const CONTROL_PAIRS: u32 = 2;
/// Load is planned for this many times what the windows take by themselves: catching up takes time too.
const SPARE: u32 = 5;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Services that are broken and observed.
    pub services: Vec<&'static str>,
    pub kinds: Vec<FaultKind>,
    pub pairs: u32,
    pub window: Duration,
    /// Requests a second.
    pub rate: u64,
    pub seed: u64,
}

/// Windows of one fault in one service.
struct Series {
    faulted: &'static str,
    kind: FaultKind,
    pairs: Vec<(Window, Window)>,
}

/// Worker threads that the process may use at once.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Measures the matrix and, without bulkheads, the control.
///
/// # Errors
/// [`CommandError`] if a platform does not run to the end.
pub async fn measure(plan: &Plan, told: impl Fn(&str)) -> Result<Report, CommandError> {
    let env = Env::production();
    let mut report = Report { kinds: plan.kinds.iter().map(|kind| kind.name()).collect(), ..Report::default() };
    let mut rig = Rig::start(&env, plan.rate, lasting(plan, plan.kinds.len()), plan.seed).await?;
    report.utilisation = rig.utilisation(plan.window).await?;
    let series = play(&mut rig, plan, &plan.kinds, false, &told).await?;
    rig.end();
    report.cells = cells(&series, plan, &mut report.failures);
    let kept = |kind: &FaultKind| KEEPS_A_THREAD.contains(kind);
    let control = Plan {
        kinds: plan.kinds.iter().copied().filter(kept).collect(),
        pairs: plan.pairs.min(CONTROL_PAIRS),
        ..plan.clone()
    };
    if !control.kinds.is_empty() {
        told("without bulkheads");
        let env = Env::without_bulkheads(cores()).map_err(CommandError::failed)?;
        let mut rig = Rig::start(&env, plan.rate, lasting(&control, control.kinds.len()), plan.seed).await?;
        let series = play(&mut rig, &control, &control.kinds, true, &told).await?;
        rig.end();
        report.control = cells(&series, &control, &mut report.failures);
    }
    Ok(report)
}

fn lasting(plan: &Plan, kinds: usize) -> Duration {
    let windows = 2 * plan.pairs * (plan.services.len() * kinds) as u32;
    SPARE * plan.window * windows + Duration::from_secs(30)
}

async fn play(
    rig: &mut Rig,
    plan: &Plan,
    kinds: &[FaultKind],
    is_control: bool,
    told: &impl Fn(&str),
) -> Result<Vec<Series>, CommandError> {
    let mut series: Vec<Series> = Vec::new();
    for kind in kinds {
        series.extend(plan.services.iter().map(|faulted| Series { faulted, kind: *kind, pairs: Vec::new() }));
    }
    for pair in 0..plan.pairs {
        for Series { faulted, kind, pairs } in &mut series {
            told(&format!("pair {} of {}: {faulted} {}", pair + 1, plan.pairs, kind.name()));
            let mut broken = vec![*faulted];
            if *kind == FaultKind::Spin && !is_control {
                broken.extend(SPINNERS.iter().take(cores() - 1));
            }
            let calm = rig.window(plan.window, &[], *kind).await?;
            pairs.push((calm, rig.window(plan.window, &broken, *kind).await?));
        }
    }
    Ok(series)
}

fn cells(series: &[Series], plan: &Plan, failures: &mut Vec<String>) -> Vec<Cell> {
    let specs: Vec<_> = actors::catalogue::services(&actors::catalogue::Config::default())
        .into_iter()
        .map(|service| service.spec)
        .collect();
    let mut cells = Vec::new();
    for Series { faulted, kind, pairs } in series {
        if pairs.iter().any(|(_, broken)| broken.get(faulted).is_none_or(|watched| watched.fired == 0)) {
            failures.push(format!("{} of {faulted} did not take hold in every window", kind.name()));
        }
        for observed in plan.services.iter().filter(|name| *name != faulted) {
            let depends = topology::depends(&specs, observed, faulted);
            cells.extend(cell(pairs, faulted, observed, *kind, depends));
        }
    }
    cells
}

fn cell(pairs: &[(Window, Window)], faulted: &str, observed: &str, kind: FaultKind, depends: bool) -> Option<Cell> {
    let both = |(calm, broken): &(Window, Window)| Some((*calm.get(observed)?, *broken.get(observed)?));
    let both: Vec<(Watched, Watched)> = pairs.iter().filter_map(both).collect();
    let of = |figure: &dyn Fn(&Watched, &Watched) -> f64| both.iter().map(|(c, b)| figure(c, b)).collect::<Vec<_>>();
    let ratios = of(&|calm, broken| broken.p99_us as f64 / calm.p99_us.max(1) as f64);
    let more_ms = of(&|calm, broken| (broken.p99_us as f64 - calm.p99_us as f64) / 1e3);
    let share = |watched: &Watched| watched.settled as f64 / watched.readable.max(1) as f64;
    let shares = of(&|calm, broken| share(broken) / share(calm).max(f64::MIN_POSITIVE));
    let failures = |watched: &Watched| watched.dead_lettered + watched.restarts;
    let errors = both.iter().map(|(calm, broken)| failures(broken).saturating_sub(failures(calm))).sum();
    let cell = Cell {
        faulted: faulted.to_owned(),
        observed: observed.to_owned(),
        kind: kind.name(),
        p99_ratio: median(&ratios),
        p99_more_ms: median(&more_ms),
        throughput_ratio: median(&shares),
        depends,
        errors,
        more_ms_interval: Some(of_median(&more_ms)),
        holds: false,
    };
    (!both.is_empty()).then(|| cell.judged(MORE_MS_MAX))
}
