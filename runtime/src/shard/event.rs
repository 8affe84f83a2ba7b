//! One event: judged, tried, and ended one way or another (rules P7, P12, P13).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use schemas::events::OutcomeKind;

use super::hold::{FLOOD_PROBE, Injected, injected};
use super::set_aside::record_bytes;
use super::{Shard, ShardError};
use crate::breaker::Pass;
use crate::commit::marks::Taken;
use crate::commit::provenance::{HEADER, Provenance};
use crate::commit::staging::Exception;
use crate::deadletter::Failed;
use crate::fault::FaultKind;
use crate::log::Record;
use crate::outcome::{Failure, Handled, Reason};
use crate::park::{Parked, ParkedAt, Tried};
use crate::service::{Effects, Event};
use crate::supervisor::watchdog::NONE;
use crate::topology::{Order, Topic, TopicKind};

/// How long a partition waits when it is asked to slow down.
const THROTTLE: Duration = Duration::from_millis(200);
/// Attempts at once at an event that may go well next time, before it waits.
const AT_ONCE: u32 = 2;
/// Panics of one event before it is poison.
const POISON_PANICS: u32 = 3;

/// What one attempt at an event came to.
enum Attempt {
    Ended(Handled),
    Failed(Failure),
}

/// What follows from an attempt.
enum Verdict {
    /// The event has ended; it is counted.
    Ended(Ending),
    /// Another attempt after this long, and who waits for it.
    Again { after: Duration, waits: Waits, tried: Tried },
}

/// Who waits for the next attempt at an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// The event, as a row; where the order is strict, everything behind it.
    Event,
    /// The partition.
    Partition,
    /// The service, until what it needs is back.
    Down,
    /// The service: too much fails.
    Flood,
}

pub(super) enum Ending {
    Done,
    Exception(OutcomeKind, &'static str),
}

/// An event whose first attempt did not end it.
pub(super) struct Unfinished {
    from: Option<Provenance>,
    /// `None`: not tried yet.
    verdict: Option<Verdict>,
}

impl Shard {
    /// Judges an event and tries it once. Almost every event ends here, without a future of its own; what has not ended is
    /// given back for `conclude`.
    #[inline]
    pub(super) fn begin(
        &mut self,
        topic: &'static Topic,
        partition: u32,
        record: &Record<'_>,
    ) -> Result<Option<Unfinished>, ShardError> {
        // A replay comes from an operator's job: whatever its headers say, no mark decides about it.
        let from = if topic.kind == TopicKind::Replay { None } else { provenance(record) };
        if let Some(from) = &from
            && self.is_repeated(topic, partition, record.offset, from)?
        {
            self.end(topic, partition, record.offset, Ending::Exception(OutcomeKind::Duplicate, "REPEATED"));
            return Ok(None);
        }
        if topic.kind == TopicKind::Replay && !self.admits_replay(topic, partition, record)? {
            return Ok(None);
        }
        if self.ctx.faults.is(FaultKind::Slow) {
            return Ok(Some(Unfinished { from, verdict: None }));
        }
        if is_boundary(topic, record) {
            self.end(topic, partition, record.offset, Ending::Done);
            return Ok(None);
        }
        if !self.queues_behind(topic, partition, record) {
            match self.judge(topic, partition, record, Tried::default())? {
                Verdict::Ended(outcome) => self.end(topic, partition, record.offset, outcome),
                again @ Verdict::Again { .. } => return Ok(Some(Unfinished { from, verdict: Some(again) })),
            }
        }
        // Compacted topics have versions, not marks (P10).
        if let Some(from) = from.as_ref().filter(|_| topic.kind != TopicKind::Compacted) {
            self.marks.take(topic.name, partition, from);
        }
        Ok(None)
    }

