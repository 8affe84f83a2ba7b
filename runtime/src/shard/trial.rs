//! Trials: how the one event is found that ends the whole process (rule P12).
//!
//! A panic names its event by itself; a process that dies names nobody. All that is left is where each input stood. So a
//! recovery in a fresh process notes in the commit topic what it is about to take again (nothing, while all is well), and
//! from the third time at one offset on it takes it apart:
//!
//! | the process died with | then |
//! |---|---|
//! | nothing noted | second attempt, in the open: as many events together as ever |
//! | an attempt in the open, here or less than a commit before | the first event alone, then parts of 64 |
//! | a part of 64 | each event of it alone |
//! | one event alone | once more alone: it may have been somebody else's death |
//! | one event alone, for the second time | that event is poison: a dead letter, untried |
//!
//! Attempts alone exclude each other in the process, and attempts in the open exclude them: otherwise the poison of one
//! service would be taken for an event that another one had in hand at that moment.

use std::collections::BTreeMap;
use std::time::Duration;

use schemas::events::{Attempt, OutcomeKind};

use super::event::{Ending, provenance};
use super::{Shard, ShardError};
use crate::commit::CommitError;
use crate::deadletter::Failed;
use crate::log::batch::Compression;
use crate::log::{BatchBuilder, Offset, Record};
use crate::outcome::Reason;
use crate::park::{Parked, ParkedAt};
use crate::stats::Tally;
use crate::topology::{Topic, TopicKind};

/// Events tried together when the process died twice with a whole commit in hand.
const PART_EVENTS: u32 = 64;
/// Most events that a process had in hand at once: those of a commit (`ShardLimits::commit_events`).
const OPEN_EVENTS: Offset = 8_192;
/// The attempt that an event has alone for the first time, and for the last.
const FIRST_ALONE: i32 = 3;
const LAST_ALONE: i32 = 4;
const DIED: &str = "the process died with this event in hand, twice with nothing else";
const HELD_UP: &str = "it held its shard up three times";
/// Longest wait for other trials; after that, isolation comes before exactness.
const TURN_WAIT: Duration = Duration::from_secs(5);

/// What an attempt in the commit topic says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempted {
    pub n: i32,
    /// Events tried together at most; 0: as many as a commit takes.
    pub events: u32,
}

/// Topic, partition, offset.
type At = (String, u32, Offset);

/// Attempts that no commit has answered.
#[derive(Default)]
pub(super) struct Attempts(BTreeMap<At, Attempted>);

impl Attempts {
    pub(super) fn note(&mut self, at: At, attempted: Attempted) {
        self.0.insert(at, attempted);
    }

    /// A commit stands: what was tried in parts is committed before anything else.
    pub(super) fn answered(&mut self) {
        self.0.retain(|_, attempted| attempted.events == 0);
    }

    /// An input was taken up to `to`: what was noted further back than a commit reaches is long past.
    pub(super) fn taken(&mut self, topic: &str, partition: u32, to: Offset) {
        self.0.retain(|at, _| (at.0.as_str(), at.1) != (topic, partition) || at.2 + OPEN_EVENTS > to);
    }

    /// The last word on an input that stands at `position`.
    fn on_input(&self, topic: &str, partition: u32, position: Offset) -> Option<Attempted> {
        let from = (topic.to_string(), partition, position - OPEN_EVENTS);
        let (at, attempted) = self.0.range(from..=(topic.to_string(), partition, position)).next_back()?;
        (at.2 == position || attempted.events == 0).then_some(*attempted)
    }
}

/// What to do next with an input on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Open,
    Part(Attempted),
    Poison,
}

/// One input that the last process died over, perhaps.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// Nothing beyond this can have been in hand.
    until: Offset,
    step: Step,
    /// Events to be tried alone before parts grow again.
    alone: u32,
}

impl Trial {
    /// `attempted`: the last word on the offset where the input stands.
    fn after(attempted: Option<Attempted>, until: Offset) -> Self {
        let alone = |n| Step::Part(Attempted { n, events: 1 });
        let (step, alone) = match attempted {
            None => (Step::Open, 0),
            Some(Attempted { events: 1, n }) if n >= LAST_ALONE => (Step::Poison, 0),
            Some(Attempted { events: 1, .. }) => (alone(LAST_ALONE), 0),
            Some(Attempted { events: 0, .. }) => (alone(FIRST_ALONE), 0),
            Some(Attempted { events, .. }) => (alone(FIRST_ALONE), events - 1),
        };
        Self { until, step, alone }
    }

