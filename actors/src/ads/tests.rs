use std::collections::BTreeMap;

use proptest::prelude::*;
use runtime::service::ServiceDef;
use runtime::testkit::Kit;

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

fn kit() -> Kit {
    Kit::of(ServiceDef::new(Ads::default))
}

fn pixel(bid_id: &str) -> ImpressionPixel<'_> {
    ImpressionPixel {
        bid_id,
        auction_id: "auction-1",
        imp_id: "1",
        timestamp: NOW_MS - 1_000,
        campaign_id: "campaign-1",
        creative_id: "creative-1",
        placement_id: "x:pub:tag",
        user_id: Some("user-1"),
        bid_price_micros: 2_500,
        win_price_micros: 1_900,
        lease_id: Some("lease-1"),
        metadata: Map::default(),
    }
}

fn push(kit: &mut Kit, pixel: &ImpressionPixel<'_>) -> Result<Handled, Failure> {
    kit.push(&IMPRESSION_PIXELS, pixel.user_id.unwrap_or("none"), pixel.timestamp, pixel)
}

#[test]
fn a_pixel_becomes_an_impression_and_posts_its_price() {
    let mut kit = kit();
    let context = [("ua", "Mozilla/5.0"), ("bid_id", "forged"), ("own-key", "kept")];
    let pixel = ImpressionPixel { metadata: Map::from_pairs(&context), ..pixel("bid-1") };
    assert_eq!(push(&mut kit, &pixel), Ok(Handled::Done));
    let impressions = kit.take_from(&IMPRESSIONS);
    let impression: ImpressionEvent<'_> = impressions[0].decode();
    assert_eq!(impressions[0].key, "user-1");
    assert_eq!(impression.event_id, ids::impression_event_id("bid-1"));
    assert_eq!((impression.bid_price_micros, impression.win_price_micros), (2_500, 1_900));
    assert_eq!(impression.timestamp, pixel.timestamp);
    for (key, value) in [("bid_id", "bid-1"), ("auction_id", "auction-1"), ("imp_id", "1"), ("own-key", "kept")] {
        assert_eq!(impression.metadata.get(key), Some(value), "{key}");
    }
    assert_eq!(impression.metadata.len(), 5);
    let results = kit.take_from(&AUCTION_RESULTS);
    let result: AuctionResultEvent<'_> = results[0].decode();
    assert_eq!(results[0].key, "campaign-1");
    assert_eq!(result.kind, AuctionResultKind::Billed);
    assert_eq!((result.clearing_price_micros, result.lease_id, result.source), (Some(1_900), Some("lease-1"), "pixel"));
}

