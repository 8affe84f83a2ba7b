//! The generator: connections that are kept, requests that are due at fixed times, and answers read no further than needed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Failed, usage};

/// An answer that takes longer ends the run.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const HEAD_MAX_BYTES: usize = 64 << 10;

/// How requests follow each other.
#[derive(Clone, Copy)]
pub enum Pace {
    /// Each at its time, whether or not the last one was answered in time.
    PerSecond(u32),
    /// The next one as soon as the last one is answered.
    FlatOut,
}

/// What was measured.
pub struct Taken {
    latency_us: Histogram<u64>,
    pub statuses: BTreeMap<u16, u64>,
    took: Duration,
    cpu: Duration,
}

impl Taken {
    fn ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1_000.0
    }
    pub fn p50_ms(&self) -> f64 {
        self.ms(0.5)
    }
    pub fn p99_ms(&self) -> f64 {
        self.ms(0.99)
    }
    pub fn per_s(&self) -> f64 {
        self.latency_us.len() as f64 / self.took.as_secs_f64()
    }
    pub fn share_of_200(&self) -> f64 {
        let all: u64 = self.statuses.values().sum();
        self.statuses.get(&200).copied().unwrap_or(0) as f64 / all.max(1) as f64
    }
    pub fn cpu_us_per_request(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latency_us.len().max(1) as f64
    }
}

/// Loads one server for `length`.
pub fn run(at: SocketAddr, path: &str, pace: Pace, connections: usize, length: Duration) -> Result<Taken, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cpu = usage::process();
    let started = Instant::now();
    let all: Result<Vec<_>, Failed> = runtime.block_on(async {
        let tasks: Vec<_> = (0..connections)
            .map(|number| runtime.spawn(connection(at, path.to_owned(), pace, (number, connections), started, length)))
            .collect();
        let mut all = Vec::with_capacity(tasks.len());
        for task in tasks {
            all.push(task.await?.map_err(|error| format!("{at}: {error}"))?);
        }
        Ok(all)
    });
    let mut taken = Taken {
        latency_us: histogram(),
        statuses: BTreeMap::new(),
        took: started.elapsed(),
        cpu: usage::process() - cpu,
    };
    for (latency_us, statuses) in all? {
        taken.latency_us.add(&latency_us)?;
        for (status, count) in statuses {
            *taken.statuses.entry(status).or_default() += count;
        }
    }
    Ok(taken)
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("constant bounds are valid")
}

type Measured = (Histogram<u64>, BTreeMap<u16, u64>);

async fn connection(
    at: SocketAddr,
    path: String,
    pace: Pace,
    (number, of): (usize, usize),
    started: Instant,
    length: Duration,
) -> std::io::Result<Measured> {
    let mut stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let (mut latency_us, mut statuses) = (histogram(), BTreeMap::new());
    let (mut out, mut buffer) = (Vec::new(), Vec::new());
    for turn in 0u32.. {
        let due = match pace {
            // Connections take turns, so that requests are spread evenly over time.
            Pace::PerSecond(rate) => Duration::from_secs_f64((turn as usize * of + number) as f64 / f64::from(rate)),
            Pace::FlatOut => started.elapsed(),
        };
        if due >= length {
            break;
        }
        let early = due.saturating_sub(started.elapsed());
        if !early.is_zero() {
            tokio::time::sleep(early).await;
        }
        request(&path, u64::from(turn) * of as u64 + number as u64, started, &mut out);
        stream.write_all(&out).await?;
        let status = tokio::time::timeout(ANSWER_LIMIT, answer(&mut stream, &mut buffer)).await;
        *statuses.entry(status.map_err(|_| std::io::Error::other("no answer within 10 s"))??).or_default() += 1;
        // From when it was due: an answer that made the next request late is counted there, too.
        let us = (started.elapsed() - due).as_micros() as u64;
        latency_us.saturating_record(us.max(1));
    }
    Ok((latency_us, statuses))
}

/// A request of about 700 bytes; every one is another auction, every third fits a campaign.
fn request(path: &str, number: u64, run: Instant, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let (w, h) = [(300, 250), (468, 60), (320, 50)][(number % 3) as usize];
    let auction = format!("{:x}-{:x}-{number:x}", std::process::id(), run.elapsed().as_nanos());
    let body = format!(
        r#"{{"id":"{auction}","at":1,"tmax":120,"cur":["USD"],"imp":[{{"id":"1","bidfloor":0.25,"bidfloorcur":"USD","tagid":"below-the-fold-{0}","banner":{{"w":{w},"h":{h},"pos":3,"battr":[1,3,5,8]}}}}],"site":{{"id":"s{0}","domain":"news-{0}.example","cat":["IAB1","IAB12"],"page":"https://news-{0}.example/","publisher":{{"id":"pub-{0}","name":"A publisher"}}}},"device":{{"ua":"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0","ip":"192.0.2.{1}","geo":{{"country":"USA","region":"CA"}},"language":"en","devicetype":2}},"user":{{"id":"user-{number:x}"}},"bcat":["IAB25","IAB26"],"badv":["blocked.example"]}}"#,
        number % 97,
        number % 250,
    );
    out.clear();
    let length = body.len();
    let _ = write!(
        out,
        "POST {path} HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
}

/// Reads one answer; its status.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<u16> {
    let wrong = |what: &str| std::io::Error::other(what.to_owned());
    buffer.clear();
    let (head, length) = loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(wrong("the connection was closed"));
        }
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end]).map_err(|_| wrong("a head that is no text"))?;
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            break (end + 4, length.unwrap_or(0));
        }
        if buffer.len() > HEAD_MAX_BYTES {
            return Err(wrong("a head without an end"));
        }
    };
    let status = std::str::from_utf8(&buffer[9..12]).ok().and_then(|status| status.parse().ok());
    while buffer.len() < head + length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(wrong("a body without an end"));
        }
    }
    status.ok_or_else(|| wrong("a status that is no number"))
}
