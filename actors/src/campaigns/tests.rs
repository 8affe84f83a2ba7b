//! Change data as it comes: repeated, reordered, broken; the state against a fold by position made by the test.

use std::collections::BTreeMap;

use proptest::prelude::*;
use runtime::service::ServiceDef;
use runtime::testkit::Kit;
use schemas::events::{BudgetRow, BudgetSource, CampaignRow, CampaignSource, CampaignStatus};

use super::*;
use crate::market::campaigns::demo_campaigns;

const NOW_MS: i64 = 1_700_000_000_000;

fn kit() -> Kit {
    let mut kit = Kit::of(ServiceDef::new(Campaigns::default));
    kit.now_ms = NOW_MS;
    kit
}

fn row<'a>(campaign_id: &'a str, name: &'a str) -> CampaignRow<'a> {
    CampaignRow {
        campaign_id,
        advertiser_id: "adv-1",
        name,
        status: CampaignStatus::Active,
        creative_id: "creative-1",
        width: 300,
        height: 250,
        bid_cpm_micros: 2_500_000,
        countries: Array::from_slice(&["USA", "CAN"]),
        frequency_cap: 3,
        destination_domain: Some("shop.example"),
    }
}

fn change<'a>(op: &'a str, row: CampaignRow<'a>, lsn: i64) -> CampaignChange<'a> {
    let source = CampaignSource { lsn, table: "campaigns", snapshot: "false", ..Default::default() };
    let (before, after) = if op == "d" { (Some(row), None) } else { (None, Some(row)) };
    CampaignChange { before, after, op, ts_ms: NOW_MS, source, metadata: Map::default() }
}

fn budget<'a>(op: &'a str, budget_id: &'a str, campaign_id: &'a str, micros: i64, lsn: i64) -> BudgetChange<'a> {
    let row = BudgetRow { budget_id, campaign_id, amount_micros: micros, currency: "USD", ..Default::default() };
    let source = BudgetSource { lsn, table: "budgets", snapshot: "false", ..Default::default() };
    let (before, after) = if op == "d" { (Some(row), None) } else { (None, Some(row)) };
    BudgetChange { before, after, op, ts_ms: NOW_MS, source, metadata: Map::default() }
}

fn send(kit: &mut Kit, change: &CampaignChange<'_>) -> Result<Handled, Failure> {
    let row = change.after.or(change.before).expect("a row");
    kit.push(&CAMPAIGNS_CHANGES, row.campaign_id, change.ts_ms, change)
}

fn send_budget(kit: &mut Kit, change: &BudgetChange<'_>) -> Result<Handled, Failure> {
    let row = change.after.or(change.before).expect("a row");
    kit.push(&BUDGETS_CHANGES, row.campaign_id, change.ts_ms, change)
}

fn code(result: Result<Handled, Failure>) -> (&'static str, &'static str) {
    let failure = result.expect_err("refused");
    (failure.kind(), failure.reason().code)
}

const SEMANTIC: (&str, &str) = ("PERMANENT", "SEMANTIC_VIOLATION");

/// name, deleted, active, budget, lsn, revision of the newest state told.
fn told(kit: &mut Kit) -> (String, bool, bool, i64, i64, String) {
    let emitted = kit.take();
    let state: CampaignState<'_> = emitted.last().expect("a state").decode();
    let revision = state.metadata.get("revision").unwrap_or_default().to_owned();
    (state.name.to_owned(), state.deleted, state.active, state.budget_micros, state.lsn, revision)
}

