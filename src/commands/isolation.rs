//! `bulkhead isolation`: the matrix on this machine.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use runtime::fault::FaultKind;
use sim::isolation::picture::{self, Words};
use sim::isolation::{Demands, Report, table};

use crate::args;
use crate::cli::Output;
use crate::config::nearest;
use crate::exit::CommandError;
use crate::isolation::interval::PAIRS_MIN;
use crate::isolation::measure::{MORE_MS_MAX, Plan, measure};

const SERVICES_DEFAULT: [&str; 4] = ["ads", "fraud", "bidding", "billing"];
const KINDS_DEFAULT: [FaultKind; 4] = [FaultKind::Stall, FaultKind::Spin, FaultKind::Slow, FaultKind::Panic];

/// Break one service after the other on this machine and measure whether any other feels it
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "A run of minutes; close what else uses the machine. `bulkhead-sim isolation` asks the same of every pair
of services and every kind of fault, in virtual time.

Example:
  bulkhead isolation --services fraud,bidding --kinds spin --pairs 2 --window 500ms"
)]
pub struct IsolationArgs {
    /// Services that are broken and observed [default: ads,fraud,bidding,billing]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub services: Vec<String>,
    /// Kinds of faults [default: stall,spin,slow,panic]
    #[arg(long, value_name = "K,L", value_delimiter = ',', value_parser = kind)]
    pub kinds: Vec<FaultKind>,
    /// Calm and broken windows of each; below 6 the interval is wide
    #[arg(long, value_name = "N", default_value_t = PAIRS_MIN as u32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub pairs: u32,
    /// How long a window lasts
    #[arg(long, value_name = "TIME", default_value = "1500ms", value_parser = args::duration)]
    pub window: Duration,
    /// Requests a second
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rate: u64,
    /// Seed of the traffic
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Writes the picture there
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Writes the matrix there as Markdown
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
}

fn kind(name: &str) -> Result<FaultKind, String> {
    let known = || FaultKind::ALL.map(FaultKind::name).join(", ");
    FaultKind::parse(name).ok_or_else(|| format!("no kind of fault; there are {}", known()))
}

/// Measures, judges, draws.
///
/// # Errors
/// [`CommandError`] if it cannot be measured; what was felt is exit 1 with a full report.
pub fn run(args: IsolationArgs, output: Output) -> Result<ExitCode, CommandError> {
    let plan = plan(&args)?;
    crate::cli::block_on(async move {
        let shown = std::io::stderr().is_terminal();
        let told = |what: &str| {
            if shown {
                eprint!("\r\x1b[2K{what}")
            }
        };
        let mut report = measure(&plan, told).await?;
        told("");
        report.reproduce = reproduce(&plan);
        report.judge(Demands { utilisation_min: 0.0, whole: false });
        if let Some(file) = &args.svg {
            write(file, draw(&report, &plan))?;
        }
        if let Some(file) = &args.table {
            write(file, table::markdown(&report))?;
        }
        match output {
            Output::Json => println!("{}", serde_json::to_string(&report).map_err(CommandError::failed)?),
            Output::Text => text(&report),
        }
        Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn plan(args: &IsolationArgs) -> Result<Plan, CommandError> {
    let known: Vec<&'static str> = actors::catalogue::services(&actors::catalogue::Config::default())
        .iter()
        .map(|service| service.spec.name)
        .collect();
    let find = |name: &String| {
        known.iter().copied().find(|service| service == name).ok_or_else(|| {
            let meant = nearest(name, &known).map(|name| format!(", did you mean `{name}`?")).unwrap_or_default();
            CommandError::Usage(format!("no service is named `{name}`{meant} (known: {})", known.join(", ")))
        })
    };
    let services = args.services.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let services = if services.is_empty() { SERVICES_DEFAULT.to_vec() } else { services };
    if services.len() < 2 {
        return Err(CommandError::Usage("one service alone has no neighbour; name at least two".into()));
    }
    let kinds = if args.kinds.is_empty() { KINDS_DEFAULT.to_vec() } else { args.kinds.clone() };
    let (pairs, window, rate, seed) = (args.pairs, args.window, args.rate, args.seed);
    Ok(Plan { services, kinds, pairs, window, rate, seed })
}

fn reproduce(plan: &Plan) -> String {
    let kinds: Vec<&str> = plan.kinds.iter().map(|kind| kind.name()).collect();
    format!(
        "bulkhead isolation --services {} --kinds {} --pairs {} --window {}ms --rate {} --seed {}",
        plan.services.join(","),
        kinds.join(","),
        plan.pairs,
        plan.window.as_millis(),
        plan.rate,
        plan.seed
    )
}

fn write(file: &Path, content: String) -> Result<(), CommandError> {
    std::fs::write(file, content).map_err(|error| CommandError::Failed(format!("{}: {error}", file.display())))
}

fn draw(report: &Report, plan: &Plan) -> String {
    let title = match report.failures.len() {
        0 => "On metal too: whatever one service does, no other one feels it",
        _ => "On this machine a fault was felt",
    };
    let method = [
        format!(
            "{} interleaved pairs of windows, calm and broken, {} requests/s, process at {:.0} % of the cores.",
            plan.pairs,
            plan.rate,
            100.0 * report.utilisation
        ),
        format!(
            "Medians of the pairs. Felt: more than 5 % and, with 95 % confidence, more than {MORE_MS_MAX} ms. Spin: a spinner a core."
        ),
    ];
    picture::svg(report, &Words { title, method: &method })
}

fn text(report: &Report) {
    println!("{}", table::markdown(report));
    let held = report.cells.iter().filter(|cell| cell.holds).count();
    println!(
        "{held} of {} hold, the process used {:.0} % of the cores",
        report.cells.len(),
        100.0 * report.utilisation
    );
    report.failures.iter().for_each(|failure| println!("  ! {failure}"));
    println!("  again: {}", report.reproduce);
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn planned(arguments: &[&str]) -> Result<Plan, CommandError> {
        let cli = Cli::try_parse_from([&["bulkhead", "isolation"], arguments].concat()).expect("arguments");
        let Command::Isolation(args) = cli.command else { panic!("another command") };
        plan(&args)
    }

    #[test]
    fn plans_name_known_services_and_more_than_one() {
        let plan = planned(&[]).expect("a plan");
        assert_eq!((plan.services.len(), plan.kinds.len(), plan.pairs), (4, 4, 6));
        let wrong = |arguments: &[&str]| planned(arguments).expect_err("refused").to_string();
        assert!(wrong(&["--services", "ads,frauds"]).contains("did you mean `fraud`"));
        assert!(wrong(&["--services", "ads"]).contains("no neighbour"));
    }
}
