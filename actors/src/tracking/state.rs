//! What tracking remembers: the ids it took from each topic.

use crate::intake::{ClockTable, IdTable, clock_table, id_table};

runtime::tables! {
    /// State of one shard.
    pub struct State {
        /// Clicks taken. 110 bytes a row, for `click_horizon_ms`.
        pub clicks: IdTable = id_table("clicks"),
        /// Orders taken. 110 bytes a row, for `conversion_horizon_ms`.
        pub orders: IdTable = id_table("orders"),
        /// Bids that the exchange said were won. 110 bytes a row, for `notice_horizon_ms`.
        pub wins: IdTable = id_table("wins"),
        /// Bids that the exchange said were lost. 110 bytes a row, for `notice_horizon_ms`.
        pub losses: IdTable = id_table("losses"),
        /// Event time of each input topic, three rows.
        pub clocks: ClockTable = clock_table(),
    }
}
