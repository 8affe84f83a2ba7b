//! Analytics: what each campaign did in each minute, in event time, exact, with late events as revisions.
//! The rules, edges and sizes stand in `README.md` beside this file.

mod count;
mod state;
#[cfg(test)]
mod tests;

use runtime::outcome::{Failure, Handled};
use runtime::service::{Checks, Effects, Event, RESTATED_ROWS, Service};
use runtime::topology::{Class, Order, ServiceSpec};
use schemas::codec::Map;
use schemas::events::CampaignMinute;

use crate::intake::{DAY_MS, MINUTE_MS};
use crate::topics::{ATTRIBUTIONS, CAMPAIGN_METRICS_1M, CLICKS, FRAUD_VERDICTS, IMPRESSIONS};
use state::{Clock, MinuteKey};

pub use state::{Minute, State};

/// Parameters of analytics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnalyticsConfig {
    /// A minute is final this long after its end, ms of event time.
    pub grace_ms: i64,
    /// Without events for this long, time passes for finality by itself, ms of processing time.
    pub idle_ms: i64,
    /// How late an event may come, ms of event time; later ones are set aside.
    pub horizon_ms: i64,
    /// Most minutes published in one tick.
    pub published_a_tick: usize,
}

impl Default for AnalyticsConfig {
    fn default() -> Self {
        Self { grace_ms: 2 * MINUTE_MS, idle_ms: 30_000, horizon_ms: DAY_MS, published_a_tick: 5_000 }
    }
}

/// The fold.
#[derive(Clone, Debug, Default)]
pub struct Analytics {
    config: AnalyticsConfig,
}

impl Analytics {
    pub fn new(config: AnalyticsConfig) -> Self {
        Self { config }
    }
}

/// Minutes made final, and rows dropped, in one tick.
const CLOSED_A_TICK: usize = 10_000;

impl Service for Analytics {
    type State = State;

    fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "analytics",
            inputs: vec![&IMPRESSIONS, &CLICKS, &ATTRIBUTIONS, &FRAUD_VERDICTS],
            outputs: vec![&CAMPAIGN_METRICS_1M],
            order: Order::None,
            class: Class::BackOffice,
        }
    }

    fn handle(&mut self, state: &mut State, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        let now_ms = effects.now_ms();
        if event.topic == &IMPRESSIONS {
            self.count_impression(state, event, now_ms)?;
        } else if event.topic == &CLICKS {
            self.count_click(state, event, now_ms)?;
        } else if event.topic == &ATTRIBUTIONS {
            self.count_conversion(state, event, now_ms)?;
        } else {
            self.count_invalid(state, event, now_ms)?;
        }
        Ok(Handled::Done)
    }

    fn restate(&mut self, state: &State, from: usize, effects: &mut Effects<'_>) -> Option<usize> {
        let (page, next) = state.minutes.page(from, RESTATED_ROWS);
        // What was never published waits for its tick.
        page.into_iter().filter(|(_, minute)| minute.revision > 0).for_each(|(key, minute)| tell(key, minute, effects));
        next
    }

    fn tick(&mut self, state: &mut State, effects: &mut Effects<'_>) {
        self.finish(state, effects.now_ms());
        self.publish_changed(state, effects);
        self.expire(state, effects);
    }

    fn invariants(&self, state: &State, checks: &mut Checks) {
        checks.expect("changed_minutes_exist", state.changed.len() <= state.minutes.len());
        checks.expect("open_minutes_exist", state.open.len() <= state.minutes.len());
    }
}

impl Analytics {
    /// Marks minutes final whose grace is over. A shard without events ages by processing time, or the last minute of
    /// the day would stay open all night; a late event still makes a revision.
    fn finish(&self, state: &mut State, now_ms: i64) {
        let Some(Clock { event_ms, moved_at_ms }) = state.clock.get(&()).cloned() else { return };
        let idle_ms = now_ms.saturating_sub(moved_at_ms).saturating_sub(self.config.idle_ms).max(0);
        let until_ms = event_ms.saturating_add(idle_ms);
        for _ in 0..CLOSED_A_TICK {
            let Some((key, _)) = state.open.pop_due(until_ms) else { return };
            self.change(state, &key, now_ms, |minute| minute.is_final = true);
        }
    }

    fn publish_changed(&self, state: &mut State, effects: &mut Effects<'_>) {
        for _ in 0..self.config.published_a_tick {
            // Oldest first, whatever the clock says now: after a leap back, "changed at" may lie ahead.
            let Some((key, _)) = state.changed.pop_due(i64::MAX) else { return };
            publish(state, &key, effects);
        }
    }

    /// Drops what no event may change any more. By event time alone: a shard that was away for days and comes back to
    /// its backlog must find its minutes.
    fn expire(&self, state: &mut State, effects: &mut Effects<'_>) {
        let Some(event_ms) = state.event_ms() else { return };
        for _ in 0..CLOSED_A_TICK {
            let Some((_, key)) = state.minutes.due(event_ms) else { break };
            state.open.remove(&key);
            if state.changed.remove(&key).is_some() {
                publish(state, &key, effects);
            }
            state.minutes.remove(&key);
        }
        for _ in 0..CLOSED_A_TICK {
            if state.conversions.pop_due(event_ms).is_none() {
                return;
            }
        }
    }

    /// Changes a minute and sees to it that it is published.
    fn change<R>(&self, state: &mut State, key: &MinuteKey, now_ms: i64, change: impl FnOnce(&mut Minute) -> R) -> R {
        let (mut is_new, mut was_changed) = (false, false);
        let expires_at_ms = self.expires_at_ms(key.1);
        let result = state.minutes.update(
            key,
            || {
                is_new = true;
                Minute { expires_at_ms, ..Minute::default() }
            },
            |minute| {
                was_changed = std::mem::replace(&mut minute.is_changed, true);
                change(minute)
            },
        );
        if is_new {
            state.open.insert(key.clone(), key.1 + MINUTE_MS + self.config.grace_ms);
        }
        if !was_changed {
            state.changed.insert(key.clone(), now_ms);
        }
        result
    }

    fn expires_at_ms(&self, minute_ms: i64) -> i64 {
        minute_ms + MINUTE_MS + self.config.horizon_ms
    }
}

/// Publishes a minute as it stands: this shard's part of it, under its own key.
fn publish(state: &mut State, key: &MinuteKey, effects: &mut Effects<'_>) {
    if !state.minutes.contains(key) {
        return;
    }
    let minute = state.minutes.update(key, Minute::default, |minute| {
        minute.revision += 1;
        minute.is_changed = false;
        minute.clone()
    });
    tell(key, &minute, effects);
}

/// Tells this shard's part of a minute, under its own key.
fn tell(key: &MinuteKey, minute: &Minute, effects: &mut Effects<'_>) {
    let (campaign_id, window_start) = (key.0.as_str(), key.1);
    let row = CampaignMinute {
        campaign_id,
        window_start,
        impressions: minute.impressions,
        clicks: minute.clicks,
        conversions: minute.conversions,
        spend_micros: minute.spend_micros,
        ivt_impressions: minute.ivt_impressions,
        ivt_spend_micros: minute.ivt_spend_micros,
        revision: minute.revision,
        r#final: minute.is_final,
        metadata: Map::default(),
    };
    effects.emit_partial(&CAMPAIGN_METRICS_1M, &format!("{campaign_id}:{window_start}"), window_start, &row);
}
