//! Ids derived from what happened, never drawn: the same occurrence has the same id after any crash, retry or replay, so
//! a repetition is recognised by its id alone.

use sha2::{Digest, Sha256};

/// First 128 bits of SHA-256 over the parts, each preceded by its length so that `("ab", "c")` differs from `("a", "bc")`.
fn digest(kind: &str, parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in std::iter::once(kind.as_bytes()).chain(parts.iter().copied()) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let bytes = hash.finalize();
    let mut text = String::with_capacity(32);
    for byte in &bytes[..16] {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    text
}

/// Id of the bid on one impression slot of one auction. OpenRTB makes `request.id` unique for an exchange only, so the
/// exchange is part of it.
pub fn bid_id(exchange: &str, auction_id: &str, imp_id: &str) -> String {
    digest("bid", &[exchange.as_bytes(), auction_id.as_bytes(), imp_id.as_bytes()])
}

/// Id of the impression that a bid led to. One bid renders at most once: a second pixel is a repetition.
pub fn impression_event_id(bid_id: &str) -> String {
    format!("imp-{bid_id}")
}

/// Id of a click. A person may click twice, at different times; the same redirect reported twice carries the same time.
pub fn click_event_id(bid_id: &str, timestamp_ms: i64) -> String {
    format!("clk-{bid_id}-{timestamp_ms}")
}

/// Id of a conversion: the advertiser's own order id is the idempotency key. Both are free text, so the length says where
/// one ends: order `2-7` of `shop` is not order `7` of `shop-2`.
pub fn conversion_event_id(advertiser_id: &str, order_id: &str) -> String {
    format!("cnv-{}-{advertiser_id}-{order_id}", advertiser_id.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_depend_on_every_part() {
        let id = bid_id("x", "a", "1");
        assert_eq!(id.len(), 32);
        assert_eq!(id, bid_id("x", "a", "1"));
        let others = [bid_id("y", "a", "1"), bid_id("x", "b", "1"), bid_id("x", "a", "2"), bid_id("xa", "", "1")];
        assert!(others.iter().all(|other| *other != id), "{others:?}");
        assert_ne!(click_event_id(&id, 1), click_event_id(&id, 2));
        assert_ne!(impression_event_id(&id), id);
        assert_ne!(conversion_event_id("shop", "2-7"), conversion_event_id("shop-2", "7"));
    }
}
