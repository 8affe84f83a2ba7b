//! Leases: money lent to a bidder for seconds.

use super::{Budget, LEASE_LIFE_MS, REQUEST_HORIZON_MS, RESERVATION_MAX_MS, VIOLATION};
use crate::record;
use crate::verify::datum::Datum;
use crate::verify::intake;
use crate::verify::outputs::Outputs;
use crate::verify::replay::Ending;

const ID_BYTES_MAX: usize = 256;
const GRANT_FLOOR: i64 = 10_000;
const LEASES_MAX: usize = 1_024;

#[derive(Clone)]
pub struct Lease {
    pub campaign: String,
    pub remaining: i64,
    holder: String,
    revoked: bool,
    expires_ms: i64,
}

impl Budget {
    pub(super) fn request(&mut self, request: &Datum, now_ms: i64, out: &mut Outputs) -> Result<(), Ending> {
        for field in ["request_id", "holder", "campaign_id"] {
            if !(1..=ID_BYTES_MAX).contains(&request.text(field).len()) {
                return Err(VIOLATION);
            }
        }
        let (at_ms, _) = intake::event_time(request.int("timestamp"), now_ms)?;
        let (kind, holder, campaign) = (request.text("kind"), request.text("holder"), request.text("campaign_id"));
        let (lease_id, amount) = (request.text("lease_id"), request.int("amount_micros"));
        let (id, content) = (
            intake::id_of(request.text("request_id")),
            format!("{kind} {holder:?} {campaign:?} {lease_id:?} {amount}"),
        );
        self.requests.judge(self.clock, REQUEST_HORIZON_MS, &id, &content, at_ms)?;
        match kind {
            "ASK" if amount <= 0 => return Err(VIOLATION),
            "RETURN" => self.check_return(lease_id, holder, campaign, amount)?,
            _ => {}
        }
        self.requests.take(&mut self.clock, REQUEST_HORIZON_MS, id, content, at_ms);
        match kind {
            "ASK" => self.ask(&format!("lse-{}", request.text("request_id")), holder, campaign, amount, now_ms, out),
            "RETURN" => self.give_back(lease_id, amount, now_ms, out),
            _ => {
                // The rest of an older incarnation is nobody's to spend.
                let instance = |holder: &str| holder.rsplit_once('/').map(|(instance, _)| instance.to_owned());
                let ours = instance(holder);
                self.revoke(campaign, now_ms, out, |lease| {
                    lease.holder != holder && ours.is_some() && instance(&lease.holder) == ours
                });
            }
        }
        Ok(())
    }

    /// Half of what is free, or the floor; a refusal is a grant of nothing that says why.
    fn ask(&mut self, lease_id: &str, holder: &str, campaign: &str, wanted: i64, now_ms: i64, out: &mut Outputs) {
        let open = self.open.get(campaign).map_or(0, Vec::len);
        let (amount, refusal) = match self.accounts.get(campaign) {
            None => (0, Some("unknown_campaign")),
            Some(account) if !account.active => (0, Some("inactive")),
            Some(account) if account.free() == 0 => (0, Some("exhausted")),
            Some(_) if open >= LEASES_MAX => (0, Some("too_many_leases")),
            Some(account) => ((account.free() / 2).max(GRANT_FLOOR).min(account.free()).min(wanted), None),
        };
        let life_ms = if amount > 0 { LEASE_LIFE_MS } else { 0 };
        let lease = Lease {
            campaign: campaign.to_owned(),
            holder: holder.to_owned(),
            remaining: amount,
            revoked: false,
            expires_ms: now_ms + life_ms,
        };
        if amount > 0 {
            self.account(campaign).lent += amount;
            self.leases.put(lease_id.to_owned(), lease.expires_ms + RESERVATION_MAX_MS, lease.clone());
            self.open.entry(campaign.to_owned()).or_default().push(lease_id.to_owned());
        }
        let context = refusal.map_or_else(|| Datum::Map(Default::default()), |why| record! { "refusal": why });
        self.tell("GRANT", lease_id, &lease, amount, context, now_ms, out);
    }

    fn check_return(&self, lease_id: &str, holder: &str, campaign: &str, amount: i64) -> Result<(), Ending> {
        if lease_id.is_empty() || amount <= 0 {
            return Err(VIOLATION);
        }
        let lease = self.leases.get(&lease_id.to_owned()).ok_or(Ending::Dead("REFERENCE_MISSING"))?;
        let is_theirs = lease.campaign == campaign && lease.holder == holder;
        if is_theirs && amount <= lease.remaining { Ok(()) } else { Err(VIOLATION) }
    }

    fn give_back(&mut self, lease_id: &str, amount: i64, now_ms: i64, out: &mut Outputs) {
        let key = lease_id.to_owned();
        let (Some(mut lease), Some(release_ms)) = (self.leases.get(&key).cloned(), self.leases.at_ms(&key)) else {
            return;
        };
        lease.remaining -= amount;
        self.leases.put(key, release_ms, lease.clone());
        self.account(&lease.campaign).take_back(amount);
        self.tell("RETURN", lease_id, &lease, amount, Datum::Map(Default::default()), now_ms, out);
    }

    pub(super) fn revoke(&mut self, campaign: &str, now_ms: i64, out: &mut Outputs, which: impl Fn(&Lease) -> bool) {
        for lease_id in self.open.get(campaign).cloned().unwrap_or_default() {
            let lease = self.leases.get(&lease_id).filter(|lease| !lease.revoked && which(lease)).cloned();
            let (Some(mut lease), Some(release_ms)) = (lease, self.leases.at_ms(&lease_id)) else { continue };
            lease.revoked = true;
            self.leases.put(lease_id.clone(), release_ms, lease.clone());
            let nothing = Datum::Map(Default::default());
            self.tell("REVOKE", &lease_id, &lease, lease.remaining, nothing, now_ms, out);
        }
    }

    /// What remains of leases whose bids have all been seen comes free.
    pub(super) fn sweep_leases(&mut self, now_ms: i64, limit: usize, out: &mut Outputs) {
        for _ in 0..limit {
            let Some((lease_id, lease)) = self.leases.pop(now_ms) else { return };
            if let Some(open) = self.open.get_mut(&lease.campaign) {
                open.retain(|open| *open != lease_id);
            }
            if lease.remaining > 0 {
                self.account(&lease.campaign).take_back(lease.remaining);
                let nothing = Datum::Map(Default::default());
                self.tell("EXPIRE", &lease_id, &lease, lease.remaining, nothing, now_ms, out);
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // the parts of a message
    fn tell(
        &self,
        kind: &str,
        lease_id: &str,
        lease: &Lease,
        amount: i64,
        context: Datum,
        now_ms: i64,
        out: &mut Outputs,
    ) {
        let value = record! {
            "lease_id": lease_id,
            "campaign_id": lease.campaign.as_str(),
            "holder": lease.holder.as_str(),
            "kind": kind,
            "amount_micros": amount,
            "epoch": self.accounts.get(&lease.campaign).map_or(0, |account| account.epoch),
            "expires_at": lease.expires_ms,
            "metadata": context,
        };
        out.emit("budget-leases", format!("{lease_id} {kind}"), &lease.campaign, now_ms, value);
    }
}
