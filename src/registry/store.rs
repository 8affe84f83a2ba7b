//! The embedded registry: its state is the fold of the topic `_schemas` in Confluent's record layout, so that it outlives
//! the process and another registry can take over. One writer at a time; whoever writes has read everything before.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use runtime::env::{Clock, Env};
use runtime::log::{
    AppendError, AppendOptions, BatchBuilder, Compression, Durability, FetchError, Log, Offset, PartitionReader,
    ProducerGroup, TopicConfig, TopicPartition, walk,
};
use schemas::compat::Level;
use schemas::registry::{Config, Decided, FIRST_FREE_ID, Record, RecordError, Registry, RegistryError};
use tokio::sync::{Mutex, Notify};

/// The topic that holds the registry, one partition: Confluent's name for it.
pub const TOPIC: &str = "_schemas";
/// Bytes in flight: a few schemas.
const BUDGET_BYTES: usize = 8 << 20;
/// A batch of a compaction is closed at about this size.
const BATCH_BYTES: usize = 512 << 10;
/// Two processes on one Kafka may write at the same moment: who came second decides anew.
const TRIES: usize = 5;
/// Records that a new registry may have more than it needs.
const SLACK_RECORDS: usize = 1_000;

/// The topic as it is made.
pub fn topic() -> TopicConfig {
    let durability = Durability::Synced;
    TopicConfig { name: TOPIC.into(), partitions: 1, durability, retention_ms: None, compacted: true }
}

/// Why the registry cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log has no such topic and makes none.
    #[error("topic {TOPIC}: {0}")]
    Topic(#[from] AppendError),
    /// The topic cannot be read.
    #[error("topic {TOPIC}: {0}")]
    Fetch(#[from] FetchError),
    /// A record is not one of a registry.
    #[error("topic {TOPIC} offset {offset}: {error}; nothing was skipped")]
    Record { offset: i64, error: RecordError },
    /// A schema of the binary cannot be registered under its id.
    #[error(
        "schema {name} of this binary does not fit the registry: {error} The ids of the binary's schemas never change; start the version that wrote this directory, or use a new one"
    )]
    Builtin { name: &'static str, error: RegistryError },
}

impl OpenError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Topic(error) => error.kind(),
            Self::Fetch(error) => error.kind(),
            Self::Record { .. } => "REGISTRY_RECORD",
            Self::Builtin { .. } => "REGISTRY_BUILTIN",
        }
    }
}

/// A registry on a log of this process.
pub struct EmbeddedRegistry {
    log: Arc<dyn Log>,
    at: TopicPartition,
    group: ProducerGroup,
    clock: Clock,
    state: RwLock<Registry>,
    writer: Mutex<Follower>,
}

/// Where the fold stands.
struct Follower {
    reader: Box<dyn PartitionReader>,
    records: usize,
}

/// The registry that a log holds, read and nothing else; a log without its topic holds an empty one.
///
/// # Errors
/// [`OpenError`]; a record that cannot be read is never skipped.
pub fn read_only(log: &dyn Log) -> Result<Registry, OpenError> {
    let mut registry = Registry::new(FIRST_FREE_ID);
    if let Some(topic) = log.topic(TOPIC) {
        let at = TopicPartition { topic, partition: 0 };
        let extent = log.extent(at)?;
        let reader = log.reader(at, extent.start, Arc::new(Notify::new()))?;
        Follower { reader, records: 0 }.catch_up(extent.high_watermark, |record| registry.apply(&record))?;
    }
    Ok(registry)
}

impl EmbeddedRegistry {
    /// Reads the topic, makes it if it is absent, and compacts it where most of it is out of date.
    ///
    /// # Errors
    /// [`OpenError`]; a record that cannot be read is never skipped.
    pub async fn open(env: &Env, log: Arc<dyn Log>) -> Result<Self, OpenError> {
        let topic = log.ensure_topic(&topic())?;
        let at = TopicPartition { topic, partition: 0 };
        let reader = log.reader(at, log.extent(at)?.start, Arc::new(Notify::new()))?;
        let mut follower = Follower { reader, records: 0 };
        let mut registry = Registry::new(FIRST_FREE_ID);
        follower.catch_up(log.extent(at)?.high_watermark, |record| registry.apply(&record))?;
        let group = log.producer_group("registry", BUDGET_BYTES);
        let embedded = Self {
            log,
            at,
            group,
            clock: env.clock.clone(),
            state: RwLock::new(registry),
            writer: Mutex::new(follower),
        };
        embedded.compact().await?;
        Ok(embedded)
    }

    /// The state, for questions.
    pub fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides a change on the newest state and answers when it is durable. Given up in the middle, it may or may not
    /// have happened; the next writer reads what did.
    ///
    /// # Errors
    /// The refusal, or the log's failure as `Store`.
    pub async fn write<T>(
        &self,
        mut decide: impl FnMut(&Registry) -> Result<Decided<T>, RegistryError>,
    ) -> Result<T, RegistryError> {
        let store = |error: &dyn std::fmt::Display| RegistryError::Store(error.to_string());
        let mut follower = self.writer.lock().await;
        for _ in 0..TRIES {
            self.follow(&mut follower).map_err(|e| store(&e))?;
            let decided = decide(&self.read())?;
            if decided.records.is_empty() {
                return Ok(decided.answer);
            }
            self.append(&decided.records).await.map_err(|e| store(&e))?;
            self.follow(&mut follower).map_err(|e| store(&e))?;
            let state = self.read();
            if decided.records.iter().all(|record| state.stands(record)) {
                return Ok(decided.answer);
            }
        }
        Err(RegistryError::Store(format!("other processes were faster {TRIES} times; ask again")))
    }

