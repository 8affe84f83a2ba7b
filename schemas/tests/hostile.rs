//! Bytes and schemas from an enemy: an error or a value, within limits, and never a panic.

use proptest::{prelude::*, test_runner::Config};
use schemas::{
    builtin,
    codec::Limits,
    compat, frame, json, lint,
    model::Schema,
    plan::Plan,
    projection::{Projection, Slot},
    proof::{Random, draw},
};

/// Schemas with everything that the built-in ones lack.
const MORE: [&str; 4] = [
    r#"{"type":"record","name":"L","namespace":"a.b","fields":[{"name":"v","type":["null","int","string",{"type":"fixed","name":"F","size":3}],"default":null},{"name":"next","type":["null","L"],"default":null}]}"#,
    r#"{"type":"array","items":{"type":"map","values":["null",{"type":"enum","name":"E","symbols":["A","B"],"default":"A"},{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}]}}"#,
    r#"{"type":"record","name":"Z","fields":[{"name":"n","type":"null"},{"name":"z","type":{"type":"array","items":{"type":"array","items":"null"}}},{"name":"d","type":"double","default":1.5}]}"#,
    r#"["null","boolean","float",{"type":"record","name":"Empty","fields":[]}]"#,
];

fn texts() -> Vec<&'static str> {
    builtin().iter().map(|b| b.avsc).chain(MORE).collect()
}

fn config(cases: u32) -> Config {
    Config { failure_persistence: None, ..Config::with_cases(cases) }
}

/// Replaces a word or a character of a schema by another.
fn mutated(text: &str, at: usize, with: usize) -> String {
    const WORDS: [&str; 16] = [
        "\"null\"",
        "\"int\"",
        "\"long\"",
        "\"string\"",
        "\"bytes\"",
        "[]",
        "{}",
        "null",
        "\"record\"",
        "\"L\"",
        "\"E\"",
        "-1",
        "\"float\"",
        "\"Touch\"",
        "\"\\u0000\"",
        "1e309",
    ];
    let mut quoted: Vec<_> = text.match_indices('"').map(|(i, _)| i).collect();
    quoted.truncate(quoted.len() / 2 * 2);
    let pair = at % (quoted.len() / 2).max(1) * 2;
    let (Some(from), Some(to)) = (quoted.get(pair), quoted.get(pair + 1)) else { return text.to_owned() };
    format!("{}{}{}", &text[..*from], WORDS[with % WORDS.len()], &text[to + 1..])
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn schemas_of_any_kind_are_judged_or_refused(which in 0..64_usize, at in 0..400_usize, with in 0..16_usize, again in 0..400_usize) {
        let texts = texts();
        let text = texts[which % texts.len()];
        let original = Schema::parse(text).unwrap();
        let changed = mutated(&mutated(text, at, with), again, with / 3);
        if let Ok(changed) = Schema::parse(&changed) {
            for (reader, writer) in [(&original, &changed), (&changed, &original)] {
                let found = compat::check(reader, writer).unwrap();
                prop_assert!(found.iter().all(|i| i.path.starts_with('$') && !i.fix.is_empty()));
                lint::change(writer, reader, false);
                let plan = Plan::new(writer, reader).unwrap();
                let mut random = Random(at as u64);
                for _ in 0..5 {
                    let Some(datum) = draw(writer, &mut random) else { break };
                    let decoded = json::decode(&plan, &datum, &Limits::COMMIT);
                    // The proof in small: what is compatible is read, unless a default is no value after all.
                    if let (true, Err(e)) = (found.is_empty(), &decoded) {
                        prop_assert_eq!(e.kind(), "bad_default");
                    }
                    if let Ok(text) = decoded {
                        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
                    }
                }
            }
            lint::schema(&changed);
            prop_assert_eq!(Schema::parse(&changed.canonical_form()).unwrap().fingerprint(), changed.fingerprint());
        }
    }

    #[test]
    fn bytes_of_any_kind_are_decoded_or_refused(which in 0..64_usize, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let texts = texts();
        let schema = Schema::parse(texts[which % texts.len()]).unwrap();
        let plan = Plan::new(&schema, &schema).unwrap();
        match json::decode(&plan, &bytes, &Limits::EVENT) {
            Ok(text) => prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok()),
            Err(e) => prop_assert!(e.byte <= bytes.len()),
        }
        let _ = frame::split(&bytes);
        let _ = frame::header_bytes(&bytes);
    }

    /// A datum with a few bytes changed: the typed decoder, the one that prints and the projection agree on whether it
    /// is a value.
    #[test]
    fn decoders_agree_on_what_is_a_value(which in 0..64_usize, seed in any::<u64>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let b = &builtin()[which % builtin().len()];
        let schema = Schema::parse(b.avsc).unwrap();
        let plan = Plan::new(&schema, &schema).unwrap();
        let mut datum = draw(&schema, &mut Random(seed)).unwrap();
        let at = at.index(datum.len());
        datum[at] = byte;
        let printed = json::decode(&plan, &datum, &Limits::EVENT).map(|_| ()).map_err(|e| (e.kind(), e.byte));
        let typed = (b.recode)(&datum, &mut Vec::new()).map_err(|e| (e.kind(), e.byte));
        prop_assert_eq!(typed, printed, "{}", b.name);
        let first = b.avsc.split("\"name\": \"").nth(2).and_then(|rest| rest.split('"').next()).unwrap();
        if let Ok(projection) = Projection::new(plan, &[first]) {
            let mut slots = [Slot::Null];
            let projected = projection.decode(&datum, &Limits::EVENT, &mut slots).map_err(|e| (e.kind(), e.byte));
            // A branch that is a record has no slot, which is found before the rest is looked at.
            if projected != Err(("type_mismatch", projected.map_or_else(|e| e.1, |()| 0))) {
                prop_assert_eq!(projected, typed, "{}", b.name);
            }
        }
    }
}

/// 64 KiB of the worst that each schema allows end soon: the number of steps is bounded by the bytes and the limits.
#[test]
fn the_largest_messages_are_decoded_or_refused() {
    for text in texts() {
        let schema = Schema::parse(text).unwrap();
        let plan = Plan::new(&schema, &schema).unwrap();
        for byte in [0, 1, 2, 4, 0x7f, 0x80, 0xff] {
            let _ = json::decode(&plan, &vec![byte; 65_536], &Limits::EVENT);
        }
        assert_eq!(json::decode(&plan, &vec![0; 65_537], &Limits::EVENT).unwrap_err().kind(), "message_limit");
    }
}
