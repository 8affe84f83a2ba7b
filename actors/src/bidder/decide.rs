//! The decision on one request: which campaign bids how much, or why none does.
//!
//! One decision a request: the first slot, in the exchange's order, that anything can be bid on. Of a request without a bid
//! the reason is told that came furthest, and how much every filter took out.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use smol_str::SmolStr;

use super::campaigns::{Campaign, Campaigns};
use super::leases::{LeaseBook, SpendRefused};
use super::placeholders::Placeholders;
use super::reason::{Filtered, NoBid};
use crate::fraud::lists::{AgentClass, Lists, NetworkClass};
use crate::money::Micros;
use crate::openrtb::{BidRequest, Imp, Price};

/// The currency that campaigns, floors and the ledger are in. Others are refused, never guessed.
const CURRENCY: &str = "USD";
/// Longest user id, bytes: it becomes a key. A longer one is no id.
const USER_ID_MAX_BYTES: usize = 256;
/// Parameters of the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecideConfig {
    /// Refuse agents and networks on the lists before bidding. Off in the demo: there fraud is to find them afterwards.
    pub filter_invalid_traffic: bool,
    /// Campaigns older than this are not bid for: what was paused or cut meanwhile is not known. Views are minutes behind at
    /// worst in a running platform.
    pub campaigns_age_max_ms: i64,
    /// A request that allows less time than this is not answered in time anyway.
    pub answer_ms: u32,
}

impl Default for DecideConfig {
    fn default() -> DecideConfig {
        DecideConfig { filter_invalid_traffic: false, campaigns_age_max_ms: 15 * 60_000, answer_ms: 10 }
    }
}

/// What a decision reads, each with its age in milliseconds.
#[derive(Clone, Copy)]
pub struct Views<'a> {
    /// Campaigns.
    pub campaigns: &'a Campaigns,
    /// Their age.
    pub campaigns_age_ms: i64,
    /// Money. A lease ends by itself, so its view needs no limit of age.
    pub leases: &'a LeaseBook,
    /// Its age.
    pub leases_age_ms: i64,
    /// Ids that are no person. However old: what is known stays true.
    pub placeholders: &'a Placeholders,
    /// Their age.
    pub placeholders_age_ms: i64,
    /// Known programs and networks; kept however old.
    pub lists: &'a Lists,
}

/// A bid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Who bids, as the snapshot had it.
    pub campaign: Arc<Campaign>,
    /// Offer for one impression, taken from the lease.
    pub price: Micros,
    /// The lease.
    pub lease_id: SmolStr,
}

/// What was decided on a request, with what it was decided on.
#[derive(Clone, Debug)]
pub struct Decision<'r> {
    /// The request.
    pub request: &'r BidRequest<'r>,
    /// The slot that is bid on, else the one that came furthest.
    pub imp: &'r Imp<'r>,
    /// Size of that slot that was bid on, else its first.
    pub size: Option<(i64, i64)>,
    /// Least price of one impression; zero if it was no price.
    pub floor: Micros,
    /// A bid, or why there is none.
    pub outcome: Result<Offer, NoBid>,
    /// How much every filter took out.
    pub filtered: Filtered,
    /// The user, if it is one and may be used.
    pub user_id: Option<&'r str>,
    /// The user's id as sent, if it is a known placeholder.
    pub placeholder: Option<&'r str>,
    /// When it was decided, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Ages of the views: campaigns, leases, placeholders.
    pub(super) ages_ms: [(&'static str, i64); 3],
}

/// Decides on a request. The only effect is the price that a bid takes out of its lease.
pub fn decide<'r>(request: &'r BidRequest<'r>, views: &Views<'_>, config: &DecideConfig, now_ms: i64) -> Decision<'r> {
    let user_id = request.user_id().filter(|id| id.len() <= USER_ID_MAX_BYTES);
    let placeholder = user_id.filter(|id| views.placeholders.contains(id));
    let mut decision = Decision {
        request,
        imp: &request.imp[0],
        size: request.imp[0].sizes().next(),
        floor: Micros::ZERO,
        outcome: Err(NoBid::NoSize),
        filtered: Filtered::default(),
        user_id: if placeholder.is_some() { None } else { user_id },
        placeholder,
        timestamp_ms: now_ms,
        ages_ms: [
            ("campaigns", views.campaigns_age_ms),
            ("leases", views.leases_age_ms),
            ("placeholders", views.placeholders_age_ms),
        ],
    };
    match refuse(request, views, config) {
        Some(reason) => {
            decision.filtered.count(reason);
            decision.outcome = Err(reason);
        }
        None => decision.choose_slot(views),
    }
    decision
}

/// What rules out every slot.
fn refuse(request: &BidRequest<'_>, views: &Views<'_>, config: &DecideConfig) -> Option<NoBid> {
    if request.tmax_ms < config.answer_ms {
        return Some(NoBid::NoTime);
    }
    if views.campaigns_age_ms > config.campaigns_age_max_ms {
        return Some(NoBid::ViewStale);
    }
    if config.filter_invalid_traffic {
        match views.lists.user_agent(request.device.ua.as_deref()) {
            AgentClass::Known => return Some(NoBid::KnownCrawler),
            AgentClass::Missing => return Some(NoBid::SuspectedNonHuman),
            AgentClass::Suspect | AgentClass::Unlisted => {}
        }
        let class = request.network().and_then(|network| views.lists.networks.class_of(network.address()));
        if class.is_some_and(NetworkClass::is_invalid) {
            return Some(NoBid::DataCentre);
        }
    }
    (!request.cur.iter().any(|currency| currency.eq_ignore_ascii_case(CURRENCY))).then_some(NoBid::Currency)
}