    /// The step to take now; the trial moves on to what follows if that goes well.
    fn advance(&mut self) -> Step {
        let now = self.step;
        let events = if self.alone > 0 { 1 } else { PART_EVENTS };
        self.alone = self.alone.saturating_sub(1);
        self.step = Step::Part(Attempted { n: FIRST_ALONE, events });
        now
    }
}

/// Waiting events that the last process died over, perhaps.
#[derive(Clone, Debug)]
enum ParkedTrial {
    Open,
    /// Each alone; this one has been before.
    Alone(Option<(ParkedAt, i32)>),
}

/// The trials of one shard.
#[derive(Default)]
pub(super) struct Trials {
    inputs: Vec<Option<Trial>>,
    parked: Option<ParkedTrial>,
    /// An event that is not tried any more: input and offset.
    condemned: Option<(usize, Offset)>,
    /// Held while a part is tried.
    pub turn: Option<Box<dyn Send + Sync>>,
    /// Anything of the above.
    pub is_on: bool,
}

impl Trials {
    /// The part stands: it is the turn of others. `true` when nothing is left to try.
    fn part_over(&mut self) -> bool {
        self.turn = None;
        self.is_on = self.parked.is_some() || self.condemned.is_some() || self.inputs.iter().any(Option::is_some);
        !self.is_on
    }
}

impl Shard {
    /// A commit stands, or there is nothing to try.
    pub(super) fn part_over(&mut self) {
        self.events_max = self.ctx.limits.commit_events;
        if self.trials.part_over() {
            self.ctx.is_calm.store(true, std::sync::atomic::Ordering::Release);
        }
    }

    /// Begins the trials that follow from the attempts of earlier processes, and notes what is taken in the open.
    pub(super) async fn begin_trials(&mut self, attempts: &Attempts) -> Result<(), ShardError> {
        let ctx = self.ctx.clone();
        let mut noted = Vec::new();
        for (input, position) in ctx.inputs.iter().zip(&self.positions) {
            let offset = position.next();
            let until = ctx.log.extent(input.at)?.high_watermark.min(offset + OPEN_EVENTS);
            let (topic, partition) = (input.topic.name, input.at.partition);
            let trial = (until > offset).then(|| Trial::after(attempts.on_input(topic, partition, offset), until));
            if trial.is_some_and(|trial| trial.step == Step::Open) {
                noted.push((topic.to_string(), partition, offset));
            }
            self.trials.inputs.push(trial);
        }
        let now_ms = ctx.env.clock.wall_ms();
        if let Some(first) = self.parking.first_due(now_ms) {
            let waits = |at: &ParkedAt| self.parking.table.contains(at);
            let known = attempts
                .0
                .iter()
                .map(|((topic, partition, offset), attempted)| {
                    ((topic.as_str().into(), *partition, *offset), *attempted)
                })
                .filter(|(at, _)| waits(at))
                .max_by_key(|(_, attempted)| attempted.n);
            self.trials.parked = Some(match known {
                None => {
                    noted.push((first.0.to_string(), first.1, first.2));
                    ParkedTrial::Open
                }
                Some((at, Attempted { n, events: 1 })) => ParkedTrial::Alone(Some((at, n))),
                Some(_) => ParkedTrial::Alone(None),
            });
        }
        self.part_over();
        self.note_attempts(&noted, Attempted { n: 2, events: 0 }).await
    }

    /// An event over which the watchdog had to end the shard again and again is poison, too.
    pub(super) fn condemn_what_holds_up(&mut self) {
        let poison = self.ctx.progress.poison();
        self.trials.condemned = poison.filter(|(input, offset)| {
            let waits = || {
                let of = &self.ctx.inputs[*input];
                self.parking.table.contains(&(of.topic.name.into(), of.at.partition, *offset))
            };
            self.taken_to[*input] <= *offset || waits()
        });
        self.trials.is_on |= self.trials.condemned.is_some();
    }

    /// What waits and is poison ends when its time has come, untried; `true` if this one is.
    pub(super) fn end_condemned(&mut self, input: usize, at: &ParkedAt, row: &Parked) -> Result<bool, ShardError> {
        if self.trials.condemned != Some((input, at.2)) {
            return Ok(false);
        }
        self.trials.condemned = None;
        let topic = self.ctx.inputs[input].topic;
        self.condemn(topic, at.1, &row.record(at.2), row.first_failed_ms, HELD_UP)?;
        self.parking.ended(at, &row.key, self.now_ms);
        Ok(true)
    }

