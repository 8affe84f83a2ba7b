//! What is asked and done about dead letters, as documents: the command line puts them to a directory at rest or to the admin
//! listener of a process that runs, and both answer through these functions.

use std::sync::Arc;

use runtime::env::Env;
use runtime::log::Log;
use runtime::platform::Platform;
use runtime::service::ServiceDef;
use runtime::trace::TraceId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::groups::{self, Group};
use super::job::{self, Job, Order, Runner};
use super::trial;
use super::value::{self, Schemas, hex, readable};
use super::{DlqError, OwnedLetter, Selection, Shelf, State, letters};

/// Letters or groups answered where no other number is asked for.
pub const SHOWN: usize = 100;

/// Which letters are asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    pub selection: Selection,
    /// Letters that were brought back or put away as well.
    pub all: bool,
    /// Of the answer at most; [`SHOWN`] where it is not stated.
    pub lines: Option<usize>,
    /// One letter, for `show`; without it the newest open one.
    pub letter: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// Of a new job.
    pub order: Order,
    /// Say what would happen; write nothing.
    pub dry_run: bool,
    /// Go on with this job, or end it.
    pub job: Option<String>,
    /// For what is no job's order: why, and who.
    pub reason: String,
    pub actor: String,
}

/// The document of that name: `letters`, `groups`, `show`, `export` or `jobs`; `None` where there is no such document. An export
/// of more than `export_max_bytes` is refused.
///
/// # Errors
/// A topic cannot be read, there is no such letter, or the export is too long.
pub fn answer(
    log: &dyn Log,
    schemas: &Schemas,
    what: &str,
    question: &Question,
    export_max_bytes: usize,
) -> Result<Option<Value>, DlqError> {
    Ok(Some(match what {
        "letters" => list(log, schemas, question)?,
        "groups" => {
            let (groups, letters) = groups(log, schemas, question)?;
            json!({ "groups": groups, "letters": letters })
        }
        "show" => show(log, schemas, question)?,
        "export" => {
            let (mut letters, mut bytes) = (Vec::new(), 0);
            export(log, schemas, question, |letter| {
                bytes += letter.to_string().len();
                letters.push(letter.clone());
                let narrow = || DlqError::Selection(format!("more than {export_max_bytes} bytes; narrow it down"));
                if bytes > export_max_bytes { Err(narrow()) } else { Ok(()) }
            })?;
            json!({ "letters": letters })
        }
        "jobs" => json!({ "jobs": job::jobs(log)? }),
        _ => return Ok(None),
    }))
}

/// Letters with their number, by topic, partition and offset.
///
/// # Errors
/// A topic cannot be read.
pub fn list(log: &dyn Log, schemas: &Schemas, question: &Question) -> Result<Value, DlqError> {
    let (mut found, mut count) = (Vec::new(), 0u64);
    let lines = question.lines.unwrap_or(SHOWN);
    each(log, schemas, question, |letter, state| {
        count += 1;
        if found.len() < lines {
            found.push(summary(&letter, state));
        }
        Ok(())
    })?;
    Ok(json!({ "letters": found, "count": count }))
}

/// Groups, the greatest first, with the number of open letters in all of them.
///
/// # Errors
/// A topic cannot be read.
pub fn groups(log: &dyn Log, schemas: &Schemas, question: &Question) -> Result<(Vec<Group>, u64), DlqError> {
    let mut groups = groups::groups(log, schemas, &question.selection, question.all)?;
    let letters = groups.iter().map(|group| group.count).sum();
    groups.truncate(question.lines.unwrap_or(SHOWN));
    Ok((groups, letters))
}

/// One letter, all of it.
///
/// # Errors
/// There is none.
pub fn show(log: &dyn Log, schemas: &Schemas, question: &Question) -> Result<Value, DlqError> {
    let (shelf, id) = (Shelf::read(log)?, question.letter.as_deref());
    let mut found: Option<OwnedLetter> = None;
    letters::each(log, |letter| {
        let is_newer = || found.as_ref().is_none_or(|found| letter.last_failed_ms >= found.last_failed_ms);
        let is_wanted = match id {
            Some(id) => letter.id.to_string() == id,
            None => shelf.state(&letter) == State::Open && is_newer(),
        };
        if is_wanted {
            found = Some(letter);
        }
        Ok(())
    })?;
    let letter = found.ok_or_else(|| DlqError::NoLetter(id.unwrap_or("is open").to_owned()))?;
    Ok(document(&letter, shelf.state(&letter), schemas))
}

/// Every selected letter with everything in it.
///
/// # Errors
/// A topic cannot be read, or `take` says no.
pub fn export(
    log: &dyn Log,
    schemas: &Schemas,
    question: &Question,
    mut take: impl FnMut(&Value) -> Result<(), DlqError>,
) -> Result<(), DlqError> {
    each(log, schemas, question, |letter, state| take(&document(&letter, state, schemas)))
}

fn each(
    log: &dyn Log,
    schemas: &Schemas,
    question: &Question,
    mut visit: impl FnMut(OwnedLetter, State) -> Result<(), DlqError>,
) -> Result<(), DlqError> {
    let shelf = Shelf::read(log)?;
    letters::each(log, |letter| {
        let state = shelf.state(&letter);
        if (question.all || state == State::Open) && question.selection.matches(&letter, schemas) {
            visit(letter, state)?;
        }
        Ok(())
    })
}

