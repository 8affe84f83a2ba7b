//! What every reader of a topic from outside does first: bounds the event, places it in time, and recognises it when it
//! comes again (rule P11).
//!
//! The outside repeats itself: pixels are loaded twice, exchanges retry their notices for a minute, advertisers post an
//! order again the next morning. Each service that reads such a topic keeps the ids it took for a *horizon* of event time.
//! Inside it the same id is absorbed, the same id with other content is an alarm, and what is older than the horizon is
//! set aside, because nobody can say any more whether it was taken.

use runtime::outcome::{Failure, Reason};
use runtime::service::Event;
use runtime::state::Table;
use schemas::codec::Decode;
use sha2::{Digest, Sha256};
use smol_str::SmolStr;

/// Bytes of an event from outside. Its readers add ids to it, so this stays far below the 64 KiB that readers take.
pub const EVENT_BYTES_MAX: usize = 16 << 10;
/// A clock of the outside may be this much ahead; beyond it the event gets the time at which we saw it.
pub const SKEW_TOLERATED_MS: i64 = 5 * MINUTE_MS;
/// Further ahead than this is no skew but a mistake. Source: PostHog refuses events more than 23 hours in the future.
pub const FUTURE_MAX_MS: i64 = 23 * HOUR_MS;
/// Ids that go out of the horizon are dropped two an event, so that a set shrinks as fast as it can grow.
const EVICTED_AN_EVENT: usize = 2;

pub const MINUTE_MS: i64 = 60_000;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// Metadata key: how far ahead of us the reported time was, ms, where we did not keep it.
pub const CLOCK_SKEW_KEY: &str = "clock_skew_ms";

/// Decodes an event from outside.
///
/// # Errors
/// `SIZE_VIOLATION` above [`EVENT_BYTES_MAX`], `SCHEMA_VIOLATION` for bytes that do not follow the schema.
pub fn decode<'a, T: Decode<'a>>(event: &Event<'a>) -> Result<T, Failure> {
    let bytes = event.value.len();
    if bytes > EVENT_BYTES_MAX {
        let message = format!("event of {bytes} bytes, the limit is {EVENT_BYTES_MAX}: send less metadata");
        return Err(Failure::Permanent(Reason::new("SIZE_VIOLATION", message)));
    }
    event.decode()
}

/// The text of a field that must not be empty.
///
/// # Errors
/// `SEMANTIC_VIOLATION` with the field's name.
pub fn required<'a>(field: &'static str, text: &'a str) -> Result<&'a str, Failure> {
    if text.is_empty() { Err(violation(field, "is empty")) } else { Ok(text) }
}

/// A `SEMANTIC_VIOLATION` of one field.
pub fn violation(field: &'static str, what: impl std::fmt::Display) -> Failure {
    let reason = Reason::new("SEMANTIC_VIOLATION", format!("{field} {what}"));
    Failure::Permanent(Reason { field: Some(field), ..reason })
}

/// When an event happened, as far as we believe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// Event time, ms since the epoch, at most [`SKEW_TOLERATED_MS`] after `now`.
    pub ms: i64,
    /// How far ahead the reported time was, ms; 0 where it was kept.
    pub skew_ms: i64,
}

impl EventTime {
    /// The skew as text; empty where there is none, which is almost always and costs nothing.
    pub fn skew_text(&self) -> String {
        if self.skew_ms == 0 { String::new() } else { self.skew_ms.to_string() }
    }
}

/// Places a reported time against `now_ms`, the processing time of the batch.
///
/// # Errors
/// `TIMESTAMP_RANGE` if the time is not positive or more than [`FUTURE_MAX_MS`] ahead.
pub fn event_time(reported_ms: i64, now_ms: i64) -> Result<EventTime, Failure> {
    let ahead_ms = reported_ms.saturating_sub(now_ms);
    if reported_ms <= 0 || ahead_ms > FUTURE_MAX_MS {
        let message = if reported_ms <= 0 {
            format!("timestamp {reported_ms} is not after the epoch; it counts milliseconds")
        } else {
            format!(
                "timestamp is {} h ahead of us; check the sender's clock and unit (milliseconds)",
                ahead_ms / HOUR_MS
            )
        };
        let reason = Reason::new("TIMESTAMP_RANGE", message);
        return Err(Failure::Permanent(Reason { field: Some("timestamp"), ..reason }));
    }
    let skewed = ahead_ms > SKEW_TOLERATED_MS;
    Ok(EventTime { ms: if skewed { now_ms } else { reported_ms }, skew_ms: if skewed { ahead_ms } else { 0 } })
}

/// An id in 16 bytes: our own ids are 32 hexadecimal digits and are taken as they are, all others are hashed.
pub type Id = [u8; 16];

pub fn id(text: &str) -> Id {
    from_hex(text.as_bytes()).unwrap_or_else(|| {
        let hash = Sha256::digest(text.as_bytes());
        hash[..16].try_into().expect("SHA-256 has 32 bytes")
    })
}

