//! The verdicts of Java's `SchemaCompatibility`, pair by pair and history by history.

use schemas::{
    compat::{self, Level},
    model::Schema,
    proof,
};
use serde_json::Value as Json;
use std::{env, fs, path::PathBuf};

/// The rows of the table, or none if the data folder is not there: then it is said loudly.
fn rows() -> Vec<Json> {
    let data = env::var_os("BULKHEAD_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let file = data.join("schema_compatibility_sample.jsonl");
    match fs::read_to_string(&file) {
        Ok(text) => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        Err(e) => {
            eprintln!("!!! NOT TESTED: {} is absent ({e}); set BULKHEAD_DATA to its folder", file.display());
            vec![]
        }
    }
}

fn schema(json: &Json) -> Schema {
    Schema::parse(&json.to_string()).unwrap_or_else(|e| panic!("{e}: {json}"))
}

#[test]
fn every_pair_and_history_is_judged_as_java_does() {
    let mut wrong = Vec::new();
    for row in rows() {
        let id = row["id"].as_str().unwrap();
        let expected = row["expected"] == "compatible";
        if row["kind"] == "pair" {
            let mut ours: Vec<_> = compat::check(&schema(&row["reader"]), &schema(&row["writer"]))
                .unwrap()
                .into_iter()
                .map(|i| (i.kind.as_str().to_owned(), i.pointer))
                .collect();
            let text = |i: &Json, key: &str| i[key].as_str().unwrap().to_owned();
            let theirs = row["incompatibilities"].as_array().unwrap();
            let mut theirs: Vec<_> = theirs.iter().map(|i| (text(i, "type"), text(i, "path"))).collect();
            ours.sort();
            theirs.sort();
            if ours.is_empty() != expected || ours != theirs {
                wrong.push(format!("{id}: ours {ours:?}, Java's {theirs:?}"));
            }
        } else {
            let level: Level = row["level"].as_str().unwrap().parse().unwrap();
            let history: Vec<_> = row["history"].as_array().unwrap().iter().map(schema).collect();
            let found = compat::check_level(level, &schema(&row["candidate"]), &history).unwrap();
            if found.is_empty() != expected {
                wrong.push(format!("{id}: {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A checker can be wrong; the decoder is asked as well. And where the check says no, some record is lost.
#[test]
fn every_compatible_pair_is_decoded() {
    let mut wrong = Vec::new();
    for row in rows().iter().filter(|row| row["kind"] == "pair" && row["expected"] == "compatible") {
        let found = proof::prove(&schema(&row["writer"]), &schema(&row["reader"]), 200, 7).unwrap().failed;
        wrong.extend(found.map(|c| format!("{}: {} on {:02x?}", row["id"], c.error, c.datum)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn incompatible_pairs_lose_records() {
    let mut kept = Vec::new();
    for row in rows().iter().filter(|row| row["kind"] == "pair" && row["expected"] == "incompatible") {
        let (writer, reader) = (schema(&row["writer"]), schema(&row["reader"]));
        // A writer whose records contain themselves directly has no value that could be lost.
        let finite = proof::draw(&writer, &mut proof::Random(7)).is_some();
        if finite && proof::prove(&writer, &reader, 200, 7).unwrap().failed.is_none() {
            kept.push(row["id"].to_string());
        }
    }
    assert!(kept.is_empty(), "{kept:?}");
}
