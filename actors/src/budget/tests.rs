//! The protocol step by step; under any merging of its topics and any course of time in `properties`.

mod properties;

use runtime::service::ServiceDef;
use runtime::testkit::Kit;
use schemas::events::{
    AuctionResultEvent, AuctionResultKind, BudgetLease, LeaseKind, LeaseRequest, LeaseRequestKind, Reservation,
};

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

fn kit() -> Kit {
    let mut kit = Kit::of(ServiceDef::new(Budget::default));
    kit.now_ms = NOW_MS;
    kit
}

/// Sets a campaign's budget; `lsn` orders the changes.
fn budget(kit: &mut Kit, campaign: &str, micros: i64, lsn: i64) -> Result<Handled, Failure> {
    let change =
        CampaignState { campaign_id: campaign, active: true, budget_micros: micros, lsn, ..Default::default() };
    kit.push(&CAMPAIGN_STATES, campaign, kit.now_ms, &change)
}

fn lease_request<'a>(kit: &Kit, id: &'a str, kind: LeaseRequestKind, micros: i64) -> LeaseRequest<'a> {
    let timestamp = kit.now_ms;
    LeaseRequest {
        request_id: id,
        holder: "edge/1",
        campaign_id: "c1",
        kind,
        amount_micros: micros,
        timestamp,
        ..Default::default()
    }
}

fn send(kit: &mut Kit, request: &LeaseRequest<'_>) -> Result<Handled, Failure> {
    kit.push(&LEASE_REQUESTS, request.campaign_id, request.timestamp, request)
}

/// Asks and returns what is granted.
fn ask(kit: &mut Kit, id: &str, micros: i64) -> i64 {
    kit.take_from(&BUDGET_LEASES);
    let request = lease_request(kit, id, LeaseRequestKind::Ask, micros);
    assert_eq!(send(kit, &request), Ok(Handled::Done));
    let answers = kit.take_from(&BUDGET_LEASES);
    assert_eq!(answers.len(), 1);
    let grant: BudgetLease<'_> = answers[0].decode();
    assert_eq!((grant.kind, grant.lease_id), (LeaseKind::Grant, format!("lse-{id}").as_str()));
    grant.amount_micros
}

fn bid<'a>(kit: &Kit, id: &'a str, lease_id: &'a str, micros: i64) -> Reservation<'a> {
    Reservation {
        bid_id: id,
        campaign_id: "c1",
        lease_id,
        amount_micros: micros,
        timestamp: kit.now_ms,
        expires_at: kit.now_ms + 60_000,
        ..Default::default()
    }
}

fn reserve(kit: &mut Kit, reservation: &Reservation<'_>) -> Result<Handled, Failure> {
    kit.push(&RESERVATIONS, reservation.campaign_id, reservation.timestamp, reservation)
}

fn outcome<'a>(kit: &Kit, id: &'a str, kind: AuctionResultKind, price: Option<i64>) -> AuctionResultEvent<'a> {
    AuctionResultEvent {
        bid_id: id,
        campaign_id: "c1",
        kind,
        timestamp: kit.now_ms,
        clearing_price_micros: price,
        ..Default::default()
    }
}

fn end(kit: &mut Kit, id: &str, kind: AuctionResultKind, price: Option<i64>) -> Result<Handled, Failure> {
    let result = outcome(kit, id, kind, price);
    kit.push(&AUCTION_RESULTS, "c1", result.timestamp, &result)
}

fn lost(kit: &mut Kit, id: &str) -> Result<Handled, Failure> {
    end(kit, id, AuctionResultKind::Loss, None)
}

fn billed(kit: &mut Kit, id: &str, price: i64) -> Result<Handled, Failure> {
    end(kit, id, AuctionResultKind::Billed, Some(price))
}

/// budget, posted, pending, overrun of the campaign as it is told next.
fn status(kit: &mut Kit) -> [i64; 4] {
    kit.tick();
    let told = kit.take_from(&BUDGET_STATUS);
    let status: BudgetStatus<'_> = told.last().expect("a status of the changed campaign").decode();
    [status.budget_micros, status.posted_micros, status.pending_micros, status.overrun_micros]
}

