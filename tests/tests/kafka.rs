//! The platform on a real Apache Kafka: the same programs, the same verdicts.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use tests::kafka;

fn program() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    Command::new(PROGRAM.get_or_init(|| tests::program::built("bulkhead", "bulkhead")))
}

fn run(command: &str, prefix: &str, args: &[&str]) -> Output {
    let on = ["--brokers", kafka::brokers(), "--topic-prefix", prefix, "--output", "json"];
    program().args(command.split(' ')).args(args).args(on).output().expect("the program runs")
}

fn json(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}\n{stderr}\n{}", output.status, String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{stderr}"))
}

fn actions(plan: &Value) -> Vec<&str> {
    plan["topics"].as_array().expect("rows").iter().map(|row| row["action"].as_str().expect("text")).collect()
}

#[test]
fn topics_are_planned_made_once_and_never_changed() {
    let prefix = kafka::fresh_prefix();
    let missing = run("up", &prefix, &["--log", "kafka", "--until-idle"]);
    assert_eq!(missing.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&missing.stderr);
    assert!(stderr.contains("are missing") && stderr.contains("bulkhead topics create"), "{stderr}");

    let plan = json(&run("topics create", &prefix, &["--dry-run", "--partitions", "2"]));
    assert!(actions(&plan).iter().all(|action| *action == "create") && plan["applied"] == false);
    // All at once, by the names that the cluster would know; what is not needed at a start is not asked for there.
    let later = ["requests-dlq", "admin-audit", "dlq-audit"];
    let is_needed = |row: &&Value| later.iter().all(|name| row["topic"] != *name);
    for row in plan["topics"].as_array().expect("rows").iter().filter(is_needed) {
        let name = format!("{prefix}{}", row["topic"].as_str().expect("text"));
        assert!(stderr.split([' ', ',', ';']).any(|word| word == name), "{name} is not named: {stderr}");
    }
    let plan = json(&run("topics create", &prefix, &["--partitions", "2"]));
    assert!(actions(&plan).iter().all(|action| *action == "create") && plan["applied"] == true);
    let plan = json(&run("topics create", &prefix, &["--partitions", "2"]));
    assert!(actions(&plan).iter().all(|action| *action == "keep"));

    let other = run("topics create", &prefix, &["--partitions", "3"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&other.stderr).contains("another partition count"));
    let mismatch = run("up", &prefix, &["--log", "kafka", "--until-idle", "--partitions", "3"]);
    assert!(String::from_utf8_lossy(&mismatch.stderr).contains("has 2 partitions, 3 were asked for"));
}

#[test]
fn a_demo_passes_on_kafka_and_survives_a_kill() {
    let prefix = kafka::fresh_prefix();
    json(&run("topics create", &prefix, &["--partitions", "2"]));
    let demo = ["--log", "kafka", "--partitions", "2", "--requests", "3000", "--fault", "fraud:stall@1s+2s"];
    let report = json(&run("demo", &prefix, &demo));
    assert_eq!((&report["ok"], &report["money"]["recount_diff_micros"]), (&Value::from(true), &Value::from(0)));
    assert_eq!(report["funnel"]["requests"], 3_000);

    let on = ["--brokers", kafka::brokers(), "--topic-prefix", &prefix];
    let mut killed = program()
        .args(["demo", "--log", "kafka", "--partitions", "2", "--requests", "6000", "--seed", "2", "--no-fault"])
        .args(on)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    std::thread::sleep(Duration::from_secs(5));
    killed.kill().expect("killed");
    killed.wait().expect("gone");

    let up = json(&run("up", &prefix, &["--log", "kafka", "--partitions", "2", "--until-idle"]));
    assert_eq!((&up["ok"], &up["idle"]), (&Value::from(true), &Value::from(true)));
    let found = json(&run("verify", &prefix, &[]));
    assert_eq!((&found["ok"], &found["recount_diff_micros"]), (&Value::from(true), &Value::from(0)));
    assert!(found["rows_compared"].as_u64().is_some_and(|rows| rows > 3_000), "{found}");
}

#[test]
fn a_cluster_that_does_not_answer_is_said() {
    let refused = program()
        .args(["up", "--log", "kafka", "--brokers", "127.0.0.1:1", "--until-idle"])
        .output()
        .expect("the program runs");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no answer from 127.0.0.1:1 within 10000 ms"));
    let contradiction =
        program().args(["demo", "--log", "embedded", "--brokers", "127.0.0.1:1"]).output().expect("the program runs");
    assert_eq!(contradiction.status.code(), Some(2));
}

/// The file for those who have Docker is not run here: what can be seen without is looked at.
#[test]
fn the_compose_file_is_in_form() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose.yaml");
    let text = std::fs::read_to_string(path).expect("compose.yaml");
    assert!(text.contains("not run by the tests"), "it says so");
    let lines = || text.lines().enumerate().map(|(number, line)| (number + 1, line));
    for (number, line) in lines().filter(|(_, line)| !line.trim_start().starts_with('#')) {
        let indent = line.len() - line.trim_start().len();
        assert!(!line.contains('\t') && indent % 2 == 0 && line == line.trim_end(), "line {number}: {line:?}");
        assert_eq!(line.matches('"').count() % 2, 0, "line {number}: {line}");
    }
    let images: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
    assert_eq!(images.len(), 3);
    for image in images {
        let (name, tag) = image.split_once(':').expect("a version");
        assert!(name.contains('/') && tag.chars().any(|c| c.is_ascii_digit()), "{image}");
    }
    for (number, line) in lines().filter(|(_, line)| line.trim().starts_with("- \"") && line.contains(":80")) {
        assert!(line.contains("127.0.0.1:") || line.contains("targets"), "line {number} is open to others: {line}");
    }
    let rules =
        text.lines().find_map(|line| line.trim().strip_prefix("- \"./")?.split(':').next()).expect("the alerts");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    assert!(root.join(rules).exists(), "{rules}");
}
