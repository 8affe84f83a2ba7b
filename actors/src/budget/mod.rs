//! Budgets: leases, reservations, and never more spent or pending than the budget. What goes in and out, the protocol and
//! its edges: README beside this file.

mod account;
mod bids;
mod leases;
mod state;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::BTreeMap;

use runtime::outcome::{Failure, Handled};
use runtime::service::{Checks, Effects, Event, RESTATED_ROWS, Service};
use runtime::topology::{Class, Order, ServiceSpec};
use schemas::codec::Map;
use schemas::events::{BudgetStatus, CampaignState};
use smol_str::SmolStr;

use crate::intake::{self, required, violation};
use crate::metadata;
use crate::money::{Micros, PLAUSIBLE_CPM_MAX};
use crate::topics::{AUCTION_RESULTS, BUDGET_LEASES, BUDGET_STATUS, CAMPAIGN_STATES, LEASE_REQUESTS, RESERVATIONS};

pub use account::{Account, BUDGET_MAX};
pub use state::{Bid, Lease, OpenLeases, Stage, State};

/// Bids that a tick may free or forget, leases that it may release, statuses that it may tell: together less than half of
/// the 768 KiB of a commit record. The rest waits a second.
const BIDS_SWEPT_A_TICK: usize = 2_000;
const LEASES_SWEPT_A_TICK: usize = 500;
const STATUSES_A_TICK: usize = 500;
/// Each reservation does more than its own share, so that a backlog of due bids shrinks under any load.
const BIDS_SWEPT_A_RESERVATION: usize = 3;
/// Rows that are recounted after every batch; with more, only one batch in [`RECOUNT_EVERY`] pays for it.
const RECOUNTED_ROWS: usize = 1_024;
const RECOUNT_EVERY: u32 = 256;

/// Parameters of the budgets; all times are processing time.
#[derive(Clone, Debug)]
pub struct BudgetConfig {
    /// How long a lease may be spent, ms: outlives a restart of this service, so that bidding does not feel one.
    pub lease_life_ms: i64,
    /// Longest reservation, ms. A lease's rest stays pending this long after its end.
    pub reservation_max_ms: i64,
    /// How long after a reservation's end its result is awaited, ms.
    pub result_grace_ms: i64,
    /// How long a result waits for its reservation, ms.
    pub early_result_ms: i64,
    /// How long a bid that is resolved is remembered, ms.
    pub memory_ms: i64,
    /// How long ids of lease requests are kept, ms of event time.
    pub request_horizon_ms: i64,
    /// A grant is at most half of what is free, but not less than this.
    pub grant_floor: Micros,
    /// Leases of one campaign that may be open at once.
    pub leases_max: usize,
    /// Highest price of one impression that is believed.
    pub price_max: Micros,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            lease_life_ms: 10_000,
            reservation_max_ms: intake::MINUTE_MS,
            result_grace_ms: 10_000,
            early_result_ms: 10 * intake::MINUTE_MS,
            memory_ms: 15 * intake::MINUTE_MS,
            request_horizon_ms: intake::HOUR_MS,
            grant_floor: Micros(10_000),
            leases_max: 1_024,
            price_max: PLAUSIBLE_CPM_MAX.per_impression_floor(),
        }
    }
}

/// The service.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    config: BudgetConfig,
    batches: Cell<u32>,
}

impl Budget {
    pub fn new(config: BudgetConfig) -> Self {
        Self { config, batches: Cell::default() }
    }
}

impl Service for Budget {
    type State = State;

    fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "budget",
            inputs: vec![&CAMPAIGN_STATES, &LEASE_REQUESTS, &RESERVATIONS, &AUCTION_RESULTS],
            outputs: vec![&BUDGET_LEASES, &BUDGET_STATUS],
            order: Order::Strict,
            class: Class::Money,
        }
    }

    fn handle(&mut self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        let now_ms = effects.now_ms();
        if event.topic == &RESERVATIONS {
            bids::sweep(&self.config, state, now_ms, BIDS_SWEPT_A_RESERVATION);
            bids::reserve(&self.config, state, &event.decode()?, now_ms)
        } else if event.topic == &AUCTION_RESULTS {
            bids::result(&self.config, state, &event.decode()?, now_ms)
        } else if event.topic == &LEASE_REQUESTS {
            leases::request(&self.config, state, &intake::decode(event)?, effects)
        } else {
            campaign(state, &event.decode()?, effects)
        }
    }

    fn tick(&mut self, state: &mut State, effects: &mut Effects<'_>) {
        bids::sweep(&self.config, state, effects.now_ms(), BIDS_SWEPT_A_TICK);
        leases::sweep(state, effects, LEASES_SWEPT_A_TICK);
        tell_changed(state, effects);
    }

    fn restate(&mut self, state: &State, from: usize, effects: &mut Effects<'_>) -> Option<usize> {
        let (page, next) = state.accounts.page(from, RESTATED_ROWS);
        page.into_iter().for_each(|(campaign, account)| tell(campaign, account, effects));
        next
    }

    fn invariants(&self, state: &State, checks: &mut Checks) {
        for (_, account) in state.accounts.unordered() {
            checks.expect("no_negative_money", account.has_no_negative());
            checks.expect("budget_never_exceeded", account.is_within_budget());
        }
        let batch = self.batches.get().wrapping_add(1);
        self.batches.set(batch);
        if state.leases.len() + state.bids.len() <= RECOUNTED_ROWS || batch.is_multiple_of(RECOUNT_EVERY) {
            checks.expect("pending_is_leases_and_reservations", pending_recounted(state));
        }
    }
}

/// What is pending is what leases and reservations say, campaign by campaign.
fn pending_recounted(state: &State) -> bool {
    let mut pending: BTreeMap<&SmolStr, (i64, i64)> = BTreeMap::new();
    for (_, lease) in state.leases.unordered() {
        pending.entry(&lease.campaign).or_default().0 += lease.remaining.0;
    }
    for (_, bid) in state.bids.unordered() {
        pending.entry(&bid.campaign).or_default().1 += bid.held.0;
    }
    let same = state
        .accounts
        .unordered()
        .all(|(campaign, account)| pending.remove(campaign).unwrap_or_default() == (account.lent.0, account.held.0));
    // What is left belongs to campaigns without an account, and must be nothing.
    same && pending.values().all(|left| *left == (0, 0))
}

/// A campaign or its budget changed.
fn campaign(state: &mut State, change: &CampaignState<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
    let campaign = SmolStr::new(required("campaign_id", change.campaign_id)?);
    let requested = if change.deleted { Micros::ZERO } else { Micros(change.budget_micros) };
    if requested < Micros::ZERO || requested > BUDGET_MAX {
        return Err(violation("budget_micros", format!("{requested} is not within 0 and {BUDGET_MAX}")));
    }
    let revision = change.metadata.get(metadata::REVISION).and_then(|text| text.parse().ok()).unwrap_or(0);
    let active = change.active && !change.deleted;
    if let Some(known) = state.accounts.get(&campaign) {
        let (at, newest) = ((change.lsn, revision), (known.lsn, known.revision));
        // Positions alone do not order states that two tables made: without a revision the last one counts.
        let repeated = at == newest && (revision != 0 || (known.requested, known.active) == (requested, active));
        if at < newest || repeated {
            return Ok(Handled::Duplicate);
        }
    }
    let stop = state.account(&campaign, |account| {
        (account.lsn, account.revision, account.active) = (change.lsn, revision, active);
        account.request(requested);
        !active || account.budget > account.requested
    });
    if stop {
        leases::revoke(state, &campaign, effects, |_| true);
    }
    Ok(Handled::Done)
}

/// Tells where the money is of campaigns that changed.
fn tell_changed(state: &mut State, effects: &mut Effects<'_>) {
    let changed: Vec<SmolStr> =
        state.changed.sorted().into_iter().take(STATUSES_A_TICK).map(|(campaign, ())| campaign.clone()).collect();
    for campaign in changed {
        state.changed.remove(&campaign);
        if let Some(account) = state.accounts.get(&campaign) {
            tell(&campaign, account, effects);
        }
    }
}

/// Tells where the money of one campaign is.
fn tell(campaign: &SmolStr, account: &Account, effects: &mut Effects<'_>) {
    let status = BudgetStatus {
        campaign_id: campaign,
        budget_micros: account.budget.0,
        requested_micros: account.requested.0,
        posted_micros: account.posted.0,
        pending_micros: account.pending().0,
        overrun_micros: account.overrun.0,
        timestamp: effects.now_ms(),
        metadata: Map::default(),
    };
    effects.emit(&BUDGET_STATUS, campaign, effects.now_ms(), &status);
}
