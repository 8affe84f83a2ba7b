//! What the commit topics say about every offset of every input: taken once, in order, to the end.

use std::collections::{BTreeMap, BTreeSet};

use actors::billing::{AccountKey, Balance};
use runtime::commit::Entry;
use runtime::commit::standing::{Standing, Verdict};
use runtime::log::Offset;
use runtime::state::row::decode_exact;
use runtime::topology::ServiceSpec;
use schemas::codec::Array;
use schemas::events::{OutcomeKind, TableDelta};

use super::scan::{Scan, ScanError};

/// What one service has done with its inputs, by its standing commits.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Events taken, less those that wait.
    pub ended: u64,
    pub duplicates: u64,
    pub dead_lettered: u64,
    pub waiting: u64,
    /// Ranges looked at.
    pub ranges: u64,
    /// Records of the inputs.
    pub records: u64,
    /// The first thing that is wrong: a hole, a repetition, or records nobody took.
    pub wrong: Option<String>,
}

/// Accounts of one service over its partitions; `balances` takes the ledger's rows where the service has them.
///
/// # Errors
/// [`ScanError`] if its commit topic cannot be read.
pub fn account(scan: &Scan<'_>, spec: &ServiceSpec, balances: &mut Balances) -> Result<Account, ScanError> {
    let mut account = Account::default();
    for partition in 0..scan.partitions {
        account.partition(scan, spec, partition, balances)?;
    }
    Ok(account)
}

/// Debits and credits of an account, micros: partition, account -> (debits, credits).
pub type Balances = BTreeMap<(u32, AccountKey), (i64, i64)>;

impl Account {
    fn partition(
        &mut self,
        scan: &Scan<'_>,
        spec: &ServiceSpec,
        partition: u32,
        balances: &mut Balances,
    ) -> Result<(), ScanError> {
        let mut standing = Standing::new();
        let mut next: BTreeMap<String, Offset> = BTreeMap::new();
        let mut waiting: BTreeSet<(String, Offset)> = BTreeSet::new();
        let is_ledger = spec.name == "billing";
        scan.records(&spec.commit_topic(), partition, 0, |record| {
            let entry = Entry::parse(record.offset, record.value).map_err(|error| error.to_string())?;
            if let Entry::Chunk(chunk) = &entry
                && standing.epoch.is_none()
            {
                standing = Standing::at_snapshot(chunk);
            }
            if standing.admit(record.offset, &entry) == Verdict::Void {
                return Ok(());
            }
            let Entry::Commit(commit) = entry else { return Ok(()) };
            for range in commit.inputs.iter() {
                let position = next.entry(range.topic.to_owned()).or_insert(range.from);
                if *position != range.from {
                    let (topic, from) = (range.topic, range.from);
                    let what = format!("{} took {topic}-{partition} from {from} after {position}", spec.name);
                    self.wrong.get_or_insert(what);
                }
                self.ended += (range.to - range.from).max(0) as u64;
                self.ranges += 1;
                *position = range.to;
            }
            for outcome in commit.outcomes.iter() {
                let event = (outcome.topic.to_owned(), outcome.offset);
                match outcome.kind {
                    OutcomeKind::Parked => {
                        waiting.insert(event);
                        continue;
                    }
                    OutcomeKind::Duplicate => self.duplicates += 1,
                    OutcomeKind::DeadLettered => self.dead_lettered += 1,
                    OutcomeKind::DoneAfterParking => {}
                }
                waiting.remove(&event);
            }
            if is_ledger {
                note_balances(partition, &commit.delta, balances)?;
            }
            Ok(())
        })?;
        self.waiting += waiting.len() as u64;
        self.ended -= waiting.len() as u64;
        for topic in spec.reads() {
            let (start, end) = scan.extent(topic.name, partition)?;
            let taken = next.get(topic.name).copied().unwrap_or(start);
            self.records += (end - start) as u64;
            if taken != end {
                let name = topic.name;
                self.wrong.get_or_insert(format!("{} took {name}-{partition} to {taken} of {end}", spec.name));
            }
        }
        Ok(())
    }
}

/// Rows are whole values, so the last one of an account is its balance.
fn note_balances(partition: u32, delta: &Array<'_, TableDelta<'_>>, balances: &mut Balances) -> Result<(), String> {
    for table in delta.iter().filter(|table| table.table == "balances") {
        for row in table.rows.iter() {
            let key: AccountKey = decode_exact(row.key).map_err(|error| error.to_string())?;
            match row.value {
                Some(value) => {
                    let balance: Balance = decode_exact(value).map_err(|error| error.to_string())?;
                    balances.insert((partition, key), (balance.debits.0, balance.credits.0));
                }
                None => {
                    balances.remove(&(partition, key));
                }
            }
        }
    }
    Ok(())
}
