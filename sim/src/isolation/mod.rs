//! Whatever one service does, no other one feels it: the definition, cell by cell, and its picture.
//!
//! `twin` runs the same seed with a fault and without over virtual cores and a disk that charge for everything (`costs`,
//! `shares`, `cores`, `charged`); here runs are compared. `bulkhead isolation` measures the same on metal and shares the
//! comparison's shape, the verdict and the `picture`.

pub mod charged;
pub mod cores;
pub mod costs;
pub mod picture;
pub mod shares;
pub mod table;
pub mod twin;

use runtime::fault::FaultKind;
use runtime::topology::{self, ServiceSpec};
use serde::Serialize;

use twin::{Seen, Twin};

/// A neighbour that is this many times slower has felt it ...
pub const P99_RATIO_MAX: f64 = 1.05;
/// ... if that is more than so many milliseconds.
pub const P99_MORE_MS_MAX: f64 = 1.0;
/// Settled of what was readable, against the calm run.
pub const THROUGHPUT_RATIO_MIN: f64 = 0.99;
/// Without bulkheads the harm must be at least this, or the measurement would not see any.
pub const CONTROL_RATIO_MIN: f64 = 2.0;
/// The calm run must keep the cores this busy: on an idle machine everybody is isolated.
pub const UTILISATION_MIN: f64 = 0.4;
/// Kinds that keep a thread: what one executor for all cannot bear.
pub const KEEPS_A_THREAD: [FaultKind; 3] = [FaultKind::Stall, FaultKind::Spin, FaultKind::Slow];

/// How one service fared while another was broken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    pub faulted: String,
    pub observed: String,
    pub kind: &'static str,
    /// p99 with the fault over p99 without; below 1 it was faster.
    pub p99_ratio: f64,
    pub p99_more_ms: f64,
    pub throughput_ratio: f64,
    /// `observed` reads what `faulted` writes, directly or through others: it lags, because its input does.
    pub depends: bool,
    /// Dead letters and restarts of `observed` that the calm run does not have.
    pub errors: u64,
    /// On metal: between these the median of `p99_more_ms` lies, 95 of 100 times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more_ms_interval: Option<[f64; 2]>,
    /// Nothing was felt; where the input depends on the broken service, nothing was but the lag.
    pub holds: bool,
}

impl Cell {
    /// Compares a run with its calm twin. `None` where a service is missing in one of them.
    pub fn of(
        calm: &Twin,
        broken: &Twin,
        faulted: &str,
        observed: &str,
        kind: FaultKind,
        depends: bool,
    ) -> Option<Self> {
        let (before, after) = (calm.of(observed)?, broken.of(observed)?);
        let share = |seen: &Seen| seen.settled as f64 / seen.readable.max(1) as f64;
        let failures = |seen: &Seen| seen.dead_lettered + seen.restarts;
        let cell = Self {
            faulted: faulted.to_owned(),
            observed: observed.to_owned(),
            kind: kind.name(),
            p99_ratio: after.p99_us as f64 / before.p99_us.max(1) as f64,
            p99_more_ms: (after.p99_us as f64 - before.p99_us as f64) / 1e3,
            throughput_ratio: share(after) / share(before).max(f64::MIN_POSITIVE),
            depends,
            errors: failures(after).saturating_sub(failures(before)),
            more_ms_interval: None,
            holds: false,
        };
        Some(cell.judged(P99_MORE_MS_MAX))
    }

    /// Says whether it holds, with so many milliseconds allowed.
    #[must_use]
    pub fn judged(mut self, more_ms_max: f64) -> Self {
        // Where there is an interval, all of it has to lie beyond the limit before something was felt.
        let more_ms = self.more_ms_interval.map_or(self.p99_more_ms, |[least, _]| least);
        let fast = self.p99_ratio <= P99_RATIO_MAX || more_ms <= more_ms_max;
        self.holds = self.errors == 0 && (self.depends || (fast && self.throughput_ratio >= THROUGHPUT_RATIO_MIN));
        self
    }

    /// The control has to show this, if it can.
    pub fn is_harmed(&self) -> bool {
        self.p99_ratio > CONTROL_RATIO_MIN
    }
}

/// What `isolation --output json` says, here and on metal.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub ok: bool,
    pub kinds: Vec<&'static str>,
    pub cells: Vec<Cell>,
    pub control: Vec<Cell>,
    pub utilisation: f64,
    /// What does not hold, a sentence each.
    pub failures: Vec<String>,
    pub reproduce: String,
}

/// What is asked of a matrix beyond its cells.
#[derive(Clone, Copy, Debug)]
pub struct Demands {
    pub utilisation_min: f64,
    /// The matrix is whole: at most half of it may be dependent pairs.
    pub whole: bool,
}

