//! Reservations and placeholders, against counts made by the test itself.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use runtime::service::ServiceDef;
use runtime::testkit::{Emitted, Kit};
use schemas::events::PlaceholderUser;

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

fn kit() -> Kit {
    let mut kit = Kit::of(ServiceDef::new(Bidding::default));
    kit.now_ms = NOW_MS;
    kit
}

fn bid<'a>(id: &'a str, user: Option<&'a str>, context: &'a [(&'a str, &'a str)]) -> BidEvent<'a> {
    BidEvent {
        bid_id: id,
        auction_id: "auction",
        imp_id: "1",
        timestamp: NOW_MS,
        exchange: "exchange",
        outcome: BidOutcome::Bid,
        campaign_id: Some("c1"),
        lease_id: Some("lse-1"),
        user_id: user,
        bid_price_micros: 700,
        metadata: Map::from_pairs(context),
        ..Default::default()
    }
}

fn send(kit: &mut Kit, event: &BidEvent<'_>) -> Result<Handled, Failure> {
    kit.push(&BIDS, event.user_id.unwrap_or(event.auction_id), event.timestamp, event)
}

fn code(result: Result<Handled, Failure>) -> (&'static str, &'static str) {
    let failure = result.expect_err("refused");
    (failure.kind(), failure.reason().code)
}

fn found(emitted: &[Emitted]) -> Vec<(String, String, i32, i64)> {
    let told = emitted.iter().filter(|event| event.topic == PLACEHOLDER_USERS.name);
    told.map(|event| {
        let user: PlaceholderUser<'_> = event.decode();
        (event.key.clone(), user.user_id.to_owned(), user.networks, user.requests)
    })
    .collect()
}

/// `count` requests of a user, each from a network of its own.
fn wander(kit: &mut Kit, user: &str, prefix: &str, count: usize) {
    for n in 0..count {
        let (id, network) = (format!("{prefix}-{n}"), format!("192.0.{n}.0"));
        send(kit, &bid(&id, Some(user), &[("ip", &network)])).unwrap();
    }
}

