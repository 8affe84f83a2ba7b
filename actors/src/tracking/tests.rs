use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use runtime::service::ServiceDef;
use runtime::testkit::Kit;
use schemas::codec::Map;
use schemas::events::{
    AuctionResultEvent, AuctionResultKind, ClickEvent, ClickPixel, ConversionEvent, ConversionPost, ExchangeNotice,
};

use super::*;
use crate::ids;

const NOW_MS: i64 = 1_700_000_000_000;

fn kit() -> Kit {
    Kit::of(ServiceDef::new(Tracking::default))
}

fn pixel(bid_id: &str, timestamp: i64) -> ClickPixel<'_> {
    ClickPixel {
        bid_id,
        timestamp,
        campaign_id: "campaign-1",
        creative_id: "creative-1",
        placement_id: "p",
        user_id: Some("user-1"),
        destination_domain: Some("example.org"),
        metadata: Map::default(),
    }
}

fn post(order_id: &str) -> ConversionPost<'_> {
    ConversionPost {
        order_id,
        timestamp: NOW_MS - 1_000,
        advertiser_id: "advertiser-1",
        conversion_type: "purchase",
        user_id: Some("user-1"),
        click_event_id: Some("click-1"),
        value_micros: 49_000_000,
        currency: "USD",
        metadata: Map::default(),
    }
}

fn notice(bid_id: &str, win: bool) -> ExchangeNotice<'_> {
    ExchangeNotice {
        bid_id,
        auction_id: "auction-1",
        imp_id: "1",
        campaign_id: "campaign-1",
        timestamp: NOW_MS - 1_000,
        win,
        price_micros: win.then_some(1_900),
        loss_reason: (!win).then_some(102),
        min_to_win_micros: (!win).then_some(2_000),
        lease_id: Some("lease-1"),
        metadata: Map::default(),
    }
}

fn click(kit: &mut Kit, pixel: &ClickPixel<'_>) -> Result<Handled, Failure> {
    kit.push(&CLICK_PIXELS, "key", pixel.timestamp, pixel)
}

fn convert(kit: &mut Kit, post: &ConversionPost<'_>) -> Result<Handled, Failure> {
    kit.push(&CONVERSION_POSTS, "source-key", post.timestamp, post)
}

fn notify(kit: &mut Kit, notice: &ExchangeNotice<'_>) -> Result<Handled, Failure> {
    kit.push(&EXCHANGE_NOTICES, "key", notice.timestamp, notice)
}

#[test]
fn a_click_names_its_impression_and_lies_beside_it() {
    let mut kit = kit();
    click(&mut kit, &pixel("bid-1", NOW_MS)).unwrap();
    click(&mut kit, &ClickPixel { user_id: None, ..pixel("bid-2", NOW_MS) }).unwrap();
    let clicks = kit.take();
    let first: ClickEvent<'_> = clicks[0].decode();
    assert_eq!((clicks[0].topic, clicks[0].key.as_str()), ("clicks", "user-1"));
    assert_eq!(first.event_id, ids::click_event_id("bid-1", NOW_MS));
    assert_eq!(first.impression_event_id, ids::impression_event_id("bid-1"));
    assert_eq!((first.destination_domain, first.metadata.get("bid_id")), (Some("example.org"), Some("bid-1")));
    assert_eq!(clicks[1].key, ids::impression_event_id("bid-2"));
}

#[test]
fn a_repeated_click_is_absorbed_and_a_second_one_is_not() {
    let mut kit = kit();
    assert_eq!(click(&mut kit, &pixel("bid-1", NOW_MS)), Ok(Handled::Done));
    assert_eq!(click(&mut kit, &pixel("bid-1", NOW_MS)), Ok(Handled::Duplicate));
    assert_eq!(click(&mut kit, &pixel("bid-1", NOW_MS + 300)), Ok(Handled::Done));
    let forged = ClickPixel { campaign_id: "campaign-2", ..pixel("bid-1", NOW_MS) };
    assert_eq!(click(&mut kit, &forged).unwrap_err().reason().code, "ID_CONFLICT");
    assert_eq!(kit.take().len(), 2);
}

#[test]
fn a_clock_ahead_does_not_make_two_clicks_of_one() {
    let mut kit = kit();
    let ahead = pixel("bid-1", NOW_MS + HOUR_MS);
    click(&mut kit, &ahead).unwrap();
    kit.now_ms += 60_000;
    assert_eq!(click(&mut kit, &ahead), Ok(Handled::Duplicate));
    let clicks = kit.take();
    let event: ClickEvent<'_> = clicks[0].decode();
    assert_eq!((event.timestamp, event.metadata.get("clock_skew_ms")), (NOW_MS, Some("3600000")));
}

