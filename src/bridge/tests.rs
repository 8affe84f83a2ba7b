use std::sync::atomic::{AtomicU64, Ordering};

use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::{Call, CallKind, Fault, MemoryStorage, StorageHook};
use runtime::log::{AppendOptions, BatchBuilder, Compression, Durability, FetchError, TopicPartition, walk};
use schemas::registry::Submission;
use tokio::sync::Notify;

use super::*;
use crate::registry::store::EmbeddedRegistry;

const PARTITIONS: u32 = 2;
/// Offset, time, key, value, headers.
type Found = (Offset, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Vec<u8>)>);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

fn open(env: &Env, storage: &MemoryStorage) -> Result<Arc<dyn Log>, String> {
    let log = EmbeddedLog::open(env, Arc::new(storage.mount()), SegmentLogConfig::small());
    log.map(|log| log as Arc<dyn Log>).map_err(|error| error.to_string())
}

fn topic(name: &str) -> TopicConfig {
    TopicConfig {
        name: name.into(),
        partitions: PARTITIONS,
        durability: Durability::Synced,
        retention_ms: None,
        compacted: false,
    }
}

/// Appends `records` to each partition, a few a batch, tombstones and records without a key among them.
async fn fill(log: &dyn Log, name: &str, records: u64, rng: &mut fastrand::Rng) {
    let topic = log.ensure_topic(&topic(name)).expect("made");
    let options = AppendOptions { group: log.producer_group("test", 1 << 20), fence: None };
    for partition in 0..PARTITIONS {
        let mut left = records;
        while left > 0 {
            let mut batch = BatchBuilder::new(if rng.bool() { Compression::Lz4 } else { Compression::None });
            for _ in 0..rng.u64(1..=left.min(7)) {
                let (key, value) = (format!("key-{}", rng.u8(..)), vec![rng.u8(..); rng.usize(1..3_000)]);
                let key = rng.bool().then_some(key.as_bytes());
                let value = (rng.u8(0..8) > 0).then_some(&*value);
                batch.push(rng.i64(0..1 << 40), key, value, &[(b"own", b"header"), (b"own", b"")]).expect("fits");
                left -= 1;
            }
            log.append(TopicPartition { topic, partition }, batch.finish(), options).await.expect("appended");
        }
    }
}

fn read(log: &dyn Log, name: &str, partition: u32) -> Vec<Found> {
    let Some(topic) = log.topic(name) else { return Vec::new() };
    let of = TopicPartition { topic, partition };
    let extent = log.extent(of).expect("there");
    let mut reader = log.reader(of, extent.start, Arc::new(Notify::new())).expect("readable");
    let mut found = Vec::new();
    walk::<FetchError>(reader.as_mut(), name, extent.high_watermark, |record| {
        let headers = record.headers.map(|header| {
            let (name, value) = header.expect("whole");
            (name.to_vec(), value.expect("some").to_vec())
        });
        let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
        found.push((record.offset, record.timestamp_ms, key, value, headers.collect()));
        Ok(())
    })
    .expect("readable");
    found
}

/// What the target must hold: the source's records, each with its header.
fn expected(log: &dyn Log, name: &str, partition: u32) -> Vec<Found> {
    let mut all = read(log, name, partition);
    for (offset, .., headers) in &mut all {
        headers.push((HEADER.as_bytes().to_vec(), position::text(name, partition, *offset).into_bytes()));
    }
    all
}

async fn carry(env: &Env, from: &dyn Log, to: Arc<dyn Log>, manner: Manner) -> Result<Vec<Carried>, BridgeError> {
    let mut bridge = Bridge::open(env, from, to, &["t".to_owned()], manner)?;
    let (carried, result) = bridge.run(std::future::pending()).await;
    result.map(|()| carried)
}

/// Ends the process in its `left`th change of the disk.
struct DieIn {
    left: Arc<AtomicU64>,
    rng: fastrand::Rng,
}

impl StorageHook for DieIn {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        if matches!(call.kind, CallKind::Read | CallKind::Open) || self.left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return Fault::None;
        }
        let bytes = self.rng.usize(0..=call.content.len());
        if self.rng.bool() { Fault::Kill { bytes } } else { Fault::Error }
    }
}

