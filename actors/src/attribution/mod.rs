//! Attribution: which click earned a conversion.
//! The rules, edges and sizes stand in `README.md` beside this file.

mod last_touch;
mod state;
#[cfg(test)]
mod tests;

use runtime::outcome::{Failure, Handled, Reason};
use runtime::service::{Effects, Event, Service};
use runtime::topology::{Class, Order, ServiceSpec};
use schemas::codec::{Array, Map};
use schemas::events::{AttributionResult, ClickEvent, ConversionEvent, FraudVerdict, Verdict};
use smol_str::SmolStr;

use crate::intake::{self, DAY_MS};
use crate::metadata;
use crate::topics::{ATTRIBUTIONS, CLICKS, CONVERSIONS, FRAUD_VERDICTS};
use state::{Conversion, Person, Touch};

pub use state::State;

/// The whole credit of a conversion, parts per million.
pub const WHOLE_PPM: i32 = 1_000_000;
/// Name of the model in its results.
const MODEL: &str = "last_touch";
/// Most clicks of one person that are kept, the latest.
const TOUCHES_MAX: usize = 64;
/// Most open conversions of one person, the latest; older ones keep the result they have.
const CONVERSIONS_MAX: usize = 32;
/// Rows dropped with each event and each tick when their time is over.
const EVICTED_AN_EVENT: usize = 2;
const EVICTED_A_TICK: usize = 10_000;

/// Parameters of attribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributionConfig {
    /// How long before its conversion a click may lie, ms.
    pub click_window_ms: i64,
    /// How long after a conversion a late click or verdict may still change its result, ms of event time.
    pub reattribution_ms: i64,
}

impl Default for AttributionConfig {
    fn default() -> Self {
        Self { click_window_ms: 30 * DAY_MS, reattribution_ms: DAY_MS }
    }
}

/// The fold.
#[derive(Clone, Debug, Default)]
pub struct Attribution {
    config: AttributionConfig,
}

impl Attribution {
    pub fn new(config: AttributionConfig) -> Self {
        Self { config }
    }
}

impl Service for Attribution {
    type State = State;

    fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "attribution",
            inputs: vec![&CLICKS, &CONVERSIONS, &FRAUD_VERDICTS],
            outputs: vec![&ATTRIBUTIONS],
            order: Order::PerKey,
            class: Class::BackOffice,
        }
    }

    fn handle(&mut self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        if event.topic == &CLICKS {
            self.click(state, event, effects)?;
        } else if event.topic == &CONVERSIONS {
            self.conversion(state, event, effects)?;
        } else {
            self.verdict(state, event, effects)?;
        }
        self.evict(state, EVICTED_AN_EVENT);
        Ok(Handled::Done)
    }

    fn tick(&mut self, state: &mut State, _: &mut Effects<'_>) {
        self.evict(state, EVICTED_A_TICK);
    }
}

