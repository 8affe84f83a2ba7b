//! Transfers: two sides, one amount, an id derived from the event. They are written once and never changed.

use runtime::outcome::Failure;
use runtime::service::Effects;
use schemas::codec::Map;
use schemas::events::{BillingEvent, PricingModel, TransferKind};

use super::period;
use super::state::{Account, Balance, Charge, State};
use crate::money::Micros;
use crate::topics::BILLING_EVENTS;

/// `reason_code` of a reversal for invalid traffic.
pub const REASON_INVALID_TRAFFIC: i32 = 1;

/// A transfer before it has an amount.
pub struct Transfer<'a> {
    id: String,
    kind: TransferKind,
    debit: Account,
    credit: Account,
    source_event_id: &'a str,
    reverses: Option<String>,
    reason_code: i32,
    context: &'a [(&'a str, &'a str)],
}

impl<'a> Transfer<'a> {
    /// The advertiser owes what the exchange is owed.
    pub fn charge(source_event_id: &'a str, context: &'a [(&'a str, &'a str)]) -> Self {
        Self {
            id: format!("chg-{source_event_id}"),
            kind: TransferKind::Charge,
            debit: Account::CampaignReceivable,
            credit: Account::ExchangePayable,
            source_event_id,
            reverses: None,
            reason_code: 0,
            context,
        }
    }

    /// The advertiser owes it no longer; the platform bears it until the exchange refunds.
    pub fn reversal(source_event_id: &'a str, context: &'a [(&'a str, &'a str)]) -> Self {
        Self {
            id: format!("rev-{source_event_id}"),
            kind: TransferKind::Reversal,
            debit: Account::IvtCredit,
            credit: Account::CampaignReceivable,
            source_event_id,
            reverses: Some(format!("chg-{source_event_id}")),
            reason_code: REASON_INVALID_TRAFFIC,
            context,
        }
    }

    /// Writes one transfer: both accounts, and the event that says so.
    pub fn post(&self, state: &mut State, charge: &Charge, effects: &mut Effects<'_>) -> Result<(), Failure> {
        let nothing = || Balance { debits: Micros::ZERO, credits: Micros::ZERO };
        let debit = self.debit.key(charge.currency, &charge.campaign);
        let debited = state.balances.update(&debit, nothing, |row| add(&mut row.debits, charge.amount));
        let credit = self.credit.key(charge.currency, &charge.campaign);
        let credited = state.balances.update(&credit, nothing, |row| add(&mut row.credits, charge.amount));
        if !(debited && credited) {
            return Err(Failure::semantic("an account would pass the range of 64-bit micros"));
        }
        let advertiser = state.advertisers.get(&charge.campaign).map_or("", |row| row.advertiser_id.as_str());
        let event = BillingEvent {
            transfer_id: &self.id,
            timestamp: charge.timestamp_ms,
            kind: self.kind,
            model: PricingModel::Cpm,
            source_event_id: self.source_event_id,
            campaign_id: &charge.campaign,
            advertiser_id: advertiser,
            debit_account: &self.debit.name(&charge.campaign),
            credit_account: &self.credit.name(&charge.campaign),
            amount_micros: charge.amount.0,
            currency: std::str::from_utf8(&charge.currency).unwrap_or_default(),
            reverses: self.reverses.as_deref(),
            reason_code: self.reason_code,
            period: &period::month(charge.timestamp_ms),
            metadata: Map::from_pairs(self.context),
        };
        effects.emit(&BILLING_EVENTS, &charge.campaign, charge.timestamp_ms, &event);
        Ok(())
    }
}

#[must_use]
fn add(side: &mut Micros, amount: Micros) -> bool {
    let sum = side.checked_add(amount);
    *side = sum.unwrap_or(*side);
    sum.is_some()
}
