//! Reading OpenRTB bid requests. Nothing here trusts its input: size, depth, counts and numbers are bounded, and a request
//! that is broken says where.
//!
//! A request is **valid** if it is a JSON object with an `id` and at least one object in `imp`. Everything else may be absent or
//! of a wrong type without costing more than that field. Duplicate keys of fields that we read are refused: two readers of
//! one auction must not see two prices.

mod lenient;
mod model;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::money::{Cpm, PriceError};
pub use model::{App, Assumed, Banner, BidRequest, Device, Ext, Format, Geo, Imp, Publisher, Regs, Site, Text, User};

/// Longest request in bytes (the limit of Prebid Server's auction endpoint as well).
pub const REQUEST_MAX_BYTES: usize = 256 * 1024;
/// Longest `id` in bytes: it becomes a key of topics and tables.
pub const ID_MAX_BYTES: usize = 512;
/// Most elements read of any list; more are passed over.
pub const LIST_MAX: usize = 1_024;
/// Time to answer where the request states none. Exchanges allow 80 to 1000 ms.
pub const TMAX_DEFAULT_MS: u32 = 100;
/// Longest believable `tmax`.
const TMAX_MAX_MS: i64 = 60_000;

/// How an auction is priced (`at`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuctionType {
    /// The winner pays its bid.
    FirstPrice,
    /// The winner pays the second highest bid, or the floor.
    SecondPrice,
}

impl AuctionType {
    /// OpenRTB's number.
    pub fn code(self) -> i32 {
        match self {
            AuctionType::FirstPrice => 1,
            AuctionType::SecondPrice => 2,
        }
    }

    /// From OpenRTB's number; exchange-specific ones (3 and from 500) are not known here.
    pub fn from_code(code: i64) -> Option<AuctionType> {
        match code {
            1 => Some(AuctionType::FirstPrice),
            2 => Some(AuctionType::SecondPrice),
            _ => None,
        }
    }
}

/// A price field: absent, a price, or the reason why it is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Price {
    /// Not stated.
    #[default]
    Absent,
    /// Per thousand impressions.
    Valid(Cpm),
    /// Stated, and no price: nobody may bid on this slot.
    Invalid(PriceError),
}

/// Why a line is no bid request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedKind {
    /// Longer than [`REQUEST_MAX_BYTES`].
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// Not JSON.
    Syntax,
    /// JSON, but no object.
    NotAnObject,
    /// No `id`.
    IdMissing,
    /// `id` is no string, empty, or longer than [`ID_MAX_BYTES`].
    IdInvalid,
    /// No `imp`, or without an object in it.
    ImpMissing,
}

/// A line that is no bid request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejected {
    /// Class of the defect.
    pub kind: RejectedKind,
    /// What is wrong, in a sentence for the sender.
    pub message: String,
    /// Where in the line, counted from 0, if there is one place.
    pub byte: Option<usize>,
}

impl Rejected {
    fn new(kind: RejectedKind, byte: Option<usize>, message: impl Into<String>) -> Rejected {
        Rejected { kind, message: message.into(), byte }
    }

    /// The reason for a line of `length` bytes, where the line itself was not kept.
    pub fn too_long(length: u64) -> Rejected {
        let message =
            format!("the line has {length} bytes; a request may have {REQUEST_MAX_BYTES} (is it one request a line?)");
        Rejected::new(RejectedKind::TooLong, None, message)
    }

    /// Stable name for metrics and dead letters.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            RejectedKind::TooLong => "too_long",
            RejectedKind::NotUtf8 => "not_utf8",
            RejectedKind::Syntax => "syntax",
            RejectedKind::NotAnObject => "not_an_object",
            RejectedKind::IdMissing => "id_missing",
            RejectedKind::IdInvalid => "id_invalid",
            RejectedKind::ImpMissing => "imp_missing",
        }
    }
}

/// The request as it comes off the wire, before it is known to be one.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "lenient::objects")]
    imp: Option<Vec<Imp<'a>>>,
    #[serde(borrow, default, deserialize_with = "lenient::object")]
    site: Option<Site<'a>>,
    #[serde(borrow, default, deserialize_with = "lenient::object")]
    app: Option<App<'a>>,
    #[serde(borrow, default, deserialize_with = "lenient::object")]
    device: Option<Device<'a>>,
    #[serde(borrow, default, deserialize_with = "lenient::object")]
    user: Option<User<'a>>,
    #[serde(borrow, default, deserialize_with = "lenient::object")]
    regs: Option<Regs<'a>>,
    #[serde(default, deserialize_with = "lenient::int")]
    at: Option<i64>,
    #[serde(default, deserialize_with = "lenient::int")]
    tmax: Option<i64>,
    #[serde(borrow, default, deserialize_with = "lenient::texts")]
    cur: Vec<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "lenient::texts")]
    badv: Vec<Cow<'a, str>>,
    #[serde(default, deserialize_with = "lenient::flag")]
    test: bool,
    #[serde(borrow, default, deserialize_with = "lenient::object")]
    ext: Option<Ext<'a>>,
}

