//! Fuzz targets: datum, frame, schema. Each replays `tests/corpus/NAME` and then as many mutants of it as there is time for;
//! `tests/long/fuzz.sh` gives ten minutes each, by AFL++ where it is installed. Here no coverage guides it, so the corpus has
//! one seed for each kind of thing, and the mutations know lengths, counts and JSON's words.

use schemas::{
    builtin,
    codec::Limits,
    compat,
    events::ImpressionEvent,
    frame, json, lint,
    model::Schema,
    plan::{Plan, Plans},
    proof::{self, Random},
};
use std::{cell::OnceCell, env, fs, path::Path};

/// Mutants that the test command tries; a long run counts seconds.
const MUTANTS: u64 = 3_000;

fn run(name: &str, target: impl Fn(&[u8])) {
    // One input from a fuzzer outside, which chooses the next by what this one reached.
    if let Some(path) = env::var_os("FUZZ_INPUT") {
        return target(&fs::read(path).unwrap_or_default());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let corpus: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(corpus.len() >= 3, "{}", folder.display());
    corpus.iter().for_each(|seed| target(seed));
    let number = |key: &str| env::var(key).ok().and_then(|text| text.parse::<u64>().ok());
    let (mutants, seed) = (number("FUZZ_MUTANTS").unwrap_or(MUTANTS), number("FUZZ_SEED").unwrap_or(0));
    for i in 0..mutants {
        let mut random = Random(seed.wrapping_mul(1 << 40).wrapping_add(i));
        let input = mutant(&corpus, &mut random);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&input)));
        // What was found becomes a file of the corpus: bytes in hex, as a person can keep them.
        assert!(outcome.is_ok(), "{name}, FUZZ_SEED={seed}, mutant {i}: {}", hex(&input));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn mutant(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 16] = [
        b"\x00",
        b"\x01",
        b"\x02",
        b"\x7f",
        b"\x80\x80\x04",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x80\xa8\xd6\xb9\x07",
        b"\xff\xff\xff\xff\x0f",
        b"\"null\"",
        b"\"type\":",
        b"[]",
        b"{}",
        b"-1",
        b"\"default\":",
        b"\"aliases\":[\"a\"],",
        b"\xc3\x28",
    ];
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(24)).min(bytes.len());
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => drop(bytes.drain(at..end)),
            3 => drop(bytes.splice(at..end, PIECES[random.below(PIECES.len())].iter().copied())),
            4 => drop(bytes.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
            5 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let part = bytes[at..end].to_vec();
                let again = random.below(64);
                (0..again).for_each(|_| drop(bytes.splice(at..at, part.iter().copied())));
            }
        }
        bytes.truncate(70_000);
    }
    bytes
}

/// The first byte chooses the type; the typed decoder and the one that prints agree, and what is accepted is written again.
#[test]
fn datum() {
    // Made when a type is first chosen: a fuzzer outside starts anew for each input.
    let plans: Vec<_> = builtin().iter().map(|_| OnceCell::new()).collect();
    let plan_of = |which: usize| {
        plans[which].get_or_init(|| {
            let schema = Schema::parse(builtin()[which].avsc).unwrap();
            Plan::new(&schema, &schema).unwrap()
        })
    };
    run("datum", |bytes| {
        let Some((which, datum)) = bytes.split_first() else { return };
        let which = usize::from(*which) % builtin().len();
        let (b, plan) = (&builtin()[which], plan_of(which));
        let (mut once, mut twice) = (Vec::new(), Vec::new());
        let typed = (b.recode)(datum, &mut once);
        let printed =
            json::decode(plan, datum, if b.name.contains(".commit.") { &Limits::COMMIT } else { &Limits::EVENT });
        match &printed {
            Err(e) if e.kind() == "output_limit" => {}
            _ => assert_eq!(typed.is_ok(), printed.is_ok(), "{}: {typed:?} {printed:?}", b.name),
        }
        if typed.is_ok() {
            (b.recode)(&once, &mut twice).unwrap();
            assert_eq!(once, twice);
        }
    });
}

#[test]
fn frames() {
    let mut plans = Plans::new(Schema::parse(builtin()[0].avsc).unwrap());
    plans.add(2, &Schema::parse(builtin()[1].avsc).unwrap()).unwrap();
    plans.add_guid([1; 16], 1);
    run("frame", |bytes| {
        if let Ok((writer, datum)) = frame::split_any(bytes) {
            let header = &bytes[..bytes.len() - datum.len()];
            assert_eq!(frame::split_headed(Some(header), datum), Ok((writer, datum)));
        }
        let inline = frame::decode_with::<ImpressionEvent<'_>>(bytes, &plans);
        assert_eq!(inline, frame::decode_headed(None, bytes, &plans));
    });
}

/// What is a schema has a canonical form that is the same schema, reads its own records, and is judged beside another.
#[test]
fn schema() {
    let other = Schema::parse(builtin()[0].avsc).unwrap();
    run("schema", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Ok(schema) = Schema::parse(text) else { return };
        let canonical = schema.canonical_form();
        assert_eq!(Schema::parse(&canonical).unwrap().canonical_form(), canonical);
        lint::schema(&schema);
        compat::check(&other, &schema).unwrap();
        compat::check(&schema, &other).unwrap();
        let plan = Plan::new(&schema, &schema).unwrap();
        let ambiguous = !compat::check(&schema, &schema).unwrap().is_empty();
        if let (Some(datum), false) = (proof::draw(&schema, &mut Random(1)), ambiguous) {
            match json::decode(&plan, &datum, &Limits::COMMIT) {
                Ok(text) => drop(serde_json::from_str::<serde_json::Value>(&text).unwrap()),
                Err(e) => assert!(e.kind().ends_with("_limit") || e.kind() == "decimal", "{e}"),
            }
        }
    });
}
