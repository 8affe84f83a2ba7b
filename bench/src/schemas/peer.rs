//! serde_avro_fast, in a program of its own: it needs a crate under LGPL-3.0-only, which this tree does not depend on.

use std::{
    error::Error,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use schemas::{events::ImpressionEvent, frame};

use super::Messages;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/serde_avro_fast/Cargo.toml");
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/serde_avro_fast/target/release/peer-serde-avro-fast");

/// Its records per CPU second for the messages, into values that borrow; `None` where the program is not built.
pub fn rate(messages: &Messages, avsc: &str) -> Result<Option<f64>, Box<dyn Error>> {
    if !PathBuf::from(PROGRAM).exists() {
        eprintln!("bench schemas: no figure of serde_avro_fast; cargo build --release --manifest-path {MANIFEST}");
        return Ok(None);
    }
    let mut peer = Command::new(PROGRAM).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = Vec::new();
    let mut put = |text: &[u8]| {
        input.extend_from_slice(&(text.len() as u32).to_le_bytes());
        input.extend_from_slice(text);
    };
    put(avsc.as_bytes());
    let mut expected = 0_i64;
    for message in messages.iter() {
        put(frame::split(message)?.1);
        expected = expected.wrapping_add(sum(&frame::decode(message)?));
    }
    // It reads all before it says a word.
    peer.stdin.take().ok_or("no stdin")?.write_all(&input)?;
    let output = peer.wait_with_output()?;
    let said = String::from_utf8(output.stdout)?;
    let (best, sum) = said.trim().split_once(' ').ok_or("serde_avro_fast gave no figure")?;
    if sum.parse::<i64>()? != expected {
        return Err("serde_avro_fast does not read what we read: mend the benchmark".into());
    }
    Ok(Some(best.parse()?))
}

fn sum(event: &ImpressionEvent<'_>) -> i64 {
    let texts = [event.event_id, event.campaign_id, event.creative_id, event.placement_id, event.user_id.unwrap_or("")];
    let pairs = event.metadata.iter().flat_map(|(key, value)| [key, value]);
    let bytes = texts.into_iter().chain(pairs).flat_map(str::bytes).map(i64::from);
    bytes.sum::<i64>().wrapping_add(event.timestamp ^ event.bid_price_micros ^ event.win_price_micros)
}
