//! What lies between a process and a log that is not in it: late requests, late and lost answers, requests that arrive
//! after their sender has died, repetitions. The rules are Kafka's: one producer's requests to one partition arrive in
//! order or not at all, and behind a lost one nothing of the same producer arrives.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use runtime::env::Env;
use runtime::log::{
    AppendError, AppendOptions, Appending, Durability, Extent, Fence, FetchError, Fetched, Log, Offset,
    PartitionReader, ProducerGroup, TopicConfig, TopicId, TopicPartition,
};
use tokio::sync::{Notify, oneshot};

use crate::mutant::Mutant;
use crate::trace::Trace;

/// What the network does at the moment; to everybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Requests take up to this much longer, ms.
    pub request_delay_ms: u64,
    /// Answers take up to this much longer, ms.
    pub ack_delay_ms: u64,
    pub lost_ack_ppm: u32,
    pub lost_request_ppm: u32,
    pub duplicate_ppm: u32,
    /// Nothing arrives.
    pub paused: bool,
    /// Partitions (of all topics, as bits) of which nothing arrives and nothing is read.
    pub clogged: u64,
}

impl Weather {
    fn is_fair(&self) -> bool {
        self.request_delay_ms == 0
            && self.ack_delay_ms == 0
            && self.lost_ack_ppm == 0
            && self.lost_request_ppm == 0
            && self.duplicate_ppm == 0
            && !self.paused
            && self.clogged == 0
    }
}

/// How often each thing has happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    pub delayed: u64,
    pub late_acks: u64,
    pub lost_acks: u64,
    pub lost_requests: u64,
    pub duplicates: u64,
    pub clogged: u64,
    pub after_death: u64,
}

#[derive(Default)]
struct State {
    weather: Weather,
    happened: Happened,
    wakers: Vec<Weak<Notify>>,
}

/// The network of a world.
#[derive(Clone, Default)]
pub struct Network {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn weather(&self) -> Weather {
        self.lock().weather
    }

    /// Changes the weather and wakes whoever waits for a better one.
    pub fn set(&self, change: impl FnOnce(&mut Weather)) {
        let wakers: Vec<Arc<Notify>> = {
            let mut state = self.lock();
            change(&mut state.weather);
            state.wakers.retain(|waker| waker.strong_count() > 0);
            state.wakers.iter().filter_map(Weak::upgrade).collect()
        };
        wakers.iter().for_each(|waker| waker.notify_one());
        self.changed.notify_waiters();
    }

    pub fn happened(&self) -> Happened {
        self.lock().happened
    }

    fn count(&self, add: impl FnOnce(&mut Happened)) {
        add(&mut self.lock().happened);
    }
}

/// How long a client tries before it says that it does not know.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(20);

struct Request {
    to: TopicPartition,
    batch: Bytes,
    options: AppendOptions,
    answer: oneshot::Sender<Result<Offset, AppendError>>,
}

/// One producer's requests to one partition, in order.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Request>,
    running: bool,
    /// A request was lost: the producer is finished (rule P9), nothing behind it arrives.
    broken: bool,
}

/// Producer group, claim offset (or -1), topic, partition.
type LaneKey = (ProducerGroup, Offset, TopicPartition);

struct Client {
    log: Arc<dyn Log>,
    env: Env,
    network: Network,
    trace: Trace,
    name: String,
    rng: Mutex<fastrand::Rng>,
    lanes: Mutex<BTreeMap<LaneKey, Lane>>,
    /// Held back although the network is fair: a process that stands still.
    frozen: std::sync::atomic::AtomicBool,
    dead: std::sync::atomic::AtomicBool,
    thaw: Notify,
    /// The embedded log: ownership is told to it, and it closes with its process.
    is_local: bool,
    /// Called before anything is trimmed.
    before_trim: BeforeTrim,
    mutant: Option<Mutant>,
}

