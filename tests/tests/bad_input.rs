//! The list of what may be wrong with schemas and their bytes, in one table: each its own class and a sentence that says what.
//! Registries that answer garbage or hang are in `registry_external.rs`; recursive events, which the build refuses, in
//! `schemas/tests/build_rules.rs`.

use schemas::codec::Limits;
use schemas::events::ImpressionEvent;
use schemas::frame;
use schemas::json;
use schemas::model::Schema;
use schemas::plan::Plan;
use serde_json::Value;
use tests::registry_kit::{Served, call};

/// The class of a failure and what it says.
type Refusal = (String, String);

fn schema(text: &str) -> Refusal {
    let error = Schema::parse(text).expect_err(text);
    (error.kind().to_owned(), error.to_string())
}

fn framed(bytes: &[u8]) -> Refusal {
    let error = frame::decode::<ImpressionEvent<'_>>(bytes).expect_err("refused");
    (error.kind().to_owned(), error.to_string())
}

fn datum(schema: &str, bytes: &[u8]) -> Refusal {
    let schema = Schema::parse(schema).expect("a schema");
    let error =
        json::decode(&Plan::new(&schema, &schema).expect("a plan"), bytes, &Limits::EVENT).expect_err("refused");
    (error.kind().to_owned(), error.to_string())
}

fn asked(served: &Served, method: &str, path: &str, body: &str) -> Refusal {
    let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
    let answer = call(served.address, method, path, &headers, body);
    let json: Value = serde_json::from_str(&answer.body).expect("JSON");
    (json["error_code"].to_string(), json["message"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn everything_bad_has_its_own_class_and_sentence() {
    const LIST: &str = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
    let served = Served::start();
    let builtin = schemas::builtin()[0].id.to_be_bytes();
    let frame_of = |datum: &[u8]| [&[0][..], &builtin, datum].concat();
    let ask = |method: &str, path: &str, body: &str| asked(&served, method, path, body);
    let versions = "/subjects/s/versions";
    let rows: [(&str, &str, &str, Refusal); 17] = [
        ("text that is no JSON", "schema_json", "", schema("{")),
        ("JSON that is no schema", "schema_shape", "$", schema("{}")),
        ("a name that nothing defines", "schema_reference", "Nowhere", schema("\"Nowhere\"")),
        ("a type of the same name as its own list", "schema_reference", "R", schema(r#"{"type":"array","items":"R"}"#)),
        ("no schema, to the registry", "42201", "schema", ask("POST", versions, r#"{"schema":"{"}"#)),
        ("a reference that leads nowhere", "42201", "n.E", ask("POST", versions, r#"{"schema":"\"n.E\""}"#)),
        ("a level that is none", "42203", "SIDEWAYS", ask("PUT", "/config", r#"{"compatibility":"SIDEWAYS"}"#)),
        (
            "a subject with a control character",
            "42208",
            "control",
            ask("POST", "/subjects/a%0Ab/versions", r#"{"schema":"\"int\""}"#),
        ),
        (
            "a subject of dots",
            "42208",
            "reserved",
            ask("POST", "/subjects/__GLOBAL/versions", r#"{"schema":"\"int\""}"#),
        ),
        ("an id that nobody has", "40403", "424242", ask("GET", "/schemas/ids/424242", "")),
        (
            "an id that no plan knows",
            "frame_other_schema",
            "999999",
            framed(&[&[0], &999_999_u32.to_be_bytes()[..]].concat()),
        ),
        ("a frame cut short", "frame_truncated", "3 bytes", framed(&[0, 0, 0])),
        ("bytes without a frame", "frame_magic", "123", framed(b"{\"a\":1}")),
        ("a datum cut short", "truncated", "ends inside", framed(&frame_of(&[4, b'a']))),
        ("bytes behind the datum", "trailing_bytes", "", datum("\"int\"", &[2, 2])),
        ("values inside each other without end", "depth_limit", "", datum(LIST, &[2; 64])),
        ("text that is not UTF-8", "utf8", "", datum("\"string\"", &[4, 0xc3, 0x28])),
    ];
    for (what, kind, word, (found, said)) in &rows {
        assert_eq!(found, kind, "{what}: {said}");
        assert!(said.contains(word) && said.len() > 8, "{what}: {said}");
    }
}
