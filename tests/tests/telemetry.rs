//! Telemetry, seen by a collector: one trace from the bid to the ledger, failures kept, and nobody waits for a collector.

#![allow(clippy::disallowed_methods)] // the collector is outside of what is tested

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actors::market::campaigns::demo_campaigns;
use bulkhead::config::{PlatformArgs, Settings, resolve};
use bulkhead::edge::Edge;
use bulkhead::edge::config::EdgeConfig;
use bulkhead::platform::{Composed, Variant, compose};
use bulkhead::sources::slices::Slices;
use bulkhead::sources::treasury::Treasury;
use bulkhead::telemetry::{Hub, TelemetryConfig};
use opentelemetry_proto::tonic::trace::v1::Span;
use runtime::env::Env;
use runtime::log::TopicPartition;
use runtime::trace::TraceId;
use tests::http::{self, get, path_of, post};
use tests::log_cases::records;
use tests::otlp::Collector;
use tests::program::Running;

/// People and devices of the request.
const CANARIES: [&str; 3] = ["canary-user", "192.0.2.7", http::AGENT];

fn settings() -> Settings {
    resolve(&PlatformArgs { partitions: Some(1), ..PlatformArgs::default() }).expect("settings")
}

fn config(collector: SocketAddr, grpc: bool) -> TelemetryConfig {
    let metrics_interval = Duration::from_millis(200);
    TelemetryConfig { endpoint: Some(format!("http://{collector}")), grpc, one_in: 1, metrics_interval }
}

/// A platform with campaigns, its edge and its telemetry.
async fn platform(directory: &std::path::Path, config: &TelemetryConfig) -> (Composed, Edge, Arc<Hub>) {
    let env = Env::production();
    let hub = Hub::start(&env, config, "test").expect("telemetry");
    let telemetry = Some(hub.clone());
    let variant = Variant { keep_commits: true, keep_leases: true, telemetry, ..Variant::default() };
    let up = compose(&env, directory, &settings(), &variant).await.expect("a platform");
    let slices = Slices::new(&env, &up.log, "campaigns", 1);
    let mut treasury = Treasury::new(&env, slices, Arc::default(), up.views.clone());
    treasury.open(&demo_campaigns(1)).await.expect("campaigns");
    let edge = Edge::start(&up, directory, Some("127.0.0.1:0"), EdgeConfig::default()).await.expect("an edge");
    (up, edge, hub)
}

fn request(id: &str) -> String {
    format!(
        r#"{{"id":"{id}","at":1,"cur":["USD"],"tmax":500,"imp":[{{"id":"1","bidfloor":0.01,"banner":{{"w":300,"h":250}}}}],
        "site":{{"domain":"news.example"}},"device":{{"ua":"{}","ip":"192.0.2.7"}},"user":{{"id":"canary-user"}}}}"#,
        http::AGENT
    )
}

/// Bids, and loads the pixel for the price that was bid.
fn impression(at: SocketAddr, id: &str) {
    let reply = post(at, "/openrtb2/bid", request(id).as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let bid = &reply.json()["seatbid"][0]["bid"][0];
    let price = bid["price"].to_string();
    let adm = bid["adm"].as_str().expect("markup");
    let start = adm.find("<img src=\"").expect("a pixel") + 10;
    let pixel = path_of(&adm[start..start + adm[start..].find('"').expect("its end")]);
    assert_eq!(get(at, &pixel.replace("${AUCTION_PRICE}", &price)).status, 200);
}

fn group(span: &Span) -> Option<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span.attributes.iter().find(|pair| pair.key == "messaging.consumer.group.name")?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// A bid and its impression, told to `to`.
fn told(to: SocketAddr, grpc: bool) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let (up, edge, hub) = tokio.block_on(platform(directory.path(), &config(to, grpc)));
    impression(edge.address, "auction-1");
    tokio.block_on(async {
        edge.drain().await;
        assert!(up.platform.idle(Duration::from_secs(60)).await, "nothing is left to do");
        hub.flush(Duration::from_secs(30)).await;
    });
    no_person_in_headers(&up);
    assert_eq!(hub.counters.failures.load(Ordering::Relaxed), 0);
}

