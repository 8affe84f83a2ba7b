//! Which auctions are traced: one in so many, those that the caller traces, and what an operator follows for a while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use runtime::env::Env;
use runtime::trace::{self, TraceId, TraceParent};
use serde_json::{Value, json};

/// What can be followed at once: each costs a span an event.
const FOLLOWED_MAX: usize = 16;

/// What is followed, each until a moment of the monotonic clock, microseconds.
#[derive(Clone, Default)]
struct Followed {
    campaigns: BTreeMap<String, u64>,
    services: BTreeMap<String, u64>,
}

/// The decision, made once an auction, at the edge.
pub struct Sampling {
    env: Env,
    one_in: AtomicU64,
    /// Nothing is followed, almost always: then nobody looks.
    follows: AtomicBool,
    followed: ArcSwap<Followed>,
}

impl Sampling {
    /// One auction in `one_in`; 0: none.
    pub fn new(env: &Env, one_in: u64) -> Self {
        Self {
            env: env.clone(),
            one_in: AtomicU64::new(one_in),
            follows: AtomicBool::new(false),
            followed: ArcSwap::default(),
        }
    }

    pub fn set_one_in(&self, one_in: u64) {
        self.one_in.store(one_in, Ordering::Relaxed);
    }

    /// The context of a sampled auction. A caller's own goes before the one that follows from the id: it says whether, too.
    pub fn context(&self, caller: Option<&[u8]>, auction_id: &str, campaign_id: Option<&str>) -> Option<TraceParent> {
        if let Some(header) = caller
            && trace::parse(header).is_some()
        {
            return trace::is_sampled(header).then(|| header.try_into().ok()).flatten();
        }
        let id = TraceId::of_auction(auction_id);
        let wanted = id.sampled(self.one_in.load(Ordering::Relaxed))
            || campaign_id.is_some_and(|campaign| self.is_on(|followed| followed.campaigns.get(campaign)));
        wanted.then(|| id.traceparent())
    }

    /// Whether every event of a service is traced now.
    pub fn follows_service(&self, service: &str) -> bool {
        self.is_on(|followed| followed.services.get(service))
    }

    fn is_on(&self, until_us: impl FnOnce(&Followed) -> Option<&u64>) -> bool {
        self.follows.load(Ordering::Relaxed)
            && until_us(&self.followed.load()).is_some_and(|until_us| self.env.clock.mono_us() < *until_us)
    }

    /// Follows a campaign or a service for so many seconds; 0 ends it.
    ///
    /// # Errors
    /// Too much is followed already.
    pub fn follow(&self, campaign: Option<&str>, service: Option<&str>, seconds: u64) -> Result<(), String> {
        let now_us = self.env.clock.mono_us();
        let mut followed = Followed::clone(&self.followed.load());
        for (map, name) in [(&mut followed.campaigns, campaign), (&mut followed.services, service)] {
            map.retain(|_, until_us| *until_us > now_us);
            let Some(name) = name else { continue };
            map.remove(name);
            if seconds > 0 {
                map.insert(name.to_owned(), now_us + seconds * 1_000_000);
            }
            if map.len() > FOLLOWED_MAX {
                return Err(format!("{FOLLOWED_MAX} are followed already; end one with `for_s` 0"));
            }
        }
        self.follows.store(!(followed.campaigns.is_empty() && followed.services.is_empty()), Ordering::Relaxed);
        self.followed.store(followed.into());
        Ok(())
    }

    /// As an operator sees it.
    pub fn shown(&self) -> Value {
        let now_us = self.env.clock.mono_us();
        let left = |map: &BTreeMap<String, u64>| -> BTreeMap<String, u64> {
            let live = map.iter().filter(|(_, until_us)| **until_us > now_us);
            live.map(|(name, until_us)| (name.clone(), (until_us - now_us).div_ceil(1_000_000))).collect()
        };
        let followed = self.followed.load();
        json!({
            "one_in": self.one_in.load(Ordering::Relaxed),
            "campaigns_s": left(&followed.campaigns),
            "services_s": left(&followed.services),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_decides_for_its_own_trace() {
        let sampling = Sampling::new(&Env::production(), 1);
        let own = TraceId::of_auction("another").traceparent();
        assert_eq!(sampling.context(Some(&own), "a", None), Some(own));
        let mut off = own;
        off[54] = b'0';
        assert_eq!(sampling.context(Some(&off), "a", None), None);
        // What is no context is as none.
        assert_eq!(sampling.context(Some(b"junk"), "a", None), Some(TraceId::of_auction("a").traceparent()));
    }

    #[test]
    fn what_is_followed_is_traced_until_it_ends() {
        let sampling = Sampling::new(&Env::production(), 0);
        let traced = |campaign| sampling.context(None, "a", Some(campaign)).is_some();
        assert!(!traced("c1") && !sampling.follows_service("fraud"));
        sampling.follow(Some("c1"), Some("fraud"), 60).expect("followed");
        assert!(traced("c1") && !traced("c2") && sampling.follows_service("fraud"));
        assert_eq!(sampling.shown()["services_s"]["fraud"], 60);
        sampling.follow(Some("c1"), None, 0).expect("ended");
        assert!(!traced("c1") && sampling.follows_service("fraud"));
        let refused = (0..=FOLLOWED_MAX).find_map(|n| sampling.follow(Some(&format!("c{n}")), None, 60).err());
        assert!(refused.expect("a limit").contains("for_s"));
    }
}
