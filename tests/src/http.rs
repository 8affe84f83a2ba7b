//! A small HTTP client for tests: one request a connection, everything as it was on the wire.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// A header's value; names in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// Sends bytes and reads all that comes back; nobody waits longer than half a minute.
pub fn raw(to: SocketAddr, bytes: &[u8]) -> Option<Reply> {
    spoken(TcpStream::connect(to).expect("somebody listens"), bytes)
}

fn spoken(mut stream: TcpStream, bytes: &[u8]) -> Option<Reply> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    // Whoever refuses early may close before everything is sent.
    let _ = stream.write_all(bytes);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let end = all.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut body = all.split_off(end + 4);
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    Some(Reply { status, head, body })
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && end + 2 + size <= rest.len()) else { break };
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = rest.get(end + 4 + size..).unwrap_or_default();
    }
    body
}

/// One request to somebody who may die at any time; `None` without a whole answer.
pub fn attempt(to: SocketAddr, method: &str, path: &str, body: &[u8]) -> Option<Reply> {
    let stream = TcpStream::connect(to).ok()?;
    spoken(stream, &written(to, method, path, &[("user-agent", AGENT)], body))
}

/// One request with its own connection.
pub fn request(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let bytes = written(to, method, path, headers, body);
    raw(to, &bytes).unwrap_or_else(|| panic!("no answer to {method} {path}"))
}

fn written(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n");
    for (name, value) in headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        bytes.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    bytes.push_str("\r\n");
    [bytes.as_bytes(), body].concat()
}

pub fn get(to: SocketAddr, path: &str) -> Reply {
    request(to, "GET", path, &[("user-agent", AGENT)], b"")
}

pub fn post(to: SocketAddr, path: &str, body: &[u8]) -> Reply {
    request(to, "POST", path, &[("content-type", "application/json")], body)
}

/// A browser.
pub const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

/// Path and query of a URL.
pub fn path_of(url: &str) -> &str {
    let after = url.find("://").map_or(0, |at| at + 3);
    url[after..].find('/').map_or("/", |at| &url[after + at..])
}
