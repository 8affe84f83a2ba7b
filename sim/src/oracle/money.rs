//! The ledger once more, from what is true outside: written apart from the service, exact to the micro.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actors::billing::{Account, AccountKey, Balance};
use actors::{ids, topics};
use runtime::commit::provenance::{HEADER, Provenance};
use runtime::log::{Log, Record};
use runtime::state::row::decode_exact;
use schemas::events as e;

use super::audit::Auditor;
use super::{Findings, each_record};
use crate::traffic::Truth;

/// Ids of events that were set aside, by (service, input topic).
#[derive(Default)]
pub struct SetAside {
    pub ids: BTreeMap<(String, String), BTreeSet<String>>,
    /// Why, as code and message, by (service, input topic, id).
    pub causes: BTreeMap<(String, String, String), BTreeSet<(String, String)>>,
    /// Original values, by input topic.
    pub values: BTreeMap<String, BTreeSet<Vec<u8>>>,
    pub records: u64,
}

impl SetAside {
    pub fn has(&self, service: &str, topic: &str, id: &str) -> bool {
        self.ids.get(&(service.to_owned(), topic.to_owned())).is_some_and(|ids| ids.contains(id))
    }

    /// Whether the service set aside anything of the topic.
    pub fn any(&self, service: &str, topic: &str) -> bool {
        self.ids.contains_key(&(service.to_owned(), topic.to_owned()))
    }
}

/// First appearances only: repetitions of ours carry an `n` that was seen.
#[derive(Default)]
pub struct FirstSeen(BTreeMap<(u32, u16), i64>);

impl FirstSeen {
    pub fn is_new(&mut self, record: &Record<'_>) -> bool {
        let Some(from) = record.headers.get(HEADER).and_then(Provenance::decode) else { return false };
        let next = self.0.entry((from.service, from.partition)).or_insert(0);
        let new = from.n >= *next;
        *next = (*next).max(from.n + 1);
        new
    }
}

/// Visits the events of an internal topic once each.
pub fn each_event(
    log: &Arc<dyn Log>,
    topic: &str,
    partitions: u32,
    findings: &mut Findings,
    mut visit: impl FnMut(&Record<'_>),
) {
    for partition in 0..partitions {
        let mut seen = FirstSeen::default();
        let result = each_record(log, topic, partition, |record| {
            if seen.is_new(record) {
                visit(record);
            }
        });
        if let Err(error) = result {
            findings.broken("everything_published", format!("{topic}-{partition}: {error}"));
        }
    }
}

fn id_in(topic: &str, value: &[u8]) -> Option<String> {
    let frame = schemas::frame::decode::<e::ImpressionPixel<'_>>;
    Some(match topic {
        "impression-pixels" => ids::impression_event_id(frame(value).ok()?.bid_id),
        "impressions" => schemas::frame::decode::<e::ImpressionEvent<'_>>(value).ok()?.event_id.to_owned(),
        "clicks" => schemas::frame::decode::<e::ClickEvent<'_>>(value).ok()?.event_id.to_owned(),
        "fraud-verdicts" => schemas::frame::decode::<e::FraudVerdict<'_>>(value).ok()?.target_event_id.to_owned(),
        "click-pixels" => {
            let pixel = schemas::frame::decode::<e::ClickPixel<'_>>(value).ok()?;
            ids::click_event_id(pixel.bid_id, pixel.timestamp)
        }
        "conversion-posts" => {
            let post = schemas::frame::decode::<e::ConversionPost<'_>>(value).ok()?;
            ids::conversion_event_id(post.advertiser_id, post.order_id)
        }
        // Of a bid's results only the sale is money.
        "auction-results" => {
            let result = schemas::frame::decode::<e::AuctionResultEvent<'_>>(value).ok()?;
            (result.kind == e::AuctionResultKind::Billed).then(|| result.bid_id.to_owned())?
        }
        _ => return None,
    })
}

/// Reads all dead letters; their number must be what the commits say.
pub fn set_aside(log: &Arc<dyn Log>, auditor: &Auditor, partitions: u32, findings: &mut Findings) -> SetAside {
    let mut result = SetAside::default();
    let dead_letters: Vec<String> =
        log.topics().iter().map(|(_, c)| c.name.to_string()).filter(|name| name.ends_with("-dlq")).collect();
    for topic in dead_letters {
        let input = topic.trim_end_matches("-dlq").to_owned();
        let mut records = 0;
        each_event(log, &topic, partitions, findings, |record| {
            records += 1;
            let service = record.headers.get(b"bh-service").map(|s| String::from_utf8_lossy(s).into_owned());
            let code = record.headers.get(b"bh-code").map(|s| String::from_utf8_lossy(s).into_owned());
            let message = record.headers.get(b"bh-message").map(|s| String::from_utf8_lossy(s).into_owned());
            let cause = (code.unwrap_or_default(), message.unwrap_or_default());
            let service = service.unwrap_or_default();
            let value = record.value.unwrap_or_default();
            let ids = result.ids.entry((service.clone(), input.clone())).or_default();
            if let Some(id) = id_in(&input, value) {
                ids.insert(id.clone());
                result.causes.entry((service, input.clone(), id)).or_default().insert(cause);
            }
            result.values.entry(input.clone()).or_default().insert(value.to_vec());
        });
        result.records += records;
    }
    let committed: u64 = auditor.shards.values().map(|shard| shard.dead_letters).sum();
    findings.expect("dead_letters_accounted", committed == result.records, || {
        format!("commits set {committed} events aside, {} lie in dead letter topics", result.records)
    });
    result
}

/// Money of one campaign, micros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    charged: i64,
    given_back: i64,
}

