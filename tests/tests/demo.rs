//! The program as people start it: the main job, bad input, a directory in use, a drain.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};

use runtime::env::Env;
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::DiskStorage;
use runtime::log::{Batches, Log, TopicPartition};
use serde_json::Value;

fn program() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(PROGRAM.get_or_init(|| tests::program::built("bulkhead", "bulkhead")));
    // Settings of whoever runs the tests are not ours.
    for name in ["CONFIG", "DATA_DIR", "PARTITIONS", "LISTS", "INSTANCE"] {
        command.env_remove(format!("BULKHEAD_{name}"));
    }
    command
}

fn run(args: &[&str]) -> Output {
    program().args(args).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The report of a demo that must hold.
fn report(args: &[&str]) -> Value {
    let output = run(&[&["demo", "--output", "json"], args].concat());
    assert!(output.status.success(), "{:?}: {}", output.status, stderr(&output));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

fn sum(object: &Value) -> u64 {
    object.as_object().expect("an object").values().map(count).sum()
}

fn fails(args: &[&str], code: i32, says: &[&str]) {
    let output = run(args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    for part in says {
        assert!(text.contains(part), "{args:?} does not say `{part}`: {text}");
    }
}

#[test]
fn the_main_job_accounts_for_everything() {
    let report = report(&["--requests", "3000", "--speed", "max", "--no-fault"]);
    let (input, funnel) = (&report["input"], &report["funnel"]);
    assert_eq!((count(&input["read"]), count(&input["valid"]), count(&input["rejected"])), (3_000, 3_000, 0));
    assert_eq!(sum(&funnel["no_bid"]) + count(&funnel["bids"]), count(&funnel["requests"]));
    assert!(count(&funnel["impressions"]) > 0 && count(&funnel["bids"]) > count(&funnel["wins"]), "{funnel}");
    assert_eq!(report["money"]["recount_diff_micros"], 0);
    assert_eq!(report["money"]["debits_micros"], report["money"]["credits_micros"]);
    let services: Vec<_> = report["services"].as_array().expect("a list").iter().collect();
    for service in &services {
        assert_eq!(service["lag_end"], 0, "{service}");
    }
    let of = |name: &str| services.iter().find(|s| s["service"] == name).expect("a service");
    assert_eq!(count(&of("bidding")["handled"]), 3_000);
    for invariant in report["invariants"].as_array().expect("a list") {
        assert!(invariant["ok"] == true && count(&invariant["checked"]) > 0, "{invariant}");
    }
    for key in ["ok", "faults", "cpu_us_per_event", "rss_max_bytes"] {
        assert!(!report[key].is_null(), "{key}");
    }
}

#[test]
fn who_comes_too_late_is_shed_and_counted() {
    let fast = ["--requests", "20000", "--speed", "100000x", "--no-fault"];
    let report = report(&[&fast[..], &["--time-budget", "50ms"]].concat());
    let (input, funnel) = (&report["input"], &report["funnel"]);
    let late = count(&input["shed"]["late"]);
    assert!(late > 0 && late < 20_000, "{input}");
    assert_eq!(count(&input["valid"]) + late, 20_000, "{input}");
    assert_eq!(sum(&funnel["no_bid"]) + count(&funnel["bids"]), count(&input["valid"]), "{funnel}");
    fails(&["demo", "--speed", "max", "--time-budget", "50ms"], 2, &["--time-budget", "is never late"]);
}

fn thread_names(process: u32) -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.flatten().map(|task| name(task).trim().to_owned()).collect()
}

/// Lag is the stalled service's alone, and its bulkhead is threads of its own.
#[test]
fn a_stalled_service_is_felt_by_nobody_else() {
    for (stalled, other) in [("fraud", "billing"), ("billing", "fraud")] {
        let fault = format!("{stalled}:stall@300ms+1500ms");
        let mut demo = program()
            .args(["demo", "--output", "json", "--requests", "1600", "--speed", "1x", "--fault", &fault])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut first = String::new();
        let mut errors = BufReader::new(demo.stderr.take().expect("piped"));
        errors.read_line(&mut first).expect("a line when it runs");
        // A thread has its name only once it runs, so it is looked for until it does or the run is over.
        let wanted = ["control", "views", "requests", "fraud", "billing", "ads", "bidding"];
        let mut threads = Vec::new();
        while demo.try_wait().expect("a child").is_none() {
            threads = thread_names(demo.id());
            if wanted.iter().all(|name| threads.iter().any(|thread| thread == name)) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        for name in wanted {
            assert!(threads.iter().any(|thread| thread == name), "no thread {name} in {threads:?}");
        }
        let mut rest = String::new();
        errors.read_to_string(&mut rest).expect("text");
        let output = demo.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{rest}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        let lag = |name: &str| {
            let services = report["services"].as_array().expect("a list");
            count(&services.iter().find(|s| s["service"] == name).expect("a service")["lag_max"])
        };
        assert!(lag(stalled) > 4 * lag(other).max(1), "{stalled} {} {other} {}", lag(stalled), lag(other));
        let fault = &report["faults"][0];
        assert!(count(&fault["caught_up_ms"]) >= count(&fault["ended_ms"]), "{fault}");
    }
}

#[test]
fn a_broken_line_is_set_aside_and_the_run_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let (input, data) = (directory.path().join("requests.jsonl"), directory.path().join("data"));
    let mut file = std::fs::File::create(&input).expect("a file");
    for line in ["", r#"{"id":"a","imp":[{"id":"1","banner":{"w":300,"h":250}}]}"#, "{broken", r#"{"id":"b"}"#] {
        writeln!(file, "{line}").expect("written");
    }
    // Enough of the rest that money moves: an invariant with nothing checked does not hold.
    for n in 0..300 {
        let banner = r#""imp":[{"id":"1","banner":{"w":300,"h":250}}]"#;
        writeln!(file, r#"{{"id":"auction-{n}","device":{{"ua":"Mozilla/5.0","ip":"192.0.2.{n}"}},{banner}}}"#)
            .expect("written");
    }
    let (input, data) = (input.to_str().expect("UTF-8"), data.to_str().expect("UTF-8"));
    let report = report(&["--input", input, "--data", data, "--speed", "max", "--no-fault"]);
    let input = &report["input"];
    assert_eq!((count(&input["read"]), count(&input["valid"]), count(&input["rejected"])), (303, 301, 2));
    let kept = dead_letters(Path::new(data), "requests-dlq");
    let by_line: BTreeMap<_, _> = kept.iter().map(|letter| (letter.headers["bh-line"].as_str(), letter)).collect();
    assert_eq!(by_line.keys().copied().collect::<Vec<_>>(), ["3", "4"], "blank lines count in numbers only");
    assert_eq!((by_line["3"].value.as_str(), by_line["3"].headers["bh-code"].as_str()), ("{broken", "syntax"));
    assert_eq!(by_line["4"].headers["bh-code"], "imp_missing");
}

struct Letter {
    value: String,
    headers: BTreeMap<String, String>,
}

fn dead_letters(data: &Path, topic: &str) -> Vec<Letter> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _inside = runtime.enter();
    let storage = Arc::new(DiskStorage::open(data).expect("a directory"));
    let log = EmbeddedLog::open(&Env::production(), storage, SegmentLogConfig::default()).expect("a log");
    let id = log.topic(topic).expect("the topic");
    let (mut letters, mut scratch) = (Vec::new(), Vec::new());
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    for partition in 0..4 {
        let at = TopicPartition { topic: id, partition };
        let mut reader = log.reader(at, 0, Arc::default()).expect("a reader");
        while let Some(fetched) = reader.try_next(1 << 20).expect("readable") {
            for batch in Batches::new(&fetched.bytes) {
                for record in batch.expect("a batch").records(&mut scratch).expect("records") {
                    let record = record.expect("a record");
                    let header = |header| {
                        let (name, value) = Result::expect(header, "a header");
                        (String::from_utf8_lossy(name).into_owned(), text(value))
                    };
                    let headers = record.headers.map(header).collect();
                    letters.push(Letter { value: text(record.value), headers });
                }
            }
        }
    }
    runtime.block_on(log.close());
    letters
}

#[test]
fn what_cannot_be_used_is_said_before_anything_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let plain = directory.path().join("plain.gz");
    std::fs::write(&plain, "{}\n").expect("written");
    let plain = plain.to_str().expect("UTF-8");
    fails(&["demo", "--input", "no/such/file"], 2, &["no/such/file", "check the path"]);
    fails(&["demo", "--input", plain], 2, &[plain, "not gzip"]);
    fails(&["demo", "--fault", "frud:stall@1s+1s"], 2, &["frud", "did you mean `fraud`", "billing"]);
    fails(&["demo", "--fault", "fraud:stal@1s+1s"], 2, &["stal", "stall, spin"]);
    fails(&["demo", "--speed", "fast"], 2, &["fast", "max"]);
    fails(
        &["up", "--only", "nothing", "--until-idle", "--data", directory.path().to_str().expect("UTF-8")],
        2,
        &["nothing", "billing"],
    );
    let config = directory.path().join("b.toml");
    std::fs::write(&config, "partitions = 2\ndta = \"x\"\n").expect("written");
    fails(&["up", "--config", config.to_str().expect("UTF-8")], 78, &["b.toml", "line 2", "did you mean `data`"]);
}

#[test]
fn a_fault_that_meets_nothing_proves_nothing() {
    fails(&["demo", "--requests", "500", "--speed", "max", "--fault", "fraud:stall@1m+1s"], 1, &["never started"]);
}

#[test]
fn a_directory_is_for_one_process_and_a_drain_goes_downstream() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("made").join("by-us");
    let data = data.to_str().expect("UTF-8");
    let up = program().args(["up", "--data", data]).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut up = tests::program::Running(up);
    let mut errors = BufReader::new(up.0.stderr.take().expect("piped"));
    let mut line = String::new();
    errors.read_line(&mut line).expect("a line when it is up");
    assert!(line.starts_with("up on "), "{line}");
    fails(&["up", "--data", data, "--until-idle"], 1, &["in use", &up.0.id().to_string(), data, "--log kafka"]);
    let killed = Command::new("kill").args(["-TERM", &up.0.id().to_string()]).status().expect("kill is there");
    assert!(killed.success());
    let mut rest = String::new();
    errors.read_to_string(&mut rest).expect("text");
    assert!(up.0.wait().expect("it ends").success(), "{rest}");
    let stages: Vec<_> = rest.lines().filter_map(|line| line.strip_prefix("drain ")?.split(' ').next()).collect();
    let place = |name: &str| stages.iter().position(|stage| *stage == name).unwrap_or_else(|| panic!("{name}: {rest}"));
    assert!(place("campaigns") < place("budget") && place("ads") < place("fraud") && place("fraud") < place("billing"));
    // Free again, and of our version.
    assert!(run(&["up", "--data", data, "--until-idle"]).status.success());
    std::fs::write(Path::new(data).join("VERSION"), "of another world\n").expect("written");
    fails(&["up", "--data", data, "--until-idle"], 1, &[data, "another version"]);
}

