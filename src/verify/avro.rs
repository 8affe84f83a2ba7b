//! Reads values with apache-avro, not with the platform's codec: an error of the one is not an error of the other.

use std::io::Cursor;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use serde_json::Value as Json;

use super::VerifyError;
use super::datum::Datum;

/// Frame of a value: a zero byte, then the id of its schema, big-endian.
const FRAME_BYTES: usize = 5;

/// The built-in schemas by id, from 1.
pub struct Schemas {
    all: Vec<(&'static str, Schema)>,
    /// The head of a commit: what was taken and how it ended. The rest of it is what is being checked, not read.
    commit_head: Schema,
}

/// Last field of a commit that the recount reads.
const COMMIT_HEAD_END: &str = "outcomes";

impl Schemas {
    /// # Errors
    /// [`VerifyError::Schema`] if a built-in schema does not parse.
    pub fn builtin() -> Result<Self, VerifyError> {
        let mut all = Vec::new();
        let mut commit_head = None;
        for builtin in schemas::builtin() {
            let name = builtin.name.rsplit('.').next().unwrap_or(builtin.name);
            let wrong = |reason: String| VerifyError::Schema { name: name.to_owned(), reason };
            all.push((name, Schema::parse_str(builtin.avsc).map_err(|error| wrong(error.to_string()))?));
            if name == "Commit" {
                let head = head_of(builtin.avsc, COMMIT_HEAD_END).map_err(&wrong)?;
                commit_head = Some(Schema::parse_str(&head).map_err(|error| wrong(error.to_string()))?);
            }
        }
        let missing = || VerifyError::Schema { name: "Commit".into(), reason: "is not built in".into() };
        Ok(Self { all, commit_head: commit_head.ok_or_else(missing)? })
    }

    /// A framed value of the schema `name`; `Err` says why it is none.
    ///
    /// # Errors
    /// In words: cut off, not framed, another schema, or bytes that do not follow it.
    pub fn decode(&self, name: &str, value: &[u8]) -> Result<Datum, String> {
        let (found, schema, mut datum) = self.split(value)?;
        if found != name {
            return Err(format!("written as {found}, not as {name}"));
        }
        let decoded = read(schema, &mut datum)?;
        let left = datum.get_ref().len() as u64 - datum.position();
        if left > 0 { Err(format!("{left} bytes behind the value")) } else { Ok(decoded) }
    }

    /// A record of a commit topic: the name of its schema and its value, of a commit only the head.
    ///
    /// # Errors
    /// As [`Schemas::decode`].
    pub fn decode_commit(&self, value: &[u8]) -> Result<(&'static str, Datum), String> {
        let (name, schema, mut datum) = self.split(value)?;
        let schema = if name == "Commit" { &self.commit_head } else { schema };
        Ok((name, read(schema, &mut datum)?))
    }

    fn split<'a>(&self, value: &'a [u8]) -> Result<(&'static str, &Schema, Cursor<&'a [u8]>), String> {
        let (frame, datum) = value.split_at_checked(FRAME_BYTES).ok_or("shorter than a frame")?;
        let id: [u8; 4] = frame[1..].try_into().map_err(|_| "shorter than a frame")?;
        if frame[0] != 0 {
            return Err(format!("first byte {} is no frame's", frame[0]));
        }
        let id = u32::from_be_bytes(id) as usize;
        let found = id.checked_sub(1).and_then(|at| self.all.get(at));
        let (name, schema) = found.ok_or_else(|| format!("schema {id} is unknown"))?;
        Ok((name, schema, Cursor::new(datum)))
    }
}

fn read(schema: &Schema, datum: &mut Cursor<&[u8]>) -> Result<Datum, String> {
    let reader = GenericDatumReader::builder(schema).build().map_err(|error| error.to_string())?;
    reader.read_value(datum).map(Datum::from).map_err(|error| error.to_string())
}

/// The schema with its fields up to and including `last`: reads the beginning of a value.
fn head_of(avsc: &str, last: &str) -> Result<String, String> {
    let mut schema: Json = serde_json::from_str(avsc).map_err(|error| error.to_string())?;
    let fields = schema.get_mut("fields").and_then(Json::as_array_mut).ok_or("it is no record")?;
    let at = fields.iter().position(|field| field["name"] == last).ok_or_else(|| format!("it has no field {last}"))?;
    fields.truncate(at + 1);
    Ok(schema.to_string())
}
