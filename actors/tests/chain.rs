//! The services behind the pixels as one chain, over three shards: whatever one of them is late with, ledger, results and
//! minutes are in the end what a count made apart from the market's own messages says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use actors::catalogue::{Config, services};
use actors::intake::MINUTE_MS;
use actors::market::{Bid, Market, Message, Planned, Rates, What};
use actors::money::Micros;
use actors::openrtb::AuctionType;
use actors::topics;
use actors::{ids, intake};
use runtime::log::partitioner;
use runtime::testkit::Kit;
use runtime::topology::Topic;
use schemas::events::{
    AttributionResult, AuctionResultEvent, AuctionResultKind, BillingEvent, CampaignMinute, FraudVerdict, TransferKind,
    Verdict,
};

const SHARDS: u32 = 3;
const START_MS: i64 = 1_700_000_040_000;
const CHAIN: [&str; 6] = ["ads", "tracking", "fraud", "billing", "attribution", "analytics"];
const PERSON: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36";

/// Who stands behind a bid; the test knows, the platform has to find out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    Person,
    Bot,
    DataCentre,
    Pixel,
}

impl Behind {
    fn of(number: u32) -> Self {
        match number % 20 {
            0 => Self::Bot,
            1 => Self::DataCentre,
            2 => Self::Pixel,
            _ => Self::Person,
        }
    }
}

