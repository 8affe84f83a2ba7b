//! How deeply a JSON text nests, before anybody parses it.

/// Whether objects and arrays nest at most `max` deep. Text that is no JSON may pass: its parser will say so.
pub fn is_within(text: &[u8], max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > max {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn brackets_in_text_do_not_count() {
        assert!(is_within(br#"{"a":[{"b":"[[[[\"[[["}]}"#, 3));
        assert!(!is_within(br#"{"a":[{"b":1}]}"#, 2));
        assert!(is_within(b"[][][][]", 1));
        assert!(!is_within("[".repeat(33).as_bytes(), 32));
        assert!(is_within(b"]]]]{", 1));
    }
}
