//! Dead letters, copied out of the log.

use std::fmt;
use std::sync::Arc;

use runtime::deadletter::Letter;
use runtime::log::{Headers, Log, Offset, Record};

use super::DlqError;
use super::walk::{self, Walk};

/// Ends the name of a dead letter topic.
const SUFFIX: &str = "-dlq";

/// Where a letter lies: `impressions-dlq/2/17`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId {
    pub topic: Arc<str>,
    pub partition: u32,
    pub offset: Offset,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// Which event of which service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    pub service: String,
    pub topic: String,
    pub partition: u32,
    pub offset: Offset,
}

/// One letter with everything in it.
#[derive(Clone, Debug)]
pub struct OwnedLetter {
    pub id: LetterId,
    pub event: EventId,
    pub timestamp_ms: i64,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    /// The event's own, as they stand in a record, and how many they are.
    headers: (Vec<u8>, u32),
    pub version: String,
    pub class: String,
    pub code: String,
    pub message: String,
    pub field: Option<String>,
    pub fingerprint: String,
    pub stage: String,
    pub attempts: u32,
    pub first_failed_ms: i64,
    pub last_failed_ms: i64,
    pub trace: Option<String>,
    pub replays: u32,
    pub job: Option<String>,
}

impl OwnedLetter {
    /// `None` for what is no dead letter of a service: lines of an input that were no requests lie there too.
    pub fn of(topic: &Arc<str>, partition: u32, record: &Record<'_>) -> Option<Self> {
        let letter = Letter::of(record)?;
        let (headers, count) = letter.headers.raw();
        Some(Self {
            id: LetterId { topic: topic.clone(), partition, offset: record.offset },
            event: EventId {
                service: letter.service.to_owned(),
                topic: letter.topic.to_owned(),
                partition: letter.partition,
                offset: letter.offset,
            },
            timestamp_ms: record.timestamp_ms,
            key: record.key.unwrap_or_default().to_vec(),
            value: record.value.map(<[u8]>::to_vec),
            headers: (headers.to_vec(), count),
            version: letter.version.to_owned(),
            class: letter.class.to_owned(),
            code: letter.code.to_owned(),
            message: letter.message.to_owned(),
            field: letter.field.map(str::to_owned),
            fingerprint: letter.fingerprint.to_owned(),
            stage: letter.stage.to_owned(),
            attempts: letter.attempts,
            first_failed_ms: letter.first_failed_ms,
            last_failed_ms: letter.last_failed_ms,
            trace: letter.trace.map(str::to_owned),
            replays: letter.replays,
            job: letter.job.map(str::to_owned),
        })
    }
}

impl OwnedLetter {
    /// The event's own headers.
    pub fn headers(&self) -> Headers<'_> {
        Headers::from_raw(&self.headers.0, self.headers.1)
    }
}

/// Dead letter topics, by name.
pub fn topics(log: &dyn Log) -> Vec<String> {
    let names = log.topics().into_iter().map(|(_, config)| config.name.to_string());
    names.filter(|name| name.ends_with(SUFFIX)).collect()
}

/// Every letter of every topic, by topic, partition and offset.
///
/// # Errors
/// As [`Walk::take_next`], and whatever `visit` answers.
pub fn each(log: &dyn Log, mut visit: impl FnMut(OwnedLetter) -> Result<(), DlqError>) -> Result<(), DlqError> {
    topics(log).iter().try_for_each(|topic| walk::each(log, topic, OwnedLetter::of, &mut visit))
}

/// Letters one by one, for who has to stop in between.
pub struct Letters {
    walks: Vec<Walk<OwnedLetter>>,
    at: usize,
}

impl Letters {
    /// All that lie there now.
    ///
    /// # Errors
    /// The log refuses.
    pub fn new(log: &dyn Log) -> Result<Self, DlqError> {
        let mut walks = Vec::new();
        for topic in topics(log) {
            for partition in 0..walk::partitions(log, &topic) {
                walks.push(Walk::new(log, &topic, partition, OwnedLetter::of)?);
            }
        }
        Ok(Self { walks, at: 0 })
    }

    /// The next one.
    ///
    /// # Errors
    /// As [`Walk::take_next`].
    pub fn take_next(&mut self) -> Result<Option<OwnedLetter>, DlqError> {
        while let Some(walk) = self.walks.get_mut(self.at) {
            if let Some(letter) = walk.take_next()? {
                return Ok(Some(letter));
            }
            self.at += 1;
        }
        Ok(None)
    }

    /// Begins again at the first partition, with what has come since.
    ///
    /// # Errors
    /// The log refuses.
    pub fn again(&mut self, log: &dyn Log) -> Result<(), DlqError> {
        self.at = 0;
        self.walks.iter_mut().try_for_each(|walk| walk.extend(log))
    }
}
