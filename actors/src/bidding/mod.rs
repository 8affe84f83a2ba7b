//! Bidding, behind the decision: reserves the price of every bid, and finds user ids that are no person. The decision itself
//! is pure and made at the source. What goes in and out, and the rules: README beside this file.

mod placeholders;
mod state;
#[cfg(test)]
mod tests;

use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event, Service};
use runtime::topology::{Class, Order, ServiceSpec};
use schemas::codec::{Encode, Map};
use schemas::events::{BidEvent, BidOutcome, Reservation};

use crate::intake::{self, Admission, Arrival, required, violation};
use crate::metadata;
use crate::money::Micros;
use crate::topics::{BIDS, PLACEHOLDER_USERS, RESERVATIONS};

pub use state::{Placeholder, Sightings, State};

/// Rows that a tick forgets in each table, and that each decision forgets: more than it adds.
const FORGOTTEN_A_TICK: usize = 5_000;
const FORGOTTEN_A_DECISION: usize = 2;

/// Parameters of bidding; all times are event time.
#[derive(Clone, Debug)]
pub struct BiddingConfig {
    /// How long ids of decisions are kept, ms.
    pub horizon_ms: i64,
    /// How long a bid's price stays reserved without a result, ms.
    pub reservation_ms: i64,
    /// Distinct networks that make a user id a placeholder ...
    pub placeholder_networks: usize,
    /// ... if seen within this time, ms.
    pub placeholder_window_ms: i64,
}

impl Default for BiddingConfig {
    fn default() -> Self {
        Self {
            horizon_ms: 15 * intake::MINUTE_MS,
            reservation_ms: intake::MINUTE_MS,
            placeholder_networks: 20,
            placeholder_window_ms: 10 * intake::MINUTE_MS,
        }
    }
}

/// The service.
#[derive(Clone, Debug, Default)]
pub struct Bidding {
    config: BiddingConfig,
}

impl Bidding {
    pub fn new(config: BiddingConfig) -> Self {
        Self { config }
    }
}

impl Service for Bidding {
    type State = State;

    fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "bidding",
            inputs: vec![&BIDS],
            outputs: vec![&RESERVATIONS, &PLACEHOLDER_USERS],
            order: Order::None,
            class: Class::Serving,
        }
    }

    fn handle(&mut self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        let bid: BidEvent<'_> = intake::decode(event)?;
        let time = intake::event_time(bid.timestamp, effects.now_ms())?;
        let arrival = Arrival {
            topic: BIDS.name,
            id: intake::id(required("bid_id", bid.bid_id)?),
            content: content(&bid),
            at_ms: time.ms,
        };
        if intake::admit(&mut state.decisions, &mut state.clocks, self.config.horizon_ms, arrival)?
            == Admission::Repeated
        {
            return Ok(Handled::Duplicate);
        }
        if bid.outcome == BidOutcome::Bid {
            self.reserve(&bid, time.ms, effects)?;
        }
        placeholders::observe(&self.config, state, &bid, time.ms, effects);
        let clock_ms = intake::clock_ms(&state.clocks, BIDS.name);
        placeholders::sweep(&self.config, state, clock_ms, FORGOTTEN_A_DECISION);
        Ok(Handled::Done)
    }

    fn tick(&mut self, state: &mut State, effects: &mut Effects<'_>) {
        let clock_ms = intake::clock_ms(&state.clocks, BIDS.name);
        intake::sweep(&mut state.decisions, clock_ms, self.config.horizon_ms, FORGOTTEN_A_TICK);
        placeholders::sweep(&self.config, state, clock_ms, FORGOTTEN_A_TICK);
        placeholders::tell_changed(state, effects);
    }

    fn restate(&mut self, state: &State, from: usize, effects: &mut Effects<'_>) -> Option<usize> {
        placeholders::restate(state, from, effects)
    }
}

impl Bidding {
    /// Moves the price of a bid from its lease to the bid, in the books of `budget`.
    fn reserve(&self, bid: &BidEvent<'_>, at_ms: i64, effects: &mut Effects<'_>) -> Result<(), Failure> {
        let campaign_id = required("campaign_id", bid.campaign_id.unwrap_or_default())?;
        let lease_id = required("lease_id", bid.lease_id.unwrap_or_default())?;
        if bid.bid_price_micros <= 0 {
            return Err(violation("bid_price_micros", format!("of {} is no offer", Micros(bid.bid_price_micros))));
        }
        let context = [(metadata::AUCTION_ID, bid.auction_id)];
        let reservation = Reservation {
            bid_id: bid.bid_id,
            campaign_id,
            lease_id,
            amount_micros: bid.bid_price_micros,
            timestamp: at_ms,
            expires_at: at_ms + self.config.reservation_ms,
            metadata: Map::from_pairs(&context),
        };
        metadata::check(reservation.check())?;
        effects.emit(&RESERVATIONS, campaign_id, at_ms, &reservation);
        Ok(())
    }
}

/// What must be the same where an id repeats: the decision and its money. Its time and context may differ.
fn content(bid: &BidEvent<'_>) -> u64 {
    intake::fingerprint(&[
        bid.outcome.as_str().as_bytes(),
        bid.campaign_id.unwrap_or_default().as_bytes(),
        bid.lease_id.unwrap_or_default().as_bytes(),
        &bid.bid_price_micros.to_le_bytes(),
    ])
}
