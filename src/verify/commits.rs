//! The order in which a shard merged its inputs: which commits stand, and what each of them took (rules P1, P2).

use runtime::log::{Log, Offset};

use super::VerifyError;
use super::avro::Schemas;
use super::datum::Datum;
use super::topics::Walk;

/// How a commit says that an event ended, where it is not simply done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    Duplicate,
    DeadLettered,
    /// Waits as a row of the shard's state.
    Parked,
    DoneAfterParking,
}

/// What a commit says of one event.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub topic: String,
    pub offset: Offset,
    pub claimed: Claimed,
    pub code: String,
}

/// Inputs taken in one go.
#[derive(Clone, Debug)]
pub struct Range {
    pub topic: String,
    pub from: Offset,
    pub to: Offset,
}

/// One standing commit, as far as it is order and not content.
#[derive(Clone, Debug)]
pub struct Commit {
    pub offset: Offset,
    pub now_ms: i64,
    pub tick: bool,
    pub ranges: Vec<Range>,
    /// In the order in which the events ended.
    pub outcomes: Vec<Outcome>,
}

/// Standing commits of one shard, in order.
pub struct Commits<'a> {
    walk: Walk,
    schemas: &'a Schemas,
    /// Offset and nonce of the last claim.
    epoch: Option<(Offset, i64)>,
    next_sequence: i64,
}

impl<'a> Commits<'a> {
    /// # Errors
    /// [`VerifyError::Trimmed`] where the beginning is gone.
    pub fn new(log: &dyn Log, schemas: &'a Schemas, service: &str, partition: u32) -> Result<Self, VerifyError> {
        let walk = Walk::new(log, &format!("{service}-commits"), partition)?;
        if walk.start > 0 {
            return Err(VerifyError::Trimmed { topic: walk.topic, partition, start: walk.start });
        }
        Ok(Self { walk, schemas, epoch: None, next_sequence: 0 })
    }

    /// The next commit that stands.
    ///
    /// # Errors
    /// What is in the topic is no commit record.
    pub fn next(&mut self) -> Result<Option<Commit>, VerifyError> {
        while let Some(entry) = self.walk.next()? {
            let value = entry.value.as_deref().unwrap_or_default();
            let decoded = self.schemas.decode_commit(value);
            let (name, record) = decoded.map_err(|reason| self.walk.unreadable(entry.offset, reason))?;
            match name {
                "Claim" => self.epoch = Some((entry.offset, record.int("nonce"))),
                "Commit" | "SnapshotChunk" | "SnapshotEnd" => {
                    if self.stands(&record) && name == "Commit" {
                        let commit = commit(entry.offset, &record);
                        return commit.map(Some).map_err(|reason| self.walk.unreadable(entry.offset, reason));
                    }
                }
                "Attempt" => {}
                other => return Err(self.walk.unreadable(entry.offset, format!("{other} in a commit topic"))),
            }
        }
        Ok(None)
    }

    /// Of the last claim's owner, and the next in line.
    fn stands(&mut self, record: &Datum) -> bool {
        let epoch = Some((record.int("epoch_offset"), record.int("epoch_nonce")));
        if epoch != self.epoch || record.int("sequence") != self.next_sequence {
            return false;
        }
        self.next_sequence += 1;
        true
    }
}

fn commit(offset: Offset, record: &Datum) -> Result<Commit, String> {
    let range =
        |range: &Datum| Range { topic: range.text("topic").to_owned(), from: range.int("from"), to: range.int("to") };
    let outcomes = record.list("outcomes").iter().map(|outcome| {
        let claimed = match outcome.text("kind") {
            "DUPLICATE" => Claimed::Duplicate,
            "DEAD_LETTERED" => Claimed::DeadLettered,
            "PARKED" => Claimed::Parked,
            "DONE_AFTER_PARKING" => Claimed::DoneAfterParking,
            other => return Err(format!("an event ended {other}, which is not known")),
        };
        let (topic, code) = (outcome.text("topic").to_owned(), outcome.text("code").to_owned());
        Ok(Outcome { topic, offset: outcome.int("offset"), claimed, code })
    });
    Ok(Commit {
        offset,
        now_ms: record.int("now"),
        tick: record.flag("tick"),
        ranges: record.list("inputs").iter().map(range).collect(),
        outcomes: outcomes.collect::<Result<_, _>>()?,
    })
}
