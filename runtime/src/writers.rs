//! Records that somebody wrote with another version of a topic's schema: the registry says which, and what they hold
//! reaches the fold in the version that it knows. Records of our own never come here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use schemas::frame::{self, VALUE_HEADER, Writer};
use schemas::model::Schema;
use schemas::plan::Plan;

use crate::log::Headers;
use crate::outcome::{Failure, Reason};

/// Pairs of schemas that stay compiled: writers of one topic are a handful.
const PLANS_MAX: usize = 256;

/// What is known of a writer's schema.
#[derive(Clone, Debug)]
pub enum Found {
    Schema(Arc<Schema>),
    /// The registry is up and has no such schema.
    Absent,
    /// Nobody can say now; ask again.
    Away(String),
}

/// Where writers' schemas come from. Never waits: a fold asks.
pub trait WriterSchemas: Send + Sync + 'static {
    fn find(&self, writer: Writer) -> Found;
}

/// Without a registry every other writer is unknown.
pub struct NoWriters;

impl WriterSchemas for NoWriters {
    fn find(&self, _writer: Writer) -> Found {
        Found::Absent
    }
}

/// Writers' schemas, compiled for the readers of this process.
pub struct Writers {
    source: Arc<dyn WriterSchemas>,
    plans: Mutex<BTreeMap<(u32, Writer), Arc<Plan>>>,
}

impl Writers {
    pub fn new(source: Arc<dyn WriterSchemas>) -> Self {
        Self { source, plans: Mutex::default() }
    }

    /// The value as a frame of the reader's own schema: itself, or translated into `scratch`. Its writer is named before the
    /// datum, by id or GUID, or in a header, and then the value is the datum alone. What is no frame at all is left as it is,
    /// for the decoder to say so.
    ///
    /// # Errors
    /// No schema has the name, or its records cannot be read: permanent. The registry is away: the partition waits.
    #[inline]
    pub fn own<'v>(
        &self,
        reader: u32,
        value: &'v [u8],
        headers: &Headers<'_>,
        scratch: &'v mut Vec<u8>,
    ) -> Result<&'v [u8], Failure> {
        let header = if headers.is_empty() { None } else { headers.get(VALUE_HEADER.as_bytes()) };
        match (header, frame::split(value)) {
            (None, Ok((id, _))) if id == frame::wire_id(reader) => Ok(value),
            _ => self.others(reader, header, value, scratch),
        }
    }

    #[cold]
    fn others<'v>(
        &self,
        reader: u32,
        header: Option<&[u8]>,
        value: &'v [u8],
        out: &'v mut Vec<u8>,
    ) -> Result<&'v [u8], Failure> {
        let (writer, datum) = match frame::split_headed(header, value) {
            Ok(split) => split,
            Err(_) if header.is_none() => return Ok(value),
            Err(error) => return Err(error.into()),
        };
        out.clear();
        out.push(frame::MAGIC_ID);
        out.extend_from_slice(&frame::wire_id(reader).to_be_bytes());
        if writer == Writer::Id(frame::wire_id(reader)) {
            out.extend_from_slice(datum);
            return Ok(out);
        }
        let Some(builtin) = schemas::builtin_by_id(reader) else {
            return Err(violation(format!("no schema of this binary has the id {reader}")));
        };
        let plan = self.plan(builtin, writer)?;
        let unreadable = |error| violation(format!("written with {writer}: {error}"));
        (builtin.resolve)(datum, &plan, out).map_err(unreadable)?;
        Ok(out)
    }

    fn plan(&self, builtin: &schemas::Builtin, writer: Writer) -> Result<Arc<Plan>, Failure> {
        let key = (builtin.id, writer);
        let known = self.plans.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(plan) = known {
            return Ok(plan);
        }
        let schema = match self.source.find(writer) {
            Found::Schema(schema) => schema,
            Found::Absent => {
                return Err(violation(format!("written with {writer}, which the registry does not have")));
            }
            Found::Away(why) => {
                let message = format!("written with {writer}, which cannot be asked for at present: {why}");
                return Err(Failure::DependencyDown(Reason::new("SCHEMA_REGISTRY_DOWN", message)));
            }
        };
        let reader = Schema::parse(builtin.avsc).map_err(|e| violation(e.to_string()))?;
        let plan = Arc::new(Plan::new(&schema, &reader).map_err(|e| violation(e.to_string()))?);
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= PLANS_MAX {
            plans.clear();
        }
        plans.insert(key, plan.clone());
        Ok(plan)
    }
}

