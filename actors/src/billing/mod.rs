//! The ledger: double entry, exact to the micro. What goes in and out, and the rules: README beside this file.

mod period;
mod state;
#[cfg(test)]
mod tests;
mod transfer;

use runtime::outcome::{Failure, Handled, Reason};
use runtime::service::{Checks, Effects, Event, Service};
use runtime::topology::{Class, Order, ServiceSpec};
use schemas::events::{FraudVerdict, ImpressionEvent, Verdict};
use smol_str::SmolStr;

use crate::intake::{self, Id, violation};
use crate::metadata::{self, Context};
use crate::money::{Micros, PLAUSIBLE_CPM_MAX};
use crate::topics::{BILLING_EVENTS, FRAUD_VERDICTS, IMPRESSIONS};

use transfer::Transfer;

pub use state::{Account, AccountKey, Advertiser, Balance, Charge, Currency, EarlyVerdict, State};

/// Longest id of a campaign or advertiser, bytes: they become parts of account names.
const ID_BYTES_MAX: usize = 256;
/// Rows past their horizon that one impression takes away: more than it adds, so that backlogs shrink.
const PRUNED_AN_IMPRESSION: usize = 2;

/// Parameters of the ledger.
#[derive(Clone, Debug)]
pub struct BillingConfig {
    /// How long after an impression's event time a verdict still reverses its charge, ms.
    pub reversal_horizon_ms: i64,
    /// Highest price of one impression that is believed.
    pub price_max: Micros,
    /// Currency of impressions that name none.
    pub default_currency: Currency,
    /// Currencies that have a ledger; others are set aside, never guessed.
    pub currencies: Vec<Currency>,
}

impl Default for BillingConfig {
    fn default() -> Self {
        Self {
            reversal_horizon_ms: 24 * 60 * 60 * 1_000,
            price_max: PLAUSIBLE_CPM_MAX.per_impression_floor(),
            default_currency: *b"USD",
            currencies: vec![*b"USD"],
        }
    }
}

/// The service.
#[derive(Clone, Debug, Default)]
pub struct Billing {
    config: BillingConfig,
}

impl Billing {
    pub fn new(config: BillingConfig) -> Self {
        Self { config }
    }
}

impl Service for Billing {
    type State = State;

    fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "billing",
            inputs: vec![&IMPRESSIONS, &FRAUD_VERDICTS],
            outputs: vec![&BILLING_EVENTS],
            order: Order::Strict,
            class: Class::Money,
        }
    }

    fn handle(&mut self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        if event.topic == &IMPRESSIONS {
            self.impression(state, &event.decode()?, effects)
        } else {
            self.verdict(state, &event.decode()?, effects)
        }
    }

    /// Each currency: debits equal credits. Each campaign: never more given back than charged.
    fn invariants(&self, state: &State, checks: &mut Checks) {
        let mut net: Vec<(Currency, i128)> = Vec::new();
        for ((currency, account, _), balance) in state.balances.unordered() {
            let difference = i128::from(balance.debits.0) - i128::from(balance.credits.0);
            if *account == Account::CampaignReceivable as u8 {
                checks.expect("receivable_not_negative", difference >= 0);
            }
            match net.iter_mut().find(|(known, _)| known == currency) {
                Some((_, sum)) => *sum += difference,
                None => net.push((*currency, difference)),
            }
        }
        checks.expect("ledger_balanced", net.iter().all(|(_, sum)| *sum == 0));
    }
}