#[test]
fn each_record_arrives_once_whenever_the_target_dies() {
    let mut deaths = 0;
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (source, target) = (MemoryStorage::new(), MemoryStorage::new());
        let lives = 5;
        for life in 0..lives {
            block_on(async {
                let from = open(&Env::simulation(life, 0), &source).expect("opens");
                fill(from.as_ref(), "t", rng.u64(1..80), &mut rng).await;
                let left = if life + 1 == lives { u64::MAX } else { rng.u64(1..40) };
                target.set_hook(Some(Box::new(DieIn { left: Arc::new(AtomicU64::new(left)), rng: rng.fork() })));
                let env = Env::simulation(life, 0);
                let carried = match open(&env, &target) {
                    Ok(to) => carry(&env, from.as_ref(), to, Manner::default()).await.map_err(|e| e.to_string()),
                    Err(error) => Err(error),
                };
                deaths += u64::from(carried.is_err());
                assert!(carried.is_ok() || life + 1 < lives, "seed {seed}: {carried:?}");
                from.close().await;
            });
            source.kill();
            target.crash(&mut rng);
        }
        block_on(async {
            let env = Env::simulation(9, 0);
            let (from, to) = (open(&env, &source).expect("opens"), open(&env, &target).expect("opens"));
            for partition in 0..PARTITIONS {
                let (stands, wanted) = (read(to.as_ref(), "t", partition), expected(from.as_ref(), "t", partition));
                assert!(stands == wanted, "seed {seed}: {} of {}", stands.len(), wanted.len());
            }
        });
    }
    assert!(deaths > 60, "{deaths}: processes die");
}

#[test]
fn a_topic_that_goes_both_ways_comes_to_rest() {
    block_on(async {
        let env = Env::simulation(1, 0);
        let (a, b) =
            (open(&env, &MemoryStorage::new()).expect("opens"), open(&env, &MemoryStorage::new()).expect("opens"));
        let mut rng = fastrand::Rng::with_seed(1);
        fill(a.as_ref(), "t", 50, &mut rng).await;
        fill(b.as_ref(), "t", 30, &mut rng).await;
        let there = carry(&env, a.as_ref(), b.clone(), Manner::default()).await.expect("carried");
        assert!(there.iter().all(|lane| (lane.records, lane.returned, lane.next) == (50, 0, 50)), "{there:?}");
        let back = carry(&env, b.as_ref(), a.clone(), Manner::default()).await.expect("carried");
        assert!(back.iter().all(|lane| (lane.records, lane.returned, lane.next) == (30, 50, 80)), "{back:?}");
        let again = carry(&env, a.as_ref(), b, Manner::default()).await.expect("carried");
        assert!(again.iter().all(|lane| (lane.began_at, lane.records, lane.returned) == (50, 0, 30)), "{again:?}");
    });
}

#[test]
fn another_source_is_refused_and_nothing_lost_is_passed_over() {
    block_on(async {
        let env = Env::simulation(1, 0);
        let new = || open(&env, &MemoryStorage::new()).expect("opens");
        let (a, other, to) = (new(), new(), new());
        fill(a.as_ref(), "t", 40, &mut fastrand::Rng::with_seed(1)).await;
        fill(other.as_ref(), "t", 40, &mut fastrand::Rng::with_seed(2)).await;
        carry(&env, a.as_ref(), to.clone(), Manner::default()).await.expect("carried");
        for source in [&other, &new()] {
            source.ensure_topic(&topic("t")).expect("made");
            let refused = carry(&env, source.as_ref(), to.clone(), Manner::default()).await.expect_err("refused");
            assert_eq!(refused.kind(), "OTHER_SOURCE", "{refused}");
        }
        fill(a.as_ref(), "t", 40, &mut fastrand::Rng::with_seed(3)).await;
        let id = a.topic("t").expect("there");
        a.trim(TopicPartition { topic: id, partition: 1 }, 50).await.expect("trimmed");
        let gone = carry(&env, a.as_ref(), to.clone(), Manner::default()).await.expect_err("refused");
        assert!(gone.to_string().contains("t-1: records 40 to 49"), "{gone}");
        let manner = Manner { accept_gone: true, ..Manner::default() };
        let carried = carry(&env, a.as_ref(), to, manner).await.expect("carried");
        assert_eq!(carried.iter().map(|lane| (lane.records, lane.gone)).collect::<Vec<_>>(), [(40, 0), (30, 10)]);
        let missing = Bridge::open(&env, new().as_ref(), new(), &["t".to_owned()], Manner::default()).err();
        assert_eq!(missing.map(|error| error.kind()), Some("NO_TOPIC"));
    });
}

