//! The part of OpenRTB 2.6 that decisions and events use, by its own names (IAB, OpenRTB 2.6, section 3.2). Text is borrowed
//! from the line. What is not named here is skipped and never stored.

use std::borrow::Cow;

use serde::Deserialize;

use super::{AuctionType, Price, lenient};
use crate::net::Network;

/// A text field, borrowed where the line allows it.
pub type Text<'a> = Option<Cow<'a, str>>;

/// One bid request. Made by [`super::parse`] only, so `id` is there and `imp` is not empty.
#[derive(Clone, Debug, PartialEq)]
pub struct BidRequest<'a> {
    /// Auction id, unique for its exchange.
    pub id: Cow<'a, str>,
    /// Impression slots, at least one.
    pub imp: Vec<Imp<'a>>,
    /// The page, if it is a web request that names one.
    pub site: Option<Site<'a>>,
    /// The app, if it is one.
    pub app: Option<App<'a>>,
    /// Device; all absent if the request had none.
    pub device: Device<'a>,
    /// User; all absent if the request had none.
    pub user: User<'a>,
    /// Privacy signals.
    pub regs: Regs<'a>,
    /// How the exchange sells.
    pub auction_type: AuctionType,
    /// Time the exchange allows for an answer.
    pub tmax_ms: u32,
    /// Currencies that the exchange takes bids in, ISO 4217.
    pub cur: Vec<Cow<'a, str>>,
    /// Advertiser domains that the publisher blocks.
    pub badv: Vec<Cow<'a, str>>,
    /// A test: may be answered, is never billed or counted.
    pub test: bool,
    /// Our own extension: who asked and when it was recorded.
    pub ext: Ext<'a>,
    /// Which required facts the request did not state.
    pub assumed: Assumed,
}

/// Facts that were set because the request does not state them; decisions and screens say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assumed {
    /// `at` was absent or unknown: second price.
    pub at: bool,
    /// `tmax` was absent or no positive number: [`super::TMAX_DEFAULT_MS`].
    pub tmax: bool,
    /// `cur` was absent or empty: USD.
    pub cur: bool,
}

/// One impression slot.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Imp<'a> {
    /// Slot id, unique in the request; its position (from 1) where absent.
    #[serde(borrow, default, deserialize_with = "lenient::text")]
    pub id: Text<'a>,
    /// Banner, if one fits here.
    #[serde(default, deserialize_with = "lenient::object")]
    pub banner: Option<Banner>,
    /// A video fits here. (No further use: we have no video creatives.)
    #[serde(default, deserialize_with = "lenient::present")]
    pub video: bool,
    /// A native ad fits here.
    #[serde(default, deserialize_with = "lenient::present")]
    pub native: bool,
    /// Least price per thousand.
    #[serde(default, deserialize_with = "lenient::price")]
    pub bidfloor: Price,
    /// Currency of the floor; USD where absent.
    #[serde(default, deserialize_with = "lenient::text")]
    pub bidfloorcur: Text<'a>,
    /// The publisher's name of the placement.
    #[serde(default, deserialize_with = "lenient::text")]
    pub tagid: Text<'a>,
    /// Full screen.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub instl: bool,
    /// Seconds between auction and impression that the exchange allows.
    #[serde(default, deserialize_with = "lenient::int")]
    pub exp: Option<i64>,
}

/// A banner slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Banner {
    /// Width, pixels.
    #[serde(default, deserialize_with = "lenient::int")]
    pub w: Option<i64>,
    /// Height, pixels.
    #[serde(default, deserialize_with = "lenient::int")]
    pub h: Option<i64>,
    /// Sizes allowed; wins over `w` and `h`.
    #[serde(default, deserialize_with = "lenient::objects_or_empty")]
    pub format: Vec<Format>,
}

/// One allowed size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Format {
    /// Width, pixels.
    #[serde(default, deserialize_with = "lenient::int")]
    pub w: Option<i64>,
    /// Height, pixels.
    #[serde(default, deserialize_with = "lenient::int")]
    pub h: Option<i64>,
}

/// A web page.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Site<'a> {
    /// The exchange's id of the site.
    #[serde(borrow, default, deserialize_with = "lenient::text")]
    pub id: Text<'a>,
    /// Domain.
    #[serde(default, deserialize_with = "lenient::text")]
    pub domain: Text<'a>,
    /// Who publishes it.
    #[serde(default, deserialize_with = "lenient::object")]
    pub publisher: Option<Publisher<'a>>,
}

/// An app.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct App<'a> {
    /// The exchange's id of the app.
    #[serde(borrow, default, deserialize_with = "lenient::text")]
    pub id: Text<'a>,
    /// Store bundle.
    #[serde(default, deserialize_with = "lenient::text")]
    pub bundle: Text<'a>,
    /// Who publishes it.
    #[serde(default, deserialize_with = "lenient::object")]
    pub publisher: Option<Publisher<'a>>,
}

