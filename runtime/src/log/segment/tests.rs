//! Crashes over simulated storage, and what only this backend promises. What every backend promises is in the
//! conformance suite (package `tests`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use super::super::storage::{Call, CallKind, DiskStorage, Fault, MemoryStorage, Storage, StorageHook, read_whole};
use super::super::{
    AppendError, AppendOptions, BatchBuilder, Batches, Compression, Durability, FetchError, Log, Offset, ProducerGroup,
    TopicConfig, TopicId, TopicPartition,
};
use super::{EmbeddedLog, OpenError, SegmentLogConfig};
use crate::env::Env;

const TOPICS: usize = 3;
const PARTITIONS: u32 = 2;

/// Small enough that journal files rotate and segments roll within a few dozen appends.
fn tiny() -> SegmentLogConfig {
    SegmentLogConfig {
        journal_file_bytes: 64 << 10,
        group_bytes: 8 << 10,
        max_batch_bytes: 16 << 10,
        segment_bytes: 8 << 10,
        tail_bytes: 16 << 10,
        index_interval_bytes: 1 << 10,
        reserve_bytes: 0,
        grid_us: 20,
        ..SegmentLogConfig::default()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(future)
}

fn config(name: &str) -> TopicConfig {
    TopicConfig {
        name: name.into(),
        partitions: PARTITIONS,
        durability: Durability::Synced,
        retention_ms: None,
        compacted: false,
    }
}

fn batch(values: &[Vec<u8>], timestamp_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(timestamp_ms, None, Some(value), &[]).unwrap();
    }
    builder.finish()
}

/// All records from the start on: offset and value.
fn read_all(log: &dyn Log, of: TopicPartition) -> Result<Vec<(Offset, Vec<u8>)>, FetchError> {
    let extent = log.extent(of)?;
    let mut reader = log.reader(of, extent.start, Arc::new(Notify::new()))?;
    let mut scratch = Vec::new();
    let mut found = Vec::new();
    while let Some(fetched) = reader.try_next(3000)? {
        let before = found.len();
        for batch in Batches::new(&fetched.bytes) {
            for record in batch.unwrap().records(&mut scratch).unwrap() {
                let record = record.unwrap();
                if record.offset >= fetched.from {
                    found.push((record.offset, record.value.unwrap().to_vec()));
                }
            }
        }
        assert_eq!(found.len() - before, fetched.events as usize);
        assert_eq!(fetched.next, reader.position());
    }
    assert_eq!(reader.position(), extent.high_watermark);
    Ok(found)
}

/// Ends a life in its n-th storage call, counted over writes, syncs and changes of names: the process dies in it, or it
/// fails, whole or half done.
struct EndAt {
    left: Arc<AtomicU64>,
    rng: fastrand::Rng,
}

impl StorageHook for EndAt {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        if matches!(call.kind, CallKind::Read | CallKind::Open) || self.left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return Fault::None;
        }
        let bytes = self.rng.usize(0..=call.content.len());
        match self.rng.u8(0..4) {
            0 => Fault::Error,
            1 => Fault::Torn { bytes },
            _ => Fault::Kill { bytes },
        }
    }
}

/// What must hold over all lives of a directory.
#[derive(Default)]
struct Oracle {
    /// Per slot: what was acknowledged, by offset.
    acknowledged: Vec<std::collections::BTreeMap<Offset, Vec<u8>>>,
    /// What readers saw before the crash.
    seen: Vec<Vec<(Offset, Vec<u8>)>>,
    starts: Vec<Offset>,
}

impl Oracle {
    fn new() -> Self {
        let slots = TOPICS * PARTITIONS as usize;
        Self { acknowledged: vec![Default::default(); slots], seen: vec![Vec::new(); slots], starts: vec![0; slots] }
    }

