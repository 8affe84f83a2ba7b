//! Records that somebody wrote with another version of a topic's schema: the registry says which, and what they hold
//! reaches the fold in the version that it knows. Records of our own never come here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use schemas::frame;
use schemas::model::Schema;
use schemas::plan::Plan;

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
    fn find(&self, id: u32) -> Found;
}

/// Without a registry every other id is unknown.
pub struct NoWriters;

impl WriterSchemas for NoWriters {
    fn find(&self, _id: u32) -> Found {
        Found::Absent
    }
}

/// Writers' schemas, compiled for the readers of this process.
pub struct Writers {
    source: Arc<dyn WriterSchemas>,
    plans: Mutex<BTreeMap<(u32, u32), Arc<Plan>>>,
}

impl Writers {
    pub fn new(source: Arc<dyn WriterSchemas>) -> Self {
        Self { source, plans: Mutex::default() }
    }

    /// The value as a frame of the reader's own schema: itself, or translated into `scratch`. What is no frame at all is
    /// left as it is, for the decoder to say so.
    ///
    /// # Errors
    /// No schema has the id, or its records cannot be read: permanent. The registry is away: the partition waits.
    #[inline]
    pub fn own<'v>(&self, reader: u32, value: &'v [u8], scratch: &'v mut Vec<u8>) -> Result<&'v [u8], Failure> {
        match frame::split(value) {
            Ok((id, datum)) if id != frame::wire_id(reader) => {
                self.translate(reader, id, datum, scratch)?;
                Ok(scratch)
            }
            _ => Ok(value),
        }
    }

    #[cold]
    fn translate(&self, reader: u32, writer: u32, datum: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let Some(builtin) = schemas::builtin_by_id(reader) else {
            return Err(violation(format!("no schema of this binary has the id {reader}")));
        };
        let plan = self.plan(builtin, writer)?;
        out.clear();
        out.push(frame::MAGIC_ID);
        out.extend_from_slice(&frame::wire_id(reader).to_be_bytes());
        let unreadable = |error| violation(format!("written with schema id {writer}: {error}"));
        (builtin.resolve)(datum, &plan, out).map_err(unreadable)
    }

    fn plan(&self, builtin: &schemas::Builtin, writer: u32) -> Result<Arc<Plan>, Failure> {
        let key = (builtin.id, writer);
        let known = self.plans.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(plan) = known {
            return Ok(plan);
        }
        let schema = match self.source.find(writer) {
            Found::Schema(schema) => schema,
            Found::Absent => {
                return Err(violation(format!("written with schema id {writer}, which the registry does not have")));
            }
            Found::Away(why) => {
                let message = format!("the schema with id {writer} cannot be asked for at present: {why}");
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
    use schemas::codec::Encode as _;
    use schemas::events::ClickEvent;

    /// One newer schema under id 2000; 2001 is not to be had now.
    struct Two;

    impl WriterSchemas for Two {
        fn find(&self, id: u32) -> Found {
            let builtin = schemas::builtin_by_id(ClickEvent::SCHEMA_ID).expect("built in");
            let fields = "\"fields\": [";
            let more = format!("{fields}{{\"name\": \"added\", \"type\": \"long\"}},");
            match id {
                2000 => {
                    let avsc = builtin.avsc.replacen(fields, &more, 1);
                    assert_ne!(avsc, builtin.avsc, "the field is in");
                    Found::Schema(Arc::new(Schema::parse(&avsc).expect("a schema")))
                }
                2001 => Found::Away("no route".into()),
                _ => Found::Absent,
            }
        }
    }

    #[test]
    fn other_writers_are_read_and_unknown_ones_told_apart() {
        let writers = Writers::new(Arc::new(Two));
        let event = ClickEvent { event_id: "c1", ..ClickEvent::default() };
        let mut own = Vec::new();
        frame::encode(&event, &mut own);
        let reader = ClickEvent::SCHEMA_ID;
        let mut scratch = Vec::new();
        assert_eq!(writers.own(reader, &own, &mut scratch).expect("its own"), own);
        let with_id = |id: u32, more: &[u8]| {
            let mut value = vec![0];
            value.extend_from_slice(&id.to_be_bytes());
            value.extend_from_slice(more);
            value.extend_from_slice(&own[5..]);
            value
        };
        // The added field is zigzag 7.
        let newer = with_id(2000, &[14]);
        assert_eq!(writers.own(reader, &newer, &mut scratch).expect("translated"), own);
        let kind =
            |id: u32| writers.own(reader, &with_id(id, &[]), &mut Vec::new()).map(<[u8]>::to_vec).unwrap_err().kind();
        assert_eq!(kind(2001), "DEPENDENCY_DOWN");
        assert_eq!(kind(2002), "PERMANENT");
        // What is no frame is left for the decoder.
        assert_eq!(writers.own(reader, b"\x07oops", &mut scratch).expect("as it is"), b"\x07oops");
    }
}
