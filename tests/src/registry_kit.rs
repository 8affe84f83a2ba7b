//! An embedded registry on a port of its own, and the plainest of clients.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bulkhead::registry::{EmbeddedRegistry, rest, serve};
use runtime::env::{BulkheadRuntime, Env};
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::DiskStorage;
use runtime::log::{AppendOptions, BatchBuilder, Compression, FetchError, Log, TopicPartition, walk};
use schemas::codec::Encode as _;
use schemas::events::ClickPixel;
use schemas::frame::VALUE_HEADER;

/// A registry in a temporary directory.
pub struct Served {
    pub registry: Arc<EmbeddedRegistry>,
    pub address: SocketAddr,
    _runtime: BulkheadRuntime,
    _directory: tempfile::TempDir,
}

impl Served {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let env = Env::production();
        let runtime = BulkheadRuntime::with_network(&env, "registry", 1, 0).expect("a runtime");
        let storage = Arc::new(DiskStorage::open(directory.path()).expect("a directory"));
        let log = EmbeddedLog::open(&env, storage, SegmentLogConfig::small()).expect("a log");
        let (registry, address) = runtime.handle().block_on(async {
            let registry = Arc::new(EmbeddedRegistry::open(&env, log).await.expect("a registry"));
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let address = serve::listen(&runtime, any, rest::router(registry.clone())).await.expect("a port");
            (registry, address)
        });
        Self { registry, address, _runtime: runtime, _directory: directory }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A frame with any id.
pub fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

/// The log of a data directory that no process uses.
pub fn open_log(env: &Env, data: &Path) -> Arc<dyn Log> {
    let storage = Arc::new(DiskStorage::open(data).expect("a directory"));
    EmbeddedLog::open(env, storage, SegmentLogConfig::default()).expect("a log")
}

/// Appends values to the first partition of a topic, as a producer of somebody else does.
pub async fn append(env: &Env, log: &dyn Log, topic: &str, values: &[Vec<u8>]) {
    let values: Vec<_> = values.iter().map(|value| (value.clone(), None)).collect();
    append_headed(env, log, topic, &values).await;
}

/// The same with the header that names the schema of a value, where there is one.
pub async fn append_headed(env: &Env, log: &dyn Log, topic: &str, values: &[(Vec<u8>, Option<Vec<u8>>)]) {
    let topic = log.topic(topic).expect("the platform has made it");
    let group = log.producer_group("test", 1 << 20);
    let mut batch = BatchBuilder::new(Compression::None);
    for (value, header) in values {
        let header = header.as_ref().map(|header| (VALUE_HEADER.as_bytes(), &header[..]));
        batch.push(env.clock.wall_ms(), Some(b"user"), Some(value), header.as_slice()).expect("small");
    }
    let options = AppendOptions { group, fence: None };
    log.append(TopicPartition { topic, partition: 0 }, batch.finish(), options).await.expect("appended");
}

/// Dead letters of a topic's first partition: value, code and message.
pub fn letters(log: &dyn Log, topic: &str) -> Vec<(Vec<u8>, String, String)> {
    let name = format!("{topic}-dlq");
    let at = TopicPartition { topic: log.topic(&name).expect("made at start"), partition: 0 };
    let mut reader = log.reader(at, 0, Arc::default()).expect("a reader");
    let end = log.extent(at).expect("an extent").high_watermark;
    let mut found = Vec::new();
    let read = walk(reader.as_mut(), &name, end, |record| {
        let text = |name: &[u8]| String::from_utf8_lossy(record.headers.get(name).unwrap_or_default()).into_owned();
        found.push((record.value.unwrap_or_default().to_vec(), text(b"bh-code"), text(b"bh-message")));
        Ok::<(), FetchError>(())
    });
    read.expect("whole");
    found
}

/// A click pixel of a newer writer, whose schema has one field more, at the front, so that its bytes mean nothing to the old
/// one: the schema, and a datum.
pub fn newer_click_pixel(timestamp_ms: i64) -> (String, Vec<u8>) {
    let own = schemas::builtin_by_id(ClickPixel::SCHEMA_ID).expect("built in");
    let field = r#""fields": [{"name": "added", "type": "string", "default": "", "doc": "New."},"#;
    let event = ClickPixel {
        bid_id: "b",
        timestamp: timestamp_ms,
        campaign_id: "c",
        creative_id: "x",
        placement_id: "p",
        ..ClickPixel::default()
    };
    let mut datum = vec![4, b'h', b'i'];
    event.encode(&mut datum);
    (own.avsc.replacen("\"fields\": [", field, 1), datum)
}

/// An answer of HTTP.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One call on a connection of its own.
pub fn call(address: SocketAddr, method: &str, path: &str, headers: &[(String, String)], body: &str) -> HttpAnswer {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    if !headers.iter().any(|(name, _)| name == "Content-Length") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let request = format!("{head}\r\n{body}");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    HttpAnswer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}
