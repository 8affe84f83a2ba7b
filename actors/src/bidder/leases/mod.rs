//! The money that this process may spend on bids: leases lent by the budget service to one holder, an incarnation of an
//! instance (rule P16). Spent in memory, without asking anybody; what is not spent is given back or runs out.
//!
//! The book never spends a lease beyond its amount or its end, so posted + pending <= budget holds whatever this process
//! does, dies of, or misses.

mod book;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::outcome::Failure;
use runtime::service::Event;
use runtime::topology::Topic;
use runtime::view::View;
use schemas::codec::Map;
use schemas::events::{BudgetLease, LeaseRequest, LeaseRequestKind};
use smol_str::SmolStr;

use super::campaigns::Campaigns;
use crate::money::Micros;
use crate::topics::BUDGET_LEASES;
use book::Book;

/// How leases are asked for; all times are processing time.
#[derive(Clone, Debug)]
pub struct LeaseBookConfig {
    /// A lease is not spent in the last part of its life: the budget's clock may be ahead of ours.
    pub spend_margin_ms: i64,
    /// How much time's demand is asked for at once.
    pub horizon_ms: i64,
    /// Bids that a campaign can always make at first, before its demand is known.
    pub bids_min: i64,
    /// An ask without an answer is repeated after this.
    pub answer_timeout_ms: i64,
    /// A campaign whose budget is used up is asked about again after this: lost auctions bring money back.
    pub exhausted_retry_ms: i64,
    /// A campaign nobody bids for any more is no longer asked about after this.
    pub idle_ms: i64,
    /// Leases of one campaign that may be open here at once.
    pub leases_max: usize,
}

impl Default for LeaseBookConfig {
    fn default() -> LeaseBookConfig {
        LeaseBookConfig {
            spend_margin_ms: 250,
            horizon_ms: 1_500,
            bids_min: 200,
            answer_timeout_ms: 1_000,
            exhausted_retry_ms: 500,
            idle_ms: 30_000,
            leases_max: 64,
        }
    }
}

/// Why there is no money for a bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendRefused {
    /// None is here yet: asked for, or about to be.
    LeasePending,
    /// The budget service has none to lend.
    Exhausted,
}

/// What the holder wants from the budget service: one record of `lease-requests`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseDemand {
    /// Deterministic: holder and counter.
    pub request_id: SmolStr,
    /// Who wants it.
    pub holder: SmolStr,
    /// Campaign, the key of the record.
    pub campaign_id: SmolStr,
    /// Start, ask or return.
    pub kind: LeaseRequestKind,
    /// Lease given back.
    pub lease_id: Option<SmolStr>,
    /// Wanted or given back.
    pub amount: Micros,
    /// When, milliseconds since the epoch.
    pub timestamp_ms: i64,
}

impl LeaseDemand {
    /// In the type of its schema.
    pub fn request(&self) -> LeaseRequest<'_> {
        LeaseRequest {
            request_id: &self.request_id,
            holder: &self.holder,
            campaign_id: &self.campaign_id,
            kind: self.kind,
            lease_id: self.lease_id.as_deref(),
            amount_micros: self.amount.0,
            timestamp: self.timestamp_ms,
            metadata: Map::default(),
        }
    }
}

/// The leases of one holder. Shared by the threads that decide: the lock is held for a look-up and a subtraction.
pub struct LeaseBook {
    book: Mutex<Book>,
}

impl LeaseBook {
    /// An empty book. `holder` is `instance/incarnation` and must never have been used before: leases of an older
    /// incarnation are not known here and must not be spent.
    pub fn new(holder: &str, config: LeaseBookConfig) -> LeaseBook {
        LeaseBook { book: Mutex::new(Book::new(holder, config)) }
    }

    /// Takes the price of one bid from a lease of its campaign, and answers which.
    ///
    /// # Errors
    /// [`SpendRefused`]: then nothing was taken, and the demand is remembered for the next [`LeaseBook::demands`].
    pub fn try_spend(&self, campaign_id: &str, price: Micros, now_ms: i64) -> Result<SmolStr, SpendRefused> {
        self.lock().try_spend(campaign_id, price, now_ms)
    }

    /// Takes in what the budget service says. Leases of other holders are passed over; a repetition changes nothing.
    pub fn apply(&self, lease: &BudgetLease<'_>, told_ms: i64) {
        self.lock().apply(lease, told_ms);
    }

    /// What to send to the budget service now; to be called every few tens of milliseconds. Active campaigns get a first
    /// lease before their first bid.
    pub fn demands(&self, campaigns: &Campaigns, now_ms: i64) -> Vec<LeaseDemand> {
        self.lock().demands(campaigns, now_ms)
    }

    /// Gives everything back that is not spent, for an orderly end. Nothing can be spent afterwards until a new lease comes.
    pub fn give_back(&self, now_ms: i64) -> Vec<LeaseDemand> {
        self.lock().give_back(now_ms)
    }

    /// Money that could be spent on a campaign now.
    pub fn available(&self, campaign_id: &str, now_ms: i64) -> Micros {
        self.lock().available(campaign_id, now_ms)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // A panic while the lock is held leaves whole numbers behind: every change is one assignment.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Feeds `budget-leases` to a book.
pub struct LeasesView {
    book: Arc<LeaseBook>,
}

impl LeasesView {
    /// A view that fills this book.
    pub fn new(book: Arc<LeaseBook>) -> LeasesView {
        LeasesView { book }
    }
}

impl View for LeasesView {
    fn name(&self) -> &'static str {
        "leases"
    }

    fn topics(&self) -> Vec<&'static Topic> {
        vec![&BUDGET_LEASES]
    }

    fn apply(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        self.book.apply(&event.decode()?, event.timestamp_ms);
        Ok(())
    }

    fn publish(&mut self) {}
}
