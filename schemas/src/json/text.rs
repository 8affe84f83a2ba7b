//! JSON's scalars.

use std::fmt::Write;

/// A string with JSON's escapes.
pub(crate) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    text.chars().for_each(|c| escaped(c, out));
    out.push('"');
}

/// Bytes as the text whose code points they are.
pub(crate) fn write_bytes(bytes: &[u8], out: &mut String) {
    out.push('"');
    bytes.iter().for_each(|b| escaped(char::from(*b), out));
    out.push('"');
}

/// Bytes that [`write_text`] writes.
pub(super) fn text_length(text: &str) -> usize {
    2 + text.chars().map(escaped_length).sum::<usize>()
}

/// Bytes that [`write_bytes`] writes.
pub(super) fn bytes_length(bytes: &[u8]) -> usize {
    2 + bytes.iter().map(|b| escaped_length(char::from(*b))).sum::<usize>()
}

fn escaped_length(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

fn escaped(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c < ' ' => {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        c => out.push(c),
    }
}

/// A double, in the shortest digits that read back as it.
pub(crate) fn write_double(value: f64, out: &mut String) {
    match serde_json::Number::from_f64(value) {
        Some(number) => out.push_str(&number.to_string()),
        None => special(value, out),
    }
}

/// A float, in the shortest digits that read back as it.
pub(crate) fn write_float(value: f32, out: &mut String) {
    // Debug of a float is its shortest form, always with a point or an exponent, which JSON reads.
    if value.is_finite() {
        let _ = write!(out, "{value:?}");
    } else {
        special(f64::from(value), out);
    }
}

fn special(value: f64, out: &mut String) {
    out.push_str(match value {
        v if v.is_nan() => "\"NaN\"",
        v if v > 0.0 => "\"Infinity\"",
        _ => "\"-Infinity\"",
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_what_is_written() {
        let bytes: Vec<u8> = (0..=255).collect();
        let (mut of_bytes, mut of_text) = (String::new(), String::new());
        write_bytes(&bytes, &mut of_bytes);
        assert_eq!(bytes_length(&bytes), of_bytes.len());
        let text: String = bytes.iter().map(|b| char::from(*b)).chain(['\u{1f600}', '\u{7ff}']).collect();
        write_text(&text, &mut of_text);
        assert_eq!(text_length(&text), of_text.len());
    }
}
