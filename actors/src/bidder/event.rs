//! A decision as an event: what was decided, and everything that it was decided on.

use std::fmt::Write;

use schemas::codec::Map;
use schemas::events::{BidEvent, BidOutcome};
use smol_str::{SmolStr, ToSmolStr};

use super::decide::Decision;
use crate::ids;
use crate::market::{ADVERTISER_KEY, DESTINATION_KEY};
use crate::metadata::{AD_SIZE, IP, SENTINEL_USER, TEST, UA};
use crate::net::{Network, clip};

/// Metadata key: why there is no bid, by name.
pub const NO_BID_KEY: &str = "no_bid";
/// Metadata key: what each filter took out, as `name:count` with commas.
pub const FILTERED_KEY: &str = "filtered";
/// Metadata key: what the request did not state and was set, as names with commas.
pub const ASSUMED_KEY: &str = "assumed";
/// Metadata key: country of the device.
pub const COUNTRY_KEY: &str = "country";
/// Metadata key: domain of the page or bundle of the app.
pub const DOMAIN_KEY: &str = "domain";
/// Metadata key: position of the change that made the campaign what it was.
pub const CAMPAIGN_LSN_KEY: &str = "campaign_lsn";

/// Longest text of a device or page that enters an event, bytes.
const CONTEXT_MAX_BYTES: usize = 512;

impl Decision<'_> {
    /// Hands the decision as an event to `take`. `decision_us`: how long it took, as its caller measured.
    pub fn with_event<R>(&self, decision_us: i64, take: impl FnOnce(&BidEvent<'_>) -> R) -> R {
        let (request, imp) = (self.request, self.imp);
        let imp_id = imp.id.as_deref().unwrap_or_default();
        let bid_id = ids::bid_id(request.exchange(), &request.id, imp_id);
        let placement_id = request.placement_id(imp);
        let texts = Texts::of(self);
        let pairs = texts.pairs(self);
        let offer = self.outcome.as_ref().ok();
        let price_micros = offer.map_or(0, |offer| offer.price.0);
        take(&BidEvent {
            bid_id: &bid_id,
            auction_id: &request.id,
            imp_id: clip(imp_id, CONTEXT_MAX_BYTES),
            timestamp: self.timestamp_ms,
            exchange: clip(request.exchange(), CONTEXT_MAX_BYTES),
            outcome: if offer.is_some() { BidOutcome::Bid } else { BidOutcome::NoBid },
            no_bid_reason: self.outcome.as_ref().err().map(|reason| reason.code()),
            campaign_id: offer.map(|offer| offer.campaign.campaign_id.as_str()),
            creative_id: offer.map(|offer| offer.campaign.creative_id.as_str()),
            placement_id: Some(clip(&placement_id, 3 * CONTEXT_MAX_BYTES)),
            user_id: self.user_id,
            value_micros: price_micros,
            bid_price_micros: price_micros,
            floor_micros: self.floor.0,
            auction_type: request.auction_type.code(),
            tmax_ms: i32::try_from(request.tmax_ms).unwrap_or(i32::MAX),
            decision_us,
            lease_id: offer.map(|offer| offer.lease_id.as_str()),
            view_ages_ms: Map::from_pairs(&self.ages_ms),
            metadata: Map::from_pairs(&pairs),
        })
    }
}

/// Context that has to be made into text before the event can borrow it.
struct Texts {
    network: Option<SmolStr>,
    size: Option<SmolStr>,
    filtered: String,
    assumed: String,
    campaign_lsn: Option<SmolStr>,
}

impl Texts {
    fn of(decision: &Decision<'_>) -> Texts {
        let mut filtered = String::new();
        for (reason, count) in decision.filtered.iter() {
            let comma = if filtered.is_empty() { "" } else { "," };
            // Writing into a string cannot fail.
            let _ = write!(filtered, "{comma}{}:{count}", reason.as_str());
        }
        let assumed = decision.request.assumed;
        let names = [(assumed.at, "at"), (assumed.tmax, "tmax"), (assumed.cur, "cur")];
        Texts {
            network: decision.request.network().map(|network: Network| network.to_smolstr()),
            size: decision.size.map(|(w, h)| SmolStr::from(format!("{w}x{h}"))),
            filtered,
            assumed: names.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect::<Vec<_>>().join(","),
            campaign_lsn: decision.outcome.as_ref().ok().map(|offer| offer.campaign.lsn.to_smolstr()),
        }
    }

    /// Agent, page and place matter to what follows a bid; of a request without one only its origin is kept.
    fn pairs<'a>(&'a self, decision: &'a Decision<'_>) -> Vec<(&'a str, &'a str)> {
        let request = decision.request;
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(12);
        let mut put = |key: &'static str, value: Option<&'a str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                pairs.push((key, clip(value, CONTEXT_MAX_BYTES)));
            }
        };
        put(IP, self.network.as_deref());
        put(SENTINEL_USER, decision.placeholder);
        put(TEST, request.test.then_some("1"));
        put(ASSUMED_KEY, Some(&self.assumed));
        put(FILTERED_KEY, Some(&self.filtered));
        match &decision.outcome {
            Err(reason) => put(NO_BID_KEY, Some(reason.as_str())),
            Ok(offer) => {
                put(UA, request.device.ua.as_deref());
                put(AD_SIZE, self.size.as_deref());
                put(COUNTRY_KEY, request.country());
                put(DOMAIN_KEY, request.domain());
                put(ADVERTISER_KEY, Some(&offer.campaign.advertiser_id));
                put(DESTINATION_KEY, offer.campaign.destination_domain.as_deref());
                put(CAMPAIGN_LSN_KEY, self.campaign_lsn.as_deref());
            }
        }
        pairs
    }
}