fn violation(message: String) -> Failure {
    Failure::Permanent(Reason::new("SCHEMA_VIOLATION", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{BatchBuilder, Batches, Compression};
    use schemas::codec::Encode as _;
    use schemas::events::ClickEvent;

    /// One newer schema under id 2000; 2001 is not to be had now.
    struct Two;

    impl WriterSchemas for Two {
        fn find(&self, writer: Writer) -> Found {
            let builtin = schemas::builtin_by_id(ClickEvent::SCHEMA_ID).expect("built in");
            let fields = "\"fields\": [";
            let more = format!("{fields}{{\"name\": \"added\", \"type\": \"long\"}},");
            match writer {
                Writer::Id(2000) | Writer::Guid(GUID) => {
                    let avsc = builtin.avsc.replacen(fields, &more, 1);
                    assert_ne!(avsc, builtin.avsc, "the field is in");
                    Found::Schema(Arc::new(Schema::parse(&avsc).expect("a schema")))
                }
                Writer::Id(2001) => Found::Away("no route".into()),
                _ => Found::Absent,
            }
        }
    }

    const GUID: [u8; 16] = [9; 16];

    /// A record of some writer: its value, and the header that names the schema, if there is one.
    fn read(value: &[u8], header: Option<&[u8]>) -> Result<Vec<u8>, Failure> {
        let mut batch = BatchBuilder::new(Compression::None);
        let header = header.map(|header| (VALUE_HEADER.as_bytes(), header));
        batch.push(1, None, Some(value), &[(b"other", b"x")]).expect("small");
        batch.push(1, None, Some(value), header.as_slice()).expect("small");
        let (bytes, mut scratch, mut translated) = (batch.finish(), Vec::new(), Vec::new());
        let batch = Batches::new(&bytes).next().expect("one").expect("whole");
        let record = batch.records(&mut scratch).expect("readable").last().expect("two").expect("whole");
        let (value, writers) = (record.value.expect("a value"), Writers::new(Arc::new(Two)));
        writers.own(ClickEvent::SCHEMA_ID, value, &record.headers, &mut translated).map(<[u8]>::to_vec)
    }

    fn own() -> Vec<u8> {
        let mut own = Vec::new();
        frame::encode(&ClickEvent { event_id: "c1", ..ClickEvent::default() }, &mut own);
        own
    }

    /// The id, then what the newer schema adds, then the rest.
    fn with_id(id: u32, more: &[u8]) -> Vec<u8> {
        [&[0], &id.to_be_bytes()[..], more, &own()[frame::HEADER_BYTES..]].concat()
    }

    /// Zigzag 7.
    const ADDED: &[u8] = &[14];

    #[test]
    fn other_writers_are_read_and_unknown_ones_told_apart() {
        assert_eq!(read(&own(), None), Ok(own()));
        assert_eq!(read(&with_id(2000, ADDED), None), Ok(own()));
        let kind = |id: u32| read(&with_id(id, &[]), None).expect_err("refused").kind();
        assert_eq!((kind(2001), kind(2002)), ("DEPENDENCY_DOWN", "PERMANENT"));
        // What is no frame is left for the decoder.
        assert_eq!(read(b"\x07oops", None), Ok(b"\x07oops".to_vec()));
        assert_eq!(read(b"\x01oops", None), Ok(b"\x01oops".to_vec()));
    }

    #[test]
    fn a_guid_or_a_header_names_the_writer_too() {
        let head = |guid: &[u8]| [&[frame::MAGIC_GUID], guid].concat();
        let newer = &with_id(2000, ADDED)[frame::HEADER_BYTES..];
        assert_eq!(read(&[&head(&GUID), newer].concat(), None), Ok(own()));
        assert_eq!(read(newer, Some(&head(&GUID))), Ok(own()));
        assert_eq!(read(newer, Some(&with_id(2000, &[])[..frame::HEADER_BYTES])), Ok(own()));
        let (own_head, datum) = (&own()[..frame::HEADER_BYTES], &own()[frame::HEADER_BYTES..]);
        assert_eq!(read(datum, Some(own_head)), Ok(own()));
        let refused = |header: &[u8]| read(datum, Some(header)).expect_err("refused").to_string();
        assert!(
            refused(&head(&[8; 16])).contains("08080808-0808-0808-0808-080808080808"),
            "{}",
            refused(&head(&[8; 16]))
        );
        assert!(refused(b"\0\0\0\0\x01more").contains("a schema header of 9 bytes"));
        assert!(refused(b"").starts_with("SCHEMA_VIOLATION"));
        // The header counts, also where the datum begins like a frame.
        assert!(read(&own(), Some(own_head)).is_ok_and(|framed| framed[frame::HEADER_BYTES..] == own()));
    }
}
