//! The ledger, derived again: one charge an impression, one reversal for an invalid one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::datum::Datum;
use super::outputs::Outputs;
use super::replay::{Ending, Event, Rules};
use crate::record;

const HORIZON_MS: i64 = 24 * 60 * 60 * 1_000;
/// A dollar for one impression.
const PRICE_MAX: i64 = 1_000_000;
const ID_BYTES_MAX: usize = 256;
/// End of the year 9999.
const TIME_MAX_MS: i64 = 253_402_300_799_999;

/// An impression that was taken.
#[derive(Clone)]
struct Charge {
    campaign: String,
    amount: i64,
    billable: bool,
    invalid: bool,
    at_ms: i64,
}

/// State of one shard.
#[derive(Default)]
pub struct Billing {
    charges: HashMap<String, Charge>,
    /// Verdicts whose impression has not come: the rules that made them.
    early: HashMap<String, String>,
    advertisers: HashMap<String, String>,
    clock_ms: Option<i64>,
    unordered: Unordered,
}

/// The same money without any order: what was shown less what was found invalid.
#[derive(Default)]
struct Unordered {
    prices: BTreeMap<String, (String, i64)>,
    invalid: BTreeSet<String>,
}

impl Rules for Billing {
    fn event(&mut self, event: &Event<'_>, out: &mut Outputs) -> Ending {
        let value = match event.value() {
            Ok(value) => value,
            Err(ending) => return ending,
        };
        if event.topic == "impressions" { self.impression(value, event.now_ms, out) } else { self.verdict(value, out) }
    }

    fn finish(&mut self, out: &mut Outputs) {
        for (id, (campaign, price)) in &self.unordered.prices {
            let net = out.unordered_net.entry(campaign.clone()).or_default();
            *net += if self.unordered.invalid.contains(id) { 0 } else { *price };
        }
    }
}

impl Billing {
    fn oldest_ms(&self) -> i64 {
        self.clock_ms.map_or(i64::MIN, |clock_ms| clock_ms - HORIZON_MS)
    }

    fn impression(&mut self, impression: &Datum, now_ms: i64, out: &mut Outputs) -> Ending {
        let (id, campaign) = (impression.text("event_id"), impression.text("campaign_id"));
        let (amount, at_ms) = (impression.int("win_price_micros"), impression.int("timestamp"));
        if let Some(code) = refusal(impression) {
            return Ending::Dead(code);
        }
        if at_ms < self.oldest_ms() {
            return Ending::Dead("EXPIRED");
        }
        if let Some(known) = self.charges.get(id).filter(|known| known.at_ms >= self.oldest_ms()) {
            let same = known.amount == amount && known.campaign == campaign;
            return if same { Ending::Duplicate } else { Ending::Dead("ID_CONFLICT") };
        }
        let seen_ms = at_ms.min(now_ms);
        self.clock_ms = Some(self.clock_ms.map_or(seen_ms, |clock_ms| clock_ms.max(seen_ms)));
        if let Some(advertiser) = impression.meta("advertiser_id").filter(|id| id.len() <= ID_BYTES_MAX) {
            self.advertisers.insert(campaign.to_owned(), advertiser.to_owned());
        }
        let billable = amount > 0 && !is_test(impression);
        let charge = Charge { campaign: campaign.to_owned(), amount, billable, invalid: false, at_ms };
        if billable {
            self.unordered.prices.insert(id.to_owned(), (campaign.to_owned(), amount));
            let context = ["auction_id", "bid_id", "exchange"];
            let context = context.iter().filter_map(|name| Some(((*name).to_owned(), impression.meta(name)?.into())));
            self.post(id, &charge, true, Datum::Map(context.collect()), out);
        }
        self.charges.insert(id.to_owned(), charge);
        if let Some(ruleset) = self.early.remove(id) {
            self.take_back(id, &ruleset, out);
        }
        Ending::Done
    }

