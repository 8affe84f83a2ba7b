//! What is traced, changed while the process runs: all auctions one in so many, and one campaign or service for a while.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::audit;
use super::routes::{Answered, App, Refusal, allowed};

/// Nobody follows anything for longer.
const FOR_S_MAX: u64 = 86_400;
const FOR_S_DEFAULT: u64 = 300;

/// A change; what is not named stays.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    one_in: Option<u64>,
    campaign: Option<String>,
    service: Option<String>,
    /// Seconds that the campaign or service is followed; 0 ends it.
    for_s: Option<u64>,
}

fn absent() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "this process has no telemetry".to_owned())
}

pub async fn shown(Shared(state): Shared<App>) -> Answered {
    Ok(Json(state.up.telemetry.as_ref().ok_or_else(absent)?.sampling.shown()).into_response())
}

pub async fn change(Shared(state): Shared<App>, headers: HeaderMap, body: String) -> Answered {
    allowed(&state, &headers)?;
    let wrong = |what: String| Refusal(StatusCode::BAD_REQUEST, what);
    let change: Change = serde_json::from_str(&body).map_err(|error| wrong(error.to_string()))?;
    let sampling = &state.up.telemetry.as_ref().ok_or_else(absent)?.sampling;
    let for_s = change.for_s.unwrap_or(FOR_S_DEFAULT);
    if for_s > FOR_S_MAX {
        return Err(wrong(format!("`for_s` {for_s} is more than a day ({FOR_S_MAX})")));
    }
    if let Some(service) = &change.service
        && state.up.platform.bulkhead(service).is_none()
    {
        return Err(wrong(format!("no service `{service}` runs here; see /actors")));
    }
    if change.campaign.as_ref().is_some_and(|campaign| campaign.is_empty() || campaign.len() > 256) {
        return Err(wrong("`campaign` must have 1 to 256 bytes".to_owned()));
    }
    audit::told(&state, &headers, "sampling", &json!(change)).await?;
    sampling.follow(change.campaign.as_deref(), change.service.as_deref(), for_s).map_err(wrong)?;
    if let Some(one_in) = change.one_in {
        sampling.set_one_in(one_in);
    }
    state.actions.fetch_add(1, Ordering::Relaxed);
    tracing::info!(one_in = change.one_in, for_s, "sampling changed through the admin listener");
    Ok(Json(sampling.shown()).into_response())
}
