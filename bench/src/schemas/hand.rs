//! What somebody would write by hand for this one schema, checking what our codec checks: lengths, UTF-8, limits and
//! exact consumption.

use schemas::events::ImpressionEvent;

const STRING_BYTES_MAX: usize = 4096;
const MAP_ENTRIES_MAX: usize = 64;

/// The event, borrowed; the map as its checked bytes.
pub struct Event<'a> {
    event_id: &'a str,
    timestamp: i64,
    campaign_id: &'a str,
    creative_id: &'a str,
    placement_id: &'a str,
    user_id: Option<&'a str>,
    bid_price_micros: i64,
    win_price_micros: i64,
    metadata: (usize, &'a [u8]),
}

impl Event<'_> {
    /// Whether it says the same as the codec's.
    pub fn same(&self, other: &ImpressionEvent<'_>) -> bool {
        (self.event_id, self.timestamp, self.campaign_id, self.creative_id, self.placement_id)
            == (other.event_id, other.timestamp, other.campaign_id, other.creative_id, other.placement_id)
            && (self.user_id, self.bid_price_micros, self.win_price_micros)
                == (other.user_id, other.bid_price_micros, other.win_price_micros)
            && self.metadata.0 == other.metadata.len()
            && self.metadata.1.is_empty() == other.metadata.is_empty()
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn new(message: &'a [u8], id: u32) -> Option<Self> {
        let (head, datum) = message.split_first_chunk::<5>()?;
        (head[0] == 0 && head[1..] == id.to_be_bytes() && datum.len() <= 65_536).then_some(Self(datum))
    }

    #[inline(always)]
    fn long(&mut self) -> Option<i64> {
        let mut value = 0_u64;
        for i in 0..10 {
            let byte = *self.0.get(i)?;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                if i == 9 && byte > 1 {
                    return None;
                }
                self.0 = &self.0[i + 1..];
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }

    #[inline(always)]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        if length > STRING_BYTES_MAX {
            return None;
        }
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline(always)]
    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    #[inline(always)]
    fn skip_text(&mut self) -> Option<()> {
        let bytes = self.bytes()?;
        (bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()).then_some(())
    }

    #[inline(always)]
    fn nullable(&mut self) -> Option<Option<&'a str>> {
        match self.long()? {
            0 => Some(None),
            1 => Some(Some(self.text()?)),
            _ => None,
        }
    }

    /// Checks a map of one block or none; the bytes are its entries.
    #[inline(always)]
    fn skip_map(&mut self) -> Option<usize> {
        let mut entries = 0;
        loop {
            let count = usize::try_from(self.long()?).ok()?;
            if count == 0 {
                return Some(entries);
            }
            entries += count;
            if entries > MAP_ENTRIES_MAX {
                return None;
            }
            for _ in 0..count {
                self.skip_text()?;
                self.skip_text()?;
            }
        }
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Timestamp, campaign, price; the rest checked.
pub fn project(message: &[u8]) -> Option<(i64, &str, i64)> {
    let mut c = Cursor::new(message, 1)?;
    c.skip_text()?;
    let timestamp = c.long()?;
    let campaign = c.text()?;
    c.skip_text()?;
    c.skip_text()?;
    match c.long()? {
        0 => {}
        1 => c.skip_text()?,
        _ => return None,
    }
    c.long()?;
    let price = c.long()?;
    c.skip_map()?;
    c.end()?;
    Some((timestamp, campaign, price))
}

/// Everything; the map is checked.
pub fn decode(message: &[u8]) -> Option<Event<'_>> {
    let mut c = Cursor::new(message, 1)?;
    let event = Event {
        event_id: c.text()?,
        timestamp: c.long()?,
        campaign_id: c.text()?,
        creative_id: c.text()?,
        placement_id: c.text()?,
        user_id: c.nullable()?,
        bid_price_micros: c.long()?,
        win_price_micros: c.long()?,
        metadata: {
            let blocks = c.0;
            (c.skip_map()?, blocks)
        },
    };
    c.end()?;
    Some(event)
}

/// The older version by hand: its order, its ints, no map.
pub fn decode_older(message: &[u8]) -> Option<Event<'_>> {
    let mut c = Cursor::new(message, super::OLDER_ID)?;
    let event_id = c.text()?;
    let timestamp = c.long()?;
    let user_id = c.nullable()?;
    let (campaign_id, creative_id, placement_id) = (c.text()?, c.text()?, c.text()?);
    c.skip_text()?;
    let bid = i64::from(i32::try_from(c.long()?).ok()?);
    let win = i64::from(i32::try_from(c.long()?).ok()?);
    c.end()?;
    Some(Event {
        event_id,
        timestamp,
        campaign_id,
        creative_id,
        placement_id,
        user_id,
        bid_price_micros: bid,
        win_price_micros: win,
        metadata: (0, &[]),
    })
}

#[inline(always)]
fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[inline(always)]
fn put_text(text: &str, out: &mut Vec<u8>) {
    put_long(text.len() as i64, out);
    out.extend_from_slice(text.as_bytes());
}

fn put_nullable(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        None => out.push(0),
        Some(text) => {
            out.push(2);
            put_text(text, out);
        }
    }
}

/// The whole event, framed.
pub fn encode(event: &ImpressionEvent<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 0, 1]);
    put_text(event.event_id, out);
    put_long(event.timestamp, out);
    put_text(event.campaign_id, out);
    put_text(event.creative_id, out);
    put_text(event.placement_id, out);
    put_nullable(event.user_id, out);
    put_long(event.bid_price_micros, out);
    put_long(event.win_price_micros, out);
    if !event.metadata.is_empty() {
        put_long(event.metadata.len() as i64, out);
        for (key, value) in &event.metadata {
            put_text(key, out);
            put_text(value, out);
        }
    }
    out.push(0);
}

/// The event as its older version had it.
pub fn encode_older(event: &ImpressionEvent<'_>, id: u32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&id.to_be_bytes());
    put_text(event.event_id, out);
    put_long(event.timestamp, out);
    put_nullable(event.user_id, out);
    put_text(event.campaign_id, out);
    put_text(event.creative_id, out);
    put_text(event.placement_id, out);
    put_text("mobile", out);
    put_long(event.bid_price_micros, out);
    put_long(event.win_price_micros, out);
}