fn bid(number: u32) -> Bid {
    let behind = Behind::of(number);
    let agent = if behind == Behind::Bot { "Googlebot/2.1" } else { PERSON };
    let ip = if behind == Behind::DataCentre { "198.18.1.0".to_owned() } else { format!("192.0.{}.0", number % 7) };
    let size = if behind == Behind::Pixel { "1x1" } else { "300x250" };
    let auction_id = format!("auction-{number}");
    Bid {
        bid_id: ids::bid_id("x", &auction_id, "1"),
        auction_id,
        imp_id: "1".into(),
        campaign_id: format!("campaign-{}", number % 3),
        creative_id: format!("creative-{}", number % 3),
        placement_id: "x:p:t".into(),
        user_id: (!number.is_multiple_of(5)).then(|| format!("user-{}", number % 40)),
        lease_id: Some("lease".into()),
        price: Micros(3_000),
        floor: Micros(0),
        auction_type: AuctionType::SecondPrice,
        timestamp_ms: START_MS + i64::from(number) * 97,
        metadata: [("ua", agent), ("ip", ip.as_str()), ("ad_size", size), ("advertiser_id", "advertiser-1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec(),
    }
}

/// Every message of the market, in order of arrival.
fn messages(bids: u32) -> Vec<Planned> {
    let rates = Rates {
        click_ppm: 400_000,
        double_click_ppm: 300_000,
        conversion_ppm: 600_000,
        repeat_ppm: 100_000,
        conversion_repeat_ppm: 100_000,
        ..Rates::default()
    };
    let market = Market::new(7, rates);
    let mut planned: Vec<Planned> = (0..bids).flat_map(|number| market.on_bid(bid(number))).collect();
    planned.sort_by_key(|planned| planned.at_ms);
    planned
}

/// A record on its way.
struct Record {
    topic: &'static Topic,
    key: String,
    timestamp_ms: i64,
    value: Vec<u8>,
}

/// The chain's services, each over its shards.
struct Chain {
    services: Vec<(&'static str, Vec<&'static Topic>, Vec<Kit>)>,
    topics: BTreeMap<&'static str, &'static Topic>,
    queue: VecDeque<Record>,
    /// What the service that stalls has not read yet.
    held: VecDeque<Record>,
    /// What came out, by topic.
    out: BTreeMap<&'static str, Vec<Record>>,
}

impl Chain {
    fn new() -> Self {
        let mut chain = Self {
            services: Vec::new(),
            topics: BTreeMap::new(),
            queue: VecDeque::new(),
            held: VecDeque::new(),
            out: BTreeMap::new(),
        };
        for def in services(&Config::default()).into_iter().filter(|def| CHAIN.contains(&def.spec.name)) {
            chain.topics.extend(def.spec.inputs.iter().chain(&def.spec.outputs).map(|topic| (topic.name, *topic)));
            let kit = |shard| {
                let mut kit = Kit::of(def.clone());
                (kit.shard, kit.now_ms) = (shard, START_MS + 60 * MINUTE_MS);
                kit
            };
            chain.services.push((def.spec.name, def.spec.inputs.clone(), (0..SHARDS).map(kit).collect()));
        }
        assert_eq!(chain.services.len(), CHAIN.len());
        chain
    }

    /// Lets every record in the queue pass all services but the one that stalls.
    fn run(&mut self, stalled: Option<&str>) {
        while let Some(record) = self.queue.pop_front() {
            let mut emitted = Vec::new();
            for (name, inputs, kits) in &mut self.services {
                if !inputs.contains(&record.topic) {
                    continue;
                }
                if stalled == Some(*name) {
                    self.held.push_back(Record { value: record.value.clone(), key: record.key.clone(), ..record });
                    continue;
                }
                emitted.extend(deliver(kits, &record));
            }
            self.collect(emitted);
        }
    }

    /// The one that stalled reads what it has missed, in its order.
    fn catch_up(&mut self, stalled: &str) {
        for record in std::mem::take(&mut self.held) {
            let (.., kits) = self.services.iter_mut().find(|(name, ..)| *name == stalled).expect("a service");
            let emitted = deliver(kits, &record);
            self.collect(emitted);
            self.run(None);
        }
    }

    fn tick(&mut self) {
        let emitted: Vec<_> = self
            .services
            .iter_mut()
            .flat_map(|(.., kits)| kits)
            .flat_map(|kit| {
                kit.tick();
                kit.take()
            })
            .collect();
        self.collect(emitted);
        self.run(None);
    }

    fn collect(&mut self, emitted: Vec<runtime::testkit::Emitted>) {
        for e in emitted {
            let topic = self.topics[e.topic];
            let record = || Record { topic, key: e.key.clone(), timestamp_ms: e.timestamp_ms, value: e.value.clone() };
            self.out.entry(topic.name).or_default().push(record());
            self.queue.push_back(record());
        }
    }
}

fn deliver(kits: &mut [Kit], record: &Record) -> Vec<runtime::testkit::Emitted> {
    let kit = &mut kits[partitioner::partition(record.key.as_bytes(), SHARDS) as usize];
    kit.push_bytes(record.topic, &record.key, record.timestamp_ms, &record.value)
        .expect("the market sends nothing bad");
    kit.take()
}

/// What the platform says in the end.
#[derive(Debug, PartialEq, Eq, Default)]
struct Books {
    /// By campaign: charged and taken back, micros.
    ledger: BTreeMap<String, (i64, i64)>,
    /// Posted to budgets by campaign, micros.
    posted: BTreeMap<String, i64>,
    /// Impressions and clicks judged invalid.
    invalid: BTreeSet<String>,
    /// By conversion: the click credited.
    credited: BTreeMap<String, Option<String>>,
    /// By campaign and minute: impressions, clicks, conversions, spend, invalid impressions and spend.
    minutes: BTreeMap<(String, i64), [i64; 6]>,
}

fn run(planned: &[Planned], stalled: Option<&str>) -> Books {
    let mut chain = Chain::new();
    for Planned { event, .. } in planned {
        let impression = ids::impression_event_id(&event.bid.bid_id);
        let key = intake::user_key(event.bid.user_id.as_deref(), &impression).to_owned();
        let (mut value, timestamp_ms) = (Vec::new(), event.timestamp_ms);
        let topic = event.with_message(|message| match message {
            Message::Notice(notice) => (schemas::frame::encode(&notice, &mut value), &topics::EXCHANGE_NOTICES).1,
            Message::Impression(pixel) => (schemas::frame::encode(&pixel, &mut value), &topics::IMPRESSION_PIXELS).1,
            Message::Click(pixel) => (schemas::frame::encode(&pixel, &mut value), &topics::CLICK_PIXELS).1,
            Message::Conversion(post) => (schemas::frame::encode(&post, &mut value), &topics::CONVERSION_POSTS).1,
        });
        chain.queue.push_back(Record { topic, key, timestamp_ms, value });
        chain.run(stalled);
    }
    chain.tick();
    if let Some(stalled) = stalled {
        chain.catch_up(stalled);
    }
    chain.tick();
    read(&chain)
}

fn read(chain: &Chain) -> Books {
    let of = |topic: &Topic| chain.out.get(topic.name).map(Vec::as_slice).unwrap_or_default();
    let mut books = Books::default();
    for record in of(&topics::BILLING_EVENTS) {
        let transfer: BillingEvent<'_> = schemas::frame::decode(&record.value).expect("a transfer");
        let (charged, reversed) = books.ledger.entry(transfer.campaign_id.to_owned()).or_default();
        *(if transfer.kind == TransferKind::Charge { charged } else { reversed }) += transfer.amount_micros;
    }
    for record in of(&topics::AUCTION_RESULTS) {
        let result: AuctionResultEvent<'_> = schemas::frame::decode(&record.value).expect("a result");
        if result.kind == AuctionResultKind::Billed {
            *books.posted.entry(result.campaign_id.to_owned()).or_default() +=
                result.clearing_price_micros.expect("a price");
        }
    }
    for record in of(&topics::FRAUD_VERDICTS) {
        let verdict: FraudVerdict<'_> = schemas::frame::decode(&record.value).expect("a verdict");
        assert_eq!(verdict.verdict, Verdict::Givt, "the market has no mere suspects");
        assert!(books.invalid.insert(verdict.target_event_id.to_owned()), "one verdict an event");
    }
    for record in of(&topics::ATTRIBUTIONS) {
        let result: AttributionResult<'_> = schemas::frame::decode(&record.value).expect("an attribution");
        let touch = result.touches.get(0).map(|touch| touch.event_id.to_owned());
        books.credited.insert(result.conversion_id.to_owned(), touch);
    }
    // The last row of each shard's part counts; the parts add up.
    let mut parts: BTreeMap<&str, (String, i64, [i64; 6])> = BTreeMap::new();
    for record in of(&topics::CAMPAIGN_METRICS_1M) {
        let m: CampaignMinute<'_> = schemas::frame::decode(&record.value).expect("a minute");
        let counts = [m.impressions, m.clicks, m.conversions, m.spend_micros, m.ivt_impressions, m.ivt_spend_micros];
        parts.insert(&record.key, (m.campaign_id.to_owned(), m.window_start, counts));
    }
    for (campaign, minute, counts) in parts.into_values() {
        let row = books.minutes.entry((campaign, minute)).or_default();
        row.iter_mut().zip(counts).for_each(|(sum, part)| *sum += part);
    }
    books.minutes.retain(|_, row| *row != [0; 6]);
    books
}

/// A click of the market: who, when, which, on what, and whether it is invalid.
type Clicked<'a> = (&'a str, i64, String, &'a str, bool);

/// The same books, from the market's messages alone: no event, no state, no service.
fn recount(planned: &[Planned]) -> Books {
    let mut books = Books::default();
    let mut seen = BTreeSet::new();
    let (mut clicks, mut conversions): (Vec<Clicked<'_>>, Vec<_>) = (Vec::new(), Vec::new());
    for Planned { event, .. } in planned {
        let bid = &*event.bid;
        if !seen.insert((event.kind(), &bid.bid_id, event.timestamp_ms)) {
            continue;
        }
        let number: u32 = bid.auction_id["auction-".len()..].parse().expect("a number");
        let behind = Behind::of(number);
        let user = bid.user_id.as_deref().unwrap_or(&bid.bid_id);
        let minute = event.timestamp_ms / MINUTE_MS * MINUTE_MS;
        let row = |books: &mut Books, campaign: &str, column: usize, amount: i64| {
            books.minutes.entry((campaign.to_owned(), minute)).or_default()[column] += amount;
        };
        match event.what {
            What::Notice(_) => {}
            What::Impression { price } => {
                row(&mut books, &bid.campaign_id, 0, 1);
                row(&mut books, &bid.campaign_id, 3, price.0);
                *books.posted.entry(bid.campaign_id.clone()).or_default() += price.0;
                let (charged, reversed) = books.ledger.entry(bid.campaign_id.clone()).or_default();
                *charged += price.0;
                if behind != Behind::Person {
                    *reversed += price.0;
                    books.invalid.insert(ids::impression_event_id(&bid.bid_id));
                    row(&mut books, &bid.campaign_id, 4, 1);
                    row(&mut books, &bid.campaign_id, 5, price.0);
                }
            }
            What::Click => {
                row(&mut books, &bid.campaign_id, 1, 1);
                let invalid = matches!(behind, Behind::Bot | Behind::DataCentre);
                let id = ids::click_event_id(&bid.bid_id, event.timestamp_ms);
                clicks.push((user, event.timestamp_ms, id, &bid.campaign_id, invalid));
            }
            What::Conversion { clicked_ms, .. } => {
                let order = format!("order-{}-{clicked_ms}", bid.bid_id);
                let id = ids::conversion_event_id("advertiser-1", &order);
                conversions.push((
                    user,
                    event.timestamp_ms,
                    minute,
                    id,
                    ids::click_event_id(&bid.bid_id, clicked_ms),
                    number,
                ));
            }
        }
    }
    mark_doubles(planned, &mut clicks);
    books.invalid.extend(clicks.iter().filter(|click| click.4).map(|click| click.2.clone()));
    for (user, at_ms, minute, id, named, _) in conversions {
        let valid = |click: &&Clicked<'_>| click.0 == user && !click.4;
        let by_name = clicks.iter().filter(valid).find(|click| click.2 == named);
        let last =
            || clicks.iter().filter(valid).filter(|click| click.1 <= at_ms).max_by_key(|click| (click.1, &click.2));
        let credited = by_name.or_else(last);
        if let Some(click) = credited {
            books.minutes.entry((click.3.to_owned(), minute)).or_default()[2] += 1;
        }
        books.credited.insert(id, credited.map(|click| click.2.clone()));
    }
    books
}

/// Same person, creative, network and agent within two seconds after another click.
fn mark_doubles(planned: &[Planned], clicks: &mut [Clicked<'_>]) {
    let mut groups: BTreeMap<Vec<&str>, BTreeSet<(i64, String)>> = BTreeMap::new();
    for event in planned.iter().map(|planned| &planned.event).filter(|event| event.what == What::Click) {
        let bid = &*event.bid;
        let group = vec![
            bid.user_id.as_deref().unwrap_or(&bid.bid_id),
            &bid.creative_id,
            bid.context("ip").unwrap_or(""),
            bid.context("ua").unwrap_or(""),
        ];
        let id = ids::click_event_id(&bid.bid_id, event.timestamp_ms);
        groups.entry(group).or_default().insert((event.timestamp_ms, id));
    }
    let mut doubles = BTreeSet::new();
    for group in groups.into_values() {
        let times: Vec<_> = group.into_iter().collect();
        doubles.extend(times.windows(2).filter(|pair| pair[1].0 - pair[0].0 <= 2_000).map(|pair| pair[1].1.clone()));
    }
    clicks.iter_mut().for_each(|click| click.4 |= doubles.contains(&click.2));
}

#[test]
fn whoever_stalls_the_books_end_the_same() {
    let planned = messages(1_500);
    let expected = recount(&planned);
    assert!(expected.ledger.values().all(|(charged, reversed)| reversed * 20 > *charged), "there is invalid traffic");
    assert!(expected.credited.len() > 20, "there are conversions");
    for stalled in [None, Some("fraud"), Some("billing"), Some("attribution"), Some("analytics")] {
        let books = run(&planned, stalled);
        assert_eq!(books.ledger, expected.ledger, "ledger, {stalled:?} stalled");
        assert_eq!(books.posted, expected.posted, "budget, {stalled:?} stalled");
        assert_eq!(books.invalid, expected.invalid, "verdicts, {stalled:?} stalled");
        assert_eq!(books.credited, expected.credited, "attributions, {stalled:?} stalled");
        assert_eq!(books.minutes, expected.minutes, "minutes, {stalled:?} stalled");
    }
}
