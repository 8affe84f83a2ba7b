//! Dead letters by cause, with how many, since when, what a sample looks like, what hangs on them, and whether that is a spike.

use std::collections::{BTreeMap, BTreeSet};

use runtime::commit::Entry;
use runtime::commit::standing::{Standing, Verdict};
use runtime::log::{Batches, CorruptBatch, Log, TopicPartition};
use serde::{Deserialize, Serialize};

use super::letters;
use super::select::Selection;
use super::shelf::{Shelf, State};
use super::spike::{Alert, Detector, Rules, Seen};
use super::value::{self, Schemas};
use super::{DlqError, OwnedLetter, walk};

const MINUTE_MS: i64 = 60_000;
/// Letters looked at for spikes in one go.
const SPIKE_MINUTES: i64 = 5;

/// Letters with one cause.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    pub fingerprint: String,
    pub service: String,
    pub topic: String,
    pub class: String,
    pub code: String,
    pub stage: String,
    pub field: Option<String>,
    /// Of the sample; the others differ in numbers and ids at most.
    pub message: String,
    /// Open ones.
    pub count: u64,
    /// All, whatever has become of them.
    pub total: u64,
    pub first_failed_ms: i64,
    pub last_failed_ms: i64,
    /// Versions of the program that gave up.
    pub versions: BTreeSet<String>,
    /// Money that hangs on the open ones, micros.
    pub stake_micros: i64,
    /// The newest open letter.
    pub sample: String,
    /// Its record; null where it cannot be decoded.
    pub record: serde_json::Value,
    /// The last spike of this group, where there was one.
    pub alert: Option<Alert>,
}

/// Groups of the selected letters, the greatest first; those without open letters only if `all`.
///
/// # Errors
/// A topic cannot be read.
pub fn groups(log: &dyn Log, schemas: &Schemas, selection: &Selection, all: bool) -> Result<Vec<Group>, DlqError> {
    let shelf = Shelf::read(log)?;
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut times: Vec<Time> = Vec::new();
    letters::each(log, |letter| {
        if !selection.matches(&letter, schemas) {
            return Ok(());
        }
        let decoded = schemas.read(&letter).ok();
        let stake_micros = decoded.as_ref().map_or(0, value::Decoded::stake_micros);
        let group = groups.entry(letter.fingerprint.clone()).or_insert_with(|| new_group(&letter));
        times.push(Time {
            at_ms: letter.last_failed_ms,
            stake_micros,
            letter: letter.id.to_string(),
            fingerprint: letter.fingerprint.clone(),
            service: letter.event.service.clone(),
        });
        group.total += 1;
        group.first_failed_ms = group.first_failed_ms.min(letter.first_failed_ms);
        group.versions.insert(letter.version.clone());
        if shelf.state(&letter) == State::Open {
            group.count += 1;
            group.stake_micros = group.stake_micros.saturating_add(stake_micros);
            if letter.last_failed_ms >= group.last_failed_ms || group.count == 1 {
                group.sample = letter.id.to_string();
                group.message = letter.message;
                group.record = decoded.map_or(serde_json::Value::Null, |decoded| decoded.json());
            }
        }
        group.last_failed_ms = group.last_failed_ms.max(letter.last_failed_ms);
        Ok(())
    })?;
    for alert in spikes(log, times)? {
        if let Some(group) = groups.get_mut(&alert.fingerprint) {
            group.alert = Some(alert);
        }
    }
    let mut groups: Vec<Group> = groups.into_values().filter(|group| all || group.count > 0).collect();
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.fingerprint.cmp(&b.fingerprint)));
    Ok(groups)
}

fn new_group(letter: &OwnedLetter) -> Group {
    Group {
        fingerprint: letter.fingerprint.clone(),
        service: letter.event.service.clone(),
        topic: letter.event.topic.clone(),
        class: letter.class.clone(),
        code: letter.code.clone(),
        stage: letter.stage.clone(),
        field: letter.field.clone(),
        message: letter.message.clone(),
        count: 0,
        total: 0,
        first_failed_ms: letter.first_failed_ms,
        last_failed_ms: letter.last_failed_ms,
        versions: BTreeSet::new(),
        stake_micros: 0,
        sample: letter.id.to_string(),
        record: serde_json::Value::Null,
        alert: None,
    }
}