/// Reads one request. Text is borrowed from `line`.
///
/// # Errors
/// [`Rejected`] with the kind of defect, a sentence, and the place in the line.
pub fn parse(line: &[u8]) -> Result<BidRequest<'_>, Rejected> {
    if line.len() > REQUEST_MAX_BYTES {
        return Err(Rejected::too_long(line.len() as u64));
    }
    // Checked once for the whole line: values that are skipped are then known to be text, too.
    let text = std::str::from_utf8(line).map_err(|error| {
        let at = error.valid_up_to();
        Rejected::new(RejectedKind::NotUtf8, Some(at), format!("not UTF-8 at byte {at}"))
    })?;
    let start = text.len() - text.trim_start().len();
    if !text[start..].starts_with('{') {
        return Err(not_an_object(text, start));
    }
    let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| syntax(text, &error))?;
    assemble(wire)
}

/// Serde takes an array for a struct, so this is asked first; what is no JSON at all is reported as such.
fn not_an_object(text: &str, start: usize) -> Rejected {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Rejected::new(RejectedKind::NotAnObject, Some(start), "the line is JSON, but not an object"),
        Err(error) => syntax(text, &error),
    }
}

fn syntax(text: &str, error: &serde_json::Error) -> Rejected {
    // serde_json counts lines and columns from 1; a request on one line has only columns, a body over HTTP may have both.
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let byte = (before + error.column().saturating_sub(1)).min(text.len());
    let full = error.to_string();
    let what = full.rsplit_once(" at line ").map_or(full.as_str(), |(what, _)| what);
    Rejected::new(RejectedKind::Syntax, Some(byte), format!("not valid JSON at byte {byte}: {what}"))
}

fn assemble(wire: Wire<'_>) -> Result<BidRequest<'_>, Rejected> {
    let id = request_id(wire.id)?;
    let mut imp = wire.imp.unwrap_or_default();
    if imp.is_empty() {
        return Err(Rejected::new(RejectedKind::ImpMissing, None, "`imp` must be an array with at least one object"));
    }
    for (position, slot) in imp.iter_mut().enumerate() {
        slot.id.get_or_insert_with(|| Cow::Owned((position + 1).to_string()));
    }
    let auction_type = wire.at.and_then(AuctionType::from_code);
    let tmax = wire.tmax.filter(|ms| (1..=TMAX_MAX_MS).contains(ms)).and_then(|ms| u32::try_from(ms).ok());
    let assumed = Assumed { at: auction_type.is_none(), tmax: tmax.is_none(), cur: wire.cur.is_empty() };
    let cur = if assumed.cur { vec![Cow::Borrowed("USD")] } else { wire.cur };
    Ok(BidRequest {
        id,
        imp,
        site: wire.site,
        app: wire.app,
        device: wire.device.unwrap_or_default(),
        user: wire.user.unwrap_or_default(),
        regs: wire.regs.unwrap_or_default(),
        auction_type: auction_type.unwrap_or(AuctionType::SecondPrice),
        tmax_ms: tmax.unwrap_or(TMAX_DEFAULT_MS),
        cur,
        badv: wire.badv,
        test: wire.test,
        ext: wire.ext.unwrap_or_default(),
        assumed,
    })
}

fn request_id(raw: Option<&RawValue>) -> Result<Cow<'_, str>, Rejected> {
    let raw = raw.map(RawValue::get).filter(|raw| *raw != "null");
    let raw = raw.ok_or_else(|| Rejected::new(RejectedKind::IdMissing, None, "`id` is missing"))?;
    let invalid = |message: String| Rejected::new(RejectedKind::IdInvalid, None, message);
    let id = lenient::text_of(raw).ok_or_else(|| {
        let shown: String = raw.chars().take(40).collect();
        invalid(format!("`id` must be a string, found {shown}"))
    })?;
    match id.len() {
        0 => Err(invalid("`id` is empty".into())),
        length if length > ID_MAX_BYTES => {
            Err(invalid(format!("`id` has {length} bytes, at most {ID_MAX_BYTES} are allowed")))
        }
        _ => Ok(id),
    }
}
