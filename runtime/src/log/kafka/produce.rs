//! Appends: a batch's records go to the client library one by one and are answered together.
//!
//! A shard has a producer of its own for each ownership (rule P9): what fails ends the producer, and nothing is sent
//! behind an append whose answer is unknown. Places in line are taken under the group's lock, so the order of calls is
//! the order of records; a group with its byte budget in flight lets the next ones wait there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::error::undelivered;
use super::keeper::Chore;
use super::topics::Place;
use super::{Shared, lock};
use crate::log::batch::Batch;
use crate::log::{AppendError, Fence, Offset};

/// Answer of one append.
pub(super) type Answer = Result<Offset, AppendError>;

/// What the library tells a producer.
pub(super) struct Context {
    group: Weak<Group>,
    broken: AtomicBool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::warn!(?level, facility, "kafka: {text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka producer");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Arc<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, append: Arc<InFlight>) {
        match result {
            Ok(message) => {
                append.first.fetch_min(message.offset(), Ordering::AcqRel);
            }
            Err((error, _)) => {
                self.broken.store(true, Ordering::Release);
                let (name, partition) = (append.place.name(), append.place.partition);
                lock(&append.failed).get_or_insert_with(|| undelivered(name, partition, append.bytes, error));
            }
        }
        if append.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            append.settle();
            if let Some(group) = self.group.upgrade() {
                group.settled(append.bytes);
            }
        }
    }
}

/// One append whose records are with the library.
pub(super) struct InFlight {
    shared: Weak<Shared>,
    place: Place,
    bytes: usize,
    /// Records without an answer.
    left: AtomicU32,
    records: u32,
    timestamp_ms: i64,
    first: AtomicI64,
    failed: Mutex<Option<AppendError>>,
    answer: Mutex<Option<oneshot::Sender<Answer>>>,
}

impl InFlight {
    fn settle(&self) {
        let first = self.first.load(Ordering::Acquire);
        let answer = match lock(&self.failed).take() {
            Some(error) => Err(error),
            None => {
                if let Some(shared) = self.shared.upgrade() {
                    let (next, now_us) = (first + i64::from(self.records), shared.env.clock.mono_us());
                    self.place.state().readable(first, next, now_us, Some(self.timestamp_ms));
                }
                Ok(first)
            }
        };
        if let Some(sender) = lock(&self.answer).take() {
            // Nobody waits any more: the record is in the log all the same.
            let _ = sender.send(answer);
        }
    }
}

/// An append that waits for its turn.
pub(super) struct Job {
    pub place: Place,
    pub batch: Bytes,
    pub fence: Option<Fence>,
    pub answer: oneshot::Sender<Answer>,
}

/// The producers of one group, and its budget.
pub(super) struct Group {
    shared: Weak<Shared>,
    pub name: String,
    budget_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_flight_bytes: usize,
    waiting: VecDeque<Job>,
    /// By shard; `None`: sources and claims, which belong to no ownership.
    lanes: BTreeMap<Option<u32>, Lane>,
    /// Greatest epoch told for each shard.
    fences: BTreeMap<u32, Offset>,
}

struct Lane {
    epoch_offset: Offset,
    producer: ThreadedProducer<Context>,
}

