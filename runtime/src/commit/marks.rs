//! How far a reader has taken each producer (rule P7): rows of the reader's own state, changed in the same commit.

use smol_str::SmolStr;

use super::CommitError;
use super::provenance::Provenance;
use crate::log::Offset;
use crate::state::Table;

crate::row! {
    /// The last output taken of one producing shard.
    pub struct Mark version 1 {
        pub lineage: i64,
        pub n: i64,
    }
}

/// Input topic, its partition, producing service, producing partition.
pub type MarkKey = (SmolStr, u32, u32, u16);

/// What to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// First appearance.
    New,
    /// A repetition of ours: dropped and counted.
    Repeated,
}

/// The marks of one shard. A batch comes from one producer, so the mark in use is held aside and written to the table
/// once a batch, not once a record.
pub struct Marks {
    pub table: Table<MarkKey, Mark>,
    current: Option<(MarkKey, Mark)>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { table: Table::new("~marks"), current: None }
    }
}

impl Marks {
    /// Judges the record at `offset` of `topic`-`partition`. Nothing changes until `take`.
    #[inline]
    pub fn judge(
        &mut self,
        topic: &'static str,
        partition: u32,
        offset: Offset,
        from: &Provenance,
        producer: impl Fn() -> String,
    ) -> Result<Taken, CommitError> {
        let known = self.known(topic, partition, from);
        match known {
            Some(mark) if mark.lineage != from.lineage => {
                Err(CommitError::OtherLineage { topic: topic.into(), found: from.lineage, known: mark.lineage })
            }
            Some(mark) if from.n <= mark.n => Ok(Taken::Repeated),
            Some(mark) if from.n > mark.n + 1 => Err(CommitError::Gap {
                topic: topic.into(),
                partition,
                producer: producer(),
                found: from.n,
                mark: mark.n,
            }),
            // A topic that nobody trimmed starts with the first output.
            None if offset == 0 && from.n != 0 => {
                Err(CommitError::Gap { topic: topic.into(), partition, producer: producer(), found: from.n, mark: -1 })
            }
            Some(_) | None => Ok(Taken::New),
        }
    }

    #[inline]
    fn known(&mut self, topic: &'static str, partition: u32, from: &Provenance) -> Option<Mark> {
        if !self.current.as_ref().is_some_and(|(key, _)| is_of(key, topic, partition, from)) {
            self.settle();
            let key = (SmolStr::new_static(topic), partition, from.service, from.partition);
            let mark = self.table.get(&key).cloned()?;
            self.current = Some((key, mark));
        }
        self.current.as_ref().map(|(_, mark)| mark.clone())
    }

    /// The record was taken, or set aside as a dead letter: the mark moves.
    #[inline]
    pub fn take(&mut self, topic: &'static str, partition: u32, from: &Provenance) {
        let mark = Mark { lineage: from.lineage, n: from.n };
        let is_in_use = self.current.as_ref().is_some_and(|(key, _)| is_of(key, topic, partition, from));
        if let (true, Some((_, current))) = (is_in_use, &mut self.current) {
            *current = mark;
            return;
        }
        // Never over another producer's mark: whoever calls this need not have asked `judge` before.
        self.settle();
        self.current = Some(((SmolStr::new_static(topic), partition, from.service, from.partition), mark));
    }

    /// Writes the mark in use to its row; before a commit and before another producer's batch.
    pub fn settle(&mut self) {
        if let Some((key, mark)) = self.current.take()
            && self.table.get(&key) != Some(&mark)
        {
            self.table.insert(key, mark);
        }
    }
}

#[inline]
fn is_of(key: &MarkKey, topic: &str, partition: u32, from: &Provenance) -> bool {
    key.2 == from.service && key.3 == from.partition && key.1 == partition && key.0 == topic
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(n: i64) -> Provenance {
        Provenance { service: 1, partition: 0, lineage: 9, n }
    }

    fn push(marks: &mut Marks, offset: Offset, n: i64) -> Result<Taken, &'static str> {
        let taken = marks.judge("t", 0, offset, &from(n), || "p".into()).map_err(|e| e.kind())?;
        if taken == Taken::New {
            marks.take("t", 0, &from(n));
        }
        Ok(taken)
    }

    #[test]
    fn repetitions_are_dropped_and_gaps_stop() {
        let mut marks = Marks::default();
        assert_eq!(push(&mut marks, 0, 1), Err("GAP"), "the first record of a topic must be the first output");
        assert_eq!(push(&mut marks, 0, 0), Ok(Taken::New));
        assert_eq!(push(&mut marks, 1, 1), Ok(Taken::New));
        marks.settle();
        assert_eq!(push(&mut marks, 2, 0), Ok(Taken::Repeated));
        assert_eq!(push(&mut marks, 3, 1), Ok(Taken::Repeated));
        assert_eq!(push(&mut marks, 4, 3), Err("GAP"));
        assert_eq!(push(&mut marks, 4, 2), Ok(Taken::New));
        let other = Provenance { lineage: 8, ..from(3) };
        assert_eq!(marks.judge("t", 0, 5, &other, || "p".into()).unwrap_err().kind(), "OTHER_LINEAGE");
    }

    #[test]
    fn a_mark_is_per_topic_partition_and_producer() {
        let mut marks = Marks::default();
        assert_eq!(push(&mut marks, 0, 0), Ok(Taken::New));
        assert_eq!(marks.judge("u", 0, 0, &from(0), || "p".into()).unwrap(), Taken::New);
        marks.take("u", 0, &from(0));
        assert_eq!(marks.judge("u", 1, 0, &from(0), || "p".into()).unwrap(), Taken::New);
        assert_eq!(push(&mut marks, 1, 1), Ok(Taken::New));
        marks.settle();
        assert_eq!(marks.table.len(), 2);
    }

    #[test]
    fn where_reading_starts_late_the_first_record_sets_the_mark() {
        let mut marks = Marks::default();
        assert_eq!(push(&mut marks, 40, 17), Ok(Taken::New));
        assert_eq!(push(&mut marks, 41, 17), Ok(Taken::Repeated));
        assert_eq!(push(&mut marks, 42, 18), Ok(Taken::New));
    }

    /// Found by the simulation: a record that nobody had judged (compacted topics are not) moved the mark of whichever
    /// producer came before it, in its own lineage.
    #[test]
    fn what_is_taken_unjudged_moves_no_other_mark() {
        let mut marks = Marks::default();
        assert_eq!(push(&mut marks, 0, 0), Ok(Taken::New));
        marks.take("u", 0, &Provenance { service: 2, partition: 0, lineage: 5, n: 40 });
        marks.settle();
        let of = |topic, service| marks.table.get(&(SmolStr::new_static(topic), 0, service, 0)).cloned();
        assert_eq!(of("t", 1), Some(Mark { lineage: 9, n: 0 }));
        assert_eq!(of("u", 2), Some(Mark { lineage: 5, n: 40 }));
    }
}
