//! What a service would do with an event: its own fold on a copy of its state, read from the log, with nothing written.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::Notify;

use super::ShardError;
use super::recover::Rebuild;
use crate::commit::CommitError;
use crate::deadletter::{ReplayOf, Replays};
use crate::log::{Batches, CorruptBatch, Log, Record, TopicPartition};
use crate::outcome::{Failure, Handled};
use crate::service::{Effects, Event, Fold, OutputBuffer, ServiceDef};
use crate::topology::{ServiceSpec, Topic};

const FETCH_BYTES: usize = 1 << 20;

/// How an event would end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Previewed {
    /// Outputs by topic.
    Done(BTreeMap<&'static str, u64>),
    Duplicate,
    Failed(Failure),
    /// With the panic's message, as it is: not for headers.
    Panicked(String),
}

/// The state of one shard as its commits have left it, and the fold over it.
pub struct Preview {
    spec: ServiceSpec,
    partition: u32,
    fold: Box<dyn Fold>,
    replays: Replays,
    outputs: OutputBuffer,
    now_ms: i64,
}

impl Preview {
    /// Folds the service's commit topic; a service that never ran has no rows. `now_ms`: processing time of the trial.
    ///
    /// # Errors
    /// [`ShardError`]: the commit topic cannot be read, or is not this program's.
    pub fn of(log: &dyn Log, def: &ServiceDef, partition: u32, now_ms: i64) -> Result<Self, ShardError> {
        let mut rebuild = Rebuild::of(def.fold());
        let spec = def.spec.clone();
        if let Some(topic) = log.topic(&spec.commit_topic()) {
            let at = TopicPartition { topic, partition };
            let extent = log.extent(at)?;
            let corrupt = |error: CorruptBatch| ShardError::Batch {
                file: format!("{}-{partition}", spec.commit_topic()),
                reason: error.to_string(),
            };
            let mut reader = log.reader(at, extent.start, Arc::new(Notify::new()))?;
            let mut scratch = Vec::new();
            while reader.position() < extent.high_watermark {
                let Some(fetched) = reader.try_next(FETCH_BYTES)? else { break };
                for batch in Batches::new(&fetched.bytes) {
                    for record in batch.map_err(corrupt)?.records(&mut scratch).map_err(corrupt)? {
                        let record = record.map_err(corrupt)?;
                        if record.offset >= fetched.from && record.offset < extent.high_watermark {
                            rebuild.entry(extent.start, record.offset, record.value)?;
                        }
                    }
                }
            }
            let state = rebuild.into_state().ok_or(CommitError::TrimmedWrongly { start: extent.start })?;
            return Ok(Self::with(spec, partition, state, now_ms));
        }
        let state = (def.fold(), Replays::default());
        Ok(Self::with(spec, partition, state, now_ms))
    }

    fn with(spec: ServiceSpec, partition: u32, (fold, replays): (Box<dyn Fold>, Replays), now_ms: i64) -> Self {
        Self { spec, partition, fold, replays, outputs: OutputBuffer::default(), now_ms }
    }

    /// Tries one replay once. What goes well stays in the copy, so that the next event meets it, as it would.
    pub fn attempt(&mut self, topic: &'static Topic, of: &ReplayOf<'_>, record: &Record<'_>) -> Previewed {
        if !self.replays.take(of, self.now_ms) {
            return Previewed::Duplicate;
        }
        let event = Event {
            topic,
            key: record.key.unwrap_or_default(),
            timestamp_ms: record.timestamp_ms,
            value: record.value.unwrap_or_default(),
            headers: record.headers,
        };
        self.fold.begin_event();
        let mut effects = Effects::new(&mut self.outputs, &self.spec, self.now_ms, self.partition, event.trace());
        let result = catch_unwind(AssertUnwindSafe(|| self.fold.handle(&event, &mut effects)));
        let previewed = match result {
            Ok(Ok(Handled::Done)) => {
                let mut outputs = BTreeMap::new();
                for (output, ..) in self.outputs.iter() {
                    *outputs.entry(output.topic.name).or_default() += 1;
                }
                Previewed::Done(outputs)
            }
            Ok(Ok(Handled::Duplicate)) => Previewed::Duplicate,
            Ok(Err(failure)) => Previewed::Failed(failure),
            Err(panic) => {
                let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
                Previewed::Panicked(message.unwrap_or_else(|| "panic without a message".into()))
            }
        };
        if matches!(previewed, Previewed::Failed(_) | Previewed::Panicked(_)) {
            self.fold.tables(&mut |table| table.rollback());
        }
        // Nobody commits this: what has changed is taken, so that it does not pile up.
        self.fold.tables(&mut |table| table.take_delta(&mut |_, _| {}));
        self.outputs.clear();
        previewed
    }
}
