//! What a process does, and what befalls it: `runtime::shard`, step by step.

use super::judge::pair;
use super::rule::Rule;
use super::search::Broken;
use super::state::{Kind, Lane, List, Orphans, Owner, Pair, Phase, Publishing, Record, Request, What, World, Written};
use super::{Protocol, Step};

const LANES: [Lane; 2] = [Lane::Plain, Lane::Compacted];

impl Protocol {
    pub(super) fn possible(&self, world: &World, steps: &mut Vec<Step>) {
        for number in 0..2u8 {
            self.possible_of(world, number, steps);
            let orphans = &world.orphans[usize::from(number)];
            if world.written.is_full() {
                continue;
            }
            if orphans.record.is_some() {
                steps.push(Step::ArrivesLate(number, Lane::Commits, 0));
            }
            for (slot, lane) in lanes(&orphans.publishing) {
                steps.push(Step::ArrivesLate(number, lane, slot));
            }
        }
        if !world.written.is_empty() {
            steps.push(Step::Syncs);
        }
        if world.power_losses_left > 0 {
            steps.extend((0..=world.written.len() as u8).map(Step::LosesPower));
        }
    }

    fn possible_of(&self, world: &World, number: u8, steps: &mut Vec<Step>) {
        let owner = &world.owners[usize::from(number)];
        if owner.phase == Phase::Down {
            // Both processes are the same: the first claim is A's.
            if world.claims_left > 0 && (number == 0 || world.claims_left < self.scene.claims) {
                steps.push(Step::Claims(number));
            }
            return;
        }
        if world.crashes_left > 0 {
            steps.push(Step::Dies(number));
            if self.can_go_on(owner) {
                steps.push(Step::GoesOn(number));
            }
        }
        if owner.request == Request::OnTheWire && !world.written.is_full() {
            steps.push(Step::Arrives(number, Lane::Commits, 0));
        }
        if matches!(owner.request, Request::At(_)) {
            steps.push(Step::IsAnswered(number));
        }
        if !world.written.is_full() {
            steps.extend(lanes(&owner.publishing).map(|(slot, lane)| Step::Arrives(number, lane, slot)));
        }
        let waits = |written: &Written| written.from == Some(number) && !matches!(written.what, What::Commits(_));
        for (slot, publishing) in owner.publishing.iter().enumerate() {
            let all_sent = LANES.iter().all(|lane| publishing.next(*lane).is_none());
            if publishing.is_on && all_sent && !world.written.iter().any(waits) {
                steps.push(Step::IsAcknowledged(number, slot as u8));
            }
        }
        if owner.phase == Phase::Owning && owner.request == Request::None && owner.ready.is_none() {
            self.possible_records(world, number, steps);
        }
    }

    fn possible_records(&self, world: &World, number: u8, steps: &mut Vec<Step>) {
        let owner = &world.owners[usize::from(number)];
        if owner.folded.position < self.scene.input.len() as i8 {
            steps.push(Step::TakesInput(number));
        }
        if world.restatements_left > 0 && owner.folded.next_compacted > 0 {
            steps.push(Step::Restates(number));
        }
        let is_publishing = owner.publishing.iter().any(|publishing| publishing.is_on);
        if !is_publishing && owner.folded.published > owner.published_in_log + 1 {
            steps.push(Step::WritesMark(number));
        }
        match owner.snapshot {
            None if world.snapshots_left > 0 => steps.push(Step::WritesChunk(number)),
            None => {}
            Some((_, sequence)) => {
                if !owner.snapshot_ended {
                    steps.push(Step::WritesEnd(number));
                }
                let is_covered = owner.published_in_log >= sequence - 1 || self.is(Rule::TrimUncovered);
                if (owner.snapshot_ended || self.is(Rule::TrimBeforeEnd)) && is_covered {
                    steps.push(Step::Trims(number));
                }
            }
        }
    }

    fn can_go_on(&self, owner: &Owner) -> bool {
        let in_doubt = owner.phase == Phase::Owning && owner.request != Request::None;
        let is_commit = in_doubt && matches!(owner.record.kind, Kind::Commit | Kind::Restate);
        is_commit && (self.is(Rule::UnknownIsYes) || self.is(Rule::RebuildsSameSequence) && owner.record.rebuilt == 0)
            || self.is(Rule::SkipsLostOutput) && owner.publishing[0].next(Lane::Plain).is_some()
    }