#[test]
fn a_source_that_compacts_is_still_the_same_source() {
    block_on(async {
        let (env, storage) = (Env::simulation(1, 0), MemoryStorage::new());
        let to = open(&env, &MemoryStorage::new()).expect("opens");
        let compacted = TopicConfig { compacted: true, partitions: 1, ..topic("t") };
        let append = async |log: &dyn Log, n: u32| {
            let at = TopicPartition { topic: log.ensure_topic(&compacted).expect("made"), partition: 0 };
            let options = AppendOptions { group: log.producer_group("test", 1 << 20), fence: None };
            let mut batch = BatchBuilder::new(Compression::None);
            batch.push(1, Some(b"the only key"), Some(&[n as u8; 4_000]), &[]).expect("fits");
            log.append(at, batch.finish(), options).await.expect("appended");
        };
        let from = open(&env, &storage).expect("opens");
        for n in 0..10 {
            append(from.as_ref(), n).await;
        }
        carry(&env, from.as_ref(), to.clone(), Manner::default()).await.expect("carried");
        // Segments end behind what was carried, and are synced when the log is closed.
        for n in 10..700 {
            append(from.as_ref(), n).await;
        }
        from.close().await;
        storage.kill();
        let env = Env::simulation(2, 0);
        let from = EmbeddedLog::open(&env, Arc::new(storage.mount()), SegmentLogConfig::small()).expect("opens");
        assert!(from.compact(0) > 10, "the last record that was carried is gone");
        let carried = carry(&env, from.as_ref(), to.clone(), Manner::default()).await.expect("the same source");
        assert_eq!((carried[0].began_at, carried[0].next), (10, 700));
        assert_eq!(read(to.as_ref(), "t", 0).len() as u64, 10 + carried[0].records);
    });
}

#[test]
fn a_first_run_begins_where_the_source_does() {
    block_on(async {
        let env = Env::simulation(1, 0);
        let (from, to) =
            (open(&env, &MemoryStorage::new()).expect("opens"), open(&env, &MemoryStorage::new()).expect("opens"));
        fill(from.as_ref(), "t", 30, &mut fastrand::Rng::with_seed(1)).await;
        let id = from.topic("t").expect("there");
        from.trim(TopicPartition { topic: id, partition: 0 }, 10).await.expect("trimmed");
        let carried = carry(&env, from.as_ref(), to, Manner::default()).await.expect("nothing was promised before");
        assert_eq!(carried.iter().map(|lane| (lane.records, lane.gone)).collect::<Vec<_>>(), [(20, 0), (30, 0)]);
    });
}

#[test]
fn what_comes_later_is_carried_while_it_follows() {
    block_on(async {
        let env = Env::simulation(1, 0);
        let (from, to) =
            (open(&env, &MemoryStorage::new()).expect("opens"), open(&env, &MemoryStorage::new()).expect("opens"));
        fill(from.as_ref(), "t", 5, &mut fastrand::Rng::with_seed(1)).await;
        let manner = Manner { follow: true, ..Manner::default() };
        let mut bridge = Bridge::open(&env, from.as_ref(), to.clone(), &["t".to_owned()], manner).expect("opens");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let later = async {
            env.clock.sleep(std::time::Duration::from_secs(5)).await;
            fill(from.as_ref(), "t", 5, &mut fastrand::Rng::with_seed(2)).await;
            env.clock.sleep(std::time::Duration::from_secs(5)).await;
            drop(stop);
        };
        let run = bridge.run(async { _ = stopped.await });
        let ((carried, result), ()) = futures_util::future::join(run, later).await;
        result.expect("stopped");
        assert!(carried.iter().all(|lane| lane.records == 10 && lane.next == 10), "{carried:?}");
        assert_eq!(read(to.as_ref(), "t", 0), expected(from.as_ref(), "t", 0));
    });
}

#[test]
fn schemas_must_mean_the_same_on_both_sides() {
    block_on(async {
        let env = Env::simulation(1, 0);
        let (from, to) =
            (open(&env, &MemoryStorage::new()).expect("opens"), open(&env, &MemoryStorage::new()).expect("opens"));
        let topics = ["t".to_owned()];
        agree(from.as_ref(), to.as_ref(), &topics).expect("nothing is known");
        let ours = EmbeddedRegistry::open(&env, from.clone()).await.expect("opens");
        let theirs = EmbeddedRegistry::open(&env, to.clone()).await.expect("opens");
        ours.write(|r| r.register("t-value", &Submission::of("\"int\""))).await.expect("kept");
        let missing = agree(from.as_ref(), to.as_ref(), &topics).expect_err("refused");
        assert_eq!(missing.kind(), "NO_SCHEMA", "{missing}");
        agree(from.as_ref(), to.as_ref(), &["_schemas".to_owned()]).expect("it is carried");
        theirs.write(|r| r.register("u-value", &Submission::of("\"long\""))).await.expect("kept");
        let other = agree(from.as_ref(), to.as_ref(), &["_schemas".to_owned()]).expect_err("refused");
        assert_eq!(other.kind(), "OTHER_SCHEMA", "{other}");
    });
}
