//! What everything costs, in microseconds: the checked-in table of the isolation matrix.
//!
//! The processor's figures are those of `bench pipeline` (bench/README.md), an event each: decoding, fold, marks, tables,
//! commit record. The disk's are those of the machine on which it was measured: a sync takes 2 to 5 ms, 290 MB/s with syncs.

/// Virtual cores are so many times slower than the measured ones, so that the traffic of a run of seconds keeps both busy.
pub const SLOWNESS: f64 = 7.0;

/// One event of a service.
pub const EVENT_US: &[(&str, f64)] = &[
    ("campaigns", 10.0),
    ("bidding", 3.8),
    ("budget", 2.9),
    ("tracking", 6.4),
    ("ads", 5.0),
    ("fraud", 2.9),
    ("billing", 5.5),
    ("attribution", 5.0),
    ("analytics", 1.7),
];
/// A service that has no line yet costs what the dearest does.
const UNKNOWN_EVENT_US: f64 = 10.0;
/// One commit, whatever is in it: wake up, stage, encode, read back.
pub const COMMIT_US: f64 = 25.0;
/// Unwinding and catching one panic.
pub const PANIC_US: f64 = 20.0;
/// The edge, for one record from outside.
pub const EDGE_US: f64 = 4.0;
/// The journal's thread, for one batch and for one byte of it (checksum, copies into journal, memory and segment).
pub const APPEND_US: f64 = 3.0;
pub const APPEND_BYTE_US: f64 = 0.001;
/// One sync of the journal, least and most.
pub const SYNC_US: (u64, u64) = (2_000, 5_000);
/// The disk stays as fast as it is for this long.
pub const SYNC_SLOT_US: u64 = 10_000;
/// The journal's disk writes so many bytes in a microsecond; the system's page cache takes those of segments.
pub const DISK_BYTES_A_US: u64 = 290;
pub const CACHE_BYTES_A_US: u64 = 2_000;
/// `slow`, where a fold is slow by working.
pub const SLOW_TIMES: f64 = 1_000.0;

/// One event of `service`, on a virtual core.
pub fn event_us(service: &str) -> f64 {
    let known = EVENT_US.iter().find(|(name, _)| *name == service);
    SLOWNESS * known.map_or(UNKNOWN_EVENT_US, |(_, us)| *us)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_service_has_its_line() {
        let known: Vec<&str> = super::EVENT_US.iter().map(|(name, _)| *name).collect();
        let missing: Vec<_> = crate::world::service_names().into_iter().filter(|name| !known.contains(name)).collect();
        assert!(
            missing.is_empty(),
            "no cost in sim/src/isolation/costs.rs: {missing:?}; measure with `bench pipeline`"
        );
    }
}
