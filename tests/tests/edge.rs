//! The public edge over a platform that runs: a real bid and everything that follows it, and everything that is wrong.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use actors::market::campaigns::demo_campaigns;
use actors::topics::{BILLING_EVENTS, CONVERSIONS, IMPRESSIONS};
use bulkhead::config::{PlatformArgs, Settings, resolve};
use bulkhead::demo::scan::Scan;
use bulkhead::edge::Edge;
use bulkhead::edge::config::EdgeConfig;
use bulkhead::platform::{Composed, Variant, compose};
use bulkhead::sources::slices::Slices;
use bulkhead::sources::treasury::Treasury;
use runtime::env::Env;
use schemas::events::{BillingEvent, ImpressionEvent};
use schemas::frame;
use tests::exchange::{Won, request, with_price};
use tests::http::{self, Reply, get, path_of, post};

/// A platform with the demo's campaigns and an edge, on a port that the system chose.
struct Running {
    up: Composed,
    edge: Edge,
    tokio: tokio::runtime::Runtime,
    _directory: tempfile::TempDir,
}

fn settings() -> Settings {
    resolve(&PlatformArgs { partitions: Some(1), ..PlatformArgs::default() }).expect("settings")
}

impl Running {
    fn new(config: EdgeConfig) -> Self {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        let (up, edge) = tokio.block_on(async {
            let env = Env::production();
            let variant = Variant { keep_commits: true, keep_leases: true, ..Variant::default() };
            let up = compose(&env, directory.path(), &settings(), &variant).await.expect("a platform");
            let slices = Slices::new(&env, &up.log, "campaigns", 1);
            let mut treasury = Treasury::new(&env, slices, Arc::default(), up.views.clone());
            treasury.open(&demo_campaigns(1)).await.expect("campaigns");
            let edge = Edge::start(&up, directory.path(), Some("127.0.0.1:0"), config).await.expect("an edge");
            (up, edge)
        });
        Self { up, edge, tokio, _directory: directory }
    }

    fn at(&self) -> SocketAddr {
        self.edge.address
    }

    /// Ends the edge, waits until everything is worked off.
    fn rest(&self) {
        self.tokio.block_on(async {
            self.edge.drain().await;
            assert!(self.up.platform.idle(Duration::from_secs(60)).await, "nothing is left to do");
        });
    }

    /// Values of all records of a topic.
    fn values(&self, topic: &str) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        let scan = Scan { log: self.up.log.as_ref(), partitions: 1 };
        let visited = scan.records(topic, 0, 0, |record| {
            values.push(record.value.unwrap_or_default().to_vec());
            Ok(())
        });
        visited.expect("a readable topic");
        values
    }

    fn count(&self, topic: &str) -> usize {
        self.values(topic).len()
    }
}

fn bid(at: SocketAddr, id: &str) -> Won {
    let reply = post(at, "/openrtb2/bid", request(id).as_bytes());
    assert_eq!(reply.status, 200, "{} {}", reply.head, reply.text());
    let response = reply.json();
    assert_eq!((&response["id"], &response["cur"]), (&id.into(), &"USD".into()));
    Won::of(&reply)
}

