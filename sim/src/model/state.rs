//! What a state of the model is made of. Numbers are small; -1 is none.

use std::hash::{Hash, Hasher};

/// At most `N` items in place: states are copied and hashed by the million.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct List<T, const N: usize> {
    len: u8,
    items: [T; N],
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self { len: 0, items: [T::default(); N] }
    }
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    pub fn as_slice(&self) -> &[T] {
        &self.items[..usize::from(self.len)]
    }
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    pub fn is_full(&self) -> bool {
        self.len() == N
    }
    /// The scenes' budgets keep below `N`; what is past it is a mistake of the model.
    pub fn push(&mut self, item: T) {
        assert!(!self.is_full(), "a list of the model holds {N} at most");
        self.items[self.len()] = item;
        self.len += 1;
    }
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.as_slice().iter()
    }
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        let len = self.len();
        self.items[..len].iter_mut()
    }
}

impl<T: Hash, const N: usize> Hash for List<T, N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(self.len);
        self.items[..usize::from(self.len)].iter().for_each(|item| item.hash(state));
    }
}

/// A record of the commit topic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Kind {
    #[default]
    Claim,
    /// Takes one input.
    Commit,
    /// States the live key again.
    Restate,
    /// Nothing but the published mark.
    Mark,
    Chunk,
    End,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Record {
    pub kind: Kind,
    pub epoch_offset: i8,
    pub nonce: i8,
    pub sequence: i8,
    /// A second batch under one sequence differs here.
    pub rebuilt: i8,
    /// Of a commit: position of the input taken. Of an end: the next position.
    pub position: i8,
    /// Of a commit: the id counted, -1: a repetition. Of an end: offset of the first chunk.
    pub id: i8,
    /// Number of the output to the plain and to the compacted topic. Of an end: the next numbers.
    pub plain: i8,
    pub compacted: i8,
    pub published: i8,
    /// Of a chunk: the ids taken, as bits.
    pub ids: u8,
    /// Of a chunk.
    pub lineage: i8,
}

/// What of an output is not its number: where its bytes were made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Output {
    pub n: i8,
    pub lineage: i8,
    pub nonce: i8,
    pub sequence: i8,
    pub rebuilt: i8,
}

/// Outputs of one commit; numbers of -1: none to that topic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Pair {
    pub made: Output,
    pub plain: i8,
    pub compacted: i8,
}

/// Topics with an order of their own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lane {
    Commits,
    Plain,
    Compacted,
}

/// Outputs on their way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Publishing {
    pub is_on: bool,
    /// Everything up to here is published once all of it is acknowledged.
    pub sequence: i8,
    pub pairs: List<Pair, 4>,
    /// How many of them have reached the log, by topic.
    pub sent_plain: i8,
    pub sent_compacted: i8,
}

impl Publishing {
    /// The next output on a lane, and what the lane's counter is behind it.
    pub fn next(&self, lane: Lane) -> Option<(Output, i8)> {
        let (sent, of): (i8, fn(&Pair) -> i8) = match lane {
            Lane::Plain => (self.sent_plain, |pair| pair.plain),
            _ => (self.sent_compacted, |pair| pair.compacted),
        };
        if !self.is_on {
            return None;
        }
        let mut waiting = self.pairs.iter().enumerate().skip(sent as usize);
        let (index, pair) = waiting.find(|(_, pair)| of(pair) >= 0)?;
        Some((Output { n: of(pair), ..pair.made }, index as i8 + 1))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Phase {
    #[default]
    Down,
    Claiming,
    Owning,
}

/// Where a request to the commit topic is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Request {
    #[default]
    None,
    OnTheWire,
    /// Written, not synced.
    Written,
    At(i8),
}

/// One of two processes that may own the shard, or think so.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Owner {
    pub phase: Phase,
    pub request: Request,
    pub record: Record,
    pub nonce: i8,
    pub epoch_offset: i8,
    pub folded: Folded,
    /// Next offset to read back.
    pub read_to: i8,
    pub next_sequence: i8,
    pub published_in_log: i8,
    /// Stands, and waits for what is being published.
    pub ready: Option<(i8, Pair)>,
    pub publishing: [Publishing; 2],
    /// First chunk's offset and sequence of the snapshot in hand.
    pub snapshot: Option<(i8, i8)>,
    pub snapshot_ended: bool,
    pub rebuilt: i8,
}

/// What a fold over the commit topic gathers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Folded {
    pub standing: Standing,
    pub position: i8,
    pub ids: u8,
    pub next_plain: i8,
    pub next_compacted: i8,
    pub published: i8,
}

/// `runtime::commit::standing::Standing`, small; the real one decides.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Standing {
    pub epoch: Option<(i8, i8)>,
    pub lineage: Option<i8>,
    pub next_sequence: i8,
}

impl Standing {
    /// As the product has it.
    pub fn real(self) -> runtime::commit::standing::Standing {
        runtime::commit::standing::Standing {
            epoch: self.epoch.map(|(offset, nonce)| epoch(offset, nonce)),
            lineage: self.lineage.map(i64::from),
            next_sequence: self.next_sequence.into(),
        }
    }
    /// As a state holds it.
    pub fn small(real: &runtime::commit::standing::Standing) -> Self {
        Self {
            epoch: real.epoch.map(|epoch| (epoch.offset as i8, epoch.nonce as i8)),
            lineage: real.lineage.map(|lineage| lineage as i8),
            next_sequence: real.next_sequence as i8,
        }
    }
}

pub fn epoch(offset: i8, nonce: i8) -> runtime::commit::standing::Epoch {
    runtime::commit::standing::Epoch { offset: offset.into(), nonce: nonce.into() }
}

/// Written and not synced; `from`: the living owner that waits for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Written {
    pub what: What,
    pub from: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum What {
    Commits(Record),
    Plain(Output),
    Compacted(Output),
}

impl Default for Written {
    fn default() -> Self {
        Self { what: What::Commits(Record::default()), from: None }
    }
}

/// Requests that their owner no longer waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Orphans {
    pub record: Option<Record>,
    pub publishing: [Publishing; 2],
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct World {
    pub owners: [Owner; 2],
    pub orphans: [Orphans; 2],
    pub written: List<Written, 4>,
    /// The commit topic, whole; what lies below `start` is trimmed and kept here only to judge.
    pub commits: List<Record, 18>,
    pub start: i8,
    pub plain: List<Output, 9>,
    pub compacted: List<Output, 9>,
    /// The compacted topic may end with what an old owner said late.
    pub is_stale: bool,
    /// The judge's own fold, and which records stand, as bits.
    pub truth: Folded,
    pub stands: u32,
    pub claims_left: i8,
    pub crashes_left: i8,
    pub power_losses_left: i8,
    pub snapshots_left: i8,
    pub restatements_left: i8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_skips_commits_without_output_to_it() {
        let pair = |plain, compacted| Pair { made: Output::default(), plain, compacted };
        let mut publishing = Publishing { is_on: true, ..Publishing::default() };
        [pair(0, 0), pair(-1, 1), pair(1, 2)].into_iter().for_each(|pair| publishing.pairs.push(pair));
        publishing.sent_plain = 1;
        let (output, sent) = publishing.next(Lane::Plain).unwrap();
        assert_eq!((output.n, sent), (1, 3));
        publishing.sent_plain = sent;
        assert_eq!(publishing.next(Lane::Plain), None);
        assert_eq!(publishing.next(Lane::Compacted).unwrap().0.n, 0);
    }
}
