//! Money as integers. Two prices that differ by a factor of a thousand are two types.
//!
//! [`Micros`] is an amount: one millionth of a US dollar is one. [`Cpm`] is a price per *thousand* impressions, as OpenRTB
//! and campaign tables state it. Mixing them up bills a thousand times too much, so only [`Cpm::per_impression_floor`] and
//! [`Cpm::per_impression_ceil`] lead from one to the other: $2.50 CPM is 2,500 micros for one impression.

use std::fmt;

use runtime::state::{Field, RowError};

/// Micros in one unit of currency.
pub const MICROS_PER_UNIT: i64 = 1_000_000;

/// Highest price that is taken for a price: $1,000 per thousand, one dollar for a single impression. Real floors end near
/// $25; one exchange was seen to send 1,249,995, which is a defect of the sender and not an offer.
pub const PLAUSIBLE_CPM_MAX: Cpm = Cpm(1_000 * MICROS_PER_UNIT);

/// An amount of money in millionths of the currency unit. Arithmetic is checked; there are no operators on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// Nothing.
    pub const ZERO: Micros = Micros(0);

    /// Sum, or `None` beyond the range of `i64`.
    pub fn checked_add(self, other: Micros) -> Option<Micros> {
        self.0.checked_add(other.0).map(Micros)
    }

    /// Difference, or `None` beyond the range of `i64`.
    pub fn checked_sub(self, other: Micros) -> Option<Micros> {
        self.0.checked_sub(other.0).map(Micros)
    }
}

impl fmt::Display for Micros {
    /// Currency units with all six decimals, without passing through floating point: `-1.250000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let abs = self.0.unsigned_abs();
        let unit = MICROS_PER_UNIT.unsigned_abs();
        write!(f, "{sign}{}.{:06}", abs / unit, abs % unit)
    }
}

/// A price per thousand impressions, in micros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpm(pub i64);

/// Why a number is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// NaN, infinity, or no number at all.
    #[error("price is not a finite number")]
    NotANumber,
    /// Below zero.
    #[error("price is negative")]
    Negative,
    /// Above [`PLAUSIBLE_CPM_MAX`].
    #[error("price is above the plausible maximum of {} per thousand", Micros(PLAUSIBLE_CPM_MAX.0))]
    Implausible,
}

impl PriceError {
    /// Stable name for metrics and no-bid reasons.
    pub fn kind(&self) -> &'static str {
        match self {
            PriceError::NotANumber => "price_not_a_number",
            PriceError::Negative => "price_negative",
            PriceError::Implausible => "price_implausible",
        }
    }
}

impl Cpm {
    /// Reads an OpenRTB price in currency units per thousand, rounded to the nearest micro.
    ///
    /// # Errors
    /// [`PriceError`] for what is no price: the request stays valid, but nobody may bid on it.
    pub fn from_units(units: f64) -> Result<Cpm, PriceError> {
        if !units.is_finite() {
            return Err(PriceError::NotANumber);
        }
        if units < 0.0 {
            return Err(PriceError::Negative);
        }
        // The limit is checked before the conversion to an integer, so the product stays far below 2^53 and is exact.
        if units > PLAUSIBLE_CPM_MAX.0 as f64 / MICROS_PER_UNIT as f64 {
            return Err(PriceError::Implausible);
        }
        Ok(Cpm((units * MICROS_PER_UNIT as f64).round() as i64))
    }

    /// Price of one impression, rounded down: for what we offer, so that we never pay above the stated price.
    pub fn per_impression_floor(self) -> Micros {
        Micros(self.0.div_euclid(1_000))
    }

    /// Price of one impression, rounded up: for floors, so that we never bid below one.
    pub fn per_impression_ceil(self) -> Micros {
        Micros(self.0.div_euclid(1_000).saturating_add(i64::from(self.0.rem_euclid(1_000) != 0)))
    }
}

impl Field for Micros {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(input: &mut &[u8]) -> Result<Micros, RowError> {
        i64::take(input).map(Micros)
    }
}

impl Field for Cpm {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(input: &mut &[u8]) -> Result<Cpm, RowError> {
        i64::take(input).map(Cpm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cpm_of_two_and_a_half_dollars_is_2500_micros_an_impression() {
        let cpm = Cpm::from_units(2.50).expect("price");
        assert_eq!(cpm, Cpm(2_500_000));
        assert_eq!(cpm.per_impression_floor(), Micros(2_500));
        assert_eq!(cpm.per_impression_ceil(), Micros(2_500));
    }

    #[test]
    fn floors_round_up_and_offers_round_down() {
        let cpm = Cpm(1_001);
        assert_eq!((cpm.per_impression_floor(), cpm.per_impression_ceil()), (Micros(1), Micros(2)));
    }

    #[test]
    fn absurd_prices_are_named() {
        assert_eq!(Cpm::from_units(f64::NAN), Err(PriceError::NotANumber));
        assert_eq!(Cpm::from_units(f64::INFINITY), Err(PriceError::NotANumber));
        assert_eq!(Cpm::from_units(-0.01), Err(PriceError::Negative));
        assert_eq!(Cpm::from_units(2_000_000.0), Err(PriceError::Implausible));
        assert_eq!(Cpm::from_units(1_000.0), Ok(PLAUSIBLE_CPM_MAX));
    }

    #[test]
    fn amounts_print_without_floating_point() {
        assert_eq!(Micros(-1_250_000).to_string(), "-1.250000");
        assert_eq!(Micros(7).to_string(), "0.000007");
        assert_eq!(Micros(i64::MIN).to_string(), "-9223372036854.775808");
    }

    proptest! {
        #[test]
        fn any_float_is_a_price_or_an_error(bits in any::<u64>()) {
            if let Ok(cpm) = Cpm::from_units(f64::from_bits(bits)) {
                prop_assert!(cpm.0 >= 0 && cpm <= PLAUSIBLE_CPM_MAX);
                let (low, high) = (cpm.per_impression_floor(), cpm.per_impression_ceil());
                prop_assert!(low <= high && high.0 - low.0 <= 1);
                prop_assert!(low.0 * 1_000 <= cpm.0 && high.0 * 1_000 >= cpm.0);
            }
        }

        #[test]
        fn whole_cents_convert_exactly(cents in 0i64..100_000) {
            prop_assert_eq!(Cpm::from_units(cents as f64 / 100.0), Ok(Cpm(cents * 10_000)));
        }
    }
}