    /// Before the first event of a part: waits for its turn and notes what is tried. `true`: the event is poison and has
    /// ended, untried.
    pub(super) async fn try_part(&mut self, input: usize, record: &Record<'_>) -> Result<bool, ShardError> {
        if self.trials.condemned == Some((input, record.offset)) {
            self.trials.condemned = None;
            self.set_aside_untried(input, record, HELD_UP)?;
            return Ok(true);
        }
        // In the middle of a part.
        if self.tally != Tally::default() {
            return Ok(false);
        }
        self.events_max = self.ctx.limits.commit_events;
        let Some(Some(trial)) = self.trials.inputs.get_mut(input) else { return Ok(false) };
        if record.offset >= trial.until {
            self.trials.inputs[input] = None;
            self.part_over();
            return Ok(false);
        }
        let (topic, partition) = (self.ctx.inputs[input].topic, self.ctx.inputs[input].at.partition);
        match trial.advance() {
            Step::Open => {
                self.trials.inputs[input] = None;
                self.take_turn(false).await;
                Ok(false)
            }
            Step::Part(attempted) => {
                self.take_turn(true).await;
                // Where the input stands, which is where the next recovery will find it.
                let at = (topic.name.to_string(), partition, self.taken_to[input]);
                self.note_attempts(&[at], attempted).await?;
                self.events_max = u64::from(attempted.events);
                Ok(false)
            }
            Step::Poison => {
                self.set_aside_untried(input, record, DIED)?;
                self.events_max = 1;
                Ok(true)
            }
        }
    }

    /// As `retry_parked`, each waiting event alone where one of them may have ended the process.
    pub(super) async fn try_parked(&mut self) -> Result<(), ShardError> {
        let suspect = match self.trials.parked.take() {
            None => return self.retry_parked().await,
            Some(ParkedTrial::Open) => {
                self.take_turn(false).await;
                self.retry_parked().await?;
                return self.commit(false).await;
            }
            Some(ParkedTrial::Alone(suspect)) => suspect,
        };
        while let Some((at, row)) = self.parking.take_due(self.now_ms) {
            let before = suspect.as_ref().filter(|(suspect, _)| *suspect == at).map_or(0, |(_, n)| *n);
            let topic = self.input_of(&at.0).map(|input| self.ctx.inputs[input].topic);
            if let Some(topic) = topic.filter(|_| before >= LAST_ALONE) {
                self.condemn(topic, at.1, &row.record(at.2), row.first_failed_ms, DIED)?;
                self.parking.ended(&at, &row.key, self.now_ms);
            } else {
                self.take_turn(true).await;
                let n = if before == 0 { FIRST_ALONE } else { LAST_ALONE };
                self.note_attempts(&[(at.0.to_string(), at.1, at.2)], Attempted { n, events: 1 }).await?;
                let _ = self.retry_one(at, row)?;
            }
            self.commit(false).await?;
            self.open_batch();
        }
        self.part_over();
        Ok(())
    }

    /// The event ends as a dead letter without being tried.
    fn set_aside_untried(&mut self, input: usize, record: &Record<'_>, why: &'static str) -> Result<(), ShardError> {
        let (topic, partition) = (self.ctx.inputs[input].topic, self.ctx.inputs[input].at.partition);
        self.condemn(topic, partition, record, None, why)?;
        if let Some(from) = provenance(record).filter(|_| topic.kind != TopicKind::Compacted) {
            self.marks.take(topic.name, partition, &from);
        }
        Ok(())
    }

    fn condemn(
        &mut self,
        topic: &'static Topic,
        partition: u32,
        record: &Record<'_>,
        first_failed_ms: Option<i64>,
        why: &'static str,
    ) -> Result<(), ShardError> {
        let reason = Reason::new("POISON", why);
        let (service, shard, offset) = (self.ctx.def.spec.name, self.ctx.partition, record.offset);
        tracing::error!(service, shard, topic = topic.name, offset, why, "poison is set aside, untried");
        let last_ms = self.ctx.env.clock.wall_ms();
        let (attempts, first_ms) = (LAST_ALONE as u32, first_failed_ms.unwrap_or(last_ms));
        let failed = Failed { class: "POISON", reason: &reason, attempts, first_ms, last_ms };
        self.set_aside(topic, partition, record, &failed)?;
        self.end(topic, partition, record.offset, Ending::Exception(OutcomeKind::DeadLettered, "POISON"));
        Ok(())
    }

    async fn take_turn(&mut self, alone: bool) {
        let (clock, gate) = (self.ctx.env.clock.clone(), self.ctx.trials.clone());
        self.trials.turn = None;
        self.trials.is_on = true;
        self.trials.turn = if alone {
            clock.timeout(TURN_WAIT, gate.write_owned()).await.map(|turn| Box::new(turn) as _)
        } else {
            clock.timeout(TURN_WAIT, gate.read_owned()).await.map(|turn| Box::new(turn) as _)
        };
        self.ctx.progress.beat(clock.mono_us());
    }