fn code(result: Result<Handled, Failure>) -> (&'static str, &'static str) {
    let failure = result.expect_err("refused");
    (failure.kind(), failure.reason().code)
}

const SEMANTIC: (&str, &str) = ("PERMANENT", "SEMANTIC_VIOLATION");
const CONFLICT: (&str, &str) = ("PERMANENT", "ID_CONFLICT");

#[test]
fn a_bid_takes_its_money_through_lease_and_reservation() {
    let mut kit = kit();
    budget(&mut kit, "c1", 100_000, 1).unwrap();
    assert_eq!(ask(&mut kit, "r1", 5_000), 5_000);
    assert_eq!(status(&mut kit), [100_000, 0, 5_000, 0]);
    let event = bid(&kit, "b1", "lse-r1", 700);
    assert_eq!(reserve(&mut kit, &event), Ok(Handled::Done));
    assert_eq!(reserve(&mut kit, &event), Ok(Handled::Duplicate));
    assert_eq!(status(&mut kit), [100_000, 0, 5_000, 0]);
    assert_eq!(end(&mut kit, "b1", AuctionResultKind::Win, Some(400)), Ok(Handled::Done));
    assert_eq!(billed(&mut kit, "b1", 400), Ok(Handled::Done));
    assert_eq!(status(&mut kit), [100_000, 400, 4_300, 0]);
    let event = bid(&kit, "b2", "lse-r1", 300);
    reserve(&mut kit, &event).unwrap();
    assert_eq!(lost(&mut kit, "b2"), Ok(Handled::Done));
    assert_eq!(status(&mut kit), [100_000, 400, 4_000, 0]);
    // Nothing changed since: nothing to tell.
    kit.tick();
    assert!(kit.take().is_empty());
}

#[test]
fn grants_halve_what_is_free_and_never_pass_it() {
    let mut kit = kit();
    assert_eq!(ask(&mut kit, "r0", 1), 0);
    budget(&mut kit, "c1", 100_000, 1).unwrap();
    let grants: Vec<i64> = (1..10).map(|n| ask(&mut kit, &format!("r{n}"), 60_000)).collect();
    assert_eq!(grants, [50_000, 25_000, 12_500, 10_000, 2_500, 0, 0, 0, 0]);
    assert_eq!(status(&mut kit), [100_000, 0, 100_000, 0]);
    let request = lease_request(&kit, "last", LeaseRequestKind::Ask, 5);
    send(&mut kit, &request).unwrap();
    let emitted = kit.take();
    let refusal: BudgetLease<'_> = emitted.last().unwrap().decode();
    assert_eq!((refusal.amount_micros, refusal.metadata.get("refusal")), (0, Some("exhausted")));
    assert_eq!(refusal.expires_at, kit.now_ms);
}

#[test]
fn requests_repeat_without_effect() {
    let mut kit = kit();
    budget(&mut kit, "c1", 100_000, 1).unwrap();
    ask(&mut kit, "r1", 5_000);
    let request = lease_request(&kit, "r1", LeaseRequestKind::Ask, 5_000);
    assert_eq!(send(&mut kit, &request), Ok(Handled::Duplicate));
    assert_eq!(code(send(&mut kit, &LeaseRequest { amount_micros: 1, ..request })), CONFLICT);
    assert!(kit.take_from(&BUDGET_LEASES).is_empty());
    kit.now_ms += 2 * 3_600_000;
    ask(&mut kit, "r2", 5_000);
    assert_eq!(code(send(&mut kit, &request)).0, "EXPIRED");
}

