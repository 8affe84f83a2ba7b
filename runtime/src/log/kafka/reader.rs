//! One partition, read in order: messages of the client library put back into record batches.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

use super::Shared;
use super::keeper::Chore;
use super::lock;
use super::native::{Reading, Stream, Taken};
use super::topics::Place;
use crate::log::batch::{Compression, HEADER_BYTES, MAX_BATCH_BYTES};
use crate::log::{BatchBuilder, FetchError, Fetched, Offset, PartitionReader, TopicPartition};

/// Messages taken in one call at most.
const MESSAGES_MAX: usize = 10_000;
/// A record's size before any was seen, bytes.
const RECORD_BYTES_GUESS: usize = 200;

/// Clients that read. One client reads a partition at most once, so a partition with four readers needs four.
#[derive(Default)]
pub(super) struct Clients {
    all: Mutex<Vec<(Arc<Reading>, BTreeSet<TopicPartition>)>>,
}

impl Clients {
    /// A client that does not read `at` yet.
    fn take(&self, shared: &Shared, at: TopicPartition) -> Result<(usize, Arc<Reading>), FetchError> {
        let mut all = lock(&self.all);
        let free = all.iter_mut().position(|(_, reads)| !reads.contains(&at));
        let index = match free {
            Some(index) => index,
            None => {
                let reading = Reading::new(&shared.config.consumer())
                    .map_err(|error| FetchError::Io { file: "a Kafka client".into(), reason: error.to_string() })?;
                all.push((reading, BTreeSet::new()));
                all.len() - 1
            }
        };
        all[index].1.insert(at);
        Ok((index, all[index].0.clone()))
    }

    pub(super) fn give_back(&self, index: usize, at: TopicPartition) {
        if let Some((_, reads)) = lock(&self.all).get_mut(index) {
            reads.remove(&at);
        }
    }

    pub(super) fn housekeep(&self) {
        let all: Vec<_> = lock(&self.all).iter().map(|(reading, _)| reading.clone()).collect();
        all.iter().for_each(|reading| reading.housekeep());
    }
}

/// A stream, and which client it must be given back to.
pub(super) struct Lent {
    stream: Stream,
    client: usize,
    at: TopicPartition,
}

impl Lent {
    /// Blocks until the library has stopped.
    pub(super) fn end(self, clients: &Clients) {
        drop(self.stream);
        clients.give_back(self.client, self.at);
    }
}

/// Reads one partition.
pub(super) struct KafkaReader {
    shared: Arc<Shared>,
    place: Place,
    position: Offset,
    wake: Arc<Notify>,
    lent: Option<Lent>,
    /// The high watermark as it was known when the stream began.
    end_then: Offset,
    builder: BatchBuilder,
    out: Vec<u8>,
    record_bytes: usize,
}

impl KafkaReader {
    pub(super) fn new(shared: Arc<Shared>, place: Place, position: Offset, wake: Arc<Notify>) -> Self {
        let builder = BatchBuilder::new(Compression::None);
        Self {
            shared,
            place,
            position,
            wake,
            lent: None,
            end_then: 0,
            builder,
            out: Vec::new(),
            record_bytes: RECORD_BYTES_GUESS,
        }
    }