    fn check(&self, log: &dyn Log, topics: &[TopicId]) {
        for (slot, of) in slots(topics).enumerate() {
            let extent = log.extent(of).unwrap();
            assert!(extent.start >= self.starts[slot], "an acknowledged trim was lost");
            let found = read_all(log, of).unwrap();
            for (at, (offset, _)) in found.iter().enumerate() {
                assert_eq!(*offset, extent.start + at as i64, "offsets are dense");
            }
            let kept = |offset: Offset| offset >= extent.start;
            let at = |offset: Offset| found.get((offset - extent.start) as usize).map(|(_, value)| value);
            for (offset, value) in self.acknowledged[slot].iter().filter(|(offset, _)| kept(**offset)) {
                assert_eq!(at(*offset), Some(value), "acknowledged record {offset} of {of:?}");
            }
            for (offset, value) in self.seen[slot].iter().filter(|(offset, _)| kept(*offset)) {
                assert_eq!(at(*offset), Some(value), "record {offset} of {of:?} was readable");
            }
        }
    }
}

fn slots(topics: &[TopicId]) -> impl Iterator<Item = TopicPartition> {
    topics.iter().flat_map(|topic| (0..PARTITIONS).map(|partition| TopicPartition { topic: *topic, partition }))
}

/// One life: open, check what earlier lives left, append and trim until the process dies.
async fn live(storage: &MemoryStorage, rng: &mut fastrand::Rng, oracle: &mut Oracle, life: u64) -> Result<(), ()> {
    let env = Env::simulation(life, 0);
    let opened = EmbeddedLog::open(&env, Arc::new(storage.clone()), tiny());
    let log = match opened {
        Ok(log) => log,
        Err(OpenError::Storage(_)) => return Err(()),
        Err(error) => panic!("{error}"),
    };
    let group = log.producer_group("test", 64 << 10);
    let made: Result<Vec<TopicId>, _> = (0..TOPICS).map(|n| log.ensure_topic(&config(&format!("t{n}")))).collect();
    let topics = made.map_err(|_| ())?;
    oracle.check(&*log, &topics);
    let mut dead = false;
    for round in 0..40 {
        let mut pending = Vec::new();
        for (slot, of) in slots(&topics).enumerate() {
            for _ in 0..rng.usize(0..3) {
                let values: Vec<Vec<u8>> =
                    (0..rng.usize(1..5)).map(|_| (0..rng.usize(1..600)).map(|_| rng.u8(..)).collect()).collect();
                let appending = log.append(of, batch(&values, round), AppendOptions { group, fence: None });
                pending.push((slot, values, appending));
            }
        }
        for (slot, values, appending) in pending {
            match appending.await {
                Ok(base) => {
                    let offsets = base..;
                    oracle.acknowledged[slot].extend(offsets.zip(values));
                }
                Err(AppendError::Indefinite { .. } | AppendError::ReadOnly { .. }) => dead = true,
                Err(error) => panic!("{error}"),
            }
        }
        for (slot, of) in slots(&topics).enumerate() {
            if let Ok(found) = read_all(&*log, of) {
                oracle.seen[slot] = found;
            }
        }
        if dead {
            return Err(());
        }
        if rng.usize(0..6) == 0 {
            let slot = rng.usize(0..TOPICS * PARTITIONS as usize);
            let Some(of) = slots(&topics).nth(slot) else { continue };
            let extent = log.extent(of).unwrap();
            let to = rng.i64(extent.start..=extent.high_watermark);
            if log.trim(of, to).await.is_ok() {
                oracle.starts[slot] = oracle.starts[slot].max(to);
            }
        }
    }
    if rng.bool() {
        log.close().await;
    }
    Ok(())
}

