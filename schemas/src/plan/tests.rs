//! What a plan knows about its pair.

use super::*;

fn plan(writer: &str, reader: &str) -> Plan {
    Plan::new(&Schema::parse(writer).unwrap(), &Schema::parse(reader).unwrap()).unwrap()
}

#[test]
fn equal_encodings_are_known_as_such() {
    let list = |ty: &str| {
        format!(
            r#"{{"type":"record","name":"L","fields":[{{"name":"v","type":"{ty}"}},{{"name":"next","type":["null","L"]}}]}}"#
        )
    };
    assert!(plan(&list("int"), &list("int")).is_same());
    assert!(!plan(&list("int"), &list("long")).is_same());
    assert!(plan(r#"["null","int"]"#, r#"["null","int"]"#).is_same());
    assert!(!plan(r#"["null","int"]"#, r#"["int","null"]"#).is_same());
    assert!(!plan(r#""int""#, r#"["int"]"#).is_same());
    let e = |s: &str| format!(r#"{{"type":"enum","name":"E","symbols":[{s}]}}"#);
    assert!(!plan(&e(r#""A","B""#), &e(r#""B","A""#)).is_same());
    for b in crate::builtin() {
        assert!(plan(b.avsc, b.avsc).is_same(), "{}", b.name);
    }
}

#[test]
fn a_schema_reads_its_own_data_whatever_its_aliases_say() {
    let union = |aliases: &str| {
        let e = |name: &str, aliases: &str| {
            format!(r#"{{"type":"enum","name":"{name}","aliases":[{aliases}],"symbols":["Z","Y"]}}"#)
        };
        format!("[{},{}]", e("B", aliases), e("n.A", ""))
    };
    let text = union(r#""n.A""#);
    assert!(plan(&text, &text).is_same(), "n.A stays n.A, though B was called so before");
    let old = r#"[{"type":"enum","name":"n.A","symbols":["Z","Y"]}]"#;
    let value = crate::json::decode(&plan(old, &text), &[0, 2], &crate::codec::Limits::EVENT);
    assert_eq!(value.as_deref(), Ok(r#"{"B":"Y"}"#), "from a writer that has no B it is B");
}

#[test]
fn a_default_that_is_no_value_fails_at_its_record() {
    let writer = r#"{"type":"record","name":"R","fields":[]}"#;
    let reader =
        |ty: &str| format!(r#"{{"type":"record","name":"R","fields":[{{"name":"f","type":{ty},"default":"zz"}}]}}"#);
    for ty in [r#"{"type":"fixed","name":"F","size":3}"#, r#"{"type":"enum","name":"E","symbols":["A"]}"#] {
        let plan = plan(writer, &reader(ty));
        let error = crate::json::decode(&plan, b"", &crate::codec::Limits::EVENT).unwrap_err();
        assert_eq!(error.kind(), "bad_default");
    }
}
