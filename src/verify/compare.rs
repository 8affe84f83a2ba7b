//! What was published against what was derived, record by record.

use std::collections::{BTreeMap, HashMap};

use super::VerifyError;
use super::catalogue::{Kind, SERVICES, TOPICS, Topic};
use super::datum::Datum;
use super::outputs::{Row, Rows, id_of};
use super::replay::Context;
use super::topics::{Entry, Walk, murmur2, partition_of};

/// Partial sums of micros by account: published less derived.
type Net = BTreeMap<String, i128>;

/// Names of services by their short id in provenance.
fn names() -> HashMap<u32, &'static str> {
    SERVICES.iter().map(|(name, _)| (murmur2(name.as_bytes()), *name)).collect()
}

/// Compares every topic that was derived; answers by how many micros the ledger is wrong.
///
/// # Errors
/// A topic cannot be read.
pub fn compare(context: &mut Context<'_>, partitions: u32) -> Result<i64, VerifyError> {
    let names = names();
    let mut ledger = Ledger::default();
    for topic in &TOPICS {
        match topic.2 {
            Kind::External | Kind::Replay => {}
            Kind::Internal => rows(context, topic, partitions, &names, &mut ledger)?,
            Kind::Compacted => newest(context, topic, partitions)?,
        }
    }
    dead_letters(context, partitions)?;
    Ok(ledger.difference_micros(context))
}

/// First appearances of what shards have sent to one partition; repetitions are passed over, holes are differences.
struct Published {
    walk: Walk,
    next_n: HashMap<(u32, u16), i64>,
}

impl Published {
    fn new(context: &Context<'_>, topic: &str, partition: u32) -> Result<Self, VerifyError> {
        Ok(Self { walk: Walk::new(context.log, topic, partition)?, next_n: HashMap::new() })
    }

    fn next(
        &mut self,
        context: &mut Context<'_>,
        names: &HashMap<u32, &'static str>,
    ) -> Result<Option<Entry>, VerifyError> {
        while let Some(entry) = self.walk.next()? {
            let place = || format!("{}-{}@{}", self.walk.topic, self.walk.partition, entry.offset);
            let Some(origin) = entry.origin else {
                context.differences.add(place(), "a record of a service", "a record without provenance");
                continue;
            };
            let next = self.next_n.entry((origin.service, origin.partition)).or_insert(0);
            if origin.n < *next {
                continue;
            }
            if origin.n > *next {
                let producer = names.get(&origin.service).copied().unwrap_or("an unknown service");
                let what = format!("output {next} of {producer}-{}", origin.partition);
                context.differences.add(place(), what, format!("output {}: {} lost", origin.n, origin.n - *next));
            }
            *next = origin.n + 1;
            return Ok(Some(entry));
        }
        Ok(None)
    }
}

/// Every record, each once, with all its fields.
fn rows(
    context: &mut Context<'_>,
    (topic, schema, _): &Topic,
    partitions: u32,
    names: &HashMap<u32, &'static str>,
    ledger: &mut Ledger,
) -> Result<(), VerifyError> {
    let mut expected = context.outputs.rows.remove(topic).unwrap_or_default();
    if *topic == "billing-events" {
        ledger.expect(&expected);
    }
    for partition in 0..partitions {
        let mut published = Published::new(context, topic, partition)?;
        while let Some(entry) = published.next(context, names)? {
            context.rows += 1;
            let place = format!("{topic}-{partition}@{}", entry.offset);
            let value = match context.schemas.decode(schema, entry.value.as_deref().unwrap_or_default()) {
                Ok(value) => value,
                Err(reason) => {
                    context.differences.add(place, format!("a {schema}"), reason);
                    continue;
                }
            };
            if *topic == "billing-events" {
                ledger.found(&value);
            }
            let id = id_of(topic, &value);
            // Shards that both took an id are not ordered among each other: any row that is this one will do.
            let same = |row: &Row| {
                row.key.as_bytes() == entry.key
                    && row.timestamp_ms == entry.timestamp_ms
                    && row.value.difference(&value).is_none()
            };
            let of_id = expected.get_mut(&id);
            let Some(row) = of_id.and_then(|rows| rows.remove(rows.iter().position(same).unwrap_or(0))) else {
                context.differences.add(format!("{place} {id}"), "nothing", &value);
                continue;
            };
            if let Some((field, expected, found)) = row.value.difference(&value) {
                context.differences.add(format!("{place} {id}: {field}"), expected, found);
            }
            if row.key.as_bytes() != entry.key || partition_of(&entry.key, partitions) != partition {
                let found = format!("{} in partition {partition}", String::from_utf8_lossy(&entry.key));
                context.differences.add(format!("{place} {id}: key"), &row.key, found);
            }
            if row.timestamp_ms != entry.timestamp_ms {
                context.differences.add(format!("{place} {id}: time"), row.timestamp_ms, entry.timestamp_ms);
            }
        }
    }
    for (id, rows) in expected {
        for row in rows {
            context.differences.add(format!("{topic} {id}"), row.value, "nothing");
        }
    }
    Ok(())
}

