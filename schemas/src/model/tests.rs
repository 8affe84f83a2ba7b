//! What is a schema and what is not.

use super::*;

fn error(text: &str) -> (&'static str, String) {
    let e = Schema::parse(text).unwrap_err();
    (e.kind(), e.path)
}

#[test]
fn built_in_schemas_are_schemas() {
    for b in crate::builtin() {
        let schema = Schema::parse(b.avsc).unwrap();
        assert_eq!(schema.kind(schema.root()).label(), b.name);
        assert_eq!(schema.recursive_name(), None);
    }
}

/// apache-avro leaves a primitive with a logical type wrapped, against the specification's rule PRIMITIVES; Java does not.
#[test]
fn canonical_forms_agree_with_apache_avro() {
    let more = [
        r#"{"type":"record","name":"L","namespace":"a.b","fields":[{"name":"next","type":["null","L"],"default":null}]}"#,
        r#"{"type":"fixed","name":"F","size":16,"aliases":["G"]}"#,
        r#""string""#,
        r#"{"type":"array","items":{"type":"enum","name":"x.E","symbols":["A","B"],"default":"A"}}"#,
    ];
    for text in crate::builtin().iter().map(|b| b.avsc).chain(more) {
        let theirs = apache_avro::Schema::parse_str(text).unwrap().canonical_form();
        let theirs = ["long", "int", "bytes", "string"]
            .iter()
            .fold(theirs, |t, w| t.replace(&format!("{{\"type\":\"{w}\"}}"), &format!("\"{w}\"")));
        assert_eq!(Schema::parse(text).unwrap().canonical_form(), theirs);
    }
}

#[test]
fn names_resolve_in_their_namespace_and_before_their_definition() {
    let text = r#"{"type":"record","name":"R","namespace":"a","fields":[
        {"name":"later","type":["null","I"]},
        {"name":"now","type":{"type":"record","name":"I","aliases":["J","b.K"],"fields":[{"name":"self","type":["null","a.I"]}]}},
        {"name":"bare","type":{"type":"enum","name":"E","namespace":"","symbols":["X"]}},
        {"name":"again","type":"E"},
        {"name":"unsaid","type":{"type":"fixed","name":"U","namespace":null,"size":1}},
        {"name":"said","type":"a.U"}]}"#;
    let schema = Schema::parse(text).unwrap();
    let Kind::Record(record) = schema.kind(schema.root()) else { panic!("a record") };
    let Kind::Union(branches) = schema.kind(record.fields[0].ty) else { panic!("a union") };
    assert_eq!(branches[1], record.fields[1].ty);
    assert_eq!(schema.kind(branches[1]).aliases(), ["a.J", "b.K"]);
    assert_eq!(record.fields[2].ty, record.fields[3].ty);
    assert_eq!(record.fields[4].ty, record.fields[5].ty);
    assert_eq!(schema.recursive_name().map(Name::full), Some("a.I"));
}

