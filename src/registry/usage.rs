//! Who reads and writes which version of what: running processes say it in the topic `_usage`, one JSON record each, again
//! every few minutes. What a topic still holds follows from where each writer began and where it stood last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::env::{BulkheadRuntime, Env};
use runtime::log::{
    AppendError, AppendOptions, BatchBuilder, Compression, Durability, FetchError, Log, TopicConfig, TopicPartition,
    walk,
};
use runtime::service::ServiceDef;
use schemas::frame::wire_id;
use schemas::model::Schema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// The topic, one partition.
pub const TOPIC: &str = "_usage";
/// Said again after this.
const AGAIN: Duration = Duration::from_secs(300);
/// A process that was silent for this long is gone.
pub const LIVE_MS: i64 = 3 * 300_000;
/// Old words are of no use: whoever lives has said it anew, and hands on what is known of writers that are gone.
const RETENTION_MS: i64 = 3 * 24 * 3_600_000;
const BUDGET_BYTES: usize = 4 << 20;
/// Processes that are remembered: names come from configuration, and some make them up at each start.
const INSTANCES_MAX: usize = 1_000;

/// The topic as it is made.
pub fn topic() -> TopicConfig {
    let (durability, retention_ms) = (Durability::Synced, Some(RETENTION_MS));
    TopicConfig { name: TOPIC.into(), partitions: 1, durability, retention_ms, compacted: false }
}

/// A service of a process that reads a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderUse {
    pub service: String,
    pub instance: String,
    pub topic: String,
    pub schema: String,
    pub id: u32,
    pub fingerprint: String,
    pub seen_ms: i64,
}

/// A schema that somebody writes, or has written, to a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterUse {
    pub topic: String,
    pub schema: String,
    pub id: u32,
    pub fingerprint: String,
    /// Offset of each partition when it was first seen; records of it are not before.
    pub from: Vec<i64>,
    /// Offset of each partition when it was last seen; records of it are not at or behind.
    pub to: Vec<i64>,
    pub seen_ms: i64,
    /// Records of it may still be in the topic. Found when the question is answered.
    #[serde(default)]
    pub retained: bool,
}

/// Everything that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub readers: Vec<ReaderUse>,
    pub writers: Vec<WriterUse>,
}

/// Why usage cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error("topic {TOPIC}: {0}")]
    Append(#[from] AppendError),
    #[error("topic {TOPIC}: {0}")]
    Fetch(#[from] FetchError),
    #[error("no threads for usage: {0}")]
    Threads(#[from] std::io::Error),
}

impl UsageError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Append(error) => error.kind(),
            Self::Fetch(error) => error.kind(),
            Self::Threads(_) => "THREADS",
        }
    }
}

/// Says what this process uses, as long as it lives.
pub struct UsageReport {
    log: Arc<dyn Log>,
    env: Env,
    _runtime: BulkheadRuntime,
}

impl UsageReport {
    /// Says it once, and from now on again and again.
    ///
    /// # Errors
    /// The topic cannot be had.
    pub async fn start(
        env: &Env,
        log: &Arc<dyn Log>,
        services: &[ServiceDef],
        instance: &str,
    ) -> Result<Self, UsageError> {
        log.ensure_topic(&topic())?;
        let speaker =
            Speaker { log: log.clone(), env: env.clone(), own: own(services, instance), name: instance.into() };
        speaker.say().await?;
        let runtime = BulkheadRuntime::new(env, "usage", 1, 5)?;
        let clock = env.clock.clone();
        runtime.spawn(async move {
            loop {
                clock.sleep(AGAIN).await;
                if let Err(error) = speaker.say().await {
                    tracing::warn!(%error, "usage of schemas could not be told");
                }
            }
        });
        Ok(Self { log: log.clone(), env: env.clone(), _runtime: runtime })
    }

    /// What is known now.
    ///
    /// # Errors
    /// The topic cannot be read.
    pub fn manifest(&self) -> Result<Manifest, UsageError> {
        read(self.log.as_ref(), self.env.clock.wall_ms())
    }
}

struct Speaker {
    log: Arc<dyn Log>,
    env: Env,
    own: Manifest,
    name: String,
}

impl Speaker {
    async fn say(&self) -> Result<(), UsageError> {
        let now_ms = self.env.clock.wall_ms();
        let mut words = self.own.clone();
        words.readers.iter_mut().for_each(|reader| reader.seen_ms = now_ms);
        let known = read(self.log.as_ref(), now_ms)?;
        for writer in &mut words.writers {
            writer.seen_ms = now_ms;
            let (start, end) = extents(self.log.as_ref(), &writer.topic)?;
            let before = known.writers.iter().find(|w| w.topic == writer.topic && w.id == writer.id);
            let is_first = !known.writers.iter().any(|w| w.topic == writer.topic);
            writer.from = match before {
                Some(before) if before.from.len() == end.len() => before.from.clone(),
                // Nobody has said anything about this topic yet: what is in it is ours.
                _ if is_first => start,
                _ => end.clone(),
            };
            writer.to = end;
        }
        let others = known.writers.into_iter().filter(|w| w.retained);
        let others: Vec<_> =
            others.filter(|w| !words.writers.iter().any(|own| own.topic == w.topic && own.id == w.id)).collect();
        words.writers.extend(others);
        let value = serde_json::to_vec(&words).unwrap_or_default();
        let mut batch = BatchBuilder::new(Compression::Lz4);
        let pushed = batch.push(now_ms, Some(self.name.as_bytes()), Some(&value), &[]);
        pushed.map_err(|full| AppendError::TooLarge {
            topic: TOPIC.into(),
            partition: 0,
            bytes: full.record_bytes,
            limit_bytes: full.limit_bytes,
        })?;
        let Some(topic) = self.log.topic(TOPIC) else { return Ok(()) };
        let group = self.log.producer_group("usage", BUDGET_BYTES);
        let at = TopicPartition { topic, partition: 0 };
        self.log.append(at, batch.finish(), AppendOptions { group, fence: None }).await?;
        Ok(())
    }
}

