//! The codec beside a hand-written decoder, apache-avro and serde_avro_fast, on the case study's ImpressionEvent of 151 bytes, framed.

mod apache;
mod hand;
mod hostile;
mod peer;

use crate::{
    cpu::{Contender, best_rates},
    report::{Figure, Report},
};
use schemas::{
    codec::{Limits, Map},
    events::ImpressionEvent,
    frame,
    model::Schema,
    plan::{Plan, Plans},
    projection::{Projection, Slot},
};
use std::{error::Error, hint::black_box};

const RECORDS: usize = 200_000;
const REPEATS: usize = 9;
const BYTES: usize = 151;
/// Id that the older writer has in this benchmark.
const OLDER_ID: u32 = 1000;

/// What the event looked like before: other order, an int for a price, no map yet.
const OLDER: &str = r#"{"type":"record","name":"ImpressionEvent","namespace":"com.platform.events.impressions","fields":[
    {"name":"event_id","type":"string"},{"name":"timestamp","type":"long"},{"name":"user_id","type":["null","string"]},
    {"name":"campaign_id","type":"string"},{"name":"creative_id","type":"string"},{"name":"placement_id","type":"string"},
    {"name":"device","type":"string"},{"name":"bid_price_micros","type":"int"},{"name":"win_price_micros","type":"int"}]}"#;

/// Messages one behind the other, as in a batch.
pub struct Messages {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Messages {
    fn new(count: usize, mut write: impl FnMut(u64, &mut Vec<u8>)) -> Self {
        let mut messages = Self { bytes: Vec::new(), ends: Vec::new() };
        for i in 0..count as u64 {
            write(i, &mut messages.bytes);
            messages.ends.push(messages.bytes.len());
        }
        messages
    }

    /// All messages.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| &self.bytes[std::mem::replace(&mut start, *end)..*end])
    }
}

/// Ids of 16 characters from a counter, spread so that neighbours differ.
fn id(kind: char, n: u64) -> String {
    format!("{kind}{:015x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 4)
}

struct Ids([String; 5]);

impl Ids {
    fn new(n: u64) -> Self {
        Self([id('e', n), id('c', n % 1000), id('r', n % 5000), id('p', n % 300), id('u', n % 50_000)])
    }

    fn event(&self, n: u64) -> ImpressionEvent<'_> {
        let [event_id, campaign_id, creative_id, placement_id, user_id] = &self.0;
        ImpressionEvent {
            event_id,
            timestamp: 1_767_225_600_000 + n as i64 * 7,
            campaign_id,
            creative_id,
            placement_id,
            user_id: Some(user_id),
            bid_price_micros: 10_000 + (n % 50_000) as i64,
            win_price_micros: 9_000 + (n % 40_000) as i64,
            metadata: Map::from_pairs(&[("device", "mobile"), ("country", "US"), ("exchange", "openx-east1")]),
        }
    }
}

