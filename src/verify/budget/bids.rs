//! Bids: a reservation and a result, in either order, resolved once.

use super::{
    BIDS_SWEPT_A_RESERVATION, Budget, CONFLICT, EARLY_RESULT_MS, MEMORY_MS, PRICE_MAX, RESERVATION_MAX_MS,
    RESULT_GRACE_MS, VIOLATION,
};
use crate::verify::datum::Datum;
use crate::verify::intake;
use crate::verify::replay::Ending;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reserved,
    Lost,
    Expired,
    Billed,
    LossFirst,
    BilledFirst,
    Orphan,
}

#[derive(Clone)]
pub struct Bid {
    campaign: String,
    stage: Stage,
    amount: i64,
    held: i64,
    price: i64,
    expires_ms: i64,
    billed_ms: i64,
}

/// A result without its reservation.
fn early(stage: Stage, campaign: &str, price: i64, billed_ms: i64) -> Bid {
    Bid { campaign: campaign.to_owned(), stage, amount: 0, held: 0, price, expires_ms: 0, billed_ms }
}

impl Budget {
    pub(super) fn reserve(&mut self, reservation: &Datum, now_ms: i64) -> Result<(), Ending> {
        let amount = reservation.int("amount_micros");
        if !(1..=PRICE_MAX).contains(&amount) {
            return Err(VIOLATION);
        }
        intake::required(reservation, &["bid_id", "campaign_id"])?;
        let (key, campaign) = (intake::id_of(reservation.text("bid_id")), reservation.text("campaign_id"));
        // Sweeping goes before, but is undone where the reservation fails: so that is found out first.
        let is_due = self.bids.first_due(now_ms, BIDS_SWEPT_A_RESERVATION).contains(&key);
        let after_sweep = self.bids.get(&key).and_then(|bid| {
            let stage = if is_due { swept(bid.stage)? } else { bid.stage };
            Some((stage, &bid.campaign, bid.amount))
        });
        let repeated = match after_sweep {
            None => false,
            Some((_, of, _)) if of != campaign => return Err(CONFLICT),
            Some((Stage::LossFirst | Stage::BilledFirst | Stage::Orphan, ..)) => false,
            Some((.., of)) if of == amount => true,
            Some(_) => return Err(CONFLICT),
        };
        self.sweep_bids(now_ms, BIDS_SWEPT_A_RESERVATION);
        if repeated {
            return Err(Ending::Duplicate);
        }
        let known = self.bids.get(&key).cloned();
        if let Some(known) = known.as_ref().filter(|known| known.stage == Stage::Orphan) {
            let due_ms = self.bids.at_ms(&key).unwrap_or(now_ms);
            self.bids.put(key, due_ms, Bid { stage: Stage::Billed, amount, ..known.clone() });
            return Ok(());
        }
        let held = self.cover(campaign, reservation.text("lease_id"), amount);
        let expires_ms = reservation.int("expires_at");
        let mut bid = Bid { amount, held, expires_ms, ..early(Stage::Reserved, campaign, 0, 0) };
        let mut due_ms = expires_ms.clamp(now_ms, now_ms + RESERVATION_MAX_MS) + RESULT_GRACE_MS;
        match known {
            None => {}
            Some(known) if known.stage == Stage::BilledFirst => {
                (bid.price, bid.billed_ms) = (known.price, known.billed_ms);
                due_ms = self.post(&mut bid, now_ms);
            }
            Some(_) => due_ms = self.release(&mut bid, Stage::Lost, now_ms),
        }
        self.bids.put(key, due_ms, bid);
        Ok(())
    }

    /// Holds a price: from the lease, then from what is free; answers how much is held.
    fn cover(&mut self, campaign: &str, lease_id: &str, amount: i64) -> i64 {
        let lease_id = lease_id.to_owned();
        let lease = self.leases.get(&lease_id).filter(|lease| lease.campaign == campaign && lease.remaining > 0);
        let from_lease = lease.map_or(0, |lease| amount.min(lease.remaining));
        if let Some(mut lease) = lease.cloned() {
            lease.remaining -= from_lease;
            let release_ms = self.leases.at_ms(&lease_id).unwrap_or_default();
            self.leases.put(lease_id, release_ms, lease);
        }
        let free = self.accounts.get(campaign).map_or(0, |account| account.free());
        let from_free = free.min(amount - from_lease);
        let account = self.account(campaign);
        account.lent -= from_lease;
        account.held += from_lease + from_free;
        from_lease + from_free
    }