/// What the services of this process read and write; without times and places.
fn own(services: &[ServiceDef], instance: &str) -> Manifest {
    let mut manifest = Manifest::default();
    let describe = |id: u32| {
        let builtin = schemas::builtin_by_id(id)?;
        let fingerprint = Schema::parse(builtin.avsc).ok()?.fingerprint();
        let fingerprint: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
        Some((builtin.name.to_owned(), wire_id(id), fingerprint))
    };
    let mut written = BTreeMap::new();
    for service in services {
        for topic in &service.spec.inputs {
            let Some((schema, id, fingerprint)) = describe(topic.schema_id) else { continue };
            manifest.readers.push(ReaderUse {
                service: service.spec.name.to_owned(),
                instance: instance.to_owned(),
                topic: topic.name.to_owned(),
                schema,
                id,
                fingerprint,
                seen_ms: 0,
            });
        }
        // Topics from outside are filled by the edge of this process.
        for topic in service.spec.inputs.iter().chain(&service.spec.outputs) {
            written.insert(topic.name, topic.schema_id);
        }
    }
    for (topic, schema_id) in written {
        let Some((schema, id, fingerprint)) = describe(schema_id) else { continue };
        let (from, to) = (vec![], vec![]);
        let topic = topic.to_owned();
        manifest.writers.push(WriterUse { topic, schema, id, fingerprint, from, to, seen_ms: 0, retained: false });
    }
    manifest
}

/// First and next offset of each partition of a topic.
fn extents(log: &dyn Log, topic: &str) -> Result<(Vec<i64>, Vec<i64>), FetchError> {
    let topics = log.topics();
    let Some((topic, config)) = topics.into_iter().find(|(_, config)| &*config.name == topic) else {
        return Ok((vec![], vec![]));
    };
    let mut both = (vec![], vec![]);
    for partition in 0..config.partitions {
        let extent = log.extent(TopicPartition { topic, partition })?;
        both.0.push(extent.start);
        both.1.push(extent.high_watermark);
    }
    Ok(both)
}

/// The newest words of each process, put together. What cannot be understood is somebody else's and left out.
///
/// # Errors
/// The topic cannot be read.
pub fn read(log: &dyn Log, now_ms: i64) -> Result<Manifest, UsageError> {
    let mut words: BTreeMap<Vec<u8>, Manifest> = BTreeMap::new();
    if let Some(topic) = log.topic(TOPIC) {
        let at = TopicPartition { topic, partition: 0 };
        let extent = log.extent(at)?;
        let mut reader = log.reader(at, extent.start, Arc::new(Notify::new()))?;
        walk(reader.as_mut(), TOPIC, extent.high_watermark, |record| {
            let parsed = serde_json::from_slice(record.value.unwrap_or_default());
            let name = record.key.unwrap_or_default().to_vec();
            if let Ok(manifest) = parsed
                && (words.len() < INSTANCES_MAX || words.contains_key(&name))
            {
                words.insert(name, manifest);
            }
            Ok::<(), FetchError>(())
        })?;
    }
    put_together(log, words.into_values(), now_ms)
}

fn put_together(log: &dyn Log, words: impl Iterator<Item = Manifest>, now_ms: i64) -> Result<Manifest, UsageError> {
    let mut readers = Vec::new();
    let mut writers: BTreeMap<(String, u32), WriterUse> = BTreeMap::new();
    for manifest in words {
        readers.extend(manifest.readers);
        for writer in manifest.writers {
            match writers.entry((writer.topic.clone(), writer.id)) {
                std::collections::btree_map::Entry::Vacant(free) => {
                    free.insert(writer);
                }
                std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().widen(&writer),
            }
        }
    }
    readers.sort_by(|a: &ReaderUse, b| (&a.topic, &a.service, &a.instance).cmp(&(&b.topic, &b.service, &b.instance)));
    let mut writers: Vec<WriterUse> = writers.into_values().collect();
    for writer in &mut writers {
        let (start, _) = extents(log, &writer.topic)?;
        let left = |(p, start): (usize, &i64)| {
            let (from, to) = (writer.from.get(p).copied().unwrap_or(0), writer.to.get(p).copied().unwrap_or(0));
            to > from.max(*start)
        };
        writer.retained = start.iter().enumerate().any(left) || now_ms - writer.seen_ms <= LIVE_MS;
    }
    Ok(Manifest { readers, writers })
}

impl WriterUse {
    fn widen(&mut self, other: &Self) {
        let each = |a: &mut Vec<i64>, b: &[i64], pick: fn(i64, i64) -> i64| {
            for (p, b) in b.iter().enumerate() {
                match a.get_mut(p) {
                    Some(a) => *a = pick(*a, *b),
                    None => a.push(*b),
                }
            }
        };
        each(&mut self.from, &other.from, i64::min);
        each(&mut self.to, &other.to, i64::max);
        self.seen_ms = self.seen_ms.max(other.seen_ms);
    }
}
