//! The platform's own source of bids, with every service behind it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bulkhead::args::Speed;
use bulkhead::config::Settings;
use bulkhead::demo::input::InputSpec;
use bulkhead::demo::pace::{Pace, Step};
use bulkhead::demo::progress::Progress;
use bulkhead::demo::requests::{INPUT_NAME, ensure_dead_letters};
use bulkhead::demo::run::{RunSpec, start_sources};
use bulkhead::platform::{Variant, compose};

use runtime::env::{BulkheadRuntime, Env};

use super::{Arguments, CALM_SHARE, CALM_SLACK_MS, IN_TIME, WINDOW, first_calm};
use crate::Failed;
use crate::report::{Figure, Report, median};

/// Requests by which the peak is known: some seconds.
const PEAK_REQUESTS: u64 = 100_000;
/// Of the 100 ms that exchanges give, as the edge has it.
const TIME_BUDGET: Duration = Duration::from_millis(30);
const CALM_BEFORE: Duration = Duration::from_secs(3);
const CALM_AFTER: Duration = Duration::from_secs(6);
/// Windows of the calm before in which the platform still warms up.
const WARM_UP_WINDOWS: usize = 4;
const DRAIN: Duration = Duration::from_secs(30);

struct Round {
    peak_per_s: f64,
    calm_ms: f64,
    good_per_s: f64,
    p99_ms: f64,
    shed: f64,
    recovery_s: f64,
}

pub fn run(arguments: &Arguments, report: &mut Report) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rounds = Vec::new();
    for number in 0..arguments.rounds.max(2) {
        let round = runtime.block_on(round(Duration::from_secs(arguments.seconds), number as u64))?;
        eprintln!(
            "source, round {number}: peak {:.0}/s, calm p99 {:.1} ms; at twice of it {:.0}/s in time, p99 {:.1} ms, {:.0} % shed; calm after {:.2} s",
            round.peak_per_s,
            round.calm_ms,
            round.good_per_s,
            round.p99_ms,
            round.shed * 100.0,
            round.recovery_s
        );
        if number > 0 {
            rounds.push(round);
        }
    }
    let of = |figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let goodput = of(&|r| r.good_per_s / r.peak_per_s) * of(&|r| r.peak_per_s);
    report.push(Figure::beside("goodput", goodput, "/s", "peak", of(&|r| r.peak_per_s)));
    report.push(Figure::alone("recovery_s", of(&|r| r.recovery_s), "s"));
    report.push(Figure::alone("overload_p99_ms", of(&|r| r.p99_ms), "ms"));
    report.push(Figure::alone("shed", of(&|r| r.shed), "share"));
    Ok(())
}

async fn round(overload: Duration, seed: u64) -> Result<Round, Failed> {
    let before_per_s = peak_per_s(seed).await?;
    let calm_per_s = (before_per_s * CALM_SHARE) as u64;
    let step = |per_s, lasting| Step { per_s, lasting };
    let steps =
        vec![step(calm_per_s, CALM_BEFORE), step((before_per_s * 2.0) as u64, overload), step(calm_per_s, CALM_AFTER)];
    let requests = steps.iter().map(Step::requests).sum();
    let run = played(Pace::Steps(steps), Some(TIME_BUDGET), requests, seed).await?;
    let windows = |time: Duration| (time.as_micros() / WINDOW.as_micros()) as usize;
    let (calm_end, over_end) = (windows(CALM_BEFORE), windows(CALM_BEFORE + overload));
    let (before, after) = (run.windows.get(WARM_UP_WINDOWS..calm_end), run.windows.get(over_end..));
    let (Some(before), Some(over), Some(after)) = (before, run.windows.get(calm_end..over_end), after) else {
        return Err("the run ended before its time".into());
    };
    let worst = |windows: &[Window]| windows.iter().map(|window| window.p99_ms).fold(0.0, f64::max);
    let calm_ms = worst(before);
    let p99_ms: Vec<f64> = after.iter().map(|window| window.p99_ms).collect();
    let first = first_calm(&p99_ms, calm_ms + CALM_SLACK_MS).unwrap_or(p99_ms.len());
    Ok(Round {
        // The machine is not always as fast: before and after count alike.
        peak_per_s: (before_per_s + peak_per_s(seed).await?) / 2.0,
        calm_ms,
        good_per_s: good_per_s(over),
        p99_ms: worst(over),
        shed: run.shed as f64 / requests.max(1) as f64,
        recovery_s: first as f64 * WINDOW.as_secs_f64(),
    })
}

/// Requests a second, as fast as they are decided on and acknowledged.
async fn peak_per_s(seed: u64) -> Result<f64, Failed> {
    let run = played(Pace::Max, None, PEAK_REQUESTS, seed).await?;
    // The last window is a part of one.
    Ok(good_per_s(run.windows.split_last().map_or(&[], |(_, whole)| whole)))
}

/// What was answered in a quarter of a second.
struct Window {
    good: u64,
    p99_ms: f64,
}

struct Run {
    windows: Vec<Window>,
    shed: u64,
}

/// Answered in time a second.
fn good_per_s(windows: &[Window]) -> f64 {
    windows.iter().map(|window| window.good).sum::<u64>() as f64 / (windows.len().max(1) as f64 * WINDOW.as_secs_f64())
}

async fn played(pace: Pace, time_budget: Option<Duration>, requests: u64, seed: u64) -> Result<Run, Failed> {
    let directory = tempfile::tempdir()?;
    let env = Env::production();
    let settings = Settings { instance: "bench".into(), ..Settings::default() };
    let up = compose(&env, directory.path(), &settings, &Variant::default()).await?;
    ensure_dead_letters(up.log.as_ref(), up.platform.partitions)?;
    let input = InputSpec::Generator { seed, requests };
    let lines = input.open(env.clock.wall_ms() * 1_000)?;
    let spec = RunSpec { input, speed: Some(Speed::Max), time_budget, seed, faults: Vec::new() };
    let progress = Arc::new(Progress::default());
    let runtime = BulkheadRuntime::new(&env, INPUT_NAME, 1, 0)?;
    let mut sources = start_sources(&up, &spec, lines, pace, &progress, runtime).await?;
    let mut windows = Vec::new();
    let start_us = loop {
        sources.ended().await?;
        if let Some(first_us) = progress.first_us() {
            break first_us;
        }
        env.clock.sleep(Duration::from_millis(1)).await;
    };
    while !progress.input_done.load(Ordering::Acquire) {
        let due_us = start_us + (windows.len() as u64 + 1) * WINDOW.as_micros() as u64;
        env.clock.sleep(Duration::from_micros(due_us.saturating_sub(env.clock.mono_us()))).await;
        let answers = progress.take_answers();
        let window = Window {
            good: answers.count_between(0, IN_TIME.as_micros() as u64),
            p99_ms: answers.value_at_quantile(0.99) as f64 / 1e3,
        };
        windows.push(window);
        sources.ended().await?;
    }
    drop(sources);
    up.platform.drain(DRAIN, |_| {}).await;
    Ok(Run { windows, shed: Progress::get(&progress.shed_late) })
}
