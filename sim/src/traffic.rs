//! The outside world: bids, and what the market makes of them, planned ahead from the seed; and what is true about it,
//! which the platform has to find out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use actors::draw;
use actors::ids;
use actors::market::campaigns::{DemoCampaign, demo_campaigns};
use actors::market::{ADVERTISER_KEY, Bid, DESTINATION_KEY, Market, MarketEvent, Message, Rates, What};
use actors::money::{Cpm, Micros};
use actors::openrtb::AuctionType;
use actors::{metadata, topics};
use runtime::topology::Topic;
use schemas::codec::{Encode, Map};
use schemas::events::{BidEvent, BidOutcome, LeaseRequest, LeaseRequestKind};

/// A record on its way to the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    pub topic: &'static str,
    pub key: String,
    pub timestamp_ms: i64,
    pub value: Vec<u8>,
}

/// What is true about one impression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub campaign: String,
    pub price_micros: i64,
    /// A program looked at it; the lists know the program.
    pub by_program: bool,
    pub timestamp_ms: i64,
}

/// What the platform must come to know.
#[derive(Default)]
pub struct Truth {
    pub bids: u64,
    /// By event id.
    pub shown: BTreeMap<String, Shown>,
    /// Ids of distinct clicks and conversions.
    pub clicks: BTreeMap<String, i64>,
    pub conversions: BTreeMap<String, i64>,
    /// Impressions whose id came with two prices.
    pub conflicted: std::collections::BTreeSet<String>,
}

/// How the traffic misbehaves at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    /// Bids come this many times as fast.
    pub burst: u64,
    /// Nine of ten bids for one user and one campaign.
    pub hot_key: bool,
    /// Event times are moved by this much, ms.
    pub shift_ms: i64,
}

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36";
const PROGRAM: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
/// Shares, parts per million.
const PROGRAMS: u32 = 60_000;
const NO_USER: u32 = 40_000;
const USERS: u32 = 150;
/// High enough to win nearly always: the simulation is about what follows.
const OFFER: Cpm = Cpm(4_000_000);
/// Bids that become impressions, parts per million, with this offer and `rates`.
const SHOWN_SHARE_PPM: u64 = 985_000;
/// Leases are asked for every this many bids of a campaign.
const BIDS_A_LEASE: u64 = 20;

fn rates() -> Rates {
    Rates { click_ppm: 150_000, conversion_ppm: 400_000, repeat_ppm: 30_000, ..Rates::default() }
}

/// Traffic to come, in order of arrival.
pub struct Traffic {
    seed: u64,
    market: Market,
    campaigns: Vec<DemoCampaign>,
    rng: fastrand::Rng,
    epoch_ms: i64,
    next_bid_us: u64,
    mean_gap_us: u64,
    until_ms: u64,
    bids_max: u64,
    bids: u64,
    queue: BinaryHeap<Reverse<(i64, u64, Due)>>,
    number: u64,
    leases: BTreeMap<String, (String, u64)>,
    pub manners: Manners,
    pub truth: Truth,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Due(MarketEvent);
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
/// Arrival and number decide; what arrives never does.
impl Ord for Due {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl Traffic {
    /// `rate_milli` impressions a second (thousandths) from `epoch_ms` for `until_ms`.
    pub fn new(seed: u64, epoch_ms: i64, rate_milli: u64, until_ms: u64, bids_max: Option<u64>) -> Self {
        let campaigns = demo_campaigns(seed);
        Self {
            seed,
            market: Market::new(seed, rates()),
            campaigns,
            rng: draw::stream(seed, "traffic", ""),
            epoch_ms,
            next_bid_us: 1_000_000,
            mean_gap_us: 1_000 * SHOWN_SHARE_PPM / rate_milli.max(1),
            until_ms,
            bids_max: bids_max.unwrap_or(u64::MAX),
            bids: 0,
            queue: BinaryHeap::new(),
            number: 0,
            leases: BTreeMap::new(),
            manners: Manners::default(),
            truth: Truth::default(),
        }
    }

    /// Campaigns and budgets, before the first bid.
    pub fn opening(&self) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        for (index, campaign) in self.campaigns.iter().enumerate() {
            let lsn = 2 * index as i64 + 1;
            let key = &campaign.campaign_id;
            let change = campaign
                .with_campaign_change(lsn, self.epoch_ms, |c| parcel(&topics::CAMPAIGNS_CHANGES, key, c.ts_ms, &c));
            parcels.push(change);
            let budget = campaign.budget_change(lsn + 1, self.epoch_ms);
            parcels.push(parcel(&topics::BUDGETS_CHANGES, key, self.epoch_ms, &budget));
        }
        parcels
    }