impl Attribution {
    fn click(&self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<(), Failure> {
        let click: ClickEvent<'_> = event.decode()?;
        if metadata::is_test(&click.metadata) {
            return Ok(());
        }
        if click.timestamp < self.oldest_touch_ms(state) {
            let message = "the click is older than any conversion that could still be credited to it";
            return Err(Failure::Expired(Reason::new("BEYOND_HORIZON", message)));
        }
        let touch = Touch {
            at_ms: click.timestamp,
            event_id: click.event_id.into(),
            campaign_id: click.campaign_id.into(),
            invalid: false,
        };
        intake::advance(&mut state.clocks, CLICKS.name, click.timestamp);
        self.change(state, event.key_str()?, effects, |person| person.touch(touch));
        Ok(())
    }

    fn conversion(&self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<(), Failure> {
        let conversion: ConversionEvent<'_> = event.decode()?;
        if metadata::is_test(&conversion.metadata) {
            return Ok(());
        }
        let conversion = Conversion {
            at_ms: conversion.timestamp,
            event_id: conversion.event_id.into(),
            click_event_id: conversion.click_event_id.map(SmolStr::new),
            advertiser_id: conversion.advertiser_id.into(),
            conversion_type: conversion.conversion_type.into(),
            value_micros: conversion.value_micros,
            currency: conversion.currency.into(),
            version: 0,
            credited: None,
        };
        intake::advance(&mut state.clocks, CONVERSIONS.name, conversion.at_ms);
        self.change(state, event.key_str()?, effects, |person| person.convert(conversion));
        Ok(())
    }

    /// An invalid click is no touch. The verdict says all that is needed to remember it before the click itself has come.
    fn verdict(&self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<(), Failure> {
        let verdict: FraudVerdict<'_> = event.decode()?;
        let concerns_us = verdict.verdict == Verdict::Givt && verdict.target_topic == CLICKS.name;
        if !concerns_us || verdict.timestamp < self.oldest_touch_ms(state) {
            return Ok(());
        }
        let touch = Touch {
            at_ms: verdict.timestamp,
            event_id: verdict.target_event_id.into(),
            campaign_id: verdict.campaign_id.into(),
            invalid: true,
        };
        self.change(state, event.key_str()?, effects, |person| person.touch(touch));
        Ok(())
    }

    /// Changes a person, credits again what is open, publishes what has a new result, and forgets what is over.
    fn change(&self, state: &mut State, key: &str, effects: &mut Effects<'_>, change: impl FnOnce(&mut Person)) {
        let (oldest_touch_ms, oldest_open_ms) = (self.oldest_touch_ms(state), self.oldest_open_ms(state));
        let config = self.config;
        let moved = state.people.update(&SmolStr::new(key), Person::default, |person| {
            // Before the change: what is no longer open keeps its result. A conversion that comes later than that is new,
            // gets its one result and goes.
            person.conversions.retain(|conversion| conversion.at_ms >= oldest_open_ms);
            change(person);
            let moved = person.recredit(config.click_window_ms);
            let excess = person.touches.len().saturating_sub(TOUCHES_MAX);
            person.touches.drain(..excess);
            person.touches.retain(|touch| touch.at_ms >= oldest_touch_ms);
            let excess = person.conversions.len().saturating_sub(CONVERSIONS_MAX);
            person.conversions.drain(..excess);
            person.conversions.retain(|conversion| conversion.at_ms >= oldest_open_ms);
            person.expires_at_ms = config.expires_at_ms(person);
            moved
        });
        for (conversion, touch) in &moved {
            publish(key, conversion, touch.as_ref(), effects);
        }
    }

    /// Time of this shard: the greatest of a click or conversion.
    fn clock_ms(state: &State) -> i64 {
        intake::clock_ms(&state.clocks, CLICKS.name).max(intake::clock_ms(&state.clocks, CONVERSIONS.name))
    }

    /// No open conversion can be credited to a click before this.
    fn oldest_touch_ms(&self, state: &State) -> i64 {
        self.oldest_open_ms(state).saturating_sub(self.config.click_window_ms)
    }

    /// Conversions before this keep the result they have.
    fn oldest_open_ms(&self, state: &State) -> i64 {
        Self::clock_ms(state).saturating_sub(self.config.reattribution_ms)
    }

    fn evict(&self, state: &mut State, limit: usize) {
        let clock_ms = Self::clock_ms(state);
        for _ in 0..limit {
            if state.people.pop_due(clock_ms).is_none() {
                return;
            }
        }
    }
}

impl AttributionConfig {
    /// One past the last time at which something of this person is still wanted.
    fn expires_at_ms(&self, person: &Person) -> i64 {
        let touch = person.touches.last().map(|t| t.at_ms.saturating_add(self.click_window_ms + self.reattribution_ms));
        let open = person.conversions.last().map(|c| c.at_ms.saturating_add(self.reattribution_ms));
        touch.max(open).map_or(i64::MIN, |last_ms| last_ms.saturating_add(1))
    }
}

fn publish(key: &str, conversion: &Conversion, touch: Option<&state::Touch>, effects: &mut Effects<'_>) {
    let credits: Vec<schemas::events::Touch<'_>> = touch
        .iter()
        .map(|touch| schemas::events::Touch {
            event_id: &touch.event_id,
            kind: "click",
            campaign_id: &touch.campaign_id,
            timestamp: touch.at_ms,
            credit_ppm: WHOLE_PPM,
        })
        .collect();
    let unattributed_ppm = if credits.is_empty() { WHOLE_PPM } else { 0 };
    let sum = credits.iter().map(|credit| i64::from(credit.credit_ppm)).sum::<i64>() + i64::from(unattributed_ppm);
    assert!(sum == i64::from(WHOLE_PPM), "invariant attribution_credits_whole: {sum} ppm");
    let value = conversion.value_micros.to_string();
    let context = [
        ("advertiser_id", conversion.advertiser_id.as_str()),
        ("conversion_type", conversion.conversion_type.as_str()),
        ("currency", conversion.currency.as_str()),
        ("value_micros", value.as_str()),
    ];
    let result = AttributionResult {
        conversion_id: &conversion.event_id,
        version: conversion.version,
        model: MODEL,
        computed_at: effects.now_ms(),
        conversion_timestamp: conversion.at_ms,
        touches: Array::from_slice(&credits),
        unattributed_ppm,
        metadata: Map::from_pairs(&context),
    };
    effects.emit(&ATTRIBUTIONS, key, conversion.at_ms, &result);
}
