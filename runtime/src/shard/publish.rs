//! Commit, read back, publish (rules P2, P3, P5, P8, P9).

use futures_util::future::join_all;
use tokio::task::JoinHandle;

use super::{Observation, Shard, ShardError};
use crate::commit::staging::{Header, Publication};
use crate::commit::standing::{Epoch, Verdict};
use crate::commit::{CommitError, Head};
use crate::log::batch::Compression;
use crate::log::{AppendError, AppendOptions, BatchBuilder, Batches, Fence, Offset, TopicPartition};

/// Outputs on their way. Dropping it stops waiting; what is in line at the log stays there, which does no harm: the
/// next owner publishes the same bytes again and readers drop repetitions.
pub(super) struct Publishing {
    sequence: i64,
    /// When it was sent: the deadline counts from here, whether somebody waits for the answer or not.
    sent_us: u64,
    task: JoinHandle<Result<(), AppendError>>,
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shard {
    /// Commits what is staged. Nothing to say makes no record.
    pub(super) async fn commit(&mut self, tick: bool) -> Result<(), ShardError> {
        self.stage_outputs()?;
        self.marks.settle();
        if !self.has_news() {
            self.batch_open = false;
            return Ok(());
        }
        self.ctx.wait_for_room().await?;
        let header = Header {
            epoch: self.epoch,
            sequence: self.next_sequence,
            now_ms: self.now_ms,
            tick,
            published: self.ctx.guards.published_mark(self.published, self.next_sequence),
        };
        let ranges = self.staging.ranges.clone();
        let mut encoded = std::mem::take(&mut self.encoded);
        let (staging, marks, parking, fold) = (&mut self.staging, &mut self.marks, &mut self.parking, &mut self.fold);
        let replays = &mut self.replays;
        self.set_aside_bytes = 0;
        let publications = staging.commit(
            header,
            &mut |visit| {
                visit(&mut marks.table);
                visit(&mut parking.table);
                visit(&mut replays.table);
                fold.tables(visit);
            },
            &mut self.counters,
            &mut encoded,
        )?;
        self.check(&header, &publications)?;
        let offset = self.append_record(&encoded).await?;
        self.ctx.observe(Observation::Committed { sequence: header.sequence, offset, record: &encoded });
        self.snapshot.committed(encoded.len());
        self.encoded = encoded;
        self.published_in_log = header.published;
        self.settle(&ranges);
        if publications.is_empty() {
            // Nothing to publish: acknowledged as soon as everything before it is.
            if self.publishing.is_none() {
                self.published = header.sequence;
            }
        } else {
            if self.ctx.guards.publishes_in_order() {
                self.published(header.sequence - 1).await?;
            }
            self.start_publication(header.sequence, publications)?;
        }
        self.batch_open = false;
        Ok(())
    }

    fn has_news(&mut self) -> bool {
        let mut changed = 0;
        self.tables(&mut |table| changed += table.changed());
        // Idle, the mark alone is worth a record: it lets the log be trimmed and spares a restart the repetition.
        changed > 0
            || !self.staging.ranges.is_empty()
            || self.staging.has_outputs()
            || (self.publishing.is_none() && self.published > self.published_in_log + 1)
    }

    /// Appends a record of the next sequence to the commit topic and reads it back.
    pub(super) async fn append_record(&mut self, value: &[u8]) -> Result<Offset, ShardError> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder
            .push(self.now_ms, None, Some(value), &[])
            .map_err(|full| CommitError::TooLarge { bytes: full.record_bytes, limit_bytes: full.limit_bytes })?;
        let asked_us = self.ctx.env.clock.mono_us();
        let append = self.ctx.log.append(self.ctx.commits, builder.into_batch(), self.options());
        let deadline = self.ctx.limits.append_deadline;
        let answer = self.ctx.env.clock.timeout(deadline, append).await;
        let offset = answer.ok_or(ShardError::Unanswered(deadline))??;
        self.next_sequence += 1;
        let now_us = self.ctx.env.clock.mono_us();
        self.ctx.progress.beat(now_us);
        self.ctx.stats.committed(value.len(), now_us.saturating_sub(asked_us));
        if self.ctx.guards.reads_back() {
            self.read_back(offset).await?;
        }
        Ok(offset)
    }

    pub(super) fn options(&self) -> AppendOptions {
        let fence = Fence { shard: self.ctx.partition, epoch_offset: self.epoch.offset };
        AppendOptions { group: self.ctx.group, fence: Some(fence) }
    }