    /// The `number`-th change of a campaign, later than the opening: nothing new in it but its version.
    pub fn campaign_change(&self, number: u64, now_ms: u64) -> Parcel {
        let campaign = &self.campaigns[number as usize % self.campaigns.len()];
        let lsn = 2 * self.campaigns.len() as i64 + 1 + number as i64;
        let at_ms = self.epoch_ms + now_ms as i64;
        let topic = &topics::CAMPAIGNS_CHANGES;
        campaign.with_campaign_change(lsn, at_ms, |c| parcel(topic, &campaign.campaign_id, at_ms, &c))
    }

    /// Everything that arrives up to `now_ms` since the epoch of the world.
    pub fn due(&mut self, now_ms: u64, out: &mut Vec<Parcel>) {
        while self.next_bid_us <= now_ms * 1_000 && self.next_bid_us < self.until_ms * 1_000 {
            let at_us = self.next_bid_us;
            let mean = (self.mean_gap_us / self.manners.burst.max(1)).max(1);
            self.next_bid_us += self.rng.u64(0..=2 * mean).max(1);
            if self.bids < self.bids_max {
                self.bid(self.epoch_ms + (at_us / 1_000) as i64, out);
            }
        }
        let now_ms = self.epoch_ms + now_ms as i64;
        while self.queue.peek().is_some_and(|Reverse((at_ms, _, _))| *at_ms <= now_ms) {
            let Some(Reverse((_, _, Due(event)))) = self.queue.pop() else { break };
            self.deliver(&event, out);
        }
    }

    /// Nothing will come any more.
    pub fn is_over(&self) -> bool {
        self.queue.is_empty() && (self.next_bid_us >= self.until_ms * 1_000 || self.bids >= self.bids_max)
    }

    /// Runs the market out: what is planned arrives now.
    pub fn hurry(&mut self, out: &mut Vec<Parcel>) {
        while let Some(Reverse((_, _, Due(event)))) = self.queue.pop() {
            self.deliver(&event, out);
        }
        self.next_bid_us = u64::MAX;
    }

    fn bid(&mut self, at_ms: i64, out: &mut Vec<Parcel>) {
        self.bids += 1;
        let number = self.bids;
        let mut rng = draw::stream(self.seed, "bid", &number.to_string());
        let active: Vec<usize> = (0..self.campaigns.len()).filter(|i| self.campaigns[*i].active).collect();
        let hot = self.manners.hot_key && rng.u32(0..10) > 0;
        let campaign = self.campaigns[if hot { active[0] } else { active[rng.usize(0..active.len())] }].clone();
        let auction_id = format!("auction-{}-{number}", self.seed);
        let bid_id = ids::bid_id("sim", &auction_id, "1");
        let user = (!draw::happens(&mut rng, NO_USER)).then(|| rng.u32(0..USERS)).map(|n| format!("user-{n}"));
        let user = if hot { Some("user-0".to_owned()) } else { user };
        let program = draw::happens(&mut rng, PROGRAMS);
        let lease = self.lease(&campaign, at_ms, out);
        let context = [
            (metadata::UA, if program { PROGRAM } else { AGENT }),
            (metadata::IP, "24.48.12.0/24"),
            (metadata::AD_SIZE, "300x250"),
            (ADVERTISER_KEY, &campaign.advertiser_id),
            (DESTINATION_KEY, &campaign.destination_domain),
        ];
        let bid = Bid {
            bid_id,
            auction_id,
            imp_id: "1".into(),
            campaign_id: campaign.campaign_id.clone(),
            creative_id: campaign.creative_id.clone(),
            placement_id: "sim:1:1".into(),
            user_id: user,
            lease_id: Some(lease),
            price: OFFER.per_impression_floor(),
            floor: Micros(1),
            auction_type: AuctionType::SecondPrice,
            timestamp_ms: at_ms + self.manners.shift_ms,
            metadata: context.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
        };
        self.truth.bids += 1;
        out.push(bid_parcel(&bid));
        let shift_ms = self.manners.shift_ms;
        for planned in self.market.on_bid(bid) {
            self.number += 1;
            // Arrival is real, only the reported times are moved.
            self.queue.push(Reverse((planned.at_ms - shift_ms, self.number, Due(planned.event))));
        }
    }

