//! The whole circle of money without a runtime: generated requests, decisions, leases from the real budget service, the
//! simulated market, and its results back to the budget. Time is a number.

use std::collections::BTreeMap;

use runtime::outcome::{Failure, Handled};
use runtime::service::ServiceDef;
use runtime::testkit::Kit;
use schemas::events::{AuctionResultEvent, AuctionResultKind, BudgetLease, BudgetStatus, CampaignState, Reservation};

use super::*;
use crate::budget::Budget;
use crate::fraud::lists::Lists;
use crate::generator::Generator;
use crate::market::{AuctionEnd, Bid, Market, Planned, Rates, What, campaigns};
use crate::money::Micros;
use crate::openrtb;
use crate::topics::{AUCTION_RESULTS, BUDGET_LEASES, BUDGET_STATUS, CAMPAIGN_STATES, LEASE_REQUESTS, RESERVATIONS};

const START_MS: i64 = 1_700_000_000_000;
/// From an event to those who read it.
const HOP_MS: i64 = 15;

/// What happens at a moment.
enum Next {
    Request(Vec<u8>),
    Lend(LeaseDemand),
    Reserve(Bid),
    Market(Planned),
    Look,
    Tick,
}

struct Circle {
    kit: Kit,
    book: LeaseBook,
    campaigns: Campaigns,
    market: Market,
    lists: Lists,
    agenda: BTreeMap<(i64, u64), Next>,
    number: u64,
    refused: Vec<Failure>,
    reasons: BTreeMap<&'static str, u64>,
    /// Decisions that passed over a campaign without budget.
    exhausted: u64,
    bids: u64,
    wins: u64,
    status: BTreeMap<String, (i64, i64, i64, i64)>,
}

impl Circle {
    fn new(seed: u64) -> Circle {
        let mut kit = Kit::of(ServiceDef::new(Budget::default));
        kit.now_ms = START_MS;
        let demos = campaigns::demo_campaigns(seed);
        let mut known = Vec::new();
        for (lsn, demo) in demos.iter().enumerate() {
            let state = CampaignState {
                campaign_id: &demo.campaign_id,
                advertiser_id: &demo.advertiser_id,
                creative_id: &demo.creative_id,
                active: demo.active,
                width: demo.size.0,
                height: demo.size.1,
                bid_cpm_micros: demo.bid.0,
                countries: schemas::codec::Array::from_slice(&demo.countries),
                budget_micros: demo.budget.0,
                currency: "USD",
                lsn: lsn as i64 + 1,
                ..CampaignState::default()
            };
            kit.push(&CAMPAIGN_STATES, &demo.campaign_id, START_MS, &state).expect("campaign");
            known.push(Campaign::from(&state));
        }
        Circle {
            kit,
            book: LeaseBook::new("test/1", LeaseBookConfig::default()),
            campaigns: Campaigns::new(known),
            market: Market::new(seed, Rates { lost_notice_ppm: 0, unrendered_ppm: 0, ..Rates::default() }),
            lists: Lists::builtin(),
            agenda: BTreeMap::new(),
            number: 0,
            refused: Vec::new(),
            reasons: BTreeMap::new(),
            exhausted: 0,
            bids: 0,
            wins: 0,
            status: BTreeMap::new(),
        }
    }

    fn at(&mut self, at_ms: i64, next: Next) {
        self.number += 1;
        self.agenda.insert((at_ms, self.number), next);
    }

    fn run(&mut self) {
        while let Some(((now_ms, _), next)) = self.agenda.pop_first() {
            let passed_ms = now_ms - self.kit.now_ms;
            match next {
                Next::Request(line) => self.request(&line, now_ms),
                Next::Reserve(bid) => self.reserve(&bid),
                Next::Market(planned) => self.result(&planned),
                Next::Lend(demand) => {
                    let outcome = self.kit.push(&LEASE_REQUESTS, &demand.campaign_id, now_ms, &demand.request());
                    self.settle(outcome);
                }
                Next::Look => {
                    for demand in self.book.demands(&self.campaigns, now_ms) {
                        self.at(now_ms + HOP_MS, Next::Lend(demand));
                    }
                }
                Next::Tick => self.kit.advance(passed_ms.max(0)),
            }
            self.kit.now_ms = self.kit.now_ms.max(now_ms);
            self.told(now_ms);
        }
    }

    fn settle(&mut self, outcome: Result<Handled, Failure>) {
        if let Err(failure) = outcome {
            self.refused.push(failure);
        }
    }

