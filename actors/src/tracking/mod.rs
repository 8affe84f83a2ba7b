//! Tracking: what exchanges, browsers and advertisers report becomes events that happened once.
//! The rules, edges and sizes stand in `README.md` beside this file.

mod click;
mod conversion;
mod notice;
mod state;
#[cfg(test)]
mod tests;

use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event, Service};
use runtime::topology::{Class, Order, ServiceSpec};

use crate::intake::{self, DAY_MS, EventTime, HOUR_MS, MINUTE_MS};
use crate::topics::{AUCTION_RESULTS, CLICK_PIXELS, CLICKS, CONVERSION_POSTS, CONVERSIONS, EXCHANGE_NOTICES};

pub use state::State;

/// Parameters of tracking: how long ids are kept, ms of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackingConfig {
    /// Redirects are repeated by browsers at once, by caches within minutes.
    pub click_horizon_ms: i64,
    /// Advertisers post an order again with the next morning's batch, or after a week-end.
    pub conversion_horizon_ms: i64,
    /// Exchanges retry a notice for a minute or so; RTBkit remembers an auction for 15 minutes.
    pub notice_horizon_ms: i64,
}

impl Default for TrackingConfig {
    fn default() -> Self {
        Self { click_horizon_ms: HOUR_MS, conversion_horizon_ms: 7 * DAY_MS, notice_horizon_ms: 15 * MINUTE_MS }
    }
}

/// The fold.
#[derive(Clone, Debug, Default)]
pub struct Tracking {
    config: TrackingConfig,
}

impl Tracking {
    pub fn new(config: TrackingConfig) -> Self {
        Self { config }
    }
}

/// Ids that leave the horizon while nothing comes are dropped this many a table and tick.
const EVICTED_A_TICK: usize = 5_000;

impl Service for Tracking {
    type State = State;

    fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "tracking",
            inputs: vec![&CLICK_PIXELS, &CONVERSION_POSTS, &EXCHANGE_NOTICES],
            outputs: vec![&CLICKS, &CONVERSIONS, &AUCTION_RESULTS],
            order: Order::None,
            class: Class::Serving,
        }
    }

    fn handle(&mut self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        if event.topic == &CLICK_PIXELS {
            self.click(state, event, effects)
        } else if event.topic == &CONVERSION_POSTS {
            self.conversion(state, event, effects)
        } else {
            self.notice(state, event, effects)
        }
    }

    fn tick(&mut self, state: &mut State, _: &mut Effects<'_>) {
        let TrackingConfig { click_horizon_ms, conversion_horizon_ms, notice_horizon_ms } = self.config;
        for (ids, topic, horizon_ms) in [
            (&mut state.clicks, &CLICK_PIXELS, click_horizon_ms),
            (&mut state.orders, &CONVERSION_POSTS, conversion_horizon_ms),
            (&mut state.wins, &EXCHANGE_NOTICES, notice_horizon_ms),
            (&mut state.losses, &EXCHANGE_NOTICES, notice_horizon_ms),
        ] {
            let clock_ms = intake::clock_ms(&state.clocks, topic.name);
            intake::sweep(ids, clock_ms, horizon_ms, EVICTED_A_TICK);
        }
    }
}

/// The context of an event from outside, with the skew of its clock where there is one.
fn with_skew<'a>(mut context: Vec<(&'a str, &'a str)>, time: EventTime, skew: &'a str) -> Vec<(&'a str, &'a str)> {
    if time.skew_ms != 0 {
        context.push((intake::CLOCK_SKEW_KEY, skew));
    }
    context
}
