//! `/t/…`: what is reported is appended, and answered once the log has it. The services behind recognise repetitions.

use std::borrow::Cow;
use std::net::IpAddr;

use actors::ids;
use actors::intake::user_key;
use actors::metadata::{BID_ID, IP, PRICE_RAW, SENTINEL_USER, SOURCE, TEST, UA};
use actors::net::{Network, clip};
use actors::topics::{CLICK_PIXELS, CONVERSION_POSTS, EXCHANGE_NOTICES, IMPRESSION_PIXELS};
use hyper::body::Incoming;
use hyper::header::USER_AGENT;
use hyper::{Method, Request};
use runtime::topology::Topic;
use schemas::codec::{Encode, Map};
use schemas::events::{ClickPixel, ConversionPost, ExchangeNotice, ImpressionPixel};
use serde::Deserialize;

use super::answer::{self, Answer, Refused};
use super::macros::{self, Price};
use super::serve::Served;
use super::stats::Route;
use super::token::Purpose;
use super::{depth, facts, query};
use crate::telemetry::RequestSpan;

/// Longest agent that enters an event, bytes.
const AGENT_MAX_BYTES: usize = 512;
/// Parameter that an advertiser's page gets with the click, and posts its orders with.
const CLICK_PARAMETER: &str = "bh";
const AUDIT: &str = "AUDIT";

/// One report while it is served.
struct Report<'a> {
    served: &'a Served,
    query: Option<&'a str>,
    agent: &'a str,
    network: String,
    now_ms: i64,
}

/// Answers one report.
///
/// # Errors
/// [`Refused`], for the sender.
pub async fn track(
    served: &Served,
    route: Route,
    request: Request<Incoming>,
    sender: IpAddr,
) -> Result<Answer, Refused> {
    let expected = if route == Route::Conversion { Method::POST } else { Method::GET };
    if request.method() != expected {
        return Err(Refused::bad("METHOD", format!("/t/{} takes {expected}", route.name())));
    }
    if let Some(why) = served.appender.behind() {
        return Err(Refused::later("BEHIND", format!("{why}; send it again in a second")));
    }
    let uri = request.uri().clone();
    let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default().to_owned();
    let report = Report {
        served,
        query: uri.query(),
        agent: clip(&agent, AGENT_MAX_BYTES),
        network: Network::from(sender).to_string(),
        now_ms: served.env.clock.wall_ms(),
    };
    match route {
        Route::Impression => report.impression().await,
        Route::Win => report.notice(true).await,
        Route::Loss => report.notice(false).await,
        Route::Click => report.click().await,
        _ => {
            let body = served.body(request).await?;
            report.conversion(&body).await
        }
    }
}

/// An order, as an advertiser posts it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order<'a> {
    #[serde(borrow)]
    order_id: Cow<'a, str>,
    /// Millionths of the currency's unit: no order's value goes through a float.
    #[serde(default)]
    value_micros: i64,
    #[serde(borrow, default = "usd")]
    currency: Cow<'a, str>,
    #[serde(borrow, default = "purchase", rename = "type")]
    kind: Cow<'a, str>,
}

fn usd<'a>() -> Cow<'a, str> {
    Cow::Borrowed("USD")
}

fn purchase<'a>() -> Cow<'a, str> {
    Cow::Borrowed("purchase")
}

