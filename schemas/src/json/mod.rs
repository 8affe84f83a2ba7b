//! Datum to text: Avro's JSON encoding, written while a plan's steps are followed. Union branches are tagged by full name,
//! bytes and fixed are ISO-8859-1 text, decimals are decimal strings, other logical types are their base type, and numbers
//! that JSON lacks are quoted.

mod decimal;
mod encode;
mod text;

use decimal::decimal_length;
pub(crate) use decimal::write_decimal;
pub use encode::{EncodeJsonError, encode};
pub(crate) use text::{write_bytes, write_double, write_float, write_text};

use text::{bytes_length, text_length};

use crate::{
    codec::{DecodeError, DecodeErrorKind as E, Limits, Reader},
    model::{Kind, Logical, NodeId},
    plan::{Op, Plan, RecordStep, Step, StepId},
};

/// Decodes a bare datum by a plan into the reader's value.
///
/// # Errors
/// The bytes are no value of the writer, the reader cannot take the value, a limit is passed, or bytes are left over.
pub fn decode(plan: &Plan, datum: &[u8], limits: &'static Limits) -> Result<String, DecodeError> {
    let mut printer = Printer { plan, reader: Reader::new(datum, limits)?, out: String::new() };
    printer.value(plan.root(), 0)?;
    printer.reader.finish()?;
    Ok(printer.out)
}

struct Printer<'p, 'd> {
    plan: &'p Plan,
    reader: Reader<'d>,
    /// Whatever is written has its [`Printer::room`] first: the text never grows by itself.
    out: String,
}

/// A number or a word, the signs before it, and those that end all that it stands in.
const SCALAR_BYTES: usize = 64;

impl Printer<'_, '_> {
    fn value(&mut self, id: StepId, depth: usize) -> Result<(), DecodeError> {
        self.room(SCALAR_BYTES)?;
        let node = self.plan.node(id);
        let reader = &mut self.reader;
        match &node.step {
            Step::Null => self.out.push_str("null"),
            Step::Boolean => self.out.push_str(if reader.read_boolean()? { "true" } else { "false" }),
            Step::Int | Step::IntToLong => display(i64::from(reader.read_int()?), &mut self.out),
            Step::Long => display(reader.read_long()?, &mut self.out),
            Step::Float => write_float(f32::from_le_bytes(reader.take_array()?), &mut self.out),
            Step::Double => write_double(f64::from_le_bytes(reader.take_array()?), &mut self.out),
            Step::IntToFloat => write_float(reader.read_int()? as f32, &mut self.out),
            Step::IntToDouble => write_double(f64::from(reader.read_int()?), &mut self.out),
            Step::LongToFloat => write_float(reader.read_long()? as f32, &mut self.out),
            Step::LongToDouble => write_double(reader.read_long()? as f64, &mut self.out),
            Step::FloatToDouble => {
                write_double(f64::from(f32::from_le_bytes(reader.take_array()?)), &mut self.out);
            }
            Step::String | Step::BytesToString => {
                let text = reader.read_str()?;
                self.text(text)?;
            }
            Step::StringToBytes => {
                let bytes = reader.read_str()?.as_bytes();
                self.binary(bytes, node.reader)?;
            }
            Step::Bytes => {
                let bytes = reader.read_bytes()?;
                self.binary(bytes, node.reader)?;
            }
            Step::Fixed(size) => {
                let bytes = reader.take(*size)?;
                self.binary(bytes, node.reader)?;
            }
            Step::Enum(_) => {
                let symbol = self.plan.read_symbol(reader, id)?;
                if let Kind::Enum(e) = self.plan.reader().kind(node.reader) {
                    self.text(&e.symbols[symbol])?;
                }
            }
            Step::FromUnion(branches) => {
                let branch = reader.read_branch(branches.len())?;
                self.value(branches[branch], depth)?;
            }
            Step::IntoUnion { is_null: true, value, .. } => self.value(*value, depth)?,
            Step::IntoUnion { branch, value, .. } => self.tagged(*branch, *value, node.reader, depth)?,
            Step::Array { item, zero_width } => self.array(*item, *zero_width, depth)?,
            Step::Map { value } => self.map(*value, depth)?,
            Step::Record(record) => self.record(record, node.reader, depth)?,
            Step::Fail(kind) => return Err(reader.error(*kind)),
        }
        Ok(())
    }