    pub(super) fn take(&self, world: &mut World, step: Step) -> Result<(), Broken> {
        match step {
            Step::Claims(number) => self.claim(world, number),
            Step::Arrives(number, lane, slot) => return self.arrive(world, number, lane, slot),
            Step::ArrivesLate(number, lane, slot) => return self.arrive_late(world, number, lane, slot),
            Step::IsAnswered(number) => return self.answered(world, number),
            Step::IsAcknowledged(number, slot) => acknowledged(&mut world.owners[usize::from(number)], slot),
            Step::TakesInput(number) => self.take_input(world, number),
            Step::Restates(number) => {
                world.restatements_left -= 1;
                let compacted = world.owners[usize::from(number)].folded.next_compacted;
                self.send(world, number, Record { kind: Kind::Restate, plain: -1, compacted, ..NONE });
            }
            Step::WritesMark(number) => self.send(world, number, Record { kind: Kind::Mark, ..NONE }),
            Step::WritesChunk(number) => {
                world.snapshots_left -= 1;
                let owner = &world.owners[usize::from(number)];
                let lineage = owner.folded.standing.lineage.unwrap_or(-1);
                let lineage = if self.is(Rule::SnapshotForgetsLineage) { owner.nonce } else { lineage };
                self.send(world, number, Record { kind: Kind::Chunk, ids: owner.folded.ids, lineage, ..NONE });
            }
            Step::WritesEnd(number) => {
                let owner = &world.owners[usize::from(number)];
                let (position, plain) = (owner.folded.position, owner.folded.next_plain);
                let (compacted, id) = (owner.folded.next_compacted, owner.snapshot.map_or(-1, |(first, _)| first));
                self.send(world, number, Record { kind: Kind::End, position, plain, compacted, id, ..NONE });
            }
            Step::Trims(number) => {
                if let Some((first, _)) = world.owners[usize::from(number)].snapshot.take() {
                    world.start = world.start.max(first);
                }
            }
            Step::Dies(number) => {
                world.crashes_left -= 1;
                lose(world, number);
            }
            Step::GoesOn(number) => self.go_on(world, number),
            Step::Syncs => {
                for written in std::mem::take(&mut world.written).iter() {
                    self.land(world, written.what, written.from)?;
                }
            }
            Step::LosesPower(kept) => return self.lose_power(world, kept),
        }
        Ok(())
    }

    fn claim(&self, world: &mut World, number: u8) {
        let fresh = self.scene.claims - world.claims_left + 1;
        world.claims_left -= 1;
        let newest =
            world.commits.iter().rev().find(|record| record.kind == Kind::Claim).map_or(0, |claim| claim.nonce);
        let nonce = if self.is(Rule::CounterEpoch) { newest + 1 } else { fresh };
        world.owners[usize::from(number)] = Owner {
            phase: Phase::Claiming,
            request: Request::OnTheWire,
            record: Record { kind: Kind::Claim, nonce, ..Record::default() },
            nonce,
            ..Owner::default()
        };
    }

    fn take_input(&self, world: &mut World, number: u8) {
        let folded = world.owners[usize::from(number)].folded;
        let id = self.scene.input[folded.position as usize];
        let counts = self.is(Rule::NoIdSet) || folded.ids & 1 << id == 0;
        let some = |n: i8| if counts { n } else { -1 };
        let (plain, compacted) = (some(folded.next_plain), some(folded.next_compacted));
        let record = Record { kind: Kind::Commit, position: folded.position, id: some(id), plain, compacted, ..NONE };
        self.send(world, number, record);
    }

    /// Sends a record of the next sequence; the published mark in it says what is known to be acknowledged.
    fn send(&self, world: &mut World, number: u8, record: Record) {
        let of_one_topic =
            |written: &Written| written.from == Some(number) && matches!(written.what, What::Compacted(_));
        let is_written = world.written.iter().any(of_one_topic);
        let owner = &mut world.owners[usize::from(number)];
        let first = &owner.publishing[0];
        let published = if self.is(Rule::MarkAhead) {
            owner.next_sequence
        } else if self.is(Rule::MarkOfOneTopic) && first.is_on && first.next(Lane::Compacted).is_none() && !is_written {
            first.sequence
        } else {
            owner.folded.published
        };
        let (epoch_offset, nonce, sequence) = (owner.epoch_offset, owner.nonce, owner.next_sequence);
        owner.record = Record { epoch_offset, nonce, sequence, published, rebuilt: owner.rebuilt, ..record };
        owner.request = Request::OnTheWire;
    }

    fn put(&self, world: &mut World, what: What, from: Option<u8>) -> Result<(), Broken> {
        if !self.scene.groups {
            return self.land(world, what, from);
        }
        world.written.push(Written { what, from });
        if let (What::Commits(_), Some(owner)) = (what, from) {
            world.owners[usize::from(owner)].request = Request::Written;
        }
        Ok(())
    }

