//! Cases of the log's conformance about amounts: many records, large and empty ones, many at once, budgets, fences,
//! and lives of the log one after the other.

use runtime::log::{AppendOptions, BatchBuilder, Compression, Fence, Offset};

use crate::log_cases::{Backend, Bench, at, batch, records};

pub async fn a_batch_of_ten_thousand_empty_records(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..10_000 {
        builder.push(1_000, None, None, &[]).expect("small");
    }
    assert_eq!(bench.append(0, builder.finish()).await.expect("appended"), 0);
    assert_eq!(bench.append(0, batch(&[b"next"])).await.expect("appended"), 10_000);
    let found = bench.read(0, 0, 1 << 20).await;
    assert_eq!(found.len(), 10_001);
    assert!(found.iter().enumerate().all(|(n, record)| record.offset == n as Offset));
}

pub async fn records_of_every_size_around_the_steps_of_a_length(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let sizes = [0usize, 1, 62, 63, 64, 65, 127, 128, 8_190, 8_191, 8_192, 8_193, 65_535, 65_536];
    for size in sizes {
        bench.append(0, batch(&[&vec![size as u8; size]])).await.expect("appended");
    }
    let found = bench.values(0).await;
    assert_eq!(found, sizes.map(|size| vec![size as u8; size]));
}

pub async fn a_thousand_small_batches(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let all: Vec<_> = (0..1_000u32).map(|n| bench.append(0, batch(&[&n.to_le_bytes()]))).collect();
    for (n, appending) in all.into_iter().enumerate() {
        assert_eq!(appending.await.expect("appended"), n as Offset);
    }
    assert_eq!(bench.values(0).await, (0..1_000u32).map(|n| n.to_le_bytes().to_vec()).collect::<Vec<_>>());
}

pub async fn packed_and_plain_batches_take_turns(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let mut expected = Vec::new();
    for n in 0..20u8 {
        let mut builder = BatchBuilder::new(if n % 2 == 0 { Compression::Lz4 } else { Compression::None });
        for _ in 0..50 {
            expected.push(vec![n; 100]);
            builder.push(1_000, None, Some(&[n; 100]), &[]).expect("small");
        }
        bench.append(0, builder.finish()).await.expect("appended");
    }
    assert_eq!(bench.values(0).await, expected);
}

pub async fn a_packed_batch_of_half_a_megabyte_of_one_byte(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for _ in 0..50 {
        builder.push(1_000, None, Some(&[0; 10_000]), &[]).expect("small");
    }
    bench.append(0, builder.finish()).await.expect("appended");
    assert!(bench.values(0).await.iter().all(|value| value == &[0; 10_000]));
}

pub async fn a_batch_over_every_limit_is_refused_and_takes_no_offset(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    // No packing makes noise smaller.
    let mut noise = 7u64;
    let mut next = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 56) as u8
    };
    let value: Vec<u8> = (0..3 << 20).map(|_| next()).collect();
    let error = bench.append(0, batch(&[&value])).await.expect_err("too large");
    assert_eq!(error.kind(), "TOO_LARGE");
    assert_eq!(bench.append(0, batch(&[b"small"])).await.expect("appended"), 0);
}

pub async fn six_readers_of_one_partition_see_the_same(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let mut readers: Vec<_> = (0..6).map(|_| bench.reader(0, 0)).collect();
    for n in 0..20u8 {
        bench.append(0, batch(&[&[n]])).await.expect("appended");
    }
    for (reader, wake) in &mut readers {
        let mut seen = Vec::new();
        while seen.len() < 20 {
            seen.extend(records(&bench.next(&mut **reader, wake, 300).await).into_iter().map(|record| record.offset));
        }
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
    }
}

pub async fn a_reader_that_goes_leaves_the_others_alone(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let (mut stays, wake) = bench.reader(0, 0);
    for round in 0..5u8 {
        let (mut goes, its_wake) = bench.reader(0, 0);
        bench.append(0, batch(&[&[round]])).await.expect("appended");
        bench.next(&mut *goes, &its_wake, 1).await;
        drop(goes);
        let fetched = bench.next(&mut *stays, &wake, 4096).await;
        assert_eq!(records(&fetched)[0].value.as_deref(), Some(&[round][..]));
    }
}

