//! Folds batches: walks the records in place, judges, hands them to the service, settles how each ended (rule P12).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use schemas::events::OutcomeKind;

use super::{Observation, Shard, ShardContext, ShardError};
use crate::commit::marks::Taken;
use crate::commit::provenance::{HEADER, Provenance};
use crate::commit::staging::{Exception, Range};
use crate::envelope::Envelope;
use crate::fault::FaultKind;
use crate::log::{Batches, CorruptBatch, Record};
use crate::outcome::{Failure, Handled, Reason};
use crate::service::{Effects, Event};
use crate::stats::Phase;
use crate::topology::{Topic, TopicKind, dead_letter_topic};
use crate::trace::TRACEPARENT;

/// How long a partition waits before it asks a dependency again.
const DEPENDENCY_PROBE: Duration = Duration::from_millis(200);
/// How long a full disk is left alone.
const ROOM_PROBE: Duration = Duration::from_millis(200);
/// What `slow` adds to an event: a fold takes about 5 us, a thousand times that.
const SLOW_EVENT: Duration = Duration::from_millis(5);
/// What `leak` grows by a batch, and where the cap ends it.
const LEAK_STEP_BYTES: usize = 1 << 20;
const LEAK_CAP_BYTES: usize = 64 << 20;
/// Panics of one event before it is poison.
const POISON_PANICS: usize = 3;

pub(super) fn corrupt(ctx: &ShardContext, error: CorruptBatch) -> ShardError {
    let file = format!("an input of {}-{}", ctx.def.spec.name, ctx.partition);
    ShardError::Batch { file, reason: error.to_string() }
}

/// What one attempt at an event came to.
enum Attempt {
    Ended(Handled),
    Failed(Failure),
    Panicked(String),
}

