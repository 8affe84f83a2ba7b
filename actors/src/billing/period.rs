//! Accounting months.

use smol_str::SmolStr;

const DAY_MS: i64 = 86_400_000;

/// Last millisecond of the year 9999: later months do not fit four digits.
pub const TIMESTAMP_MAX_MS: i64 = 253_402_300_799_999;

/// The UTC month of an event time between 0 and [`TIMESTAMP_MAX_MS`], as `2026-11`.
pub fn month(timestamp_ms: i64) -> SmolStr {
    let (year, month) = civil(timestamp_ms.div_euclid(DAY_MS));
    smol_str::format_smolstr!("{year:04}-{month:02}")
}

/// Year and month of a day since the epoch, by counting in eras of 400 years that start in March, so that the leap day is
/// the last of its year.
fn civil(day: i64) -> (i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    const FROM_MARCH_0000_TO_EPOCH_DAYS: i64 = 719_468;
    let day = day + FROM_MARCH_0000_TO_EPOCH_DAYS;
    let (era, day) = (day.div_euclid(ERA_DAYS), day.rem_euclid(ERA_DAYS));
    let year = (day - day / 1_460 + day / 36_524 - day / (ERA_DAYS - 1)) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // Months of 31, 30, 31, 30, 31 days repeat from March on: 153 days for five.
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + i64::from(month <= 2), month)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Day by day with the rule of leap years alone.
    #[test]
    fn every_day_of_nine_centuries_has_its_month() {
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for since_epoch in 0..330_000 {
            assert_eq!(civil(since_epoch), (year, month), "day {since_epoch}");
            let last = match month {
                2 => 28 + i64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn months_are_written_in_full() {
        assert_eq!(super::month(0), "1970-01");
        assert_eq!(super::month(TIMESTAMP_MAX_MS), "9999-12");
        // 2024-02-29T23:59:59.999Z and the next millisecond.
        assert_eq!(super::month(1_709_251_199_999), "2024-02");
        assert_eq!(super::month(1_709_251_200_000), "2024-03");
    }
}