/// Keys and values are events; headers are read by whoever carries them on.
fn no_person_in_headers(up: &Composed) {
    for (topic, config) in up.log.topics() {
        for partition in 0..config.partitions {
            let at = TopicPartition { topic, partition };
            let extent = up.log.extent(at).expect("known");
            let mut reader = up.log.reader(at, extent.start, Arc::default()).expect("a reader");
            while reader.position() < extent.high_watermark {
                for record in records(&reader.try_next(1 << 20).expect("readable").expect("more")) {
                    let text =
                        format!("{:?}", record.headers.iter().map(|(_, value)| lossy(value)).collect::<Vec<_>>());
                    for canary in CANARIES {
                        assert!(!text.contains(canary), "{} tells of people in {text}", config.name);
                    }
                }
            }
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What came of it at a collector.
fn one_trace(collector: &Collector) {
    let spans = collector.spans();
    let trace = TraceId::of_auction("auction-1").0.to_vec();
    let ours: Vec<&Span> = spans.iter().filter(|span| span.trace_id == trace).collect();
    let groups: BTreeSet<String> = ours.iter().filter_map(|span| group(span)).collect();
    assert!(groups.contains("billing"), "the ledger is in the bid's trace: {groups:?}");
    assert!(groups.len() >= 3, "and the services before it: {groups:?}");
    // Every span hangs below another one of the trace; the bid is the root.
    let ids: BTreeSet<&[u8]> = ours.iter().map(|span| &span.span_id[..]).collect();
    let is_root = |span: &&&Span| span.parent_span_id.iter().all(|byte| *byte == 0);
    let roots: Vec<&&Span> = ours.iter().filter(is_root).collect();
    assert_eq!(roots.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["POST /openrtb2/bid"]);
    for span in ours.iter().filter(|span| !is_root(span)) {
        assert!(ids.contains(&span.parent_span_id[..]), "{} hangs below nothing", span.name);
    }
    // Batches link to the events of theirs that are traced.
    let links = spans.iter().flat_map(|span| &span.links).filter(|link| link.trace_id == trace).count();
    assert!(links >= groups.len(), "{links} links");
    assert!(spans.iter().all(|span| span.links.len() <= 128));
    let metrics = collector.metrics();
    for name in ["messaging.client.consumed.messages", "messaging.process.duration", "bulkhead.events"] {
        assert!(metrics.contains(name), "{name}: {metrics:?}");
    }
    // No personal data, in whatever was sent.
    for canary in CANARIES {
        assert!(!collector.holds(canary.as_bytes()), "{canary} was sent");
    }
}

#[test]
fn one_trace_leads_from_the_bid_to_the_ledger() {
    let collector = Collector::http();
    told(collector.address, false);
    one_trace(&collector);
}

#[test]
fn the_same_goes_over_grpc() {
    let collector = Collector::grpc();
    told(collector.address, true);
    one_trace(&collector);
}

/// Somebody else's collector takes it over gRPC and hands it on over HTTP as it has understood it.
#[test]
fn an_independent_collector_understands() {
    let Some(program) = rotel() else { return };
    let (collector, directory) = (Collector::http(), tempfile::tempdir().expect("a directory"));
    let [grpc, http] = [(); 2].map(|()| {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address")
    });
    let child = Command::new(program)
        .args(["start", "--otlp-grpc-endpoint", &grpc.to_string(), "--otlp-http-endpoint", &http.to_string()])
        .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
        .args(["--otlp-exporter-endpoint", &format!("http://{}", collector.address)])
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let _child = Running(child);
    let waited = (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        std::net::TcpStream::connect(grpc).is_ok()
    });
    assert!(waited, "the collector does not listen");
    told(grpc, true);
    // It gathers for 200 ms before it hands on.
    let trace = TraceId::of_auction("auction-1").0.to_vec();
    let is_there = |collector: &Collector| {
        let groups: Vec<_> = collector.spans().iter().filter(|span| span.trace_id == trace).filter_map(group).collect();
        let metrics = collector.metrics();
        let have = |name: &str| metrics.contains(name);
        groups.contains(&"billing".to_owned()) && have("bulkhead.events") && have("messaging.process.duration")
    };
    let arrived = (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        is_there(&collector)
    });
    assert!(arrived, "{} spans and {:?}", collector.spans().len(), collector.metrics());
    one_trace(&collector);
}

/// The collector, from Python's package index; kept beside the build.
fn rotel() -> Option<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rotel");
    let program = directory.join("rotel/rotel-agent");
    if !program.exists() {
        let target = directory.to_str().expect("UTF-8");
        let installed = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", target])
            .arg("rotel==0.0.1a15")
            .status();
        if !installed.is_ok_and(|status| status.success()) || !program.exists() {
            println!("ABSENT: rotel (pip install rotel==0.0.1a15); no independent collector has read what is sent");
            return None;
        }
    }
    let runs = Command::new(&program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !runs.is_ok_and(|status| status.success()) {
        println!("ABSENT: rotel does not run here; no independent collector has read what is sent");
        return None;
    }
    Some(program)
}

#[test]
fn nobody_waits_for_a_collector_that_never_answers() {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    // Connects, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (up, edge, hub) =
        tokio.block_on(platform(directory.path(), &config(silent.local_addr().expect("an address"), false)));
    for number in 0..20 {
        impression(edge.address, &format!("auction-{number}"));
    }
    tokio.block_on(async {
        edge.drain().await;
        assert!(up.platform.idle(Duration::from_secs(60)).await, "nothing is left to do");
    });
    let done: u64 = up.platform.bulkheads.iter().map(|bulkhead| bulkhead.stats.tally().done).sum();
    assert!(done >= 60, "{done} events");
    assert_eq!(hub.counters.spans.load(Ordering::Relaxed), 0);
}
