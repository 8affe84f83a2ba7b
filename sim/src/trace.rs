//! The trace of a run: compact binary records of everything that happened, under one running SHA-256.
//!
//! What is longer than a line stands there by its length and XXH3: every byte counts, and a gigabyte of it a second costs
//! little (SHA-256 over all contents was a sixth of the simulator's time).
//!
//! Two runs of a seed must give the same bytes. As text only when somebody wants to read it: the text is for people and
//! for `diff`, the hash is over the binary records.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::env::Clock;
use runtime::log::storage::{Call, CallKind};
use runtime::shard::{Observation, Observer};
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_128;

/// Bytes collected before they are hashed: SHA-256 likes long runs.
const BUFFER_BYTES: usize = 64 << 10;
/// Text up to this stands in a line as it is, not as a digest.
const SHORT_BYTES: usize = 120;

struct Inner {
    hash: Sha256,
    buffer: Vec<u8>,
    text: Option<std::io::BufWriter<std::fs::File>>,
    /// Records so far.
    records: u64,
    deliveries: u64,
    /// The last lines, for the story of a violation.
    recent: std::collections::VecDeque<String>,
    recent_max: usize,
    failed: Option<String>,
}

/// A shared handle on the trace of one run.
#[derive(Clone)]
pub struct Trace {
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

impl Trace {
    /// `text`: also written there, one line a record. `recent_max`: lines kept for `explain`.
    pub fn new(clock: Clock, text: Option<std::fs::File>, recent_max: usize) -> Self {
        let inner = Inner {
            hash: Sha256::new(),
            buffer: Vec::with_capacity(2 * BUFFER_BYTES),
            text: text.map(std::io::BufWriter::new),
            records: 0,
            deliveries: 0,
            recent: std::collections::VecDeque::new(),
            recent_max,
            failed: None,
        };
        Self { clock, inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One record: what kind, where, its numbers, its bytes.
    pub fn record(&self, kind: &str, place: &str, numbers: &[i64], content: &[u8]) {
        let at_us = self.clock.mono_us();
        let mut inner = self.lock();
        inner.records += 1;
        let buffer = &mut inner.buffer;
        buffer.extend_from_slice(&at_us.to_le_bytes());
        for text in [kind, place] {
            buffer.push(text.len().min(255) as u8);
            buffer.extend_from_slice(&text.as_bytes()[..text.len().min(255)]);
        }
        buffer.push(numbers.len() as u8);
        numbers.iter().for_each(|number| buffer.extend_from_slice(&number.to_le_bytes()));
        buffer.extend_from_slice(&(content.len() as u64).to_le_bytes());
        if content.len() <= SHORT_BYTES {
            buffer.extend_from_slice(content);
        } else {
            buffer.extend_from_slice(&XxHash3_128::oneshot(content).to_le_bytes());
        }
        inner.flush_at(BUFFER_BYTES);
        if inner.text.is_some() || inner.recent_max > 0 {
            inner.line(at_us, kind, place, numbers, content);
        }
    }

    /// Digest of everything recorded, as hexadecimal text. Recording may go on.
    pub fn sha256(&self) -> String {
        let mut inner = self.lock();
        inner.flush_at(1);
        inner.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn records(&self) -> u64 {
        self.lock().records
    }

    /// Batches given to shards.
    pub fn deliveries(&self) -> u64 {
        self.lock().deliveries
    }

    /// The last lines.
    pub fn recent(&self) -> Vec<String> {
        self.lock().recent.iter().cloned().collect()
    }

    /// Writes what is buffered of the text.
    ///
    /// # Errors
    /// The reason why the file is not whole.
    pub fn finish(&self) -> Result<(), String> {
        let mut inner = self.lock();
        if let Some(text) = &mut inner.text
            && let Err(error) = text.flush()
        {
            inner.failed = Some(error.to_string());
        }
        inner.failed.clone().map_or(Ok(()), Err)
    }
}

impl Inner {
    fn flush_at(&mut self, bytes: usize) {
        if self.buffer.len() >= bytes {
            self.hash.update(&self.buffer);
            self.buffer.clear();
        }
    }

    fn line(&mut self, at_us: u64, kind: &str, place: &str, numbers: &[i64], content: &[u8]) {
        let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
        let mut line = format!("{:>12.6} {kind:<10} {place} {}", at_us as f64 / 1e6, numbers.join(" "));
        let is_text = content.len() <= SHORT_BYTES && content.iter().all(|byte| (b' '..=b'~').contains(byte));
        if let (true, Ok(text)) = (is_text && !content.is_empty(), std::str::from_utf8(content)) {
            line.push_str(&format!(" {text:?}"));
        } else if !content.is_empty() {
            let short = XxHash3_128::oneshot(content) >> 80;
            line.push_str(&format!(" {}B:{short:012x}", content.len()));
        }
        if let Some(text) = &mut self.text
            && let Err(error) = writeln!(text, "{line}")
        {
            self.failed = Some(error.to_string());
        }
        if self.recent_max > 0 {
            if self.recent.len() == self.recent_max {
                self.recent.pop_front();
            }
            self.recent.push_back(line);
        }
    }
}

/// Shards of one simulated process, as the trace sees them.
pub struct ShardTrace {
    pub trace: Trace,
    /// Which incarnation of the platform.
    pub process: u32,
    /// Steps of all shards of the world; at number `dies_at` the process dies.
    pub steps: Arc<AtomicU64>,
    pub dies_at: u64,
    pub die: Box<dyn Fn() + Send + Sync>,
}

impl Observer for ShardTrace {
    fn observe(&self, service: &'static str, partition: u32, what: Observation<'_>) {
        if self.steps.fetch_add(1, Ordering::Relaxed) + 1 == self.dies_at {
            (self.die)();
        }
        let place = format!("{}/{service}-{partition}", self.process);
        let record = |kind, numbers: &[i64], content: &[u8]| self.trace.record(kind, &place, numbers, content);
        match what {
            Observation::Claimed { epoch } => record("claim", &[epoch.offset, epoch.nonce], &[]),
            Observation::Restored { sequence, rows } => record("restore", &[sequence, rows as i64], &[]),
            Observation::Delivered { topic, partition, from, to } => {
                self.trace.lock().deliveries += 1;
                record("deliver", &[i64::from(partition), from, to], topic.as_bytes());
            }
            Observation::Committed { sequence, offset, record: bytes } => record("commit", &[sequence, offset], bytes),
            Observation::Published { sequence, topic, partition, first_n, batch } => {
                record("publish", &[sequence, i64::from(partition), first_n], topic.as_bytes());
                record("published", &[first_n], batch);
            }
            Observation::Stopped { reason } => record("stop", &[], reason.as_bytes()),
        }
    }
}

/// Records a storage call with its content; of a read, how much it found.
pub fn storage_call(trace: &Trace, call: &Call<'_>, succeeded: bool) {
    let kind = match call.kind {
        CallKind::Open => "open",
        CallKind::Read => "read",
        CallKind::Write => "write",
        CallKind::Sync => "sync",
        CallKind::SetLen => "set_len",
        CallKind::Preallocate => "prealloc",
        CallKind::CreateDir => "mkdir",
        CallKind::Rename => "rename",
        CallKind::Remove => "remove",
        CallKind::SyncDir => "sync_dir",
    };
    let (mut content, mut numbers) = (call.content, vec![call.offset as i64, i64::from(succeeded)]);
    if call.kind == CallKind::Read {
        // What it finds stands in the trace since it was written; restarts read a gigabyte.
        numbers.push(content.len() as i64);
        content = &[];
    }
    trace.record(kind, call.file, &numbers, content);
}

/// First line in which two trace files differ: its number, and what either says there.
///
/// # Errors
/// A file that cannot be read, with its name.
pub fn first_difference(a: &str, b: &str) -> Result<Option<(u64, String, String)>, String> {
    use std::io::BufRead as _;
    let open = |file: &str| {
        let opened =
            std::fs::File::open(file).map_err(|error| format!("{file}: {error}; write one with run --trace"))?;
        Ok::<_, String>(std::io::BufReader::new(opened).lines())
    };
    let (mut left, mut right) = (open(a)?, open(b)?);
    let read = |file: &str, line: Option<std::io::Result<String>>| {
        line.transpose().map_err(|error| format!("{file}: {error}"))
    };
    for number in 1.. {
        let (l, r) = (read(a, left.next())?, read(b, right.next())?);
        if l.is_none() && r.is_none() {
            return Ok(None);
        }
        if l != r {
            let text = |line: Option<String>| line.unwrap_or_else(|| "(the file ends)".into());
            return Ok(Some((number, text(l), text(r))));
        }
    }
    Ok(None)
}
