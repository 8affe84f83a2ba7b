//! Where a record comes from, as it says itself; and how far a target has come, by its last records.

use std::collections::BTreeSet;
use std::sync::Arc;

use runtime::log::{Extent, FetchError, Log, Offset, Record, TopicPartition, walk};
use tokio::sync::Notify;

/// Header of a record that came over a bridge: `TOPIC-PARTITION@OFFSET` in the source, as text.
pub const HEADER: &str = "bulkhead-bridge";
/// Records of the target that are looked at first for the last one that a bridge wrote; four times more at each step back.
const LOOK_BACK: Offset = 1_000;

/// The header of a record.
pub(super) fn text(topic: &str, partition: u32, offset: Offset) -> String {
    format!("{topic}-{partition}@{offset}")
}

/// What the record says of itself; `None` if it came over no bridge.
pub(super) fn of<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    let mut headers = record.headers.flatten();
    headers.find(|(name, _)| *name == HEADER.as_bytes()).map(|(_, value)| value.unwrap_or_default())
}

/// The offset in the source, if the record came over this lane.
fn offset_of(record: &Record<'_>, topic: &str, partition: u32) -> Option<Offset> {
    let text = std::str::from_utf8(of(record)?).ok()?;
    let (lane, offset) = text.rsplit_once('@')?;
    let (from, number) = lane.rsplit_once('-')?;
    (from == topic && number.parse() == Ok(partition)).then(|| offset.parse().ok()).flatten()
}

/// A record as it stands in either log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stands {
    timestamp_ms: i64,
    key: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
}

impl Stands {
    fn of(record: &Record<'_>) -> Self {
        Self { timestamp_ms: record.timestamp_ms, key: record.key.map(Box::from), value: record.value.map(Box::from) }
    }
}

/// What has come over a lane, from the end of the target back.
#[derive(Debug, Default)]
pub(super) struct Came {
    /// Offsets in the source.
    pub offsets: BTreeSet<Offset>,
    /// The record with the greatest of them.
    pub last: Option<(Offset, Stands)>,
}

/// Looks for records of this lane in the target, back from its end until one is below `until`. Blocks.
pub(super) fn look_back(
    to: &dyn Log,
    at: TopicPartition,
    topic: &str,
    partition: u32,
    until: Offset,
) -> Result<Came, FetchError> {
    let Extent { start, high_watermark } = to.extent(at)?;
    let (mut end, mut step) = (high_watermark, LOOK_BACK);
    let mut came = Came::default();
    while end > start && came.offsets.first().is_none_or(|first| *first >= until) {
        let from = start.max(end - step);
        let mut reader = to.reader(at, from, Arc::new(Notify::new()))?;
        walk::<FetchError>(reader.as_mut(), topic, end, |record| {
            if let Some(offset) = offset_of(record, topic, partition) {
                came.offsets.insert(offset);
                if came.last.as_ref().is_none_or(|(last, _)| *last < offset) {
                    came.last = Some((offset, Stands::of(record)));
                }
            }
            Ok(())
        })?;
        (end, step) = (from, step * 4);
    }
    Ok(came)
}

/// The record at an offset; `None` if there is none. Blocks.
pub(super) fn at(log: &dyn Log, of: TopicPartition, topic: &str, offset: Offset) -> Result<Option<Stands>, FetchError> {
    let mut found = None;
    let mut reader = log.reader(of, offset, Arc::new(Notify::new()))?;
    walk::<FetchError>(reader.as_mut(), topic, offset + 1, |record| {
        found = (record.offset == offset).then(|| Stands::of(record));
        Ok(())
    })?;
    Ok(found)
}
