//! UTF-8 checks for many short strings. The length before a short string is itself an ASCII byte, so strings that stand
//! behind each other in a record are one run of ASCII: it is found and checked once, and each string is a part of it. The
//! standard library's check of a single short string costs three times as much.

/// Bytes beyond a string that are looked at for the strings behind it.
const AHEAD_BYTES: usize = 160;

/// The ASCII run around the reader. Readers only go forward, so a run that ends behind a string also starts before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TextRun<'a> {
    /// All bytes before this offset, from some string that was read, are ASCII.
    ascii_end: usize,
    /// A part of that run as text.
    text: &'a str,
    text_start: usize,
    text_end: usize,
}

impl<'a> TextRun<'a> {
    /// `bytes[start..end]` as text, or the offset in it of the first bad byte.
    #[inline(always)]
    pub fn get(&mut self, bytes: &'a [u8], start: usize, end: usize) -> Result<&'a str, usize> {
        if end <= self.text_end
            && let Some(text) = self.text.get(start.wrapping_sub(self.text_start)..end.wrapping_sub(self.text_start))
        {
            return Ok(text);
        }
        self.extend(bytes, start, end)
    }

    /// Whether `bytes[start..end]` is text, or the offset in it of the first bad byte.
    #[inline(always)]
    pub fn check(&mut self, bytes: &'a [u8], start: usize, end: usize) -> Result<(), usize> {
        if end <= self.ascii_end { Ok(()) } else { self.look_ahead(bytes, start, end) }
    }

    #[inline(never)]
    fn extend(&mut self, bytes: &'a [u8], start: usize, end: usize) -> Result<&'a str, usize> {
        if end > self.ascii_end {
            self.look_ahead(bytes, start, end)?;
        }
        let run = self.ascii_end.max(end);
        let text = std::str::from_utf8(&bytes[start..run]).map_err(|e| e.valid_up_to())?;
        (self.text, self.text_start, self.text_end) = (text, start, run);
        // No character ends elsewhere: the run is ASCII, or it is this string.
        text.get(..end - start).ok_or(0)
    }

    #[inline(never)]
    fn look_ahead(&mut self, bytes: &[u8], start: usize, end: usize) -> Result<(), usize> {
        let window = &bytes[start..bytes.len().min(end + AHEAD_BYTES)];
        self.ascii_end = start + ascii_run(window);
        if end <= self.ascii_end {
            return Ok(());
        }
        std::str::from_utf8(&bytes[start..end]).map(|_| ()).map_err(|e| e.valid_up_to())
    }
}

/// Length of the ASCII prefix.
#[inline]
fn ascii_run(bytes: &[u8]) -> usize {
    let mut run = 0;
    for chunk in bytes.chunks_exact(8) {
        let high = u64::from_le_bytes(chunk.try_into().unwrap_or([0xff; 8])) & 0x8080_8080_8080_8080;
        if high != 0 {
            return run + high.trailing_zeros() as usize / 8;
        }
        run += 8;
    }
    run + bytes[run..].iter().take_while(|b| b.is_ascii()).count()
}
