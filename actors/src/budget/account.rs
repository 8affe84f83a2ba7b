//! The money of one campaign: pure arithmetic, no tables. Amounts are bounded where they enter (a bid by the plausible
//! price, a budget by [`BUDGET_MAX`]), so that no sum here leaves the range of 64 bits.

use runtime::row;

use crate::money::Micros;

/// Greatest budget that is believed: a thousand million units of currency.
pub const BUDGET_MAX: Micros = Micros(1_000_000_000 * crate::money::MICROS_PER_UNIT);

row! {
    /// Where the money of one campaign is. `posted + lent + held <= budget` after every event.
    pub struct Account version 1 {
        /// Budget as the campaign's owner wants it.
        pub requested: Micros,
        /// Budget in force. Above `requested` only after a cut below what was already spent or pending, and then
        /// exactly as much as those were; it falls with them.
        pub budget: Micros,
        /// Spent.
        pub posted: Micros,
        /// In leases, not yet used by a bid.
        pub lent: Micros,
        /// Reserved by bids whose auction has not ended.
        pub held: Micros,
        /// Won too late, or beyond the budget: borne by the platform.
        pub overrun: Micros,
        /// Counts the changes of `requested`.
        pub epoch: i64,
        /// May borrow.
        pub active: bool,
        /// Position of the newest campaign state folded in, and its number at that position.
        pub lsn: i64,
        pub revision: i64,
    }
}

impl Account {
    /// An account without budget: a campaign nobody has told us about yet.
    pub fn empty() -> Self {
        let zero = Micros::ZERO;
        Self {
            requested: zero,
            budget: zero,
            posted: zero,
            lent: zero,
            held: zero,
            overrun: zero,
            epoch: 0,
            active: false,
            lsn: i64::MIN,
            revision: 0,
        }
    }

    /// Lent or reserved.
    pub fn pending(&self) -> Micros {
        sum(self.lent, self.held)
    }

    /// Spent, lent or reserved.
    pub fn committed(&self) -> Micros {
        sum(self.posted, self.pending())
    }

    /// What may still be lent.
    pub fn free(&self) -> Micros {
        difference(self.budget, self.committed())
    }

    /// The owner wants another budget. A cut below what is committed leaves nothing free and takes back nothing.
    pub fn request(&mut self, requested: Micros) {
        if requested != self.requested {
            self.requested = requested;
            self.epoch += 1;
        }
        self.budget = requested.max(self.committed());
    }

    /// Lends at most `free`.
    pub fn lend(&mut self, amount: Micros) {
        self.lent = sum(self.lent, amount);
    }

    /// Unused money of a lease comes back.
    pub fn take_back(&mut self, amount: Micros) {
        self.lent = difference(self.lent, amount);
        self.settle();
    }

    /// A bid uses `from_lease` of its lease, and `from_free` where the lease does not cover it.
    pub fn hold(&mut self, from_lease: Micros, from_free: Micros) {
        self.lent = difference(self.lent, from_lease);
        self.held = sum(self.held, sum(from_lease, from_free));
    }

    /// The auction ended without a sale.
    pub fn release(&mut self, held: Micros) {
        self.held = difference(self.held, held);
        self.settle();
    }

    /// The auction ended with a sale: takes the price from what was held, then from what is free, and what is above the
    /// `offer` or beyond the budget from the platform.
    pub fn post(&mut self, price: Micros, offer: Micros, held: Micros) {
        self.held = difference(self.held, held);
        let posted = price.min(offer).min(self.free());
        self.posted = sum(self.posted, posted);
        self.overrun = sum(self.overrun, difference(price, posted));
        self.settle();
    }

    /// The sale came after the reservation's end: the platform bears it.
    pub fn post_late(&mut self, price: Micros, held: Micros) {
        self.overrun = sum(self.overrun, price);
        self.release(held);
    }

    /// After a cut the budget in force follows what is committed, down to what was requested.
    fn settle(&mut self) {
        self.budget = self.requested.max(self.budget.min(self.committed()));
    }

    /// No part of it is below nothing.
    pub fn has_no_negative(&self) -> bool {
        [self.requested, self.posted, self.lent, self.held, self.overrun].iter().all(|part| *part >= Micros::ZERO)
    }

    /// Posted and pending are within the budget in force.
    pub fn is_within_budget(&self) -> bool {
        self.committed() <= self.budget
    }
}

fn sum(a: Micros, b: Micros) -> Micros {
    Micros(a.0 + b.0)
}

pub(super) fn difference(a: Micros, b: Micros) -> Micros {
    Micros(a.0 - b.0)
}
