//! A collector for tests: takes OTLP over HTTP or gRPC and keeps what came.

#![allow(clippy::disallowed_methods)] // it is outside of what is tested

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::{HeaderMap, Response};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// What came in, by signal.
type Taken = Arc<Mutex<Vec<(&'static str, Vec<u8>)>>>;

pub const TRACES: &str = "traces";
pub const METRICS: &str = "metrics";
pub const LOGS: &str = "logs";

/// Start of what is gzipped.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Takes OTLP.
pub struct Collector {
    pub address: SocketAddr,
    taken: Taken,
}

impl Collector {
    /// Over HTTP, protobuf, as it is or gzipped.
    pub fn http() -> Self {
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

    /// Over gRPC, without TLS.
    pub fn grpc() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket of tokio's");
        let (address, taken) = (listener.local_addr().expect("an address"), Taken::default());
        let into = taken.clone();
        std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            tokio.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(take_grpc(stream, into.clone()));
                }
            });
        });
        Self { address, taken }
    }

    fn bodies(&self, signal: &str) -> Vec<Vec<u8>> {
        let taken = self.taken.lock().expect("no panic");
        taken.iter().filter(|(of, _)| *of == signal).map(|(_, body)| body.clone()).collect()
    }

    pub fn spans(&self) -> Vec<Span> {
        let requests = self.bodies(TRACES).into_iter();
        requests
            .flat_map(|body| ExportTraceServiceRequest::decode(&body[..]).expect("protobuf").resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }

    /// Names of all metrics.
    pub fn metrics(&self) -> BTreeSet<String> {
        let requests = self.bodies(METRICS).into_iter();
        requests
            .flat_map(|body| ExportMetricsServiceRequest::decode(&body[..]).expect("protobuf").resource_metrics)
            .flat_map(|resource| resource.scope_metrics)
            .flat_map(|scope| scope.metrics)
            .map(|metric| metric.name)
            .collect()
    }

    /// Bodies of all log records.
    pub fn logs(&self) -> Vec<String> {
        let requests = self.bodies(LOGS).into_iter();
        requests
            .flat_map(|body| ExportLogsServiceRequest::decode(&body[..]).expect("protobuf").resource_logs)
            .flat_map(|resource| resource.scope_logs)
            .flat_map(|scope| scope.log_records)
            .filter_map(|record| match record.body?.value? {
                Value::StringValue(text) => Some(text),
                _ => None,
            })
            .collect()
    }

    /// Whether any of it holds these bytes.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let taken = self.taken.lock().expect("no panic");
        taken.iter().any(|(_, body)| body.windows(bytes.len()).any(|window| window == bytes))
    }
}

/// Signal of a path, HTTP's or gRPC's.
fn signal(path: &str) -> &'static str {
    let path = path.to_ascii_lowercase();
    [TRACES, METRICS, LOGS].into_iter().find(|name| path.contains(name.trim_end_matches('s'))).expect("a signal")
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
        if body.starts_with(&GZIP) {
            let packed = std::mem::take(&mut body);
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut body).expect("gzip");
        }
        into.lock().expect("no panic").push((signal(&path), body));
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        if reader.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

async fn take_grpc(stream: tokio::net::TcpStream, into: Taken) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let into = into.clone();
        tokio::spawn(async move {
            let of = signal(request.uri().path());
            let (mut body, mut bytes) = (request.into_body(), Vec::new());
            while let Some(Ok(chunk)) = body.data().await {
                let _ = body.flow_control().release_capacity(chunk.len());
                bytes.extend_from_slice(&chunk);
            }
            // A message is one byte (0: as it is), its length in four, itself.
            assert_eq!(bytes.first(), Some(&0), "uncompressed");
            into.lock().expect("no panic").push((of, bytes[5..].to_vec()));
            let head = Response::builder().header("content-type", "application/grpc").body(()).expect("a response");
            let Ok(mut send) = respond.send_response(head, false) else { return };
            let _ = send.send_data(Bytes::from_static(&[0; 5]), false);
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("a value"));
            let _ = send.send_trailers(trailers);
        });
    }
}
