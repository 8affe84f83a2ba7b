//! Where Apache Kafka differs from the embedded log: what it does instead. The table in docs/kafka.md names these cases.

use runtime::log::{BatchBuilder, Compression};

use crate::log_cases::{Backend, Bench, at, batch};

/// To the client library a time of 0 is "now".
pub async fn a_time_of_zero_is_that_of_the_append(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let clock = runtime::env::Env::production().clock;
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(0, Some(b"key"), Some(b"value"), &[]).expect("small");
    let before_ms = clock.wall_ms();
    let base = bench.append(0, builder.finish()).await.expect("appended");
    let found = bench.read(0, base, 4096).await;
    assert!((before_ms - 1..=clock.wall_ms() + 1).contains(&found[0].timestamp_ms), "{}", found[0].timestamp_ms);
    assert_eq!(found[0].value.as_deref(), Some(&b"value"[..]));
}

/// Names of headers are text there: bytes that are none are replaced, values stay as they are.
pub async fn names_of_headers_are_text(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1_000, None, Some(b"value"), &[(&[b'n', 255], &[255, 0])]).expect("small");
    let base = bench.append(0, builder.finish()).await.expect("appended");
    let found = bench.read(0, base, 4096).await;
    assert_eq!(found[0].headers, [("n\u{fffd}".as_bytes().to_vec(), vec![255, 0])]);
}

/// The broker does not take an offset that it has not reached for an end.
pub async fn a_trim_beyond_the_end_is_refused(backend: &dyn Backend) {
    let bench = Bench::new(backend);
    let of = at(bench.topic, 0);
    bench.append(0, batch(&[b"a", b"b"])).await.expect("appended");
    let error = bench.log.trim(of, 100).await.expect_err("out of range");
    assert_eq!(error.kind(), "INDEFINITE");
    assert_eq!(bench.log.extent(of).expect("known").start, 0, "nothing was trimmed");
    assert_eq!(bench.append(0, batch(&[b"c"])).await.expect("appended"), 2);
}
