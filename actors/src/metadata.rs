//! Reserved keys of the events' `metadata`, the only way to carry context beside the fixed fields. Unknown keys pass
//! through.

use runtime::outcome::{Failure, Reason};
use schemas::codec::{EncodeError, Map};

pub const AUCTION_ID: &str = "auction_id";
pub const BID_ID: &str = "bid_id";
pub const IMP_ID: &str = "imp_id";
/// Network of the person's address, /24 or /48.
pub const IP: &str = "ip";
/// User agent as sent.
pub const UA: &str = "ua";
/// `300x250`.
pub const AD_SIZE: &str = "ad_size";
/// `1`: never billed, never counted.
pub const TEST: &str = "test";
/// The price macro as the exchange filled it: a number, `AUDIT`, or empty.
pub const PRICE_RAW: &str = "price_raw";
/// `1`: the exchange gave no price; counted, not billed.
pub const PRICE_MISSING: &str = "price_missing";
/// `client` or `server`: who called the pixel.
pub const SOURCE: &str = "source";
/// Currency of the price, ISO 4217.
pub const CURRENCY: &str = "currency";
/// Whose campaign it is.
pub const ADVERTISER_ID: &str = "advertiser_id";
/// Where the auction was.
pub const EXCHANGE: &str = "exchange";
/// Original id where the user was found to be a placeholder.
pub const SENTINEL_USER: &str = "sentinel_user";
/// In a verdict on an impression: what the impression cost, micros.
pub const WIN_PRICE_MICROS: &str = "win_price_micros";

/// In a campaign state: its number among those of one campaign, because positions of two tables do not order them.
pub const REVISION: &str = "revision";

/// What an exchange writes for the price when it scans the ad for quality.
const AUDIT: &str = "AUDIT";

/// The reserved keys that services look at, read in one pass: a look-up by key walks the whole map, and an impression is
/// asked for up to a dozen of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context<'a> {
    pub auction_id: Option<&'a str>,
    pub bid_id: Option<&'a str>,
    pub ip: Option<&'a str>,
    pub ua: Option<&'a str>,
    pub ad_size: Option<&'a str>,
    pub test: Option<&'a str>,
    pub price_raw: Option<&'a str>,
    pub source: Option<&'a str>,
    pub sentinel_user: Option<&'a str>,
    pub currency: Option<&'a str>,
    pub advertiser_id: Option<&'a str>,
    pub exchange: Option<&'a str>,
}

impl<'a> Context<'a> {
    /// Where a key repeats, the last one counts.
    pub fn of(metadata: &Map<'a>) -> Self {
        let mut context = Self::default();
        for (key, value) in metadata.iter() {
            let field = match key {
                AUCTION_ID => &mut context.auction_id,
                BID_ID => &mut context.bid_id,
                IP => &mut context.ip,
                UA => &mut context.ua,
                AD_SIZE => &mut context.ad_size,
                TEST => &mut context.test,
                PRICE_RAW => &mut context.price_raw,
                SOURCE => &mut context.source,
                SENTINEL_USER => &mut context.sentinel_user,
                CURRENCY => &mut context.currency,
                ADVERTISER_ID => &mut context.advertiser_id,
                EXCHANGE => &mut context.exchange,
                _ => continue,
            };
            *field = Some(value);
        }
        context
    }

    /// A test request, or an exchange's quality scan: shown, never billed, never counted.
    pub fn is_test(&self) -> bool {
        self.test == Some("1") || self.price_raw == Some(AUDIT)
    }
}

/// [`Context::is_test`] of an event that is asked for nothing else.
pub fn is_test(metadata: &Map<'_>) -> bool {
    Context::of(metadata).is_test()
}

/// All entries but these keys, so that the caller's own values stand alone.
pub fn without<'a>(metadata: &Map<'a>, keys: &[&str]) -> Vec<(&'a str, &'a str)> {
    metadata.iter().filter(|(key, _)| !keys.contains(key)).collect()
}

/// An event that its readers would refuse is refused here.
///
/// # Errors
/// `SIZE_VIOLATION` with the limit that is passed.
pub fn check(result: Result<(), EncodeError>) -> Result<(), Failure> {
    result.map_err(|error| Failure::Permanent(Reason::new("SIZE_VIOLATION", error.to_string())))
}
