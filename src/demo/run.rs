//! One run from the first line to the last settled event: sources, faults, screen, rest, recount.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actors::bidder::DecideConfig;
use actors::input::survey;
use actors::market::{Market, Rates, campaigns::demo_campaigns};
use runtime::env::{BulkheadRuntime, Env};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::faults::Faults;
use super::input::{InputSpec, Lines};
use super::invariants::minute_difference;
use super::live::Live;
use super::market::MarketSource;
use super::pace::{Pace, Recorded};
use super::progress::Progress;
use super::recount::{Begin, COUNTED, Recount, recount};
use super::requests::{INPUT_NAME, RequestSource, ensure_dead_letters};
use super::scan::Scan;
use crate::args::{FaultSpec, Speed};
use crate::exit::CommandError;
use crate::platform::Composed;
use crate::sources::slices::{SLICES_IN_FLIGHT, Slices, SourceError};
use crate::sources::treasury::Treasury;
use crate::usage;

/// The run's own loop: faults, samples and the screen.
const STEP: Duration = Duration::from_millis(20);
/// Lag is sampled once in so many steps.
const STEPS_A_SAMPLE: u32 = 5;
/// So long nothing may be left to do until a run counts as over.
const CALM_STEPS: u32 = 10;
/// Without progress for this long the run is given up.
const REST_LIMIT: Duration = Duration::from_secs(60);
/// Services tell totals on their tick of about a second: so long a recount may differ from what they have published.
const TICK_LIMIT: Duration = Duration::from_secs(6);
/// A backlog of an earlier run is worked off first.
const BACKLOG_LIMIT: Duration = Duration::from_secs(120);

/// What is run.
#[derive(Clone, Debug)]
pub struct RunSpec {
    pub input: InputSpec,
    pub speed: Option<Speed>,
    /// Requests that have waited for longer are shed; `None`: none is.
    pub time_budget: Option<Duration>,
    pub seed: u64,
    pub faults: Vec<FaultSpec>,
}

/// What a run left behind, to be judged.
pub struct Played {
    pub progress: Arc<Progress>,
    pub faults: Faults,
    pub pace: Pace,
    pub recount: Recount,
    /// From the first event until nothing was left to do.
    pub took_us: u64,
    /// From the first event until the last request was decided.
    pub input_us: u64,
    pub cpu_us: u64,
    /// From the start of the process until the first event.
    pub ready_us: u64,
    pub rested: bool,
}

/// Reads the pace of the input, on a thread of its own while the platform starts.
pub struct Opening {
    task: JoinHandle<Result<(Lines, Pace), SourceError>>,
    runtime: BulkheadRuntime,
}

impl Opening {
    /// Starts to read.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(env: &Env, spec: &RunSpec) -> Result<Self, CommandError> {
        let runtime = BulkheadRuntime::new(env, INPUT_NAME, 1, 0).map_err(CommandError::failed)?;
        let (spec, now_ms) = (spec.clone(), env.clock.wall_ms());
        let task = runtime.spawn(async move {
            let recorded = match &spec.input {
                // At full speed nobody looks at the recorded times.
                InputSpec::File { .. } if spec.speed == Some(Speed::Max) => Recorded::at_default_rate(0),
                InputSpec::File { path, requests } => Recorded::of_file(&survey(path, requests.unwrap_or(u64::MAX))?),
                InputSpec::Generator { requests, .. } => {
                    Recorded { first_us: Some(now_ms * 1_000), ..Recorded::at_default_rate(*requests) }
                }
            };
            let lines = spec.input.open(now_ms * 1_000)?;
            Ok((lines, Pace::choose(spec.speed, &recorded, &spec.faults)))
        });
        Ok(Self { task, runtime })
    }

    /// The lines, their pace, and the threads to play them on.
    ///
    /// # Errors
    /// The input cannot be read.
    pub async fn ended(self) -> Result<(Lines, Pace, BulkheadRuntime), CommandError> {
        match self.task.await.map_err(CommandError::failed)? {
            Ok((lines, pace)) => Ok((lines, pace, self.runtime)),
            Err(error @ SourceError::Input(_)) => Err(CommandError::usage(error)),
            Err(error) => Err(CommandError::failed(error)),
        }
    }
}

/// Two sources on their own bulkheads.
pub struct Sources {
    requests: Option<JoinHandle<Result<(), SourceError>>>,
    market: Option<JoinHandle<Result<(), SourceError>>>,
    treasury: Option<JoinHandle<Result<(), SourceError>>>,
    stop_treasury: Arc<AtomicBool>,
    /// They end with it.
    _runtimes: [BulkheadRuntime; 2],
}