    /// The lease to spend from; asks for one now and then, as an edge does.
    fn lease(&mut self, campaign: &DemoCampaign, at_ms: i64, out: &mut Vec<Parcel>) -> String {
        let (lease, used) = self.leases.entry(campaign.campaign_id.clone()).or_default();
        *used += 1;
        if lease.is_empty() || *used > BIDS_A_LEASE {
            let request_id = format!("ask-{}-{}-{}", self.seed, campaign.campaign_id, self.number);
            *lease = format!("lse-{request_id}");
            *used = 0;
            let ask = LeaseRequest {
                request_id: &request_id,
                timestamp: at_ms,
                campaign_id: &campaign.campaign_id,
                kind: LeaseRequestKind::Ask,
                holder: "edge/1",
                amount_micros: OFFER.per_impression_floor().0 * BIDS_A_LEASE as i64,
                lease_id: None,
                metadata: Map::default(),
            };
            out.push(parcel(&topics::LEASE_REQUESTS, &campaign.campaign_id, at_ms, &ask));
            self.number += 1;
        }
        lease.clone()
    }

    fn deliver(&mut self, event: &MarketEvent, out: &mut Vec<Parcel>) {
        let bid = &event.bid;
        let impression_id = ids::impression_event_id(&bid.bid_id);
        let key = bid.user_id.clone().unwrap_or_else(|| impression_id.clone());
        match event.what {
            What::Notice(_) => {}
            What::Impression { price } => {
                let shown = Shown {
                    campaign: bid.campaign_id.clone(),
                    price_micros: price.0,
                    by_program: bid.context(metadata::UA) == Some(PROGRAM),
                    timestamp_ms: event.timestamp_ms,
                };
                self.truth.shown.insert(impression_id, shown);
            }
            What::Click => {
                let id = ids::click_event_id(&bid.bid_id, event.timestamp_ms);
                self.truth.clicks.insert(id, event.timestamp_ms);
            }
            What::Conversion { clicked_ms, .. } => {
                let order = format!("order-{}-{clicked_ms}", bid.bid_id);
                let id = ids::conversion_event_id(bid.advertiser_id(), &order);
                self.truth.conversions.insert(id, event.timestamp_ms);
            }
        }
        let at_ms = event.timestamp_ms;
        out.push(event.with_message(|message| match message {
            Message::Notice(m) => parcel(&topics::EXCHANGE_NOTICES, &key, at_ms, &m),
            Message::Impression(m) => parcel(&topics::IMPRESSION_PIXELS, &key, at_ms, &m),
            Message::Click(m) => parcel(&topics::CLICK_PIXELS, &key, at_ms, &m),
            Message::Conversion(m) => parcel(&topics::CONVERSION_POSTS, &key, at_ms, &m),
        }));
    }
}

fn parcel<E: Encode>(topic: &'static Topic, key: &str, timestamp_ms: i64, event: &E) -> Parcel {
    let mut value = Vec::new();
    schemas::frame::encode(event, &mut value);
    Parcel { topic: topic.name, key: key.to_owned(), timestamp_ms, value }
}

fn bid_parcel(bid: &Bid) -> Parcel {
    let pairs: Vec<(&str, &str)> = bid.metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let event = BidEvent {
        bid_id: &bid.bid_id,
        auction_id: &bid.auction_id,
        imp_id: &bid.imp_id,
        timestamp: bid.timestamp_ms,
        exchange: "sim",
        outcome: BidOutcome::Bid,
        no_bid_reason: None,
        campaign_id: Some(&bid.campaign_id),
        creative_id: Some(&bid.creative_id),
        placement_id: Some(&bid.placement_id),
        user_id: bid.user_id.as_deref(),
        value_micros: bid.price.0,
        bid_price_micros: bid.price.0,
        floor_micros: bid.floor.0,
        auction_type: 2,
        tmax_ms: 120,
        decision_us: 40,
        lease_id: bid.lease_id.as_deref(),
        view_ages_ms: Default::default(),
        metadata: Map::from_pairs(&pairs),
    };
    let key = bid.user_id.as_deref().unwrap_or(&bid.auction_id);
    parcel(&topics::BIDS, key, bid.timestamp_ms, &event)
}
