//! `isolation`: every pair of services, every kind of fault, the same seed with the fault and without, and the control.

use std::sync::Mutex;

use clap::Args as ClapArgs;
use runtime::fault::FaultKind;
use serde::{Deserialize, Serialize};
use sim::isolation::picture::{self, Words};
use sim::isolation::twin::{self, Plan, Twin};
use sim::isolation::{self, Demands, KEEPS_A_THREAD, Report, UTILISATION_MIN, table};
use sim::world;

use super::children::{self, each, locked};
use super::{FAILS, HOLDS, Output, USAGE};
use crate::overrides;

#[derive(ClapArgs)]
#[command(after_help = "Example: bulkhead-sim isolation --faulted fraud,billing --kinds spin,slow --svg isolation.svg")]
pub struct Args {
    #[arg(long, default_value = "1", value_parser = super::seed)]
    pub seed: u64,
    /// Impressions a second
    #[arg(long, default_value = "1000", value_parser = super::milli)]
    pub rate: u64,
    /// Only these services are broken, separated by commas; everybody is observed
    #[arg(long, value_delimiter = ',')]
    pub faulted: Vec<String>,
    /// Only these kinds of faults, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = kind)]
    pub kinds: Vec<FaultKind>,
    /// How long each fault lasts
    #[arg(long = "for", default_value = "5s", value_parser = super::duration_ms)]
    pub for_ms: u64,
    #[arg(long, default_value = "2")]
    pub jobs: usize,
    /// Writes the picture there
    #[arg(long)]
    pub svg: Option<String>,
    /// Writes the matrix there as Markdown
    #[arg(long)]
    pub table: Option<String>,
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

fn kind(name: &str) -> Result<FaultKind, String> {
    let known = || FaultKind::ALL.map(FaultKind::name).join(", ");
    FaultKind::parse(name).ok_or_else(|| format!("unknown fault {name}; there are {}", known()))
}

/// What a child is asked to run.
#[derive(Clone, Serialize, Deserialize)]
struct Asked {
    plan: Plan,
    /// Service and kind.
    fault: Option<(String, String)>,
}

/// One run, asked for on standard input; its answer is on standard output.
pub fn child() -> u8 {
    let asked: Asked = match serde_json::from_reader(std::io::stdin().lock()) {
        Ok(asked) => asked,
        Err(error) => {
            eprintln!("no run on standard input: {error}");
            return USAGE;
        }
    };
    let fault = asked.fault.as_ref().and_then(|(service, kind)| Some((service.as_str(), FaultKind::parse(kind)?)));
    match super::run::in_virtual_time(twin::run(asked.plan, fault)) {
        Ok(twin) => {
            println!("{}", serde_json::to_string(&twin).unwrap_or_default());
            HOLDS
        }
        Err(error) => {
            eprintln!("the simulator itself failed ({}): {error}", error.kind());
            USAGE
        }
    }
}

fn ask(plan: Plan, fault: Option<(&str, FaultKind)>) -> Result<Twin, String> {
    let asked = Asked { plan, fault: fault.map(|(service, kind)| (service.to_owned(), kind.name().to_owned())) };
    let input = serde_json::to_string(&asked).map_err(|error| error.to_string())?;
    children::child(&["isolation-run".to_owned()], Some(&input))
}

/// A run of the matrix.
#[derive(Clone, Copy)]
struct Task<'a> {
    faulted: &'a str,
    kind: FaultKind,
    shared: bool,
}

pub fn run(args: &Args) -> u8 {
    let started_s = overrides::wall_s();
    let specs: Vec<_> = world::services().into_iter().map(|service| service.spec).collect();
    let known: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
    if let Some(stranger) = args.faulted.iter().find(|name| !known.contains(&name.as_str())) {
        eprintln!("no service is named {stranger}; there are {}", known.join(", "));
        return USAGE;
    }
    let faulted: Vec<&str> = known
        .iter()
        .copied()
        .filter(|name| args.faulted.is_empty() || args.faulted.iter().any(|f| f == name))
        .collect();
    let kinds: Vec<FaultKind> =
        FaultKind::ALL.into_iter().filter(|kind| args.kinds.is_empty() || args.kinds.contains(kind)).collect();
    let plan = plan(args);
    let mut report = match measure(args.jobs, plan, &specs, &faulted, &kinds) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("the simulator itself failed: {error}");
            return USAGE;
        }
    };
    let mut reproduce = format!("bulkhead-sim isolation --seed {}", args.seed);
    if !args.faulted.is_empty() {
        reproduce.push_str(&format!(" --faulted {}", args.faulted.join(",")));
    }
    if !args.kinds.is_empty() {
        reproduce.push_str(&format!(" --kinds {}", kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",")));
    }
    report.reproduce = reproduce;
    let whole = args.faulted.is_empty() && args.kinds.is_empty();
    report.judge(Demands { utilisation_min: UTILISATION_MIN, whole });
    for (file, content) in [(&args.svg, draw(&report)), (&args.table, table::markdown(&report))] {
        if let Some(file) = file
            && let Err(error) = std::fs::write(file, content)
        {
            eprintln!("{file}: {error}");
            return USAGE;
        }
    }
    match args.output {
        Output::Json => println!("{}", serde_json::to_string(&report).unwrap_or_default()),
        Output::Text => text(&report, overrides::wall_s() - started_s),
    }
    if report.ok { HOLDS } else { FAILS }
}

