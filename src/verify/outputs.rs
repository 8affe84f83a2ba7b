//! What the recount says that the services must have published.

use std::collections::{BTreeMap, VecDeque};

use super::datum::Datum;

/// One record that must be in a topic.
#[derive(Clone, Debug)]
pub struct Row {
    pub key: String,
    pub timestamp_ms: i64,
    pub value: Datum,
}

/// Rows of one id in the order in which they were made.
pub type Rows = BTreeMap<String, VecDeque<Row>>;

/// Everything derived from the inputs.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Topics whose records are compared one by one.
    pub rows: BTreeMap<&'static str, Rows>,
    /// Compacted topics: for each key the values that its newest record may have. More than one where the platform is
    /// free to tell or not to tell what has changed since it told last.
    pub newest: BTreeMap<&'static str, BTreeMap<String, Vec<Datum>>>,
    /// Charges less reversals of each campaign, counted without any order, micros.
    pub unordered_net: BTreeMap<String, i64>,
    /// Dead letters by topic: service, partition and offset of what was set aside, with its bytes.
    pub dead: BTreeMap<String, BTreeMap<String, Option<Vec<u8>>>>,
}

impl Outputs {
    /// A record that must have been published.
    pub fn emit(&mut self, topic: &'static str, id: impl Into<String>, key: &str, timestamp_ms: i64, value: Datum) {
        let row = Row { key: key.to_owned(), timestamp_ms, value };
        self.rows.entry(topic).or_default().entry(id.into()).or_default().push_back(row);
    }

    /// What the newest record of a key may be.
    pub fn newest(&mut self, topic: &'static str, key: impl Into<String>, may_be: Vec<Datum>) {
        self.newest.entry(topic).or_default().insert(key.into(), may_be);
    }
}

/// What makes a record of a topic the one it is.
pub fn id_of(topic: &str, value: &Datum) -> String {
    let text = |field: &str| value.text(field).to_owned();
    match topic {
        "reservations" => text("bid_id"),
        "auction-results" => format!("{} {}", value.text("bid_id"), value.text("kind")),
        "fraud-verdicts" => text("target_event_id"),
        "billing-events" => text("transfer_id"),
        "attributions" => format!("{} version {}", value.text("conversion_id"), value.int("version")),
        "budget-leases" => format!("{} {}", value.text("lease_id"), value.text("kind")),
        _ => text("event_id"),
    }
}
