//! What exchanges put in place of the macros in our URLs (OpenRTB 2.6, section 4.4).

use actors::money::{Cpm, Micros, PriceError};

/// What stands where `${AUCTION_PRICE}` was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// Price of one impression.
    Stated(Micros),
    /// A scan of the ad for quality: nothing was sold.
    Audit,
    /// Nothing, or the macro itself: shown, and nobody says for how much.
    Missing,
}

/// Reads a price per thousand. Rounded up to the micro: what we owe is never recorded as less.
///
/// # Errors
/// What is no price, for the sender.
pub fn price(raw: Option<&str>) -> Result<Price, String> {
    let raw = raw.unwrap_or_default().trim();
    if raw.is_empty() || is_macro(raw) {
        return Ok(Price::Missing);
    }
    if raw == "AUDIT" {
        return Ok(Price::Audit);
    }
    let units = raw.parse::<f64>().map_err(|_| PriceError::NotANumber);
    match units.and_then(Cpm::from_units) {
        Ok(cpm) => Ok(Price::Stated(cpm.per_impression_ceil())),
        Err(error) => Err(format!("`p`: {error}; it is the price per thousand, as in ${{AUCTION_PRICE}}")),
    }
}

/// Reads a loss code, where there is one.
///
/// # Errors
/// What is no whole number, for the sender.
pub fn loss_reason(raw: Option<&str>) -> Result<Option<i32>, String> {
    match raw.unwrap_or_default().trim() {
        raw if raw.is_empty() || is_macro(raw) => Ok(None),
        raw => {
            raw.parse().map(Some).map_err(|_| "`r` is no loss code: a whole number, as in ${AUCTION_LOSS}".to_owned())
        }
    }
}

fn is_macro(raw: &str) -> bool {
    raw.starts_with("${") && raw.ends_with('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices() {
        assert_eq!(price(Some("0.32")), Ok(Price::Stated(Micros(320))));
        assert_eq!(price(Some("0.3201")), Ok(Price::Stated(Micros(321))));
        assert_eq!(price(Some(" 0 ")), Ok(Price::Stated(Micros(0))));
        for missing in [None, Some(""), Some("${AUCTION_PRICE}")] {
            assert_eq!(price(missing), Ok(Price::Missing));
        }
        assert_eq!(price(Some("AUDIT")), Ok(Price::Audit));
        for wrong in ["-1", "NaN", "inf", "1e9", "x", "0,32", "audit"] {
            assert!(price(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn loss_codes() {
        assert_eq!(loss_reason(Some("102")), Ok(Some(102)));
        assert_eq!(loss_reason(Some("${AUCTION_LOSS}")), Ok(None));
        assert!(loss_reason(Some("1.5")).is_err());
    }
}
