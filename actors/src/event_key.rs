//! What a table remembers of an id that it only has to recognise.
//!
//! Tables that hold a row an event live or die by their bytes: an id is up to 40 bytes with an allocation of its own,
//! its key here is 16 bytes in place. Two ids meet by accident once in 2^64 rows, and nobody can choose ids that do.

use sha2::{Digest, Sha256};

/// First 128 bits of SHA-256 of an id.
pub type EventKey = [u8; 16];

/// The key of an id.
pub fn event_key(id: &str) -> EventKey {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
    key
}

/// 64 bits over parts in their order, to tell a true repetition from an id that was used twice.
pub fn fingerprint(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        // Each part with its length, so that ("ab", "c") differs from ("a", "bc").
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_fingerprints_depend_on_every_byte() {
        assert_eq!(event_key("imp-1"), event_key("imp-1"));
        assert_ne!(event_key("imp-1"), event_key("imp-2"));
        assert_ne!(fingerprint(&[b"ab", b"c"]), fingerprint(&[b"a", b"bc"]));
        assert_ne!(fingerprint(&[b"ab"]), fingerprint(&[b"ab", b""]));
    }
}