/// Told which partition is about to be trimmed, and to where.
pub type BeforeTrim = Box<dyn Fn(TopicPartition, Offset) + Send + Sync>;

/// A process's client of the log. Behind a network no epoch is refused: the protocol alone must hold.
#[derive(Clone)]
pub struct RemoteLog {
    client: Arc<Client>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

use std::sync::atomic::Ordering::{Acquire, Release};

impl RemoteLog {
    /// `is_local`: the log lives in the process, refuses stale epochs, and has no network before it.
    #[allow(clippy::too_many_arguments)] // the parts of a world
    pub fn new(
        env: &Env,
        log: Arc<dyn Log>,
        network: Network,
        trace: Trace,
        name: String,
        before_trim: BeforeTrim,
        is_local: bool,
        mutant: Option<Mutant>,
    ) -> Self {
        let client = Client {
            log,
            env: env.clone(),
            network,
            trace,
            rng: Mutex::new(env.random.stream(&format!("network/{name}"))),
            name,
            lanes: Mutex::default(),
            frozen: false.into(),
            dead: false.into(),
            thaw: Notify::new(),
            is_local,
            before_trim,
            mutant,
        };
        Self { client: Arc::new(client) }
    }

    /// Requests of this client wait until it is thawed: a process in a long pause.
    pub fn freeze(&self) {
        self.client.frozen.store(true, Release);
    }

    pub fn thaw(&self) {
        self.client.frozen.store(false, Release);
        self.client.thaw.notify_waiters();
    }

    /// The process is dead; what is on the wire may still arrive, from the front of each lane.
    pub fn die(&self) {
        let client = &self.client;
        client.dead.store(true, Release);
        let mut rng = lock(&client.rng);
        for lane in lock(&client.lanes).values_mut() {
            let arrive = rng.usize(0..=lane.waiting.len());
            lane.waiting.truncate(arrive);
            client.network.count(|h| h.after_death += arrive as u64);
        }
        drop(rng);
        self.thaw();
    }
}

impl Client {
    fn indefinite(&self, to: TopicPartition, reason: &str) -> AppendError {
        let topics = self.log.topics();
        let name = topics.iter().find(|(id, _)| *id == to.topic).map(|(_, config)| config.name.clone());
        AppendError::Indefinite {
            topic: name.unwrap_or_else(|| "?".into()),
            partition: to.partition,
            reason: reason.to_owned(),
        }
    }

    fn holds(&self, to: TopicPartition) -> bool {
        let weather = self.network.weather();
        let clogged = weather.clogged >> (to.partition % 64) & 1 == 1;
        weather.paused || clogged || self.frozen.load(Acquire)
    }

    fn draw_ms(&self, most: u64) -> Duration {
        Duration::from_millis(if most == 0 { 0 } else { lock(&self.rng).u64(0..=most) })
    }

    fn happens(&self, ppm: u32) -> bool {
        ppm > 0 && lock(&self.rng).u32(0..1_000_000) < ppm
    }

    fn note(&self, what: &str, to: TopicPartition) {
        let numbers = [i64::from(to.topic.0), i64::from(to.partition)];
        self.trace.record("network", &self.name, &numbers, what.as_bytes());
    }

    async fn carry(self: Arc<Self>, key: LaneKey) {
        loop {
            let request = {
                let mut lanes = lock(&self.lanes);
                let Some(lane) = lanes.get_mut(&key) else { return };
                let next = if self.mutant == Some(Mutant::LaneReordered) {
                    lane.waiting.pop_back()
                } else {
                    lane.waiting.pop_front()
                };
                match next {
                    Some(request) => request,
                    // A finished producer stays finished; sources and claims (-1) begin anew.
                    None if lane.broken && key.1 >= 0 => {
                        lane.running = false;
                        return;
                    }
                    None => {
                        lanes.remove(&key);
                        return;
                    }
                }
            };
            self.clone().transmit(key, request).await;
        }
    }

