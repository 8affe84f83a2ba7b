//! Leases: money lent to a bidder for seconds, so that no bid asks anybody.

use runtime::outcome::{Failure, Handled, Reason};
use runtime::service::Effects;
use schemas::codec::Map;
use schemas::events::{BudgetLease, LeaseKind, LeaseRequest, LeaseRequestKind};
use smol_str::{SmolStr, format_smolstr};

use super::BudgetConfig;
use super::account::{Account, difference};
use super::state::{Lease, OpenLeases, State};
use crate::intake::{self, Admission, Arrival, required, violation};
use crate::money::Micros;
use crate::topics::{BUDGET_LEASES, LEASE_REQUESTS};

/// Longest id of a request, holder or campaign, bytes.
const ID_BYTES_MAX: usize = 256;

/// Answers a bidder's request, once an id.
pub fn request(
    config: &BudgetConfig,
    state: &mut State,
    request: &LeaseRequest<'_>,
    effects: &mut Effects<'_>,
) -> Result<Handled, Failure> {
    for (field, id) in
        [("request_id", request.request_id), ("holder", request.holder), ("campaign_id", request.campaign_id)]
    {
        if required(field, id)?.len() > ID_BYTES_MAX {
            return Err(violation(field, format!("has {} bytes, at most {ID_BYTES_MAX}", id.len())));
        }
    }
    let arrival = Arrival {
        topic: LEASE_REQUESTS.name,
        id: intake::id(request.request_id),
        content: content(request),
        at_ms: intake::event_time(request.timestamp, effects.now_ms())?.ms,
    };
    if intake::admit(&mut state.requests, &mut state.clocks, config.request_horizon_ms, arrival)? == Admission::Repeated
    {
        return Ok(Handled::Duplicate);
    }
    match request.kind {
        LeaseRequestKind::Ask => ask(config, state, request, effects),
        LeaseRequestKind::Return => give_back(state, request, effects),
        LeaseRequestKind::Start => {
            start(state, request, effects);
            Ok(())
        }
    }
    .map(|()| Handled::Done)
}

/// What must be the same where an id repeats.
fn content(request: &LeaseRequest<'_>) -> u64 {
    intake::fingerprint(&[
        request.kind.as_str().as_bytes(),
        request.holder.as_bytes(),
        request.campaign_id.as_bytes(),
        request.lease_id.unwrap_or_default().as_bytes(),
        &request.amount_micros.to_le_bytes(),
    ])
}

/// Grants what is wanted as far as it goes. A grant of nothing says so, that the holder need not guess.
fn ask(
    config: &BudgetConfig,
    state: &mut State,
    request: &LeaseRequest<'_>,
    effects: &mut Effects<'_>,
) -> Result<(), Failure> {
    if request.amount_micros <= 0 {
        return Err(violation("amount_micros", format!("{} asks for nothing", request.amount_micros)));
    }
    let campaign = SmolStr::new(request.campaign_id);
    let lease_id = format_smolstr!("lse-{}", request.request_id);
    let open = state.open_leases.get(&campaign).map_or(0, |row| row.lease_ids.len());
    let offered = match state.accounts.get(&campaign) {
        None => Err("unknown_campaign"),
        Some(account) if !account.active => Err("inactive"),
        Some(account) if account.free() == Micros::ZERO => Err("exhausted"),
        Some(_) if open >= config.leases_max => Err("too_many_leases"),
        Some(account) => Ok(share(config, account.free()).min(Micros(request.amount_micros))),
    };
    let amount = *offered.as_ref().unwrap_or(&Micros::ZERO);
    let mut lease = Lease {
        campaign: campaign.clone(),
        holder: SmolStr::new(request.holder),
        remaining: amount,
        revoked: false,
        expires_ms: effects.now_ms(),
        release_ms: effects.now_ms(),
    };
    if amount > Micros::ZERO {
        lease.expires_ms += config.lease_life_ms;
        lease.release_ms = lease.expires_ms + config.reservation_max_ms;
        state.account(&campaign, |account| account.lend(amount));
        state.leases.insert(lease_id.clone(), lease.clone());
        let nothing_open = || OpenLeases { lease_ids: Vec::new() };
        state.open_leases.update(&campaign, nothing_open, |row| row.lease_ids.push(lease_id.clone()));
    }
    let refusal = offered.err().map(|why| ("refusal", why));
    tell(state, effects, LeaseKind::Grant, &lease_id, &lease, amount, refusal);
    Ok(())
}