#[test]
fn nothing_acknowledged_or_seen_is_lost_wherever_the_process_dies() {
    // More of them: LOG_CRASH_SEEDS.
    let seeds = std::env::var("LOG_CRASH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(200);
    for seed in 0..seeds {
        let mut rng = fastrand::Rng::with_seed(seed);
        let storage = MemoryStorage::new();
        let mut oracle = Oracle::new();
        for life in 0..6 {
            let left = Arc::new(AtomicU64::new(if life == 5 { u64::MAX } else { rng.u64(1..250) }));
            storage.set_hook(Some(Box::new(EndAt { left, rng: rng.fork() })));
            let _ = block_on(live(&storage, &mut rng, &mut oracle, life));
            // Sometimes only the process dies, sometimes the machine loses what was not synced.
            if rng.u8(0..4) == 0 { storage.kill() } else { storage.crash(&mut rng) }
        }
    }
}

/// Folds every call, with its content, into one number.
struct Trace {
    end: EndAt,
    crc: Arc<AtomicU64>,
    calls: Arc<AtomicU64>,
}

impl StorageHook for Trace {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        self.end.decide(call)
    }

    fn observe(&mut self, call: &Call<'_>, succeeded: bool) {
        let mut crc = self.crc.load(Ordering::Relaxed) as u32;
        let numbers = [call.kind as u64, call.offset, u64::from(succeeded)];
        for bytes in [call.file.as_bytes(), numbers.map(u64::to_le_bytes).as_flattened(), call.content] {
            crc = crc32c::crc32c_append(crc, bytes);
        }
        self.crc.store(u64::from(crc), Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn one_seed_makes_one_sequence_of_storage_calls() {
    let run = |seed: u64| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let storage = MemoryStorage::new();
        let mut oracle = Oracle::new();
        let (crc, calls) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        for life in 0..3 {
            let end = EndAt { left: Arc::new(AtomicU64::new(rng.u64(1..250))), rng: rng.fork() };
            storage.set_hook(Some(Box::new(Trace { end, crc: crc.clone(), calls: calls.clone() })));
            let _ = block_on(live(&storage, &mut rng, &mut oracle, life));
            storage.crash(&mut rng);
        }
        (crc.load(Ordering::Relaxed), calls.load(Ordering::Relaxed))
    };
    for seed in 0..10 {
        let (trace, calls) = run(seed);
        assert_eq!((trace, calls), run(seed));
        assert!(calls > 20);
    }
    assert_ne!(run(1), run(2));
}

/// A few records in two partitions; the directory is left as a killed process leaves it.
fn filled(storage: &MemoryStorage, appends: usize) {
    block_on(async {
        let env = Env::simulation(1, 0);
        let log = EmbeddedLog::open(&env, Arc::new(storage.clone()), tiny()).unwrap();
        let group = log.producer_group("test", 1 << 20);
        let topic = log.ensure_topic(&config("t")).unwrap();
        for n in 0..appends {
            let to = TopicPartition { topic, partition: (n % 2) as u32 };
            let bytes = batch(&[vec![n as u8; 500]], n as i64);
            log.append(to, bytes, AppendOptions { group, fence: None }).await.unwrap();
        }
    });
    storage.kill();
}

fn reopen(storage: &MemoryStorage) -> Result<Arc<EmbeddedLog>, OpenError> {
    EmbeddedLog::open(&Env::simulation(1, 0), Arc::new(storage.clone()), tiny())
}

#[test]
fn damage_in_the_middle_of_the_journal_names_file_and_byte() {
    let storage = MemoryStorage::new();
    filled(&storage, 5);
    storage.flip_bit("journal.00", 3 * 4096 + 100, 3);
    block_on(async {
        match reopen(&storage).err() {
            Some(OpenError::Corrupt { file, byte, .. }) => assert_eq!((&file[..], byte), ("journal.00", 3 * 4096)),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn damage_at_the_end_of_the_journal_is_a_torn_tail() {
    let storage = MemoryStorage::new();
    filled(&storage, 4);
    storage.flip_bit("journal.00", 3 * 4096 + 100, 3);
    block_on(async {
        let log = reopen(&storage).unwrap();
        let topic = log.topic("t").unwrap();
        assert_eq!(log.extent(TopicPartition { topic, partition: 0 }).unwrap().high_watermark, 2);
        assert_eq!(log.extent(TopicPartition { topic, partition: 1 }).unwrap().high_watermark, 1);
    });
}

#[test]
fn damage_in_a_segment_is_told_to_its_reader_and_nothing_is_skipped() {
    let storage = MemoryStorage::new();
    filled(&storage, 8);
    block_on(async {
        let log = reopen(&storage).unwrap();
        let size = batch(&[vec![0; 500]], 0).len() as u64;
        storage.flip_bit("t-0/00000000000000000000.log", size + 200, 0);
        let topic = log.topic("t").unwrap();
        let of = TopicPartition { topic, partition: 0 };
        let mut reader = log.reader(of, 0, Arc::new(Notify::new())).unwrap();
        assert_eq!(reader.try_next(1).unwrap().unwrap().next, 1);
        for _ in 0..2 {
            match reader.try_next(1) {
                Err(FetchError::Corrupt { file, offset, byte, .. }) => {
                    assert_eq!((&file[..], offset, byte), ("t-0/00000000000000000000.log", 1, size));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(reader.position(), 1);
    });
}

#[test]
fn lost_segment_bytes_are_refused_at_open() {
    let storage = MemoryStorage::new();
    filled(&storage, 8);
    block_on(async { reopen(&storage).unwrap().close().await });
    let storage_again: &dyn Storage = &storage;
    let file = storage_again.open("t-1/00000000000000000000.log", super::super::storage::OpenMode::Write).unwrap();
    file.set_len(700).unwrap();
    block_on(async {
        match reopen(&storage).err() {
            Some(OpenError::Corrupt { file, byte, .. }) => {
                assert_eq!((&file[..], byte), ("t-1/00000000000000000000.log", 700));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn another_version_and_a_second_process_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let env = Env::production();
    let open = || {
        let storage = Arc::new(DiskStorage::open(directory.path()).unwrap());
        EmbeddedLog::open(&env, storage, SegmentLogConfig::small())
    };
    let log = open().unwrap();
    let error = open().err().unwrap();
    assert_eq!(error.kind(), "STORAGE_IN_USE");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(log);
    drop(open().unwrap());
    std::fs::write(directory.path().join("VERSION"), "bulkhead data 99\n").unwrap();
    let error = open().err().unwrap();
    assert_eq!(error.kind(), "LOG_VERSION");
    assert!(error.to_string().contains("bulkhead data 99"), "{error}");
}

#[test]
fn a_full_disk_refuses_at_admission_and_goes_on_when_there_is_room() {
    let storage = MemoryStorage::new();
    block_on(async {
        let settings = SegmentLogConfig { reserve_bytes: 8 << 10, ..tiny() };
        let env = Env::simulation(1, 0);
        let log = EmbeddedLog::open(&env, Arc::new(storage.clone()), settings).unwrap();
        let group = log.producer_group("test", 1 << 20);
        let topic = log.ensure_topic(&config("t")).unwrap();
        let to = TopicPartition { topic, partition: 0 };
        storage.set_capacity(storage.used_bytes() + (40 << 10));
        let mut acknowledged = 0;
        let refused = loop {
            let appending = log.append(to, batch(&[vec![1; 1000]], 0), AppendOptions { group, fence: None });
            match appending.await {
                Ok(base) => assert_eq!(base, acknowledged),
                Err(error) => break error,
            }
            acknowledged += 1;
            assert!(acknowledged < 1000, "a full disk is noticed");
        };
        assert_eq!(refused.kind(), "NO_SPACE");
        assert_eq!(log.room().unwrap_err().kind(), "NO_SPACE");
        assert!(acknowledged > 10);
        assert_eq!(read_all(&*log, to).unwrap().len() as i64, acknowledged);
        storage.set_capacity(u64::MAX);
        env.clock.sleep(std::time::Duration::from_millis(150)).await;
        log.room().unwrap();
        let base = log.append(to, batch(&[vec![1; 1000]], 0), AppendOptions { group, fence: None }).await.unwrap();
        assert_eq!(base, acknowledged, "the refused one took no offset");
    });
}

/// Fails every sync of the journal.
struct FailSync;

impl StorageHook for FailSync {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        let fails = call.kind == CallKind::Sync && call.file.starts_with("journal");
        if fails { Fault::Error } else { Fault::None }
    }
}

#[test]
fn a_failed_sync_turns_the_log_read_only() {
    let storage = MemoryStorage::new();
    block_on(async {
        let log = reopen(&storage).unwrap();
        let group = log.producer_group("test", 1000);
        let topic = log.ensure_topic(&config("t")).unwrap();
        let to = TopicPartition { topic, partition: 0 };
        let options = AppendOptions { group, fence: None };
        log.append(to, batch(&[vec![1]], 0), options).await.unwrap();
        storage.set_hook(Some(Box::new(FailSync)));
        let first = log.append(to, batch(&[vec![2; 900]], 0), options);
        let waiting = log.append(to, batch(&[vec![3; 900]], 0), options);
        assert_eq!(first.await.unwrap_err().kind(), "INDEFINITE");
        assert_eq!(waiting.await.unwrap_err().kind(), "READ_ONLY");
        storage.set_hook(None);
        assert_eq!(log.append(to, batch(&[vec![4]], 0), options).await.unwrap_err().kind(), "READ_ONLY");
        assert_eq!(log.room().unwrap_err().kind(), "READ_ONLY");
        assert_eq!(read_all(&*log, to).unwrap(), [(0, vec![1])]);
        log.close().await;
    });
}

#[test]
fn retention_drops_whole_old_segments() {
    let storage = MemoryStorage::new();
    block_on(async {
        let log = reopen(&storage).unwrap();
        let group = log.producer_group("test", 1 << 20);
        let topic = log.ensure_topic(&TopicConfig { retention_ms: Some(1000), ..config("t") }).unwrap();
        let to = TopicPartition { topic, partition: 0 };
        for n in 0..100 {
            log.append(to, batch(&[vec![1; 1000]], n * 100), AppendOptions { group, fence: None }).await.unwrap();
        }
        let files = storage.list("t-0").unwrap().len();
        assert!(files > 5);
        assert_eq!(log.apply_retention(9_900 + 1000), 1);
        // The trim is in line; an append behind it is answered when it is done.
        log.append(to, batch(&[vec![1; 1000]], 9_950), AppendOptions { group, fence: None }).await.unwrap();
        let extent = log.extent(to).unwrap();
        assert!(extent.start > 80 && extent.start < 100, "{extent:?}");
        assert_eq!(read_all(&*log, to).unwrap().len() as i64, extent.high_watermark - extent.start);
        log.close().await;
        assert!(storage.list("t-0").unwrap().len() < files / 2);
    });
}

#[test]
fn files_are_kafka_batches_from_the_first_byte_on() {
    let storage = MemoryStorage::new();
    filled(&storage, 4);
    block_on(async { reopen(&storage).unwrap().close().await });
    let bytes = read_whole(&storage, "t-0/00000000000000000000.log", 1 << 20).unwrap();
    let offsets: Vec<Offset> = Batches::new(&bytes)
        .map(|batch| {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            batch.base_offset()
        })
        .collect();
    assert_eq!(offsets, [0, 1]);
}

#[test]
fn a_group_of_producers_waits_for_its_own_budget_only() {
    block_on(async {
        let log = reopen(&MemoryStorage::new()).unwrap();
        let flood = log.producer_group("flood", 2000);
        let calm = log.producer_group("calm", 2000);
        let topic = log.ensure_topic(&config("t")).unwrap();
        let to = TopicPartition { topic, partition: 0 };
        let mut floods: Vec<_> = (0..50)
            .map(|n| log.append(to, batch(&[vec![n; 900]], 0), AppendOptions { group: flood, fence: None }))
            .collect();
        assert!(log.in_flight_bytes(flood) <= 2000);
        let base = log.append(to, batch(&[vec![255]], 0), AppendOptions { group: calm, fence: None }).await.unwrap();
        assert!(base <= 2, "behind what the flood's budget let in, and no more: {base}");
        let mut last = -1;
        for appending in floods.drain(..) {
            let base = appending.await.unwrap();
            assert!(base > last, "the line keeps its order");
            last = base;
        }
        assert_eq!(log.in_flight_bytes(flood), 0);
        let unknown = AppendOptions { group: ProducerGroup(99), fence: None };
        assert_eq!(log.append(to, batch(&[vec![1]], 0), unknown).await.unwrap_err().kind(), "UNKNOWN_TOPIC");
    });
}
