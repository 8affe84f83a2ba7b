//! What an event type may not be, refused when the crate is built: the same code that `build.rs` runs.

#[allow(dead_code)] // the other half is what the generator reads
#[path = "../build/schema.rs"]
mod schema;

use schema::Definitions;

#[test]
fn what_no_event_may_be_is_refused_with_its_place() {
    let record = |fields: &str| format!(r#"{{"type":"record","name":"R","namespace":"n","fields":[{fields}]}}"#);
    let field = |ty: &str| record(&format!(r#"{{"name":"f","type":{ty}}}"#));
    let deep = (0..20).fold("\"int\"".to_owned(), |inner, _| format!(r#"{{"type":"array","items":{inner}}}"#));
    let rows = [
        ("recursion", field(r#"["null","R"]"#), "n.R.f: n.R: not defined before its use (recursion is not allowed)"),
        ("recursion in a list", field(r#"{"type":"array","items":"n.R"}"#), "recursion is not allowed"),
        ("a name from nowhere", field(r#""Nowhere""#), "n.R.f: n.Nowhere: not defined"),
        ("a union of two types", field(r#"["int","string"]"#), "n.R.f: the only union allowed is null and one"),
        ("no fields", record(""), "n.R: a record without fields"),
        ("too deep", field(&deep), "nested deeper than 16"),
        ("no record", r#""int""#.to_owned(), "an event is a record"),
        (
            "one name, two shapes",
            field(
                r#"{"type":"record","name":"I","fields":[{"name":"a","type":{"type":"record",
            "name":"I","fields":[{"name":"b","type":"int"}]}}]}"#,
            ),
            "n.I: defined twice, differently",
        ),
    ];
    for (what, text, word) in rows {
        let json = serde_json::from_str(&text).unwrap();
        let error = Definitions::default().read_top(&json).expect_err(what);
        assert!(error.contains(word), "{what}: {error}");
    }
    let plain = serde_json::from_str(&field(r#"["null","long"]"#)).unwrap();
    assert_eq!(Definitions::default().read_top(&plain), Ok("n.R".to_owned()));
}
