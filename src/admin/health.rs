//! Alive, ready, and who is not.

use std::sync::atomic::Ordering;

use runtime::view::ViewAge;
use serde_json::{Value, json};

use super::state::State;

/// A view that has not caught up for this long is not decided from; a new one has never caught up.
const VIEW_AGE_MAX_MS: i64 = 10_000;

/// Whether every supervisor is there to restart what fails. Says nothing of the log or of lag: a restart mends neither.
pub fn is_alive(state: &State) -> bool {
    state.up.platform.bulkheads.iter().all(|bulkhead| bulkhead.is_supervised())
}

/// Whether requests should be sent here, and every part of the answer.
pub fn readiness(state: &State) -> (bool, Value) {
    let draining = state.draining.load(Ordering::Acquire);
    let mut ready = !draining;
    let mut services = Vec::new();
    for bulkhead in &state.up.platform.bulkheads {
        let (running, shards) = (bulkhead.running(), bulkhead.owned());
        // Where a group shares shards out, those of others are not waited for.
        let is_ready = bulkhead.is_settled() && running == shards && !bulkhead.is_degraded();
        ready &= is_ready;
        services.push(json!({
            "service": bulkhead.spec.name, "ready": is_ready, "shards_running": running, "shards": shards,
            "degraded": bulkhead.is_degraded(), "lag": bulkhead.lag(), "parked": bulkhead.parked(),
        }));
    }
    let room = state.up.log.room();
    ready &= room.is_ok();
    let views: Vec<Value> = views(state)
        .into_iter()
        .map(|(name, age)| {
            let age_ms = age.ms();
            let is_ready = age_ms <= VIEW_AGE_MAX_MS;
            ready &= is_ready;
            json!({ "view": name, "ready": is_ready, "age_ms": age_ms })
        })
        .collect();
    let log = room.err().map(|error| error.to_string());
    let all = json!({ "ready": ready, "draining": draining, "log_refuses": log, "services": services, "views": views });
    (ready, all)
}

/// Every view with its age.
pub fn views(state: &State) -> [(&'static str, &ViewAge); 3] {
    let views = &state.up.views;
    [("campaigns", &views.campaigns_age), ("leases", &views.leases_age), ("placeholders", &views.placeholders_age)]
}
