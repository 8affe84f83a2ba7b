//! UTF-8 checks for many short strings, for which the standard library's check of one alone costs three times as much.
//! Strings that are read: the length before a short string is itself an ASCII byte, so strings that stand behind each other in
//! a record are one run of ASCII; it is found and checked once, and each string is a part of it. Strings that are passed over:
//! two words hold any short one, and a mask takes the bytes that are its own.

/// Bytes beyond a string that are looked at for the strings behind it.
const AHEAD_BYTES: usize = 160;

/// The ASCII run around the reader. Readers only go forward, so a run that ends behind a string also starts before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TextRun<'a> {
    /// All bytes before this offset, from some string that was read, are ASCII.
    pub ascii_end: usize,
    /// A part of that run as text.
    text: &'a str,
    text_start: usize,
}

impl<'a> TextRun<'a> {
    /// The bytes from `start` to `end` as text, if they are in the run.
    #[inline(always)]
    pub fn get(&self, start: usize, end: usize) -> Option<&'a str> {
        self.text.get(start.wrapping_sub(self.text_start)..end.wrapping_sub(self.text_start))
    }

    /// A run that holds `bytes[start..end]`, or the offset in it of the first bad byte.
    #[inline(never)]
    pub fn extend(self, bytes: &'a [u8], start: usize, end: usize) -> Result<Self, usize> {
        let ascii_end = if end > self.ascii_end { look_ahead(bytes, start, end)? } else { self.ascii_end };
        let text = std::str::from_utf8(&bytes[start..ascii_end.max(end)]).map_err(|e| e.valid_up_to())?;
        Ok(Self { ascii_end, text, text_start: start })
    }
}

/// The end of the ASCII run that starts at `start`, if `bytes[start..end]` is text; else the offset in it of the first bad
/// byte.
#[inline(never)]
fn look_ahead(bytes: &[u8], start: usize, end: usize) -> Result<usize, usize> {
    let ascii_end = start + ascii_run(&bytes[start..bytes.len().min(end + AHEAD_BYTES)]);
    if ascii_end < end {
        std::str::from_utf8(&bytes[start..end]).map_err(|e| e.valid_up_to())?;
    }
    Ok(ascii_end)
}

/// Longest string that [`short_ascii`] takes.
pub(super) const SHORT_BYTES: usize = 16;

/// For each length, the high bits of a string's bytes in the 16 bytes that end with it.
const HIGH_OF_LAST: [[u64; 2]; SHORT_BYTES + 1] = {
    let mut masks = [[0; 2]; SHORT_BYTES + 1];
    let mut length = 0;
    while length <= SHORT_BYTES {
        let mut byte = SHORT_BYTES - length;
        while byte < SHORT_BYTES {
            masks[length][byte / 8] |= 0x80 << (8 * (byte % 8));
            byte += 1;
        }
        length += 1;
    }
    masks
};

/// Whether the last `length` bytes are ASCII, without a branch for the length.
#[inline(always)]
pub(super) fn short_ascii(last: &[u8; SHORT_BYTES], length: usize) -> bool {
    let both = u128::from_le_bytes(*last);
    HIGH_OF_LAST.get(length).is_some_and(|[low, high]| (both as u64 & low) | ((both >> 64) as u64 & high) == 0)
}

const HIGH: u64 = 0x8080_8080_8080_8080;

/// Length of the ASCII prefix.
#[inline(always)]
fn ascii_run(bytes: &[u8]) -> usize {
    let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().unwrap_or([0xff; 8])) & HIGH;
    let (blocks, rest) = bytes.as_chunks::<32>();
    let clean =
        |block: &&[u8; 32]| word(&block[..8]) | word(&block[8..16]) | word(&block[16..24]) | word(&block[24..]) == 0;
    let run = 32 * blocks.iter().take_while(clean).count();
    let rest = if run / 32 < blocks.len() { &blocks[run / 32][..] } else { rest };
    let (words, tail) = rest.as_chunks::<8>();
    for (i, chunk) in words.iter().enumerate() {
        let high = word(chunk);
        if high != 0 {
            return run.wrapping_add(8 * i + high.trailing_zeros() as usize / 8);
        }
    }
    let run = run.wrapping_add(rest.len() - tail.len());
    // The last eight bytes, of which the first were looked at.
    match bytes.last_chunk::<8>() {
        Some(last) if !tail.is_empty() => {
            let high = (u64::from_le_bytes(*last) & HIGH) >> (64 - 8 * tail.len());
            if high == 0 { bytes.len() } else { run.wrapping_add(high.trailing_zeros() as usize / 8) }
        }
        _ => run + tail.iter().take_while(|b| b.is_ascii()).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ascii_prefix_is_found_at_any_length() {
        for len in 0..100 {
            for bad in 0..=len {
                let mut bytes = vec![b'a'; len];
                bytes[bad..].iter_mut().step_by(3).for_each(|b| *b = 0xc3);
                assert_eq!(ascii_run(&bytes), bad, "{len}");
            }
        }
    }

    #[test]
    fn short_strings_are_ascii_or_not() {
        for length in 0..=SHORT_BYTES {
            for bad in 0..SHORT_BYTES {
                let mut last = [b'a'; SHORT_BYTES];
                last[bad] = 0x80;
                assert_eq!(short_ascii(&last, length), bad < SHORT_BYTES - length, "{length} {bad}");
            }
        }
        assert!(!short_ascii(&[0; SHORT_BYTES], SHORT_BYTES + 1), "longer ones are looked at by others");
    }

    #[test]
    fn text_is_what_the_standard_library_takes_for_text() {
        let text = "abcdefgh\u{e9}ijklmnopqrstuvwxyz0123456789ABCDEF\u{1f600}GHIJKLMNOPQR";
        let mut bytes = text.as_bytes().to_vec();
        for bad in [None, Some(3), Some(8), Some(40)] {
            bad.into_iter().for_each(|at: usize| bytes[at] = 0xff);
            for start in 0..bytes.len() {
                for end in start..=bytes.len() {
                    let expected = std::str::from_utf8(&bytes[start..end]).map_err(|e| e.valid_up_to());
                    assert_eq!(look_ahead(&bytes, start, end).map(|_| ()), expected.map(|_| ()));
                    let run = TextRun::default().extend(&bytes, start, end);
                    assert_eq!(run.map(|run| run.get(start, end)), expected.map(Some));
                }
            }
        }
    }
}
