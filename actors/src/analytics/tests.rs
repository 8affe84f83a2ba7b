use std::collections::BTreeMap;

use proptest::prelude::*;
use runtime::service::ServiceDef;
use runtime::testkit::Kit;
use schemas::codec::Array;
use schemas::events::{AttributionResult, ClickEvent, FraudVerdict, ImpressionEvent, Touch, Verdict};

use super::*;

const START_MS: i64 = 1_700_000_040_000; // The start of a minute.
const _: () = assert!(START_MS % MINUTE_MS == 0);

fn kit() -> Kit {
    Kit::of(ServiceDef::new(Analytics::default))
}

fn impression(campaign_id: &str, timestamp: i64, price: i64) -> ImpressionEvent<'_> {
    ImpressionEvent {
        event_id: "imp",
        timestamp,
        campaign_id,
        creative_id: "c",
        placement_id: "p",
        user_id: None,
        bid_price_micros: price,
        win_price_micros: price,
        metadata: Map::default(),
    }
}

fn click(campaign_id: &str, timestamp: i64) -> ClickEvent<'_> {
    ClickEvent {
        event_id: "clk",
        timestamp,
        impression_event_id: "imp",
        campaign_id,
        creative_id: "c",
        placement_id: "p",
        user_id: None,
        destination_domain: None,
        metadata: Map::default(),
    }
}

fn push_impression(kit: &mut Kit, campaign: &str, at_ms: i64, price: i64) -> Result<Handled, Failure> {
    kit.push(&IMPRESSIONS, "user", at_ms, &impression(campaign, at_ms, price))
}

fn push_verdict(
    kit: &mut Kit,
    campaign_id: &str,
    timestamp: i64,
    price: &str,
    verdict: Verdict,
) -> Result<Handled, Failure> {
    let context = [("win_price_micros", price)];
    let verdict = FraudVerdict {
        target_event_id: "imp",
        target_topic: "impressions",
        timestamp,
        verdict,
        rules: Array::default(),
        score: 1.0,
        ruleset_version: "r",
        campaign_id,
        metadata: Map::from_pairs(&context),
    };
    kit.push(&FRAUD_VERDICTS, "user", timestamp, &verdict)
}

fn push_attribution(
    kit: &mut Kit,
    conversion_id: &str,
    version: i32,
    at_ms: i64,
    campaigns: &[&str],
) -> Result<Handled, Failure> {
    let touch = |campaign_id| Touch { event_id: "clk", kind: "click", campaign_id, timestamp: at_ms, credit_ppm: 1 };
    let touches: Vec<_> = campaigns.iter().copied().map(touch).collect();
    let result = AttributionResult {
        conversion_id,
        version,
        model: "last_touch",
        computed_at: at_ms,
        conversion_timestamp: at_ms,
        touches: Array::from_slice(&touches),
        unattributed_ppm: 0,
        metadata: Map::default(),
    };
    kit.push(&ATTRIBUTIONS, "user", at_ms, &result)
}

/// Counts, revision and finality.
type Published = ([i64; 6], i32, bool);

