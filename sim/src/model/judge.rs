//! What lands in the topics is judged at once; what has come to rest is judged whole.

use runtime::commit::Head;
use runtime::commit::marks::{Marks, Taken};
use runtime::commit::provenance::Provenance;
use runtime::commit::standing::Verdict;

use super::Protocol;
use super::rule::Rule;
use super::search::Broken;
use super::state::{Folded, Kind, List, Output, Owner, Pair, Phase, Record, Request, Standing, What, World, epoch};

impl Protocol {
    /// The product's fold says whether a record stands, unless that rule is the weakened one.
    pub(super) fn admit(&self, standing: &mut Standing, offset: i8, record: &Record) -> bool {
        let mut real = standing.real();
        let own = epoch(record.epoch_offset, record.nonce);
        let any_epoch = self.is(Rule::AnyEpoch) || self.is(Rule::NoFold);
        let any_sequence = self.is(Rule::AnySequence) || self.is(Rule::NoFold);
        let head = match record.kind {
            Kind::Claim => Head::Claim { nonce: record.nonce.into() },
            _ => Head::InLine {
                epoch: if any_epoch { real.epoch.unwrap_or(own) } else { own },
                sequence: if any_sequence { real.next_sequence } else { record.sequence.into() },
            },
        };
        let offset = if self.is(Rule::CounterEpoch) { 0 } else { offset };
        let stands = real.admit_head(offset.into(), &head) == Verdict::Stands;
        *standing = Standing::small(&real);
        stands
    }

    /// Durable and readable from here on.
    pub(super) fn land(&self, world: &mut World, what: What, from: Option<u8>) -> Result<(), Broken> {
        match what {
            What::Commits(record) => {
                let offset = self.commit_lands(world, record)?;
                if let Some(owner) = from {
                    world.owners[usize::from(owner)].request = Request::At(offset);
                }
                Ok(())
            }
            What::Plain(output) => {
                committed(world, &output, |record| record.plain)?;
                world.plain.push(output);
                self.read_plain(world)
            }
            What::Compacted(output) => {
                let restated = committed(world, &output, |record| record.compacted)?.kind == Kind::Restate;
                let is_current = |owner: &Owner| world.truth.standing.epoch == Some((owner.epoch_offset, owner.nonce));
                let is_stale = !from.is_some_and(|owner| is_current(&world.owners[usize::from(owner)]));
                world.is_stale = is_stale || world.is_stale && !restated;
                world.compacted.push(output);
                self.read_compacted(world)
            }
        }
    }

    fn commit_lands(&self, world: &mut World, record: Record) -> Result<i8, Broken> {
        let offset = world.commits.len() as i8;
        world.commits.push(record);
        let truth = &mut world.truth;
        if !self.admit(&mut truth.standing, offset, &record) {
            return Ok(offset);
        }
        world.stands |= 1 << offset;
        if record.kind == Kind::Commit {
            if record.position != truth.position {
                return Err(Broken("an input is taken twice, or left out"));
            }
            truth.position += 1;
            let id = 1 << self.scene.input[record.position as usize];
            match (record.id >= 0, truth.ids & id != 0) {
                (true, true) => return Err(Broken("an id is counted twice")),
                (false, false) => return Err(Broken("an id is never counted")),
                _ => truth.ids |= id,
            }
        }
        if matches!(record.kind, Kind::Commit | Kind::Restate) {
            let dense = |n: i8, next: &mut i8| {
                let is_dense = n < 0 || n == *next;
                *next += i8::from(n >= 0);
                is_dense
            };
            if !dense(record.plain, &mut truth.next_plain) || !dense(record.compacted, &mut truth.next_compacted) {
                return Err(Broken("outputs of standing commits are not numbered densely"));
            }
        }
        Ok(offset)
    }

