//! The registry of a running platform, by the commands that people use: who reads what, what a change would break, and
//! the way of all schemas into another registry.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;
use tests::program;

/// A platform that ends with the test.
struct Up {
    child: Child,
    url: String,
    /// Open as long as it runs: a program that can no longer say anything ends.
    said: Option<BufReader<ChildStderr>>,
}

impl Up {
    fn start(data: &Path) -> Self {
        let child = Command::new(program::built("bulkhead", "bulkhead"))
            .args(["up", "--registry-listen", "127.0.0.1:0", "--partitions", "1", "--data"])
            .arg(data)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        let mut up = Self { child, url: String::new(), said: None };
        let mut lines = BufReader::new(up.child.stderr.take().expect("piped"));
        let (mut said, mut line) = (String::new(), String::new());
        while lines.read_line(&mut line).expect("a line") > 0 {
            if let Some(url) = line.strip_prefix("registry on ") {
                up.url = url.trim().to_owned();
                up.said = Some(lines);
                return up;
            }
            said.push_str(&line);
            line.clear();
        }
        panic!("no registry: {said}");
    }

    /// Drains it as an operator would.
    fn stop(mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        drop(self.said.take());
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn schemas(line: &[&str]) -> (i32, String, String) {
    let out = Command::new(program::built("bulkhead", "bulkhead")).arg("schemas").args(line).output().expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (out.status.code().expect("a code"), text(out.stdout), text(out.stderr))
}

fn json(line: &[&str]) -> Value {
    let (_, stdout, stderr) = schemas(&[line, &["--output", "json"]].concat());
    serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{line:?}: {e}: {stdout} {stderr}"))
}

#[test]
fn a_running_platform_tells_who_would_break() {
    let folder = tempfile::tempdir().expect("a directory");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let up = Up::start(&folder.path().join("data"));
    let url = up.url.clone();

    let subjects = json(&["ls", "--registry", &url]);
    let rows = subjects["subjects"].as_array().expect("rows");
    let clicks = rows.iter().find(|row| row["subject"] == "clicks-value").expect("registered by itself");
    assert!(clicks["readers"].as_array().expect("readers").contains(&"attribution".into()), "{clicks}");
    let usage = json(&["usage", "--registry", &url]);
    assert!(
        usage["writers"].as_array().expect("writers").iter().any(|w| w["topic"] == "clicks" && w["retained"] == true)
    );

    // A field of a click becomes a text: whoever reads clicks is named.
    let avsc = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/avsc/ClickEvent.avsc"));
    let avsc = avsc.expect("the schema");
    let broken = avsc.replacen("\"type\": \"string\"", "\"type\": \"long\"", 1);
    assert_ne!(avsc, broken);
    std::fs::write(at("ClickEvent.avsc"), &broken).expect("written");
    let (click, sarif) = (at("ClickEvent.avsc"), at("out.sarif"));
    let (code, stdout, stderr) = schemas(&["check", "--candidate", &click, "--registry", &url, "--sarif", &sarif]);
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(
        stdout.contains("consumer attribution (instance local, last seen 0 min ago) reads the candidate"),
        "{stdout}"
    );
    assert!(stdout.contains("the candidate reads clicks-value version 1, whose records are still there"), "{stdout}");
    let sarif: Value = serde_json::from_str(&std::fs::read_to_string(sarif).expect("written")).expect("JSON");
    for result in sarif["runs"][0]["results"].as_array().expect("results") {
        let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(uri, &click, "the file as it was named, so that a review finds it");
    }
    // Unchanged it fits, with proof, and the registry says the same when it is registered.
    std::fs::write(at("ClickEvent.avsc"), &avsc).expect("written");
    let report =
        json(&["check", "--candidate", &at("ClickEvent.avsc"), "--subject", "clicks-value", "--registry", &url]);
    assert_eq!((&report["compatible"], &report["decode_proof"]["ok"]), (&true.into(), &true.into()), "{report}");
    std::fs::write(at("broken.avsc"), &broken).expect("written");
    let register =
        |file: &str, subject: &str| schemas(&["register", "--file", file, "--subject", subject, "--registry", &url]);
    let (code, _, stderr) = register(&at("broken.avsc"), "clicks-value");
    assert!(code == 1 && stderr.contains("(409)"), "{code} {stderr}");
    assert_eq!(register(&at("broken.avsc"), "own").0, 0);
    assert_eq!(register(&at("absent.avsc"), "own").0, 2);

    // All of it into another registry, ids and versions included.
    assert_eq!(schemas(&["export", "--registry", &url, "--to", &at("all.jsonl")]).0, 0);
    up.stop();
    std::fs::create_dir(folder.path().join("other")).expect("made");
    let (code, _, stderr) = schemas(&["import", "--from", &at("all.jsonl"), "--data", &at("other")]);
    assert_eq!(code, 0, "{stderr}");
    let bare = |value: Value| -> Vec<(Value, Value, Value)> {
        let rows = value["subjects"].as_array().expect("rows").iter();
        rows.map(|row| (row["subject"].clone(), row["version"].clone(), row["id"].clone())).collect()
    };
    let before = bare(json(&["ls", "--data", &at("data")]));
    assert!(before.iter().any(|row| row.0 == "own" && row.2 == 1001), "{before:?}");
    assert_eq!(bare(json(&["ls", "--data", &at("other")])), before);
    // And the platform takes that directory for its own.
    Up::start(&folder.path().join("other")).stop();
}

#[test]
fn what_cannot_be_asked_is_said() {
    let folder = tempfile::tempdir().expect("a directory");
    let schema = folder.path().join("s.avsc");
    std::fs::write(&schema, "\"int\"").expect("written");
    let schema = schema.display().to_string();
    // Nobody listens on port 9 here.
    let (code, _, stderr) =
        schemas(&["check", "--candidate", &schema, "--subject", "s", "--registry", "http://127.0.0.1:9"]);
    assert!(code == 3 && stderr.contains("REGISTRY_DOWN"), "{code} {stderr}");
    assert_eq!(schemas(&["ls", "--registry", "http://127.0.0.1:9"]).0, 1);
    assert_eq!(schemas(&["ls", "--registry", "ftp://x"]).0, 2);
    assert_eq!(schemas(&["ls", "--data", "/nowhere/at/all"]).0, 2);
    assert_eq!(schemas(&["import", "--from", &schema, "--registry", "http://127.0.0.1:9"]).0, 2);
}
