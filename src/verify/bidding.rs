//! Reservations and ids that are no person, derived again from the decisions.

use std::collections::{BTreeMap, BTreeSet};

use super::datum::Datum;
use super::intake::{self, Clock, Door, Id, MINUTE_MS, Timed};
use super::outputs::Outputs;
use super::replay::{Ending, Event, Rules};
use crate::record;

const HORIZON_MS: i64 = 15 * MINUTE_MS;
const RESERVED_MS: i64 = MINUTE_MS;
const NETWORKS: usize = 20;
const WINDOW_MS: i64 = 10 * MINUTE_MS;
const USER_BYTES_MAX: usize = 256;
const PLACEHOLDERS_MAX: usize = 10_000;
const TOLD_A_TICK: usize = 1_000;
const FORGOTTEN_A_TICK: usize = 5_000;
const FORGOTTEN_A_DECISION: usize = 2;

/// From where an id was seen: network and newest time; requests.
#[derive(Default)]
struct Sightings {
    networks: BTreeMap<String, i64>,
    requests: i64,
    newest_ms: i64,
}

#[derive(Clone)]
struct Placeholder {
    networks: i64,
    requests: i64,
    found_ms: i64,
}

/// State of one shard.
pub struct Bidding {
    partition: u32,
    door: Door,
    clock: Clock,
    sightings: Timed<Id, Sightings>,
    placeholders: BTreeMap<String, Placeholder>,
    changed: BTreeSet<String>,
    touched: BTreeSet<String>,
    /// What the newest record of an id may be.
    told: BTreeMap<String, Vec<Datum>>,
}

impl Bidding {
    pub fn new(partition: u32) -> Self {
        Self {
            partition,
            door: Door::default(),
            clock: Clock::default(),
            sightings: Timed::default(),
            placeholders: BTreeMap::new(),
            changed: BTreeSet::new(),
            touched: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }
}

impl Rules for Bidding {
    fn event(&mut self, event: &Event<'_>, out: &mut Outputs) -> Ending {
        self.decision(event, out).err().unwrap_or(Ending::Done)
    }

    fn tick(&mut self, _: i64, _: &mut Outputs) {
        self.door.sweep(self.clock, HORIZON_MS, FORGOTTEN_A_TICK);
        self.forget_sightings(FORGOTTEN_A_TICK);
        for user in self.changed.iter().take(TOLD_A_TICK).cloned().collect::<Vec<_>>() {
            self.changed.remove(&user);
            self.tell(&user);
        }
    }

    /// A restatement may tell what stands after a commit.
    fn committed(&mut self, _: i64, _: &mut Outputs) {
        for user in std::mem::take(&mut self.touched) {
            if let Some(found) = self.placeholders.get(&user) {
                let row = row(&user, found);
                // An id that was never told may still be untold.
                self.told.entry(user).or_insert_with(|| vec![Datum::Null]).push(row);
            }
        }
    }