#[test]
fn without_a_user_the_impression_is_the_key() {
    let mut kit = kit();
    for user_id in [None, Some("")] {
        let bid = if user_id.is_none() { "bid-1" } else { "bid-2" };
        push(&mut kit, &ImpressionPixel { user_id, ..pixel(bid) }).unwrap();
        let impressions = kit.take_from(&IMPRESSIONS);
        assert_eq!(impressions[0].key, ids::impression_event_id(bid));
        assert_eq!(impressions[0].decode::<ImpressionEvent<'_>>().user_id, None);
    }
}

#[test]
fn repetitions_are_absorbed_and_contradictions_refused() {
    let mut kit = kit();
    push(&mut kit, &pixel("bid-1")).unwrap();
    kit.take();
    let again = ImpressionPixel { timestamp: NOW_MS, ..pixel("bid-1") };
    assert_eq!(push(&mut kit, &again), Ok(Handled::Duplicate));
    let other_price = ImpressionPixel { win_price_micros: 1_901, ..pixel("bid-1") };
    assert_eq!(push(&mut kit, &other_price).unwrap_err().reason().code, "ID_CONFLICT");
    let other_campaign = ImpressionPixel { campaign_id: "campaign-2", ..pixel("bid-1") };
    assert_eq!(push(&mut kit, &other_campaign).unwrap_err().reason().code, "ID_CONFLICT");
    assert!(kit.take().is_empty());
}

#[test]
fn beyond_the_horizon_is_set_aside() {
    let mut kit = kit();
    push(&mut kit, &pixel("bid-1")).unwrap();
    let old = ImpressionPixel { timestamp: NOW_MS - 2 * intake::HOUR_MS, ..pixel("bid-2") };
    assert_eq!(push(&mut kit, &old).unwrap_err().kind(), "EXPIRED");
    // Ids leave as the clock goes on.
    kit.now_ms += 3 * intake::HOUR_MS;
    let late = ImpressionPixel { timestamp: kit.now_ms, ..pixel("bid-3") };
    push(&mut kit, &late).unwrap();
    kit.tick();
    assert_eq!(kit.rows("pixels"), 1);
}

#[test]
fn impossible_prices_are_refused() {
    let cases = [
        ImpressionPixel { win_price_micros: 2_501, ..pixel("b") },
        ImpressionPixel { win_price_micros: -1, ..pixel("b") },
        ImpressionPixel { bid_price_micros: -1, win_price_micros: -1, ..pixel("b") },
        ImpressionPixel { bid_price_micros: i64::MAX, win_price_micros: i64::MAX, ..pixel("b") },
        ImpressionPixel { bid_id: "", ..pixel("b") },
        ImpressionPixel { campaign_id: "", ..pixel("b") },
    ];
    let mut kit = kit();
    for case in cases {
        let failure = push(&mut kit, &case).unwrap_err();
        assert_eq!((failure.kind(), failure.reason().code), ("PERMANENT", "SEMANTIC_VIOLATION"), "{case:?}");
        assert!(failure.reason().field.is_some());
    }
    assert!(kit.take().is_empty() && kit.contents().is_empty());
}

#[test]
fn tests_and_scans_are_marked_and_not_billed() {
    let mut kit = kit();
    for (bid, context) in [("bid-1", ("test", "1")), ("bid-2", ("price_raw", "AUDIT"))] {
        push(&mut kit, &ImpressionPixel { metadata: Map::from_pairs(&[context]), ..pixel(bid) }).unwrap();
        assert!(kit.take_from(&AUCTION_RESULTS).is_empty());
        let impressions = kit.take();
        assert_eq!(impressions[0].decode::<ImpressionEvent<'_>>().metadata.get("test"), Some("1"));
    }
}

#[test]
fn an_empty_price_is_counted_and_not_billed_but_zero_is_a_price() {
    let mut kit = kit();
    let empty = [("price_raw", " ")];
    let free = ImpressionPixel { win_price_micros: 0, ..pixel("bid-1") };
    push(&mut kit, &ImpressionPixel { metadata: Map::from_pairs(&empty), ..free }).unwrap();
    assert!(kit.take_from(&AUCTION_RESULTS).is_empty());
    assert_eq!(kit.take()[0].decode::<ImpressionEvent<'_>>().metadata.get("price_missing"), Some("1"));
    push(&mut kit, &ImpressionPixel { bid_id: "bid-2", ..free }).unwrap();
    assert_eq!(kit.take_from(&AUCTION_RESULTS).len(), 1);
    // A macro left empty, but the price known by another way.
    push(&mut kit, &ImpressionPixel { metadata: Map::from_pairs(&empty), ..pixel("bid-3") }).unwrap();
    assert_eq!(kit.take_from(&AUCTION_RESULTS).len(), 1);
}

#[test]
fn clocks_ahead_are_clamped_and_said() {
    let mut kit = kit();
    let ahead = ImpressionPixel { timestamp: NOW_MS + intake::HOUR_MS, ..pixel("bid-1") };
    push(&mut kit, &ahead).unwrap();
    let impressions = kit.take_from(&IMPRESSIONS);
    let impression: ImpressionEvent<'_> = impressions[0].decode();
    assert_eq!(impression.timestamp, NOW_MS);
    assert_eq!(impression.metadata.get("clock_skew_ms"), Some("3600000"));
    // A clock far ahead must not push everybody else out of the horizon.
    push(&mut kit, &ImpressionPixel { timestamp: NOW_MS - intake::HOUR_MS / 2, ..pixel("bid-2") }).unwrap();
    let wrong = ImpressionPixel { timestamp: NOW_MS * 1_000, ..pixel("bid-3") };
    assert_eq!(push(&mut kit, &wrong).unwrap_err().reason().code, "TIMESTAMP_RANGE");
}

#[test]
fn too_much_metadata_is_refused_before_readers_choke_on_it() {
    let mut kit = kit();
    let keys: Vec<String> = (0..64).map(|n| format!("key-{n}")).collect();
    let full: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
    let many = ImpressionPixel { metadata: Map::from_pairs(&full), ..pixel("bid-1") };
    assert_eq!(push(&mut kit, &many).unwrap_err().reason().code, "SIZE_VIOLATION");
    let text = "x".repeat(4_000);
    let long: Vec<(&str, &str)> = keys[..5].iter().map(|key| (key.as_str(), text.as_str())).collect();
    let large = ImpressionPixel { metadata: Map::from_pairs(&long), ..pixel("bid-2") };
    assert_eq!(push(&mut kit, &large).unwrap_err().reason().code, "SIZE_VIOLATION");
    assert!(kit.contents().is_empty(), "a refused pixel leaves nothing");
}

proptest! {
    #[test]
    fn garbage_is_a_schema_violation(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let failure = kit().push_bytes(&IMPRESSION_PIXELS, "k", NOW_MS, &bytes).unwrap_err();
        prop_assert!(["SCHEMA_VIOLATION"].contains(&failure.reason().code));
    }

    /// Whatever is repeated in whatever order: one impression a bid, money as in a count made apart, and a restart in
    /// the middle changes nothing.
    #[test]
    fn money_is_counted_once(
        arrivals in proptest::collection::vec((0u32..20, 0i64..60_000), 1..80),
        restart_at in 0usize..80,
    ) {
        let mut kit = kit();
        let mut expected: BTreeMap<u32, i64> = BTreeMap::new();
        for (n, (bid, age_ms)) in arrivals.iter().enumerate() {
            if n == restart_at {
                let before = kit.contents();
                kit.restart();
                prop_assert_eq!(before, kit.contents());
            }
            let name = format!("bid-{bid}");
            let win = i64::from(*bid) * 10;
            let pixel = ImpressionPixel { timestamp: NOW_MS - age_ms, win_price_micros: win, ..pixel(&name) };
            let fate = push(&mut kit, &pixel).unwrap();
            prop_assert_eq!(fate == Handled::Done, expected.insert(*bid, win).is_none());
        }
        let posted: i64 = kit
            .take_from(&AUCTION_RESULTS)
            .iter()
            .map(|e| e.decode::<AuctionResultEvent<'_>>().clearing_price_micros.unwrap())
            .sum();
        prop_assert_eq!(posted, expected.values().sum::<i64>());
        prop_assert_eq!(kit.take_from(&IMPRESSIONS).len(), expected.len());
        prop_assert_eq!(kit.rows("pixels"), expected.len());
    }
}