impl Group {
    pub(super) fn new(shared: &Arc<Shared>, name: &str, budget_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::downgrade(shared),
            name: name.to_owned(),
            budget_bytes: budget_bytes.max(1),
            state: Mutex::default(),
        })
    }

    pub(super) fn fence(&self, fence: Fence) {
        let mut state = lock(&self.state);
        let newest = state.fences.entry(fence.shard).or_insert(fence.epoch_offset);
        *newest = fence.epoch_offset.max(*newest);
    }

    pub(super) fn append(self: &Arc<Self>, job: Job) {
        let mut state = lock(&self.state);
        if state.waiting.is_empty() && self.fits(&state, job.batch.len()) {
            self.send(&mut state, job);
        } else {
            state.waiting.push_back(job);
        }
    }

    /// One that is larger than the whole budget goes alone.
    fn fits(&self, state: &State, bytes: usize) -> bool {
        state.in_flight_bytes == 0 || state.in_flight_bytes + bytes <= self.budget_bytes
    }

    fn settled(self: &Arc<Self>, bytes: usize) {
        let mut state = lock(&self.state);
        state.in_flight_bytes -= bytes;
        while let Some(job) = state.waiting.front() {
            if !self.fits(&state, job.batch.len()) {
                break;
            }
            if let Some(job) = state.waiting.pop_front() {
                self.send(&mut state, job);
            }
        }
    }

    fn send(self: &Arc<Self>, state: &mut State, job: Job) {
        if let Err((error, answer)) = self.try_send(state, job) {
            let _ = answer.send(Err(error));
        }
    }

    fn try_send(self: &Arc<Self>, state: &mut State, job: Job) -> Result<(), (AppendError, oneshot::Sender<Answer>)> {
        let Job { place, batch, fence, answer } = job;
        let Some(shared) = self.shared.upgrade() else { return Err((AppendError::Closed, answer)) };
        let State { in_flight_bytes, lanes, fences, .. } = state;
        let producer = match self.producer(lanes, fences, &shared, &place, fence) {
            Ok(producer) => producer,
            Err(error) => return Err((error, answer)),
        };
        let mut scratch = Vec::new();
        let parsed = Batch::parse(&batch).map_err(|error| error.to_string());
        let records = parsed.and_then(|(batch, _)| batch.records(&mut scratch).map_err(|error| error.to_string()));
        let records: Vec<_> =
            match records.and_then(|found| found.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())) {
                Ok(records) => records,
                Err(reason) => return Err((AppendError::Malformed { reason }, answer)),
            };
        let in_flight = Arc::new(InFlight {
            shared: self.shared.clone(),
            bytes: batch.len(),
            left: AtomicU32::new(records.len() as u32),
            records: records.len() as u32,
            timestamp_ms: records.first().map_or(0, |record| record.timestamp_ms),
            first: AtomicI64::new(i64::MAX),
            failed: Mutex::new(None),
            answer: Mutex::new(Some(answer)),
            place,
        });
        *in_flight_bytes += batch.len();
        for (sent, record) in records.iter().enumerate() {
            let mut message = BaseRecord::<[u8], [u8], Arc<InFlight>>::with_opaque_to(
                &in_flight.place.topic.broker_name,
                in_flight.clone(),
            )
            .partition(in_flight.place.partition as i32)
            .timestamp(record.timestamp_ms);
            if let Some(key) = record.key {
                message = message.key(key);
            }
            if let Some(value) = record.value {
                message = message.payload(value);
            }
            if !record.headers.is_empty() {
                message = message.headers(headers(record.headers));
            }
            if let Err((error, _)) = producer.send(message) {
                // The library did not take it (its queue cannot be full, see `config`): this producer has ended, and
                // nothing is sent behind the record.
                producer.client().context().broken.store(true, Ordering::Release);
                let (name, partition) = (in_flight.place.name(), in_flight.place.partition);
                lock(&in_flight.failed).get_or_insert_with(|| undelivered(name, partition, in_flight.bytes, &error));
                let unsent = (records.len() - sent) as u32;
                if in_flight.left.fetch_sub(unsent, Ordering::AcqRel) == unsent {
                    in_flight.settle();
                    *in_flight_bytes -= in_flight.bytes;
                }
                break;
            }
        }
        Ok(())
    }

    /// The producer of this ownership; a newer one replaces it, an older one is refused, a broken one stays broken.
    fn producer<'s>(
        self: &Arc<Self>,
        lanes: &'s mut BTreeMap<Option<u32>, Lane>,
        fences: &BTreeMap<u32, Offset>,
        shared: &Arc<Shared>,
        place: &Place,
        fence: Option<Fence>,
    ) -> Result<&'s ThreadedProducer<Context>, AppendError> {
        let (topic, partition) = (place.name().clone(), place.partition);
        let epoch_offset = fence.map_or(0, |fence| fence.epoch_offset);
        if let Some(fence) = fence
            && let Some(newer_offset) = fences.get(&fence.shard).copied().filter(|newer| *newer > epoch_offset)
        {
            return Err(AppendError::Fenced { topic, partition, epoch_offset, newer_offset });
        }
        let key = fence.map(|fence| fence.shard);
        let lane = lanes.get(&key);
        let is_broken = lane.is_some_and(|lane| lane.producer.client().context().broken.load(Ordering::Acquire));
        let is_same = lane.is_some_and(|lane| lane.epoch_offset == epoch_offset);
        // Sources have no order to keep across a failure: their readers know the ids (rule P11).
        if is_same && is_broken && fence.is_some() {
            let reason = "an append of this ownership has failed before".into();
            return Err(AppendError::Indefinite { topic, partition, reason });
        }
        if !is_same || is_broken {
            let context = Context { group: Arc::downgrade(self), broken: AtomicBool::new(false) };
            let made = ThreadedProducer::from_config_and_context(&shared.config.producer(), context);
            let producer = made.map_err(|error| undelivered(&topic, partition, 0, &error))?;
            if let Some(former) = lanes.insert(key, Lane { epoch_offset, producer }) {
                shared.keeper.give(Chore::End(former.producer));
            }
        }
        lanes.get(&key).map(|lane| &lane.producer).ok_or(AppendError::Closed)
    }

    /// Gives up what waits, and hands out the producers.
    pub(super) fn close(&self) -> Vec<ThreadedProducer<Context>> {
        let (waiting, lanes) = {
            let mut state = lock(&self.state);
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.lanes))
        };
        for job in waiting {
            let _ = job.answer.send(Err(AppendError::Closed));
        }
        lanes.into_values().map(|lane| lane.producer).collect()
    }

    /// Appends without an answer.
    pub(super) fn in_flight(&self) -> bool {
        let state = lock(&self.state);
        state.in_flight_bytes > 0 || !state.waiting.is_empty()
    }
}

fn headers(of: crate::log::Headers<'_>) -> OwnedHeaders {
    of.flatten().fold(OwnedHeaders::new(), |headers, (name, value)| {
        // The names are ours or were a client's: text. What is not keeps its bytes as far as text can.
        let name = String::from_utf8_lossy(name);
        headers.insert(Header { key: &name, value })
    })
}