#[test]
fn a_campaign_is_told_whole_with_its_budget() {
    let mut kit = kit();
    assert_eq!(send_budget(&mut kit, &budget("c", "b1", "c1", 5_000, 20)), Ok(Handled::Done));
    assert!(kit.take().is_empty(), "a budget alone is no campaign");
    kit.restart();
    assert_eq!(send(&mut kit, &change("r", row("c1", "one"), 10)), Ok(Handled::Done));
    let emitted = kit.take();
    assert_eq!((emitted.len(), emitted[0].topic, emitted[0].key.as_str()), (1, "campaign-states", "c1"));
    let expected = CampaignState {
        campaign_id: "c1",
        advertiser_id: "adv-1",
        name: "one",
        active: true,
        deleted: false,
        creative_id: "creative-1",
        width: 300,
        height: 250,
        bid_cpm_micros: 2_500_000,
        countries: Array::from_slice(&["USA", "CAN"]),
        frequency_cap: 3,
        destination_domain: Some("shop.example"),
        budget_micros: 5_000,
        currency: "USD",
        lsn: 20,
        metadata: Map::from_pairs(&[("revision", "1")]),
    };
    assert_eq!(emitted[0].decode::<CampaignState<'_>>(), expected);
}

#[test]
fn later_positions_win_and_repetitions_change_nothing() {
    let mut kit = kit();
    send(&mut kit, &change("c", row("c1", "one"), 10)).unwrap();
    send(&mut kit, &change("u", row("c1", "two"), 30)).unwrap();
    assert_eq!(told(&mut kit), ("two".into(), false, true, 0, 30, "2".into()));
    assert_eq!(send(&mut kit, &change("u", row("c1", "late"), 20)), Ok(Handled::Duplicate));
    assert_eq!(send(&mut kit, &change("u", row("c1", "two"), 30)), Ok(Handled::Duplicate));
    // A snapshot reads at the position where it starts; the stream's own row there is newer.
    assert_eq!(send(&mut kit, &change("r", row("c1", "read"), 30)), Ok(Handled::Duplicate));
    assert_eq!(code(send(&mut kit, &change("u", row("c1", "other"), 30))), ("PERMANENT", "ID_CONFLICT"));
    assert!(kit.take().is_empty());
}

#[test]
fn a_deleted_campaign_says_so_and_keeps_its_position() {
    let mut kit = kit();
    send(&mut kit, &change("c", row("c1", "one"), 10)).unwrap();
    assert_eq!(send(&mut kit, &change("d", row("c1", "one"), 20)), Ok(Handled::Done));
    assert_eq!(told(&mut kit), ("one".into(), true, false, 0, 20, "2".into()));
    assert_eq!(kit.push_bytes(&CAMPAIGNS_CHANGES, "c1", NOW_MS, b""), Ok(Handled::Duplicate));
    assert_eq!(send(&mut kit, &change("u", row("c1", "ghost"), 15)), Ok(Handled::Duplicate));
    send(&mut kit, &change("c", row("c1", "again"), 40)).unwrap();
    assert_eq!(told(&mut kit), ("again".into(), false, true, 0, 40, "3".into()));
    // A deletion of what we never saw.
    send(&mut kit, &change("d", row("c2", ""), 50)).unwrap();
    assert_eq!(told(&mut kit), (String::new(), true, false, 0, 50, "1".into()));
    assert_eq!(send(&mut kit, &change("c", row("c2", "ghost"), 45)), Ok(Handled::Duplicate));
}

#[test]
fn of_several_budgets_the_newest_counts() {
    let mut kit = kit();
    send(&mut kit, &change("c", row("c1", "one"), 1)).unwrap();
    send_budget(&mut kit, &budget("c", "b1", "c1", 100, 10)).unwrap();
    send_budget(&mut kit, &budget("c", "b2", "c1", 200, 20)).unwrap();
    assert_eq!(told(&mut kit).3, 200);
    send_budget(&mut kit, &budget("d", "b2", "c1", 0, 30)).unwrap();
    assert_eq!(told(&mut kit).3, 100);
    assert_eq!(send_budget(&mut kit, &budget("u", "b2", "c1", 999, 25)), Ok(Handled::Duplicate));
    for n in 3..9 {
        send_budget(&mut kit, &budget("c", &format!("b{n}"), "c1", n, 30 + n)).unwrap();
    }
    // Eight rows; the deleted one makes room, then there is none.
    send_budget(&mut kit, &budget("c", "b9", "c1", 9, 40)).unwrap();
    assert_eq!(told(&mut kit).3, 9);
    assert_eq!(code(send_budget(&mut kit, &budget("c", "b10", "c1", 10, 41))), SEMANTIC);
    let moved = budget("u", "b9", "c1", 9, 42);
    let moved = BudgetChange { before: budget("d", "b9", "c0", 9, 42).before, ..moved };
    assert_eq!(code(send_budget(&mut kit, &moved)), SEMANTIC);
}

#[test]
fn columns_that_were_not_sent_are_kept() {
    let mut kit = kit();
    let untouched = "__debezium_unavailable_value";
    let partly = CampaignRow { destination_domain: Some(untouched), frequency_cap: 7, ..row("c1", untouched) };
    assert_eq!(code(send(&mut kit, &change("u", partly, 20))), SEMANTIC);
    send(&mut kit, &change("c", row("c1", "one"), 10)).unwrap();
    send(&mut kit, &change("u", partly, 20)).unwrap();
    let emitted = kit.take();
    let state: CampaignState<'_> = emitted.last().unwrap().decode();
    assert_eq!((state.name, state.destination_domain, state.frequency_cap), ("one", Some("shop.example"), 7));
}

#[test]
fn a_bad_row_leaves_the_last_good_one() {
    let mut kit = kit();
    send(&mut kit, &change("c", row("c1", "one"), 1)).unwrap();
    let before = kit.contents();
    let long = "x".repeat(300);
    for bad in [
        CampaignRow { bid_cpm_micros: -1, ..row("c1", "x") },
        CampaignRow { bid_cpm_micros: 1_000_000_001, ..row("c1", "x") },
        CampaignRow { width: 0, ..row("c1", "x") },
        CampaignRow { height: 10_001, ..row("c1", "x") },
        CampaignRow { frequency_cap: -1, ..row("c1", "x") },
        CampaignRow { countries: Array::from_slice(&["us"]), ..row("c1", "x") },
        CampaignRow { advertiser_id: "", ..row("c1", "x") },
        row(&long, "x"),
        row("", "x"),
    ] {
        assert_eq!(code(send(&mut kit, &change("u", bad, 5))), SEMANTIC, "{bad:?}");
    }
    for bad in [
        budget("c", "b1", "c1", -1, 5),
        budget("c", "b1", "c1", i64::MAX, 5),
        budget("c", "", "c1", 1, 5),
        budget("t", "b1", "c1", 1, 5),
    ] {
        assert_eq!(code(send_budget(&mut kit, &bad)), SEMANTIC, "{bad:?}");
    }
    let empty = CampaignChange { after: None, ..change("u", row("c1", "x"), 5) };
    assert_eq!(code(kit.push(&CAMPAIGNS_CHANGES, "c1", 0, &empty)), SEMANTIC);
    let good = change("u", row("c1", "x"), 5);
    assert_eq!(code(kit.push(&CAMPAIGNS_CHANGES, "c2", 0, &good)), SEMANTIC);
    for topic in [&CAMPAIGNS_CHANGES, &BUDGETS_CHANGES] {
        assert_eq!(code(kit.push_bytes(topic, "c1", 0, b"{}")).0, "PERMANENT");
    }
    assert_eq!(before, kit.contents());
}

#[test]
fn the_demos_campaigns_are_good_rows() {
    let mut kit = kit();
    let campaigns = demo_campaigns(7);
    for (n, campaign) in (1..).zip(&campaigns) {
        let taken = campaign.with_campaign_change(n, NOW_MS, |change| send(&mut kit, &change));
        assert_eq!(taken, Ok(Handled::Done));
        assert_eq!(send_budget(&mut kit, &campaign.budget_change(n, NOW_MS)), Ok(Handled::Done));
    }
    assert_eq!(kit.take().len(), 2 * campaigns.len());
}

#[derive(Clone, Debug)]
enum Change {
    Campaign { campaign: u8, name: u8, delete: bool, lsn: i64 },
    Budget { campaign: u8, budget: u8, micros: i64, delete: bool, lsn: i64 },
}

/// Changes of three campaigns with positions of their own, then some of them again, all shuffled.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (0..3u8, any::<u8>(), prop::bool::weighted(0.2)).prop_map(|(campaign, name, delete)| Change::Campaign {
            campaign,
            name,
            delete,
            lsn: 0
        }),
        (0..3u8, 0..3u8, 0..1_000i64, prop::bool::weighted(0.2)).prop_map(|(campaign, budget, micros, delete)| {
            Change::Budget { campaign, budget, micros, delete, lsn: 0 }
        }),
    ];
    let in_order = prop::collection::vec(change, 1..40).prop_map(|mut changes| {
        for (n, change) in (1..).zip(&mut changes) {
            match change {
                Change::Campaign { lsn, .. } | Change::Budget { lsn, .. } => *lsn = n,
            }
        }
        changes
    });
    let repeated = (in_order, prop::collection::vec(any::<prop::sample::Index>(), 0..20));
    repeated
        .prop_map(|(mut changes, again)| {
            let copies: Vec<Change> = again.iter().map(|index| index.get(&changes).clone()).collect();
            changes.extend(copies);
            changes
        })
        .prop_shuffle()
}