/// Halves what is free, that one holder cannot lock up the rest of a budget, until halves are not worth it.
fn share(config: &BudgetConfig, free: Micros) -> Micros {
    Micros(free.0 / 2).max(config.grant_floor).min(free)
}

/// Takes back what a holder has not spent.
fn give_back(state: &mut State, request: &LeaseRequest<'_>, effects: &mut Effects<'_>) -> Result<(), Failure> {
    let lease_id = SmolStr::new(required("lease_id", request.lease_id.unwrap_or_default())?);
    let amount = Micros(request.amount_micros);
    if amount <= Micros::ZERO {
        return Err(violation("amount_micros", format!("{amount} gives nothing back")));
    }
    let Some(lease) = state.leases.get(&lease_id) else {
        let message = "the lease is not known or was released already: its money is free";
        return Err(Failure::Expired(Reason { field: Some("lease_id"), ..Reason::new("REFERENCE_MISSING", message) }));
    };
    if (lease.campaign.as_str(), lease.holder.as_str()) != (request.campaign_id, request.holder) {
        return Err(violation("lease_id", "is a lease of another holder or campaign"));
    }
    if amount > lease.remaining {
        return Err(violation("amount_micros", format!("{amount} is more than the {} that remain", lease.remaining)));
    }
    let lease = Lease { remaining: difference(lease.remaining, amount), ..lease.clone() };
    state.leases.insert(lease_id.clone(), lease.clone());
    state.account(&lease.campaign, |account| account.take_back(amount));
    tell(state, effects, LeaseKind::Return, &lease_id, &lease, amount, None);
    Ok(())
}

/// A new incarnation of an instance started: nobody spends the leases of the old ones any more. Their money stays
/// pending until every bid that they may have made has been seen.
fn start(state: &mut State, request: &LeaseRequest<'_>, effects: &mut Effects<'_>) {
    let instance = |holder: &str| holder.rsplit_once('/').map(|(instance, _)| SmolStr::new(instance));
    let of_instance = instance(request.holder);
    revoke(state, request.campaign_id, effects, |lease| {
        lease.holder != request.holder && of_instance.is_some() && instance(&lease.holder) == of_instance
    });
}

/// Tells holders to stop spending.
pub fn revoke(state: &mut State, campaign: &str, effects: &mut Effects<'_>, which: impl Fn(&Lease) -> bool) {
    let open = state.open_leases.get(&SmolStr::new(campaign)).map(|row| row.lease_ids.clone()).unwrap_or_default();
    for lease_id in open {
        let Some(lease) = state.leases.get(&lease_id).filter(|lease| !lease.revoked && which(lease)) else { continue };
        let lease = Lease { revoked: true, ..lease.clone() };
        state.leases.insert(lease_id.clone(), lease.clone());
        tell(state, effects, LeaseKind::Revoke, &lease_id, &lease, lease.remaining, None);
    }
}

/// Frees what remains of leases whose bids have all been seen; at most `limit`.
pub fn sweep(state: &mut State, effects: &mut Effects<'_>, limit: usize) {
    for _ in 0..limit {
        let Some((lease_id, lease)) = state.leases.pop_due(effects.now_ms()) else { return };
        let nothing_open = || OpenLeases { lease_ids: Vec::new() };
        let left = state.open_leases.update(&lease.campaign, nothing_open, |row| {
            row.lease_ids.retain(|open| *open != lease_id);
            row.lease_ids.len()
        });
        if left == 0 {
            state.open_leases.remove(&lease.campaign);
        }
        if lease.remaining > Micros::ZERO {
            state.account(&lease.campaign, |account| account.take_back(lease.remaining));
            tell(state, effects, LeaseKind::Expire, &lease_id, &lease, lease.remaining, None);
        }
    }
}

fn tell(
    state: &State,
    effects: &mut Effects<'_>,
    kind: LeaseKind,
    lease_id: &str,
    lease: &Lease,
    amount: Micros,
    context: Option<(&str, &str)>,
) {
    let event = BudgetLease {
        lease_id,
        campaign_id: &lease.campaign,
        holder: &lease.holder,
        kind,
        amount_micros: amount.0,
        epoch: state.accounts.get(&lease.campaign).map_or(0, |account: &Account| account.epoch),
        expires_at: lease.expires_ms,
        metadata: Map::from_pairs(context.as_slice()),
    };
    effects.emit(&BUDGET_LEASES, &lease.campaign, effects.now_ms(), &event);
}
