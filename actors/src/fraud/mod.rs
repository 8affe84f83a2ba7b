//! Invalid traffic: judged after the fact and marked, never dropped, and never in the path of serving.
//! The rules, edges and sizes stand in `README.md` beside this file.

pub mod lists;
mod rules;
mod state;
mod suspects;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event, Service};
use runtime::topology::{Class, Order, ServiceSpec, Topic};
use schemas::codec::{Array, Map};
use schemas::events::{ClickEvent, FraudVerdict, ImpressionEvent, Verdict};
use smol_str::SmolStr;

use crate::intake::{self, Id};
use crate::metadata::{self, Context};
use crate::topics::{CLICKS, FRAUD_VERDICTS, IMPRESSIONS};
use lists::Lists;
use rules::{Judge, RULES_VERSION, Ruling};
use state::{Click, group};

pub use state::State;

/// Parameters of fraud detection.
#[derive(Clone, Debug)]
pub struct FraudConfig {
    /// What is known about agents and networks.
    pub lists: Arc<Lists>,
    /// A second click of one person on one creative within this time is no second interest, ms.
    pub double_click_ms: i64,
    /// How long clicks are kept for that comparison, ms of event time: how late a click may come.
    pub click_memory_ms: i64,
}

impl Default for FraudConfig {
    fn default() -> Self {
        Self { lists: Arc::new(Lists::builtin()), double_click_ms: 2_000, click_memory_ms: 10 * intake::MINUTE_MS }
    }
}

/// The fold.
pub struct Fraud {
    judge: Judge,
    double_click_ms: i64,
    click_memory_ms: i64,
    ruleset_version: String,
}

impl Fraud {
    pub fn new(config: FraudConfig) -> Self {
        let ruleset_version = format!("{RULES_VERSION}/{}", config.lists.version);
        Self {
            judge: Judge::new(config.lists),
            double_click_ms: config.double_click_ms,
            click_memory_ms: config.click_memory_ms,
            ruleset_version,
        }
    }
}

/// Most rows dropped in a tick.
const EVICTED_A_TICK: usize = 10_000;
/// Rows dropped with each click, so that the table shrinks as fast as it can grow.
const EVICTED_AN_EVENT: usize = 2;

impl Service for Fraud {
    type State = State;

    fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "fraud",
            inputs: vec![&IMPRESSIONS, &CLICKS],
            outputs: vec![&FRAUD_VERDICTS],
            order: Order::None,
            class: Class::BackOffice,
        }
    }

    fn handle(&mut self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        if event.topic == &IMPRESSIONS {
            self.judge_impression(event, effects)?;
        } else {
            self.judge_click(state, event, effects)?;
        }
        Ok(Handled::Done)
    }

    fn tick(&mut self, state: &mut State, _: &mut Effects<'_>) {
        self.evict(state, EVICTED_A_TICK);
    }
}

/// The event that a verdict is about.
#[derive(Clone, Copy)]
struct Target<'a> {
    topic: &'static Topic,
    /// Key of the event judged, so that the verdict lies in its partition.
    key: &'a str,
    event_id: &'a str,
    timestamp_ms: i64,
    campaign_id: &'a str,
}