proptest! {
    /// In any order, with any repetitions, the last state told is that of the rows with the greatest positions.
    #[test]
    fn the_state_is_the_fold_by_position(changes in changes(), restart_at in 0..60usize) {
        let mut kit = kit();
        let mut last: BTreeMap<String, (String, bool, i64, i64)> = BTreeMap::new();
        let mut revisions: BTreeMap<String, String> = BTreeMap::new();
        let mut rows: BTreeMap<u8, (i64, u8, bool)> = BTreeMap::new();
        let mut budgets: BTreeMap<u8, BTreeMap<u8, (i64, i64, bool)>> = BTreeMap::new();
        for (n, change_) in changes.iter().enumerate() {
            if n == restart_at {
                let before = kit.contents();
                kit.restart();
                prop_assert_eq!(before, kit.contents());
            }
            match *change_ {
                Change::Campaign { campaign, name, delete, lsn } => {
                    let (id, text) = (format!("c{campaign}"), name.to_string());
                    send(&mut kit, &change(if delete { "d" } else { "u" }, row(&id, &text), lsn)).unwrap();
                    let newest = rows.entry(campaign).or_insert((lsn, name, delete));
                    *newest = (*newest).max((lsn, name, delete));
                }
                Change::Budget { campaign, budget: of, micros, delete, lsn } => {
                    let (id, budget_id) = (format!("c{campaign}"), of.to_string());
                    send_budget(&mut kit, &budget(if delete { "d" } else { "u" }, &budget_id, &id, micros, lsn)).unwrap();
                    let newest = budgets.entry(campaign).or_default().entry(of).or_insert((lsn, micros, delete));
                    *newest = (*newest).max((lsn, micros, delete));
                }
            }
            let mut revision = 0;
            for emitted in kit.take() {
                let state: CampaignState<'_> = emitted.decode();
                let of_state: i64 = state.metadata.get("revision").unwrap().parse().unwrap();
                prop_assert!(of_state > revision);
                revision = of_state;
                revisions.insert(emitted.key.clone(), of_state.to_string());
                last.insert(
                    emitted.key.clone(),
                    (state.name.to_owned(), state.deleted, state.budget_micros, state.lsn),
                );
            }
        }
        let mut expected = BTreeMap::new();
        for (campaign, (lsn, name, deleted)) in rows {
            let of_campaign = budgets.get(&campaign);
            let live = of_campaign.and_then(|rows| rows.values().filter(|row| !row.2).max());
            let budget_lsn = of_campaign.and_then(|rows| rows.values().map(|row| row.0).max()).unwrap_or(0);
            let state = (name.to_string(), deleted, live.map_or(0, |row| row.1), lsn.max(budget_lsn));
            expected.insert(format!("c{campaign}"), state);
        }
        // A restatement tells every campaign once, with the revision that it had.
        let before = kit.contents();
        kit.restate();
        let restated: Vec<_> = kit.take();
        prop_assert_eq!(before, kit.contents());
        prop_assert_eq!(restated.len(), last.len());
        for emitted in restated {
            let state: CampaignState<'_> = emitted.decode();
            let told = (state.name.to_owned(), state.deleted, state.budget_micros, state.lsn);
            prop_assert_eq!(&told, &last[&emitted.key]);
            prop_assert_eq!(state.metadata.get("revision"), Some(revisions[&emitted.key].as_str()));
        }
        // A deletion does not touch the name that was known before, which depends on the order.
        for state in last.values_mut().chain(expected.values_mut()).filter(|state| state.1) {
            state.0.clear();
        }
        prop_assert_eq!(last, expected);
    }
}
