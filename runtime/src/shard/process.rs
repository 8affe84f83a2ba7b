//! Folds batches: walks the records in place, commits what they came to, settles how each ended.

use std::sync::atomic::Ordering;

use super::event::Unfinished;
use super::{Observation, Shard, ShardContext, ShardError};
use crate::commit::staging::Range;
use crate::envelope::Envelope;
use crate::log::{Batches, CorruptBatch, Record};
use crate::service::Effects;
use crate::stats::Phase;
use crate::supervisor::watchdog::{NONE, UNNAMED};
use crate::topology::Topic;

/// Envelopes that one commit settles at most.
const ENVELOPES_A_COMMIT: usize = 256;

/// The part of an envelope that is not committed yet.
struct Unsettled {
    readable_at_us: Option<u64>,
    /// Events staged before it.
    before: u64,
}

pub(super) fn corrupt(ctx: &ShardContext, error: CorruptBatch) -> ShardError {
    let file = format!("an input of {}-{}", ctx.def.spec.name, ctx.partition);
    ShardError::Batch { file, reason: error.to_string() }
}

impl Shard {
    /// Folds an envelope and commits it, in one commit or more; with the next one if `more` are waiting, because a commit
    /// costs a sync whatever is in it, and inputs that come in dribs would otherwise wait behind each other.
    pub async fn process(&mut self, envelope: &Envelope, more: bool) -> Result<(), ShardError> {
        self.note_published().await?;
        self.hold_back().await?;
        self.pause().await?;
        let ctx = self.ctx.clone();
        let input = &ctx.inputs[envelope.input];
        let fetched = &envelope.fetched;
        ctx.observe(Observation::Delivered {
            topic: input.topic.name,
            partition: input.at.partition,
            from: fetched.from,
            to: fetched.next,
        });
        ctx.progress.takes(envelope.input);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut taken_to = self.taken_to[envelope.input];
        let mut unsettled = Unsettled { readable_at_us: fetched.readable_at_us, before: self.tally.total() };
        for batch in Batches::new(&fetched.bytes) {
            let batch = batch.map_err(|error| corrupt(&ctx, error))?;
            if batch.next_offset() <= taken_to {
                continue;
            }
            self.open_batch();
            let mut from = taken_to.max(batch.base_offset());
            for record in batch.records(&mut scratch).map_err(|error| corrupt(&ctx, error))? {
                let record = record.map_err(|error| corrupt(&ctx, error))?;
                if record.offset < from {
                    continue;
                }
                if self.trials.is_on && self.try_part(envelope.input, &record).await? {
                    // It ended the process too often, and has ended now.
                } else if let Some(unfinished) = self.begin_in_hand(envelope.input, &record)? {
                    if self.will_wait(&unfinished) {
                        // What came before it does not wait with it.
                        if taken_to < record.offset {
                            self.staging.took(input.topic.name, input.at.partition, taken_to, record.offset);
                            taken_to = record.offset;
                            self.taken_to[envelope.input] = taken_to;
                        }
                        self.settle_with(&mut unsettled).await?;
                        self.open_batch();
                    }
                    self.conclude(input.topic, input.at.partition, &record, unfinished).await?;
                }
                self.taken += 1;
                if self.is_full() {
                    self.staging.took(input.topic.name, input.at.partition, taken_to, record.offset + 1);
                    taken_to = record.offset + 1;
                    from = taken_to;
                    self.taken_to[envelope.input] = taken_to;
                    self.settle_with(&mut unsettled).await?;
                    self.open_batch();
                }
            }
            if taken_to < batch.next_offset() {
                self.staging.took(input.topic.name, input.at.partition, taken_to, batch.next_offset());
                taken_to = batch.next_offset();
            }
        }
        self.scratch = scratch;
        self.taken_to[envelope.input] = taken_to;
        if self.trials.is_on {
            self.settle_with(&mut unsettled).await?;
            self.open_batch();
            self.try_parked().await?;
            self.commit_with_tick().await?;
            return self.advance_snapshot().await;
        }
        if more && self.unfiled.len() < ENVELOPES_A_COMMIT && !self.is_full() {
            self.unfiled.push((unsettled.readable_at_us, self.tally.total().saturating_sub(unsettled.before)));
            return Ok(());
        }
        self.retry_parked().await?;
        self.settle_with(&mut unsettled).await?;
        self.advance_snapshot().await
    }

    /// `begin`, with the event in hand as long as it holds the thread, for the watchdog.
    #[inline]
    fn begin_in_hand(&mut self, input: usize, record: &Record<'_>) -> Result<Option<Unfinished>, ShardError> {
        let (topic, partition) = (self.ctx.inputs[input].topic, self.ctx.inputs[input].at.partition);
        self.ctx.progress.in_hand(record.offset);
        let unfinished = self.begin(topic, partition, record);
        self.ctx.progress.in_hand(NONE);
        unfinished
    }

    /// Commits what is staged, and files how long everything in it took.
    async fn settle_with(&mut self, unsettled: &mut Unsettled) -> Result<(), ShardError> {
        self.unfiled.push((unsettled.readable_at_us, self.tally.total().saturating_sub(unsettled.before)));
        self.commit_with_tick().await?;
        unsettled.before = 0;
        Ok(())
    }

