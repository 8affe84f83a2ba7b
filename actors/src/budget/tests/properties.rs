//! Any merging of the topics, any course of time.

use std::collections::BTreeMap;

use proptest::prelude::*;
use runtime::testkit::Emitted;

use super::*;

/// What happens to one bid, by the two topics that tell of it.
#[derive(Clone, Debug)]
struct Fate {
    amount: i64,
    price: Option<i64>,
    lost: bool,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = (1..500i64, prop::option::of(0..100i64), any::<bool>()).prop_map(|(amount, percent, lost)| Fate {
        amount,
        price: percent.map(|p| amount * p / 100),
        lost,
    });
    prop::collection::vec(fate, 1..20)
}

proptest! {
    /// With money enough, the order in which reservations and results were merged is of no consequence.
    #[test]
    fn any_merging_of_reservations_and_results_posts_the_same(
        fates in fates(),
        choices in prop::collection::vec(any::<bool>(), 0..60),
    ) {
        let mut kit = kit();
        budget(&mut kit, "c1", 100_000, 1).unwrap();
        ask(&mut kit, "r1", 50_000);
        let mut results = fates.iter().enumerate().flat_map(|(n, fate)| {
            let loss = fate.lost.then_some((n, None));
            loss.into_iter().chain(fate.price.map(|price| (n, Some(price))))
        });
        let mut reservations = fates.iter().enumerate();
        let mut take = |reservation: bool| -> bool {
            if reservation {
                let Some((n, fate)) = reservations.next() else { return false };
                let id = n.to_string();
                let event = bid(&kit, &id, "lse-r1", fate.amount);
                reserve(&mut kit, &event).unwrap();
            } else {
                match results.next() {
                    None => return false,
                    Some((n, None)) => { lost(&mut kit, &n.to_string()).unwrap(); }
                    Some((n, Some(price))) => { billed(&mut kit, &n.to_string(), price).unwrap(); }
                }
            }
            true
        };
        choices.iter().for_each(|choice| { take(*choice); });
        while take(true) || take(false) {}
        let posted: i64 = fates.iter().filter_map(|fate| fate.price).sum();
        let resolved = |fate: &&Fate| fate.lost || fate.price.is_some();
        let gone: i64 = fates.iter().filter(resolved).map(|fate| fate.amount).sum();
        prop_assert_eq!(status(&mut kit), [100_000, posted, 50_000 - gone, 0]);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Budget(i64),
    Ask(i64),
    Return { lease: u8, micros: i64 },
    Reserve { bid: u8, lease: u8, micros: i64 },
    Lost { bid: u8 },
    Billed { bid: u8, price: i64 },
    Pass { seconds: i64 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..30_000i64).prop_map(Step::Budget),
        3 => (1..20_000i64).prop_map(Step::Ask),
        1 => (0..8u8, 1..9_000i64).prop_map(|(lease, micros)| Step::Return { lease, micros }),
        6 => (0..40u8, 0..8u8, 1..5_000i64).prop_map(|(bid, lease, micros)| Step::Reserve { bid, lease, micros }),
        2 => (0..40u8).prop_map(|bid| Step::Lost { bid }),
        4 => (0..40u8, 0..5_000i64).prop_map(|(bid, price)| Step::Billed { bid, price }),
        3 => (1..50i64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Restart),
    ]
}

/// Sums of what the service told about leases, by kind.
fn lease_sums(emitted: &[Emitted]) -> BTreeMap<&'static str, i64> {
    let mut sums = BTreeMap::new();
    for event in emitted.iter().filter(|event| event.topic == BUDGET_LEASES.name) {
        let told: BudgetLease<'_> = event.decode();
        *sums.entry(told.kind.as_str()).or_default() += told.amount_micros;
    }
    sums
}

proptest! {
    /// Whatever bidders, exchanges, owners and time do: the kit checks the invariants after every step, every sale that
    /// was taken is posted or an overrun, and in the end nothing is pending and nothing is forgotten.
    #[test]
    fn money_is_conserved_whatever_happens(steps in prop::collection::vec(step(), 1..80)) {
        let mut kit = kit();
        let (mut sold, mut asked, mut lsn, mut wanted, mut highest) = (0, 0, 0, 0, 0);
        for (n, step) in steps.into_iter().enumerate() {
            let lease_id = |lease| format!("lse-a{lease}");
            match step {
                Step::Budget(micros) => {
                    (lsn, wanted, highest) = (lsn + 1, micros, micros.max(highest));
                    budget(&mut kit, "c1", micros, lsn).unwrap();
                }
                Step::Ask(micros) => {
                    let id = format!("a{asked}");
                    asked += 1;
                    let request = lease_request(&kit, &id, LeaseRequestKind::Ask, micros);
                    send(&mut kit, &request).unwrap();
                }
                Step::Return { lease, micros } => {
                    let (id, lease_id) = (format!("t{n}"), lease_id(lease));
                    let request = LeaseRequest {
                        lease_id: Some(&lease_id),
                        ..lease_request(&kit, &id, LeaseRequestKind::Return, micros)
                    };
                    let _ = send(&mut kit, &request);
                }
                Step::Reserve { bid: id, lease, micros } => {
                    let (id, lease_id) = (id.to_string(), lease_id(lease));
                    let event = bid(&kit, &id, &lease_id, micros);
                    let _ = reserve(&mut kit, &event);
                }
                Step::Lost { bid } => { let _ = lost(&mut kit, &bid.to_string()); }
                Step::Billed { bid, price } => {
                    if billed(&mut kit, &bid.to_string(), price) == Ok(Handled::Done) {
                        sold += price;
                    }
                }
                Step::Pass { seconds } => kit.advance(seconds * 1_000),
                Step::Restart => {
                    let before = kit.contents();
                    kit.restart();
                    prop_assert_eq!(before, kit.contents());
                }
            }
        }
        // Long enough for every lease, reservation and memory to end.
        for _ in 0..4 {
            kit.advance(15 * 60_000);
        }
        prop_assert_eq!(kit.rows("leases") + kit.rows("bids") + kit.rows("open_leases"), 0);
        let emitted = kit.take();
        let sums = lease_sums(&emitted);
        let of = |kind| sums.get(kind).copied().unwrap_or(0);
        prop_assert!(of("RETURN") + of("EXPIRE") <= of("GRANT"));
        let last = emitted.iter().rfind(|event| event.topic == BUDGET_STATUS.name);
        let Some(status) = last.map(|event| event.decode::<BudgetStatus<'_>>()) else { return Ok(()) };
        prop_assert_eq!(status.posted_micros + status.overrun_micros, sold);
        prop_assert_eq!(status.pending_micros, 0);
        prop_assert_eq!(status.budget_micros, wanted.max(status.posted_micros));
        prop_assert!(status.posted_micros <= highest);
    }
}
