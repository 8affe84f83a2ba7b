//! `bulkhead schemas` as people and scripts call it: exit codes, JSON shapes, messages that name the place.

use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};
use tests::program;

struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {} {}", self.stdout, self.stderr))
    }
}

/// Runs `bulkhead schemas ...` in a folder.
fn schemas(folder: &Path, line: &str) -> Answer {
    let program = program::built("bulkhead", "bulkhead");
    let out = Command::new(program).current_dir(folder).arg("schemas").args(line.split_whitespace()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { code: out.status.code().unwrap(), stdout: text(out.stdout), stderr: text(out.stderr) }
}

fn event(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"E","namespace":"n","fields":[{fields}]}}"#)
}

#[test]
fn check_and_decode_answer_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let put = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let id = r#"{"name":"id","type":"string","doc":"id"}"#;
    put("v1.avsc", &event(id));
    put("v2.avsc", &event(&format!(r#"{id},{{"name":"price_micros","type":"long","default":0,"doc":"micros"}}"#)));
    put("bad.avsc", &event(&format!(r#"{id},{{"name":"price_micros","type":"long","doc":"micros"}}"#)));
    put("text.json", r#""string""#);
    put("money", r#"["null",{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}]"#);
    put("broken", "{");

    let breaks = schemas(folder, "check --reader bad.avsc --writer v1.avsc --output json");
    assert_eq!(breaks.code, 1, "{}", breaks.stderr);
    let report = breaks.json();
    assert_eq!((&report["compatible"], &report["deploy_order"]), (&json!(false), &json!("producers first")));
    let first = &report["incompatibilities"][0];
    assert_eq!(first["kind"], "READER_FIELD_MISSING_DEFAULT_VALUE");
    assert_eq!(first["path"], "$.price_micros");
    assert!(first["why"].is_string() && !first["fix"].as_array().unwrap().is_empty());

    let holds = schemas(folder, "check --reader v2.avsc --writer v1.avsc --output json");
    let report = holds.json();
    assert_eq!((holds.code, &report["compatible"], &report["deploy_order"]), (0, &json!(true), &json!("any")));
    assert_eq!(report["decode_proof"]["ok"], true);
    assert_eq!(schemas(folder, "check --reader v2.avsc --writer v1.avsc").code, 0);

    let level = "check --level FULL_TRANSITIVE --candidate bad.avsc --history v1.avsc,v2.avsc --output json";
    let transitive = schemas(folder, level);
    assert_eq!((transitive.code, transitive.json()["incompatibilities"].as_array().unwrap().len()), (1, 1));
    assert_eq!(schemas(folder, &level.replace("FULL_TRANSITIVE", "FULL")).code, 0);
    // A record that contains itself has no value: nothing is proven, and nothing else is said.
    put("endless.avsc", r#"{"type":"record","name":"E","fields":[{"name":"e","type":"E"}]}"#);
    let endless = schemas(folder, "check --reader endless.avsc --writer endless.avsc --output json");
    let proof = &endless.json()["decode_proof"];
    assert_eq!((endless.code, &proof["records"], &proof["ok"]), (0, &json!(0), &Value::Null));
    // Two fields that claim one name: Java's verdict is "compatible", the decoder stops, and the report says both.
    let claims = r#"{"name":"x","type":"string","aliases":["id"]},{"name":"y","type":"string","aliases":["id"]}"#;
    put("claims.avsc", &event(claims));
    let refuted = schemas(folder, "check --reader claims.avsc --writer v1.avsc --output json");
    let report = refuted.json();
    let said = (&report["compatible"], &report["decode_proof"]["ok"], &report["ok"]);
    assert_eq!((refuted.code, said), (1, (&json!(true), &json!(false), &json!(false))));
    assert!(report["lints"].as_array().unwrap().iter().any(|lint| lint["rule"] == "ambiguous_alias"));
    assert!(schemas(folder, "check --reader claims.avsc --writer v1.avsc").stdout.contains("READERS STOP"));
    // A removed field is compatible for Java and against the house's rule.
    let removed = "check --level FULL_TRANSITIVE --candidate v1.avsc --history v2.avsc --output json";
    let report = schemas(folder, removed);
    assert_eq!((report.code, &report.json()["lints"][0]["rule"]), (0, &json!("field_removed")));
    assert_eq!(schemas(folder, &format!("{removed} --policy")).code, 1);

    let decode = |line: &str| schemas(folder, &format!("decode {line} --output json"));
    assert_eq!(decode("--writer text.json --reader text.json --hex 06666f6f").json(), json!({"value": "foo"}));
    assert_eq!(decode("--writer money --hex 02040102").json(), json!({"value": {"bytes": "2.58"}}));
    assert_eq!(decode("--writer text.json --framed --hex 000000000706666f6f").json(), json!({"value": "foo"}));
    let cut = decode("--writer text.json --hex 0666");
    assert_eq!(
        (cut.code, &cut.json()["error"]["kind"], &cut.json()["error"]["byte"]),
        (1, &json!("truncated"), &json!(1))
    );
    assert_eq!(decode("--writer text.json --hex zz").json()["error"]["kind"], "hex");
    assert_eq!(decode("--writer text.json --framed --hex 09").json()["error"]["kind"], "frame_magic");

    for wrong in [
        "check --reader broken --writer v1.avsc",
        "check --reader absent --writer v1.avsc",
        "check",
        "decode --writer broken --hex 00",
    ] {
        let answer = schemas(folder, wrong);
        assert_eq!(answer.code, 2, "{wrong}");
        assert!(!answer.stderr.is_empty(), "{wrong}");
    }
    assert!(schemas(folder, "check --reader broken --writer v1.avsc").stderr.contains("broken"));
    assert_eq!(schemas(folder, "ls --output json").json()["schemas"][0]["id"], 1);
}

/// Types that lie in a file of their own: named, they are read with it; not named, the answer says how.
#[test]
fn named_types_may_lie_in_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let put = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    for dir in ["old", "new"] {
        fs::create_dir(folder.join(dir)).unwrap();
        put(&format!("{dir}/visit.avsc"), &event(r#"{"name":"paid","type":"shop.Money","doc":"What was paid."}"#));
    }
    let money = |ty: &str| {
        let units = format!(r#"{{"name":"units","type":"{ty}","doc":"Micros."}}"#);
        format!(r#"{{"type":"record","name":"Money","namespace":"shop","doc":"Money.","fields":[{units}]}}"#)
    };
    put("old/money.avsc", &money("int"));
    put("new/money.avsc", &money("long"));
    let pair = "check --reader new/visit.avsc --writer old/visit.avsc";
    let alone = schemas(folder, pair);
    assert_eq!(alone.code, 2);
    assert!(alone.stderr.contains("shop.Money") && alone.stderr.contains("--reference FILE"), "{}", alone.stderr);
    let with = schemas(folder, &format!("{pair} --reference new/money.avsc --output json"));
    assert_eq!((with.code, &with.json()["compatible"]), (0, &json!(true)), "{}", with.stderr);
    let level = "check --candidate new/visit.avsc --history old/visit.avsc --reference new/money.avsc";
    assert_eq!(schemas(folder, level).code, 0);
    // A folder against a folder: each side takes the type from its own file, so the change inside is seen where it is used.
    let folders = schemas(folder, "check --dir new --against old --reference new/money.avsc --sarif out --output json");
    let paths: Vec<_> =
        folders.json()["incompatibilities"].as_array().unwrap().iter().map(|i| i["path"].clone()).collect();
    assert_eq!((folders.code, paths), (1, vec![json!("money.avsc: $.units"), json!("visit.avsc: $.paid.units")]));
    let sarif: Value = serde_json::from_str(&fs::read_to_string(folder.join("out")).unwrap()).unwrap();
    let at = |i: usize| {
        sarif["runs"][0]["results"][i]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].clone()
    };
    assert_eq!((at(0), at(1)), (json!("new/money.avsc"), json!("new/visit.avsc")));
    let decoded = schemas(folder, "decode --writer new/visit.avsc --reference new/money.avsc --hex 04 --output json");
    assert_eq!(decoded.json(), json!({"value": {"paid": {"units": 2}}}), "{}", decoded.stderr);
    put("broken", "{");
    let broken = schemas(folder, &format!("{pair} --reference broken"));
    assert!(broken.code == 2 && broken.stderr.contains("broken: "), "{}", broken.stderr);
}

/// Review tools get every reason for which the exit code is not 0, with the file that has it.
#[test]
fn a_review_tool_is_told_what_the_exit_code_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let put = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let results = |line: &str| {
        let answer = schemas(folder, &format!("{line} --sarif out.sarif"));
        let sarif: Value = serde_json::from_str(&fs::read_to_string(folder.join("out.sarif")).unwrap()).unwrap();
        assert_eq!((answer.code, &sarif["version"]), (1, &json!("2.1.0")));
        sarif["runs"][0]["results"].as_array().unwrap().clone()
    };
    let id = r#"{"name":"id","type":"string","doc":"id"}"#;
    put("v1.avsc", &event(id));
    put("int.avsc", &event(&id.replace("string", "int")));
    let broken = &results("check --candidate ./int.avsc --history v1.avsc")[0];
    let place = |result: &Value| result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].clone();
    assert_eq!((&broken["ruleId"], place(broken)), (&json!("TYPE_MISMATCH"), json!("int.avsc")));
    assert!(broken["message"]["text"].as_str().unwrap().contains("reads v1.avsc"), "{broken}");
    // Compatible by the rules, refuted by the decoder: that is a result too.
    let claims = r#"{"name":"x","type":"string","aliases":["id"]},{"name":"y","type":"string","aliases":["id"]}"#;
    put("claims.avsc", &event(claims));
    let all = results("check --reader claims.avsc --writer v1.avsc");
    let refuted = all.iter().find(|result| result["ruleId"] == "decode_proof").unwrap();
    assert_eq!((&refuted["level"], place(refuted)), (&json!("error"), json!("claims.avsc")));
}

/// The schemas in the tree keep their own promise, and the house's rules.
#[test]
fn built_in_schemas_stand_up_to_the_policy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let answer = schemas(&root, "check --dir schemas/avsc --against schemas/avsc --policy --records 20");
    assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
}

/// The schemas keep their promise to the previous release, or, before there is one, to the commit that brought them: ids
/// and files are for ever. This is the project's own use of the command.
#[test]
fn built_in_schemas_keep_their_promise_to_the_previous_release() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let git = |args: &[&str]| {
        let out = Command::new("git").arg("-C").arg(&root).args(args).output().ok().filter(|out| out.status.success());
        let text = out.and_then(|out| String::from_utf8(out.stdout).ok())?;
        text.lines().last().map(str::to_owned).filter(|line| !line.is_empty())
    };
    let release = git(&["describe", "--tags", "--abbrev=0", "--match", "v*"]);
    let first = || git(&["log", "--format=%H", "--diff-filter=A", "--", "schemas/avsc/ids.txt"]);
    let Some(base) = release.clone().or_else(first) else {
        println!("SKIPPED: no history of this tree: schemas/avsc was NOT checked against the previous release");
        return;
    };
    let answer = schemas(&root, &format!("check --dir schemas/avsc --base {base} --policy --records 20 --output json"));
    let report = answer.json();
    // Commit records are the runtime's own: until the first release nobody has any to keep.
    const OWN: [&str; 5] = ["Attempt.", "Claim.", "Commit.", "SnapshotChunk.", "SnapshotEnd."];
    let counts = |finding: &&Value| {
        let path = finding["path"].as_str().unwrap_or_default();
        finding["level"] != "warn" && (release.is_some() || !OWN.iter().any(|own| path.starts_with(own)))
    };
    let all = ["incompatibilities", "lints"].map(|key| report[key].as_array().cloned().unwrap_or_default()).concat();
    let broken: Vec<_> = all.iter().filter(counts).collect();
    assert!(broken.is_empty(), "against {base}: {broken:?}");
    assert_ne!(report["decode_proof"]["ok"], false, "{report}");
}

/// A folder against itself at a commit: what was committed, not what lies there. Without the commit nothing is checked.
#[test]
fn a_folder_is_checked_against_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"];
        let status = Command::new("git").current_dir(folder).args(identity).args(args).output();
        assert!(status.unwrap().status.success(), "git {args:?}");
    };
    let id = r#"{"name":"id","type":"string","doc":"id"}"#;
    fs::write(folder.join("e.avsc"), event(id)).unwrap();
    fs::write(folder.join("gone.avsc"), r#""int""#).unwrap();
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    fs::write(folder.join("e.avsc"), event(&id.replace("string", "int"))).unwrap();
    fs::remove_file(folder.join("gone.avsc")).unwrap();
    let answer = schemas(folder, "check --dir . --base HEAD --sarif out.sarif --output json");
    let report = answer.json();
    assert_eq!((answer.code, &report["incompatibilities"][0]["path"]), (1, &json!("e.avsc: $.id")));
    assert!(report["lints"].as_array().unwrap().iter().any(|l| l["rule"] == "schema_removed"));
    let sarif: Value = serde_json::from_str(&fs::read_to_string(folder.join("out.sarif")).unwrap()).unwrap();
    let first = &sarif["runs"][0]["results"][0];
    assert_eq!((&first["ruleId"], &first["level"]), (&json!("TYPE_MISMATCH"), &json!("error")));
    assert_eq!(first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "e.avsc");
    assert_eq!(schemas(folder, "check --dir . --base nowhere").code, 3);
}

/// The page says what the commands say. Blocks: `avsc NAME` is a file, `console` is a command, its answer and `exit N`.
#[test]
fn the_page_shows_what_the_commands_answer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/schemas.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut commands = 0;
    for block in page.split("```").skip(1).step_by(2) {
        let (head, body) = block.split_once('\n').unwrap();
        if let Some(name) = head.strip_prefix("avsc ") {
            fs::write(folder.path().join(name), body).unwrap();
        } else if head == "console" {
            let (command, expected) = body.split_once('\n').unwrap();
            let answer = schemas(folder.path(), command.strip_prefix("$ bulkhead schemas ").unwrap());
            let said = format!("{}{}exit {}\n", answer.stdout, answer.stderr, answer.code);
            assert_eq!(said, expected, "{command}");
            commands += 1;
        }
    }
    assert_eq!(commands, 5);
}
