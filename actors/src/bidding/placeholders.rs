//! User ids that are no person: exchanges send one id for everybody they do not know. In recorded traffic one such id is on
//! one request in forty, from hundreds of networks within seconds, and no other id is on more than two. Taken for a person,
//! it would trip every frequency cap and look like the worst of frauds.

use runtime::service::{Effects, RESTATED_ROWS};
use schemas::codec::Map;
use schemas::events::{BidEvent, PlaceholderUser};
use smol_str::SmolStr;

use super::BiddingConfig;
use super::state::{Placeholder, Sightings, State};
use crate::intake::{self, Id};
use crate::metadata::Context;
use crate::topics::PLACEHOLDER_USERS;

/// Longer ids are not looked at, bytes.
const USER_ID_BYTES_MAX: usize = 256;
/// Placeholders that a shard keeps. Real traffic has one an exchange; more is somebody inventing ids from many networks,
/// which costs him twenty requests each and us nothing beyond this.
const PLACEHOLDERS_MAX: usize = 10_000;
/// Counts that are told in one tick; the rest waits a second.
const TOLD_A_TICK: usize = 1_000;

/// Notes from where the user of a decision came.
pub fn observe(config: &BiddingConfig, state: &mut State, bid: &BidEvent<'_>, at_ms: i64, effects: &mut Effects<'_>) {
    let looked_at = |id: &&str| !id.is_empty() && id.len() <= USER_ID_BYTES_MAX;
    let context = Context::of(&bid.metadata);
    if let Some(user_id) = context.sentinel_user.filter(looked_at) {
        // Decided with the knowledge that it is one. Such decisions have no user and spread over all shards.
        count(state, &SmolStr::new(user_id), at_ms);
    } else if let Some(user_id) = bid.user_id.filter(looked_at) {
        if state.placeholders.contains(user_id) {
            count(state, &SmolStr::new(user_id), at_ms);
        } else {
            sight(config, state, user_id, context.ip, at_ms, effects);
        }
    }
}

/// One more request of a placeholder.
fn count(state: &mut State, user: &SmolStr, at_ms: i64) {
    if state.placeholders.len() >= PLACEHOLDERS_MAX && !state.placeholders.contains(user) {
        return;
    }
    let elsewhere = || Placeholder { networks: 0, requests: 0, found_ms: at_ms };
    state.placeholders.update(user, elsewhere, |row| row.requests += 1);
    if !state.changed.contains(user) {
        state.changed.insert(user.clone(), ());
    }
}

/// One more request of what may be a person; with too many networks it is none.
fn sight(
    config: &BiddingConfig,
    state: &mut State,
    user: &str,
    network: Option<&str>,
    at_ms: i64,
    effects: &mut Effects<'_>,
) {
    let key: Id = intake::id(user);
    // Almost everybody comes from one network.
    let nobody = || Sightings { networks: Vec::with_capacity(1), requests: 0, newest_ms: at_ms };
    let (networks, requests) = state.sightings.update(&key, nobody, |row| {
        row.newest_ms = row.newest_ms.max(at_ms);
        row.requests += 1;
        let oldest_ms = row.newest_ms.saturating_sub(config.placeholder_window_ms);
        row.networks.retain(|(_, seen_ms)| *seen_ms >= oldest_ms);
        if let Some(network) = network.filter(|text| !text.is_empty() && at_ms >= oldest_ms) {
            let network = intake::fingerprint(&[network.as_bytes()]);
            match row.networks.iter_mut().find(|(known, _)| *known == network) {
                Some((_, seen_ms)) => *seen_ms = at_ms.max(*seen_ms),
                None => row.networks.push((network, at_ms)),
            }
        }
        (row.networks.len(), row.requests)
    });
    if networks < config.placeholder_networks {
        return;
    }
    // A placeholder, and at their limit nothing at all: no row ever holds more networks than that.
    state.sightings.remove(&key);
    if state.placeholders.len() >= PLACEHOLDERS_MAX {
        return;
    }
    let found = Placeholder { networks: i32::try_from(networks).unwrap_or(i32::MAX), requests, found_ms: at_ms };
    tell(effects, user, &found);
    state.placeholders.insert(SmolStr::new(user), found);
}

/// Tells the counts that grew.
pub fn tell_changed(state: &mut State, effects: &mut Effects<'_>) {
    let changed: Vec<SmolStr> =
        state.changed.sorted().into_iter().take(TOLD_A_TICK).map(|(user, ())| user.clone()).collect();
    for user in changed {
        state.changed.remove(&user);
        if let Some(row) = state.placeholders.get(&user) {
            tell(effects, &user, row);
        }
    }
}

/// Tells again what is known, from row `from` on; the row to go on with.
pub fn restate(state: &State, from: usize, effects: &mut Effects<'_>) -> Option<usize> {
    let (page, next) = state.placeholders.page(from, RESTATED_ROWS);
    page.into_iter().for_each(|(user, row)| tell(effects, user, row));
    next
}

/// Forgets users who were not seen within the window; at most `limit`.
pub fn sweep(config: &BiddingConfig, state: &mut State, clock_ms: i64, limit: usize) {
    let oldest_ms = clock_ms.saturating_sub(config.placeholder_window_ms);
    for _ in 0..limit {
        if state.sightings.pop_due(oldest_ms.saturating_sub(1)).is_none() {
            return;
        }
    }
}

/// A part: other shards count decisions that were made without this user.
fn tell(effects: &mut Effects<'_>, user: &str, row: &Placeholder) {
    let event = PlaceholderUser {
        user_id: user,
        networks: row.networks,
        requests: row.requests,
        found_at: row.found_ms,
        metadata: Map::default(),
    };
    effects.emit_partial(&PLACEHOLDER_USERS, user, row.found_ms, &event);
}
