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

/// Whether a header is a sampled context of the standard's first version: what follows from it is worth a span.
#[inline]
pub fn is_sampled(header: &[u8]) -> bool {
    header.len() == 55 && header[54] & 1 == 1 && header.starts_with(b"00-")
}

/// Trace and span of a context; `None` for what the standard does not allow.
pub fn parse(header: &[u8]) -> Option<(TraceId, u64)> {
    if header.len() != 55 || [header[2], header[35], header[52]] != *b"---" || !header.starts_with(b"00") {
        return None;
    }
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    unhex(&header[3..35], &mut trace)?;
    unhex(&header[36..52], &mut span)?;
    unhex(&header[53..55], &mut [0])?;
    let span = u64::from_be_bytes(span);
    (trace != [0; 16] && span != 0).then_some((TraceId(trace), span))
}

/// The same trace with another span for a parent.
pub fn below(parent: &TraceParent, span: u64) -> TraceParent {
    let mut text = *parent;
    hex(&span.to_be_bytes(), &mut text[36..52]);
    text
}

/// Id of the span of one service's work on one record: a function of what it is about, so that a repetition after a crash
/// is the same span.
pub fn span_of(trace: TraceId, service: &str, topic: &str, partition: u32, offset: i64) -> u64 {
    let low = u64::from_be_bytes(trace.0[8..].try_into().expect("eight bytes"));
    let names = service.bytes().chain(topic.bytes()).fold(low, |sum, byte| mix(sum ^ u64::from(byte)));
    mix(names ^ (u64::from(partition) << 48) ^ offset as u64) | 1
}

impl TraceId {
    /// Two lanes of multiply and fold over the id, eight bytes a round: stable over builds, spread evenly; no secret. It is paid
    /// for every auction, traced or not.
    pub fn of_auction(auction_id: &str) -> Self {
        let (mut high, mut low) = (0x6a09_e667_f3bc_c908u64 ^ auction_id.len() as u64, 0xbb67_ae85_84ca_a73bu64);
        let mut words = auction_id.as_bytes().chunks_exact(8);
        let mut take = |word: u64| {
            high = fold(high ^ word, 0x9e37_79b9_7f4a_7c15);
            low = fold(low ^ word, 0xe703_7ed1_a0b4_28db);
        };
        for word in words.by_ref() {
            take(u64::from_be_bytes(word.try_into().expect("eight bytes")));
        }
        take(words.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        (high, low) = (mix(high), mix(low ^ high.rotate_left(32)));
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
        // Below one part in so many of all there are; no division.
        one_in != 0 && (u128::from(low) * u128::from(one_in)) >> 64 == 0
    }

    /// Sampled context with the root span that the id implies.
    pub fn traceparent(&self) -> TraceParent {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        hex(&self.0, &mut text[3..35]);
        hex(&self.root().to_be_bytes(), &mut text[36..52]);
        text
    }

    /// As it is written, 32 digits.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The root span that the id implies.
    pub fn root(&self) -> u64 {
        mix(u64::from_be_bytes(self.0[..8].try_into().expect("eight bytes")) | 1).max(1)
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Both halves of the product.
fn fold(x: u64, by: u64) -> u64 {
    let product = u128::from(x) * u128::from(by);
    product as u64 ^ (product >> 64) as u64
}

fn hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn unhex(text: &[u8], out: &mut [u8]) -> Option<()> {
    // The standard allows lower case only.
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    for (pair, byte) in text.chunks_exact(2).zip(out) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
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
        let ids: std::collections::BTreeSet<_> =
            (0..10_000).map(|n| TraceId::of_auction(&"x".repeat(n % 40).replace("xx", &n.to_string())).0).collect();
        assert!(ids.len() > 9_000, "{} of 10,000 ids", ids.len());
        assert_eq!((0..100).filter(|n| TraceId::of_auction(&format!("a{n}")).sampled(1)).count(), 100);
        let text = String::from_utf8(id.traceparent().to_vec()).unwrap();
        assert!(text.starts_with("00-") && text.ends_with("-01") && text.len() == 55, "{text}");
    }

    #[test]
    fn contexts_are_read_as_the_standard_says() {
        let id = TraceId::of_auction("a");
        let text = id.traceparent();
        assert_eq!(parse(&text), Some((id, id.root())));
        assert!(is_sampled(&text));
        assert_eq!(parse(&below(&text, 7)), Some((id, 7)));
        let mut unsampled = text;
        unsampled[54] = b'0';
        assert!(!is_sampled(&unsampled) && parse(&unsampled).is_some());
        for (at, byte) in [(0, b'1'), (2, b' '), (3, b'G'), (36, b'A'), (53, b'x')] {
            let mut broken = text;
            broken[at] = byte;
            assert_eq!(parse(&broken), None, "{at}");
        }
        let nowhere = *b"00-00000000000000000000000000000000-0000000000000001-01";
        assert_eq!((parse(&nowhere), parse(&text[..54])), (None, None));
    }

    #[test]
    fn a_repetition_is_the_same_span() {
        let id = TraceId::of_auction("a");
        let span = |service, offset| span_of(id, service, "bids", 1, offset);
        assert_eq!(span("fraud", 1), span("fraud", 1));
        assert!(span("fraud", 1) != span("fraud", 2) && span("fraud", 1) != span("pacing", 1));
    }
}
