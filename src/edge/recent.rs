//! What was answered a moment ago. Exchanges send a request again when an answer is late; a second decision would be another
//! one, with another lease, and only one of them can stand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// So long a request counts as sent again: exchanges wait 80 to 1,000 ms for an answer, and try again within seconds.
const AGAIN_US: u64 = 10_000_000;
/// Auctions that are remembered: five seconds at the peak. A bid's answer has about 2.5 KB: 20 MB at most.
const AUCTIONS_MAX: usize = 8_192;

/// What was said to an auction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Bid(Bytes),
    NoBid(i32),
}

#[derive(Default)]
struct Known {
    by_auction: BTreeMap<String, (u64, Said)>,
    /// The oldest first.
    order: VecDeque<String>,
}

/// The latest answers.
#[derive(Default)]
pub struct Recent(Mutex<Known>);

impl Recent {
    /// The answer that `auction` got, if it is still known.
    pub fn get(&self, auction: &str, now_us: u64) -> Option<Said> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at_us, said) = known.by_auction.get(auction)?;
        (now_us.saturating_sub(*at_us) <= AGAIN_US).then(|| said.clone())
    }

    /// Remembers an answer; the oldest is forgotten for it.
    pub fn put(&self, auction: String, said: Said, now_us: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by_auction.insert(auction.clone(), (now_us, said)).is_some() {
            return;
        }
        known.order.push_back(auction);
        if known.order.len() > AUCTIONS_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.by_auction.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_answers_are_known_and_no_more() {
        let recent = Recent::default();
        for number in 0..=AUCTIONS_MAX as i32 {
            recent.put(number.to_string(), Said::NoBid(number), 0);
        }
        assert_eq!((recent.get("0", 0), recent.get("1", AGAIN_US)), (None, Some(Said::NoBid(1))));
        assert_eq!(recent.get("1", AGAIN_US + 1), None, "by then it is another auction");
        recent.put("1".into(), Said::Bid(Bytes::from_static(b"{}")), 7);
        assert_eq!(recent.get("1", 7), Some(Said::Bid(Bytes::from_static(b"{}"))));
        assert_eq!(recent.0.lock().expect("whole").order.len(), AUCTIONS_MAX);
    }
}
