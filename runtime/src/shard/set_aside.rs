//! Events that are given up, and their way back: dead letters as outputs of the commit, replays as inputs.

use schemas::events::OutcomeKind;

use super::event::Ending;
use super::process::corrupt;
use super::{Shard, ShardError};
use crate::deadletter::replay::MALFORMED;
use crate::deadletter::{Failed, ReplayOf, letter};
use crate::log::Record;
use crate::outcome::Reason;
use crate::topology::{Topic, TopicKind, dead_letter_topic};

/// Bytes of an event in a commit, about.
pub(super) fn record_bytes(record: &Record<'_>) -> usize {
    const AROUND_BYTES: usize = 64;
    let sizes = [record.key.map_or(0, <[u8]>::len), record.value.map_or(0, <[u8]>::len), record.headers.raw().0.len()];
    AROUND_BYTES + sizes.iter().sum::<usize>()
}

impl Shard {
    /// A dead letter is an output of the commit like any other, so it is never lost and never doubled. Original bytes,
    /// key and headers are untouched; what we know stands in front of the headers.
    pub(super) fn set_aside(
        &mut self,
        topic: &'static Topic,
        partition: u32,
        record: &Record<'_>,
        failed: &Failed<'_>,
    ) -> Result<(), ShardError> {
        let replay = (topic.kind == TopicKind::Replay).then(|| ReplayOf::of(record)).flatten().map(|(of, _)| of);
        // A replay that fails again is a dead letter of the event that it stands for.
        let (topic, partition, record) = self.original(topic, partition, record);
        let failed = &Failed { first_ms: replay.map_or(failed.first_ms, |of| of.first_failed_ms), ..*failed };
        let trace = self.ctx.trace_of(topic, &record);
        let written =
            letter::write(self.ctx.def.spec.name, topic.name, partition, &record, replay.as_ref(), failed, trace);
        let headers = written.with(record.headers).map_err(|error| corrupt(&self.ctx, error))?;
        let added: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        self.set_aside_bytes += record_bytes(&record) + added;
        // What names no event of ours has no topic either: it lies with the dead letters of the first input.
        let filed = if topic.kind == TopicKind::Replay { self.ctx.def.spec.inputs.first() } else { Some(&topic) };
        let name = dead_letter_topic(filed.map_or(topic.name, |topic| topic.name));
        let interned = self.ctx.outputs.get_key_value(name.as_str()).map(|(name, _)| name.clone());
        let to = (interned.unwrap_or_else(|| name.into()), self.ctx.partition);
        let key = record.key.unwrap_or_default();
        self.staging.output(
            &to,
            &self.counters,
            self.lineage,
            record.timestamp_ms,
            key,
            record.value,
            None,
            &headers,
        )?;
        Ok(())
    }

    /// The event that a record of the replay topic stands for, as it was when it came first; any other record, and one that
    /// names no event of ours, stands for itself.
    pub(super) fn original<'r>(
        &self,
        topic: &'static Topic,
        partition: u32,
        record: &Record<'r>,
    ) -> (&'static Topic, u32, Record<'r>) {
        let known = (topic.kind == TopicKind::Replay).then(|| ReplayOf::of(record)).flatten();
        let found = known.and_then(|(of, headers)| {
            let input = self.ctx.def.spec.inputs.iter().find(|input| input.name == of.topic)?;
            Some((*input, of.partition, Record { offset: of.offset, headers, ..*record }))
        });
        found.unwrap_or((topic, partition, *record))
    }

    /// Takes note of a replay; `false` if it has ended here: it was taken before, or names no event of this shard.
    pub(super) fn admits_replay(
        &mut self,
        topic: &'static Topic,
        partition: u32,
        record: &Record<'_>,
    ) -> Result<bool, ShardError> {
        let of = ReplayOf::of(record).map(|(of, _)| of);
        let is_ours = |of: &ReplayOf<'_>| {
            of.partition == self.ctx.partition && self.ctx.def.spec.inputs.iter().any(|input| input.name == of.topic)
        };
        let Some(of) = of.filter(is_ours) else {
            let reason = Reason::new(MALFORMED, "names no event of this service's partition; use `dlq replay`");
            let now_ms = self.ctx.env.clock.wall_ms();
            let failed = Failed { class: "PERMANENT", reason: &reason, attempts: 1, first_ms: now_ms, last_ms: now_ms };
            self.set_aside(topic, partition, record, &failed)?;
            let ending = Ending::Exception(OutcomeKind::DeadLettered, MALFORMED);
            self.end(topic, partition, record.offset, ending);
            return Ok(false);
        };
        if !self.replays.take(&of, self.now_ms) {
            self.end(topic, partition, record.offset, Ending::Exception(OutcomeKind::Duplicate, "REPLAYED"));
            return Ok(false);
        }
        Ok(true)
    }
}
