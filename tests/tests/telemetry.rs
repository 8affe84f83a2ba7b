//! Telemetry, seen by a collector: one trace from the bid to the ledger, failures kept, and nobody waits for a collector.

#![allow(clippy::disallowed_methods)] // the collector is outside of what is tested

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::market::campaigns::demo_campaigns;
use bulkhead::config::{PlatformArgs, Settings, resolve};
use bulkhead::edge::Edge;
use bulkhead::edge::config::EdgeConfig;
use bulkhead::platform::{Composed, Variant, compose};
use bulkhead::sources::slices::Slices;
use bulkhead::sources::treasury::Treasury;
use bulkhead::telemetry::{Hub, TelemetryConfig};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use runtime::env::Env;
use runtime::trace::TraceId;
use tests::http::{self, get, path_of, post};

/// What came in, by path.
type Taken = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Takes OTLP over HTTP.
struct Collector {
    address: SocketAddr,
    taken: Taken,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (address, taken) = (listener.local_addr().expect("an address"), Taken::default());
        let into = taken.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let into = into.clone();
                std::thread::spawn(move || take(stream, &into));
            }
        });
        Self { address, taken }
    }

    fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().expect("no panic");
        let requests = taken.iter().filter(|(path, _)| path == "/v1/traces");
        requests
            .flat_map(|(_, body)| ExportTraceServiceRequest::decode(&body[..]).expect("protobuf").resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }
}

/// Serves one connection until its peer has enough.
fn take(stream: TcpStream, into: &Taken) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("post ") {
                path = rest.split(' ').next().unwrap_or_default().to_owned();
            } else if let Some(rest) = line.strip_prefix("content-length:") {
                length = rest.trim().parse().unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        into.lock().expect("no panic").push((path, body));
        if reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

fn settings() -> Settings {
    resolve(&PlatformArgs { partitions: Some(1), ..PlatformArgs::default() }).expect("settings")
}

fn config(collector: SocketAddr) -> TelemetryConfig {
    let metrics_interval = Duration::from_millis(200);
    TelemetryConfig { endpoint: Some(format!("http://{collector}")), grpc: false, one_in: 1, metrics_interval }
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

#[test]
fn one_trace_leads_from_the_bid_to_the_ledger() {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (directory, collector) = (tempfile::tempdir().expect("a directory"), Collector::start());
    let (up, edge, hub) = tokio.block_on(platform(directory.path(), &config(collector.address)));
    impression(edge.address, "auction-1");
    tokio.block_on(async {
        edge.drain().await;
        assert!(up.platform.idle(Duration::from_secs(60)).await, "nothing is left to do");
        hub.flush(Duration::from_secs(30)).await;
    });
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
    let metrics: BTreeSet<String> = collector
        .taken
        .lock()
        .expect("no panic")
        .iter()
        .filter(|(path, _)| path == "/v1/metrics")
        .flat_map(|(_, body)| ExportMetricsServiceRequest::decode(&body[..]).expect("protobuf").resource_metrics)
        .flat_map(|resource| resource.scope_metrics)
        .flat_map(|scope| scope.metrics)
        .map(|metric| metric.name)
        .collect();
    for name in ["messaging.client.consumed.messages", "messaging.process.duration", "bulkhead.events"] {
        assert!(metrics.contains(name), "{name}: {metrics:?}");
    }
    // No personal data, in whatever was sent.
    for (path, body) in collector.taken.lock().expect("no panic").iter() {
        for canary in [&b"canary-user"[..], b"192.0.2.7", http::AGENT.as_bytes()] {
            assert!(!body.windows(canary.len()).any(|window| window == canary), "{path} tells of people");
        }
    }
}

#[test]
fn nobody_waits_for_a_collector_that_never_answers() {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    // Connects, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (up, edge, hub) = tokio.block_on(platform(directory.path(), &config(silent.local_addr().expect("an address"))));
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
