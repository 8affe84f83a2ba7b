//! What every backend of the log promises, as named cases. A backend is a `Backend`; `tests/log_conformance.rs` runs all
//! cases over each. Differences that a backend is allowed are cases of their own (`Backend::instead`).

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use runtime::log::{
    AppendError, AppendOptions, BatchBuilder, Batches, Compression, Durability, Fence, FetchError, Fetched, Log,
    Offset, PartitionReader, ProducerGroup, TopicConfig, TopicId, TopicPartition,
};
use tokio::sync::Notify;

pub use crate::log_load::*;
pub use crate::log_seek::*;
pub use crate::log_shapes::*;

/// A case of one backend's own.
pub type Instead<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A place where logs are opened.
pub trait Backend {
    /// Opens the log; one at a time, the one before is closed or dropped.
    fn open(&self) -> Arc<dyn Log>;

    /// What this backend does instead in the case of this name, as a case of its own; `None`: it does not differ.
    fn instead<'a>(&'a self, case: &str) -> Option<Instead<'a>> {
        let _ = case;
        None
    }
}

/// A record as the cases compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

pub fn topic(name: &str) -> TopicConfig {
    TopicConfig {
        name: name.into(),
        partitions: 3,
        durability: Durability::Synced,
        retention_ms: None,
        compacted: false,
    }
}

pub(crate) fn at(topic: TopicId, partition: u32) -> TopicPartition {
    TopicPartition { topic, partition }
}

pub(crate) fn batch(values: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(1_000, None, Some(value), &[]).expect("small");
    }
    builder.finish()
}

/// A log with one topic and one producer group.
pub(crate) struct Bench {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) topic: TopicId,
    pub(crate) group: ProducerGroup,
}

impl Bench {
    pub(crate) fn new(backend: &dyn Backend) -> Self {
        let log = backend.open();
        let topic = log.ensure_topic(&topic("cases")).expect("a topic is made");
        let group = log.producer_group("cases", 1 << 20);
        Self { log, topic, group }
    }

    fn options(&self) -> AppendOptions {
        AppendOptions { group: self.group, fence: None }
    }

    pub(crate) fn append(&self, partition: u32, batch: Bytes) -> runtime::log::Appending {
        self.log.append(at(self.topic, partition), batch, self.options())
    }

    pub(crate) fn reader(&self, partition: u32, position: Offset) -> (Box<dyn PartitionReader>, Arc<Notify>) {
        let wake = Arc::new(Notify::new());
        let reader = self.log.reader(at(self.topic, partition), position, wake.clone()).expect("a reader is made");
        (reader, wake)
    }

    /// The next batches, waited for.
    pub(crate) async fn next(&self, reader: &mut dyn PartitionReader, wake: &Notify, max_bytes: usize) -> Fetched {
        loop {
            if let Some(fetched) = reader.try_next(max_bytes).expect("readable") {
                return fetched;
            }
            wake.notified().await;
        }
    }

    /// Everything from `position` to the high watermark.
    pub(crate) async fn read(&self, partition: u32, position: Offset, max_bytes: usize) -> Vec<Owned> {
        let (mut reader, wake) = self.reader(partition, position);
        let end = self.log.extent(at(self.topic, partition)).expect("known").high_watermark;
        let mut found = Vec::new();
        while reader.position() < end {
            let fetched = self.next(&mut *reader, &wake, max_bytes).await;
            let records = records(&fetched);
            assert_eq!(records.len(), fetched.events as usize, "events are counted from the position on");
            assert_eq!(fetched.next, reader.position());
            found.extend(records);
        }
        found
    }

    pub(crate) async fn values(&self, partition: u32) -> Vec<Vec<u8>> {
        let start = self.log.extent(at(self.topic, partition)).expect("known").start;
        self.read(partition, start, 4096).await.into_iter().filter_map(|record| record.value).collect()
    }
}