    /// Readers of the plain topic keep marks, from wherever they begin.
    fn read_plain(&self, world: &World) -> Result<(), Broken> {
        for start in 0..world.plain.len() {
            let mut marks = Marks::default();
            for (offset, output) in world.plain.iter().enumerate().skip(start) {
                match judge(&mut marks, offset, output)? {
                    Taken::New => {}
                    Taken::Repeated if self.is(Rule::NoMarks) => {
                        return Err(Broken("a reader takes an output twice"));
                    }
                    Taken::Repeated => {}
                }
            }
        }
        Ok(())
    }

    /// Compaction may take everything but the last value away between two reads.
    fn read_compacted(&self, world: &World) -> Result<(), Broken> {
        if !self.is(Rule::GapInCompacted) {
            return Ok(());
        }
        let Some((last, before)) = world.compacted.as_slice().split_last() else { return Ok(()) };
        for read in 0..before.len() {
            let mut marks = Marks::default();
            for (offset, output) in before.iter().enumerate().take(read + 1) {
                judge(&mut marks, offset, output)?;
            }
            judge(&mut marks, before.len(), last)?;
        }
        Ok(())
    }

    /// Whether an owner has nothing left to do; then nothing may be missing.
    pub(super) fn judge_rest(&self, world: &World) -> Result<bool, Broken> {
        let truth = &world.truth;
        let rests = |owner: &Owner| {
            owner.phase == Phase::Owning
                && owner.request == Request::None
                && owner.ready.is_none()
                && !owner.publishing.iter().any(|publishing| publishing.is_on)
                && owner.folded.position == self.scene.input.len() as i8
                && truth.standing.epoch == Some((owner.epoch_offset, owner.nonce))
        };
        if !world.written.is_empty() || !world.owners.iter().any(rests) {
            return Ok(false);
        }
        if (0..truth.next_plain).any(|n| !world.plain.iter().any(|output| output.n == n)) {
            return Err(Broken("an output of a standing commit is never published"));
        }
        let latest = truth.next_compacted - 1;
        let greatest = world.compacted.iter().map(|output| output.n).max().unwrap_or(-1);
        let last = world.compacted.as_slice().last().map_or(-1, |output| output.n);
        if (if self.is(Rule::LastWins) { last } else { greatest }) != latest {
            return Err(Broken("a view does not show the latest value"));
        }
        // Late writes of old owners: the slow tick states live keys again, so a rest is judged behind that.
        if last != latest && (!world.is_stale || self.is(Rule::NoRestatement)) {
            return Err(Broken("a new reader of the compacted topic finds an old value"));
        }
        Ok(true)
    }

    /// What a new owner gathers up to its claim, and what of it may not have been published. Of a trimmed log it must be
    /// what the whole log would have given.
    pub(super) fn recover(&self, world: &World, claim: i8) -> Result<(Folded, List<Pair, 4>), Broken> {
        let (folded, missing) = self.fold(world, world.start, claim)?;
        if claim < world.start {
            // Trimmed behind a later owner's snapshot: nothing is found, the claim is not the last.
            return Ok((folded, missing));
        }
        let (whole, _) = self.fold(world, 0, claim)?;
        if folded.standing.lineage != whole.standing.lineage {
            return Err(Broken("a new owner takes up another lineage than the topic's"));
        }
        if (Folded { published: 0, ..folded }) != (Folded { published: 0, ..whole }) {
            return Err(Broken("a trimmed log folds to another state than the whole one"));
        }
        Ok((folded, missing))
    }

    fn fold(&self, world: &World, start: i8, claim: i8) -> Result<(Folded, List<Pair, 4>), Broken> {
        let mut folded = Folded { published: -1, ..Folded::default() };
        let mut unpublished: Vec<(i8, Pair)> = Vec::new();
        let mut wants_end_of = None;
        for offset in start..=claim {
            let record = world.commits.as_slice()[offset as usize];
            if offset == start && start > 0 {
                if record.kind != Kind::Chunk {
                    return Err(Broken("recovery finds no snapshot at the start of the trimmed log"));
                }
                folded.standing = at_snapshot(&record);
                wants_end_of = Some(offset);
            }
            if !self.admit(&mut folded.standing, offset, &record) {
                continue;
            }
            if record.kind == Kind::End && wants_end_of == Some(record.id) {
                wants_end_of = None;
            }
            self.gather(&mut folded, &record);
            let has_outputs = record.plain >= 0 || record.compacted >= 0;
            if has_outputs && matches!(record.kind, Kind::Commit | Kind::Restate) {
                unpublished.push((record.sequence, pair(&record, folded.standing.lineage)));
            }
        }
        if wants_end_of.is_some() {
            return Err(Broken("recovery finds an unfinished snapshot at the start of the trimmed log"));
        }
        let mut missing = List::default();
        unpublished
            .iter()
            .filter(|(sequence, _)| *sequence > folded.published)
            .for_each(|(_, pair)| missing.push(*pair));
        Ok((folded, missing))
    }

