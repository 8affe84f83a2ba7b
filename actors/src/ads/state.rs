//! What ad serving remembers.

use crate::intake::{ClockTable, IdTable, clock_table, id_table};

runtime::tables! {
    /// State of one shard.
    pub struct State {
        /// Bids whose pixel was taken. 110 bytes a row, for the horizon of pixels.
        pub pixels: IdTable = id_table("pixels"),
        /// One row.
        pub clocks: ClockTable = clock_table(),
    }
}
