//! The rest of the market as a source: SIMULATED. What follows a bid is queued until its time and then appended as the
//! outside would send it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actors::ids;
use actors::intake::user_key;
use actors::market::{Bid, Market, Message, Planned};
use actors::topics::{CLICK_PIXELS, CONVERSION_POSTS, EXCHANGE_NOTICES, IMPRESSION_PIXELS};
use futures_util::FutureExt as _;
use runtime::env::Env;
use runtime::log::AppendError;
use tokio::sync::mpsc;

use super::progress::Progress;
use crate::sources::slices::{Appended, SLICES_IN_FLIGHT, Slices, SourceError, trace};

/// Messages that may wait for their time: about 400 bytes each, and what they share of their bid.
const QUEUE_MAX: usize = 100_000;
/// After the last request the rest of the market takes at most this long.
const TAIL_MS: i64 = 5_000;
/// Bytes of a message, about.
const MESSAGE_BYTES: usize = 600;

/// Bids of one slice, and the answer of the log to it: the market hears of a bid when it is durable.
pub struct Decided {
    pub appended: Appended,
    pub bids: Vec<Bid>,
}

/// A message in the queue, the earliest first; equals in the order of their planning.
struct Waiting {
    at_ms: i64,
    number: u64,
    planned: Planned,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ms, self.number) == (other.at_ms, other.number)
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.number).cmp(&(other.at_ms, other.number))
    }
}

/// The source.
pub struct MarketSource {
    env: Env,
    market: Market,
    slices: Slices,
    progress: Arc<Progress>,
    queue: BinaryHeap<Reverse<Waiting>>,
    planned: u64,
    last_at_ms: i64,
    /// Once the input has ended: when that was, and how much faster time passes since then.
    tail: Option<(i64, f64)>,
    unanswered: VecDeque<Appended>,
}

impl MarketSource {
    pub fn new(env: &Env, market: Market, slices: Slices, progress: Arc<Progress>) -> Self {
        Self {
            env: env.clone(),
            market,
            slices,
            progress,
            queue: BinaryHeap::new(),
            planned: 0,
            last_at_ms: 0,
            tail: None,
            unanswered: VecDeque::new(),
        }
    }

    /// Runs until the last bid's last message is acknowledged.
    ///
    /// # Errors
    /// [`SourceError`] if the log refuses.
    pub async fn run(mut self, mut decided: mpsc::Receiver<Decided>) -> Result<(), SourceError> {
        let mut open = true;
        loop {
            self.append_due().await?;
            if !open && self.queue.is_empty() {
                break;
            }
            let wait = self.next_due_in();
            let clock = self.env.clock.clone();
            if open && self.queue.len() < QUEUE_MAX {
                match clock.timeout(wait, decided.recv()).await {
                    Some(Some(slice)) => self.plan(slice).await?,
                    Some(None) => {
                        open = false;
                        self.start_tail();
                    }
                    None => {}
                }
            } else {
                clock.sleep(wait.min(Duration::from_millis(20))).await;
            }
        }
        self.send().await?;
        for appended in std::mem::take(&mut self.unanswered) {
            appended.await?;
        }
        Ok(())
    }

    async fn plan(&mut self, decided: Decided) -> Result<(), AppendError> {
        decided.appended.await?;
        for bid in decided.bids {
            for planned in self.market.on_bid(bid) {
                self.planned += 1;
                self.last_at_ms = self.last_at_ms.max(planned.at_ms);
                self.queue.push(Reverse(Waiting { at_ms: planned.at_ms, number: self.planned, planned }));
            }
        }
        Ok(())
    }

    /// The market's own time: that of the wall, and faster once no more requests come.
    fn now_ms(&self) -> i64 {
        let wall_ms = self.env.clock.wall_ms();
        match self.tail {
            Some((since_ms, times)) => since_ms + ((wall_ms - since_ms) as f64 * times) as i64,
            None => wall_ms,
        }
    }

    fn start_tail(&mut self) {
        let now_ms = self.env.clock.wall_ms();
        let left_ms = self.last_at_ms - now_ms;
        self.tail = Some((now_ms, (left_ms as f64 / TAIL_MS as f64).max(1.0)));
    }

    fn next_due_in(&self) -> Duration {
        let longest = if self.slices.is_empty() { 50 } else { 2 };
        let next_ms = self.queue.peek().map_or(longest, |Reverse(waiting)| waiting.at_ms - self.now_ms());
        Duration::from_millis(next_ms.clamp(1, longest) as u64)
    }

    async fn append_due(&mut self) -> Result<(), AppendError> {
        let now_ms = self.now_ms();
        while let Some(Reverse(next)) = self.queue.peek()
            && next.at_ms <= now_ms
        {
            let Some(Reverse(due)) = self.queue.pop() else { break };
            self.append(&due.planned)?;
            if self.slices.due() {
                self.send().await?;
            }
        }
        if self.slices.due() {
            self.send().await?;
        }
        Ok(())
    }

    fn append(&mut self, planned: &Planned) -> Result<(), AppendError> {
        let event = &planned.event;
        let bid = &event.bid;
        let impression = ids::impression_event_id(&bid.bid_id);
        let key = user_key(bid.user_id.as_deref(), &impression);
        let trace = trace(&bid.auction_id);
        let (producer, at_ms) = (&mut self.slices.producer, event.timestamp_ms);
        event.with_message(|message| match message {
            Message::Notice(notice) => producer.add(&EXCHANGE_NOTICES, key, at_ms, &notice, trace.as_ref()),
            Message::Impression(pixel) => producer.add(&IMPRESSION_PIXELS, key, at_ms, &pixel, trace.as_ref()),
            Message::Click(click) => producer.add(&CLICK_PIXELS, key, at_ms, &click, trace.as_ref()),
            Message::Conversion(post) => producer.add(&CONVERSION_POSTS, key, at_ms, &post, trace.as_ref()),
        })?;
        self.slices.added(MESSAGE_BYTES);
        Progress::add(&self.progress.market);
        Ok(())
    }

    /// Sends the slice; waits for the oldest answer while too many are out.
    async fn send(&mut self) -> Result<(), AppendError> {
        if self.slices.is_empty() {
            return Ok(());
        }
        let appended = self.slices.send(&self.progress.pauses).await;
        self.unanswered.push_back(appended);
        while self.unanswered.len() > SLICES_IN_FLIGHT {
            if let Some(oldest) = self.unanswered.pop_front() {
                oldest.await?;
            }
        }
        // Answers that are there are taken at once, so that an error is not found later than it must.
        while let Some(oldest) = self.unanswered.front_mut() {
            match oldest.now_or_never() {
                Some(answer) => {
                    self.unanswered.pop_front();
                    answer?;
                }
                None => break,
            }
        }
        Ok(())
    }
}