    /// Tries on until the event has ended; waits in place where nothing may overtake it, as a row where something may.
    pub(super) async fn conclude(
        &mut self,
        topic: &'static Topic,
        partition: u32,
        record: &Record<'_>,
        unfinished: Unfinished,
    ) -> Result<(), ShardError> {
        let mut verdict = unfinished.verdict;
        if verdict.is_none() {
            self.ctx.slow_down().await;
            if is_boundary(topic, record) {
                verdict = Some(Verdict::Ended(Ending::Done));
            } else if !self.queues_behind(topic, partition, record) {
                verdict = Some(self.judge_in_hand(topic, partition, record, Tried::default())?);
            }
        }
        while let Some(reached) = verdict.take() {
            match reached {
                Verdict::Ended(outcome) => self.end(topic, partition, record.offset, outcome),
                Verdict::Again { after, waits, tried } if !self.is_in_place(waits) => {
                    let due_ms = self.now_ms + after.as_millis() as i64;
                    self.park(topic, partition, record, tried, Some(due_ms));
                }
                Verdict::Again { after, waits, tried } => {
                    self.trials.turn = None;
                    self.wait_out(waits, after).await?;
                    let next = self.judge_in_hand(topic, partition, record, tried)?;
                    if waits == Waits::Flood && is_taken(&next) {
                        self.ctx.flood.healed();
                    }
                    verdict = Some(next);
                }
            }
        }
        if let Some(from) = &unfinished.from {
            self.marks.take(topic.name, partition, from);
        }
        Ok(())
    }

    /// Whether the partition waits with the event.
    fn is_in_place(&self, waits: Waits) -> bool {
        waits != Waits::Event || self.ctx.def.spec.order == Order::Strict || self.parking.is_full()
    }

    /// The event will be waited for: what came before it need not wait with it.
    pub(super) fn will_wait(&self, unfinished: &Unfinished) -> bool {
        matches!(unfinished.verdict, Some(Verdict::Again { waits, .. }) if self.is_in_place(waits))
    }

    /// An event of a key that has one waiting waits behind it; `true` if so.
    #[inline]
    fn queues_behind(&mut self, topic: &'static Topic, partition: u32, record: &Record<'_>) -> bool {
        let behind =
            self.ctx.def.spec.order == Order::PerKey && self.parking.holds(topic.name, record.key.unwrap_or_default());
        if behind {
            self.park(topic, partition, record, Tried::default(), None);
        }
        behind
    }

