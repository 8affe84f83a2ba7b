//! The answer to a bid request: OpenRTB 2.6, sections 4.2 and 4.3.

use actors::bidder::Decision;
use serde::Serialize;

use super::token::{Keys, Purpose};

/// A bid stays good this long, seconds: its price is reserved for as long (`BiddingConfig::reservation_ms`).
const EXP_S: u32 = 60;
/// OpenRTB's number for "banner".
const MTYPE_BANNER: u8 = 1;

#[derive(Serialize)]
struct BidResponse<'a> {
    id: &'a str,
    seatbid: [SeatBid<'a>; 1],
    cur: &'a str,
}

#[derive(Serialize)]
struct SeatBid<'a> {
    bid: [Bid<'a>; 1],
    seat: &'a str,
}

#[derive(Serialize)]
struct Bid<'a> {
    id: &'a str,
    impid: &'a str,
    /// Per thousand. Thousandths of a micro would be lost in no float of this size.
    price: f64,
    nurl: String,
    lurl: String,
    adm: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    adomain: Vec<&'a str>,
    cid: &'a str,
    crid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    w: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    h: Option<i64>,
    mtype: u8,
    exp: u32,
}

#[derive(Serialize)]
struct NoBidResponse<'a> {
    id: &'a str,
    nbr: i32,
}

/// The response to a request that is bid on; `None` if it is not.
pub fn bid(decision: &Decision<'_>, bid_id: &str, facts: &[u8], keys: &Keys, base: &str) -> Option<Vec<u8>> {
    let offer = decision.outcome.as_ref().ok()?;
    let campaign = &offer.campaign;
    let sealed = keys.seal(facts);
    let url = |path: &str, purpose: Purpose, macros: &str| {
        let token = sealed.token(purpose, decision.timestamp_ms.saturating_add(purpose.life_ms()));
        format!("{base}/t/{path}?t={token}{macros}")
    };
    let price_macro = "&p=${AUCTION_PRICE}";
    let response = BidResponse {
        id: &decision.request.id,
        cur: "USD",
        seatbid: [SeatBid {
            seat: &campaign.advertiser_id,
            bid: [Bid {
                id: bid_id,
                impid: decision.imp.id.as_deref().unwrap_or_default(),
                price: offer.price.0 as f64 / 1_000.0,
                nurl: url("win", Purpose::Win, price_macro),
                lurl: url("loss", Purpose::Loss, "&r=${AUCTION_LOSS}&m=${AUCTION_MIN_TO_WIN}"),
                adm: markup(
                    &url("click", Purpose::Click, ""),
                    &url("imp", Purpose::Impression, price_macro),
                    &campaign.creative_id,
                ),
                adomain: campaign.destination_domain.as_deref().into_iter().collect(),
                cid: &campaign.campaign_id,
                crid: &campaign.creative_id,
                w: decision.size.map(|(w, _)| w),
                h: decision.size.map(|(_, h)| h),
                mtype: MTYPE_BANNER,
                exp: EXP_S,
            }],
        }],
    };
    serde_json::to_vec(&response).ok()
}

/// A response that says why there is no bid.
pub fn no_bid(id: &str, nbr: i32) -> Vec<u8> {
    serde_json::to_vec(&NoBidResponse { id, nbr }).unwrap_or_default()
}

/// The ad: a link around the creative's name, and the pixel. Tokens are base 64; only the creative is text of others.
fn markup(click: &str, pixel: &str, creative_id: &str) -> String {
    let mut name = String::with_capacity(creative_id.len());
    for c in creative_id.chars() {
        match c {
            '<' => name.push_str("&lt;"),
            '>' => name.push_str("&gt;"),
            '&' => name.push_str("&amp;"),
            '"' => name.push_str("&quot;"),
            '\'' => name.push_str("&#39;"),
            c => name.push(c),
        }
    }
    // `&p=` and `&t=` are no character references: left as they are, so that nobody has to unescape a URL.
    format!(
        r#"<a href="{click}" target="_blank" rel="noopener">{name}</a><img src="{pixel}" width="1" height="1" alt="">"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creative_cannot_break_out_of_the_markup() {
        let markup = markup("u", "v?t=1&p=${AUCTION_PRICE}", "\"><script>");
        assert!(markup.contains("&quot;&gt;&lt;script&gt;") && markup.contains("t=1&p=${AUCTION_PRICE}"), "{markup}");
    }

    #[test]
    fn a_no_bid_says_why() {
        assert_eq!(no_bid("a\"b", 503), br#"{"id":"a\"b","nbr":503}"#);
    }
}