    fn arrive(&self, world: &mut World, number: u8, lane: Lane, slot: u8) -> Result<(), Broken> {
        let owner = &mut world.owners[usize::from(number)];
        if lane == Lane::Commits {
            let record = owner.record;
            return self.put(world, What::Commits(record), Some(number));
        }
        let what = shift(&mut owner.publishing[usize::from(slot)], lane);
        what.map_or(Ok(()), |what| self.put(world, what, Some(number)))
    }

    fn arrive_late(&self, world: &mut World, number: u8, lane: Lane, slot: u8) -> Result<(), Broken> {
        let orphans = &mut world.orphans[usize::from(number)];
        let what = match lane {
            Lane::Commits => orphans.record.take().map(What::Commits),
            _ => {
                let publishing = &mut orphans.publishing[usize::from(slot)];
                let what = shift(publishing, lane);
                tidy(publishing);
                what
            }
        };
        what.map_or(Ok(()), |what| self.put(world, what, None))
    }

    fn answered(&self, world: &mut World, number: u8) -> Result<(), Broken> {
        let owner = world.owners[usize::from(number)];
        let Request::At(offset) = owner.request else { return Ok(()) };
        if owner.phase == Phase::Claiming {
            return self.claimed(world, number, offset);
        }
        let mut owner = owner;
        let mut stands = self.is(Rule::NoReadBack);
        if !self.is(Rule::NoReadBack) {
            if owner.read_to < world.start {
                // The log was trimmed under the reader: a claim may lie in what is gone.
                lose(world, number);
                return Ok(());
            }
            for at in owner.read_to..=offset {
                let record = world.commits.as_slice()[at as usize];
                let admitted = self.admit(&mut owner.folded.standing, at, &record);
                let is_own = (record.epoch_offset, record.nonce) == (owner.epoch_offset, owner.nonce);
                let is_it =
                    at == offset || self.is(Rule::RebuildsSameSequence) && record.sequence == owner.next_sequence;
                stands |= is_it && admitted && is_own && record.kind != Kind::Claim;
            }
            owner.read_to = offset + 1;
        }
        world.owners[usize::from(number)] = owner;
        if stands {
            self.stood(&mut world.owners[usize::from(number)], offset);
        } else {
            lose(world, number);
        }
        Ok(())
    }

    /// The shard is rebuilt up to the claim; what may be missing is published again before anything new.
    fn claimed(&self, world: &mut World, number: u8, offset: i8) -> Result<(), Broken> {
        let (mut folded, missing) = self.recover(world, offset)?;
        let nonce = world.owners[usize::from(number)].nonce;
        let epoch_offset = if self.is(Rule::CounterEpoch) { 0 } else { offset };
        if folded.standing.epoch != Some((epoch_offset, nonce)) {
            lose(world, number);
            return Ok(());
        }
        let next_sequence = folded.standing.next_sequence;
        let published_in_log = folded.published;
        let mut publishing = Publishing::default();
        if missing.is_empty() || self.is(Rule::NoRepublication) {
            folded.published = next_sequence - 1;
        } else {
            publishing = Publishing { is_on: true, sequence: next_sequence - 1, pairs: missing, ..publishing };
        }
        if self.is(Rule::CountersFromSent) {
            folded.next_plain = world.plain.iter().map(|output| output.n + 1).max().unwrap_or(0);
        }
        world.owners[usize::from(number)] = Owner {
            phase: Phase::Owning,
            nonce,
            epoch_offset,
            folded,
            read_to: offset + 1,
            next_sequence,
            published_in_log,
            publishing: [publishing, Publishing::default()],
            ..Owner::default()
        };
        Ok(())
    }

    /// A record is known to stand, or taken to.
    fn stood(&self, owner: &mut Owner, offset: i8) {
        let record = owner.record;
        let is_publishing = owner.publishing.iter().any(|publishing| publishing.is_on);
        owner.request = Request::None;
        owner.record = Record::default();
        owner.rebuilt = 0;
        owner.next_sequence += 1;
        let folded = &mut owner.folded;
        match record.kind {
            Kind::Claim => {}
            Kind::Chunk => owner.snapshot = Some((offset, record.sequence)),
            Kind::End => owner.snapshot_ended = true,
            Kind::Commit | Kind::Restate | Kind::Mark => {
                if record.kind == Kind::Commit {
                    folded.position = record.position + 1;
                    folded.ids |= if record.id >= 0 { 1 << record.id } else { 0 };
                }
                folded.next_plain += i8::from(record.plain >= 0);
                folded.next_compacted += i8::from(record.compacted >= 0);
                owner.published_in_log = record.published;
                if record.plain >= 0 || record.compacted >= 0 {
                    owner.ready = Some((record.sequence, pair(&record, folded.standing.lineage)));
                    return self.start_ready(owner);
                }
            }
        }
        if !is_publishing {
            folded.published = owner.next_sequence - 1;
        }
    }

