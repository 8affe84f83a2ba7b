//! Apache Kafka as the log: the same trait, for what one machine cannot hold.
//!
//! ```text
//! append -> group (budget, order) -> a producer of the shard's ownership -> delivery reports -> answer   (produce)
//! reader <- record batches <- messages, taken in batches <- a queue of the partition                     (reader, native)
//! ```
//! What the library's safe binding lacks is in `native`, what may block is done by `keeper`. No reader is paused: a
//! partition that is not read fills its queue of a mebibyte, and then the client stops fetching it.

mod config;
mod error;
mod keeper;
mod member;
mod native;
mod produce;
mod reader;
mod told;
mod topics;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::topic_partition_list::{Offset as At, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{Notify, oneshot};

use self::keeper::{Chore, Keeper};
use self::native::Reading;
use self::produce::{Group, Job};
use self::reader::{Clients, KafkaReader};
use self::told::Told;
use self::topics::{Partition, Place, Topic, Topics};
use super::batch::Batch;
use super::{
    AppendError, AppendOptions, Appending, Durability, Extent, Fence, FetchError, JoinError, Log, Membership, Offset,
    PartitionReader, ProducerGroup, TopicConfig, TopicId, TopicPartition, is_topic_name,
};
use crate::env::Env;

pub use self::config::{GroupConfig, GroupProtocol, KafkaConfig};
pub use self::error::OpenError;

/// How long the first answer of a cluster may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long an administrative request may take.
const ADMIN_LIMIT: Duration = Duration::from_secs(15);
/// Asked again after this.
const METADATA_STEP: Duration = Duration::from_millis(50);
/// How long a close waits for what is in flight.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// The log of a cluster.
pub struct KafkaLog {
    shared: Arc<Shared>,
    asking: Arc<Reading>,
    admin: Arc<AdminClient<Told>>,
}

/// What readers, producers and the keeper share.
struct Shared {
    env: Env,
    config: KafkaConfig,
    topics: ArcSwap<Topics>,
    groups: Mutex<Vec<Arc<Group>>>,
    clients: Clients,
    keeper: Keeper,
    closed: AtomicBool,
}

impl Shared {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn place(&self, at: TopicPartition) -> Option<Place> {
        Place::of(&self.topics.load(), at)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KafkaLog {
    /// Connects, and waits for the first answer. Blocks: call it before anything runs, or on a thread that may wait.
    ///
    /// # Errors
    /// Settings that the client library refuses; no answer within ten seconds.
    pub fn open(env: &Env, config: KafkaConfig) -> Result<Arc<Self>, OpenError> {
        let refused = |error| OpenError::refused(&config.brokers, error);
        let told = Told::default();
        let admin: AdminClient<Told> =
            AdminClient::from_config_and_context(&config.admin(), told.clone()).map_err(refused)?;
        let asking = Reading::new(&config.consumer()).map_err(refused)?;
        let waited_ms = CONNECT_LIMIT.as_millis() as u64;
        let answer = admin.inner().fetch_metadata(None, CONNECT_LIMIT);
        answer.map_err(|error| told.unreachable(&config.brokers, waited_ms, &error))?;
        let (keeper, todo) = Keeper::new();
        let shared = Arc::new(Shared {
            env: env.clone(),
            config,
            topics: ArcSwap::default(),
            groups: Mutex::default(),
            clients: Clients::default(),
            keeper,
            closed: AtomicBool::new(false),
        });
        keeper::start(&shared, todo, asking.clone())?;
        Ok(Arc::new(Self { shared, asking, admin: Arc::new(admin) }))
    }

    fn broker_name(&self, name: &str) -> String {
        format!("{}{name}", self.shared.config.topic_prefix)
    }

    /// Partitions of a topic of the cluster; `None` if it has none of this name. Blocks.
    pub fn partitions_of(&self, name: &str) -> Result<Option<u32>, AppendError> {
        let name = &self.broker_name(name);
        let unanswered = |error: rdkafka::error::KafkaError| AppendError::Unknown {
            what: format!("topic {name}: no answer from {}: {error}", self.shared.config.brokers),
        };
        let until_us = self.shared.env.clock.mono_us() + ADMIN_LIMIT.as_micros() as u64;
        loop {
            let found = self.admin.inner().fetch_metadata(Some(name), ADMIN_LIMIT).map_err(unanswered)?;
            let Some(topic) = found.topics().iter().find(|topic| topic.name() == name) else { return Ok(None) };
            match topic.error().map(RDKafkaErrorCode::from) {
                None if !topic.partitions().is_empty() => return Ok(Some(topic.partitions().len() as u32)),
                Some(RDKafkaErrorCode::UnknownTopicOrPartition) => return Ok(None),
                // A topic that was just made has no leaders yet.
                _ if self.shared.env.clock.mono_us() < until_us => std::thread::sleep(METADATA_STEP),
                code => {
                    let what = format!("topic {name} has no leader: {code:?}; are all brokers up?");
                    return Err(AppendError::Unknown { what });
                }
            }
        }
    }

    /// Checks with one question that the cluster has all of these topics, so that whoever made none is told of all at
    /// once. Nothing is asked of a log that makes what it lacks. Blocks.
    ///
    /// # Errors
    /// [`OpenError::TopicsMissing`] with every name; no answer.
    pub fn require(&self, wanted: &[TopicConfig]) -> Result<(), OpenError> {
        let config = &self.shared.config;
        if config.create_with_replicas.is_some() {
            return Ok(());
        }
        let brokers = || config.brokers.clone();
        let found = self
            .admin
            .inner()
            .fetch_metadata(None, ADMIN_LIMIT)
            .map_err(|error| OpenError::Unanswered { brokers: brokers(), reason: error.to_string() })?;
        let known: BTreeSet<&str> = found.topics().iter().map(|topic| topic.name()).collect();
        let names = wanted.iter().map(|topic| self.broker_name(&topic.name));
        let missing: Vec<String> = names.filter(|name| !known.contains(name.as_str())).collect();
        if missing.is_empty() {
            return Ok(());
        }
        // Topics of one partition are the platform's own; what is joined has the most.
        let partitions = wanted.iter().map(|topic| topic.partitions).max().unwrap_or(1);
        let make = config.create_command(partitions);
        Err(OpenError::TopicsMissing { brokers: brokers(), wanted: wanted.len(), missing, make })
    }

    /// Takes the cluster's topics under the prefix as they are, so that they can be read without being declared. Blocks.
    ///
    /// # Errors
    /// No answer, or a topic that cannot be used.
    pub fn adopt_all(&self) -> Result<(), AppendError> {
        let unanswered = |error: rdkafka::error::KafkaError| AppendError::Unknown {
            what: format!("topics: no answer from {}: {error}", self.shared.config.brokers),
        };
        let found = self.admin.inner().fetch_metadata(None, ADMIN_LIMIT).map_err(unanswered)?;
        for topic in found.topics() {
            let name = topic.name().strip_prefix(&self.shared.config.topic_prefix);
            let Some(name) = name.filter(|name| !name.is_empty() && !name.starts_with("__")) else { continue };
            let partitions = topic.partitions().len() as u32;
            let durability = Durability::Synced;
            let config =
                TopicConfig { name: name.into(), partitions, durability, retention_ms: None, compacted: false };
            self.take_in(&config)?;
        }
        Ok(())
    }

    fn make(&self, config: &TopicConfig, replicas: i32) -> Result<(), AppendError> {
        let retention_ms = config.retention_ms.unwrap_or(-1).to_string();
        let in_sync = if replicas > 1 { "2" } else { "1" };
        let name = self.broker_name(&config.name);
        let topic = NewTopic::new(&name, config.partitions as i32, TopicReplication::Fixed(replicas))
            .set("cleanup.policy", if config.compacted { "compact" } else { "delete" })
            .set("retention.ms", &retention_ms)
            .set("retention.bytes", "-1")
            .set("min.insync.replicas", in_sync)
            // Event time is what the outside says, wrong clocks included. As it comes, a broker refuses what is an hour
            // ahead, and the shard that has it to write would try for ever.
            .set("message.timestamp.after.max.ms", "9223372036854775807")
            .set("unclean.leader.election.enable", "false");
        let options = AdminOptions::new().operation_timeout(Some(ADMIN_LIMIT)).request_timeout(Some(ADMIN_LIMIT));
        let answer = wait(self.admin.create_topics([&topic], &options));
        let refused = |reason: String| AppendError::Unknown { what: format!("topic {}: {reason}", config.name) };
        match answer {
            Ok(Ok(results)) => match results.into_iter().find_map(Result::err) {
                // Another process may have been first.
                Some((_, code)) if code != RDKafkaErrorCode::TopicAlreadyExists => Err(refused(code.to_string())),
                _ => self.wait_for(config),
            },
            Ok(Err(error)) => Err(refused(error.to_string())),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// The brokers tell of a topic a moment after they have made it.
    fn wait_for(&self, config: &TopicConfig) -> Result<(), AppendError> {
        let until_us = self.shared.env.clock.mono_us() + ADMIN_LIMIT.as_micros() as u64;
        while self.partitions_of(&config.name)?.is_none() {
            if self.shared.env.clock.mono_us() > until_us {
                let what = format!("topic {}: made, but not told of within {ADMIN_LIMIT:?}", config.name);
                return Err(AppendError::Unknown { what });
            }
            std::thread::sleep(METADATA_STEP);
        }
        Ok(())
    }

    /// What the cluster has, made if that is allowed.
    fn agree(&self, config: &TopicConfig) -> Result<(), AppendError> {
        let refuse = |what: String| Err(AppendError::Unknown { what });
        let count = match (self.partitions_of(&config.name)?, self.shared.config.create_with_replicas) {
            (None, Some(replicas)) => {
                self.make(config, replicas)?;
                config.partitions
            }
            (None, None) => {
                let (name, brokers) = (self.broker_name(&config.name), &self.shared.config.brokers);
                let make = self.shared.config.create_command(config.partitions);
                return refuse(format!("topic {name} is missing at {brokers}; make what is missing with `{make}`"));
            }
            (Some(count), _) => count,
        };
        if count != config.partitions {
            return refuse(format!(
                "topic {} has {count} partitions, {} were asked for; the count of a topic never changes",
                config.name, config.partitions
            ));
        }
        Ok(())
    }

    /// Gives a topic of the cluster its id.
    fn take_in(&self, config: &TopicConfig) -> Result<TopicId, AppendError> {
        let broker_name = self.broker_name(&config.name);
        let c_name = CString::new(&*broker_name).map_err(|error| AppendError::Unknown { what: error.to_string() })?;
        let mut id = TopicId(0);
        self.shared.topics.rcu(|topics| {
            let known = topics.iter().find(|topic| topic.config.name == config.name);
            id = known.map_or(TopicId(topics.len() as u16), |topic| topic.id);
            let mut all = Topics::clone(topics);
            if known.is_none() {
                let partitions = (0..config.partitions).map(|_| Partition::default()).collect();
                let (config, c_name, broker_name) = (config.clone(), c_name.clone(), broker_name.clone());
                all.push(Arc::new(Topic { id, config, broker_name, c_name, partitions }));
            }
            all
        });
        // The offsets are known before anybody asks.
        let topics = self.shared.topics.load();
        if let Some(topic) = topics.get(id.0 as usize) {
            let places: Vec<_> = (0..config.partitions).map(|p| (topic.c_name.as_c_str(), p)).collect();
            let starts = self.asking.offsets(&places, native::End::First, ADMIN_LIMIT);
            let ends = self.asking.offsets(&places, native::End::Next, ADMIN_LIMIT);
            for ((partition, start), end) in topic.partitions.iter().zip(starts).zip(ends) {
                start.into_iter().for_each(|start| partition.starts_at(start));
                end.into_iter().for_each(|end| partition.already(end));
            }
        }
        Ok(id)
    }

    fn check(&self, to: TopicPartition, batch: &Bytes) -> Result<Place, AppendError> {
        if self.shared.is_closed() {
            return Err(AppendError::Closed);
        }
        let unknown = || AppendError::Unknown { what: format!("partition {} of topic {}", to.partition, to.topic.0) };
        let place = self.shared.place(to).ok_or_else(unknown)?;
        let malformed = |reason: String| AppendError::Malformed { reason };
        let (parsed, rest) = Batch::parse(batch).map_err(|error| malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed(format!("{} bytes behind the batch", rest.len())));
        }
        parsed.check_crc().map_err(|error| malformed(error.to_string()))?;
        Ok(place)
    }
}

/// Waits for a future of the library, which needs no runtime, on a thread of its own: the caller may be inside one.
fn wait<F: Future + Send>(future: F) -> std::io::Result<F::Output>
where
    F::Output: Send,
{
    std::thread::scope(|scope| {
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            Ok(runtime.block_on(future))
        };
        std::thread::Builder::new()
            .name("log-kafka-admin".to_owned())
            .spawn_scoped(scope, run)?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl Log for KafkaLog {
    fn ensure_topic(&self, config: &TopicConfig) -> Result<TopicId, AppendError> {
        if !is_topic_name(&config.name) || !is_topic_name(&self.broker_name(&config.name)) {
            let what = format!("{:?} is not a topic name (letters, digits, . _ -, at most 249)", config.name);
            return Err(AppendError::Unknown { what });
        }
        self.agree(config)?;
        self.take_in(config)
    }

    fn topics(&self) -> Vec<(TopicId, TopicConfig)> {
        let mut all: Vec<_> = self.shared.topics.load().iter().map(|t| (t.id, t.config.clone())).collect();
        all.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        all
    }

    fn topic(&self, name: &str) -> Option<TopicId> {
        self.shared.topics.load().iter().find(|topic| &*topic.config.name == name).map(|topic| topic.id)
    }

    fn producer_group(&self, name: &str, budget_bytes: usize) -> ProducerGroup {
        let mut groups = lock(&self.shared.groups);
        let known = groups.iter().position(|group| group.name == name);
        let at = known.unwrap_or_else(|| {
            groups.push(Group::new(&self.shared, name, budget_bytes));
            groups.len() - 1
        });
        ProducerGroup(at as u16)
    }

    fn append(&self, to: TopicPartition, batch: Bytes, options: AppendOptions) -> Appending {
        let (place, group) = match self.check(to, &batch) {
            Ok(place) => (place, lock(&self.shared.groups).get(options.group.0 as usize).cloned()),
            Err(error) => return std::future::ready(Err(error)).boxed(),
        };
        let Some(group) = group else {
            let what = format!("producer group {}", options.group.0);
            return std::future::ready(Err(AppendError::Unknown { what })).boxed();
        };
        let (answer, answered) = oneshot::channel();
        let (topic, partition) = (place.name().clone(), place.partition);
        group.append(Job { place, batch, fence: options.fence, answer });
        async move {
            answered.await.unwrap_or_else(|_| {
                Err(AppendError::Indefinite { topic, partition, reason: "the producer ended".into() })
            })
        }
        .boxed()
    }

    fn fence(&self, group: ProducerGroup, fence: Fence) {
        let group = lock(&self.shared.groups).get(group.0 as usize).cloned();
        if let Some(group) = group {
            group.fence(fence);
        }
    }

    /// The brokers' disks are theirs: they refuse, and what is refused is sent again.
    fn room(&self) -> Result<(), AppendError> {
        if self.shared.is_closed() { Err(AppendError::Closed) } else { Ok(()) }
    }

    fn reader(
        &self,
        of: TopicPartition,
        position: Offset,
        wake: Arc<Notify>,
    ) -> Result<Box<dyn PartitionReader>, FetchError> {
        let unknown = || FetchError::Unknown { what: format!("partition {} of topic {}", of.partition, of.topic.0) };
        let place = self.shared.place(of).ok_or_else(unknown)?;
        Ok(Box::new(KafkaReader::new(self.shared.clone(), place, position, wake)))
    }

    fn extent(&self, of: TopicPartition) -> Result<Extent, FetchError> {
        let unknown = || FetchError::Unknown { what: format!("partition {} of topic {}", of.partition, of.topic.0) };
        Ok(self.shared.place(of).ok_or_else(unknown)?.state().extent())
    }

    fn offset_at(&self, of: TopicPartition, timestamp_ms: i64) -> Result<Offset, FetchError> {
        if self.shared.is_closed() {
            return Err(FetchError::Closed);
        }
        let unknown = || FetchError::Unknown { what: format!("partition {} of topic {}", of.partition, of.topic.0) };
        let place = self.shared.place(of).ok_or_else(unknown)?;
        let ask = |end| {
            let found =
                self.asking.offsets(&[(&place.topic.c_name, place.partition)], end, ADMIN_LIMIT).pop().flatten();
            found.ok_or_else(|| FetchError::Io {
                file: format!("{}-{}", place.topic.broker_name, place.partition),
                reason: format!("{} did not say which offset belongs to a time", self.shared.config.brokers),
            })
        };
        // The end first: what is appended between the two questions is not passed over.
        let end = ask(native::End::Next)?;
        let found = ask(native::End::At { timestamp_ms })?;
        Ok(if found < 0 { end } else { found })
    }

    fn trim(&self, of: TopicPartition, to: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        let (admin, place) = (self.admin.clone(), self.shared.place(of));
        async move {
            let unknown =
                || AppendError::Unknown { what: format!("partition {} of topic {}", of.partition, of.topic.0) };
            let place = place.ok_or_else(unknown)?;
            if to <= place.state().extent().start {
                return Ok(());
            }
            let (topic, partition) = (place.name().clone(), place.partition);
            let failed = |reason: String| AppendError::Indefinite { topic: topic.clone(), partition, reason };
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&place.topic.broker_name, partition as i32, At::Offset(to))
                .map_err(|error| failed(error.to_string()))?;
            let options = AdminOptions::new().operation_timeout(Some(ADMIN_LIMIT)).request_timeout(Some(ADMIN_LIMIT));
            let done = admin.delete_records(&list, &options).await.map_err(|error| failed(error.to_string()))?;
            if let Some(Err(error)) = done.elements().first().map(|element| element.error()) {
                return Err(failed(error.to_string()));
            }
            place.state().starts_at(to);
            Ok(())
        }
        .boxed()
    }

    fn timestamp_at(&self, of: TopicPartition, offset: Offset) -> Option<i64> {
        self.shared.place(of)?.state().timestamp_at(offset)
    }

    fn join(&self, group: &str, topic: TopicId) -> Result<Option<Membership>, JoinError> {
        let Some(config) = self.shared.config.member(&self.broker_name(group)) else { return Ok(None) };
        let topics = self.shared.topics.load();
        let Some(topic) = topics.get(topic.0 as usize) else {
            let reason = format!("topic {} is unknown", topic.0);
            return Err(JoinError::Refused { group: group.to_owned(), reason });
        };
        member::join(config, self.broker_name(group), topic.broker_name.clone()).map(Some)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        async move {
            if shared.closed.swap(true, Ordering::AcqRel) {
                return;
            }
            let groups: Vec<_> = lock(&shared.groups).clone();
            let until_us = shared.env.clock.mono_us() + CLOSE_LIMIT.as_micros() as u64;
            while groups.iter().any(|group| group.in_flight()) && shared.env.clock.mono_us() < until_us {
                shared.env.clock.sleep(Duration::from_millis(5)).await;
            }
            for producer in groups.iter().flat_map(|group| group.close()) {
                shared.keeper.give(Chore::End(producer));
            }
        }
        .boxed()
    }
}