/// The newest value of each key, by the number that its producer gave it (rule P10).
fn newest(context: &mut Context<'_>, (topic, schema, _): &Topic, partitions: u32) -> Result<(), VerifyError> {
    let mut expected = context.outputs.newest.remove(topic).unwrap_or_default();
    for partition in 0..partitions {
        let mut newest: BTreeMap<Vec<u8>, (i64, i64, Vec<u8>)> = BTreeMap::new();
        let mut walk = Walk::new(context.log, topic, partition)?;
        while let Some(entry) = walk.next()? {
            let Some(value) = entry.value.filter(|_| !entry.is_boundary) else { continue };
            let n = entry.origin.map_or(-1, |origin| origin.n);
            let known = newest.get(&entry.key).map_or(i64::MIN, |known| known.0);
            if n >= known {
                newest.insert(entry.key, (n, entry.offset, value));
            }
        }
        for (key, (_, offset, value)) in newest {
            context.rows += 1;
            let name = String::from_utf8_lossy(&key).into_owned();
            let place = format!("{topic}-{partition}@{offset} {name}");
            let may_be = expected.remove(&name).unwrap_or_default();
            let mut value = context.schemas.decode(schema, &value);
            if let (Ok(Datum::Map(status)), "budget-status") = (&mut value, *topic) {
                // When it was told is free.
                status.remove("timestamp");
            }
            match value {
                Err(reason) => context.differences.add(place, format!("a {schema}"), reason),
                Ok(value) if may_be.contains(&value) => {}
                Ok(value) => match may_be.last().map(|last| (last, last.difference(&value))) {
                    Some((_, Some((field, expected, found)))) => {
                        context.differences.add(format!("{place}: {field}"), expected, found);
                    }
                    _ => context.differences.add(place, "nothing", value),
                },
            }
        }
    }
    for (key, mut may_be) in expected {
        // A key that need not have been told yet may be absent.
        if !may_be.is_empty() && !may_be.contains(&Datum::Null) {
            let value = may_be.pop().unwrap_or(Datum::Null);
            context.differences.add(format!("{topic} {key}"), value, "nothing");
        }
    }
    Ok(())
}

/// What was set aside lies in its dead letter topic, bytes untouched, and nothing else does.
fn dead_letters(context: &mut Context<'_>, partitions: u32) -> Result<(), VerifyError> {
    let names = names();
    let inputs: std::collections::BTreeSet<&str> =
        SERVICES.iter().flat_map(|(_, inputs)| inputs.iter().copied()).collect();
    for input in inputs {
        let topic = format!("{input}-dlq");
        let mut expected = context.outputs.dead.remove(&topic).unwrap_or_default();
        for partition in 0..partitions {
            let mut published = Published::new(context, &topic, partition)?;
            while let Some(entry) = published.next(context, &names)? {
                context.rows += 1;
                let header = |name: &str| entry.header(name).unwrap_or("?");
                let (service, from, offset) = (header("bh-service"), header("bh-topic"), header("bh-offset"));
                let replays = entry.header("bh-replays").unwrap_or("0");
                let id = format!("{service}-{} {from}@{offset} replay {replays}", header("bh-partition"));
                let place = format!("{topic}-{partition}@{} {id}", entry.offset);
                match expected.remove(&id) {
                    None => context.differences.add(place, "nothing", header("bh-code")),
                    Some(value) if value != entry.value => {
                        context.differences.add(place, "the bytes that were set aside", "other bytes");
                    }
                    Some(_) => {}
                }
            }
        }
        for id in expected.into_keys() {
            context.differences.add(format!("{topic} {id}"), "a dead letter", "nothing");
        }
    }
    Ok(())
}

/// By how much the published ledger is wrong.
#[derive(Default)]
struct Ledger {
    /// Account: published less derived.
    accounts: Net,
    /// Campaign: charges less reversals, as published.
    net: Net,
}

impl Ledger {
    fn expect(&mut self, rows: &Rows) {
        for row in rows.values().flatten() {
            self.post(&row.value, -1);
        }
    }

    fn found(&mut self, transfer: &Datum) {
        self.post(transfer, 1);
        let sign = match transfer.text("kind") {
            "CHARGE" => 1,
            "REVERSAL" => -1,
            _ => 0,
        };
        let net = self.net.entry(transfer.text("campaign_id").to_owned()).or_default();
        *net += sign * i128::from(transfer.int("amount_micros"));
    }

    fn post(&mut self, transfer: &Datum, sign: i128) {
        let amount = sign * i128::from(transfer.int("amount_micros"));
        *self.accounts.entry(transfer.text("debit_account").to_owned()).or_default() += amount;
        *self.accounts.entry(transfer.text("credit_account").to_owned()).or_default() -= amount;
    }

    /// Account by account and campaign by campaign, so that two errors never cancel out; the worse of both counts, with and
    /// without the order of inputs.
    fn difference_micros(mut self, context: &mut Context<'_>) -> i64 {
        let ordered: u128 = self.accounts.values().map(|difference| difference.unsigned_abs()).sum();
        for (campaign, expected) in std::mem::take(&mut context.outputs.unordered_net) {
            let net = self.net.entry(campaign.clone()).or_default();
            if *net != i128::from(expected) {
                context.differences.add(format!("ledger {campaign}, counted without order"), expected, *net);
            }
            *net -= i128::from(expected);
        }
        let unordered: u128 = self.net.values().map(|difference| difference.unsigned_abs()).sum();
        i64::try_from(ordered.max(unordered)).unwrap_or(i64::MAX)
    }
}
