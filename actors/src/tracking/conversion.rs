//! An order that an advertiser posts becomes one conversion.

use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event};
use schemas::codec::{Encode, Map};
use schemas::events::{ConversionEvent, ConversionPost};

use super::{State, Tracking, with_skew};
use crate::intake::{self, Admission, Arrival};
use crate::topics::{CONVERSION_POSTS, CONVERSIONS};
use crate::{ids, metadata};

/// Largest order value that is believed: ten million units of any currency.
const VALUE_MICROS_MAX: i64 = 10_000_000_000_000;

impl Tracking {
    pub(super) fn conversion(
        &self,
        state: &mut State,
        event: &Event<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<Handled, Failure> {
        let post: ConversionPost<'_> = intake::decode(event)?;
        let time = intake::event_time(post.timestamp, effects.now_ms())?;
        check(&post)?;
        let event_id = ids::conversion_event_id(post.advertiser_id, post.order_id);
        // An order posted again may carry another time; what it is worth may not change.
        let content = intake::fingerprint(&[
            post.conversion_type.as_bytes(),
            post.currency.as_bytes(),
            &post.value_micros.to_le_bytes(),
        ]);
        let arrival = Arrival { topic: CONVERSION_POSTS.name, id: intake::id(&event_id), content, at_ms: time.ms };
        let horizon_ms = self.config.conversion_horizon_ms;
        if intake::admit(&mut state.orders, &mut state.clocks, horizon_ms, arrival)? == Admission::Repeated {
            return Ok(Handled::Duplicate);
        }
        let user_id = post.user_id.filter(|id| !id.is_empty());
        let skew = time.skew_text();
        let context = with_skew(metadata::without(&post.metadata, &[intake::CLOCK_SKEW_KEY]), time, &skew);
        let conversion = ConversionEvent {
            event_id: &event_id,
            timestamp: time.ms,
            advertiser_id: post.advertiser_id,
            conversion_type: post.conversion_type,
            order_id: Some(post.order_id),
            user_id,
            click_event_id: post.click_event_id.filter(|id| !id.is_empty()),
            value_micros: post.value_micros,
            currency: post.currency,
            metadata: Map::from_pairs(&context),
        };
        metadata::check(conversion.check())?;
        let fallback = fallback_key(&post, event)?;
        effects.emit(
            &CONVERSIONS,
            intake::user_key(user_id, fallback.as_deref().unwrap_or(&event_id)),
            time.ms,
            &conversion,
        );
        Ok(Handled::Done)
    }
}

fn check(post: &ConversionPost<'_>) -> Result<(), Failure> {
    intake::required("advertiser_id", post.advertiser_id)?;
    // Without the advertiser's own number a repetition cannot be told from a second order.
    intake::required("order_id", post.order_id)?;
    if !(0..=VALUE_MICROS_MAX).contains(&post.value_micros) {
        return Err(intake::violation(
            "value_micros",
            "is negative or beyond ten million units; returns are not conversions",
        ));
    }
    if post.currency.len() != 3 || !post.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(intake::violation("currency", "is no ISO 4217 code such as USD"));
    }
    Ok(())
}

/// Where a conversion without a user belongs: to its click, whose key is the impression's id. The post's bid names it; the
/// key that the source chose may; else the click's own id at least keeps its conversions together.
fn fallback_key(post: &ConversionPost<'_>, event: &Event<'_>) -> Result<Option<String>, Failure> {
    if let Some(bid_id) = post.metadata.get(metadata::BID_ID).filter(|id| !id.is_empty()) {
        return Ok(Some(ids::impression_event_id(bid_id)));
    }
    let key = Some(event.key_str()?).filter(|key| !key.is_empty()).or(post.click_event_id);
    Ok(key.filter(|key| !key.is_empty()).map(str::to_owned))
}
