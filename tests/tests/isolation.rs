//! A slice of the isolation matrix, small enough for every run of the tests: the whole is `bulkhead-sim isolation` and
//! `bulkhead isolation`.

use std::process::Command;

use serde_json::Value;
use tests::program::built;

fn report(program: &std::path::Path, arguments: &[&str]) -> (Value, Option<i32>) {
    let output = Command::new(program).args(arguments).args(["--output", "json"]).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (report, output.status.code())
}

/// Cells of a list that match.
fn cells<'a>(report: &'a Value, list: &str, kind: &str, depends: bool) -> Vec<&'a Value> {
    let cells = report[list].as_array().expect("a list of cells");
    cells.iter().filter(|cell| cell["kind"] == kind && cell["depends"] == depends).collect()
}

#[test]
fn nobody_feels_a_service_that_spins_or_panics() {
    let program = built("sim", "bulkhead-sim");
    let directory = tempfile::tempdir().expect("a directory");
    let svg = directory.path().join("matrix.svg");
    let svg_name = svg.display().to_string();
    let asked = ["isolation", "--faulted", "fraud", "--kinds", "spin,panic", "--svg", &svg_name];
    let (first, code) = report(&program, &asked);
    assert_eq!((first["ok"].as_bool(), code), (Some(true), Some(0)), "{}", first["failures"]);
    assert!(first["utilisation"].as_f64().expect("a share") >= 0.4, "{}", first["utilisation"]);
    // All others twice; billing, attribution and analytics read verdicts.
    let (free, depending) = (cells(&first, "cells", "spin", false).len(), cells(&first, "cells", "panic", true).len());
    assert!(free >= 5 && depending >= 3, "{free} do not depend, {depending} do");
    let harmed = cells(&first, "control", "spin", false);
    assert_eq!(harmed.len(), free, "the same without bulkheads");
    assert!(harmed.iter().all(|cell| cell["p99_ratio"].as_f64() > Some(2.0)), "{harmed:?}");
    let picture = std::fs::read_to_string(svg).expect("a picture");
    assert!(
        picture.contains("no other one feels it") && picture.matches("<g>").count() == 2 * (free + depending),
        "a square a pair"
    );
    // The same seed, the same figures: whoever argues can run it again.
    let (second, _) = report(&program, &["isolation", "--faulted", "fraud", "--kinds", "spin"]);
    assert_eq!(cells(&second, "cells", "spin", false), cells(&first, "cells", "spin", false));
}

#[test]
fn who_cannot_be_asked_is_refused() {
    let refused = |program: std::path::PathBuf, arguments: &[&str], what: &str| {
        let output = Command::new(program).args(arguments).output().expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(what), "{said}");
    };
    refused(built("sim", "bulkhead-sim"), &["isolation", "--faulted", "nobody"], "there are campaigns");
    refused(built("bulkhead", "bulkhead"), &["isolation", "--services", "ads,frauds"], "did you mean `fraud`");
}
