//! One process a world: worlds share what is global to a process (libraries' tables, counters), so each gets its own.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sim::oracle::Violation;
use sim::oracle::flow::Conserved;
use sim::scenario::Scenario;
use sim::world::Lags;

/// What a child's report says, as far as its parents care.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    pub virtual_s: f64,
    pub cpu_s: f64,
    pub events: u64,
    pub impressions: u64,
    pub faults: std::collections::BTreeMap<String, u64>,
    pub violations: Vec<Violation>,
    pub converged_s: f64,
    pub points: u64,
    pub observations: u64,
    pub ads_late_s: u64,
    pub conserved: Vec<Conserved>,
    pub lags: Option<Lags>,
}

/// Runs this program with `arguments`; `input` goes to its standard input. Its answer is one document of JSON.
///
/// # Errors
/// The simulator itself failed: that is never a finding about the platform.
pub fn child<A: DeserializeOwned>(arguments: &[String], input: Option<&str>) -> Result<A, String> {
    let program = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut running = command.spawn().map_err(|error| format!("starting a world: {error}"))?;
    if let (Some(input), Some(mut pipe)) = (input, running.stdin.take()) {
        pipe.write_all(input.as_bytes()).map_err(|error| format!("handing over a scenario: {error}"))?;
    }
    let output = running.wait_with_output().map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        format!("{arguments:?} ended with {}: {error}; it said: {}", output.status, last.join(" | "))
    })
}

/// Runs a scenario in a process of its own.
///
/// # Errors
/// As `child`.
pub fn scenario(scenario: &Scenario, more: &[&str]) -> Result<Seen, String> {
    let mut arguments = ["replay", "-", "--output", "json"].map(str::to_owned).to_vec();
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    child(&arguments, Some(&scenario.to_json()))
}

/// Does `work` for 0..count on `jobs` threads, in order of their numbers; `work` says whether to go on.
pub fn each(jobs: usize, count: usize, work: impl Fn(usize) -> bool + Sync) {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, 64) {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    if !work(index) {
                        stop.store(true, Ordering::Release);
                    }
                }
            });
        }
    });
}

/// A lock that a panicking thread cannot spoil.
pub fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What two findings have in common: the invariant, and the message without its numbers.
pub fn signature(violation: &Violation) -> String {
    let mut text = format!("{}: ", violation.invariant);
    let words = violation.message.split(|c: char| !c.is_ascii_alphabetic() && c != '_');
    let words: Vec<&str> = words.filter(|word| word.len() > 2).take(8).collect();
    text.push_str(&words.join(" "));
    text
}
