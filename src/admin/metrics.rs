//! `/metrics` in Prometheus' text format. Every name stands in docs/metrics.md; a test compares.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use runtime::credit::CreditPool;
use runtime::invariant::Count;
use runtime::platform::Bulkhead;
use runtime::stats::Phase;

use super::health;
use super::state::State;
use crate::edge::Edge;
use crate::edge::stats::Route;
use crate::operate::lag;
use crate::telemetry::Hub;
use crate::usage;

/// Content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Upper bounds of the buckets of times, microseconds and as they are written in seconds.
const BOUNDS: [(u64, &str); 15] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (60_000_000, "60"),
];
const PHASES: [Phase; 3] = [Phase::Before, Phase::InFault, Phase::After];

/// Families one after the other, each with its help and type.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{label}=\"{text}\"");
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// Times in microseconds, as a histogram of seconds. Their sum is known within a hundredth, as each of them is.
    fn times(&mut self, name: &str, label: (&str, &str), times: &Histogram<u64>) {
        let (bucket, all) = (format!("{name}_bucket"), times.len());
        let (mut below, mut from_us) = (0, 0);
        for (us, bound) in BOUNDS {
            below += if from_us < times.max() { times.count_between(from_us + 1, us) } else { 0 };
            from_us = us;
            self.sample(&bucket, &[label, ("le", bound)], below.min(all) as f64);
        }
        self.sample(&bucket, &[label, ("le", "+Inf")], all as f64);
        self.sample(&format!("{name}_sum"), &[label], times.mean() * all as f64 / 1e6);
        self.sample(&format!("{name}_count"), &[label], all as f64);
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn each(&mut self, of: &[Bulkhead], name: &str, kind: &str, help: &str, value: impl Fn(&Bulkhead) -> f64) {
        self.family(name, kind, help);
        for bulkhead in of {
            self.sample(name, &[("service", bulkhead.spec.name)], value(bulkhead));
        }
    }
}

