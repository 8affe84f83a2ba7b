//! CPU time, of the process and of its threads by name.

use std::collections::BTreeMap;
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

/// Time on a core of the threads that live now, by name: a bulkhead's threads carry its name.
pub fn by_thread_name() -> BTreeMap<String, Duration> {
    let mut sums = BTreeMap::new();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return sums };
    for task in tasks.flatten() {
        let name = std::fs::read_to_string(task.path().join("comm"));
        let used = std::fs::read_to_string(task.path().join("schedstat"));
        let (Ok(name), Ok(used)) = (name, used) else { continue };
        let nanos = used.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        *sums.entry(name.trim().to_string()).or_insert(Duration::ZERO) += Duration::from_nanos(nanos);
    }
    sums
}