impl Fraud {
    fn judge_impression(&mut self, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<(), Failure> {
        let impression: ImpressionEvent<'_> = event.decode()?;
        // Exchanges scan ads with programs: their scans are no fraud.
        let context = Context::of(&impression.metadata);
        if context.is_test() {
            return Ok(());
        }
        let ruling = self.judge.impression(&context);
        if ruling.verdict == Verdict::Valid {
            return Ok(());
        }
        let target = Target {
            topic: &IMPRESSIONS,
            key: event.key_str()?,
            event_id: impression.event_id,
            timestamp_ms: impression.timestamp,
            campaign_id: impression.campaign_id,
        };
        let price = impression.win_price_micros.to_string();
        let mut passed_on = vec![(metadata::WIN_PRICE_MICROS, price.as_str())];
        passed_on.extend(context.auction_id.map(|id| (metadata::AUCTION_ID, id)));
        passed_on.extend(context.bid_id.map(|id| (metadata::BID_ID, id)));
        self.emit(target, &ruling, &passed_on, effects);
        Ok(())
    }

    fn judge_click(&mut self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<(), Failure> {
        let click: ClickEvent<'_> = event.decode()?;
        let context = Context::of(&click.metadata);
        if context.is_test() {
            return Ok(());
        }
        let target = Target {
            topic: &CLICKS,
            key: event.key_str()?,
            event_id: click.event_id,
            timestamp_ms: click.timestamp,
            campaign_id: click.campaign_id,
        };
        let mut ruling = self.judge.agent_and_network(&context);
        self.double_clicks(state, target, group(target.key, &click, &context), &mut ruling, effects);
        if ruling.verdict != Verdict::Valid {
            let passed_on = context.bid_id.map(|id| (metadata::BID_ID, id));
            self.emit(target, &ruling, passed_on.as_slice(), effects);
        }
        Ok(())
    }

    /// A click is a double if one of the same group stands at most the window before it, by event time. Clicks come in
    /// any order, so a late one may also show that its follower, taken before, was the double.
    fn double_clicks(
        &self,
        state: &mut State,
        target: Target<'_>,
        key: Id,
        ruling: &mut Ruling,
        effects: &mut Effects<'_>,
    ) {
        let within = |earlier: i64, later: i64| later.saturating_sub(earlier) <= self.double_click_ms;
        let (double, follower) = state.clicks.update(&key, state::Group::default, |group| {
            let at = group.insert(Click {
                at_ms: target.timestamp_ms,
                event_id: SmolStr::new(target.event_id),
                campaign_id: SmolStr::new(target.campaign_id),
                invalid: ruling.verdict == Verdict::Givt,
            });
            let Some(at) = at else { return (false, None) };
            let double = at > 0 && within(group.clicks[at - 1].at_ms, target.timestamp_ms);
            group.clicks[at].invalid |= double;
            let follower = group.clicks.get_mut(at + 1).filter(|f| !f.invalid && within(target.timestamp_ms, f.at_ms));
            let follower = follower.map(|follower| {
                follower.invalid = true;
                follower.clone()
            });
            group.trim();
            (double, follower)
        });
        intake::advance(&mut state.clocks, CLICKS.name, target.timestamp_ms);
        self.evict(state, EVICTED_AN_EVENT);
        if double {
            ruling.add(rules::DOUBLE_CLICK);
        }
        if let Some(follower) = follower {
            let late = Target {
                event_id: &follower.event_id,
                timestamp_ms: follower.at_ms,
                campaign_id: &follower.campaign_id,
                ..target
            };
            let mut ruling = Ruling::default();
            ruling.add(rules::DOUBLE_CLICK);
            self.emit(late, &ruling, &[], effects);
        }
    }

    fn evict(&self, state: &mut State, limit: usize) {
        let oldest_ms = intake::clock_ms(&state.clocks, CLICKS.name).saturating_sub(self.click_memory_ms);
        for _ in 0..limit {
            if state.clicks.pop_due(oldest_ms).is_none() {
                return;
            }
        }
    }

    fn emit(&self, target: Target<'_>, ruling: &Ruling, context: &[(&str, &str)], effects: &mut Effects<'_>) {
        let verdict = FraudVerdict {
            target_event_id: target.event_id,
            target_topic: target.topic.name,
            timestamp: target.timestamp_ms,
            verdict: ruling.verdict,
            rules: Array::from_slice(&ruling.rules),
            score: ruling.score(),
            ruleset_version: &self.ruleset_version,
            campaign_id: target.campaign_id,
            metadata: Map::from_pairs(context),
        };
        effects.emit(&FRAUD_VERDICTS, target.key, target.timestamp_ms, &verdict);
    }
}
