//! The public edge at twice what it can do, and after it.

use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::{Arguments, CALM_SHARE, CALM_SLACK_MS, CALM_WINDOWS, WINDOW, first_calm};
use crate::Failed;
use crate::edge::load::{self, Pace, Taken};
use crate::edge::processes::Bulkhead;
use crate::report::{Figure, Report, median};

const PATH: &str = "/openrtb2/bid";
/// The peak is the best that one of these gets.
const PEAK_CONNECTIONS: [usize; 3] = [64, 128, 256];
/// Windows before anything is called calm.
const SETTLE_WINDOWS: usize = 12;
/// Of the peak: with less sent than this there was no overload, and a goodput would say nothing.
const SENT_MIN: f64 = 1.5;
/// Looked for no longer than this.
const RECOVERY_MAX: Duration = Duration::from_secs(15);

struct Round {
    peak_per_s: f64,
    calm_ms: f64,
    sent_per_s: f64,
    good_per_s: f64,
    p99_ms: f64,
    turned_away: f64,
    recovery_s: f64,
}

pub fn run(arguments: &Arguments, report: &mut Report) -> Result<(), Failed> {
    let all = sched_getaffinity(None)?;
    let (first, others) = split(&all);
    // What is started now stays where this thread is.
    sched_setaffinity(None, &first)?;
    let edge = Bulkhead::start()?;
    sched_setaffinity(None, &others)?;
    edge.produce_campaigns()?;
    let mut rounds = Vec::new();
    for number in 0..arguments.rounds.max(2) {
        let round = round(&edge, arguments)?;
        eprintln!(
            "edge, round {number}: peak {:.0}/s, calm p99 {:.1} ms; at twice of it {:.0}/s sent, {:.0}/s in time, p99 {:.1} ms, {:.0} % turned away; calm after {:.2} s",
            round.peak_per_s,
            round.calm_ms,
            round.sent_per_s,
            round.good_per_s,
            round.p99_ms,
            round.turned_away * 100.0,
            round.recovery_s
        );
        if number > 0 {
            rounds.push(round);
        }
    }
    let of = |figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let sent = of(&|r| r.sent_per_s / r.peak_per_s);
    if sent < SENT_MIN {
        let why = "the generator did not get the time for more, so nothing was overloaded: run it on a machine at rest";
        return Err(format!("only {sent:.2} times the peak was sent; {why}").into());
    }
    report.push(Figure::beside("edge_goodput", of(&|r| r.good_per_s), "/s", "peak", of(&|r| r.peak_per_s)));
    report.push(Figure::alone("edge_recovery_s", of(&|r| r.recovery_s), "s"));
    report.push(Figure::alone("edge_overload_p99_ms", of(&|r| r.p99_ms), "ms"));
    report.push(Figure::beside("edge_sent", of(&|r| r.sent_per_s), "/s", "peak", of(&|r| r.peak_per_s)));
    report.push(Figure::alone("edge_turned_away", of(&|r| r.turned_away), "share"));
    Ok(())
}

/// The first core, and the others; with one core both are that one.
fn split(all: &CpuSet) -> (CpuSet, CpuSet) {
    let (mut first, mut others) = (CpuSet::new(), *all);
    let core = (0..CpuSet::MAX_CPU).find(|core| all.is_set(*core)).unwrap_or(0);
    first.set(core);
    if all.count() > 1 {
        others.unset(core);
    }
    (first, others)
}

fn round(edge: &Bulkhead, arguments: &Arguments) -> Result<Round, Failed> {
    let length = Duration::from_secs(arguments.seconds);
    let load = |pace, connections, length| load::run(edge.address, PATH, pace, connections, length);
    let peaks = PEAK_CONNECTIONS.map(|connections| Ok(load(Pace::FlatOut, connections, length)?.good_per_s()));
    let peaks = peaks.into_iter().collect::<Result<Vec<f64>, Failed>>()?;
    let peak_per_s = peaks.into_iter().fold(0.0, f64::max);
    let calm = || load(Pace::PerSecond((peak_per_s * CALM_SHARE) as u32), 64, WINDOW);
    // What the peak has left behind is worked off first, so that calm is calm; then the worst of a second's windows counts.
    let windows = |count: usize| (0..count).map(|_| Ok(calm()?.p99_ms())).collect::<Result<Vec<f64>, Failed>>();
    windows(SETTLE_WINDOWS)?;
    let calm_ms = windows(CALM_WINDOWS)?.into_iter().fold(0.0, f64::max);
    let over = load(Pace::OrNotAtAll((peak_per_s * 2.0) as u32), arguments.connections, length)?;
    let recovery_s = recovery_s(calm, calm_ms + CALM_SLACK_MS)?;
    let all = over.statuses.values().sum::<u64>().max(1) as f64;
    Ok(Round {
        peak_per_s,
        calm_ms,
        sent_per_s: over.sent_per_s(),
        good_per_s: over.good_per_s(),
        p99_ms: over.p99_ms(),
        turned_away: over.turned_away as f64 / all,
        recovery_s,
    })
}

/// Seconds until windows are calm again; [`RECOVERY_MAX`] if they are not by then.
fn recovery_s(window: impl Fn() -> Result<Taken, Failed>, limit_ms: f64) -> Result<f64, Failed> {
    let (started, mut began, mut p99_ms) = (Instant::now(), Vec::new(), Vec::new());
    while started.elapsed() < RECOVERY_MAX {
        began.push(started.elapsed());
        p99_ms.push(window()?.p99_ms());
        if let Some(first) = first_calm(&p99_ms, limit_ms) {
            return Ok(began.get(first).unwrap_or(&RECOVERY_MAX).as_secs_f64());
        }
    }
    Ok(RECOVERY_MAX.as_secs_f64())
}