impl Report<'_> {
    fn open(&self, purpose: Purpose) -> Result<Vec<u8>, Refused> {
        let token = query::value(self.query, "t").unwrap_or_default();
        let opened = self.served.keys.load().open(&token, purpose, self.now_ms);
        opened.map_err(|error| Refused::bad(error.kind(), error.to_string()))
    }

    fn price(&self, name: &str) -> Result<Price, Refused> {
        macros::price(query::value(self.query, name).as_deref()).map_err(|what| Refused::bad("PRICE", what))
    }

    async fn impression(&self) -> Result<Answer, Refused> {
        let content = self.open(Purpose::Impression)?;
        let bid = decoded(&content)?;
        let price = self.price("p")?;
        let mut context: Vec<(&str, &str)> = bid.metadata.iter().collect();
        context.extend([(IP, self.network.as_str()), (SOURCE, "client")]);
        if !self.agent.is_empty() {
            context.push((UA, self.agent));
        }
        let paid_micros = match price {
            // No auction ends so; a page may have put its own number there.
            Price::Stated(paid) if paid.0 > bid.bid_price_micros => {
                return Err(Refused::bad(
                    "PRICE",
                    "`p` is above the bid: it is the price per thousand, as in ${AUCTION_PRICE}",
                ));
            }
            Price::Stated(paid) => paid.0,
            Price::Audit | Price::Missing => 0,
        };
        match price {
            Price::Stated(_) => {}
            Price::Audit => context.push((PRICE_RAW, AUDIT)),
            Price::Missing => context.push((PRICE_RAW, "")),
        }
        let pixel = ImpressionPixel {
            timestamp: self.now_ms,
            win_price_micros: paid_micros,
            metadata: Map::from_pairs(&context),
            ..bid
        };
        self.append(&IMPRESSION_PIXELS, &bid, &pixel).await?;
        Ok(answer::pixel())
    }

    async fn notice(&self, win: bool) -> Result<Answer, Refused> {
        let content = self.open(if win { Purpose::Win } else { Purpose::Loss })?;
        let bid = decoded(&content)?;
        let price = self.price(if win { "p" } else { "m" })?;
        let stated = match price {
            Price::Stated(price) => Some(price.0),
            Price::Audit | Price::Missing => None,
        };
        let reason = query::value(self.query, "r");
        let loss_reason = macros::loss_reason(reason.as_deref()).map_err(|what| Refused::bad("LOSS_REASON", what))?;
        let is_test = price == Price::Audit || bid.metadata.get(TEST) == Some("1");
        let context: &[(&str, &str)] = if is_test { &[(TEST, "1")] } else { &[] };
        let notice = ExchangeNotice {
            bid_id: bid.bid_id,
            auction_id: bid.auction_id,
            imp_id: bid.imp_id,
            campaign_id: bid.campaign_id,
            timestamp: self.now_ms,
            win,
            price_micros: stated.filter(|_| win),
            loss_reason: loss_reason.filter(|_| !win),
            min_to_win_micros: stated.filter(|_| !win),
            lease_id: bid.lease_id,
            metadata: Map::from_pairs(context),
        };
        self.append(&EXCHANGE_NOTICES, &bid, &notice).await?;
        Ok(answer::nothing())
    }

    async fn click(&self) -> Result<Answer, Refused> {
        let content = self.open(Purpose::Click)?;
        let bid = decoded(&content)?;
        let known = [TEST, SENTINEL_USER];
        let mut context: Vec<(&str, &str)> = bid.metadata.iter().filter(|(key, _)| known.contains(key)).collect();
        context.push((IP, &self.network));
        if !self.agent.is_empty() {
            context.push((UA, self.agent));
        }
        let destination = facts::destination(&bid);
        let click = ClickPixel {
            bid_id: bid.bid_id,
            timestamp: self.now_ms,
            campaign_id: bid.campaign_id,
            creative_id: bid.creative_id,
            placement_id: bid.placement_id,
            user_id: bid.user_id,
            destination_domain: destination,
            metadata: Map::from_pairs(&context),
        };
        self.append(&CLICK_PIXELS, &bid, &click).await?;
        let Some(domain) = destination else { return Ok(answer::nothing()) };
        // What the advertiser posts its orders with: the same bid, at the time of this click.
        let clicked = facts::encode(&ImpressionPixel { timestamp: self.now_ms, ..bid });
        let keys = self.served.keys.load();
        let expires_ms = self.now_ms + Purpose::Conversion.life_ms();
        let token = keys.seal(&clicked).token(Purpose::Conversion, expires_ms);
        let location = format!("https://{domain}/?{CLICK_PARAMETER}={token}");
        Ok(answer::redirect(&location).unwrap_or_else(answer::nothing))
    }

    async fn conversion(&self, body: &[u8]) -> Result<Answer, Refused> {
        let content = self.open(Purpose::Conversion)?;
        let bid = decoded(&content)?;
        if !depth::is_within(body, 2) {
            return Err(Refused::bad("DEPTH", "an order is one flat JSON object"));
        }
        let order: Order<'_> = serde_json::from_slice(body)
            .map_err(|error| Refused::bad("SYNTAX", format!("the body is no order: {error}")))?;
        check(&order)?;
        let click_event_id = ids::click_event_id(bid.bid_id, bid.timestamp);
        let mut context = vec![(BID_ID, bid.bid_id)];
        context.extend(bid.metadata.iter().filter(|(key, _)| *key == TEST));
        let post = ConversionPost {
            order_id: &order.order_id,
            timestamp: self.now_ms,
            advertiser_id: facts::advertiser(&bid),
            conversion_type: &order.kind,
            user_id: bid.user_id,
            click_event_id: Some(&click_event_id),
            value_micros: order.value_micros,
            currency: &order.currency,
            metadata: Map::from_pairs(&context),
        };
        self.append(&CONVERSION_POSTS, &bid, &post).await?;
        Ok(answer::nothing())
    }

    /// Appends and waits: what is answered well is durable.
    async fn append<E: Encode>(
        &self,
        topic: &'static Topic,
        bid: &ImpressionPixel<'_>,
        event: &E,
    ) -> Result<(), Refused> {
        let impression = ids::impression_event_id(bid.bid_id);
        let key = user_key(bid.user_id, &impression);
        let since_us = self.served.env.clock.mono_us();
        let hub = self.served.telemetry.as_ref();
        let context = hub.and_then(|hub| hub.sampling.context(None, bid.auction_id, Some(bid.campaign_id)));
        let span = context.and_then(|context| RequestSpan::below(context, topic.name, since_us));
        let context = span.as_ref().map(|span| &span.context);
        let pending = self.served.appender.append(topic, key, self.now_ms, event, context);
        let pending = pending.map_err(|error| Refused::bad(error.kind(), error.to_string()))?;
        let settled = self.served.settled(pending).await;
        if let (Some(hub), Some(span)) = (hub, span) {
            let status = if settled.is_ok() { 200 } else { 429 };
            hub.request(span, topic.name, "GET", status, since_us);
        }
        settled
    }
}

fn decoded(content: &[u8]) -> Result<ImpressionPixel<'_>, Refused> {
    facts::decode(content).map_err(|what| Refused::bad("VERSION", what))
}

/// What tracking would set aside is refused here, where its sender still hears it.
fn check(order: &Order<'_>) -> Result<(), Refused> {
    let bad = |what: &str| Err(Refused::bad("ORDER", what));
    if order.order_id.is_empty() || order.order_id.len() > 256 {
        return bad("`order_id` must have 1 to 256 bytes: it is what a repetition is recognised by");
    }
    if !(0..=10_000_000_000_000).contains(&order.value_micros) {
        return bad("`value_micros` must be between 0 and ten million units");
    }
    if order.currency.len() != 3 || !order.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return bad("`currency` is no ISO 4217 code such as USD");
    }
    if order.kind.is_empty() || order.kind.len() > 64 {
        return bad("`type` must have 1 to 64 bytes");
    }
    Ok(())
}
