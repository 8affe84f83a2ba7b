//! All services at once: what every one of them owes its contract, and the whole platform in memory, one shard each, with
//! services that lag and restart, against sums over what was published.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fastrand::Rng;
use proptest::prelude::*;
use runtime::log::Headers;
use runtime::outcome::Failure;
use runtime::service::Event;
use runtime::testkit::Kit;
use runtime::topology::{self, Topic, TopicKind};
use runtime::view::View;
use schemas::codec::{Decode, Encode};
use schemas::events::{BidEvent, BillingEvent, BudgetStatus, CampaignMinute, ImpressionEvent, TransferKind};

use super::*;
use crate::bidder::{
    Campaigns as CampaignSnapshot, CampaignsView, DecideConfig, LeaseBook, LeaseBookConfig, LeasesView, Placeholders,
    PlaceholdersView, Views, decide,
};
use crate::fraud::lists::Lists;
use crate::generator::Generator;
use crate::market::campaigns::{DemoCampaign, demo_campaigns};
use crate::market::{Bid, Market, MarketEvent, Message, Rates};
use crate::metadata::is_test;
use crate::money::Micros;
use crate::topics::*;
use crate::{intake, openrtb};

const START_MS: i64 = 1_700_000_000_000;

#[test]
fn the_topology_holds() {
    let specs: Vec<_> = services(&Config::default()).into_iter().map(|def| def.spec).collect();
    let order = topology::check(&specs).expect("a topology without circles");
    assert_eq!(order.len(), specs.len());
    let before = |a: &str, b: &str| {
        let at = |name| order.iter().position(|known| *known == name);
        assert!(at(a) < at(b), "{a} drains before {b}: {order:?}");
    };
    before("campaigns", "budget");
    before("bidding", "budget");
    before("ads", "fraud");
    before("fraud", "billing");
    before("attribution", "analytics");
}

proptest! {
    /// Bytes that are no event, framed or not, are a permanent failure of every service and leave no trace.
    #[test]
    fn no_bytes_harm_any_service(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for def in services(&Config::default()) {
            let inputs = def.spec.inputs.clone();
            let mut kit = Kit::of(def);
            for topic in inputs {
                let mut framed = vec![0];
                framed.extend(topic.schema_id.to_be_bytes());
                framed.extend(&bytes);
                for value in [&bytes, &framed] {
                    // Few random bytes are a value after all; then any typed answer will do.
                    let before = kit.contents();
                    if kit.push_bytes(topic, "key", START_MS, value).is_err() {
                        prop_assert_eq!(before, kit.contents());
                    }
                }
            }
        }
    }
}

/// A record of a topic.
#[derive(Clone)]
struct Record {
    topic: &'static Topic,
    key: String,
    timestamp_ms: i64,
    value: Vec<u8>,
}

/// One service with what waits for it, a queue for each input.
struct Reader {
    name: &'static str,
    kit: Kit,
    queues: Vec<(&'static Topic, VecDeque<Record>)>,
}

struct Platform {
    now_ms: i64,
    readers: Vec<Reader>,
    topics: BTreeMap<&'static str, &'static Topic>,
    published: Vec<Record>,
    failures: Vec<(&'static str, Failure)>,
    views: Vec<Box<dyn View>>,
    campaigns: Arc<arc_swap::ArcSwap<CampaignSnapshot>>,
    placeholders: Arc<arc_swap::ArcSwap<Placeholders>>,
    leases: Arc<LeaseBook>,
    lists: Lists,
    rng: Rng,
}

impl Platform {
    fn new(seed: u64) -> Self {
        let mut topics = BTreeMap::new();
        let mut readers = Vec::new();
        for def in services(&Config::default()) {
            topics.extend(def.spec.inputs.iter().chain(&def.spec.outputs).map(|topic| (topic.name, *topic)));
            let queues = def.spec.inputs.iter().map(|topic| (*topic, VecDeque::new())).collect();
            readers.push(Reader { name: def.spec.name, kit: Kit::of(def), queues });
        }
        let (campaigns_view, campaigns) = CampaignsView::new();
        let (placeholders_view, placeholders) = PlaceholdersView::new();
        let leases = Arc::new(LeaseBook::new("test/1", LeaseBookConfig::default()));
        let leases_view = LeasesView::new(Arc::clone(&leases));
        Self {
            now_ms: START_MS,
            readers,
            topics,
            published: Vec::new(),
            failures: Vec::new(),
            views: vec![Box::new(campaigns_view), Box::new(placeholders_view), Box::new(leases_view)],
            campaigns,
            placeholders,
            leases,
            lists: Lists::builtin(),
            rng: Rng::with_seed(seed),
        }
    }

