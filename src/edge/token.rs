//! Sealed tokens in tracking URLs: what is reported later is what was decided, whoever carries the URL in between.
//!
//! A token is `version, key id, purpose, expiry, iv, ciphertext, tag`, in base 64. The tag is HMAC-SHA256 over everything
//! before it, cut to 128 bits and compared in constant time; the purpose is under it, so that a page cannot make a loss
//! notice of its pixel. The content is masked with HMAC-SHA256 in counter mode, keyed apart, under an iv that is itself a tag
//! of the content: it names a user and our price, and URLs end in other people's logs.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::base64url;

type HmacSha256 = Hmac<Sha256>;

/// Longest token, bytes of text. URLs of 8 KiB pass everywhere; two macros are beside it.
pub const TOKEN_MAX_BYTES: usize = 4 << 10;
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 11;
const IV_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const BLOCK_BYTES: usize = 32;

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    Impression = 1,
    Win = 2,
    Loss = 3,
    Click = 4,
    Conversion = 5,
}

impl Purpose {
    /// How long a token is good, ms. Never longer than the ids of its events are kept (`AdsConfig`, `TrackingConfig`): a
    /// repetition behind that horizon would count again. A click is a new one each time, so its limit is only about links
    /// that lie around; an order is known for seven days.
    pub fn life_ms(self) -> i64 {
        const MINUTE_MS: i64 = 60_000;
        match self {
            Self::Impression => 55 * MINUTE_MS,
            Self::Win | Self::Loss => 14 * MINUTE_MS,
            Self::Click => 24 * 60 * MINUTE_MS,
            Self::Conversion => 6 * 24 * 60 * MINUTE_MS,
        }
    }
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("`t` is missing: use the URL as it was given out")]
    Missing,
    #[error("`t` is no token: the URL was cut or changed")]
    Malformed,
    #[error("`t` was sealed with a key that is no longer known")]
    UnknownKey,
    #[error("`t` is not genuine, or is not for this path")]
    Forged,
    #[error("`t` has expired")]
    Expired,
}

impl TokenError {
    /// Stable name of the class: a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "MISSING",
            Self::Malformed => "MALFORMED",
            Self::UnknownKey => "UNKNOWN_KEY",
            Self::Forged => "FORGED",
            Self::Expired => "EXPIRED",
        }
    }
}

#[derive(Clone)]
struct Key {
    id: u8,
    tag: HmacSha256,
    mask: HmacSha256,
}

/// Keys by id. The first one seals, all of them open: a new key goes in front, an old one stays until its tokens expired.
#[derive(Clone)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// `None` without a key, or with two of one id.
    pub fn new(secrets: &[(u8, [u8; 32])]) -> Option<Self> {
        let keyed = |secret: &[u8], label: &[u8]| {
            let mut derive = HmacSha256::new_from_slice(secret).expect("any length is a key");
            derive.update(label);
            HmacSha256::new_from_slice(&derive.finalize().into_bytes()).expect("any length is a key")
        };
        let key =
            |(id, secret): &(u8, [u8; 32])| Key { id: *id, tag: keyed(secret, b"tag"), mask: keyed(secret, b"mask") };
        let keys: Vec<Key> = secrets.iter().map(key).collect();
        let twice = keys.iter().enumerate().any(|(i, key)| keys[..i].iter().any(|other| other.id == key.id));
        (!keys.is_empty() && !twice).then_some(Self(keys))
    }

    /// Masks a content once; a token for each purpose is then one tag.
    pub fn seal(&self, content: &[u8]) -> Sealed<'_> {
        let key = &self.0[0];
        let mut iv = [0; IV_BYTES];
        let mut tag = key.tag.clone();
        tag.update(b"iv");
        tag.update(content);
        iv.copy_from_slice(&tag.finalize().into_bytes()[..IV_BYTES]);
        let mut masked = content.to_vec();
        mask(key, &iv, &mut masked);
        Sealed { key, iv, masked }
    }

    /// The content of a token that is genuine, for this purpose, and not expired at `now_ms`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open(&self, token: &str, purpose: Purpose, now_ms: i64) -> Result<Vec<u8>, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        let text = Some(token).filter(|token| token.len() <= TOKEN_MAX_BYTES);
        let bytes = text.and_then(base64url::decode).ok_or(TokenError::Malformed)?;
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES + IV_BYTES).ok_or(TokenError::Malformed)?;
        let end = rest.len().checked_sub(TAG_BYTES).ok_or(TokenError::Malformed)?;
        let (masked, tag) = rest.split_at(end);
        if head[0] != VERSION {
            return Err(TokenError::Malformed);
        }
        let key = self.0.iter().find(|key| key.id == head[1]).ok_or(TokenError::UnknownKey)?;
        let mut expected = key.tag.clone();
        expected.update(head);
        expected.update(masked);
        expected.verify_truncated_left(tag).map_err(|_| TokenError::Forged)?;
        if head[2] != purpose as u8 {
            return Err(TokenError::Forged);
        }
        let expires_ms = head[3..HEAD_BYTES].try_into().map_or(0, i64::from_be_bytes);
        if now_ms > expires_ms {
            return Err(TokenError::Expired);
        }
        let mut content = masked.to_vec();
        mask(key, &head[HEAD_BYTES..], &mut content);
        Ok(content)
    }
}

