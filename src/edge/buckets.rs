//! Token buckets: how many requests a second each address and each key may make. Pure; time is data.

use std::collections::BTreeMap;

/// Senders that are known at once; beyond it newcomers share one bucket.
const SENDERS_MAX: usize = 16_384;
/// So many seconds' worth may come at once.
const BURST_S: f64 = 2.0;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at_us: u64,
}

/// Buckets of one rate, by sender.
#[derive(Debug)]
pub struct Buckets {
    per_s: f64,
    known: BTreeMap<u64, Bucket>,
    others: Bucket,
}

impl Buckets {
    /// `per_s` 0 sets no limit.
    pub fn new(per_s: u32) -> Self {
        let per_s = f64::from(per_s);
        Self { per_s, known: BTreeMap::new(), others: Bucket { left: per_s * BURST_S, at_us: 0 } }
    }

    /// Changes the rate; what was saved up is kept up to the new burst.
    pub fn set_rate(&mut self, per_s: u32) {
        self.per_s = f64::from(per_s);
    }

    /// Takes one request of `sender`, or says that it is too many.
    pub fn take(&mut self, sender: u64, now_us: u64) -> bool {
        if self.per_s == 0.0 {
            return true;
        }
        let (per_s, full) = (self.per_s, Bucket { left: self.per_s * BURST_S, at_us: now_us });
        if !self.known.contains_key(&sender) && self.known.len() >= SENDERS_MAX {
            // Whoever is full again is as good as unknown.
            self.known.retain(|_, bucket| bucket.filled(per_s, now_us).left < full.left);
        }
        let bucket = match self.known.len() < SENDERS_MAX || self.known.contains_key(&sender) {
            true => self.known.entry(sender).or_insert(full),
            false => &mut self.others,
        };
        *bucket = bucket.filled(per_s, now_us);
        let takes = bucket.left >= 1.0;
        if takes {
            bucket.left -= 1.0;
        }
        takes
    }
}

impl Bucket {
    fn filled(self, per_s: f64, now_us: u64) -> Self {
        let came = now_us.saturating_sub(self.at_us) as f64 * per_s / 1e6;
        Self { left: (self.left + came).min(per_s * BURST_S), at_us: self.at_us.max(now_us) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut buckets = Buckets::new(10);
        assert_eq!((0..100).filter(|_| buckets.take(1, 0)).count(), 20);
        assert!(buckets.take(2, 0), "another sender is not concerned");
        assert_eq!((0..100).filter(|_| buckets.take(1, 500_000)).count(), 5);
        assert!((0..100_000).all(|_| Buckets::new(0).take(1, 0)));
    }

    #[test]
    fn many_senders_share_what_is_left_and_memory_is_bounded() {
        let mut buckets = Buckets::new(1);
        for sender in 0..100_000 {
            buckets.take(sender, 0);
        }
        assert!(buckets.known.len() <= SENDERS_MAX);
        assert!(!buckets.take(99_999, 0), "newcomers of a flood are limited together");
        assert!(buckets.take(99_999, 10_000_000), "and there is room once the others are calm");
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate(per_s in 1u32..50, steps in proptest::collection::vec(0u64..300_000, 1..300)) {
            let mut buckets = Buckets::new(per_s);
            let (mut now_us, mut taken) = (0, 0u64);
            for step in steps {
                now_us += step;
                taken += u64::from(buckets.take(7, now_us));
            }
            let most = f64::from(per_s) * (BURST_S + now_us as f64 / 1e6);
            prop_assert!(taken as f64 <= most + 1.0, "{taken} of at most {most}");
        }
    }
}
