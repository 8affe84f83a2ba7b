//! The embedded registry over HTTP: a conversation of more than sixty calls, a client that somebody else wrote, and ours
//! against servers that misbehave.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::registry_kit::{Served, call};

/// `expected` may leave keys of objects out; "*" is any value.
fn matches(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(any), _) if any == "*" => true,
        (Value::Object(e), Value::Object(f)) => e.iter().all(|(key, e)| f.get(key).is_some_and(|f| matches(e, f))),
        (Value::Array(e), Value::Array(f)) => e.len() == f.len() && e.iter().zip(f).all(|(e, f)| matches(e, f)),
        _ => expected == found,
    }
}

#[test]
fn the_transcript_holds() {
    let served = Served::start();
    let text = include_str!("../registry/transcript.txt");
    let (mut names, mut headers) = (BTreeMap::new(), Vec::<(String, String)>::new());
    let (mut last, mut calls) = (None, 0);
    for (index, line) in text.lines().enumerate() {
        let at = index + 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, schema)) = line.strip_prefix("let ").and_then(|rest| rest.split_once(" = ")) {
            names.insert(format!("${name}"), Value::from(schema).to_string());
        } else if let Some((name, value)) = line.strip_prefix("> ").and_then(|rest| rest.split_once(": ")) {
            headers.push((name.to_owned(), value.to_owned()));
        } else if let Some(header) = line.strip_prefix("< ") {
            let answer: &tests::registry_kit::HttpAnswer = last.as_ref().expect("after a call");
            assert!(answer.head.lines().any(|l| l == header), "line {at}: {header}: {}", answer.head);
        } else {
            // Longest names first: V1_LAID_OUT before V1.
            let mut line = line.to_owned();
            names.iter().rev().for_each(|(name, schema)| line = line.replace(name, schema));
            let (request, expected) = line.split_once(" -> ").expect("an answer");
            let mut words = request.splitn(3, ' ');
            let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
            let answer = call(served.address, method, path, &headers, words.next().unwrap_or_default());
            let (status, json) = expected.split_once(' ').expect("status and answer");
            assert_eq!(answer.status.to_string(), status, "line {at}: {request}: {}", answer.body);
            let expected: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("line {at}: {e}"));
            let found: Value = serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("line {at}: {e}"));
            assert!(matches(&expected, &found), "line {at}: {request}\nexpected {expected}\nfound    {found}");
            headers.clear();
            calls += 1;
            last = Some(answer);
        }
    }
    assert!(calls >= 60, "{calls} calls");
    println!("{calls} calls");
}

#[test]
fn what_is_too_large_is_refused() {
    let served = Served::start();
    let schema = format!("\"{}\"", "x".repeat(2 << 20));
    let body = serde_json::json!({ "schema": schema }).to_string();
    let answer = call(served.address, "POST", "/subjects/s/versions", &[], &body);
    assert_eq!((answer.status, answer.body.contains("42209")), (422, true), "{}", answer.body);
    // Refused by what it says of itself, before a byte of it is read.
    let claimed = [("Content-Length".to_owned(), "4194304".to_owned())];
    let answer = call(served.address, "POST", "/subjects/s/versions", &claimed, "");
    assert_eq!((answer.status, answer.body.contains("42209")), (422, true), "{}", answer.body);
    let long = "s".repeat(600);
    let answer = call(served.address, "POST", &format!("/subjects/{long}/versions"), &[], r#"{"schema":"\"int\""}"#);
    assert_eq!((answer.status, answer.body.contains("42208")), (422, true), "{}", answer.body);
}

/// A Python with Confluent's client, installed once below the build directory; `None` says loudly why not.
fn python() -> Option<std::path::PathBuf> {
    let test = std::env::current_exe().expect("a test knows where it is");
    let home = test.parent().and_then(Path::parent).expect("target/PROFILE/deps").join("python-clients");
    let python = home.join("bin/python");
    let works = |python: &Path| {
        Command::new(python)
            .args(["-c", "import confluent_kafka.schema_registry.avro"])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if !works(&python) {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&home).output();
        let made = made.is_ok_and(|o| o.status.success());
        let wanted = "confluent-kafka[avro,schemaregistry]==2.16.0";
        let installed = made
            && Command::new(home.join("bin/pip"))
                .args(["install", "--quiet", wanted])
                .output()
                .is_ok_and(|o| o.status.success());
        if !installed || !works(&python) {
            println!("SKIPPED: no Python client ({wanted} could not be installed): the registry was NOT tried with it");
            return None;
        }
    }
    Some(python)
}

/// Confluent's own client for Python: registers, finds, serialises and reads back, evolves, is refused.
#[test]
fn confluents_python_client_works_with_it() {
    let Some(python) = python() else { return };
    let served = Served::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("registry/client.py");
    let out = Command::new(python).arg(script).arg(served.url()).output().expect("runs");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.trim().ends_with("all calls answered"), "{said}");
}