/// A masked content.
pub struct Sealed<'k> {
    key: &'k Key,
    iv: [u8; IV_BYTES],
    masked: Vec<u8>,
}

impl Sealed<'_> {
    /// Its token for one purpose, good until `expires_ms`.
    pub fn token(&self, purpose: Purpose, expires_ms: i64) -> String {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + IV_BYTES + self.masked.len() + TAG_BYTES);
        bytes.extend_from_slice(&[VERSION, self.key.id, purpose as u8]);
        bytes.extend_from_slice(&expires_ms.to_be_bytes());
        bytes.extend_from_slice(&self.iv);
        bytes.extend_from_slice(&self.masked);
        let mut tag = self.key.tag.clone();
        tag.update(&bytes);
        bytes.extend_from_slice(&tag.finalize().into_bytes()[..TAG_BYTES]);
        let mut text = String::new();
        base64url::encode(&bytes, &mut text);
        text
    }
}

/// Masks, and unmasks.
fn mask(key: &Key, iv: &[u8], content: &mut [u8]) {
    for (counter, block) in content.chunks_mut(BLOCK_BYTES).enumerate() {
        let mut stream = key.mask.clone();
        stream.update(iv);
        stream.update(&(counter as u64).to_be_bytes());
        for (byte, mask) in block.iter_mut().zip(stream.finalize().into_bytes()) {
            *byte ^= mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::new(&[(1, [7; 32])]).expect("keys")
    }

    #[test]
    fn a_token_opens_for_its_purpose_until_it_expires() {
        let keys = keys();
        let token = keys.seal(b"user-42 pays 320").token(Purpose::Click, 1_000);
        assert_eq!(keys.open(&token, Purpose::Click, 1_000).as_deref(), Ok(&b"user-42 pays 320"[..]));
        assert_eq!(keys.open(&token, Purpose::Click, 1_001), Err(TokenError::Expired));
        assert_eq!(keys.open(&token, Purpose::Loss, 1_000), Err(TokenError::Forged));
        assert_eq!(keys.open("", Purpose::Click, 0), Err(TokenError::Missing));
        assert_eq!(keys.open("AQ", Purpose::Click, 0), Err(TokenError::Malformed));
        assert_eq!(keys.open(&"A".repeat(TOKEN_MAX_BYTES + 1), Purpose::Click, 0), Err(TokenError::Malformed));
    }

    #[test]
    fn nothing_of_the_content_shows() {
        let content = [b'a'; 200];
        let token = keys().seal(&content).token(Purpose::Win, 9);
        let bytes = base64url::decode(&token).expect("a token");
        let masked = &bytes[HEAD_BYTES + IV_BYTES..bytes.len() - TAG_BYTES];
        assert!(masked.chunks(8).all(|chunk| chunk != &content[..chunk.len()]));
        assert_ne!(masked[..BLOCK_BYTES], masked[BLOCK_BYTES..2 * BLOCK_BYTES]);
    }

    #[test]
    fn keys_rotate() {
        let old = keys().seal(b"x").token(Purpose::Win, 9);
        let both = Keys::new(&[(2, [8; 32]), (1, [7; 32])]).expect("keys");
        assert!(both.open(&old, Purpose::Win, 9).is_ok());
        let new = both.seal(b"x").token(Purpose::Win, 9);
        assert_eq!(keys().open(&new, Purpose::Win, 9), Err(TokenError::UnknownKey));
        let only_new = Keys::new(&[(2, [8; 32])]).expect("keys");
        assert_eq!(only_new.open(&old, Purpose::Win, 9), Err(TokenError::UnknownKey));
        assert!(Keys::new(&[]).is_none() && Keys::new(&[(1, [0; 32]), (1, [1; 32])]).is_none());
    }

    proptest! {
        #[test]
        fn a_changed_token_is_refused(content in proptest::collection::vec(any::<u8>(), 0..80), at in 0usize..4_096, bit in 0u8..8) {
            let token = keys().seal(&content).token(Purpose::Impression, 1_000);
            let mut bytes = base64url::decode(&token).expect("a token");
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let mut changed = String::new();
            base64url::encode(&bytes, &mut changed);
            prop_assert!(keys().open(&changed, Purpose::Impression, 0).is_err());
        }

        #[test]
        fn no_text_breaks_it(text in "\\PC{0,200}") {
            prop_assert!(keys().open(&text, Purpose::Impression, 0).is_err());
        }
    }
}
