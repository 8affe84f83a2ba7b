//! What each event adds to its minute.

use runtime::outcome::{Failure, Reason};
use runtime::service::Event;
use schemas::events::{AttributionResult, ClickEvent, FraudVerdict, ImpressionEvent, Verdict};
use smol_str::SmolStr;

use super::state::{Clock, Counted, MinuteKey, State};
use super::{Analytics, Minute};
use crate::intake::{self, MINUTE_MS};
use crate::metadata;
use crate::topics::IMPRESSIONS;

/// The clock moves in whole seconds: one row changes once a second and not with each event.
const CLOCK_GRAIN_MS: i64 = 1_000;

/// Start of the minute of an event.
pub(super) fn minute_ms(timestamp_ms: i64) -> i64 {
    timestamp_ms - timestamp_ms.rem_euclid(MINUTE_MS)
}

impl Analytics {
    pub(super) fn count_impression(&self, state: &mut State, event: &Event<'_>, now_ms: i64) -> Result<(), Failure> {
        let impression: ImpressionEvent<'_> = event.decode()?;
        if metadata::is_test(&impression.metadata) {
            return Ok(());
        }
        let price = impression.win_price_micros;
        if price < 0 {
            return Err(intake::violation("win_price_micros", "is negative"));
        }
        let key = self.key(state, impression.campaign_id, impression.timestamp)?;
        advance(state, impression.timestamp, now_ms);
        self.change(state, &key, now_ms, |minute| {
            minute.impressions += 1;
            add(&mut minute.spend_micros, price)
        })
    }

    pub(super) fn count_click(&self, state: &mut State, event: &Event<'_>, now_ms: i64) -> Result<(), Failure> {
        let click: ClickEvent<'_> = event.decode()?;
        if metadata::is_test(&click.metadata) {
            return Ok(());
        }
        let key = self.key(state, click.campaign_id, click.timestamp)?;
        advance(state, click.timestamp, now_ms);
        self.change(state, &key, now_ms, |minute| minute.clicks += 1);
        Ok(())
    }

    /// A verdict says what it is about, so that impressions need not be kept: it may come before its impression or a day
    /// after it, the sums are the same.
    pub(super) fn count_invalid(&self, state: &mut State, event: &Event<'_>, now_ms: i64) -> Result<(), Failure> {
        let verdict: FraudVerdict<'_> = event.decode()?;
        if verdict.verdict != Verdict::Givt || verdict.target_topic != IMPRESSIONS.name {
            return Ok(());
        }
        let price = verdict.metadata.get(metadata::WIN_PRICE_MICROS).and_then(|text| text.parse::<i64>().ok());
        let Some(price) = price.filter(|price| *price >= 0) else {
            let message = "the verdict does not say what its impression cost (metadata win_price_micros)";
            return Err(Failure::Permanent(Reason::new("REFERENCE_MISSING", message)));
        };
        let key = self.key(state, verdict.campaign_id, verdict.timestamp)?;
        self.change(state, &key, now_ms, |minute| {
            minute.ivt_impressions += 1;
            add(&mut minute.ivt_spend_micros, price)
        })
    }

    /// A newer version of an attribution takes back what the older one was counted for.
    pub(super) fn count_conversion(&self, state: &mut State, event: &Event<'_>, now_ms: i64) -> Result<(), Failure> {
        let result: AttributionResult<'_> = event.decode()?;
        let id = intake::id(result.conversion_id);
        let known = state.conversions.get(&id).cloned();
        if known.as_ref().is_some_and(|known| known.version >= result.version) {
            return Ok(());
        }
        // The minute of a conversion never moves, whatever a later version says of its time.
        let minute_ms = known.as_ref().map_or(minute_ms(result.conversion_timestamp), |known| known.minute_ms);
        self.check_age(state, minute_ms)?;
        let mut campaigns: Vec<SmolStr> =
            result.touches.iter().filter(|touch| touch.credit_ppm > 0).map(|touch| touch.campaign_id.into()).collect();
        campaigns.sort_unstable();
        campaigns.dedup();
        let before = known.map_or(Vec::new(), |known| known.campaigns);
        for gone in before.iter().filter(|campaign| !campaigns.contains(campaign)) {
            self.change(state, &(gone.clone(), minute_ms), now_ms, |minute| minute.conversions -= 1);
        }
        for new in campaigns.iter().filter(|campaign| !before.contains(campaign)) {
            self.change(state, &(new.clone(), minute_ms), now_ms, |minute| minute.conversions += 1);
        }
        let expires_at_ms = self.expires_at_ms(minute_ms);
        state.conversions.insert(id, Counted { version: result.version, minute_ms, campaigns, expires_at_ms });
        Ok(())
    }

    fn key(&self, state: &State, campaign_id: &str, timestamp_ms: i64) -> Result<MinuteKey, Failure> {
        intake::required("campaign_id", campaign_id)?;
        let minute_ms = minute_ms(timestamp_ms);
        self.check_age(state, minute_ms)?;
        Ok((SmolStr::new(campaign_id), minute_ms))
    }

    /// A minute that is gone cannot be counted on: its row would start again from nothing and replace the whole.
    fn check_age(&self, state: &State, minute_ms: i64) -> Result<(), Failure> {
        match state.event_ms() {
            Some(event_ms) if self.expires_at_ms(minute_ms) <= event_ms => {
                let message = format!("{} min late; its minute is closed for good", (event_ms - minute_ms) / MINUTE_MS);
                Err(Failure::Expired(Reason::new("BEYOND_HORIZON", message)))
            }
            _ => Ok(()),
        }
    }
}

/// Only impressions and clicks move time: conversions and verdicts speak of the past.
fn advance(state: &mut State, timestamp_ms: i64, now_ms: i64) {
    let event_ms = timestamp_ms - timestamp_ms.rem_euclid(CLOCK_GRAIN_MS);
    if state.event_ms().is_none_or(|known| event_ms > known) {
        state.clock.insert((), Clock { event_ms, moved_at_ms: now_ms });
    }
}

fn add(sum: &mut i64, amount: i64) -> Result<(), Failure> {
    *sum = sum.checked_add(amount).ok_or_else(|| Failure::semantic("the minute's sum is beyond 64 bits"))?;
    Ok(())
}

impl Minute {
    /// Counts without the bookkeeping of publication: impressions, clicks, conversions, spend, invalid impressions and
    /// spend.
    pub fn counts(&self) -> [i64; 6] {
        [
            self.impressions,
            self.clicks,
            self.conversions,
            self.spend_micros,
            self.ivt_impressions,
            self.ivt_spend_micros,
        ]
    }
}
