//! Records of writers that are not of this binary: with a schema that the registry knows, by id or GUID, in front of the value
//! or in a header, built on others or not, they are read; with one that nobody knows they are dead letters; the recount and `tap` agree.

use std::path::Path;
use std::process::Command;

use bulkhead::registry::EmbeddedRegistry;
use runtime::env::Env;
use schemas::codec::Encode as _;
use schemas::events::ClickPixel;
use schemas::frame::MAGIC_GUID;
use schemas::registry::{Mode, Reference, Submission};
use serde_json::Value;
use tests::program;
use tests::registry_kit::{append_headed, framed, letters, newer_click_pixel, open_log};

const TOPIC: &str = "click-pixels";

fn up(data: &Path) {
    let mut command = Command::new(program::built("bulkhead", "bulkhead"));
    let out = command.args(["up", "--until-idle", "--partitions", "1", "--data"]).arg(data).output().expect("runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

#[test]
fn other_writers_are_read_and_strangers_set_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path();
    let env = Env::production();
    // Makes the topics and registers what is built in.
    up(data);
    let (id, guid, built_on) = block(async {
        let log = open_log(&env, data);
        let registry = EmbeddedRegistry::open(&env, log.clone()).await.expect("a registry");
        let (newer, new) = newer_click_pixel(env.clock.wall_ms());
        let submission = Submission::of(newer.clone());
        let registered = registry.write(|state| state.register("click-pixels-value", &submission)).await;
        let id = registered.expect("compatible").id;
        let guid = registry.read().by_id(id).expect("registered").guid;
        let guid = [&[MAGIC_GUID], &guid.0[..]].concat();
        // Its added text is an enum that another subject defines.
        let note =
            r#"{"type": "enum", "name": "Note", "namespace": "other", "symbols": ["NONE", "HI"], "default": "NONE"}"#;
        registry.write(|state| state.register("notes-value", &Submission::of(note))).await.expect("a schema");
        let (added, noted) = (r#""name": "added", "type": "string""#, r#""name": "noted", "type": "other.Note""#);
        let named = newer.replacen(added, noted, 1).replacen(r#""default": """#, r#""default": "NONE""#, 1);
        assert_ne!(named, newer);
        let reference = Reference { name: "other.Note".into(), subject: "notes-value".into(), version: 1 };
        let submission = Submission { references: vec![reference], ..Submission::of(named) };
        let registered = registry.write(|state| state.register("notes-pixels-value", &submission)).await;
        let built_on = registered.expect("the reference is there").id;
        let noted = [&[2], &new[3..]].concat();
        // The same in the old form, without the added field; then named by its GUID, and by a header in both ways.
        let values = [
            (framed(ClickPixel::SCHEMA_ID, &new[3..]), None),
            (framed(id, &new), None),
            (framed(7_777, &new), None),
            ([&guid[..], &new].concat(), None),
            (new.clone(), Some(guid.clone())),
            (new.clone(), Some(framed(id, &[]))),
            (new[3..].to_vec(), Some(framed(ClickPixel::SCHEMA_ID, &[]))),
            (new.clone(), Some(vec![MAGIC_GUID; 17])),
            (framed(built_on, &noted), None),
        ];
        append_headed(&env, log.as_ref(), TOPIC, &values).await;
        log.close().await;
        (id, guid, built_on)
    });
    up(data);

    let found = block(async {
        let log = open_log(&env, data);
        let found = letters(log.as_ref(), TOPIC);
        log.close().await;
        found
    });
    // Only what nobody knows, untouched; all others are one click, and repetitions of it.
    let told: Vec<_> = found.iter().map(|(_, code, _)| code.as_str()).collect();
    assert_eq!(told, ["SCHEMA_VIOLATION"; 2], "{found:?}");
    assert!(found[0].0.starts_with(&framed(7_777, &[])) && found[0].2.contains("7777"), "{found:?}");
    assert!(found[1].2.contains("schema GUID"), "{found:?}");

    let report = json(data, &["verify", "--output", "json", "--data"]);
    assert_eq!(report["ok"], true, "{report}");
    let taken = &report["offsets"]["click-pixels/tracking"];
    let counts = ["events", "done", "duplicate", "dead_lettered", "unaccounted"].map(|name| taken[name].as_u64());
    assert_eq!(counts, [9, 1, 6, 2, 0].map(Some), "{report}");

    // Each is shown as its own writer wrote it.
    let shown = json(data, &["tap", TOPIC, "--output", "json", "--data"]);
    let events = shown["events"].as_array().expect("events");
    let added: Vec<_> = events.iter().map(|event| event["value"]["added"].as_str()).collect();
    let hi = Some("hi");
    assert_eq!(added, [None, hi, None, hi, hi, hi, None, None, None], "{shown} {id} {guid:?}");
    let strange: Vec<_> = events.iter().map(|event| event["value"]["unreadable"].is_string()).collect();
    assert_eq!(strange, [false, false, true, false, false, false, false, true, false], "{shown}");
    assert_eq!(events[8]["value"]["noted"], "HI", "{shown} {built_on}");
    letters_of_a_writer_that_is_known_late(data);
}

/// The registry learns of the stranger's schema, under its own id: a trial says which letter would come back, and the replay
/// brings it back.
fn letters_of_a_writer_that_is_known_late(data: &Path) {
    let replay = |line: &[&str], code: i32| {
        let mut command = Command::new(program::built("bulkhead", "bulkhead"));
        let out = command.args(["dlq", "replay", "--output", "json", "--data"]).arg(data).args(line).output();
        let out = out.expect("runs");
        let said: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        assert_eq!(out.status.code(), Some(code), "{said}");
        said
    };
    let counts = |trial: &Value, names: [&str; 3]| names.map(|name| trial[name].as_u64().expect("a count"));
    const TRIED: [&str; 3] = ["would_succeed", "would_be_duplicates", "would_fail"];
    let before = replay(&["--dry-run"], 1);
    assert_eq!(counts(&before, TRIED), [0, 0, 2], "{before}");
    assert_eq!(before["failures"][0]["code"], "SCHEMA_VIOLATION", "{before}");
    let env = Env::production();
    block(async {
        let log = open_log(&env, data);
        let registry = EmbeddedRegistry::open(&env, log.clone()).await.expect("a registry");
        let late = Submission {
            id: Some(7_777),
            version: Some(1),
            ..Submission::of(newer_click_pixel(0).0.replacen("New.", "Newer.", 1))
        };
        registry.write(|state| state.set_mode(Some("late-value"), Mode::Import, true)).await.expect("a mode");
        registry.write(|state| state.register("late-value", &late)).await.expect("with its own id");
        log.close().await;
    });
    let after = replay(&["--dry-run"], 1);
    // The click itself has been counted: this is one of its repetitions.
    assert_eq!(counts(&after, TRIED), [0, 1, 1], "{after}");
    assert_eq!(json(data, &["dlq", "ls", "--output", "json", "--data"])["count"], 2, "a trial moves nothing");
    let done = replay(&[], 0);
    assert_eq!(counts(&done, ["scanned", "moved", "failed"]), [2, 2, 0], "{done}");
    up(data);
    let left = json(data, &["dlq", "ls", "--output", "json", "--data"]);
    assert_eq!(left["count"], 1, "the other stranger is set aside again: {left}");
}

/// What a command says of the directory; it succeeds.
fn json(data: &Path, line: &[&str]) -> Value {
    let out = Command::new(program::built("bulkhead", "bulkhead")).args(line).arg(data).output().expect("runs");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{line:?}: {said} {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_str(&said).expect("JSON")
}