#[test]
fn what_is_unspent_comes_back() {
    let mut kit = kit();
    budget(&mut kit, "c1", 100_000, 1).unwrap();
    ask(&mut kit, "r1", 5_000);
    let event = bid(&kit, "b1", "lse-r1", 700);
    reserve(&mut kit, &event).unwrap();
    let give_back = |kit: &Kit, id, micros| LeaseRequest {
        lease_id: Some("lse-r1"),
        ..lease_request(kit, id, LeaseRequestKind::Return, micros)
    };
    let too_much = give_back(&kit, "r2", 4_301);
    assert_eq!(code(send(&mut kit, &too_much)), SEMANTIC);
    let foreign = LeaseRequest { holder: "edge/2", ..give_back(&kit, "r3", 1) };
    assert_eq!(code(send(&mut kit, &foreign)), SEMANTIC);
    let unknown = LeaseRequest { lease_id: Some("lse-x"), ..give_back(&kit, "r4", 1) };
    assert_eq!(code(send(&mut kit, &unknown)), ("EXPIRED", "REFERENCE_MISSING"));
    let rest = give_back(&kit, "r5", 4_300);
    assert_eq!(send(&mut kit, &rest), Ok(Handled::Done));
    let emitted = kit.take_from(&BUDGET_LEASES);
    let told: BudgetLease<'_> = emitted.last().unwrap().decode();
    assert_eq!((told.kind, told.amount_micros), (LeaseKind::Return, 4_300));
    assert_eq!(status(&mut kit), [100_000, 0, 700, 0]);
}

#[test]
fn a_lease_is_released_after_its_life_and_the_longest_reservation() {
    let mut kit = kit();
    budget(&mut kit, "c1", 100_000, 1).unwrap();
    ask(&mut kit, "r1", 5_000);
    kit.advance(69_999);
    assert_eq!((kit.rows("leases"), kit.rows("open_leases")), (1, 1));
    kit.restart();
    kit.advance(1);
    assert_eq!((kit.rows("leases"), kit.rows("open_leases")), (0, 0));
    let emitted = kit.take_from(&BUDGET_LEASES);
    let told: BudgetLease<'_> = emitted.last().unwrap().decode();
    assert_eq!((told.kind, told.amount_micros), (LeaseKind::Expire, 5_000));
    kit.take();
    // A bid made from it, seen only now, is covered by what is free.
    let event = bid(&kit, "b1", "lse-r1", 700);
    reserve(&mut kit, &event).unwrap();
    assert_eq!(status(&mut kit), [100_000, 0, 700, 0]);
}

#[test]
fn a_sale_after_the_reservations_end_is_borne_by_the_platform() {
    let mut kit = kit();
    budget(&mut kit, "c1", 100_000, 1).unwrap();
    ask(&mut kit, "r1", 5_000);
    for id in ["b1", "b2", "b3"] {
        let event = bid(&kit, id, "lse-r1", 700);
        reserve(&mut kit, &event).unwrap();
    }
    let on_time = outcome(&kit, "b2", AuctionResultKind::Billed, Some(500));
    kit.now_ms += 60_001;
    // Late by its own time, whether we had already given up or not.
    billed(&mut kit, "b1", 600).unwrap();
    kit.advance(10_000);
    assert_eq!(kit.take_from(&BUDGET_STATUS).len(), 1);
    // On time by its own time, and only we are late: posted from what is free.
    kit.push(&AUCTION_RESULTS, "c1", on_time.timestamp, &on_time).unwrap();
    billed(&mut kit, "b3", 1).unwrap();
    assert_eq!(status(&mut kit), [100_000, 500, 0, 601]);
    assert_eq!(billed(&mut kit, "b3", 1), Ok(Handled::Duplicate));
    assert_eq!(code(billed(&mut kit, "b3", 2)), CONFLICT);
}

#[test]
fn results_may_come_before_their_reservation() {
    let mut kit = kit();
    budget(&mut kit, "c1", 100_000, 1).unwrap();
    ask(&mut kit, "r1", 5_000);
    billed(&mut kit, "b1", 400).unwrap();
    assert_eq!(billed(&mut kit, "b1", 400), Ok(Handled::Duplicate));
    assert_eq!(code(billed(&mut kit, "b1", 401)), CONFLICT);
    lost(&mut kit, "b2").unwrap();
    lost(&mut kit, "b3").unwrap();
    billed(&mut kit, "b3", 300).unwrap();
    kit.restart();
    assert_eq!(status(&mut kit), [100_000, 0, 5_000, 0]);
    for id in ["b1", "b2", "b3"] {
        let event = bid(&kit, id, "lse-r1", 700);
        reserve(&mut kit, &event).unwrap();
        assert_eq!(reserve(&mut kit, &event), Ok(Handled::Duplicate));
    }
    assert_eq!(status(&mut kit), [100_000, 700, 2_900, 0]);
}

