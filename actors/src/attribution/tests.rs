use std::collections::BTreeMap;

use proptest::prelude::*;
use runtime::service::ServiceDef;
use runtime::testkit::Kit;
use runtime::topology::Topic;

use super::*;
use crate::intake::MINUTE_MS;

const NOW_MS: i64 = 1_700_000_000_000;

fn kit() -> Kit {
    Kit::of(ServiceDef::new(Attribution::default))
}

fn click(event_id: &str, timestamp: i64) -> ClickEvent<'_> {
    ClickEvent {
        event_id,
        timestamp,
        impression_event_id: "imp",
        campaign_id: event_id,
        creative_id: "c",
        placement_id: "p",
        user_id: None,
        destination_domain: None,
        metadata: Map::default(),
    }
}

fn conversion<'a>(event_id: &'a str, timestamp: i64, click_event_id: Option<&'a str>) -> ConversionEvent<'a> {
    ConversionEvent {
        event_id,
        timestamp,
        advertiser_id: "advertiser-1",
        conversion_type: "purchase",
        order_id: None,
        user_id: None,
        click_event_id,
        value_micros: 49_000_000,
        currency: "USD",
        metadata: Map::default(),
    }
}

fn verdict(target_event_id: &str, timestamp: i64) -> FraudVerdict<'_> {
    FraudVerdict {
        target_event_id,
        target_topic: "clicks",
        timestamp,
        verdict: Verdict::Givt,
        rules: Array::default(),
        score: 1.0,
        ruleset_version: "r",
        campaign_id: target_event_id,
        metadata: Map::default(),
    }
}

fn push_click(kit: &mut Kit, user: &str, id: &str, at_ms: i64) {
    kit.push(&CLICKS, user, at_ms, &click(id, at_ms)).unwrap();
}

fn push_conversion(kit: &mut Kit, user: &str, id: &str, at_ms: i64, click: Option<&str>) {
    kit.push(&CONVERSIONS, user, at_ms, &conversion(id, at_ms, click)).unwrap();
}

fn push_verdict(kit: &mut Kit, user: &str, id: &str, at_ms: i64) {
    kit.push(&FRAUD_VERDICTS, user, at_ms, &verdict(id, at_ms)).unwrap();
}

/// Results since the last look: conversion, version, campaign credited.
fn results(kit: &mut Kit) -> Vec<(String, i32, Option<String>)> {
    let emitted = kit.take();
    let read = |result: AttributionResult<'_>| {
        let credits: i32 = result.touches.iter().map(|touch| touch.credit_ppm).sum();
        assert_eq!(credits + result.unattributed_ppm, 1_000_000);
        assert!(result.touches.len() <= 1 && result.model == "last_touch");
        let campaign = result.touches.iter().next().map(|touch| touch.campaign_id.to_owned());
        (result.conversion_id.to_owned(), result.version, campaign)
    };
    emitted.iter().map(|e| read(e.decode())).collect()
}

fn result(id: &str, version: i32, campaign: Option<&str>) -> (String, i32, Option<String>) {
    (id.to_owned(), version, campaign.map(str::to_owned))
}

#[test]
fn the_last_click_before_the_conversion_gets_all() {
    let mut kit = kit();
    push_click(&mut kit, "user", "early", NOW_MS - 2_000);
    push_click(&mut kit, "user", "last", NOW_MS - 1_000);
    push_click(&mut kit, "user", "after", NOW_MS + 1);
    push_click(&mut kit, "other", "stranger", NOW_MS - 1);
    kit.now_ms = NOW_MS + 77;
    push_conversion(&mut kit, "user", "cnv", NOW_MS, None);
    let emitted = kit.take();
    assert_eq!((emitted[0].key.as_str(), emitted[0].timestamp_ms, emitted.len()), ("user", NOW_MS, 1));
    let first: AttributionResult<'_> = emitted[0].decode();
    let touch = first.touches.get(0).unwrap();
    assert_eq!(
        (touch.event_id, touch.kind, touch.timestamp, touch.credit_ppm),
        ("last", "click", NOW_MS - 1_000, 1_000_000)
    );
    assert_eq!((first.version, first.computed_at, first.conversion_timestamp), (1, NOW_MS + 77, NOW_MS));
    assert_eq!((first.metadata.get("value_micros"), first.metadata.get("currency")), (Some("49000000"), Some("USD")));
}

#[test]
fn the_click_that_the_advertiser_names_comes_first() {
    let mut kit = kit();
    push_click(&mut kit, "user", "named", NOW_MS - 2_000);
    push_click(&mut kit, "user", "last", NOW_MS - 1_000);
    push_conversion(&mut kit, "user", "cnv-1", NOW_MS, Some("named"));
    push_conversion(&mut kit, "user", "cnv-2", NOW_MS, Some("unknown"));
    // The advertiser's clock is behind ours by less than five minutes, or by more.
    push_conversion(&mut kit, "user", "cnv-3", NOW_MS - 3_000, Some("named"));
    push_conversion(&mut kit, "user", "cnv-4", NOW_MS - 10 * MINUTE_MS, Some("named"));
    let expected = [("cnv-1", Some("named")), ("cnv-2", Some("last")), ("cnv-3", Some("named")), ("cnv-4", None)];
    assert_eq!(results(&mut kit), expected.map(|(id, campaign)| result(id, 1, campaign)));
}

