//! Campaigns as the decision sees them: an immutable snapshot, indexed by size, swapped whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use runtime::outcome::Failure;
use runtime::service::Event;
use runtime::topology::Topic;
use runtime::view::View;
use schemas::events::CampaignState;
use smol_str::SmolStr;

use crate::money::{Cpm, Micros};
use crate::topics::CAMPAIGN_STATES;

/// A campaign, as far as a decision needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// Key.
    pub campaign_id: SmolStr,
    /// Owner.
    pub advertiser_id: SmolStr,
    /// Creative served.
    pub creative_id: SmolStr,
    /// Width and height of the creative, pixels.
    pub size: (i64, i64),
    /// Offer for one impression.
    pub price: Micros,
    /// May bid.
    pub active: bool,
    /// ISO 3166 alpha-3 targets; empty for all.
    pub countries: Vec<SmolStr>,
    /// Most impressions per user and day; 0 for no cap.
    pub frequency_cap: i32,
    /// Where clicks lead; publishers may block it.
    pub destination_domain: Option<SmolStr>,
    /// ISO 4217.
    pub currency: SmolStr,
    /// Position of the change that made it so.
    pub lsn: i64,
}

impl From<&CampaignState<'_>> for Campaign {
    fn from(state: &CampaignState<'_>) -> Campaign {
        Campaign {
            campaign_id: state.campaign_id.into(),
            advertiser_id: state.advertiser_id.into(),
            creative_id: state.creative_id.into(),
            size: (state.width.into(), state.height.into()),
            price: Cpm(state.bid_cpm_micros).per_impression_floor(),
            active: state.active,
            countries: state.countries.iter().map(SmolStr::new).collect(),
            frequency_cap: state.frequency_cap,
            destination_domain: state.destination_domain.filter(|domain| !domain.is_empty()).map(SmolStr::new),
            currency: state.currency.into(),
            lsn: state.lsn,
        }
    }
}

/// A snapshot of all campaigns.
#[derive(Clone, Debug, Default)]
pub struct Campaigns {
    /// The best price first; equal prices by id, so that every process decides alike.
    by_size: BTreeMap<(i64, i64), Vec<Arc<Campaign>>>,
    all: BTreeMap<SmolStr, Arc<Campaign>>,
}

impl Campaigns {
    /// Indexes campaigns.
    pub fn new(campaigns: impl IntoIterator<Item = Campaign>) -> Campaigns {
        let all: BTreeMap<SmolStr, Arc<Campaign>> =
            campaigns.into_iter().map(|campaign| (campaign.campaign_id.clone(), Arc::new(campaign))).collect();
        let mut by_size: BTreeMap<(i64, i64), Vec<Arc<Campaign>>> = BTreeMap::new();
        for campaign in all.values() {
            by_size.entry(campaign.size).or_default().push(Arc::clone(campaign));
        }
        for same_size in by_size.values_mut() {
            same_size.sort_by(|a, b| b.price.cmp(&a.price).then_with(|| a.campaign_id.cmp(&b.campaign_id)));
        }
        Campaigns { by_size, all }
    }

    /// Campaigns with a creative of this size, the best price first.
    pub fn of_size(&self, size: (i64, i64)) -> &[Arc<Campaign>] {
        self.by_size.get(&size).map_or(&[], Vec::as_slice)
    }

    /// All campaigns, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Campaign>> {
        self.all.values()
    }

    /// One campaign.
    pub fn get(&self, campaign_id: &str) -> Option<&Arc<Campaign>> {
        self.all.get(campaign_id)
    }
}

/// Folds `campaign-states` into snapshots.
pub struct CampaignsView {
    rows: BTreeMap<SmolStr, Campaign>,
    changed: bool,
    shared: Arc<ArcSwap<Campaigns>>,
}

impl CampaignsView {
    /// The view, and where its readers find the latest snapshot.
    pub fn new() -> (CampaignsView, Arc<ArcSwap<Campaigns>>) {
        let shared = Arc::new(ArcSwap::from_pointee(Campaigns::default()));
        (CampaignsView { rows: BTreeMap::new(), changed: false, shared: Arc::clone(&shared) }, shared)
    }
}

impl View for CampaignsView {
    fn name(&self) -> &'static str {
        "campaigns"
    }

    fn topics(&self) -> Vec<&'static Topic> {
        vec![&CAMPAIGN_STATES]
    }

    fn apply(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        let state: CampaignState<'_> = event.decode()?;
        if state.deleted {
            self.rows.remove(state.campaign_id);
        } else {
            self.rows.insert(state.campaign_id.into(), Campaign::from(&state));
        }
        self.changed = true;
        Ok(())
    }

    fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.shared.store(Arc::new(Campaigns::new(self.rows.values().cloned())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::log::Headers;

    fn apply(view: &mut CampaignsView, state: &CampaignState<'_>) {
        let mut value = Vec::new();
        schemas::frame::encode(state, &mut value);
        let key = state.campaign_id.as_bytes();
        let event = Event { topic: &CAMPAIGN_STATES, key, timestamp_ms: 1, value: &value, headers: Headers::empty() };
        view.apply(&event).expect("state");
    }

    fn state(campaign_id: &str, bid_cpm_micros: i64) -> CampaignState<'_> {
        CampaignState { campaign_id, active: true, width: 300, height: 250, bid_cpm_micros, ..CampaignState::default() }
    }

    #[test]
    fn readers_see_whole_snapshots_ordered_by_price() {
        let (mut view, shared) = CampaignsView::new();
        apply(&mut view, &state("b", 2_000));
        apply(&mut view, &state("a", 2_000));
        apply(&mut view, &state("c", 9_999));
        assert_eq!(shared.load().iter().count(), 0, "nothing before it is published");
        view.publish();
        let ids = |snapshot: &Campaigns| -> Vec<String> {
            snapshot.of_size((300, 250)).iter().map(|campaign| campaign.campaign_id.to_string()).collect()
        };
        assert_eq!(ids(&shared.load()), ["c", "a", "b"]);
        assert_eq!(shared.load().get("c").map(|campaign| campaign.price), Some(Micros(9)), "rounded down, never up");
        apply(&mut view, &CampaignState { deleted: true, ..state("c", 1) });
        view.publish();
        assert_eq!(ids(&shared.load()), ["a", "b"]);
        assert!(shared.load().of_size((1, 1)).is_empty());
    }
}
