//! What there is to recount: topics and services, written down a second time.

/// How a topic's records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From outside: may repeat, has no provenance.
    External,
    /// From a service: repetitions are recognised by their provenance.
    Internal,
    /// The newest value of a key counts.
    Compacted,
    /// Events that one service had set aside, brought back to it.
    Replay,
}

/// Topic, schema of its values, kind.
pub type Topic = (&'static str, &'static str, Kind);

pub const TOPICS: [Topic; 21] = [
    ("campaigns-changes", "CampaignChange", Kind::External),
    ("budgets-changes", "BudgetChange", Kind::External),
    ("bids", "BidEvent", Kind::External),
    ("lease-requests", "LeaseRequest", Kind::External),
    ("exchange-notices", "ExchangeNotice", Kind::External),
    ("impression-pixels", "ImpressionPixel", Kind::External),
    ("click-pixels", "ClickPixel", Kind::External),
    ("conversion-posts", "ConversionPost", Kind::External),
    ("reservations", "Reservation", Kind::Internal),
    ("auction-results", "AuctionResultEvent", Kind::Internal),
    ("impressions", "ImpressionEvent", Kind::Internal),
    ("clicks", "ClickEvent", Kind::Internal),
    ("conversions", "ConversionEvent", Kind::Internal),
    ("fraud-verdicts", "FraudVerdict", Kind::Internal),
    ("billing-events", "BillingEvent", Kind::Internal),
    ("attributions", "AttributionResult", Kind::Internal),
    ("budget-leases", "BudgetLease", Kind::Internal),
    ("campaign-states", "CampaignState", Kind::Compacted),
    ("budget-status", "BudgetStatus", Kind::Compacted),
    ("placeholder-users", "PlaceholderUser", Kind::Compacted),
    ("campaign-metrics-1m", "CampaignMinute", Kind::Compacted),
];

/// Service and its inputs.
pub type Service = (&'static str, &'static [&'static str]);

pub const SERVICES: [Service; 9] = [
    ("campaigns", &["campaigns-changes", "budgets-changes"]),
    ("bidding", &["bids"]),
    ("budget", &["campaign-states", "lease-requests", "reservations", "auction-results"]),
    ("tracking", &["click-pixels", "conversion-posts", "exchange-notices"]),
    ("ads", &["impression-pixels"]),
    ("fraud", &["impressions", "clicks"]),
    ("billing", &["impressions", "fraud-verdicts"]),
    ("attribution", &["clicks", "conversions", "fraud-verdicts"]),
    ("analytics", &["impressions", "clicks", "attributions", "fraud-verdicts"]),
];

/// A topic of the catalogue.
pub fn topic(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.0 == name)
}
