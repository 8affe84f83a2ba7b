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
/// An answer that comes later is worth nothing: what exchanges give.
const IN_TIME: Duration = Duration::from_millis(100);
/// A request that could not be sent by then has lost its turn.
const SENT_LATE: Duration = Duration::from_millis(20);
/// How the edge says that it turned somebody away.
const TURNED_AWAY: &[u8] = b"x-openrtb-nbr: 15\r";

/// How requests follow each other.
#[derive(Clone, Copy)]
pub enum Pace {
    /// Each at its time, whether or not the last one was answered in time.
    PerSecond(u32),
    /// The same, but what could not be sent within [`SENT_LATE`] is not sent (an exchange asks somebody else), and an answer's
    /// time counts from when its request was sent: what a generator without a free connection waits for is its own line.
    OrNotAtAll(u32),
    /// The next one as soon as the last one is answered.
    FlatOut,
}

/// What was measured.
pub struct Taken {
    latency_us: Histogram<u64>,
    pub statuses: BTreeMap<u16, u64>,
    /// Answered in time, and not turned away.
    pub good: u64,
    pub turned_away: u64,
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
    /// Requests that were sent, a second.
    pub fn sent_per_s(&self) -> f64 {
        self.statuses.values().sum::<u64>() as f64 / self.took.as_secs_f64()
    }
    pub fn good_per_s(&self) -> f64 {
        self.good as f64 / self.took.as_secs_f64()
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
    let streams: Result<Vec<TcpStream>, Failed> = runtime.block_on(async {
        let mut streams = Vec::with_capacity(connections);
        for _ in 0..connections {
            streams.push(TcpStream::connect(at).await?);
        }
        Ok(streams)
    });
    let (streams, started) = (streams?, Instant::now());
    let all: Result<Vec<_>, Failed> = runtime.block_on(async {
        let spawned = |(number, stream)| {
            runtime.spawn(connection(stream, path.to_owned(), pace, (number, connections), started, length))
        };
        let tasks: Vec<_> = streams.into_iter().enumerate().map(spawned).collect();
        let mut all = Vec::with_capacity(tasks.len());
        for task in tasks {
            all.push(task.await?.map_err(|error| format!("{at}: {error}"))?);
        }
        Ok(all)
    });
    let mut taken = Taken {
        latency_us: histogram(),
        statuses: BTreeMap::new(),
        good: 0,
        turned_away: 0,
        took: started.elapsed(),
        cpu: usage::process() - cpu,
    };
    for Measured { latency_us, statuses, good, turned_away } in all? {
        taken.latency_us.add(&latency_us)?;
        taken.good += good;
        taken.turned_away += turned_away;
        for (status, count) in statuses {
            *taken.statuses.entry(status).or_default() += count;
        }
    }
    Ok(taken)
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("constant bounds are valid")
}

/// What one connection saw. Whoever was turned away has no latency: an answer that says nothing is quick.
struct Measured {
    latency_us: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
    good: u64,
    turned_away: u64,
}

async fn connection(
    mut stream: TcpStream,
    path: String,
    pace: Pace,
    (number, of): (usize, usize),
    started: Instant,
    length: Duration,
) -> std::io::Result<Measured> {
    stream.set_nodelay(true)?;
    let mut seen = Measured { latency_us: histogram(), statuses: BTreeMap::new(), good: 0, turned_away: 0 };
    let (mut out, mut buffer) = (Vec::new(), Vec::new());
    for turn in 0u32.. {
        let due = match pace {
            // Connections take turns, so that requests are spread evenly over time.
            Pace::PerSecond(rate) | Pace::OrNotAtAll(rate) => {
                Duration::from_secs_f64((turn as usize * of + number) as f64 / f64::from(rate))
            }
            Pace::FlatOut => started.elapsed(),
        };
        if due >= length {
            break;
        }
        let early = due.saturating_sub(started.elapsed());
        if !early.is_zero() {
            tokio::time::sleep(early).await;
        }
        if matches!(pace, Pace::OrNotAtAll(_)) && started.elapsed() > due + SENT_LATE {
            continue;
        }
        // From when it was due: an answer that made the next request late is counted there, too.
        let since = if matches!(pace, Pace::OrNotAtAll(_)) { started.elapsed() } else { due };
        request(&path, u64::from(turn) * of as u64 + number as u64, started, &mut out);
        stream.write_all(&out).await?;
        let status = tokio::time::timeout(ANSWER_LIMIT, answer(&mut stream, &mut buffer)).await;
        let (status, turned_away) = status.map_err(|_| std::io::Error::other("no answer within 10 s"))??;
        *seen.statuses.entry(status).or_default() += 1;
        if turned_away {
            seen.turned_away += 1;
            continue;
        }
        let taken = started.elapsed() - since;
        seen.good += u64::from(taken <= IN_TIME);
        seen.latency_us.saturating_record((taken.as_micros() as u64).max(1));
    }
    Ok(seen)
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

/// Reads one answer; its status, and whether it turned the request away.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<(u16, bool)> {
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
    let turned_away = status == Some(204) && buffer.windows(TURNED_AWAY.len()).any(|part| part == TURNED_AWAY);
    Ok((status.ok_or_else(|| wrong("a status that is no number"))?, turned_away))
}
