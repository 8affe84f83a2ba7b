//! Cases of the log's conformance that are rows of a table: a record of each shape comes back as it was.

use runtime::log::{BatchBuilder, Compression};

use crate::log_cases::{Backend, Bench, at, batch, records};

/// A record of some shape.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a [u8], &'a [u8])],
}

impl Default for Shape<'_> {
    fn default() -> Self {
        Self { timestamp_ms: 1_700_000_000_000, key: Some(b"key"), value: Some(b"value"), headers: &[] }
    }
}

/// One before it, one behind it, packed and not: it comes back as it was, where it was put.
async fn comes_back(backend: &dyn Backend, shape: Shape<'_>) {
    let bench = Bench::new(backend);
    for compression in [Compression::None, Compression::Lz4] {
        let mut builder = BatchBuilder::new(compression);
        builder.push(shape.timestamp_ms, None, Some(b"before"), &[]).expect("small");
        builder.push(shape.timestamp_ms, shape.key, shape.value, shape.headers).expect("small enough");
        builder.push(shape.timestamp_ms, None, Some(b"behind"), &[]).expect("small");
        let base = bench.append(2, builder.finish()).await.expect("appended");
        let found = bench.read(2, base, 1 << 20).await;
        assert_eq!(found.len(), 3);
        let record = &found[1];
        assert_eq!((record.offset, record.timestamp_ms), (base + 1, shape.timestamp_ms));
        assert_eq!((record.key.as_deref(), record.value.as_deref()), (shape.key, shape.value));
        let headers: Vec<(&[u8], &[u8])> = record.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        assert_eq!(headers, shape.headers);
        assert_eq!(found[2].value.as_deref(), Some(&b"behind"[..]));
    }
}

macro_rules! shapes {
    ($($case:ident: $($field:ident = $value:expr),*;)*) => {
        $(
            pub async fn $case(backend: &dyn Backend) {
                comes_back(backend, Shape { $($field: $value,)* ..Shape::default() }).await;
            }
        )*
    };
}

