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
use std::cell::OnceCell;

#[path = "mutate/mod.rs"]
mod mutate;
use mutate::run;

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
