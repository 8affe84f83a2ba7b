//! Campaigns and budgets of the demo, as the change stream of the campaign database would bring them. SYNTHETIC.

use schemas::codec::{Array, Map};
use schemas::events::{
    BudgetChange, BudgetPeriod, BudgetRow, BudgetSource, CampaignChange, CampaignRow, CampaignSource, CampaignStatus,
};

use crate::draw;
use crate::money::{Cpm, MICROS_PER_UNIT, Micros};

/// Clicks on an ad lead below this reserved domain (RFC 2606): no exchange blocks it and nobody owns it.
const DESTINATION_SUFFIX: &str = "example";

/// One campaign with its budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoCampaign {
    /// Primary key.
    pub campaign_id: String,
    /// Primary key of its budget.
    pub budget_id: String,
    /// Owner.
    pub advertiser_id: String,
    /// Name for people.
    pub name: String,
    /// May it bid?
    pub active: bool,
    /// Creative served.
    pub creative_id: String,
    /// Width and height of the creative, pixels.
    pub size: (i32, i32),
    /// Offer per thousand impressions.
    pub bid: Cpm,
    /// ISO 3166 alpha-3 targets; empty for all.
    pub countries: Vec<&'static str>,
    /// Most impressions per user and day; 0 for no cap.
    pub frequency_cap: i32,
    /// Where clicks lead.
    pub destination_domain: String,
    /// Budget.
    pub budget: Micros,
}

/// What varies between the demo's campaigns.
struct Draft {
    name: &'static str,
    active: bool,
    size: (i32, i32),
    bid_cents_cpm: i64,
    countries: &'static [&'static str],
    budget_cents: i64,
}

/// Between them the drafts fit most of the recorded slots. At these prices three of ten bids win against
/// [`super::rates::COMPETITOR_PRICE_QUANTILES`], at about 180 micros an impression, so that twenty thousand requests
/// spend less than a dollar: budgets are of that scale. `tight` runs out on the way, the others do not.
const DRAFTS: [Draft; 7] = [
    Draft {
        name: "medium rectangle, all countries",
        active: true,
        size: (300, 250),
        bid_cents_cpm: 32,
        countries: &[],
        budget_cents: 500,
    },
    Draft {
        name: "medium rectangle, tight budget",
        active: true,
        size: (300, 250),
        bid_cents_cpm: 46,
        countries: &["USA"],
        budget_cents: 25,
    },
    Draft { name: "leaderboard", active: true, size: (728, 90), bid_cents_cpm: 32, countries: &[], budget_cents: 500 },
    Draft {
        name: "leaderboard, Canada",
        active: true,
        size: (728, 90),
        bid_cents_cpm: 40,
        countries: &["CAN"],
        budget_cents: 200,
    },
    Draft {
        name: "wide skyscraper",
        active: true,
        size: (160, 600),
        bid_cents_cpm: 35,
        countries: &[],
        budget_cents: 300,
    },
    Draft { name: "skyscraper", active: true, size: (120, 600), bid_cents_cpm: 30, countries: &[], budget_cents: 100 },
    Draft {
        name: "leaderboard, paused",
        active: false,
        size: (728, 90),
        bid_cents_cpm: 250,
        countries: &[],
        budget_cents: 500,
    },
];

/// The demo's campaigns. The seed moves prices by up to a twentieth, nothing else.
pub fn demo_campaigns(seed: u64) -> Vec<DemoCampaign> {
    let campaign = |(index, draft): (usize, &Draft)| {
        let number = index + 1;
        let mut rng = draw::stream(seed, "campaign", draft.name);
        let cents_cpm_micros = MICROS_PER_UNIT / 100;
        let base = draft.bid_cents_cpm * cents_cpm_micros;
        DemoCampaign {
            campaign_id: format!("camp-{number}"),
            budget_id: format!("budget-{number}"),
            // Two campaigns of one owner share a bill.
            advertiser_id: format!("adv-{}", number.div_ceil(2)),
            name: draft.name.to_owned(),
            active: draft.active,
            creative_id: format!("creative-{number}-{}x{}", draft.size.0, draft.size.1),
            size: draft.size,
            bid: Cpm(base + rng.i64(-base / 20..=base / 20)),
            countries: draft.countries.to_vec(),
            frequency_cap: 0,
            destination_domain: format!("shop-{number}.{DESTINATION_SUFFIX}"),
            budget: Micros(draft.budget_cents * cents_cpm_micros),
        }
    };
    DRAFTS.iter().enumerate().map(campaign).collect()
}

impl DemoCampaign {
    /// Hands the row of `public.campaigns` as its first snapshot shows it to `take`.
    pub fn with_campaign_change<R>(&self, lsn: i64, ts_ms: i64, take: impl FnOnce(CampaignChange<'_>) -> R) -> R {
        let after = CampaignRow {
            campaign_id: &self.campaign_id,
            advertiser_id: &self.advertiser_id,
            name: &self.name,
            status: if self.active { CampaignStatus::Active } else { CampaignStatus::Paused },
            creative_id: &self.creative_id,
            width: self.size.0,
            height: self.size.1,
            bid_cpm_micros: self.bid.0,
            countries: Array::from_slice(&self.countries),
            frequency_cap: self.frequency_cap,
            destination_domain: Some(&self.destination_domain),
        };
        let source = CampaignSource { lsn, tx_id: None, table: "campaigns", snapshot: "true" };
        take(CampaignChange { before: None, after: Some(after), op: "r", ts_ms, source, metadata: Map::default() })
    }

    /// The row of `public.budgets`, likewise.
    pub fn budget_change(&self, lsn: i64, ts_ms: i64) -> BudgetChange<'_> {
        let after = BudgetRow {
            budget_id: &self.budget_id,
            campaign_id: &self.campaign_id,
            advertiser_id: &self.advertiser_id,
            period: BudgetPeriod::Lifetime,
            amount_micros: self.budget.0,
            currency: "USD",
            timezone: "UTC",
            version: 1,
        };
        let source = BudgetSource { lsn, tx_id: None, table: "budgets", snapshot: "true" };
        BudgetChange { before: None, after: Some(after), op: "r", ts_ms, source, metadata: Map::default() }
    }
}