/// Java's rules: a record has its name when it is complete, and the same may be said twice.
#[test]
fn names_are_javas() {
    let inner = r#"{"name":"x","type":{"type":"enum","name":"A","symbols":["X"]}}"#;
    let outer = format!(
        r#"{{"type":"record","name":"n.R","fields":[{inner},{{"name":"y","type":{{"type":"record","name":"n.m.A","fields":[{{"name":"z","type":"n.A"}}]}}}}]}}"#
    );
    assert!(Schema::parse(&outer).is_ok());
    let at = |e: SchemaError| (e.kind(), e.path);
    let bare = r#"{"type":"record","name":"B","fields":[{"name":"x","type":{"type":"record","name":"n.C","fields":[{"name":"y","type":"B"}]}}]}"#;
    assert_eq!(at(Schema::parse(bare).unwrap_err()), ("schema_reference", "$.x.y".to_owned()));
    let twice =
        |second: &str| format!(r#"{{"type":"record","name":"R","fields":[{inner},{{"name":"y","type":{second}}}]}}"#);
    let same = Schema::parse(&twice(r#"{"type":"enum","name":"A","symbols":["X"],"doc":"again"}"#)).unwrap();
    assert!(same.canonical_form().ends_with(r#"{"name":"y","type":"A"}]}"#));
    let other = twice(r#"{"type":"enum","name":"A","symbols":["Y"]}"#);
    assert_eq!(at(Schema::parse(&other).unwrap_err()), ("schema_duplicate", "$.y".to_owned()));
    assert_eq!(error(r#"{"type":"record","name":"R","namespace":"a-b","fields":[]}"#).0, "schema_name");
    assert_eq!(error(r#"{"type":"fixed","name":"F","size":1,"aliases":["a.1"]}"#).0, "schema_name");
}

#[test]
fn references_come_from_other_texts() {
    let row = r#"{"type":"record","name":"x.Row","fields":[]}"#;
    assert!(Schema::parse_with(r#"{"type":"array","items":"x.Row"}"#, &[row]).is_ok());
    let e = Schema::parse(
        r#"{"type":"record","name":"R","fields":[{"name":"f","type":{"type":"array","items":"x.Row"}}]}"#,
    )
    .unwrap_err();
    assert_eq!((e.kind(), e.path.as_str()), ("schema_reference", "$.f[]"));
    assert!(e.message.contains("x.Row"), "{e}");
}

#[test]
fn what_is_no_schema_is_named_with_its_place() {
    let field = |f: &str| format!(r#"{{"type":"record","name":"R","fields":[{f}]}}"#);
    let at = |kind, path: &str| (kind, path.to_owned());
    assert_eq!(error("{"), at("schema_json", "$"));
    assert_eq!(error("17"), at("schema_shape", "$"));
    assert_eq!(error(r#"{"name":"x"}"#), at("schema_shape", "$"));
    assert_eq!(error(r#"{"type":"record","name":"R"}"#), at("schema_shape", "$"));
    assert_eq!(error(r#"{"type":"record","name":"9","fields":[]}"#), at("schema_name", "$"));
    assert_eq!(error(r#"{"type":"record","name":"int","fields":[]}"#), at("schema_name", "$"));
    assert_eq!(error(&field(r#"{"name":"a-b","type":"int"}"#)), at("schema_name", "$.a-b"));
    assert_eq!(error(&field(r#"{"name":"a","type":"array","items":"int"}"#)), at("schema_shape", "$.a"));
    assert_eq!(error(&field(r#"{"name":"a","type":["int","int"]}"#)).0, "schema_duplicate");
    assert_eq!(error(&field(r#"{"name":"a","type":["int",["null"]]}"#)), at("schema_shape", "$.a"));
    assert_eq!(error(&field(r#"{"name":"a","type":"int"},{"name":"a","type":"int"}"#)), at("schema_duplicate", "$"));
    assert_eq!(error(&field(r#"{"name":"a","type":"R2"}"#)), at("schema_reference", "$.a"));
    assert_eq!(error(&field(r#"{"name":"a","type":"int","default":"0"}"#)), at("schema_default", "R.a"));
    assert_eq!(error(&field(r#"{"name":"a","type":"int","default":2147483648}"#)), at("schema_default", "R.a"));
    assert_eq!(error(r#"{"type":"enum","name":"E","symbols":["A","A"]}"#), at("schema_duplicate", "$"));
    assert_eq!(error(r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#), at("schema_default", "$"));
    assert_eq!(error(r#"{"type":"fixed","name":"F","size":-1}"#), at("schema_shape", "$"));
    assert_eq!(error(&"[".repeat(100_000)), at("schema_json", "$"));
    assert_eq!(error(&" ".repeat(SCHEMA_BYTES_MAX + 1)), at("schema_limit", "$"));
    assert_eq!(error(&field(r#"{"name":"a","type":"int","order":"up"}"#)), at("schema_shape", "$.a"));
    // A default that is made of its own kind, twice a level.
    let endless = r#"{"name":"a","type":"R","default":{}},{"name":"b","type":"R","default":{}}"#;
    assert_eq!(error(&field(endless)), at("schema_default", "R.a"));
    let chain =
        (0..400).map(|i| format!(r#"{{"type":"record","name":"R{i}","fields":[{{"name":"f","type":"R{}"}}]}}"#, i + 1));
    let chain =
        chain.chain([r#"{"type":"record","name":"R400","fields":[]}"#.to_owned()]).collect::<Vec<_>>().join(",");
    assert_eq!(error(&format!("[{chain}]")), at("schema_limit", "$"));
}

#[test]
fn logical_types_count_only_inside_the_type_and_where_they_fit() {
    let of = |text: &str| {
        let schema = Schema::parse(text).unwrap();
        schema.node(schema.root()).logical
    };
    assert_eq!(of(r#"{"type":"long","logicalType":"timestamp-millis"}"#), Some(Logical::TimestampMillis));
    assert_eq!(of(r#"{"type":"int","logicalType":"timestamp-millis"}"#), None);
    let decimal = Some(Logical::Decimal { precision: 10, scale: 2 });
    assert_eq!(of(r#"{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}"#), decimal);
    assert_eq!(of(r#"{"type":"bytes","logicalType":"decimal","precision":2,"scale":3}"#), None);
    assert_eq!(of(r#"{"type":"fixed","name":"D","size":4,"logicalType":"decimal","precision":10}"#), None);
    assert_eq!(of(r#"{"type":"fixed","name":"D","size":5,"logicalType":"decimal","precision":10,"scale":2}"#), decimal);
    let seed = Schema::parse(crate::builtin()[0].avsc).unwrap();
    let Kind::Record(record) = seed.kind(seed.root()) else { panic!("a record") };
    assert_eq!(record.fields[1].misplaced_logical.as_deref(), Some("timestamp-millis"));
    assert_eq!(seed.node(record.fields[1].ty).logical, None);
}

/// What Java's parser refuses, and with it the registries that are built on it.
#[test]
fn shapes_that_java_refuses_are_refused() {
    for text in [
        r#"{"type":{"type":"int"}}"#,
        r#"{"type":["null","int"]}"#,
        r#"{"type":"array","items":{"type":{"type":"int"}}}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":{"type":"int"}}}]}"#,
        r#"{"type":"enum","name":"E","symbols":null}"#,
        r#"{"type":"enum","name":"E","symbols":["A"],"aliases":null}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int","aliases":null}]}"#,
    ] {
        assert_eq!(error(text).0, "schema_shape", "{text}");
    }
    assert!(Schema::parse(r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"int"}}]}"#).is_ok());
}
