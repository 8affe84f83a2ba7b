//! Several processes of one platform on one Kafka, which may die at any time, and the traffic for them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::market::campaigns::demo_campaigns;
use actors::topics::{BUDGETS_CHANGES, CAMPAIGNS_CHANGES};
use runtime::env::Env;
use runtime::log::Log;
use runtime::log::kafka::{KafkaConfig, KafkaLog};
use runtime::producer::Producer;

use crate::exchange::{Won, request, with_price};
use crate::fatal::Kind;
use crate::http;
use crate::kafka;
use crate::program::{Running, built};

/// Silent for this long, a process has lost its partitions.
pub const SESSION: &str = "3s";
/// A process is up by then, or has ended.
const UP_LIMIT: Duration = Duration::from_secs(30);
/// Each start without a broker ends after ten seconds; a broker that was killed takes its time over a large log.
const STARTS_MAX: u32 = 9;
const LOOK: Duration = Duration::from_millis(20);

/// One process.
struct Process {
    running: Running,
    edge: SocketAddr,
}

/// The processes, and where each of them is.
pub struct Fleet {
    program: PathBuf,
    directory: tempfile::TempDir,
    prefix: String,
    partitions: u32,
    /// By number: the services of its own, or all.
    only: Vec<Option<String>>,
    processes: Vec<Mutex<Option<Process>>>,
    started: AtomicU64,
}

impl Fleet {
    /// Topics for a platform of its own; no process yet.
    pub fn new(partitions: u32, only: &[Option<&str>]) -> Self {
        let fleet = Self {
            program: built("bulkhead", "bulkhead"),
            directory: tempfile::tempdir().expect("a directory"),
            prefix: kafka::fresh_prefix(),
            partitions,
            only: only.iter().map(|only| only.map(str::to_owned)).collect(),
            processes: only.iter().map(|_| Mutex::default()).collect(),
            started: AtomicU64::new(0),
        };
        let made = fleet.run(&["topics", "create", "--partitions", &partitions.to_string()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fleet.bring_campaigns();
        fleet
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .args(["--brokers", kafka::brokers(), "--topic-prefix", &self.prefix])
            .env("BULKHEAD_KAFKA_SESSION_TIMEOUT", SESSION)
            .env("BULKHEAD_EDGE_KEYS_FILE", self.directory.path().join("edge.keys"))
            .env("BULKHEAD_DRAIN_TIMEOUT", "2s");
        command
    }

    /// A command on the platform's topics.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).args(["--output", "json"]).output().expect("the program runs")
    }

    /// Campaigns and budgets as the change stream of their database would bring them.
    fn bring_campaigns(&self) {
        let config = KafkaConfig {
            brokers: kafka::brokers().to_owned(),
            topic_prefix: self.prefix.clone(),
            ..KafkaConfig::default()
        };
        let env = Env::production();
        let log = KafkaLog::open(&env, config).expect("the cluster answers");
        log.adopt_all().expect("topics");
        let log: Arc<dyn Log> = log;
        let mut producer = Producer::new(log, "campaigns", 1 << 20, self.partitions);
        let now_ms = env.clock.wall_ms();
        for (index, campaign) in demo_campaigns(1).iter().enumerate() {
            let (lsn, id) = ((now_ms << 8) + 2 * index as i64, campaign.campaign_id.as_str());
            let added = campaign.with_campaign_change(lsn, now_ms, |change| {
                producer.add(&CAMPAIGNS_CHANGES, id, now_ms, &change, None)
            });
            added.expect("a change");
            let budget = campaign.budget_change(lsn + 1, now_ms);
            producer.add(&BUDGETS_CHANGES, id, now_ms, &budget, None).expect("a change");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(producer.flush()).expect("campaigns are in the log");
    }

    /// What a process said.
    pub fn said(&self, number: usize) -> String {
        let all = std::fs::read_dir(self.directory.path()).expect("a directory");
        let ours = format!("p{number}-");
        let mut files: Vec<PathBuf> = all.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        let is_ours = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&ours));
        files.iter().filter(|path| is_ours(path)).filter_map(|path| std::fs::read_to_string(path).ok()).collect()
    }

