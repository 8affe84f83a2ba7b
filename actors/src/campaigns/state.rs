//! Tables of the campaigns. Arithmetic of their bytes and lives: the README beside this file.

use runtime::state::Table;
use runtime::{row, tables};
use smol_str::SmolStr;

use crate::money::{Cpm, Micros};

row! {
    /// The newest row of public.campaigns. A deleted one keeps its position, so that older changes stay without effect.
    pub struct Campaign version 1 {
        pub advertiser_id: SmolStr,
        pub name: SmolStr,
        pub active: bool,
        pub creative_id: SmolStr,
        pub width: i32,
        pub height: i32,
        pub bid: Cpm,
        pub countries: Vec<SmolStr>,
        pub frequency_cap: i32,
        pub destination_domain: Option<SmolStr>,
        pub deleted: bool,
        /// Position in the write-ahead log.
        pub lsn: i64,
    }
}

row! {
    /// The newest row of public.budgets with one primary key.
    pub struct Budget version 1 {
        pub budget_id: SmolStr,
        pub amount: Micros,
        pub currency: SmolStr,
        pub deleted: bool,
        /// Position in the write-ahead log.
        pub lsn: i64,
    }
}

row! {
    /// All budget rows of a campaign, by primary key.
    pub struct Budgets version 1 {
        pub rows: Vec<Budget>,
    }
}

impl Budgets {
    /// The one that counts: of those that are not deleted the newest.
    pub fn in_force(&self) -> Option<&Budget> {
        self.rows.iter().filter(|row| !row.deleted).max_by_key(|row| (row.lsn, row.budget_id.clone()))
    }

    /// Position of the newest change.
    pub fn lsn(&self) -> i64 {
        self.rows.iter().map(|row| row.lsn).max().unwrap_or(i64::MIN)
    }
}

tables! {
    /// State of one shard: all of the campaigns whose key falls on it. One row a campaign each, for ever.
    pub struct State {
        pub campaigns: Table<SmolStr, Campaign> = Table::new("campaigns"),
        pub budgets: Table<SmolStr, Budgets> = Table::new("budgets"),
        /// How many states of a campaign were told.
        pub revisions: Table<SmolStr, i64> = Table::new("revisions"),
    }
}
