//! Reading a partition to a known end, record by record.

use std::time::Duration;

use super::{Batches, CorruptBatch, FetchError, Offset, PartitionReader, Record};

/// Bytes of one fetch.
const FETCH_BYTES: usize = 1 << 20;
/// What is readable comes within this, from another machine too.
const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// Hands each record from where `reader` stands up to `end`, which is readable already, to `visit`. `topic` is for messages.
/// On a thread that may wait.
///
/// # Errors
/// The log refuses, holds what is no record batch, or nothing comes within 10 s; or what `visit` says.
pub fn walk<E: From<FetchError>>(
    reader: &mut dyn PartitionReader,
    topic: &str,
    end: Offset,
    mut visit: impl FnMut(&Record<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut scratch = Vec::new();
    while reader.position() < end {
        let Some(fetched) = reader.next_within(FETCH_BYTES, FETCH_LIMIT)? else {
            let reason = format!("nothing came within {} s", FETCH_LIMIT.as_secs());
            return Err(FetchError::Io { file: topic.to_owned(), reason }.into());
        };
        let corrupt = |error: CorruptBatch| FetchError::Corrupt {
            file: topic.to_owned(),
            offset: fetched.from,
            byte: 0,
            reason: error.to_string(),
        };
        for batch in Batches::new(&fetched.bytes) {
            for record in batch.map_err(corrupt)?.records(&mut scratch).map_err(corrupt)? {
                let record = record.map_err(corrupt)?;
                if record.offset >= fetched.from && record.offset < end {
                    visit(&record)?;
                }
            }
        }
    }
    Ok(())
}
