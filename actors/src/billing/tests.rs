//! The ledger against what it says of itself, and against an oracle that knows no order and no tables.

use std::collections::BTreeMap;

use proptest::prelude::*;
use runtime::service::ServiceDef;
use runtime::testkit::{Emitted, Kit};
use schemas::codec::{Array, Map};
use schemas::events::{BillingEvent, PricingModel, TransferKind};

use super::transfer::REASON_INVALID_TRAFFIC;
use super::*;

const DAY_MS: i64 = 86_400_000;
/// 2023-11-14, the kit's clock.
const NOON_MS: i64 = 1_700_000_000_000;

fn kit() -> Kit {
    Kit::of(ServiceDef::new(Billing::default))
}

fn impression<'a>(
    id: &'a str,
    campaign: &'a str,
    price: i64,
    metadata: &'a [(&'a str, &'a str)],
) -> ImpressionEvent<'a> {
    ImpressionEvent {
        event_id: id,
        timestamp: NOON_MS,
        campaign_id: campaign,
        creative_id: "creative",
        placement_id: "placement",
        user_id: None,
        bid_price_micros: price.saturating_add(1),
        win_price_micros: price,
        metadata: Map::from_pairs(metadata),
    }
}

fn verdict<'a>(id: &'a str, verdict: Verdict) -> FraudVerdict<'a> {
    FraudVerdict {
        target_event_id: id,
        target_topic: "impressions",
        timestamp: NOON_MS,
        verdict,
        rules: Array::from_slice(&["rule"]),
        score: 1.0,
        ruleset_version: "7",
        campaign_id: "c",
        metadata: Map::default(),
    }
}

fn charge(kit: &mut Kit, event: &ImpressionEvent<'_>) -> Result<Handled, Failure> {
    kit.push(&IMPRESSIONS, event.event_id, event.timestamp, event)
}

fn judge(kit: &mut Kit, event: &FraudVerdict<'_>) -> Result<Handled, Failure> {
    kit.push(&FRAUD_VERDICTS, event.target_event_id, event.timestamp, event)
}

fn code(result: Result<Handled, Failure>) -> (&'static str, &'static str) {
    let failure = result.expect_err("refused");
    (failure.kind(), failure.reason().code)
}

/// Net of every account, folded from the published transfers alone.
fn balances(transfers: &[Emitted]) -> BTreeMap<String, i64> {
    let mut net = BTreeMap::new();
    for transfer in transfers {
        let transfer: BillingEvent<'_> = transfer.decode();
        *net.entry(transfer.debit_account.to_owned()).or_default() += transfer.amount_micros;
        *net.entry(transfer.credit_account.to_owned()).or_default() -= transfer.amount_micros;
    }
    net.retain(|_, micros: &mut i64| *micros != 0);
    net
}

