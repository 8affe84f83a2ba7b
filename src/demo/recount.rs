//! The demo's own small oracle: money, minutes and the funnel, counted again from the topics that the services published
//! and from nothing that they remember. Slow and simple on purpose.

use std::collections::{BTreeMap, BTreeSet};

use actors::intake::{Id, id};
use actors::metadata::{SENTINEL_USER, WIN_PRICE_MICROS, is_test};
use actors::topics::{
    AUCTION_RESULTS, BIDS, BILLING_EVENTS, BUDGET_STATUS, CAMPAIGN_METRICS_1M, CLICKS, CONVERSIONS, FRAUD_VERDICTS,
    IMPRESSIONS, PLACEHOLDER_USERS,
};
use runtime::commit::provenance::{HEADER, Provenance};
use runtime::deadletter::{Letter, ReplayOf};
use runtime::log::{Offset, Record};
use runtime::topology::{dead_letter_topic, replay_topic};
use schemas::codec::Decode;
use schemas::events::{
    AuctionResultEvent, AuctionResultKind, BidEvent, BidOutcome, BillingEvent, BudgetStatus, CampaignMinute,
    ClickEvent, FraudVerdict, ImpressionEvent, PlaceholderUser, TransferKind, Verdict,
};

use super::scan::{Scan, ScanError};

const MINUTE_MS: i64 = 60_000;

/// Counts and money of one minute of one campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MinuteCounts {
    pub impressions: i64,
    pub clicks: i64,
    pub spend_micros: i64,
    pub ivt_impressions: i64,
    pub ivt_spend_micros: i64,
}

/// Campaign and start of the minute.
pub type Minutes = BTreeMap<(String, i64), MinuteCounts>;

/// What the budget service last said of a campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub budget_micros: i64,
    pub posted_micros: i64,
    pub pending_micros: i64,
    pub overrun_micros: i64,
}

/// Everything counted again.
#[derive(Clone, Debug, Default)]
pub struct Recount {
    // Since the run's start.
    pub requests: u64,
    pub bids: u64,
    pub users_placeholder: u64,
    pub wins: u64,
    pub impressions: u64,
    pub clicks: u64,
    pub conversions: u64,
    pub invalid_traffic: u64,
    // Over the whole directory.
    pub transfers: u64,
    /// Debits and credits of every account.
    pub accounts: BTreeMap<String, (i64, i64)>,
    /// Charges less reversals a campaign, as the ledger has published them.
    pub ledger_net: BTreeMap<String, i64>,
    pub ledger_gross: BTreeMap<String, i64>,
    pub reversed: BTreeMap<String, i64>,
    /// Prices of unique valid impressions a campaign.
    pub expected_net: BTreeMap<String, i64>,
    /// Unique impressions that were looked at for `expected_net`.
    pub judged: u64,
    pub status: BTreeMap<String, Status>,
    pub minutes_published: Minutes,
    pub minutes_expected: Minutes,
}

/// Where the run began in each partition of a topic, by name.
pub type Begin = BTreeMap<&'static str, Vec<Offset>>;

/// Topics whose records are counted from the run's start.
pub const COUNTED: [&str; 6] =
    [BIDS.name, AUCTION_RESULTS.name, IMPRESSIONS.name, CLICKS.name, CONVERSIONS.name, FRAUD_VERDICTS.name];

/// Counts everything.
///
/// # Errors
/// [`ScanError`] if a topic cannot be read.
pub fn recount(scan: &Scan<'_>, begin: &Begin) -> Result<Recount, ScanError> {
    let mut counted = Recount::default();
    counted.requests(scan, begin)?;
    counted.results(scan, begin)?;
    for partition in 0..scan.partitions {
        let first = |topic: &'static str| begin.get(topic).map_or(0, |from| from[partition as usize]);
        counted.judged_impressions(scan, partition, first(IMPRESSIONS.name), first(FRAUD_VERDICTS.name))?;
        counted.clicks_and_conversions(scan, partition, first(CLICKS.name), first(CONVERSIONS.name))?;
        counted.ledger(scan, partition)?;
        counted.statuses(scan, partition)?;
        counted.minutes(scan, partition)?;
    }
    Ok(counted)
}

