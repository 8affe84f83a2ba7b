//! Words about a failure, without what people have sent: messages of panics and of libraries quote their input.

/// Longest message of a dead letter, bytes.
pub const MESSAGE_BYTES_MAX: usize = 500;
/// A word with a digit in it is a name of something from here on; shorter ones are counts and positions.
const ID_BYTES_MIN: usize = 9;
/// Stands for what was left out.
const LEFT_OUT: &str = "…";

/// The message in one line of bounded length; quoted text, addresses, words that look like ids and the event's own key are
/// left out.
pub fn plain(message: &str, key: &[u8]) -> String {
    let key = std::str::from_utf8(key).unwrap_or_default();
    let mut out = String::with_capacity(message.len().min(MESSAGE_BYTES_MAX));
    for (index, part) in unquoted(message).into_iter().enumerate() {
        if index > 0 {
            out.push_str(LEFT_OUT);
        }
        words(part, key, &mut out);
    }
    clip(out)
}

/// The parts of a message between quotations. A quotation that never ends takes the rest with it.
fn unquoted(message: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), message);
    loop {
        let Some(start) = rest.find(['"', '`']) else {
            parts.push(rest);
            return parts;
        };
        let quote = &rest[start..=start];
        parts.push(&rest[..start]);
        let behind = &rest[start + 1..];
        rest = behind.find(quote).map_or("", |end| &behind[end + 1..]);
    }
}

fn words(part: &str, key: &str, out: &mut String) {
    let mut word = 0;
    for (at, c) in part.char_indices().chain([(part.len(), ' ')]) {
        let ends =
            c.is_whitespace() || c.is_control() || matches!(c, ',' | ';' | '(' | ')' | '[' | ']' | '{' | '}' | '=');
        if !ends {
            continue;
        }
        let text = &part[word..at];
        out.push_str(if is_personal(text, key) { LEFT_OUT } else { text });
        word = at + c.len_utf8();
        if at < part.len() {
            out.push(if c.is_whitespace() || c.is_control() { ' ' } else { c });
        }
    }
}

fn is_personal(word: &str, key: &str) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
    let is_id = bare.len() >= ID_BYTES_MIN && bare.contains(|c: char| c.is_ascii_digit());
    let is_number = bare.len() <= 20 && bare.bytes().all(|byte| byte.is_ascii_digit());
    let dots = bare.matches(['.', ':']).count();
    let is_address =
        bare.contains('@') || dots >= 3 && bare.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, '.' | ':'));
    let names_key = !key.is_empty() && (word.contains(key) || bare == key);
    names_key || is_address || is_id && !is_number
}

fn clip(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX - LEFT_OUT.len()).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(LEFT_OUT);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_have_sent_is_left_out() {
        let plain = |message| plain(message, b"user-77");
        assert_eq!(
            plain("index out of bounds: the len is 3 but the index is 5"),
            "index out of bounds: the len is 3 but the index is 5"
        );
        assert_eq!(plain(r#"called `unwrap()` on an Err: "jane doe""#), "called … on an Err: …");
        assert_eq!(plain("no person jane@example.org at 192.0.2.17"), "no person … at …");
        assert_eq!(plain("unknown user-77, id=0a1b2c3d4e5f and user-77."), "unknown …, id=… and …");
        assert_eq!(plain("win_price_micros is 12000000 of 1000000"), "win_price_micros is 12000000 of 1000000");
        assert_eq!(plain("a \"quotation that never ends"), "a …");
        assert_eq!(plain("two\nlines"), "two lines");
    }

    proptest! {
        /// The key never gets into a message, whatever stands around it; messages are bounded.
        #[test]
        fn a_key_is_never_told(before in ".{0,40}", key in "[a-z]{3}[a-z0-9-]{1,20}", after in ".{0,600}") {
            let told = plain(&format!("{before} {key} {after}"), key.as_bytes());
            let bare = before.contains(&key) || after.contains(&key);
            prop_assert!(bare || !told.contains(&key), "{told}");
            prop_assert!(told.len() <= MESSAGE_BYTES_MAX);
        }
    }
}
