//! Ad serving: a pixel that was rendered becomes one impression, and its price is posted to the budget.
//! The rules, edges and sizes stand in `README.md` beside this file.

mod state;
#[cfg(test)]
mod tests;

use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event, Service};
use runtime::topology::{Class, Order, ServiceSpec};
use schemas::codec::{Encode, Map};
use schemas::events::{AuctionResultEvent, AuctionResultKind, ImpressionEvent, ImpressionPixel};

use crate::intake::{self, Admission, Arrival, EventTime};
use crate::money::{Micros, PLAUSIBLE_CPM_MAX};
use crate::topics::{AUCTION_RESULTS, IMPRESSION_PIXELS, IMPRESSIONS};
use crate::{ids, metadata};

pub use state::State;

/// Parameters of ad serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdsConfig {
    /// How long a pixel's id is kept, ms of event time. Browsers load a pixel again within minutes.
    pub horizon_ms: i64,
}

impl Default for AdsConfig {
    fn default() -> Self {
        Self { horizon_ms: intake::HOUR_MS }
    }
}

/// The fold.
#[derive(Clone, Debug, Default)]
pub struct Ads {
    config: AdsConfig,
}

impl Ads {
    pub fn new(config: AdsConfig) -> Self {
        Self { config }
    }
}

/// Ids that leave the horizon while nothing comes are dropped this many a tick.
const EVICTED_A_TICK: usize = 10_000;

impl Service for Ads {
    type State = State;

    fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "ads",
            inputs: vec![&IMPRESSION_PIXELS],
            outputs: vec![&IMPRESSIONS, &AUCTION_RESULTS],
            order: Order::None,
            class: Class::Serving,
        }
    }

    fn handle(&mut self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        let pixel: ImpressionPixel<'_> = intake::decode(event)?;
        let time = intake::event_time(pixel.timestamp, effects.now_ms())?;
        let price = check(&pixel)?;
        let arrival = Arrival {
            topic: IMPRESSION_PIXELS.name,
            id: intake::id(pixel.bid_id),
            content: content(&pixel, price),
            at_ms: time.ms,
        };
        if intake::admit(&mut state.pixels, &mut state.clocks, self.config.horizon_ms, arrival)? == Admission::Repeated
        {
            return Ok(Handled::Duplicate);
        }
        emit_impression(&pixel, price, time, effects)?;
        if price == Price::Known {
            emit_billed(&pixel, time, effects)?;
        }
        Ok(Handled::Done)
    }

    fn tick(&mut self, state: &mut State, _: &mut Effects<'_>) {
        let clock_ms = intake::clock_ms(&state.clocks, IMPRESSION_PIXELS.name);
        intake::sweep(&mut state.pixels, clock_ms, self.config.horizon_ms, EVICTED_A_TICK);
    }
}

/// What the price in a pixel is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Price {
    /// The exchange stated it: billed, also where it is 0.
    Known,
    /// The exchange left its macro empty, as the standard allows: counted, not billed, found by reconciliation.
    Missing,
    /// A test request or the exchange's own scan of the ad: shown, never billed, never counted.
    Test,
}

/// Checks the facts of a pixel and says what its price is worth.
fn check(pixel: &ImpressionPixel<'_>) -> Result<Price, Failure> {
    intake::required("bid_id", pixel.bid_id)?;
    intake::required("campaign_id", pixel.campaign_id)?;
    let (bid, win) = (Micros(pixel.bid_price_micros), Micros(pixel.win_price_micros));
    if bid > PLAUSIBLE_CPM_MAX.per_impression_floor() || bid < Micros::ZERO {
        return Err(intake::violation("bid_price_micros", "is no plausible price of one impression"));
    }
    if win < Micros::ZERO {
        return Err(intake::violation("win_price_micros", "is negative"));
    }
    if win > bid {
        return Err(intake::violation(
            "win_price_micros",
            format!("{win} is above the bid of {bid}: no auction ends so"),
        ));
    }
    let context = metadata::Context::of(&pixel.metadata);
    Ok(if context.is_test() {
        Price::Test
    } else if win == Micros::ZERO && context.price_raw.is_some_and(|raw| raw.trim().is_empty()) {
        Price::Missing
    } else {
        Price::Known
    })
}

/// A repetition has the same campaign and money; its time and context may differ.
fn content(pixel: &ImpressionPixel<'_>, price: Price) -> u64 {
    intake::fingerprint(&[
        pixel.campaign_id.as_bytes(),
        &pixel.bid_price_micros.to_le_bytes(),
        &pixel.win_price_micros.to_le_bytes(),
        &[price as u8],
    ])
}

fn emit_impression(
    pixel: &ImpressionPixel<'_>,
    price: Price,
    time: EventTime,
    effects: &mut Effects<'_>,
) -> Result<(), Failure> {
    let event_id = ids::impression_event_id(pixel.bid_id);
    let skew = time.skew_text();
    let mut context = metadata::without(
        &pixel.metadata,
        &[metadata::AUCTION_ID, metadata::BID_ID, metadata::IMP_ID, metadata::TEST, metadata::PRICE_MISSING],
    );
    context.extend([
        (metadata::AUCTION_ID, pixel.auction_id),
        (metadata::BID_ID, pixel.bid_id),
        (metadata::IMP_ID, pixel.imp_id),
    ]);
    match price {
        Price::Known => {}
        Price::Missing => context.push((metadata::PRICE_MISSING, "1")),
        Price::Test => context.push((metadata::TEST, "1")),
    }
    if time.skew_ms != 0 {
        context.push((intake::CLOCK_SKEW_KEY, &skew));
    }
    let user_id = pixel.user_id.filter(|id| !id.is_empty());
    let impression = ImpressionEvent {
        event_id: &event_id,
        timestamp: time.ms,
        campaign_id: pixel.campaign_id,
        creative_id: pixel.creative_id,
        placement_id: pixel.placement_id,
        user_id,
        bid_price_micros: pixel.bid_price_micros,
        win_price_micros: pixel.win_price_micros,
        metadata: Map::from_pairs(&context),
    };
    metadata::check(impression.check())?;
    effects.emit(&IMPRESSIONS, intake::user_key(user_id, &event_id), time.ms, &impression);
    Ok(())
}

fn emit_billed(pixel: &ImpressionPixel<'_>, time: EventTime, effects: &mut Effects<'_>) -> Result<(), Failure> {
    let result = AuctionResultEvent {
        auction_id: pixel.auction_id,
        bid_id: pixel.bid_id,
        imp_id: pixel.imp_id,
        campaign_id: pixel.campaign_id,
        timestamp: time.ms,
        kind: AuctionResultKind::Billed,
        loss_reason: None,
        clearing_price_micros: Some(pixel.win_price_micros),
        min_to_win_micros: None,
        lease_id: pixel.lease_id,
        source: "pixel",
        metadata: Map::default(),
    };
    effects.emit(&AUCTION_RESULTS, pixel.campaign_id, time.ms, &result);
    Ok(())
}
