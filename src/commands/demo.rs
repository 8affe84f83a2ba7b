//! `bulkhead demo`: the main job.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use runtime::env::Env;
use runtime::stats::Phase;

use crate::args::{self, FaultSpec, Speed};
use crate::backend::{Backend, LogArgs};
use crate::cli::Output;
use crate::commands::up::{Signals, drain};
use crate::config::{self, PlatformArgs, Settings, nearest};
use crate::demo::input::InputSpec;
use crate::demo::invariants::Evidence;
use crate::demo::live::Live;
use crate::demo::progress::Progress;
use crate::demo::run::{Opening, Played, RunSpec, play, unless};
use crate::demo::scan::Scan;
use crate::demo::screen::Verdict;
use crate::exit::CommandError;
use crate::platform::{Composed, Variant, compose};
use crate::report::{Campaign, Funnel, Input, Money, Report, Service};
use crate::usage;

const FAULT_DEFAULT: &str = "fraud:stall@5s+10s";
const REQUESTS_DEFAULT: u64 = 20_000;
const SEED_DEFAULT: u64 = 1;
/// Short, so that a run of half a minute sees what becomes of a failure.
const RETRY_DELAYS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// Play traffic through the whole platform, break a service on purpose, and check that nothing is lost
#[derive(Args, Clone, Debug)]
#[command(after_help = "A fault reads SERVICE:KIND@AT+FOR. Kinds: stall, spin, slow, error, panic, poison, down, leak.

Example:
  bulkhead demo --requests 20000 --fault fraud:stall@1s+2s")]
pub struct DemoArgs {
    #[command(flatten)]
    pub platform: PlatformArgs,
    #[command(flatten)]
    pub log: LogArgs,
    /// OpenRTB 2.x requests, JSON lines, plain or .gz [default: a generator calibrated on recorded traffic]
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Requests at most [default: the whole file; 20000 of the generator]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub requests: Option<u64>,
    /// Pace: 1x, Nx or max [default: as recorded, within 30 s, and 5 s longer than the last fault]
    #[arg(long, value_name = "SPEED", value_parser = args::speed)]
    pub speed: Option<Speed>,
    /// Shed requests that have waited for longer when their turn comes, as a bidder does [default: all are decided on]
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    pub time_budget: Option<Duration>,
    /// Seed of everything that is simulated [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Break a service; repeatable [default: fraud:stall@5s+10s]
    #[arg(long, value_name = "FAULT", value_parser = args::fault)]
    pub fault: Vec<FaultSpec>,
    /// Break nothing
    #[arg(long, conflicts_with = "fault")]
    pub no_fault: bool,
}

/// Runs the demo and judges it.
///
/// # Errors
/// [`CommandError`] if it cannot be run to its end; a broken invariant is exit 1 with a full report.
pub fn run(args: DemoArgs, output: Output) -> Result<ExitCode, CommandError> {
    let settings = config::resolve(&args.platform).map_err(|error| CommandError::Config(error.to_string()))?;
    let (spec, backend) = (spec(&args)?, args.log.backend()?);
    let temporary = match &settings.data {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("bulkhead-demo-").tempdir().map_err(|error| {
            CommandError::Failed(format!("no temporary directory: {error}; name one with --data DIR"))
        })?),
    };
    let data =
        settings.data.clone().or_else(|| temporary.as_ref().map(|dir| dir.path().to_owned())).unwrap_or_default();
    crate::cli::block_on(perform(settings, spec, backend, data, output))
}

fn spec(args: &DemoArgs) -> Result<RunSpec, CommandError> {
    if args.time_budget.is_some() && args.speed == Some(Speed::Max) {
        let what = "--time-budget: at `--speed max` a request is never late; name a pace, for example --speed 100x";
        return Err(CommandError::Usage(what.into()));
    }
    let seed = args.seed.unwrap_or(SEED_DEFAULT);
    let input = match &args.input {
        Some(path) => InputSpec::File { path: path.clone(), requests: args.requests },
        None => InputSpec::Generator { seed, requests: args.requests.unwrap_or(REQUESTS_DEFAULT) },
    };
    let faults = if args.no_fault {
        Vec::new()
    } else if args.fault.is_empty() {
        vec![args::fault(FAULT_DEFAULT).map_err(CommandError::usage)?]
    } else {
        args.fault.clone()
    };
    let known: Vec<_> = actors::catalogue::services(&actors::catalogue::Config::default())
        .iter()
        .map(|service| service.spec.name)
        .collect();
    if let Some(fault) = faults.iter().find(|fault| !known.contains(&fault.service.as_str())) {
        let meant = nearest(&fault.service, &known).map(|name| format!(", did you mean `{name}`?")).unwrap_or_default();
        let message = format!("no service is named `{}`{meant} (known: {})", fault.service, known.join(", "));
        return Err(CommandError::Usage(message));
    }
    Ok(RunSpec { input, speed: args.speed, time_budget: args.time_budget, seed, faults })
}

fn input_name(input: &InputSpec) -> String {
    match input {
        InputSpec::File { path, .. } => path.display().to_string(),
        InputSpec::Generator { seed, .. } => {
            format!("generator calibrated on recorded traffic, seed {seed} (SIMULATED); a file of yours: --input FILE")
        }
    }
}