#[test]
fn both_ends_of_the_window_are_in_it_and_ties_go_to_the_greater_id() {
    let window_ms = AttributionConfig::default().click_window_ms;
    for (age_ms, credited) in [(0, true), (window_ms, true), (window_ms + 1, false), (-1, false)] {
        let mut kit = kit();
        push_click(&mut kit, "user", "click", NOW_MS - age_ms);
        push_conversion(&mut kit, "user", "cnv", NOW_MS, None);
        assert_eq!(results(&mut kit), [result("cnv", 1, credited.then_some("click"))], "{age_ms}");
    }
    for order in [["a", "b"], ["b", "a"]] {
        let mut kit = kit();
        order.iter().for_each(|id| push_click(&mut kit, "user", id, NOW_MS));
        push_conversion(&mut kit, "user", "cnv", NOW_MS, None);
        assert_eq!(results(&mut kit), [result("cnv", 1, Some("b"))]);
    }
}

#[test]
fn a_conversion_before_its_click_is_credited_when_the_click_comes() {
    let mut kit = kit();
    push_conversion(&mut kit, "user", "cnv", NOW_MS, Some("click"));
    push_click(&mut kit, "user", "other", NOW_MS - 1);
    push_click(&mut kit, "user", "click", NOW_MS - 2);
    push_click(&mut kit, "user", "irrelevant", NOW_MS - 3);
    let expected = [result("cnv", 1, None), result("cnv", 2, Some("other")), result("cnv", 3, Some("click"))];
    assert_eq!(results(&mut kit), expected);
}

#[test]
fn an_invalid_click_is_no_touch_whenever_the_verdict_comes() {
    let mut kit = kit();
    push_click(&mut kit, "user", "good", NOW_MS - 2);
    push_click(&mut kit, "user", "bad", NOW_MS - 1);
    push_conversion(&mut kit, "user", "cnv", NOW_MS, Some("bad"));
    push_verdict(&mut kit, "user", "bad", NOW_MS - 1);
    push_verdict(&mut kit, "user", "bad", NOW_MS - 1);
    push_verdict(&mut kit, "user", "good", NOW_MS - 2);
    let expected = [result("cnv", 1, Some("bad")), result("cnv", 2, Some("good")), result("cnv", 3, None)];
    assert_eq!(results(&mut kit), expected);
    // Before its click.
    push_verdict(&mut kit, "user-2", "bad", NOW_MS - 1);
    push_click(&mut kit, "user-2", "bad", NOW_MS - 1);
    push_conversion(&mut kit, "user-2", "cnv-2", NOW_MS, Some("bad"));
    assert_eq!(results(&mut kit), [result("cnv-2", 1, None)]);
}

#[test]
fn suspects_tests_and_judged_impressions_change_nothing() {
    let mut kit = kit();
    push_click(&mut kit, "user", "click", NOW_MS - 1);
    let suspect = FraudVerdict { verdict: Verdict::SivtSuspect, ..verdict("click", NOW_MS - 1) };
    let impression = FraudVerdict { target_topic: "impressions", ..verdict("click", NOW_MS - 1) };
    kit.push(&FRAUD_VERDICTS, "user", NOW_MS, &suspect).unwrap();
    kit.push(&FRAUD_VERDICTS, "user", NOW_MS, &impression).unwrap();
    let test = [("test", "1")];
    kit.push(&CLICKS, "user", NOW_MS, &ClickEvent { metadata: Map::from_pairs(&test), ..click("t", NOW_MS) }).unwrap();
    let tried = ConversionEvent { metadata: Map::from_pairs(&test), ..conversion("t", NOW_MS, None) };
    kit.push(&CONVERSIONS, "user", NOW_MS, &tried).unwrap();
    push_conversion(&mut kit, "user", "cnv", NOW_MS, None);
    assert_eq!(results(&mut kit), [result("cnv", 1, Some("click"))]);
}

#[test]
fn what_is_over_is_forgotten() {
    let mut kit = kit();
    push_click(&mut kit, "user", "click", NOW_MS);
    push_conversion(&mut kit, "user", "cnv", NOW_MS + 1, None);
    push_click(&mut kit, "other", "later", NOW_MS + 2 * DAY_MS);
    push_verdict(&mut kit, "user", "click", NOW_MS);
    assert_eq!(results(&mut kit), [result("cnv", 1, Some("click"))], "a verdict after a day changes no result");
    push_click(&mut kit, "other", "much later", NOW_MS + 40 * DAY_MS);
    kit.tick();
    assert_eq!(kit.rows("people"), 1);
    let old = click("old", NOW_MS + 8 * DAY_MS);
    assert_eq!(kit.push(&CLICKS, "user", NOW_MS, &old).unwrap_err().kind(), "EXPIRED");
    push_verdict(&mut kit, "user", "old", NOW_MS + 8 * DAY_MS);
    assert_eq!(kit.rows("people"), 1);
}