shapes! {
    a_record_without_a_key: key = None;
    a_record_with_an_empty_key: key = Some(b"");
    a_record_with_a_long_key: key = Some(&[b'k'; 2_000]);
    a_record_with_a_binary_key: key = Some(&[0, 255, 128, 10, 13, 0]);
    a_tombstone: value = None;
    a_record_of_nothing: key = None, value = None;
    a_record_with_an_empty_value: value = Some(b"");
    a_record_with_a_value_of_one_byte: value = Some(b"\0");
    a_record_with_a_value_of_64_kib: value = Some(&[7; 64 << 10]);
    a_record_with_a_value_of_100_kb: value = Some(&[9; 100_000]);
    a_record_of_the_epoch_s_first_millisecond: timestamp_ms = 0;
    a_record_of_the_year_1970: timestamp_ms = 1;
    a_record_of_the_year_2262: timestamp_ms = 9_223_372_036_854;
    a_record_with_one_header: headers = &[(b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    a_record_with_a_header_without_a_value: headers = &[(b"flag", b"")];
    a_record_with_a_header_without_a_name: headers = &[(b"", b"value")];
    a_record_with_two_headers_of_one_name: headers = &[(b"a", b"1"), (b"b", b"2"), (b"a", b"3")];
    a_record_with_binary_in_a_header: headers = &[(b"bh-from", &[0, 255, 254, 0, 128])];
    a_record_with_text_of_the_world_in_a_header: headers = &[("größe".as_bytes(), "ключ 鍵".as_bytes())];
    a_record_with_a_long_header: headers = &[(b"long", &[b'v'; 8_000])];
    a_record_with_thirty_headers: headers = &[(&b"h"[..], &b"v"[..]); 30];
    a_record_with_a_key_of_the_world: key = Some("größe ключ 鍵".as_bytes());
    a_record_with_a_value_of_line_ends: value = Some(b"\r\n\n\0\n");
    a_record_with_a_header_of_nothing: headers = &[(b"", b"")];
    a_record_with_a_long_key_and_an_empty_value: key = Some(&[1; 8_193]), value = Some(b"");
    a_record_with_binary_in_a_header_s_name: headers = &[(&[b'n', 255, 254], b"v")];
    a_tombstone_with_a_header: value = None, headers = &[(b"deleted-by", b"cdc")];
}

/// Whatever is taken, in whatever pieces: each reader has all of it, in order.
pub async fn readers_do_not_take_from_each_other(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..30u8 {
        bench.append(0, batch(&[&[n], &[n]])).await.expect("appended");
    }
    let (mut one, one_wake) = bench.reader(0, 0);
    let (mut two, two_wake) = bench.reader(0, 30);
    let (mut ones, mut twos) = (0, 0);
    while ones < 60 || twos < 30 {
        if ones < 60 {
            ones += bench.next(&mut *one, &one_wake, 500).await.events;
        }
        if twos < 30 {
            twos += bench.next(&mut *two, &two_wake, 200).await.events;
        }
    }
    assert_eq!((ones, twos, one.position(), two.position()), (60, 30, 60, 60));
}

pub async fn a_reader_goes_back_and_forth(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    for n in 0..40u8 {
        bench.append(1, batch(&[&[n]])).await.expect("appended");
    }
    let (mut reader, wake) = bench.reader(1, 0);
    for position in [39, 0, 20, 19, 21, 38, 1] {
        reader.seek(position);
        let fetched = bench.next(&mut *reader, &wake, 1).await;
        let found = records(&fetched);
        assert_eq!((found[0].offset, found[0].value.as_deref()), (position, Some(&[position as u8][..])));
    }
}

pub async fn a_reader_at_the_end_gets_what_comes_and_nothing_before(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    bench.append(0, batch(&[b"old", b"old"])).await.expect("appended");
    let (mut reader, wake) = bench.reader(0, 2);
    assert!(reader.try_next(4096).expect("nothing yet").is_none());
    for n in 0..5u8 {
        bench.append(0, batch(&[&[n]])).await.expect("appended");
        let fetched = bench.next(&mut *reader, &wake, 4096).await;
        assert_eq!(records(&fetched)[0].value.as_deref(), Some(&[n][..]));
    }
}

pub async fn groups_keep_their_own_order(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let groups: Vec<_> = (0..4).map(|n| bench.log.producer_group(&format!("cases-{n}"), 1 << 20)).collect();
    let mut all = Vec::new();
    for n in 0..40u8 {
        for (g, group) in groups.iter().enumerate() {
            let options = runtime::log::AppendOptions { group: *group, fence: None };
            all.push(bench.log.append(at(bench.topic, 0), batch(&[&[g as u8, n]]), options));
        }
    }
    for appending in all {
        appending.await.expect("appended");
    }
    let values = bench.values(0).await;
    for g in 0..4u8 {
        let of: Vec<u8> = values.iter().filter(|value| value[0] == g).map(|value| value[1]).collect();
        assert_eq!(of, (0..40).collect::<Vec<u8>>(), "group {g}");
    }
}

pub async fn a_partition_trimmed_to_its_end_goes_on(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let of = at(bench.topic, 0);
    for n in 0..6u8 {
        bench.append(0, batch(&[&[n]])).await.expect("appended");
    }
    bench.log.trim(of, 6).await.expect("trimmed");
    let extent = bench.log.extent(of).expect("known");
    assert_eq!((extent.start, extent.high_watermark), (6, 6));
    assert_eq!(bench.append(0, batch(&[b"new"])).await.expect("appended"), 6, "offsets never repeat");
    assert_eq!(bench.values(0).await, [b"new"]);
}

pub async fn a_key_lies_where_java_puts_it(backend: &dyn Backend) {
    // Apache Kafka's own vectors of `Utils.murmur2`, and what its default partitioner makes of them among three.
    let vectors: [(&str, i32); 5] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("abc", 479_470_107),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
    ];
    let bench = Bench::new(backend);
    for (key, hash) in vectors {
        let partition = runtime::log::partitioner::partition(key.as_bytes(), 3);
        assert_eq!(partition, (hash as u32 & 0x7fff_ffff) % 3, "{key}");
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(1, Some(key.as_bytes()), Some(b"v"), &[]).expect("small");
        let base = bench.append(partition, builder.finish()).await.expect("appended");
        let found = bench.read(partition, base, 4096).await;
        assert_eq!(found[0].key.as_deref(), Some(key.as_bytes()));
    }
}