#[test]
fn a_sale_whose_reservation_never_comes_is_posted_all_the_same() {
    let mut kit = kit();
    budget(&mut kit, "c1", 100_000, 1).unwrap();
    billed(&mut kit, "b1", 400).unwrap();
    kit.advance(10 * 60_000);
    assert_eq!(status(&mut kit), [100_000, 400, 0, 0]);
    let event = bid(&kit, "b1", "lse-r1", 700);
    assert_eq!(reserve(&mut kit, &event), Ok(Handled::Done));
    assert_eq!(billed(&mut kit, "b1", 400), Ok(Handled::Duplicate));
    kit.advance(15 * 60_000);
    assert_eq!(kit.rows("bids"), 0);
}

#[test]
fn no_sale_passes_the_budget() {
    let mut kit = kit();
    budget(&mut kit, "c1", 1_000, 1).unwrap();
    assert_eq!(ask(&mut kit, "r1", 5_000), 1_000);
    // A holder that spends twice what it has.
    for id in ["b1", "b2"] {
        let event = bid(&kit, id, "lse-r1", 900);
        reserve(&mut kit, &event).unwrap();
    }
    billed(&mut kit, "b1", 900).unwrap();
    billed(&mut kit, "b2", 800).unwrap();
    assert_eq!(status(&mut kit), [1_000, 1_000, 0, 700]);
}

#[test]
fn a_cut_takes_effect_as_far_as_it_can() {
    let mut kit = kit();
    budget(&mut kit, "c1", 100_000, 1).unwrap();
    ask(&mut kit, "r1", 5_000);
    for id in ["b1", "b2"] {
        let event = bid(&kit, id, "lse-r1", 1_000);
        reserve(&mut kit, &event).unwrap();
    }
    kit.take();
    budget(&mut kit, "c1", 1_500, 2).unwrap();
    let emitted = kit.take_from(&BUDGET_LEASES);
    let told: BudgetLease<'_> = emitted[0].decode();
    assert_eq!((told.kind, told.amount_micros, told.epoch), (LeaseKind::Revoke, 3_000, 2));
    assert_eq!(status(&mut kit), [5_000, 0, 5_000, 0]);
    assert_eq!(ask(&mut kit, "r2", 1), 0);
    lost(&mut kit, "b1").unwrap();
    billed(&mut kit, "b2", 1_000).unwrap();
    assert_eq!(status(&mut kit), [4_000, 1_000, 3_000, 0]);
    kit.advance(70_000);
    assert_eq!(status(&mut kit), [1_500, 1_000, 0, 0]);
    assert_eq!(ask(&mut kit, "r3", 10_000), 500);
}

#[test]
fn campaign_states_apply_in_their_order() {
    let mut kit = kit();
    let state = |lsn, revision, micros| CampaignState {
        campaign_id: "c1",
        active: true,
        budget_micros: micros,
        lsn,
        metadata: Map::from_pairs(revision),
        ..Default::default()
    };
    let mut push = |event: CampaignState<'_>| kit.push(&CAMPAIGN_STATES, "c1", 0, &event);
    assert_eq!(push(state(5, &[("revision", "1")], 10)), Ok(Handled::Done));
    assert_eq!(push(state(5, &[("revision", "2")], 20)), Ok(Handled::Done));
    assert_eq!(push(state(5, &[("revision", "1")], 10)), Ok(Handled::Duplicate));
    assert_eq!(push(state(5, &[("revision", "2")], 20)), Ok(Handled::Duplicate));
    assert_eq!(push(state(4, &[("revision", "9")], 30)), Ok(Handled::Duplicate));
    assert_eq!(code(push(state(6, &[], -1))), SEMANTIC);
    assert_eq!(code(push(state(6, &[], i64::MAX))), SEMANTIC);
    assert_eq!(push(CampaignState { deleted: true, ..state(7, &[], 40) }), Ok(Handled::Done));
    assert_eq!(status(&mut kit), [0, 0, 0, 0]);
}

