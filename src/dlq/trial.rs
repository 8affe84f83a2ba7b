//! What a replay would come to, with nothing written: each letter's service folds it on a copy of its state.

use std::collections::BTreeMap;

use runtime::deadletter::ReplayOf;
use runtime::log::{Log, Record};
use runtime::service::ServiceDef;
use runtime::shard::{Preview, Previewed};
use serde::Serialize;

use super::job::{self, Order};
use super::letters;
use super::shelf::{Shelf, State};
use super::value::Schemas;
use super::{DlqError, OwnedLetter};

/// What would come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// `scanned = would_succeed + would_be_duplicates + would_fail + skipped + failed`.
    pub scanned: u64,
    pub would_succeed: u64,
    pub would_be_duplicates: u64,
    pub would_fail: u64,
    /// Not open any more.
    pub skipped: u64,
    /// Could not be edited.
    pub failed: u64,
    /// Events that would be published, by topic.
    pub outputs: BTreeMap<&'static str, u64>,
    pub failures: Vec<Failures>,
}

/// Letters that would fail in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failures {
    pub service: String,
    pub code: String,
    pub message: String,
    pub count: u64,
    /// One of them.
    pub sample: String,
}

/// Tries every selected open letter.
///
/// # Errors
/// A topic or a state cannot be read, or a letter is of no service of this program.
pub fn trial(
    log: &dyn Log,
    schemas: &Schemas,
    services: &[ServiceDef],
    order: &Order,
    now_ms: i64,
) -> Result<Trial, DlqError> {
    let shelf = Shelf::read(log)?;
    let mut copies: BTreeMap<(String, u32), Preview> = BTreeMap::new();
    let mut trial = Trial::default();
    letters::each(log, |letter| {
        if !order.selection.matches(&letter, schemas) {
            return Ok(());
        }
        trial.scanned += 1;
        if shelf.state(&letter) != State::Open {
            trial.skipped += 1;
            return Ok(());
        }
        let edited = match job::edited(schemas, &letter, &order.set) {
            Ok(edited) => edited,
            Err(what) => {
                trial.failed += 1;
                trial.note(&letter, "EDIT", &what);
                return Ok(());
            }
        };
        let mut scratch = Vec::new();
        let value = match &edited {
            Some(value) => Ok(value.as_slice()),
            None => schemas.own(&letter, &mut scratch),
        };
        let value = match value {
            Ok(value) => value,
            Err(failure) => {
                trial.would_fail += 1;
                trial.note(&letter, failure.reason().code, &failure.reason().message);
                return Ok(());
            }
        };
        let service = &letter.event.service;
        let def = services.iter().find(|def| def.spec.name == service.as_str());
        let def = def.ok_or_else(|| DlqError::NoService(service.clone()))?;
        let topic = def.spec.inputs.iter().find(|topic| topic.name == letter.event.topic);
        let topic = topic.ok_or_else(|| DlqError::NoService(format!("{service} reading {}", letter.event.topic)))?;
        let partition = letter.event.partition;
        let key = (service.clone(), partition);
        if !copies.contains_key(&key) {
            let error = |error| DlqError::Trial { service: service.clone(), partition, error };
            copies.insert(key.clone(), Preview::of(log, def, partition, now_ms).map_err(error)?);
        }
        let Some(copy) = copies.get_mut(&key) else { return Ok(()) };
        let of = ReplayOf {
            topic: &letter.event.topic,
            partition,
            offset: letter.event.offset,
            n: letter.replays + 1,
            first_failed_ms: letter.first_failed_ms,
            job: "trial",
        };
        let record = Record {
            offset: letter.event.offset,
            timestamp_ms: letter.timestamp_ms,
            key: Some(&letter.key),
            value: Some(value),
            headers: letter.headers(),
        };
        match copy.attempt(topic, &of, &record) {
            Previewed::Done(outputs) => {
                trial.would_succeed += 1;
                outputs.into_iter().for_each(|(topic, count)| *trial.outputs.entry(topic).or_default() += count);
            }
            Previewed::Duplicate => trial.would_be_duplicates += 1,
            Previewed::Failed(failure) => {
                trial.would_fail += 1;
                trial.note(&letter, failure.reason().code, &failure.reason().message);
            }
            Previewed::Panicked(message) => {
                trial.would_fail += 1;
                trial.note(&letter, "POISON", &message);
            }
        }
        Ok(())
    })?;
    trial.failures.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.sample.cmp(&b.sample)));
    let Trial { scanned, would_succeed, would_be_duplicates, would_fail, skipped, failed, .. } = trial;
    assert!(scanned == would_succeed + would_be_duplicates + would_fail + skipped + failed, "{trial:?}");
    Ok(trial)
}

impl Trial {
    fn note(&mut self, letter: &OwnedLetter, code: &str, message: &str) {
        let message = runtime::deadletter::plain::plain(message, &letter.key);
        let service = &letter.event.service;
        let same = |f: &&mut Failures| f.service == *service && f.code == code && f.message == message;
        match self.failures.iter_mut().find(same) {
            Some(known) => known.count += 1,
            None => self.failures.push(Failures {
                service: service.clone(),
                code: code.to_owned(),
                message,
                count: 1,
                sample: letter.id.to_string(),
            }),
        }
    }
}