#[test]
fn a_bid_is_reserved_once() {
    let mut kit = kit();
    assert_eq!(send(&mut kit, &bid("b1", Some("u1"), &[])), Ok(Handled::Done));
    let emitted = kit.take();
    assert_eq!(emitted.len(), 1);
    assert_eq!((emitted[0].topic, emitted[0].key.as_str()), ("reservations", "c1"));
    let expected = Reservation {
        bid_id: "b1",
        campaign_id: "c1",
        lease_id: "lse-1",
        amount_micros: 700,
        timestamp: NOW_MS,
        expires_at: NOW_MS + 60_000,
        metadata: Map::from_pairs(&[("auction_id", "auction")]),
    };
    assert_eq!(emitted[0].decode::<Reservation<'_>>(), expected);
    kit.restart();
    let again = BidEvent { timestamp: NOW_MS + 1, ..bid("b1", Some("u1"), &[]) };
    assert_eq!(send(&mut kit, &again), Ok(Handled::Duplicate));
    let other = BidEvent { bid_price_micros: 701, ..again };
    assert_eq!(code(send(&mut kit, &other)), ("PERMANENT", "ID_CONFLICT"));
    assert!(kit.take().is_empty());
}

#[test]
fn a_restatement_tells_every_placeholder_as_it_was_told_last() {
    let mut kit = kit();
    for user in ["nobody", "no-one"] {
        wander(&mut kit, user, user, 25);
    }
    wander(&mut kit, "somebody", "s", 3);
    kit.tick();
    let told: BTreeMap<_, _> = found(&kit.take()).into_iter().map(|row| (row.0.clone(), row)).collect();
    assert_eq!(told.len(), 2);
    let before = kit.contents();
    kit.restate();
    let restated = found(&kit.take());
    assert_eq!(restated, told.into_values().collect::<Vec<_>>());
    assert_eq!(kit.contents(), before);
}

#[test]
fn a_no_bid_reserves_nothing() {
    let mut kit = kit();
    let event = BidEvent { outcome: BidOutcome::NoBid, bid_price_micros: 0, ..bid("b1", None, &[]) };
    assert_eq!(send(&mut kit, &event), Ok(Handled::Done));
    assert_eq!(send(&mut kit, &event), Ok(Handled::Duplicate));
    assert!(kit.take().is_empty());
}

#[test]
fn what_cannot_be_a_bid_is_refused() {
    let mut kit = kit();
    let good = bid("b1", None, &[]);
    let semantic = ("PERMANENT", "SEMANTIC_VIOLATION");
    for (event, expected) in [
        (BidEvent { bid_id: "", ..good }, semantic),
        (BidEvent { campaign_id: None, ..good }, semantic),
        (BidEvent { lease_id: None, ..good }, semantic),
        (BidEvent { bid_price_micros: 0, ..good }, semantic),
        (BidEvent { bid_price_micros: i64::MIN, ..good }, semantic),
        (BidEvent { timestamp: -1, ..good }, ("PERMANENT", "TIMESTAMP_RANGE")),
        (BidEvent { timestamp: NOW_MS + 24 * 3_600_000, ..good }, ("PERMANENT", "TIMESTAMP_RANGE")),
    ] {
        assert_eq!(code(send(&mut kit, &event)), expected, "{event:?}");
    }
    assert_eq!(code(kit.push_bytes(&BIDS, "k", 0, b"\x00\x00\x00\x00\x04rubbish")).0, "PERMANENT");
    assert!(kit.contents().is_empty());
    assert_eq!(send(&mut kit, &good), Ok(Handled::Done));
    kit.now_ms += 3_600_000;
    send(&mut kit, &BidEvent { bid_id: "b2", timestamp: NOW_MS + 3_600_000, ..good }).unwrap();
    assert_eq!(code(send(&mut kit, &good)).0, "EXPIRED");
}

#[test]
fn an_id_from_twenty_networks_is_no_person() {
    let mut kit = kit();
    wander(&mut kit, "somebody", "a", 19);
    send(&mut kit, &bid("same", Some("somebody"), &[("ip", "192.0.3.0")])).unwrap();
    send(&mut kit, &bid("none", Some("somebody"), &[])).unwrap();
    assert!(found(&kit.take()).is_empty());
    send(&mut kit, &bid("last", Some("somebody"), &[("ip", "198.51.100.0")])).unwrap();
    let told = |requests| ("somebody@0".to_owned(), "somebody".to_owned(), 20, requests);
    assert_eq!(found(&kit.take()), [told(22)]);
    assert_eq!(kit.rows("sightings"), 0);
    // From here on it is only counted, known to the decision or not, and told at the tick.
    send(&mut kit, &bid("after", Some("somebody"), &[("ip", "198.51.101.0")])).unwrap();
    send(&mut kit, &bid("known", None, &[("sentinel_user", "somebody"), ("ip", "198.51.102.0")])).unwrap();
    assert!(found(&kit.take()).is_empty());
    kit.restart();
    kit.tick();
    assert_eq!(found(&kit.take()), [told(24)]);
    kit.tick();
    assert!(kit.take().is_empty());
}

#[test]
fn networks_count_only_within_the_window() {
    let mut kit = kit();
    wander(&mut kit, "traveller", "a", 19);
    kit.now_ms += 600_001;
    let late = BidEvent { timestamp: NOW_MS + 600_001, ..bid("b", Some("traveller"), &[("ip", "198.51.100.0")]) };
    send(&mut kit, &late).unwrap();
    assert!(found(&kit.take()).is_empty());
    // Who was not seen within the window is forgotten.
    send(&mut kit, &bid("c", Some("idle"), &[])).unwrap();
    assert_eq!(kit.rows("sightings"), 1);
}

#[test]
fn another_shard_counts_its_part() {
    let mut kit = kit();
    kit.shard = 3;
    send(&mut kit, &bid("b1", None, &[("sentinel_user", "nobody")])).unwrap();
    send(&mut kit, &bid("b2", None, &[("sentinel_user", "nobody")])).unwrap();
    kit.tick();
    assert_eq!(found(&kit.take()), [("nobody@3".to_owned(), "nobody".to_owned(), 0, 2)]);
}

proptest! {
    /// Any decisions in any order: each bid is reserved once; placeholders are exactly the ids of twenty networks, with
    /// all of their requests.
    #[test]
    fn placeholders_are_who_the_oracle_says(
        decisions in prop::collection::vec((0..300u16, 0..4u8, 0..26u8, any::<bool>()), 0..250),
        restart_at in 0..250usize,
    ) {
        let mut kit = kit();
        let (mut seen, mut bids) = (BTreeMap::new(), 0);
        for (n, (id, user, network, is_bid)) in decisions.into_iter().enumerate() {
            if n == restart_at {
                let before = kit.contents();
                kit.restart();
                prop_assert_eq!(before, kit.contents());
            }
            let (name, user_id, ip) = (id.to_string(), user.to_string(), format!("192.0.{network}.0"));
            let context = [("ip", ip.as_str())];
            let outcome = if is_bid { BidOutcome::Bid } else { BidOutcome::NoBid };
            let event = BidEvent { outcome, ..bid(&name, Some(&user_id), &context) };
            let fresh = send(&mut kit, &event) == Ok(Handled::Done);
            let first = !seen.contains_key(&id);
            prop_assert_eq!(fresh, first);
            if first {
                bids += usize::from(is_bid);
                seen.insert(id, (user, network));
            }
        }
        kit.tick();
        let emitted = kit.take();
        prop_assert_eq!(emitted.iter().filter(|event| event.topic == RESERVATIONS.name).count(), bids);
        let mut networks: BTreeMap<u8, (BTreeSet<u8>, i64)> = BTreeMap::new();
        for (user, network) in seen.into_values() {
            let (of_user, requests) = networks.entry(user).or_default();
            of_user.insert(network);
            *requests += 1;
        }
        networks.retain(|_, (of_user, _)| of_user.len() >= 20);
        let told: BTreeMap<String, i64> = found(&emitted).into_iter().map(|(_, user, _, requests)| (user, requests)).collect();
        let expected: BTreeMap<String, i64> =
            networks.into_iter().map(|(user, (_, requests))| (user.to_string(), requests)).collect();
        prop_assert_eq!(told, expected);
    }
}
