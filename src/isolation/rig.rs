//! A platform under steady load in a directory of its own, that can be broken and watched a window at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::env::Env;
use runtime::fault::FaultKind;
use runtime::platform::Bulkhead;
use runtime::stats::Phase;
use tempfile::TempDir;

use crate::args::Speed;
use crate::config::Settings;
use crate::demo::input::InputSpec;
use crate::demo::pace::RATE_DEFAULT_PER_S;
use crate::demo::progress::Progress;
use crate::demo::run::{Opening, RunSpec, Sources, start_sources};
use crate::exit::CommandError;
use crate::platform::{Composed, Variant, compose};
use crate::usage;

/// Tables fill and pools warm up for so long before anything is measured.
const WARM_UP: Duration = Duration::from_secs(3);
/// What a fault has held back must be worked off by then; what is not counts as unsettled.
const CATCH_UP_MAX: Duration = Duration::from_secs(4);
/// A service that failed too often rests for a minute and a back-off.
const REST_MAX: Duration = Duration::from_secs(80);
const STEP: Duration = Duration::from_millis(5);
/// A service with no more than this to do is not behind.
const LAG_CALM: u64 = 64;
/// As in `demo`, so that a failure's retries end within a window.
const RETRY_DELAYS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// How a service fared in a window.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    pub p99_us: u64,
    pub settled: u64,
    pub readable: u64,
    pub dead_lettered: u64,
    pub restarts: u64,
    /// Times that a fault took hold.
    pub fired: u64,
}

/// All services in one window.
pub type Window = BTreeMap<&'static str, Watched>;

/// The platform, its sources, and its directory, which goes with it.
pub struct Rig {
    up: Composed,
    sources: Sources,
    _data: TempDir,
}

impl Rig {
    /// Starts a platform and plays `rate` requests a second into it for at most `lasting`.
    ///
    /// # Errors
    /// [`CommandError`] if there is no directory, or the platform does not start.
    pub async fn start(env: &Env, rate: u64, lasting: Duration, seed: u64) -> Result<Self, CommandError> {
        let data = tempfile::Builder::new().prefix("bulkhead-isolation-").tempdir().map_err(CommandError::failed)?;
        let settings = Settings { partitions: 4, instance: "local".into(), ..Settings::default() };
        let variant = Variant { retry_delays: Some(RETRY_DELAYS.to_vec()), ..Variant::default() };
        let up = compose(env, data.path(), &settings, &variant).await?;
        let requests = rate * lasting.as_secs();
        let speed = Speed::Times(rate as f64 / RATE_DEFAULT_PER_S as f64);
        let input = InputSpec::Generator { seed, requests };
        let spec = RunSpec { input, speed: Some(speed), time_budget: None, seed, faults: Vec::new() };
        let (lines, pace, runtime) = Opening::start(env, &spec)?.ended().await?;
        let progress = Arc::new(Progress::default());
        let mut sources = start_sources(&up, &spec, lines, pace, &progress, runtime).await?;
        env.clock.sleep(WARM_UP).await;
        if sources.ended().await? {
            return Err(CommandError::Failed("the load ended before it began; give a longer time".into()));
        }
        Ok(Self { up, sources, _data: data })
    }

    /// Names of the services.
    pub fn services(&self) -> Vec<runtime::topology::ServiceSpec> {
        self.up.platform.bulkheads.iter().map(|bulkhead| bulkhead.spec.clone()).collect()
    }

    /// Watches everybody for `lasting`, while `broken` are broken, and until they have caught up.
    ///
    /// # Errors
    /// A source has failed, or its input has ended.
    pub async fn window(
        &mut self,
        lasting: Duration,
        broken: &[&str],
        kind: FaultKind,
    ) -> Result<Window, CommandError> {
        let bulkheads = || self.up.platform.bulkheads.iter();
        // Who still rests from what was done to it before could not be broken now.
        let rests = |b: &Bulkhead| broken.contains(&b.spec.name) && (b.is_degraded() || b.running() < b.shards.len());
        let until_us = self.up.env.clock.mono_us() + REST_MAX.as_micros() as u64;
        while bulkheads().any(rests) && self.up.env.clock.mono_us() < until_us {
            self.up.env.clock.sleep(STEP).await;
        }
        let before = self.read();
        bulkheads().for_each(|bulkhead| bulkhead.stats.reset_latency());
        let faulted = || bulkheads().filter(|bulkhead| broken.contains(&bulkhead.spec.name));
        faulted().for_each(|bulkhead| bulkhead.faults.start(kind));
        self.up.env.clock.sleep(lasting).await;
        faulted().for_each(|bulkhead| bulkhead.faults.end());
        let until_us = self.up.env.clock.mono_us() + CATCH_UP_MAX.as_micros() as u64;
        while bulkheads().any(|bulkhead| bulkhead.lag() > LAG_CALM) && self.up.env.clock.mono_us() < until_us {
            self.up.env.clock.sleep(STEP).await;
        }
        let mut window = self.read();
        for (service, watched) in &mut window {
            let Some(before) = before.get(service) else { continue };
            watched.settled -= before.settled;
            watched.readable -= before.settled;
            watched.dead_lettered -= before.dead_lettered;
            watched.restarts -= before.restarts;
            watched.fired -= before.fired;
        }
        if self.sources.ended().await? {
            return Err(CommandError::Failed("the load has ended before the measurement".into()));
        }
        Ok(window)
    }

    /// Share of the machine's cores that this process uses within a calm window.
    ///
    /// # Errors
    /// As `window`.
    pub async fn utilisation(&mut self, lasting: Duration) -> Result<f64, CommandError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let (cpu_us, started_us) = (usage::cpu_us(), self.up.env.clock.mono_us());
        self.window(lasting, &[], FaultKind::Stall).await?;
        let passed_us = self.up.env.clock.mono_us() - started_us;
        Ok((usage::cpu_us() - cpu_us) as f64 / passed_us.max(1) as f64 / cores)
    }

    /// Ends everything at once: nobody needs the directory any more.
    pub fn end(self) {
        self.up.platform.kill();
    }

    fn read(&self) -> Window {
        let read = |bulkhead: &Bulkhead| {
            let (stats, tally) = (&bulkhead.stats, bulkhead.stats.tally());
            let all = [Phase::Before, Phase::InFault, Phase::After];
            // Who has settled nothing has waited at least as long as was waited for it.
            let p99_us = stats.latency_us(0.99, &all).unwrap_or(CATCH_UP_MAX.as_micros() as u64);
            let watched = Watched {
                p99_us,
                settled: tally.total(),
                readable: tally.total() + bulkhead.lag(),
                dead_lettered: tally.dead_lettered,
                restarts: stats.restarts.load(std::sync::atomic::Ordering::Relaxed),
                fired: bulkhead.faults.fired(),
            };
            (bulkhead.spec.name, watched)
        };
        self.up.platform.bulkheads.iter().map(read).collect()
    }
}
