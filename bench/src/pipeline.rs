//! `bench pipeline`: the whole platform under the demo's traffic, by service.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bulkhead::args::Speed;
use bulkhead::config::Settings;
use bulkhead::demo::input::InputSpec;
use bulkhead::demo::live::Live;
use bulkhead::demo::run::{Opening, RunSpec, play};
use bulkhead::platform::{Variant, compose};
use runtime::env::Env;
use runtime::stats::ServiceStats;

use crate::report::{Figure, Report, median};
use crate::{Failed, usage};

/// Threads of the embedded log.
const LOG_PREFIX: &str = "log-";
/// Not services, and yet between an event and its effect.
const BESIDE: &[&str] = &["views", "control"];

/// CPU an impression, user and system time, of every service's threads, the views' and the log's, from decoding to the
/// synced commit, under the traffic of `bulkhead demo --speed max` with generated requests and no fault. Requests are not
/// all won: what it costs to take the bids that became no impression is in the figure of an impression. Reading and
/// deciding requests and the simulated market are sources; they are printed and not counted. The median of the repeats counts.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo run --release -p bench -- pipeline --requests 100000 --output json")]
pub struct Arguments {
    /// Requests of a repeat.
    #[arg(long, default_value_t = 100_000)]
    requests: u64,
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// Where the files are written; the system's temporary directory by default.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
}

/// One repeat.
struct Run {
    /// CPU us an impression, by service, `views` and `log`.
    by_part: BTreeMap<String, f64>,
    sources: f64,
    requests_per_s: f64,
    impressions: u64,
    commits: f64,
    commit_bytes: f64,
}

pub fn run(arguments: &Arguments) -> Result<Report, Failed> {
    let mut report = Report::new("pipeline");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut runs = Vec::new();
    for repeat in 0..arguments.repeats.max(1) {
        let run = runtime.block_on(one(arguments, repeat as u64))?;
        eprintln!(
            "repeat {repeat}: {:.1} us an impression, {} impressions, {:.0} requests/s",
            run.by_part.values().sum::<f64>(),
            run.impressions,
            run.requests_per_s
        );
        runs.push(run);
    }
    let over = |value: &dyn Fn(&Run) -> f64| median(runs.iter().map(value).collect());
    report.push(Figure::alone("cpu_us_per_impression", over(&|run| run.by_part.values().sum()), "us"));
    for part in runs.first().map(|run| run.by_part.keys().cloned().collect::<Vec<_>>()).unwrap_or_default() {
        let value = over(&|run| run.by_part.get(&part).copied().unwrap_or(0.0));
        report.push(Figure::alone(&part, value, "us"));
    }
    report.push(Figure::alone("sources", over(&|run| run.sources), "us"));
    report.push(Figure::alone("commits", over(&|run| run.commits), "1"));
    report.push(Figure::alone("commit_bytes", over(&|run| run.commit_bytes), "B"));
    report.push(Figure::alone("requests_per_s", over(&|run| run.requests_per_s), "1/s"));
    Ok(report)
}

async fn one(arguments: &Arguments, seed: u64) -> Result<Run, Failed> {
    let directory = tempfile::tempdir_in(arguments.dir.clone().unwrap_or_else(std::env::temp_dir))?;
    let env = Env::production();
    let settings = Settings { partitions: arguments.partitions, instance: "bench".into(), ..Settings::default() };
    let input = InputSpec::Generator { seed, requests: arguments.requests };
    let spec = RunSpec { input, speed: Some(Speed::Max), time_budget: None, seed, faults: Vec::new() };
    let opening = Opening::start(&env, &spec)?;
    let variant = Variant { keep_commits: true, ..Variant::default() };
    let up = compose(&env, directory.path(), &settings, &variant).await?;
    let services: Vec<&'static str> = up.platform.bulkheads.iter().map(|bulkhead| bulkhead.spec.name).collect();
    let (before, process) = (usage::by_thread_name(), usage::process());
    let played = play(&up, &spec, opening, &mut Live::new()).await?;
    let (after, process) = (usage::by_thread_name(), usage::process() - process);
    up.platform.drain(Duration::from_secs(10), |_| {}).await;
    if !played.rested {
        return Err("the run did not come to rest".into());
    }
    let impressions = played.recount.impressions;
    if impressions == 0 {
        return Err("no impression came of these requests; take more of them".into());
    }
    let per_impression = |counter: &dyn Fn(&ServiceStats) -> u64| {
        let sum: u64 = up.platform.bulkheads.iter().map(|bulkhead| counter(&bulkhead.stats)).sum();
        sum as f64 / impressions as f64
    };
    let commits = per_impression(&|stats| stats.commits.load(Ordering::Relaxed));
    let commit_bytes = per_impression(&|stats| stats.commit_bytes.load(Ordering::Relaxed));
    let us = |used: Duration| used.as_secs_f64() * 1e6 / impressions as f64;
    let mut by_part = BTreeMap::new();
    for (name, used) in &after {
        let used = used.saturating_sub(before.get(name).copied().unwrap_or_default());
        let part = if services.contains(&name.as_str()) || BESIDE.contains(&name.as_str()) {
            name.clone()
        } else if name.starts_with(LOG_PREFIX) {
            "log".into()
        } else {
            continue;
        };
        *by_part.entry(part).or_insert(0.0) += us(used);
    }
    let sources = us(process) - by_part.values().sum::<f64>();
    let requests_per_s = played.recount.requests as f64 / (played.input_us.max(1) as f64 / 1e6);
    Ok(Run { by_part, sources, requests_per_s, impressions, commits, commit_bytes })
}
