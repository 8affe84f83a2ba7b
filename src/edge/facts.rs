//! What of a bid travels in its tracking URLs, and how it is read again: the pixel's own schema, without what only the
//! pixel knows (its time, the price paid, who loaded it).

use actors::bidder::event::{COUNTRY_KEY, DOMAIN_KEY};
use actors::market::{ADVERTISER_KEY, DESTINATION_KEY, EXCHANGE_KEY};
use actors::metadata::{AD_SIZE, SENTINEL_USER, TEST};
use schemas::codec::Map;
use schemas::events::{BidEvent, ImpressionPixel};
use schemas::frame;

/// Context that goes with the URLs. Agent and network are those of whoever loads them.
const CARRIED: [&str; 7] = [AD_SIZE, TEST, SENTINEL_USER, COUNTRY_KEY, DOMAIN_KEY, ADVERTISER_KEY, DESTINATION_KEY];

/// The facts of a bid; `None` if the event is none.
pub fn of_bid(event: &BidEvent<'_>) -> Option<Vec<u8>> {
    let mut pairs: Vec<(&str, &str)> = event.metadata.iter().filter(|(key, _)| CARRIED.contains(key)).collect();
    pairs.push((EXCHANGE_KEY, event.exchange));
    let facts = ImpressionPixel {
        bid_id: event.bid_id,
        auction_id: event.auction_id,
        imp_id: event.imp_id,
        timestamp: event.timestamp,
        campaign_id: event.campaign_id?,
        creative_id: event.creative_id?,
        placement_id: event.placement_id?,
        user_id: event.user_id,
        bid_price_micros: event.bid_price_micros,
        win_price_micros: 0,
        lease_id: event.lease_id,
        metadata: Map::from_pairs(&pairs),
    };
    Some(encode(&facts))
}

/// In bytes, to be sealed.
pub fn encode(facts: &ImpressionPixel<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    frame::encode(facts, &mut bytes);
    bytes
}

/// Reads facts that a token held.
///
/// # Errors
/// Facts of another version of this program.
pub fn decode(bytes: &[u8]) -> Result<ImpressionPixel<'_>, String> {
    frame::decode(bytes).map_err(|error| format!("`t` was made by another version: {error}"))
}

/// Where a click leads: the bid's destination, as it was decided, and nothing else.
pub fn destination<'a>(facts: &ImpressionPixel<'a>) -> Option<&'a str> {
    facts.metadata.get(DESTINATION_KEY).filter(|domain| is_domain(domain))
}

/// Who pays.
pub fn advertiser<'a>(facts: &ImpressionPixel<'a>) -> &'a str {
    facts.metadata.get(ADVERTISER_KEY).unwrap_or(facts.campaign_id)
}

/// Labels of letters, digits and hyphens: nothing that could end the host in a URL, or hide another one.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_domain_is_a_destination() {
        for fine in ["shop.example", "a-b.shop.example"] {
            assert!(is_domain(fine), "{fine}");
        }
        for wrong in [
            "",
            "shop",
            "shop.example/x",
            "a@b.example",
            "shop.example:80",
            ".example",
            "a..b",
            "a.b\r\nx",
            "ä.example",
        ] {
            assert!(!is_domain(wrong), "{wrong}");
        }
    }
}
