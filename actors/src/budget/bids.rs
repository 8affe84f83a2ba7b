//! Bids: a reservation and a result, which come by two topics and so in any order. Each bid resolves at most once.

use runtime::outcome::{Failure, Handled, Reason};
use schemas::events::{AuctionResultEvent, AuctionResultKind, Reservation};
use smol_str::SmolStr;

use super::BudgetConfig;
use super::account::{Account, difference};
use super::state::{Bid, Lease, Stage, State};
use crate::intake::{self, Id, required, violation};
use crate::money::Micros;

/// A bid was made: its price moves from its lease to the bid.
pub fn reserve(
    config: &BudgetConfig,
    state: &mut State,
    reservation: &Reservation<'_>,
    now_ms: i64,
) -> Result<Handled, Failure> {
    let amount = Micros(reservation.amount_micros);
    if amount <= Micros::ZERO || amount > config.price_max {
        return Err(violation("amount_micros", format!("{amount} is no price of one impression")));
    }
    let key = intake::id(required("bid_id", reservation.bid_id)?);
    let campaign = SmolStr::new(required("campaign_id", reservation.campaign_id)?);
    let mut bid = Bid {
        campaign,
        stage: Stage::Reserved,
        amount,
        held: Micros::ZERO,
        price: Micros::ZERO,
        expires_ms: reservation.expires_at,
        billed_ms: 0,
        due_ms: release_ms(config, reservation.expires_at, now_ms),
    };
    let early = match state.bids.get(&key) {
        None => None,
        Some(known) if known.campaign != bid.campaign => return Err(conflict("campaign_id")),
        Some(known) => match known.stage {
            Stage::LossFirst | Stage::BilledFirst => Some((known.stage, known.price, known.billed_ms)),
            // The sale was posted long ago, and the lease is released: only the price is learnt.
            Stage::Orphan => {
                let known = Bid { stage: Stage::Billed, amount, ..known.clone() };
                state.bids.insert(key, known);
                return Ok(Handled::Done);
            }
            _ if known.amount == amount => return Ok(Handled::Duplicate),
            _ => return Err(conflict("amount_micros")),
        },
    };
    bid.held = cover(state, &bid.campaign, reservation.lease_id, amount);
    match early {
        None => {}
        Some((Stage::BilledFirst, price, billed_ms)) => {
            (bid.price, bid.billed_ms) = (price, billed_ms);
            post(config, state, &mut bid, now_ms);
        }
        Some(_) => release(config, state, &mut bid, Stage::Lost, now_ms),
    }
    state.bids.insert(key, bid);
    Ok(Handled::Done)
}

/// When the money of a bid without result is free again: results of the last moment need time to come here, and a wrong
/// clock must not lock money up for ever.
fn release_ms(config: &BudgetConfig, expires_ms: i64, now_ms: i64) -> i64 {
    expires_ms.clamp(now_ms, now_ms + config.reservation_max_ms) + config.result_grace_ms
}

/// Holds the price of a bid: from its lease, and where that is released or used up, from what is free. What neither
/// covers is not held, and a sale of it is an overrun.
fn cover(state: &mut State, campaign: &SmolStr, lease_id: &str, amount: Micros) -> Micros {
    let take = |lease: &mut Lease| {
        let used = amount.min(lease.remaining);
        lease.remaining = difference(lease.remaining, used);
        used
    };
    let lends = |lease: &Lease| lease.campaign == *campaign && lease.remaining > Micros::ZERO;
    let from_lease = state.leases.change_if(&SmolStr::new(lease_id), lends, take).unwrap_or(Micros::ZERO);
    let missing = difference(amount, from_lease);
    let from_free = state.accounts.get(campaign).map_or(Micros::ZERO, Account::free).min(missing);
    state.account(campaign, |account| account.hold(from_lease, from_free));
    Micros(from_lease.0 + from_free.0)
}

/// An auction ended.
pub fn result(
    config: &BudgetConfig,
    state: &mut State,
    result: &AuctionResultEvent<'_>,
    now_ms: i64,
) -> Result<Handled, Failure> {
    let key = intake::id(required("bid_id", result.bid_id)?);
    let campaign = required("campaign_id", result.campaign_id)?;
    if state.bids.get(&key).is_some_and(|known| known.campaign != campaign) {
        return Err(conflict("campaign_id"));
    }
    match result.kind {
        // A win is no sale: only the impression is billed.
        AuctionResultKind::Win => Ok(Handled::Done),
        AuctionResultKind::Loss | AuctionResultKind::Expired => lost(config, state, key, campaign, now_ms),
        AuctionResultKind::Billed => {
            let price = Micros(result.clearing_price_micros.unwrap_or(-1));
            if price < Micros::ZERO || price > config.price_max {
                return Err(violation("clearing_price_micros", "is missing or no price of one impression"));
            }
            billed(config, state, key, result, price, now_ms)
        }
    }
}