/// All figures; the time is that of about 14 contenders, 9 times.
pub fn run() -> Result<Report, Box<dyn Error>> {
    let all_ids: Vec<_> = (0..RECORDS as u64).map(Ids::new).collect();
    let messages = Messages::new(RECORDS, |n, out| frame::encode(&all_ids[n as usize].event(n), out));
    let mean = messages.bytes.len() as f64 / RECORDS as f64;
    if (mean - BYTES as f64).abs() > 1.0 {
        return Err(format!("messages of {mean} bytes on average, expected {BYTES}: mend the benchmark's data").into());
    }
    let older = Messages::new(RECORDS, |n, out| hand::encode_older(&all_ids[n as usize].event(n), OLDER_ID, out));
    let reader = Schema::parse(schemas::builtin()[0].avsc)?;
    let mut plans = Plans::new(reader.clone());
    plans.add(OLDER_ID, &Schema::parse(OLDER)?)?;
    let wanted = ["timestamp", "campaign_id", "win_price_micros"];
    let projection = Projection::new(Plan::new(&reader, &reader)?, &wanted)?;
    let apache = apache::Apache::new(schemas::builtin()[0].avsc, OLDER)?;
    agree(&messages, &older, &plans, &projection)?;

    let (mut ours, mut theirs, mut avro) = (Vec::new(), Vec::new(), Vec::new());
    let mut contenders = vec![
        decoder(&messages, |m| project(&projection, m)),
        decoder(&messages, hand::project),
        decoder(&messages, frame::decode::<ImpressionEvent<'_>>),
        decoder(&messages, hand::decode),
        decoder(&older, |m| frame::decode_with::<ImpressionEvent<'_>>(m, &plans)),
        decoder(&older, hand::decode_older),
        Contender::new(|| encode_all(&all_ids, &mut ours, |event, out| frame::encode(event, out))),
        Contender::new(|| encode_all(&all_ids, &mut theirs, hand::encode)),
        decoder(&messages, |m| apache.value(m)),
        decoder(&messages, |m| apache.serde(m)),
        decoder(&older, |m| apache.resolved(m)),
        Contender::new(|| encode_all(&all_ids, &mut avro, |event, out| apache.encode(event, out))),
    ];
    let rates = best_rates(&mut contenders, REPEATS);
    let mut report = Report::new("schemas");
    for (i, figure) in ["projection", "typed", "resolved", "encode"].into_iter().enumerate() {
        report.push(Figure::beside(figure, rates[2 * i], "1/s", "hand-written", rates[2 * i + 1]));
    }
    let apache = ["apache_avro_value", "apache_avro_serde", "apache_avro_resolved", "apache_avro_encode"];
    for (i, figure) in apache.into_iter().enumerate() {
        report.push(Figure::alone(figure, rates[8 + i], "1/s"));
    }
    if let Some(rate) = peer::rate(&messages, schemas::builtin()[0].avsc)? {
        report.push(Figure::alone("serde_avro_fast", rate, "1/s"));
    }
    report.push(Figure::alone("hostile_ms_per_64_kib", hostile::worst_ms()?, "ms"));
    Ok(report)
}

fn project<'a>(projection: &'a Projection, message: &'a [u8]) -> Option<(i64, &'a str, i64)> {
    let (_, datum) = frame::split(message).ok()?;
    let mut slots = [Slot::Null; 3];
    projection.decode(datum, &Limits::EVENT, &mut slots).ok()?;
    match slots {
        [Slot::Long(timestamp), Slot::Text(campaign), Slot::Long(price)] => Some((timestamp, campaign, price)),
        _ => None,
    }
}

/// Decodes all messages; each result is looked at where it is, not moved.
fn decoder<'c, T: 'c>(messages: &'c Messages, mut decode: impl FnMut(&'c [u8]) -> T + 'c) -> Contender<'c> {
    Contender::new(move || {
        messages.iter().for_each(|message| {
            black_box(&decode(message));
        });
        messages.ends.len()
    })
}

fn encode_all(ids: &[Ids], out: &mut Vec<u8>, mut encode: impl FnMut(&ImpressionEvent<'_>, &mut Vec<u8>)) -> usize {
    for (n, ids) in ids.iter().enumerate() {
        out.clear();
        encode(&ids.event(n as u64), out);
        black_box(&out);
    }
    ids.len()
}

/// Whoever is compared must do the same work: same values, same refusals.
fn agree(messages: &Messages, older: &Messages, plans: &Plans, projection: &Projection) -> Result<(), Box<dyn Error>> {
    for (message, old) in messages.iter().zip(older.iter()).take(1000) {
        let event: ImpressionEvent<'_> = frame::decode(message)?;
        let resolved: ImpressionEvent<'_> = frame::decode_with(old, plans)?;
        let mut again = Vec::new();
        hand::encode(&event, &mut again);
        let same = hand::decode(message).is_some_and(|hand| hand.same(&event))
            && hand::decode_older(old).is_some_and(|hand| hand.same(&resolved))
            && project(projection, message) == hand::project(message)
            && again == message
            && hand::decode(&message[..message.len() - 1]).is_none()
            && hand::project(&message[..message.len() - 1]).is_none();
        if !same {
            return Err("a hand-written peer does not do the same work: mend the benchmark".into());
        }
    }
    Ok(())
}