/// An unfinished task, its error if it has one, `None` once it has ended well.
async fn take(task: &mut Option<JoinHandle<Result<(), SourceError>>>) -> Result<(), CommandError> {
    if task.as_ref().is_some_and(JoinHandle::is_finished)
        && let Some(ended) = task.take()
    {
        return match ended.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error @ SourceError::Input(_))) => Err(CommandError::usage(error)),
            Ok(Err(error)) => Err(CommandError::failed(error)),
            Err(error) => Err(CommandError::Failed(format!("a source stopped: {error}"))),
        };
    }
    Ok(())
}

impl Sources {
    /// `true` once requests and market have been played to their end.
    ///
    /// # Errors
    /// Why a source stopped before its end.
    pub async fn ended(&mut self) -> Result<bool, CommandError> {
        for task in [&mut self.requests, &mut self.market, &mut self.treasury] {
            take(task).await?;
        }
        Ok(self.requests.is_none() && self.market.is_none())
    }
}

/// Waits until nothing has been left to do for a while; `false` if that takes too long.
async fn is_calm(up: &Composed) -> bool {
    let until_us = up.env.clock.mono_us() + BACKLOG_LIMIT.as_micros() as u64;
    let mut calm = 0;
    while calm < CALM_STEPS {
        // In a new directory there is nothing to wait for.
        if is_new(up) {
            return true;
        }
        if up.env.clock.mono_us() > until_us {
            return false;
        }
        calm = if up.platform.lag() + up.platform.parked() == 0 { calm + 1 } else { 0 };
        up.env.clock.sleep(STEP).await;
    }
    true
}

/// Nobody has ever written an input.
fn is_new(up: &Composed) -> bool {
    let inputs = up.platform.bulkheads.iter().flat_map(|bulkhead| &bulkhead.shards).flat_map(|shard| &shard.ctx.inputs);
    inputs.into_iter().all(|input| up.log.extent(input.at).is_ok_and(|extent| extent.high_watermark == 0))
}

/// Where an earlier run has left off.
async fn take_up(up: &Composed, scan: &Scan<'_>) -> Result<Begin, CommandError> {
    if !is_calm(up).await {
        return Err(CommandError::Failed("the backlog of an earlier run is not worked off; see `bulkhead up`".into()));
    }
    let mut begin = Begin::new();
    for topic in COUNTED {
        begin.insert(topic, scan.ends(topic).map_err(CommandError::failed)?);
    }
    Ok(begin)
}

/// Plays the input through a platform that runs.
///
/// # Errors
/// [`CommandError`] if the input cannot be read, the log refuses, or nothing moves any more.
pub async fn play(up: &Composed, spec: &RunSpec, opening: Opening, live: &mut Live) -> Result<Played, CommandError> {
    let scan = Scan { log: up.log.as_ref(), partitions: up.platform.partitions };
    let begin = take_up(up, &scan).await?;
    ensure_dead_letters(up.log.as_ref(), up.platform.partitions).map_err(CommandError::failed)?;
    let (lines, pace, runtime) = opening.ended().await?;
    let progress = Arc::new(Progress::default());
    let mut sources = start_sources(up, spec, lines, pace.clone(), &progress, runtime).await?;
    let cpu_start_us = usage::cpu_us();
    let mut playing = Playing { up, progress: &progress, faults: Faults::new(&spec.faults), live, input_us: 0 };
    let rested = playing.until_rest(&mut sources).await?;
    let (faults, input_us) = (playing.faults, playing.input_us);
    let (ended_us, cpu_us) = (up.env.clock.mono_us(), usage::cpu_us() - cpu_start_us);
    let recount = settled_recount(up, &scan, &begin).await?;
    let first_us = progress.first_us().unwrap_or(ended_us);
    Ok(Played {
        progress,
        faults,
        pace,
        recount,
        took_us: ended_us - first_us,
        input_us: input_us.saturating_sub(first_us),
        cpu_us,
        ready_us: first_us,
        rested,
    })
}

