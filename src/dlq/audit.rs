//! What was done with dead letters: one row an action in a topic of its own. The rows of a job are the job: it has no other
//! memory, so it can be looked up, gone on with and accounted for after any crash.

use std::sync::Arc;

use runtime::log::{
    AppendOptions, BatchBuilder, Compression, Durability, Log, ProducerGroup, Record, TopicConfig, TopicPartition,
};
use runtime::topology::days;
use schemas::events::{DeadLetterAction, DeadLetterActionKind};
use serde::{Deserialize, Serialize};

use super::letters::EventId;
use super::{DlqError, walk};

/// Topic of the audit, one partition, so that its order is the order of what was done.
pub const TOPIC: &str = "dlq-audit";
/// Bytes in flight of all jobs together.
const BUDGET_BYTES: usize = 4 << 20;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    Started,
    Resumed,
    Progress,
    /// A canary waits to be judged, or somebody has interrupted the job.
    Paused,
    /// Too many failed again.
    Stopped,
    Cancelled,
    Finished,
    /// One letter was put away.
    Discarded,
    /// Written by a newer program.
    Other,
}

/// How far a job is. `scanned = moved + skipped + failed`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Letters that were selected.
    pub scanned: u64,
    /// Brought back, or put away, by this job.
    pub moved: u64,
    /// Left alone: done before by another job, or spent.
    pub skipped: u64,
    /// Could not be moved.
    pub failed: u64,
    /// Of the moved ones, dead letters again.
    pub failed_again: u64,
}

impl Counts {
    /// Every letter is in one column.
    pub fn check(&self) {
        let Self { scanned, moved, skipped, failed, .. } = *self;
        assert!(scanned == moved + skipped + failed, "scanned = moved + skipped + failed: {self:?}");
    }
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    pub timestamp_ms: i64,
    pub job: String,
    pub action: Action,
    /// `replay`, `discard` or `release`.
    pub kind: String,
    pub actor: String,
    pub reason: String,
    /// The job's order, as JSON.
    pub order: String,
    pub counts: Counts,
    /// Of a discarded letter.
    pub event: EventId,
    pub replays: u32,
}

/// The topic of an audit: one partition, so that its order is the order of what was done, kept for 400 days.
pub fn config(name: &str) -> TopicConfig {
    let (durability, retention_ms) = (Durability::Synced, days(400));
    TopicConfig { name: name.into(), partitions: 1, durability, retention_ms, compacted: false }
}

/// Makes the topic if it is not there.
///
/// # Errors
/// The log refuses.
fn ensure(log: &dyn Log) -> Result<TopicPartition, DlqError> {
    let config = config(TOPIC);
    Ok(TopicPartition { topic: log.ensure_topic(&config)?, partition: 0 })
}

/// Where jobs append from.
pub fn group(log: &dyn Log) -> ProducerGroup {
    log.producer_group("dlq", BUDGET_BYTES)
}

/// Appends rows and waits until they are durable.
///
/// # Errors
/// The log refuses.
pub async fn append(log: &dyn Log, rows: &[Row]) -> Result<(), DlqError> {
    let to = ensure(log)?;
    let mut builder = BatchBuilder::new(Compression::None);
    let options = AppendOptions { group: group(log), fence: None };
    let mut value = Vec::new();
    for row in rows {
        value.clear();
        schemas::frame::encode(&encoded(row), &mut value);
        if builder.push(row.timestamp_ms, Some(row.job.as_bytes()), Some(&value), &[]).is_err() {
            log.append(to, builder.finish(), options).await?;
            // A row alone always fits: orders are short.
            let _ = builder.push(row.timestamp_ms, Some(row.job.as_bytes()), Some(&value), &[]);
        }
    }
    if !builder.is_empty() {
        log.append(to, builder.finish(), options).await?;
    }
    Ok(())
}

fn encoded(row: &Row) -> DeadLetterAction<'_> {
    DeadLetterAction {
        timestamp: row.timestamp_ms,
        job: &row.job,
        action: match row.action {
            Action::Started => DeadLetterActionKind::Started,
            Action::Resumed => DeadLetterActionKind::Resumed,
            Action::Progress => DeadLetterActionKind::Progress,
            Action::Paused => DeadLetterActionKind::Paused,
            Action::Stopped => DeadLetterActionKind::Stopped,
            Action::Cancelled => DeadLetterActionKind::Cancelled,
            Action::Finished => DeadLetterActionKind::Finished,
            Action::Discarded => DeadLetterActionKind::Discarded,
            Action::Other => DeadLetterActionKind::Other,
        },
        kind: &row.kind,
        actor: &row.actor,
        reason: &row.reason,
        service: &row.event.service,
        selection: &row.order,
        scanned: row.counts.scanned as i64,
        moved: row.counts.moved as i64,
        skipped: row.counts.skipped as i64,
        failed: row.counts.failed as i64,
        failed_again: row.counts.failed_again as i64,
        topic: &row.event.topic,
        partition: row.event.partition as i32,
        offset: row.event.offset,
        replays: row.replays as i32,
    }
}

/// Every row, in order.
///
/// # Errors
/// The topic cannot be read, or `visit` says no.
pub fn each(log: &dyn Log, visit: impl FnMut(Row) -> Result<(), DlqError>) -> Result<(), DlqError> {
    walk::each(log, TOPIC, decoded, visit)
}

fn decoded(_: &Arc<str>, _: u32, record: &Record<'_>) -> Option<Row> {
    let row: DeadLetterAction<'_> = schemas::frame::decode(record.value?).ok()?;
    let count = |n: i64| n.max(0) as u64;
    Some(Row {
        timestamp_ms: row.timestamp,
        job: row.job.to_owned(),
        action: match row.action {
            DeadLetterActionKind::Started => Action::Started,
            DeadLetterActionKind::Resumed => Action::Resumed,
            DeadLetterActionKind::Progress => Action::Progress,
            DeadLetterActionKind::Paused => Action::Paused,
            DeadLetterActionKind::Stopped => Action::Stopped,
            DeadLetterActionKind::Cancelled => Action::Cancelled,
            DeadLetterActionKind::Finished => Action::Finished,
            DeadLetterActionKind::Discarded => Action::Discarded,
            DeadLetterActionKind::Other => Action::Other,
        },
        kind: row.kind.to_owned(),
        actor: row.actor.to_owned(),
        reason: row.reason.to_owned(),
        order: row.selection.to_owned(),
        counts: Counts {
            scanned: count(row.scanned),
            moved: count(row.moved),
            skipped: count(row.skipped),
            failed: count(row.failed),
            failed_again: count(row.failed_again),
        },
        event: EventId {
            service: row.service.to_owned(),
            topic: row.topic.to_owned(),
            partition: row.partition.max(0) as u32,
            offset: row.offset,
        },
        replays: row.replays.max(0) as u32,
    })
}