    fn append<E: Encode>(&mut self, topic: &'static Topic, key: &str, event: &E) {
        let mut value = Vec::new();
        schemas::frame::encode(event, &mut value);
        self.publish(Record { topic, key: key.to_owned(), timestamp_ms: self.now_ms, value });
    }

    /// To all readers and views of the topic.
    fn publish(&mut self, record: Record) {
        for reader in &mut self.readers {
            for (topic, queue) in &mut reader.queues {
                if *topic == record.topic {
                    queue.push_back(record.clone());
                }
            }
        }
        for view in self.views.iter_mut().filter(|view| view.topics().contains(&record.topic)) {
            let (topic, key) = (record.topic, record.key.as_bytes());
            let event = Event {
                topic,
                key,
                timestamp_ms: record.timestamp_ms,
                value: &record.value,
                headers: Headers::empty(),
            };
            view.apply(&event).expect("an event of ours");
            view.publish();
        }
        self.published.push(record);
    }

    /// One service takes up to `events` events, from its inputs in any order.
    fn advance(&mut self, at: usize, events: usize) -> bool {
        let mut moved = false;
        for _ in 0..events {
            let reader = &mut self.readers[at];
            let waiting: Vec<usize> = (0..reader.queues.len()).filter(|q| !reader.queues[*q].1.is_empty()).collect();
            let Some(queue) = self.rng.choice(waiting) else { break };
            let Some(record) = reader.queues[queue].1.pop_front() else { break };
            reader.kit.now_ms = self.now_ms;
            moved = true;
            if let Err(failure) = reader.kit.push_bytes(record.topic, &record.key, record.timestamp_ms, &record.value) {
                self.failures.push((reader.name, failure));
            }
        }
        self.collect(at);
        moved
    }

    fn tick(&mut self) {
        for at in 0..self.readers.len() {
            self.readers[at].kit.now_ms = self.now_ms;
            self.readers[at].kit.advance(0);
            self.collect(at);
        }
    }

    fn collect(&mut self, at: usize) {
        for emitted in self.readers[at].kit.take() {
            let topic = self.topics[emitted.topic];
            let (key, timestamp_ms, value) = (emitted.key, emitted.timestamp_ms, emitted.value);
            self.publish(Record { topic, key, timestamp_ms, value });
        }
    }

    fn settle(&mut self) {
        loop {
            // All of them, not only the first that has something to do.
            let moved = (0..self.readers.len()).filter(|at| self.advance(*at, 1_000)).count();
            if moved == 0 {
                return;
            }
        }
    }

    fn demand(&mut self) {
        let snapshot = self.campaigns.load_full();
        for demand in self.leases.demands(&snapshot, self.now_ms) {
            self.append(&LEASE_REQUESTS, &demand.campaign_id, &demand.request());
        }
    }

    /// Decides on a request; returns the bid, if there is one.
    fn request(&mut self, line: &[u8]) -> Option<Bid> {
        let request = openrtb::parse(line).expect("a generated request");
        let (campaigns, placeholders) = (self.campaigns.load_full(), self.placeholders.load_full());
        let leases = Arc::clone(&self.leases);
        let views = Views {
            campaigns: &campaigns,
            campaigns_age_ms: 0,
            leases: &leases,
            leases_age_ms: 0,
            placeholders: &placeholders,
            placeholders_age_ms: 0,
            lists: &self.lists,
        };
        let decision = decide(&request, &views, &DecideConfig::default(), self.now_ms);
        let mut value = Vec::new();
        let bid = decision.with_event(0, |event| {
            schemas::frame::encode(event, &mut value);
            Bid::from_event(event)
        });
        let key = decision.key().to_owned();
        self.publish(Record { topic: &BIDS, key, timestamp_ms: self.now_ms, value });
        bid
    }

