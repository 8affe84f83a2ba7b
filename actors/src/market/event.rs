//! What the market sends to the platform's tracking edge, before it is encoded.

use std::sync::Arc;

use schemas::codec::Map;
use schemas::events::{BidEvent, ClickPixel, ConversionPost, ExchangeNotice, ImpressionPixel};

use crate::bidder::event::{COUNTRY_KEY, DOMAIN_KEY};
use crate::ids;
use crate::metadata::{AD_SIZE, BID_ID, IP, SENTINEL_USER, TEST, UA};
use crate::money::Micros;
use crate::openrtb::AuctionType;

/// Metadata key of a bid's advertiser.
pub const ADVERTISER_KEY: &str = "advertiser_id";
/// Metadata key of the domain that a creative leads to.
pub const DESTINATION_KEY: &str = "destination_domain";

/// Metadata key of the exchange, which impressions have no field for.
pub const EXCHANGE_KEY: &str = "exchange";

/// What of a bid's context an exchange hands on to the pages that render it; the rest is the bidder's own record.
const CARRIED: [&str; 9] =
    [IP, UA, AD_SIZE, TEST, SENTINEL_USER, COUNTRY_KEY, DOMAIN_KEY, ADVERTISER_KEY, DESTINATION_KEY];

/// The facts of one bid that its auction and everything after it depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bid {
    /// Deterministic id, see [`ids::bid_id`].
    pub bid_id: String,
    /// OpenRTB request.id.
    pub auction_id: String,
    /// OpenRTB imp.id.
    pub imp_id: String,
    /// Campaign that bids.
    pub campaign_id: String,
    /// Creative that bids.
    pub creative_id: String,
    /// Placement.
    pub placement_id: String,
    /// User, if known and no placeholder.
    pub user_id: Option<String>,
    /// Budget lease the price was taken from.
    pub lease_id: Option<String>,
    /// Offer for one impression.
    pub price: Micros,
    /// Least price for one impression.
    pub floor: Micros,
    /// How the exchange sells.
    pub auction_type: AuctionType,
    /// When the bid was made, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Context that travels with the impression: address, agent, advertiser and so on.
    pub metadata: Vec<(String, String)>,
}

impl Bid {
    /// The bid in an event; `None` if the event is a no-bid or lacks what a bid has.
    pub fn from_event(event: &BidEvent<'_>) -> Option<Bid> {
        let owned = |text: &str| text.to_owned();
        if event.outcome != schemas::events::BidOutcome::Bid {
            return None;
        }
        Some(Bid {
            bid_id: owned(event.bid_id),
            auction_id: owned(event.auction_id),
            imp_id: owned(event.imp_id),
            campaign_id: owned(event.campaign_id?),
            creative_id: owned(event.creative_id?),
            placement_id: owned(event.placement_id?),
            user_id: event.user_id.map(owned),
            lease_id: event.lease_id.map(owned),
            price: Micros(event.bid_price_micros),
            floor: Micros(event.floor_micros),
            auction_type: AuctionType::from_code(i64::from(event.auction_type)).unwrap_or(AuctionType::SecondPrice),
            timestamp_ms: event.timestamp,
            metadata: event
                .metadata
                .iter()
                .filter(|(key, _)| CARRIED.contains(key))
                .chain(std::iter::once((EXCHANGE_KEY, event.exchange)))
                .map(|(key, value)| (owned(key), owned(value)))
                .collect(),
        })
    }

    /// A value of the context.
    pub fn context(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Who pays: from the context, else the campaign itself.
    pub fn advertiser_id(&self) -> &str {
        self.context(ADVERTISER_KEY).unwrap_or(&self.campaign_id)
    }
}

/// How an auction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuctionEnd {
    /// We won and owe this for one impression.
    Won {
        /// Clearing price of one impression.
        price: Micros,
    },
    /// We lost.
    Lost {
        /// OpenRTB loss code: 102 outbid, 100 below the floor.
        reason: i32,
        /// Least price of one impression that would have won.
        min_to_win: Micros,
    },
}

/// One message of the market. The bid is shared: thousands of messages wait for their time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketEvent {
    /// The bid it is about.
    pub bid: Arc<Bid>,
    /// When it happened, milliseconds since the epoch; the same in a repetition.
    pub timestamp_ms: i64,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The exchange tells how the auction ended.
    Notice(AuctionEnd),
    /// The ad was rendered.
    Impression {
        /// Clearing price of one impression.
        price: Micros,
    },
    /// The ad was clicked.
    Click,
    /// The advertiser reports a sale.
    Conversion {
        /// When its click happened.
        clicked_ms: i64,
        /// Value of the sale.
        value: Micros,
    },
}

