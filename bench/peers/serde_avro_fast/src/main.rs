//! serde_avro_fast on the messages of `bench schemas`, which starts this program: texts on stdin, each behind its length
//! (32 bits, little-endian); the first is the schema, the others are data of it. On stdout the best rate, data per CPU second
//! of this thread, and what all data sum up to, so that the caller sees that the same was read.

use std::{
    collections::BTreeMap,
    error::Error,
    hint::black_box,
    io::{Read as _, stdin},
};

use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use serde_avro_fast::{Schema, from_datum_slice};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const REPEATS: usize = 9;

/// Borrowed, as our own type of the event.
#[derive(Deserialize)]
struct ImpressionEvent<'a> {
    event_id: &'a str,
    timestamp: i64,
    campaign_id: &'a str,
    creative_id: &'a str,
    placement_id: &'a str,
    user_id: Option<&'a str>,
    bid_price_micros: i64,
    win_price_micros: i64,
    #[serde(borrow)]
    metadata: BTreeMap<&'a str, &'a str>,
}

impl ImpressionEvent<'_> {
    fn sum(&self) -> i64 {
        let texts = [self.event_id, self.campaign_id, self.creative_id, self.placement_id, self.user_id.unwrap_or("")];
        let pairs = self.metadata.iter().flat_map(|(key, value)| [*key, *value]);
        let bytes = texts.into_iter().chain(pairs).flat_map(str::bytes).map(i64::from);
        bytes.sum::<i64>().wrapping_add(self.timestamp ^ self.bid_price_micros ^ self.win_price_micros)
    }
}

fn thread_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut input = Vec::new();
    stdin().read_to_end(&mut input)?;
    let (mut texts, mut rest) = (Vec::new(), &input[..]);
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let text = more.split_at_checked(u32::from_le_bytes(*length) as usize);
        let (text, more) = text.ok_or("the input ends inside of a text")?;
        texts.push(text);
        rest = more;
    }
    let (schema, data) = texts.split_first().ok_or("no schema")?;
    let schema: Schema = std::str::from_utf8(schema)?.parse()?;
    let mut sum = 0_i64;
    for datum in data {
        sum = sum.wrapping_add(from_datum_slice::<ImpressionEvent<'_>>(datum, &schema)?.sum());
    }
    let mut best = 0.0_f64;
    for _ in 0..REPEATS {
        let start = thread_seconds();
        for datum in data {
            black_box(&from_datum_slice::<ImpressionEvent<'_>>(datum, &schema).ok());
        }
        best = best.max(data.len() as f64 / (thread_seconds() - start));
    }
    println!("{best} {sum}");
    Ok(())
}