/// The records of a fetch that were asked for.
pub fn records(fetched: &Fetched) -> Vec<Owned> {
    let mut scratch = Vec::new();
    let mut found = Vec::new();
    for batch in Batches::new(&fetched.bytes) {
        let batch = batch.expect("whole batches");
        batch.check_crc().expect("undamaged");
        for record in batch.records(&mut scratch).expect("unpacks") {
            let record = record.expect("reads");
            let header = |header: Result<runtime::log::Header<'_>, _>| {
                let (name, value) = header.expect("reads");
                (name.to_vec(), value.unwrap_or_default().to_vec())
            };
            found.push(Owned {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.map(header).collect(),
            });
        }
    }
    found.retain(|record| record.offset >= fetched.from);
    found
}

pub async fn records_come_back_as_they_were(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for compression in [Compression::None, Compression::Lz4] {
        let mut builder = BatchBuilder::new(compression);
        builder.push(5_000, Some(b"key"), Some(b"value"), &[(b"traceparent", b"00-ab"), (b"", b"")]).expect("small");
        builder.push(4_000, None, None, &[]).expect("small");
        builder.push(6_000, Some(b""), Some(&[7; 3000]), &[]).expect("small");
        let base = bench.append(0, builder.finish()).await.expect("appended");
        let found = bench.read(0, base, 1 << 20).await;
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].headers, [(b"traceparent".to_vec(), b"00-ab".to_vec()), (vec![], vec![])]);
        assert_eq!((found[0].key.as_deref(), found[0].timestamp_ms), (Some(&b"key"[..]), 5_000));
        assert_eq!((&found[1].key, &found[1].value, found[1].timestamp_ms), (&None, &None, 4_000));
        assert_eq!((found[2].key.as_deref(), found[2].value.as_deref()), (Some(&b""[..]), Some(&[7; 3000][..])));
        assert!(found.windows(2).all(|pair| pair[0].offset < pair[1].offset));
    }
}

pub async fn appends_keep_the_order_of_their_calls(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let all: Vec<_> = (0..300u32).map(|n| bench.append(n % 3, batch(&[&n.to_le_bytes()]))).collect();
    // Waited for in another order: the place was taken at the call.
    for appending in all.into_iter().rev() {
        appending.await.expect("appended");
    }
    for partition in 0..3 {
        let found = bench.values(partition).await;
        let expected: Vec<_> = (0..300u32).filter(|n| n % 3 == partition).map(|n| n.to_le_bytes().to_vec()).collect();
        assert_eq!(found, expected);
    }
}

pub async fn what_is_acknowledged_is_readable_at_its_offset(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..20u8 {
        let base = bench.append(1, batch(&[&[n], &[n, n]])).await.expect("appended");
        let extent = bench.log.extent(at(bench.topic, 1)).expect("known");
        assert!(extent.high_watermark >= base + 2, "acknowledged is readable");
        let found = bench.read(1, base, 4096).await;
        assert_eq!((found[0].offset, found[0].value.as_deref()), (base, Some(&[n][..])));
        assert_eq!(found[1].value.as_deref(), Some(&[n, n][..]));
    }
}

pub async fn a_waiting_reader_is_woken(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let (mut reader, wake) = bench.reader(0, 0);
    assert!(reader.try_next(4096).expect("empty").is_none());
    bench.append(0, batch(&[b"x"])).await.expect("appended");
    let fetched = bench.next(&mut *reader, &wake, 4096).await;
    assert_eq!(records(&fetched)[0].value.as_deref(), Some(&b"x"[..]));
    assert!(fetched.readable_at_us.is_some(), "this process saw it become readable");
    assert!(reader.try_next(4096).expect("no more").is_none());
}

pub async fn a_reader_starts_inside_a_batch_and_seeks(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let base = bench.append(0, batch(&[b"a", b"b", b"c", b"d"])).await.expect("appended");
    let found = bench.read(0, base + 2, 4096).await;
    assert_eq!(found.iter().map(|record| record.offset).collect::<Vec<_>>(), [base + 2, base + 3]);
    let (mut reader, wake) = bench.reader(0, base + 3);
    assert_eq!(bench.next(&mut *reader, &wake, 4096).await.events, 1);
    reader.seek(base + 1);
    let fetched = bench.next(&mut *reader, &wake, 4096).await;
    assert_eq!((fetched.from, fetched.events), (base + 1, 3));
}

