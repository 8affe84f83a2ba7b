//! Keeps the purses of this process filled while it bids; for the demo it also brings the campaigns in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use actors::bidder::LeaseDemand;
use actors::market::campaigns::DemoCampaign;
use actors::money::Micros;
use actors::topics::{BUDGETS_CHANGES, CAMPAIGNS_CHANGES, LEASE_REQUESTS};
use runtime::env::Env;
use runtime::log::AppendError;

use super::slices::{Slices, SourceError};
use crate::platform::Views;

/// How often the book is asked what it lacks.
const STEP: Duration = Duration::from_millis(10);
/// The views must know the campaigns, and their first leases, by then.
const READY_LIMIT_MS: i64 = 15_000;

/// The source of lease requests.
pub struct Treasury {
    env: Env,
    slices: Slices,
    /// Times that it waited because the disk was full.
    pauses: Arc<AtomicU64>,
    views: Views,
}

impl Treasury {
    pub fn new(env: &Env, slices: Slices, pauses: Arc<AtomicU64>, views: Views) -> Self {
        Self { env: env.clone(), slices, pauses, views }
    }

    /// Brings campaigns and budgets in as the change stream of their database would, and waits until decisions can be
    /// made: the views know them, and every campaign that may bid has money or was refused it.
    ///
    /// # Errors
    /// [`SourceError`] if the log refuses, or nothing comes back.
    pub async fn open(&mut self, campaigns: &[DemoCampaign]) -> Result<(), SourceError> {
        let now_ms = self.env.clock.wall_ms();
        // Positions grow with time, so that a second run on one directory changes what the first has left.
        let first_lsn = now_ms << 8;
        for (index, campaign) in campaigns.iter().enumerate() {
            let (lsn, id) = (first_lsn + 2 * index as i64, campaign.campaign_id.as_str());
            let producer = &mut self.slices.producer;
            campaign.with_campaign_change(lsn, now_ms, |change| {
                producer.add(&CAMPAIGNS_CHANGES, id, now_ms, &change, None)
            })?;
            producer.add(&BUDGETS_CHANGES, id, now_ms, &campaign.budget_change(lsn + 1, now_ms), None)?;
        }
        self.flush().await?;
        while !self.ready(campaigns, first_lsn) {
            if self.env.clock.wall_ms() - now_ms > READY_LIMIT_MS && self.slices.has_room() {
                let what = format!("campaigns and leases did not come within {} s", READY_LIMIT_MS / 1_000);
                return Err(SourceError::NotReady(what));
            }
            self.step().await?;
            self.env.clock.sleep(STEP).await;
        }
        Ok(())
    }

    fn ready(&self, campaigns: &[DemoCampaign], first_lsn: i64) -> bool {
        let (known, now_ms) = (self.views.campaigns.load(), self.env.clock.wall_ms());
        let mut rich = 0;
        let all_known = campaigns.iter().all(|campaign| {
            rich += usize::from(self.views.leases.available(&campaign.campaign_id, now_ms) > Micros::ZERO);
            known.get(&campaign.campaign_id).is_some_and(|known| known.lsn >= first_lsn)
        });
        // On a directory of an earlier run a budget may be used up: that is no reason to wait.
        all_known && rich > 0
    }

    /// Runs until `stop`, then gives everything back.
    ///
    /// # Errors
    /// [`SourceError`] if the log refuses.
    pub async fn run(mut self, stop: Arc<AtomicBool>) -> Result<(), SourceError> {
        while !stop.load(Ordering::Acquire) {
            self.step().await?;
            self.env.clock.sleep(STEP).await;
        }
        let returns = self.views.leases.give_back(self.env.clock.wall_ms());
        self.send(&returns).await?;
        Ok(())
    }

    async fn step(&mut self) -> Result<(), AppendError> {
        let demands = self.views.leases.demands(&self.views.campaigns.load(), self.env.clock.wall_ms());
        self.send(&demands).await
    }

    async fn send(&mut self, demands: &[LeaseDemand]) -> Result<(), AppendError> {
        for demand in demands {
            let producer = &mut self.slices.producer;
            producer.add(&LEASE_REQUESTS, &demand.campaign_id, demand.timestamp_ms, &demand.request(), None)?;
        }
        if demands.is_empty() { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> Result<(), AppendError> {
        self.slices.send(&self.pauses).await.await
    }
}
