//! Alert rules are tried, each has a runbook page, and all of them ask for metrics that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(docs(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn words(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).expect("constant pattern");
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn every_alert_has_a_case_and_a_runbook_and_known_metrics() {
    let (rules, cases, metrics) = (text("alerts/alerts.yml"), text("alerts/alerts_test.yml"), text("metrics.md"));
    let alerts = words(r"- alert: (\w+)", &rules);
    assert!(!alerts.is_empty());
    assert_eq!(alerts, words(r"alertname: (\w+)", &cases), "each has a case");
    for alert in &alerts {
        let page = text(&format!("runbooks/{alert}.md"));
        for part in ["**Meaning.**", "**First look.**", "**Then.**", "**Safe.**"] {
            assert!(page.contains(part), "{alert}: {part}");
        }
    }
    let dashboard = text("alerts/grafana.json");
    let panels: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    assert!(panels["panels"].as_array().is_some_and(|panels| panels.len() > 10));
    for metric in words(r"\b(bulkhead_[a-z_]+[a-z])", &(rules + &dashboard)) {
        // A histogram is documented once, and asked for by its parts.
        let whole = metric.strip_suffix("_bucket").unwrap_or(&metric);
        assert!(metrics.contains(&format!("`{whole}`")), "{metric} is not in docs/metrics.md");
    }
}

#[test]
fn the_rules_fire_and_stay_quiet() {
    let run = |args: &[&str]| Command::new("promtool").args(args).current_dir(docs("alerts")).output();
    let Ok(checked) = run(&["check", "rules", "alerts.yml"]) else {
        println!("ABSENT: promtool (package prometheus); the rules were not tried");
        return;
    };
    let tried = run(&["test", "rules", "alerts_test.yml"]).expect("promtool runs");
    for output in [checked, tried] {
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