pub async fn a_fetch_gives_whole_batches_and_at_least_one(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let large = vec![3; 50_000];
    for _ in 0..3 {
        bench.append(0, batch(&[&large])).await.expect("appended");
        bench.append(0, batch(&[b"small"])).await.expect("appended");
    }
    for max_bytes in [1, 100, 60_000, 1 << 20] {
        assert_eq!(bench.read(0, 0, max_bytes).await.len(), 6, "in steps of {max_bytes}");
    }
}

pub async fn old_records_are_read_as_recent_ones(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    // More than a backend keeps in memory, over several files, with readers at many positions.
    let value = |n: u32| n.to_le_bytes().repeat(4_000);
    for n in 0..400 {
        let batch = batch(&[&value(n), &[0; 10]]);
        bench.append(n % 2, batch).await.expect("appended");
    }
    for position in [0, 1, 7, 100, 201, 398] {
        let found = bench.read(0, position, 64 << 10).await;
        assert_eq!(found.len() as i64, 400 - position);
        for record in found {
            let expected = if record.offset % 2 == 0 { value(record.offset as u32) } else { vec![0; 10] };
            assert_eq!(record.value, Some(expected), "offset {}", record.offset);
        }
    }
}

pub async fn partitions_and_topics_do_not_mix(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let other = bench.log.ensure_topic(&topic("cases-other")).expect("a topic is made");
    bench.append(0, batch(&[b"0"])).await.expect("appended");
    bench.append(2, batch(&[b"2"])).await.expect("appended");
    bench.log.append(at(other, 0), batch(&[b"other"]), bench.options()).await.expect("appended");
    assert_eq!(bench.values(0).await, [b"0"]);
    assert!(bench.values(1).await.is_empty());
    assert_eq!(bench.values(2).await, [b"2"]);
    assert_eq!(bench.log.extent(at(other, 0)).expect("known").high_watermark, 1);
}

pub async fn a_topic_is_made_once_and_keeps_its_partition_count(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    assert_eq!(bench.log.ensure_topic(&topic("cases")).expect("the same"), bench.topic);
    assert_eq!(bench.log.topic("cases"), Some(bench.topic));
    assert_eq!(bench.log.topic("absent"), None);
    assert!(bench.log.topics().iter().any(|(id, found)| *id == bench.topic && &*found.name == "cases"));
    let error = bench.log.ensure_topic(&TopicConfig { partitions: 4, ..topic("cases") }).expect_err("another count");
    assert_eq!(error.kind(), "UNKNOWN_TOPIC");
    for name in ["", "..", "with space", "with/slash", "näme"] {
        assert!(bench.log.ensure_topic(&topic(name)).is_err(), "{name:?} is no topic name");
    }
    let unknown = bench.log.append(at(bench.topic, 3), batch(&[b"x"]), bench.options()).await;
    assert_eq!(unknown.expect_err("no such partition").kind(), "UNKNOWN_TOPIC");
    assert!(matches!(bench.log.extent(at(TopicId(999), 0)), Err(FetchError::Unknown { .. })));
}

pub async fn bytes_that_are_no_batch_are_refused_and_take_no_offset(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let good = batch(&[b"good"]);
    let mut flipped = good.to_vec();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let two = [&good[..], &good[..]].concat();
    for bad in [&b""[..], b"junk", &good[..good.len() - 1], &flipped, &two] {
        let error = bench.append(0, Bytes::copy_from_slice(bad)).await.expect_err("not a batch");
        assert_eq!(error.kind(), "MALFORMED");
    }
    assert_eq!(bench.append(0, good).await.expect("appended"), 0);
}

pub async fn a_trim_is_exact_and_survives(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..10u8 {
        bench.append(0, batch(&[&[n], &[n]])).await.expect("appended");
    }
    let of = at(bench.topic, 0);
    bench.log.trim(of, 7).await.expect("trimmed");
    assert_eq!(bench.log.extent(of).expect("known").start, 7);
    assert_eq!(bench.read(0, 7, 4096).await[0].offset, 7);
    let (mut reader, _) = bench.reader(0, 6);
    match reader.try_next(4096) {
        Err(FetchError::BelowStart { offset: 6, start: 7, .. }) => {}
        other => panic!("{other:?}"),
    }
    bench.log.trim(of, 3).await.expect("nothing to do");
    assert_eq!(bench.log.extent(of).expect("known").start, 7, "the start never goes back");
    bench.log.close().await;
    drop(bench);
    let bench = Bench::new(backend);
    let extent = bench.log.extent(at(bench.topic, 0)).expect("known");
    assert_eq!((extent.start, extent.high_watermark), (7, 20));
}

