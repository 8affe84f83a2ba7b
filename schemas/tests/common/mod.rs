//! Values drawn from a schema, so that a new schema file is covered by being there.

use apache_avro::{Schema, types::Value};
use proptest::{collection::vec, prelude::*};
use std::collections::HashMap;

/// Any value of the schema, within the decoder's limits. `schema` is resolved: no references to itself.
pub fn value(schema: &Schema, names: &HashMap<String, Schema>) -> BoxedStrategy<Value> {
    match schema {
        Schema::Null => Just(Value::Null).boxed(),
        Schema::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Schema::Int => any::<i32>().prop_map(Value::Int).boxed(),
        Schema::Long => long().prop_map(Value::Long).boxed(),
        Schema::TimestampMillis => long().prop_map(Value::TimestampMillis).boxed(),
        Schema::Double => any::<i32>().prop_map(|n| Value::Double(f64::from(n) / 8.0)).boxed(),
        Schema::Bytes => vec(any::<u8>(), 0..40).prop_map(Value::Bytes).boxed(),
        Schema::String => text().prop_map(Value::String).boxed(),
        Schema::Enum(e) => {
            let symbols = e.symbols.clone();
            (0..symbols.len()).prop_map(move |i| Value::Enum(i as u32, symbols[i].clone())).boxed()
        }
        Schema::Array(a) => vec(value(&a.items, names), 0..5).prop_map(Value::Array).boxed(),
        Schema::Map(m) => {
            proptest::collection::hash_map(text(), value(&m.types, names), 0..5).prop_map(Value::Map).boxed()
        }
        Schema::Union(u) => {
            let branches: Vec<_> = u.variants().iter().map(|v| value(v, names)).collect();
            (0..branches.len())
                .prop_flat_map(move |i| branches[i].clone().prop_map(move |v| Value::Union(i as u32, Box::new(v))))
                .boxed()
        }
        Schema::Record(r) => r.fields.iter().fold(Just(Value::Record(vec![])).boxed(), |so_far, field| {
            let name = field.name.clone();
            (so_far, value(&field.schema, names))
                .prop_map(move |(record, v)| match record {
                    Value::Record(mut fields) => {
                        fields.push((name.clone(), v));
                        Value::Record(fields)
                    }
                    other => other,
                })
                .boxed()
        }),
        Schema::Ref { name } => value(&names[&name.to_string()], names),
        other => panic!("values of {other:?} are not drawn yet: add them here"),
    }
}

/// Named types defined anywhere inside a schema.
pub fn named_types(schema: &Schema, found: &mut HashMap<String, Schema>) {
    match schema {
        Schema::Record(r) => {
            found.insert(r.name.to_string(), schema.clone());
            r.fields.iter().for_each(|f| named_types(&f.schema, found));
        }
        Schema::Enum(e) => {
            found.insert(e.name.to_string(), schema.clone());
        }
        Schema::Array(a) => named_types(&a.items, found),
        Schema::Map(m) => named_types(&m.types, found),
        Schema::Union(u) => u.variants().iter().for_each(|v| named_types(v, found)),
        _ => {}
    }
}

fn long() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -70..70_i64, Just(i64::MIN), Just(i64::MAX)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9-]{0,24}", "\\PC{0,12}"]
}
