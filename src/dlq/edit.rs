//! Mends a record on its way back: fields are set, and the record is encoded again with the schema of its topic.

use apache_avro::Schema;
use apache_avro::schema::RecordSchema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;

use super::value::Schemas;

/// A framed value of a built-in schema with `sets` applied: paths like `win_price_micros` or `metadata.exchange`.
///
/// # Errors
/// In words: it cannot be decoded, there is no such field, or the field cannot hold the value.
pub fn edit(schemas: &Schemas, value: &[u8], sets: &[(String, String)]) -> Result<Vec<u8>, String> {
    let decoded = schemas.decode(value)?;
    let mut record = decoded.value.clone();
    for (path, text) in sets {
        let names: Vec<&str> = path.split('.').collect();
        set(&mut record, decoded.schema, &names, text).map_err(|what| format!("{path}={text}: {what}"))?;
    }
    let writer = GenericDatumWriter::builder(decoded.schema).build().map_err(|error| error.to_string())?;
    let datum = writer.write_value_to_vec(record).map_err(|error| error.to_string())?;
    let header = schemas::frame::header_bytes(value).map_err(|error| error.to_string())?;
    let mut edited = value[..header].to_vec();
    let builtin = schemas::builtin_by_id(decoded.id).ok_or("its schema is not built in")?;
    // What the services' own decoder does not take would only come back.
    (builtin.recode)(&datum, &mut edited).map_err(|error| error.to_string())?;
    Ok(edited)
}

fn set(value: &mut Value, schema: &Schema, path: &[&str], text: &str) -> Result<(), String> {
    if let (Value::Union(branch, inner), Schema::Union(union)) = (&mut *value, schema) {
        if path.is_empty() {
            *value = union_of(union.variants(), text)?;
            return Ok(());
        }
        let schema = union.variants().get(*branch as usize).ok_or("unknown branch of a union")?;
        return set(inner, schema, path, text);
    }
    let Some((name, rest)) = path.split_first() else {
        *value = scalar(schema, text)?;
        return Ok(());
    };
    match (value, schema) {
        (Value::Record(fields), Schema::Record(RecordSchema { fields: declared, .. })) => {
            let known = || declared.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
            let at = declared.iter().position(|field| field.name == *name);
            let at = at.ok_or_else(|| format!("no field {name}; there are {}", known()))?;
            set(&mut fields[at].1, &declared[at].schema, rest, text)
        }
        (Value::Map(entries), Schema::Map(map)) if rest.is_empty() => {
            entries.insert((*name).to_owned(), scalar(&map.types, text)?);
            Ok(())
        }
        _ => Err(format!("{name} is inside of something that has no fields")),
    }
}

/// `null` where that is a branch, else the first branch that can hold the text.
fn union_of(variants: &[Schema], text: &str) -> Result<Value, String> {
    let mut last = "an empty union".to_owned();
    for (at, variant) in variants.iter().enumerate() {
        let wants_null = text == "null" && variants.contains(&Schema::Null);
        if matches!(variant, Schema::Null) != wants_null {
            continue;
        }
        match scalar(variant, text) {
            Ok(value) => return Ok(Value::Union(at as u32, Box::new(value))),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn scalar(schema: &Schema, text: &str) -> Result<Value, String> {
    fn number<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
        text.parse().map_err(|_| format!("is no {what}"))
    }
    Ok(match schema {
        Schema::Null if text == "null" => Value::Null,
        Schema::Boolean => Value::Boolean(number(text, "true or false")?),
        Schema::Int => Value::Int(number(text, "whole number of 32 bits")?),
        Schema::Long => Value::Long(number(text, "whole number")?),
        Schema::TimestampMillis => Value::TimestampMillis(number(text, "time in ms since 1970")?),
        Schema::TimestampMicros => Value::TimestampMicros(number(text, "time in us since 1970")?),
        Schema::Float => Value::Float(number(text, "number")?),
        Schema::Double => Value::Double(number(text, "number")?),
        Schema::String => Value::String(text.to_owned()),
        Schema::Enum(symbols) => {
            let at = symbols.symbols.iter().position(|symbol| symbol == text);
            let at = at.ok_or_else(|| format!("is none of {}", symbols.symbols.join(", ")))?;
            Value::Enum(at as u32, text.to_owned())
        }
        _ => return Err("is no single value; set its fields one by one".into()),
    })
}

#[cfg(test)]
mod tests {
    use schemas::codec::Map;
    use schemas::events::ImpressionEvent;

    use super::*;

    fn edited(sets: &[(&str, &str)]) -> Result<Vec<u8>, String> {
        let pairs = [("exchange", "adx")];
        let metadata = Map::from_pairs(&pairs);
        let event = ImpressionEvent { event_id: "e", win_price_micros: 70, metadata, ..Default::default() };
        let mut value = Vec::new();
        schemas::frame::encode(&event, &mut value);
        let sets: Vec<_> = sets.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        edit(&Schemas::builtin(), &value, &sets)
    }

    #[test]
    fn fields_are_set_and_nothing_else_changes() {
        let sets =
            [("win_price_micros", "80"), ("user_id", "u1"), ("metadata.currency", "USD"), ("placement_id", "null")];
        let value = edited(&sets).expect("edited");
        let event: ImpressionEvent<'_> = schemas::frame::decode(&value).expect("our decoder takes it");
        assert_eq!((event.event_id, event.win_price_micros, event.user_id), ("e", 80, Some("u1")));
        assert_eq!((event.metadata.get("exchange"), event.metadata.get("currency")), (Some("adx"), Some("USD")));
        assert_eq!(event.placement_id, "null", "where null is no choice, it is a word");
        let value = edited(&[("user_id", "null")]).expect("edited");
        assert_eq!(schemas::frame::decode::<ImpressionEvent<'_>>(&value).expect("decodes").user_id, None);
    }

    #[test]
    fn what_cannot_be_set_is_said() {
        let says = |path, text| edited(&[(path, text)]).expect_err("refused");
        assert!(says("price", "1").contains("no field price; there are event_id"));
        assert!(says("win_price_micros", "much").contains("is no whole number"));
        assert!(says("metadata", "x").contains("one by one"));
        assert!(says("event_id.x", "1").contains("has no fields"));
        assert!(edit(&Schemas::builtin(), b"junk", &[]).is_err());
    }
}
