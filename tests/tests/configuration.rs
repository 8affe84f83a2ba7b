//! Configuration as a user meets it: what is wrong is told whole, where values are from, and what a reload takes over.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tests::http::{self, get};
use tests::program::{Running, built};

fn run(program: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(program).args(args).envs(environment.iter().copied()).output().expect("the program runs")
}

#[test]
fn a_configuration_is_checked_and_shown() {
    let program = built("bulkhead", "bulkhead");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("b.toml");
    let path = file.to_str().expect("UTF-8");
    std::fs::write(&file, "instance = \"a/b\"\npartitons = 2\n[edge]\nthreads = 999\n").expect("written");
    for args in [&["config", "check", "--config", path][..], &["up", "--config", path]] {
        let output = run(&program, args, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        for what in [
            "line 1: `instance` must not contain",
            "line 2: unknown key `partitons`; did you mean `partitions`",
            "line 4: `edge.threads` 999",
        ] {
            assert!(said.contains(what), "{what}: {said}");
        }
    }
    std::fs::write(&file, "partitions = 2\n[edge]\nbody_max = \"32KiB\"\n[admin]\ntoken = \"s3cret-of-ours\"\n")
        .expect("written");
    let environment = [("BULKHEAD_EDGE_DEPTH_MAX", "16")];
    let output = run(
        &program,
        &["config", "show", "--origin", "--output", "json", "--config", path, "--partitions", "3"],
        &environment,
    );
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    let of = |name: &str| {
        (
            shown[name]["value"].as_str().unwrap_or("-").to_owned(),
            shown[name]["origin"].as_str().unwrap_or("-").to_owned(),
        )
    };
    assert_eq!(of("partitions"), ("3".into(), "flag".into()));
    assert_eq!(of("edge.body_max"), ("32KiB".into(), "file".into()));
    assert_eq!(of("edge.depth_max"), ("16".into(), "environment".into()));
    assert_eq!(of("edge.bids_per_s"), ("20000".into(), "default".into()));
    assert_eq!(of("admin.token"), ("***".into(), "file".into()));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("s3cret"));
    assert!(run(&program, &["config", "check", "--live", "--config", path], &[]).status.success());
    let away = [("BULKHEAD_TELEMETRY_ENDPOINT", "http://127.0.0.1:1")];
    let live = [
        "config",
        "check",
        "--live",
        "--config",
        path,
        "--brokers",
        "127.0.0.1:1",
        "--registry-url",
        "http://127.0.0.1:1/r",
    ];
    let output = run(&program, &live, &away);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for what in ["brokers", "registry_url", "telemetry"] {
        let is_told = |line: &str| line.starts_with(what) && line.contains("WRONG: 127.0.0.1:1: ");
        assert!(output.status.code() == Some(78) && said.lines().any(is_told), "{what} in\n{said}");
    }
    let wrong = run(&program, &["config", "check", "--config", path], &[("BULKHEAD_EDGE_DEPTH_MAX", "many")]);
    assert!(
        wrong.status.code() == Some(78)
            && String::from_utf8_lossy(&wrong.stderr).contains("edge.depth_max: is no whole number")
    );
}

#[test]
fn a_hangup_takes_over_what_may_change() {
    let program = built("bulkhead", "bulkhead");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("b.toml");
    std::fs::write(&file, "partitions = 1\n[edge]\ndepth_max = 32\n").expect("written");
    let up = Command::new(&program)
        .args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config"])
        .arg(&file)
        .arg("--data")
        .arg(directory.path().join("d"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut up = Running(up);
    let pid = up.0.id().to_string();
    let mut lines = BufReader::new(up.0.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut until = |what: &str| {
        let mut said = Vec::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("ended before `{what}`: {said:?}"));
            said.push(line);
            if said.last().is_some_and(|line| line.starts_with(what)) {
                return said;
            }
        }
    };
    let edge = until("edge on http://")
        .pop()
        .expect("a line")
        .rsplit('/')
        .next()
        .expect("an address")
        .parse()
        .expect("an address");
    let admin: std::net::SocketAddr = until("admin on http://")
        .pop()
        .expect("a line")
        .rsplit('/')
        .next()
        .expect("an address")
        .parse()
        .expect("an address");
    let nested = |depth: usize| {
        let body = "[".repeat(depth) + &"]".repeat(depth);
        http::post(edge, "/openrtb2/bid", body.as_bytes()).text()
    };
    assert!(nested(20).contains("not an object"), "{}", nested(20));
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().expect("kill").success());
    std::fs::write(&file, "partitions = 2\n[edge]\ndepth_max = 8\n").expect("written");
    signal("-HUP");
    let said = until("reloaded").join("\n");
    assert!(
        said.contains("edge.depth_max: taken over") && said.contains("partitions: stays until the next start"),
        "{said}"
    );
    assert!(nested(20).contains("deeper than 8"));
    std::fs::write(&file, "partitions = 2\n[edge]\ndepth_maxx = 8\n").expect("written");
    signal("-HUP");
    until("not reloaded");
    assert!(nested(20).contains("deeper than 8"), "what is wrong changes nothing");
    assert_eq!(get(admin, "/readyz").status, 200);
    signal("-TERM");
    assert!(up.0.wait().expect("it ends").success());
}
