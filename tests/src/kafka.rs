//! A real Apache Kafka for the tests: `tests/kafka/up`, once a test program, gone with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka")
}

/// `HOST:PORT` of the broker: the one that `BULKHEAD_KAFKA` names, else one of our own.
pub fn brokers() -> &'static str {
    static BROKERS: OnceLock<String> = OnceLock::new();
    BROKERS.get_or_init(|| {
        if let Ok(brokers) = std::env::var("BULKHEAD_KAFKA") {
            return brokers;
        }
        let pid = std::process::id().to_string();
        let up = Command::new(scripts().join("up")).args(["--with", &pid]).stderr(Stdio::inherit()).output();
        let up = up.expect("tests/kafka/up runs");
        assert!(up.status.success(), "tests/kafka/up failed: Java and Maven are needed, see its messages");
        String::from_utf8(up.stdout).expect("text").trim().to_owned()
    })
}

/// A prefix for topics that nobody else uses.
pub fn fresh_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let random = runtime::env::Env::production().random.seed();
    format!("t{random:016x}-{}-", NEXT.fetch_add(1, Ordering::Relaxed))
}
