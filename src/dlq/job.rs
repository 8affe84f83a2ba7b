//! Jobs: they bring letters back, or put them away, a chunk at a time. A job's rows in the audit topic are all there is of it;
//! that a letter was moved stands in the replay topic itself. So a job can be stopped anywhere, gone on with, run twice: each
//! letter is moved once, and if it were not, its service would take it once (`runtime::deadletter::replay`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::deadletter::ReplayOf;
use runtime::deadletter::replay::REPLAY;
use runtime::env::Env;
use runtime::log::{AppendOptions, BatchBuilder, Compression, Log, TopicId, TopicPartition};
use runtime::platform::Platform;
use schemas::frame::VALUE_HEADER;
use serde::{Deserialize, Serialize};

use super::audit::{self, Action, Counts, Row};
use super::letters::{EventId, Letters};
use super::select::Selection;
use super::shelf::{Shelf, State};
use super::value::Schemas;
use super::{DlqError, OwnedLetter, edit};

/// Letters moved before a job looks up: for a cancellation, for failures, to say how far it is.
const CHUNK_LETTERS: u64 = 500;
/// And so many bytes: well below what one batch may hold.
const CHUNK_BYTES: usize = 256 << 10;
/// So long a job waits for what it has moved to end.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// Looked at again after this.
const STEP: Duration = Duration::from_millis(20);
/// Dead letters of the last commits are on their way for so long at most.
const CALM_STEPS: u32 = 10;

/// What a job is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    #[default]
    Replay,
    Discard,
    /// No letters: a service that paused was let go on.
    Release,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
            Self::Release => "release",
        }
    }
}

/// A job's order: which letters and how. It stands in the job's first row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    pub kind: Kind,
    pub selection: Selection,
    /// Fields set on the way.
    pub set: Vec<(String, String)>,
    /// So many first, and on only if they went well.
    pub canary: Option<u64>,
    /// Letters a second.
    pub rate: Option<f64>,
    /// Share of the moved ones that may fail again before the job stops.
    pub stop_at_failures: Option<f64>,
    pub actor: String,
    pub reason: String,
}

/// A job as its rows tell it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub job: String,
    pub kind: Kind,
    /// Of the last row that is about the job as a whole.
    pub state: Action,
    pub reason: String,
    #[serde(flatten)]
    pub counts: Counts,
    pub started_ms: i64,
    pub last_ms: i64,
    pub order: Order,
}

/// All jobs, the oldest first.
///
/// # Errors
/// The audit topic cannot be read.
pub fn jobs(log: &dyn Log) -> Result<Vec<Job>, DlqError> {
    let mut jobs: BTreeMap<String, Job> = BTreeMap::new();
    audit::each(log, |row| {
        if row.action == Action::Discarded {
            return Ok(());
        }
        let order = || serde_json::from_str::<Order>(&row.order).unwrap_or_default();
        let job = jobs.entry(row.job.clone()).or_insert_with(|| {
            let order = order();
            let (state, counts) = (row.action, row.counts);
            Job {
                job: row.job.clone(),
                kind: order.kind,
                state,
                reason: String::new(),
                counts,
                started_ms: row.timestamp_ms,
                last_ms: 0,
                order,
            }
        });
        (job.state, job.counts, job.last_ms, job.reason) = (row.action, row.counts, row.timestamp_ms, row.reason);
        Ok(())
    })?;
    let mut jobs: Vec<Job> = jobs.into_values().collect();
    jobs.sort_by(|a, b| (a.started_ms, &a.job).cmp(&(b.started_ms, &b.job)));
    Ok(jobs)
}

/// One job.
///
/// # Errors
/// There is none of this name.
pub fn job(log: &dyn Log, name: &str) -> Result<Job, DlqError> {
    jobs(log)?.into_iter().find(|job| job.job == name).ok_or_else(|| DlqError::NoJob(name.to_owned()))
}

/// Ends a job that is under way or paused; what it has moved stays moved.
///
/// # Errors
/// It is over already.
pub async fn cancel(log: &dyn Log, env: &Env, name: &str, actor: &str, reason: &str) -> Result<Job, DlqError> {
    let mut job = job(log, name)?;
    if matches!(job.state, Action::Finished | Action::Cancelled) {
        let state = format!("{:?}", job.state).to_lowercase();
        return Err(DlqError::JobOver { job: name.to_owned(), state, hint: "there is nothing to cancel" });
    }
    let order = Order { actor: actor.to_owned(), ..job.order.clone() };
    audit::append(log, &[row(env, name, &order, Action::Cancelled, reason, job.counts)?]).await?;
    job.state = Action::Cancelled;
    Ok(job)
}