/// The newest published row of each campaign and minute.
fn published(kit: &mut Kit, rows: &mut BTreeMap<(String, i64), Published>) -> usize {
    let emitted = kit.take();
    for e in &emitted {
        let m: CampaignMinute<'_> = e.decode();
        assert_eq!(e.key, format!("{}:{}@0", m.campaign_id, m.window_start));
        let counts = [m.impressions, m.clicks, m.conversions, m.spend_micros, m.ivt_impressions, m.ivt_spend_micros];
        let before = rows.insert((m.campaign_id.to_owned(), m.window_start), (counts, m.revision, m.r#final));
        assert!(m.revision == before.map_or(1, |(_, revision, _)| revision + 1), "revisions count up by one");
    }
    emitted.len()
}

#[test]
fn a_minute_is_counted_and_published_once_a_tick() {
    let (mut kit, mut rows) = (kit(), BTreeMap::new());
    for n in 0..50 {
        push_impression(&mut kit, "a", START_MS + n * 1_000, 100).unwrap();
    }
    kit.push(&CLICKS, "user", START_MS, &click("a", START_MS + 59_999)).unwrap();
    push_impression(&mut kit, "b", START_MS + MINUTE_MS, 7).unwrap();
    assert_eq!(published(&mut kit, &mut rows), 0, "nothing but on a tick");
    kit.tick();
    assert_eq!(published(&mut kit, &mut rows), 2);
    assert_eq!(rows[&("a".into(), START_MS)], ([50, 1, 0, 5_000, 0, 0], 1, false));
    assert_eq!(rows[&("b".into(), START_MS + MINUTE_MS)], ([1, 0, 0, 7, 0, 0], 1, false));
    kit.tick();
    assert_eq!(published(&mut kit, &mut rows), 0, "nothing changed");
}

/// Found by the simulation: a minute that changed while the clock was ahead was not published until it caught up.
#[test]
fn a_clock_that_leaps_back_holds_no_minute_up() {
    let (mut kit, mut rows) = (kit(), BTreeMap::new());
    kit.now_ms += 60_000;
    push_impression(&mut kit, "a", START_MS, 100).unwrap();
    kit.now_ms -= 60_000;
    kit.tick();
    assert_eq!(published(&mut kit, &mut rows), 1);
}

#[test]
fn minutes_become_final_and_late_events_make_a_revision() {
    let (mut kit, mut rows) = (kit(), BTreeMap::new());
    push_impression(&mut kit, "a", START_MS, 100).unwrap();
    push_impression(&mut kit, "a", START_MS + 3 * MINUTE_MS, 1).unwrap();
    kit.tick();
    published(&mut kit, &mut rows);
    assert_eq!(rows[&("a".into(), START_MS)], ([1, 0, 0, 100, 0, 0], 1, true));
    assert!(!rows[&("a".into(), START_MS + 3 * MINUTE_MS)].2);
    push_impression(&mut kit, "a", START_MS + 30_000, 5).unwrap();
    kit.tick();
    published(&mut kit, &mut rows);
    assert_eq!(rows[&("a".into(), START_MS)], ([2, 0, 0, 105, 0, 0], 2, true));
}

#[test]
fn an_idle_shard_finishes_its_minutes() {
    let (mut kit, mut rows) = (kit(), BTreeMap::new());
    push_impression(&mut kit, "a", START_MS, 100).unwrap();
    kit.advance(1_000);
    published(&mut kit, &mut rows);
    assert!(!rows[&("a".into(), START_MS)].2);
    kit.advance(4 * MINUTE_MS);
    published(&mut kit, &mut rows);
    assert!(rows[&("a".into(), START_MS)].2);
}

#[test]
fn a_backlog_after_days_away_still_finds_its_minutes() {
    let (mut kit, mut rows) = (kit(), BTreeMap::new());
    push_impression(&mut kit, "a", START_MS, 100).unwrap();
    kit.advance(3 * DAY_MS);
    push_impression(&mut kit, "a", START_MS + 1, 100).unwrap();
    kit.tick();
    published(&mut kit, &mut rows);
    assert_eq!(rows[&("a".into(), START_MS)].0, [2, 0, 0, 200, 0, 0]);
}

#[test]
fn beyond_the_horizon_is_set_aside_and_rows_leave() {
    let mut kit = kit();
    push_impression(&mut kit, "a", START_MS, 100).unwrap();
    push_attribution(&mut kit, "cnv", 1, START_MS, &["a"]).unwrap();
    push_impression(&mut kit, "a", START_MS + DAY_MS + MINUTE_MS, 100).unwrap();
    kit.tick();
    assert_eq!((kit.rows("minutes"), kit.rows("conversions")), (1, 0));
    assert_eq!(push_impression(&mut kit, "a", START_MS, 1).unwrap_err().kind(), "EXPIRED");
    assert_eq!(push_verdict(&mut kit, "a", START_MS, "1", Verdict::Givt).unwrap_err().kind(), "EXPIRED");
    assert_eq!(push_attribution(&mut kit, "cnv", 2, START_MS, &["b"]).unwrap_err().kind(), "EXPIRED");
    assert_eq!(kit.rows("open") + kit.rows("changed"), 1);
}

#[test]
fn only_general_invalid_impressions_count_as_invalid() {
    let (mut kit, mut rows) = (kit(), BTreeMap::new());
    push_verdict(&mut kit, "a", START_MS, "40", Verdict::Givt).unwrap();
    push_verdict(&mut kit, "a", START_MS, "50", Verdict::SivtSuspect).unwrap();
    for bad in ["", "x", "-1", "1.5"] {
        let failure = push_verdict(&mut kit, "a", START_MS, bad, Verdict::Givt).unwrap_err();
        assert_eq!(failure.reason().code, "REFERENCE_MISSING", "{bad}");
    }
    push_impression(&mut kit, "a", START_MS, 40).unwrap();
    kit.tick();
    published(&mut kit, &mut rows);
    assert_eq!(rows[&("a".into(), START_MS)].0, [1, 0, 0, 40, 1, 40]);
}

#[test]
fn a_new_version_moves_the_conversion() {
    let (mut kit, mut rows) = (kit(), BTreeMap::new());
    let count = |rows: &BTreeMap<(String, i64), Published>, campaign: &str| rows[&(campaign.to_owned(), START_MS)].0[2];
    push_attribution(&mut kit, "cnv", 1, START_MS, &["a"]).unwrap();
    push_attribution(&mut kit, "cnv", 2, START_MS, &["b", "c", "b"]).unwrap();
    push_attribution(&mut kit, "cnv", 1, START_MS, &["a"]).unwrap();
    kit.tick();
    published(&mut kit, &mut rows);
    assert_eq!(["a", "b", "c"].map(|campaign| count(&rows, campaign)), [0, 1, 1]);
    push_attribution(&mut kit, "cnv", 3, START_MS, &[]).unwrap();
    kit.tick();
    published(&mut kit, &mut rows);
    assert_eq!(["a", "b", "c"].map(|campaign| count(&rows, campaign)), [0, 0, 0]);
}

#[test]
fn tests_count_nothing_and_bad_facts_are_refused() {
    let mut kit = kit();
    let test = [("test", "1")];
    let scan = ImpressionEvent { metadata: Map::from_pairs(&test), ..impression("a", START_MS, 1) };
    kit.push(&IMPRESSIONS, "user", START_MS, &scan).unwrap();
    kit.push(&CLICKS, "user", START_MS, &ClickEvent { metadata: Map::from_pairs(&test), ..click("a", START_MS) })
        .unwrap();
    assert_eq!(push_impression(&mut kit, "a", START_MS, -1).unwrap_err().reason().code, "SEMANTIC_VIOLATION");
    assert_eq!(push_impression(&mut kit, "", START_MS, 1).unwrap_err().reason().code, "SEMANTIC_VIOLATION");
    assert!(kit.contents().is_empty());
    push_impression(&mut kit, "a", START_MS, i64::MAX).unwrap();
    assert_eq!(push_impression(&mut kit, "a", START_MS, 1).unwrap_err().reason().code, "SEMANTIC_VIOLATION");
}

#[test]
fn a_tick_publishes_a_bounded_number_oldest_first() {
    let config = AnalyticsConfig { published_a_tick: 2, ..AnalyticsConfig::default() };
    let mut kit = Kit::of(ServiceDef::new(move || Analytics::new(config)));
    for campaign in ["c", "b", "a"] {
        push_impression(&mut kit, campaign, START_MS, 1).unwrap();
        kit.now_ms += 1;
    }
    let mut order = Vec::new();
    for _ in 0..3 {
        kit.tick();
        order.push(kit.take().iter().map(|e| e.key[..1].to_owned()).collect::<String>());
    }
    assert_eq!(order, ["cb", "a", ""]);
}

#[derive(Clone, Debug)]
enum Step {
    Impression(u8, i64, i64),
    Click(u8, i64),
    Invalid(u8, i64, i64),
    Attributed(u8, Vec<u8>),
    Tick,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let campaign = 0u8..3;
    let at_ms = 0i64..10 * MINUTE_MS;
    let step = prop_oneof![
        4 => (campaign.clone(), at_ms.clone(), 0i64..100).prop_map(|(c, t, p)| Step::Impression(c, t, p)),
        2 => (campaign.clone(), at_ms.clone()).prop_map(|(c, t)| Step::Click(c, t)),
        2 => (campaign.clone(), at_ms, 0i64..100).prop_map(|(c, t, p)| Step::Invalid(c, t, p)),
        2 => (0u8..6, proptest::collection::vec(campaign, 0..3)).prop_map(|(n, cs)| Step::Attributed(n, cs)),
        1 => Just(Step::Tick),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..80)
}

fn name(campaign: u8) -> String {
    format!("campaign-{campaign}")
}

proptest! {
    #[test]
    fn garbage_is_a_schema_violation(bytes in proptest::collection::vec(any::<u8>(), 0..200), input in 0usize..4) {
        let failure = kit().push_bytes([&IMPRESSIONS, &CLICKS, &ATTRIBUTIONS, &FRAUD_VERDICTS][input], "k", START_MS, &bytes);
        prop_assert_eq!(failure.unwrap_err().reason().code, "SCHEMA_VIOLATION");
    }

    /// Whatever order events come in, with ticks and restarts between: the last published rows are those of a GROUP BY
    /// over all events.
    #[test]
    fn published_rows_are_a_group_by(steps in steps()) {
        let (mut kit, mut rows) = (kit(), BTreeMap::new());
        let mut expected: BTreeMap<(String, i64), [i64; 6]> = BTreeMap::new();
        let mut attributed: BTreeMap<u8, (i32, Vec<u8>)> = BTreeMap::new();
        let minute = |at_ms: i64| START_MS + at_ms / MINUTE_MS * MINUTE_MS;
        for step in &steps {
            match step {
                Step::Impression(c, t, p) => {
                    push_impression(&mut kit, &name(*c), START_MS + t, *p).unwrap();
                    let row = expected.entry((name(*c), minute(*t))).or_default();
                    row[0] += 1;
                    row[3] += p;
                }
                Step::Click(c, t) => {
                    kit.push(&CLICKS, "user", START_MS + t, &click(&name(*c), START_MS + t)).unwrap();
                    expected.entry((name(*c), minute(*t))).or_default()[1] += 1;
                }
                Step::Invalid(c, t, p) => {
                    push_verdict(&mut kit, &name(*c), START_MS + t, &p.to_string(), Verdict::Givt).unwrap();
                    let row = expected.entry((name(*c), minute(*t))).or_default();
                    row[4] += 1;
                    row[5] += p;
                }
                Step::Attributed(n, campaigns) => {
                    let entry = attributed.entry(*n).or_default();
                    *entry = (entry.0 + 1, campaigns.clone());
                    let names: Vec<String> = campaigns.iter().map(|c| name(*c)).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let at_ms = START_MS + i64::from(*n) * MINUTE_MS;
                    push_attribution(&mut kit, &format!("cnv-{n}"), entry.0, at_ms, &names).unwrap();
                }
                Step::Tick => {
                    kit.tick();
                    published(&mut kit, &mut rows);
                }
                Step::Restart => {
                    let before = kit.contents();
                    kit.restart();
                    prop_assert_eq!(before, kit.contents());
                }
            }
        }
        for (n, (_, campaigns)) in attributed {
            let distinct: std::collections::BTreeSet<_> = campaigns.into_iter().collect();
            for c in distinct {
                expected.entry((name(c), START_MS + i64::from(n) * MINUTE_MS)).or_default()[2] += 1;
            }
        }
        kit.tick();
        published(&mut kit, &mut rows);
        let counts: BTreeMap<_, _> = rows.into_iter().map(|(key, (counts, ..))| (key, counts)).collect();
        // A conversion that moved away leaves a row of zeroes; a GROUP BY has none.
        prop_assert!(expected.iter().all(|(key, row)| counts.get(key) == Some(row)), "{:?} {:?}", counts, expected);
        prop_assert!(counts.iter().all(|(key, row)| expected.get(key).unwrap_or(&[0; 6]) == row));
    }
}
