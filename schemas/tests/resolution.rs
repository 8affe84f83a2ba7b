//! Generated types reading what other versions of their schema wrote. Two decoders must agree: the typed one and the one
//! that prints.

use schemas::{
    builtin,
    codec::Limits,
    events::ImpressionEvent,
    frame, json,
    model::Schema,
    plan::{Plan, Plans},
    proof::{Random, draw},
};
use serde_json::{Value as Json, json};

/// Another version of a schema that its readers can still read: other order, fewer defaulted fields, narrower numbers,
/// bytes for text, unions turned round or gone, more fields.
fn older(schema: &Json, salt: usize) -> Json {
    match schema {
        Json::String(word) => match (word.as_str(), salt % 3) {
            ("long", 0) => json!("int"),
            ("double", 0) => json!("float"),
            ("double", 1) => json!("long"),
            ("string", 1) => json!("bytes"),
            _ => schema.clone(),
        },
        Json::Array(branches) => {
            let mut branches: Vec<_> = branches.iter().map(|b| older(b, salt)).collect();
            branches.reverse();
            if salt % 4 == 1 { branches.swap_remove(0) } else { Json::Array(branches) }
        }
        Json::Object(object) => {
            let mut object = object.clone();
            object.remove("default");
            for key in ["items", "values"] {
                if let Some(inner) = object.get_mut(key) {
                    *inner = older(inner, salt);
                }
            }
            if let Some(Json::Array(fields)) = object.get_mut("fields") {
                // A field that goes must not take the only definition of a type with it.
                let leaves = |f: &Json| !f["type"].to_string().contains("fields");
                let keep =
                    |i: usize, f: &Json| f.get("default").is_none() || !(i + salt).is_multiple_of(3) || !leaves(f);
                let mut kept = Vec::new();
                for (i, field) in fields.iter().enumerate().filter(|(i, f)| keep(*i, f)) {
                    kept.push(json!({"name": field["name"], "type": older(&field["type"], salt + i)}));
                }
                if salt.is_multiple_of(2) {
                    kept.reverse();
                }
                let extra = json!({"type": "map", "values": ["null", {"type": "array", "items": "string"}]});
                kept.insert(kept.len() / 2, json!({"name": "not_known_any_more", "type": extra}));
                *fields = kept;
            }
            Json::Object(object)
        }
        other => other.clone(),
    }
}

#[test]
fn typed_and_printing_decoder_agree_on_every_type() {
    let mut read = 0;
    for b in builtin() {
        let reader = Schema::parse(b.avsc).unwrap();
        for salt in 0..12 {
            let text = older(&serde_json::from_str(b.avsc).unwrap(), salt).to_string();
            let writer = Schema::parse(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
            let plan = Plan::new(&writer, &reader).unwrap();
            let own = Plan::new(&reader, &reader).unwrap();
            assert!(!plan.is_same());
            let mut random = Random(salt as u64);
            for _ in 0..20 {
                let datum = draw(&writer, &mut random).unwrap();
                let printed = json::decode(&plan, &datum, &Limits::EVENT).unwrap_or_else(|e| panic!("{e}: {text}"));
                let mut typed = Vec::new();
                (b.resolve)(&datum, &plan, &mut typed).unwrap_or_else(|e| panic!("{}: {e}: {text}", b.name));
                let value = |text: &str| serde_json::from_str::<Json>(text).unwrap();
                let again = json::decode(&own, &typed, &Limits::EVENT).unwrap();
                assert_eq!(value(&again), value(&printed), "{}", b.name);
                read += 1;
                // Cut anywhere, neither accepts it.
                let cut = &datum[..datum.len() / 2];
                assert!((b.resolve)(cut, &plan, &mut Vec::new()).is_err(), "{}", b.name);
                assert!(json::decode(&plan, cut, &Limits::EVENT).is_err(), "{}", b.name);
            }
        }
    }
    assert!(read >= 12 * 20 * builtin().len());
}

#[test]
fn frames_of_other_writers_go_through_their_plan() {
    let reader = Schema::parse(builtin()[0].avsc).unwrap();
    let old =
        builtin()[0].avsc.replace("bid_price_micros\", \"type\": \"long\"", "bid_price_micros\", \"type\": \"int\"");
    let writer = Schema::parse(&old).unwrap();
    assert_ne!(writer.fingerprint(), reader.fingerprint());
    let mut plans = Plans::new(reader);
    plans.add(77, &writer).unwrap();
    let event = ImpressionEvent { event_id: "e", bid_price_micros: 5, ..Default::default() };
    let mut message = Vec::new();
    frame::encode(&event, &mut message);
    // An int and a long have one encoding, so the same datum serves for the old writer.
    message[4] = 77;
    assert_eq!(frame::decode_with::<ImpressionEvent<'_>>(&message, &plans), Ok(event));
    message[4] = 78;
    let error = frame::decode_with::<ImpressionEvent<'_>>(&message, &plans).unwrap_err();
    assert_eq!(error.kind(), "frame_other_schema");
    message[4] = 1;
    assert_eq!(frame::decode_with::<ImpressionEvent<'_>>(&message, &plans), Ok(event));
}

/// Newer serializers name the schema by a GUID, before the datum or in a header.
#[test]
fn guids_and_headers_name_the_writer_too() {
    let mut plans = Plans::new(Schema::parse(builtin()[0].avsc).unwrap());
    plans.add_guid([7; 16], 1);
    let event = ImpressionEvent { event_id: "e", ..Default::default() };
    let mut framed = Vec::new();
    frame::encode(&event, &mut framed);
    let (head, datum) = framed.split_at(frame::HEADER_BYTES);
    let guid = [&[frame::MAGIC_GUID][..], &[7; 16]].concat();
    let long = [&guid[..], datum].concat();
    let read = |header, message| frame::decode_headed::<ImpressionEvent<'_>>(header, message, &plans);
    assert_eq!(frame::decode_with(&long, &plans), Ok(event));
    for (header, message) in [(None, &framed[..]), (None, &long), (Some(head), datum), (Some(&guid[..]), datum)] {
        assert_eq!(read(header, message), Ok(event));
    }
    let kind = |header, message| read(header, message).unwrap_err().kind();
    assert_eq!(kind(Some(&[1; 17]), datum), "frame_unknown_guid");
    assert_eq!(kind(Some(&[1; 16]), datum), "frame_truncated");
    assert_eq!(kind(Some(&framed), datum), "frame_header");
    assert_eq!(kind(Some(&[9]), datum), "frame_magic");
    assert_eq!(kind(Some(&[]), datum), "frame_truncated");
}
