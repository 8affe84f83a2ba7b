//! The replay as a source: a line is read, decided on, and appended as exactly one event. A broken line is set aside with
//! its number and reason, and the run goes on.
//!
//! Nobody waits for an answer that comes too late. With a time budget a request that has stood in line for longer is shed,
//! undecided: who came early enough is answered in time, the newest are turned away, and an overload costs their share only.

use std::sync::Arc;
use std::time::Duration;

use actors::bidder::DecideConfig;
use actors::input::Line;
use actors::market::Bid;
use actors::openrtb::{BidRequest, Rejected};
use actors::topics::BIDS;
use runtime::env::Env;
use runtime::log::{AppendError, Durability, Log, TopicConfig};
use runtime::topology::{days, dead_letter_topic};
use tokio::sync::mpsc;

use super::input::Lines;
use super::market::Decided;
use super::pace::Pace;
use super::progress::Progress;
use crate::platform::Views;
use crate::sources::decision::decided;
use crate::sources::slices::{Slices, SourceError, trace};

/// What dead letters of the input are filed under.
pub const INPUT_NAME: &str = "requests";
/// Bytes of an event, about.
const EVENT_BYTES: usize = 700;

/// Makes the topic of broken lines; it has no service of its own.
///
/// # Errors
/// [`AppendError`] if the log refuses.
pub fn ensure_dead_letters(log: &dyn Log, partitions: u32) -> Result<(), AppendError> {
    log.ensure_topic(&dead_letters(partitions)).map(|_| ())
}

/// The topic of broken lines.
pub fn dead_letters(partitions: u32) -> TopicConfig {
    TopicConfig {
        name: dead_letter_topic(INPUT_NAME).as_str().into(),
        partitions,
        durability: Durability::Synced,
        retention_ms: days(30),
        compacted: false,
    }
}

/// The source.
pub struct RequestSource {
    pub env: Env,
    pub views: Views,
    pub lines: Lines,
    pub pace: Pace,
    /// A request may have waited this long when its turn comes; `None`: each has its turn, however late.
    pub time_budget: Option<Duration>,
    pub decide: DecideConfig,
    pub slices: Slices,
    pub progress: Arc<Progress>,
    /// Slices on their way; its capacity bounds how many are unanswered.
    pub decided: mpsc::Sender<Decided>,
}

impl RequestSource {
    /// Runs to the end of the input.
    ///
    /// # Errors
    /// [`SourceError`] if the input or the log fails.
    pub async fn run(mut self) -> Result<(), SourceError> {
        let dead_letters = dead_letter_topic(INPUT_NAME);
        let mut open = Open::default();
        for number in 0.. {
            // The line stays in the reader's buffer while its time is awaited, so it is read twice at most: parsed to
            // learn when it is due, decided when it is.
            let line = self.lines.next_line()?;
            let Some(line) = line else { break };
            Progress::add(&self.progress.read);
            if let Some(budget) = self.time_budget {
                // Before it is parsed: who comes too late must cost next to nothing.
                let due_us = self.pace.due_by_number_us(number);
                let due_us = due_us.unwrap_or_else(|| self.pace.due_us(number, line.recorded_us()));
                if is_late(&self.env, &self.progress, budget, due_us) {
                    Progress::add(&self.progress.shed_late);
                    continue;
                }
            }
            match line.request() {
                Ok(request) => {
                    let due_us = self.pace.due_us(number, request.ext.ts_us);
                    if let Some(wait) = wait_until(&self.env, &self.progress, due_us) {
                        if !self.slices.is_empty() {
                            send(&self.env, &mut self.slices, &self.progress, &self.decided, &mut open).await;
                        }
                        self.env.clock.sleep(wait).await;
                    }
                    let now_us = self.env.clock.mono_us();
                    self.progress.started(now_us);
                    let first_us = self.progress.first_us().unwrap_or(now_us);
                    open.due_us.push(if self.pace == Pace::Max { now_us } else { first_us + due_us });
                    count(&self.progress, &request);
                    let (env, views) = (&self.env, &self.views);
                    decide_one(env, views, &self.decide, &request, &mut self.slices, &self.progress, &mut open.bids)?;
                }
                Err(rejected) => {
                    Progress::add(&self.progress.rejected);
                    set_aside(&self.env, &mut self.slices, &dead_letters, &line, &rejected)?;
                }
            }
            if self.slices.due() {
                send(&self.env, &mut self.slices, &self.progress, &self.decided, &mut open).await;
            }
        }
        if !self.slices.is_empty() {
            send(&self.env, &mut self.slices, &self.progress, &self.decided, &mut open).await;
        }
        self.progress.input_done.store(true, std::sync::atomic::Ordering::Release);
        Ok(())
    }
}

