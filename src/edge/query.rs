//! Reads a URL's query: the few parameters that we gave out, percent-decoded.

use std::borrow::Cow;

/// Longest query that is looked at: a token and two macros.
const QUERY_MAX_BYTES: usize = 6 << 10;

/// The first value of `name`, decoded; `None` if it is absent or no UTF-8.
pub fn value<'q>(query: Option<&'q str>, name: &str) -> Option<Cow<'q, str>> {
    let query = query.filter(|query| query.len() <= QUERY_MAX_BYTES)?;
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, raw) = pairs.find(|(key, _)| *key == name)?;
    if !raw.contains(['%', '+']) {
        return Some(Cow::Borrowed(raw));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [byte, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        rest = tail;
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = &tail[2..];
            }
            (b'+', ..) => bytes.push(b' '),
            (byte, ..) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn values() {
        let query = Some("t=abc&p=%24%7BAUCTION_PRICE%7D&m=1+2&x=%zz&y=%ff&e");
        assert_eq!(value(query, "t").as_deref(), Some("abc"));
        assert_eq!(value(query, "p").as_deref(), Some("${AUCTION_PRICE}"));
        assert_eq!(value(query, "m").as_deref(), Some("1 2"));
        assert_eq!(value(query, "x").as_deref(), Some("%zz"));
        assert_eq!(value(query, "y"), None);
        assert_eq!(value(query, "e").as_deref(), Some(""));
        assert_eq!(value(query, "none"), None);
        assert_eq!(value(None, "t"), None);
    }
}
