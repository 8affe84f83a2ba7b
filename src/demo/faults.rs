//! Breaks services on purpose at their times, and watches what that does. Driven by the run's own loop.

use runtime::fault::FaultSwitch;
use runtime::log::Log;
use runtime::platform::{Bulkhead, Platform};
use runtime::stats::Phase;

use crate::args::FaultSpec;
use crate::report;

/// A service with no more than this to do is not behind, whatever its calm lag was.
const LAG_CALM: u64 = 256;

/// One fault and what came of it; times are run time, microseconds.
#[derive(Clone, Debug)]
pub struct FaultRun {
    pub spec: FaultSpec,
    pub started_us: Option<u64>,
    pub ended_us: Option<u64>,
    pub caught_up_us: Option<u64>,
    /// Greatest lag of the service before the fault.
    calm_lag: u64,
    pub lag_max: u64,
    fired_before: u64,
    inputs_before: i64,
    pub fired: bool,
    pub met_load: bool,
}

/// All faults of a run.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub runs: Vec<FaultRun>,
}

impl Faults {
    pub fn new(specs: &[FaultSpec]) -> Self {
        let run = |spec: &FaultSpec| FaultRun {
            spec: spec.clone(),
            started_us: None,
            ended_us: None,
            caught_up_us: None,
            calm_lag: 0,
            lag_max: 0,
            fired_before: 0,
            inputs_before: 0,
            fired: false,
            met_load: false,
        };
        Self { runs: specs.iter().map(run).collect() }
    }

    /// Starts and ends what is due at run time `now_us`, and files latencies under the right phase.
    pub fn step(&mut self, platform: &Platform, now_us: u64) {
        for run in &mut self.runs {
            if let Some(bulkhead) = platform.bulkhead(&run.spec.service) {
                run.step(bulkhead, platform.log.as_ref(), now_us);
            }
        }
        platform.set_phase(self.phase());
    }

    fn phase(&self) -> Phase {
        if self.is_active() {
            Phase::InFault
        } else if self.runs.iter().any(|run| run.ended_us.is_some()) {
            Phase::After
        } else {
            Phase::Before
        }
    }

    /// A fault has started and not ended.
    pub fn is_active(&self) -> bool {
        self.runs.iter().any(FaultRun::is_active)
    }

    /// What went wrong with the faults themselves: one that never took hold proves nothing.
    pub fn idle_ones(&self) -> Vec<String> {
        let idle = |run: &FaultRun| {
            let text = &run.spec.text;
            match (run.started_us, run.fired, run.met_load) {
                (None, ..) => Some(format!("fault {text} never started: the run was over before its time")),
                (_, false, _) => Some(format!("fault {text} never took hold: nothing came to the service")),
                (_, _, false) => Some(format!("fault {text} met no load: no record came to the service meanwhile")),
                _ => None,
            }
        };
        self.runs.iter().filter_map(idle).collect()
    }

    pub fn report(&self) -> Vec<report::Fault> {
        let ms = |us: Option<u64>| us.map(|us| us / 1_000);
        let fault = |run: &FaultRun| report::Fault {
            fault: run.spec.text.clone(),
            started_ms: ms(run.started_us),
            ended_ms: ms(run.ended_us),
            caught_up_ms: ms(run.caught_up_us),
        };
        self.runs.iter().map(fault).collect()
    }
}

impl FaultRun {
    pub fn is_active(&self) -> bool {
        self.started_us.is_some() && self.ended_us.is_none()
    }

    fn step(&mut self, bulkhead: &Bulkhead, log: &dyn Log, now_us: u64) {
        // What waits for its retry is behind as well.
        let lag = bulkhead.lag() + bulkhead.parked();
        let faults: &FaultSwitch = &bulkhead.faults;
        if self.started_us.is_none() {
            if now_us < self.spec.at.as_micros() as u64 {
                self.calm_lag = self.calm_lag.max(lag);
                return;
            }
            (self.fired_before, self.inputs_before) = (faults.fired(), inputs(bulkhead, log) - bulkhead.lag() as i64);
            faults.start(self.spec.kind);
            self.started_us = Some(now_us);
        }
        if self.ended_us.is_none() {
            self.lag_max = self.lag_max.max(lag);
            self.fired |= faults.fired() > self.fired_before;
            self.met_load |= inputs(bulkhead, log) > self.inputs_before;
            if now_us < self.spec.end().as_micros() as u64 {
                return;
            }
            // Another one may have taken its place meanwhile.
            if faults.is(self.spec.kind) {
                faults.end();
            }
            self.ended_us = Some(now_us);
        }
        if self.caught_up_us.is_none() && lag <= self.calm_lag.max(LAG_CALM) {
            self.caught_up_us = Some(now_us);
        }
    }
}

/// Records that a service's inputs hold.
fn inputs(bulkhead: &Bulkhead, log: &dyn Log) -> i64 {
    let inputs = bulkhead.shards.iter().flat_map(|shard| &shard.ctx.inputs);
    inputs.filter_map(|input| log.extent(input.at).ok()).map(|extent| extent.high_watermark).sum()
}
