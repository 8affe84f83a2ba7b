//! Cases of the log's conformance about time and range: where a time lies, and what is outside of a partition.

use bytes::Bytes;
use runtime::log::{BatchBuilder, Compression, FetchError, Offset, TopicId};

use crate::log_cases::{Backend, Bench, at, batch, records};

/// A batch with a record of each time.
fn timed(compression: Compression, times: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for time in times {
        builder.push(*time, Some(b"k"), Some(b"v"), &[]).expect("small");
    }
    builder.finish()
}

impl Bench {
    async fn put(&self, partition: u32, times: &[i64]) -> Offset {
        self.append(partition, timed(Compression::None, times)).await.expect("appended")
    }

    fn seek(&self, partition: u32, timestamp_ms: i64) -> Offset {
        self.log.offset_at(at(self.topic, partition), timestamp_ms).expect("the log says where")
    }
}

pub async fn a_time_is_found_where_it_is(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.put(0, &[1_000, 2_000, 3_000]).await;
    bench.put(0, &[4_000, 5_000]).await;
    assert_eq!([1_000, 2_000, 3_000, 4_000, 5_000].map(|time| bench.seek(0, time)), [0, 1, 2, 3, 4]);
}

pub async fn a_time_between_two_records_gives_the_later(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.put(0, &[1_000, 2_000]).await;
    bench.put(0, &[3_000]).await;
    assert_eq!([1_001, 1_999, 2_001, 2_999].map(|time| bench.seek(0, time)), [1, 1, 2, 2]);
}

pub async fn a_time_before_all_gives_the_first_record(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.put(0, &[1_000, 2_000]).await;
    assert_eq!([i64::MIN, -2, -1, 0, 999].map(|time| bench.seek(0, time)), [0; 5]);
}

pub async fn a_time_after_all_gives_the_end(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.put(0, &[1_000, 2_000]).await;
    assert_eq!([2_001, 1 << 50].map(|time| bench.seek(0, time)), [2, 2]);
    assert_eq!(bench.put(0, &[9_000]).await, 2);
    assert_eq!(bench.seek(0, 2_001), 2);
}

pub async fn an_empty_partition_has_no_time(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    assert_eq!([0, 1_000].map(|time| bench.seek(1, time)), [0, 0]);
}

pub async fn of_equal_times_the_first_is_given(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.put(0, &[1_000, 2_000, 2_000]).await;
    bench.put(0, &[2_000, 2_000]).await;
    assert_eq!(bench.seek(0, 2_000), 1);
}

pub async fn times_out_of_order_give_the_first_that_is_late_enough(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.put(0, &[5_000, 1_000]).await;
    bench.put(0, &[2_000, 9_000, 3_000]).await;
    bench.put(0, &[4_000]).await;
    assert_eq!([500, 4_000, 5_000, 5_001, 9_001].map(|time| bench.seek(0, time)), [0, 0, 0, 3, 6]);
}

pub async fn a_time_is_found_in_a_packed_batch(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let times: Vec<i64> = (0..500).map(|n| 10_000 + n * 10).collect();
    bench.append(0, timed(Compression::Lz4, &times)).await.expect("appended");
    assert_eq!([10_000, 10_005, 14_990, 14_991].map(|time| bench.seek(0, time)), [0, 1, 499, 500]);
}

pub async fn a_time_is_found_over_many_files(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let value = [7; 16_000];
    for n in 0..120 {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(10_000 + n * 10, None, Some(&value), &[]).expect("small");
        builder.push(10_001 + n * 10, None, None, &[]).expect("small");
        bench.append(0, builder.finish()).await.expect("appended");
    }
    for n in [0, 1, 17, 60, 118, 119] {
        assert_eq!(bench.seek(0, 10_000 + n * 10), n * 2);
        assert_eq!(bench.seek(0, 10_001 + n * 10), n * 2 + 1);
        assert_eq!(bench.seek(0, 10_002 + n * 10), n * 2 + 2);
    }
}

pub async fn a_time_below_the_start_gives_the_start(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..6 {
        bench.put(0, &[1_000 + n * 100]).await;
    }
    bench.log.trim(at(bench.topic, 0), 4).await.expect("trimmed");
    assert_eq!([0, 1_000, 1_300, 1_400, 1_500, 1_600].map(|time| bench.seek(0, time)), [4, 4, 4, 4, 5, 6]);
}

pub async fn a_time_of_the_trimmed_part_of_a_batch_is_not_found_there(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.put(0, &[9_000, 1_000, 2_000]).await;
    bench.put(0, &[8_000]).await;
    bench.log.trim(at(bench.topic, 0), 1).await.expect("trimmed");
    assert_eq!([1_000, 2_000, 2_001, 8_001].map(|time| bench.seek(0, time)), [1, 2, 3, 4]);
}

pub async fn a_partition_trimmed_to_its_end_has_no_time(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.put(0, &[1_000, 2_000]).await;
    bench.log.trim(at(bench.topic, 0), 2).await.expect("trimmed");
    assert_eq!([0, 1_000, 9_000].map(|time| bench.seek(0, time)), [2; 3]);
}

