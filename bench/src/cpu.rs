//! CPU time of the measuring thread: what a busy machine does to the wall clock, it does not do to this one.

use rustix::time::{ClockId, clock_gettime};

/// Seconds of CPU that this thread has used.
pub fn thread_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// One way to do a job over and over.
pub struct Contender<'c> {
    /// Does the job once; returns the number of units done.
    pub job: Box<dyn FnMut() -> usize + 'c>,
}

impl<'c> Contender<'c> {
    /// A contender.
    pub fn new(job: impl FnMut() -> usize + 'c) -> Self {
        Self { job: Box::new(job) }
    }
}

/// Runs all contenders in turns; returns the best rate of each, units per CPU second.
pub fn best_rates(contenders: &mut [Contender<'_>], repeats: usize) -> Vec<f64> {
    let mut best = vec![0.0_f64; contenders.len()];
    for _ in 0..repeats {
        for (contender, best) in contenders.iter_mut().zip(&mut best) {
            let start = thread_seconds();
            let units = (contender.job)();
            *best = best.max(units as f64 / (thread_seconds() - start));
        }
    }
    best
}
