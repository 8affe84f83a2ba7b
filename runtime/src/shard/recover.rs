//! Claim and rebuild (rules P1 to P5, P8, P17, P18).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::Notify;

use super::restate::Restating;
use super::snapshot::Snapshots;
use super::trial::{Attempted, Attempts, Trials};
use super::{Observation, Shard, ShardContext, ShardError};
use crate::commit::marks::Marks;
use crate::commit::staging::{Counters, Publication, Staging};
use crate::commit::standing::{Epoch, Standing, Verdict};
use crate::commit::{CommitError, Entry};
use crate::deadletter::Replays;
use crate::log::batch::Compression;
use crate::log::{AppendOptions, BatchBuilder, Batches, Fence, Offset, PartitionReader};
use crate::offsets::SettledPrefix;
use crate::park::Parking;
use crate::service::{Fold, OutputBuffer};
use crate::stats::Tally;

/// Output of a standing commit whose publication may be missing.
struct Unpublished {
    sequence: i64,
    publications: Vec<Publication>,
}

/// What the fold over the commit topic has gathered.
pub(super) struct Rebuild {
    fold: Box<dyn Fold>,
    marks: Marks,
    parking: Parking,
    replays: Replays,
    standing: Standing,
    positions: BTreeMap<(String, u32), Offset>,
    counters: Counters,
    published: i64,
    unpublished: VecDeque<Unpublished>,
    /// A trimmed topic must turn out to start with a complete snapshot.
    wants_end_of: Option<Offset>,
    bytes_since_snapshot: u64,
    rows: usize,
    /// Events of commits from this sequence on are not in the counters yet; -1: they are not ours to count.
    count_from: i64,
    uncounted: Tally,
    /// Of processes that died before anything came of them (rule P12).
    attempts: Attempts,
    /// Somebody owned this shard before this process's first claim.
    had_owner: bool,
    first_claim: Offset,
}

impl Shard {
    /// Claims the shard and folds its commit topic up to the claim; then publishes again what may be missing.
    pub async fn recover(ctx: Arc<ShardContext>) -> Result<Self, ShardError> {
        let epoch = claim(&ctx).await?;
        ctx.observe(Observation::Claimed { epoch });
        let readable = Arc::new(Notify::new());
        let start = ctx.log.extent(ctx.commits)?.start;
        let mut reader = ctx.log.reader(ctx.commits, start, readable.clone())?;
        let mut rebuild = Rebuild {
            count_from: ctx.count_from.load(Ordering::Acquire),
            had_owner: start > 0,
            first_claim: ctx.first_claim.load(Ordering::Acquire),
            ..Rebuild::of(ctx.def.fold())
        };
        rebuild.fold_up_to(&ctx, reader.as_mut(), &readable, start, epoch.offset).await?;
        if rebuild.wants_end_of.is_some() {
            return Err(CommitError::TrimmedWrongly { start }.into());
        }
        if rebuild.standing.epoch != Some(epoch) {
            return Err(ShardError::Fenced);
        }
        // Within a process the supervisor knows who failed; only the death of a process leaves no witness.
        let is_tried = rebuild.had_owner && !ctx.is_calm.load(Ordering::Acquire);
        let attempts = std::mem::take(&mut rebuild.attempts);
        let mut shard = rebuild.into_shard(ctx, epoch, reader, readable)?;
        if is_tried {
            shard.begin_trials(&attempts).await?;
        }
        shard.condemn_what_holds_up();
        let sequence = shard.next_sequence;
        let rows = shard.inspect().iter().map(|(_, rows, _)| rows).sum();
        shard.ctx.observe(Observation::Restored { sequence, rows });
        Ok(shard)
    }
}