    fn market(&mut self, event: &MarketEvent) {
        event.with_message(|message| match message {
            Message::Notice(notice) => self.append(&EXCHANGE_NOTICES, notice.bid_id, &notice),
            Message::Impression(pixel) => {
                let key = intake::user_key(pixel.user_id, pixel.bid_id).to_owned();
                self.append(&IMPRESSION_PIXELS, &key, &pixel);
            }
            Message::Click(pixel) => {
                let key = intake::user_key(pixel.user_id, pixel.bid_id).to_owned();
                self.append(&CLICK_PIXELS, &key, &pixel);
            }
            Message::Conversion(post) => {
                let key = post.user_id.unwrap_or(post.order_id).to_owned();
                self.append(&CONVERSION_POSTS, &key, &post);
            }
        });
    }

    /// All records of a topic, decoded.
    fn each<'a, T: Decode<'a> + 'a>(&'a self, topic: &'static Topic) -> impl Iterator<Item = (&'a str, T)> {
        let of_topic = self.published.iter().filter(move |record| record.topic == topic);
        of_topic.map(|record| (record.key.as_str(), schemas::frame::decode(&record.value).expect("an event of ours")))
    }
}

/// Runs the demo's day in small: requests at their pace, services that lag at random, one restart of each.
fn run(seed: u64, requests: usize) -> Platform {
    let mut platform = Platform::new(seed);
    for (lsn, campaign) in (1..).zip(demo_campaigns(seed)) {
        campaign.with_campaign_change(lsn, START_MS, |change| {
            platform.append(&CAMPAIGNS_CHANGES, &campaign.campaign_id, &change);
        });
        platform.append(&BUDGETS_CHANGES, &campaign.campaign_id, &campaign.budget_change(lsn, START_MS));
    }
    platform.settle();
    platform.demand();
    platform.settle();
    let market = Market::new(seed, Rates::default());
    let mut generator = Generator::new(seed, START_MS * 1_000);
    let mut agenda: BTreeMap<(i64, usize), MarketEvent> = BTreeMap::new();
    let mut planned = 0;
    for n in 0..requests {
        platform.now_ms += 2;
        while let Some(entry) = agenda.first_entry().filter(|entry| entry.key().0 <= platform.now_ms) {
            let event = entry.remove();
            platform.market(&event);
        }
        if n == requests / 2 {
            // In the middle of the day an owner cuts a budget below what is spent.
            let cut = Micros(1_000);
            let campaign = DemoCampaign { budget: cut, ..demo_campaigns(seed).swap_remove(0) };
            platform.append(&BUDGETS_CHANGES, &campaign.campaign_id, &campaign.budget_change(100, platform.now_ms));
        }
        let line = generator.next_line().to_vec();
        if let Some(bid) = platform.request(&line) {
            for next in market.on_bid(bid) {
                planned += 1;
                agenda.insert((next.at_ms, planned), next.event);
            }
        }
        let at = platform.rng.usize(0..platform.readers.len());
        let events = platform.rng.usize(0..60);
        platform.advance(at, events);
        if n % 20 == 0 {
            platform.demand();
            let (budget, campaigns) = (2, 0);
            platform.advance(campaigns, 100);
            platform.advance(budget, 100);
        }
        if n % 500 == 0 {
            platform.tick();
            let restarted = (n / 500) % platform.readers.len();
            platform.readers[restarted].kit.restart();
        }
    }
    for ((at_ms, _), event) in agenda {
        platform.now_ms = platform.now_ms.max(at_ms);
        platform.market(&event);
        let at = platform.rng.usize(0..platform.readers.len());
        platform.advance(at, 60);
    }
    for demand in platform.leases.give_back(platform.now_ms) {
        platform.append(&LEASE_REQUESTS, &demand.campaign_id, &demand.request());
    }
    // Until nothing is pending and every minute is final.
    for _ in 0..12 {
        platform.settle();
        platform.now_ms += 30_000;
        platform.tick();
    }
    platform.settle();
    platform
}

#[test]
fn the_platform_agrees_with_itself() {
    let platform = run(11, 6_000);
    assert!(platform.failures.is_empty(), "{:?}", &platform.failures[..platform.failures.len().min(5)]);

    // Ledger: one charge an impression that is no test and has a price, one reversal an invalid one of them.
    let mut charged: BTreeMap<&str, i64> = BTreeMap::new();
    let (mut charges, mut reversals, mut reversed) = (0, 0, 0);
    for (_, transfer) in platform.each::<BillingEvent<'_>>(&BILLING_EVENTS) {
        match transfer.kind {
            TransferKind::Charge => {
                charges += 1;
                *charged.entry(transfer.campaign_id).or_default() += transfer.amount_micros;
            }
            TransferKind::Reversal => {
                reversals += 1;
                reversed += transfer.amount_micros;
            }
            other => panic!("no {other:?} is made yet"),
        }
        assert!(!transfer.advertiser_id.is_empty());
    }
    let impressions: Vec<_> = platform.each::<ImpressionEvent<'_>>(&IMPRESSIONS).map(|(_, event)| event).collect();
    let counted = impressions.iter().filter(|event| !is_test(&event.metadata)).count();
    let billable = impressions.iter().filter(|event| !is_test(&event.metadata) && event.win_price_micros > 0).count();
    assert_eq!(charges, billable);
    let pixels = platform.published.iter().filter(|record| record.topic == &IMPRESSION_PIXELS).count();
    assert!(charges > 300 && reversals > 0 && pixels > impressions.len(), "the run shows too little");