#[test]
fn a_second_run_goes_on_in_the_directory_of_the_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().to_str().expect("UTF-8");
    let args = |seed| ["--data", data, "--requests", "1500", "--speed", "max", "--no-fault", "--seed", seed];
    let (first, second) = (report(&args("1")), report(&args("2")));
    assert_eq!(count(&second["funnel"]["requests"]), 1_500);
    let posted = |report: &Value| {
        let campaigns = report["money"]["campaigns"].as_array().expect("a list");
        campaigns.iter().map(|campaign| count(&campaign["posted_micros"])).sum::<u64>()
    };
    assert!(posted(&second) > posted(&first), "the ledger goes on");
    let verified = run(&["verify", "--data", data, "--output", "json"]);
    assert!(verified.status.success(), "{}", stderr(&verified));
}

/// Counts of the recorded file are made here, from the file.
#[test]
fn every_request_of_the_recorded_file_is_read() {
    let shared = std::env::var("BULKHEAD_DATA").unwrap_or_else(|_| "../../shared/data".into());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(shared).join("rtb/bid_requests_2012_20k.openrtb.jsonl.gz");
    if !path.exists() {
        eprintln!("NOT TESTED: {} is not there; set BULKHEAD_DATA", path.display());
        return;
    }
    let mut file = actors::input::RequestFile::open(&path).expect("the file");
    let (mut lines, mut without_user, mut without_site) = (0, 0, 0);
    let mut users: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(line) = file.next_line().expect("readable") {
        let request: Value = serde_json::from_slice(line.bytes).expect("JSON");
        lines += 1;
        without_site += u64::from(request["site"].is_null() && request["app"].is_null());
        match request["user"]["id"].as_str().filter(|id| !id.is_empty()) {
            Some(id) => *users.entry(id.to_owned()).or_default() += 1,
            None => without_user += 1,
        }
    }
    let report = report(&["--input", path.to_str().expect("UTF-8"), "--speed", "max", "--no-fault"]);
    let input = &report["input"];
    assert_eq!(count(&input["read"]), lines);
    assert_eq!(count(&input["valid"]), lines);
    assert_eq!(count(&input["users_null"]), without_user);
    assert_eq!(count(&input["site_absent"]), without_site);
    assert_eq!(count(&input["users_placeholder"]), users.values().copied().max().unwrap_or(0));
}
