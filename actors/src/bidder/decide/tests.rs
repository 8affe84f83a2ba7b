use proptest::prelude::*;
use schemas::events::{BidEvent, BidOutcome, BudgetLease, LeaseKind};
use schemas::frame;

use super::*;
use crate::bidder::event::{ASSUMED_KEY, NO_BID_KEY};
use crate::bidder::leases::LeaseBookConfig;
use crate::ids;
use crate::metadata::{AD_SIZE, IP, SENTINEL_USER, TEST, UA};
use crate::money::Cpm;
use crate::openrtb;
use crate::testdata;

const HOLDER: &str = "test/1";

fn campaign(id: &str, size: (i64, i64), price: i64) -> Campaign {
    Campaign {
        campaign_id: id.into(),
        advertiser_id: format!("adv-{id}").into(),
        creative_id: format!("cr-{id}").into(),
        size,
        price: Micros(price),
        active: true,
        countries: vec![],
        frequency_cap: 0,
        destination_domain: Some(format!("{id}.example").into()),
        currency: "USD".into(),
        lsn: 7,
    }
}

/// Views with money for each of the campaigns.
struct World {
    campaigns: Campaigns,
    leases: LeaseBook,
    placeholders: Placeholders,
    lists: Lists,
    age_ms: i64,
    config: DecideConfig,
}

impl World {
    fn new(campaigns: Vec<Campaign>, amount: i64) -> World {
        let leases = LeaseBook::new(HOLDER, LeaseBookConfig::default());
        for campaign in &campaigns {
            let id = format!("lse-{}", campaign.campaign_id);
            leases.apply(
                &BudgetLease {
                    lease_id: &id,
                    campaign_id: &campaign.campaign_id,
                    holder: HOLDER,
                    kind: LeaseKind::Grant,
                    amount_micros: amount,
                    expires_at: 1_000_000,
                    ..BudgetLease::default()
                },
                0,
            );
        }
        World {
            campaigns: Campaigns::new(campaigns),
            leases,
            placeholders: Placeholders::new(["nobody".into()]),
            lists: Lists::builtin(),
            age_ms: 3,
            config: DecideConfig::default(),
        }
    }

    fn views(&self) -> Views<'_> {
        Views {
            campaigns: &self.campaigns,
            campaigns_age_ms: self.age_ms,
            leases: &self.leases,
            leases_age_ms: self.age_ms,
            placeholders: &self.placeholders,
            placeholders_age_ms: self.age_ms,
            lists: &self.lists,
        }
    }

    fn decide<R>(&self, line: &str, take: impl FnOnce(&Decision<'_>) -> R) -> R {
        let request = openrtb::parse(line.as_bytes()).expect("request");
        take(&decide(&request, &self.views(), &self.config, 500))
    }

    fn reason(&self, line: &str) -> Option<NoBid> {
        self.decide(line, |decision| decision.outcome.as_ref().err().copied())
    }
}

