//! What change data may say: checked column by column, so that a bad row leaves the last good one in place.

use runtime::outcome::Failure;
use schemas::events::{BudgetRow, CampaignRow, CampaignStatus};
use smol_str::SmolStr;

use super::state::{Budget, Campaign};
use crate::budget::BUDGET_MAX;
use crate::intake::{required, violation};
use crate::money::{Cpm, Micros, PLAUSIBLE_CPM_MAX};

/// Longest key, bytes: keys become parts of account names.
const ID_BYTES_MAX: usize = 256;
/// Largest side of a creative, pixels.
const SIDE_MAX: i32 = 10_000;
/// There are fewer countries than this.
const COUNTRIES_MAX: usize = 300;
/// What the connector writes for a large column that an update did not touch. Source: Debezium, `unavailable.value.placeholder`.
const UNTOUCHED: &str = "__debezium_unavailable_value";

/// How a change relates to what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Created, updated, or read by a snapshot.
    Upsert {
        snapshot: bool,
    },
    Delete,
}

impl Op {
    /// Reads Debezium's letter.
    pub fn of(letter: &str) -> Result<Self, Failure> {
        match letter {
            "c" | "u" => Ok(Self::Upsert { snapshot: false }),
            "r" => Ok(Self::Upsert { snapshot: true }),
            "d" => Ok(Self::Delete),
            _ => Err(violation("op", "is none of c, u, r, d: truncate or repair the table row by row")),
        }
    }
}

/// The key of a row, which must be that of the record: it decides which shard holds the campaign. A deletion may name
/// nothing but the table's own key.
pub fn key<'a>(op: Op, campaign_id: &'a str, record_key: &'a [u8]) -> Result<&'a str, Failure> {
    let field = "campaign_id";
    if op == Op::Delete && campaign_id.is_empty() {
        let text =
            std::str::from_utf8(record_key).map_err(|_| violation(field, "is missing, and the key is no text"))?;
        return identifier(field, text);
    }
    let id = identifier(field, campaign_id)?;
    if id.as_bytes() != record_key {
        return Err(violation(field, "is not the key of the record: key the topic by campaign"));
    }
    Ok(id)
}

fn identifier<'a>(field: &'static str, id: &'a str) -> Result<&'a str, Failure> {
    if required(field, id)?.len() > ID_BYTES_MAX {
        return Err(violation(field, format!("has {} bytes, at most {ID_BYTES_MAX}", id.len())));
    }
    Ok(id)
}

/// The campaign after a change; columns that the change did not touch come from the row before.
pub fn campaign(row: &CampaignRow<'_>, lsn: i64, known: Option<&Campaign>) -> Result<Campaign, Failure> {
    let kept = |field: &'static str, text: &str, before: fn(&Campaign) -> &SmolStr| -> Result<SmolStr, Failure> {
        if text != UNTOUCHED {
            return Ok(SmolStr::new(text));
        }
        known.map(|row| before(row).clone()).ok_or_else(|| violation(field, "was not sent and is not known"))
    };
    within("bid_cpm_micros", row.bid_cpm_micros, 0, PLAUSIBLE_CPM_MAX.0)?;
    within("width", row.width.into(), 1, SIDE_MAX.into())?;
    within("height", row.height.into(), 1, SIDE_MAX.into())?;
    within("frequency_cap", row.frequency_cap.into(), 0, i32::MAX.into())?;
    let alpha_3 = |code: &str| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if row.countries.len() > COUNTRIES_MAX || !row.countries.iter().all(alpha_3) {
        return Err(violation(
            "countries",
            format!("are not at most {COUNTRIES_MAX} codes like USA (ISO 3166 alpha-3)"),
        ));
    }
    let advertiser_id = kept("advertiser_id", row.advertiser_id, |row| &row.advertiser_id)?;
    identifier("advertiser_id", &advertiser_id)?;
    let destination_domain = match row.destination_domain {
        Some(UNTOUCHED) => known.and_then(|row| row.destination_domain.clone()),
        domain => domain.map(SmolStr::new),
    };
    Ok(Campaign {
        advertiser_id,
        name: kept("name", row.name, |row| &row.name)?,
        active: row.status == CampaignStatus::Active,
        creative_id: kept("creative_id", row.creative_id, |row| &row.creative_id)?,
        width: row.width,
        height: row.height,
        bid: Cpm(row.bid_cpm_micros),
        countries: row.countries.iter().map(SmolStr::new).collect(),
        frequency_cap: row.frequency_cap,
        destination_domain,
        deleted: false,
        lsn,
    })
}

/// The budget after a change.
pub fn budget(row: &BudgetRow<'_>, lsn: i64) -> Result<Budget, Failure> {
    within("amount_micros", row.amount_micros, 0, BUDGET_MAX.0)?;
    if row.currency.len() != 3 || !row.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(violation("currency", "is no code like USD (ISO 4217)"));
    }
    Ok(Budget {
        budget_id: SmolStr::new(identifier("budget_id", row.budget_id)?),
        amount: Micros(row.amount_micros),
        currency: SmolStr::new(row.currency),
        deleted: false,
        lsn,
    })
}

/// A budget of which only the end is known.
pub fn gone(row: &BudgetRow<'_>, lsn: i64) -> Result<Budget, Failure> {
    let budget_id = SmolStr::new(identifier("budget_id", row.budget_id)?);
    Ok(Budget { budget_id, amount: Micros::ZERO, currency: SmolStr::default(), deleted: true, lsn })
}

fn within(field: &'static str, value: i64, min: i64, max: i64) -> Result<(), Failure> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(violation(field, format!("of {value} is not within {min} and {max}")))
}
