//! Reproducible draws. Each belongs to a named stream and to one thing (a bid, a request), so that the order in which
//! things are asked about cannot change an answer, and a new draw does not move the others.

use fastrand::Rng;

/// The random source of one thing in one stream: the same for the same (seed, stream, id), whatever was drawn before.
pub fn stream(seed: u64, stream: &str, id: &str) -> Rng {
    // FNV-1a over both names with a separator that UTF-8 cannot contain, then a full mix: neighbours must not resemble.
    let mut hash = 0xcbf2_9ce4_8422_2325u64 ^ mix(seed);
    for byte in stream.bytes().chain(std::iter::once(0xff)).chain(id.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    Rng::with_seed(mix(hash))
}

/// The finishing function of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// True with a probability in parts per million.
pub fn happens(rng: &mut Rng, ppm: u32) -> bool {
    rng.u32(0..1_000_000) < ppm
}

/// A value from a distribution given by its values at equally spaced probabilities (0, 1/n, ..., 1), straight lines between.
pub fn from_quantiles(rng: &mut Rng, points: &[i64]) -> i64 {
    let Some(intervals) = points.len().checked_sub(1).filter(|n| *n > 0) else {
        return points.first().copied().unwrap_or(0);
    };
    // In integers, so that no machine's floating point can change a price.
    const STEPS: i64 = 1 << 20;
    let at = rng.i64(0..STEPS * intervals as i64);
    let (index, within) = ((at / STEPS) as usize, at % STEPS);
    let (low, high) = (points[index], points[index + 1]);
    low + (high - low) * within / STEPS
}

/// An index into a table of weights, with probability by weight. The last one if the weights are all zero.
pub fn weighted(rng: &mut Rng, weights: impl Iterator<Item = u32> + Clone) -> usize {
    let total: u32 = weights.clone().sum();
    let mut left = rng.u32(0..total.max(1));
    let mut last = 0;
    for (index, weight) in weights.enumerate() {
        if left < weight {
            return index;
        }
        left -= weight;
        last = index;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use proptest::prelude::*;

    #[test]
    fn streams_are_reproducible_and_apart() {
        let first = |seed, name: &str, id: &str| stream(seed, name, id).u64(..);
        assert_eq!(first(1, "price", "b"), first(1, "price", "b"));
        let others = [first(2, "price", "b"), first(1, "click", "b"), first(1, "price", "c"), first(1, "pricec", "")];
        assert!(others.iter().all(|other| *other != first(1, "price", "b")));
    }

    #[test]
    fn quantiles_give_back_their_own_distribution() {
        let points = [0, 10, 20, 100];
        let mut rng = Rng::with_seed(7);
        let draws: Vec<i64> = (0..30_000).map(|_| from_quantiles(&mut rng, &points)).collect();
        let below = |limit| draws.iter().filter(|value| **value < limit).count() as f64 / draws.len() as f64;
        assert!((below(10) - 1.0 / 3.0).abs() < 0.02 && (below(20) - 2.0 / 3.0).abs() < 0.02);
        assert_eq!(from_quantiles(&mut rng, &[5]), 5);
        assert_eq!(from_quantiles(&mut rng, &[]), 0);
    }

    #[test]
    fn weights_rule_the_choice() {
        let mut rng = Rng::with_seed(7);
        let mut counts = [0; 3];
        (0..10_000).for_each(|_| counts[weighted(&mut rng, [1, 0, 3].into_iter())] += 1);
        assert!(counts[1] == 0 && (counts[0] as f64 / 10_000.0 - 0.25).abs() < 0.03, "{counts:?}");
        assert_eq!(weighted(&mut rng, std::iter::empty()), 0);
    }

    proptest! {
        #[test]
        fn draws_stay_in_range(seed in any::<u64>(), mut points in proptest::collection::vec(-1_000i64..1_000, 1..20)) {
            points.sort_unstable();
            let value = from_quantiles(&mut Rng::with_seed(seed), &points);
            prop_assert!(value >= points[0] && value <= points[points.len() - 1]);
        }
    }
}
