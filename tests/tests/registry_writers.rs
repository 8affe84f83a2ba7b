//! Records of writers that are not of this binary: with a schema that the registry knows they are read, with an id that
//! nobody knows they are dead letters, and the recount agrees.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bulkhead::registry::EmbeddedRegistry;
use runtime::env::Env;
use runtime::log::{Batches, TopicPartition};
use schemas::codec::Encode as _;
use schemas::events::ClickPixel;
use schemas::registry::Submission;
use serde_json::Value;
use tests::program;
use tests::registry_kit::{append, framed, newer_click_pixel, open_log};

const TOPIC: &str = "click-pixels";

fn up(data: &Path) {
    let mut command = Command::new(program::built("bulkhead", "bulkhead"));
    let out = command.args(["up", "--until-idle", "--partitions", "1", "--data"]).arg(data).output().expect("runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

#[test]
fn other_writers_are_read_and_strangers_set_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path();
    let env = Env::production();
    // Makes the topics and registers what is built in.
    up(data);
    block(async {
        let log = open_log(&env, data);
        let registry = EmbeddedRegistry::open(&env, log.clone()).await.expect("a registry");
        let (newer, new) = newer_click_pixel(env.clock.wall_ms());
        let submission = Submission::of(newer);
        let registered = registry.write(|state| state.register("click-pixels-value", &submission)).await;
        let id = registered.expect("compatible").id;
        // The same in the old form: without the added field.
        let values = [framed(ClickPixel::SCHEMA_ID, &new[3..]), framed(id, &new), framed(7_777, &new)];
        append(&env, log.as_ref(), TOPIC, &values).await;
        log.close().await;
    });
    up(data);

    let env = Env::production();
    let codes = block(async {
        let log = open_log(&env, data);
        let topic = log.topic("click-pixels-dlq").expect("made at start");
        let at = TopicPartition { topic, partition: 0 };
        let mut reader = log.reader(at, 0, Arc::default()).expect("a reader");
        let (mut found, mut scratch) = (Vec::new(), Vec::new());
        while let Some(fetched) = reader.try_next(1 << 20).expect("read") {
            for batch in Batches::new(&fetched.bytes) {
                for record in batch.expect("whole").records(&mut scratch).expect("whole") {
                    let record = record.expect("whole");
                    let text = format!(
                        "{:?}",
                        record
                            .headers
                            .map(|h| h.map(|(n, v)| {
                                let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                                (text(n), text(v.unwrap_or_default()))
                            }))
                            .collect::<Result<Vec<_>, _>>()
                            .expect("headers")
                    );
                    found.push((record.value.map(<[u8]>::to_vec).unwrap_or_default(), text));
                }
            }
        }
        log.close().await;
        found
    });
    let unknown: Vec<_> = codes.iter().filter(|(_, headers)| headers.contains("SCHEMA_VIOLATION")).collect();
    assert_eq!(unknown.len(), 1, "{codes:?}");
    // Untouched, with the id that nobody knows.
    assert!(unknown[0].0.starts_with(&framed(7_777, &[])) && unknown[0].1.contains("7777"), "{unknown:?}");

    let out = Command::new(program::built("bulkhead", "bulkhead"))
        .args(["verify", "--output", "json", "--data"])
        .arg(data)
        .output()
        .expect("runs");
    let report: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!((out.status.success(), &report["ok"]), (true, &Value::from(true)), "{report}");
    let taken = &report["offsets"]["click-pixels/tracking"];
    assert_eq!((&taken["events"], &taken["unaccounted"]), (&Value::from(3), &Value::from(0)), "{report}");
}
