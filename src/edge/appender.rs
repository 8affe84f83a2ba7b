//! How the edge writes: what comes while the log is busy goes out together, and is answered together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::env::Env;
use runtime::log::{AppendError, Log};
use runtime::producer::Producer;
use runtime::topology::Topic;
use runtime::trace::TraceParent;
use schemas::codec::Encode;
use tokio::sync::{Notify, watch};

use crate::sources::slices::Appended;

/// Appends under way at once. While two are, what comes waits and goes out as one: no timer decides how much that is.
pub const FLUSHES_IN_FLIGHT: usize = 2;
/// Records that may wait: a second of the peak is 17,400; beyond a quarter of it the log is not merely busy.
const WAITING_MAX: usize = 4_096;
/// So long the oldest may wait until newcomers are turned away. A sync takes 2 to 5 ms.
const BEHIND: Duration = Duration::from_millis(250);
const BUDGET_BYTES: usize = 8 << 20;
const PRODUCER: &str = "edge";

/// The answer of the log, once it is there.
type Answer = Option<Result<(), AppendError>>;

struct Waiting {
    producer: Producer,
    since_us: u64,
    answer: watch::Sender<Answer>,
}

/// Collects records and appends them.
pub struct Appender {
    env: Env,
    log: Arc<dyn Log>,
    waiting: Mutex<Waiting>,
    wake: Notify,
    /// When the oldest unanswered append began, microseconds; 0 where there is none.
    unanswered: [AtomicU64; FLUSHES_IN_FLIGHT],
}

/// A record's place in line.
pub struct Pending(watch::Receiver<Answer>);

impl Pending {
    /// Waits for the log.
    ///
    /// # Errors
    /// As the log answers.
    pub async fn settled(mut self) -> Result<(), AppendError> {
        match self.0.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Ok(())),
            Err(_) => Err(AppendError::Closed),
        }
    }
}

impl Appender {
    pub fn new(env: &Env, log: &Arc<dyn Log>, partitions: u32) -> Arc<Self> {
        let producer = Producer::new(log.clone(), PRODUCER, BUDGET_BYTES, partitions);
        let waiting = Waiting { producer, since_us: 0, answer: watch::Sender::new(None) };
        Arc::new(Self {
            env: env.clone(),
            log: log.clone(),
            waiting: Mutex::new(waiting),
            wake: Notify::new(),
            unanswered: Default::default(),
        })
    }

    /// Why a newcomer is turned away, if it is: those who came before are served first.
    pub fn behind(&self) -> Option<&'static str> {
        if self.log.room().is_err() {
            return Some("the log takes nothing");
        }
        let now_us = self.env.clock.mono_us();
        let late = |since_us: u64| since_us != 0 && now_us.saturating_sub(since_us) > BEHIND.as_micros() as u64;
        let waiting = self.lock();
        let is_behind = waiting.producer.pending() >= WAITING_MAX
            || late(waiting.since_us)
            || self.unanswered.iter().any(|since_us| late(since_us.load(Ordering::Relaxed)));
        is_behind.then_some("the log is behind")
    }

    /// Takes a record.
    ///
    /// # Errors
    /// The record is too large, or its topic unknown.
    pub fn append<E: Encode>(
        &self,
        topic: &'static Topic,
        key: &str,
        timestamp_ms: i64,
        event: &E,
        trace: Option<&TraceParent>,
    ) -> Result<Pending, AppendError> {
        let mut waiting = self.lock();
        waiting.producer.add(topic, key, timestamp_ms, event, trace)?;
        if waiting.since_us == 0 {
            waiting.since_us = self.env.clock.mono_us().max(1);
        }
        let answer = waiting.answer.subscribe();
        drop(waiting);
        self.wake.notify_one();
        Ok(Pending(answer))
    }

    /// Appends what waits, and then what came meanwhile; one of [`FLUSHES_IN_FLIGHT`]. Never ends.
    pub async fn run(self: Arc<Self>, number: usize) {
        loop {
            let Some((since_us, appended, answer)) = self.take() else {
                self.wake.notified().await;
                continue;
            };
            self.unanswered[number].store(since_us, Ordering::Relaxed);
            let result = appended.await;
            if let Err(error) = &result {
                tracing::error!(%error, "the edge's records were refused");
            }
            self.unanswered[number].store(0, Ordering::Relaxed);
            answer.send_replace(Some(result));
        }
    }

    /// Everything is answered.
    pub fn is_idle(&self) -> bool {
        self.lock().since_us == 0 && self.unanswered.iter().all(|since_us| since_us.load(Ordering::Relaxed) == 0)
    }

    fn take(&self) -> Option<(u64, Appended, watch::Sender<Answer>)> {
        let mut waiting = self.lock();
        let since_us = std::mem::take(&mut waiting.since_us);
        if since_us == 0 {
            return None;
        }
        let answer = std::mem::replace(&mut waiting.answer, watch::Sender::new(None));
        Some((since_us, Box::pin(waiting.producer.flush_with_patience()), answer))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
