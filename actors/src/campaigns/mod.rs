//! Campaigns and their budgets, folded from the change streams of their database. What goes in and out, and the rules:
//! README beside this file.

mod change;
mod state;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use runtime::outcome::{Failure, Handled, Reason};
use runtime::service::{Effects, Event, RESTATED_ROWS, Service};
use runtime::topology::{Class, Order, ServiceSpec};
use schemas::codec::{Array, Encode, Map};
use schemas::events::{BudgetChange, CampaignChange, CampaignState};
use smol_str::SmolStr;

use crate::intake::{self, violation};
use crate::metadata;
use crate::money::Cpm;
use crate::topics::{BUDGETS_CHANGES, CAMPAIGN_STATES, CAMPAIGNS_CHANGES};
use change::Op;

pub use state::{Budget, Budgets, Campaign, State};

/// Budget rows of one campaign that are kept.
const BUDGETS_MAX: usize = 8;
/// Currency of a campaign without budget.
const CURRENCY_DEFAULT: &str = "USD";

/// The service; it has no parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Campaigns;

impl Service for Campaigns {
    type State = State;

    fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "campaigns",
            inputs: vec![&CAMPAIGNS_CHANGES, &BUDGETS_CHANGES],
            outputs: vec![&CAMPAIGN_STATES],
            order: Order::PerKey,
            class: Class::BackOffice,
        }
    }

    fn handle(&mut self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        // The tombstone that lets a compacted topic forget a key; the delete before it said everything.
        if event.value.is_empty() {
            return Ok(Handled::Duplicate);
        }
        let (campaign, ts_ms) = if event.topic == &CAMPAIGNS_CHANGES {
            let change: CampaignChange<'_> = intake::decode(event)?;
            (campaign_changed(state, event.key, &change)?, change.ts_ms)
        } else {
            let change: BudgetChange<'_> = intake::decode(event)?;
            (budget_changed(state, event.key, &change)?, change.ts_ms)
        };
        let Some(campaign) = campaign else { return Ok(Handled::Duplicate) };
        tell_next(state, &campaign, ts_ms.clamp(0, effects.now_ms().max(0)), effects)?;
        Ok(Handled::Done)
    }

    /// The states as they were told last, so without a new revision: who has them already sees a repetition.
    fn restate(&mut self, state: &State, from: usize, effects: &mut Effects<'_>) -> Option<usize> {
        let (page, next) = state.revisions.page(from, RESTATED_ROWS);
        let now_ms = effects.now_ms().max(0);
        for (campaign, revision) in page {
            // What was told once had passed the check then, and its rows have not changed since.
            let told = tell(state, campaign, *revision, now_ms, effects);
            debug_assert!(told.is_ok(), "a state that was told can be told again");
        }
        next
    }
}

/// Applies a change of public.campaigns. `None` if it changes nothing.
fn campaign_changed(
    state: &mut State,
    record_key: &[u8],
    change: &CampaignChange<'_>,
) -> Result<Option<SmolStr>, Failure> {
    let (op, lsn) = (Op::of(change.op)?, change.source.lsn);
    let row = if op == Op::Delete { change.before } else { change.after };
    let row = row.ok_or_else(|| violation("after", "is missing: the table needs REPLICA IDENTITY for its key"))?;
    let key = SmolStr::new(change::key(op, row.campaign_id, record_key)?);
    let known = state.campaigns.get(&key);
    let next = match (op, known) {
        (Op::Upsert { .. }, _) => change::campaign(&row, lsn, known)?,
        (Op::Delete, Some(known)) => Campaign { deleted: true, active: false, lsn, ..known.clone() },
        // A deletion whose row we never saw; the rest of it does not matter any more.
        (Op::Delete, None) => blank(lsn),
    };
    if !supersedes(op, lsn, known.map(|row| (row.lsn, *row == next)))? {
        return Ok(None);
    }
    state.campaigns.insert(key.clone(), next);
    Ok(Some(key))
}

/// A campaign of which only the end is known.
fn blank(lsn: i64) -> Campaign {
    Campaign {
        advertiser_id: SmolStr::default(),
        name: SmolStr::default(),
        active: false,
        creative_id: SmolStr::default(),
        width: 0,
        height: 0,
        bid: Cpm(0),
        countries: Vec::new(),
        frequency_cap: 0,
        destination_domain: None,
        deleted: true,
        lsn,
    }
}