    /// Rule P3: reads the commit topic through the fold up to `offset` and accepts there only our own standing record.
    async fn read_back(&mut self, offset: Offset) -> Result<(), ShardError> {
        let mut stands = false;
        while self.reader.position() <= offset {
            let readable = self.readable.clone();
            let notified = readable.notified();
            let Some(fetched) = self.reader.try_next(1 << 20)? else {
                let deadline = self.ctx.limits.append_deadline;
                self.ctx.env.clock.timeout(deadline, notified).await.ok_or(ShardError::Unanswered(deadline))?;
                continue;
            };
            let mut scratch = std::mem::take(&mut self.scratch);
            for batch in Batches::new(&fetched.bytes) {
                let batch = batch.map_err(|error| super::process::corrupt(&self.ctx, error))?;
                let records = batch.records(&mut scratch).map_err(|error| super::process::corrupt(&self.ctx, error))?;
                for record in records {
                    let record = record.map_err(|error| super::process::corrupt(&self.ctx, error))?;
                    if record.offset < fetched.from {
                        continue;
                    }
                    let head = Head::parse(record.offset, record.value)?;
                    let verdict = self.standing.admit_head(record.offset, &head);
                    if record.offset == offset {
                        stands = verdict == Verdict::Stands && self.ctx.guards.own_epoch(self.epoch, epoch_of(&head));
                    }
                }
            }
            self.scratch = scratch;
        }
        if !stands {
            return Err(ShardError::Void(offset));
        }
        if self.standing.epoch != Some(self.epoch) {
            // Our record stands, a claim came after it: this commit counts, the next one would not.
            return Err(ShardError::Fenced);
        }
        Ok(())
    }

    /// Sends the outputs of one standing commit; they keep their order to each partition.
    pub(super) fn start_publication(
        &mut self,
        sequence: i64,
        publications: Vec<Publication>,
    ) -> Result<(), ShardError> {
        let mut appends = Vec::with_capacity(publications.len());
        let mut count = 0;
        for publication in publications {
            let (name, partition) = &publication.to;
            let Some(topic) = self.ctx.outputs.get(name) else {
                return Err(AppendError::Unknown { what: format!("output topic {name}") }.into());
            };
            self.ctx.observe(Observation::Published {
                sequence,
                topic: name,
                partition: *partition,
                first_n: publication.first_n,
                batch: &publication.batch,
            });
            count += publication.count as u64;
            let to = TopicPartition { topic: *topic, partition: *partition };
            appends.push(self.ctx.log.append(to, publication.batch, self.options()));
        }
        self.ctx.stats.published.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
        // The task only waits: the places in line are taken.
        #[allow(clippy::disallowed_methods)] // runs on the bulkhead's runtime: this is called by its shard
        let task = tokio::spawn(async move { join_all(appends).await.into_iter().try_for_each(|a| a.map(|_| ())) });
        let sent_us = self.ctx.env.clock.mono_us();
        self.publishing = Some(Publishing { sequence, sent_us, task });
        self.ctx.publishing.store(true, std::sync::atomic::Ordering::Release);
        Ok(())
    }

    /// Waits until everything sent is acknowledged: that is all outputs of sequences up to `up_to`, as the caller knows.
    /// An error of delivery ends the ownership (rule P9).
    pub(super) async fn published(&mut self, up_to: i64) -> Result<(), ShardError> {
        let Some(publishing) = &mut self.publishing else { return Ok(()) };
        let deadline = self.ctx.limits.append_deadline;
        let passed = std::time::Duration::from_micros(self.ctx.env.clock.mono_us() - publishing.sent_us);
        let answer = self.ctx.env.clock.timeout(deadline.saturating_sub(passed), &mut publishing.task).await;
        match answer.ok_or(ShardError::Unanswered(deadline))? {
            Ok(result) => result?,
            Err(_) => return Err(ShardError::Unanswered(deadline)),
        }
        assert!(publishing.sequence <= up_to, "rule P8: the mark covers what was sent");
        self.published = up_to;
        self.publishing = None;
        self.ctx.publishing.store(false, std::sync::atomic::Ordering::Release);
        Ok(())
    }

    /// Takes note of a publication that has ended meanwhile, or has had no answer for too long, without waiting.
    pub(super) async fn note_published(&mut self) -> Result<(), ShardError> {
        let deadline_us = self.ctx.limits.append_deadline.as_micros() as u64;
        let now_us = self.ctx.env.clock.mono_us();
        let is_over = |p: &Publishing| p.task.is_finished() || now_us - p.sent_us >= deadline_us;
        if self.publishing.as_ref().is_some_and(is_over) {
            self.published(self.next_sequence - 1).await?;
        }
        Ok(())
    }
}

/// The epoch of a record; a claim is of none.
fn epoch_of(head: &Head) -> Epoch {
    head.epoch().unwrap_or(Epoch { offset: -1, nonce: 0 })
}