impl MarketEvent {
    /// Stable name of what happened.
    pub fn kind(&self) -> &'static str {
        match self.what {
            What::Notice(AuctionEnd::Won { .. }) => "win_notice",
            What::Notice(AuctionEnd::Lost { .. }) => "loss_notice",
            What::Impression { .. } => "impression_pixel",
            What::Click => "click_pixel",
            What::Conversion { .. } => "conversion_post",
        }
    }

    /// Hands the message in its schema's type to `take`; it borrows from this event.
    pub fn with_message<R>(&self, take: impl FnOnce(Message<'_>) -> R) -> R {
        let pairs = self.context();
        let metadata = Map::from_pairs(&pairs);
        match self.what {
            What::Notice(end) => take(Message::Notice(self.notice(end, metadata))),
            What::Impression { price } => take(Message::Impression(self.impression(price, metadata))),
            What::Click => take(Message::Click(self.click(metadata))),
            What::Conversion { clicked_ms, value } => {
                let (order, click) = (self.order_id(clicked_ms), ids::click_event_id(&self.bid.bid_id, clicked_ms));
                take(Message::Conversion(self.conversion(&order, &click, value, metadata)))
            }
        }
    }

    /// The context that each sender knows: an exchange's notice only whether it was a test, a page's pixel everything, a
    /// redirect who clicked, an advertiser the bid that its landing page was opened with.
    fn context(&self) -> Vec<(&str, &str)> {
        let known: &[&str] = match self.what {
            What::Notice(_) => &[TEST],
            What::Impression { .. } => {
                &[IP, UA, AD_SIZE, TEST, SENTINEL_USER, COUNTRY_KEY, DOMAIN_KEY, ADVERTISER_KEY, EXCHANGE_KEY]
            }
            What::Click => &[IP, UA, TEST, SENTINEL_USER],
            What::Conversion { .. } => &[TEST],
        };
        let all = self.bid.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut pairs: Vec<(&str, &str)> = all.filter(|(key, _)| known.contains(key)).collect();
        if let What::Conversion { .. } = self.what {
            pairs.push((BID_ID, &self.bid.bid_id));
        }
        pairs
    }

    /// The advertiser's number of a sale: one a click.
    fn order_id(&self, clicked_ms: i64) -> String {
        format!("order-{}-{clicked_ms}", self.bid.bid_id)
    }

    fn notice<'a>(&'a self, end: AuctionEnd, metadata: Map<'a>) -> ExchangeNotice<'a> {
        let bid = &*self.bid;
        let (price, lost) = match end {
            AuctionEnd::Won { price } => (Some(price.0), None),
            AuctionEnd::Lost { reason, min_to_win } => (None, Some((reason, min_to_win.0))),
        };
        ExchangeNotice {
            bid_id: &bid.bid_id,
            auction_id: &bid.auction_id,
            imp_id: &bid.imp_id,
            campaign_id: &bid.campaign_id,
            timestamp: self.timestamp_ms,
            win: price.is_some(),
            price_micros: price,
            loss_reason: lost.map(|(reason, _)| reason),
            min_to_win_micros: lost.map(|(_, price)| price),
            lease_id: bid.lease_id.as_deref(),
            metadata,
        }
    }

    fn impression<'a>(&'a self, price: Micros, metadata: Map<'a>) -> ImpressionPixel<'a> {
        let bid = &*self.bid;
        ImpressionPixel {
            bid_id: &bid.bid_id,
            auction_id: &bid.auction_id,
            imp_id: &bid.imp_id,
            timestamp: self.timestamp_ms,
            campaign_id: &bid.campaign_id,
            creative_id: &bid.creative_id,
            placement_id: &bid.placement_id,
            user_id: bid.user_id.as_deref(),
            bid_price_micros: bid.price.0,
            win_price_micros: price.0,
            lease_id: bid.lease_id.as_deref(),
            metadata,
        }
    }

    fn click<'a>(&'a self, metadata: Map<'a>) -> ClickPixel<'a> {
        let bid = &*self.bid;
        ClickPixel {
            bid_id: &bid.bid_id,
            timestamp: self.timestamp_ms,
            campaign_id: &bid.campaign_id,
            creative_id: &bid.creative_id,
            placement_id: &bid.placement_id,
            user_id: bid.user_id.as_deref(),
            destination_domain: bid.context(DESTINATION_KEY),
            metadata,
        }
    }

    fn conversion<'a>(
        &'a self,
        order_id: &'a str,
        click_event_id: &'a str,
        value: Micros,
        metadata: Map<'a>,
    ) -> ConversionPost<'a> {
        ConversionPost {
            order_id,
            timestamp: self.timestamp_ms,
            advertiser_id: self.bid.advertiser_id(),
            conversion_type: "purchase",
            user_id: self.bid.user_id.as_deref(),
            click_event_id: Some(click_event_id),
            value_micros: value.0,
            currency: "USD",
            metadata,
        }
    }
}

/// A message in the type of its schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Message<'a> {
    /// Win or loss notice.
    Notice(ExchangeNotice<'a>),
    /// Impression pixel.
    Impression(ImpressionPixel<'a>),
    /// Click redirect.
    Click(ClickPixel<'a>),
    /// Conversion post.
    Conversion(ConversionPost<'a>),
}
