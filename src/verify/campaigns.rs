//! States of campaigns, derived again from the change streams of their tables: the latest position of each row counts.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::datum::Datum;
use super::intake;
use super::outputs::Outputs;
use super::replay::{Ending, Event, Rules};
use crate::record;

const BUDGETS_MAX: usize = 8;
const ID_BYTES_MAX: usize = 256;
const SIDE_MAX: i64 = 10_000;
const COUNTRIES_MAX: usize = 300;
/// A thousand dollars per thousand impressions.
const CPM_MAX: i64 = 1_000_000_000;
const BUDGET_MAX: i64 = 1_000_000_000_000_000;
/// A large column that an update did not touch.
const UNTOUCHED: &str = "__debezium_unavailable_value";
const VIOLATION: Ending = Ending::Dead("SEMANTIC_VIOLATION");

/// A row of the campaigns table, and where it stands in the stream.
#[derive(Clone, PartialEq)]
struct Campaign {
    row: Datum,
    deleted: bool,
    lsn: i64,
}

#[derive(Clone, PartialEq)]
struct Budget {
    id: String,
    amount: i64,
    currency: String,
    deleted: bool,
    lsn: i64,
}

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Change,
    Snapshot,
    Delete,
}

/// State of one shard.
#[derive(Default)]
pub struct Campaigns {
    campaigns: BTreeMap<String, Campaign>,
    budgets: BTreeMap<String, Vec<Budget>>,
    told: BTreeMap<String, (i64, Datum)>,
}

impl Rules for Campaigns {
    fn event(&mut self, event: &Event<'_>, _: &mut Outputs) -> Ending {
        if event.bytes == 0 {
            return Ending::Duplicate;
        }
        let changed = intake::arrived(event).and_then(|change| {
            if event.topic == "campaigns-changes" { self.campaign(event, change) } else { self.budget(event, change) }
        });
        changed.err().unwrap_or(Ending::Done)
    }

    fn finish(&mut self, out: &mut Outputs) {
        for (campaign, (_, state)) in std::mem::take(&mut self.told) {
            out.newest("campaign-states", campaign, vec![state]);
        }
    }
}

impl Campaigns {
    fn campaign(&mut self, event: &Event<'_>, change: &Datum) -> Result<(), Ending> {
        let (op, row, lsn) = parts(change)?;
        let key = key(op, row, event)?;
        let known = self.campaigns.get(&key);
        let next = match (op, known) {
            (Op::Delete, Some(known)) => {
                let mut row = known.row.clone();
                set(&mut row, "active", Datum::Bool(false));
                Campaign { row, deleted: true, lsn }
            }
            (Op::Delete, None) => Campaign { row: blank(), deleted: true, lsn },
            _ => Campaign { row: columns(row, known.map(|known| &known.row))?, deleted: false, lsn },
        };
        supersedes(op, lsn, known.map(|known| (known.lsn, *known == next)))?;
        self.campaigns.insert(key.clone(), next);
        self.tell(&key);
        Ok(())
    }

    fn budget(&mut self, event: &Event<'_>, change: &Datum) -> Result<(), Ending> {
        let (op, row, lsn) = parts(change)?;
        let key = key(op, row, event)?;
        let before = change.get("before");
        if op != Op::Delete && *before != Datum::Null && before.text("campaign_id") != row.text("campaign_id") {
            return Err(VIOLATION);
        }
        let mut rows = self.budgets.get(&key).cloned().unwrap_or_default();
        let at = rows.iter().position(|known| known.id == row.text("budget_id"));
        let id = || identifier(row.text("budget_id")).map(str::to_owned);
        let next = match (op, at) {
            (Op::Delete, Some(at)) => Budget { deleted: true, lsn, ..rows[at].clone() },
            (Op::Delete, None) => Budget { id: id()?, amount: 0, currency: String::new(), deleted: true, lsn },
            _ => {
                let (amount, currency) = (row.int("amount_micros"), row.text("currency"));
                if !(0..=BUDGET_MAX).contains(&amount) || !is_code(currency) {
                    return Err(VIOLATION);
                }
                Budget { id: id()?, amount, currency: currency.to_owned(), deleted: false, lsn }
            }
        };
        supersedes(op, lsn, at.map(|at| (rows[at].lsn, rows[at] == next)))?;
        match at {
            Some(at) => rows[at] = next,
            None => {
                if rows.len() >= BUDGETS_MAX {
                    // The oldest deleted row makes room.
                    let deleted = rows.iter().enumerate().filter(|(_, row)| row.deleted);
                    let oldest = deleted.min_by_key(|(_, row)| row.lsn).map(|(at, _)| at).ok_or(VIOLATION)?;
                    rows.remove(oldest);
                }
                rows.push(next);
            }
        }
        self.budgets.insert(key.clone(), rows);
        self.tell(&key);
        Ok(())
    }

