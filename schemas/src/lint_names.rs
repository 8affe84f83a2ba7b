//! What the name of a field says of its value: that it is money, and in which unit it counts.

/// Words that a name of an amount of money is made of.
const MONEY: [&str; 24] = [
    "price", "cost", "amount", "budget", "spend", "spent", "bid", "fee", "revenue", "balance", "payment", "payout",
    "earnings", "charge", "tax", "micros", "cents", "usd", "eur", "cpm", "cpc", "cpa", "floor", "bidfloor",
];
/// Last words of what is counted or measured around money and is no amount of it.
const NO_AMOUNT: [&str; 14] = [
    "ratio",
    "rate",
    "share",
    "count",
    "score",
    "factor",
    "probability",
    "percent",
    "ppm",
    "multiplier",
    "rank",
    "ms",
    "us",
    "seconds",
];
/// Last words that are units.
const UNITS: [&str; 24] = [
    "ns", "us", "ms", "s", "seconds", "minutes", "hours", "days", "millis", "micros", "nanos", "cents", "usd", "eur",
    "gbp", "bytes", "kb", "mb", "gb", "kib", "mib", "gib", "ppm", "percent",
];

/// The words of `snake_case`, `kebab-case`, `camelCase`, `PascalCase` and `HTTPStatus`, in small letters.
pub(super) fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (i, c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).map(|b| chars[b]);
        let after = chars.get(i + 1);
        let starts = c.is_ascii_uppercase()
            && before.is_some_and(|b| !b.is_ascii_uppercase() || after.is_some_and(char::is_ascii_lowercase));
        if starts || !c.is_ascii_alphanumeric() {
            words.push(String::new());
        }
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a field of this name holds an amount of money.
pub(super) fn is_money(name: &str) -> bool {
    let words = words(name);
    let is = |word: &String| MONEY.contains(&word.as_str()) || MONEY.contains(&word.trim_end_matches('s'));
    words.iter().any(is) && !words.last().is_some_and(|last| NO_AMOUNT.contains(&last.as_str()))
}

/// The unit that a name ends with. A name that is nothing but the word has none: `days` may be a list of them.
pub(super) fn unit(name: &str) -> Option<&'static str> {
    let words = words(name);
    let last = words.last().filter(|_| words.len() > 1)?;
    UNITS.into_iter().find(|unit| unit == last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_style_are_read_alike() {
        for name in ["bid_price", "bidPrice", "BidPrice", "bid-price", "BID_PRICE"] {
            assert_eq!(words(name), ["bid", "price"], "{name}");
        }
        assert_eq!(words("eCPMFloor"), ["e", "cpm", "floor"]);
        assert_eq!(words("waitMs"), ["wait", "ms"]);
        assert_eq!(words("_"), [""; 0]);
    }

    #[test]
    fn money_and_units_are_told_from_what_stands_beside_them() {
        for name in ["bidPrice", "total_costs", "cpm", "eCPM", "dailyBudget", "priceUsd", "fees"] {
            assert!(is_money(name), "{name}");
        }
        for name in ["bid_rate", "priceRatio", "costs_count", "bidding", "embiddable", "bid_ms"] {
            assert!(!is_money(name), "{name}");
        }
        assert_eq!(unit("waitMs"), Some("ms"));
        assert_eq!(unit("wait_us"), Some("us"));
        assert_eq!(unit("priceUSD"), Some("usd"));
        assert_eq!((unit("days"), unit("status")), (None, None));
    }
}
