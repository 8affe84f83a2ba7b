//! Medians and how sure they are, without an assumption about what is measured: the sign test's interval.

/// Pairs from which a median is known in 95 of 100 times at all: half to the power of five, on both sides.
pub const PAIRS_MIN: usize = 6;

/// The middle value; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (count, half) if count.is_multiple_of(2) => (sorted[half - 1] + sorted[half]) / 2.0,
        (_, half) => sorted[half],
    }
}

/// Values between which the true median lies 95 of 100 times; with fewer than [`PAIRS_MIN`] the widest that there are.
pub fn of_median(values: &[f64]) -> [f64; 2] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return [0.0, 0.0] };
    // How many may be cut off on each side: the binomial's tail stays below 2.5 %.
    let (mut term, mut tail, mut cut) = (0.5f64.powi(count as i32), 0.0, 0);
    loop {
        tail += term;
        if tail > 0.025 || cut >= count {
            break;
        }
        cut += 1;
        term *= (count + 1 - cut) as f64 / cut as f64;
    }
    if cut == 0 { [*first, *last] } else { [sorted[cut - 1], sorted[count - cut]] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_tests_table() {
        let values = |count: usize| (1..=count).map(|n| n as f64).collect::<Vec<_>>();
        // Ranks of the 95 % interval as in every textbook: 6 -> 1, 6; 9 -> 2, 8; 12 -> 3, 10; 20 -> 6, 15.
        for (count, ranks) in [(3, [1.0, 3.0]), (6, [1.0, 6.0]), (9, [2.0, 8.0]), (12, [3.0, 10.0]), (20, [6.0, 15.0])]
        {
            assert_eq!(of_median(&values(count)), ranks, "{count}");
        }
        assert_eq!(
            (of_median(&[]), median(&[]), median(&[3.0, 1.0]), median(&[5.0, 1.0, 2.0])),
            ([0.0; 2], 0.0, 2.0, 2.0)
        );
    }
}