    async fn transmit(self: Arc<Self>, key: LaneKey, request: Request) {
        let Request { to, batch, options, answer } = request;
        let weather = self.network.weather();
        let delay = self.draw_ms(weather.request_delay_ms);
        if !delay.is_zero() {
            self.network.count(|h| h.delayed += 1);
            self.env.clock.sleep(delay).await;
        }
        if self.holds(to) {
            self.network.count(|h| h.clogged += 1);
            while self.holds(to) {
                self.env.clock.sleep(STEP).await;
            }
        }
        let broken = lock(&self.lanes).get(&key).is_some_and(|lane| lane.broken);
        if broken || self.happens(weather.lost_request_ppm) {
            self.network.count(|h| h.lost_requests += 1);
            self.note("request lost", to);
            if let Some(lane) = lock(&self.lanes).get_mut(&key) {
                lane.broken = self.mutant != Some(Mutant::LossSkipped);
            }
            if self.mutant == Some(Mutant::LossAcknowledged) {
                let _ = answer.send(self.log.extent(to).map(|e| e.high_watermark).map_err(|_| AppendError::Closed));
                return;
            }
            let _ = answer.send(Err(self.indefinite(to, "the request was lost")));
            return;
        }
        // Resolved at the log in the order of these calls.
        let appending = self.log.append(to, batch.clone(), options);
        if self.happens(weather.duplicate_ppm) {
            self.network.count(|h| h.duplicates += 1);
            self.note("appended twice", to);
            let (log, env, after) = (self.log.clone(), self.env.clone(), self.draw_ms(300));
            #[allow(clippy::disallowed_methods)] // the simulation's one thread
            tokio::spawn(async move {
                env.clock.sleep(after).await;
                let _ = log.append(to, batch, options).await;
            });
        }
        let ack_delay = self.draw_ms(weather.ack_delay_ms);
        let lost = self.happens(weather.lost_ack_ppm);
        let never = lost && lock(&self.rng).bool();
        let client = self.clone();
        #[allow(clippy::disallowed_methods)] // the simulation's one thread
        tokio::spawn(async move {
            let result = appending.await;
            if lost {
                client.network.count(|h| h.lost_acks += 1);
                client.note("answer lost", to);
                client.env.clock.sleep(if never { Duration::from_secs(3_600) } else { DELIVERY_TIMEOUT }).await;
                let _ = answer.send(Err(client.indefinite(to, "no answer within the delivery timeout")));
                return;
            }
            if !ack_delay.is_zero() {
                client.network.count(|h| h.late_acks += 1);
                client.env.clock.sleep(ack_delay).await;
            }
            let _ = answer.send(result);
        });
    }
}

impl Log for RemoteLog {
    fn ensure_topic(&self, config: &TopicConfig) -> Result<TopicId, AppendError> {
        let early = match self.client.mutant {
            Some(Mutant::EarlyAck) => !config.name.ends_with("-commits"),
            Some(Mutant::EarlyAckOutside) => config.name.contains("pixels") || config.name.contains("posts"),
            _ => false,
        };
        if early {
            return self.client.log.ensure_topic(&TopicConfig { durability: Durability::Accepted, ..config.clone() });
        }
        self.client.log.ensure_topic(config)
    }
    fn topics(&self) -> Vec<(TopicId, TopicConfig)> {
        self.client.log.topics()
    }
    fn topic(&self, name: &str) -> Option<TopicId> {
        self.client.log.topic(name)
    }
    fn producer_group(&self, name: &str, budget_bytes: usize) -> ProducerGroup {
        self.client.log.producer_group(name, budget_bytes)
    }

