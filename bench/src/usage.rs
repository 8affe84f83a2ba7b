//! CPU time of the whole process.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// User and system time of the whole process so far, threads that have ended included.
pub fn process() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// CPU microseconds an event between two readings.
pub fn us_per_event(from: Duration, to: Duration, events: u64) -> f64 {
    (to - from).as_secs_f64() * 1e6 / events as f64
}
