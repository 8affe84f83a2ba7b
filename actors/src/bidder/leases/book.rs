//! The bookkeeping behind [`super::LeaseBook`]: pure, one thread, time as data.

use std::collections::{BTreeMap, VecDeque};

use schemas::events::{BudgetLease, LeaseKind, LeaseRequestKind};
use smol_str::{SmolStr, format_smolstr};

use super::{LeaseBookConfig, LeaseDemand, SpendRefused};
use crate::bidder::campaigns::{Campaign, Campaigns};
use crate::money::Micros;

/// Campaigns that a book keeps; more are refused money, which is counted as pending leases by the decisions.
const CAMPAIGNS_MAX: usize = 100_000;
/// Ids of finished leases that are remembered for each campaign: a repetition must not bring one back to life.
const FINISHED_MAX: usize = 256;

pub(super) struct Book {
    holder: SmolStr,
    config: LeaseBookConfig,
    accounts: BTreeMap<SmolStr, Account>,
    /// Numbers the requests of this holder.
    requests: u64,
    demands_ms: Option<i64>,
}

/// One lease, as far as it is not used up.
struct Lease {
    lease_id: SmolStr,
    remaining: Micros,
    /// From here on it is being replaced.
    renew_ms: i64,
    /// End of its life by the budget's clock.
    expires_ms: i64,
}

/// What is known of one campaign.
#[derive(Default)]
struct Account {
    /// In order of arrival, which is that of their ends.
    leases: Vec<Lease>,
    /// Ids of leases that are over, the oldest first.
    finished: VecDeque<SmolStr>,
    started: bool,
    /// When the open ask was sent.
    asked_ms: Option<i64>,
    /// The last answer was that there is nothing to lend.
    exhausted: bool,
    /// Not asked about before this.
    ask_again_ms: i64,
    /// Prices asked for since the last look, granted or not.
    wanted: Micros,
    /// Demand per second, smoothed.
    wanted_per_s: Micros,
    last_wanted_ms: i64,
}

impl Account {
    fn spendable(&self, now_ms: i64, margin_ms: i64) -> Micros {
        let live = self.leases.iter().filter(|lease| now_ms < lease.expires_ms.saturating_sub(margin_ms));
        Micros(live.map(|lease| lease.remaining.0).fold(0, i64::saturating_add))
    }

    fn fresh(&self, now_ms: i64) -> Micros {
        let live = self.leases.iter().filter(|lease| now_ms < lease.renew_ms);
        Micros(live.map(|lease| lease.remaining.0).fold(0, i64::saturating_add))
    }

    /// Forgets a lease for good.
    fn finish(&mut self, lease_id: &str) -> Option<Lease> {
        let at = self.leases.iter().position(|lease| lease.lease_id == lease_id)?;
        if self.finished.len() >= FINISHED_MAX {
            self.finished.pop_front();
        }
        self.finished.push_back(lease_id.into());
        Some(self.leases.remove(at))
    }
}

impl Book {
    pub(super) fn new(holder: &str, config: LeaseBookConfig) -> Book {
        Book { holder: holder.into(), config, accounts: BTreeMap::new(), requests: 0, demands_ms: None }
    }

    pub(super) fn try_spend(&mut self, campaign_id: &str, price: Micros, now_ms: i64) -> Result<SmolStr, SpendRefused> {
        let margin_ms = self.config.spend_margin_ms;
        let account = self.account(campaign_id).ok_or(SpendRefused::LeasePending)?;
        account.wanted = Micros(account.wanted.0.saturating_add(price.0.max(0)));
        account.last_wanted_ms = now_ms;
        let usable =
            |lease: &&mut Lease| now_ms < lease.expires_ms.saturating_sub(margin_ms) && lease.remaining >= price;
        // A price below zero would give money to the lease; no caller has one, and none can be made to.
        if let Some(lease) = account.leases.iter_mut().find(usable).filter(|_| price > Micros::ZERO) {
            lease.remaining = Micros(lease.remaining.0 - price.0);
            return Ok(lease.lease_id.clone());
        }
        Err(if account.exhausted { SpendRefused::Exhausted } else { SpendRefused::LeasePending })
    }

    pub(super) fn apply(&mut self, told: &BudgetLease<'_>, told_ms: i64) {
        if told.holder != self.holder {
            return;
        }
        let (retry_ms, leases_max) = (self.config.exhausted_retry_ms, self.config.leases_max);
        let Some(account) = self.account(told.campaign_id) else { return };
        match told.kind {
            LeaseKind::Grant => {
                let known = account.leases.iter().any(|lease| lease.lease_id == told.lease_id);
                if known || account.finished.iter().any(|over| over == told.lease_id) {
                    return;
                }
                account.asked_ms = None;
                if told.amount_micros <= 0 {
                    account.exhausted = true;
                    account.ask_again_ms = told_ms.saturating_add(retry_ms);
                } else if account.leases.len() < 2 * leases_max {
                    // (A lease beyond that is left to expire: its money is safe, only late.)
                    account.exhausted = false;
                    let life_ms = told.expires_at.saturating_sub(told_ms).max(0);
                    account.leases.push(Lease {
                        lease_id: told.lease_id.into(),
                        remaining: Micros(told.amount_micros),
                        renew_ms: told_ms.saturating_add(life_ms / 2),
                        expires_ms: told.expires_at,
                    });
                }
            }
            // From here on the budget waits for the lease's end; what is unspent is given back at the next look.
            LeaseKind::Revoke => {
                if let Some(lease) = account.leases.iter_mut().find(|lease| lease.lease_id == told.lease_id) {
                    lease.expires_ms = lease.expires_ms.min(told_ms);
                    lease.renew_ms = lease.renew_ms.min(told_ms);
                }
            }
            LeaseKind::Expire => {
                account.finish(told.lease_id);
            }
            // The echo of our own return.
            LeaseKind::Return => {}
        }
    }