/// Applies a change of public.budgets. `None` if it changes nothing.
fn budget_changed(state: &mut State, record_key: &[u8], change: &BudgetChange<'_>) -> Result<Option<SmolStr>, Failure> {
    let (op, lsn) = (Op::of(change.op)?, change.source.lsn);
    let row = if op == Op::Delete { change.before } else { change.after };
    let row = row.ok_or_else(|| violation("after", "is missing: the table needs REPLICA IDENTITY for its key"))?;
    let key = SmolStr::new(change::key(op, row.campaign_id, record_key)?);
    if change.before.is_some_and(|before| op != Op::Delete && before.campaign_id != row.campaign_id) {
        return Err(violation("campaign_id", "of a budget changed: end this budget and make another one"));
    }
    let mut rows = state.budgets.get(&key).map(|row| row.rows.clone()).unwrap_or_default();
    let at = rows.iter().position(|known| known.budget_id == row.budget_id);
    let known = at.map(|at| &rows[at]);
    let next = match (op, known) {
        (Op::Delete, Some(known)) => Budget { deleted: true, lsn, ..known.clone() },
        (Op::Delete, None) => change::gone(&row, lsn)?,
        (Op::Upsert { .. }, _) => change::budget(&row, lsn)?,
    };
    if !supersedes(op, lsn, known.map(|row| (row.lsn, *row == next)))? {
        return Ok(None);
    }
    match at {
        Some(at) => rows[at] = next,
        None => {
            make_room(&mut rows)?;
            rows.push(next);
        }
    }
    state.budgets.insert(key.clone(), Budgets { rows });
    Ok(Some(key))
}

/// Deleted budgets are kept for their position as long as there is room for them.
fn make_room(rows: &mut Vec<Budget>) -> Result<(), Failure> {
    if rows.len() < BUDGETS_MAX {
        return Ok(());
    }
    let oldest = rows.iter().enumerate().filter(|(_, row)| row.deleted).min_by_key(|(_, row)| row.lsn);
    let Some((at, _)) = oldest else {
        return Err(violation("budget_id", format!("is one more than the {BUDGETS_MAX} budgets a campaign may have")));
    };
    rows.remove(at);
    Ok(())
}

/// Later positions win. At one position a repetition changes nothing, and the stream's row stands over a snapshot's.
fn supersedes(op: Op, lsn: i64, known: Option<(i64, bool)>) -> Result<bool, Failure> {
    let Some((at, same)) = known else { return Ok(true) };
    match lsn.cmp(&at) {
        Ordering::Greater => Ok(true),
        Ordering::Less => Ok(false),
        Ordering::Equal if same || op == (Op::Upsert { snapshot: true }) => Ok(false),
        Ordering::Equal => {
            let message = format!("another change of this row was taken at position {lsn}; the first one stands");
            Err(Failure::Permanent(Reason { field: Some("source.lsn"), ..Reason::new("ID_CONFLICT", message) }))
        }
    }
}

/// Tells the new state of a campaign. A budget alone is no campaign yet: it waits for its row.
fn tell_next(state: &mut State, key: &SmolStr, ts_ms: i64, effects: &mut Effects<'_>) -> Result<(), Failure> {
    if !state.campaigns.contains(key) {
        return Ok(());
    }
    let revision = state.revisions.get(key).copied().unwrap_or(0) + 1;
    tell(state, key, revision, ts_ms, effects)?;
    state.revisions.insert(key.clone(), revision);
    Ok(())
}

/// Tells the whole state of a campaign.
fn tell(state: &State, key: &SmolStr, revision: i64, ts_ms: i64, effects: &mut Effects<'_>) -> Result<(), Failure> {
    let Some(campaign) = state.campaigns.get(key) else { return Ok(()) };
    let budgets = state.budgets.get(key);
    let budget = budgets.and_then(Budgets::in_force);
    let revision_text = revision.to_string();
    let context = [(metadata::REVISION, revision_text.as_str())];
    let countries: Vec<&str> = campaign.countries.iter().map(SmolStr::as_str).collect();
    let event = CampaignState {
        campaign_id: key,
        advertiser_id: &campaign.advertiser_id,
        name: &campaign.name,
        active: campaign.active,
        deleted: campaign.deleted,
        creative_id: &campaign.creative_id,
        width: campaign.width,
        height: campaign.height,
        bid_cpm_micros: campaign.bid.0,
        countries: Array::from_slice(&countries),
        frequency_cap: campaign.frequency_cap,
        destination_domain: campaign.destination_domain.as_deref(),
        budget_micros: budget.map_or(0, |row| row.amount.0),
        currency: budget.map_or(CURRENCY_DEFAULT, |row| &row.currency),
        lsn: campaign.lsn.max(budgets.map_or(i64::MIN, Budgets::lsn)),
        metadata: Map::from_pairs(&context),
    };
    metadata::check(event.check())?;
    effects.emit(&CAMPAIGN_STATES, key, ts_ms, &event);
    Ok(())
}