    fn start(&mut self) -> Result<(), FetchError> {
        if self.lent.is_none() {
            let at = self.place.at();
            self.end_then = self.place.state().extent().high_watermark;
            let (client, reading) = self.shared.clients.take(&self.shared, at)?;
            let (name, partition) = (&self.place.topic.c_name, self.place.partition);
            let stream = Stream::start(&reading, name, partition, self.position, self.wake.clone());
            match stream {
                Ok(stream) => self.lent = Some(Lent { stream, client, at }),
                Err(reason) => {
                    self.shared.clients.give_back(client, at);
                    return Err(FetchError::Io { file: format!("{}-{partition}", self.place.name()), reason });
                }
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(lent) = self.lent.take() {
            self.shared.keeper.give(Chore::Stop(lent));
        }
    }

    fn below_start(&self, start: Offset) -> FetchError {
        let (topic, partition) = (self.place.name().clone(), self.place.partition);
        FetchError::BelowStart { topic, partition, offset: self.position, start }
    }
}

impl PartitionReader for KafkaReader {
    fn try_next(&mut self, max_bytes: usize) -> Result<Option<Fetched>, FetchError> {
        if self.shared.is_closed() {
            return Err(FetchError::Closed);
        }
        let start = self.place.state().extent().start;
        if self.position < start {
            return Err(self.below_start(start));
        }
        let from = self.position;
        let limit = (max_bytes / self.record_bytes).clamp(1, MESSAGES_MAX);
        self.start()?;
        let Self { lent: Some(lent), builder, out, .. } = self else { return Err(FetchError::Closed) };
        let mut run = Run { builder, out, from, next: from, base: from, events: 0, failed: None };
        lent.stream.take(limit, |taken| run.add(taken));
        run.finish();
        let (next, events, failed) = (run.next, run.events, run.failed.take());
        // Given away as it is; the next one is about as long.
        let bytes = Bytes::from(std::mem::take(out));
        *out = Vec::with_capacity(bytes.len());
        match failed {
            Some(Failed::OutOfRange) if events == 0 => {
                self.stop();
                if from >= self.end_then {
                    // Above the end as it was: no fetch will tell when there is more. What is there by now is seen next time.
                    self.shared.keeper.give(Chore::TellLater(self.wake.clone()));
                    return Ok(None);
                }
                self.shared.keeper.give(Chore::Refresh);
                return Err(self.below_start(start.max(from + 1)));
            }
            Some(Failed::Corrupt(reason)) if events == 0 => {
                let file = format!("{}-{}", self.place.name(), self.place.partition);
                return Err(FetchError::Corrupt { file, offset: from, byte: 0, reason });
            }
            // The next call meets it again, at the position where it belongs.
            Some(_) => self.stop(),
            None => {}
        }
        self.position = next;
        if events == 0 {
            return Ok(None);
        }
        self.record_bytes = (bytes.len() / events as usize).max(1);
        let state = self.place.state();
        let now_us = self.shared.env.clock.mono_us();
        state.readable(from, next, now_us, None);
        Ok(Some(Fetched { bytes, from, next, events, readable_at_us: state.readable_at_us(from) }))
    }

    fn position(&self) -> Offset {
        self.position
    }

    fn seek(&mut self, offset: Offset) {
        if offset != self.position {
            self.stop();
            self.position = offset;
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.stop();
    }
}

enum Failed {
    OutOfRange,
    Corrupt(String),
}

/// Messages on their way into batches.
struct Run<'a> {
    builder: &'a mut BatchBuilder,
    out: &'a mut Vec<u8>,
    from: Offset,
    next: Offset,
    /// Offset of the first record in the builder.
    base: Offset,
    events: u32,
    failed: Option<Failed>,
}

impl Run<'_> {
    fn add(&mut self, taken: Taken<'_>) {
        if self.failed.is_some() {
            return;
        }
        match taken {
            Taken::Record { offset, timestamp_ms, key, value, headers } => {
                // Below: asked for before a seek, and late.
                if offset < self.from || offset < self.next {
                    return;
                }
                let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
                if offset != self.next || self.builder.bytes() + size + HEADER_BYTES * 4 > MAX_BATCH_BYTES / 4 {
                    self.finish();
                }
                if self.builder.is_empty() {
                    self.base = offset;
                }
                if let Err(full) = self.builder.push(timestamp_ms, key, value, &headers) {
                    self.failed = Some(Failed::Corrupt(full.to_string()));
                    return;
                }
                self.next = offset + 1;
                self.events += 1;
            }
            Taken::End(offset) => self.next = self.next.max(offset),
            Taken::OutOfRange => self.failed = Some(Failed::OutOfRange),
            Taken::Corrupt(reason) => self.failed = Some(Failed::Corrupt(reason)),
            Taken::Other(reason) => tracing::warn!(reason, "reading from Kafka"),
        }
    }

    fn finish(&mut self) {
        if !self.builder.is_empty() {
            self.builder.finish_onto(self.base, self.out);
        }
    }
}