    /// The whole state of a campaign; a budget without its campaign waits.
    fn tell(&mut self, key: &str) {
        let Some(campaign) = self.campaigns.get(key) else { return };
        let budgets = self.budgets.get(key).map(Vec::as_slice).unwrap_or_default();
        let in_force = budgets.iter().filter(|row| !row.deleted).max_by_key(|row| (row.lsn, row.id.clone()));
        let newest = budgets.iter().map(|row| row.lsn).max().unwrap_or(i64::MIN);
        let revision = self.told.get(key).map_or(0, |told| told.0) + 1;
        let mut state = campaign.row.clone();
        set(&mut state, "campaign_id", key.into());
        set(&mut state, "deleted", campaign.deleted.into());
        set(&mut state, "budget_micros", in_force.map_or(0, |row| row.amount).into());
        set(&mut state, "currency", in_force.map_or("USD", |row| row.currency.as_str()).into());
        set(&mut state, "lsn", campaign.lsn.max(newest).into());
        set(&mut state, "metadata", record! { "revision": revision.to_string() });
        self.told.insert(key.to_owned(), (revision, state));
    }
}

fn set(record: &mut Datum, field: &str, value: Datum) {
    if let Datum::Map(fields) = record {
        fields.insert(field.to_owned(), value);
    }
}

/// What happened, to which row, and where that stands in the stream.
fn parts(change: &Datum) -> Result<(Op, &Datum, i64), Ending> {
    let op = match change.text("op") {
        "c" | "u" => Op::Change,
        "r" => Op::Snapshot,
        "d" => Op::Delete,
        _ => return Err(VIOLATION),
    };
    let row = change.get(if op == Op::Delete { "before" } else { "after" });
    if *row == Datum::Null { Err(VIOLATION) } else { Ok((op, row, change.get("source").int("lsn"))) }
}

fn identifier(id: &str) -> Result<&str, Ending> {
    if id.is_empty() || id.len() > ID_BYTES_MAX { Err(VIOLATION) } else { Ok(id) }
}

/// The campaign of a row is the record's key.
fn key(op: Op, row: &Datum, event: &Event<'_>) -> Result<String, Ending> {
    let campaign = row.text("campaign_id");
    if op == Op::Delete && campaign.is_empty() {
        return identifier(event.key_text().map_err(|_| VIOLATION)?).map(str::to_owned);
    }
    let campaign = identifier(campaign)?;
    if campaign.as_bytes() == event.key { Ok(campaign.to_owned()) } else { Err(VIOLATION) }
}

/// Later positions win; at the same one the stream stands over a snapshot, and a repetition changes nothing.
fn supersedes(op: Op, lsn: i64, known: Option<(i64, bool)>) -> Result<(), Ending> {
    let Some((at, same)) = known else { return Ok(()) };
    match lsn.cmp(&at) {
        Ordering::Greater => Ok(()),
        Ordering::Less => Err(Ending::Duplicate),
        Ordering::Equal if same || op == Op::Snapshot => Err(Ending::Duplicate),
        Ordering::Equal => Err(Ending::Dead("ID_CONFLICT")),
    }
}

fn is_code(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Columns of a campaign as its state tells them.
fn columns(row: &Datum, known: Option<&Datum>) -> Result<Datum, Ending> {
    let within = |field: &str, min: i64, max: i64| (min..=max).contains(&row.int(field));
    let countries = row.list("countries");
    let are_codes = countries.iter().all(|code| code.as_text().is_some_and(is_code));
    let is_sound = within("bid_cpm_micros", 0, CPM_MAX)
        && within("width", 1, SIDE_MAX)
        && within("height", 1, SIDE_MAX)
        && within("frequency_cap", 0, i64::from(i32::MAX))
        && countries.len() <= COUNTRIES_MAX
        && are_codes;
    if !is_sound {
        return Err(VIOLATION);
    }
    let kept = |field: &str| match row.text(field) {
        UNTOUCHED => known.map(|known| known.text(field).to_owned()).ok_or(VIOLATION),
        text => Ok(text.to_owned()),
    };
    let advertiser = kept("advertiser_id")?;
    identifier(&advertiser)?;
    let domain = match row.opt_text("destination_domain") {
        Some(UNTOUCHED) => known.and_then(|known| known.opt_text("destination_domain")),
        domain => domain,
    };
    Ok(record! {
        "advertiser_id": advertiser,
        "name": kept("name")?,
        "active": row.text("status") == "ACTIVE",
        "creative_id": kept("creative_id")?,
        "width": row.int("width"),
        "height": row.int("height"),
        "bid_cpm_micros": row.int("bid_cpm_micros"),
        "countries": Datum::List(countries.to_vec()),
        "frequency_cap": row.int("frequency_cap"),
        "destination_domain": domain,
    })
}

/// A campaign of which only the end is known.
fn blank() -> Datum {
    record! {
        "advertiser_id": "",
        "name": "",
        "active": false,
        "creative_id": "",
        "width": 0,
        "height": 0,
        "bid_cpm_micros": 0,
        "countries": Datum::List(Vec::new()),
        "frequency_cap": 0,
        "destination_domain": Datum::Null,
    }
}