async fn perform(
    settings: Settings,
    spec: RunSpec,
    backend: Backend,
    data: PathBuf,
    output: Output,
) -> Result<ExitCode, CommandError> {
    let mut signals = Signals::new()?;
    let env = Env::production();
    let opening = Opening::start(&env, &spec)?;
    let retry_delays = Some(RETRY_DELAYS.to_vec());
    let variant = Variant { retry_delays, keep_commits: true, backend, ..Variant::default() };
    let up = compose(&env, &data, &settings, &variant).await?;
    eprintln!("input: {}; retry delays 100ms/500ms/2s", input_name(&spec.input));
    let mut live = Live::new();
    let played = unless(signals.next(), play(&up, &spec, opening, &mut live)).await;
    live.clear();
    let judged = match &played {
        Ok(played) => Some(judge(&up, &spec, played)),
        Err(_) => None,
    };
    let late = drain(&up, settings.drain_timeout, &mut signals).await;
    let played = played?;
    let Some(judged) = judged else { return Err(CommandError::Failed("not judged".into())) };
    let (mut report, mut complaints) = judged?;
    if late > 0 {
        complaints.push(format!("{late} shards did not finish"));
    }
    report.ok &= late == 0;
    let kept = settings.data.as_deref();
    let name = input_name(&spec.input);
    match output {
        Output::Json => println!("{}", serde_json::to_string(&report).map_err(CommandError::failed)?),
        Output::Text => {
            let verdict = Verdict {
                up: &up,
                played: &played,
                report: &report,
                input_name: &name,
                complaints: &complaints,
                data: kept,
            };
            print!("{}", verdict.text());
        }
    }
    complaints.iter().for_each(|complaint| eprintln!("bulkhead: {complaint}"));
    for invariant in report.invariants.iter().filter(|invariant| !invariant.ok) {
        eprintln!("bulkhead: {} does not hold: {}", invariant.name, invariant.why);
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The report, and what is wrong besides the invariants.
fn judge(up: &Composed, spec: &RunSpec, played: &Played) -> Result<(Report, Vec<String>), CommandError> {
    let scan = Scan { log: up.log.as_ref(), partitions: up.platform.partitions };
    let (progress, recount) = (&played.progress, &played.recount);
    let input = Input {
        source: spec.input.source(),
        read: Progress::get(&progress.read),
        valid: Progress::get(&progress.valid),
        rejected: Progress::get(&progress.rejected),
        shed: progress.shed(),
        users_null: Progress::get(&progress.users_null),
        users_placeholder: recount.users_placeholder,
        site_absent: Progress::get(&progress.site_absent),
    };
    let (no_bid, bids) = (progress.no_bids(), Progress::get(&progress.bids));
    let evidence = Evidence { platform: &up.platform, scan: &scan, recount, input: &input, no_bid: &no_bid, bids };
    let invariants = evidence.judge().map_err(CommandError::failed)?;
    let mut complaints = played.faults.idle_ones();
    if !played.rested {
        complaints.push("the run did not come to rest: events are left".into());
    }
    let services: Vec<Service> = up.platform.bulkheads.iter().map(service).collect();
    let events: u64 = services.iter().map(|s| s.handled + s.duplicates + s.dead_lettered).sum();
    let funnel = Funnel {
        requests: recount.requests,
        no_bid,
        bids,
        wins: recount.wins,
        impressions: recount.impressions,
        clicks: recount.clicks,
        conversions: recount.conversions,
        invalid_traffic: recount.invalid_traffic,
    };
    let report = Report {
        ok: complaints.is_empty() && invariants.iter().all(|invariant| invariant.ok),
        input,
        funnel,
        money: money(played),
        services,
        faults: played.faults.report(),
        invariants,
        cpu_us_per_event: played.cpu_us as f64 / events.max(1) as f64,
        rss_max_bytes: usage::rss_max_bytes(),
    };
    Ok((report, complaints))
}

fn money(played: &Played) -> Money {
    let recount = &played.recount;
    let (debits_micros, credits_micros) =
        recount.accounts.values().fold((0, 0), |sum, (debits, credits)| (sum.0 + debits, sum.1 + credits));
    let campaign = |(id, status): (&String, &crate::demo::recount::Status)| Campaign {
        campaign_id: id.clone(),
        budget_micros: status.budget_micros,
        posted_micros: status.posted_micros,
        pending_micros: status.pending_micros,
        reversed_micros: recount.reversed.get(id).copied().unwrap_or(0),
        overrun_micros: status.overrun_micros,
    };
    Money {
        currency: "USD",
        debits_micros,
        credits_micros,
        recount_diff_micros: recount.ledger_diff_micros(),
        campaigns: recount.status.iter().map(campaign).collect(),
    }
}

fn service(bulkhead: &runtime::platform::Bulkhead) -> Service {
    let stats = &bulkhead.stats;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    let tally = stats.tally();
    let all = [Phase::Before, Phase::InFault, Phase::After];
    Service {
        service: bulkhead.spec.name,
        handled: tally.done,
        duplicates: tally.duplicates,
        dead_lettered: tally.dead_lettered,
        retried: load(&stats.retried),
        restarts: load(&stats.restarts),
        lag_max: load(&stats.lag_max),
        lag_end: bulkhead.lag() + bulkhead.parked(),
        queue_bytes_max: load(&stats.queue_bytes_max),
        p50_us: stats.latency_us(0.5, &all),
        p99_us: stats.latency_us(0.99, &all),
        p99_us_in_fault: stats.latency_us(0.99, &[Phase::InFault]),
    }
}
