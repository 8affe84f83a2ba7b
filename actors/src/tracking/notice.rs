//! What an exchange says of an auction's end becomes one result of the bid. It informs: money moves with the rendered
//! impression, because exchanges send notices again and a win may never be shown.

use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event};
use schemas::codec::{Encode, Map};
use schemas::events::{AuctionResultEvent, AuctionResultKind, ExchangeNotice};

use super::{State, Tracking, with_skew};
use crate::intake::{self, Admission, Arrival};
use crate::metadata;
use crate::money::{Micros, PLAUSIBLE_CPM_MAX};
use crate::topics::{AUCTION_RESULTS, EXCHANGE_NOTICES};

/// Metadata key of a win that came after a loss of the same bid.
const AFTER_LOSS_KEY: &str = "after_loss";

impl Tracking {
    pub(super) fn notice(
        &self,
        state: &mut State,
        event: &Event<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<Handled, Failure> {
        let notice: ExchangeNotice<'_> = intake::decode(event)?;
        let time = intake::event_time(notice.timestamp, effects.now_ms())?;
        check(&notice)?;
        let arrival = Arrival {
            topic: EXCHANGE_NOTICES.name,
            id: intake::id(notice.bid_id),
            content: content(&notice),
            at_ms: time.ms,
        };
        // A lost auction that turns out won is known of exchanges that assume a loss too early. A won one is never lost
        // afterwards: releasing its money would let it be spent twice.
        if !notice.win && state.wins.contains(&arrival.id) {
            return Err(Failure::semantic("a loss notice for a bid whose win was reported; the win stands"));
        }
        let after_loss = notice.win && state.losses.contains(&arrival.id);
        let taken = if notice.win { &mut state.wins } else { &mut state.losses };
        if intake::admit(taken, &mut state.clocks, self.config.notice_horizon_ms, arrival)? == Admission::Repeated {
            return Ok(Handled::Duplicate);
        }
        let skew = time.skew_text();
        let mut context = metadata::without(&notice.metadata, &[AFTER_LOSS_KEY, intake::CLOCK_SKEW_KEY]);
        if after_loss {
            context.push((AFTER_LOSS_KEY, "1"));
        }
        let context = with_skew(context, time, &skew);
        let result = AuctionResultEvent {
            auction_id: notice.auction_id,
            bid_id: notice.bid_id,
            imp_id: notice.imp_id,
            campaign_id: notice.campaign_id,
            timestamp: time.ms,
            kind: if notice.win { AuctionResultKind::Win } else { AuctionResultKind::Loss },
            loss_reason: notice.loss_reason,
            clearing_price_micros: notice.price_micros,
            min_to_win_micros: notice.min_to_win_micros,
            lease_id: notice.lease_id,
            source: "exchange",
            metadata: Map::from_pairs(&context),
        };
        metadata::check(result.check())?;
        effects.emit(&AUCTION_RESULTS, notice.campaign_id, time.ms, &result);
        Ok(Handled::Done)
    }
}

fn check(notice: &ExchangeNotice<'_>) -> Result<(), Failure> {
    intake::required("bid_id", notice.bid_id)?;
    intake::required("campaign_id", notice.campaign_id)?;
    let plausible = 0..=PLAUSIBLE_CPM_MAX.per_impression_floor().0;
    for (field, price) in [("price_micros", notice.price_micros), ("min_to_win_micros", notice.min_to_win_micros)] {
        if let Some(price) = price.filter(|price| !plausible.contains(price)) {
            return Err(intake::violation(field, format!("{} is no plausible price of one impression", Micros(price))));
        }
    }
    Ok(())
}

fn content(notice: &ExchangeNotice<'_>) -> u64 {
    let price = notice.price_micros.map_or([0xff; 8], i64::to_le_bytes);
    intake::fingerprint(&[notice.campaign_id.as_bytes(), &price])
}