pub async fn a_time_is_found_after_a_restart(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..30 {
        bench.put(0, &[1_000 + n, 500]).await;
    }
    bench.log.close().await;
    drop(bench);
    let bench = Bench::new(backend);
    assert_eq!([1_000, 1_007, 1_029, 1_030].map(|time| bench.seek(0, time)), [0, 14, 58, 60]);
    bench.put(0, &[2_000]).await;
    assert_eq!(bench.seek(0, 1_030), 60);
}

pub async fn partitions_have_times_of_their_own(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.put(0, &[1_000, 2_000]).await;
    bench.put(1, &[2_000, 3_000]).await;
    assert_eq!([0, 1, 2].map(|partition| bench.seek(partition, 2_000)), [1, 0, 0]);
}

pub async fn a_reader_goes_on_from_a_time(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..20 {
        bench.put(0, &[1_000 + n * 10, 1_005 + n * 10]).await;
    }
    let found = bench.read(0, bench.seek(0, 1_103), 4096).await;
    assert_eq!((found.len(), found[0].offset, found[0].timestamp_ms), (19, 21, 1_105));
}

pub async fn a_time_in_what_is_not_there_is_refused(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for of in [at(bench.topic, 3), at(TopicId(999), 0)] {
        let error = bench.log.offset_at(of, 1_000).expect_err("no such partition");
        assert_eq!(error.kind(), "UNKNOWN_TOPIC");
    }
}

/// It is not below the start: there is nothing yet, and it waits.
pub async fn a_reader_above_the_end_waits_for_its_record(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.append(0, batch(&[b"0", b"1", b"2"])).await.expect("appended");
    let (mut reader, wake) = bench.reader(0, 5);
    for _ in 0..20 {
        assert!(reader.try_next(4096).expect("not an error").is_none());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(reader.position(), 5);
    for value in [b"3", b"4", b"5", b"6"] {
        bench.append(0, batch(&[value])).await.expect("appended");
    }
    let fetched = bench.next(&mut *reader, &wake, 4096).await;
    let first = &records(&fetched)[0];
    assert_eq!((first.offset, first.value.as_deref()), (5, Some(&b"5"[..])));
}

pub async fn a_reader_below_the_start_is_told_and_goes_on_from_there(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..8u8 {
        bench.append(0, batch(&[&[n]])).await.expect("appended");
    }
    bench.log.trim(at(bench.topic, 0), 5).await.expect("trimmed");
    let (mut reader, wake) = bench.reader(0, 1);
    let Err(FetchError::BelowStart { offset: 1, start: 5, .. }) = reader.try_next(4096) else {
        panic!("what is gone is said");
    };
    assert_eq!(reader.position(), 1, "it stands where it stood");
    reader.seek(5);
    assert_eq!(bench.next(&mut *reader, &wake, 4096).await.from, 5);
}

pub async fn a_reader_that_a_trim_passes_is_told(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..8u8 {
        bench.append(0, batch(&[&[n]])).await.expect("appended");
    }
    let (mut reader, wake) = bench.reader(0, 0);
    let first = bench.next(&mut *reader, &wake, 1).await;
    assert_eq!(first.from, 0);
    let position = reader.position();
    bench.log.trim(at(bench.topic, 0), 8).await.expect("trimmed");
    if position < 8 {
        let error = reader.try_next(4096).expect_err("what is gone is said");
        assert_eq!(error.kind(), "OUT_OF_RANGE");
    }
}

pub async fn a_trim_inside_a_batch_hides_its_first_part(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.append(0, batch(&[b"a", b"b", b"c", b"d"])).await.expect("appended");
    bench.log.trim(at(bench.topic, 0), 2).await.expect("trimmed");
    let found = bench.read(0, 2, 4096).await;
    assert_eq!(found.iter().map(|record| record.offset).collect::<Vec<_>>(), [2, 3]);
}

pub async fn trims_of_partitions_are_apart(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for partition in 0..3 {
        bench.append(partition, batch(&[b"a", b"b", b"c"])).await.expect("appended");
    }
    bench.log.trim(at(bench.topic, 1), 2).await.expect("trimmed");
    let starts = [0, 1, 2].map(|partition| bench.log.extent(at(bench.topic, partition)).expect("known").start);
    assert_eq!(starts, [0, 2, 0]);
}

pub async fn a_trim_of_nothing_is_fine(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let of = at(bench.topic, 0);
    bench.log.trim(of, 0).await.expect("nothing to do");
    bench.append(0, batch(&[b"a"])).await.expect("appended");
    bench.log.trim(of, -5).await.expect("nothing to do");
    assert_eq!(bench.log.extent(of).expect("known").start, 0);
}

pub async fn a_trim_beyond_the_end_stops_there(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let of = at(bench.topic, 0);
    bench.append(0, batch(&[b"a", b"b"])).await.expect("appended");
    bench.log.trim(of, 100).await.expect("all of it");
    let extent = bench.log.extent(of).expect("known");
    assert_eq!((extent.start, extent.high_watermark), (2, 2));
    assert_eq!(bench.append(0, batch(&[b"c"])).await.expect("appended"), 2);
}
