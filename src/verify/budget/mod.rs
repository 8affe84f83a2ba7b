//! Budgets, derived again: what is spent, what is lent or held, and what the platform bears.

mod account;
mod bids;
mod leases;

use std::collections::{BTreeMap, BTreeSet};

use super::datum::Datum;
use super::intake::{self, Clock, Door, HOUR_MS, Id, MINUTE_MS, Timed};
use super::outputs::Outputs;
use super::replay::{Ending, Event, Rules};
use crate::record;

use account::Account;
use bids::Bid;
use leases::Lease;

const BUDGET_MAX: i64 = 1_000_000_000_000_000;
const PRICE_MAX: i64 = 1_000_000;
const LEASE_LIFE_MS: i64 = 10_000;
const RESERVATION_MAX_MS: i64 = MINUTE_MS;
const RESULT_GRACE_MS: i64 = 10_000;
const EARLY_RESULT_MS: i64 = 10 * MINUTE_MS;
const MEMORY_MS: i64 = 15 * MINUTE_MS;
const REQUEST_HORIZON_MS: i64 = HOUR_MS;
const BIDS_SWEPT_A_TICK: usize = 2_000;
const BIDS_SWEPT_A_RESERVATION: usize = 3;
const LEASES_SWEPT_A_TICK: usize = 500;
const STATUSES_A_TICK: usize = 500;
const VIOLATION: Ending = Ending::Dead("SEMANTIC_VIOLATION");
const CONFLICT: Ending = Ending::Dead("ID_CONFLICT");

/// State of one shard.
#[derive(Default)]
pub struct Budget {
    accounts: BTreeMap<String, Account>,
    leases: Timed<String, Lease>,
    open: BTreeMap<String, Vec<String>>,
    bids: Timed<Id, Bid>,
    changed: BTreeSet<String>,
    requests: Door,
    clock: Clock,
    touched: BTreeSet<String>,
    /// What the newest status of a campaign may be.
    told: BTreeMap<String, Vec<Datum>>,
}

impl Rules for Budget {
    fn event(&mut self, event: &Event<'_>, out: &mut Outputs) -> Ending {
        let now_ms = event.now_ms;
        let taken = match event.topic {
            "reservations" => event.value().and_then(|value| self.reserve(value, now_ms)),
            "auction-results" => event.value().and_then(|value| self.result(value, now_ms)),
            "lease-requests" => intake::arrived(event).and_then(|value| self.request(value, now_ms, out)),
            _ => event.value().and_then(|value| self.campaign(value, now_ms, out)),
        };
        taken.err().unwrap_or(Ending::Done)
    }

    fn tick(&mut self, now_ms: i64, out: &mut Outputs) {
        self.sweep_bids(now_ms, BIDS_SWEPT_A_TICK);
        self.sweep_leases(now_ms, LEASES_SWEPT_A_TICK, out);
        for campaign in self.changed.iter().take(STATUSES_A_TICK).cloned().collect::<Vec<_>>() {
            self.changed.remove(&campaign);
            if let Some(account) = self.accounts.get(&campaign) {
                self.told.insert(campaign.clone(), vec![status(&campaign, account)]);
                self.touched.remove(&campaign);
            }
        }
    }

    /// A restatement tells every account as it stands after a commit.
    fn committed(&mut self, _: i64, _: &mut Outputs) {
        for campaign in std::mem::take(&mut self.touched) {
            if let Some(account) = self.accounts.get(&campaign) {
                let row = status(&campaign, account);
                self.told.entry(campaign).or_insert_with(|| vec![Datum::Null]).push(row);
            }
        }
    }

    fn finish(&mut self, out: &mut Outputs) {
        for (campaign, may_be) in std::mem::take(&mut self.told) {
            out.newest("budget-status", campaign, may_be);
        }
    }
}

impl Budget {
    /// A campaign or its budget changed.
    fn campaign(&mut self, change: &Datum, now_ms: i64, out: &mut Outputs) -> Result<(), Ending> {
        intake::required(change, &["campaign_id"])?;
        let (campaign, deleted) = (change.text("campaign_id"), change.flag("deleted"));
        let requested = if deleted { 0 } else { change.int("budget_micros") };
        if !(0..=BUDGET_MAX).contains(&requested) {
            return Err(VIOLATION);
        }
        let revision = change.meta("revision").and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let (active, lsn) = (change.flag("active") && !deleted, change.int("lsn"));
        if let Some(known) = self.accounts.get(campaign) {
            let (at, newest) = ((lsn, revision), (known.lsn, known.revision));
            let same = (known.requested, known.active) == (requested, active);
            if at < newest || at == newest && (revision != 0 || same) {
                return Err(Ending::Duplicate);
            }
        }
        let account = self.account(campaign);
        (account.lsn, account.revision, account.active) = (lsn, revision, active);
        account.request(requested);
        if !active || account.budget > account.requested {
            self.revoke(campaign, now_ms, out, |_| true);
        }
        Ok(())
    }

    /// An account that is about to change.
    fn account(&mut self, campaign: &str) -> &mut Account {
        self.changed.insert(campaign.to_owned());
        self.touched.insert(campaign.to_owned());
        self.accounts.entry(campaign.to_owned()).or_insert_with(Account::empty)
    }
}

/// When it was told is free, so that is left out.
fn status(campaign: &str, account: &Account) -> Datum {
    record! {
        "campaign_id": campaign,
        "budget_micros": account.budget,
        "requested_micros": account.requested,
        "posted_micros": account.posted,
        "pending_micros": account.lent + account.held,
        "overrun_micros": account.overrun,
        "metadata": Datum::Map(Default::default()),
    }
}