/// Every true impression was charged once, every program's taken back once, nothing else was charged, and the
/// balances say the same.
pub fn ledger(
    log: &Arc<dyn Log>,
    auditor: &Auditor,
    truth: &Truth,
    aside: &SetAside,
    partitions: u32,
    findings: &mut Findings,
) {
    let (mut charges, mut reversals) = (BTreeMap::new(), BTreeMap::new());
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    let mut bad = Vec::new();
    each_event(log, topics::BILLING_EVENTS.name, partitions, findings, |record| {
        let Ok(event) = schemas::frame::decode::<e::BillingEvent<'_>>(record.value.unwrap_or_default()) else {
            return bad.push(format!("record {} cannot be read", record.offset));
        };
        let sum = sums.entry(event.campaign_id.to_owned()).or_default();
        let into = if event.kind == e::TransferKind::Charge {
            sum.charged += event.amount_micros;
            &mut charges
        } else {
            sum.given_back += event.amount_micros;
            &mut reversals
        };
        let known = into.insert(event.source_event_id.to_owned(), (event.campaign_id.to_owned(), event.amount_micros));
        if known.is_some() {
            bad.push(format!("{} twice", event.transfer_id));
        }
    });
    bad.into_iter().for_each(|message| findings.broken("ledger_is_the_oracle", message));
    for (id, shown) in &truth.shown {
        let charge = charges.remove(id);
        let expected = (shown.price_micros > 0).then(|| (shown.campaign.clone(), shown.price_micros));
        let lost = aside.has("ads", "impression-pixels", id) || aside.has("billing", "impressions", id);
        // Where the first of two prices was set aside for another reason, the second one is what is known.
        let unsure = lost && truth.conflicted.contains(id);
        findings.expect("ledger_is_the_oracle", charge == expected || (lost && charge.is_none()) || unsure, || {
            format!("{id}: charged {charge:?}, true is {expected:?}")
        });
        let reversal = reversals.remove(id);
        let unjudged = aside.has("fraud", "impressions", id) || aside.has("billing", "fraud-verdicts", id);
        let taken_back = if shown.by_program { charge } else { None };
        findings.expect("ledger_is_the_oracle", reversal == taken_back || (unjudged && reversal.is_none()), || {
            format!("{id}: taken back {reversal:?}, true is {taken_back:?}")
        });
    }
    for (id, charge) in charges.iter().chain(&reversals) {
        findings.broken("ledger_is_the_oracle", format!("{id}: {charge:?} for what never was"));
    }
    balances(auditor, &sums, findings);
}

fn balances(auditor: &Auditor, sums: &BTreeMap<String, Sum>, findings: &mut Findings) {
    let mut found: BTreeMap<String, Sum> = BTreeMap::new();
    for shard in auditor.shards.iter().filter(|((service, _), _)| *service == "billing").map(|(_, shard)| shard) {
        for (key, value) in shard.rows.get("balances").into_iter().flatten() {
            let row = decode_exact::<AccountKey>(key).and_then(|key| Ok((key, decode_exact::<Balance>(value)?)));
            let Ok(((_, account, campaign), balance)) = row else {
                findings.broken("balances_are_the_oracle", "a row of balances cannot be read".into());
                continue;
            };
            if account == Account::CampaignReceivable as u8 {
                let sum = found.entry(campaign.to_string()).or_default();
                sum.charged += balance.debits.0;
                sum.given_back += balance.credits.0;
            }
        }
    }
    let sums: BTreeMap<_, _> = sums.iter().filter(|(_, sum)| **sum != Sum::default()).collect();
    findings.expect("balances_are_the_oracle", found.iter().collect::<BTreeMap<_, _>>() == sums, || {
        format!("balances {found:?}, transfers {sums:?}")
    });
}

/// Posted, lent and held of each campaign within its budget, in the state as committed.
pub fn budgets(auditor: &Auditor, findings: &mut Findings) {
    for ((service, partition), shard) in &auditor.shards {
        for value in shard.rows.get("accounts").filter(|_| *service == "budget").into_iter().flat_map(BTreeMap::values)
        {
            let Ok(account) = decode_exact::<actors::budget::Account>(value) else {
                findings.broken("budget_never_exceeded", format!("budget-{partition}: an account cannot be read"));
                continue;
            };
            findings.expect("budget_never_exceeded", account.is_within_budget(), || {
                format!("budget-{partition}: {account:?}")
            });
        }
    }
}
