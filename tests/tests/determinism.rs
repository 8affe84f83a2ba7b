//! The gate: a seed gives the same bytes in every process. The second process has an empty environment, another directory
//! and another number of cores; the traces are compared by their hash, which covers every delivery, storage call with its
//! content, fault, commit and publication.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::program::built;

const UNTIL: &str = "2m";

/// Sixty, or as many as `tests/long/seeds.sh` asks for.
fn seeds() -> u64 {
    std::env::var("BULKHEAD_SEEDS").ok().map_or(60, |text| text.parse().expect("BULKHEAD_SEEDS is a number"))
}

fn worker(program: &Path, seed: u64, second: bool, more: &[&str]) -> Output {
    let mut command = Command::new("taskset");
    command.args(["-c", if second { "0" } else { "0-1" }]).arg(program);
    command.args(["run", "--seed", &seed.to_string(), "--until", UNTIL, "--output", "json"]).args(more);
    if second {
        // taskset itself is found before the environment is emptied.
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    }
    command.output().expect("the simulation runs; taskset is part of util-linux")
}

fn report(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn hash(output: &Output) -> String {
    report(output)["trace_sha256"].as_str().expect("a hash").to_owned()
}

/// First line in which the two worlds differ.
fn story(program: &Path, seed: u64) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name).display().to_string();
    let (a, b) = (file("a"), file("b"));
    worker(program, seed, false, &["--trace", &a]);
    worker(program, seed, true, &["--trace", &b]);
    let diff = Command::new(program).args(["diff", &a, &b]).output().expect("diff runs");
    String::from_utf8_lossy(&diff.stdout).into_owned()
}

#[test]
fn sixty_seeds_give_the_same_bytes_in_two_processes() {
    let program = built("sim", "bulkhead-sim");
    let (seeds, next) = (seeds(), AtomicU64::new(0));
    let broken: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let (first, second) = (worker(&program, seed, false, &[]), worker(&program, seed, true, &[]));
                    let mut broken = broken.lock().unwrap();
                    if hash(&first) != hash(&second) {
                        broken.push(format!("seed {seed} differs: {}", story(&program, seed)));
                    }
                    let report = report(&first);
                    if report["ok"] != true {
                        broken.push(format!("seed {seed}: {} ({})", report["violations"][0], report["reproduce"]));
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The hash sees the smallest change: one event differs in its last digit, one commit differs.
#[test]
fn one_changed_digit_changes_the_hash() {
    let program = built("sim", "bulkhead-sim");
    let (first, again) = (worker(&program, 7, false, &[]), worker(&program, 7, false, &["--change", "100"]));
    assert_ne!(hash(&first), hash(&again));
}

#[test]
fn bad_input_is_named() {
    let program = built("sim", "bulkhead-sim");
    let fails = |arguments: &[&str], word: &str| {
        let output = Command::new(&program).args(arguments).output().expect("runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    };
    fails(&["run", "--seed", "1", "--faults", "stal"], "unknown fault stal");
    fails(&["run", "--seed", "x"], "no seed");
    fails(&["run", "--seed", "1", "--until", "5d"], "unit of time");
    fails(&["replay", "/no/such/scenario.json"], "/no/such/scenario.json");
    fails(&["diff", "/no/such/trace", "/no/such/trace"], "/no/such/trace");
}
