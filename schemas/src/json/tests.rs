//! Values, resolution and limits of the decoder that prints.

use super::*;
use crate::model::Schema;
use serde_json::{Value as Json, json};

fn text(writer: &str, reader: &str, datum: &[u8]) -> Result<String, (&'static str, usize)> {
    let schema = |text: &str| Schema::parse(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let plan = Plan::new(&schema(writer), &schema(reader)).unwrap();
    decode(&plan, datum, &Limits::EVENT).map_err(|e| (e.kind(), e.byte))
}

fn same(schema: &str, datum: &[u8]) -> Json {
    serde_json::from_str(&text(schema, schema, datum).unwrap()).unwrap()
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

#[test]
fn scalars_follow_avros_json_encoding() {
    assert_eq!(same(r#""null""#, b""), json!(null));
    assert_eq!(same(r#""boolean""#, b"\x01"), json!(true));
    assert_eq!(same(r#""int""#, b"\x01"), json!(-1));
    assert_eq!(same(r#""long""#, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), json!(i64::MIN));
    assert_eq!(text(r#""float""#, r#""float""#, &1.1_f32.to_le_bytes()).unwrap(), "1.1");
    assert_eq!(text(r#""float""#, r#""double""#, &1.1_f32.to_le_bytes()).unwrap(), "1.100000023841858");
    assert_eq!(same(r#""double""#, &f64::NAN.to_le_bytes()), json!("NaN"));
    assert_eq!(same(r#""double""#, &f64::NEG_INFINITY.to_le_bytes()), json!("-Infinity"));
    assert_eq!(same(r#""float""#, &f32::INFINITY.to_le_bytes()), json!("Infinity"));
    assert_eq!(same(r#""string""#, "\x0aa\"\\\n\x01".as_bytes()), json!("a\"\\\n\u{1}"));
    assert_eq!(same(r#""bytes""#, b"\x06\x00\x80\xff"), json!("\u{0}\u{80}\u{ff}"));
    assert_eq!(same(r#"{"type":"fixed","name":"F","size":2}"#, b"\xe9!"), json!("\u{e9}!"));
    assert_eq!(same(r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, b"\x02"), json!("B"));
    assert_eq!(same(r#"{"type":"long","logicalType":"timestamp-millis"}"#, b"\x80\x01"), json!(64));
}

#[test]
fn unions_are_tagged_by_full_name() {
    let row = r#"["null","long",{"type":"record","name":"n.Row","fields":[]},{"type":"array","items":"int"}]"#;
    assert_eq!(same(row, b"\x00"), json!(null));
    assert_eq!(same(row, b"\x02\x0a"), json!({"long": 5}));
    assert_eq!(same(row, b"\x04"), json!({"n.Row": {}}));
    assert_eq!(same(row, b"\x06\x02\x0e\x00"), json!({"array": [7]}));
    let money = r#"["null",{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}]"#;
    assert_eq!(same(money, b"\x02\x04\x01\x02"), json!({"bytes": "2.58"}));
}

#[test]
fn decimals_are_exact_at_any_length() {
    let of = |bytes: &[u8], scale| {
        let mut out = String::new();
        write_decimal(bytes, scale, &mut out).map(|()| out)
    };
    let some = |s: &str| Some(format!("\"{s}\""));
    assert_eq!(of(&[0], 2), some("0.00"));
    assert_eq!(of(&[0xff], 2), some("-0.01"));
    assert_eq!(of(&[0x80], 0), some("-128"));
    assert_eq!(of(&[0, 0, 0, 0x80], 1), some("12.8"));
    assert_eq!(of(&[0xff, 0xff, 0x7f], 0), some("-129"));
    assert_eq!(of(&[0xff, 0], 0), some("-256"));
    for n in [i128::MAX, i128::MIN, 1_000_000_000, -1_000_000_000, 999_999_999, 1 << 64, -(1 << 64), 123_456_789_012] {
        assert_eq!(of(&n.to_be_bytes(), 0), some(&n.to_string()));
    }
    // Digit by digit, as on paper.
    for (len, byte) in (1..200).zip([0x7f, 0x41, 0xff, 0x80, 0xde].into_iter().cycle()) {
        let mut digits = vec![0_u32];
        for b in std::iter::once(0).chain(std::iter::repeat_n(byte, len)) {
            let mut carry = u32::from(b);
            for digit in &mut digits {
                carry += *digit * 256;
                *digit = carry % 10;
                carry /= 10;
            }
            while carry > 0 {
                digits.push(carry % 10);
                carry /= 10;
            }
        }
        let text: String = digits.iter().rev().map(u32::to_string).collect();
        assert_eq!(of(&[&[0][..], &vec![byte; len]].concat(), 0), some(&text));
    }
    assert_eq!(of(&[], 0), None);
    assert_eq!(of(&[1; 2000], 0), None);
    assert_eq!(of(&[&[0; 2000][..], &[5]].concat(), 0), some("5"));
}

#[test]
fn fields_are_renamed_reordered_promoted_defaulted_and_dropped() {
    let writer = record(
        r#"{"name":"a","type":"int"},{"name":"gone","type":{"type":"map","values":["null","string"]}},{"name":"old","type":"string"}"#,
    );
    let reader = record(
        r#"{"name":"new","type":"bytes","aliases":["old"]},{"name":"d","type":["string","null"],"default":"x"},
           {"name":"a","type":"double"},{"name":"r","type":{"type":"record","name":"I","fields":[{"name":"p","type":"int","default":3},{"name":"b","type":"bytes"}]},"default":{"b":"\u00ff"}}"#,
    );
    let datum = b"\x0e\x02\x02k\x02\x02v\x00\x04hi";
    let value = text(&writer, &reader, datum).unwrap();
    assert_eq!(value, "{\"new\":\"hi\",\"d\":{\"string\":\"x\"},\"a\":7.0,\"r\":{\"p\":3,\"b\":\"\u{ff}\"}}");
    assert_eq!(text(&writer, &reader, &datum[..5]), Err(("truncated", 5)));
    // What is dropped is checked too: here the key of the dropped map.
    assert_eq!(text(&writer, &reader, b"\x0e\x02\x02\xff\x02\x02v\x00\x04hi"), Err(("utf8", 3)));
}

/// As Java reads: an alias takes the writer's field, and what is left of the name has its default.
#[test]
fn an_alias_speaks_before_a_name() {
    let reader = record(r#"{"name":"b","type":"int","aliases":["d"]},{"name":"d","type":"int","default":9}"#);
    assert_eq!(text(&record(r#"{"name":"d","type":"int"}"#), &reader, b"\x02").unwrap(), r#"{"b":1,"d":9}"#);
    let both = record(r#"{"name":"b","type":"int"},{"name":"d","type":"int"}"#);
    assert_eq!(text(&both, &reader, b"\x02\x04").unwrap(), r#"{"b":1,"d":2}"#);
    assert_eq!(text(&reader, &reader, b"\x02\x04").unwrap(), r#"{"b":1,"d":2}"#);
    let only = record(r#"{"name":"b","type":"int","aliases":["d"]}"#);
    assert_eq!(text(&both, &only, b"\x02\x04"), Err(("ambiguous_alias", 0)));
    let own = record(r#"{"name":"b","type":"int","aliases":["b"]}"#);
    assert_eq!(text(&own, &own, b"\x02").unwrap(), r#"{"b":1}"#);
}

#[test]
fn what_the_reader_cannot_take_fails_only_where_it_is_met() {
    let union = |b: &str| format!("[{b}]");
    let (wide, narrow) = (union(r#""null","string","int""#), union(r#""null","int""#));
    assert_eq!(text(&wide, &narrow, b"\x04\x0a").unwrap(), r#"{"int":5}"#);
    assert_eq!(text(&wide, &narrow, b"\x02\x02a"), Err(("missing_union_branch", 1)));
    let symbols = |s: &str| format!(r#"{{"type":"enum","name":"E","symbols":[{s}]}}"#);
    assert_eq!(text(&symbols(r#""A","B""#), &symbols(r#""B""#), b"\x02").unwrap(), r#""B""#);
    assert_eq!(text(&symbols(r#""A","B""#), &symbols(r#""B""#), b"\x00"), Err(("missing_enum_symbol", 0)));
    let default = r#"{"type":"enum","name":"E","symbols":["B"],"default":"B"}"#;
    assert_eq!(text(&symbols(r#""A","B""#), default, b"\x00").unwrap(), r#""B""#);
    let fields = (record(""), record(r#"{"name":"a","type":"int"}"#));
    assert_eq!(text(&fields.0, &fields.1, b""), Err(("reader_field_missing_default_value", 0)));
    let name = (record(""), record("").replace("\"R\"", "\"S\""));
    assert_eq!(text(&name.0, &name.1, b""), Err(("name_mismatch", 0)));
    assert_eq!(text(r#""string""#, r#""int""#, b"\x02a"), Err(("type_mismatch", 0)));
    assert_eq!(text(r#""bytes""#, r#""string""#, b"\x02\xff"), Err(("utf8", 1)));
    let fixed = |n| format!(r#"{{"type":"fixed","name":"F","size":{n}}}"#);
    assert_eq!(text(&fixed(1), &fixed(2), b"a"), Err(("fixed_size_mismatch", 0)));
}

/// An alias, a branch by short name, the branch that can read everything, then promotion.
#[test]
fn the_readers_branch_is_the_best_that_fits() {
    let r = |name: &str, ty: &str| {
        format!(r#"{{"type":"record","name":"{name}","fields":[{{"name":"x","type":"{ty}"}}]}}"#)
    };
    let one = |writer: &str, reader: &str, datum: &[u8]| text(writer, reader, datum).unwrap();
    let reader = format!("[{},{}]", r("a.X", "string"), r("b.X", "long"));
    assert_eq!(one(&r("c.X", "int"), &reader, b"\x0a"), r#"{"b.X":{"x":5}}"#);
    assert_eq!(one(&r("a.X", "int"), &reader, b"\x0a"), r#"{"b.X":{"x":5}}"#);
    assert_eq!(one(&r("b.X", "int"), &reader, b"\x0a"), r#"{"b.X":{"x":5}}"#);
    assert_eq!(one(r#""int""#, r#"["double","long"]"#, b"\x0a"), r#"{"double":5.0}"#);
    assert_eq!(one(r#""int""#, r#"["double","int"]"#, b"\x0a"), r#"{"int":5}"#);
    assert_eq!(one(r#"["int","null"]"#, r#"["null","long"]"#, b"\x00\x0a"), r#"{"long":5}"#);
    assert_eq!(one(r#"["int","null"]"#, r#""long""#, b"\x00\x0a"), "5");
}

#[test]
fn recursive_values_are_read_to_the_depth_limit() {
    let list =
        r#"{"type":"record","name":"L","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","L"]}]}"#;
    let nested = |n: usize| [b"\x02\x02".repeat(n), b"\x02\x00".to_vec()].concat();
    assert_eq!(same(list, &nested(1)), json!({"v": 1, "next": {"L": {"v": 1, "next": null}}}));
    assert!(text(list, list, &nested(15)).is_ok());
    assert_eq!(text(list, list, &nested(16)).unwrap_err().0, "depth_limit");
    // Skipped ones too.
    let holder = |fields: &str| record(&format!(r#"{{"name":"a","type":"int"}}{fields}"#));
    let writer = holder(&format!(r#",{{"name":"l","type":{list}}}"#));
    assert_eq!(text(&writer, &holder(""), &[&[2][..], &nested(14)].concat()).unwrap(), r#"{"a":1}"#);
    assert_eq!(text(&writer, &holder(""), &[&[2][..], &nested(16)].concat()).unwrap_err().0, "depth_limit");
}

#[test]
fn hostile_sizes_are_refused() {
    let nulls = r#"{"type":"array","items":"null"}"#;
    assert_eq!(same(nulls, b"\x06\x00"), json!([null, null, null]));
    assert_eq!(text(nulls, nulls, b"\x80\xa8\xd6\xb9\x07\x00").unwrap_err(), ("item_limit", 0));
    let nested = format!(r#"{{"type":"array","items":{nulls}}}"#);
    let many = [&[40][..], &b"\xa0\x06\x00".repeat(20)].concat();
    assert_eq!(text(&nested, &nested, &many).unwrap_err().0, "item_limit");
    let long = "x".repeat(4000);
    let items = |fields: &str| format!(r#"{{"type":"array","items":{}}}"#, record(fields));
    let writer = items(r#"{"name":"a","type":"int"}"#);
    let reader = items(&format!(r#"{{"name":"b","type":"string","default":"{long}"}}"#));
    let datum = [&[0xa0, 0x06][..], &[0; 401]].concat();
    assert_eq!(text(&writer, &reader, &datum).unwrap_err().0, "output_limit");
    let map = r#"{"type":"map","values":"int"}"#;
    assert_eq!(same(map, b"\x06\x02a\x02\x02b\x04\x02a\x06\x00"), json!({"a": 3, "b": 2}));
    assert_eq!(text(map, map, b"\x06\x02a\x02\x02b\x04\x02a\x06\x00").unwrap(), r#"{"b":2,"a":3}"#);
}
