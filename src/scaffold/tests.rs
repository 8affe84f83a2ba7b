use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

/// The files of this very checkout that get a line.
fn checkout() -> tempfile::TempDir {
    let (own, copy) = (Path::new(env!("CARGO_MANIFEST_DIR")), tempfile::tempdir().expect("a directory"));
    for path in [LIBRARY, CATALOGUE, COSTS] {
        std::fs::create_dir_all(copy.path().join(path).parent().expect("a folder")).expect("made");
        std::fs::copy(own.join(path), copy.path().join(path)).expect("copied");
    }
    copy
}

#[test]
fn a_service_of_every_topic_is_formatted_and_complete() {
    for (number, topic) in values::topics().into_iter().enumerate() {
        let (copy, name) = (checkout(), format!("zz{number}"));
        let written = service(copy.path(), &name, topic.name).expect("written");
        assert_eq!((written.files.len(), written.changed.len()), (4, 3));
        for path in written.files.iter().chain(&written.changed) {
            let text = std::fs::read_to_string(copy.path().join(path)).expect("there");
            for place in ["@name@", "@Name@", "@topic@", "@TOPIC@", "@Event@", "@key@"] {
                assert!(!text.contains(place), "{}: {place} is left empty", path.display());
            }
        }
        let catalogue = std::fs::read_to_string(copy.path().join(CATALOGUE)).expect("there");
        let type_name = type_name(&name);
        assert!(catalogue.contains(&format!("use crate::{name}::{type_name};\n")), "{catalogue}");
        let costs = std::fs::read_to_string(copy.path().join(COSTS)).expect("there");
        assert!(costs.contains(&format!("    (\"{name}\", 10.0),\n];")), "{costs}");
        assert!(catalogue.contains(&format!("        ServiceDef::new(|| {type_name}),\n    ]\n")), "{catalogue}");
        let library = std::fs::read_to_string(copy.path().join(LIBRARY)).expect("there");
        assert!(library.contains(&format!("\npub mod {name};\n")), "{library}");
    }
}

#[test]
fn what_is_written_is_formatted() {
    let copy = checkout();
    let written = service(copy.path(), "zzz", "impressions").expect("written");
    let rust = written.files.iter().chain(&written.changed).filter(|path| path.extension().is_some_and(|e| e == "rs"));
    for path in rust {
        let text = std::fs::read_to_string(copy.path().join(path)).expect("there");
        let Some(formatted) = formatted(&text) else {
            println!("ABSENT: rustfmt");
            return;
        };
        assert_eq!(text, formatted, "{}", path.display());
    }
}

/// As rustfmt would write it, by the project's rules.
fn formatted(text: &str) -> Option<String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("rustfmt.toml");
    let mut command = Command::new("rustfmt");
    command.args(["--edition", "2024", "--config-path"]).arg(own).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take()?.write_all(text.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_will_not_do_is_refused_before_anything_is_written() {
    let copy = checkout();
    let kind = |name: &str, topic: &str| service(copy.path(), name, topic).expect_err("refused").kind();
    for name in ["", "a", "Ads", "1st", "a-b", "a_b", "match", "yield", "abcdefghijklmnop", "../x"] {
        assert_eq!(kind(name, "impressions"), "NAME", "{name}");
    }
    assert_eq!(kind("money", "impressions"), "TAKEN", "a part of the domain");
    assert_eq!(kind("zzz", "impresions"), "TOPIC");
    let said = service(copy.path(), "zzz", "impresions").expect_err("refused").to_string();
    assert!(said.contains("did you mean `impressions`"), "{said}");
    let nowhere = service(&copy.path().join("nowhere"), "zzz", "impressions").expect_err("refused");
    assert_eq!(nowhere.kind(), "NO_CHECKOUT");
    assert!(!copy.path().join("actors/src/zzz").exists());
    service(copy.path(), "zzz", "impressions").expect("written");
    assert_eq!(kind("zzz", "impressions"), "TAKEN");
    std::fs::write(copy.path().join(CATALOGUE), "fn services() {}\n").expect("written");
    assert_eq!(kind("zzzz", "impressions"), "NO_PLACE");
    assert!(!copy.path().join("actors/src/zzzz").exists());
}
