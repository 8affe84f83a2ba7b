//! Generates the Rust types of `schemas::events` from `avsc/*.avsc`: the files are the source of truth.

mod emit;
mod schema;

use schema::Definitions;
use std::{env, fs, path::Path};

fn main() {
    println!("cargo:rerun-if-changed=avsc");
    println!("cargo:rerun-if-changed=build");
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let avsc = Path::new(&root).join("avsc");
    let mut definitions = Definitions::default();
    let mut tops = Vec::new();
    let ids = fs::read_to_string(avsc.join("ids.txt")).expect("avsc/ids.txt is readable");
    for (id, name) in ids.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).enumerate() {
        let path = avsc.join(format!("{name}.avsc"));
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("avsc/{name}.avsc (named in ids.txt): {e}"));
        let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("avsc/{name}.avsc: {e}"));
        let full_name = definitions.read_top(&json).unwrap_or_else(|e| panic!("avsc/{name}.avsc: {e}"));
        tops.push(emit::Top { id: id as u32 + 1, file: name.to_owned(), full_name });
    }
    let named: Vec<_> = tops.iter().map(|t| format!("{}.avsc", t.file)).collect();
    for entry in fs::read_dir(&avsc).expect("avsc is a folder") {
        let file = entry.expect("avsc is readable").file_name().to_string_lossy().into_owned();
        assert!(!file.ends_with(".avsc") || named.contains(&file), "avsc/{file} has no line in avsc/ids.txt");
    }
    let code = emit::module(&definitions, &tops).unwrap_or_else(|e| panic!("schemas: {e}"));
    fs::write(Path::new(&out).join("events.rs"), code).expect("OUT_DIR is writable");
}
