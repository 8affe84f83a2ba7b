//! Decimals of any length as plain decimal strings.

/// Bytes of a decimal that are converted: 2,400 digits. The cost grows with the square.
const DECIMAL_BYTES_MAX: usize = 1024;
const LIMB: u64 = 1_000_000_000;

/// Bytes that [`write_decimal`] writes, at most.
pub(super) fn decimal_length(bytes: &[u8], scale: u32) -> usize {
    // 2.41 digits a byte; zeros up to the scale, a point, a sign, quotes.
    5 * bytes.len().min(DECIMAL_BYTES_MAX) / 2 + (scale as usize).min(4 * DECIMAL_BYTES_MAX) + 8
}

/// The number with `scale` digits after the point, quoted; `None` for no bytes, or too many.
pub(crate) fn write_decimal(bytes: &[u8], scale: u32, out: &mut String) -> Option<()> {
    let first = *bytes.first()?;
    let negative = first >= 0x80;
    let padding = bytes.iter().take_while(|b| **b == if negative { 0xff } else { 0 }).count();
    let bytes = &bytes[padding.min(bytes.len() - 1)..];
    if bytes.len() > DECIMAL_BYTES_MAX || scale as usize > 4 * DECIMAL_BYTES_MAX {
        return None;
    }
    let mut digits = magnitude_digits(bytes, negative);
    let scale = scale as usize;
    if digits.len() <= scale {
        digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
    }
    if scale > 0 {
        digits.insert(digits.len() - scale, '.');
    }
    out.push('"');
    // Two's complement has one zero, and it has no sign.
    if negative {
        out.push('-');
    }
    out.push_str(&digits);
    out.push('"');
    Some(())
}

/// Digits of the absolute value. `bytes` may have lost padding: a negative number is its complement plus one.
fn magnitude_digits(bytes: &[u8], negative: bool) -> String {
    let mut limbs = vec![0];
    // Four bytes at a time, the odd ones first.
    let (head, rest) = bytes.split_at(bytes.len() % 4);
    for chunk in [head].into_iter().filter(|h| !h.is_empty()).chain(rest.chunks(4)) {
        let digit = chunk.iter().fold(0, |n, b| n << 8 | u64::from(if negative { !b } else { *b }));
        times_plus(&mut limbs, 1 << (8 * chunk.len()), digit);
    }
    if negative {
        times_plus(&mut limbs, 1, 1);
    }
    let mut text = limbs.last().copied().unwrap_or(0).to_string();
    for limb in limbs.iter().rev().skip(1) {
        text.push_str(&format!("{limb:09}"));
    }
    text
}

fn times_plus(limbs: &mut Vec<u64>, factor: u64, plus: u64) {
    let mut carry = plus;
    for limb in limbs.iter_mut() {
        let value = *limb * factor + carry;
        *limb = value % LIMB;
        carry = value / LIMB;
    }
    while carry > 0 {
        limbs.push(carry % LIMB);
        carry /= LIMB;
    }
}
