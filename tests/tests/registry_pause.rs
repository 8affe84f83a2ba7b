//! A platform whose external registry goes away: a record with an id that nobody can say anything about makes its partition
//! wait, for as long as it takes; when the registry is back, it goes on by itself.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use runtime::env::Env;
use schemas::codec::Encode as _;
use schemas::events::ClickPixel;
use schemas::frame::MAGIC_GUID;
use schemas::registry::Submission;
use serde_json::Value;
use tests::program::{self, Running};
use tests::registry_kit::{Served, append_headed, framed, letters, newer_click_pixel, open_log};

const TOPIC: &str = "click-pixels";

/// Stands before a registry: hands on what it is asked, or answers what is no answer.
struct Gate {
    address: SocketAddr,
    shut: Arc<AtomicBool>,
    turned_away: Arc<AtomicUsize>,
}

impl Gate {
    #[allow(clippy::disallowed_methods)] // a server of the test, on a thread of its own
    fn before(registry: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let (shut, turned_away) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let gate = Self { address, shut: shut.clone(), turned_away: turned_away.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let request = request(&mut stream);
                let answer = if shut.load(Ordering::SeqCst) {
                    // One after the other: it fails, it answers garbage, it breaks off.
                    match turned_away.fetch_add(1, Ordering::SeqCst) % 3 {
                        0 => b"HTTP/1.1 503 Away\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(),
                        1 => b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n<p/>".to_vec(),
                        _ => Vec::new(),
                    }
                } else {
                    let mut onward = TcpStream::connect(registry).expect("the registry is there");
                    onward.write_all(&request).expect("sent");
                    let mut answer = Vec::new();
                    let _ = onward.read_to_end(&mut answer);
                    answer
                };
                let _ = stream.write_all(&answer);
            }
        });
        gate
    }
}

/// One request, with the wish that the connection ends after it.
fn request(stream: &mut TcpStream) -> Vec<u8> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            if bytes.len() >= head + 4 + length.unwrap_or(0) {
                drop(bytes.splice(head..head, *b"\r\nConnection: close"));
                return bytes;
            }
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return bytes,
            Ok(n) => bytes.extend_from_slice(&part[..n]),
        }
    }
}

fn bulkhead(line: &[&str]) -> String {
    let out = Command::new(program::built("bulkhead", "bulkhead")).args(line).output().expect("runs");
    assert!(out.status.success(), "{line:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The id that the directory's records carry for a schema of the binary.
fn id_of(data: &Path, own: u32) -> u32 {
    let marker = std::fs::read(data.join("registry.json")).expect("says which ids");
    let marker: Value = serde_json::from_slice(&marker).expect("JSON");
    let pairs = marker["ids"].as_array().expect("pairs");
    let pair = pairs.iter().find(|pair| pair[0] == own).expect("a schema of the topics");
    u32::try_from(pair[1].as_u64().expect("a number")).expect("an id")
}

#[test]
fn a_partition_waits_for_its_registry() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let folder = data.display().to_string();
    let served = Served::start();
    let gate = Gate::before(served.address);
    let url = format!("http://{}", gate.address);
    bulkhead(&["schemas", "register", "--builtin", "--registry", &url]);
    let up = ["up", "--until-idle", "--partitions", "1", "--data", &folder, "--registry-url", &url];
    bulkhead(&up);

    let env = Env::production();
    let block = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    block.block_on(async {
        let (newer, datum) = newer_click_pixel(env.clock.wall_ms());
        let submission = Submission::of(newer);
        let registered = served.registry.write(|state| state.register("click-pixels-value", &submission)).await;
        let id = registered.expect("compatible").id;
        let log = open_log(&env, &data);
        let guid = served.registry.read().by_id(id).expect("registered").guid;
        let guid = [&[MAGIC_GUID], &guid.0[..]].concat();
        let values = [
            (framed(id_of(&data, ClickPixel::SCHEMA_ID), &datum[3..]), None),
            (framed(id, &datum), None),
            (framed(7_777, &datum), None),
            ([&guid[..], &datum].concat(), None),
            (datum.clone(), Some(guid)),
            (datum.clone(), Some(framed(id, &[]))),
        ];
        append_headed(&env, log.as_ref(), TOPIC, &values).await;
        log.close().await;
    });

    gate.shut.store(true, Ordering::SeqCst);
    let mut command = Command::new(program::built("bulkhead", "bulkhead"));
    let said = directory.path().join("said");
    let stderr = File::create(&said).expect("a file");
    let mut child = Running(command.args(up).stderr(stderr).stdout(Stdio::null()).spawn().expect("starts"));
    // At start it is asked for the binary's schemas, and what it said last time counts; then for the id, again and again.
    for _ in 0..600 {
        if gate.turned_away.load(Ordering::SeqCst) >= 8 {
            break;
        }
        assert!(child.0.try_wait().expect("a child").is_none(), "it waits");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(gate.turned_away.load(Ordering::SeqCst) >= 8, "it is asked for the id again");
    assert!(child.0.try_wait().expect("a child").is_none(), "it waits");
    gate.shut.store(false, Ordering::SeqCst);
    let status = child.0.wait().expect("ends");
    assert!(status.success(), "{}", std::fs::read_to_string(&said).unwrap_or_default());

    // All but one are one click and its repetitions, however their schema is named; only what no schema is known for is set aside, and the recount agrees.
    let report: Value =
        serde_json::from_str(&bulkhead(&["verify", "--output", "json", "--data", &folder])).expect("JSON");
    let taken = &report["offsets"]["click-pixels/tracking"];
    let counts = ["events", "done", "duplicate", "dead_lettered", "waiting", "unaccounted"];
    let counts = counts.map(|name| taken[name].as_u64());
    assert_eq!((&report["ok"], counts), (&Value::from(true), [6, 1, 4, 1, 0, 0].map(Some)), "{report}");
    let found = block.block_on(async {
        let log = open_log(&env, &data);
        let found = letters(log.as_ref(), TOPIC);
        log.close().await;
        found
    });
    assert_eq!((found.len(), &*found[0].1), (1, "SCHEMA_VIOLATION"), "{found:?}");
    assert!(found[0].2.contains("7777"), "{found:?}");
}
