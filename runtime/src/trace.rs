//! Trace context: derived, not carried.
//!
//! The trace id is a function of the auction id, so an unsampled event needs no header at all, and whoever decides
//! later to keep a trace still finds all of it. A sampled event carries `traceparent` in its record headers.

/// W3C trace id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// Record header of a sampled event.
pub const TRACEPARENT: &[u8] = b"traceparent";

/// The sampled context of an event: bytes of `00-TRACE-SPAN-01`.
pub type TraceParent = [u8; 55];

impl TraceId {
    /// Two rounds of a 64-bit mix over the id: stable over builds, spread evenly; no secret.
    pub fn of_auction(auction_id: &str) -> Self {
        let (mut high, mut low) = (0x6a09_e667_f3bc_c908u64, 0xbb67_ae85_84ca_a73bu64);
        for byte in auction_id.bytes() {
            high = mix(high ^ u64::from(byte));
            low = mix(low.rotate_left(8) ^ high);
        }
        let mut id = [0; 16];
        id[..8].copy_from_slice(&high.to_be_bytes());
        id[8..].copy_from_slice(&low.to_be_bytes());
        // All zeroes is no trace id by the standard.
        id[15] |= u8::from(id == [0; 16]);
        Self(id)
    }

    /// `true` for about one in `one_in` auctions: a pure function of the id, so all services agree.
    pub fn sampled(&self, one_in: u64) -> bool {
        let low = u64::from_be_bytes(self.0[8..].try_into().expect("eight bytes"));
        one_in != 0 && low % one_in == 0
    }

    /// Sampled context with the root span that the id implies.
    pub fn traceparent(&self) -> TraceParent {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        hex(&self.0, &mut text[3..35]);
        hex(
            &mix(u64::from_be_bytes(self.0[..8].try_into().expect("eight bytes")) | 1).to_be_bytes(),
            &mut text[36..52],
        );
        text
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_spread() {
        let id = TraceId::of_auction("auction-1");
        assert_eq!(id, TraceId::of_auction("auction-1"));
        assert_ne!(id, TraceId::of_auction("auction-2"));
        let sampled = (0..10_000).filter(|n| TraceId::of_auction(&format!("a{n}")).sampled(100)).count();
        assert!((60..150).contains(&sampled), "{sampled} of 10,000 at one in 100");
        let text = String::from_utf8(id.traceparent().to_vec()).unwrap();
        assert!(text.starts_with("00-") && text.ends_with("-01") && text.len() == 55, "{text}");
    }
}
