//! A disk that fills up in the middle of the main job: the program pauses and says so, goes on when there is room, and
//! nothing is lost. For real: on a small file system of its own, which takes the right to mount one.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use serde_json::Value;

/// $1 program, $2 directory. 256 MiB less the journal's 128 and the reserve's 64 leave 64; the ballast leaves 4 of them,
/// and the job takes about 13. Waits for a line before it throws the ballast out.
const SCRIPT: &str = r#"
mount -t tmpfs -o size=256m tmpfs "$2" || exit 77
head -c 62914560 /dev/zero > "$2/ballast" || exit 77
(
    "$1" demo --data "$2/data" --requests 5000 --speed max --no-fault --output json
    status=$?
    echo "demo ended: $status" >&2
    exit $status
) &
demo=$!
read -r _
rm "$2/ballast"
wait $demo || exit $?
"$1" verify --data "$2/data" --output json >&2
"#;

#[test]
fn the_main_job_waits_for_room_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = tests::program::built("bulkhead", "bulkhead");
    let mut shell = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", SCRIPT, "full-disk"])
        .arg(&program)
        .arg(directory.path())
        .env_remove("BULKHEAD_DATA_DIR")
        .env_remove("BULKHEAD_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare is there");
    let mut lines = BufReader::new(shell.stderr.take().expect("a pipe")).lines();
    let mut told = String::new();
    let mut is_paused = false;
    for line in lines.by_ref() {
        let line = line.expect("text");
        told += &line;
        told.push('\n');
        is_paused = line.starts_with("paused: ");
        if is_paused || line.starts_with("demo ended") {
            break;
        }
    }
    // Closed or written to, the pipe lets the script go on.
    let mut go = shell.stdin.take().expect("a pipe");
    if is_paused {
        // Long enough for all services to stand before the full disk.
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        go.write_all(b"go\n").expect("the script reads");
    }
    drop(go);
    for line in lines {
        told += &line.expect("text");
        told.push('\n');
    }
    let mut report = String::new();
    shell.stdout.take().expect("a pipe").read_to_string(&mut report).expect("text");
    let status = shell.wait().expect("it ends");
    if status.code() == Some(77) || (report.is_empty() && told.contains("unshare: ")) {
        eprintln!("SKIPPED: no file system of its own can be mounted here, so a full disk was not tried:\n{told}");
        return;
    }
    assert!(is_paused, "the disk never filled up:\n{told}");
    assert!(status.success(), "{status}:\n{told}");
    assert!(told.contains("is full"), "the message says why:\n{told}");
    assert!(told.contains("there is room again"), "{told}");
    let report: Value = serde_json::from_str(&report).expect("one JSON document");
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["funnel"]["requests"], 5_000);
    assert_eq!(report["money"]["recount_diff_micros"], 0);
    let handled = |name: &str| {
        let services = report["services"].as_array().expect("a list");
        services.iter().find(|service| service["service"] == name).expect("a service")["handled"].as_u64()
    };
    assert_eq!(handled("bidding"), Some(5_000), "each decision is taken once");
    assert!(told.contains(r#""ok":true"#), "the independent recount agrees:\n{told}");
}
