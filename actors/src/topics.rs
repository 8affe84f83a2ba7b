//! The topic catalogue. Names as the case study's connector produces them; keys so that what must be joined lies in
//! one partition: `user key` is the user id, else the impression's event id.

use runtime::topology::{Topic, days};
use schemas::codec::Encode;
use schemas::events::*;

const USER: &str = "user key";
const CAMPAIGN: &str = "campaign_id";

// From outside.
pub static CAMPAIGNS_CHANGES: Topic = Topic::external("campaigns-changes", CAMPAIGN, CampaignChange::SCHEMA_ID, None);
pub static BUDGETS_CHANGES: Topic = Topic::external("budgets-changes", CAMPAIGN, BudgetChange::SCHEMA_ID, None);
pub static BIDS: Topic = Topic::external("bids", "user id, else auction id", BidEvent::SCHEMA_ID, days(3));
pub static LEASE_REQUESTS: Topic = Topic::external("lease-requests", CAMPAIGN, LeaseRequest::SCHEMA_ID, days(7));
pub static EXCHANGE_NOTICES: Topic = Topic::external("exchange-notices", USER, ExchangeNotice::SCHEMA_ID, days(7));
pub static IMPRESSION_PIXELS: Topic = Topic::external("impression-pixels", USER, ImpressionPixel::SCHEMA_ID, days(7));
pub static CLICK_PIXELS: Topic = Topic::external("click-pixels", USER, ClickPixel::SCHEMA_ID, days(7));
pub static CONVERSION_POSTS: Topic = Topic::external("conversion-posts", USER, ConversionPost::SCHEMA_ID, days(7));

// Between services.
pub static RESERVATIONS: Topic = Topic::internal("reservations", CAMPAIGN, Reservation::SCHEMA_ID, days(7));
pub static AUCTION_RESULTS: Topic =
    Topic::internal("auction-results", CAMPAIGN, AuctionResultEvent::SCHEMA_ID, days(7));
pub static IMPRESSIONS: Topic = Topic::internal("impressions", USER, ImpressionEvent::SCHEMA_ID, days(30));
pub static CLICKS: Topic = Topic::internal("clicks", USER, ClickEvent::SCHEMA_ID, days(90));
pub static CONVERSIONS: Topic = Topic::internal("conversions", USER, ConversionEvent::SCHEMA_ID, days(90));
pub static FRAUD_VERDICTS: Topic = Topic::internal("fraud-verdicts", USER, FraudVerdict::SCHEMA_ID, days(90));
pub static BILLING_EVENTS: Topic = Topic::internal("billing-events", CAMPAIGN, BillingEvent::SCHEMA_ID, days(400));
pub static ATTRIBUTIONS: Topic = Topic::internal("attributions", USER, AttributionResult::SCHEMA_ID, days(90));

// Folded into views.
pub static CAMPAIGN_STATES: Topic = Topic::compacted("campaign-states", CAMPAIGN, CampaignState::SCHEMA_ID);
pub static BUDGET_LEASES: Topic = Topic::internal("budget-leases", CAMPAIGN, BudgetLease::SCHEMA_ID, days(7));
pub static BUDGET_STATUS: Topic = Topic::compacted("budget-status", CAMPAIGN, BudgetStatus::SCHEMA_ID);
pub static PLACEHOLDER_USERS: Topic =
    Topic::compacted("placeholder-users", "user_id@shard", PlaceholderUser::SCHEMA_ID);
pub static CAMPAIGN_METRICS_1M: Topic =
    Topic::compacted("campaign-metrics-1m", "campaign_id:window_start@shard", CampaignMinute::SCHEMA_ID);