    fn finish(&mut self, out: &mut Outputs) {
        for (user, may_be) in std::mem::take(&mut self.told) {
            out.newest("placeholder-users", format!("{user}@{}", self.partition), may_be);
        }
    }
}

impl Bidding {
    fn decision(&mut self, event: &Event<'_>, out: &mut Outputs) -> Result<(), Ending> {
        let bid = intake::arrived(event)?;
        let (at_ms, _) = intake::event_time(bid.int("timestamp"), event.now_ms)?;
        intake::required(bid, &["bid_id"])?;
        let (bid_id, campaign, lease) = (bid.text("bid_id"), bid.text("campaign_id"), bid.text("lease_id"));
        let (outcome, price) = (bid.text("outcome"), bid.int("bid_price_micros"));
        let (id, content) = (intake::id_of(bid_id), format!("{outcome} {campaign:?} {lease:?} {price}"));
        self.door.judge(self.clock, HORIZON_MS, &id, &content, at_ms)?;
        let mut reservation = None;
        if outcome == "BID" {
            intake::required(bid, &["campaign_id", "lease_id"])?;
            if price <= 0 {
                return Err(Ending::Dead("SEMANTIC_VIOLATION"));
            }
            let value = record! {
                "bid_id": bid_id,
                "campaign_id": campaign,
                "lease_id": lease,
                "amount_micros": price,
                "timestamp": at_ms,
                "expires_at": at_ms + RESERVED_MS,
                "metadata": record! { "auction_id": bid.text("auction_id") },
            };
            if !intake::fits(&value) {
                return Err(Ending::Dead("SIZE_VIOLATION"));
            }
            reservation = Some(value);
        }
        self.door.take(&mut self.clock, HORIZON_MS, id, content, at_ms);
        if let Some(reservation) = reservation {
            out.emit("reservations", bid_id, campaign, at_ms, reservation);
        }
        self.observe(bid, at_ms);
        self.forget_sightings(FORGOTTEN_A_DECISION);
        Ok(())
    }

    fn observe(&mut self, bid: &Datum, at_ms: i64) {
        let looked_at = |user: &&str| !user.is_empty() && user.len() <= USER_BYTES_MAX;
        if let Some(user) = bid.meta("sentinel_user").filter(looked_at) {
            self.count(user, at_ms);
        } else if let Some(user) = bid.opt_text("user_id").filter(looked_at) {
            if self.placeholders.contains_key(user) {
                self.count(user, at_ms);
            } else {
                self.sight(user, bid.meta("ip"), at_ms);
            }
        }
    }

    fn count(&mut self, user: &str, at_ms: i64) {
        if self.placeholders.len() >= PLACEHOLDERS_MAX && !self.placeholders.contains_key(user) {
            return;
        }
        let elsewhere = Placeholder { networks: 0, requests: 0, found_ms: at_ms };
        self.placeholders.entry(user.to_owned()).or_insert(elsewhere).requests += 1;
        self.changed.insert(user.to_owned());
        self.touched.insert(user.to_owned());
    }

    fn sight(&mut self, user: &str, network: Option<&str>, at_ms: i64) {
        let id = intake::id_of(user);
        let nobody = || Sightings { newest_ms: at_ms, ..Sightings::default() };
        let mut seen = self.sightings.remove(&id).unwrap_or_else(nobody);
        seen.newest_ms = seen.newest_ms.max(at_ms);
        seen.requests += 1;
        let oldest_ms = seen.newest_ms.saturating_sub(WINDOW_MS);
        seen.networks.retain(|_, seen_ms| *seen_ms >= oldest_ms);
        if let Some(network) = network.filter(|network| !network.is_empty() && at_ms >= oldest_ms) {
            let known_ms = seen.networks.entry(network.to_owned()).or_insert(at_ms);
            *known_ms = at_ms.max(*known_ms);
        }
        if seen.networks.len() < NETWORKS {
            self.sightings.put(id, seen.newest_ms, seen);
        } else if self.placeholders.len() < PLACEHOLDERS_MAX {
            let networks = seen.networks.len() as i64;
            let found = Placeholder { networks, requests: seen.requests, found_ms: at_ms };
            self.placeholders.insert(user.to_owned(), found);
            self.tell(user);
        }
    }

    fn forget_sightings(&mut self, limit: usize) {
        self.sightings.forget(self.clock.ms().saturating_sub(WINDOW_MS).saturating_sub(1), limit);
    }

    fn tell(&mut self, user: &str) {
        if let Some(found) = self.placeholders.get(user) {
            self.told.insert(user.to_owned(), vec![row(user, found)]);
            self.touched.remove(user);
        }
    }
}

fn row(user: &str, found: &Placeholder) -> Datum {
    record! {
        "user_id": user,
        "networks": found.networks,
        "requests": found.requests,
        "found_at": found.found_ms,
        "metadata": Datum::Map(Default::default()),
    }
}
