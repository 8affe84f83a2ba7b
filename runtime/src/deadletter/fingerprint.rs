//! Which dead letters have one cause: the same service, topic, code and field, and the same message once numbers and ids are
//! taken out of it.

/// 16 hexadecimal digits; stable over builds, so that a group keeps its name.
pub fn fingerprint(service: &str, topic: &str, class: &str, code: &str, field: Option<&str>, message: &str) -> String {
    let mut hash = Fnv::default();
    for part in [service, topic, class, code, field.unwrap_or_default(), &normal(message)] {
        hash.put(part.as_bytes());
        // A separator that no part holds.
        hash.put(&[0xff]);
    }
    format!("{:016x}", hash.mixed())
}

/// The message without what differs from event to event: words with a digit become `#`.
fn normal(message: &str) -> String {
    let word =
        |word: &str| if word.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { word.to_lowercase() };
    message.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// FNV-1a of 64 bits; a name, no secret.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// FNV's upper bits differ little for short inputs.
    fn mixed(&self) -> u64 {
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_has_one_name() {
        let of = |message| fingerprint("billing", "impressions", "PERMANENT", "SEMANTIC_VIOLATION", None, message);
        assert_eq!(of("price 17 is over 5"), of("price 18 is over 6"));
        assert_ne!(of("price 17 is over 5"), of("price 17 is below 5"));
        let other =
            fingerprint("analytics", "impressions", "PERMANENT", "SEMANTIC_VIOLATION", None, "price 17 is over 5");
        assert_ne!(of("price 17 is over 5"), other);
        // A name that is written down somewhere stays what it is.
        assert_eq!(of("price 17 is over 5").len(), 16);
        assert_eq!(of("price 17 is over 5"), "abfcb33603216bac");
    }
}