/// Writes down that a service was let go on; answers the row as a job that is over.
///
/// # Errors
/// The log refuses.
pub async fn note_release(env: &Env, log: &dyn Log, order: &Order) -> Result<Job, DlqError> {
    let (kind, now_ms) = (order.kind, env.clock.wall_ms());
    let (job, state, counts) = (format!("{}-{now_ms:x}", kind.name()), Action::Finished, Counts::default());
    audit::append(log, &[row(env, &job, order, state, &order.reason, counts)?]).await?;
    let reason = order.reason.clone();
    Ok(Job { job, kind, state, reason, counts, started_ms: now_ms, last_ms: now_ms, order: order.clone() })
}

/// What moves letters.
pub struct Runner<'a> {
    pub env: &'a Env,
    pub log: &'a Arc<dyn Log>,
    pub schemas: &'a Schemas,
    /// Where the services run that the letters go back to; without it nobody takes them yet, and a canary has to wait.
    pub platform: Option<&'a Platform>,
    /// Told of every row.
    pub progress: &'a (dyn Fn(&Job) + Sync),
}

/// A job under way.
struct Run<'r, 'a> {
    runner: &'r Runner<'a>,
    name: String,
    order: Order,
    shelf: Shelf,
    counts: Counts,
    started_ms: i64,
    started_us: u64,
    batches: BTreeMap<TopicPartition, BatchBuilder>,
    /// Not sent yet.
    staged_bytes: usize,
    /// Dead letters put away in this chunk.
    discarded: Vec<Row>,
    topics: BTreeMap<String, TopicId>,
}

/// What a pass over the letters has come to.
enum Pass {
    /// There is nothing more.
    Over,
    /// So many are moved that they are to be looked at.
    Chunk,
}

impl Runner<'_> {
    /// Starts a job and runs it as far as it goes.
    ///
    /// # Errors
    /// The log refuses, or a topic cannot be read; the job can be gone on with.
    pub async fn start(&self, order: Order) -> Result<Job, DlqError> {
        let suffix: u16 = self.env.random.stream(&format!("dlq/{}", self.env.clock.mono_us())).u16(..);
        let name = format!("{}-{:x}-{suffix:04x}", order.kind.name(), self.env.clock.wall_ms());
        self.run(name, order, Action::Started).await
    }

    /// Goes on with a job that was interrupted, paused or stopped.
    ///
    /// # Errors
    /// As [`Runner::start`]; there is no such job, or it is over.
    pub async fn resume(&self, name: &str, actor: &str) -> Result<Job, DlqError> {
        let job = job(self.log.as_ref(), name)?;
        if matches!(job.state, Action::Finished | Action::Cancelled) {
            let state = format!("{:?}", job.state).to_lowercase();
            return Err(DlqError::JobOver { job: name.to_owned(), state, hint: "start a new one" });
        }
        self.run(name.to_owned(), Order { actor: actor.to_owned(), ..job.order }, Action::Resumed).await
    }

    async fn run(&self, name: String, order: Order, first: Action) -> Result<Job, DlqError> {
        let mut run = Run {
            runner: self,
            name,
            order,
            shelf: Shelf::read(self.log.as_ref())?,
            counts: Counts::default(),
            started_ms: self.env.clock.wall_ms(),
            started_us: self.env.clock.mono_us(),
            batches: BTreeMap::new(),
            staged_bytes: 0,
            discarded: Vec::new(),
            topics: BTreeMap::new(),
        };
        run.note(first, "").await?;
        let mut letters = Letters::new(self.log.as_ref())?;
        loop {
            let pass = run.pass(&mut letters)?;
            run.send().await?;
            if let Some((action, why)) = run.verdict(&pass).await? {
                return run.note(action, &why).await;
            }
            run.note(Action::Progress, "").await?;
        }
    }
}

impl Run<'_, '_> {
    /// Takes letters up to the next time to look up. Nothing is sent yet.
    fn pass(&mut self, letters: &mut Letters) -> Result<Pass, DlqError> {
        let canary = self.order.canary.filter(|canary| self.counts.moved < *canary);
        // A slow job looks up every second.
        let chunk = self.order.rate.map_or(CHUNK_LETTERS, |rate| (rate.ceil() as u64).clamp(1, CHUNK_LETTERS));
        let until = canary.unwrap_or(self.counts.moved + chunk);
        while let Some(letter) = letters.take_next()? {
            if !self.order.selection.matches(&letter, self.runner.schemas) {
                continue;
            }
            // A later letter of an event that this job has moved is how the event failed again, not a task of its own.
            if letter.job.as_ref() == Some(&self.name) {
                continue;
            }
            self.counts.scanned += 1;
            match self.shelf.state(&letter) {
                State::Open => self.take(&letter)?,
                _ if self.shelf.mover(&letter) == Some(&self.name) => {
                    self.replay_topic(&letter.event.service);
                    self.counts.moved += 1;
                }
                _ => self.counts.skipped += 1,
            }
            self.counts.check();
            if self.counts.moved >= until || self.staged_bytes >= CHUNK_BYTES {
                return Ok(Pass::Chunk);
            }
        }
        Ok(Pass::Over)
    }

