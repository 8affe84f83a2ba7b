//! A drafted request as JSON, field by field in the order of the recorded file.

use std::io::Write;

use fastrand::Rng;

use super::Draft;
use crate::draw;

/// Blocked advertisers to choose from; lower numbers are blocked more often.
const ADVERTISERS: u32 = 4_000;

/// Appends one request to `out`. All text is our own and needs no escapes.
pub(super) fn request(out: &mut Vec<u8>, draft: &Draft, rng: &mut Rng) {
    // Writing into a vector cannot fail.
    let _ = write_request(out, draft, rng);
}

fn write_request(out: &mut Vec<u8>, draft: &Draft, rng: &mut Rng) -> std::io::Result<()> {
    let (w, h) = draft.size;
    write!(
        out,
        r#"{{"id":"{:032x}","imp":[{{"id":"1","banner":{{"format":[{{"w":{w},"h":{h}}}],"w":{w},"h":{h}}},"#,
        draft.auction
    )?;
    out.extend_from_slice(br#""bidfloor":0.0,"bidfloorcur":"USD"}],"#);
    if let Some(domain) = draft.domain {
        write!(out, r#""site":{{"domain":"www.site-{domain}.example","page":"http://www.site-{domain}.example/"}},"#)?;
    }
    device(out, draft)?;
    if let Some(user) = draft.user {
        write!(out, r#","user":{{"id":"{user:032x}"}}"#)?;
    }
    blocked(out, draft.blocked, rng)?;
    write!(out, r#","ext":{{"exchange":"{}","ts_us":{}"#, draft.exchange, draft.ts_us)?;
    if draft.categories {
        categories(out, rng)?;
    }
    out.extend_from_slice(b"}}");
    Ok(())
}

fn device(out: &mut Vec<u8>, draft: &Draft) -> std::io::Result<()> {
    let mut next = r#""device":{"#;
    if let Some(agent) = &draft.agent {
        write!(out, r#"{next}"ua":"{agent}""#)?;
        next = ",";
    }
    if let Some([a, b, c, d]) = draft.network {
        write!(out, r#"{next}"ip":"{a}.{b}.{c}.{d}""#)?;
        next = ",";
    }
    if let Some(language) = draft.language {
        write!(out, r#"{next}"language":"{language}""#)?;
        next = ",";
    }
    let place = &draft.place;
    if !place.country.is_empty() {
        write!(out, r#"{next}"geo":{{"country":"{}","#, place.country)?;
        next = "";
        if !place.region.is_empty() {
            write!(out, r#""region":"{}","city":"City {}","#, place.region, place.city)?;
        }
        if place.metro > 0 {
            write!(out, r#""metro":"{}","#, place.metro)?;
        }
        write!(out, r#""utcoffset":{}}}"#, place.utc_offset_min)?;
    }
    out.extend_from_slice(if next.starts_with('"') { br#""device":{}"# } else { b"}" });
    Ok(())
}

fn blocked(out: &mut Vec<u8>, count: u8, rng: &mut Rng) -> std::io::Result<()> {
    for index in 0..count {
        // The smaller of two draws: well-known advertisers are blocked by many.
        let advertiser = rng.u32(0..ADVERTISERS).min(rng.u32(0..ADVERTISERS));
        let before = if index == 0 { r#","badv":["# } else { "," };
        write!(out, r#"{before}"brand-{advertiser}.example""#)?;
    }
    if count > 0 {
        out.push(b']');
    }
    Ok(())
}

/// Codes of the exchange's own, as long as the recorded ones; nobody reads them.
fn categories(out: &mut Vec<u8>, rng: &mut Rng) -> std::io::Result<()> {
    numbers(out, "creative_attr", &[2, 3, 10, 13], 30, rng)?;
    if draw::happens(rng, 570_000) {
        numbers(out, "sensitive_cat", &[1, 2, 10], 32, rng)?;
    }
    if draw::happens(rng, 270_000) {
        numbers(out, "blocked_vertical", &[1], 12_000, rng)?;
    }
    if draw::happens(rng, 850_000) {
        for index in 0..rng.u32(2..5) {
            let before = if index == 0 { r#","page_verticals":["# } else { "," };
            write!(out, "{before}[{},0.{:04}]", rng.u32(1..1_300), rng.u32(1..10_000))?;
        }
        out.push(b']');
    }
    Ok(())
}

fn numbers(out: &mut Vec<u8>, name: &str, counts: &[usize], below: u32, rng: &mut Rng) -> std::io::Result<()> {
    for index in 0..counts[rng.usize(0..counts.len())] {
        let value = rng.u32(1..below);
        if index == 0 { write!(out, r#","{name}":[{value}"#)? } else { write!(out, ",{value}")? }
    }
    out.push(b']');
    Ok(())
}