    fn append(&self, to: TopicPartition, batch: Bytes, options: AppendOptions) -> Appending {
        let client = &self.client;
        if client.dead.load(Acquire) {
            return std::future::ready(Err(AppendError::Closed)).boxed();
        }
        if client.is_local {
            return client.log.append(to, batch, options);
        }
        let key = (options.group, options.fence.map_or(-1, |fence| fence.epoch_offset), to);
        let options = AppendOptions { fence: None, ..options };
        let mut lanes = lock(&client.lanes);
        if client.network.weather().is_fair() && !client.frozen.load(Acquire) && !lanes.contains_key(&key) {
            drop(lanes);
            return client.log.append(to, batch, options);
        }
        let (answer, answered) = oneshot::channel();
        let lane = lanes.entry(key).or_default();
        lane.waiting.push_back(Request { to, batch, options, answer });
        if !lane.running {
            lane.running = true;
            drop(lanes);
            #[allow(clippy::disallowed_methods)] // the simulation's one thread
            tokio::spawn(client.clone().carry(key));
        }
        let gone = client.indefinite(to, "the client is gone");
        async move { answered.await.unwrap_or(Err(gone)) }.boxed()
    }

    fn fence(&self, group: ProducerGroup, fence: Fence) {
        if self.client.is_local {
            self.client.log.fence(group, fence);
        }
    }

    fn room(&self) -> Result<(), AppendError> {
        self.client.log.room()
    }

    fn reader(
        &self,
        of: TopicPartition,
        position: Offset,
        wake: Arc<Notify>,
    ) -> Result<Box<dyn PartitionReader>, FetchError> {
        self.client.network.lock().wakers.push(Arc::downgrade(&wake));
        let reader = self.client.log.reader(of, position, wake)?;
        let (network, mutant) = (self.client.network.clone(), self.client.mutant);
        Ok(Box::new(RemoteReader { reader, of, network, mutant, was_cut: false, reads: 0 }))
    }

    fn extent(&self, of: TopicPartition) -> Result<Extent, FetchError> {
        self.client.log.extent(of)
    }
    fn trim(&self, of: TopicPartition, to: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        let to = if self.client.mutant == Some(Mutant::TrimTooFar) { to + 1 } else { to };
        (self.client.before_trim)(of, to);
        self.client.log.trim(of, to)
    }
    fn offset_at(&self, of: TopicPartition, timestamp_ms: i64) -> Result<Offset, FetchError> {
        self.client.log.offset_at(of, timestamp_ms)
    }
    fn timestamp_at(&self, of: TopicPartition, offset: Offset) -> Option<i64> {
        self.client.log.timestamp_at(of, offset)
    }
    fn close(&self) -> BoxFuture<'static, ()> {
        if self.client.is_local {
            return self.client.log.close();
        }
        // A client goes, the log stays.
        std::future::ready(()).boxed()
    }
}

struct RemoteReader {
    reader: Box<dyn PartitionReader>,
    of: TopicPartition,
    network: Network,
    mutant: Option<Mutant>,
    /// The connection was away.
    was_cut: bool,
    reads: u64,
}

impl PartitionReader for RemoteReader {
    fn try_next(&mut self, max_bytes: usize) -> Result<Option<Fetched>, FetchError> {
        let weather = self.network.weather();
        if weather.paused || weather.clogged >> (self.of.partition % 64) & 1 == 1 {
            self.was_cut = true;
            return Ok(None);
        }
        let from = self.reader.position();
        let fetched = self.reader.try_next(max_bytes)?;
        self.reads += u64::from(fetched.is_some());
        match self.mutant {
            Some(Mutant::ReaderSkips) if self.was_cut && fetched.is_some() => {
                self.was_cut = false;
                self.reader.try_next(max_bytes)
            }
            Some(Mutant::ReaderRepeats) if self.reads % 17 == 16 && fetched.is_some() => {
                self.reads += 1;
                self.reader.seek(from);
                Ok(fetched)
            }
            _ => Ok(fetched),
        }
    }
    fn position(&self) -> Offset {
        self.reader.position()
    }
    fn seek(&mut self, offset: Offset) {
        self.reader.seek(offset);
    }
}
