//! What attribution remembers: each person's clicks, and the conversions that may still change hands.

use runtime::state::Table;
use smol_str::SmolStr;

use crate::intake::{ClockTable, clock_table};

runtime::row! {
    /// One click.
    pub struct Touch version 1 {
        pub at_ms: i64,
        pub event_id: SmolStr,
        pub campaign_id: SmolStr,
        /// Judged invalid: kept, so that its click, should it come later, is known to be no touch.
        pub invalid: bool,
    }
}

runtime::row! {
    /// One conversion, with all that its result says.
    pub struct Conversion version 1 {
        pub at_ms: i64,
        pub event_id: SmolStr,
        /// The click that the advertiser saw.
        pub click_event_id: Option<SmolStr>,
        pub advertiser_id: SmolStr,
        pub conversion_type: SmolStr,
        pub value_micros: i64,
        pub currency: SmolStr,
        /// Of the result published last.
        pub version: i32,
        /// The click credited by that result.
        pub credited: Option<SmolStr>,
    }
}

runtime::row! {
    /// One person: both lists in order of time, then id, so that nothing depends on the order of arrival.
    #[derive(Default)]
    pub struct Person version 1 {
        pub touches: Vec<Touch>,
        pub conversions: Vec<Conversion>,
        /// When nothing in here can matter any more, event time, ms.
        pub expires_at_ms: i64,
    }
}

runtime::tables! {
    /// State of one shard.
    pub struct State {
        /// About 260 bytes for a person with one click, 130 more a click, 300 more an open conversion; until
        /// `click_window_ms` and `reattribution_ms` after the last click.
        pub people: Table<SmolStr, Person> = Table::scheduled("people", |person: &Person| Some(person.expires_at_ms)),
        /// Event time of clicks and of conversions, two rows.
        pub clocks: ClockTable = clock_table(),
    }
}
