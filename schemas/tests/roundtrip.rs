//! Generated types against apache-avro, for every schema file, by property; and what hostile bytes may do.

mod common;

use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value, writer::datum::GenericDatumWriter};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use schemas::{Builtin, builtin};
use serde_json::{Value as Json, json};
use std::collections::HashMap;

fn each(mut test: impl FnMut(&Builtin, &Schema, BoxedStrategy<Value>)) {
    for b in builtin() {
        let schema = Schema::parse_str(b.avsc).unwrap();
        let values = common::value(&schema, &names(&schema));
        test(b, &schema, values);
    }
}

fn names(schema: &Schema) -> HashMap<String, Schema> {
    let mut names = HashMap::new();
    common::named_types(schema, &mut names);
    names
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) })
}

fn write(schema: &Schema, value: &Value) -> Vec<u8> {
    GenericDatumWriter::builder(schema).build().unwrap().write_value_to_vec(value.clone()).unwrap()
}

fn read(schema: &Schema, datum: &[u8]) -> Value {
    let mut rest = datum;
    let value = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut rest).unwrap();
    assert!(rest.is_empty(), "{} bytes left", rest.len());
    value
}

#[test]
fn ids_are_the_lines_of_the_table_and_names_are_the_schemas_own() {
    for (i, b) in builtin().iter().enumerate() {
        assert_eq!(b.id as usize, i + 1);
        let schema = Schema::parse_str(b.avsc).unwrap();
        assert_eq!(schema.name().unwrap().to_string(), b.name);
        assert_eq!(schemas::builtin_by_id(b.id).map(|x| x.name), Some(b.name));
    }
    assert!(schemas::builtin_by_id(0).is_none() && schemas::builtin_by_id(u32::MAX).is_none());
}

/// apache-avro writes, the generated type reads and writes, apache-avro reads: equal.
#[test]
fn every_type_agrees_with_apache_avro() {
    each(|b, schema, values| {
        runner(64)
            .run(&values, |value| {
                let theirs = write(schema, &value);
                let mut ours = Vec::new();
                (b.recode)(&theirs, &mut ours).map_err(|e| TestCaseError::fail(format!("{}: {e}", b.name)))?;
                prop_assert_eq!(read(schema, &ours), value);
                Ok(())
            })
            .unwrap();
    });
}

/// A datum that is cut or continued is never accepted.
#[test]
fn prefixes_and_trailing_bytes_are_refused() {
    each(|b, schema, values| {
        runner(4)
            .run(&values, |value| {
                let datum = write(schema, &value);
                for cut in 0..datum.len() {
                    let error = (b.recode)(&datum[..cut], &mut Vec::new()).unwrap_err();
                    prop_assert!(error.byte <= cut, "{}: {error:?} beyond {cut}", b.name);
                }
                let longer = [&datum[..], b"\0"].concat();
                let error = (b.recode)(&longer, &mut Vec::new()).unwrap_err();
                prop_assert_eq!((error.kind(), error.byte), ("trailing_bytes", datum.len()));
                Ok(())
            })
            .unwrap();
    });
}

/// Changed bytes give a value or an error. A value that is accepted can be written, and is then accepted again.
#[test]
fn mutations_never_panic_and_accepted_ones_are_stable() {
    each(|b, schema, values| {
        let mutated = (values, any::<prop::sample::Index>(), any::<u8>(), any::<prop::sample::Index>(), any::<u8>());
        runner(64)
            .run(&mutated, |(value, at, byte, at2, byte2)| {
                let mut datum = write(schema, &value);
                let len = datum.len();
                datum[at.index(len)] = byte;
                datum[at2.index(len)] = byte2;
                let (mut once, mut twice) = (Vec::new(), Vec::new());
                if (b.recode)(&datum, &mut once).is_ok() {
                    (b.recode)(&once, &mut twice).unwrap();
                    prop_assert_eq!(once, twice);
                }
                Ok(())
            })
            .unwrap();
    });
}

/// The decoder that prints agrees with apache-avro's values.
#[test]
fn printed_values_agree_with_apache_avro() {
    each(|b, schema, values| {
        let own = schemas::model::Schema::parse(b.avsc).unwrap();
        let plan = schemas::plan::Plan::new(&own, &own).unwrap();
        runner(32)
            .run(&values, |value| {
                let text = schemas::json::decode(&plan, &write(schema, &value), &schemas::codec::Limits::EVENT);
                let ours: Json = serde_json::from_str(&text.map_err(|e| TestCaseError::fail(e.to_string()))?).unwrap();
                prop_assert_eq!(ours, tagged(&value, schema, &names(schema)));
                Ok(())
            })
            .unwrap();
    });
}

/// Avro's JSON encoding of a value, by the letter of the specification.
fn tagged(value: &Value, schema: &Schema, names: &HashMap<String, Schema>) -> Json {
    match (value, schema) {
        (_, Schema::Ref { name }) => tagged(value, &names[&name.to_string()], names),
        (Value::Union(i, inner), Schema::Union(u)) => match &u.variants()[*i as usize] {
            Schema::Null => Json::Null,
            branch => json!({ tag(branch): tagged(inner, branch, names) }),
        },
        (Value::Record(fields), Schema::Record(r)) => {
            let fields = fields.iter().zip(&r.fields);
            fields.map(|((name, v), f)| (name.clone(), tagged(v, &f.schema, names))).collect()
        }
        (Value::Array(items), Schema::Array(a)) => items.iter().map(|v| tagged(v, &a.items, names)).collect(),
        (Value::Map(entries), Schema::Map(m)) => {
            entries.iter().map(|(k, v)| (k.clone(), tagged(v, &m.types, names))).collect()
        }
        (Value::Bytes(bytes), _) => bytes.iter().map(|b| char::from(*b)).collect::<String>().into(),
        (Value::Long(n) | Value::TimestampMillis(n), _) => json!(n),
        (Value::Int(n), _) => json!(n),
        (Value::Double(n), _) => json!(n),
        (Value::Boolean(b), _) => json!(b),
        (Value::String(s) | Value::Enum(_, s), _) => json!(s),
        other => panic!("{other:?}"),
    }
}

fn tag(schema: &Schema) -> String {
    match schema {
        Schema::Ref { name } => name.to_string(),
        Schema::Record(r) => r.name.to_string(),
        Schema::String => "string".into(),
        Schema::Long => "long".into(),
        Schema::Int => "int".into(),
        Schema::Bytes => "bytes".into(),
        other => panic!("{other:?}"),
    }
}
