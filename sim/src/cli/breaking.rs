//! Where the platform breaks: services are kept apart from each other, but all of them stand on one disk.

use serde::Serialize;
use sim::compare::Incident;
use sim::fault::{Fault, Kind};

use super::children;
use super::compare::{BAD_SECONDS_MIN, scenario_of};

/// Hangs of the disk that are tried, seconds.
const HANGS_S: [u64; 8] = [1, 2, 5, 10, 15, 20, 30, 40];

/// One hang of the disk under all services, and how long ad serving was late by it.
#[derive(Serialize, Clone, Copy)]
pub struct Hang {
    pub hang_s: u64,
    pub ads_late_s: u64,
    /// It counts as a cascade.
    pub fell: bool,
}

/// Hangs the disk for longer and longer, until that alone is a cascade. The longest that is borne and the shortest that
/// is not are the platform's breaking point: more faults of other services do not reach it.
///
/// # Errors
/// The simulator itself failed.
pub fn point(incident: &Incident, services: &[&'static str]) -> Result<Vec<Hang>, String> {
    let mut hangs = Vec::new();
    for hang_s in HANGS_S {
        let anchor = Incident { for_ms: hang_s * 1_000, ..*incident };
        let mut scenario = scenario_of(&anchor, &[], services);
        let at_ms = scenario.faults.first().map_or(0, |fault| fault.at_ms);
        let for_ms = anchor.for_ms;
        scenario.faults =
            vec![Fault { kind: Kind::DiskHang, at_ms, for_ms, service: String::new(), draw: incident.seed }];
        let ads_late_s = children::scenario(&scenario, &["--watch-ads"])?.ads_late_s;
        let fell = ads_late_s >= BAD_SECONDS_MIN;
        hangs.push(Hang { hang_s, ads_late_s, fell });
        if fell {
            break;
        }
    }
    Ok(hangs)
}

/// For people.
pub fn sentence(hangs: &[Hang]) -> String {
    let borne = hangs.iter().rev().find(|hang| !hang.fell).map_or(0, |hang| hang.hang_s);
    match hangs.iter().find(|hang| hang.fell) {
        Some(broke) => format!(
            "Where Bulkhead breaks: the disk under all services hangs for {} s (ad serving late for {} s); {borne} s are borne.",
            broke.hang_s, broke.ads_late_s
        ),
        None => format!("A hang of the disk under all services is borne up to {borne} s, the longest that was tried."),
    }
}
