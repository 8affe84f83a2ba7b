//! What fraud detection remembers: the clicks of the last minutes. Everything else is judged from the event alone.

use runtime::state::Table;
use schemas::events::ClickEvent;
use sha2::{Digest, Sha256};
use smol_str::SmolStr;

use crate::intake::{ClockTable, Id, clock_table};
use crate::metadata::Context;

/// Most clicks of one group that are kept: a person who clicks more often than this in the memory's time is judged
/// against the latest ones.
const CLICKS_MAX: usize = 16;

runtime::row! {
    /// One click.
    pub struct Click version 1 {
        pub at_ms: i64,
        pub event_id: SmolStr,
        pub campaign_id: SmolStr,
        /// Judged invalid: no second verdict.
        pub invalid: bool,
    }
}

runtime::row! {
    /// The clicks of one person on one creative, in order of time, then id.
    #[derive(Default)]
    pub struct Group version 1 { pub clicks: Vec<Click> }
}

impl Group {
    /// Puts a click in its place and says where; `None` if it is there already.
    pub fn insert(&mut self, click: Click) -> Option<usize> {
        let key = |c: &Click| (c.at_ms, c.event_id.clone());
        let at = self.clicks.binary_search_by_key(&key(&click), key).err()?;
        self.clicks.insert(at, click);
        Some(at)
    }

    /// Drops the oldest clicks above the limit.
    pub fn trim(&mut self) {
        let excess = self.clicks.len().saturating_sub(CLICKS_MAX);
        self.clicks.drain(..excess);
    }
}

/// Who clicked on what: the person's key, the creative, and the browser and network it came from. One id that many
/// browsers use (a placeholder nobody has found yet) must not make strangers each other's double.
pub fn group(key: &str, click: &ClickEvent<'_>, context: &Context<'_>) -> Id {
    // A person's id that was found to be no person counts for nothing: only the impression is left.
    let person = if context.sentinel_user.is_some() { click.impression_event_id } else { key };
    let browser = [context.ip, context.ua].map(Option::unwrap_or_default);
    let mut hash = Sha256::new();
    for part in [person, click.creative_id, browser[0], browser[1]] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize()[..16].try_into().expect("SHA-256 has 32 bytes")
}

runtime::tables! {
    /// State of one shard.
    pub struct State {
        /// About 250 bytes a row with one click, for `click_memory_ms` after its last click.
        pub clicks: Table<Id, Group> = Table::scheduled("clicks", |group: &Group| group.clicks.last().map(|c| c.at_ms)),
        /// One row.
        pub clocks: ClockTable = clock_table(),
    }
}
