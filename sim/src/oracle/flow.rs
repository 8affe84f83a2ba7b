//! Events between the services: each true one is there once, none is set aside without a cause, and what was sold is
//! what the budgets know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actors::budget::{Account, Bid, Stage};
use actors::topics;
use runtime::log::{Log, Record};
use runtime::state::row::decode_exact;
use schemas::events as e;
use serde::{Deserialize, Serialize};

use super::Findings;
use super::audit::Auditor;
use super::money::{SetAside, each_event};
use crate::fault::Kind;
use crate::traffic::Truth;

/// What a check of the flow needs.
pub struct Flow<'a> {
    pub log: &'a Arc<dyn Log>,
    pub truth: &'a Truth,
    pub aside: &'a SetAside,
    pub partitions: u32,
    /// Kinds of faults that the run had.
    pub fired: &'a BTreeMap<Kind, u64>,
}

/// What became of the true events of one kind: `were` = `stand` + `set_aside`, or the world is broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conserved {
    pub topic: String,
    /// True by the outside's own books.
    pub were: u64,
    /// Once in their topic.
    pub stand: u64,
    /// In dead letters, and not in the topic.
    pub set_aside: u64,
}

type Ids<'a> = Box<dyn Iterator<Item = &'a String> + 'a>;

impl Flow<'_> {
    /// Every impression, click and conversion that is true is in its topic once; no other is.
    pub fn events_once(&self, findings: &mut Findings) -> Vec<Conserved> {
        let truth = self.truth;
        let shown: Ids<'_> = Box::new(truth.shown.keys());
        let impressions =
            self.once(findings, topics::IMPRESSIONS.name, ("ads", "impression-pixels"), shown, |record| {
                let event: e::ImpressionEvent<'_> = schemas::frame::decode(record.value.unwrap_or_default()).ok()?;
                Some(event.event_id.to_owned())
            });
        let clicked: Ids<'_> = Box::new(truth.clicks.keys());
        let clicks = self.once(findings, topics::CLICKS.name, ("tracking", "click-pixels"), clicked, |record| {
            let event: e::ClickEvent<'_> = schemas::frame::decode(record.value.unwrap_or_default()).ok()?;
            Some(event.event_id.to_owned())
        });
        let converted: Ids<'_> = Box::new(truth.conversions.keys());
        let conversions =
            self.once(findings, topics::CONVERSIONS.name, ("tracking", "conversion-posts"), converted, |record| {
                let event: e::ConversionEvent<'_> = schemas::frame::decode(record.value.unwrap_or_default()).ok()?;
                Some(event.event_id.to_owned())
            });
        vec![impressions, clicks, conversions]
    }

    fn once(
        &self,
        findings: &mut Findings,
        topic: &str,
        made_by: (&str, &str),
        expected: Ids<'_>,
        id: impl Fn(&Record<'_>) -> Option<String>,
    ) -> Conserved {
        let mut conserved = Conserved { topic: topic.to_owned(), ..Conserved::default() };
        if self.log.topic(topic).is_none() {
            return conserved;
        }
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        each_event(self.log, topic, self.partitions, findings, |record| {
            *found.entry(id(record).unwrap_or_else(|| "unreadable".into())).or_default() += 1;
        });
        for id in expected {
            let times = found.remove(id).unwrap_or(0);
            let lost = self.aside.has(made_by.0, made_by.1, id);
            conserved.were += 1;
            conserved.stand += u64::from(times == 1);
            conserved.set_aside += u64::from(times == 0 && lost);
            findings
                .expect("events_once", times == 1 || (times == 0 && lost), || format!("{topic}: {id} {times} times"));
        }
        for (id, times) in found {
            findings.broken("events_once", format!("{topic}: {id} {times} times, and never was"));
        }
        conserved
    }

    /// What is true and timely is set aside only where a fault made it fail.
    pub fn good_events_kept(&self, findings: &mut Findings) {
        let fired = |kinds: &[Kind]| kinds.iter().any(|kind| self.fired.contains_key(kind));
        let untimely =
            fired(&[Kind::LateEvents, Kind::FutureEvents, Kind::ClockAhead, Kind::ClockBehind, Kind::ClockLeaps]);
        let truth = self.truth;
        let known = |id: &String| {
            truth.shown.contains_key(id) || truth.clicks.contains_key(id) || truth.conversions.contains_key(id)
        };
        for ((service, topic, id), causes) in &self.aside.causes {
            if !known(id) || truth.conflicted.contains(id) {
                continue;
            }
            for (code, message) in causes {
                let caused = match code.as_str() {
                    "INJECTED" | "POISON" => {
                        fired(&[Kind::Error, Kind::Panic, Kind::Poison, Kind::Leak, Kind::FatalEvent])
                    }
                    "EXPIRED" | "TIMESTAMP_RANGE" => untimely,
                    _ => false,
                };
                findings.expect("good_events_kept", caused, || {
                    format!("{service} set {id} of {topic} aside: {code}: {message}")
                });
            }
        }
        findings.checked("good_events_kept", truth.shown.len() as u64);
    }

    /// What the budgets posted, bore themselves, or hold back until they know the bid, is what was sold.
    pub fn budgets(&self, auditor: &Auditor, findings: &mut Findings) {
        if !auditor.shards.keys().any(|(service, _)| *service == "budget") {
            return;
        }
        let mut sold: BTreeMap<String, i64> = BTreeMap::new();
        let mut bids = BTreeSet::new();
        each_event(self.log, topics::AUCTION_RESULTS.name, self.partitions, findings, |record| {
            let decoded = schemas::frame::decode::<e::AuctionResultEvent<'_>>(record.value.unwrap_or_default());
            let Ok(event) = decoded else { return };
            let lost = self.aside.has("budget", "auction-results", event.bid_id);
            if event.kind == e::AuctionResultKind::Billed && !lost && bids.insert(event.bid_id.to_owned()) {
                *sold.entry(event.campaign_id.to_owned()).or_default() += event.clearing_price_micros.unwrap_or(0);
            }
        });
        let mut known: BTreeMap<String, i64> = BTreeMap::new();
        for ((_, _), shard) in auditor.shards.iter().filter(|((service, _), _)| *service == "budget") {
            for (key, value) in shard.rows.get("accounts").into_iter().flatten() {
                let row = decode_exact::<smol_str::SmolStr>(key).and_then(|k| Ok((k, decode_exact::<Account>(value)?)));
                if let Ok((campaign, account)) = row {
                    *known.entry(campaign.to_string()).or_default() += account.posted.0 + account.overrun.0;
                }
            }
            for value in shard.rows.get("bids").into_iter().flat_map(BTreeMap::values) {
                if let Ok(bid) = decode_exact::<Bid>(value)
                    && bid.stage == Stage::BilledFirst
                {
                    *known.entry(bid.campaign.to_string()).or_default() += bid.price.0;
                }
            }
        }
        known.retain(|_, micros| *micros != 0);
        sold.retain(|_, micros| *micros != 0);
        findings.expect("budget_is_the_oracle", known == sold, || format!("known {known:?}, sold {sold:?}"));
    }
}
