//! Crashes over simulated storage, and what only this backend promises. What every backend promises is in the
//! conformance suite (package `tests`).

mod backup;
mod compaction;
mod crash;
mod faults;

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

/// A few records in two partitions; the directory is left as a killed process leaves it.
fn filled(storage: &MemoryStorage, appends: usize) {
    block_on(async {
        let env = Env::simulation(1, 0);
        let log = EmbeddedLog::open(&env, Arc::new(storage.mount()), tiny()).unwrap();
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
    EmbeddedLog::open(&Env::simulation(1, 0), Arc::new(storage.mount()), tiny())
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