/// Starts requests, market and treasury over a platform that runs.
///
/// # Errors
/// The log refuses, or the system gives no threads.
pub async fn start_sources(
    up: &Composed,
    spec: &RunSpec,
    lines: Lines,
    pace: Pace,
    progress: &Arc<Progress>,
    requests_runtime: BulkheadRuntime,
) -> Result<Sources, CommandError> {
    let (env, log, partitions) = (&up.env, &up.log, up.platform.partitions);
    let campaigns = demo_campaigns(spec.seed);
    let slices = Slices::new(env, log, "treasury", partitions);
    let mut treasury = Treasury::new(env, slices, progress.pauses.clone(), up.views.clone());
    treasury.open(&campaigns).await.map_err(CommandError::failed)?;
    let rates = Rates::default();
    let (delay_divisor, conversion_time_divisor) =
        (pace.divisor(), rates.conversion_time_divisor.saturating_mul(pace.divisor()));
    let market = Market::new(spec.seed, Rates { delay_divisor, conversion_time_divisor, ..rates });
    let (decided, bids) = mpsc::channel(SLICES_IN_FLIGHT);
    let requests = RequestSource {
        env: env.clone(),
        views: up.views.clone(),
        lines,
        pace,
        time_budget: spec.time_budget,
        decide: DecideConfig::default(),
        slices: Slices::new(env, log, INPUT_NAME, partitions),
        progress: progress.clone(),
        decided,
    };
    let market = MarketSource::new(env, market, Slices::new(env, log, "market", partitions), progress.clone());
    let market_runtime = BulkheadRuntime::new(env, "market", 1, 0).map_err(CommandError::failed)?;
    let stop_treasury = Arc::new(AtomicBool::new(false));
    Ok(Sources {
        market: Some(market_runtime.spawn(market.run(bids))),
        treasury: Some(market_runtime.spawn(treasury.run(stop_treasury.clone()))),
        requests: Some(requests_runtime.spawn(requests.run())),
        stop_treasury,
        _runtimes: [requests_runtime, market_runtime],
    })
}

/// The loop of a run.
struct Playing<'a> {
    up: &'a Composed,
    progress: &'a Progress,
    faults: Faults,
    live: &'a mut Live,
    input_us: u64,
}

impl Playing<'_> {
    /// Steps until the sources have ended, no fault is active, and nothing is left to do. `false`: given up.
    async fn until_rest(&mut self, sources: &mut Sources) -> Result<bool, CommandError> {
        let (mut calm, mut step) = (0, 0u32);
        let (mut settled, mut moved_us) = (0, self.up.env.clock.mono_us());
        while calm < CALM_STEPS {
            self.up.env.clock.sleep(STEP).await;
            let now_us = self.up.env.clock.mono_us();
            let run_us = self.progress.first_us().map(|first_us| now_us - first_us);
            if let Some(run_us) = run_us {
                self.faults.step(&self.up.platform, run_us);
            }
            step += 1;
            if step.is_multiple_of(STEPS_A_SAMPLE) {
                sample_lag(self.up);
                self.live.draw(self.up, self.progress, &self.faults, now_us);
            }
            if self.input_us == 0 && self.progress.input_done.load(Ordering::Acquire) {
                self.input_us = now_us;
            }
            let ended = sources.ended().await?;
            if ended {
                sources.stop_treasury.store(true, Ordering::Release);
            }
            let platform = &self.up.platform;
            let resting = ended
                && sources.treasury.is_none()
                && !self.faults.is_active()
                && platform.lag() == 0
                && platform.parked() == 0;
            calm = if resting { calm + 1 } else { 0 };
            let total: u64 = platform.bulkheads.iter().map(|bulkhead| bulkhead.stats.tally().total()).sum();
            if total != settled || !ended || self.faults.is_active() {
                (settled, moved_us) = (total, now_us);
            }
            if now_us - moved_us > REST_LIMIT.as_micros() as u64 {
                return Ok(false);
            }
        }
        self.live.clear();
        Ok(true)
    }
}

fn sample_lag(up: &Composed) {
    for bulkhead in &up.platform.bulkheads {
        bulkhead.stats.sample_lag(bulkhead.lag() + bulkhead.parked());
    }
}

/// Recounts until the totals that services tell once a tick have caught up, at most for [`TICK_LIMIT`].
async fn settled_recount(up: &Composed, scan: &Scan<'_>, begin: &Begin) -> Result<Recount, CommandError> {
    let until_us = up.env.clock.mono_us() + TICK_LIMIT.as_micros() as u64;
    loop {
        let counted = recount(scan, begin).map_err(CommandError::failed)?;
        let told = minute_difference(&counted).is_none() && budget_told(&counted);
        if told || up.env.clock.mono_us() > until_us {
            return Ok(counted);
        }
        up.env.clock.sleep(Duration::from_millis(250)).await;
    }
}

fn budget_told(counted: &Recount) -> bool {
    counted.ledger_gross.iter().all(|(campaign, charged)| {
        counted.status.get(campaign).is_some_and(|s| s.posted_micros + s.overrun_micros == *charged)
    })
}

/// Runs `work` unless `stop` comes first.
///
/// # Errors
/// That of `work`, or that it was interrupted.
pub async fn unless<T>(
    stop: impl Future<Output = ()>,
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let (mut stop, mut work) = (pin!(stop), pin!(work));
    tokio::select! {
        biased;
        () = &mut stop => Err(CommandError::Failed("interrupted; drained".into())),
        result = &mut work => result,
    }
}
