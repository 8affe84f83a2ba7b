//! What all requests of one edge share, and what happens to each of them: found, limited, served, counted.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use runtime::env::Env;
use sha2::{Digest as _, Sha256};

use super::answer::{Answer, Refused};
use super::appender::{Appender, Pending};
use super::buckets::Buckets;
use super::config::EdgeConfig;
use super::line::Line;
use super::recent::Recent;
use super::stats::{EdgeStats, Route};
use super::token::Keys;
use super::{bid, track};
use crate::platform::Views;
use crate::telemetry::Hub;

/// Header of a sender that has a key.
const API_KEY: &str = "x-api-key";
const FORWARDED: &str = "x-forwarded-for";

/// The three rates.
pub struct Rates {
    bids: Mutex<Buckets>,
    pixels: Mutex<Buckets>,
    keys: Mutex<Buckets>,
}

impl Rates {
    pub fn new(config: &EdgeConfig) -> Self {
        let buckets = |per_s| Mutex::new(Buckets::new(per_s));
        Self {
            bids: buckets(config.bids_per_s),
            pixels: buckets(config.pixels_per_s),
            keys: buckets(config.requests_per_s_per_key),
        }
    }

    pub fn set(&self, config: &EdgeConfig) {
        let all = [
            (&self.bids, config.bids_per_s),
            (&self.pixels, config.pixels_per_s),
            (&self.keys, config.requests_per_s_per_key),
        ];
        for (buckets, per_s) in all {
            buckets.lock().unwrap_or_else(PoisonError::into_inner).set_rate(per_s);
        }
    }
}

/// Shared by all connections.
pub struct Served {
    pub env: Env,
    pub views: Views,
    pub appender: Arc<Appender>,
    pub keys: ArcSwap<Keys>,
    pub config: ArcSwap<EdgeConfig>,
    /// Start of the URLs given out.
    pub base: ArcSwap<String>,
    pub rates: Rates,
    pub recent: Recent,
    pub line: Arc<Line>,
    pub stats: Arc<EdgeStats>,
    pub telemetry: Option<Arc<Hub>>,
}

impl Served {
    pub fn config(&self) -> Arc<EdgeConfig> {
        self.config.load_full()
    }

    pub fn base(&self) -> Arc<String> {
        self.base.load_full()
    }

