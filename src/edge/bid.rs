//! `POST /openrtb2/bid`: answered from views in this process's memory. The decision is written before it is answered; on
//! the disk's sync the answer waits only where that is configured (docs/decisions/0012).

use actors::bidder::DecideConfig;
use actors::ids;
use actors::openrtb::{self, BidRequest};
use actors::topics::BIDS;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request};

use super::answer::{self, Answer, Refused};
use super::recent::Said;
use super::serve::Served;
use super::{depth, facts, query, response};
use crate::sources::decision::decided;
use crate::telemetry::RequestSpan;

/// Header of a caller that traces.
const TRACEPARENT: &str = "traceparent";
/// OpenRTB's "insufficient auction time": what is told to those who are turned away.
pub const NBR_NO_TIME: i32 = 15;
/// "Unknown error".
const NBR_UNKNOWN: i32 = 0;

/// Answers one bid request.
///
/// # Errors
/// [`Refused`], for the sender.
pub async fn bid(served: &Served, request: Request<Incoming>, since_us: u64) -> Result<Answer, Refused> {
    if request.method() != Method::POST {
        return Err(Refused::bad("METHOD", "bid requests are POSTed to /openrtb2/bid as JSON"));
    }
    if let Some(why) = served.turns_away(since_us) {
        // Whoever came before is served first. Nothing of the body is read, so this costs next to nothing.
        served.stats.reason("shed", why);
        return Ok(answer::no_bid(NBR_NO_TIME));
    }
    let wants_reason = query::value(request.uri().query(), "nbr").is_some();
    let caller = request.headers().get(TRACEPARENT).cloned();
    let body = served.body(request).await?;
    if !depth::is_within(&body, served.config().depth_max) {
        return Err(Refused::bad("DEPTH", format!("JSON nests deeper than {}", served.config().depth_max)));
    }
    let parsed = openrtb::parse(&body).map_err(|rejected| Refused::bad(rejected.kind(), rejected.to_string()))?;
    answer_request(served, &parsed, caller.as_ref().map(HeaderValue::as_bytes), since_us, wants_reason).await
}

async fn answer_request(
    served: &Served,
    request: &BidRequest<'_>,
    caller: Option<&[u8]>,
    since_us: u64,
    wants_reason: bool,
) -> Result<Answer, Refused> {
    let auction = ids::bid_id(request.exchange(), &request.id, "");
    if let Some(said) = served.recent.get(&auction, since_us) {
        served.stats.reason("repeated", if matches!(said, Said::Bid(_)) { "bid" } else { "no_bid" });
        return Ok(told(&said, request, wants_reason));
    }
    let config = decide_config(served, since_us);
    let (keys, mut span) = (served.keys.load(), None);
    let (said, pending) = decided(&served.env, &served.views, &config, request, |decision, event| {
        let facts = facts::of_bid(event).unwrap_or_default();
        let bid = response::bid(decision, event.bid_id, &facts, &keys, &served.base());
        let said = match (&decision.outcome, bid) {
            (Ok(_), Some(bid)) => Said::Bid(bid.into()),
            (Ok(_), None) => Said::NoBid(NBR_UNKNOWN),
            (Err(reason), _) => {
                served.stats.reason("no_bid", reason.as_str());
                Said::NoBid(reason.code())
            }
        };
        let timestamp_ms = decision.timestamp_ms;
        span = span_of(served, caller, event.auction_id, event.campaign_id, since_us);
        let context = span.as_ref().map(|span| &span.context);
        (said, served.appender.append(&BIDS, decision.key(), timestamp_ms, event, context))
    });
    // The event is bounded by the body's limit; a record that the log cannot take is a bid that is not made.
    let pending = pending.map_err(|error| Refused::bad(error.kind(), error.to_string()))?;
    let answer = told(&said, request, wants_reason);
    served.recent.put(auction, said, since_us);
    if served.config().bid_waits_for_log {
        served.settled(pending).await?;
    }
    if let (Some(hub), Some(span)) = (&served.telemetry, span) {
        hub.request(span, "/openrtb2/bid", "POST", answer.status().as_u16(), since_us);
    }
    Ok(answer)
}

/// The span of a request whose auction is traced.
fn span_of(
    served: &Served,
    caller: Option<&[u8]>,
    auction_id: &str,
    campaign_id: Option<&str>,
    since_us: u64,
) -> Option<RequestSpan> {
    let context = served.telemetry.as_ref()?.sampling.context(caller, auction_id, campaign_id)?;
    RequestSpan::of_bid(context, caller == Some(&context), since_us)
}

/// What is left of the exchange's time counts from the arrival of the request.
fn decide_config(served: &Served, since_us: u64) -> DecideConfig {
    let gone_ms = served.env.clock.mono_us().saturating_sub(since_us) / 1_000;
    let default = DecideConfig::default();
    DecideConfig {
        filter_invalid_traffic: served.config().filter_invalid_traffic,
        answer_ms: default.answer_ms.saturating_add(u32::try_from(gone_ms).unwrap_or(u32::MAX)),
        ..default
    }
}

fn told(said: &Said, request: &BidRequest<'_>, wants_reason: bool) -> Answer {
    match said {
        Said::Bid(body) => answer::json(body.clone()),
        Said::NoBid(nbr) if wants_reason => answer::json(response::no_bid(&request.id, *nbr).into()),
        Said::NoBid(nbr) => answer::no_bid(*nbr),
    }
}
