//! Services with a bug of their own: their folds, wrapped.

use actors::topics;
use runtime::invariant::Checks;
use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event, Fold, ServiceDef};
use runtime::state::AnyTable;
use schemas::events::{ClickEvent, ImpressionEvent};

use super::Mutant;

/// One of so many events is hit.
const ONE_IN: u64 = 23;

/// The services, one of them with the bug.
pub fn planted(services: Vec<ServiceDef>, mutant: Option<Mutant>) -> Vec<ServiceDef> {
    let Some((mutant, victim)) = mutant.and_then(|mutant| Some((mutant, victim(mutant)?))) else { return services };
    let plant = |service: ServiceDef| {
        if service.spec.name != victim {
            return service;
        }
        service.wrapped(move |inner| Box::new(Planted { inner, mutant, events: 0, newest_ms: 0 }))
    };
    services.into_iter().map(plant).collect()
}

fn victim(mutant: Mutant) -> Option<&'static str> {
    use Mutant as M;
    Some(match mutant {
        M::LosesCharges
        | M::ChargesUnderOtherId
        | M::OneMicroMore
        | M::RoundedPrices
        | M::WrongCampaign
        | M::NoReversal
        | M::ChargesForgotten
        | M::BalancesForgotten => "billing",
        M::PixelsForgotten | M::PixelHorizonZero | M::DeadLettersForgotten | M::GoodSetAside => "ads",
        M::ClicksForgotten => "tracking",
        M::MinutesForgotten | M::MinutesClosedEarly | M::WrongMinute | M::DoubleCount | M::NoTicks => "analytics",
        M::VerdictsSkipped => "fraud",
        M::AccountsForgotten | M::SalesLost => "budget",
        _ => return None,
    })
}

/// A table that is in memory and in no commit.
fn forgotten(mutant: Mutant) -> Option<&'static str> {
    Some(match mutant {
        Mutant::ChargesForgotten => "charges",
        Mutant::BalancesForgotten => "balances",
        Mutant::PixelsForgotten => "pixels",
        Mutant::ClicksForgotten => "clicks",
        Mutant::MinutesForgotten => "minutes",
        Mutant::AccountsForgotten => "accounts",
        _ => return None,
    })
}

struct Planted {
    inner: Box<dyn Fold>,
    mutant: Mutant,
    events: u64,
    newest_ms: i64,
}

fn encoded<E: schemas::codec::Encode>(event: &E) -> Vec<u8> {
    let mut value = Vec::new();
    schemas::frame::encode(event, &mut value);
    value
}

impl Planted {
    /// The event with what the bug makes of it.
    fn impression(&mut self, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        use Mutant as M;
        let hit = self.events.is_multiple_of(ONE_IN);
        let known: ImpressionEvent<'_> = event.decode()?;
        let price = known.win_price_micros;
        let other = format!("{}-again", known.event_id);
        let changed = match self.mutant {
            M::OneMicroMore if hit => ImpressionEvent { win_price_micros: price + 1, ..known },
            M::RoundedPrices => ImpressionEvent { win_price_micros: price / 10 * 10, ..known },
            M::WrongCampaign if hit => ImpressionEvent { campaign_id: "camp-1", ..known },
            M::WrongMinute => ImpressionEvent { timestamp: known.timestamp + 1_000, ..known },
            M::ChargesUnderOtherId if hit => {
                self.inner.handle(event, effects)?;
                ImpressionEvent { event_id: &other, ..known }
            }
            _ => return self.inner.handle(event, effects),
        };
        let value = encoded(&changed);
        self.inner.handle(&Event { value: &value, ..event.clone() }, effects)
    }
}

impl Fold for Planted {
    fn handle(&mut self, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        use Mutant as M;
        self.events += 1;
        let hit = self.events.is_multiple_of(ONE_IN);
        let is_impression = event.topic == &topics::IMPRESSIONS;
        match self.mutant {
            M::LosesCharges if hit && is_impression => return Ok(Handled::Done),
            M::NoReversal if event.topic == &topics::FRAUD_VERDICTS => return Ok(Handled::Done),
            M::VerdictsSkipped if is_impression && self.events.is_multiple_of(3) => return Ok(Handled::Done),
            M::SalesLost if hit && event.topic == &topics::AUCTION_RESULTS => return Ok(Handled::Done),
            M::DeadLettersForgotten => return Ok(self.inner.handle(event, effects).unwrap_or(Handled::Done)),
            M::GoodSetAside if hit => return Err(Failure::semantic("planted")),
            M::DoubleCount if hit => {
                self.inner.handle(event, effects)?;
            }
            M::MinutesClosedEarly => {
                let late = event.timestamp_ms + 1_500 < self.newest_ms;
                self.newest_ms = self.newest_ms.max(event.timestamp_ms);
                if late && (is_impression || event.topic == &topics::CLICKS) {
                    return Ok(Handled::Done);
                }
            }
            M::WrongMinute if event.topic == &topics::CLICKS => {
                let known: ClickEvent<'_> = event.decode()?;
                let value = encoded(&ClickEvent { timestamp: known.timestamp + 1_000, ..known });
                return self.inner.handle(&Event { value: &value, ..event.clone() }, effects);
            }
            M::PixelHorizonZero => {
                self.inner.tables(&mut |table| {
                    if table.name() == "pixels" {
                        clear(table);
                    }
                });
            }
            _ => {}
        }
        if is_impression { self.impression(event, effects) } else { self.inner.handle(event, effects) }
    }

    fn tick(&mut self, effects: &mut Effects<'_>) {
        if self.mutant != Mutant::NoTicks {
            self.inner.tick(effects);
        }
    }

    fn restate(&mut self, from: usize, effects: &mut Effects<'_>) -> Option<usize> {
        self.inner.restate(from, effects)
    }

    fn invariants(&self, checks: &mut Checks) {
        self.inner.invariants(checks);
    }

    fn tables(&mut self, visit: &mut dyn FnMut(&mut dyn AnyTable)) {
        let hidden = forgotten(self.mutant);
        self.inner.tables(&mut |table| {
            if hidden != Some(table.name()) {
                visit(table);
            }
        });
    }
}

/// Takes all rows away, as an eviction that is too eager would.
fn clear(table: &mut dyn AnyTable) {
    let mut keys = Vec::new();
    table.snapshot_begin();
    while !table.snapshot_next(usize::MAX / 2, &mut |key: &[u8], _: &[u8]| keys.push(key.to_vec())) {}
    let version = table.version();
    for key in keys {
        let _ = table.apply(version, &key, None);
    }
}
