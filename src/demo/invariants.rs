//! What must hold at the end of a run, each with the number of things that were looked at.

use std::collections::{BTreeMap, BTreeSet};

use runtime::platform::Platform;
use runtime::stats::Tally;

use super::commits::{self, Balances};
use super::recount::Recount;
use super::scan::{Scan, ScanError};
use crate::report::{Input, Invariant};

/// Everything that an end of a run is judged by.
pub struct Evidence<'a> {
    pub platform: &'a Platform,
    pub scan: &'a Scan<'a>,
    pub recount: &'a Recount,
    pub input: &'a Input,
    pub no_bid: &'a BTreeMap<String, u64>,
    pub bids: u64,
}

impl Evidence<'_> {
    /// All invariants.
    ///
    /// # Errors
    /// [`ScanError`] if a commit topic cannot be read.
    pub fn judge(&self) -> Result<Vec<Invariant>, ScanError> {
        let mut balances = Balances::new();
        let [conservation, contiguous] = self.conservation(&mut balances)?;
        Ok(vec![
            conservation,
            contiguous,
            self.funnel(),
            self.ledger_balanced(&balances),
            self.ledger_recount(),
            self.budget_bound(),
            self.budget_ledger(),
            self.minute_table(),
            self.credits_returned(),
            self.services_own(),
        ])
    }

    /// Every record of a service's inputs has ended exactly once, by its counters and by its commits.
    fn conservation(&self, balances: &mut Balances) -> Result<[Invariant; 2], ScanError> {
        let (mut wrong, mut hole, mut checked, mut ranges) = (None, None, 0, 0);
        for bulkhead in &self.platform.bulkheads {
            let name = bulkhead.spec.name;
            let account = commits::account(self.scan, &bulkhead.spec, balances)?;
            let now = bulkhead.stats.tally();
            checked += account.records;
            ranges += account.ranges;
            if account.ended + account.waiting != account.records || account.waiting > 0 {
                let (ended, waiting, records) = (account.ended, account.waiting, account.records);
                wrong.get_or_insert(format!("{name}: {ended} of {records} events have ended, {waiting} wait"));
            }
            let committed = Tally {
                done: account.ended - account.duplicates - account.dead_lettered,
                duplicates: account.duplicates,
                dead_lettered: account.dead_lettered,
                parked: now.parked,
            };
            // On a directory of an earlier run the counters start in the middle.
            let fresh = now.total() == committed.total();
            if fresh && now != committed {
                wrong.get_or_insert(format!("{name}: counted {now:?}, committed {committed:?}"));
            }
            if now.total() > committed.total() {
                wrong.get_or_insert(format!("{name}: counted {} events, committed {}", now.total(), committed.total()));
            }
            hole = hole.or(account.wrong);
        }
        Ok([Invariant::new("conservation", checked, wrong), Invariant::new("offsets_contiguous", ranges, hole)])
    }

    fn funnel(&self) -> Invariant {
        let (recount, input) = (self.recount, self.input);
        let refused: u64 = self.no_bid.values().sum();
        let mut wrong = None;
        let mut same = |what: &str, a: u64, b: u64| {
            if a != b {
                wrong.get_or_insert(format!("{what}: {a} and {b}"));
            }
        };
        let shed: u64 = input.shed.values().sum();
        same("read = valid + rejected + shed", input.read, input.valid + input.rejected + shed);
        same("valid requests = decisions", input.valid, recount.requests);
        same("no bids + bids = decisions", refused + self.bids, recount.requests);
        same("bids decided = bids in the log", self.bids, recount.bids);
        let mut at_most = |what: &str, a: u64, b: u64| {
            if a > b {
                wrong.get_or_insert(format!("{what}: {a} and {b}"));
            }
        };
        at_most("wins <= bids", recount.wins, recount.bids);
        at_most("impressions <= bids", recount.impressions, recount.bids);
        at_most("invalid <= impressions", recount.invalid_traffic, recount.impressions);
        Invariant::new("funnel_sums", recount.requests, wrong)
    }

    /// Debits = credits, and every balance in the service's own tables is the fold of the transfers it has published.
    fn ledger_balanced(&self, balances: &Balances) -> Invariant {
        let mut own: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for ((_, (_, account, campaign)), (debits, credits)) in balances {
            let name = match account {
                0 => format!("campaign:{campaign}:receivable"),
                1 => "exchange:payable".to_owned(),
                2 => "platform:ivt_credit".to_owned(),
                other => format!("unknown account {other}"),
            };
            let sum = own.entry(name).or_default();
            *sum = (sum.0 + debits, sum.1 + credits);
        }
        let published = &self.recount.accounts;
        let sums = |of: &BTreeMap<String, (i64, i64)>| of.values().fold((0, 0), |sum, (d, c)| (sum.0 + d, sum.1 + c));
        let ((debits, credits), (own_debits, own_credits)) = (sums(published), sums(&own));
        let different = own.keys().chain(published.keys()).find(|account| own.get(*account) != published.get(*account));
        let wrong = if debits != credits || own_debits != own_credits {
            Some(format!("debits {debits}/{own_debits}, credits {credits}/{own_credits} (published/balances)"))
        } else {
            different.map(|account| {
                format!("{account}: balance {:?}, transfers {:?}", own.get(account), published.get(account))
            })
        };
        Invariant::new("ledger_balanced", self.recount.transfers, wrong)
    }

    fn ledger_recount(&self) -> Invariant {
        let diff = self.recount.ledger_diff_micros();
        let wrong = (diff != 0).then(|| format!("ledger and recount differ by {diff} micros"));
        Invariant::new("ledger_recount", self.recount.judged, wrong)
    }

    /// Checked by the service after every batch; here once more from what it says.
    fn budget_bound(&self) -> Invariant {
        let stats = self.platform.bulkhead("budget").map(|budget| &budget.stats);
        let checked = stats.map_or(0, |stats| stats.invariants().checked());
        let over = self.recount.status.iter().find(|(_, s)| s.posted_micros + s.pending_micros > s.budget_micros);
        let wrong = over.map(|(campaign, status)| format!("{campaign}: {status:?}"));
        Invariant::new("budget_bound", checked, wrong)
    }

    /// What budget has posted or borne is what the ledger has charged.
    fn budget_ledger(&self) -> Invariant {
        let deaf = |topic: &str| self.dead_letters_of("budget", topic);
        // A charge whose result budget could not take is missing there, accounted for as a dead letter.
        if deaf("auction-results") + deaf("reservations") + self.dead_letters_of("billing", "impressions") > 0 {
            return Invariant::new("budget_ledger", self.recount.status.len() as u64, None);
        }
        let gross = &self.recount.ledger_gross;
        let campaigns: BTreeSet<_> = gross.keys().chain(self.recount.status.keys()).collect();
        let differs = |campaign: &&String| {
            let status = self.recount.status.get(*campaign).copied().unwrap_or_default();
            status.posted_micros + status.overrun_micros != gross.get(*campaign).copied().unwrap_or(0)
        };
        let checked = campaigns.len() as u64;
        let wrong = campaigns.into_iter().find(differs).map(|campaign| {
            let (status, charged) = (self.recount.status.get(campaign), gross.get(campaign));
            format!("{campaign}: budget says {status:?}, the ledger charged {charged:?}")
        });
        Invariant::new("budget_ledger", checked, wrong)
    }

    fn dead_letters_of(&self, service: &str, topic: &str) -> u64 {
        let name = runtime::topology::dead_letter_topic(topic);
        let mut found = 0;
        for partition in 0..self.scan.partitions {
            let counting = self.scan.records(&name, partition, 0, |record| {
                found += u64::from(record.headers.get(b"bh-service") == Some(service.as_bytes()));
                Ok(())
            });
            if counting.is_err() {
                return u64::MAX / 4;
            }
        }
        found
    }

    fn minute_table(&self) -> Invariant {
        let wrong = minute_difference(self.recount);
        Invariant::new("minute_table", self.recount.minutes_expected.len() as u64, wrong)
    }

    /// Nothing is held by anybody any more.
    fn credits_returned(&self) -> Invariant {
        let bulkheads = &self.platform.bulkheads;
        let held =
            |bytes: &runtime::platform::Bulkhead| bytes.stats.queue_bytes.load(std::sync::atomic::Ordering::Relaxed);
        let wrong = bulkheads.iter().find(|bulkhead| held(bulkhead) != 0);
        let wrong = wrong.map(|bulkhead| format!("{}: {} bytes are still held", bulkhead.spec.name, held(bulkhead)));
        Invariant::new("credits_returned", bulkheads.len() as u64, wrong)
    }

    fn services_own(&self) -> Invariant {
        let stats = || self.platform.bulkheads.iter().map(|bulkhead| (bulkhead.spec.name, &bulkhead.stats));
        let checked = stats().map(|(_, stats)| stats.invariants().checked()).sum();
        let wrong = stats().find_map(|(service, stats)| Some((service, stats.invariants().broken()?)));
        let wrong = wrong.map(|(service, invariant)| format!("{service}: {invariant} did not hold"));
        Invariant::new("services_own", checked, wrong)
    }
}

/// The first minute whose published row is not the recount's. Rows of nothing are no difference.
pub fn minute_difference(recount: &Recount) -> Option<String> {
    let (published, expected) = (&recount.minutes_published, &recount.minutes_expected);
    let keys: BTreeSet<_> = published.keys().chain(expected.keys()).collect();
    let of = |minutes: &super::recount::Minutes, key| minutes.get(key).copied().unwrap_or_default();
    let differs = keys.into_iter().find(|key| of(published, *key) != of(expected, *key))?;
    let (found, wanted) = (of(published, differs), of(expected, differs));
    Some(format!("{}:{} published {found:?}, recounted {wanted:?}", differs.0, differs.1))
}