/// A publisher.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Publisher<'a> {
    /// The exchange's id of the publisher.
    #[serde(borrow, default, deserialize_with = "lenient::text")]
    pub id: Text<'a>,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Device<'a> {
    /// User agent.
    #[serde(borrow, default, deserialize_with = "lenient::text")]
    pub ua: Text<'a>,
    /// IPv4 address.
    #[serde(default, deserialize_with = "lenient::text")]
    pub ip: Text<'a>,
    /// IPv6 address.
    #[serde(default, deserialize_with = "lenient::text")]
    pub ipv6: Text<'a>,
    /// Do not track.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub dnt: bool,
    /// Limit ad tracking.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub lmt: bool,
    /// OpenRTB device type.
    #[serde(default, deserialize_with = "lenient::int")]
    pub devicetype: Option<i64>,
    /// Place.
    #[serde(default, deserialize_with = "lenient::object")]
    pub geo: Option<Geo<'a>>,
}

/// A place.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Geo<'a> {
    /// ISO 3166 alpha-3.
    #[serde(borrow, default, deserialize_with = "lenient::text")]
    pub country: Text<'a>,
    /// ISO 3166-2 part after the country.
    #[serde(default, deserialize_with = "lenient::text")]
    pub region: Text<'a>,
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct User<'a> {
    /// The exchange's id of the user.
    #[serde(borrow, default, deserialize_with = "lenient::text")]
    pub id: Text<'a>,
    /// Our own id of the user, where the exchange has matched it.
    #[serde(default, deserialize_with = "lenient::text")]
    pub buyeruid: Text<'a>,
    /// TCF consent string.
    #[serde(default, deserialize_with = "lenient::text")]
    pub consent: Text<'a>,
}

/// Privacy signals.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Regs<'a> {
    /// Directed at children: no personal data.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub coppa: bool,
    /// The GDPR applies.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub gdpr: bool,
    /// US privacy string.
    #[serde(borrow, default, deserialize_with = "lenient::text")]
    pub us_privacy: Text<'a>,
}

/// Extension of recorded and generated files.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Ext<'a> {
    /// Exchange that asked.
    #[serde(borrow, default, deserialize_with = "lenient::text")]
    pub exchange: Text<'a>,
    /// Recorded arrival, microseconds since the epoch; not sorted.
    #[serde(default, deserialize_with = "lenient::int")]
    pub ts_us: Option<i64>,
}

impl BidRequest<'_> {
    /// Exchange that asked; `unknown` where the request does not say.
    pub fn exchange(&self) -> &str {
        self.ext.exchange.as_deref().unwrap_or("unknown")
    }

    /// The user's id if there is one and the request allows its use: not for children, not where tracking is declined, not
    /// under the GDPR without a consent string. (Placeholder ids are a view's knowledge, not the request's.)
    pub fn user_id(&self) -> Option<&str> {
        let declined = self.regs.coppa || self.device.dnt || self.device.lmt;
        let unconsented = self.regs.gdpr && self.user.consent.as_deref().is_none_or(str::is_empty);
        if declined || unconsented {
            return None;
        }
        self.user.id.as_deref().filter(|id| !id.is_empty())
    }

    /// Network of the device.
    pub fn network(&self) -> Option<Network> {
        let text = self.device.ip.as_deref().filter(|ip| !ip.is_empty()).or(self.device.ipv6.as_deref())?;
        Network::of(text)
    }

    /// Country of the device, ISO 3166 alpha-3.
    pub fn country(&self) -> Option<&str> {
        self.device.geo.as_ref()?.country.as_deref()
    }

    /// Domain of the page or bundle of the app.
    pub fn domain(&self) -> Option<&str> {
        let site = self.site.as_ref().and_then(|site| site.domain.as_deref());
        site.or_else(|| self.app.as_ref()?.bundle.as_deref()).filter(|domain| !domain.is_empty())
    }

    /// Neither a site's domain nor an app is named.
    pub fn site_absent(&self) -> bool {
        self.site.as_ref().is_none_or(|site| site.domain.is_none()) && self.app.is_none()
    }

    /// The exchange's id of the publisher, site or app.
    pub fn publisher_id(&self) -> Option<&str> {
        let site =
            self.site.as_ref().and_then(|s| s.publisher.as_ref().and_then(|p| p.id.as_deref()).or(s.id.as_deref()));
        site.or_else(|| {
            let app = self.app.as_ref()?;
            app.publisher.as_ref().and_then(|p| p.id.as_deref()).or(app.id.as_deref())
        })
    }

    /// Name of a slot as analytics counts it: `exchange:publisher:tagid`, with domain and size standing in where the
    /// exchange names neither.
    pub fn placement_id(&self, imp: &Imp<'_>) -> String {
        let publisher = self.publisher_id().or(self.domain()).unwrap_or("unknown");
        match imp.tagid.as_deref().filter(|tag| !tag.is_empty()) {
            Some(tag) => format!("{}:{publisher}:{tag}", self.exchange()),
            None => match imp.sizes().next() {
                Some((w, h)) => format!("{}:{publisher}:{w}x{h}", self.exchange()),
                None => format!("{}:{publisher}:unsized", self.exchange()),
            },
        }
    }
}

impl Imp<'_> {
    /// Sizes that fit, `format` first as OpenRTB demands. A size with a missing side is passed over; 0 and 1 are not: they
    /// are a sign of fraud that decisions must see.
    pub fn sizes(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        let banner = self.banner.as_ref();
        let formats = banner.map(|b| b.format.as_slice()).unwrap_or_default();
        let listed = formats.iter().filter_map(|format| Some((format.w?, format.h?)));
        let stated = banner.and_then(|b| Some((b.w?, b.h?))).filter(|_| formats.is_empty());
        listed.chain(stated)
    }
}