    fn take(&mut self, letter: &OwnedLetter) -> Result<(), DlqError> {
        match self.order.kind {
            Kind::Discard => {
                let mut row =
                    row(self.runner.env, &self.name, &self.order, Action::Discarded, &self.order.reason, self.counts)?;
                (row.event, row.replays, row.order) = (letter.event.clone(), letter.replays, String::new());
                self.discarded.push(row);
                self.shelf.discard(letter.event.clone(), letter.replays);
                self.counts.moved += 1;
            }
            Kind::Release => self.counts.skipped += 1,
            Kind::Replay => {
                if self.stage(letter) {
                    self.shelf.note(letter.event.clone(), letter.replays + 1, self.name.clone());
                    self.counts.moved += 1;
                } else {
                    self.counts.failed += 1;
                }
            }
        }
        Ok(())
    }

    /// Where letters of a service go back; it is waited for from now on.
    fn replay_topic(&mut self, service: &str) -> Option<TopicId> {
        let name = format!("{service}-replay");
        let id = self.topics.get(&name).copied().or_else(|| self.runner.log.topic(&name))?;
        self.topics.insert(name, id);
        Some(id)
    }

    /// Puts a letter's event into its service's batch; `false` if it cannot be moved.
    fn stage(&mut self, letter: &OwnedLetter) -> bool {
        let EventId { service, topic, partition, offset } = &letter.event;
        let Some(id) = self.replay_topic(service) else { return false };
        let Ok(edited) = edited(self.runner.schemas, letter, &self.order.set) else { return false };
        let of = ReplayOf {
            topic,
            partition: *partition,
            offset: *offset,
            n: letter.replays + 1,
            first_failed_ms: letter.first_failed_ms,
            job: &self.name,
        };
        let of = of.encode();
        let mut headers: Vec<(&[u8], &[u8])> = vec![(REPLAY, of.as_bytes())];
        for header in letter.headers() {
            let Ok((name, value)) = header else { return false };
            // What was encoded again names its schema itself.
            if edited.is_some() && name == VALUE_HEADER.as_bytes() {
                continue;
            }
            headers.push((name, value.unwrap_or_default()));
        }
        let to = TopicPartition { topic: id, partition: *partition };
        let builder = self.batches.entry(to).or_insert_with(|| BatchBuilder::new(Compression::None));
        let value = edited.as_deref().or(letter.value.as_deref());
        self.staged_bytes += letter.key.len() + value.map_or(0, <[u8]>::len) + letter.headers().raw().0.len();
        builder.push(letter.timestamp_ms, Some(&letter.key), value, &headers).is_ok()
    }

    /// Appends what was taken and waits until it is durable.
    async fn send(&mut self) -> Result<(), DlqError> {
        let log = self.runner.log;
        let options = AppendOptions { group: audit::group(log.as_ref()), fence: None };
        self.staged_bytes = 0;
        for (to, builder) in &mut self.batches {
            if !builder.is_empty() {
                log.append(*to, builder.finish(), options).await?;
            }
        }
        let discarded = std::mem::take(&mut self.discarded);
        if !discarded.is_empty() {
            audit::append(log.as_ref(), &discarded).await?;
        }
        Ok(())
    }

    /// After a chunk: how the job ends, or `None` to go on.
    async fn verdict(&mut self, pass: &Pass) -> Result<Option<(Action, String)>, DlqError> {
        if self.is_cancelled()? {
            return Ok(Some((Action::Cancelled, "cancelled".into())));
        }
        let is_judged = self.order.canary.is_some() || self.order.stop_at_failures.is_some();
        if self.order.kind == Kind::Replay && is_judged && self.counts.moved > 0 {
            match self.settle().await {
                Settled::Nobody if matches!(pass, Pass::Chunk) => {
                    let why = "moved letters wait for their service: run it, then go on with the job";
                    return Ok(Some((Action::Paused, why.into())));
                }
                Settled::Late => {
                    let why = "moved letters have not ended yet: go on with the job later";
                    return Ok(Some((Action::Paused, why.into())));
                }
                Settled::Nobody | Settled::All => {}
            }
            let failed = Shelf::read(self.runner.log.as_ref())?.failed_again(&self.name);
            self.counts.failed_again = failed;
            let share = failed as f64 / self.counts.moved as f64;
            // A canary alone must go well to the last letter.
            if share > self.order.stop_at_failures.unwrap_or(0.0) {
                let moved = self.counts.moved;
                return Ok(Some((Action::Stopped, format!("{failed} of {moved} failed again"))));
            }
        }
        if matches!(pass, Pass::Over) {
            return Ok(Some((Action::Finished, String::new())));
        }
        self.keep_rate().await;
        Ok(None)
    }

