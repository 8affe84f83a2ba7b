//! The one decision on a request: whoever asks for it, the same views are read and the same event is written.

use actors::bidder::{DecideConfig, Decision, decide};
use actors::openrtb::BidRequest;
use runtime::env::Env;
use schemas::events::BidEvent;

use crate::platform::Views;

/// Decides on a request and hands the decision with its event to `take`.
pub fn decided<'r, R>(
    env: &Env,
    views: &Views,
    config: &DecideConfig,
    request: &'r BidRequest<'r>,
    take: impl FnOnce(&Decision<'r>, &BidEvent<'_>) -> R,
) -> R {
    let (started_us, now_ms) = (env.clock.mono_us(), env.clock.wall_ms());
    let decision = views.with(|views| decide(request, views, config, now_ms));
    let decision_us = (env.clock.mono_us() - started_us) as i64;
    decision.with_event(decision_us, |event| take(&decision, event))
}