/// What a replay would come to, on copies of the states.
///
/// # Errors
/// A topic or a state cannot be read; a letter is of a service that this program does not have.
pub fn dry_run(
    log: &dyn Log,
    schemas: &Schemas,
    services: &[ServiceDef],
    order: &Order,
    now_ms: i64,
) -> Result<Value, DlqError> {
    let trial = trial::trial(log, schemas, services, order, now_ms)?;
    let mut document = serde_json::to_value(trial).map_err(|error| DlqError::Selection(error.to_string()))?;
    document["dry_run"] = json!(true);
    Ok(document)
}

/// Services that have set aside what is selected.
///
/// # Errors
/// A topic cannot be read, or one of them is not in `catalogue`: nobody could take its letters back.
pub fn services_of(
    log: &dyn Log,
    schemas: &Schemas,
    selection: &Selection,
    catalogue: &[ServiceDef],
) -> Result<Vec<String>, DlqError> {
    let mut services = std::collections::BTreeSet::new();
    letters::each(log, |letter| {
        if !services.contains(&letter.event.service) && selection.matches(&letter, schemas) {
            services.insert(letter.event.service);
        }
        Ok(())
    })?;
    match services.iter().find(|name| !catalogue.iter().any(|def| def.spec.name == name.as_str())) {
        Some(gone) => Err(DlqError::NoService(gone.clone())),
        None => Ok(services.into_iter().collect()),
    }
}

/// Starts a job, or goes on with one, and runs it as far as it goes.
///
/// # Errors
/// As [`Runner::start`] and [`Runner::resume`].
pub async fn run(
    env: &Env,
    log: &Arc<dyn Log>,
    schemas: &Schemas,
    platform: Option<&Platform>,
    change: &Change,
    progress: &(dyn Fn(&Job) + Sync),
) -> Result<Job, DlqError> {
    let runner = Runner { env, log, schemas, platform, progress };
    match &change.job {
        Some(name) => runner.resume(name, &change.actor).await,
        None => runner.start(change.order.clone()).await,
    }
}

/// Lets a service go on that pauses because too much of a topic fails: for ten minutes everything that fails is set aside.
///
/// # Errors
/// There is no such service, or the audit cannot be written: then nothing was released.
pub async fn release(env: &Env, log: &dyn Log, platform: &Platform, change: &Change) -> Result<Job, DlqError> {
    let name = change.order.selection.service.as_deref().unwrap_or_default();
    let bulkhead = platform.bulkhead(name).ok_or_else(|| DlqError::NoService(name.to_owned()))?;
    let noted = job::note_release(env, log, &change.order).await?;
    bulkhead.flood.release(env.clock.mono_us());
    Ok(noted)
}

/// What a letter says, without its record.
pub fn summary(letter: &OwnedLetter, state: State) -> Value {
    json!({
        "id": letter.id.to_string(),
        "state": state,
        "service": letter.event.service,
        "version": letter.version,
        "topic": letter.event.topic,
        "partition": letter.event.partition,
        "offset": letter.event.offset,
        "timestamp_ms": letter.timestamp_ms,
        "key": readable(&letter.key),
        "bytes": letter.value.as_ref().map(Vec::len),
        "class": letter.class,
        "code": letter.code,
        "message": letter.message,
        "field": letter.field,
        "fingerprint": letter.fingerprint,
        "stage": letter.stage,
        "attempts": letter.attempts,
        "first_failed_ms": letter.first_failed_ms,
        "last_failed_ms": letter.last_failed_ms,
        "replays": letter.replays,
        "job": letter.job,
        "trace": letter.trace,
    })
}

/// Summary, decoded record, headers and bytes.
fn document(letter: &OwnedLetter, state: State, schemas: &Schemas) -> Value {
    let mut document = summary(letter, state);
    let headers = letter.headers().filter_map(Result::ok);
    let headers: Vec<Value> = headers
        .map(|(name, value)| json!({ "name": readable(name), "value": readable(value.unwrap_or_default()) }))
        .collect();
    let (schema, record, error, trace) = match schemas.read(letter) {
        Ok(decoded) => {
            let record = decoded.json();
            (json!(decoded.name), record.clone(), Value::Null, trace(&record))
        }
        Err(error) => (Value::Null, Value::Null, json!(error), None),
    };
    let more = json!({
        "schema": schema,
        "record": record,
        "decode_error": error,
        "headers": headers,
        "key_hex": hex(&letter.key),
        "value_hex": letter.value.as_deref().map(hex),
    });
    if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
        document.extend(more);
        if let Some(trace) = trace.filter(|_| letter.trace.is_none()) {
            document.insert("trace".into(), json!(trace));
        }
    }
    document
}

/// The trace of an event is a function of its auction, whether it was sampled or not.
fn trace(record: &Value) -> Option<String> {
    let auction = record.get("auction_id").or_else(|| value::at(record, "metadata.auction_id"))?;
    Some(hex(&TraceId::of_auction(auction.as_str()?).0))
}
