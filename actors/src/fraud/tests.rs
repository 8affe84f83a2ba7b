use std::collections::BTreeMap;

use proptest::prelude::*;
use runtime::service::ServiceDef;
use runtime::testkit::{Emitted, Kit};

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;
const PERSON: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36";

fn kit() -> Kit {
    Kit::of(ServiceDef::new(|| Fraud::new(FraudConfig::default())))
}

fn impression<'a>(event_id: &'a str, context: &'a [(&'a str, &'a str)]) -> ImpressionEvent<'a> {
    ImpressionEvent {
        event_id,
        timestamp: NOW_MS,
        campaign_id: "campaign-1",
        creative_id: "creative-1",
        placement_id: "p",
        user_id: Some("user-1"),
        bid_price_micros: 2_500,
        win_price_micros: 1_900,
        metadata: Map::from_pairs(context),
    }
}

fn click<'a>(event_id: &'a str, timestamp: i64, context: &'a [(&'a str, &'a str)]) -> ClickEvent<'a> {
    ClickEvent {
        event_id,
        timestamp,
        impression_event_id: "imp",
        campaign_id: "campaign-1",
        creative_id: "creative-1",
        placement_id: "p",
        user_id: Some("user-1"),
        destination_domain: None,
        metadata: Map::from_pairs(context),
    }
}

fn judge(context: &[(&str, &str)]) -> Option<(Verdict, Vec<String>)> {
    let mut kit = kit();
    kit.push(&IMPRESSIONS, "user-1", NOW_MS, &impression("imp-1", context)).unwrap();
    kit.take().first().map(|emitted| {
        let verdict: FraudVerdict<'_> = emitted.decode();
        (verdict.verdict, verdict.rules.iter().map(String::from).collect())
    })
}