impl Report {
    /// Judges: `ok` and why not.
    pub fn judge(&mut self, demands: Demands) {
        let mut failures = Vec::new();
        for cell in self.cells.iter().filter(|cell| !cell.holds) {
            failures.push(format!(
                "{} feels {} of {}: p99 x {:.2} ({:+.2} ms), throughput x {:.3}, {} errors",
                cell.observed,
                cell.kind,
                cell.faulted,
                cell.p99_ratio,
                cell.p99_more_ms,
                cell.throughput_ratio,
                cell.errors
            ));
        }
        if self.cells.is_empty() {
            failures.push("nothing was compared".to_owned());
        }
        let dependent = self.cells.iter().filter(|cell| cell.depends).count();
        if demands.whole && 2 * dependent > self.cells.len() {
            failures.push(format!("{dependent} of {} pairs depend on each other", self.cells.len()));
        }
        if self.utilisation < demands.utilisation_min {
            let (found, least) = (100.0 * self.utilisation, 100.0 * demands.utilisation_min);
            failures.push(format!("the cores are {found:.0} % busy in the calm run, {least:.0} % are wanted"));
        }
        for kind in &self.kinds {
            let mut control = self.control.iter().filter(|cell| cell.kind == *kind && !cell.depends).peekable();
            if control.peek().is_some() && !control.any(Cell::is_harmed) {
                failures.push(format!("without bulkheads {kind} harms nobody: the measurement would not see harm"));
            }
        }
        if self.control.is_empty() {
            failures.push("there is no control without bulkheads".to_owned());
        }
        self.ok = failures.is_empty();
        self.failures.extend(failures);
        self.ok &= self.failures.is_empty();
    }

    /// Worst cell of a pair over all kinds; among equals the first.
    pub fn worst<'a>(cells: &'a [Cell], faulted: &str, observed: &str) -> Option<&'a Cell> {
        let of_pair = cells.iter().filter(|cell| cell.faulted == faulted && cell.observed == observed);
        of_pair.max_by(|a, b| b.holds.cmp(&a.holds).then(a.p99_ratio.total_cmp(&b.p99_ratio)))
    }

    /// Services in the order in which they were broken.
    pub fn services(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for cell in &self.cells {
            for name in [cell.faulted.as_str(), cell.observed.as_str()] {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }
}

/// Compares a run in which `faulted` was broken with its calm twin: a cell for everybody else.
pub fn compare(calm: &Twin, broken: &Twin, specs: &[ServiceSpec], faulted: &str, kind: FaultKind) -> Vec<Cell> {
    let others = specs.iter().map(|spec| spec.name).filter(|name| *name != faulted);
    let cell = |observed| Cell::of(calm, broken, faulted, observed, kind, topology::depends(specs, observed, faulted));
    others.filter_map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(service: &str, p99_us: u64, settled: u64) -> Seen {
        Seen {
            service: service.into(),
            p50_us: p99_us / 2,
            p99_us,
            settled,
            readable: 1_000,
            dead_lettered: 0,
            restarts: 0,
            lag_max: 0,
            fired: 1,
        }
    }

    fn twin(p99_us: u64, settled: u64) -> Twin {
        Twin { services: vec![seen("a", 1, 1_000), seen("b", p99_us, settled)], utilisation: 0.5 }
    }

    fn cell(p99_us: u64, settled: u64, depends: bool) -> Cell {
        Cell::of(&twin(10_000, 1_000), &twin(p99_us, settled), "a", "b", FaultKind::Stall, depends).expect("a cell")
    }

    fn report(cells: Vec<Cell>, control: Vec<Cell>) -> Report {
        let mut report = Report { kinds: vec!["stall"], cells, control, utilisation: 0.5, ..Report::default() };
        report.judge(Demands { utilisation_min: 0.4, whole: true });
        report
    }

    #[test]
    fn what_is_felt_and_what_is_not() {
        assert!(cell(10_500, 1_000, false).holds, "five per cent");
        assert!(cell(10_990, 1_000, false).holds, "less than a millisecond");
        assert!(!cell(11_100, 1_000, false).holds, "both too much");
        assert!(cell(2_000, 1_000, false).holds, "faster is no failure");
        let wide = Cell { more_ms_interval: Some([0.5, 9.0]), ..cell(14_000, 1_000, false) };
        assert!(
            wide.clone().judged(1.0).holds && !Cell { more_ms_interval: Some([1.5, 9.0]), ..wide }.judged(1.0).holds
        );
        assert!(!cell(10_000, 980, false).holds, "two per cent were not settled");
        assert!(cell(900_000, 500, true).holds, "who reads from it lags");
        assert!(!Cell { errors: 1, ..cell(900_000, 500, true) }.judged(1.0).holds, "but does not fail");
    }

    #[test]
    fn a_matrix_needs_a_control_that_hurts() {
        let (good, bad) = (cell(10_000, 1_000, false), cell(30_000, 1_000, false));
        assert!(report(vec![good.clone()], vec![bad.clone()]).ok);
        assert!(!report(vec![good.clone()], vec![good.clone()]).ok, "the control shows no harm");
        assert!(!report(vec![good.clone()], vec![]).ok, "no control");
        assert!(!report(vec![bad.clone()], vec![bad.clone()]).ok, "felt");
        assert!(!report(vec![], vec![bad.clone()]).ok, "nothing compared");
        let dependent = Cell { depends: true, ..good.clone() };
        assert!(!report(vec![dependent], vec![bad.clone()]).ok, "all pairs depend on each other");
        let mut idle = report(vec![good], vec![bad]);
        idle.utilisation = 0.1;
        idle.judge(Demands { utilisation_min: 0.4, whole: true });
        assert!(!idle.ok && idle.failures[0].contains("10 % busy"), "{:?}", idle.failures);
    }
}