    /// Rule P8: what is ready waits for what is on its way.
    fn start_ready(&self, owner: &mut Owner) {
        let usable = if self.is(Rule::NewBeforeOld) { 2 } else { 1 };
        let Some(free) = owner.publishing[..usable].iter().position(|publishing| !publishing.is_on) else { return };
        if let Some((sequence, pair)) = owner.ready.take() {
            owner.publishing[free] = started(sequence, pair);
        }
    }

    /// What the weakened rules do about an answer that does not come.
    fn go_on(&self, world: &mut World, number: u8) {
        world.crashes_left -= 1;
        let owner = &mut world.owners[usize::from(number)];
        if self.is(Rule::SkipsLostOutput) {
            let _ = shift(&mut owner.publishing[0], Lane::Plain);
            return;
        }
        if owner.request == Request::OnTheWire {
            world.orphans[usize::from(number)].record = Some(owner.record);
        }
        if self.is(Rule::UnknownIsYes) {
            let at = owner.read_to;
            return self.stood(owner, at);
        }
        owner.rebuilt = 1;
        owner.record.rebuilt = 1;
        owner.request = Request::OnTheWire;
        world.written.iter_mut().filter(|w| w.from == Some(number)).for_each(|w| w.from = None);
    }

    /// The machine stops: any part of the group is durable, nobody is left.
    fn lose_power(&self, world: &mut World, kept: u8) -> Result<(), Broken> {
        world.power_losses_left -= 1;
        let written = std::mem::take(&mut world.written);
        if self.is(Rule::UnsyncedSeen) && written.iter().skip(kept.into()).any(|written| written.from.is_some()) {
            return Err(Broken("what was acknowledged is lost"));
        }
        world.owners = Default::default();
        world.orphans = Default::default();
        written.iter().take(kept.into()).try_for_each(|written| self.land(world, written.what, None))
    }
}

/// Fields that a record does not use.
const NONE: Record = Record {
    kind: Kind::Mark,
    epoch_offset: 0,
    nonce: 0,
    sequence: 0,
    rebuilt: 0,
    position: -1,
    id: -1,
    plain: -1,
    compacted: -1,
    published: -1,
    ids: 0,
    lineage: -1,
};

fn lanes(publishing: &[Publishing; 2]) -> impl Iterator<Item = (u8, Lane)> {
    publishing.iter().enumerate().flat_map(|(slot, publishing)| {
        LANES.into_iter().filter(|lane| publishing.next(*lane).is_some()).map(move |lane| (slot as u8, lane))
    })
}

/// Takes the next output off a lane.
fn shift(publishing: &mut Publishing, lane: Lane) -> Option<What> {
    let (output, sent) = publishing.next(lane)?;
    Some(if lane == Lane::Plain {
        publishing.sent_plain = sent;
        What::Plain(output)
    } else {
        publishing.sent_compacted = sent;
        What::Compacted(output)
    })
}

fn started(sequence: i8, pair: Pair) -> Publishing {
    let mut pairs = List::default();
    pairs.push(pair);
    Publishing { is_on: true, sequence, pairs, ..Publishing::default() }
}

fn acknowledged(owner: &mut Owner, slot: u8) {
    owner.publishing[usize::from(slot)] = Publishing::default();
    if owner.publishing.iter().any(|publishing| publishing.is_on) {
        return;
    }
    owner.folded.published = match owner.ready.take() {
        Some((sequence, pair)) => {
            owner.publishing[0] = started(sequence, pair);
            sequence - 1
        }
        None => owner.next_sequence - 1,
    };
}

/// Nothing left to send: as if it had never been.
fn tidy(publishing: &mut Publishing) {
    if LANES.iter().all(|lane| publishing.next(*lane).is_none()) {
        *publishing = Publishing::default();
    }
}

/// The ownership ends (rule P5): the state is dropped; requests on the wire may still arrive, or not.
fn lose(world: &mut World, number: u8) {
    let owner = std::mem::take(&mut world.owners[usize::from(number)]);
    let mut left = Orphans { record: None, publishing: owner.publishing };
    if owner.request == Request::OnTheWire {
        left.record = Some(owner.record);
    }
    left.publishing.iter_mut().for_each(tidy);
    let orphans = &mut world.orphans[usize::from(number)];
    // Of two generations of requests that nobody waits for only the younger is followed.
    if left.record.is_some() {
        orphans.record = left.record;
    }
    if left.publishing.iter().any(|publishing| publishing.is_on) {
        orphans.publishing = left.publishing;
    }
    world.written.iter_mut().filter(|written| written.from == Some(number)).for_each(|written| written.from = None);
}