fn decode<'a, T: Decode<'a>>(record: &Record<'a>) -> Result<T, String> {
    schemas::frame::decode(record.value.unwrap_or_default()).map_err(|error| error.to_string())
}

/// Events of a partition that a service has set aside.
#[derive(Default)]
struct SetAside {
    /// Never counted.
    for_good: BTreeSet<Offset>,
    /// Taken later, as a replay: the bytes that came back.
    replayed: BTreeMap<Offset, Vec<u8>>,
}

/// What has become of the events that a service has set aside: given up, or taken when they came back. Everything that was
/// moved back has ended, so the last dead letter and the last replay of an event say which.
fn set_aside(scan: &Scan<'_>, topic: &str, service: &'static str, partition: u32) -> Result<SetAside, ScanError> {
    let mut last: BTreeMap<Offset, u32> = BTreeMap::new();
    scan.records(&dead_letter_topic(topic), partition, 0, |record| {
        let letter = Letter::of(record).filter(|letter| letter.service == service && letter.topic == topic);
        if let Some(letter) = letter {
            let replays = last.entry(letter.offset).or_default();
            *replays = letter.replays.max(*replays);
        }
        Ok(())
    })?;
    let mut aside = SetAside { for_good: last.keys().copied().collect(), ..SetAside::default() };
    scan.records(replay_topic(service).name, partition, 0, |record| {
        let Some((replay, _)) = ReplayOf::of(record).filter(|(replay, _)| replay.topic == topic) else { return Ok(()) };
        if last.get(&replay.offset).is_some_and(|failed| replay.n > *failed) {
            aside.for_good.remove(&replay.offset);
            aside.replayed.entry(replay.offset).or_insert_with(|| record.value.unwrap_or_default().to_vec());
        }
        Ok(())
    })?;
    Ok(aside)
}

/// An impression as a service has taken it: an operator may have mended it on its way back.
fn as_taken<'a>(aside: &'a SetAside, record: &Record<'a>) -> Result<ImpressionEvent<'a>, String> {
    match aside.replayed.get(&record.offset) {
        Some(value) => schemas::frame::decode(value).map_err(|error| error.to_string()),
        None => decode(record),
    }
}

fn minute_of(timestamp_ms: i64) -> i64 {
    timestamp_ms.div_euclid(MINUTE_MS) * MINUTE_MS
}

