//! What this process has used, as the kernel counts it.

use std::fs;

/// Clock ticks a second of /proc, fixed at 100 on every Linux that Rust supports.
const TICK_US: u64 = 10_000;

/// CPU time of all threads so far, user and system, microseconds; 0 where /proc is not there.
pub fn cpu_us() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses and may hold blanks; utime and stime are fields 14 and 15.
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    ticks.sum::<u64>() * TICK_US
}

/// Greatest resident memory so far, bytes; 0 where /proc is not there.
pub fn rss_max_bytes() -> u64 {
    status_kib("VmHWM:") * 1_024
}

/// Resident memory now, bytes; 0 where /proc is not there.
pub fn rss_bytes() -> u64 {
    status_kib("VmRSS:") * 1_024
}

fn status_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_uses_something() {
        let mut sum = 0u64;
        while super::cpu_us() == 0 {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        assert!(super::rss_max_bytes() > 100_000, "{sum}");
    }
}