    /// Somebody has ended the job meanwhile.
    fn is_cancelled(&self) -> Result<bool, DlqError> {
        Ok(job(self.runner.log.as_ref(), &self.name)?.state == Action::Cancelled)
    }

    async fn keep_rate(&self) {
        let Some(rate) = self.order.rate else { return };
        let clock = &self.runner.env.clock;
        let due_us = self.started_us + (self.counts.moved as f64 / rate * 1e6) as u64;
        clock.sleep(Duration::from_micros(due_us.saturating_sub(clock.mono_us()))).await;
    }

    /// Waits until the services have taken everything from their replay topics, retries included.
    async fn settle(&self) -> Settled {
        let Some(platform) = self.runner.platform else { return Settled::Nobody };
        let log = self.runner.log;
        let topics: Vec<_> = self.topics.keys().filter_map(|name| name.strip_suffix("-replay")).collect();
        let bulkheads: Vec<_> = topics.iter().filter_map(|service| platform.bulkhead(service)).collect();
        if bulkheads.len() < topics.len() {
            return Settled::Nobody;
        }
        let is_taken = |shard: &Arc<runtime::supervisor::ShardSlot>| {
            !shard.ctx.is_owned()
                || shard.ctx.inputs.last().is_none_or(|replays| {
                    let position = replays.position.load(std::sync::atomic::Ordering::Relaxed);
                    log.extent(replays.at).is_ok_and(|extent| position >= extent.high_watermark)
                })
        };
        let clock = &self.runner.env.clock;
        let until_us = clock.mono_us() + SETTLE_LIMIT.as_micros() as u64;
        let mut calm = 0;
        while calm < CALM_STEPS {
            if clock.mono_us() > until_us {
                return Settled::Late;
            }
            let taken = bulkheads.iter().all(|b| b.shards.iter().all(is_taken) && b.parked() == 0);
            calm = if taken { calm + 1 } else { 0 };
            clock.sleep(STEP).await;
        }
        Settled::All
    }

    /// One row about the job as a whole.
    async fn note(&mut self, action: Action, reason: &str) -> Result<Job, DlqError> {
        self.counts.check();
        let reason = if reason.is_empty() { self.order.reason.clone() } else { reason.to_owned() };
        let row = row(self.runner.env, &self.name, &self.order, action, &reason, self.counts)?;
        let now_ms = row.timestamp_ms;
        audit::append(self.runner.log.as_ref(), &[row]).await?;
        let job = Job {
            job: self.name.clone(),
            kind: self.order.kind,
            state: action,
            reason,
            counts: self.counts,
            started_ms: self.started_ms,
            last_ms: now_ms,
            order: self.order.clone(),
        };
        (self.runner.progress)(&job);
        Ok(job)
    }
}

/// Whether what was moved has ended.
enum Settled {
    All,
    /// Not in time.
    Late,
    /// No such service runs here.
    Nobody,
}

fn row(env: &Env, name: &str, order: &Order, action: Action, reason: &str, counts: Counts) -> Result<Row, DlqError> {
    let text = serde_json::to_string(order).map_err(|error| DlqError::Selection(format!("order of a job: {error}")))?;
    Ok(Row {
        timestamp_ms: env.clock.wall_ms(),
        job: name.to_owned(),
        action,
        kind: order.kind.name().to_owned(),
        actor: order.actor.clone(),
        reason: reason.to_owned(),
        order: text,
        counts,
        event: EventId {
            service: order.selection.service.clone().unwrap_or_default(),
            topic: String::new(),
            partition: 0,
            offset: -1,
        },
        replays: 0,
    })
}

/// The letter's value with the order's fields set; `None` where it goes back as it is.
///
/// # Errors
/// In words, why a field cannot be set.
pub fn edited(schemas: &Schemas, letter: &OwnedLetter, set: &[(String, String)]) -> Result<Option<Vec<u8>>, String> {
    if set.is_empty() {
        return Ok(None);
    }
    let mut scratch = Vec::new();
    let own = schemas.own(letter, &mut scratch).map_err(|failure| failure.to_string())?;
    edit::edit(schemas, own, set).map(Some)
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