#[test]
fn one_person_is_bounded() {
    let mut kit = kit();
    for n in 0..200 {
        push_click(&mut kit, "user", &format!("click-{n:03}"), NOW_MS + n);
        push_conversion(&mut kit, "user", &format!("cnv-{n:03}"), NOW_MS + n, None);
    }
    let last = results(&mut kit).pop().unwrap();
    assert_eq!(last, result("cnv-199", 1, Some("click-199")));
    let bytes: usize = kit.contents().iter().filter(|(table, ..)| *table == "people").map(|(.., row)| row.len()).sum();
    assert!(bytes < 64 * 60 + 32 * 100, "{bytes}");
}

#[derive(Clone, Debug)]
enum Step {
    Click(u8, u8, i64),
    Conversion(u8, u8, i64, Option<u8>),
    Verdict(u8, u8, i64),
}

/// Clicks, conversions and verdicts on some of the clicks, of two people, in any order.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let clicks = proptest::collection::btree_map(0u8..12, (0u8..2, 0i64..20, any::<bool>()), 0..8);
    let conversions = proptest::collection::btree_map(0u8..6, (0u8..2, 0i64..20, proptest::option::of(0u8..12)), 0..5);
    (clicks, conversions).prop_flat_map(|(clicks, conversions)| {
        let mut steps = Vec::new();
        for (id, (user, at, invalid)) in clicks {
            steps.push(Step::Click(user, id, at));
            if invalid {
                steps.push(Step::Verdict(user, id, at));
            }
        }
        steps.extend(conversions.into_iter().map(|(id, (user, at, named))| Step::Conversion(user, id, at, named)));
        Just(steps).prop_shuffle()
    })
}

/// The campaign that a look at everything at once credits.
fn oracle(steps: &[Step], user: u8, at: i64, named: Option<u8>) -> Option<String> {
    let invalid = |id: u8| steps.iter().any(|step| matches!(step, Step::Verdict(_, judged, _) if *judged == id));
    let mut valid: Vec<(i64, u8)> = Vec::new();
    for step in steps {
        if let Step::Click(owner, id, clicked) = step
            && *owner == user
            && !invalid(*id)
        {
            valid.push((*clicked, *id));
        }
    }
    let by_name = valid.iter().find(|(_, id)| Some(*id) == named);
    let last = valid.iter().filter(|(clicked, _)| *clicked <= at).max();
    by_name.or(last).map(|(_, id)| format!("click-{id:02}"))
}

proptest! {
    #[test]
    fn garbage_is_a_schema_violation(bytes in proptest::collection::vec(any::<u8>(), 0..200), input in 0usize..3) {
        let topics: [&'static Topic; 3] = [&CLICKS, &CONVERSIONS, &FRAUD_VERDICTS];
        let failure = kit().push_bytes(topics[input], "k", NOW_MS, &bytes).unwrap_err();
        prop_assert_eq!(failure.reason().code, "SCHEMA_VIOLATION");
    }

    /// However the three inputs are merged: the last version of each conversion is what a look at everything at once
    /// gives, versions count up by one, each says something new, and a restart in the middle changes nothing.
    #[test]
    fn the_last_version_does_not_depend_on_the_order(steps in steps(), restart_at in 0usize..24) {
        let mut kit = kit();
        let mut newest: BTreeMap<String, (i32, Option<String>)> = BTreeMap::new();
        for (n, step) in steps.iter().enumerate() {
            if n == restart_at {
                let before = kit.contents();
                kit.restart();
                prop_assert_eq!(before, kit.contents());
            }
            match step {
                Step::Click(user, id, at) => push_click(&mut kit, &format!("user-{user}"), &format!("click-{id:02}"), NOW_MS + at),
                Step::Verdict(user, id, at) => push_verdict(&mut kit, &format!("user-{user}"), &format!("click-{id:02}"), NOW_MS + at),
                Step::Conversion(user, id, at, named) => {
                    let named = named.map(|id| format!("click-{id:02}"));
                    push_conversion(&mut kit, &format!("user-{user}"), &format!("cnv-{id}"), NOW_MS + at, named.as_deref());
                }
            }
            for (id, version, campaign) in results(&mut kit) {
                let before = newest.insert(id, (version, campaign.clone()));
                prop_assert_eq!(version, before.as_ref().map_or(1, |(version, _)| version + 1));
                prop_assert!(before.is_none_or(|(_, known)| known != campaign), "a version says something new");
            }
        }
        for step in &steps {
            if let Step::Conversion(user, id, at, named) = step {
                prop_assert_eq!(&newest[&format!("cnv-{id}")].1, &oracle(&steps, *user, *at, *named));
            }
        }
    }
}