fn plan(args: &Args) -> Plan {
    let plan = Plan { seed: args.seed, rate_milli: args.rate, for_ms: args.for_ms, ..Plan::default() };
    // As long again for what was held back, then quiet.
    let until_ms = plan.from_ms + 2 * plan.for_ms;
    Plan { until_ms, end_ms: until_ms + 3_000, ..plan }
}

fn measure(
    jobs: usize,
    plan: Plan,
    specs: &[runtime::topology::ServiceSpec],
    faulted: &[&str],
    kinds: &[FaultKind],
) -> Result<Report, String> {
    let shared = Plan { shared: true, ..plan };
    let mut tasks = Vec::new();
    for faulted in faulted {
        for kind in kinds.iter().copied() {
            tasks.push(Task { faulted, kind, shared: false });
            if KEEPS_A_THREAD.contains(&kind) {
                tasks.push(Task { faulted, kind, shared: true });
            }
        }
    }
    let done: Mutex<Vec<(usize, Result<Twin, String>)>> = Mutex::default();
    // The two calm twins first.
    each(jobs, tasks.len() + 2, |index| {
        eprint!("\r{index} of {} runs ", tasks.len() + 2);
        let result = match index {
            0 => ask(plan, None),
            1 => ask(shared, None),
            _ => {
                let Task { faulted, kind, shared: is_shared } = tasks[index - 2];
                ask(if is_shared { shared } else { plan }, Some((faulted, kind)))
            }
        };
        let go_on = result.is_ok();
        locked(&done).push((index, result));
        go_on
    });
    eprintln!();
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    let twins = done.into_iter().map(|(_, twin)| twin).collect::<Result<Vec<_>, _>>()?;
    let [calm, calm_shared, broken @ ..] = twins.as_slice() else { return Err("the calm runs are missing".to_owned()) };
    let mut report = Report {
        kinds: kinds.iter().map(|kind| kind.name()).collect(),
        utilisation: calm.utilisation,
        ..Report::default()
    };
    for (task, twin) in tasks.iter().zip(broken) {
        let cells =
            isolation::compare(if task.shared { calm_shared } else { calm }, twin, specs, task.faulted, task.kind);
        if twin.of(task.faulted).is_none_or(|seen| seen.fired == 0) {
            report.failures.push(format!("{} of {} never took hold", task.kind.name(), task.faulted));
        }
        if task.shared { report.control.extend(cells) } else { report.cells.extend(cells) }
    }
    Ok(report)
}

fn draw(report: &Report) -> String {
    let title = match report.failures.len() {
        0 => "Whatever one service does, no other one feels it".to_owned(),
        felt => format!("{felt} measurements of isolation fail"),
    };
    let method = [
        format!(
            "The same seed with the fault and without, in virtual time; two cores, {:.0} % busy; processor, journal and disk charged.",
            100.0 * report.utilisation
        ),
        "Latency: record readable in the input until its outcome is settled; p99 from the fault's begin to the end of the run."
            .to_owned(),
    ];
    picture::svg(report, &Words { title: &title, method: &method })
}

fn text(report: &Report, wall_s: f64) {
    println!("{}", table::markdown(report));
    let held = report.cells.iter().filter(|cell| cell.holds).count();
    let dependent = report.cells.iter().filter(|cell| cell.depends).count();
    println!(
        "{held} of {} hold ({dependent} of them depend and may lag), cores {:.0} % busy, {wall_s:.0} s",
        report.cells.len(),
        100.0 * report.utilisation
    );
    report.failures.iter().take(20).for_each(|failure| println!("  ! {failure}"));
    println!("  again: {}", report.reproduce);
}