fn lost(config: &BudgetConfig, state: &mut State, key: Id, campaign: &str, now_ms: i64) -> Result<Handled, Failure> {
    let Some(known) = state.bids.get(&key) else {
        let bid = early(config, Stage::LossFirst, campaign, now_ms);
        state.bids.insert(key, bid);
        return Ok(Handled::Done);
    };
    match known.stage {
        Stage::Reserved | Stage::Expired => {
            let mut bid = known.clone();
            release(config, state, &mut bid, Stage::Lost, now_ms);
            state.bids.insert(key, bid);
            Ok(Handled::Done)
        }
        Stage::Lost | Stage::LossFirst => Ok(Handled::Duplicate),
        Stage::Billed | Stage::BilledFirst | Stage::Orphan => {
            Err(violation("kind", "says that a bid was lost whose impression was billed; the impression stands"))
        }
    }
}

fn billed(
    config: &BudgetConfig,
    state: &mut State,
    key: Id,
    result: &AuctionResultEvent<'_>,
    price: Micros,
    now_ms: i64,
) -> Result<Handled, Failure> {
    let Some(known) = state.bids.get(&key) else {
        let first = early(config, Stage::BilledFirst, result.campaign_id, now_ms);
        state.bids.insert(key, Bid { price, billed_ms: result.timestamp, ..first });
        return Ok(Handled::Done);
    };
    match known.stage {
        Stage::Billed | Stage::BilledFirst | Stage::Orphan if known.price == price => Ok(Handled::Duplicate),
        Stage::Billed | Stage::BilledFirst | Stage::Orphan => Err(conflict("clearing_price_micros")),
        // The impression was shown: that is stronger than a notice.
        Stage::LossFirst => {
            let first = Bid { stage: Stage::BilledFirst, price, billed_ms: result.timestamp, ..known.clone() };
            state.bids.insert(key, first);
            Ok(Handled::Done)
        }
        Stage::Reserved | Stage::Lost | Stage::Expired => {
            if price > known.amount {
                let bid = known.amount;
                return Err(violation("clearing_price_micros", format!("{price} is above the bid of {bid}")));
            }
            let mut bid = Bid { price, billed_ms: result.timestamp, ..known.clone() };
            post(config, state, &mut bid, now_ms);
            state.bids.insert(key, bid);
            Ok(Handled::Done)
        }
    }
}

/// A row for a result without reservation.
fn early(config: &BudgetConfig, stage: Stage, campaign: &str, now_ms: i64) -> Bid {
    Bid {
        campaign: SmolStr::new(campaign),
        stage,
        amount: Micros::ZERO,
        held: Micros::ZERO,
        price: Micros::ZERO,
        expires_ms: 0,
        billed_ms: 0,
        due_ms: now_ms + config.early_result_ms,
    }
}

fn release(config: &BudgetConfig, state: &mut State, bid: &mut Bid, stage: Stage, now_ms: i64) {
    let held = std::mem::take(&mut bid.held);
    (bid.stage, bid.due_ms) = (stage, now_ms + config.memory_ms);
    if held > Micros::ZERO {
        state.account(&bid.campaign, |account| account.release(held));
    }
}

/// Lateness is judged by the two events' own times: our own delay makes nobody else late.
fn post(config: &BudgetConfig, state: &mut State, bid: &mut Bid, now_ms: i64) {
    let held = std::mem::take(&mut bid.held);
    (bid.stage, bid.due_ms) = (Stage::Billed, now_ms + config.memory_ms);
    let (price, late) = (bid.price, bid.billed_ms > bid.expires_ms);
    state.account(&bid.campaign, |account| {
        if late { account.post_late(price, held) } else { account.post(price, bid.amount, held) }
    });
}

/// Does what is due for at most `limit` bids: frees what no result came for, posts sales without a bid, forgets.
pub fn sweep(config: &BudgetConfig, state: &mut State, now_ms: i64, limit: usize) {
    for _ in 0..limit {
        let Some((_, key)) = state.bids.due(now_ms) else { return };
        let Some(mut bid) = state.bids.get(&key).cloned() else { return };
        match bid.stage {
            Stage::Reserved => release(config, state, &mut bid, Stage::Expired, now_ms),
            Stage::BilledFirst => {
                // A reservation that we lost sight of for so long: the money was spent all the same.
                state.account(&bid.campaign, |account| account.post(bid.price, bid.price, Micros::ZERO));
                (bid.stage, bid.due_ms) = (Stage::Orphan, now_ms + config.memory_ms);
            }
            Stage::Lost | Stage::Expired | Stage::Billed | Stage::LossFirst | Stage::Orphan => {
                state.bids.remove(&key);
                continue;
            }
        }
        state.bids.insert(key, bid);
    }
}

fn conflict(field: &'static str) -> Failure {
    let message = "this bid is known with another value; the first one stands";
    Failure::Permanent(Reason { field: Some(field), ..Reason::new("ID_CONFLICT", message) })
}