impl Recount {
    fn requests(&mut self, scan: &Scan<'_>, begin: &Begin) -> Result<(), ScanError> {
        let mut placeholders = BTreeSet::new();
        for partition in 0..scan.partitions {
            scan.records(PLACEHOLDER_USERS.name, partition, 0, |record| {
                placeholders.insert(decode::<PlaceholderUser<'_>>(record)?.user_id.to_owned());
                Ok(())
            })?;
        }
        for partition in 0..scan.partitions {
            let from = begin.get(BIDS.name).map_or(0, |from| from[partition as usize]);
            scan.records(BIDS.name, partition, from, |record| {
                let bid: BidEvent<'_> = decode(record)?;
                self.requests += 1;
                self.bids += u64::from(bid.outcome == BidOutcome::Bid);
                let user = bid.user_id.or(bid.metadata.get(SENTINEL_USER));
                self.users_placeholder += u64::from(user.is_some_and(|user| placeholders.contains(user)));
                Ok(())
            })?;
        }
        Ok(())
    }

    fn results(&mut self, scan: &Scan<'_>, begin: &Begin) -> Result<(), ScanError> {
        for partition in 0..scan.partitions {
            let from = begin.get(AUCTION_RESULTS.name).map_or(0, |from| from[partition as usize]);
            scan.records(AUCTION_RESULTS.name, partition, from, |record| {
                let result: AuctionResultEvent<'_> = decode(record)?;
                self.wins += u64::from(result.kind == AuctionResultKind::Win);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Impressions and verdicts share key and partition, so one partition at a time is enough.
    fn judged_impressions(
        &mut self,
        scan: &Scan<'_>,
        partition: u32,
        impressions_from: Offset,
        verdicts_from: Offset,
    ) -> Result<(), ScanError> {
        let of = |topic: &str, service: &'static str| set_aside(scan, topic, service, partition);
        let unbilled = of(IMPRESSIONS.name, "billing")?;
        let uncounted = of(IMPRESSIONS.name, "analytics")?;
        let (billing_deaf, analytics_deaf) =
            (of(FRAUD_VERDICTS.name, "billing")?, of(FRAUD_VERDICTS.name, "analytics")?);
        let (mut reversed, mut invalid): (BTreeSet<Id>, BTreeSet<Id>) = Default::default();
        scan.records(FRAUD_VERDICTS.name, partition, 0, |record| {
            let verdict: FraudVerdict<'_> = decode(record)?;
            if verdict.verdict != Verdict::Givt || verdict.target_topic != IMPRESSIONS.name {
                return Ok(());
            }
            let target = id(verdict.target_event_id);
            if !billing_deaf.for_good.contains(&record.offset) {
                reversed.insert(target);
            }
            if invalid.insert(target) {
                self.invalid_traffic += u64::from(record.offset >= verdicts_from);
                if !analytics_deaf.for_good.contains(&record.offset) {
                    let key = (verdict.campaign_id.to_owned(), minute_of(verdict.timestamp));
                    let price = verdict.metadata.get(WIN_PRICE_MICROS).and_then(|price| price.parse::<i64>().ok());
                    let minute = self.minutes_expected.entry(key).or_default();
                    minute.ivt_impressions += 1;
                    minute.ivt_spend_micros += price.unwrap_or(0);
                }
            }
            Ok(())
        })?;
        let mut seen: BTreeSet<Id> = BTreeSet::new();
        scan.records(IMPRESSIONS.name, partition, 0, |record| {
            let impression: ImpressionEvent<'_> = decode(record)?;
            let event = id(impression.event_id);
            if !seen.insert(event) {
                return Ok(());
            }
            self.impressions += u64::from(record.offset >= impressions_from);
            self.judged += 1;
            if is_test(&impression.metadata) {
                return Ok(());
            }
            if !unbilled.for_good.contains(&record.offset) && !reversed.contains(&event) {
                let impression = as_taken(&unbilled, record)?;
                *self.expected_net.entry(impression.campaign_id.to_owned()).or_default() += impression.win_price_micros;
            }
            if !uncounted.for_good.contains(&record.offset) {
                let impression = as_taken(&uncounted, record)?;
                let key = (impression.campaign_id.to_owned(), minute_of(impression.timestamp));
                let minute = self.minutes_expected.entry(key).or_default();
                minute.impressions += 1;
                minute.spend_micros += impression.win_price_micros;
            }
            Ok(())
        })
    }

    fn clicks_and_conversions(
        &mut self,
        scan: &Scan<'_>,
        partition: u32,
        clicks_from: Offset,
        conversions_from: Offset,
    ) -> Result<(), ScanError> {
        let uncounted = set_aside(scan, CLICKS.name, "analytics", partition)?;
        scan.records(CLICKS.name, partition, 0, |record| {
            let click: ClickEvent<'_> = decode(record)?;
            self.clicks += u64::from(record.offset >= clicks_from);
            if !uncounted.for_good.contains(&record.offset) && !is_test(&click.metadata) {
                let key = (click.campaign_id.to_owned(), minute_of(click.timestamp));
                self.minutes_expected.entry(key).or_default().clicks += 1;
            }
            Ok(())
        })?;
        scan.records(CONVERSIONS.name, partition, conversions_from, |_| {
            self.conversions += 1;
            Ok(())
        })
    }

    fn ledger(&mut self, scan: &Scan<'_>, partition: u32) -> Result<(), ScanError> {
        scan.records(BILLING_EVENTS.name, partition, 0, |record| {
            let transfer: BillingEvent<'_> = decode(record)?;
            let amount = transfer.amount_micros;
            self.transfers += 1;
            self.accounts.entry(transfer.debit_account.to_owned()).or_default().0 += amount;
            self.accounts.entry(transfer.credit_account.to_owned()).or_default().1 += amount;
            let campaign = || transfer.campaign_id.to_owned();
            let net = self.ledger_net.entry(campaign()).or_default();
            match transfer.kind {
                TransferKind::Charge => {
                    *net += amount;
                    *self.ledger_gross.entry(campaign()).or_default() += amount;
                }
                TransferKind::Reversal => {
                    *net -= amount;
                    *self.reversed.entry(campaign()).or_default() += amount;
                }
                TransferKind::Adjustment => *net -= amount,
                TransferKind::Payment => {}
            }
            Ok(())
        })
    }

    /// Compacted: the greatest version of a key counts.
    fn statuses(&mut self, scan: &Scan<'_>, partition: u32) -> Result<(), ScanError> {
        scan.records(BUDGET_STATUS.name, partition, 0, |record| {
            if record.value.is_none() {
                return Ok(());
            }
            let status: BudgetStatus<'_> = decode(record)?;
            let now = Status {
                budget_micros: status.budget_micros,
                posted_micros: status.posted_micros,
                pending_micros: status.pending_micros,
                overrun_micros: status.overrun_micros,
            };
            self.status.insert(status.campaign_id.to_owned(), now);
            Ok(())
        })
    }

    /// Each shard publishes its own part of a minute; the greatest revision of each part counts, and parts add up.
    fn minutes(&mut self, scan: &Scan<'_>, partition: u32) -> Result<(), ScanError> {
        let mut parts: BTreeMap<Vec<u8>, (i64, (String, i64), MinuteCounts)> = BTreeMap::new();
        scan.records(CAMPAIGN_METRICS_1M.name, partition, 0, |record| {
            if record.value.is_none_or(<[u8]>::is_empty) {
                return Ok(());
            }
            let row: CampaignMinute<'_> = decode(record)?;
            let version = record.headers.get(HEADER).and_then(Provenance::decode).map_or(-1, |from| from.n);
            let counts = MinuteCounts {
                impressions: row.impressions,
                clicks: row.clicks,
                spend_micros: row.spend_micros,
                ivt_impressions: row.ivt_impressions,
                ivt_spend_micros: row.ivt_spend_micros,
            };
            let part = (version, (row.campaign_id.to_owned(), row.window_start), counts);
            let known = parts.entry(record.key.unwrap_or_default().to_vec()).or_insert_with(|| part.clone());
            if version >= known.0 {
                *known = part;
            }
            Ok(())
        })?;
        for (_, key, counts) in parts.into_values() {
            let minute = self.minutes_published.entry(key).or_default();
            minute.impressions += counts.impressions;
            minute.clicks += counts.clicks;
            minute.spend_micros += counts.spend_micros;
            minute.ivt_impressions += counts.ivt_impressions;
            minute.ivt_spend_micros += counts.ivt_spend_micros;
        }
        Ok(())
    }

    /// Sum of the differences between ledger and recount, campaign by campaign, so that two errors never cancel out.
    pub fn ledger_diff_micros(&self) -> i64 {
        let campaigns: BTreeSet<_> = self.ledger_net.keys().chain(self.expected_net.keys()).collect();
        let of = |map: &BTreeMap<String, i64>, campaign: &String| map.get(campaign).copied().unwrap_or(0);
        campaigns.into_iter().map(|c| (of(&self.ledger_net, c) - of(&self.expected_net, c)).abs()).sum()
    }
}