    // Budgets: what was posted or borne is what was charged; nothing is left pending; no budget was passed.
    let status: BTreeMap<&str, BudgetStatus<'_>> = platform.each(&BUDGET_STATUS).collect();
    for (campaign, status) in &status {
        let spent = status.posted_micros + status.overrun_micros;
        assert_eq!(spent, charged.get(campaign).copied().unwrap_or(0), "{campaign}");
        assert_eq!((status.pending_micros, status.overrun_micros), (0, 0), "{campaign}");
        assert!(status.posted_micros <= status.budget_micros, "{campaign}");
    }
    let cut: Vec<_> = status.values().filter(|status| status.requested_micros == 1_000).collect();
    assert!(matches!(cut[..], [cut] if cut.budget_micros == cut.posted_micros && cut.posted_micros > 1_000), "{cut:?}");

    // Minutes: the last revision of each row, added up.
    let minutes: BTreeMap<&str, CampaignMinute<'_>> = platform.each(&CAMPAIGN_METRICS_1M).collect();
    let sum = |of: fn(&CampaignMinute<'_>) -> i64| minutes.values().map(of).sum::<i64>();
    assert_eq!(sum(|minute| minute.impressions), counted as i64);
    assert_eq!(sum(|minute| minute.spend_micros), charged.values().sum::<i64>());
    assert_eq!(sum(|minute| minute.ivt_spend_micros), reversed);
    assert!(minutes.values().all(|minute| minute.r#final));

    // Decisions: one a request; placeholders were found, and no decision of theirs has a user afterwards.
    assert_eq!(platform.each::<BidEvent<'_>>(&BIDS).count(), 6_000);
    let found: BTreeSet<&str> =
        platform.each::<BidEvent<'_>>(&BIDS).filter_map(|(_, bid)| bid.metadata.get("sentinel_user")).collect();
    assert!(!found.is_empty(), "no placeholder was found");
    assert!(
        platform
            .topics
            .values()
            .filter(|topic| topic.kind == TopicKind::Internal)
            .all(|topic| { platform.published.iter().any(|record| record.topic == *topic) })
    );
}
