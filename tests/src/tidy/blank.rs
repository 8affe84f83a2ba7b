//! Blanks comments and the insides of strings out of Rust text, so that rules look at code only.

/// Where the walk is.
enum In {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text { hashes: Option<usize> },
}

/// `text` with every byte of a comment or of a string's inside replaced by a space; line ends stay.
pub fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut state) = (0, In::Code);
    while at < bytes.len() {
        let (taken, keep, next) = step(&bytes[at..], &state, out.last().copied());
        for byte in &bytes[at..at + taken] {
            out.push(if keep || *byte == b'\n' { *byte } else { b' ' });
        }
        at += taken;
        if let Some(next) = next {
            state = next;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How many bytes to take, whether they are code, and where that leads.
fn step(rest: &[u8], state: &In, before: Option<u8>) -> (usize, bool, Option<In>) {
    match state {
        In::Code => code_step(rest, before),
        In::LineComment => (1, false, (rest[0] == b'\n').then_some(In::Code)),
        In::BlockComment { depth } => match rest {
            [b'*', b'/', ..] if *depth == 1 => (2, false, Some(In::Code)),
            [b'*', b'/', ..] => (2, false, Some(In::BlockComment { depth: depth - 1 })),
            [b'/', b'*', ..] => (2, false, Some(In::BlockComment { depth: depth + 1 })),
            _ => (1, false, None),
        },
        In::Text { hashes: None } => match rest {
            [b'\\', _, ..] => (2, false, None),
            [b'"', ..] => (1, true, Some(In::Code)),
            _ => (1, false, None),
        },
        In::Text { hashes: Some(hashes) } => {
            let closes = rest[0] == b'"' && rest[1..].iter().take(*hashes).filter(|b| **b == b'#').count() == *hashes;
            if closes { (1 + hashes, true, Some(In::Code)) } else { (1, false, None) }
        }
    }
}

fn code_step(rest: &[u8], before: Option<u8>) -> (usize, bool, Option<In>) {
    let in_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    match rest {
        [b'/', b'/', ..] => (2, false, Some(In::LineComment)),
        [b'/', b'*', ..] => (2, false, Some(In::BlockComment { depth: 1 })),
        [b'"', ..] => (1, true, Some(In::Text { hashes: None })),
        [b'r', following @ ..] if !in_word || before == Some(b'b') => {
            let hashes = following.iter().take_while(|b| **b == b'#').count();
            let opens = following.get(hashes) == Some(&b'"');
            if opens { (hashes + 2, true, Some(In::Text { hashes: Some(hashes) })) } else { (1, true, None) }
        }
        // A character: `'"'` and `'\''` must not open a string; a lifetime has no closing quote.
        [b'\'', b'\\', _, b'\'', ..] => (4, true, None),
        [b'\'', _, b'\'', ..] => (3, true, None),
        _ => (1, true, None),
    }
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn only_code_is_left() {
        assert_eq!(code("a // b\nc"), "a     \nc");
        assert_eq!(code("a /* b /* c */ d */ e"), "a                   e");
        assert_eq!(code(r#"f("un\"safe") g"#), r#"f("        ") g"#);
        assert_eq!(code("r#\"x\"y\"# z"), "r#\"   \"# z");
        assert_eq!(code("'\"' unsafe '\\'' \"a\""), "'\"' unsafe '\\'' \" \"");
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
        assert_eq!(code("for_r\"x\""), "for_r\" \"");
    }
}
