//! The program from outside: bad input is told apart from findings, by words and by exit code.

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bulkhead-sim")).args(arguments).output().expect("the program starts")
}

fn refused(arguments: &[&str], said: &str) {
    let output = sim(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed a verdict");
}

#[test]
fn bad_input_is_usage_and_never_a_finding() {
    let directory = std::env::temp_dir().join(format!("sim-cli-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = |name: &str, text: &str| {
        let file = directory.join(name);
        std::fs::write(&file, text).unwrap();
        file.to_string_lossy().into_owned()
    };
    let (damaged, old) = (file("damaged", "{\"version\":"), file("old", "{\"version\": 1}"));
    refused(&["run", "--seed", "1", "--faults", "meteor"], "unknown fault meteor");
    refused(&["run", "--seed", "one"], "no seed");
    refused(&["run", "--seed", "1", "--mutant", "no-such"], "unknown mutant no-such");
    refused(&["replay", &damaged], "DAMAGED");
    refused(&["replay", &old], "OTHER_VERSION");
    refused(&["replay", "/no/such/scenario"], "UNREADABLE");
    refused(&["explain", "--scenario", &old], "OTHER_VERSION");
    refused(&["model", "--weaken", "gravity"], "no rule is named gravity");
    refused(&["crashpoints", "nowhere"], "no scenario is named nowhere");
    refused(&["diff", &damaged, "/no/such/trace"], "/no/such/trace");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_planted_bug_is_explained_side_by_side() {
    let arguments = ["explain", "--seed", "0", "--until", "8s", "--rate", "10", "--mutant", "one-micro-more"];
    let output = sim(&arguments);
    let story = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{story}{}", String::from_utf8_lossy(&output.stderr));
    assert!(story.contains(" s  world") && story.contains("is broken"), "{story}");
}

#[test]
fn a_twin_and_a_page_come_with_a_run() {
    let page = std::env::temp_dir().join(format!("sim-page-{}.html", std::process::id()));
    let file = page.to_string_lossy().into_owned();
    let arguments =
        ["run", "--seed", "7", "--until", "8s", "--rate", "10", "--twin", "--html", &file, "--output", "json"];
    let output = sim(&arguments);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!((&report["ok"], &report["twin"]["ok"]), (&true.into(), &true.into()));
    assert_eq!(report["impressions"], report["twin"]["impressions"], "faults change no arrivals");
    let html = std::fs::read_to_string(&page).unwrap();
    std::fs::remove_file(&page).unwrap();
    assert!(html.contains("everything held") && html.contains("</html>") && !html.contains("http"), "{html}");
}
