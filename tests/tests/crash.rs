//! Killed at any moment, nothing is lost and nothing is counted twice: the demo is killed with -9, the platform takes the
//! directory up and works it off, and the recount finds every offset accounted for. `tests/long/kill.sh` does 25.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tests::program::built;

/// When the kills come, ms after the start: while the directory is made, under load, in the fault's backlog.
const KILLS_MS: [u64; 3] = [120, 1_700, 4_300];

fn program() -> PathBuf {
    built("bulkhead", "bulkhead")
}

fn run(program: &Path, args: &[&str], data: &Path) -> Output {
    Command::new(program).args(args).arg("--data").arg(data).output().expect("the program starts")
}

fn says(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

#[test]
fn killed_at_any_moment_nothing_is_lost_or_counted_twice() {
    let program = program();
    for kill_ms in KILLS_MS {
        let data = tempfile::tempdir().expect("a directory");
        let mut demo = Command::new(&program)
            .args(["demo", "--requests", "8000", "--fault", "fraud:stall@1s+2s", "--data"])
            .arg(data.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(Duration::from_millis(kill_ms));
        demo.kill().expect("killed with -9");
        demo.wait().expect("ended");

        let up = run(&program, &["up", "--until-idle"], data.path());
        assert!(up.status.success(), "killed after {kill_ms} ms, `up`: {}", says(&up));
        let verify = run(&program, &["verify", "--output", "json"], data.path());
        assert!(verify.status.success(), "killed after {kill_ms} ms, `verify`: {}", says(&verify));
        let found: Value = serde_json::from_slice(&verify.stdout).expect("one JSON document");
        assert_eq!((&found["ok"], &found["recount_diff_micros"]), (&Value::from(true), &Value::from(0)), "{found}");
        for (name, account) in found["offsets"].as_object().expect("accounts") {
            assert_eq!(account["unaccounted"], 0, "{name}");
        }
    }
}
