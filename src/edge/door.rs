//! The edge's door for bid requests: below HTTP, whoever came too late is told so at the least cost.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::answer::NBR;
use super::bid::NBR_NO_TIME;
use super::serve::Served;
use super::stats::Route;
use super::wire::Door;

/// At the latest after this hyper sees a request of the connection again, though it is turned away then: a connection that
/// is silent to hyper is ended by the time limit for heads.
const SILENT_MAX_US: u64 = 1_000_000;

/// The door of one connection.
pub struct Gate {
    served: Arc<Served>,
    /// When a request last got in, microseconds.
    let_in_us: u64,
    answer: Vec<u8>,
    /// The second that `answer` was made in, since the epoch.
    answer_s: i64,
}

impl Gate {
    pub fn new(served: Arc<Served>) -> Self {
        let let_in_us = served.env.clock.mono_us();
        Self { served, let_in_us, answer: Vec::new(), answer_s: -1 }
    }
}

impl Door for Gate {
    fn turned_away(&mut self) -> Option<&[u8]> {
        let now_us = self.served.env.clock.mono_us();
        let why = self.served.turns_away(now_us).filter(|_| now_us.saturating_sub(self.let_in_us) < SILENT_MAX_US);
        let Some(why) = why else {
            self.let_in_us = now_us;
            return None;
        };
        let now_s = self.served.env.clock.wall_ms() / 1_000;
        if now_s != self.answer_s {
            (self.answer, self.answer_s) = (answer(now_s), now_s);
        }
        self.served.stats.reason("shed", why);
        let took_us = self.served.env.clock.mono_us().saturating_sub(now_us);
        self.served.stats.answered(Route::Bid, 204, took_us);
        Some(&self.answer)
    }
}

/// As hyper would write it.
fn answer(now_s: i64) -> Vec<u8> {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now_s.max(0) as u64));
    format!("HTTP/1.1 204 No Content\r\n{NBR}: {NBR_NO_TIME}\r\ndate: {date}\r\n\r\n").into_bytes()
}
