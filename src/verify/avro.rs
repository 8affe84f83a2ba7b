//! Reads values with apache-avro, not with the platform's codec: an error of the one is not an error of the other.

use std::io::Cursor;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use schemas::registry::Guid;
use serde_json::Value as Json;

use super::VerifyError;
use super::datum::Datum;
use super::ids::Ids;

/// Frame of a value: a zero byte, then the id of its schema, big-endian.
const FRAME_BYTES: usize = 5;

/// The same with a GUID: a one, then its 16 bytes.
const GUID_FRAME_BYTES: usize = 17;

/// The built-in schemas by id, from 1.
pub struct Schemas {
    all: Vec<(&'static str, Schema)>,
    /// The head of a commit: what was taken and how it ended. The rest of it is what is being checked, not read.
    commit_head: Schema,
    ids: Ids,
}

/// Last field of a commit that the recount reads.
const COMMIT_HEAD_END: &str = "outcomes";

impl Schemas {
    /// # Errors
    /// [`VerifyError::Schema`] if a built-in schema does not parse.
    pub fn builtin(ids: Ids) -> Result<Self, VerifyError> {
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
        Ok(Self { all, commit_head: commit_head.ok_or_else(missing)?, ids })
    }

    /// A framed value of the schema `name`; `Err` says why it is none.
    ///
    /// # Errors
    /// In words: cut off, not framed, another schema, or bytes that do not follow it.
    pub fn decode(&self, name: &str, value: &[u8]) -> Result<Datum, String> {
        let (id, mut datum) = match value.split_at_checked(GUID_FRAME_BYTES) {
            Some(([1, guid @ ..], datum)) => (Err(guid), Cursor::new(datum)),
            _ => split(value).map(|(id, datum)| (Ok(id), datum))?,
        };
        let (own, writer) = match id {
            Ok(id) => (self.own(id), self.ids.writers.get(&id)),
            Err(guid) => (None, guid.try_into().ok().and_then(|guid| self.ids.guids.get(&Guid(guid)))),
        };
        let decoded = match (own, writer) {
            (Some((found, _)), _) if found != name => return Err(format!("written as {found}, not as {name}")),
            (Some((_, schema)), _) => read(schema, &[], None, &mut datum)?,
            (None, Some(writer)) => {
                let own = self.all.iter().find(|(own, _)| *own == name).map(|(_, schema)| schema);
                read(&writer.schema, &writer.referenced, own, &mut datum)?
            }
            (None, None) => return Err(format!("the schema {} is unknown", id.map_or_else(hex, |id| id.to_string()))),
        };
        let left = datum.get_ref().len() as u64 - datum.position();
        if left > 0 { Err(format!("{left} bytes behind the value")) } else { Ok(decoded) }
    }

    /// A record of a commit topic: the name of its schema and its value, of a commit only the head.
    ///
    /// # Errors
    /// As [`Schemas::decode`].
    pub fn decode_commit(&self, value: &[u8]) -> Result<(&'static str, Datum), String> {
        let (id, mut datum) = split(value)?;
        // Nobody else reads commits: their ids are the binary's, whatever a registry gives.
        let (name, schema) = self.at(id).ok_or_else(|| format!("schema {id} is unknown"))?;
        let schema = if name == "Commit" { &self.commit_head } else { schema };
        Ok((name, read(schema, &[], None, &mut datum)?))
    }

    fn at(&self, id: u32) -> Option<(&'static str, &Schema)> {
        let at = (id as usize).checked_sub(1)?;
        self.all.get(at).map(|(name, schema)| (*name, schema))
    }

    /// The schema of the binary that an id stands for in a topic.
    fn own(&self, id: u32) -> Option<(&'static str, &Schema)> {
        if self.ids.own.is_empty() {
            return self.at(id);
        }
        let full = self.ids.own.get(&id)?;
        let short = full.rsplit('.').next().unwrap_or(full);
        self.all.iter().find(|(name, _)| *name == short).map(|(name, schema)| (*name, schema))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Id and datum of a frame.
fn split(value: &[u8]) -> Result<(u32, Cursor<&[u8]>), String> {
    let (frame, datum) = value.split_at_checked(FRAME_BYTES).ok_or("shorter than a frame")?;
    let id: [u8; 4] = frame[1..].try_into().map_err(|_| "shorter than a frame")?;
    if frame[0] != 0 {
        return Err(format!("first byte {} is no frame's", frame[0]));
    }
    Ok((u32::from_be_bytes(id), Cursor::new(datum)))
}

/// `referenced`: what the writer's schema builds on.
fn read(
    writer: &Schema,
    referenced: &[Schema],
    reader: Option<&Schema>,
    datum: &mut Cursor<&[u8]>,
) -> Result<Datum, String> {
    let known = referenced.iter().chain([writer]).collect();
    let builder = GenericDatumReader::builder(writer).writer_schemata(known).map_err(|error| error.to_string())?;
    let reader = builder.maybe_reader_schema(reader).build().map_err(|error| error.to_string())?;
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