impl Billing {
    /// Charges an impression once; with a verdict that came before it, takes the charge back at once.
    fn impression(
        &self,
        state: &mut State,
        event: &ImpressionEvent<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<Handled, Failure> {
        let context = Context::of(&event.metadata);
        let charge = self.assess(event, &context)?;
        let oldest_ms = self.oldest_ms(state);
        if charge.timestamp_ms < oldest_ms {
            return Err(Failure::Expired(Reason::new(
                "EXPIRED",
                format!(
                    "impression is {} ms older than the reversal horizon: whether it was charged is no longer known",
                    oldest_ms - charge.timestamp_ms
                ),
            )));
        }
        let key = intake::id(event.event_id);
        if let Some(known) = state.charges.get(&key).filter(|row| row.timestamp_ms >= oldest_ms) {
            return repetition(known, &charge);
        }
        intake::advance(&mut state.clocks, IMPRESSIONS.name, charge.timestamp_ms.min(effects.now_ms()));
        self.prune(state);
        remember_advertiser(state, event.campaign_id, context.advertiser_id);
        state.charges.insert(key, charge.clone());
        if charge.billable {
            let passed_on = [
                (metadata::AUCTION_ID, context.auction_id),
                (metadata::BID_ID, context.bid_id),
                (metadata::EXCHANGE, context.exchange),
            ];
            let context: Vec<(&str, &str)> = passed_on.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
            Transfer::charge(event.event_id, &context).post(state, &charge, effects)?;
        }
        if let Some(early) = state.early_verdicts.remove(&key) {
            self.take_back(state, effects, event.event_id, key, &early.ruleset)?;
        }
        Ok(Handled::Done)
    }

    /// Takes the charge of an invalid impression back, once; waits for the impression if it has not come.
    fn verdict(
        &self,
        state: &mut State,
        event: &FraudVerdict<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<Handled, Failure> {
        // Suspects are shown and billed; clicks cost nothing of their own.
        if event.verdict != Verdict::Givt || event.target_topic != IMPRESSIONS.name {
            return Ok(Handled::Done);
        }
        let key = intake::id(event.target_event_id);
        let oldest_ms = self.oldest_ms(state);
        let known = state.charges.get(&key).filter(|row| row.timestamp_ms >= oldest_ms);
        match known.map(|row| row.invalid) {
            Some(true) => return Ok(Handled::Duplicate),
            Some(false) => {
                self.take_back(state, effects, event.target_event_id, key, &SmolStr::new(event.ruleset_version))?;
            }
            None if event.timestamp < oldest_ms => {
                return Err(Failure::Permanent(Reason::new(
                    "REFERENCE_MISSING",
                    "verdict on an impression beyond the reversal horizon: it needs a credit note by hand",
                )));
            }
            None if state.early_verdicts.contains(&key) => return Ok(Handled::Duplicate),
            None => {
                let ruleset = SmolStr::new(event.ruleset_version);
                state.early_verdicts.insert(key, EarlyVerdict { ruleset, timestamp_ms: event.timestamp });
            }
        }
        Ok(Handled::Done)
    }

    /// What an impression costs.
    fn assess(&self, event: &ImpressionEvent<'_>, context: &Context<'_>) -> Result<Charge, Failure> {
        let amount = Micros(event.win_price_micros);
        if amount < Micros::ZERO || amount > self.config.price_max {
            let max = self.config.price_max;
            return Err(violation(
                "win_price_micros",
                format!("of {amount} for one impression is not within 0 and {max}"),
            ));
        }
        for (field, id) in [("event_id", event.event_id), ("campaign_id", event.campaign_id)] {
            if id.is_empty() || id.len() > ID_BYTES_MAX {
                return Err(violation(field, format!("has {} bytes, not 1 to {ID_BYTES_MAX}", id.len())));
            }
        }
        if !(0..=period::TIMESTAMP_MAX_MS).contains(&event.timestamp) {
            let message = format!("event time {} ms is not within 1970 and 9999", event.timestamp);
            return Err(Failure::Permanent(Reason {
                code: "TIMESTAMP_RANGE",
                message: message.into(),
                field: Some("timestamp"),
            }));
        }
        Ok(Charge {
            campaign: SmolStr::new(event.campaign_id),
            amount,
            currency: self.currency(context.currency)?,
            billable: amount > Micros::ZERO && !context.is_test(),
            invalid: false,
            timestamp_ms: event.timestamp,
        })
    }

    fn currency(&self, code: Option<&str>) -> Result<Currency, Failure> {
        let Some(code) = code else { return Ok(self.config.default_currency) };
        let known = self.config.currencies.iter().find(|known| known.as_slice() == code.as_bytes());
        known.copied().ok_or_else(|| violation("metadata.currency", "names a currency without a ledger"))
    }

    /// Reverses a charge that stands; marks one that was none.
    fn take_back(
        &self,
        state: &mut State,
        effects: &mut Effects<'_>,
        source_event_id: &str,
        key: Id,
        ruleset: &str,
    ) -> Result<(), Failure> {
        let Some(charge) = state.charges.get(&key).cloned() else { return Ok(()) };
        state.charges.insert(key, Charge { invalid: true, ..charge.clone() });
        if charge.billable {
            Transfer::reversal(source_event_id, &[("ruleset_version", ruleset)]).post(state, &charge, effects)?;
        }
        Ok(())
    }

    /// Event time before which nothing is known any more, ms.
    fn oldest_ms(&self, state: &State) -> i64 {
        intake::clock_ms(&state.clocks, IMPRESSIONS.name).saturating_sub(self.config.reversal_horizon_ms)
    }

    /// Rows past the horizon count as gone whether they were taken away yet or not, so when that happens is of no
    /// consequence.
    fn prune(&self, state: &mut State) {
        let before_ms = self.oldest_ms(state).saturating_sub(1);
        for _ in 0..PRUNED_AN_IMPRESSION {
            let charge = state.charges.pop_due(before_ms).is_some();
            let verdict = state.early_verdicts.pop_due(before_ms).is_some();
            if !(charge || verdict) {
                break;
            }
        }
    }
}

/// The same impression once more, or another one under its id.
fn repetition(known: &Charge, again: &Charge) -> Result<Handled, Failure> {
    if (known.amount, &known.campaign, known.currency) == (again.amount, &again.campaign, again.currency) {
        return Ok(Handled::Duplicate);
    }
    let message = format!(
        "impression was charged {} to campaign {} and comes again with {} for campaign {}",
        known.amount, known.campaign, again.amount, again.campaign
    );
    Err(Failure::Permanent(Reason { code: "ID_CONFLICT", message: message.into(), field: Some("event_id") }))
}

fn remember_advertiser(state: &mut State, campaign_id: &str, advertiser_id: Option<&str>) {
    let Some(id) = advertiser_id.filter(|id| id.len() <= ID_BYTES_MAX) else { return };
    let campaign = SmolStr::new(campaign_id);
    if state.advertisers.get(&campaign).is_none_or(|known| known.advertiser_id != id) {
        state.advertisers.insert(campaign, Advertiser { advertiser_id: SmolStr::new(id) });
    }
}
