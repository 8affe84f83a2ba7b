//! The decode proof behind a verdict "compatible": records drawn from the writer's schema are decoded with the reader's by
//! the production decoder. A checker can be wrong; this asks the one who will have to read.

use crate::{
    codec::{DecodeError, Limits, write_long},
    compat::CompatError,
    json,
    model::{Kind, NodeId, Schema},
    plan::Plan,
};

/// A record that the decoder could not read although the check allowed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// The datum.
    pub datum: Vec<u8>,
    /// What the decoder says.
    pub error: DecodeError,
}

/// What the decoder said to the records that were drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Records that were drawn and decoded.
    pub records: u32,
    /// The first that the decoder refused; nothing was drawn after it.
    pub failed: Option<Counterexample>,
}

/// Draws up to `records` data of the writer from `seed` and decodes each with the reader, until one fails. A schema without
/// finite values (a record that contains itself directly, an enum without symbols) has nothing to prove, and a draw that runs
/// too deep is left out: [`Proof::records`] counts what was decoded.
///
/// # Errors
/// The pair is too large or too deep to compile.
pub fn prove(writer: &Schema, reader: &Schema, records: u32, seed: u64) -> Result<Proof, CompatError> {
    let plan = Plan::new(writer, reader)?;
    let mut random = Random(seed);
    let mut proof = Proof::default();
    for _ in 0..records {
        let Some(datum) = draw(writer, &mut random) else { continue };
        if let Err(error) = json::decode(&plan, &datum, &Limits::COMMIT) {
            proof.failed = Some(Counterexample { datum, error });
            break;
        }
        proof.records += 1;
    }
    Ok(proof)
}

/// A datum of the schema, small, at its edges more often than chance would have it; `None` if it has no finite value.
pub fn draw(schema: &Schema, random: &mut Random) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    Draw { schema, random }.value(schema.root(), 0, &mut out)?;
    Some(out)
}

/// A small deterministic source of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 for an `n` of 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn integer(&mut self, min: i64, max: i64) -> i64 {
        match self.below(6) {
            0 => 0,
            1 => min,
            2 => max,
            3 => -1,
            _ => (self.next() as i64 >> self.below(63)).clamp(min, max),
        }
    }
}

/// From here on only what ends: null branches, empty arrays and maps.
const SHALLOW_DEPTH: usize = 5;
const DEPTH_MAX: usize = 12;

struct Draw<'s, 'r> {
    schema: &'s Schema,
    random: &'r mut Random,
}

impl Draw<'_, '_> {
    fn value(&mut self, id: NodeId, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        let schema = self.schema;
        match schema.kind(id) {
            Kind::Null => {}
            Kind::Boolean => out.push(self.random.below(2) as u8),
            Kind::Int => write_long(out, self.random.integer(i64::from(i32::MIN), i64::from(i32::MAX))),
            Kind::Long => write_long(out, self.random.integer(i64::MIN, i64::MAX)),
            Kind::Float => out.extend_from_slice(&(self.random.integer(-1000, 1000) as f32 / 8.0).to_le_bytes()),
            Kind::Double => out.extend_from_slice(&(self.random.integer(-1000, 1000) as f64 / 8.0).to_le_bytes()),
            Kind::Bytes | Kind::String => self.text(out),
            Kind::Fixed(fixed) => out.extend((0..fixed.size.min(1 << 16)).map(|i| b'a' + (i % 26) as u8)),
            // No value has a type without symbols.
            Kind::Enum(e) if e.symbols.is_empty() => return None,
            Kind::Enum(e) => write_long(out, self.random.below(e.symbols.len()) as i64),
            Kind::Array(item) => self.blocks(depth, out, |draw, out| draw.value(*item, depth + 1, out))?,
            Kind::Map(value) => self.blocks(depth, out, |draw, out| {
                draw.text(out);
                draw.value(*value, depth + 1, out)
            })?,
            Kind::Union(branches) => self.branch(branches, depth, out)?,
            Kind::Record(record) => {
                for field in &record.fields {
                    self.value(field.ty, depth + 1, out)?;
                }
            }
        }
        Some(())
    }

    /// ASCII, so that it stays text when a reader takes bytes for a string.
    fn text(&mut self, out: &mut Vec<u8>) {
        let len = 1 + self.random.below(8);
        write_long(out, len as i64);
        for _ in 0..len {
            out.push(b' ' + self.random.below(95) as u8);
        }
    }

    fn blocks(
        &mut self,
        depth: usize,
        out: &mut Vec<u8>,
        mut item: impl FnMut(&mut Self, &mut Vec<u8>) -> Option<()>,
    ) -> Option<()> {
        let items = if depth >= SHALLOW_DEPTH { 0 } else { self.random.below(4) };
        if items > 0 {
            write_long(out, items as i64);
            for _ in 0..items {
                item(self, out)?;
            }
        }
        out.push(0);
        Some(())
    }

    fn branch(&mut self, branches: &[NodeId], depth: usize, out: &mut Vec<u8>) -> Option<()> {
        let first = self.random.below(branches.len());
        let leaf = |b: &NodeId| self.schema.children(*b).is_empty();
        let first = if depth >= SHALLOW_DEPTH { branches.iter().position(leaf).unwrap_or(first) } else { first };
        let len = out.len();
        // Where one branch has no end, another may.
        (0..branches.len()).map(|i| (first + i) % branches.len()).find_map(|i| {
            out.truncate(len);
            write_long(out, i as i64);
            self.value(branches[i], depth + 1, out)
        })
    }
}