pub async fn everything_survives_a_restart(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..50u8 {
        bench.append(u32::from(n) % 3, batch(&[&[n]])).await.expect("appended");
    }
    bench.log.close().await;
    let closed = bench.append(0, batch(&[b"late"])).await.expect_err("closed");
    assert_eq!(closed.kind(), "CLOSED");
    bench.log.close().await;
    drop(bench);
    let bench = Bench::new(backend);
    for partition in 0..3 {
        let expected: Vec<_> = (0..50u8).filter(|n| u32::from(*n) % 3 == partition).map(|n| vec![n]).collect();
        assert_eq!(bench.values(partition).await, expected);
    }
    assert_eq!(bench.append(0, batch(&[b"next"])).await.expect("appended"), 17);
    assert_eq!(bench.values(0).await.len(), 18, "old and new records in one read");
}

pub async fn a_stale_epoch_is_refused(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let with = |shard: u32, epoch_offset: Offset| AppendOptions {
        group: bench.group,
        fence: Some(Fence { shard, epoch_offset }),
    };
    let to = at(bench.topic, 0);
    bench.log.append(to, batch(&[b"a"]), with(0, 10)).await.expect("appended");
    bench.log.fence(bench.group, Fence { shard: 0, epoch_offset: 20 });
    match bench.log.append(to, batch(&[b"b"]), with(0, 10)).await {
        Err(AppendError::Fenced { epoch_offset: 10, newer_offset: 20, .. }) => {}
        other => panic!("{other:?}"),
    }
    bench.log.append(to, batch(&[b"c"]), with(0, 20)).await.expect("the owner appends");
    bench.log.append(to, batch(&[b"d"]), with(1, 10)).await.expect("another shard");
    assert_eq!(bench.values(0).await, [b"a", b"c", b"d"]);
}

pub async fn an_accepted_append_is_answered_with_its_offset_and_becomes_readable(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let config = TopicConfig { durability: Durability::Accepted, ..topic("cases-accepted") };
    let id = bench.log.ensure_topic(&config).expect("a topic is made");
    for n in 0..10 {
        let base = bench.log.append(at(id, 0), batch(&[b"x"]), bench.options()).await.expect("accepted");
        assert_eq!(base, n);
    }
    let wake = Arc::new(Notify::new());
    let mut reader = bench.log.reader(at(id, 0), 9, wake.clone()).expect("a reader is made");
    assert_eq!(bench.next(&mut *reader, &wake, 4096).await.next, 10);
}

pub async fn event_time_is_known_for_the_lag(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    assert_eq!(bench.log.timestamp_at(at(bench.topic, 0), 0), None);
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(123_456, None, Some(b"x"), &[]).expect("small");
    let base = bench.append(0, builder.finish()).await.expect("appended");
    assert_eq!(bench.log.timestamp_at(at(bench.topic, 0), base), Some(123_456));
    assert_eq!(bench.log.timestamp_at(at(bench.topic, 0), base + 1), None);
}

pub async fn a_full_budget_makes_producers_wait_and_loses_nothing(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let narrow = bench.log.producer_group("cases-narrow", 10_000);
    let options = AppendOptions { group: narrow, fence: None };
    let value = vec![1; 3_000];
    let all: Vec<_> = (0..40).map(|_| bench.log.append(at(bench.topic, 0), batch(&[&value]), options)).collect();
    // Larger than the whole budget: it goes alone.
    let larger = bench.log.append(at(bench.topic, 0), batch(&[&[2; 30_000]]), options);
    let mut last = -1;
    for appending in all {
        let base = appending.await.expect("appended");
        assert!(base > last);
        last = base;
    }
    assert!(larger.await.expect("appended") > last);
    assert_eq!(bench.values(0).await.len(), 41);
}
