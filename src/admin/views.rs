//! What the bid decides from, as JSON. The keys of people are not in it.

use serde_json::{Value, json};

use crate::platform::Composed;

/// Rows shown of a view.
const ROWS_MAX: usize = 1_000;

/// A view by name; `None` if there is none.
pub fn view(up: &Composed, name: &str) -> Option<Value> {
    let views = &up.views;
    let now_ms = up.env.clock.wall_ms();
    Some(match name {
        "campaigns" => {
            let campaigns = views.campaigns.load();
            let rows: Vec<Value> = campaigns
                .iter()
                .take(ROWS_MAX)
                .map(|campaign| {
                    json!({
                        "campaign_id": campaign.campaign_id.as_str(), "advertiser_id": campaign.advertiser_id.as_str(),
                        "creative_id": campaign.creative_id.as_str(), "size": [campaign.size.0, campaign.size.1],
                        "price_micros": campaign.price.0, "active": campaign.active, "lsn": campaign.lsn,
                        "countries": campaign.countries.iter().map(|c| c.as_str()).collect::<Vec<_>>(),
                    })
                })
                .collect();
            json!({ "view": name, "age_ms": views.campaigns_age.ms(), "rows": rows })
        }
        "leases" => {
            let campaigns = views.campaigns.load();
            let rows: Vec<Value> = campaigns
                .iter()
                .take(ROWS_MAX)
                .map(|campaign| {
                    let available = views.leases.available(&campaign.campaign_id, now_ms);
                    json!({ "campaign_id": campaign.campaign_id.as_str(), "available_micros": available.0 })
                })
                .collect();
            json!({ "view": name, "age_ms": views.leases_age.ms(), "rows": rows })
        }
        "placeholders" => {
            json!({ "view": name, "age_ms": views.placeholders_age.ms(), "count": views.placeholders.load().len() })
        }
        _ => return None,
    })
}
