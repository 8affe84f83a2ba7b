//! Clicks, conversions and results of auctions, derived again from what was reported.

use super::datum::Datum;
use super::intake::{self, Clock, DAY_MS, Door, HOUR_MS, Id, MINUTE_MS};
use super::outputs::Outputs;
use super::replay::{Ending, Event, Rules};
use crate::record;

const CLICK_HORIZON_MS: i64 = HOUR_MS;
const ORDER_HORIZON_MS: i64 = 7 * DAY_MS;
const NOTICE_HORIZON_MS: i64 = 15 * MINUTE_MS;
const SWEPT_A_TICK: usize = 5_000;
const VALUE_MAX: i64 = 10_000_000_000_000;
const PRICE_MAX: i64 = 1_000_000;
const SKEW: &str = "clock_skew_ms";

/// State of one shard.
#[derive(Default)]
pub struct Tracking {
    clicks: Door,
    orders: Door,
    wins: Door,
    losses: Door,
    click_clock: Clock,
    order_clock: Clock,
    notice_clock: Clock,
}

impl Rules for Tracking {
    fn event(&mut self, event: &Event<'_>, out: &mut Outputs) -> Ending {
        let taken = match event.topic {
            "click-pixels" => self.click(event, out),
            "conversion-posts" => self.conversion(event, out),
            _ => self.notice(event, out),
        };
        taken.err().unwrap_or(Ending::Done)
    }

    fn tick(&mut self, _: i64, _: &mut Outputs) {
        self.clicks.sweep(self.click_clock, CLICK_HORIZON_MS, SWEPT_A_TICK);
        self.orders.sweep(self.order_clock, ORDER_HORIZON_MS, SWEPT_A_TICK);
        self.wins.sweep(self.notice_clock, NOTICE_HORIZON_MS, SWEPT_A_TICK);
        self.losses.sweep(self.notice_clock, NOTICE_HORIZON_MS, SWEPT_A_TICK);
    }
}

impl Tracking {
    fn click(&mut self, event: &Event<'_>, out: &mut Outputs) -> Result<(), Ending> {
        let pixel = intake::arrived(event)?;
        let (at_ms, skew_ms) = intake::event_time(pixel.int("timestamp"), event.now_ms)?;
        intake::required(pixel, &["bid_id", "campaign_id"])?;
        let bid_id = pixel.text("bid_id");
        let event_id = format!("clk-{bid_id}-{}", pixel.int("timestamp"));
        let (id, content) = (intake::id_of(&event_id), parts(&[pixel.text("campaign_id"), pixel.text("creative_id")]));
        self.clicks.judge(self.click_clock, CLICK_HORIZON_MS, &id, &content, at_ms)?;
        let impression = format!("imp-{bid_id}");
        let mut context = pixel.meta_without(&["bid_id", SKEW]);
        context.insert("bid_id".into(), bid_id.to_owned());
        if skew_ms != 0 {
            context.insert(SKEW.into(), skew_ms.to_string());
        }
        let user = pixel.opt_text("user_id").filter(|user| !user.is_empty());
        let click = record! {
            "event_id": event_id.as_str(),
            "timestamp": at_ms,
            "impression_event_id": impression.as_str(),
            "campaign_id": pixel.text("campaign_id"),
            "creative_id": pixel.text("creative_id"),
            "placement_id": pixel.text("placement_id"),
            "user_id": user,
            "destination_domain": pixel.opt_text("destination_domain"),
            "metadata": context,
        };
        fit(&click)?;
        self.clicks.take(&mut self.click_clock, CLICK_HORIZON_MS, id, content, at_ms);
        out.emit("clicks", event_id, user.unwrap_or(&impression), at_ms, click);
        Ok(())
    }