#[test]
fn each_rule_fires_alone() {
    let ua = ("ua", PERSON);
    type Case<'a> = (&'a [(&'a str, &'a str)], Verdict, &'a str);
    let cases: [Case<'_>; 9] = [
        (
            &[("ua", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")],
            Verdict::Givt,
            "known_bot",
        ),
        (&[("ua", "")], Verdict::Givt, "empty_agent"),
        (&[("ip", "192.0.2.0")], Verdict::Givt, "empty_agent"),
        (&[ua, ("ad_size", "1x1")], Verdict::Givt, "invisible_slot"),
        (&[ua, ("ad_size", "0x0")], Verdict::Givt, "invisible_slot"),
        (&[ua, ("ip", "198.18.7.0")], Verdict::Givt, "data_centre_network"),
        (&[ua, ("ip", "198.18.7.0/24")], Verdict::Givt, "data_centre_network"),
        (&[ua, ("ip", "198.51.100.0")], Verdict::Givt, "fraudulent_network"),
        (&[("ua", "UnlistedBot/1.0")], Verdict::SivtSuspect, "suspect_bot"),
    ];
    for (context, verdict, rule) in cases {
        assert_eq!(judge(context), Some((verdict, vec![rule.to_owned()])), "{context:?}");
    }
}

#[test]
fn ordinary_traffic_gets_no_verdict() {
    assert_eq!(judge(&[("ua", PERSON), ("ip", "192.0.2.0"), ("ad_size", "300x250")]), None);
    assert_eq!(judge(&[("ua", PERSON), ("ip", "no address")]), None);
    assert_eq!(judge(&[]), None, "nothing was forwarded");
    assert_eq!(judge(&[("ip", "192.0.2.0"), ("source", "server")]), None);
    assert_eq!(judge(&[("ua", "curl/8"), ("test", "1")]), None, "a test");
    assert_eq!(judge(&[("ua", "curl/8"), ("price_raw", "AUDIT")]), None, "the exchange's own scan");
}

#[test]
fn a_verdict_carries_what_its_readers_join_by() {
    let mut kit = kit();
    let context = [("ua", "curl/8"), ("ad_size", "1x1"), ("bid_id", "bid-1"), ("auction_id", "auction-1")];
    kit.push(&IMPRESSIONS, "key-1", NOW_MS + 5, &impression("imp-1", &context)).unwrap();
    let emitted = kit.take();
    assert_eq!((emitted[0].key.as_str(), emitted[0].timestamp_ms), ("key-1", NOW_MS));
    let verdict: FraudVerdict<'_> = emitted[0].decode();
    assert_eq!((verdict.target_event_id, verdict.target_topic, verdict.timestamp), ("imp-1", "impressions", NOW_MS));
    assert_eq!(verdict.rules.iter().collect::<Vec<_>>(), ["invisible_slot", "known_bot"]);
    assert_eq!((verdict.campaign_id, verdict.score), ("campaign-1", 1.0));
    assert_eq!(verdict.ruleset_version, "rules-1/builtin-1");
    for (key, value) in [("win_price_micros", "1900"), ("bid_id", "bid-1"), ("auction_id", "auction-1")] {
        assert_eq!(verdict.metadata.get(key), Some(value));
    }
}

/// Ids of the clicks judged a double.
fn doubles(emitted: &[Emitted]) -> Vec<String> {
    let mut ids: Vec<_> = emitted.iter().map(|e| e.decode::<FraudVerdict<'_>>().target_event_id.to_owned()).collect();
    ids.sort();
    ids
}

fn push_click(kit: &mut Kit, key: &str, click: &ClickEvent<'_>) {
    kit.push(&CLICKS, key, click.timestamp, click).unwrap();
}

#[test]
fn the_second_click_within_two_seconds_is_a_double_in_either_order() {
    for reversed in [false, true] {
        let mut clicks = [("first", NOW_MS), ("second", NOW_MS + 2_000), ("third", NOW_MS + 4_001)];
        if reversed {
            clicks.reverse();
        }
        let mut kit = kit();
        for (name, at_ms) in clicks {
            push_click(&mut kit, "user-1", &click(name, at_ms, &[]));
        }
        let emitted = kit.take();
        assert_eq!(doubles(&emitted), ["second"]);
        let verdict: FraudVerdict<'_> = emitted[0].decode();
        assert_eq!(
            (verdict.target_topic, verdict.timestamp, emitted[0].key.as_str()),
            ("clicks", NOW_MS + 2_000, "user-1")
        );
    }
}

#[test]
fn strangers_are_no_doubles_of_each_other() {
    let mut kit = kit();
    push_click(&mut kit, "user-1", &click("c1", NOW_MS, &[("ua", PERSON), ("ip", "192.0.2.0")]));
    push_click(&mut kit, "user-2", &click("c2", NOW_MS, &[("ua", PERSON), ("ip", "192.0.2.0")]));
    push_click(&mut kit, "user-1", &click("c3", NOW_MS, &[("ua", PERSON), ("ip", "192.0.3.0")]));
    push_click(
        &mut kit,
        "user-1",
        &ClickEvent { creative_id: "other", ..click("c4", NOW_MS, &[("ua", PERSON), ("ip", "192.0.2.0")]) },
    );
    let placeholder = [("ua", PERSON), ("ip", "192.0.2.0"), ("sentinel_user", "x")];
    push_click(&mut kit, "user-1", &click("c5", NOW_MS, &placeholder));
    push_click(&mut kit, "user-1", &ClickEvent { impression_event_id: "imp-2", ..click("c6", NOW_MS, &placeholder) });
    assert!(kit.take().is_empty());
}

#[test]
fn a_click_judged_once_is_not_judged_again() {
    let mut kit = kit();
    let bot = [("ua", "curl/8")];
    push_click(&mut kit, "user-1", &click("late", NOW_MS + 1_000, &bot));
    push_click(&mut kit, "user-1", &click("early", NOW_MS, &bot));
    assert_eq!(doubles(&kit.take()), ["early", "late"]);
}

#[test]
fn clicks_are_forgotten_after_their_memory() {
    let mut kit = kit();
    push_click(&mut kit, "user-1", &click("c1", NOW_MS, &[]));
    push_click(&mut kit, "user-2", &click("c2", NOW_MS + 11 * intake::MINUTE_MS, &[]));
    kit.tick();
    assert_eq!(kit.rows("clicks"), 1);
}

proptest! {
    #[test]
    fn garbage_is_a_schema_violation(bytes in proptest::collection::vec(any::<u8>(), 0..200), clicks in any::<bool>()) {
        let topic = if clicks { &CLICKS } else { &IMPRESSIONS };
        let failure = kit().push_bytes(topic, "k", NOW_MS, &bytes).unwrap_err();
        prop_assert_eq!(failure.reason().code, "SCHEMA_VIOLATION");
    }

    /// In whatever order clicks come: the doubles are those that a look at all of them at once finds; a restart in the
    /// middle changes nothing.
    #[test]
    fn doubles_do_not_depend_on_the_order(
        (clicks, order) in proptest::collection::btree_map(0u32..1_000, (0u8..2, 0i64..20_000), 1..16).prop_flat_map(|clicks| {
            let names: Vec<u32> = clicks.keys().copied().collect();
            (Just(clicks), Just(names).prop_shuffle())
        }),
        restart_at in 0usize..16,
    ) {
        let mut kit = kit();
        let mut by_user: BTreeMap<u8, Vec<(i64, String)>> = BTreeMap::new();
        for (n, name) in order.iter().enumerate() {
            let (user, at_ms) = clicks[name];
            let id = format!("click-{name:04}");
            push_click(&mut kit, &format!("user-{user}"), &click(&id, NOW_MS + at_ms, &[]));
            by_user.entry(user).or_default().push((at_ms, id));
            if n == restart_at {
                let before = kit.contents();
                kit.restart();
                prop_assert_eq!(before, kit.contents());
            }
        }
        let mut expected = Vec::new();
        for clicks in by_user.values_mut() {
            clicks.sort();
            expected.extend(clicks.windows(2).filter(|w| w[1].0 - w[0].0 <= 2_000).map(|w| w[1].1.clone()));
        }
        expected.sort();
        prop_assert_eq!(doubles(&kit.take()), expected);
    }
}
