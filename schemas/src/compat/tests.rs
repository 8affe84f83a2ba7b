//! Verdicts and paths on pairs made here; the large table of Java's verdicts is `tests/compatibility.rs`.

use super::*;
use IncompatibilityKind as K;

fn schema(text: &str) -> Schema {
    Schema::parse(text).unwrap()
}

fn found(reader: &str, writer: &str) -> Vec<(K, String)> {
    check(&schema(reader), &schema(writer)).unwrap().into_iter().map(|i| (i.kind, i.path)).collect()
}

const OLD: &str = r#"{"type":"record","name":"E","namespace":"n","fields":[
    {"name":"id","type":"string"},
    {"name":"price","type":"long"},
    {"name":"tags","type":{"type":"map","values":"int"}},
    {"name":"touches","type":{"type":"array","items":{"type":"record","name":"T","fields":[{"name":"ppm","type":"int"}]}}},
    {"name":"row","type":["null","n.T"]}]}"#;

/// All of them are listed, each with its path, a reason and at least one way out.
#[test]
fn every_incompatibility_has_a_path_by_name() {
    let new = r#"{"type":"record","name":"E","namespace":"n","fields":[
        {"name":"price","type":"string"},
        {"name":"tags","type":{"type":"map","values":"string"}},
        {"name":"touches","type":{"type":"array","items":{"type":"record","name":"T","fields":[{"name":"ppm","type":"boolean"}]}}},
        {"name":"row","type":["null","n.T"]},
        {"name":"shop","type":"string"}]}"#;
    let all = check(&schema(new), &schema(OLD)).unwrap();
    let paths: Vec<_> = all.iter().map(|i| (i.kind, i.path.as_str())).collect();
    let expected = [
        (K::TypeMismatch, "$.price"),
        (K::TypeMismatch, "$.tags{}"),
        (K::TypeMismatch, "$.touches[].ppm"),
        (K::MissingUnionBranch, "$.row<T>"),
        (K::ReaderFieldMissingDefaultValue, "$.shop"),
    ];
    assert_eq!(paths, expected);
    for i in &all {
        assert!((1..=3).contains(&i.fix.len()) && !i.why.is_empty(), "{i:?}");
    }
    assert!(all[3].why.contains("$.ppm"), "the reason inside the branch is named: {}", all[3].why);
    assert!(all[4].fix.iter().any(|f| f.contains("\"id\"")), "a rename is suggested: {:?}", all[4].fix);
    assert_eq!(found(OLD, OLD), []);
}

#[test]
fn a_type_used_twice_is_reported_at_both_places() {
    let pair = |ty| {
        format!(
            r#"{{"type":"record","name":"E","fields":[{{"name":"a","type":{{"type":"record","name":"I","fields":[{{"name":"x","type":"{ty}"}}]}}}},{{"name":"b","type":"I"}}]}}"#
        )
    };
    let all = found(&pair("int"), &pair("string"));
    assert_eq!(all, [(K::TypeMismatch, "$.a.x".to_owned()), (K::TypeMismatch, "$.b.x".to_owned())]);
}

#[test]
fn ambiguous_alias_is_no_verdict_of_luck() {
    let writer = r#"{"type":"record","name":"E","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}"#;
    let reader = r#"{"type":"record","name":"E","fields":[{"name":"c","aliases":["a","b"],"type":"int"}]}"#;
    assert_eq!(found(reader, writer), [(K::AmbiguousAlias, "$.c".to_owned())]);
}

/// Java's check ends with an exception, whatever the other branches are.
#[test]
fn an_ambiguous_branch_is_not_made_up_for() {
    let record = |name: &str, fields: &str| format!(r#"{{"type":"record","name":"{name}","fields":[{fields}]}}"#);
    let writer = record("E", r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
    let other = record("F", r#"{"name":"c","aliases":["a","b"],"type":"int"}"#);
    assert_eq!(found(&format!("[{other},{writer}]"), &writer), [(K::AmbiguousAlias, "$.c".to_owned())]);
    assert_eq!(found(&format!("[{writer},{other}]"), &writer), []);
}

/// A diamond of references has 2^40 places; the list is cut, the verdict is not.
#[test]
fn a_hostile_pair_ends() {
    let diamond = |leaf: &str| {
        let mut text = format!(r#"{{"type":"record","name":"R0","fields":[{{"name":"x","type":"{leaf}"}}]}}"#);
        for i in 1..40 {
            text = format!(
                r#"{{"type":"record","name":"R{i}","fields":[{{"name":"a","type":{text}}},{{"name":"b","type":"R{}"}}]}}"#,
                i - 1
            );
        }
        schema(&text)
    };
    assert_eq!(check(&diamond("int"), &diamond("string")).unwrap().len(), LISTED_MAX);
    assert_eq!(check(&diamond("long"), &diamond("int")).unwrap(), []);
}

#[test]
fn levels_have_one_word_each() {
    for level in Level::ALL {
        assert_eq!(level.as_str().parse(), Ok(level));
    }
    assert!("BACKWARDS".parse::<Level>().unwrap_err().to_string().contains("FULL_TRANSITIVE"));
}

#[test]
fn levels_compare_the_right_versions() {
    let v = |fields: &str| schema(&format!(r#"{{"type":"record","name":"E","fields":[{fields}]}}"#));
    let (with, without) = (r#"{"name":"a","type":"int"}"#, "");
    let defaulted = r#"{"name":"a","type":"int","default":0}"#;
    // The first version lacks `a`, the second has it with a default, the candidate demands it.
    let history = [v(without), v(defaulted)];
    let verdict = |level| check_level(level, &v(with), &history).unwrap().len();
    assert_eq!(verdict(Level::None), 0);
    assert_eq!(verdict(Level::Backward), 0);
    assert_eq!(verdict(Level::BackwardTransitive), 1);
    assert_eq!(verdict(Level::ForwardTransitive), 0);
    assert_eq!(verdict(Level::Full), 0);
    assert_eq!(verdict(Level::FullTransitive), 1);
    let found = check_level(Level::FullTransitive, &v(with), &history).unwrap();
    assert_eq!((found[0].version, found[0].direction), (0, Direction::Backward));
    assert_eq!(check_level(Level::FullTransitive, &v(with), &[]).unwrap().len(), 0);
}
