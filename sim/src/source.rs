//! The senders outside: they keep what was not acknowledged and send it again, as browsers and exchanges do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::FutureExt as _;
use runtime::env::{Clock, Env};
use runtime::log::{AppendError, Log};
use runtime::producer::Producer;
use tokio::task::JoinHandle;

use crate::traffic::Parcel;

/// Parcels in one go.
const PARCELS_A_FLUSH: usize = 512;
/// Without an answer by then they send again.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
const BUDGET_BYTES: usize = 4 << 20;

/// One sender for all topics.
pub struct Source {
    pending: VecDeque<Parcel>,
    producer: Option<Producer>,
    in_flight: Option<(usize, JoinHandle<Result<(), AppendError>>)>,
    rng: fastrand::Rng,
    clock: Clock,
    /// Acknowledged parcels are sent again with this probability.
    pub repeat_ppm: u32,
    /// Acknowledgements are taken for lost with this probability.
    pub deaf_ppm: u32,
    /// Nothing is sent.
    pub paused: bool,
    pub acknowledged: u64,
    pub repeated: u64,
    pub retried: u64,
    /// Records acknowledged, by topic.
    pub sent: BTreeMap<&'static str, u64>,
}

impl Source {
    pub fn new(env: &Env) -> Self {
        Self {
            pending: VecDeque::new(),
            producer: None,
            in_flight: None,
            rng: env.random.stream("source"),
            clock: env.clock.clone(),
            repeat_ppm: 0,
            deaf_ppm: 0,
            paused: false,
            acknowledged: 0,
            repeated: 0,
            retried: 0,
            sent: BTreeMap::new(),
        }
    }

    pub fn connect(&mut self, log: Arc<dyn Log>, partitions: u32) {
        self.abandon();
        self.producer = Some(Producer::new(log, "outside", BUDGET_BYTES, partitions));
    }

    /// The other end is gone: what was in flight counts as not sent, unless the answer had come already.
    pub fn abandon(&mut self) {
        if let Some((count, task)) = self.in_flight.take() {
            let had_come = task.is_finished();
            task.abort();
            match task.now_or_never().filter(|_| had_come) {
                Some(answer) => self.answered(count, matches!(answer, Ok(Ok(())))),
                None => self.retried += 1,
            }
        }
        self.producer = None;
    }

    pub fn push(&mut self, parcels: impl IntoIterator<Item = Parcel>) {
        self.pending.extend(parcels);
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_none()
    }

    /// What was sent has no answer yet.
    pub fn is_waiting(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|(_, task)| !task.is_finished())
    }

    /// Takes note of answers and sends what waits. Never waits itself.
    pub async fn pump(&mut self) {
        if let Some((count, task)) = &mut self.in_flight {
            if !task.is_finished() {
                return;
            }
            let (count, answer) = (*count, task.await);
            self.in_flight = None;
            self.answered(count, matches!(answer, Ok(Ok(()))));
        }
        let Some(producer) = self.producer.as_mut().filter(|_| !self.paused && !self.pending.is_empty()) else {
            return;
        };
        let mut count = 0;
        for parcel in self.pending.iter().take(PARCELS_A_FLUSH) {
            let added =
                producer.add_bytes(parcel.topic, parcel.key.as_bytes(), parcel.timestamp_ms, &parcel.value, &[]);
            // A topic may be absent where not all services run: nobody is there to take it.
            if added.is_err() && !matches!(added, Err(AppendError::Unknown { .. })) {
                break;
            }
            count += 1;
        }
        if count > 0 {
            let (flush, clock) = (producer.flush(), self.clock.clone());
            let unanswered =
                || AppendError::Indefinite { topic: "any".into(), partition: 0, reason: "no answer".into() };
            let flush = async move { clock.timeout(PATIENCE, flush).await.unwrap_or_else(|| Err(unanswered())) };
            #[allow(clippy::disallowed_methods)] // the simulation's one thread
            let task = tokio::spawn(flush);
            self.in_flight = Some((count, task));
        }
    }

    fn answered(&mut self, count: usize, acknowledged: bool) {
        if !acknowledged || (self.deaf_ppm > 0 && self.rng.u32(0..1_000_000) < self.deaf_ppm) {
            self.retried += 1;
            return;
        }
        for _ in 0..count {
            let Some(parcel) = self.pending.pop_front() else { break };
            self.acknowledged += 1;
            *self.sent.entry(parcel.topic).or_default() += 1;
            if self.repeat_ppm > 0 && self.rng.u32(0..1_000_000) < self.repeat_ppm {
                self.repeated += 1;
                self.pending.push_back(parcel);
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.abandon();
    }
}