    /// Why a bid request that stands before the edge now is turned away, if it is.
    pub fn turns_away(&self, now_us: u64) -> Option<&'static str> {
        let is_late = (!self.line.admits(now_us)).then_some("no time left");
        is_late.or_else(|| self.appender.behind())
    }

    /// Serves one request; what is wrong with it is an answer, too.
    pub async fn serve(&self, request: Request<Incoming>, peer: IpAddr) -> Result<Answer, Infallible> {
        let since_us = self.env.clock.mono_us();
        let route = route(request.uri().path());
        let answer = match self.dispatch(route, request, peer, since_us).await {
            Ok(answer) => answer,
            Err(refused) => {
                self.stats.reason("refused", refused.kind());
                refused.answer()
            }
        };
        self.stats.answered(route, answer.status().as_u16(), self.env.clock.mono_us().saturating_sub(since_us));
        Ok(answer)
    }

    async fn dispatch(
        &self,
        route: Route,
        request: Request<Incoming>,
        peer: IpAddr,
        since_us: u64,
    ) -> Result<Answer, Refused> {
        let sender = self.sender(&request, peer);
        self.limit(route, &request, sender, since_us)?;
        match route {
            Route::Bid => bid::bid(self, request, since_us).await,
            Route::Unknown => {
                let known = "POST /openrtb2/bid, GET /t/imp, /t/win, /t/loss, /t/click, POST /t/conv";
                Err(Refused::bad("PATH", format!("nothing is here; there are {known}")))
            }
            route => track::track(self, route, request, sender).await,
        }
    }

    fn limit(&self, route: Route, request: &Request<Incoming>, sender: IpAddr, now_us: u64) -> Result<(), Refused> {
        let take = |buckets: &Mutex<Buckets>, sender| {
            buckets.lock().unwrap_or_else(PoisonError::into_inner).take(sender, now_us)
        };
        let buckets = if route == Route::Bid { &self.rates.bids } else { &self.rates.pixels };
        if !take(buckets, address_id(sender)) {
            return Err(Refused::later("ADDRESS_RATE", "too many requests of this address; send fewer a second"));
        }
        if let Some(key) = request.headers().get(API_KEY)
            && !take(&self.rates.keys, key_id(key.as_bytes()))
        {
            return Err(Refused::later("KEY_RATE", "too many requests under this key; send fewer a second"));
        }
        Ok(())
    }

    /// Who sends: the peer, or whom our own proxy names.
    fn sender(&self, request: &Request<Incoming>, peer: IpAddr) -> IpAddr {
        if !self.config().trust_forwarded {
            return peer;
        }
        let forwarded = request.headers().get(FORWARDED).and_then(|value| value.to_str().ok());
        forwarded.and_then(|value| value.rsplit(',').next()?.trim().parse().ok()).unwrap_or(peer)
    }

    /// The whole body, within its limits of size and time.
    ///
    /// # Errors
    /// [`Refused`] 413 or 400, or 429 for a body that does not come.
    pub async fn body(&self, request: Request<Incoming>) -> Result<Bytes, Refused> {
        let config = self.config();
        let max = config.body_max_bytes;
        let too_large = || Refused::too_large("BODY_SIZE", format!("a body may have {max} bytes"));
        let stated = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if stated.is_some_and(|length| length > max as u64) {
            return Err(too_large());
        }
        let encoding = request.headers().get(CONTENT_ENCODING).map(|encoding| encoding.as_bytes());
        if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
            return Err(Refused::bad("ENCODING", "bodies are taken as they are, without content-encoding").closing());
        }
        let body = Limited::new(request.into_body(), max);
        if body.is_end_stream() {
            return Err(Refused::bad("BODY", "the body is empty; JSON is expected"));
        }
        match self.env.clock.timeout(config.body_timeout, body.collect()).await {
            Some(Ok(collected)) => Ok(collected.to_bytes()),
            Some(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Some(Err(error)) => Err(Refused::bad("BODY", format!("the body broke off: {error}")).closing()),
            None => {
                let limit_ms = config.body_timeout.as_millis();
                Err(Refused::later("BODY_TIME", format!("the body did not come within {limit_ms} ms")).closing())
            }
        }
    }

    /// Waits until the log has what was appended.
    ///
    /// # Errors
    /// [`Refused`] 429 where it refuses, or does not answer in time: whoever sends it again does no harm.
    pub async fn settled(&self, pending: Pending) -> Result<(), Refused> {
        match self.env.clock.timeout(self.config().log_timeout, pending.settled()).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Refused::later(error.kind(), "the log did not take it; send it again later")),
            None => Err(Refused::later("LOG_TIME", "the log has not answered yet; send it again in a second")),
        }
    }
}

fn route(path: &str) -> Route {
    match path {
        "/openrtb2/bid" => Route::Bid,
        "/t/imp" => Route::Impression,
        "/t/win" => Route::Win,
        "/t/loss" => Route::Loss,
        "/t/click" => Route::Click,
        "/t/conv" => Route::Conversion,
        _ => Route::Unknown,
    }
}

/// An address as a sender: one of IPv4, a /64 of IPv6, which is what one customer gets.
fn address_id(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => u64::from(v4.to_bits()),
            None => (v6.to_bits() >> 64) as u64 | 1 << 63,
        },
    }
}

/// Keys are secrets: only a digest is kept.
fn key_id(key: &[u8]) -> u64 {
    let digest = Sha256::digest(key);
    digest[..8].iter().fold(0, |id, byte| id << 8 | u64::from(*byte))
}
