//! Impressions, derived again from their pixels.

use super::billing::is_test;
use super::datum::Datum;
use super::intake::{self, Clock, Door, HOUR_MS};
use super::outputs::Outputs;
use super::replay::{Ending, Event, Rules};
use crate::record;

const HORIZON_MS: i64 = HOUR_MS;
const SWEPT_A_TICK: usize = 10_000;
const PRICE_MAX: i64 = 1_000_000;
/// Context that the impression states itself.
const OWN: [&str; 5] = ["auction_id", "bid_id", "imp_id", "test", "price_missing"];

/// State of one shard.
#[derive(Default)]
pub struct Ads {
    door: Door,
    clock: Clock,
}

impl Rules for Ads {
    fn event(&mut self, event: &Event<'_>, out: &mut Outputs) -> Ending {
        self.pixel(event, out).err().unwrap_or(Ending::Done)
    }

    fn tick(&mut self, _: i64, _: &mut Outputs) {
        self.door.sweep(self.clock, HORIZON_MS, SWEPT_A_TICK);
    }
}

impl Ads {
    fn pixel(&mut self, event: &Event<'_>, out: &mut Outputs) -> Result<(), Ending> {
        let pixel = intake::arrived(event)?;
        let (at_ms, skew_ms) = intake::event_time(pixel.int("timestamp"), event.now_ms)?;
        intake::required(pixel, &["bid_id", "campaign_id"])?;
        let (bid, win) = (pixel.int("bid_price_micros"), pixel.int("win_price_micros"));
        if !(0..=PRICE_MAX).contains(&bid) || win < 0 || win > bid {
            return Err(Ending::Dead("SEMANTIC_VIOLATION"));
        }
        let price = if is_test(pixel) {
            "test"
        } else if win == 0 && pixel.meta("price_raw").is_some_and(|raw| raw.trim().is_empty()) {
            "missing"
        } else {
            "known"
        };
        let (bid_id, campaign) = (pixel.text("bid_id"), pixel.text("campaign_id"));
        let (id, content) = (intake::id_of(bid_id), format!("{campaign} {bid} {win} {price}"));
        self.door.judge(self.clock, HORIZON_MS, &id, &content, at_ms)?;

        let event_id = format!("imp-{bid_id}");
        let mut context = pixel.meta_without(&OWN);
        for field in ["auction_id", "bid_id", "imp_id"] {
            context.insert(field.to_owned(), pixel.text(field).to_owned());
        }
        match price {
            "missing" => context.insert("price_missing".into(), "1".into()),
            "test" => context.insert("test".into(), "1".into()),
            _ => None,
        };
        if skew_ms != 0 {
            context.insert("clock_skew_ms".into(), skew_ms.to_string());
        }
        let user = pixel.opt_text("user_id").filter(|user| !user.is_empty());
        let impression = record! {
            "event_id": event_id.as_str(),
            "timestamp": at_ms,
            "campaign_id": campaign,
            "creative_id": pixel.text("creative_id"),
            "placement_id": pixel.text("placement_id"),
            "user_id": user,
            "bid_price_micros": bid,
            "win_price_micros": win,
            "metadata": context,
        };
        if !intake::fits(&impression) {
            return Err(Ending::Dead("SIZE_VIOLATION"));
        }
        self.door.take(&mut self.clock, HORIZON_MS, id, content, at_ms);
        out.emit("impressions", event_id.as_str(), user.unwrap_or(&event_id), at_ms, impression);
        if price == "known" {
            let billed = record! {
                "auction_id": pixel.text("auction_id"),
                "bid_id": bid_id,
                "imp_id": pixel.text("imp_id"),
                "campaign_id": campaign,
                "timestamp": at_ms,
                "kind": "BILLED",
                "loss_reason": Datum::Null,
                "clearing_price_micros": win,
                "min_to_win_micros": Datum::Null,
                "lease_id": pixel.opt_text("lease_id"),
                "source": "pixel",
                "metadata": Datum::Map(Default::default()),
            };
            out.emit("auction-results", format!("{bid_id} BILLED"), campaign, at_ms, billed);
        }
        Ok(())
    }
}
