//! What analytics remembers: counts by campaign and minute, and what each conversion was counted for.

use runtime::state::Table;
use smol_str::SmolStr;

use crate::intake::Id;

/// Campaign and start of the minute, ms.
pub type MinuteKey = (SmolStr, i64);

runtime::row! {
    /// One campaign's minute, as far as this shard saw it.
    #[derive(Default)]
    pub struct Minute version 1 {
        pub impressions: i64,
        pub clicks: i64,
        pub conversions: i64,
        pub spend_micros: i64,
        pub ivt_impressions: i64,
        pub ivt_spend_micros: i64,
        /// Counts the times it was published.
        pub revision: i32,
        pub is_final: bool,
        /// Changed since it was published; then it stands in `changed`.
        pub is_changed: bool,
        pub expires_at_ms: i64,
    }
}

runtime::row! {
    /// What a conversion was counted for.
    pub struct Counted version 1 {
        pub version: i32,
        /// Start of the minute it happened in, ms.
        pub minute_ms: i64,
        /// Campaigns credited, sorted.
        pub campaigns: Vec<SmolStr>,
        pub expires_at_ms: i64,
    }
}

runtime::row! {
    /// How far time has come in the events of this shard.
    pub struct Clock version 1 {
        /// Greatest event time, whole seconds, ms.
        pub event_ms: i64,
        /// Processing time at which it last moved, ms.
        pub moved_at_ms: i64,
    }
}

runtime::tables! {
    /// State of one shard.
    pub struct State {
        /// About 230 bytes a row, until `horizon_ms` after the minute.
        pub minutes: Table<MinuteKey, Minute> = Table::scheduled("minutes", |m: &Minute| Some(m.expires_at_ms)),
        /// Minutes that are not final, by the time at which they will be. 120 bytes a row, for some minutes.
        pub open: Table<MinuteKey, i64> = Table::scheduled("open", |final_at_ms: &i64| Some(*final_at_ms)),
        /// Minutes to publish, by the processing time since when. 120 bytes a row, for a second.
        pub changed: Table<MinuteKey, i64> = Table::scheduled("changed", |since_ms: &i64| Some(*since_ms)),
        /// About 170 bytes a row, as long as its minute.
        pub conversions: Table<Id, Counted> = Table::scheduled("conversions", |c: &Counted| Some(c.expires_at_ms)),
        /// One row.
        pub clock: Table<(), Clock> = Table::new("clock"),
    }
}

impl State {
    /// Greatest event time of this shard, ms; `None` before the first event.
    pub fn event_ms(&self) -> Option<i64> {
        self.clock.get(&()).map(|clock| clock.event_ms)
    }
}
