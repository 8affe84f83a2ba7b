//! Tables of the ledger. Arithmetic of their bytes and lives: the README beside this file.

use runtime::state::Table;
use runtime::{row, tables};
use smol_str::SmolStr;

use crate::intake::{ClockTable, Id, clock_table};
use crate::money::Micros;

/// ISO 4217 code.
pub type Currency = [u8; 3];

/// An account of the ledger. The number stands in rows: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// What the advertiser of a campaign owes us.
    CampaignReceivable = 0,
    /// What we owe the exchanges.
    ExchangePayable = 1,
    /// What we gave back for invalid traffic, until the exchange refunds it.
    IvtCredit = 2,
}

impl Account {
    /// The row of this account; only receivables are kept a campaign.
    pub fn key(self, currency: Currency, campaign: &SmolStr) -> AccountKey {
        let campaign = if self == Self::CampaignReceivable { campaign.clone() } else { SmolStr::default() };
        (currency, self as u8, campaign)
    }

    /// Name in transfers.
    pub fn name(self, campaign: &str) -> SmolStr {
        match self {
            Self::CampaignReceivable => smol_str::format_smolstr!("campaign:{campaign}:receivable"),
            Self::ExchangePayable => SmolStr::new_static("exchange:payable"),
            Self::IvtCredit => SmolStr::new_static("platform:ivt_credit"),
        }
    }
}

/// Currency, [`Account`] as a number, campaign.
pub type AccountKey = (Currency, u8, SmolStr);

row! {
    /// Both sides of an account; neither ever goes down.
    pub struct Balance version 1 {
        pub debits: Micros,
        pub credits: Micros,
    }
}

row! {
    /// An impression that was taken, as long as a verdict on it may come.
    pub struct Charge version 1 {
        pub campaign: SmolStr,
        pub amount: Micros,
        pub currency: Currency,
        /// `false` for tests and quality scans: taken, not charged.
        pub billable: bool,
        /// Judged invalid; the charge, if any, was taken back.
        pub invalid: bool,
        /// Event time, ms; the horizon counts from here.
        pub timestamp_ms: i64,
    }
}

row! {
    /// Who pays for a campaign.
    pub struct Advertiser version 1 {
        pub advertiser_id: SmolStr,
    }
}

row! {
    /// A verdict that overtook its impression: they come by two topics.
    pub struct EarlyVerdict version 1 {
        pub ruleset: SmolStr,
        /// Event time of the impression, ms.
        pub timestamp_ms: i64,
    }
}

tables! {
    /// State of one shard of the ledger.
    pub struct State {
        /// One row an account: two a currency, and one a campaign. For ever.
        pub balances: Table<AccountKey, Balance> = Table::new("balances"),
        /// One row an impression, for the reversal horizon.
        pub charges: Table<Id, Charge> = Table::scheduled("charges", |row| Some(row.timestamp_ms)),
        /// One row a verdict whose impression has not come, for the reversal horizon.
        pub early_verdicts: Table<Id, EarlyVerdict> =
            Table::scheduled("early_verdicts", |row| Some(row.timestamp_ms)),
        /// Campaign to advertiser, as impressions say. For ever.
        pub advertisers: Table<SmolStr, Advertiser> = Table::new("advertisers"),
        /// Greatest event time of an impression, ms, never beyond processing time.
        pub clocks: ClockTable = clock_table(),
    }
}