#[test]
fn a_paused_campaign_borrows_nothing_and_its_holders_are_told() {
    let mut kit = kit();
    budget(&mut kit, "c1", 100_000, 1).unwrap();
    ask(&mut kit, "r1", 5_000);
    let paused = CampaignState { campaign_id: "c1", budget_micros: 100_000, lsn: 2, ..Default::default() };
    kit.push(&CAMPAIGN_STATES, "c1", 0, &paused).unwrap();
    let emitted = kit.take_from(&BUDGET_LEASES);
    assert_eq!(emitted.len(), 1);
    assert_eq!(emitted[0].decode::<BudgetLease<'_>>().kind, LeaseKind::Revoke);
    assert_eq!(ask(&mut kit, "r2", 5_000), 0);
}

#[test]
fn a_new_incarnation_ends_the_leases_of_the_old_one() {
    let mut kit = kit();
    budget(&mut kit, "c1", 100_000, 1).unwrap();
    for (id, holder) in [("r1", "edge/1"), ("r2", "edge/2"), ("r3", "edge-b/1")] {
        let request = LeaseRequest { holder, ..lease_request(&kit, id, LeaseRequestKind::Ask, 5_000) };
        send(&mut kit, &request).unwrap();
    }
    kit.take();
    let start = LeaseRequest { holder: "edge/2", ..lease_request(&kit, "start", LeaseRequestKind::Start, 0) };
    send(&mut kit, &start).unwrap();
    let emitted = kit.take();
    let told: Vec<_> = emitted.iter().map(|e| e.decode::<BudgetLease<'_>>()).collect();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].kind, told[0].lease_id), (LeaseKind::Revoke, "lse-r1"));
    assert_eq!(status(&mut kit), [100_000, 0, 15_000, 0]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut kit = kit();
    budget(&mut kit, "c1", 100_000, 1).unwrap();
    ask(&mut kit, "r1", 5_000);
    for micros in [0, -1, 1_000_001, i64::MAX, i64::MIN] {
        let event = bid(&kit, "b1", "lse-r1", micros);
        assert_eq!(code(reserve(&mut kit, &event)), SEMANTIC, "{micros}");
    }
    for micros in [0, -1, i64::MIN] {
        let request = lease_request(&kit, "r2", LeaseRequestKind::Ask, micros);
        assert_eq!(code(send(&mut kit, &request)), SEMANTIC, "{micros}");
    }
    let request = LeaseRequest { holder: "", ..lease_request(&kit, "r2", LeaseRequestKind::Ask, 1) };
    assert_eq!(code(send(&mut kit, &request)), SEMANTIC);
    let event = bid(&kit, "b1", "lse-r1", 700);
    reserve(&mut kit, &event).unwrap();
    assert_eq!(code(billed(&mut kit, "b1", 701)), SEMANTIC);
    assert_eq!(code(billed(&mut kit, "b1", -1)), SEMANTIC);
    assert_eq!(code(end(&mut kit, "b1", AuctionResultKind::Billed, None)), SEMANTIC);
    billed(&mut kit, "b1", 700).unwrap();
    assert_eq!(code(lost(&mut kit, "b1")), SEMANTIC);
    let event = Reservation { amount_micros: 699, ..event };
    assert_eq!(code(reserve(&mut kit, &event)), CONFLICT);
    let event = Reservation { campaign_id: "c2", ..event };
    assert_eq!(code(reserve(&mut kit, &event)), CONFLICT);
    for topic in Budget::spec().inputs {
        assert_eq!(code(kit.push_bytes(topic, "c1", 0, b"\x00\x00garbage")).0, "PERMANENT");
    }
    assert_eq!(status(&mut kit), [100_000, 700, 4_300, 0]);
}