    pub(super) fn demands(&mut self, campaigns: &Campaigns, now_ms: i64) -> Vec<LeaseDemand> {
        let elapsed_ms = self.demands_ms.map_or(0, |last| now_ms.saturating_sub(last).max(1));
        self.demands_ms = Some(now_ms);
        let mut demands = self.returns(now_ms, |lease, margin_ms| now_ms >= lease.expires_ms.saturating_sub(margin_ms));
        for campaign in campaigns.iter().filter(|campaign| campaign.active && campaign.price > Micros::ZERO) {
            let config = self.config.clone();
            let Some(account) = self.account(&campaign.campaign_id) else { continue };
            account.measure(elapsed_ms);
            let Some(amount) = account.lacks(&config, campaign, now_ms) else { continue };
            account.asked_ms = Some(now_ms);
            let first = !std::mem::replace(&mut account.started, true);
            if first {
                demands.push(self.demand(&campaign.campaign_id, LeaseRequestKind::Start, None, Micros::ZERO, now_ms));
            }
            demands.push(self.demand(&campaign.campaign_id, LeaseRequestKind::Ask, None, amount, now_ms));
        }
        demands
    }

    pub(super) fn give_back(&mut self, now_ms: i64) -> Vec<LeaseDemand> {
        self.returns(now_ms, |_, _| true)
    }

    pub(super) fn available(&self, campaign_id: &str, now_ms: i64) -> Micros {
        let margin_ms = self.config.spend_margin_ms;
        self.accounts.get(campaign_id).map_or(Micros::ZERO, |account| account.spendable(now_ms, margin_ms))
    }

    fn account(&mut self, campaign_id: &str) -> Option<&mut Account> {
        if !self.accounts.contains_key(campaign_id) {
            if self.accounts.len() >= CAMPAIGNS_MAX {
                return None;
            }
            self.accounts.insert(campaign_id.into(), Account::default());
        }
        self.accounts.get_mut(campaign_id)
    }

    /// Gives back what remains of the leases that `ended` names, and forgets them.
    fn returns(&mut self, now_ms: i64, ended: impl Fn(&Lease, i64) -> bool) -> Vec<LeaseDemand> {
        let margin_ms = self.config.spend_margin_ms;
        let mut unspent = Vec::new();
        for (campaign_id, account) in &mut self.accounts {
            let over: Vec<SmolStr> = account
                .leases
                .iter()
                .filter(|lease| ended(lease, margin_ms))
                .map(|lease| lease.lease_id.clone())
                .collect();
            for lease_id in over {
                if let Some(lease) = account.finish(&lease_id).filter(|lease| lease.remaining > Micros::ZERO) {
                    unspent.push((campaign_id.clone(), lease));
                }
            }
        }
        let give_back = LeaseRequestKind::Return;
        unspent
            .into_iter()
            .map(|(campaign_id, lease)| {
                self.demand(&campaign_id, give_back, Some(lease.lease_id), lease.remaining, now_ms)
            })
            .collect()
    }

    fn demand(
        &mut self,
        campaign_id: &SmolStr,
        kind: LeaseRequestKind,
        lease_id: Option<SmolStr>,
        amount: Micros,
        timestamp_ms: i64,
    ) -> LeaseDemand {
        self.requests += 1;
        LeaseDemand {
            request_id: format_smolstr!("{}#{}", self.holder, self.requests),
            holder: self.holder.clone(),
            campaign_id: campaign_id.clone(),
            kind,
            lease_id,
            amount,
            timestamp_ms,
        }
    }
}

impl Account {
    /// Demand per second: rises at once, falls slowly, so that a burst is met and a pause does not starve the next one.
    fn measure(&mut self, elapsed_ms: i64) {
        if elapsed_ms == 0 {
            return;
        }
        let now = Micros(self.wanted.0.saturating_mul(1_000) / elapsed_ms);
        let before = Micros(self.wanted_per_s.0 / 10 * 9);
        self.wanted_per_s = now.max(before);
        self.wanted = Micros::ZERO;
    }

    /// What has to be asked for at this time, if anything.
    fn lacks(&self, config: &LeaseBookConfig, campaign: &Campaign, now_ms: i64) -> Option<Micros> {
        let waiting = self.asked_ms.is_some_and(|asked| now_ms.saturating_sub(asked) < config.answer_timeout_ms);
        let idle = self.started && now_ms.saturating_sub(self.last_wanted_ms) > config.idle_ms;
        if waiting || idle || now_ms < self.ask_again_ms || self.leases.len() >= config.leases_max {
            return None;
        }
        let least = campaign.price.0.saturating_mul(config.bids_min.max(1));
        let ahead = (self.wanted_per_s.0 / 1_000).saturating_mul(config.horizon_ms);
        let target = least.max(ahead);
        let fresh = self.fresh(now_ms).0;
        // Half empty is when the next one has to be on its way.
        (fresh < target / 2).then(|| Micros(target.saturating_sub(fresh).max(campaign.price.0)))
    }
}
