//! Ours beside Apache Avro's Java implementation, on schemas and data that nobody chose: verdicts, kinds and places of
//! incompatibilities, canonical forms, and values. Run by `tests/long/avro.sh`, which has the Java side.

#[path = "common/pairs.rs"]
mod pairs;

use schemas::{codec::Limits, compat, json as printed, model::Schema, plan::Plan, proof};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

struct Oracle {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Oracle {
    fn new(class_path: &str) -> Self {
        let mut child = Command::new("java")
            .args(["-Xss8m", "-cp", class_path, "Oracle"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    fn ask(&mut self, question: &Json) -> Json {
        writeln!(self.input, "{question}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?} for {question}"))
    }

    fn end(mut self) {
        drop(self.input);
        self.child.wait().unwrap();
    }
}

/// What differed, by class; a few examples of each.
#[derive(Default)]
struct Differences(BTreeMap<&'static str, (usize, Vec<String>)>);

impl Differences {
    fn add(&mut self, class: &'static str, example: String) {
        let (count, examples) = self.0.entry(class).or_default();
        *count += 1;
        if !examples.contains(&example) {
            examples.push(example);
        }
        // Short ones say most.
        examples.sort_by_key(String::len);
        examples.truncate(8);
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// Without Java: what is said to be compatible is read, and a schema's canonical form is the same schema.
#[test]
fn random_pairs_keep_what_the_check_promises() {
    let mut read = 0;
    for case in 0..4_000 {
        let mut random = proof::Random(case);
        let (reader, writer) = pairs::pair(&mut random);
        let schema = |json: &Json| Schema::parse(&json.to_string()).ok();
        let (Some(reader), Some(writer)) = (schema(&reader), schema(&writer)) else { continue };
        let canonical = reader.canonical_form();
        assert_eq!(Schema::parse(&canonical).unwrap().canonical_form(), canonical);
        if compat::check(&reader, &writer).unwrap().is_empty() {
            let found = proof::prove(&writer, &reader, 20, case).unwrap().failed;
            let found = found.filter(|c| c.error.kind() != "bad_default");
            assert_eq!(found, None, "{}\n{canonical}", writer.canonical_form());
            read += 1;
        }
    }
    assert!(read > 400, "{read}");
}

#[test]
fn random_pairs_are_judged_and_read_as_java_does() {
    let Ok(class_path) = env::var("AVRO_CLASS_PATH") else {
        return eprintln!("!!! NOT TESTED: needs Java; tests/long/avro.sh runs it");
    };
    let (cases, seed) = (number("CASES", 10_000), number("SEED", 1));
    let mut oracle = Oracle::new(&class_path);
    let (mut differences, mut tally) = (Differences::default(), BTreeMap::<&str, u64>::new());
    let mut verdicts = String::new();
    for case in 0..cases {
        let mut random = proof::Random(seed.wrapping_mul(1 << 32).wrapping_add(case));
        let (reader, writer) = pairs::pair(&mut random);
        let (reader, writer) = (reader.to_string(), writer.to_string());
        let theirs = compare(&mut oracle, &reader, &writer, &mut random, &mut differences, &mut tally);
        verdicts += &format!("{}\n", theirs.map_or_else(|| "?".to_owned(), |theirs| line(&theirs)));
    }
    oracle.end();
    if let Ok(path) = env::var("KEEP") {
        std::fs::write(path, verdicts).unwrap();
    }
    eprintln!("{cases} pairs from seed {seed}: {tally:?}");
    for (class, (count, examples)) in &differences.0 {
        eprintln!("== {class}: {count}\n{}", examples.join("\n"));
    }
    assert!(differences.0.is_empty(), "{} classes of differences", differences.0.len());
}

/// What Java said of the first pairs, written by `KEEP=schemas/tests/java_verdicts.txt tests/long/avro.sh 3000 1`: what
/// changes a verdict is seen without Java, too. `?` stands where one of the two refuses a schema, or Java throws.
const VERDICTS: &str = include_str!("java_verdicts.txt");
/// The seed of that run.
const VERDICTS_SEED: u64 = 1;

#[test]
fn random_pairs_are_judged_as_java_did() {
    let (mut compared, mut compatible) = (0, 0);
    for (case, theirs) in VERDICTS.lines().enumerate().filter(|(_, theirs)| *theirs != "?") {
        let mut random = proof::Random((VERDICTS_SEED << 32) + case as u64);
        let (reader, writer) = pairs::pair(&mut random);
        let schema = |json: &Json| Schema::parse(&json.to_string()).unwrap_or_else(|e| panic!("{case}: {e}: {json}"));
        let found = compat::check(&schema(&reader), &schema(&writer)).unwrap();
        let ours = found.iter().map(|i| format!("{} {}", i.kind.as_str(), i.pointer)).collect();
        assert_eq!(line(&sorted(ours)), theirs, "case {case}\n  r {reader}\n  w {writer}\n  {found:?}");
        compared += 1;
        compatible += u32::from(found.is_empty());
    }
    assert!(compared > 1_300 && compatible > 600, "{compared} compared, {compatible} compatible");
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

/// A list of incompatibilities in few letters: how many, and a digest of kinds and places.
fn line(list: &[String]) -> String {
    let digest = Sha256::digest(list.join("\n"));
    format!("{} {:02x}{:02x}{:02x}{:02x}", list.len(), digest[0], digest[1], digest[2], digest[3])
}

/// Java's list, where both sides have one.
fn compare(
    oracle: &mut Oracle,
    reader_text: &str,
    writer_text: &str,
    random: &mut proof::Random,
    differences: &mut Differences,
    tally: &mut BTreeMap<&str, u64>,
) -> Option<Vec<String>> {
    let mut count = |what| *tally.entry(what).or_default() += 1;
    let (reader, writer) = (Schema::parse(reader_text), Schema::parse(writer_text));
    let drawn =
        writer.as_ref().ok().map(|w| (0..3).filter_map(|_| proof::draw(w, random).map(hex)).collect::<Vec<_>>());
    let question = json!({"reader": reader_text, "writer": writer_text, "data": drawn.unwrap_or_default(), "seed": random.below(1 << 30)});
    let answer = oracle.ask(&question);
    let pair = format!("  r {reader_text}\n  w {writer_text}");
    for (ours, key, text) in [(&reader, "reader_error", reader_text), (&writer, "writer_error", writer_text)] {
        match (ours, answer.get(key)) {
            // A default for a record that is not complete yet: Java looks too early.
            (Ok(_), Some(error)) if error.to_string().contains("fields not set yet") => count("Java looks too early"),
            // Unknown attributes make a difference to Java.
            (Ok(_), Some(error)) if error.to_string().contains("Can't redefine") => count("Java sees two"),
            (Ok(_), Some(error)) => differences.add("only Java refuses a schema", format!("  {text}\n    {error}")),
            // Java takes it for none.
            (Err(error), None) if error.to_string().contains("\"namespace\" is ") => {
                count("a namespace that is no text")
            }
            (Err(error), None) if error.to_string().contains("is none of the symbols") => {
                count("a default that is no text")
            }
            (Err(error), None) => differences.add("only we refuse a schema", format!("  {text}\n    {error}")),
            _ => {}
        }
    }
    let (Ok(reader), Ok(writer)) = (reader, writer) else {
        count("no schema");
        return None;
    };
    let canonical = answer.get("canonical")?;
    if reader.canonical_form() != canonical.as_str().unwrap() {
        differences.add(
            "canonical form",
            format!("  {reader_text}\n    ours {}\n    java {canonical}", reader.canonical_form()),
        );
    }
    let found = compat::check(&reader, &writer).unwrap();
    let ours = sorted(found.iter().map(|i| format!("{} {}", i.kind.as_str(), i.pointer)).collect());
    let theirs = answer.get("incompatibilities").and_then(Json::as_array);
    let text = |i: &Json, key: &str| i[key].as_str().unwrap().to_owned();
    let theirs = theirs.map(|t| sorted(t.iter().map(|i| format!("{} {}", text(i, "type"), text(i, "path"))).collect()));
    count(if found.is_empty() { "compatible" } else { "incompatible" });
    match &theirs {
        None if found.is_empty() => {
            differences.add("Java throws, we accept", format!("{pair}\n    {}", answer["compat_error"]));
        }
        None => count("Java throws"),
        Some(theirs) => {
            if ours.is_empty() != theirs.is_empty() {
                differences.add("verdict", format!("{pair}\n    ours {ours:?}\n    java {theirs:?}"));
            } else if ours != *theirs {
                differences.add("list", format!("{pair}\n    ours {ours:?}\n    java {theirs:?}"));
            }
        }
    }
    let plan = Plan::new(&writer, &reader).unwrap();
    let floats = reader_text.contains("float");
    for row in answer["data"].as_array().unwrap() {
        let datum = unhex(row["hex"].as_str().unwrap());
        let ours = printed::decode(&plan, &datum, &Limits::COMMIT)
            .map(|text| serde_json::from_str::<Json>(&text).unwrap_or_else(|e| panic!("{e}: {text}")));
        let place = || format!("{pair}\n    {} ours {ours:?}\n    java {row}", row["hex"]);
        match (&ours, row.get("value")) {
            (Ok(ours), Some(theirs)) if same(ours, theirs, floats) => count("same value"),
            (Err(_), None) => count("both refuse"),
            // Java gives the writer's type of that name the other one's, and misses its data.
            (Ok(_), Some(_)) if claims_another(&reader) => count("Java renames another type"),
            // Java takes whatever is given as the default of a union for a record without fields.
            (Ok(_), Some(_)) if reader_text.contains("\"fields\":[]") => count("a record without fields"),
            (Ok(_), Some(_)) => differences.add("value", place()),
            // Java puts question marks where bytes are no text.
            (Err(e), Some(_)) if e.kind() == "utf8" => count("not UTF-8"),
            // Java cuts or fills a fixed default of another size.
            (Err(e), Some(_)) if e.kind() == "bad_default" => count("bad default"),
            (Err(e), Some(_)) if e.kind() == "depth_limit" => count("deeper than our limit"),
            (Err(_), Some(_)) if found.is_empty() => differences.add("we fail on a compatible pair", place()),
            // Java's reader does not look at the names of records, and takes aliases only under a record's full name.
            (Err(_), Some(_)) => count("only Java reads, incompatible"),
            (Ok(_), None) if found.is_empty() => count("only we read, compatible"),
            // Part of an incompatible pair's data may be read; where names are short, Java's reader wants them in full.
            (Ok(_), None) => count("only we read, incompatible"),
        }
    }
    theirs
}

/// Whether a type has another one's name for an alias.
fn claims_another(schema: &Schema) -> bool {
    let aliases = || schema.ids().flat_map(|id| schema.kind(id).aliases());
    schema.ids().filter_map(|id| schema.kind(id).name()).any(|name| aliases().any(|alias| alias == name.full()))
}

/// Equal; a float stands as the double that it is, and we print the shortest text that reads back as the float. The
/// parser of both may be off by the last digit.
fn same(ours: &Json, theirs: &Json, floats: bool) -> bool {
    match (ours, theirs) {
        (Json::Number(a), Json::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= a.abs() * if floats { 1e-7 } else { 1e-15 }
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, floats)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b, floats)))
        }
        _ => ours == theirs,
    }
}

fn hex(bytes: Vec<u8>) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}
