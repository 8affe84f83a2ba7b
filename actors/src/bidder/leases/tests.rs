use proptest::prelude::*;
use schemas::events::LeaseKind;

use super::*;
use crate::bidder::campaigns::Campaign;

const HOLDER: &str = "one/1";

fn campaigns() -> Campaigns {
    Campaigns::new([Campaign {
        campaign_id: "c".into(),
        advertiser_id: "a".into(),
        creative_id: "k".into(),
        size: (300, 250),
        price: Micros(100),
        active: true,
        countries: vec![],
        frequency_cap: 0,
        destination_domain: None,
        currency: "USD".into(),
        lsn: 1,
    }])
}

fn book() -> LeaseBook {
    LeaseBook::new(HOLDER, LeaseBookConfig { bids_min: 10, ..LeaseBookConfig::default() })
}

fn grant(lease_id: &str, amount_micros: i64, expires_at: i64) -> BudgetLease<'_> {
    let kind = LeaseKind::Grant;
    BudgetLease {
        lease_id,
        campaign_id: "c",
        holder: HOLDER,
        kind,
        amount_micros,
        expires_at,
        ..BudgetLease::default()
    }
}

fn kinds(demands: &[LeaseDemand]) -> Vec<(LeaseRequestKind, i64)> {
    demands.iter().map(|demand| (demand.kind, demand.amount.0)).collect()
}

#[test]
fn a_book_starts_asks_spends_and_gives_back() {
    let book = book();
    let first = book.demands(&campaigns(), 0);
    assert_eq!(kinds(&first), [(LeaseRequestKind::Start, 0), (LeaseRequestKind::Ask, 1_000)]);
    assert_eq!(book.demands(&campaigns(), 10), [], "one ask at a time");
    assert_eq!(book.try_spend("c", Micros(100), 20), Err(SpendRefused::LeasePending));
    book.apply(&grant("l1", 250, 10_000), 30);
    assert_eq!(book.try_spend("c", Micros(100), 40), Ok("l1".into()));
    assert_eq!(book.try_spend("c", Micros(100), 40), Ok("l1".into()));
    assert_eq!(book.try_spend("c", Micros(100), 40), Err(SpendRefused::LeasePending), "50 are left");
    assert_eq!(book.available("c", 40), Micros(50));
    let returned = book.give_back(50);
    assert_eq!(kinds(&returned), [(LeaseRequestKind::Return, 50)]);
    assert_eq!(returned[0].lease_id.as_deref(), Some("l1"));
    book.apply(&grant("l1", 250, 10_000), 30);
    assert_eq!(book.available("c", 60), Micros::ZERO, "a repetition brings nothing back");
}