    pub(super) fn result(&mut self, result: &Datum, now_ms: i64) -> Result<(), Ending> {
        intake::required(result, &["bid_id", "campaign_id"])?;
        let (key, campaign) = (intake::id_of(result.text("bid_id")), result.text("campaign_id"));
        let known = self.bids.get(&key).cloned();
        if known.as_ref().is_some_and(|known| known.campaign != campaign) {
            return Err(CONFLICT);
        }
        let (bid, due_ms) = match result.text("kind") {
            "WIN" => return Ok(()),
            "BILLED" => {
                let price = result.opt_int("clearing_price_micros").unwrap_or(-1);
                if !(0..=PRICE_MAX).contains(&price) {
                    return Err(VIOLATION);
                }
                let due_ms = self.bids.at_ms(&key);
                self.billed(known, due_ms, campaign, price, result.int("timestamp"), now_ms)?
            }
            _ => self.lost(known, campaign, now_ms)?,
        };
        self.bids.put(key, due_ms, bid);
        Ok(())
    }

    fn lost(&mut self, known: Option<Bid>, campaign: &str, now_ms: i64) -> Result<(Bid, i64), Ending> {
        let Some(mut bid) = known else {
            return Ok((early(Stage::LossFirst, campaign, 0, 0), now_ms + EARLY_RESULT_MS));
        };
        match bid.stage {
            Stage::Reserved | Stage::Expired => {
                let due_ms = self.release(&mut bid, Stage::Lost, now_ms);
                Ok((bid, due_ms))
            }
            Stage::Lost | Stage::LossFirst => Err(Ending::Duplicate),
            Stage::Billed | Stage::BilledFirst | Stage::Orphan => Err(VIOLATION),
        }
    }

    fn billed(
        &mut self,
        known: Option<Bid>,
        due_ms: Option<i64>,
        campaign: &str,
        price: i64,
        billed_ms: i64,
        now_ms: i64,
    ) -> Result<(Bid, i64), Ending> {
        let first = early(Stage::BilledFirst, campaign, price, billed_ms);
        let Some(bid) = known else { return Ok((first, now_ms + EARLY_RESULT_MS)) };
        match bid.stage {
            Stage::Billed | Stage::BilledFirst | Stage::Orphan if bid.price == price => Err(Ending::Duplicate),
            Stage::Billed | Stage::BilledFirst | Stage::Orphan => Err(CONFLICT),
            Stage::LossFirst => Ok((first, due_ms.unwrap_or(now_ms))),
            Stage::Reserved | Stage::Lost | Stage::Expired => {
                if price > bid.amount {
                    return Err(VIOLATION);
                }
                let mut bid = Bid { price, billed_ms, ..bid };
                let due_ms = self.post(&mut bid, now_ms);
                Ok((bid, due_ms))
            }
        }
    }

    /// What is held comes free; answers until when the bid is remembered.
    fn release(&mut self, bid: &mut Bid, stage: Stage, now_ms: i64) -> i64 {
        let held = std::mem::take(&mut bid.held);
        bid.stage = stage;
        if held > 0 {
            self.account(&bid.campaign).release(held);
        }
        now_ms + MEMORY_MS
    }

    /// A sale; late or not by the events' own times. Answers until when the bid is remembered.
    fn post(&mut self, bid: &mut Bid, now_ms: i64) -> i64 {
        let held = std::mem::take(&mut bid.held);
        bid.stage = Stage::Billed;
        let account = self.account(&bid.campaign);
        if bid.billed_ms > bid.expires_ms {
            account.post_late(bid.price, held);
        } else {
            account.post(bid.price, bid.amount, held);
        }
        now_ms + MEMORY_MS
    }

    /// Does what is due for at most `limit` bids.
    pub(super) fn sweep_bids(&mut self, now_ms: i64, limit: usize) {
        for _ in 0..limit {
            let Some((key, mut bid)) = self.bids.pop(now_ms) else { return };
            match swept(bid.stage) {
                None => continue,
                Some(Stage::Orphan) => {
                    self.account(&bid.campaign).post(bid.price, bid.price, 0);
                    bid.stage = Stage::Orphan;
                    self.bids.put(key, now_ms + MEMORY_MS, bid);
                }
                Some(stage) => {
                    let due_ms = self.release(&mut bid, stage, now_ms);
                    self.bids.put(key, due_ms, bid);
                }
            }
        }
    }
}

/// What becomes of a bid that is due; `None`: it is forgotten.
fn swept(stage: Stage) -> Option<Stage> {
    match stage {
        Stage::Reserved => Some(Stage::Expired),
        Stage::BilledFirst => Some(Stage::Orphan),
        Stage::Lost | Stage::Expired | Stage::Billed | Stage::LossFirst | Stage::Orphan => None,
    }
}