    /// Lets a second pass for an idle shard (rule P14).
    pub async fn idle(&mut self) -> Result<(), ShardError> {
        self.note_published().await?;
        self.hold_back().await?;
        self.open_batch();
        if self.trials.is_on {
            self.try_parked().await?;
        } else {
            self.retry_parked().await?;
        }
        self.commit_with_tick().await?;
        self.advance_snapshot().await
    }

    /// Finishes what is on its way and leaves the mark: the last thing of a drained shard.
    pub async fn finish(&mut self) -> Result<(), ShardError> {
        self.published(self.next_sequence - 1).await?;
        self.open_batch();
        self.commit(false).await
    }

    pub(super) fn open_batch(&mut self) {
        if !self.batch_open {
            self.batch_open = true;
            self.now_ms = self.now_ms.max(self.ctx.env.clock.wall_ms());
            self.traced.open(&self.ctx);
        }
    }

    #[inline]
    pub(super) fn is_full(&mut self) -> bool {
        if self.outputs.bytes() + self.set_aside_bytes >= self.ctx.limits.commit_output_bytes
            || self.tally.total() + self.tally.parked >= self.events_max
            || self.staging.exceptions.len() >= self.ctx.limits.commit_exceptions
        {
            return true;
        }
        // Counting rows visits all tables: now and then is enough, each event changes a few.
        if !self.tally.total().is_multiple_of(64) {
            return false;
        }
        let mut rows = 0;
        self.tables(&mut |table| rows += table.changed());
        rows >= self.ctx.limits.commit_rows
    }

    pub(super) async fn commit_with_tick(&mut self) -> Result<(), ShardError> {
        let now_us = self.ctx.env.clock.mono_us();
        // A part on trial holds its events and nothing else.
        let due = now_us - self.last_tick_us >= self.ctx.limits.tick.as_micros() as u64 && self.trials.turn.is_none();
        if due {
            self.last_tick_us = now_us;
            let mut effects =
                Effects::new(&mut self.outputs, &self.ctx.def.spec, self.now_ms, self.ctx.partition, None);
            self.ctx.progress.in_hand(UNNAMED);
            self.fold.tick(&mut effects);
            self.ctx.progress.in_hand(NONE);
        }
        self.advance_restatement()?;
        self.commit(due).await
    }

    /// Gives the outputs of the folds their partitions and provenance.
    pub(super) fn stage_outputs(&mut self) -> Result<(), ShardError> {
        let outputs = std::mem::take(&mut self.outputs);
        for (output, key, value) in outputs.iter() {
            let slot = self.slot(output.topic, crate::log::partitioner::partition(key, self.ctx.partitions));
            self.staging.put(
                slot,
                &self.counters,
                self.lineage,
                output.timestamp_ms,
                key,
                Some(value),
                output.trace.as_ref(),
                &[],
            )?;
        }
        self.outputs = outputs;
        self.outputs.clear();
        Ok(())
    }

    /// The commit stands: each event in it has ended, once.
    pub(super) fn settle(&mut self, ranges: &[Range]) {
        for range in ranges {
            let at = |input: &super::Input| input.topic.name == range.topic && input.at.partition == range.partition;
            let Some(index) = self.ctx.inputs.iter().position(at) else { continue };
            let next = self.positions[index].settle(range.from, range.to);
            let next = next.unwrap_or_else(|error| panic!("{}: {error}", range.topic));
            self.ctx.inputs[index].position.store(next, Ordering::Relaxed);
            self.ctx.flood.took(index, (range.to - range.from) as u64, self.ctx.env.clock.mono_us());
        }
        self.tell(ranges);
        self.ctx.stats.add(std::mem::take(&mut self.tally));
        self.taken = 0;
        self.parked_before = self.parking.len() as u64;
        if self.trials.is_on {
            self.part_over();
        }
        self.ctx.parked.store(self.parking.len() as u64, Ordering::Relaxed);
        self.ctx.count_from.store(self.next_sequence, Ordering::Release);
        for (readable_at_us, events) in std::mem::take(&mut self.unfiled) {
            self.file_latency(readable_at_us, events);
        }
    }

    /// Where outputs to a partition of `topic` are staged.
    fn slot(&mut self, topic: &'static Topic, partition: u32) -> usize {
        let ctx = &self.ctx;
        let output = ctx.def.spec.outputs.iter().position(|declared| *declared == topic);
        let output = output.expect("effects emit to declared outputs only");
        let index = output * ctx.partitions as usize + partition as usize;
        if self.slots.len() <= index {
            self.slots.resize(ctx.def.spec.outputs.len() * ctx.partitions as usize, None);
        }
        *self.slots[index].get_or_insert_with(|| {
            let name =
                ctx.outputs.get_key_value(topic.name).map_or_else(|| topic.name.into(), |(name, _)| name.clone());
            self.staging.slot(&(name, partition))
        })
    }

    fn file_latency(&self, readable_at_us: Option<u64>, events: u64) {
        let Some(readable_at_us) = readable_at_us.filter(|_| events > 0) else { return };
        let phase = match self.ctx.phase.load(Ordering::Relaxed) {
            0 => Phase::Before,
            1 => Phase::InFault,
            _ => Phase::After,
        };
        self.ctx.stats.latency(phase, self.ctx.env.clock.mono_us().saturating_sub(readable_at_us), events);
    }
}