impl Shard {
    /// Folds an envelope and commits it, in one commit or more.
    pub async fn process(&mut self, envelope: &Envelope) -> Result<(), ShardError> {
        self.note_published().await?;
        self.hold_back().await?;
        let ctx = self.ctx.clone();
        let input = &ctx.inputs[envelope.input];
        let fetched = &envelope.fetched;
        ctx.observe(Observation::Delivered {
            topic: input.topic.name,
            partition: input.at.partition,
            from: fetched.from,
            to: fetched.next,
        });
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut taken_to = self.positions[envelope.input].next();
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
                self.event(input.topic, input.at.partition, &record).await?;
                if self.is_full() {
                    self.staging.took(input.topic.name, input.at.partition, taken_to, record.offset + 1);
                    taken_to = record.offset + 1;
                    from = taken_to;
                    self.commit_with_tick().await?;
                    self.open_batch();
                }
            }
            if taken_to < batch.next_offset() {
                self.staging.took(input.topic.name, input.at.partition, taken_to, batch.next_offset());
                taken_to = batch.next_offset();
            }
        }
        self.scratch = scratch;
        let tally = self.tally;
        self.commit_with_tick().await?;
        self.file_latency(envelope.fetched.readable_at_us, tally.total());
        self.advance_snapshot().await
    }

    /// Lets a second pass for an idle shard (rule P14).
    pub async fn idle(&mut self) -> Result<(), ShardError> {
        self.note_published().await?;
        self.hold_back().await?;
        self.open_batch();
        self.commit_with_tick().await?;
        self.advance_snapshot().await
    }

    /// Finishes what is on its way and leaves the mark: the last thing of a drained shard.
    pub async fn finish(&mut self) -> Result<(), ShardError> {
        self.published(self.next_sequence - 1).await?;
        self.open_batch();
        self.commit(false).await
    }

    fn open_batch(&mut self) {
        if !self.batch_open {
            self.batch_open = true;
            self.now_ms = self.now_ms.max(self.ctx.env.clock.wall_ms());
        }
    }

    fn is_full(&mut self) -> bool {
        if self.outputs.bytes() >= self.ctx.limits.commit_output_bytes
            || self.tally.total() >= self.ctx.limits.commit_events
        {
            return true;
        }
        // Counting rows visits all tables: now and then is enough, each event changes a few.
        if self.tally.total() % 64 != 0 {
            return false;
        }
        let mut rows = 0;
        self.tables(&mut |table| rows += table.changed());
        rows >= self.ctx.limits.commit_rows
    }

    async fn commit_with_tick(&mut self) -> Result<(), ShardError> {
        let now_us = self.ctx.env.clock.mono_us();
        let due = now_us - self.last_tick_us >= self.ctx.limits.tick.as_micros() as u64;
        if due {
            self.last_tick_us = now_us;
            let mut effects =
                Effects::new(&mut self.outputs, &self.ctx.def.spec, self.now_ms, self.ctx.partition, None);
            self.fold.tick(&mut effects);
        }
        self.commit(due).await
    }

    /// One event, until it has ended: done, absorbed or set aside.
    async fn event(&mut self, topic: &'static Topic, partition: u32, record: &Record<'_>) -> Result<(), ShardError> {
        let provenance = record.headers.clone().next();
        let from = match provenance {
            Some(Ok((name, Some(value)))) if name == HEADER => Provenance::decode(value),
            _ => None,
        };
        if let Some(from) = &from
            && self.is_repeated(topic, partition, record.offset, from)?
        {
            self.tally.duplicates += 1;
            self.except(topic, partition, record.offset, OutcomeKind::Duplicate, "REPEATED");
            return Ok(());
        }
        if self.ctx.faults.is(FaultKind::Slow) {
            self.ctx.faults.fire();
            self.ctx.env.clock.sleep(SLOW_EVENT).await;
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.attempt(topic, partition, record) {
                Attempt::Ended(Handled::Done) => self.tally.done += 1,
                Attempt::Ended(Handled::Duplicate) => {
                    self.tally.duplicates += 1;
                    self.except(topic, partition, record.offset, OutcomeKind::Duplicate, "DUPLICATE");
                }
                Attempt::Failed(failure) => {
                    if let Some(delay) = self.retry_after(&failure, &mut attempt) {
                        self.ctx.wait(delay).await?;
                        continue;
                    }
                    self.set_aside(topic, partition, record, failure.kind(), failure.reason(), attempt)?;
                }
                Attempt::Panicked(message) => {
                    if attempt < POISON_PANICS {
                        let delays = &self.ctx.limits.retry_delays;
                        let delay = delays.get(attempt - 1).copied().unwrap_or_default();
                        self.ctx.stats.retried.fetch_add(1, Ordering::Relaxed);
                        self.ctx.wait(delay).await?;
                        continue;
                    }
                    let reason = Reason::new("POISON", message);
                    self.set_aside(topic, partition, record, "POISON", &reason, attempt)?;
                }
            }
            if let Some(from) = &from {
                self.marks.take(topic.name, partition, from);
            }
            return Ok(());
        }
    }

    /// Rule P7. In compacted topics repetitions are harmless and gaps are normal (P10).
    fn is_repeated(
        &mut self,
        topic: &'static Topic,
        partition: u32,
        offset: i64,
        from: &Provenance,
    ) -> Result<bool, ShardError> {
        if topic.kind == TopicKind::Compacted || !self.ctx.guards.drops_repetitions() {
            return Ok(false);
        }
        let services = &self.ctx.services;
        let producer = || {
            let name = services.get(&from.service).copied().unwrap_or("an unknown service");
            format!("{name}-{}", from.partition)
        };
        Ok(self.marks.judge(topic.name, partition, offset, from, producer)? == Taken::Repeated)
    }

    /// One attempt; a failure or panic leaves no trace of the event (rule P12).
    fn attempt(&mut self, topic: &'static Topic, partition: u32, record: &Record<'_>) -> Attempt {
        let undo = &mut self.undo;
        undo.clear();
        self.fold.tables(&mut |table| undo.push(table.mark()));
        let outputs = self.outputs.mark();
        let event = Event {
            topic,
            key: record.key.unwrap_or_default(),
            timestamp_ms: record.timestamp_ms,
            value: record.value.unwrap_or_default(),
            headers: record.headers,
        };
        let position = (topic.name, partition, record.offset);
        let faults = &self.ctx.faults;
        let injected = match faults.active() {
            None if !faults.has_poison() => None,
            active => injected(faults, active, position),
        };
        let result = match injected {
            Some(Injected::Fail(failure)) => Ok(Err(failure)),
            other => {
                let trace = if record.headers.is_empty() { None } else { event.trace() };
                let spec = &self.ctx.def.spec;
                let mut effects = Effects::new(&mut self.outputs, spec, self.now_ms, self.ctx.partition, trace);
                let fold = &mut self.fold;
                catch_unwind(AssertUnwindSafe(|| {
                    assert!(!matches!(other, Some(Injected::Panic)), "injected: this event panics");
                    fold.handle(&event, &mut effects)
                }))
            }
        };
        let ended = match result {
            Ok(Ok(handled)) => return Attempt::Ended(handled),
            Ok(Err(failure)) => Attempt::Failed(failure),
            Err(panic) => {
                self.ctx.stats.panics.fetch_add(1, Ordering::Relaxed);
                let message = panic.downcast_ref::<&str>().map(|s| (*s).to_string());
                let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
                Attempt::Panicked(message.unwrap_or_else(|| "panic without a message".into()))
            }
        };
        if self.ctx.guards.rolls_back() {
            let mut marks = self.undo.iter();
            self.fold.tables(&mut |table| table.rollback(*marks.next().expect("a mark a table")));
            self.outputs.rollback(outputs);
        }
        ended
    }

    /// The type of a failure decides: `None` ends the event as a dead letter.
    fn retry_after(&self, failure: &Failure, attempt: &mut usize) -> Option<Duration> {
        let delays = &self.ctx.limits.retry_delays;
        match failure {
            Failure::Permanent(_) | Failure::Expired(_) => None,
            Failure::Transient(_) => {
                let delay = delays.get(*attempt - 1).copied()?;
                self.ctx.stats.retried.fetch_add(1, Ordering::Relaxed);
                Some(delay)
            }
            Failure::Throttled(_) | Failure::DependencyDown(_) => {
                // No attempt is used up: the partition waits.
                *attempt -= 1;
                Some(DEPENDENCY_PROBE)
            }
        }
    }

    /// A dead letter is an output of the commit like any other, so it is never lost and never doubled. Original bytes,
    /// key and headers are untouched; what we know is added.
    fn set_aside(
        &mut self,
        topic: &'static Topic,
        partition: u32,
        record: &Record<'_>,
        class: &str,
        reason: &Reason,
        attempts: usize,
    ) -> Result<(), ShardError> {
        let name = dead_letter_topic(topic.name);
        let interned = self.ctx.outputs.get_key_value(name.as_str()).map(|(name, _)| name.clone());
        let to = (interned.unwrap_or_else(|| name.into()), partition);
        let (offset, at, tries) = (record.offset.to_string(), partition.to_string(), attempts.to_string());
        let mut headers: Vec<(&[u8], &[u8])> = vec![
            (b"bh-class", class.as_bytes()),
            (b"bh-code", reason.code.as_bytes()),
            (b"bh-message", reason.message.as_bytes()),
            (b"bh-service", self.ctx.def.spec.name.as_bytes()),
            (b"bh-topic", topic.name.as_bytes()),
            (b"bh-partition", at.as_bytes()),
            (b"bh-offset", offset.as_bytes()),
            (b"bh-attempts", tries.as_bytes()),
        ];
        if let Some(field) = reason.field {
            headers.push((b"bh-field", field.as_bytes()));
        }
        for header in record.headers {
            let (name, value) = header.map_err(|error| corrupt(&self.ctx, error))?;
            if name != HEADER && name != TRACEPARENT {
                headers.push((name, value.unwrap_or_default()));
            }
        }
        let trace = record.headers.get(TRACEPARENT).and_then(|t| t.try_into().ok());
        let key = record.key.unwrap_or_default();
        let timestamp_ms = record.timestamp_ms;
        self.staging.output(
            &to,
            &self.counters,
            self.lineage,
            timestamp_ms,
            key,
            record.value,
            trace.as_ref(),
            &headers,
        )?;
        self.tally.dead_lettered += 1;
        self.except(topic, partition, record.offset, OutcomeKind::DeadLettered, reason.code);
        Ok(())
    }

    fn except(&mut self, topic: &'static Topic, partition: u32, offset: i64, kind: OutcomeKind, code: &'static str) {
        self.staging.exceptions.push(Exception { topic: topic.name, partition, offset, kind, code });
    }

    /// Gives the outputs of the folds their partitions and provenance.
    pub(super) fn stage_outputs(&mut self) -> Result<(), ShardError> {
        let outputs = std::mem::take(&mut self.outputs);
        for (output, key, value) in outputs.iter() {
            let partition = crate::log::partitioner::partition(key, self.ctx.partitions);
            let to = self.destination(output.topic.name, partition);
            self.staging.output(
                &to,
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
        }
        self.ctx.stats.add(std::mem::take(&mut self.tally));
        self.ctx.count_from.store(self.next_sequence, Ordering::Release);
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

    /// Faults that hold a whole service back.
    async fn hold_back(&mut self) -> Result<(), ShardError> {
        let Some(kind) = self.ctx.faults.active() else {
            self.leak.clear();
            return Ok(());
        };
        match kind {
            FaultKind::Stall => {
                self.ctx.faults.fire();
                self.ctx.faults.over(FaultKind::Stall).await;
            }
            FaultKind::Spin if self.ctx.env.is_simulation() => {
                self.ctx.faults.fire();
                self.ctx.faults.over(FaultKind::Spin).await;
            }
            FaultKind::Spin => {
                self.ctx.faults.fire();
                while self.ctx.faults.is(FaultKind::Spin) {
                    std::hint::spin_loop();
                }
            }
            FaultKind::Leak => {
                self.ctx.faults.fire();
                self.leak.push(vec![1; LEAK_STEP_BYTES]);
                if self.leak.len() * LEAK_STEP_BYTES > LEAK_CAP_BYTES {
                    return Err(ShardError::MemoryCap);
                }
            }
            FaultKind::Slow | FaultKind::Error | FaultKind::Panic | FaultKind::Poison | FaultKind::Down => {}
        }
        Ok(())
    }
}

impl ShardContext {
    /// Waits in place: the partition keeps its order. Draining ends the wait; the event stays uncommitted.
    async fn wait(&self, duration: Duration) -> Result<(), ShardError> {
        const STEP: Duration = Duration::from_millis(100);
        let mut left = duration;
        loop {
            if self.draining.load(Ordering::Acquire) {
                return Err(ShardError::Draining);
            }
            if left.is_zero() {
                return Ok(());
            }
            let step = left.min(STEP);
            self.env.clock.sleep(step).await;
            left -= step;
        }
    }

    /// A full disk is waited out before a sequence is taken (rule P21).
    pub(super) async fn wait_for_room(&self) -> Result<(), ShardError> {
        while let Err(error) = self.log.room() {
            self.stats.fail(error.to_string());
            if self.draining.load(Ordering::Acquire) {
                return Err(error.into());
            }
            self.env.clock.sleep(ROOM_PROBE).await;
        }
        Ok(())
    }
}

/// What a fault does to one event.
enum Injected {
    Fail(Failure),
    Panic,
}

fn injected(
    faults: &crate::fault::FaultSwitch,
    active: Option<FaultKind>,
    position: crate::fault::EventPosition,
) -> Option<Injected> {
    let injected = match active {
        Some(FaultKind::Error) => {
            Injected::Fail(Failure::Transient(Reason::new("INJECTED", "injected: transient error")))
        }
        Some(FaultKind::Down) => Injected::Fail(Failure::DependencyDown(Reason::new("INJECTED", "injected: down"))),
        Some(FaultKind::Panic) => Injected::Panic,
        _ if faults.poisons(position) => Injected::Panic,
        _ => return None,
    };
    faults.fire();
    Some(injected)
}