#[test]
fn an_order_converts_once_for_each_advertiser() {
    let mut kit = kit();
    assert_eq!(convert(&mut kit, &post("order-1")), Ok(Handled::Done));
    let again = ConversionPost { timestamp: NOW_MS, ..post("order-1") };
    assert_eq!(convert(&mut kit, &again), Ok(Handled::Duplicate));
    let worth_more = ConversionPost { value_micros: 50_000_000, ..post("order-1") };
    assert_eq!(convert(&mut kit, &worth_more).unwrap_err().reason().code, "ID_CONFLICT");
    assert_eq!(convert(&mut kit, &ConversionPost { advertiser_id: "other", ..post("order-1") }), Ok(Handled::Done));
    let conversions = kit.take();
    let first: ConversionEvent<'_> = conversions[0].decode();
    assert_eq!((conversions[0].topic, conversions[0].key.as_str()), ("conversions", "user-1"));
    assert_eq!(first.event_id, ids::conversion_event_id("advertiser-1", "order-1"));
    assert_eq!((first.order_id, first.value_micros, first.currency), (Some("order-1"), 49_000_000, "USD"));
    assert_eq!((conversions.len(), first.click_event_id), (2, Some("click-1")));
}

#[test]
fn a_conversion_without_a_user_goes_where_its_click_is() {
    let mut kit = kit();
    let bid = [("bid_id", "bid-1")];
    let named = ConversionPost { user_id: None, metadata: Map::from_pairs(&bid), ..post("o1") };
    convert(&mut kit, &named).unwrap();
    convert(&mut kit, &ConversionPost { user_id: Some(""), ..post("o2") }).unwrap();
    let unkeyed = ConversionPost { user_id: None, ..post("o3") };
    kit.push(&CONVERSION_POSTS, "", NOW_MS, &unkeyed).unwrap();
    kit.push(&CONVERSION_POSTS, "", NOW_MS, &ConversionPost { order_id: "o4", click_event_id: None, ..unkeyed })
        .unwrap();
    let keys: Vec<String> = kit.take().into_iter().map(|e| e.key).collect();
    let own = ids::conversion_event_id("advertiser-1", "o4");
    assert_eq!(keys, [ids::impression_event_id("bid-1"), "source-key".into(), "click-1".into(), own]);
}

#[test]
fn impossible_posts_and_notices_are_refused() {
    let mut kit = kit();
    let posts = [
        ConversionPost { order_id: "", ..post("o") },
        ConversionPost { advertiser_id: "", ..post("o") },
        ConversionPost { value_micros: -1, ..post("o") },
        ConversionPost { value_micros: i64::MAX, ..post("o") },
        ConversionPost { currency: "usd", ..post("o") },
        ConversionPost { currency: "", ..post("o") },
    ];
    for post in posts {
        assert_eq!(convert(&mut kit, &post).unwrap_err().reason().code, "SEMANTIC_VIOLATION", "{post:?}");
    }
    let notices = [
        ExchangeNotice { bid_id: "", ..notice("b", true) },
        ExchangeNotice { campaign_id: "", ..notice("b", true) },
        ExchangeNotice { price_micros: Some(-1), ..notice("b", true) },
        ExchangeNotice { price_micros: Some(1_249_995_000), ..notice("b", true) },
        ExchangeNotice { min_to_win_micros: Some(-1), ..notice("b", false) },
    ];
    for notice in notices {
        assert_eq!(notify(&mut kit, &notice).unwrap_err().reason().code, "SEMANTIC_VIOLATION", "{notice:?}");
    }
    assert_eq!(click(&mut kit, &pixel("", NOW_MS)).unwrap_err().reason().code, "SEMANTIC_VIOLATION");
    for at_ms in [0, NOW_MS + DAY_MS] {
        assert_eq!(click(&mut kit, &pixel("b", at_ms)).unwrap_err().reason().code, "TIMESTAMP_RANGE");
        assert_eq!(
            convert(&mut kit, &ConversionPost { timestamp: at_ms, ..post("o") }).unwrap_err().kind(),
            "PERMANENT"
        );
        assert_eq!(
            notify(&mut kit, &ExchangeNotice { timestamp: at_ms, ..notice("b", true) }).unwrap_err().kind(),
            "PERMANENT"
        );
    }
    assert!(kit.take().is_empty() && kit.contents().is_empty());
}

#[test]
fn notices_become_results_of_the_campaign() {
    let mut kit = kit();
    notify(&mut kit, &notice("bid-1", true)).unwrap();
    notify(&mut kit, &notice("bid-2", false)).unwrap();
    assert_eq!(notify(&mut kit, &notice("bid-1", true)), Ok(Handled::Duplicate));
    assert_eq!(notify(&mut kit, &notice("bid-2", false)), Ok(Handled::Duplicate));
    let other_price = ExchangeNotice { price_micros: Some(1), ..notice("bid-1", true) };
    assert_eq!(notify(&mut kit, &other_price).unwrap_err().reason().code, "ID_CONFLICT");
    let results = kit.take();
    assert_eq!(results.len(), 2);
    let win: AuctionResultEvent<'_> = results[0].decode();
    assert_eq!((results[0].topic, results[0].key.as_str()), ("auction-results", "campaign-1"));
    assert_eq!(
        (win.kind, win.clearing_price_micros, win.lease_id, win.source),
        (AuctionResultKind::Win, Some(1_900), Some("lease-1"), "exchange")
    );
    let loss: AuctionResultEvent<'_> = results[1].decode();
    assert_eq!(
        (loss.kind, loss.loss_reason, loss.min_to_win_micros),
        (AuctionResultKind::Loss, Some(102), Some(2_000))
    );
}

