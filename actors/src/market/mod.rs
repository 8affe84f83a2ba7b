//! The rest of the market, simulated: other bidders, exchanges, browsers, people and advertisers. SYNTHETIC, drawn from
//! real distributions ([`rates`]), and labelled so wherever it is shown.
//!
//! What follows a bid depends on the seed and the bid alone, never on the order of calls: a run, its replay and a recount
//! see the same market.

pub mod campaigns;
mod event;
pub mod rates;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use fastrand::Rng;

pub use event::{ADVERTISER_KEY, AuctionEnd, Bid, DESTINATION_KEY, EXCHANGE_KEY, MarketEvent, Message, What};
pub use rates::Rates;

use crate::draw;
use crate::metadata::UA;
use crate::money::{Cpm, Micros};
use crate::openrtb::AuctionType;

/// OpenRTB loss code: the offer was below the floor.
pub const LOSS_BELOW_FLOOR: i32 = 100;
/// OpenRTB loss code: another bid was higher.
pub const LOSS_OUTBID: i32 = 102;

/// A message and the moment at which it reaches the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Arrival, milliseconds since the epoch.
    pub at_ms: i64,
    /// The message.
    pub event: MarketEvent,
}

/// The simulated market.
#[derive(Clone, Debug)]
pub struct Market {
    seed: u64,
    rates: Rates,
}

impl Market {
    /// A market with the given seed.
    pub fn new(seed: u64, rates: Rates) -> Market {
        Market { seed, rates }
    }

    /// Everything that will follow a bid, in order of arrival.
    pub fn on_bid(&self, bid: Bid) -> Vec<Planned> {
        let end = self.auction(&bid);
        let mut plan = Plan { market: self, bid: Arc::new(bid), planned: Vec::new() };
        plan.notice(end);
        if let AuctionEnd::Won { price } = end {
            plan.impression(price);
        }
        plan.planned.sort_by_key(|planned| planned.at_ms);
        plan.planned
    }

    /// How the auction of a bid ends.
    pub fn auction(&self, bid: &Bid) -> AuctionEnd {
        let mut rng = self.stream("price", bid);
        // Hundredths of a unit per thousand to micros per thousand.
        let cpm = Cpm(draw::from_quantiles(&mut rng, &rates::COMPETITOR_PRICE_QUANTILES) * 10_000 + rng.i64(0..10_000));
        let competitor = cpm.per_impression_floor();
        let least = Micros(competitor.0.saturating_add(1).max(bid.floor.0));
        if bid.price < bid.floor {
            AuctionEnd::Lost { reason: LOSS_BELOW_FLOOR, min_to_win: least }
        } else if bid.price <= competitor {
            AuctionEnd::Lost { reason: LOSS_OUTBID, min_to_win: least }
        } else {
            let price = match bid.auction_type {
                AuctionType::FirstPrice => bid.price,
                AuctionType::SecondPrice => competitor.max(bid.floor),
            };
            AuctionEnd::Won { price }
        }
    }

    fn stream(&self, name: &str, bid: &Bid) -> Rng {
        draw::stream(self.seed, name, &bid.bid_id)
    }
}

/// The plan for one bid while it is made.
struct Plan<'a> {
    market: &'a Market,
    bid: Arc<Bid>,
    planned: Vec<Planned>,
}

impl Plan<'_> {
    fn stream(&self, name: &str) -> Rng {
        self.market.stream(name, &self.bid)
    }

    fn delay(&self, rng: &mut Rng, range: std::ops::Range<i64>) -> i64 {
        (rng.i64(range) / self.market.rates.delay_divisor.max(1)).max(1)
    }

    /// Sends a message, sometimes twice: the repetition is the same message, later.
    fn send(&mut self, rng: &mut Rng, timestamp_ms: i64, what: What, repeat_ppm: u32) {
        let at_ms = timestamp_ms + self.delay(rng, 2..40);
        let event = MarketEvent { bid: Arc::clone(&self.bid), timestamp_ms, what };
        if draw::happens(rng, repeat_ppm) {
            let again_ms = at_ms + self.delay(rng, 20..1_000);
            self.planned.push(Planned { at_ms: again_ms, event: event.clone() });
        }
        self.planned.push(Planned { at_ms, event });
    }

    fn notice(&mut self, end: AuctionEnd) {
        let rates = &self.market.rates;
        let mut rng = self.stream("notice");
        if draw::happens(&mut rng, rates.lost_notice_ppm) {
            return;
        }
        let when = self.bid.timestamp_ms + self.delay(&mut rng, 20..250);
        self.send(&mut rng, when, What::Notice(end), rates.repeat_ppm);
    }

    fn impression(&mut self, price: Micros) {
        let rates = &self.market.rates;
        let mut rng = self.stream("impression");
        if draw::happens(&mut rng, rates.unrendered_ppm) {
            return;
        }
        // Rendering begins after the auction, not after the notice: the pixel may overtake it.
        let rendered_ms = self.bid.timestamp_ms + self.delay(&mut rng, 60..2_500);
        self.send(&mut rng, rendered_ms, What::Impression { price }, rates.repeat_ppm);
        let click_ppm = if self.shown_to_program() { rates.bot_click_ppm } else { rates.click_ppm };
        let mut rng = self.stream("click");
        if draw::happens(&mut rng, click_ppm) {
            let clicked_ms = rendered_ms + self.delay(&mut rng, 300..6_000);
            self.click(&mut rng, clicked_ms);
            self.conversion(clicked_ms);
        }
    }

    fn click(&mut self, rng: &mut Rng, clicked_ms: i64) {
        let rates = &self.market.rates;
        self.send(rng, clicked_ms, What::Click, rates.repeat_ppm);
        if draw::happens(rng, rates.double_click_ppm) {
            let again_ms = clicked_ms + self.delay(rng, 80..1_900);
            self.send(rng, again_ms, What::Click, rates.repeat_ppm);
        }
    }

    fn conversion(&mut self, clicked_ms: i64) {
        let rates = &self.market.rates;
        let mut rng = self.stream("conversion");
        if self.shown_to_program() || !draw::happens(&mut rng, rates.conversion_ppm) {
            return;
        }
        let minutes_ms =
            draw::from_quantiles(&mut rng, &rates::CONVERSION_DELAY_QUANTILES_MIN) * 60_000 + rng.i64(0..60_000);
        let bought_ms = clicked_ms + (minutes_ms / rates.conversion_time_divisor.max(1)).max(50);
        // $5.00 to $80.00 in whole cents.
        let value = Micros(rng.i64(500..8_000) * 10_000);
        self.send(&mut rng, bought_ms, What::Conversion { clicked_ms, value }, rates.conversion_repeat_ppm);
    }

    /// The market knows who is behind a device; the platform has to find out.
    fn shown_to_program(&self) -> bool {
        let Some(agent) = self.bid.context(UA).filter(|agent| !agent.is_empty()) else { return true };
        ["bot", "Bot", "crawler", "spider", "Slurp", "Preview"].iter().any(|mark| agent.contains(mark))
    }
}