/// When a letter came, and what hangs on it.
struct Time {
    at_ms: i64,
    fingerprint: String,
    service: String,
    stake_micros: i64,
    letter: String,
}

/// The alerts that these letters would have made as they came. What else the services did is read only where some group came
/// fast enough.
fn spikes(log: &dyn Log, mut times: Vec<Time>) -> Result<Vec<Alert>, DlqError> {
    times.sort_by(|a, b| (a.at_ms, &a.letter).cmp(&(b.at_ms, &b.letter)));
    let rules = Rules::default();
    let mut fast: BTreeMap<(&str, i64), u64> = BTreeMap::new();
    let mut services: BTreeSet<String> = BTreeSet::new();
    for time in &times {
        let minute = time.at_ms.div_euclid(MINUTE_MS);
        for window in minute..minute + SPIKE_MINUTES {
            let letters = fast.entry((&time.fingerprint, window)).or_default();
            *letters += 1;
            if *letters as f64 > rules.rate_min * SPIKE_MINUTES as f64 {
                services.insert(time.service.clone());
            }
        }
    }
    let mut events: BTreeMap<i64, BTreeMap<&str, u64>> = BTreeMap::new();
    for service in &services {
        for (minute, count) in events_a_minute(log, service)? {
            events.entry(minute).or_default().insert(service, count);
        }
    }
    let (mut detector, mut alerts) = (Detector::new(rules), Vec::new());
    let mut events = events.into_iter().peekable();
    let mut next = 0;
    while next < times.len() {
        let minute = times[next].at_ms.div_euclid(MINUTE_MS);
        while let Some((_, counts)) = events.next_if(|(at, _)| *at <= minute) {
            counts.into_iter().for_each(|(service, count)| detector.events(minute * MINUTE_MS, service, count));
        }
        while let Some(time) = times.get(next).filter(|time| time.at_ms.div_euclid(MINUTE_MS) == minute) {
            let Time { at_ms, stake_micros, .. } = *time;
            detector.letter(&Seen {
                at_ms,
                fingerprint: &time.fingerprint,
                service: &time.service,
                stake_micros,
                id: &time.letter,
            });
            next += 1;
        }
        alerts.extend(detector.judge(minute * MINUTE_MS));
    }
    Ok(alerts)
}

/// Events that a service has taken, by minute of the commits that took them.
fn events_a_minute(log: &dyn Log, service: &str) -> Result<BTreeMap<i64, u64>, DlqError> {
    let topic = format!("{service}-commits");
    let mut minutes = BTreeMap::new();
    let Some(id) = log.topic(&topic) else { return Ok(minutes) };
    for partition in 0..walk::partitions(log, &topic) {
        let at = TopicPartition { topic: id, partition };
        let extent = log.extent(at)?;
        let mut reader = log.reader(at, extent.start, std::sync::Arc::default())?;
        let (mut standing, mut scratch) = (Standing::new(), Vec::new());
        let unreadable =
            |offset, reason: String| DlqError::Unreadable { topic: topic.clone(), partition, offset, reason };
        while reader.position() < extent.high_watermark {
            let Some(fetched) = reader.try_next(1 << 20)? else { break };
            let corrupt = |error: CorruptBatch| unreadable(fetched.from, error.to_string());
            for batch in Batches::new(&fetched.bytes) {
                for record in batch.map_err(corrupt)?.records(&mut scratch).map_err(corrupt)? {
                    let record = record.map_err(corrupt)?;
                    let entry = Entry::parse(record.offset, record.value);
                    let entry = entry.map_err(|error| unreadable(record.offset, error.to_string()))?;
                    if let (Entry::Chunk(chunk), None) = (&entry, standing.epoch) {
                        standing = Standing::at_snapshot(chunk);
                    }
                    let stands = standing.admit(record.offset, &entry) == Verdict::Stands;
                    if let Entry::Commit(commit) = entry
                        && stands
                    {
                        let taken: i64 = commit.inputs.iter().map(|range| range.to - range.from).sum();
                        *minutes.entry(commit.now.div_euclid(MINUTE_MS)).or_default() += taken.max(0) as u64;
                    }
                }
            }
        }
    }
    Ok(minutes)
}