#[test]
fn from_a_request_to_the_ledger() {
    let running = Running::new(EdgeConfig::default());
    let at = running.at();
    let won = bid(at, "auction-1");
    let price = format!("{}", won.price / 2.0);
    assert_eq!(get(at, &with_price(&won.win, &price)).status, 204);
    let pixel = get(at, &with_price(&won.pixel, &price));
    assert_eq!((pixel.status, pixel.header("content-type")), (200, Some("image/gif")));
    // A browser loads it again: the same answer, and nothing more is counted.
    assert_eq!(get(at, &with_price(&won.pixel, &price)).status, 200);
    let click = get(at, &won.click);
    let to = click.header("location").expect("a place").to_owned();
    assert!(click.status == 302 && to.starts_with("https://shop-") && to.contains(".example/?bh="), "{to}");
    let order = path_of(&to).replace("/?bh=", "/t/conv?t=");
    let body = br#"{"order_id":"o-1","value_micros":25000000}"#;
    assert_eq!(post(at, &order, body).status, 204);
    assert_eq!(post(at, &order, body).status, 204);
    // The exchange asks again: the same answer, and no second decision.
    let again = bid(at, "auction-1");
    assert_eq!((&again.win, &again.pixel), (&won.win, &won.pixel));
    // Lost, audited, and shown for a price that nobody states: none of these is billed.
    let lost = bid(at, "auction-2");
    let loss = lost.loss.replace("${AUCTION_LOSS}", "102").replace("${AUCTION_MIN_TO_WIN}", "0.9");
    assert_eq!(get(at, &loss).status, 204);
    assert_eq!(get(at, &with_price(&bid(at, "auction-3").pixel, "AUDIT")).status, 200);
    assert_eq!(get(at, &with_price(&bid(at, "auction-4").pixel, "")).status, 200);
    running.rest();
    let impressions = running.values(IMPRESSIONS.name);
    assert_eq!((impressions.len(), running.count(CONVERSIONS.name)), (3, 1));
    let paid: Vec<i64> = impressions
        .iter()
        .map(|value| frame::decode::<ImpressionEvent<'_>>(value).expect("an impression").win_price_micros)
        .collect();
    let expected = (won.price * 500.0).ceil() as i64;
    assert_eq!(paid, [expected, 0, 0]);
    let billed: Vec<i64> = running
        .values(BILLING_EVENTS.name)
        .iter()
        .map(|value| frame::decode::<BillingEvent<'_>>(value).expect("a ledger row").amount_micros)
        .collect();
    assert_eq!(billed, [expected], "one ledger row, exact to the micro");
    let dead: u64 = running.up.platform.bulkheads.iter().map(|b| b.stats.tally().dead_lettered).sum();
    assert_eq!(dead, 0);
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_written() {
    let running = Running::new(EdgeConfig::default());
    let at = running.at();
    let won = bid(at, "a");
    let refused = |reply: Reply, status: u16, what: &str| {
        assert!(reply.status == status && reply.text().contains(what), "{} {}", reply.head, reply.text());
    };
    refused(get(at, "/openrtb2/bid"), 400, "POSTed");
    refused(get(at, "/"), 400, "POST /openrtb2/bid");
    refused(post(at, "/openrtb2/bid", b"{\"id\":"), 400, "not valid JSON at byte");
    refused(post(at, "/openrtb2/bid", b"{\"imp\":[{}]}"), 400, "`id` is missing");
    refused(post(at, "/openrtb2/bid", b""), 400, "empty");
    refused(post(at, "/openrtb2/bid", "[".repeat(60_000).as_bytes()), 400, "deeper than 32");
    refused(post(at, "/openrtb2/bid", &vec![b' '; 70_000]), 413, "65536 bytes");
    let gzip = http::request(at, "POST", "/openrtb2/bid", &[("content-encoding", "gzip")], b"x");
    refused(gzip, 400, "content-encoding");
    // Chunks without a stated length.
    let chunk = format!("{:x}\r\n{}\r\n", 40_000, " ".repeat(40_000));
    let chunked =
        format!("POST /openrtb2/bid HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    refused(http::raw(at, chunked.as_bytes()).expect("an answer"), 413, "65536 bytes");
    for head in [format!("x: {}\r\n", "y".repeat(20_000)), "x: y\r\n".repeat(100)] {
        let long = format!("GET /t/imp HTTP/1.1\r\nhost: x\r\n{head}\r\n");
        assert_eq!(http::raw(at, long.as_bytes()).expect("an answer").status, 413);
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(70_000));
    assert_eq!(http::raw(at, long.as_bytes()).expect("an answer").status, 413);
    assert_eq!(http::raw(at, b"GARBAGE\r\n\r\n").expect("an answer").status, 400);
    // Tokens: none, cut, changed, of another path; a price that no auction ends with; an order that is none.
    refused(get(at, "/t/imp?p=1"), 400, "`t` is missing");
    refused(get(at, &won.click[..won.click.len() - 8]), 400, "`t` is");
    let changed = won.click.replace("?t=A", "?t=B");
    refused(get(at, &changed), 400, "`t` is");
    refused(get(at, &won.pixel.replace("/t/imp", "/t/loss")), 400, "not for this path");
    refused(get(at, &won.win.replace("/t/win", "/t/loss")), 400, "not for this path");
    refused(get(at, &with_price(&won.pixel, "999")), 400, "above the bid");
    refused(get(at, &with_price(&won.pixel, "-1")), 400, "negative");
    refused(get(at, &with_price(&won.pixel, "NaN")), 400, "not a finite number");
    refused(post(at, &won.click.replace("/t/click", "/t/conv"), b"{}"), 400, "not for this path");
    refused(get(at, &won.click.replace("/t/click", "/t/conv")), 400, "takes POST");
    // Where a click leads is what was decided, whatever else the URL says.
    let elsewhere = format!("{}&u=https://evil.example&bh=//evil.example&url=//evil.example", won.click);
    let to = get(at, &elsewhere).header("location").expect("a place").to_owned();
    assert!(to.starts_with("https://shop-") && !to.contains("evil"), "{to}");
    let order = path_of(&to).replace("/?bh=", "/t/conv?t=");
    refused(post(at, &order, b"{\"order_id\":\"\"}"), 400, "order_id");
    refused(post(at, &order, b"{\"order_id\":\"1\",\"price\":1}"), 400, "unknown field");
    refused(post(at, &order, b"{\"order_id\":\"1\",\"value_micros\":-1}"), 400, "value_micros");
    running.rest();
    assert_eq!((running.count(IMPRESSIONS.name), running.count(CONVERSIONS.name)), (0, 0));
}

#[test]
fn who_sends_too_much_or_too_slowly_is_turned_away_alone() {
    let config = EdgeConfig {
        bids_per_s: 5,
        head_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(300),
        connections_max_per_address: 8,
        ..EdgeConfig::default()
    };
    let running = Running::new(config);
    let at = running.at();
    // Heads and bodies that do not come: each holds a connection, none a thread.
    let mut slow: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(at).expect("somebody listens")).collect();
    for stream in &mut slow {
        stream.write_all(b"POST /openrtb2/bid HTTP/1.1\r\nhost: x\r\n").expect("sent");
    }
    let head = "POST /openrtb2/bid HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{";
    let reply = http::raw(at, head.as_bytes()).expect("an answer");
    assert!(reply.status == 429 && reply.text().contains("300 ms"), "{}", reply.head);
    let answers: Vec<u16> =
        (0..30).map(|n| post(at, "/openrtb2/bid", request(&format!("r{n}")).as_bytes()).status).collect();
    assert!(answers.contains(&200) && answers.contains(&429), "{answers:?}");
    assert!(answers.iter().all(|status| [200, 204, 429].contains(status)), "{answers:?}");
    for stream in &mut slow {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 5"), "closed, or told so");
    }
    // Pixels have a bucket of their own.
    assert_eq!(get(at, "/t/imp?t=x").status, 400);
    running.rest();
}

/// Requests of real exchanges and of the specification; broken ones among them.
#[test]
fn recorded_requests_are_answered_as_the_specification_allows() {
    let directory = std::env::var("BULKHEAD_DATA").unwrap_or_else(|_| "../../shared/data".to_owned());
    let running = Running::new(EdgeConfig::default());
    let mut asked = 0;
    for name in ["exchange_samples.jsonl", "iab_openrtb26_examples.jsonl"] {
        let path = std::path::Path::new(&directory).join("rtb").join(name);
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("ABSENT: {} (set BULKHEAD_DATA); not checked", path.display());
            continue;
        };
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("a row");
            let body = match row.get("raw").and_then(|raw| raw.as_str()) {
                Some(raw) => raw.to_owned(),
                None => row["body"].to_string(),
            };
            let reply = post(running.at(), "/openrtb2/bid", body.as_bytes());
            assert!([200, 204, 400].contains(&reply.status), "{line}: {}", reply.head);
            assert_eq!(reply.status == 204, reply.header("x-openrtb-nbr").is_some(), "a no-bid says why");
            if reply.status == 400 {
                assert!(reply.text().len() > 10, "and a refusal, too");
            }
            asked += 1;
        }
    }
    running.rest();
    println!("{asked} requests answered");
}
