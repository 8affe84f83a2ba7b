//! The few answers that the edge gives.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};

/// What goes back to a sender.
pub type Answer = Response<Full<Bytes>>;

/// Header of a 204 that says why there is no bid, in OpenRTB's numbers.
pub const NBR: HeaderName = HeaderName::from_static("x-openrtb-nbr");
const OPENRTB_VERSION: HeaderName = HeaderName::from_static("x-openrtb-version");

/// A transparent picture of one pixel.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

/// Why a request is not served: status, and a sentence for the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    pub status: StatusCode,
    /// Stable name of the class: a metric label.
    pub kind: &'static str,
    pub message: String,
    /// The rest of the request is not read.
    pub closes: bool,
}

impl Refused {
    /// Stable name of the class: a metric label.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// 400: the sender must change something.
    pub fn bad(kind: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind, message: message.into(), closes: false }
    }

    /// 413.
    pub fn too_large(kind: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, closes: true, ..Self::bad(kind, message) }
    }

    /// 429: the same request may work a little later.
    pub fn later(kind: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::TOO_MANY_REQUESTS, ..Self::bad(kind, message) }
    }

    /// Ends the connection, too.
    pub fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    pub fn answer(&self) -> Answer {
        let mut answer = of(self.status, Bytes::from(format!("{}\n", self.message)));
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

fn of(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer
}

/// 200 with JSON.
pub fn json(body: Bytes) -> Answer {
    let mut answer = of(StatusCode::OK, body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(OPENRTB_VERSION, HeaderValue::from_static("2.6"));
    answer
}

/// 204, with the reason beside it.
pub fn no_bid(nbr: i32) -> Answer {
    let mut answer = nothing();
    answer.headers_mut().insert(NBR, HeaderValue::from(nbr));
    answer
}

/// 204.
pub fn nothing() -> Answer {
    of(StatusCode::NO_CONTENT, Bytes::new())
}

/// 200 with the picture, which no cache may keep.
pub fn pixel() -> Answer {
    let mut answer = of(StatusCode::OK, Bytes::from_static(PIXEL));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("image/gif"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// 302. `None` if the place is no header value; nothing that was signed as a domain and a token is none.
pub fn redirect(location: &str) -> Option<Answer> {
    let location = HeaderValue::from_str(location).ok()?;
    let mut answer = of(StatusCode::FOUND, Bytes::new());
    answer.headers_mut().insert(LOCATION, location);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(answer)
}
