//! The job that `runtime` and `path` do: count and sum of the price by campaign and minute of event time, over impressions
//! of about 150 bytes, 1,000 campaigns with a Zipf share, 200,000 users, ten minutes of event time. The same job and data
//! shape as that of the figures for other systems in this folder's README.

use std::collections::HashMap;

use runtime::log::{BatchBuilder, Batches, Compression, CorruptBatch};
use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event, Service};
use runtime::state::Table;
use runtime::topology::{Class, Order, ServiceSpec, Topic};
use schemas::codec::{Encode, Map};
use schemas::events::ImpressionEvent;

use crate::Failed;

pub static IMPRESSIONS: Topic = Topic::external("bench-impressions", "user", ImpressionEvent::SCHEMA_ID, None);

const CAMPAIGNS: usize = 1_000;
const USERS: u64 = 200_000;
const MINUTE_MS: i64 = 60_000;
/// Event time spreads over ten minutes.
const SPAN_MS: i64 = 10 * MINUTE_MS;
const EPOCH_MS: i64 = 1_700_000_000_000 / MINUTE_MS * MINUTE_MS;

runtime::row! {
    /// One campaign's minute.
    pub struct Minute version 1 { pub count: i64, pub micros: i64 }
}

/// Campaign and start of the minute, ms.
pub type MinuteKey = ([u8; CAMPAIGN_BYTES], i64);
/// Ids are `campaign-00000042`.
pub const CAMPAIGN_BYTES: usize = 16;

runtime::tables! {
    /// About 60 bytes a row; rows are kept for the run.
    pub struct State { pub minutes: Table<MinuteKey, Minute> = Table::new("minutes") }
}

/// The service under measurement.
pub struct Minutes;

impl Service for Minutes {
    type State = State;

    fn spec() -> ServiceSpec {
        let (inputs, outputs) = (vec![&IMPRESSIONS], Vec::new());
        ServiceSpec { name: "minutes", inputs, outputs, order: Order::PerKey, class: Class::Serving }
    }

    fn handle(&mut self, state: &mut State, event: &Event<'_>, _: &mut Effects<'_>) -> Result<Handled, Failure> {
        let impression: ImpressionEvent<'_> = event.decode()?;
        let campaign = id(impression.campaign_id)
            .ok_or_else(|| Failure::semantic("campaign ids of this bench have sixteen bytes"))?;
        let key = (campaign, minute(impression.timestamp));
        state.minutes.update(
            &key,
            || Minute { count: 0, micros: 0 },
            |row| {
                row.count += 1;
                row.micros += impression.win_price_micros;
            },
        );
        Ok(Handled::Done)
    }
}

fn id(campaign: &str) -> Option<[u8; CAMPAIGN_BYTES]> {
    campaign.as_bytes().try_into().ok()
}

fn minute(timestamp_ms: i64) -> i64 {
    timestamp_ms - timestamp_ms.rem_euclid(MINUTE_MS)
}

/// Totals that a run must come to, whoever made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub count: i64,
    pub micros: i64,
}

/// Writes impressions, batch by batch.
pub struct Generator {
    random: fastrand::Rng,
    builder: BatchBuilder,
    /// Cumulated Zipf shares, parts of 2^32.
    shares: Vec<u64>,
    written: u64,
    total: u64,
    pub totals: Totals,
}

impl Generator {
    /// `total` events are spread over the ten minutes.
    pub fn new(seed: u64, total: u64, compression: Compression) -> Self {
        let weights = (1..=CAMPAIGNS).map(|rank| 1.0 / rank as f64);
        let sum: f64 = weights.clone().sum();
        let cumulated = weights.scan(0.0, |so_far, weight| {
            *so_far += weight / sum;
            Some((*so_far * 2f64.powi(32)) as u64)
        });
        Self {
            random: fastrand::Rng::with_seed(seed),
            builder: BatchBuilder::new(compression),
            shares: cumulated.collect(),
            written: 0,
            total,
            totals: Totals::default(),
        }
    }

    /// The next batch of `events`.
    pub fn batch(&mut self, events: usize) -> Result<bytes::Bytes, Failed> {
        let mut value = Vec::new();
        for _ in 0..events {
            let draw = self.random.u64(0..1 << 32);
            let campaign = self.shares.partition_point(|share| *share <= draw).min(CAMPAIGNS - 1);
            let (campaign, user) = (format!("campaign-{campaign:07}"), format!("u{:015x}", self.random.u64(0..USERS)));
            let event_id = format!("{:016x}", self.random.u64(..));
            let spread = self.written as i64 * SPAN_MS / self.total.max(1) as i64;
            let timestamp = EPOCH_MS + spread + self.random.i64(-2_000..=2_000);
            let win_price_micros = self.random.i64(100..5_000);
            let event = ImpressionEvent {
                event_id: &event_id,
                timestamp,
                campaign_id: &campaign,
                creative_id: "creative-0000042",
                placement_id: "placement-000007",
                user_id: Some(&user),
                bid_price_micros: win_price_micros + 50,
                win_price_micros,
                metadata: Map::from_pairs(&[("country", "USA"), ("device", "mobile"), ("os", "android")]),
            };
            value.clear();
            schemas::frame::encode(&event, &mut value);
            self.builder.push(timestamp, Some(user.as_bytes()), Some(&value), &[])?;
            self.written += 1;
            self.totals.count += 1;
            self.totals.micros += win_price_micros;
        }
        Ok(self.builder.finish())
    }
}

/// The peer: walks batches, decodes, counts, and nothing else.
#[derive(Default)]
pub struct Bare {
    minutes: HashMap<MinuteKey, (i64, i64), foldhash::quality::RandomState>,
    scratch: Vec<u8>,
}

impl Bare {
    pub fn walk(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        for batch in Batches::new(bytes) {
            for record in batch?.records(&mut self.scratch)? {
                let record = record?;
                let value = record.value.ok_or(CorruptBatch::Record { index: 0, reason: "no value" })?;
                let impression: ImpressionEvent<'_> = schemas::frame::decode(value)?;
                let campaign = id(impression.campaign_id).ok_or("a campaign id of another length")?;
                let row = self.minutes.entry((campaign, minute(impression.timestamp))).or_default();
                row.0 += 1;
                row.1 += impression.win_price_micros;
            }
        }
        Ok(())
    }

    pub fn totals(&self) -> Totals {
        // Sums: the order of the map is of no consequence.
        let add = |sum: Totals, row: &(i64, i64)| Totals { count: sum.count + row.0, micros: sum.micros + row.1 };
        self.minutes.values().fold(Totals::default(), add)
    }
}
