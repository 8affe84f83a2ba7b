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
        let up = Command::new(scripts().join("up")).args(["--fresh", "--with", &pid]).stderr(Stdio::inherit()).output();
        let up = up.expect("tests/kafka/up runs");
        assert!(up.status.success(), "tests/kafka/up failed: Java and Maven are needed, see its messages");
        String::from_utf8(up.stdout).expect("text").trim().to_owned()
    })
}

/// The broker dies at once, as in a crash, and comes back on the same port; how long it was away. A broker of somebody
/// else's is left alone.
pub fn restart() -> Option<std::time::Duration> {
    brokers();
    if std::env::var("BULKHEAD_KAFKA").is_ok() {
        return None;
    }
    let clock = runtime::env::Env::production().clock;
    let (pid, since_us) = (std::process::id().to_string(), clock.mono_us());
    let script = |name: &str, args: &[&str]| {
        let done = Command::new(scripts().join(name)).args(args).stdout(Stdio::null()).status();
        assert!(done.is_ok_and(|status| status.success()), "tests/kafka/{name} failed");
    };
    script("down", &["--kill"]);
    script("up", &["--with", &pid]);
    Some(std::time::Duration::from_micros(clock.mono_us() - since_us))
}

/// A prefix for topics that nobody else uses.
pub fn fresh_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let random = runtime::env::Env::production().random.seed();
    format!("t{random:016x}-{}-", NEXT.fetch_add(1, Ordering::Relaxed))
}
