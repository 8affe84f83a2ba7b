//! One service, alone with its inputs, on a log of its own in virtual time.

use std::sync::Arc;
use std::time::Duration;

use schemas::codec::Encode;

use super::audit::{self, Account};
use super::fragile::FragileLog;
use crate::env::Env;
use crate::log::batch::Compression;
use crate::log::partitioner::partition;
use crate::log::segment::{EmbeddedLog, SegmentLogConfig};
use crate::log::storage::MemoryStorage;
use crate::log::{AppendOptions, BatchBuilder, Durability, Log, Record, TopicConfig, TopicPartition};
use crate::platform::{Bulkhead, Platform, PlatformConfig};
use crate::service::ServiceDef;
use crate::topology::{ServiceSpec, Topic, TopicKind};

/// Longer than anything that a service may need.
pub(super) const LONG: Duration = Duration::from_secs(3_600);
/// A batch of inputs.
const BATCH_RECORDS: usize = 20;

/// A record with its headers.
#[derive(Clone, Debug)]
struct Owned {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Events for a service's inputs, in the order in which they lie in its topics.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub(super) partitions: u32,
    records: Vec<(&'static str, u32, Owned)>,
}

impl Inputs {
    pub fn new(partitions: u32) -> Self {
        Self { partitions, records: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Adds an event, to the partition of its key.
    pub fn push<E: Encode>(&mut self, topic: &'static Topic, key: &str, timestamp_ms: i64, event: &E) {
        let mut value = Vec::new();
        schemas::frame::encode(event, &mut value);
        self.push_bytes(topic, key, timestamp_ms, Some(value));
    }

    /// Adds a record that may be no event at all.
    pub fn push_bytes(&mut self, topic: &'static Topic, key: &str, timestamp_ms: i64, value: Option<Vec<u8>>) {
        let to = partition(key.as_bytes(), self.partitions);
        let key = Some(key.as_bytes().to_vec());
        self.records.push((topic.name, to, Owned { timestamp_ms, key, value, headers: Vec::new() }));
    }

    /// Adds a record as it lay in another log, headers and all.
    pub fn push_record(&mut self, topic: &'static Topic, partition: u32, record: &Record<'_>) {
        let headers = record.headers.flatten().map(|(name, value)| (name.to_vec(), value.unwrap_or_default().to_vec()));
        let owned = Owned {
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        };
        self.records.push((topic.name, partition, owned));
    }

    /// Records of the topics that `is_meant` names.
    pub(super) fn count(&self, is_meant: impl Fn(&str) -> bool) -> u64 {
        self.records.iter().filter(|(topic, ..)| is_meant(topic)).count() as u64
    }

    /// When the last of them happened, ms.
    fn last_ms(&self) -> i64 {
        self.records.iter().map(|(_, _, record)| record.timestamp_ms).max().unwrap_or(1_700_000_000_000)
    }

    fn of(&self, topic: &str, partition: u32) -> impl Iterator<Item = &Owned> {
        self.records.iter().filter(move |(name, at, _)| (*name, *at) == (topic, partition)).map(|(_, _, record)| record)
    }
}

/// A service, its log, and the processes that come and go over it.
pub struct World {
    pub env: Env,
    def: ServiceDef,
    inputs: Inputs,
    log: Arc<dyn Log>,
    pub(super) fragile: Arc<FragileLog>,
    pub config: PlatformConfig,
    pub platform: Platform,
}

/// Runs a test in a world of its own; the service has just been started over all its inputs.
pub fn run<T>(def: &ServiceDef, inputs: &Inputs, config: PlatformConfig, test: impl AsyncFnOnce(&mut World) -> T) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let env = Env::simulation(1, inputs.last_ms());
        let storage = Arc::new(MemoryStorage::new());
        let log = EmbeddedLog::open(&env, storage, SegmentLogConfig::small()).expect("an empty log");
        append(log.as_ref(), &def.spec.inputs, inputs).await;
        let fragile = FragileLog::over(log.clone());
        let config = PlatformConfig { partitions: inputs.partitions, ..config };
        let platform = launch(&env, &fragile, def, &config).await;
        let (def, inputs) = (def.clone(), inputs.clone());
        test(&mut World { env, def, inputs, log, fragile, config, platform }).await
    })
}