fn count(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

/// The page.
pub fn page(state: &State) -> String {
    let mut page = Page::default();
    let bulkheads = &state.up.platform.bulkheads;
    process(&mut page, state);
    events(&mut page, bulkheads);
    flow(&mut page, bulkheads);
    supervision(&mut page, bulkheads);
    let help = "Groups of dead letters that began to be too much.";
    let alerts = |bulkhead: &Bulkhead| state.alerts(bulkhead.spec.name) as f64;
    page.each(bulkheads, "bulkhead_dead_letter_alerts_total", "counter", help, alerts);
    behind(&mut page, state);
    if let Some(hub) = &state.up.telemetry {
        telemetry(&mut page, hub);
    }
    if let Some(edge) = &state.edge {
        serving(&mut page, edge);
    }
    page.0
}

fn process(page: &mut Page, state: &State) {
    page.family("bulkhead_build_info", "gauge", "This build; always 1.");
    page.sample("bulkhead_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let ready = f64::from(u8::from(health::readiness(state).0));
    page.one("bulkhead_ready", "gauge", "1 while requests should be sent here.", ready);
    page.one("bulkhead_cpu_seconds_total", "counter", "CPU time of all threads.", usage::cpu_us() as f64 / 1e6);
    let rss = usage::rss_bytes() as f64;
    page.one("bulkhead_resident_memory_bytes", "gauge", "Resident memory.", rss);
    let room = f64::from(u8::from(state.up.log.room().is_ok()));
    page.one("bulkhead_log_has_room", "gauge", "0 while the log refuses to be written.", room);
    page.one(
        "bulkhead_admin_actions_total",
        "counter",
        "Changes made through the admin listener.",
        count(&state.actions),
    );
    page.family("bulkhead_view_age_seconds", "gauge", "Time since a view had seen everything readable.");
    for (name, age) in health::views(state) {
        page.sample("bulkhead_view_age_seconds", &[("view", name)], age.ms() as f64 / 1_000.0);
    }
    let help = "Time of an event to what it changes being seen by readers of a view.";
    page.family("bulkhead_view_freshness_seconds", "histogram", help);
    for (name, age) in health::views(state) {
        page.times("bulkhead_view_freshness_seconds", ("view", name), &age.freshness());
    }
}

fn events(page: &mut Page, bulkheads: &[Bulkhead]) {
    page.family("bulkhead_events_total", "counter", "Events that ended, by how.");
    for bulkhead in bulkheads {
        let tally = bulkhead.stats.tally();
        for (outcome, value) in
            [("done", tally.done), ("duplicate", tally.duplicates), ("dead_lettered", tally.dead_lettered)]
        {
            let labels = [("service", bulkhead.spec.name), ("outcome", outcome)];
            page.sample("bulkhead_events_total", &labels, value as f64);
        }
    }
    let help = "Times that an event was set aside until due.";
    page.each(bulkheads, "bulkhead_events_parked_total", "counter", help, |b| count(&b.stats.parked));
    let help = "Events that wait as rows until they are due.";
    page.each(bulkheads, "bulkhead_parked_events", "gauge", help, |b| b.parked() as f64);
    let help = "Attempts after the first.";
    page.each(bulkheads, "bulkhead_retries_total", "counter", help, |b| count(&b.stats.retried));
    page.each(bulkheads, "bulkhead_commits_total", "counter", "Commits.", |b| count(&b.stats.commits));
    let help = "Bytes of commits.";
    page.each(bulkheads, "bulkhead_commit_bytes_total", "counter", help, |b| count(&b.stats.commit_bytes));
    let help = "Records published.";
    page.each(bulkheads, "bulkhead_published_records_total", "counter", help, |b| count(&b.stats.published));
    let help = "Record readable in the input to event settled.";
    page.family("bulkhead_settle_latency_seconds", "histogram", help);
    for bulkhead in bulkheads {
        let service = ("service", bulkhead.spec.name);
        page.times("bulkhead_settle_latency_seconds", service, &bulkhead.stats.latencies(&PHASES));
    }
}

/// What is in flight, shard by shard, and how long a commit takes.
fn flow(page: &mut Page, bulkheads: &[Bulkhead]) {
    page.each(bulkheads, "bulkhead_events_read_total", "counter", "Events fetched.", |b| count(&b.stats.read));
    type Used = fn(&CreditPool) -> i64;
    let families: [(&str, &str, Used); 2] = [
        ("bulkhead_credit_events_used", "Events in flight: fetched and not settled.", CreditPool::events_used),
        ("bulkhead_credit_bytes_used", "Bytes in flight: fetched and not settled.", CreditPool::bytes_used),
    ];
    for (name, help, used) in families {
        page.family(name, "gauge", help);
        for (bulkhead, shard) in bulkheads.iter().flat_map(|b| b.shards.iter().map(move |shard| (b, shard))) {
            let partition = shard.ctx.partition.to_string();
            let labels = [("service", bulkhead.spec.name), ("partition", partition.as_str())];
            page.sample(name, &labels, shard.ctx.credits.load().as_deref().map_or(0, used) as f64);
        }
    }
    let help = "Times that the breaker opened.";
    page.each(bulkheads, "bulkhead_breaker_opened_total", "counter", help, |b| b.breaker.opened() as f64);
    page.family("bulkhead_commit_latency_seconds", "histogram", "Append of a commit asked for to durable.");
    for bulkhead in bulkheads {
        let service = ("service", bulkhead.spec.name);
        page.times("bulkhead_commit_latency_seconds", service, &bulkhead.stats.commit_latencies());
    }
}

fn supervision(page: &mut Page, bulkheads: &[Bulkhead]) {
    page.each(bulkheads, "bulkhead_restarts_total", "counter", "Shards started again.", |b| count(&b.stats.restarts));
    page.each(bulkheads, "bulkhead_panics_total", "counter", "Panics caught.", |b| count(&b.stats.panics));
    let help = "Shards found without progress.";
    page.each(bulkheads, "bulkhead_stuck_total", "counter", help, |b| count(&b.stats.stuck));
    let help = "Threads that never yielded and were given up.";
    page.each(bulkheads, "bulkhead_lost_threads_total", "counter", help, |b| count(&b.stats.lost_threads));
    let help = "1 while a bulkhead rests after too many failures.";
    page.each(bulkheads, "bulkhead_degraded", "gauge", help, |b| f64::from(u8::from(b.is_degraded())));
    page.each(bulkheads, "bulkhead_shards_running", "gauge", "Shards that are up.", |b| b.running() as f64);
    invariants(page, bulkheads);
    let help =
        "1 while a service takes nothing in: too much fails (flood), or something it needs is away (dependency).";
    page.family("bulkhead_paused", "gauge", help);
    for bulkhead in bulkheads {
        for (why, is_paused) in [("flood", Some("flood")), ("dependency", Some("dependency down"))] {
            let labels = [("service", bulkhead.spec.name), ("why", why)];
            page.sample("bulkhead_paused", &labels, f64::from(u8::from(bulkhead.paused() == is_paused)));
        }
    }
    let help = "Times that a service paused because too much of a topic failed.";
    page.each(bulkheads, "bulkhead_floods_total", "counter", help, |b| b.flood.floods() as f64);
    let help = "Bytes fetched and not settled.";
    let bytes = |b: &Bulkhead| b.stats.queue_bytes.load(Ordering::Relaxed).max(0) as f64;
    page.each(bulkheads, "bulkhead_queue_bytes", "gauge", help, bytes);
}

fn invariants(page: &mut Page, bulkheads: &[Bulkhead]) {
    let asked: Vec<_> = bulkheads.iter().map(|bulkhead| (bulkhead.spec.name, bulkhead.stats.invariants())).collect();
    type Of = fn(Count) -> u64;
    let families: [(&str, &str, Of); 2] = [
        ("bulkhead_invariant_checks_total", "Checks of named invariants.", |count| count.checked),
        ("bulkhead_invariant_failures_total", "Checks that did not hold.", |count| count.broken),
    ];
    for (name, help, of) in families {
        page.family(name, "counter", help);
        for (service, checks) in &asked {
            for (invariant, count) in checks.iter() {
                page.sample(name, &[("service", service), ("invariant", invariant)], of(count) as f64);
            }
        }
    }
}

fn behind(page: &mut Page, state: &State) {
    let rows = lag::live(&state.up).map(|lag| lag["partitions"].as_array().cloned().unwrap_or_default());
    let rows = rows.unwrap_or_default();
    for (name, help, field) in [
        ("bulkhead_lag_records", "Records readable and not settled.", "records"),
        ("bulkhead_lag_seconds", "Age of the oldest record that is not settled, by its event time.", "seconds"),
    ] {
        page.family(name, "gauge", help);
        for row in &rows {
            let text = |name: &str| row[name].as_str().unwrap_or_default();
            let partition = row["partition"].to_string();
            let labels = [("service", text("service")), ("topic", text("topic")), ("partition", &partition)];
            page.sample(name, &labels, row[field].as_f64().unwrap_or(0.0));
        }
    }
}

fn telemetry(page: &mut Page, hub: &Hub) {
    let counters = &hub.counters;
    for (name, help, counter) in [
        ("bulkhead_telemetry_spans_total", "Spans that the collector took.", &counters.spans),
        ("bulkhead_telemetry_logs_total", "Log lines that the collector took.", &counters.logs),
        (
            "bulkhead_telemetry_dropped_total",
            "Facts for which the queue to the collector had no room.",
            &counters.dropped,
        ),
        ("bulkhead_telemetry_export_failures_total", "Exports that the collector did not take.", &counters.failures),
    ] {
        page.one(name, "counter", help, count(counter));
    }
}

fn serving(page: &mut Page, edge: &Edge) {
    page.family("bulkhead_edge_requests_total", "counter", "Requests answered, by route and status.");
    for (route, status, value) in edge.stats.answers() {
        let labels = [("route", route.name()), ("status", &status.to_string())];
        page.sample("bulkhead_edge_requests_total", &labels, value as f64);
    }
    let help = "Requests not bid on (no_bid), refused, turned away (shed) or repeated, by reason.";
    page.family("bulkhead_edge_reasons_total", "counter", help);
    for ((class, reason), value) in edge.stats.reasons() {
        page.sample("bulkhead_edge_reasons_total", &[("class", class), ("reason", reason)], value as f64);
    }
    let open = count(&edge.stats.connections);
    page.one("bulkhead_edge_connections", "gauge", "Open connections.", open);
    let refused = count(&edge.stats.connections_refused);
    page.one("bulkhead_edge_connections_refused_total", "counter", "Connections over a limit.", refused);
    page.family("bulkhead_edge_latency_seconds", "histogram", "Head of a request received to answer made.");
    for route in Route::ALL {
        page.times("bulkhead_edge_latency_seconds", ("route", route.name()), &edge.stats.latencies(route));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fill_the_buckets_they_belong_to() {
        let mut times = Histogram::<u64>::new_with_bounds(1, 600_000_000, 2).expect("bounds");
        for us in [1, 400, 900, 40_000, 300_000_000] {
            times.record(us).expect("within bounds");
        }
        let mut page = Page::default();
        page.times("t", ("x", "y"), &times);
        let value = |sample: &str| {
            let line = page.0.lines().find_map(|line| line.strip_prefix(sample)).unwrap_or_else(|| panic!("{sample}"));
            line.trim().parse::<f64>().expect("a number")
        };
        let below = |bound: &str| value(&format!("t_bucket{{x=\"y\",le=\"{bound}\"}}"));
        let found = ["0.0005", "0.001", "0.025", "0.05", "60", "+Inf"].map(below);
        assert_eq!(found, [2.0, 3.0, 3.0, 4.0, 4.0, 5.0], "{}", page.0);
        assert_eq!(value("t_count{x=\"y\"}"), 5.0);
        assert!((value("t_sum{x=\"y\"}") / 300.0413 - 1.0).abs() < 0.01, "{}", page.0);
    }

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.one("a", "gauge", "Help.", 1.5);
        page.sample("b", &[("x", "q\"\\\n"), ("y", "z")], 2.0);
        assert_eq!(page.0, "# HELP a Help.\n# TYPE a gauge\na 1.5\nb{x=\"q\\\"\\\\\\n\",y=\"z\"} 2\n");
    }
}
