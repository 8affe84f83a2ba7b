//! Bid requests without a file: invented traffic with the shape of real traffic.
//!
//! Calibrated on one recorded file (`profile`): sizes, geography, repetition of users, networks, domains and agents, bursts,
//! disorder, and the defects that matter: absent users and sites, one placeholder id, programs, data-centre addresses.
//! The same seed gives the same bytes.

mod agents;
mod population;
mod profile;
#[cfg(test)]
mod tests;
mod write;

use fastrand::Rng;

use crate::draw;
use population::{Numbers, Place, Visitors};
use profile::{PROFILES, Profile};

/// Mean pace of the generated times, requests a second.
pub const RATE_PER_S: u32 = profile::RATE_PER_S;

/// An endless source of request lines.
pub struct Generator {
    seed: u64,
    sources: Vec<Source>,
    clock: Clock,
    /// Decides what a request is like; [`Clock`] has a stream of its own.
    content: Rng,
    number: u64,
    line: Vec<u8>,
}

/// What one exchange has seen so far.
struct Source {
    profile: &'static Profile,
    visitors: Visitors,
    domains: Numbers,
}

/// One request before it is written.
struct Draft {
    auction: u128,
    exchange: &'static str,
    ts_us: i64,
    size: (u16, u16),
    user: Option<u128>,
    network: Option<[u8; 4]>,
    agent: Option<String>,
    language: Option<&'static str>,
    place: Place,
    domain: Option<u32>,
    blocked: u8,
    categories: bool,
}

impl Generator {
    /// A generator whose first request arrives at `start_us`, microseconds since the epoch.
    pub fn new(seed: u64, start_us: i64) -> Generator {
        let source = |profile: &'static Profile| Source {
            profile,
            visitors: Visitors::new(profile, &mut draw::stream(seed, "generator/visitors", profile.name)),
            domains: Numbers::new(&profile.domains),
        };
        Generator {
            seed,
            sources: PROFILES.iter().map(source).collect(),
            clock: Clock {
                rng: draw::stream(seed, "generator/clock", ""),
                start_us,
                since_us: 0,
                swing: 0,
                swing_until_us: 0,
            },
            content: draw::stream(seed, "generator/content", ""),
            number: 0,
            line: Vec::new(),
        }
    }

    /// The next request as one line of JSON, without a line end.
    pub fn next_line(&mut self) -> &[u8] {
        let draft = self.draft();
        self.line.clear();
        write::request(&mut self.line, &draft, &mut self.content);
        &self.line
    }

    fn draft(&mut self) -> Draft {
        let ts_us = self.clock.next_us();
        let rng = &mut self.content;
        let index = draw::weighted(rng, PROFILES.iter().map(|profile| profile.share));
        let source = &mut self.sources[index];
        let profile = source.profile;
        let visitor = source.visitors.draw(rng);
        let size = profile.sizes[draw::weighted(rng, profile.sizes.iter().map(|size| size.2))];
        let agent = if draw::happens(rng, profile::NO_AGENT) {
            None
        } else if draw::happens(rng, profile::BOTS) {
            Some(agents::bot(rng).to_owned())
        } else {
            Some(agents::text(self.seed, apart(index, visitor.agent, agents::FAVOURITES)))
        };
        let blocked = profile.blocked[draw::weighted(rng, profile.blocked.iter().map(|blocked| blocked.1))].0;
        self.number += 1;
        // The number in it keeps ids unique; the drawn half keeps those of two seeds apart.
        let auction = u128::from(rng.u64(..)) << 64 | u128::from(self.number);
        Draft {
            auction,
            exchange: profile.name,
            ts_us,
            size: (size.0, size.1),
            user: (!draw::happens(rng, profile.no_user)).then_some(visitor.id),
            network: (!draw::happens(rng, profile::NO_ADDRESS)).then_some(visitor.network),
            agent,
            language: (!draw::happens(rng, profile.no_language)).then_some(if visitor.place.region == "QC" {
                "fr"
            } else {
                "en"
            }),
            place: visitor.place,
            domain: (!draw::happens(rng, profile.no_site)).then(|| apart(index, source.domains.draw(rng), 0)),
            blocked,
            categories: profile.categories,
        }
    }
}

/// Numbers of two exchanges as numbers of different things, save for the first `shared`.
fn apart(exchange: usize, number: u32, shared: u32) -> u32 {
    if number < shared { number } else { number.wrapping_mul(PROFILES.len() as u32).wrapping_add(exchange as u32) }
}

/// Arrival times: exponential gaps with clumps, a rate that swings second by second, and lines that are out of order.
struct Clock {
    rng: Rng,
    start_us: i64,
    since_us: i64,
    /// Present deviation from the mean rate, parts per million.
    swing: i64,
    swing_until_us: i64,
}

impl Clock {
    fn next_us(&mut self) -> i64 {
        let rng = &mut self.rng;
        if self.since_us >= self.swing_until_us {
            let most = i64::from(profile::RATE_SWING);
            self.swing = rng.i64(-most..=most);
            self.swing_until_us = self.since_us + 1_000_000;
        }
        self.since_us += if draw::happens(rng, profile::CLUMPED) { rng.i64(5..80) } else { self.gap_us() };
        let rng = &mut self.rng;
        let delay = if draw::happens(rng, profile::LATEST) {
            rng.i64(profile::LATEST_US)
        } else if draw::happens(rng, profile::STRAGGLING) {
            rng.i64(profile::STRAGGLING_US)
        } else if draw::happens(rng, profile::DELAYED) {
            rng.i64(0..profile::DELAYED_MAX_US)
        } else {
            0
        };
        // Nothing is recorded before the start: pacing begins there.
        self.start_us + (self.since_us - delay).max(0)
    }

    /// An exponential gap. The clumps take requests out of the long gaps, so the mean of these is a little longer.
    fn gap_us(&mut self) -> i64 {
        let clumped = f64::from(profile::CLUMPED) / 1e6;
        let mean = 1e6 / f64::from(profile::RATE_PER_S) / (1.0 - clumped);
        let slower = 1.0 + self.swing as f64 / 1e6;
        let uniform = 1.0 - self.rng.f64();
        (-uniform.ln() * mean * slower) as i64
    }
}
