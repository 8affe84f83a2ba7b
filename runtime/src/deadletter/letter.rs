//! The record of a dead letter: what we know in front, then the event's own headers as they came.
//!
//! Spring's names with Spring's encodings (partition as four bytes, offset and timestamp as eight, big-endian), so that
//! tools that know them find their way, and ours as text. `bh-headers` ends ours and says how many of the event's follow.

use schemas::frame::{VALUE_HEADER, Writer, split_headed};

use super::plain::plain;
use super::replay::ReplayOf;
use super::{fingerprint, replay};
use crate::log::{CorruptBatch, Headers, Offset, Record};
use crate::outcome::Reason;
use crate::trace::TraceId;

/// Last of our headers: how many headers of the event follow.
const END: &[u8] = b"bh-headers";
/// Version of the program that gave up.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where in its way an event failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The bytes do not follow their schema.
    Decode,
    /// The event contradicts the rules.
    Validate,
    /// The fold could not end it.
    Process,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Validate => "validate",
            Self::Process => "process",
        }
    }

    fn of(class: &str, code: &str) -> Self {
        match (class, code) {
            (_, "SCHEMA_VIOLATION" | replay::MALFORMED) => Self::Decode,
            ("PERMANENT" | "EXPIRED", _) => Self::Validate,
            _ => Self::Process,
        }
    }
}

/// How an event failed.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    pub class: &'a str,
    pub reason: &'a Reason,
    /// Attempts made, this time.
    pub attempts: u32,
    /// Wall time of the first failure and of the last one.
    pub first_ms: i64,
    pub last_ms: i64,
}

/// Our headers of one dead letter, to be written in front of the event's own.
pub struct Written {
    headers: Vec<(&'static [u8], Vec<u8>)>,
}

/// What we know of an event that `service` gives up: `topic`, `partition` and `record` are where the event came from, also
/// when it came again as a replay.
pub fn write(
    service: &str,
    topic: &str,
    partition: u32,
    record: &Record<'_>,
    replay: Option<&ReplayOf<'_>>,
    failed: &Failed<'_>,
    trace: Option<TraceId>,
) -> Written {
    let Failed { class, reason, .. } = *failed;
    let message = plain(&reason.message, record.key.unwrap_or_default());
    let group = fingerprint(service, topic, class, reason.code, reason.field, &message);
    let text = |value: &str| value.as_bytes().to_vec();
    let mut headers: Vec<(&'static [u8], Vec<u8>)> = vec![
        (b"bh-service", text(service)),
        (b"bh-version", text(VERSION)),
        (b"bh-topic", text(topic)),
        (b"bh-partition", text(&partition.to_string())),
        (b"bh-offset", text(&record.offset.to_string())),
        (b"bh-class", text(class)),
        (b"bh-code", text(reason.code)),
        (b"bh-message", text(&message)),
        (b"bh-fingerprint", text(&group)),
        (b"bh-stage", text(Stage::of(class, reason.code).name())),
        (b"bh-attempts", text(&failed.attempts.to_string())),
        (b"bh-first-failed-at", text(&failed.first_ms.to_string())),
        (b"bh-last-failed-at", text(&failed.last_ms.to_string())),
    ];
    headers.extend(reason.field.map(|field| (&b"bh-field"[..], text(field))));
    let named = record.headers.get(VALUE_HEADER.as_bytes());
    if let Some(Ok((Writer::Id(id), _))) = record.value.map(|value| split_headed(named, value)) {
        headers.push((b"bh-schema-id", text(&id.to_string())));
    }
    headers.extend(trace.map(|trace| (&b"bh-trace"[..], trace.to_hex().into_bytes())));
    if let Some(replay) = replay {
        headers.push((b"bh-replays", text(&replay.n.to_string())));
        headers.push((b"bh-job", text(replay.job)));
    }
    headers.extend([
        (&b"kafka_dlt-original-topic"[..], text(topic)),
        (b"kafka_dlt-original-partition", (partition as i32).to_be_bytes().to_vec()),
        (b"kafka_dlt-original-offset", record.offset.to_be_bytes().to_vec()),
        (b"kafka_dlt-original-timestamp", record.timestamp_ms.to_be_bytes().to_vec()),
        (b"kafka_dlt-original-timestamp-type", text("CreateTime")),
        (b"kafka_dlt-original-consumer-group", text(service)),
        (b"kafka_dlt-exception-fqcn", text(&format!("bulkhead.{class}.{}", reason.code))),
        (b"kafka_dlt-exception-message", text(&message)),
        (END, text(&record.headers.len().to_string())),
    ]);
    Written { headers }
}

impl Written {
    /// Ours, then the event's own.
    ///
    /// # Errors
    /// The event's headers cannot be read.
    pub fn with<'a>(&'a self, own: Headers<'a>) -> Result<Vec<(&'a [u8], &'a [u8])>, CorruptBatch> {
        let mut all: Vec<(&[u8], &[u8])> = self.headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        for header in own {
            let (name, value) = header?;
            all.push((name, value.unwrap_or_default()));
        }
        Ok(all)
    }
}

