use proptest::prelude::*;

use super::super::builder::BatchBuilder;
use super::*;

type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Vec<u8>)>);

fn build(compression: Compression, records: &[Owned]) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(compression);
    for (timestamp_ms, key, value, headers) in records {
        let headers: Vec<(&[u8], &[u8])> = headers.iter().map(|(k, v)| (&k[..], &v[..])).collect();
        builder.push(*timestamp_ms, key.as_deref(), value.as_deref(), &headers).unwrap();
    }
    builder.finish()
}

fn walk(bytes: &[u8]) -> Result<Vec<(i64, Owned)>, CorruptBatch> {
    let mut scratch = Vec::new();
    let mut found = Vec::new();
    for batch in Batches::new(bytes) {
        let batch = batch?;
        for record in batch.records(&mut scratch)? {
            let record = record?;
            let mut headers = Vec::new();
            for header in record.headers {
                let (name, value) = header?;
                headers.push((name.to_vec(), value.unwrap_or_default().to_vec()));
            }
            let owned =
                (record.timestamp_ms, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers);
            found.push((record.offset, owned));
        }
    }
    Ok(found)
}

fn records() -> impl Strategy<Value = Vec<Owned>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let header = (bytes(), bytes());
    let record = (
        -5_000_000_000i64..5_000_000_000_000,
        proptest::option::of(bytes()),
        proptest::option::of(bytes()),
        proptest::collection::vec(header, 0..3),
    );
    proptest::collection::vec(record, 1..40)
}

fn compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::None), Just(Compression::Lz4)]
}

proptest! {
    #[test]
    fn what_is_built_is_walked(records in records(), compression in compression(), base in 0i64..1 << 40) {
        let mut bytes = build(compression, &records).to_vec();
        set_base_offset(&mut bytes, base);
        let (batch, rest) = Batch::parse(&bytes).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(batch.check_crc(), Ok(()));
        prop_assert_eq!(batch.count() as usize, records.len());
        prop_assert_eq!(batch.base_offset(), base);
        prop_assert_eq!(batch.next_offset(), base + records.len() as i64);
        prop_assert_eq!(batch.base_timestamp_ms(), records[0].0);
        prop_assert_eq!(batch.max_timestamp_ms(), records.iter().map(|r| r.0).max().unwrap());
        let expected: Vec<_> = records.into_iter().enumerate().map(|(n, r)| (base + n as i64, r)).collect();
        prop_assert_eq!(walk(&bytes).unwrap(), expected);
    }

    #[test]
    fn one_flipped_bit_is_found(records in records(), compression in compression(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = build(compression, &records).to_vec();
        // Base offset and leader epoch are outside the CRC.
        let at = ATTRIBUTES_AT + at.index(bytes.len() - ATTRIBUTES_AT);
        bytes[at] ^= 1 << bit;
        let found = Batch::parse(&bytes).and_then(|(batch, _)| batch.check_crc());
        prop_assert!(found.is_err());
    }

    #[test]
    fn hostile_bytes_never_panic(records in records(), compression in compression(), seed in any::<u64>(), flips in 1usize..10) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = build(compression, &records).to_vec();
        for _ in 0..flips {
            // Half of the flips in the header: lengths and counts are what hurts.
            let at = if rng.bool() { rng.usize(0..HEADER_BYTES + 4) } else { rng.usize(0..bytes.len()) };
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 1 << rng.u8(0..8);
        }
        if rng.bool() {
            bytes.truncate(rng.usize(0..bytes.len()));
        }
        let _ = walk(&bytes);
    }

    #[test]
    fn any_cut_says_how_much_is_missing(records in records(), cut in any::<prop::sample::Index>()) {
        let bytes = build(Compression::None, &records);
        let cut = &bytes[..cut.index(bytes.len())];
        match Batch::parse(cut) {
            Err(CorruptBatch::Truncated { needed_bytes, found_bytes }) => {
                prop_assert!(needed_bytes > found_bytes && needed_bytes <= bytes.len());
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

/// Layout of the Kafka protocol guide ("Record Batch"), byte for byte.
#[test]
fn layout_is_kafkas() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1000, Some(b"k"), Some(b"vv"), &[(b"h", b"x")]).unwrap();
    builder.push(1001, None, None, &[]).unwrap();
    let bytes = builder.finish();
    let mut expected = vec![0, 0, 0, 0, 0, 0, 0, 0]; // base offset
    expected.extend_from_slice(&[0, 0, 0, 70, 0, 0, 0, 0, 2]); // length, leader epoch, magic
    expected.extend_from_slice(&bytes[17..21]); // CRC
    expected.extend_from_slice(&[0, 0, 0, 0, 0, 1]); // attributes, last offset delta
    expected.extend_from_slice(&1000i64.to_be_bytes());
    expected.extend_from_slice(&1001i64.to_be_bytes());
    expected.extend_from_slice(&[0xff; 8 + 2 + 4]); // no producer
    expected.extend_from_slice(&[0, 0, 0, 2]);
    expected.extend_from_slice(&[26, 0, 0, 0, 2, b'k', 4, b'v', b'v', 2, 2, b'h', 2, b'x']);
    expected.extend_from_slice(&[12, 0, 2, 2, 1, 1, 0]);
    assert_eq!(bytes[..], expected[..]);
    assert_eq!(Batch::parse(&bytes).unwrap().0.check_crc(), Ok(()));
}

#[test]
fn builder_is_reusable_and_bounded() {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    builder.push(5, None, Some(b"first"), &[]).unwrap();
    let first = builder.finish();
    assert!(builder.is_empty());
    builder.push(6, None, Some(b"second"), &[]).unwrap();
    let second = builder.finish();
    assert_eq!(walk(&first).unwrap()[0].1.2.as_deref(), Some(&b"first"[..]));
    assert_eq!(walk(&second).unwrap()[0].1.2.as_deref(), Some(&b"second"[..]));

    let large = vec![1; MAX_BATCH_BYTES];
    let error = builder.push(0, None, Some(&large), &[]).unwrap_err();
    assert_eq!(error.kind(), "BATCH_FULL");
    assert!(builder.is_empty());
}

#[test]
fn other_codecs_and_versions_are_named() {
    let mut bytes = build(Compression::None, &[(0, None, None, vec![])]).to_vec();
    bytes[ATTRIBUTES_AT + 1] = 4;
    assert_eq!(Batch::parse(&bytes).unwrap_err(), CorruptBatch::Codec { codec: 4 });
    bytes[MAGIC_AT] = 1;
    assert_eq!(Batch::parse(&bytes).unwrap_err(), CorruptBatch::Magic { found: 1 });
}
