//! Tables of bidding. Arithmetic of their bytes and lives: the README beside this file.

use runtime::state::Table;
use runtime::{row, tables};
use smol_str::SmolStr;

use crate::intake::{ClockTable, Id, IdTable, clock_table, id_table};

row! {
    /// From where a user id was seen, while it may still be a person.
    pub struct Sightings version 1 {
        /// Networks, as fingerprints, each with the newest event time, ms. Fewer than make a placeholder.
        pub networks: Vec<(u64, i64)>,
        pub requests: i64,
        /// Newest event time, ms.
        pub newest_ms: i64,
    }
}

row! {
    /// A user id that is no person, or this shard's part of one.
    pub struct Placeholder version 1 {
        /// Distinct networks when it was found; 0 where another shard found it.
        pub networks: i32,
        pub requests: i64,
        /// Event time, ms.
        pub found_ms: i64,
    }
}

tables! {
    /// State of one shard of bidding.
    pub struct State {
        /// One row a decision, for the horizon.
        pub decisions: IdTable = id_table("decisions"),
        /// One row a user id, while it was seen within the window.
        pub sightings: Table<Id, Sightings> = Table::scheduled("sightings", |row| Some(row.newest_ms)),
        /// One row a placeholder id. For ever.
        pub placeholders: Table<SmolStr, Placeholder> = Table::new("placeholders"),
        /// Placeholders whose count grew since the last tick.
        pub changed: Table<SmolStr, ()> = Table::new("changed"),
        /// Event time of the bids.
        pub clocks: ClockTable = clock_table(),
    }
}
