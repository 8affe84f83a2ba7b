//! How a service is put through the contract suite by whoever writes one.

use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event, Service, ServiceDef};
use runtime::state::Table;
use runtime::testkit::{Inputs, contract};
use runtime::topology::{Class, Order, ServiceSpec, Topic};
use schemas::codec::Encode;
use schemas::events::ImpressionEvent;
use smol_str::SmolStr;

static INPUT: Topic = Topic::external("input", "campaign", ImpressionEvent::SCHEMA_ID, None);
static OUTPUT: Topic = Topic::internal("output", "campaign", ImpressionEvent::SCHEMA_ID, None);

runtime::row! {
    struct Total version 1 { count: i64 }
}
runtime::tables! {
    struct Totals { totals: Table<SmolStr, Total> = Table::new("totals") }
}

fn fold(state: &mut Totals, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
    let impression: ImpressionEvent<'_> = event.decode()?;
    state.totals.update(&impression.campaign_id.into(), || Total { count: 0 }, |total| total.count += 1);
    effects.emit(&OUTPUT, impression.campaign_id, event.timestamp_ms, &impression);
    Ok(Handled::Done)
}

fn spec(name: &'static str, order: Order) -> ServiceSpec {
    ServiceSpec { name, inputs: vec![&INPUT], outputs: vec![&OUTPUT], order, class: Class::Money }
}

struct PerKey;
impl Service for PerKey {
    type State = Totals;
    fn spec() -> ServiceSpec {
        spec("per-key", Order::PerKey)
    }
    fn handle(&mut self, state: &mut Totals, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        fold(state, event, effects)
    }
}

struct Strict;
impl Service for Strict {
    type State = Totals;
    fn spec() -> ServiceSpec {
        spec("strict", Order::Strict)
    }
    fn handle(&mut self, state: &mut Totals, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        fold(state, event, effects)
    }
}

fn inputs() -> Inputs {
    let mut inputs = Inputs::new(2);
    for n in 0..300 {
        let (id, campaign) = (format!("event-{n}"), format!("campaign-{}", n % 7));
        let event = ImpressionEvent { event_id: &id, campaign_id: &campaign, ..Default::default() };
        inputs.push(&INPUT, &campaign, n, &event);
    }
    inputs
}

#[test]
fn services_keep_the_contract_in_every_order() {
    contract::check(&ServiceDef::new(|| PerKey), &inputs());
    contract::check(&ServiceDef::new(|| Strict), &inputs());
}

/// The suite finds what it is there to find: a fold that takes bytes for an event that are none.
#[test]
#[should_panic(expected = "careless, garbage bytes")]
fn a_service_that_breaks_the_contract_is_told_where() {
    struct Careless;
    impl Service for Careless {
        type State = Totals;
        fn spec() -> ServiceSpec {
            spec("careless", Order::None)
        }
        fn handle(&mut self, _: &mut Totals, _: &Event<'_>, _: &mut Effects<'_>) -> Result<Handled, Failure> {
            Ok(Handled::Done)
        }
    }
    contract::check(&ServiceDef::new(|| Careless), &inputs());
}
