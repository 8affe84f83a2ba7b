//! The job that `runtime` and `path` do: count and sum of the price by campaign and minute of event time, over impressions
//! of about 150 bytes, 1,000 campaigns with a Zipf share, 200,000 users, ten minutes of event time. The same job and data
//! shape as that of the figures for other systems in this folder's README.

use std::collections::HashMap;

use runtime::log::{BatchBuilder, Batches, Compression, CorruptBatch};
use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event, Service, ServiceDef};
use runtime::state::Table;
use runtime::topology::{Class, Order, ServiceSpec, Topic};
use runtime::trace::{TRACEPARENT, TraceId};
use schemas::codec::{Encode, Limits, Map};
use schemas::events::ImpressionEvent;
use schemas::model::Schema;
use schemas::plan::Plan;
use schemas::projection::{Projection, Slot};

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

/// The three fields of the job; the rest of each event is checked and passed over.
#[derive(Clone)]
pub struct Fields(Projection);

impl Fields {
    pub fn new() -> Result<Self, Failed> {
        let schema = Schema::parse(schemas::builtin()[0].avsc)?;
        let wanted = ["timestamp", "campaign_id", "win_price_micros"];
        Ok(Self(Projection::new(Plan::new(&schema, &schema)?, &wanted)?))
    }

    /// Campaign and minute, and the price in micros.
    #[inline]
    fn read(&self, value: &[u8]) -> Result<(MinuteKey, i64), Failure> {
        let (found, datum) = schemas::frame::split(value)?;
        let mut slots = [Slot::Null; 3];
        if found != ImpressionEvent::SCHEMA_ID {
            return Err(Failure::semantic("another event"));
        }
        self.0.decode(datum, &Limits::EVENT, &mut slots).map_err(schemas::frame::FrameError::from)?;
        let [Slot::Long(timestamp), Slot::Text(campaign), Slot::Long(micros)] = slots else {
            return Err(Failure::semantic("fields of other types"));
        };
        let campaign = campaign.as_bytes().try_into();
        let campaign = campaign.map_err(|_| Failure::semantic("campaign ids of this bench have sixteen bytes"))?;
        Ok(((campaign, minute(timestamp)), micros))
    }
}

/// The service under measurement.
pub struct Minutes {
    fields: Fields,
}

/// The service, for a platform.
pub fn service() -> Result<ServiceDef, Failed> {
    let fields = Fields::new()?;
    Ok(ServiceDef::new(move || Minutes { fields: fields.clone() }))
}

impl Service for Minutes {
    type State = State;

    fn spec() -> ServiceSpec {
        let (inputs, outputs) = (vec![&IMPRESSIONS], Vec::new());
        ServiceSpec { name: "minutes", inputs, outputs, order: Order::PerKey, class: Class::Serving }
    }

    fn handle(&mut self, state: &mut State, event: &Event<'_>, _: &mut Effects<'_>) -> Result<Handled, Failure> {
        let (key, micros) = self.fields.read(event.value)?;
        state.minutes.update(
            &key,
            || Minute { count: 0, micros: 0 },
            |row| {
                row.count += 1;
                row.micros += micros;
            },
        );
        Ok(Handled::Done)
    }
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
    /// One event in so many carries the context of a trace; 0: none.
    pub traced_one_in: u64,
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
            traced_one_in: 0,
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
            let is_traced = self.traced_one_in != 0 && self.written.is_multiple_of(self.traced_one_in);
            let context = is_traced.then(|| TraceId::of_auction(&event_id).traceparent());
            let header: Option<(&[u8], &[u8])> = context.as_ref().map(|context| (TRACEPARENT, &context[..]));
            self.builder.push(timestamp, Some(user.as_bytes()), Some(&value), header.as_slice())?;
            self.written += 1;
            self.totals.count += 1;
            self.totals.micros += win_price_micros;
        }
        Ok(self.builder.finish())
    }
}

/// The peer: walks batches, decodes, counts, and nothing else.
pub struct Bare {
    fields: Fields,
    minutes: HashMap<MinuteKey, (i64, i64), foldhash::quality::RandomState>,
    scratch: Vec<u8>,
}

impl Bare {
    pub fn new(fields: Fields) -> Self {
        Self { fields, minutes: HashMap::default(), scratch: Vec::new() }
    }

    pub fn walk(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        let mut scratch = std::mem::take(&mut self.scratch);
        for batch in Batches::new(bytes) {
            for record in batch?.records(&mut scratch)? {
                let record = record?;
                self.add(record.value.ok_or(CorruptBatch::Record { index: 0, reason: "no value" })?)?;
            }
        }
        self.scratch = scratch;
        Ok(())
    }

    #[inline]
    pub fn add(&mut self, value: &[u8]) -> Result<(), Failed> {
        let (key, micros) = self.fields.read(value)?;
        let row = self.minutes.entry(key).or_default();
        row.0 += 1;
        row.1 += micros;
        Ok(())
    }

    pub fn totals(&self) -> Totals {
        // Sums: the order of the map is of no consequence.
        let add = |sum: Totals, row: &(i64, i64)| Totals { count: sum.count + row.0, micros: sum.micros + row.1 };
        self.minutes.values().fold(Totals::default(), add)
    }
}