/// A dead letter as it is read.
#[derive(Clone, Debug)]
pub struct Letter<'a> {
    pub service: &'a str,
    pub version: &'a str,
    /// Where the event came from.
    pub topic: &'a str,
    pub partition: u32,
    pub offset: Offset,
    pub class: &'a str,
    pub code: &'a str,
    pub message: &'a str,
    pub field: Option<&'a str>,
    pub fingerprint: &'a str,
    pub stage: &'a str,
    pub attempts: u32,
    pub first_failed_ms: i64,
    pub last_failed_ms: i64,
    pub schema_id: Option<u32>,
    pub trace: Option<&'a str>,
    /// Times it had been replayed before it failed this time, and by which job the last time.
    pub replays: u32,
    pub job: Option<&'a str>,
    /// The event's own headers.
    pub headers: Headers<'a>,
}

impl<'a> Letter<'a> {
    /// Reads the headers of a record of a dead letter topic; `None` for what is no dead letter of a service.
    pub fn of(record: &Record<'a>) -> Option<Self> {
        let mut letter = Self {
            service: "",
            version: "",
            topic: "",
            partition: 0,
            offset: -1,
            class: "",
            code: "",
            message: "",
            field: None,
            fingerprint: "",
            stage: "",
            attempts: 0,
            first_failed_ms: 0,
            last_failed_ms: 0,
            schema_id: None,
            trace: None,
            replays: 0,
            job: None,
            headers: record.headers,
        };
        while let Some(header) = letter.headers.next() {
            let (name, value) = header.ok()?;
            if name.starts_with(b"kafka_dlt-") || !name.starts_with(b"bh-") {
                continue;
            }
            let text = std::str::from_utf8(value.unwrap_or_default()).ok()?;
            match name {
                b"bh-service" => letter.service = text,
                b"bh-version" => letter.version = text,
                b"bh-topic" => letter.topic = text,
                b"bh-partition" => letter.partition = text.parse().ok()?,
                b"bh-offset" => letter.offset = text.parse().ok()?,
                b"bh-class" => letter.class = text,
                b"bh-code" => letter.code = text,
                b"bh-message" => letter.message = text,
                b"bh-field" => letter.field = Some(text),
                b"bh-fingerprint" => letter.fingerprint = text,
                b"bh-stage" => letter.stage = text,
                b"bh-attempts" => letter.attempts = text.parse().ok()?,
                b"bh-first-failed-at" => letter.first_failed_ms = text.parse().ok()?,
                b"bh-last-failed-at" => letter.last_failed_ms = text.parse().ok()?,
                b"bh-schema-id" => letter.schema_id = text.parse().ok(),
                b"bh-trace" => letter.trace = Some(text),
                b"bh-replays" => letter.replays = text.parse().ok()?,
                b"bh-job" => letter.job = Some(text),
                END => {
                    let own: usize = text.parse().ok()?;
                    return (own == letter.headers.len() && !letter.service.is_empty() && letter.offset >= 0)
                        .then_some(letter);
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::Compression;
    use crate::log::{Batch, BatchBuilder};

    /// Header names and values of an event that tries to look like one of ours.
    const OWN: [(&[u8], &[u8]); 4] =
        [(b"bh", b"provenance"), (b"bh-code", b"FORGED"), (b"traceparent", b"x"), (b"bh-headers", b"9")];

    fn batch(headers: &[(&[u8], &[u8])]) -> bytes::Bytes {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(5, Some(b"key"), Some(b"\0\0\0\0\x07value"), headers).unwrap();
        builder.finish()
    }

    #[test]
    fn what_is_written_is_read_and_the_event_s_own_headers_are_untouched() {
        let event = batch(&OWN);
        let mut scratch = Vec::new();
        let record = Batch::parse(&event).unwrap().0.records(&mut scratch).unwrap().next().unwrap().unwrap();
        let reason = Reason { field: Some("price"), ..Reason::new("SEMANTIC_VIOLATION", "price of key is 7") };
        let failed = Failed { class: "PERMANENT", reason: &reason, attempts: 3, first_ms: 10, last_ms: 20 };
        let replay = ReplayOf { topic: "clicks", partition: 2, offset: 99, n: 1, first_failed_ms: 10, job: "j1" };
        let trace = TraceId::of_auction("a");
        let written =
            write("billing", "clicks", 2, &Record { offset: 99, ..record }, Some(&replay), &failed, Some(trace));
        let headers = written.with(record.headers).unwrap();
        let letter = batch(&headers);
        let mut scratch = Vec::new();
        let record = Batch::parse(&letter).unwrap().0.records(&mut scratch).unwrap().next().unwrap().unwrap();
        let read = Letter::of(&record).unwrap();
        assert_eq!((read.service, read.topic, read.partition, read.offset), ("billing", "clicks", 2, 99));
        assert_eq!((read.class, read.code, read.stage), ("PERMANENT", "SEMANTIC_VIOLATION", "validate"));
        assert_eq!((read.message, read.field), ("price of … is 7", Some("price")));
        assert_eq!((read.attempts, read.first_failed_ms, read.last_failed_ms), (3, 10, 20));
        assert_eq!((read.replays, read.job, read.schema_id), (1, Some("j1"), Some(7)));
        assert_eq!(record.headers.get(b"bh-trace"), Some(trace.to_hex().as_bytes()));
        let own: Vec<_> = read.headers.map(|header| header.unwrap()).map(|(n, v)| (n, v.unwrap())).collect();
        assert_eq!(own, OWN);
        // As Spring's readers expect them.
        let spring = |name: &str| record.headers.get(format!("kafka_dlt-original-{name}").as_bytes()).unwrap();
        assert_eq!((spring("partition"), spring("offset")), (&2i32.to_be_bytes()[..], &99i64.to_be_bytes()[..]));
        assert_eq!((spring("topic"), spring("consumer-group")), (&b"clicks"[..], &b"billing"[..]));
        assert_eq!(spring("timestamp"), 5i64.to_be_bytes());
    }

    #[test]
    fn what_is_no_dead_letter_is_none() {
        for headers in [&OWN[..], &[], &[(b"bh-service", b"x")], &[(b"bh-service", b"x"), (b"bh-offset", b"n")]] {
            let event = batch(headers);
            let mut scratch = Vec::new();
            let record = Batch::parse(&event).unwrap().0.records(&mut scratch).unwrap().next().unwrap().unwrap();
            assert!(Letter::of(&record).is_none());
        }
    }
}