/// A request with one slot of 300x250 and further fields.
fn line(imp: &str, rest: &str) -> String {
    format!(r#"{{"id":"a","imp":[{{"id":"1","banner":{{"w":300,"h":250}}{imp}}}],"ext":{{"exchange":"x"}}{rest}}}"#)
}

#[test]
fn the_best_price_bids_and_the_next_one_when_its_money_is_gone() {
    let world = World::new(vec![campaign("low", (300, 250), 200), campaign("high", (300, 250), 300)], 500);
    let bidder = || {
        world.decide(&line("", ""), |d| {
            d.outcome.clone().map(|offer| (offer.campaign.campaign_id.to_string(), offer.price))
        })
    };
    assert_eq!(bidder(), Ok(("high".into(), Micros(300))));
    assert_eq!(bidder(), Ok(("low".into(), Micros(200))), "200 are left of the better one's lease");
    assert_eq!(bidder(), Ok(("low".into(), Micros(200))));
    assert_eq!(bidder(), Err(NoBid::LeasePending));
}

#[test]
fn every_filter_has_its_reason() {
    let world = World::new(vec![campaign("c", (300, 250), 300)], 1_000_000);
    assert_eq!(world.reason(&line("", "")), None);
    assert_eq!(world.reason(&line(r#","bidfloor":0.3"#, "")), None);
    assert_eq!(world.reason(&line(r#","bidfloor":0.3001"#, "")), Some(NoBid::BelowFloor));
    assert_eq!(world.reason(&line(r#","bidfloor":1249995.0"#, "")), Some(NoBid::PriceInvalid));
    assert_eq!(world.reason(&line(r#","bidfloor":-1"#, "")), Some(NoBid::PriceInvalid));
    assert_eq!(world.reason(&line(r#","bidfloor":0.1,"bidfloorcur":"EUR""#, "")), Some(NoBid::Currency));
    assert_eq!(world.reason(&line("", r#","cur":["EUR"]"#)), Some(NoBid::Currency));
    assert_eq!(world.reason(&line("", r#","badv":["C.example"]"#)), Some(NoBid::AdvertiserBlocked));
    assert_eq!(world.reason(&line("", r#","badv":["example"]"#)), Some(NoBid::AdvertiserBlocked));
    assert_eq!(world.reason(&line("", r#","badv":["xc.example",""]"#)), None);
    assert_eq!(world.reason(&line("", r#","tmax":5"#)), Some(NoBid::NoTime));
    assert_eq!(world.reason(r#"{"id":"a","imp":[{"video":{}}]}"#), Some(NoBid::NoBanner));
    assert_eq!(world.reason(r#"{"id":"a","imp":[{"banner":{"w":1,"h":1}}]}"#), Some(NoBid::SlotInvalid));
    assert_eq!(world.reason(r#"{"id":"a","imp":[{"banner":{"w":5,"h":5}}]}"#), Some(NoBid::NoSize));
    assert_eq!(world.reason(r#"{"id":"a","imp":[{"banner":{}}]}"#), Some(NoBid::NoSize));

    let change = |change: &dyn Fn(&mut Campaign)| {
        let mut changed = campaign("c", (300, 250), 300);
        change(&mut changed);
        World::new(vec![changed], 1_000_000).reason(&line("", r#","device":{"geo":{"country":"CAN"}}"#))
    };
    assert_eq!(change(&|campaign| campaign.active = false), Some(NoBid::Inactive));
    assert_eq!(change(&|campaign| campaign.countries = vec!["USA".into()]), Some(NoBid::Country));
    assert_eq!(change(&|campaign| campaign.countries = vec!["USA".into(), "CAN".into()]), None);
    assert_eq!(change(&|campaign| campaign.frequency_cap = 3), Some(NoBid::CapUnknown));
    assert_eq!(change(&|campaign| campaign.currency = "EUR".into()), Some(NoBid::Currency));
    assert_eq!(World::new(vec![campaign("c", (300, 250), 300)], 0).reason(&line("", "")), Some(NoBid::BudgetExhausted));
}

#[test]
fn listed_traffic_is_refused_only_where_that_is_asked_for() {
    let mut world = World::new(vec![campaign("c", (300, 250), 300)], 1_000_000);
    let bot = line("", r#","device":{"ua":"Googlebot/2.1"}"#);
    let silent = line("", r#","device":{"ip":"192.0.2.1"}"#);
    let cloud = line("", r#","device":{"ua":"Mozilla","ip":"198.18.3.0"}"#);
    let person = line("", r#","device":{"ua":"Mozilla","ip":"192.0.2.1"}"#);
    assert!([&bot, &silent, &cloud, &person].iter().all(|line| world.reason(line).is_none()));
    world.config.filter_invalid_traffic = true;
    assert_eq!(world.reason(&bot).map(NoBid::code), Some(3));
    assert_eq!(world.reason(&silent).map(NoBid::code), Some(4));
    assert_eq!(world.reason(&cloud).map(NoBid::code), Some(5));
    assert_eq!(world.reason(&person), None);
}

#[test]
fn old_campaigns_are_not_bid_for() {
    let mut world = World::new(vec![campaign("c", (300, 250), 300)], 1_000_000);
    world.age_ms = world.config.campaigns_age_max_ms;
    assert_eq!(world.reason(&line("", "")), None);
    world.age_ms += 1;
    assert_eq!(world.reason(&line("", "")), Some(NoBid::ViewStale));
}

#[test]
fn of_several_slots_the_first_that_fits_is_bid_on_and_else_the_furthest_told() {
    let world = World::new(vec![campaign("c", (300, 250), 300)], 1_000_000);
    let slots = r#"{"id":"a","imp":[{"id":"v","video":{}},{"id":"f","banner":{"w":300,"h":250},"bidfloor":9},{"id":"s","banner":{"w":9,"h":9}}"#;
    world.decide(&format!("{slots}]}}"), |decision| {
        assert_eq!((decision.outcome.clone(), decision.imp.id.as_deref()), (Err(NoBid::BelowFloor), Some("f")));
        let filtered: Vec<_> = decision.filtered.iter().collect();
        assert_eq!(filtered, [(NoBid::NoBanner, 1), (NoBid::NoSize, 1), (NoBid::BelowFloor, 1)]);
    });
    world.decide(&format!(r#"{slots},{{"id":"ok","banner":{{"w":300,"h":250}}}}]}}"#), |decision| {
        assert!(decision.outcome.is_ok() && decision.imp.id.as_deref() == Some("ok"));
    });
}

#[test]
fn the_event_says_what_was_decided_on() {
    let world = World::new(vec![campaign("c", (300, 250), 300)], 1_000_000);
    let device =
        r#","device":{"ua":"Mozilla","ip":"192.0.2.77","geo":{"country":"USA"}},"site":{"domain":"d.example"}"#;
    let text = line(r#","bidfloor":0.1"#, &format!(r#"{device},"user":{{"id":"u"}},"test":1"#));
    world.decide(&text, |decision| {
        assert_eq!(decision.key(), "u");
        decision.with_event(12, |event| {
            let mut framed = Vec::new();
            frame::encode(event, &mut framed);
            assert_eq!(frame::decode::<BidEvent<'_>>(&framed).expect("decode"), *event);
            assert_eq!((event.outcome, event.no_bid_reason, event.decision_us), (BidOutcome::Bid, None, 12));
            assert_eq!((event.bid_price_micros, event.floor_micros, event.lease_id), (300, 100, Some("lse-c")));
            assert_eq!(event.bid_id, ids::bid_id("x", "a", "1"));
            assert_eq!(event.placement_id, Some("x:d.example:300x250"));
            assert_eq!(event.view_ages_ms.get("campaigns"), Some(3));
            let context = |key: &str| event.metadata.get(key);
            assert_eq!(
                (context(IP), context(UA), context(AD_SIZE)),
                (Some("192.0.2.0"), Some("Mozilla"), Some("300x250"))
            );
            assert_eq!((context(TEST), context(ASSUMED_KEY)), (Some("1"), Some("at,tmax,cur")));
            let bid = crate::market::Bid::from_event(event).expect("bid");
            assert_eq!((bid.advertiser_id(), bid.price), ("adv-c", Micros(300)));
        });
    });
}

#[test]
fn a_placeholder_is_no_user() {
    let world = World::new(vec![], 0);
    world.decide(&line("", r#","user":{"id":"nobody"}"#), |decision| {
        assert_eq!((decision.user_id, decision.key()), (None, "a"));
        decision.with_event(0, |event| {
            assert_eq!((event.user_id, event.metadata.get(SENTINEL_USER)), (None, Some("nobody")));
            assert_eq!((event.no_bid_reason, event.metadata.get(NO_BID_KEY)), (Some(503), Some("no_size")));
        });
    });
    let long = format!(r#","user":{{"id":"{}"}}"#, "u".repeat(USER_ID_MAX_BYTES + 1));
    world.decide(&line("", &long), |decision| assert_eq!(decision.user_id, None));
}

#[test]
fn recorded_requests_end_in_a_bid_or_a_reason_and_their_events_can_be_written() {
    let Some(lines) = testdata::recorded_requests() else { return };
    let campaigns = crate::market::campaigns::demo_campaigns(1).into_iter().map(|demo| Campaign {
        campaign_id: demo.campaign_id.into(),
        price: demo.bid.per_impression_floor(),
        active: demo.active,
        countries: demo.countries.iter().map(SmolStr::new).collect(),
        ..campaign("c", (demo.size.0.into(), demo.size.1.into()), 1)
    });
    let world = World::new(campaigns.collect(), 1_000_000_000);
    let (mut bids, mut buffer) = (0, Vec::new());
    for line in &lines {
        let request = openrtb::parse(line).expect("request");
        let decision = decide(&request, &world.views(), &world.config, 500);
        bids += usize::from(decision.outcome.is_ok());
        decision.with_event(0, |event| {
            buffer.clear();
            schemas::codec::Encode::check(event).expect("within the limits of events");
            frame::encode(event, &mut buffer);
        });
    }
    assert!(bids * 10 > lines.len() * 8, "most recorded slots fit a demo campaign: {bids} of {}", lines.len());
}

proptest! {
    #[test]
    fn a_bid_is_never_below_its_floor_nor_above_its_campaign(
        prices in proptest::collection::vec(1i64..2_000, 1..6), floor_cpm_micros in 0i64..2_500_000, amount in 0i64..5_000,
    ) {
        let campaigns = prices.iter().enumerate().map(|(n, price)| campaign(&format!("c{n}"), (300, 250), *price));
        let world = World::new(campaigns.collect(), amount);
        let text = line(&format!(r#","bidfloor":{}"#, floor_cpm_micros as f64 / 1e6), "");
        let floor = Cpm(floor_cpm_micros).per_impression_ceil();
        let best = prices.iter().copied().filter(|price| *price >= floor.0 && *price <= amount).max();
        world.decide(&text, |decision| {
            assert_eq!(decision.outcome.as_ref().ok().map(|offer| offer.price.0), best);
            let spent = decision.outcome.as_ref().map_or(0, |offer| offer.price.0);
            let left: i64 = (0..prices.len()).map(|n| world.leases.available(&format!("c{n}"), 500).0).sum();
            assert_eq!(left + spent, amount.max(0) * prices.len() as i64, "what is bid is taken, and nothing else");
        });
    }

    #[test]
    fn no_request_panics(imp in "\\PC{0,30}", width in any::<i64>(), floor in any::<f64>(), user in "\\PC{0,300}") {
        let world = World::new(vec![campaign("c", (300, 250), 300)], 1_000);
        let value = serde_json::json!({
            "id": "a", "user": {"id": user}, "imp": [{"id": imp, "bidfloor": floor, "tagid": user, "banner": {"w": width, "h": 250}}],
        });
        world.decide(&value.to_string(), |decision| {
            decision.with_event(0, |event| schemas::codec::Encode::check(event).expect("within the limits of events"));
        });
    }
}