#[test]
fn an_impression_is_charged_exactly() {
    let mut kit = kit();
    let context = [("advertiser_id", "adv-1"), ("auction_id", "auction-1"), ("ua", "agent")];
    assert_eq!(charge(&mut kit, &impression("imp-1", "c1", 2_501, &context)), Ok(Handled::Done));
    let emitted = kit.take();
    assert_eq!(emitted.len(), 1);
    assert_eq!((emitted[0].topic, emitted[0].key.as_str()), ("billing-events", "c1"));
    let expected = BillingEvent {
        transfer_id: "chg-imp-1",
        timestamp: NOON_MS,
        kind: TransferKind::Charge,
        model: PricingModel::Cpm,
        source_event_id: "imp-1",
        campaign_id: "c1",
        advertiser_id: "adv-1",
        debit_account: "campaign:c1:receivable",
        credit_account: "exchange:payable",
        amount_micros: 2_501,
        currency: "USD",
        reverses: None,
        reason_code: 0,
        period: "2023-11",
        metadata: Map::from_pairs(&[("auction_id", "auction-1")]),
    };
    assert_eq!(emitted[0].decode::<BillingEvent<'_>>(), expected);
}

#[test]
fn a_late_verdict_reverses_once() {
    let mut kit = kit();
    charge(&mut kit, &impression("imp-1", "c1", 2_500, &[("advertiser_id", "adv-1")])).unwrap();
    assert_eq!(judge(&mut kit, &verdict("imp-1", Verdict::SivtSuspect)), Ok(Handled::Done));
    kit.take();
    assert_eq!(judge(&mut kit, &verdict("imp-1", Verdict::Givt)), Ok(Handled::Done));
    assert_eq!(judge(&mut kit, &verdict("imp-1", Verdict::Givt)), Ok(Handled::Duplicate));
    let emitted = kit.take();
    assert_eq!(emitted.len(), 1);
    let reversal: BillingEvent<'_> = emitted[0].decode();
    assert_eq!((reversal.transfer_id, reversal.reverses), ("rev-imp-1", Some("chg-imp-1")));
    assert_eq!((reversal.kind, reversal.reason_code), (TransferKind::Reversal, REASON_INVALID_TRAFFIC));
    assert_eq!((reversal.debit_account, reversal.credit_account), ("platform:ivt_credit", "campaign:c1:receivable"));
    assert_eq!((reversal.amount_micros, reversal.advertiser_id), (2_500, "adv-1"));
    assert_eq!(reversal.metadata.get("ruleset_version"), Some("7"));
}

#[test]
fn a_verdict_that_comes_first_waits_for_its_impression() {
    let mut kit = kit();
    assert_eq!(judge(&mut kit, &verdict("imp-1", Verdict::Givt)), Ok(Handled::Done));
    assert_eq!(judge(&mut kit, &verdict("imp-1", Verdict::Givt)), Ok(Handled::Duplicate));
    assert!(kit.take().is_empty());
    kit.restart();
    charge(&mut kit, &impression("imp-1", "c1", 2_500, &[])).unwrap();
    let emitted = kit.take();
    let kinds: Vec<_> = emitted.iter().map(|e| e.decode::<BillingEvent<'_>>().kind).collect();
    assert_eq!(kinds, [TransferKind::Charge, TransferKind::Reversal]);
    assert_eq!(judge(&mut kit, &verdict("imp-1", Verdict::Givt)), Ok(Handled::Duplicate));
    assert_eq!(kit.rows("early_verdicts"), 0);
}

#[test]
fn a_repeated_impression_is_absorbed_and_another_under_its_id_refused() {
    let mut kit = kit();
    charge(&mut kit, &impression("imp-1", "c1", 2_500, &[])).unwrap();
    kit.take();
    assert_eq!(charge(&mut kit, &impression("imp-1", "c1", 2_500, &[])), Ok(Handled::Duplicate));
    for other in [impression("imp-1", "c1", 2_499, &[]), impression("imp-1", "c2", 2_500, &[])] {
        assert_eq!(code(charge(&mut kit, &other)), ("PERMANENT", "ID_CONFLICT"));
    }
    assert!(kit.take().is_empty());
}

#[test]
fn tests_scans_and_free_impressions_are_not_charged() {
    let mut kit = kit();
    for (id, price, metadata) in
        [("imp-1", 2_500, [("test", "1")]), ("imp-2", 2_500, [("price_raw", "AUDIT")]), ("imp-3", 0, [("test", "0")])]
    {
        assert_eq!(charge(&mut kit, &impression(id, "c1", price, &metadata)), Ok(Handled::Done));
        assert_eq!(judge(&mut kit, &verdict(id, Verdict::Givt)), Ok(Handled::Done));
        assert_eq!(judge(&mut kit, &verdict(id, Verdict::Givt)), Ok(Handled::Duplicate));
    }
    assert!(kit.take().is_empty());
    assert_eq!(kit.rows("balances"), 0);
}

#[test]
fn what_cannot_be_a_charge_is_refused() {
    let mut kit = kit();
    let semantic = ("PERMANENT", "SEMANTIC_VIOLATION");
    let long = "x".repeat(257);
    for (event, expected) in [
        (impression("imp-1", "c1", -1, &[]), semantic),
        (impression("imp-1", "c1", 1_000_001, &[]), semantic),
        (impression("imp-1", "c1", i64::MAX, &[]), semantic),
        (impression("imp-1", "", 1, &[]), semantic),
        (impression("imp-1", &long, 1, &[]), semantic),
        (impression("", "c1", 1, &[]), semantic),
        (impression("imp-1", "c1", 1, &[("currency", "XXX")]), semantic),
        (ImpressionEvent { timestamp: -1, ..impression("imp-1", "c1", 1, &[]) }, ("PERMANENT", "TIMESTAMP_RANGE")),
        (
            ImpressionEvent { timestamp: i64::MAX, ..impression("imp-1", "c1", 1, &[]) },
            ("PERMANENT", "TIMESTAMP_RANGE"),
        ),
    ] {
        assert_eq!(code(kit.push(&IMPRESSIONS, "key", 0, &event)), expected, "{event:?}");
    }
    assert_eq!(code(kit.push_bytes(&IMPRESSIONS, "key", 0, &[0, 0, 0, 0, 1, 0xff])).0, "PERMANENT");
    assert_eq!(code(kit.push_bytes(&FRAUD_VERDICTS, "key", 0, b"")).0, "PERMANENT");
    assert!(kit.take().is_empty() && kit.contents().is_empty());
}

#[test]
fn verdicts_on_clicks_cost_nothing() {
    let mut kit = kit();
    charge(&mut kit, &impression("e-1", "c1", 2_500, &[])).unwrap();
    kit.take();
    judge(&mut kit, &FraudVerdict { target_topic: "clicks", ..verdict("e-1", Verdict::Givt) }).unwrap();
    assert!(kit.take().is_empty());
}

#[test]
fn charges_are_kept_for_the_horizon_and_balances_for_ever() {
    let mut kit = kit();
    let at = |id, days: i64| ImpressionEvent { timestamp: NOON_MS + days * DAY_MS, ..impression(id, "c1", 100, &[]) };
    kit.now_ms = NOON_MS + 2 * DAY_MS;
    for event in [at("imp-1", 0), at("imp-2", 0), at("imp-3", 1)] {
        charge(&mut kit, &event).unwrap();
    }
    judge(&mut kit, &verdict("never-comes", Verdict::Givt)).unwrap();
    // Exactly a day later everything is still known.
    assert_eq!(charge(&mut kit, &at("imp-2", 0)), Ok(Handled::Duplicate));
    let next = ImpressionEvent { timestamp: NOON_MS + DAY_MS + 1, ..at("imp-4", 0) };
    charge(&mut kit, &next).unwrap();
    assert_eq!((kit.rows("charges"), kit.rows("early_verdicts")), (2, 0));
    assert_eq!(code(judge(&mut kit, &verdict("imp-1", Verdict::Givt))), ("PERMANENT", "REFERENCE_MISSING"));
    assert_eq!(code(charge(&mut kit, &at("imp-1", 0))), ("EXPIRED", "EXPIRED"));
    assert_eq!(balances(&kit.take())["campaign:c1:receivable"], 400);
}

#[test]
fn an_event_from_the_future_does_not_end_the_present() {
    let mut kit = kit();
    let future = ImpressionEvent { timestamp: NOON_MS + 300 * DAY_MS, ..impression("imp-1", "c1", 100, &[]) };
    charge(&mut kit, &future).unwrap();
    assert_eq!(charge(&mut kit, &impression("imp-2", "c1", 100, &[])), Ok(Handled::Done));
}

#[derive(Clone, Debug)]
enum Input {
    Impression { id: u8, campaign: u8, price: i64, test: bool },
    Verdict { id: u8, verdict: Verdict },
}

fn inputs() -> impl Strategy<Value = (Vec<Input>, Vec<Input>)> {
    let verdicts = prop_oneof![Just(Verdict::Givt), Just(Verdict::SivtSuspect), Just(Verdict::Valid)];
    let impression = (0..12u8, 0..3u8, -1..4i64, prop::bool::weighted(0.1))
        .prop_map(|(id, campaign, price, test)| Input::Impression { id, campaign, price: price * 1_000, test });
    let verdict = (0..14u8, verdicts).prop_map(|(id, verdict)| Input::Verdict { id, verdict });
    (prop::collection::vec(impression, 0..30), prop::collection::vec(verdict, 0..30))
}

fn push(kit: &mut Kit, input: &Input) -> Result<Handled, Failure> {
    match input {
        Input::Impression { id, campaign, price, test } => {
            let metadata: &[(&str, &str)] = if *test { &[("test", "1")] } else { &[] };
            charge(kit, &impression(&format!("imp-{id}"), &format!("c{campaign}"), *price, metadata))
        }
        Input::Verdict { id, verdict: judged } => judge(kit, &verdict(&format!("imp-{id}"), *judged)),
    }
}

/// What is owed at the end, straight from the definition: the first acceptable impression of an id counts, unless any
/// verdict says that it is invalid.
fn oracle(impressions: &[Input], verdicts: &[Input]) -> BTreeMap<String, i64> {
    let mut first = BTreeMap::new();
    for input in impressions {
        if let Input::Impression { id, campaign, price: 0.., test } = input {
            let Input::Impression { price, .. } = input else { unreachable!() };
            first.entry(*id).or_insert((*campaign, if *test { 0 } else { *price }));
        }
    }
    let invalid =
        |id: u8| verdicts.iter().any(|v| matches!(v, Input::Verdict { id: of, verdict: Verdict::Givt } if *of == id));
    let mut net: BTreeMap<String, i64> = BTreeMap::new();
    for (id, (campaign, price)) in first {
        *net.entry("exchange:payable".into()).or_default() -= price;
        let bearer =
            if invalid(id) { "platform:ivt_credit".into() } else { format!("campaign:c{campaign}:receivable") };
        *net.entry(bearer).or_default() += price;
    }
    net.retain(|_, micros| *micros != 0);
    net
}

/// Merges two inputs, each in its order, as `choices` say.
fn merge<'a>(a: &'a [Input], b: &'a [Input], choices: &[bool]) -> Vec<&'a Input> {
    let (mut a, mut b) = (a.iter(), b.iter());
    let mut merged = Vec::new();
    for take_a in choices {
        merged.extend(if *take_a { a.next() } else { b.next() });
    }
    merged.extend(a.chain(b));
    merged
}

proptest! {
    #[test]
    fn any_merging_of_the_inputs_gives_the_ledger_of_the_oracle(
        (impressions, verdicts) in inputs(),
        choices in prop::collection::vec(any::<bool>(), 0..60),
        restart_at in 0..60usize,
    ) {
        let expected = oracle(&impressions, &verdicts);
        let mut kit = kit();
        for (n, input) in merge(&impressions, &verdicts, &choices).into_iter().enumerate() {
            if n == restart_at {
                let before = kit.contents();
                kit.restart();
                prop_assert_eq!(&before, &kit.contents());
            }
            let _ = push(&mut kit, input);
        }
        let transfers = kit.take();
        prop_assert_eq!(balances(&transfers), expected);
        let mut ids: Vec<String> =
            transfers.iter().map(|e| e.decode::<BillingEvent<'_>>().transfer_id.to_owned()).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), all, "a transfer was written twice");
    }
}
