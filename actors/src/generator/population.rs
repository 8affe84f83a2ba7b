//! What repeats: users with their network, place and agent; domains; agents. A few favourites, new ones, and old ones in
//! proportion to how often they were seen (the Simon process, which gives the long tails of the web).

use fastrand::Rng;

use super::profile::{self, Country, Popularity, Profile};
use crate::draw;

/// Latest occurrences remembered for each kind of thing: bounds memory however long the generator runs.
const REMEMBERED: usize = 8_192;

/// The last so many of something; a new one takes the place of the oldest.
pub(super) struct Recent<T> {
    items: Vec<T>,
    oldest: usize,
}

impl<T> Recent<T> {
    pub(super) fn new() -> Recent<T> {
        Recent { items: Vec::new(), oldest: 0 }
    }

    pub(super) fn push(&mut self, item: T) {
        if self.items.len() < REMEMBERED {
            self.items.push(item);
        } else {
            self.items[self.oldest] = item;
            self.oldest = (self.oldest + 1) % REMEMBERED;
        }
    }

    pub(super) fn any(&self, rng: &mut Rng) -> Option<&T> {
        (!self.items.is_empty()).then(|| &self.items[rng.usize(0..self.items.len())])
    }
}

/// Things seen once before the first request: or the very first ones would grow into favourites of their own.
const SEEN_BEFORE: u32 = 200;

/// Numbers of things by popularity: 0, 1, ... are the favourites.
pub(super) struct Numbers {
    popularity: &'static Popularity,
    seen: Recent<u32>,
    next: u32,
}

impl Numbers {
    pub(super) fn new(popularity: &'static Popularity) -> Numbers {
        let first = popularity.head.len() as u32;
        let next = first + SEEN_BEFORE;
        let mut seen = Recent::new();
        (first..next).for_each(|number| seen.push(number));
        Numbers { popularity, seen, next }
    }

    pub(super) fn draw(&mut self, rng: &mut Rng) -> u32 {
        let mut at = rng.u32(0..1_000_000);
        for (number, share) in self.popularity.head.iter().enumerate() {
            if at < *share {
                return number as u32;
            }
            at -= share;
        }
        let old = if draw::happens(rng, self.popularity.new) { None } else { self.seen.any(rng).copied() };
        let number = old.unwrap_or_else(|| {
            self.next = self.next.wrapping_add(1);
            self.next - 1
        });
        self.seen.push(number);
        number
    }
}

/// A visitor, as far as requests show one.
#[derive(Clone, Copy)]
pub(super) struct Visitor {
    pub id: u128,
    /// /24, as the first address.
    pub network: [u8; 4],
    pub agent: u32,
    pub place: Place,
}

/// A place; empty names are absent fields.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub country: &'static str,
    pub region: &'static str,
    pub city: u16,
    pub metro: u16,
    pub utc_offset_min: i16,
}

/// The visitors of one exchange.
pub(super) struct Visitors {
    profile: &'static Profile,
    known: Recent<Visitor>,
    agents: Numbers,
    placeholder: u128,
    placeholder_networks: Recent<[u8; 4]>,
}

impl Visitors {
    pub(super) fn new(profile: &'static Profile, rng: &mut Rng) -> Visitors {
        Visitors {
            profile,
            known: Recent::new(),
            agents: Numbers::new(&profile.agents),
            placeholder: rng.u128(..),
            placeholder_networks: Recent::new(),
        }
    }

    pub(super) fn draw(&mut self, rng: &mut Rng) -> Visitor {
        if draw::happens(rng, self.profile.placeholder) {
            return self.behind_placeholder(rng);
        }
        let returning = draw::happens(rng, self.profile.returning).then(|| self.known.any(rng).copied()).flatten();
        returning.unwrap_or_else(|| {
            let visitor = self.newcomer(rng);
            self.known.push(visitor);
            visitor
        })
    }

    /// Many people, one id: every time another network and agent.
    fn behind_placeholder(&mut self, rng: &mut Rng) -> Visitor {
        let again = draw::happens(rng, profile::PLACEHOLDER_SAME_NETWORK);
        let network = again.then(|| self.placeholder_networks.any(rng).copied()).flatten();
        let network = network.unwrap_or_else(|| network_of_visitor(rng));
        self.placeholder_networks.push(network);
        Visitor {
            id: self.placeholder,
            network,
            agent: self.agents.draw(rng),
            place: place(rng, self.profile.countries),
        }
    }

    fn newcomer(&mut self, rng: &mut Rng) -> Visitor {
        let neighbour = draw::happens(rng, profile::SHARED_NETWORK).then(|| self.known.any(rng).copied()).flatten();
        let network = match neighbour {
            Some(neighbour) => neighbour.network,
            None if draw::happens(rng, profile::DATA_CENTRE) => network_of_data_centre(rng),
            None => network_of_visitor(rng),
        };
        Visitor { id: rng.u128(..), network, agent: self.agents.draw(rng), place: place(rng, self.profile.countries) }
    }
}

fn network_of_visitor(rng: &mut Rng) -> [u8; 4] {
    let octets = profile::FIRST_OCTETS;
    let first = octets[draw::weighted(rng, octets.iter().map(|octet| octet.1))].0;
    [first, rng.u8(..), rng.u8(..), 0]
}

/// In the range that the built-in list names as a data centre.
fn network_of_data_centre(rng: &mut Rng) -> [u8; 4] {
    [198, rng.u8(18..20), rng.u8(..), 0]
}

fn place(rng: &mut Rng, countries: &'static [Country]) -> Place {
    let country = &countries[draw::weighted(rng, countries.iter().map(|country| country.weight))];
    let named: u32 = country.regions.iter().map(|region| region.1).sum();
    let at = rng.u32(0..1_000);
    let region = if at < named {
        country.regions[draw::weighted(rng, country.regions.iter().map(|region| region.1))].0
    } else {
        country.others[rng.usize(0..country.others.len())]
    };
    // Squared, so that a few cities are large.
    let city = rng.u32(0..48) * rng.u32(0..48);
    let metro = if country.code == "USA" && !region.is_empty() { rng.u16(500..882) } else { 0 };
    let utc_offset_min = match region {
        "CA" | "WA" | "OR" | "NV" | "BC" => -480,
        "CO" | "AZ" | "UT" | "NM" | "AB" => -420,
        "IL" | "WI" | "MN" | "MO" | "TX" | "IA" | "LA" | "MB" | "SK" => -360,
        _ => -300,
    };
    Place { country: country.code, region, city: city as u16, metro, utc_offset_min }
}