pub async fn a_seek_to_where_it_stands_changes_nothing(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..10u8 {
        bench.append(0, batch(&[&[n]])).await.expect("appended");
    }
    let (mut reader, wake) = bench.reader(0, 0);
    let mut seen = Vec::new();
    while seen.len() < 10 {
        reader.seek(reader.position());
        seen.extend(records(&bench.next(&mut *reader, &wake, 1).await).into_iter().map(|record| record.offset));
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

pub async fn a_reader_is_read_while_it_is_written(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let (mut reader, wake) = bench.reader(1, 0);
    let mut next = 0;
    for n in 0..100u8 {
        let appending = bench.append(1, batch(&[&[n], &[n]]));
        if n % 7 == 0 {
            while next < Offset::from(n) {
                let fetched = bench.next(&mut *reader, &wake, 200).await;
                assert_eq!(fetched.from, next);
                next = fetched.next;
            }
        }
        appending.await.expect("appended");
    }
    while next < 200 {
        next = bench.next(&mut *reader, &wake, 4096).await.next;
    }
}

/// Two thirds of the budget each: one is in flight, the others wait, and each has an offset of its own in the end.
pub async fn one_batch_at_a_time_fits_a_narrow_budget(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let group = bench.log.producer_group("cases-one", 3_000);
    let options = AppendOptions { group, fence: None };
    let value = vec![5; 2_000];
    let all: Vec<_> = (0..25).map(|_| bench.log.append(at(bench.topic, 0), batch(&[&value]), options)).collect();
    let mut offsets = Vec::new();
    for appending in all {
        offsets.push(appending.await.expect("appended"));
    }
    assert_eq!(offsets, (0..25).collect::<Vec<_>>());
    assert_eq!(bench.log.extent(at(bench.topic, 0)).expect("known").high_watermark, 25);
}

pub async fn a_group_that_waits_holds_up_no_other(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let flood = AppendOptions { group: bench.log.producer_group("cases-flood", 4_000), fence: None };
    let value = vec![1; 3_000];
    let flooding: Vec<_> = (0..60).map(|_| bench.log.append(at(bench.topic, 0), batch(&[&value]), flood)).collect();
    // A group with room is answered whatever waits beside it: nobody has looked at the flood's answers yet.
    for n in 0..5 {
        assert_eq!(bench.append(1, batch(&[b"calm"])).await.expect("appended"), n);
    }
    for appending in flooding {
        appending.await.expect("appended");
    }
    assert_eq!(bench.values(0).await.len(), 60);
}

pub async fn answers_that_nobody_waits_for_are_appends_all_the_same(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..30u8 {
        drop(bench.append(0, batch(&[&[n]])));
    }
    assert_eq!(bench.append(0, batch(&[b"last"])).await.expect("appended"), 30);
    assert_eq!(bench.values(0).await.len(), 31);
}

pub async fn appends_of_four_threads_are_all_there(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let append = |thread: u8| (0..50u8).map(|n| bench.append(0, batch(&[&[thread, n]]))).collect::<Vec<_>>();
    let append = &append;
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || append(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    for appending in all {
        appending.await.expect("appended");
    }
    let values = bench.values(0).await;
    for thread in 0..4 {
        let own: Vec<u8> = values.iter().filter(|value| value[0] == thread).map(|value| value[1]).collect();
        assert_eq!(own, (0..50).collect::<Vec<u8>>(), "thread {thread}");
    }
}

pub async fn a_fence_never_goes_back(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let with = |epoch_offset| AppendOptions { group: bench.group, fence: Some(Fence { shard: 0, epoch_offset }) };
    let to = at(bench.topic, 0);
    bench.log.fence(bench.group, Fence { shard: 0, epoch_offset: 20 });
    bench.log.fence(bench.group, Fence { shard: 0, epoch_offset: 10 });
    assert_eq!(bench.log.append(to, batch(&[b"a"]), with(10)).await.expect_err("stale").kind(), "FENCED");
    bench.log.append(to, batch(&[b"b"]), with(20)).await.expect("the owner");
    assert_eq!(bench.values(0).await, [b"b"]);
}

pub async fn fences_are_of_one_group(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let other = bench.log.producer_group("cases-other", 1 << 20);
    let fence = |epoch_offset| Some(Fence { shard: 0, epoch_offset });
    let to = at(bench.topic, 0);
    bench.log.fence(bench.group, Fence { shard: 0, epoch_offset: 20 });
    bench.log.append(to, batch(&[b"a"]), AppendOptions { group: other, fence: fence(5) }).await.expect("not its fence");
    let stale = AppendOptions { group: bench.group, fence: fence(5) };
    assert_eq!(bench.log.append(to, batch(&[b"b"]), stale).await.expect_err("stale").kind(), "FENCED");
}

pub async fn who_carries_no_epoch_is_not_fenced(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.log.fence(bench.group, Fence { shard: 0, epoch_offset: 20 });
    bench.append(0, batch(&[b"a"])).await.expect("a source appends");
    assert_eq!(bench.values(0).await, [b"a"]);
}

pub async fn an_append_of_a_new_owner_fences_the_old_one(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let with = |epoch_offset| AppendOptions { group: bench.group, fence: Some(Fence { shard: 4, epoch_offset }) };
    for topic_partition in [at(bench.topic, 0), at(bench.topic, 1)] {
        bench.log.append(topic_partition, batch(&[b"old"]), with(1)).await.expect("the owner");
    }
    bench.log.fence(bench.group, Fence { shard: 4, epoch_offset: 2 });
    bench.log.append(at(bench.topic, 0), batch(&[b"new"]), with(2)).await.expect("the new owner");
    for partition in 0..3 {
        let late = bench.log.append(at(bench.topic, partition), batch(&[b"late"]), with(1)).await;
        assert_eq!(late.expect_err("stale on every partition").kind(), "FENCED");
    }
}

pub async fn offsets_go_on_over_three_lives(backend: &dyn Backend) {
    for life in 0..3 {
        let bench = Bench::new(backend);
        for n in 0..5 {
            assert_eq!(bench.append(0, batch(&[b"x"])).await.expect("appended"), life * 5 + n);
        }
        bench.log.close().await;
    }
}

pub async fn what_is_acknowledged_outlives_a_log_that_was_not_closed(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..40u8 {
        bench.append(0, batch(&[&[n]])).await.expect("appended");
    }
    drop(bench);
    // Over simulated storage the log's task ends at its next turn, and only then is its lock free.
    tokio::task::yield_now().await;
    let bench = Bench::new(backend);
    assert_eq!(bench.values(0).await, (0..40u8).map(|n| vec![n]).collect::<Vec<_>>());
}

pub async fn a_reader_of_a_closed_log_ends(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.append(0, batch(&[b"a"])).await.expect("appended");
    bench.log.close().await;
    assert_eq!(bench.log.room().expect_err("closed").kind(), "CLOSED");
    assert_eq!(bench.append(0, batch(&[b"b"])).await.expect_err("closed").kind(), "CLOSED");
}
