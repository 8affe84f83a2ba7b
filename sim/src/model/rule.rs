//! The rules of the protocol that the model can weaken, one at a time.

macro_rules! rules {
    ($($name:ident $text:literal $rule:literal $what:literal),* $(,)?) => {
        /// A rule, weakened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $(#[doc = $what] $name),*
        }

        impl Rule {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text),*
                }
            }

            /// Which rule of the protocol it breaks.
            pub fn of(self) -> &'static str {
                match self {
                    $(Self::$name => $rule),*
                }
            }

            pub fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $what),*
                }
            }
        }
    };
}

rules! {
    CounterEpoch "counter-epoch" "P1" "the epoch is the last one read, plus one",
    AnySequence "any-sequence" "P2" "a record stands whatever its sequence",
    AnyEpoch "any-epoch" "P2" "a record stands whatever its epoch",
    NoFold "no-fold" "P2" "a record stands whatever its epoch and sequence",
    NoReadBack "no-read-back" "P3" "outputs leave once the commit is acknowledged",
    SnapshotForgetsLineage "snapshot-forgets-lineage" "P4" "a snapshot holds its owner's nonce, not the topic's lineage",
    UnknownIsYes "unknown-is-yes" "P5" "a commit without an answer is taken to stand",
    RebuildsSameSequence "rebuilds-same-sequence" "P5" "a commit without an answer is built again under its sequence",
    CountersFromSent "counters-from-sent" "P6" "outputs are counted by what the topic holds",
    NoMarks "no-marks" "P7" "readers take repetitions",
    NoRepublication "no-republication" "P8" "a new owner publishes nothing again",
    MarkAhead "mark-ahead" "P8" "the published mark covers what was only sent",
    MarkOfOneTopic "mark-of-one-topic" "P8" "the published mark looks at one of two topics",
    NewBeforeOld "new-before-old" "P8" "new outputs do not wait for older ones",
    SkipsLostOutput "skips-lost-output" "P9" "the client drops a timed-out message and goes on",
    LastWins "last-wins" "P10" "views keep the last value, not the greatest version",
    GapInCompacted "gap-in-compacted" "P10" "gaps count in compacted topics",
    NoRestatement "no-restatement" "P10" "live keys are never stated again",
    NoIdSet "no-id-set" "P11" "what comes twice from outside counts twice",
    IdSetInMemory "id-set-in-memory" "P11" "the ids taken are in no commit",
    SnapshotWithoutCounters "snapshot-without-counters" "P17" "a snapshot leaves out the counters of outputs",
    SnapshotWithoutIds "snapshot-without-ids" "P17" "a snapshot leaves out the ids taken",
    SnapshotWithoutPositions "snapshot-without-positions" "P17" "a snapshot leaves out the input positions",
    TrimUncovered "trim-uncovered" "P18" "trimmed before a published mark in the log covers what goes",
    TrimBeforeEnd "trim-before-end" "P18" "trimmed before the snapshot is complete",
    UnsyncedSeen "unsynced-seen" "P19" "what is not synced is acknowledged and read",
}

impl Rule {
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }

    /// The scene that shows it, where it needs more than owners.
    pub fn scene(self) -> &'static str {
        match self {
            Self::SnapshotForgetsLineage => "lineage",
            Self::NoIdSet | Self::IdSetInMemory => "duplicates",
            Self::SnapshotWithoutCounters
            | Self::SnapshotWithoutIds
            | Self::SnapshotWithoutPositions
            | Self::TrimUncovered
            | Self::TrimBeforeEnd => "snapshots",
            Self::UnsyncedSeen => "groups",
            Self::LastWins | Self::GapInCompacted | Self::NoRestatement => "compacted",
            _ => "owners",
        }
    }

    /// Why the model holds without it, where it does.
    pub fn held_by(self) -> Option<&'static str> {
        match self {
            Self::AnySequence => Some("the epoch alone decides here; sequences are the second defence"),
            _ => None,
        }
    }
}
