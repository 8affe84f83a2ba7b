//! Zigzag variable-length integers, as records of the v2 format use them.

/// Appends `value` zigzag-encoded.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    if rest < 0x80 {
        out.push(rest as u8);
        return;
    }
    let mut bytes = [0u8; 10];
    let mut used = 0;
    while rest >= 0x80 {
        bytes[used] = rest as u8 | 0x80;
        rest >>= 7;
        used += 1;
    }
    bytes[used] = rest as u8;
    out.extend_from_slice(&bytes[..=used]);
}

/// Bytes that `write` appends for `value`.
#[inline]
pub(super) fn size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Reads one integer of at most 64 bits at `*at` and moves `*at` behind it; `None` if cut off or too long.
#[inline]
pub(super) fn read(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(unzigzag(u64::from(first)));
    }
    read_long(bytes, at, u64::from(first & 0x7f))
}

/// As `read`, for a value that must fit 32 bits.
#[inline]
pub(super) fn read_i32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    i32::try_from(read(bytes, at)?).ok()
}

fn read_long(bytes: &[u8], at: &mut usize, first: u64) -> Option<i64> {
    let mut value = first;
    let mut shift = 7;
    loop {
        let byte = *bytes.get(*at)?;
        *at += 1;
        // The tenth byte holds one bit.
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(unzigzag(value));
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(value in any::<i64>(), shift in 0u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            write(&mut out, value);
            prop_assert_eq!(out.len(), size(value));
            let mut at = 0;
            prop_assert_eq!(read(&out, &mut at), Some(value));
            prop_assert_eq!(at, out.len());
            prop_assert_eq!(read(&out[..out.len() - 1], &mut 0), None);
        }
    }

    #[test]
    fn extremes() {
        for value in [0, -1, 1, 63, 64, -64, -65, i64::MIN, i64::MAX, i64::from(i32::MIN), i64::from(i32::MAX)] {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(read(&out, &mut 0), Some(value));
            assert_eq!(out.len(), size(value));
        }
        assert_eq!(read(&[0xff; 11], &mut 0), None);
        assert_eq!(read_i32(&[0x80, 0x80, 0x80, 0x80, 0x20], &mut 0), None);
    }
}