    fn follow(&self, follower: &mut Follower) -> Result<(), OpenError> {
        let end = self.log.extent(self.at)?.high_watermark;
        follower.catch_up(end, |record| self.state.write().unwrap_or_else(PoisonError::into_inner).apply(&record))
    }

    /// Appends records in batches; the offset of the first.
    async fn append(&self, records: &[Record]) -> Result<i64, AppendError> {
        let now_ms = self.clock.wall_ms();
        let mut builder = BatchBuilder::new(Compression::None);
        let mut appends = Vec::new();
        let options = AppendOptions { group: self.group, fence: None };
        for record in records {
            let (key, value) = (record.key(), record.value());
            let record_bytes = key.len() + value.as_ref().map_or(0, String::len);
            if !builder.is_empty() && builder.bytes() + record_bytes > BATCH_BYTES {
                appends.push(self.log.append(self.at, builder.finish(), options));
            }
            let pushed = builder.push(now_ms, Some(key.as_bytes()), value.as_deref().map(str::as_bytes), &[]);
            pushed.map_err(|full| AppendError::TooLarge {
                topic: TOPIC.into(),
                partition: 0,
                bytes: full.record_bytes,
                limit_bytes: full.limit_bytes,
            })?;
        }
        if !builder.is_empty() {
            appends.push(self.log.append(self.at, builder.finish(), options));
        }
        let mut first = i64::MAX;
        for append in appends {
            first = first.min(append.await?);
        }
        Ok(first)
    }

    /// Writes the state anew and gives up what is before it, where that is worth it. A crash in between leaves both: the
    /// fold of old and new is the same state.
    async fn compact(&self) -> Result<(), OpenError> {
        let mut follower = self.writer.lock().await;
        let snapshot = self.read().snapshot();
        if follower.records <= 2 * snapshot.len() + SLACK_RECORDS {
            return Ok(());
        }
        let first = self.append(&snapshot).await?;
        self.follow(&mut follower)?;
        self.log.trim(self.at, first).await?;
        follower.records = snapshot.len();
        Ok(())
    }

    /// Makes the schemas of the binary known under their ids: those of topics as `TOPIC-value`, held to FULL_TRANSITIVE, all
    /// others under their own name.
    ///
    /// # Errors
    /// An id means another schema already, or the log fails.
    pub async fn register_builtins(&self, topics: &[(&str, u32)]) -> Result<(), OpenError> {
        let mut refused = None;
        let result = self
            .write(|registry| {
                let mut state = registry.clone();
                let mut records = Vec::new();
                for builtin in schemas::builtin() {
                    for subject in subjects_of(builtin, topics) {
                        match place(&mut state, &subject, builtin) {
                            Ok(new) => records.extend(new),
                            Err(error) => {
                                refused = Some((builtin.name, error.clone()));
                                return Err(error);
                            }
                        }
                    }
                }
                Ok(Decided { records, answer: () })
            })
            .await;
        result.map_err(|error| match refused {
            Some((name, error)) => OpenError::Builtin { name, error },
            None => OpenError::Builtin { name: "(any)", error },
        })
    }
}

/// Subjects under which a schema of the binary is known.
pub fn subjects_of(builtin: &schemas::Builtin, topics: &[(&str, u32)]) -> Vec<String> {
    let of_topics = topics.iter().filter(|(_, id)| *id == builtin.id);
    let subjects: Vec<_> = of_topics.map(|(topic, _)| format!("{topic}-value")).collect();
    if subjects.is_empty() { vec![builtin.name.to_owned()] } else { subjects }
}

fn place(state: &mut Registry, subject: &str, builtin: &schemas::Builtin) -> Result<Vec<Record>, RegistryError> {
    let is_new = state.own_config(subject).is_err();
    let mut records = state.place_builtin(subject, builtin.id, builtin.avsc)?.records;
    if is_new && !records.is_empty() {
        let config = Config { level: Level::FullTransitive, normalize: None };
        records.push(Record::Config(Some(subject.to_owned()), Some(config)));
    }
    records.iter().for_each(|record| state.apply(record));
    Ok(records)
}

impl Follower {
    /// Takes in every record up to `end`, what is readable now.
    fn catch_up(&mut self, end: Offset, mut apply: impl FnMut(Record)) -> Result<(), OpenError> {
        let Self { reader, records } = self;
        walk(reader.as_mut(), TOPIC, end, |record| {
            let (key, offset) = (record.key.unwrap_or_default(), record.offset);
            apply(Record::parse(key, record.value).map_err(|error| OpenError::Record { offset, error })?);
            *records += 1;
            Ok(())
        })
    }
}