    /// Notes attempts in the commit topic and waits until that is durable.
    async fn note_attempts(&mut self, at: &[At], attempted: Attempted) -> Result<(), ShardError> {
        if at.is_empty() {
            return Ok(());
        }
        self.ctx.wait_for_room().await?;
        let mut builder = BatchBuilder::new(Compression::None);
        let mut value = Vec::new();
        for (topic, partition, offset) in at {
            let record = Attempt {
                epoch_offset: self.epoch.offset,
                epoch_nonce: self.epoch.nonce,
                topic,
                partition: *partition as i32,
                offset: *offset,
                n: attempted.n,
                events: attempted.events as i32,
            };
            value.clear();
            schemas::frame::encode(&record, &mut value);
            builder
                .push(self.ctx.env.clock.wall_ms(), None, Some(&value), &[])
                .map_err(|full| CommitError::TooLarge { bytes: full.record_bytes, limit_bytes: full.limit_bytes })?;
        }
        let append = self.ctx.log.append(self.ctx.commits, builder.finish(), self.options());
        let deadline = self.ctx.limits.append_deadline;
        self.ctx.env.clock.timeout(deadline, append).await.ok_or(ShardError::Unanswered(deadline))??;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What is left of one process after another: where the input stands, what was set aside, the attempts noted.
    #[derive(Default)]
    struct World {
        position: Offset,
        set_aside: BTreeSet<Offset>,
        attempts: Attempts,
    }

    impl World {
        /// One life: `true` if it took everything up to `end`. `dies` says whether taking these events ends the process.
        fn live(&mut self, end: Offset, open: i64, mut dies: impl FnMut(std::ops::Range<Offset>) -> bool) -> bool {
            let known = self.attempts.on_input("t", 0, self.position);
            let mut trial = Some(Trial::after(known, (self.position + OPEN_EVENTS).min(end)));
            if known.is_none() {
                self.attempts.note(("t".into(), 0, self.position), Attempted { n: 2, events: 0 });
            }
            while self.position < end {
                trial = trial.filter(|trial| self.position < trial.until);
                let step = trial.as_mut().map_or(Step::Open, Trial::advance);
                let size = match step {
                    Step::Poison => {
                        self.set_aside.insert(self.position);
                        self.commit(self.position + 1);
                        continue;
                    }
                    Step::Open => {
                        trial = None;
                        open
                    }
                    Step::Part(attempted) => {
                        self.attempts.note(("t".into(), 0, self.position), attempted);
                        i64::from(attempted.events)
                    }
                };
                let part = self.position..(self.position + size).min(end);
                if dies(part.clone()) {
                    return false;
                }
                self.commit(part.end);
            }
            true
        }

        fn commit(&mut self, to: Offset) {
            self.attempts.answered();
            self.attempts.taken("t", 0, to);
            self.position = to;
        }
    }

    proptest! {
        /// Wherever the poison lies, exactly it is set aside, and after few deaths each.
        #[test]
        fn exactly_the_poison_is_set_aside(
            events in 1i64..5_000,
            open in 1i64..4_096,
            poison in proptest::collection::btree_set(0i64..5_000, 0..4),
        ) {
            let poison: BTreeSet<_> = poison.into_iter().filter(|at| *at < events).collect();
            let (mut world, mut deaths) = (World::default(), 0);
            while !world.live(events, open, |part| poison.range(part).next().is_some()) {
                deaths += 1;
                prop_assert!(deaths <= 5 * poison.len(), "{deaths} deaths");
            }
            prop_assert_eq!(world.set_aside, poison);
        }

        /// Deaths that no event is guilty of, of any number, at any moment: two in a row while one and the same event is
        /// alone in hand are not among them, for trials exclude each other.
        #[test]
        fn other_deaths_set_nothing_aside(deaths in proptest::collection::vec(0usize..6, 0..40)) {
            let mut world = World::default();
            for after in deaths {
                let (mut parts, before) = (0, world.attempts.on_input("t", 0, world.position));
                let alone = before.filter(|attempted| attempted.events == 1).map(|_| world.position);
                world.live(3_000, 500, |part| {
                    parts += 1;
                    parts > after && alone != Some(part.start)
                });
            }
            prop_assert!(world.set_aside.is_empty(), "{:?}", world.set_aside);
        }
    }

    #[test]
    fn a_first_event_is_poison_after_the_fourth_death() {
        let mut world = World::default();
        let lives = (0..).take_while(|_| !world.live(1, 100, |_| true)).count();
        // The first of them noted nothing in a real shard: it was no recovery.
        assert_eq!((lives, world.set_aside.len()), (3, 1));
    }
}
