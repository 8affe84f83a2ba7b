//! Log lines of ours go to the collector, too: what the code says with `tracing`, without what people have sent.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use runtime::deadletter::plain::plain;
use runtime::env::Env;
use tracing::field::{Field, Visit};
use tracing::{Event, Id, Level, Metadata, Subscriber, span};

use super::{Fact, Inlet};

/// Crates whose lines are told. An exporter that told of its own clients would feed itself.
const TOLD: [&str; 4] = ["bulkhead", "runtime", "actors", "schemas"];

/// One line.
#[derive(Debug)]
pub(super) struct Line {
    level: Level,
    target: &'static str,
    text: String,
    fields: Vec<(&'static str, String)>,
    at_ms: i64,
}

/// Listens to the process's lines; the first of a process does.
pub(super) fn listen(env: &Env, inlet: Inlet) {
    // A second one in the same process (tests) leaves the lines to the first.
    let _ = tracing::subscriber::set_global_default(Listener { env: env.clone(), inlet });
}

struct Listener {
    env: Env,
    inlet: Inlet,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let room = metadata.target().split("::").next().unwrap_or_default();
        metadata.is_event() && *metadata.level() <= Level::INFO && TOLD.contains(&room)
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let at_ms = self.env.clock.wall_ms();
        let mut line =
            Line { level: *metadata.level(), target: metadata.target(), text: String::new(), fields: vec![], at_ms };
        event.record(&mut line);
        self.inlet.tell(Fact::Log(line));
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        // Errors quote their input.
        let value = plain(value, &[]);
        match field.name() {
            "message" => self.text = value,
            name => self.fields.push((name, value)),
        }
    }
}

/// Makes the SDK's records, which only its own logger hands out.
pub(super) struct Gathered {
    logger: SdkLogger,
    records: Records,
    _provider: SdkLoggerProvider,
}

type Records = Arc<Mutex<Vec<(SdkLogRecord, InstrumentationScope)>>>;

#[derive(Debug)]
struct Gatherer(Records);

impl LogProcessor for Gatherer {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((record.clone(), scope.clone()));
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
}

impl Default for Gathered {
    fn default() -> Self {
        let records = Records::default();
        let provider = SdkLoggerProvider::builder().with_log_processor(Gatherer(records.clone())).build();
        Self { logger: provider.logger("bulkhead"), records, _provider: provider }
    }
}

impl Gathered {
    pub(super) fn records(&self, lines: Vec<Line>) -> Vec<(SdkLogRecord, InstrumentationScope)> {
        for line in lines {
            let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(line.at_ms).unwrap_or_default());
            let mut record = self.logger.create_log_record();
            record.set_timestamp(at);
            record.set_observed_timestamp(at);
            record.set_target(line.target);
            record.set_severity_number(severity(line.level));
            record.set_severity_text(line.level.as_str());
            record.set_body(AnyValue::from(line.text));
            record.add_attributes(line.fields);
            self.logger.emit(record);
        }
        std::mem::take(&mut *self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}
