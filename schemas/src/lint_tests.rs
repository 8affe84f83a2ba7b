//! Each rule on a schema that breaks it, and silence on one that does not.

use super::*;

fn record(fields: &str) -> Schema {
    Schema::parse(&format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)).unwrap()
}

fn rules(found: &[Lint]) -> Vec<(&str, &str)> {
    found.iter().filter(|l| l.rule != "missing_doc").map(|l| (l.rule, l.path.as_str())).collect()
}

#[test]
fn the_case_studys_own_trap_is_found() {
    let seed = Schema::parse(crate::builtin()[0].avsc).unwrap();
    assert_eq!(rules(&schema(&seed)), [("misplaced_logical_type", "$.timestamp")]);
}

#[test]
fn each_rule_has_its_place() {
    let bad = record(
        r#"{"name":"price","type":["null",{"type":"array","items":{"type":"record","name":"I","fields":[{"name":"bid_price","type":"double","doc":"d"}]}}]},
           {"name":"cost_usd","type":["null","float"],"doc":"d"},
           {"name":"kind","type":{"type":"enum","name":"E","symbols":["A"]},"doc":"d"},
           {"name":"late","type":["string","null"],"default":null,"doc":"d"},
           {"name":"twice","aliases":["kind"],"type":"int","doc":"d"}"#,
    );
    let expected = [
        ("float_money", "$.cost_usd"),
        ("null_default_not_first", "$.late"),
        ("ambiguous_alias", "$.twice"),
        ("float_money", "$.price[].bid_price"),
        ("enum_without_default", "$.kind"),
    ];
    let mut found = schema(&bad);
    assert!(found.iter().any(|l| l.rule == "missing_doc" && l.path == "$" && l.message.ends_with(": price")));
    found.sort_by_key(|l| expected.iter().position(|e| *e == (l.rule, l.path.as_str())));
    assert_eq!(rules(&found), expected);
    assert_eq!(schema(&record(r#"{"name":"price_micros","type":"long","doc":"micros"}"#)), []);
}

#[test]
fn money_in_floating_point_is_found_in_every_style_and_container() {
    let all = r#"{"name":"bidPrice","type":"double","doc":"d"},
        {"name":"totalCosts","type":{"type":"array","items":["null","float"]},"doc":"d"},
        {"name":"BudgetByDay","type":["null",{"type":"map","values":"double"}],"doc":"d"},
        {"name":"price","type":{"type":"record","name":"Price","fields":[{"name":"value","type":"double","doc":"d"}]},"doc":"d"},
        {"name":"winRate","type":"double","doc":"d"},{"name":"bidShare","type":"double","doc":"d"}"#;
    let expected = ["$.bidPrice", "$.totalCosts", "$.BudgetByDay"].map(|path| ("float_money", path));
    assert_eq!(rules(&schema(&record(all))), expected);
}

#[test]
fn changes_of_meaning_are_found_though_the_bytes_stay() {
    let digits = |precision: u32, scale: u32| {
        let decimal = format!(r#""logicalType":"decimal","precision":{precision},"scale":{scale}"#);
        format!(r#"{{"name":"a","type":{{"type":"bytes",{decimal}}}}}"#)
    };
    let decimal = |scale: u32| digits(9, scale);
    let time = |t: &str| format!(r#"{{"name":"t","type":{{"type":"long","logicalType":"{t}"}}}}"#);
    let between = |old: &str, new: &str| change(&record(old), &record(new), false);
    assert_eq!(rules(&between(&decimal(2), &decimal(4))), [("decimal_scale_change", "$.a")]);
    assert_eq!(rules(&between(&digits(9, 2), &digits(7, 2))), [("decimal_precision_change", "$.a")]);
    assert_eq!(rules(&between(&digits(9, 2), &digits(12, 2))), []);
    let found = between(&time("timestamp-millis"), &time("timestamp-micros"));
    assert_eq!(rules(&found), [("unit_change", "$.t")]);
    let plain = r#"{"name":"t","type":"long"}"#;
    assert_eq!(rules(&between(plain, &time("timestamp-millis"))), [("logical_type_change", "$.t")]);
    let renamed =
        between(r#"{"name":"wait_ms","type":"long"}"#, r#"{"name":"wait_us","aliases":["wait_ms"],"type":"long"}"#);
    assert_eq!(rules(&renamed), [("renamed_by_alias", "$.wait_us"), ("unit_change", "$.wait_us")]);
    let camel =
        between(r#"{"name":"waitMs","type":"long"}"#, r#"{"name":"waitUs","aliases":["waitMs"],"type":"long"}"#);
    assert_eq!(rules(&camel), [("renamed_by_alias", "$.waitUs"), ("unit_change", "$.waitUs")]);
    let nested = |f: &str| format!(r#"{{"name":"r","type":["null",{{"type":"record","name":"I","fields":[{f}]}}]}}"#);
    assert_eq!(rules(&between(&nested(plain), &nested(""))), [("field_removed", "$.r.t")]);
    assert_eq!(between(plain, plain), []);
    let key = change(&record(plain), &record(""), true);
    assert_eq!(key[0].rule, "key_schema_change");
}