/// Value of each byte as a hexadecimal digit; [`NO_DIGIT`] for all others.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};
const NO_DIGIT: u8 = 0xff;

/// Only lower case: two texts never have the same bytes.
fn from_hex(text: &[u8]) -> Option<Id> {
    let text: &[u8; 32] = text.try_into().ok()?;
    let (mut id, mut all) = (Id::default(), 0);
    for (byte, pair) in id.iter_mut().zip(text.as_chunks::<2>().0) {
        let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
        all |= high | low;
        *byte = high << 4 | low;
    }
    // A digit has four bits.
    (all < 16).then_some(id)
}

/// A number that two events share if they say the same (FNV-1a, 64 bits). Guards against mistakes, not against attackers.
pub fn fingerprint(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        hash = mix_length(hash, part.len());
        for byte in *part {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }
    hash
}

const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Mixes the eight bytes of a length, lowest first: seven of a short one are 0 and only multiply, so they are one step.
fn mix_length(hash: u64, len: usize) -> u64 {
    const EIGHT_STEPS: u64 = FNV_PRIME.wrapping_pow(8);
    if len < 256 {
        return (hash ^ len as u64).wrapping_mul(EIGHT_STEPS);
    }
    (len as u64).to_le_bytes().iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

runtime::row! {
    /// That an id was taken. With key, slot and schedule about 110 bytes of memory.
    pub struct Seen version 1 {
        /// [`fingerprint`] of what must be the same in a repetition.
        pub content: u64,
        /// Event time; decides when the row leaves.
        pub at_ms: i64,
    }
}

/// Ids taken from one topic.
pub type IdTable = Table<Id, Seen>;

pub fn id_table(name: &'static str) -> IdTable {
    Table::scheduled(name, |seen: &Seen| Some(seen.at_ms))
}

/// The greatest event time taken from each input topic, ms. One row an input.
pub type ClockTable = Table<SmolStr, i64>;

pub fn clock_table() -> ClockTable {
    Table::new("clocks")
}

/// Event time of a topic: the greatest seen; `i64::MIN` before the first event.
pub fn clock_ms(clocks: &ClockTable, topic: &'static str) -> i64 {
    clocks.get(&SmolStr::new_static(topic)).copied().unwrap_or(i64::MIN)
}

/// Moves a topic's clock forward; never back.
pub fn advance(clocks: &mut ClockTable, topic: &'static str, at_ms: i64) {
    if at_ms > clock_ms(clocks, topic) {
        clocks.insert(SmolStr::new_static(topic), at_ms);
    }
}

/// Whether an event is the first of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    New,
    Repeated,
}

/// One event at the door.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub topic: &'static str,
    pub id: Id,
    pub content: u64,
    pub at_ms: i64,
}

/// Takes an id, or says that it was taken. Only a new id moves the topic's clock.
///
/// # Errors
/// `Expired` below the horizon; `ID_CONFLICT` for a known id with other content.
pub fn admit(
    taken: &mut IdTable,
    clocks: &mut ClockTable,
    horizon_ms: i64,
    arrival: Arrival,
) -> Result<Admission, Failure> {
    let Arrival { topic, id, content, at_ms } = arrival;
    let before_ms = clock_ms(clocks, topic);
    let oldest_ms = before_ms.saturating_sub(horizon_ms);
    if at_ms < oldest_ms {
        let message = format!("{} s older than what ids are kept for", (oldest_ms - at_ms) / 1_000);
        return Err(Failure::Expired(Reason::new("BEYOND_HORIZON", message)));
    }
    match taken.get(&id) {
        Some(seen) if seen.content == content => return Ok(Admission::Repeated),
        Some(_) => {
            let message = "this id was taken with other content; the first one stands";
            return Err(Failure::Permanent(Reason::new("ID_CONFLICT", message)));
        }
        None => {}
    }
    taken.insert(id, Seen { content, at_ms });
    if at_ms > before_ms {
        clocks.insert(SmolStr::new_static(topic), at_ms);
    }
    sweep(taken, before_ms.max(at_ms), horizon_ms, EVICTED_AN_EVENT);
    Ok(Admission::New)
}

/// Drops at most `limit` ids that are out of the horizon.
pub fn sweep(taken: &mut IdTable, clock_ms: i64, horizon_ms: i64, limit: usize) {
    let oldest_ms = clock_ms.saturating_sub(horizon_ms);
    for _ in 0..limit {
        if taken.pop_due(oldest_ms.saturating_sub(1)).is_none() {
            return;
        }
    }
}

/// Key of everything that is joined per person: the user's id, else the impression's. An empty id is none.
pub fn user_key<'a>(user_id: Option<&'a str>, impression_event_id: &'a str) -> &'a str {
    user_id.filter(|id| !id.is_empty()).unwrap_or(impression_event_id)
}

#[cfg(test)]
mod tests;