    fn told(&mut self, now_ms: i64) {
        for emitted in self.kit.take_from(&BUDGET_LEASES) {
            self.book.apply(&emitted.decode::<BudgetLease<'_>>(), now_ms);
        }
        for emitted in self.kit.take_from(&BUDGET_STATUS) {
            let told: BudgetStatus<'_> = emitted.decode();
            assert!(told.posted_micros + told.pending_micros <= told.budget_micros, "{told:?}");
            let money = (told.budget_micros, told.posted_micros, told.pending_micros, told.overrun_micros);
            self.status.insert(told.campaign_id.to_owned(), money);
        }
    }

    fn request(&mut self, line: &[u8], now_ms: i64) {
        let request = openrtb::parse(line).expect("request");
        let placeholders = Placeholders::default();
        let views = Views {
            campaigns: &self.campaigns,
            campaigns_age_ms: 0,
            leases: &self.book,
            leases_age_ms: 0,
            placeholders: &placeholders,
            placeholders_age_ms: 0,
            lists: &self.lists,
        };
        let decision = decide(&request, &views, &DecideConfig::default(), now_ms);
        self.exhausted += u64::from(decision.filtered.iter().any(|(reason, _)| reason == NoBid::BudgetExhausted));
        if let Err(reason) = &decision.outcome {
            *self.reasons.entry(reason.as_str()).or_default() += 1;
            return;
        }
        let bid = decision.with_event(0, |event| Bid::from_event(event).expect("bid"));
        self.bids += 1;
        self.at(now_ms + HOP_MS, Next::Reserve(bid.clone()));
        for planned in self.market.on_bid(bid) {
            self.at(planned.at_ms + HOP_MS, Next::Market(planned));
        }
    }

    fn reserve(&mut self, bid: &Bid) {
        let reservation = Reservation {
            bid_id: &bid.bid_id,
            campaign_id: &bid.campaign_id,
            lease_id: bid.lease_id.as_deref().expect("lease"),
            amount_micros: bid.price.0,
            timestamp: bid.timestamp_ms,
            expires_at: bid.timestamp_ms + 60_000,
            ..Reservation::default()
        };
        let outcome = self.kit.push(&RESERVATIONS, &bid.campaign_id, bid.timestamp_ms, &reservation);
        self.settle(outcome);
    }

    fn result(&mut self, planned: &Planned) {
        let event = &planned.event;
        let (kind, price) = match event.what {
            What::Notice(AuctionEnd::Lost { .. }) => (AuctionResultKind::Loss, None),
            What::Notice(AuctionEnd::Won { .. }) => (AuctionResultKind::Win, None),
            What::Impression { price } => (AuctionResultKind::Billed, Some(price.0)),
            What::Click | What::Conversion { .. } => return,
        };
        self.wins += u64::from(kind == AuctionResultKind::Billed);
        let result = AuctionResultEvent {
            bid_id: &event.bid.bid_id,
            campaign_id: &event.bid.campaign_id,
            timestamp: event.timestamp_ms,
            kind,
            clearing_price_micros: price,
            lease_id: event.bid.lease_id.as_deref(),
            ..AuctionResultEvent::default()
        };
        let outcome = self.kit.push(&AUCTION_RESULTS, &event.bid.campaign_id, event.timestamp_ms, &result);
        self.settle(outcome);
    }
}

/// Twenty thousand requests `speed` times as fast as they were recorded.
fn played(seed: u64, speed: i64) -> Circle {
    let mut circle = Circle::new(seed);
    let mut generator = Generator::new(seed, 0);
    let mut end_ms = 0;
    for _ in 0..20_000 {
        let line = generator.next_line().to_vec();
        let ts_us = openrtb::parse(&line).expect("request").ext.ts_us.expect("time");
        // The first leases come before the first request.
        let at_ms = START_MS + 100 + ts_us / 1_000 / speed;
        end_ms = end_ms.max(at_ms);
        circle.at(at_ms, Next::Request(line));
    }
    for at_ms in (START_MS..end_ms).step_by(20) {
        circle.at(at_ms, Next::Look);
    }
    // Until the longest reservation of the last lease is over.
    for at_ms in (START_MS..end_ms + 120_000).step_by(1_000) {
        circle.at(at_ms, Next::Tick);
        circle.at(at_ms, Next::Look);
    }
    circle.run();
    let rest = circle.book.give_back(end_ms + 120_000);
    rest.into_iter().for_each(|demand| circle.at(end_ms + 120_001, Next::Lend(demand)));
    circle.at(end_ms + 200_000, Next::Tick);
    circle.run();
    circle
}

#[test]
fn no_budget_is_overspent_and_the_tight_one_runs_out() {
    for speed in [1, 30] {
        let circle = played(1, speed);
        assert_eq!(circle.refused, [], "the budget takes everything that bidding says");
        assert!(
            circle.wins * 100 > circle.bids * 22 && circle.wins * 100 < circle.bids * 42,
            "{} of {}",
            circle.wins,
            circle.bids
        );
        let of = |reason: &str| circle.reasons.get(reason).copied().unwrap_or(0);
        assert_eq!(circle.bids + circle.reasons.values().sum::<u64>(), 20_000);
        assert!(of("lease_pending") < 200, "speed {speed}: leases keep up with demand: {:?}", circle.reasons);
        let mut spent_out = 0;
        for (campaign, (budget, posted, pending, overrun)) in &circle.status {
            assert!(posted + pending <= *budget && *overrun == 0, "{campaign}");
            assert_eq!(*pending, 0, "{campaign}: everything ends");
            spent_out += u32::from(posted * 10 > budget * 9);
        }
        // At thirtyfold speed its money waits for results all the time; lent in ever smaller parts, it is never all lent.
        assert!(speed > 1 || circle.exhausted > 500, "{} decisions met an empty budget", circle.exhausted);
        assert_eq!(spent_out, u32::from(speed == 1), "speed {speed}: {:?}", circle.status);
    }
}

#[test]
fn prices_are_what_campaigns_offer() {
    let circle = Circle::new(1);
    assert!(circle.campaigns.iter().all(|campaign| campaign.price > Micros(200) && campaign.price < Micros(5_000)));
}