    /// Makes room for so many bytes more. A text that outgrows its place is copied: both count, so both stay small.
    fn room(&mut self, bytes: usize) -> Result<(), DecodeError> {
        let (needed, limit) = (self.out.len() + bytes, self.reader.limits().json_bytes);
        if needed > limit {
            return Err(self.reader.error(E::OutputLimit));
        }
        if needed > self.out.capacity() {
            let grown = (2 * self.out.capacity()).clamp(needed, limit);
            self.out.reserve_exact(grown - self.out.len());
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), DecodeError> {
        self.room(text_length(text) + SCALAR_BYTES)?;
        write_text(text, &mut self.out);
        Ok(())
    }

    fn binary(&mut self, bytes: &[u8], ty: NodeId) -> Result<(), DecodeError> {
        match self.plan.reader().node(ty).logical {
            Some(Logical::Decimal { scale, .. }) => {
                self.room(decimal_length(bytes, scale))?;
                write_decimal(bytes, scale, &mut self.out).ok_or_else(|| self.reader.error(E::Decimal))
            }
            _ => {
                self.room(bytes_length(bytes) + SCALAR_BYTES)?;
                write_bytes(bytes, &mut self.out);
                Ok(())
            }
        }
    }

    fn tagged(&mut self, branch: usize, value: StepId, ty: NodeId, depth: usize) -> Result<(), DecodeError> {
        let schema = self.plan.reader();
        if let Kind::Union(branches) = schema.kind(ty) {
            self.out.push('{');
            self.text(schema.kind(branches[branch]).label())?;
            self.out.push(':');
        }
        self.value(value, depth)?;
        self.out.push('}');
        Ok(())
    }

    fn array(&mut self, item: StepId, zero_width: bool, depth: usize) -> Result<(), DecodeError> {
        let depth = self.reader.deeper(depth)?;
        self.out.push('[');
        let start = self.out.len();
        while let Some(block) = self.reader.next_block(zero_width)? {
            for _ in 0..block.items {
                self.comma(start);
                self.value(item, depth)?;
            }
            self.reader.end_block(block)?;
        }
        self.out.push(']');
        Ok(())
    }

    fn map(&mut self, value: StepId, depth: usize) -> Result<(), DecodeError> {
        let depth = self.reader.deeper(depth)?;
        let mut entries = 0;
        let mut parts: Vec<(&str, usize)> = Vec::new();
        self.out.push('{');
        let start = self.out.len();
        while let Some(block) = self.reader.next_map_block(&mut entries)? {
            for _ in 0..block.items {
                parts.push(("", self.out.len()));
                self.comma(start);
                let key = self.reader.read_str()?;
                if let Some(last) = parts.last_mut() {
                    last.0 = key;
                }
                self.text(key)?;
                self.out.push(':');
                self.value(value, depth)?;
            }
            self.reader.end_block(block)?;
        }
        self.drop_repeated(start, &parts);
        self.out.push('}');
        Ok(())
    }

    /// Where a key repeats, the last one counts; a map has few entries.
    fn drop_repeated(&mut self, start: usize, parts: &[(&str, usize)]) {
        let repeated = |i: usize| parts[i + 1..].iter().any(|(key, _)| *key == parts[i].0);
        if !(0..parts.len()).any(repeated) {
            return;
        }
        let written = self.out.split_off(start);
        for i in (0..parts.len()).filter(|i| !repeated(*i)) {
            let end = parts.get(i + 1).map_or(written.len(), |(_, next)| next - start);
            self.comma(start);
            self.out.push_str(written[parts[i].1 - start..end].trim_start_matches(','));
        }
    }

    fn record(&mut self, record: &RecordStep, ty: NodeId, depth: usize) -> Result<(), DecodeError> {
        let depth = self.reader.deeper(depth)?;
        let plan = self.plan;
        let Kind::Record(fields) = plan.reader().kind(ty) else { return Err(self.reader.error(E::TypeMismatch)) };
        let mut parts = Vec::new();
        self.out.push('{');
        let start = self.out.len();
        for op in &record.ops {
            if let Some(field) = op.field() {
                if !record.in_order {
                    parts.push((field, self.out.len() - start));
                }
                self.comma(start);
                self.text(&fields.fields[field as usize].name)?;
                self.out.push(':');
            }
            match op {
                Op::Read { step, .. } => self.value(*step, depth)?,
                Op::Skip(step) => plan.skip(&mut self.reader, *step, depth)?,
                Op::Default { json, .. } => {
                    self.room(json.len() + SCALAR_BYTES)?;
                    self.out.push_str(json);
                }
            }
        }
        if !record.in_order {
            self.reorder(start, &mut parts);
        }
        self.out.push('}');
        Ok(())
    }

    /// The writer's order becomes the reader's.
    fn reorder(&mut self, start: usize, parts: &mut [(u32, usize)]) {
        let written = self.out.split_off(start);
        let ends: Vec<_> = parts.iter().skip(1).map(|(_, at)| *at).chain([written.len()]).collect();
        let mut spans: Vec<_> = parts.iter().zip(ends).map(|((field, from), to)| (*field, *from, to)).collect();
        spans.sort_unstable();
        for (_, from, to) in spans {
            self.comma(start);
            self.out.push_str(written[from..to].trim_start_matches(','));
        }
    }

    fn comma(&mut self, start: usize) {
        if self.out.len() > start {
            self.out.push(',');
        }
    }
}

fn display(number: i64, out: &mut String) {
    out.push_str(&number.to_string());
}

#[cfg(test)]
mod tests;