/// Rule P1: the epoch is where the claim lies, and its nonce.
async fn claim(ctx: &Arc<ShardContext>) -> Result<Epoch, ShardError> {
    let stream = format!("claim/{}/{}/{}", ctx.def.spec.name, ctx.partition, ctx.env.clock.mono_us());
    let nonce = ctx.guards.nonce(ctx.env.random.stream(&stream).i64(1..));
    let mut value = Vec::new();
    let record = schemas::events::Claim {
        nonce,
        instance: &ctx.instance,
        service: ctx.def.spec.name,
        partition: ctx.partition as i32,
    };
    schemas::frame::encode(&record, &mut value);
    let mut builder = BatchBuilder::new(Compression::None);
    builder
        .push(ctx.env.clock.wall_ms(), None, Some(&value), &[])
        .map_err(|full| CommitError::TooLarge { bytes: full.record_bytes, limit_bytes: full.limit_bytes })?;
    let options = AppendOptions { group: ctx.group, fence: None };
    let append = ctx.log.append(ctx.commits, builder.finish(), options);
    let deadline = ctx.limits.append_deadline;
    let offset = ctx.env.clock.timeout(deadline, append).await.ok_or(ShardError::Unanswered(deadline))??;
    let _ = ctx.first_claim.compare_exchange(-1, offset, Ordering::AcqRel, Ordering::Acquire);
    if ctx.guards.fences() {
        ctx.log.fence(ctx.group, Fence { shard: ctx.partition, epoch_offset: offset });
    }
    Ok(Epoch { offset, nonce })
}

impl Rebuild {
    /// Nothing is gathered yet.
    pub(super) fn of(fold: Box<dyn Fold>) -> Self {
        Self {
            fold,
            marks: Marks::default(),
            parking: Parking::default(),
            replays: Replays::default(),
            standing: Standing::new(),
            positions: BTreeMap::new(),
            counters: Counters::new(),
            published: -1,
            unpublished: VecDeque::new(),
            wants_end_of: None,
            bytes_since_snapshot: 0,
            rows: 0,
            count_from: -1,
            uncounted: Tally::default(),
            attempts: Attempts::default(),
            had_owner: false,
            first_claim: 0,
        }
    }

    /// The state that stands; `None` where a trimmed topic does not start with a whole snapshot.
    pub(super) fn into_state(self) -> Option<(Box<dyn Fold>, Replays)> {
        self.wants_end_of.is_none().then_some((self.fold, self.replays))
    }

