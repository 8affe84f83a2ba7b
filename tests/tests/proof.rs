//! A slice of the proof: deaths at writes, syncs and steps, and planted bugs that must be found.

use std::process::Command;

use tests::program::built;

fn sim(arguments: &[&str]) -> serde_json::Value {
    let output = Command::new(built("sim", "bulkhead-sim")).args(arguments).output().expect("the simulation runs");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn three_hundred_deaths_break_nothing() {
    let report = sim(&["crashpoints", "--points", "50", "--output", "json"]);
    assert_eq!((&report["ok"], &report["violations"]), (&true.into(), &0.into()), "{report}");
    assert!(report["points"].as_u64() >= Some(300) && report["scenarios"].as_u64() >= Some(5), "{report}");
}

#[test]
fn eight_planted_bugs_are_found() {
    const BUGS: &str =
        "no-read-back,no-republication,no-marks,offset-ahead-one,early-ack,no-sync,one-micro-more,charges-forgotten";
    let report = sim(&["mutants", "--only", BUGS, "--seeds", "40", "--output", "json"]);
    assert_eq!((&report["ok"], &report["planted"], &report["found"]), (&true.into(), &8.into(), &8.into()), "{report}");
}