impl<'r> Decision<'r> {
    fn choose_slot(&mut self, views: &Views<'_>) {
        let mut furthest = None;
        for imp in &self.request.imp {
            let mut slot = Slot { request: self.request, imp, filtered: Filtered::default() };
            let found = slot.offer(views, self.timestamp_ms);
            for (reason, count) in slot.filtered.iter() {
                (0..count).for_each(|_| self.filtered.count(reason));
            }
            match found {
                Ok((offer, size)) => {
                    (self.imp, self.size, self.floor) = (imp, Some(size), floor_of(imp).unwrap_or_default());
                    self.outcome = Ok(offer);
                    return;
                }
                Err(reason) if furthest.is_none_or(|known| reason > known) => {
                    (self.imp, self.size, self.floor) = (imp, imp.sizes().next(), floor_of(imp).unwrap_or_default());
                    self.outcome = Err(reason);
                    furthest = Some(reason);
                }
                Err(_) => {}
            }
        }
    }

    /// Key of the event: the user, else the auction.
    pub fn key(&self) -> &str {
        self.user_id.unwrap_or(&self.request.id)
    }
}

/// One slot while it is looked at.
struct Slot<'r> {
    request: &'r BidRequest<'r>,
    imp: &'r Imp<'r>,
    filtered: Filtered,
}

impl Slot<'_> {
    /// The best offer for the slot with the size it is for.
    fn offer(&mut self, views: &Views<'_>, now_ms: i64) -> Result<(Offer, (i64, i64)), NoBid> {
        let floor = self.floor().inspect_err(|reason| self.filtered.count(*reason))?;
        let mut candidates: Vec<(&Arc<Campaign>, (i64, i64))> = Vec::new();
        for size in self.imp.sizes() {
            for campaign in views.campaigns.of_size(size) {
                match self.unfit(campaign, floor) {
                    Some(reason) => self.filtered.count(reason),
                    None => candidates.push((campaign, size)),
                }
            }
        }
        // Stable: of one size they are in order already.
        candidates.sort_by(|(a, _), (b, _)| b.price.cmp(&a.price).then_with(|| a.campaign_id.cmp(&b.campaign_id)));
        for (campaign, size) in candidates {
            match views.leases.try_spend(&campaign.campaign_id, campaign.price, now_ms) {
                Ok(lease_id) => {
                    return Ok((Offer { campaign: Arc::clone(campaign), price: campaign.price, lease_id }, size));
                }
                Err(SpendRefused::LeasePending) => self.filtered.count(NoBid::LeasePending),
                Err(SpendRefused::Exhausted) => self.filtered.count(NoBid::BudgetExhausted),
            }
        }
        Err(self.filtered.furthest().unwrap_or_else(|| {
            self.filtered.count(NoBid::NoSize);
            NoBid::NoSize
        }))
    }

    /// The slot's floor, if the slot can be sold to us at all.
    fn floor(&self) -> Result<Micros, NoBid> {
        if self.imp.banner.is_none() {
            return Err(NoBid::NoBanner);
        }
        if self.imp.sizes().next().is_some() && self.imp.sizes().all(|(w, h)| w <= 1 || h <= 1) {
            return Err(NoBid::SlotInvalid);
        }
        let floor = floor_of(self.imp).ok_or(NoBid::PriceInvalid)?;
        let currency = self.imp.bidfloorcur.as_deref().unwrap_or(CURRENCY);
        // A floor of nothing is nothing in every currency.
        if floor > Micros::ZERO && !currency.eq_ignore_ascii_case(CURRENCY) {
            return Err(NoBid::Currency);
        }
        Ok(floor)
    }

    fn unfit(&self, campaign: &Campaign, floor: Micros) -> Option<NoBid> {
        if !campaign.active || campaign.price <= Micros::ZERO {
            return Some(NoBid::Inactive);
        }
        if campaign.currency != CURRENCY {
            return Some(NoBid::Currency);
        }
        let here = |target: &SmolStr| self.request.country() == Some(target.as_str());
        if !campaign.countries.is_empty() && !campaign.countries.iter().any(here) {
            return Some(NoBid::Country);
        }
        // How many impressions a user has seen is not a view yet: a capped campaign stays out rather than exceed its cap.
        if campaign.frequency_cap > 0 {
            return Some(NoBid::CapUnknown);
        }
        let blocks =
            |blocked: &str| campaign.destination_domain.as_deref().is_some_and(|domain| is_under(domain, blocked));
        if self.request.badv.iter().any(|blocked| blocks(blocked)) {
            return Some(NoBid::AdvertiserBlocked);
        }
        (campaign.price < floor).then_some(NoBid::BelowFloor)
    }
}

/// Floor for one impression, rounded up; `None` if it is no price.
fn floor_of(imp: &Imp<'_>) -> Option<Micros> {
    match imp.bidfloor {
        Price::Absent => Some(Micros::ZERO),
        Price::Valid(cpm) => Some(cpm.per_impression_ceil()),
        Price::Invalid(_) => None,
    }
}

/// Whether `domain` is `parent` or below it.
fn is_under(domain: &str, parent: &str) -> bool {
    let Some(start) = domain.len().checked_sub(parent.len()).filter(|_| !parent.is_empty()) else { return false };
    let (above, tail) = domain.as_bytes().split_at(start);
    tail.eq_ignore_ascii_case(parent.as_bytes()) && above.last().is_none_or(|before| *before == b'.')
}