    async fn fold_up_to(
        &mut self,
        ctx: &ShardContext,
        reader: &mut dyn PartitionReader,
        readable: &Notify,
        start: Offset,
        claim: Offset,
    ) -> Result<(), ShardError> {
        let mut scratch = Vec::new();
        while reader.position() <= claim {
            let notified = readable.notified();
            let Some(fetched) = reader.try_next(1 << 20)? else {
                let deadline = ctx.limits.append_deadline;
                ctx.env.clock.timeout(deadline, notified).await.ok_or(ShardError::Unanswered(deadline))?;
                continue;
            };
            for batch in Batches::new(&fetched.bytes) {
                let batch = batch.map_err(|error| super::process::corrupt(ctx, error))?;
                for record in batch.records(&mut scratch).map_err(|error| super::process::corrupt(ctx, error))? {
                    let record = record.map_err(|error| super::process::corrupt(ctx, error))?;
                    if record.offset >= fetched.from && record.offset <= claim {
                        self.entry(start, record.offset, record.value)?;
                        self.had_owner |= record.offset < self.first_claim;
                    }
                }
            }
            if fetched.next > claim + 1 {
                // Another claim may follow ours at once; it is read back with our first commit.
                reader.seek(claim + 1);
            }
            // A long restore shares its runtime with the service's other shards.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    pub(super) fn entry(&mut self, start: Offset, offset: Offset, value: Option<&[u8]>) -> Result<(), CommitError> {
        let entry = Entry::parse(offset, value)?;
        if offset == start && start > 0 {
            match &entry {
                Entry::Chunk(chunk) if chunk.index == 0 => {
                    self.standing = Standing::at_snapshot(chunk);
                    self.published = chunk.published;
                    self.wants_end_of = Some(offset);
                }
                _ => return Err(CommitError::TrimmedWrongly { start }),
            }
        }
        if self.standing.admit(offset, &entry) == Verdict::Void {
            return Ok(());
        }
        self.bytes_since_snapshot += value.map_or(0, <[u8]>::len) as u64;
        match entry {
            Entry::Attempt(attempt) if offset < self.first_claim => {
                let at = (attempt.topic.to_string(), attempt.partition as u32, attempt.offset);
                let events = u32::try_from(attempt.events).unwrap_or_default();
                self.attempts.note(at, Attempted { n: attempt.n, events });
            }
            Entry::Claim(_) | Entry::Attempt(_) => {}
            Entry::Commit(commit) => self.commit(&commit)?,
            Entry::Chunk(chunk) => {
                for delta in chunk.delta {
                    self.rows(delta.table, delta.version, delta.rows)?;
                }
            }
            Entry::End(end) => self.end(&end),
        }
        Ok(())
    }

    fn commit(&mut self, commit: &schemas::events::Commit<'_>) -> Result<(), CommitError> {
        if (0..=commit.sequence).contains(&self.count_from) {
            self.uncounted.add(tally_of(commit));
        }
        self.attempts.answered();
        for range in commit.inputs {
            self.attempts.taken(range.topic, range.partition as u32, range.to);
            self.positions.insert((range.topic.to_string(), range.partition as u32), range.to);
        }
        for delta in commit.delta {
            self.rows(delta.table, delta.version, delta.rows)?;
        }
        let mut publications = Vec::new();
        for output in commit.outputs {
            let to = (Arc::from(output.topic), output.partition as u32);
            self.counters.insert(to.clone(), output.first_n + i64::from(output.count));
            let batch = Bytes::copy_from_slice(output.batch);
            let first_n = output.first_n;
            publications.push(Publication { to, first_n, staged_n: first_n, count: output.count, batch });
        }
        if !publications.is_empty() {
            self.unpublished.push_back(Unpublished { sequence: commit.sequence, publications });
        }
        self.published_up_to(commit.published);
        Ok(())
    }

    fn published_up_to(&mut self, published: i64) {
        self.published = self.published.max(published);
        while self.unpublished.front().is_some_and(|first| first.sequence <= self.published) {
            self.unpublished.pop_front();
        }
    }

    /// Positions and counters of a snapshot matter where the commits before it were trimmed; later commits are newer.
    fn end(&mut self, end: &schemas::events::SnapshotEnd<'_>) {
        if self.wants_end_of == Some(end.first_chunk_offset) {
            self.wants_end_of = None;
        }
        for position in end.positions {
            let key = (position.topic.to_string(), position.partition as u32);
            let next = self.positions.entry(key).or_insert(position.next);
            *next = (*next).max(position.next);
        }
        for counter in end.counters {
            let next = self.counters.entry((Arc::from(counter.topic), counter.partition as u32)).or_insert(0);
            *next = (*next).max(counter.next_n);
        }
        self.published_up_to(end.published);
        self.bytes_since_snapshot = 0;
    }

    fn rows(
        &mut self,
        table: &str,
        version: i32,
        rows: schemas::codec::Array<'_, schemas::events::Row<'_>>,
    ) -> Result<(), CommitError> {
        let mut result = Err(CommitError::UnknownTable(table.to_string()));
        let mut apply = |found: &mut dyn crate::state::AnyTable| {
            if found.name() == table {
                let version = u16::try_from(version).unwrap_or(u16::MAX);
                let applied = rows.iter().try_for_each(|row| found.apply(version, row.key, row.value));
                result = applied.map_err(|error| CommitError::Row { table: table.to_string(), error });
            }
        };
        apply(&mut self.marks.table);
        apply(&mut self.parking.table);
        apply(&mut self.replays.table);
        self.fold.tables(&mut apply);
        self.rows += rows.len();
        result
    }

    fn into_shard(
        mut self,
        ctx: Arc<ShardContext>,
        epoch: Epoch,
        reader: Box<dyn PartitionReader>,
        readable: Arc<Notify>,
    ) -> Result<Shard, ShardError> {
        self.parking.index();
        ctx.parked.store(self.parking.len() as u64, Ordering::Relaxed);
        ctx.publishing.store(false, Ordering::Release);
        let mut positions = Vec::with_capacity(ctx.inputs.len());
        for input in &ctx.inputs {
            let folded = self.positions.get(&(input.topic.name.to_string(), input.at.partition)).copied();
            let start = ctx.log.extent(input.at)?.start;
            let position = ctx.guards.restored_position(folded.unwrap_or(start));
            input.position.store(position, Ordering::Relaxed);
            positions.push(SettledPrefix::at(position));
        }
        ctx.stats.add(self.uncounted);
        let staging = Staging::new(ctx.def.spec.name, ctx.partition);
        let next_sequence = self.standing.next_sequence;
        ctx.count_from.store(next_sequence, Ordering::Release);
        let lineage = self.standing.lineage.unwrap_or(epoch.nonce);
        let parked_before = self.parking.len() as u64;
        let missing: Vec<Publication> = self.unpublished.into_iter().flat_map(|u| u.publications).collect();
        let mut shard = Shard {
            fold: self.fold,
            marks: self.marks,
            parking: self.parking,
            replays: self.replays,
            standing: self.standing,
            epoch,
            lineage,
            reader,
            readable,
            taken_to: positions.iter().map(SettledPrefix::next).collect(),
            unfiled: Vec::new(),
            positions,
            counters: self.counters.into_iter().map(|(to, n)| (to, ctx.guards.restored_counter(n))).collect(),
            slots: Vec::new(),
            staging,
            outputs: OutputBuffer::default(),
            set_aside_bytes: 0,
            tally: Tally::default(),
            taken: 0,
            parked_before,
            next_sequence,
            published: self.published,
            published_in_log: self.published,
            publishing: None,
            now_ms: 0,
            batch_open: false,
            traced: super::traced::Traced::default(),
            is_probing: false,
            last_tick_us: ctx.env.clock.mono_us(),
            snapshot: Snapshots::after(self.bytes_since_snapshot),
            restating: Restating::due_now(),
            trials: Trials::default(),
            events_max: ctx.limits.commit_events,
            scratch: Vec::new(),
            encoded: Vec::new(),
            leak: Vec::new(),
            leak_from: 0,
            ctx,
        };
        // Rule P8: from the commits' own bytes, in their order, before anything new.
        if shard.ctx.guards.publishes_again() && !missing.is_empty() {
            shard.start_publication(next_sequence - 1, missing)?;
        } else {
            shard.published = next_sequence - 1;
        }
        Ok(shard)
    }
}

/// How the events of a standing commit ended.
fn tally_of(commit: &schemas::events::Commit<'_>) -> Tally {
    use schemas::events::OutcomeKind;
    let total: i64 = commit.inputs.iter().map(|range| range.to - range.from).sum();
    let mut tally = Tally { done: total as u64, ..Tally::default() };
    for outcome in commit.outcomes {
        // What ended after waiting was read, and taken off, in an earlier commit.
        let read_here = commit.inputs.iter().any(|range| {
            (range.topic, range.partition) == (outcome.topic, outcome.partition)
                && (range.from..range.to).contains(&outcome.offset)
        });
        tally.done -= u64::from(read_here && outcome.kind != OutcomeKind::DoneAfterParking);
        match outcome.kind {
            OutcomeKind::Duplicate => tally.duplicates += 1,
            OutcomeKind::DeadLettered => tally.dead_lettered += 1,
            OutcomeKind::Parked => tally.parked += 1,
            OutcomeKind::DoneAfterParking => tally.done += u64::from(!read_here),
        }
    }
    tally
}