    fn verdict(&mut self, verdict: &Datum, out: &mut Outputs) -> Ending {
        if verdict.text("verdict") != "GIVT" || verdict.text("target_topic") != "impressions" {
            return Ending::Done;
        }
        let (id, ruleset) = (verdict.text("target_event_id"), verdict.text("ruleset_version"));
        let known = self.charges.get(id).filter(|known| known.at_ms >= self.oldest_ms()).map(|known| known.invalid);
        match known {
            Some(true) => return Ending::Duplicate,
            Some(false) => self.take_back(id, ruleset, out),
            None if verdict.int("timestamp") < self.oldest_ms() => return Ending::Dead("REFERENCE_MISSING"),
            None if self.early.contains_key(id) => return Ending::Duplicate,
            None => {
                self.early.insert(id.to_owned(), ruleset.to_owned());
            }
        }
        self.unordered.invalid.insert(id.to_owned());
        Ending::Done
    }

    fn take_back(&mut self, id: &str, ruleset: &str, out: &mut Outputs) {
        let Some(charge) = self.charges.get_mut(id) else { return };
        charge.invalid = true;
        let charge = charge.clone();
        if charge.billable {
            self.post(id, &charge, false, record! { "ruleset_version": ruleset }, out);
        }
    }

    /// One transfer: the advertiser owes the exchange's price, or no longer does.
    fn post(&self, source: &str, charge: &Charge, is_charge: bool, context: Datum, out: &mut Outputs) {
        let receivable = format!("campaign:{}:receivable", charge.campaign);
        let (charged, reversed) = (format!("chg-{source}"), format!("rev-{source}"));
        let (id, kind, debit, credit, reverses, reason) = if is_charge {
            (charged, "CHARGE", receivable, "exchange:payable".to_owned(), None, 0)
        } else {
            (reversed, "REVERSAL", "platform:ivt_credit".to_owned(), receivable, Some(charged), 1)
        };
        let transfer = record! {
            "transfer_id": id.as_str(),
            "timestamp": charge.at_ms,
            "kind": kind,
            "model": "CPM",
            "source_event_id": source,
            "campaign_id": charge.campaign.as_str(),
            "advertiser_id": self.advertisers.get(&charge.campaign).map_or("", String::as_str),
            "debit_account": debit,
            "credit_account": credit,
            "amount_micros": charge.amount,
            "currency": "USD",
            "reverses": reverses,
            "reason_code": reason,
            "period": month(charge.at_ms),
            "metadata": context,
        };
        out.emit("billing-events", id, &charge.campaign, charge.at_ms, transfer);
    }
}

/// Why an impression cannot be charged.
fn refusal(impression: &Datum) -> Option<&'static str> {
    let sized = |name: &str| (1..=ID_BYTES_MAX).contains(&impression.text(name).len());
    if !(0..=PRICE_MAX).contains(&impression.int("win_price_micros")) || !sized("event_id") || !sized("campaign_id") {
        return Some("SEMANTIC_VIOLATION");
    }
    if !(0..=TIME_MAX_MS).contains(&impression.int("timestamp")) {
        return Some("TIMESTAMP_RANGE");
    }
    (impression.meta("currency").unwrap_or("USD") != "USD").then_some("SEMANTIC_VIOLATION")
}

/// A test, or an exchange's scan of the ad.
pub fn is_test(event: &Datum) -> bool {
    event.meta("test") == Some("1") || event.meta("price_raw") == Some("AUDIT")
}

/// The UTC month of a time, `2026-11`, by walking the years.
fn month(at_ms: i64) -> String {
    let mut day = at_ms / 86_400_000;
    let (mut year, mut month) = (1970, 0);
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while day >= 365 + i64::from(is_leap(year)) {
        day -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        month += 1;
        if day < days {
            break;
        }
        day -= days;
    }
    format!("{year:04}-{month:02}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn months_end_where_they_end() {
        assert_eq!(super::month(0), "1970-01");
        assert_eq!(super::month(super::TIME_MAX_MS), "9999-12");
        assert_eq!(super::month(1_709_251_199_999), "2024-02");
        assert_eq!(super::month(1_709_251_200_000), "2024-03");
    }
}
