//! One auction from its request to the ledger: what was decided and on what, what followed, and what it cost.

use memchr::memmem;
use runtime::log::Log;
use runtime::writers::WriterSchemas;
use serde_json::{Value, json};

use super::OperateError;
use super::values::{Values, mask, topic};
use crate::demo::scan::Scan;

/// Where schemas of other writers come from.
type Writers = std::sync::Arc<dyn WriterSchemas>;

/// The way of a bid, in order, by what a record names: the auction, its bid, or an event made of the bid.
const WAY: [(&str, &str); 15] = [
    ("bids", "decision"),
    ("reservations", "reservation"),
    ("exchange-notices", "notice"),
    ("impression-pixels", "pixel"),
    ("auction-results", "result"),
    ("impressions", "impression"),
    ("click-pixels", "click pixel"),
    ("clicks", "click"),
    ("conversion-posts", "order"),
    ("conversions", "conversion"),
    ("fraud-verdicts", "verdict"),
    ("billing-events", "ledger row"),
    ("attributions", "attribution"),
    ("budget-leases", "lease"),
    ("campaign-metrics-1m", "minute"),
];

/// Records shown of each topic.
const SHOWN_MAX: usize = 50;

/// Everything the log knows of an auction. Reads the topics whole: seconds for some gigabytes.
///
/// # Errors
/// No decision on such an auction is in the log, or the log cannot be read.
pub fn explain(log: &dyn Log, writers: &Writers, auction_id: &str) -> Result<Value, OperateError> {
    if auction_id.is_empty() {
        return Err(OperateError::Wrong("name an auction: the `id` of a bid request".to_owned()));
    }
    let decisions = found(log, writers, "bids", auction_id.as_bytes(), |value| value["auction_id"] == auction_id)?;
    let Some(decision) = decisions.first() else {
        return Err(OperateError::Absent(format!(
            "no decision on auction `{auction_id}` is in the log: it was never asked, shed, or is past its retention"
        )));
    };
    let text = |name: &str| decision["value"][name].as_str().unwrap_or_default().to_owned();
    let (bid_id, lease_id, campaign_id) = (text("bid_id"), text("lease_id"), text("campaign_id"));
    let mut steps = Vec::new();
    for (name, what) in WAY {
        let records = match name {
            "bids" => decisions.clone(),
            "budget-leases" if lease_id.is_empty() => Vec::new(),
            "budget-leases" => found(log, writers, name, lease_id.as_bytes(), |value| value["lease_id"] == lease_id)?,
            "campaign-metrics-1m" => minutes(log, writers, &campaign_id, &steps)?,
            _ => found(log, writers, name, bid_id.as_bytes(), |_| true)?,
        };
        if !records.is_empty() {
            steps.push(json!({ "step": what, "topic": name, "records": records }));
        }
    }
    let mut all = json!({
        "auction_id": auction_id,
        "bid_id": bid_id,
        "trace_id": trace_id(auction_id),
        "outcome": decision["value"]["outcome"],
        "no_bid": decision["value"]["metadata"]["no_bid"],
        "filtered": decision["value"]["metadata"]["filtered"],
        "view_ages_ms": decision["value"]["view_ages_ms"],
        "steps": steps,
    });
    mask(&mut all);
    Ok(all)
}

fn trace_id(auction_id: &str) -> String {
    runtime::trace::TraceId::of_auction(auction_id).to_hex()
}

/// The minute that the impression was counted in.
fn minutes(log: &dyn Log, writers: &Writers, campaign_id: &str, steps: &[Value]) -> Result<Vec<Value>, OperateError> {
    let impression = steps.iter().find(|step| step["topic"] == "impressions");
    let Some(at_ms) = impression.and_then(|step| step["records"][0]["timestamp_ms"].as_i64()) else {
        return Ok(Vec::new());
    };
    let minute_ms = at_ms - at_ms.rem_euclid(60_000);
    let of_minute = |value: &Value| value["campaign_id"] == campaign_id && value["window_start"] == minute_ms;
    let mut rows = found(log, writers, "campaign-metrics-1m", campaign_id.as_bytes(), of_minute)?;
    // The newest of each shard counts.
    let newest = rows.split_off(rows.len().saturating_sub(1));
    Ok(newest)
}

/// Records of a topic whose bytes hold `needle` and whose value is `wanted`.
fn found(
    log: &dyn Log,
    writers: &Writers,
    name: &str,
    needle: &[u8],
    wanted: impl Fn(&Value) -> bool,
) -> Result<Vec<Value>, OperateError> {
    let values = Values::of(topic(name)?)?.with(writers.clone());
    let partitions =
        log.topics().iter().find(|(_, config)| &*config.name == name).map_or(0, |(_, config)| config.partitions);
    let (scan, finder) = (Scan { log, partitions }, memmem::Finder::new(needle));
    let mut records = Vec::new();
    for partition in 0..partitions {
        let visited = scan.records(name, partition, 0, |record| {
            let bytes = record.value.unwrap_or_default();
            if records.len() < SHOWN_MAX && !needle.is_empty() && finder.find(bytes).is_some() {
                let value = values.read_record(record)?;
                if wanted(&value) {
                    records.push(json!({
                        "partition": partition,
                        "offset": record.offset,
                        "timestamp_ms": record.timestamp_ms,
                        "value": value,
                    }));
                }
            }
            Ok(())
        });
        visited.map_err(OperateError::failed)?;
    }
    Ok(records)
}
