//! What a topic is, as a line of text, and what its name may be.

use super::super::{Durability, TopicConfig, TopicId, is_topic_name};

pub(super) const MAX_TOPICS: usize = 4096;
pub(super) const MAX_PARTITIONS: u32 = 4096;

/// `ID NAME PARTITIONS synced|accepted RETENTION_MS|- compacted|plain`
pub(super) fn to_line(id: TopicId, config: &TopicConfig) -> String {
    let durability = match config.durability {
        Durability::Synced => "synced",
        Durability::Accepted => "accepted",
    };
    let retention = config.retention_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
    let kind = if config.compacted { "compacted" } else { "plain" };
    format!("{} {} {} {durability} {retention} {kind}", id.0, config.name, config.partitions)
}

/// `None` when the line is not one that `to_line` writes.
pub(super) fn from_line(line: &str) -> Option<(TopicId, TopicConfig)> {
    let mut words = line.split(' ');
    let id = TopicId(words.next()?.parse().ok()?);
    let name = words.next().filter(|name| is_topic_name(name))?;
    let partitions = words.next()?.parse().ok().filter(|n| (1..=MAX_PARTITIONS).contains(n))?;
    let durability = match words.next()? {
        "synced" => Durability::Synced,
        "accepted" => Durability::Accepted,
        _ => return None,
    };
    let retention_ms = match words.next()? {
        "-" => None,
        ms => Some(ms.parse().ok()?),
    };
    let compacted = match words.next()? {
        "compacted" => true,
        "plain" => false,
        _ => return None,
    };
    if words.next().is_some() || id.0 as usize >= MAX_TOPICS {
        return None;
    }
    Some((id, TopicConfig { name: name.into(), partitions, durability, retention_ms, compacted }))
}