/// How long until run time `due_us`; `None` if it is now.
fn wait_until(env: &Env, progress: &Progress, due_us: u64) -> Option<Duration> {
    // Less than a millisecond is not worth a timer.
    let since_us = env.clock.mono_us() - progress.first_us()?;
    (due_us > since_us + 1_000).then(|| Duration::from_micros(due_us - since_us))
}

fn count(progress: &Progress, request: &BidRequest<'_>) {
    Progress::add(&progress.valid);
    if request.user.id.as_deref().is_none_or(str::is_empty) {
        Progress::add(&progress.users_null);
    }
    if request.site.is_none() && request.app.is_none() {
        Progress::add(&progress.site_absent);
    }
}

fn decide_one(
    env: &Env,
    views: &Views,
    config: &DecideConfig,
    request: &BidRequest<'_>,
    slices: &mut Slices,
    progress: &Progress,
    bids: &mut Vec<Bid>,
) -> Result<(), AppendError> {
    let trace = trace(&request.id);
    decided(env, views, config, request, |decision, event| {
        match &decision.outcome {
            Ok(_) => Progress::add(&progress.bids),
            Err(reason) => progress.no_bid(reason.as_str()),
        }
        bids.extend(Bid::from_event(event));
        slices.producer.add(&BIDS, decision.key(), decision.timestamp_ms, event, trace.as_ref())
    })?;
    slices.added(EVENT_BYTES);
    Ok(())
}

/// Original bytes, line number and reason: everything that a person needs to mend it.
fn set_aside(
    env: &Env,
    slices: &mut Slices,
    topic: &str,
    line: &Line<'_>,
    rejected: &Rejected,
) -> Result<(), AppendError> {
    let number = line.number.to_string();
    let headers: [(&[u8], &[u8]); 5] = [
        (b"bh-class", b"PERMANENT"),
        (b"bh-code", rejected.kind().as_bytes()),
        (b"bh-message", rejected.message.as_bytes()),
        (b"bh-service", INPUT_NAME.as_bytes()),
        (b"bh-line", number.as_bytes()),
    ];
    slices.producer.add_bytes(topic, number.as_bytes(), env.clock.wall_ms(), line.bytes, &headers)?;
    slices.added(line.bytes.len() + EVENT_BYTES);
    Ok(())
}

/// What of the open slice is not in its records.
#[derive(Default)]
struct Open {
    bids: Vec<Bid>,
    /// When its requests were due, monotonic.
    due_us: Vec<u64>,
}

/// Sends the slice; waits while too many are unanswered. The market waits for the answer and hears of the bids then.
async fn send(
    env: &Env,
    slices: &mut Slices,
    progress: &Arc<Progress>,
    decided: &mpsc::Sender<Decided>,
    open: &mut Open,
) {
    let answer = slices.send(&progress.pauses).await;
    let Open { bids, due_us } = std::mem::take(open);
    let (progress, clock) = (progress.clone(), env.clock.clone());
    let appended = Box::pin(async move {
        answer.await?;
        progress.answered(&due_us, clock.mono_us());
        Ok(())
    });
    // The market has ended early only if the log refused it something: that error ends the run.
    let _ = decided.send(Decided { appended, bids }).await;
}

/// Whether a request due at run time `due_us` has waited for longer than it has time.
fn is_late(env: &Env, progress: &Progress, budget: Duration, due_us: u64) -> bool {
    let Some(first_us) = progress.first_us() else { return false };
    env.clock.mono_us().saturating_sub(first_us + due_us) > budget.as_micros() as u64
}
