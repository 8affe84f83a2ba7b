//! Tables of the budgets. Arithmetic of their bytes and lives: the README beside this file.

use runtime::state::{Field, RowError, Table};
use runtime::{row, tables};
use smol_str::SmolStr;

use super::account::Account;
use crate::intake::{ClockTable, Id, IdTable, clock_table, id_table};
use crate::money::Micros;

row! {
    /// Money lent to one holder.
    pub struct Lease version 1 {
        pub campaign: SmolStr,
        /// instance/incarnation.
        pub holder: SmolStr,
        /// Not yet used by a bid and not given back.
        pub remaining: Micros,
        /// The holder was told to stop.
        pub revoked: bool,
        /// Not spendable from here on; processing time, ms.
        pub expires_ms: i64,
        /// Every bid made from it has been seen: what remains is free again; processing time, ms.
        pub release_ms: i64,
    }
}

row! {
    /// The leases of one campaign that are not released.
    pub struct OpenLeases version 1 {
        pub lease_ids: Vec<SmolStr>,
    }
}

/// How far a bid is. The number stands in rows: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its money is held until the auction's result.
    Reserved = 0,
    /// Lost: nothing is held.
    Lost = 1,
    /// No result came in time: nothing is held.
    Expired = 2,
    /// Sold and posted.
    Billed = 3,
    /// The loss came before the reservation.
    LossFirst = 4,
    /// The sale came before the reservation.
    BilledFirst = 5,
    /// The sale was posted without a reservation.
    Orphan = 6,
}

impl Field for Stage {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, RowError> {
        Ok(match u8::take(input)? {
            0 => Self::Reserved,
            1 => Self::Lost,
            2 => Self::Expired,
            3 => Self::Billed,
            4 => Self::LossFirst,
            5 => Self::BilledFirst,
            6 => Self::Orphan,
            _ => return Err(RowError::Invalid("stage of a bid")),
        })
    }
}

row! {
    /// One bid, from its reservation or result, whichever comes first, until it is forgotten.
    pub struct Bid version 1 {
        pub campaign: SmolStr,
        pub stage: Stage,
        /// Bid price; zero before the reservation came.
        pub amount: Micros,
        /// What of it is covered by the budget and held.
        pub held: Micros,
        /// Price of the sale, if there was one.
        pub price: Micros,
        /// End of the reservation, event time, ms: later sales are late.
        pub expires_ms: i64,
        /// Event time of the sale, ms.
        pub billed_ms: i64,
        /// What happens next (release, forget, post) happens then; processing time, ms.
        pub due_ms: i64,
    }
}

tables! {
    /// State of one shard of the budgets: all of the campaigns whose key falls on it.
    pub struct State {
        /// One row a campaign. For ever.
        pub accounts: Table<SmolStr, Account> = Table::new("accounts"),
        /// One row a lease that is not released: lease life and longest reservation.
        pub leases: Table<SmolStr, Lease> = Table::scheduled("leases", |row| Some(row.release_ms)),
        /// One row a campaign with leases.
        pub open_leases: Table<SmolStr, OpenLeases> = Table::new("open_leases"),
        /// One row a bid: until its result, then as long as it is remembered.
        pub bids: Table<Id, Bid> = Table::scheduled("bids", |row| Some(row.due_ms)),
        /// Campaigns whose status has to be told at the next tick.
        pub changed: Table<SmolStr, ()> = Table::new("changed"),
        /// Ids of the lease requests taken.
        pub requests: IdTable = id_table("requests"),
        /// Event time of the lease requests.
        pub clocks: ClockTable = clock_table(),
    }
}

impl State {
    /// Changes the money of a campaign, which is told at the next tick.
    pub fn account<R>(&mut self, campaign: &SmolStr, change: impl FnOnce(&mut Account) -> R) -> R {
        if !self.changed.contains(campaign) {
            self.changed.insert(campaign.clone(), ());
        }
        self.accounts.update(campaign, Account::empty, change)
    }
}
