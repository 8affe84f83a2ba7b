//! The two servers, a process each: ours as it is deployed, and the echo.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failed;

/// An idle process has come to rest after this.
const REST: Duration = Duration::from_secs(3);

/// Ended with its handle.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Beside this program, never in a build folder.
fn beside(name: &str) -> Result<PathBuf, Failed> {
    let program = std::env::current_exe()?.with_file_name(name);
    if program.exists() {
        return Ok(program);
    }
    Err(format!("{} is not there; `cargo build --release` makes it", program.display()).into())
}

/// `bulkhead up` in a directory of its own.
pub struct Bulkhead {
    pub address: SocketAddr,
    pub ready_ms: f64,
    process: Process,
    directory: tempfile::TempDir,
}

impl Bulkhead {
    pub fn start() -> Result<Self, Failed> {
        let directory = tempfile::tempdir()?;
        let started = Instant::now();
        let mut child = Command::new(beside("bulkhead")?)
            .args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"])
            .arg(directory.path().join("data"))
            // One address asks for everything here.
            .env("BULKHEAD_EDGE_BIDS_PER_S", "0")
            .stderr(Stdio::piped())
            .spawn()?;
        let errors = child.stderr.take().ok_or("no stderr")?;
        let process = Process(child);
        let mut lines = BufReader::new(errors).lines();
        let mut address = |what: &str| -> Result<SocketAddr, Failed> {
            for line in lines.by_ref() {
                if let Some(address) = line?.strip_prefix(&format!("{what} on http://")) {
                    return Ok(address.trim().parse()?);
                }
            }
            Err(format!("bulkhead ended before it told its {what}").into())
        };
        let (address, admin) = (address("edge")?, address("admin")?);
        while !is_ready(admin) {
            if started.elapsed() > Duration::from_secs(30) {
                return Err("bulkhead is not ready after 30 s".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let ready_ms = started.elapsed().as_secs_f64() * 1e3;
        // Nobody reads on: what it says later must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Self { address, ready_ms, process, directory })
    }

    /// Resident memory once it has come to rest.
    pub fn rss_bytes(&self) -> Result<u64, Failed> {
        std::thread::sleep(REST);
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }

    /// One campaign with more money than any run can spend.
    pub fn produce_campaigns(&self) -> Result<(), Failed> {
        let rows = self.directory.path().join("campaigns.jsonl");
        let row = r#"{"campaign_id":"c","advertiser_id":"a","name":"n","status":"ACTIVE","creative_id":"x","width":300,"height":250,"bid_cpm_micros":1000000,"destination_domain":"shop.example"}"#;
        let budget = r#"{"budget_id":"b","campaign_id":"c","advertiser_id":"a","period":"LIFETIME","amount_micros":1000000000000,"currency":"USD","timezone":"UTC","version":1}"#;
        let mut file = std::fs::File::create(&rows)?;
        writeln!(
            file,
            r#"{{"after":{row},"op":"c","ts_ms":1,"source":{{"lsn":1,"table":"campaigns","snapshot":"false"}}}}"#
        )?;
        writeln!(
            file,
            r#"{{"topic":"budgets-changes","value":{{"after":{budget},"op":"c","ts_ms":1,"source":{{"lsn":2,"table":"budgets","snapshot":"false"}}}}}}"#
        )?;
        let status = Command::new(beside("bulkhead")?)
            .args(["produce", "campaigns-changes", "--from"])
            .arg(&rows)
            .arg("--data")
            .arg(self.directory.path().join("data"))
            .stdout(Stdio::null())
            .status()?;
        if status.success() { Ok(()) } else { Err("the campaign was not taken".into()) }
    }
}

fn is_ready(admin: SocketAddr) -> bool {
    use std::io::Read as _;
    let Ok(mut stream) = std::net::TcpStream::connect(admin) else { return false };
    let mut answer = String::new();
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n");
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// This program as a server.
pub struct Served {
    pub address: SocketAddr,
    _process: Process,
}

impl Served {
    /// With the hidden command that serves.
    pub fn start(command: &str) -> Result<Self, Failed> {
        let mut child = Command::new(std::env::current_exe()?).arg(command).stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().ok_or("no stdout")?;
        let process = Process(child);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        Ok(Self { address: line.trim().parse()?, _process: process })
    }
}

/// Serves what it is sent until it is ended: axum with as many threads as our edge has.
pub fn echo() -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let routes = axum::Router::new().route("/", axum::routing::post(|body: bytes::Bytes| async move { body }));
        axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), routes)
            .await?;
        Ok(())
    })
}
