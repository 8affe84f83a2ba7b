//! UTF-8 checks for the short, nearly always ASCII strings of events.

/// The text, or the offset of the first bad byte.
#[inline]
pub(super) fn decode(bytes: &[u8]) -> Result<&str, usize> {
    std::str::from_utf8(bytes).map_err(|e| e.valid_up_to())
}

/// Whether the bytes are text, or the offset of the first bad byte.
#[inline]
pub(super) fn check(bytes: &[u8]) -> Result<(), usize> {
    if bytes.is_ascii() { Ok(()) } else { decode(bytes).map(|_| ()) }
}
