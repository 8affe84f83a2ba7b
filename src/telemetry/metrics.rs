//! The counters of `/metrics`, by OTLP: read when they go out, never where they are counted.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, MeterProvider as _};
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use runtime::platform::Bulkhead;
use runtime::stats::ServiceStats;
use tokio::runtime::Handle;

use super::export::{TIMEOUT, address, refused, resource};
use super::{Counters, TelemetryConfig, TelemetryError, names};

/// Instruments, and their way out.
pub(super) struct Meters {
    meter: Meter,
    provider: SdkMeterProvider,
}

impl Meters {
    pub(super) fn new(
        endpoint: &str,
        config: &TelemetryConfig,
        instance: &str,
        runtime: &Handle,
        counters: &Arc<Counters>,
    ) -> Result<Self, TelemetryError> {
        let address = address(endpoint, config.grpc, "metrics");
        let exporter = if config.grpc {
            MetricExporter::builder().with_tonic().with_endpoint(address).with_timeout(TIMEOUT).build()
        } else {
            let builder = MetricExporter::builder().with_http().with_endpoint(address).with_timeout(TIMEOUT);
            builder.with_protocol(Protocol::HttpBinary).build()
        };
        let exporter =
            Entered { inner: exporter.map_err(refused)?, runtime: runtime.clone(), counters: counters.clone() };
        let reader = PeriodicReader::builder(exporter).with_interval(config.metrics_interval).build();
        let provider = SdkMeterProvider::builder().with_resource(resource(instance)).with_reader(reader).build();
        let meter = provider.meter("bulkhead");
        let counters = counters.clone();
        meter
            .u64_observable_counter(names::DROPPED)
            .with_description("Facts for which there was no room.")
            .with_callback(move |seen| seen.observe(counters.dropped.load(Ordering::Relaxed), &[]))
            .build();
        Ok(Self { meter, provider })
    }

    /// How long batches take. Seconds want bounds of their own: the SDK's are for milliseconds.
    pub(super) fn process_duration(&self) -> Histogram<f64> {
        self.meter
            .f64_histogram(names::PROCESS_DURATION)
            .with_unit("s")
            .with_description("Time from the first event of a batch to its commit.")
            .with_boundaries(names::DURATION_BOUNDS_S.to_vec())
            .build()
    }

    pub(super) fn observe(&self, bulkheads: &[Bulkhead]) {
        type Read = fn(&ServiceStats) -> &AtomicU64;
        let all: Vec<(&'static str, Arc<ServiceStats>)> =
            bulkheads.iter().map(|bulkhead| (bulkhead.spec.name, bulkhead.stats.clone())).collect();
        let counted: [(&'static str, &'static str, Read); 4] = [
            (names::CONSUMED_MESSAGES, "Events delivered.", |stats| &stats.read),
            (names::RESTARTS, "Shards started again.", |stats| &stats.restarts),
            (names::RETRIES, "Attempts after the first.", |stats| &stats.retried),
            (names::COMMITS, "Commits.", |stats| &stats.commits),
        ];
        for (name, help, read) in counted {
            let all = all.clone();
            self.meter
                .u64_observable_counter(name)
                .with_description(help)
                .with_callback(move |seen| {
                    for (service, stats) in &all {
                        seen.observe(read(stats).load(Ordering::Relaxed), &[KeyValue::new(names::SERVICE, *service)]);
                    }
                })
                .build();
        }
        let outcomes = all.clone();
        self.meter
            .u64_observable_counter(names::EVENTS)
            .with_description("Events that ended, by how.")
            .with_callback(move |seen| {
                for (service, stats) in &outcomes {
                    let tally = stats.tally();
                    let ended =
                        [("done", tally.done), ("duplicate", tally.duplicates), ("dead_lettered", tally.dead_lettered)];
                    for (outcome, count) in ended {
                        let by = [KeyValue::new(names::SERVICE, *service), KeyValue::new(names::OUTCOME, outcome)];
                        seen.observe(count, &by);
                    }
                }
            })
            .build();
        self.meter
            .i64_observable_gauge(names::QUEUE_BYTES)
            .with_unit("By")
            .with_description("Bytes fetched and not settled.")
            .with_callback(move |seen| {
                for (service, stats) in &all {
                    let bytes = stats.queue_bytes.load(Ordering::Relaxed).max(0);
                    seen.observe(bytes, &[KeyValue::new(names::SERVICE, *service)]);
                }
            })
            .build();
    }
}

impl Drop for Meters {
    fn drop(&mut self) {
        let _ = self.provider.shutdown_with_timeout(Duration::from_millis(500));
    }
}

/// The reader's thread is none of tokio's, and the clients need a reactor: it is entered at every poll.
struct Entered {
    inner: MetricExporter,
    runtime: Handle,
    counters: Arc<Counters>,
}

impl PushMetricExporter for Entered {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let sent = InRuntime { future: Box::pin(self.inner.export(metrics)), runtime: &self.runtime }.await;
        if sent.is_err() {
            self.counters.failures.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }
    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }
    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

struct InRuntime<'a, F> {
    future: Pin<Box<F>>,
    runtime: &'a Handle,
}

impl<F: Future> Future for InRuntime<'_, F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = self.runtime.enter();
        pin!(&mut self.future).poll(context)
    }
}
