//! Planted bugs: the real guards, each weakened in place through a seam that only this program instantiates.
//!
//! `guards` weakens the protocol, `folds` the services, `crate::network` what lies between a process and its log,
//! `crate::disk` the disk's promises. The product holds none of their names.

mod folds;
mod guards;

use serde::{Deserialize, Serialize};

pub use folds::planted;
pub use guards::guards;

macro_rules! mutants {
    ($($name:ident: $what:literal),* $(,)?) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Mutant {
            $(#[doc = $what] $name),*
        }

        impl Mutant {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// What is wrong with it.
            pub fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $what),*
                }
            }
        }
    };
}

mutants! {
    // The protocol.
    NoReadBack: "outputs leave before their commit is read back (P3)",
    AnyEpoch: "any record at the offset is taken for one's own (P3)",
    NoRepublication: "a new owner does not publish again what may be missing (P8)",
    NoOrder: "new outputs do not wait for older ones (P8)",
    NoMarks: "repetitions are taken as new (P7)",
    NoRollback: "a failed event leaves its traces (P12)",
    ConstantNonce: "all owners draw the same nonce; the offset of the claim still tells them apart (P1)",
    OffsetBackOne: "a restart takes one event twice",
    OffsetAheadOne: "a restart leaves one event out",
    NoFence: "the log refuses no stale epoch, the second defence",
    NoReadBackNoFence: "neither read-back nor refusal",
    CountersReset: "outputs are counted from 0 after a restart (P6)",
    CounterBackOne: "the last output number is used twice after a restart (P6)",
    MarkAhead: "the published mark covers what was only sent (P8)",
    TrimUncovered: "the log is trimmed before the published mark covers it (P18)",
    NoMarksNoReadBack: "repetitions are taken as new and nothing is read back",
    // Between a process and the log.
    EarlyAck: "outputs are acknowledged before they are durable",
    EarlyAckOutside: "the outside is answered before its event is durable",
    LaneReordered: "a producer's requests overtake each other: the order of a key broken on a retry",
    LossSkipped: "behind a lost request the producer goes on (P9)",
    LossAcknowledged: "a lost request is acknowledged",
    ReaderSkips: "a reader jumps over a batch after a gap in its connection",
    ReaderRepeats: "a reader delivers a batch twice; shards know their positions",
    TrimTooFar: "trimming takes one record too many",
    // The disk.
    NoSync: "syncs are claimed, not made",
    NoDirectorySync: "new names are not made durable",
    NoSegmentSync: "segments are not synced when the journal is cut",
    // Services.
    LosesCharges: "billing takes some impressions without charging",
    ChargesUnderOtherId: "billing charges some impressions again under another id",
    OneMicroMore: "some charges are a micro too high",
    RoundedPrices: "prices are rounded to ten micros",
    WrongCampaign: "some charges go to another campaign",
    NoReversal: "verdicts take nothing back",
    ChargesForgotten: "billing's charges are not in its commits: verdicts after a restart find nothing",
    BalancesForgotten: "billing's balances are not in its commits",
    PixelsForgotten: "the pixels taken are not in the commits: a repeated one counts again after a restart",
    PixelHorizonZero: "the ids of pixels are forgotten at once",
    ClicksForgotten: "the clicks taken are not in the commits",
    MinutesForgotten: "the counts of minutes are not in the commits",
    MinutesClosedEarly: "events that come late are left out of their minute",
    WrongMinute: "events are counted a second late",
    DoubleCount: "some events are counted twice",
    NoTicks: "time does not pass for analytics",
    VerdictsSkipped: "fraud judges two of three impressions",
    AccountsForgotten: "the budgets' accounts are not in the commits: what was spent is lent again after a crash",
    SalesLost: "some sales are not posted to the budget",
    DeadLettersForgotten: "what cannot be taken is dropped, not set aside",
    GoodSetAside: "some good events are set aside",
}

impl Mutant {
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }

    /// Which world shows it, if only one can.
    pub fn kafka(self) -> Option<bool> {
        match self {
            Self::NoReadBack
            | Self::AnyEpoch
            | Self::NoMarksNoReadBack
            | Self::LaneReordered
            | Self::LossSkipped
            | Self::LossAcknowledged
            | Self::ReaderSkips
            | Self::TrimUncovered => Some(true),
            Self::NoSync | Self::NoDirectorySync | Self::NoSegmentSync | Self::EarlyAck | Self::EarlyAckOutside => {
                Some(false)
            }
            _ => None,
        }
    }

    /// Why it need not be found, where another guard covers for it.
    pub fn covered_by(self) -> Option<&'static str> {
        match self {
            Self::NoFence => Some("the protocol holds alone; the log's refusal is a second defence"),
            Self::ConstantNonce => Some("offsets of claims differ; the nonce matters where a log is recreated"),
            Self::AnyEpoch => Some("standing already says whose the record is; the comparison is a second look"),
            Self::ReaderRepeats => Some("shards skip what lies below their position"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_forty_and_names_read_back() {
        assert!(Mutant::ALL.len() >= 40, "{}", Mutant::ALL.len());
        assert!(Mutant::ALL.iter().all(|mutant| Mutant::parse(&mutant.name()) == Some(*mutant)));
    }
}