    fn conversion(&mut self, event: &Event<'_>, out: &mut Outputs) -> Result<(), Ending> {
        let post = intake::arrived(event)?;
        let (at_ms, skew_ms) = intake::event_time(post.int("timestamp"), event.now_ms)?;
        intake::required(post, &["advertiser_id", "order_id"])?;
        let (advertiser, order, currency) = (post.text("advertiser_id"), post.text("order_id"), post.text("currency"));
        let value = post.int("value_micros");
        let is_code = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
        if !(0..=VALUE_MAX).contains(&value) || !is_code {
            return Err(Ending::Dead("SEMANTIC_VIOLATION"));
        }
        let event_id = format!("cnv-{}-{advertiser}-{order}", advertiser.len());
        let content = parts(&[post.text("conversion_type"), currency, &value.to_string()]);
        let id = intake::id_of(&event_id);
        self.orders.judge(self.order_clock, ORDER_HORIZON_MS, &id, &content, at_ms)?;
        let mut context = post.meta_without(&[SKEW]);
        if skew_ms != 0 {
            context.insert(SKEW.into(), skew_ms.to_string());
        }
        let user = post.opt_text("user_id").filter(|user| !user.is_empty());
        let click = post.opt_text("click_event_id").filter(|click| !click.is_empty());
        let conversion = record! {
            "event_id": event_id.as_str(),
            "timestamp": at_ms,
            "advertiser_id": advertiser,
            "conversion_type": post.text("conversion_type"),
            "order_id": order,
            "user_id": user,
            "click_event_id": click,
            "value_micros": value,
            "currency": currency,
            "metadata": context,
        };
        fit(&conversion)?;
        // Without a user it belongs to its click: by the bid, by the key that the source chose, or by the click's id.
        let by_bid = post.meta("bid_id").filter(|bid| !bid.is_empty()).map(|bid| format!("imp-{bid}"));
        let by_key = Some(event.key_text()?).filter(|key| !key.is_empty()).or(click).map(str::to_owned);
        let fallback = by_bid.or(by_key);
        self.orders.take(&mut self.order_clock, ORDER_HORIZON_MS, id, content, at_ms);
        let key = user.or(fallback.as_deref()).unwrap_or(&event_id);
        out.emit("conversions", event_id.as_str(), key, at_ms, conversion);
        Ok(())
    }

    fn notice(&mut self, event: &Event<'_>, out: &mut Outputs) -> Result<(), Ending> {
        let notice = intake::arrived(event)?;
        let (at_ms, skew_ms) = intake::event_time(notice.int("timestamp"), event.now_ms)?;
        intake::required(notice, &["bid_id", "campaign_id"])?;
        let price = notice.opt_int("price_micros");
        let is_price = |price: Option<i64>| price.is_none_or(|price| (0..=PRICE_MAX).contains(&price));
        if !is_price(price) || !is_price(notice.opt_int("min_to_win_micros")) {
            return Err(Ending::Dead("SEMANTIC_VIOLATION"));
        }
        let (bid_id, campaign, win) = (notice.text("bid_id"), notice.text("campaign_id"), notice.flag("win"));
        let (id, content): (Id, String) = (intake::id_of(bid_id), format!("{campaign} {price:?}"));
        if !win && self.wins.knows(&id) {
            return Err(Ending::Dead("SEMANTIC_VIOLATION"));
        }
        let after_loss = win && self.losses.knows(&id);
        let door = if win { &mut self.wins } else { &mut self.losses };
        door.judge(self.notice_clock, NOTICE_HORIZON_MS, &id, &content, at_ms)?;
        let mut context = notice.meta_without(&["after_loss", SKEW]);
        if after_loss {
            context.insert("after_loss".into(), "1".into());
        }
        if skew_ms != 0 {
            context.insert(SKEW.into(), skew_ms.to_string());
        }
        let kind = if win { "WIN" } else { "LOSS" };
        let result = record! {
            "auction_id": notice.text("auction_id"),
            "bid_id": bid_id,
            "imp_id": notice.text("imp_id"),
            "campaign_id": campaign,
            "timestamp": at_ms,
            "kind": kind,
            "loss_reason": notice.opt_int("loss_reason"),
            "clearing_price_micros": price,
            "min_to_win_micros": notice.opt_int("min_to_win_micros"),
            "lease_id": notice.opt_text("lease_id"),
            "source": "exchange",
            "metadata": context,
        };
        fit(&result)?;
        door.take(&mut self.notice_clock, NOTICE_HORIZON_MS, id, content, at_ms);
        out.emit("auction-results", format!("{bid_id} {kind}"), campaign, at_ms, result);
        Ok(())
    }
}

/// Texts as one that differs if one of them does.
fn parts(texts: &[&str]) -> String {
    texts.iter().map(|text| format!("{}:{text} ", text.len())).collect()
}

fn fit(value: &Datum) -> Result<(), Ending> {
    if intake::fits(value) { Ok(()) } else { Err(Ending::Dead("SIZE_VIOLATION")) }
}
