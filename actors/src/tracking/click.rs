//! A redirect that was followed becomes one click.

use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event};
use schemas::codec::{Encode, Map};
use schemas::events::{ClickEvent, ClickPixel};

use super::{State, Tracking, with_skew};
use crate::intake::{self, Admission, Arrival};
use crate::topics::{CLICK_PIXELS, CLICKS};
use crate::{ids, metadata};

impl Tracking {
    pub(super) fn click(
        &self,
        state: &mut State,
        event: &Event<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<Handled, Failure> {
        let pixel: ClickPixel<'_> = intake::decode(event)?;
        let time = intake::event_time(pixel.timestamp, effects.now_ms())?;
        intake::required("bid_id", pixel.bid_id)?;
        intake::required("campaign_id", pixel.campaign_id)?;
        // The id is made of the time as reported: clamping must not make two clicks of one.
        let event_id = ids::click_event_id(pixel.bid_id, pixel.timestamp);
        let arrival = Arrival {
            topic: CLICK_PIXELS.name,
            id: intake::id(&event_id),
            content: intake::fingerprint(&[pixel.campaign_id.as_bytes(), pixel.creative_id.as_bytes()]),
            at_ms: time.ms,
        };
        let horizon_ms = self.config.click_horizon_ms;
        if intake::admit(&mut state.clicks, &mut state.clocks, horizon_ms, arrival)? == Admission::Repeated {
            return Ok(Handled::Duplicate);
        }
        let impression_event_id = ids::impression_event_id(pixel.bid_id);
        let skew = time.skew_text();
        let mut context = metadata::without(&pixel.metadata, &[metadata::BID_ID, intake::CLOCK_SKEW_KEY]);
        context.push((metadata::BID_ID, pixel.bid_id));
        let context = with_skew(context, time, &skew);
        let user_id = pixel.user_id.filter(|id| !id.is_empty());
        let click = ClickEvent {
            event_id: &event_id,
            timestamp: time.ms,
            impression_event_id: &impression_event_id,
            campaign_id: pixel.campaign_id,
            creative_id: pixel.creative_id,
            placement_id: pixel.placement_id,
            user_id,
            destination_domain: pixel.destination_domain,
            metadata: Map::from_pairs(&context),
        };
        metadata::check(click.check())?;
        effects.emit(&CLICKS, intake::user_key(user_id, &impression_event_id), time.ms, &click);
        Ok(Handled::Done)
    }
}