#[test]
fn a_win_stands_against_a_later_loss_and_is_taken_after_one() {
    let mut kit = kit();
    notify(&mut kit, &notice("bid-1", true)).unwrap();
    assert_eq!(notify(&mut kit, &notice("bid-1", false)).unwrap_err().reason().code, "SEMANTIC_VIOLATION");
    notify(&mut kit, &notice("bid-2", false)).unwrap();
    kit.take();
    notify(&mut kit, &notice("bid-2", true)).unwrap();
    let results = kit.take();
    let win: AuctionResultEvent<'_> = results[0].decode();
    assert_eq!((win.kind, win.metadata.get("after_loss")), (AuctionResultKind::Win, Some("1")));
}

#[test]
fn each_topic_has_a_clock_and_a_horizon_of_its_own() {
    let mut kit = kit();
    convert(&mut kit, &post("o1")).unwrap();
    click(&mut kit, &pixel("bid-1", NOW_MS - 3 * HOUR_MS)).unwrap();
    click(&mut kit, &pixel("bid-2", NOW_MS)).unwrap();
    assert_eq!(click(&mut kit, &pixel("bid-3", NOW_MS - 3 * HOUR_MS)).unwrap_err().kind(), "EXPIRED");
    convert(&mut kit, &ConversionPost { timestamp: NOW_MS - 3 * DAY_MS, ..post("o2") }).unwrap();
    kit.tick();
    assert_eq!((kit.rows("clicks"), kit.rows("orders")), (1, 2));
}

proptest! {
    #[test]
    fn garbage_is_a_schema_violation(bytes in proptest::collection::vec(any::<u8>(), 0..200), input in 0usize..3) {
        let failure = kit().push_bytes([&CLICK_PIXELS, &CONVERSION_POSTS, &EXCHANGE_NOTICES][input], "k", NOW_MS, &bytes);
        prop_assert_eq!(failure.unwrap_err().reason().code, "SCHEMA_VIOLATION");
    }

    /// Conservation: what was received is accepted, repeated or refused; what went out is each id once, restarts or not.
    #[test]
    fn received_is_accepted_repeated_or_refused(
        arrivals in proptest::collection::vec((0usize..3, 0u8..5, 0i64..3, any::<bool>()), 0..100),
        restart_at in 0usize..100,
    ) {
        let mut kit = kit();
        let mut fates: BTreeMap<&str, usize> = BTreeMap::new();
        let mut distinct = BTreeSet::new();
        for (n, (input, name, at, flag)) in arrivals.iter().enumerate() {
            if n == restart_at {
                let before = kit.contents();
                kit.restart();
                prop_assert_eq!(before, kit.contents());
            }
            let (id, at_ms) = (format!("id-{name}"), NOW_MS + at * 1_000);
            let fate = match input {
                0 => {
                    distinct.insert((0, *name, *at));
                    click(&mut kit, &pixel(&id, at_ms))
                }
                1 => {
                    distinct.insert((1, *name, 0));
                    convert(&mut kit, &ConversionPost { timestamp: at_ms, ..post(&id) })
                }
                _ => notify(&mut kit, &ExchangeNotice { timestamp: at_ms, ..notice(&id, *flag) }),
            };
            let fate = match fate {
                Ok(Handled::Done) => "accepted",
                Ok(Handled::Duplicate) => "repeated",
                Err(failure) => {
                    prop_assert_eq!(failure.reason().code, "SEMANTIC_VIOLATION");
                    prop_assert!(*input == 2 && !*flag, "only a loss after its win is refused here");
                    "refused"
                }
            };
            *fates.entry(fate).or_default() += 1;
        }
        prop_assert_eq!(fates.values().sum::<usize>(), arrivals.len());
        let emitted = kit.take();
        prop_assert_eq!(emitted.len(), fates.get("accepted").copied().unwrap_or(0));
        let reported = emitted.iter().filter(|e| e.topic != "auction-results").count();
        prop_assert_eq!(reported, distinct.len());
        let results: BTreeSet<_> = emitted
            .iter()
            .filter(|e| e.topic == "auction-results")
            .map(|e| {
                let result: AuctionResultEvent<'_> = e.decode();
                (result.bid_id.to_owned(), result.kind.as_str())
            })
            .collect();
        prop_assert_eq!(results.len(), emitted.len() - reported, "each bid is won or lost at most once");
    }
}