    /// Starts a process and waits until its edge listens. One that ends before, since no broker answers, is started
    /// again.
    pub fn start(&self, number: usize) {
        for _ in 0..STARTS_MAX {
            let turn = self.started.fetch_add(1, Ordering::Relaxed);
            let log = self.directory.path().join(format!("p{number}-{turn:04}.log"));
            let mut command =
                self.command(&["up", "--log", "kafka", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
            command.arg("--data").arg(self.directory.path().join(format!("data-{number}")));
            command.args(["--instance", &format!("p{number}")]);
            if let Some(only) = &self.only[number] {
                command.args(["--only", only]);
            }
            let stderr = std::fs::File::create(&log).expect("a file");
            let child = command.stdout(Stdio::null()).stderr(stderr).spawn().expect("the program runs");
            let mut running = Running(child);
            if let Some(edge) = await_edge(&mut running, &log) {
                *self.process(number) = Some(Process { running, edge });
                return;
            }
        }
        panic!("process {number} does not start: {}", self.said(number));
    }

    /// `fraud` by itself, which ends its process in this way at one of its events.
    pub fn start_fatal(&self, kind: Kind) -> Running {
        let said = std::fs::File::create(self.directory.path().join(format!("fatal-{}.log", kind.name())));
        let data = self.directory.path().join(format!("fatal-{}", kind.name()));
        let mut command = Command::new(built("tests", "boundary"));
        command.arg(data).args([kind.name(), kafka::brokers(), &self.prefix]);
        command.env("BULKHEAD_EDGE_KEYS_FILE", self.directory.path().join("edge.keys"));
        let child = command.stdout(Stdio::null()).stderr(said.expect("a file")).spawn();
        Running(child.expect("the program runs"))
    }

    fn process(&self, number: usize) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.processes[number].lock().expect("nobody panicked")
    }

    /// kill -9: whatever it was doing. It must not have ended by itself.
    pub fn kill(&self, number: usize) {
        let mut process = self.process(number).take().expect("it runs");
        let ended = process.running.0.try_wait().expect("a child");
        assert!(ended.is_none(), "process {number} had ended by itself: {ended:?}\n{}", self.said(number));
        drop(process);
    }

    /// Asks all to end, and waits until they have.
    pub fn end(&self) {
        let mut processes: Vec<_> =
            (0..self.processes.len()).filter_map(|n| Some((n, self.process(n).take()?))).collect();
        for (_, process) in &processes {
            let pid = rustix::process::Pid::from_child(&process.running.0);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        for (number, process) in &mut processes {
            let status = process.running.0.wait().expect("a child");
            assert!(status.success(), "{status:?}: {}", self.said(*number));
        }
    }

    /// Where the edge of a process is, if it runs.
    pub fn edge(&self, number: usize) -> Option<SocketAddr> {
        self.process(number).as_ref().map(|process| process.edge)
    }

    pub fn size(&self) -> usize {
        self.processes.len()
    }
}

fn await_edge(running: &mut Running, log: &Path) -> Option<SocketAddr> {
    for _ in 0..UP_LIMIT.as_millis() / LOOK.as_millis() {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        let edge = said.lines().find_map(|line| line.strip_prefix("edge on http://")?.parse().ok());
        if edge.is_some() || running.0.try_wait().expect("a child").is_some() {
            return edge;
        }
        std::thread::sleep(LOOK);
    }
    None
}

/// What was answered.
#[derive(Default, Debug)]
pub struct Answers {
    pub bids: AtomicU64,
    /// Impressions that the edge has taken: they are in the log.
    pub impressions: AtomicU64,
    pub refused: AtomicU64,
}

/// Sends requests and what follows a bid, each to the next process, until `stop`.
pub fn traffic(fleet: &Fleet, name: &str, pause: Duration, stop: &AtomicBool, answers: &Answers) {
    for turn in 0usize.. {
        if stop.load(Ordering::Acquire) {
            return;
        }
        std::thread::sleep(pause);
        let Some(at) = fleet.edge(turn % fleet.size()) else { continue };
        let id = format!("{name}-{turn}");
        let reply = http::attempt(at, "POST", "/openrtb2/bid", request(&id).as_bytes());
        let Some(reply) = reply.filter(|reply| reply.status == 200) else {
            answers.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        answers.bids.fetch_add(1, Ordering::Relaxed);
        let won = Won::of(&reply);
        let price = format!("{}", won.price / 2.0);
        let Some(at) = fleet.edge((turn + 1) % fleet.size()) else { continue };
        let _ = http::attempt(at, "GET", &with_price(&won.win, &price), b"");
        let pixel = http::attempt(at, "GET", &with_price(&won.pixel, &price), b"");
        let is_taken = pixel.is_some_and(|reply| reply.status == 200);
        answers.impressions.fetch_add(u64::from(is_taken), Ordering::Relaxed);
        if is_taken && turn.is_multiple_of(10) {
            let _ = http::attempt(at, "GET", &won.click, b"");
        }
    }
}