    fn gather(&self, folded: &mut Folded, record: &Record) {
        match record.kind {
            Kind::Claim => return,
            Kind::Commit => {
                folded.position = record.position + 1;
                if record.id >= 0 && !self.is(Rule::IdSetInMemory) {
                    folded.ids |= 1 << record.id;
                }
            }
            Kind::Restate | Kind::Mark => {}
            Kind::Chunk => {
                if !self.is(Rule::SnapshotWithoutIds) {
                    folded.ids |= record.ids;
                }
                return;
            }
            Kind::End => {
                if !self.is(Rule::SnapshotWithoutPositions) {
                    folded.position = folded.position.max(record.position);
                }
                if !self.is(Rule::SnapshotWithoutCounters) {
                    folded.next_plain = folded.next_plain.max(record.plain);
                    folded.next_compacted = folded.next_compacted.max(record.compacted);
                }
                folded.published = folded.published.max(record.published);
                return;
            }
        }
        if record.plain >= 0 {
            folded.next_plain = record.plain + 1;
        }
        if record.compacted >= 0 {
            folded.next_compacted = record.compacted + 1;
        }
        folded.published = folded.published.max(record.published);
    }
}

/// The outputs of a commit, with their provenance.
pub(super) fn pair(record: &Record, lineage: Option<i8>) -> Pair {
    let Record { nonce, sequence, rebuilt, plain, compacted, .. } = *record;
    Pair { made: Output { n: 0, lineage: lineage.unwrap_or(-1), nonce, sequence, rebuilt }, plain, compacted }
}

/// The standing record that an output was made by.
fn committed<'a>(world: &'a World, output: &Output, number: fn(&Record) -> i8) -> Result<&'a Record, Broken> {
    let made_it = |(offset, record): &(usize, &Record)| {
        world.stands & 1 << offset != 0
            && matches!(record.kind, Kind::Commit | Kind::Restate)
            && number(record) == output.n
            && (record.nonce, record.sequence, record.rebuilt) == (output.nonce, output.sequence, output.rebuilt)
    };
    let found = world.commits.iter().enumerate().find(made_it);
    found.map(|(_, record)| record).ok_or(Broken("an output is published that no standing commit holds"))
}

/// The product's marks.
fn judge(marks: &mut Marks, offset: usize, output: &Output) -> Result<Taken, Broken> {
    let from = Provenance { service: 1, partition: 0, lineage: output.lineage.into(), n: output.n.into() };
    let taken = marks.judge("plain", 0, offset as i64, &from, String::new).map_err(|error| match error.kind() {
        "GAP" => Broken("a reader stops at a gap"),
        _ => Broken("a reader stops at another lineage"),
    })?;
    if taken == Taken::New {
        marks.take("plain", 0, &from);
    }
    Ok(taken)
}

/// The product's reading of the first chunk of a trimmed topic.
fn at_snapshot(record: &Record) -> Standing {
    let real = runtime::commit::standing::Standing::at_snapshot(&schemas::events::SnapshotChunk {
        epoch_offset: record.epoch_offset.into(),
        epoch_nonce: record.nonce.into(),
        sequence: record.sequence.into(),
        lineage: record.lineage.into(),
        index: 0,
        published: record.published.into(),
        delta: schemas::codec::Array::from_slice(&[]),
    });
    Standing::small(&real)
}