#[test]
fn request_ids_never_repeat() {
    let book = book();
    let mut ids: Vec<SmolStr> = Vec::new();
    for now_ms in (0..20_000).step_by(700) {
        book.apply(&grant(&format!("l{now_ms}"), 500, now_ms + 1_000), now_ms);
        ids.extend(book.demands(&campaigns(), now_ms).into_iter().map(|demand| demand.request_id));
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert!(all > 10 && ids.len() == all);
}

#[test]
fn an_old_lease_is_not_spent_and_its_rest_goes_back() {
    let book = book();
    book.apply(&grant("l1", 500, 1_000), 0);
    assert!(book.try_spend("c", Micros(100), 749).is_ok());
    assert_eq!(book.try_spend("c", Micros(100), 750), Err(SpendRefused::LeasePending), "the last part is left alone");
    let demands = book.demands(&campaigns(), 750);
    assert!(kinds(&demands).contains(&(LeaseRequestKind::Return, 400)), "{demands:?}");
}

#[test]
fn a_revoked_lease_is_not_spent_and_its_rest_goes_back() {
    let book = book();
    book.apply(&grant("l1", 500, 10_000), 0);
    book.apply(&BudgetLease { kind: LeaseKind::Revoke, ..grant("l1", 500, 10_000) }, 100);
    assert!(book.try_spend("c", Micros(100), 100).is_err());
    assert!(kinds(&book.demands(&campaigns(), 101)).contains(&(LeaseRequestKind::Return, 500)));
}

#[test]
fn leases_of_others_are_not_ours() {
    let book = book();
    book.apply(&BudgetLease { holder: "one/0", ..grant("l1", 500, 10_000) }, 0);
    assert_eq!(book.available("c", 1), Micros::ZERO);
}

#[test]
fn an_empty_budget_is_said_so_and_asked_about_again() {
    let book = book();
    book.demands(&campaigns(), 0);
    book.apply(&grant("l1", 0, 10), 10);
    assert_eq!(book.try_spend("c", Micros(100), 20), Err(SpendRefused::Exhausted));
    assert_eq!(book.demands(&campaigns(), 30), []);
    let again = book.demands(&campaigns(), 600);
    assert_eq!(again.iter().map(|demand| demand.kind).collect::<Vec<_>>(), [LeaseRequestKind::Ask]);
    assert_eq!(book.try_spend("c", Micros(100), 601), Err(SpendRefused::Exhausted), "until there is an answer");
    book.apply(&grant("l2", 100, 10_000), 610);
    assert_eq!(book.try_spend("c", Micros(100), 620), Ok("l2".into()));
    assert_eq!(book.try_spend("c", Micros(100), 620), Err(SpendRefused::LeasePending));
}

#[test]
fn a_lost_answer_is_asked_for_again() {
    let book = book();
    book.try_spend("c", Micros(100), 0).expect_err("no lease");
    book.demands(&campaigns(), 0);
    assert_eq!(book.demands(&campaigns(), 900), []);
    assert_eq!(book.demands(&campaigns(), 1_000).len(), 1);
}

#[test]
fn demand_decides_how_much_is_asked_for() {
    let book = book();
    book.demands(&campaigns(), 0);
    book.apply(&grant("l1", 1_000, 10_000), 5);
    for _ in 0..100 {
        let _ = book.try_spend("c", Micros(100), 50);
    }
    // 10,000 in 100 ms: 100,000 a second, for a second and a half.
    assert_eq!(kinds(&book.demands(&campaigns(), 100)), [(LeaseRequestKind::Ask, 150_000)]);
}

#[test]
fn nobody_asks_for_campaigns_that_nobody_wants() {
    let book = book();
    book.demands(&campaigns(), 0);
    book.apply(&grant("l1", 1_000, 10_000), 5);
    let later = kinds(&book.demands(&campaigns(), 40_000));
    assert_eq!(later, [(LeaseRequestKind::Return, 1_000)]);
}

/// What may happen to a book.
#[derive(Clone, Debug)]
enum Act {
    Spend(i64),
    Grant { number: u8, amount: i64, life_ms: i64 },
    Revoke(u8),
    Expire(u8),
    Look,
    GiveBack,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0i64..300).prop_map(Act::Spend),
        2 => (0u8..6, -10i64..1_000, 0i64..3_000).prop_map(|(number, amount, life_ms)| Act::Grant { number, amount, life_ms }),
        1 => (0u8..6).prop_map(Act::Revoke),
        1 => (0u8..6).prop_map(Act::Expire),
        2 => Just(Act::Look),
        1 => Just(Act::GiveBack),
    ]
}

proptest! {
    /// Whatever comes in whatever order: of no lease is more used (spent and given back) than was granted first, and
    /// nothing is spent at or after its end.
    #[test]
    fn no_lease_is_overdrawn(acts in proptest::collection::vec((act(), 0i64..400), 1..80)) {
        let book = book();
        let mut granted: std::collections::BTreeMap<SmolStr, (i64, i64)> = Default::default();
        let mut used: std::collections::BTreeMap<SmolStr, i64> = Default::default();
        let mut now_ms = 0;
        for (act, pause_ms) in acts {
            now_ms += pause_ms;
            let mut returned = Vec::new();
            match act {
                Act::Spend(price) => {
                    if let Ok(lease_id) = book.try_spend("c", Micros(price), now_ms) {
                        prop_assert!(now_ms < granted[&lease_id].1, "spent after its end");
                        prop_assert!(price > 0);
                        *used.entry(lease_id).or_default() += price;
                    }
                }
                Act::Grant { number, amount, life_ms } => {
                    let lease_id = format!("l{number}");
                    // The budget service never grants twice under one id: a repetition is the same record.
                    let (amount, end_ms) = *granted.entry(lease_id.as_str().into()).or_insert((amount, now_ms + life_ms));
                    book.apply(&grant(&lease_id, amount, end_ms), now_ms);
                }
                Act::Revoke(number) => {
                    let lease_id = format!("l{number}");
                    book.apply(&BudgetLease { kind: LeaseKind::Revoke, ..grant(&lease_id, 1, 1) }, now_ms);
                }
                Act::Expire(number) => {
                    let lease_id = format!("l{number}");
                    book.apply(&BudgetLease { kind: LeaseKind::Expire, ..grant(&lease_id, 1, 1) }, now_ms);
                }
                Act::Look => returned = book.demands(&campaigns(), now_ms),
                Act::GiveBack => returned = book.give_back(now_ms),
            }
            for demand in returned.iter().filter(|demand| demand.kind == LeaseRequestKind::Return) {
                prop_assert!(demand.amount.0 > 0);
                *used.entry(demand.lease_id.clone().expect("lease")).or_default() += demand.amount.0;
            }
            for (lease_id, used) in &used {
                prop_assert!(*used <= granted[lease_id].0, "{} used of {:?}", used, granted[lease_id]);
            }
        }
    }
}