/// Starts the service alone; who writes its inputs is declared and runs elsewhere.
async fn launch(env: &Env, log: &Arc<FragileLog>, def: &ServiceDef, config: &PlatformConfig) -> Platform {
    let mut elsewhere = def.clone();
    let outputs = def.spec.inputs.iter().copied().filter(|topic| topic.kind != TopicKind::External).collect();
    elsewhere.spec = ServiceSpec { name: "elsewhere", inputs: Vec::new(), outputs, ..def.spec.clone() };
    let config = PlatformConfig { only: Some(vec![def.spec.name.to_string()]), ..config.clone() };
    Platform::start(env.clone(), log.clone(), vec![def.clone(), elsewhere], config).await.expect("the service starts")
}

async fn append(log: &dyn Log, topics: &[&'static Topic], inputs: &Inputs) {
    let options = AppendOptions { group: log.producer_group("inputs", 64 << 20), fence: None };
    for topic in topics {
        let config = TopicConfig {
            name: topic.name.into(),
            partitions: inputs.partitions,
            durability: Durability::Synced,
            retention_ms: topic.retention_ms,
            compacted: topic.kind == TopicKind::Compacted,
        };
        let id = log.ensure_topic(&config).expect("made");
        for partition in 0..inputs.partitions {
            let records: Vec<&Owned> = inputs.of(topic.name, partition).collect();
            for some in records.chunks(BATCH_RECORDS) {
                let mut builder = BatchBuilder::new(Compression::None);
                for record in some {
                    let headers: Vec<(&[u8], &[u8])> =
                        record.headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
                    builder
                        .push(record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), &headers)
                        .expect("small");
                }
                let to = TopicPartition { topic: id, partition };
                log.append(to, builder.finish(), options).await.expect("appended");
            }
        }
    }
}

impl World {
    /// The compartment of the service.
    pub fn bulkhead(&self) -> &Bulkhead {
        &self.platform.bulkheads[0]
    }

    pub async fn sleep_ms(&self, ms: u64) {
        self.env.clock.sleep(Duration::from_millis(ms)).await;
    }

    /// Waits until everything has ended.
    pub async fn finish(&self) {
        let bulkhead = self.bulkhead();
        assert!(
            self.platform.idle(LONG).await,
            "lag {}, waiting {}, paused {:?}, last error {:?}",
            bulkhead.lag(),
            bulkhead.parked(),
            bulkhead.paused(),
            bulkhead.stats.last_error()
        );
    }

    /// The process dies; another one takes up what it left.
    pub async fn restart(&mut self) {
        self.fragile.die();
        self.platform.kill();
        self.sleep_ms(20).await;
        self.fragile = FragileLog::over(self.log.clone());
        self.platform = launch(&self.env, &self.fragile, &self.def, &self.config).await;
    }

    /// Another process takes the partitions over while this one is at work; the old one is ended later.
    pub async fn take_over(&mut self) {
        let fragile = FragileLog::over(self.log.clone());
        let platform = launch(&self.env, &fragile, &self.def, &self.config).await;
        let old = std::mem::replace(&mut self.platform, platform);
        self.sleep_ms(50).await;
        std::mem::replace(&mut self.fragile, fragile).die();
        old.kill();
    }

    /// Appends all inputs once more, byte for byte.
    pub async fn repeat_inputs(&self) {
        append(self.log.as_ref(), &self.def.spec.inputs, &self.inputs).await;
    }

    /// Appends more inputs.
    pub async fn append(&self, inputs: &Inputs) {
        append(self.log.as_ref(), &self.def.spec.inputs, inputs).await;
    }

    pub(super) fn account(&self) -> Account {
        audit::account(self.log.as_ref(), &self.def.spec, self.inputs.partitions)
    }
}