    /// Another attempt at what is due among the waiting events.
    pub(super) async fn retry_parked(&mut self) -> Result<(), ShardError> {
        match self.ctx.breaker.pass(self.ctx.env.clock.mono_us()) {
            Pass::Go => {}
            Pass::Probe => self.is_probing = true,
            Pass::Wait(_) => return Ok(()),
        }
        while let Some((at, row)) = self.parking.take_due(self.now_ms) {
            let goes_on = self.retry_one(at, row)?;
            if !goes_on || self.is_full() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The input of that name; `None`: this service no longer reads it.
    pub(super) fn input_of(&self, name: &str) -> Option<usize> {
        self.ctx.inputs.iter().position(|input| input.topic.name == name)
    }

    /// Another attempt at an event taken from those that wait. `false`: the others had better wait on.
    pub(super) fn retry_one(&mut self, at: ParkedAt, row: Parked) -> Result<bool, ShardError> {
        let (name, partition, offset) = &at;
        // A topic that this service no longer reads: what waited of it can only be set aside under its old name.
        let Some(input) = self.input_of(name) else { return Ok(true) };
        let topic = self.ctx.inputs[input].topic;
        if self.end_condemned(input, &at, &row)? {
            return Ok(true);
        }
        let record = row.record(*offset);
        let before = self.ctx.progress.takes(input);
        let verdict = self.judge_in_hand(topic, *partition, &record, row.tried());
        self.ctx.progress.takes(before);
        let verdict = verdict?;
        if is_taken(&verdict) {
            self.ctx.flood.healed();
        }
        match verdict {
            Verdict::Ended(outcome) => {
                let outcome = match outcome {
                    Ending::Done => Ending::Exception(OutcomeKind::DoneAfterParking, "PARKED"),
                    exception => exception,
                };
                self.end(topic, *partition, *offset, outcome);
                self.parking.ended(&at, &row.key, self.now_ms);
                Ok(true)
            }
            Verdict::Again { after, waits, tried } => {
                let due_ms = Some(self.now_ms + after.as_millis().max(1) as i64);
                self.set_aside_bytes += record_bytes(&record);
                self.parking.park(at, Parked::of(&record, tried, due_ms));
                Ok(waits == Waits::Event)
            }
        }
    }

    fn park(&mut self, topic: &'static Topic, partition: u32, record: &Record<'_>, tried: Tried, due_ms: Option<i64>) {
        let at: ParkedAt = (topic.name.into(), partition, record.offset);
        self.set_aside_bytes += record_bytes(record);
        self.parking.park(at, Parked::of(record, tried, due_ms));
        self.tally.parked += 1;
        self.except(topic, partition, record.offset, OutcomeKind::Parked, "PARKED");
    }

    /// `judge`, with the event in hand as long as it holds the thread, for the watchdog.
    fn judge_in_hand(
        &mut self,
        topic: &'static Topic,
        partition: u32,
        record: &Record<'_>,
        before: Tried,
    ) -> Result<Verdict, ShardError> {
        self.ctx.progress.in_hand(record.offset);
        let verdict = self.judge(topic, partition, record, before);
        self.ctx.progress.in_hand(NONE);
        verdict
    }

    /// One attempt and what follows from it. The type of a failure decides; no call site decides that again.
    fn judge(
        &mut self,
        topic: &'static Topic,
        partition: u32,
        record: &Record<'_>,
        before: Tried,
    ) -> Result<Verdict, ShardError> {
        let mut result = self.attempt(topic, partition, record);
        for _ in 1..AT_ONCE {
            if before.attempts == 0 && matches!(result, Attempt::Failed(Failure::Transient(_))) {
                self.ctx.stats.retried.fetch_add(1, Ordering::Relaxed);
                result = self.attempt(topic, partition, record);
            }
        }
        let failure = match result {
            Attempt::Ended(handled) => {
                self.answered();
                return Ok(Verdict::Ended(match handled {
                    Handled::Done => Ending::Done,
                    Handled::Duplicate => Ending::Exception(OutcomeKind::Duplicate, "DUPLICATE"),
                }));
            }
            Attempt::Failed(failure) => failure,
        };
        let (now_ms, now_us) = (self.ctx.env.clock.wall_ms(), self.ctx.env.clock.mono_us());
        let attempt = before.attempts + 1;
        let first_ms = before.first_failed_ms.unwrap_or(now_ms);
        let again = |after, waits| {
            let used = u32::from(waits == Waits::Event);
            let tried = Tried { attempts: before.attempts + used, first_failed_ms: Some(first_ms) };
            Ok(Verdict::Again { after, waits, tried })
        };
        if let Failure::DependencyDown(reason) = &failure {
            self.is_probing = false;
            if self.ctx.breaker.fail(now_us) {
                let (service, reason) = (self.ctx.def.spec.name, &reason.message);
                tracing::warn!(service, %reason, "breaker open: partitions pause until it is back");
            }
            return again(THROTTLE, Waits::Down);
        }
        self.answered();
        let delay = self.ctx.limits.retry_delays.get(before.attempts as usize).copied();
        let goes_on = match &failure {
            Failure::Throttled(_) => return again(THROTTLE, Waits::Partition),
            Failure::Transient(_) => delay.is_some(),
            Failure::Poison(_) => attempt < POISON_PANICS,
            Failure::Permanent(_) | Failure::Expired(_) | Failure::DependencyDown(_) => false,
        };
        if goes_on {
            self.ctx.stats.retried.fetch_add(1, Ordering::Relaxed);
            return again(delay.unwrap_or_default(), Waits::Event);
        }
        if !self.admits_dead_letter(topic, now_us) {
            return again(FLOOD_PROBE, Waits::Flood);
        }
        let (class, reason) = (failure.kind(), failure.reason());
        let failed = Failed { class, reason, attempts: attempt, first_ms, last_ms: now_ms };
        self.set_aside(topic, partition, record, &failed)?;
        Ok(Verdict::Ended(Ending::Exception(OutcomeKind::DeadLettered, reason.code)))
    }

    /// Counts how an event ended and notes what is not plainly done.
    #[inline]
    pub(super) fn end(&mut self, topic: &'static Topic, partition: u32, offset: i64, outcome: Ending) {
        match outcome {
            Ending::Done => self.tally.done += 1,
            Ending::Exception(kind, code) => {
                match kind {
                    OutcomeKind::Duplicate => self.tally.duplicates += 1,
                    OutcomeKind::DeadLettered => self.tally.dead_lettered += 1,
                    OutcomeKind::Parked | OutcomeKind::DoneAfterParking => self.tally.done += 1,
                }
                self.except(topic, partition, offset, kind, code);
            }
        }
    }

    /// Rule P7. In compacted topics repetitions are harmless and gaps are normal (P10).
    #[inline]
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

    /// One attempt. What stands for another event is seen as that event.
    #[inline]
    fn attempt(&mut self, topic: &'static Topic, partition: u32, record: &Record<'_>) -> Attempt {
        if topic.kind == TopicKind::Replay {
            let (topic, partition, record) = self.original(topic, partition, record);
            return self.try_out(topic, partition, &record);
        }
        self.try_out(topic, partition, record)
    }

    /// Hands an event to the fold; a failure or panic leaves no trace of it (rule P12).
    fn try_out(&mut self, topic: &'static Topic, partition: u32, record: &Record<'_>) -> Attempt {
        let mut translated = Vec::new();
        let value = record.value.unwrap_or_default();
        let value = match self.ctx.writers.own(topic.schema_id, value, &record.headers, &mut translated) {
            Ok(value) => value,
            Err(failure) => return Attempt::Failed(failure),
        };
        self.fold.begin_event();
        let outputs = self.outputs.mark();
        let event = Event {
            topic,
            key: record.key.unwrap_or_default(),
            timestamp_ms: record.timestamp_ms,
            value,
            headers: record.headers,
        };
        let position = (topic.name, partition, record.offset);
        let span = self.traced.begin(&self.ctx, &event, position);
        let faults = &self.ctx.faults;
        let injected = if faults.is_quiet() { None } else { injected(faults, faults.active(), position) };
        let result = match injected {
            Some(Injected::Fail(failure)) => Ok(Err(failure)),
            other => {
                let trace = span.as_ref().map(|span| span.carried());
                let spec = &self.ctx.def.spec;
                let mut effects = Effects::new(&mut self.outputs, spec, self.now_ms, self.ctx.partition, trace);
                let fold = &mut self.fold;
                catch_unwind(AssertUnwindSafe(|| {
                    let result = fold.handle(&event, &mut effects);
                    // After the fold has done all it does, so that there is something to roll back.
                    assert!(!matches!(other, Some(Injected::Panic)), "injected: this event panics");
                    result
                }))
            }
        };
        let ended = match result {
            Ok(Ok(handled)) => {
                if let Some(span) = span {
                    self.traced.end(&self.ctx, span, None);
                }
                return Attempt::Ended(handled);
            }
            Ok(Err(failure)) => Attempt::Failed(failure),
            Err(panic) => {
                self.ctx.stats.panics.fetch_add(1, Ordering::Relaxed);
                let message = panic.downcast_ref::<&str>().map(|s| (*s).to_string());
                let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
                let message = message.unwrap_or_else(|| "panic without a message".into());
                Attempt::Failed(Failure::Poison(Reason::new("POISON", message)))
            }
        };
        if let Attempt::Failed(failure) = &ended
            && let Some(span) = span.or_else(|| self.traced.after_the_fact(&self.ctx, &event, position))
        {
            self.traced.end(&self.ctx, span, Some(failure));
        }
        if self.ctx.guards.rolls_back() {
            self.fold.tables(&mut |table| table.rollback());
            self.outputs.rollback(outputs);
        }
        ended
    }

    fn except(&mut self, topic: &'static Topic, partition: u32, offset: i64, kind: OutcomeKind, code: &'static str) {
        self.staging.exceptions.push(Exception { topic: topic.name, partition, offset, kind, code });
    }
}

/// The event had its effect, or was absorbed.
fn is_taken(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Ended(Ending::Done) => true,
        Verdict::Ended(Ending::Exception(kind, _)) => *kind == OutcomeKind::Duplicate,
        Verdict::Again { .. } => false,
    }
}

/// The end of a restatement is for views; a fold has heard of every deletion by an event.
#[inline]
fn is_boundary(topic: &Topic, record: &Record<'_>) -> bool {
    topic.kind == TopicKind::Compacted && record.value.is_none()
}

/// Where a record of ours came from.
#[inline]
pub(super) fn provenance(record: &Record<'_>) -> Option<Provenance> {
    match record.headers.clone().next() {
        Some(Ok((HEADER, Some(value)))) => Provenance::decode(value),
        _ => None,
    }
}
