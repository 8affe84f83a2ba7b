//! The result of a demo in numbers: its JSON, which scripts of others rely on, is exactly this.

use std::collections::BTreeMap;

use serde::Serialize;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub ok: bool,
    pub input: Input,
    pub funnel: Funnel,
    pub money: Money,
    pub services: Vec<Service>,
    pub faults: Vec<Fault>,
    pub invariants: Vec<Invariant>,
    pub cpu_us_per_event: f64,
    pub rss_max_bytes: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Input {
    /// `file` or `generator`.
    pub source: &'static str,
    /// Lines that are not blank.
    pub read: u64,
    pub valid: u64,
    pub rejected: u64,
    /// Not decided on, by reason; only with a time budget.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shed: BTreeMap<String, u64>,
    pub users_null: u64,
    /// Requests of ids that a rule has found to be no person by the end.
    pub users_placeholder: u64,
    pub site_absent: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Funnel {
    pub requests: u64,
    pub no_bid: BTreeMap<String, u64>,
    pub bids: u64,
    pub wins: u64,
    pub impressions: u64,
    pub clicks: u64,
    pub conversions: u64,
    /// Impressions judged to be general invalid traffic.
    pub invalid_traffic: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Money {
    pub currency: &'static str,
    pub debits_micros: i64,
    pub credits_micros: i64,
    /// Ledger against a recount from impressions and verdicts; 0 or something is wrong.
    pub recount_diff_micros: i64,
    pub campaigns: Vec<Campaign>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Campaign {
    pub campaign_id: String,
    pub budget_micros: i64,
    pub posted_micros: i64,
    pub pending_micros: i64,
    pub reversed_micros: i64,
    pub overrun_micros: i64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Service {
    pub service: &'static str,
    pub handled: u64,
    pub duplicates: u64,
    pub dead_lettered: u64,
    pub retried: u64,
    pub restarts: u64,
    pub lag_max: u64,
    pub lag_end: u64,
    pub queue_bytes_max: u64,
    /// Record readable in the input -> settled; `null` where nothing was measured.
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
    pub p99_us_in_fault: Option<u64>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Fault {
    pub fault: String,
    /// Run time from the first event; `null` if it never came to that.
    pub started_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    pub caught_up_ms: Option<u64>,
}

/// Something that must hold. With nothing checked it did not.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Invariant {
    pub name: &'static str,
    pub ok: bool,
    pub checked: u64,
    /// What was expected and found, for people.
    #[serde(skip)]
    pub why: String,
}

impl Invariant {
    /// Holds if something was checked and nothing was wrong; `wrong` says the first thing that was.
    pub fn new(name: &'static str, checked: u64, wrong: Option<String>) -> Self {
        let why =
            wrong.clone().unwrap_or_else(|| if checked == 0 { "nothing was checked".into() } else { String::new() });
        Self { name, ok: checked > 0 && wrong.is_none(), checked, why }
    }
}
