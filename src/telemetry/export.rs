//! Sends what waits, batch by batch. A collector that is away, slow or refusing costs a failed export and nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry::metrics::Histogram;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{LogExporter, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::LogExporter as _;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use runtime::env::Env;
use tokio::sync::mpsc;

use super::{Counters, Fact, TelemetryError, logs, names, spans};

/// Facts of one export at most.
const FACTS: usize = 512;
/// What comes within this goes out together.
const GATHER: Duration = Duration::from_millis(200);
/// An export may take this long.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// Who sends.
pub(super) fn resource(instance: &str) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new(names::SERVICE_NAME, "bulkhead"),
            KeyValue::new(names::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
            KeyValue::new(names::SERVICE_INSTANCE_ID, instance.to_owned()),
        ])
        .build()
}

/// An address of a signal: HTTP has a path each, gRPC none.
pub(super) fn address(endpoint: &str, grpc: bool, signal: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if grpc { endpoint.to_owned() } else { format!("{endpoint}/v1/{signal}") }
}

/// As an error of the configuration.
pub(super) fn refused(error: impl std::fmt::Display) -> TelemetryError {
    TelemetryError::Endpoint(error.to_string())
}

pub(super) struct Exporter {
    env: Env,
    instance: String,
    scope: InstrumentationScope,
    spans: SpanExporter,
    logs: LogExporter,
    gathered: logs::Gathered,
    counters: Arc<Counters>,
}

impl Exporter {
    pub(super) fn new(
        env: &Env,
        endpoint: &str,
        grpc: bool,
        instance: &str,
        counters: Arc<Counters>,
    ) -> Result<Self, TelemetryError> {
        let (traces, lines) = (address(endpoint, grpc, "traces"), address(endpoint, grpc, "logs"));
        let (spans, logs) = if grpc {
            let spans = SpanExporter::builder().with_tonic().with_endpoint(traces).with_timeout(TIMEOUT);
            let logs = LogExporter::builder().with_tonic().with_endpoint(lines).with_timeout(TIMEOUT);
            (spans.build(), logs.build())
        } else {
            let spans = SpanExporter::builder().with_http().with_endpoint(traces).with_timeout(TIMEOUT);
            let logs = LogExporter::builder().with_http().with_endpoint(lines).with_timeout(TIMEOUT);
            let binary = Protocol::HttpBinary;
            (spans.with_protocol(binary).build(), logs.with_protocol(binary).build())
        };
        let (mut spans, mut logs) = (spans.map_err(refused)?, logs.map_err(refused)?);
        spans.set_resource(&resource(instance));
        logs.set_resource(&resource(instance));
        let scope = InstrumentationScope::builder("bulkhead").with_version(env!("CARGO_PKG_VERSION")).build();
        let (env, instance) = (env.clone(), instance.to_owned());
        Ok(Self { env, instance, scope, spans, logs, gathered: logs::Gathered::default(), counters })
    }

    /// Until nobody tells anything any more.
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<Fact>, durations: Histogram<f64>) {
        let mut facts = Vec::with_capacity(FACTS);
        while waiting.recv_many(&mut facts, FACTS).await > 0 {
            let sizes: Vec<usize> = facts.iter().map(Fact::spans).collect();
            let (mut spans, mut lines) = (Vec::new(), Vec::new());
            for fact in facts.drain(..) {
                match fact {
                    Fact::Batch(batch) => {
                        let took_us = batch.ended_us.saturating_sub(batch.started_us);
                        durations.record(took_us as f64 / 1e6, &[KeyValue::new(names::SERVICE, batch.service)]);
                        spans::of_batch(&batch, &self.instance, &self.scope, &mut spans);
                    }
                    Fact::Request(request) => spans.extend(spans::of_request(&request, &self.scope)),
                    Fact::Restart(restart) => spans.push(spans::of_restart(&restart, &self.scope)),
                    Fact::Log(line) => lines.push(line),
                }
            }
            self.send_spans(spans).await;
            self.send_logs(lines).await;
            sizes.into_iter().for_each(|size| self.counters.took(size));
            self.env.clock.sleep(GATHER).await;
        }
    }

    async fn send_spans(&self, spans: Vec<SpanData>) {
        if spans.is_empty() {
            return;
        }
        let count = spans.len() as u64;
        let sent = self.env.clock.timeout(TIMEOUT, self.spans.export(spans)).await;
        self.counted(matches!(sent, Some(Ok(()))), &self.counters.spans, count);
    }

    async fn send_logs(&self, lines: Vec<logs::Line>) {
        if lines.is_empty() {
            return;
        }
        let records = self.gathered.records(lines);
        let borrowed: Vec<_> = records.iter().map(|(record, scope)| (record, scope)).collect();
        let batch = opentelemetry_sdk::logs::LogBatch::new(&borrowed);
        let sent = self.env.clock.timeout(TIMEOUT, self.logs.export(batch)).await;
        self.counted(matches!(sent, Some(Ok(()))), &self.counters.logs, records.len() as u64);
    }

    fn counted(&self, is_sent: bool, counter: &std::sync::atomic::AtomicU64, count: u64) {
        let (counter, by) = if is_sent { (counter, count) } else { (&self.counters.failures, 1) };
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
