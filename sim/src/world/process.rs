//! Processes: started, killed, buried, started again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use runtime::log::segment::EmbeddedLog;
use runtime::log::{AppendError, Log};
use runtime::platform::{Platform, PlatformConfig};

use super::{World, WorldError, lock, log_config};
use crate::mutant;
use crate::network::RemoteLog;
use crate::trace::ShardTrace;

/// One process of the platform.
pub struct Process {
    pub number: u32,
    pub platform: Platform,
    pub client: RemoteLog,
    /// Another one has taken over; this one does not know, or has not stopped yet.
    pub is_zombie: bool,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process alone: the operating system keeps what was written.
    Process,
    /// The machine: what was not synced is lost or torn.
    Machine,
}

impl World {
    fn config(&self) -> PlatformConfig {
        let mut config = PlatformConfig {
            partitions: self.scenario.partitions,
            guards: mutant::guards(self.scenario.mutant),
            ..PlatformConfig::default()
        };
        config.limits.retry_delays = [100, 500, 2_000].map(Duration::from_millis).to_vec();
        config.limits.trim = self.scenario.trim;
        // Small, so that a run of a minute has snapshots and trims.
        config.limits.snapshot_bytes = 24 << 10;
        config.limits.append_deadline = Duration::from_secs(8);
        config
    }

    /// Starts a process over the log as it is.
    pub(super) async fn start_process(&mut self) -> Result<(), WorldError> {
        self.started += 1;
        let number = self.started;
        let name = format!("process-{number}");
        let (books, log) = (self.books.clone(), self.log.clone());
        let client = RemoteLog::new(
            &self.env,
            self.log.clone(),
            self.network.clone(),
            self.trace.clone(),
            name.clone(),
            Box::new(move |of, to| lock(&books).trimmed(&log, of, to)),
            !self.scenario.kafka,
            self.scenario.mutant,
        );
        let mut config = self.config();
        config.instance = name.as_str().into();
        let fatal = client.clone();
        config.observer = Some(Arc::new(ShardTrace {
            trace: self.trace.clone(),
            process: number,
            steps: self.steps.clone(),
            dies_at: self.dies_at_step,
            die: Box::new(move || fatal.die()),
        }));
        self.trace.record("start", &name, &[], &[]);
        let platform = Platform::start(self.env.clone(), Arc::new(client.clone()), self.services.clone(), config)
            .await
            .map_err(|error| WorldError::Start(error.to_string()))?;
        self.fatal.started(client.clone());
        self.source.connect(Arc::new(client.clone()), self.scenario.partitions);
        self.processes.push(Process { number, platform, client, is_zombie: false });
        self.apply_service_faults();
        Ok(())
    }

    /// The newest process, if one lives.
    pub(super) fn current(&self) -> Option<&Process> {
        self.processes.iter().rfind(|process| !process.is_zombie)
    }

    /// Kills all processes at once. The next one starts at `restart_at_ms`.
    pub(super) async fn kill_all(&mut self, death: Death, restart_at_ms: u64) -> Result<(), WorldError> {
        self.trace.record("kill", if death == Death::Machine { "machine" } else { "process" }, &[], &[]);
        self.source.abandon();
        for process in std::mem::take(&mut self.processes) {
            self.handled += handled(&process);
            process.client.die();
            process.platform.kill();
        }
        if !self.scenario.kafka {
            match death {
                Death::Process => self.storage.kill(),
                Death::Machine => self.storage.crash(&mut self.env.random.stream(&format!("crash/{}", self.started))),
            }
            self.disk.buried();
        }
        self.restart_at_ms = Some(restart_at_ms);
        // Whatever the dead still had to do happens before anything of the next.
        self.env.clock.sleep(Duration::from_millis(1)).await;
        Ok(())
    }

    /// Ends a zombie.
    pub(super) fn kill_zombies(&mut self) {
        let (zombies, living) = std::mem::take(&mut self.processes).into_iter().partition(|p: &Process| p.is_zombie);
        self.processes = living;
        for process in Vec::from_iter::<Vec<Process>>(zombies) {
            self.trace.record("kill", "zombie", &[i64::from(process.number)], &[]);
            self.handled += handled(&process);
            process.client.die();
            process.platform.kill();
        }
    }

    /// Buries who died in a write, restarts what is down, replaces a process whose log went read-only.
    pub(super) async fn look_after_processes(&mut self, now_ms: u64) -> Result<(), WorldError> {
        const OPERATOR_MS: u64 = 700;
        let died_at_step = self.dies_at_step > 0 && self.steps.load(Ordering::Relaxed) >= self.dies_at_step;
        if died_at_step {
            self.dies_at_step = 0;
        }
        if self.disk.done().died || died_at_step {
            self.kill_all(Death::Machine, now_ms + OPERATOR_MS).await?;
        }
        if self.fatal.has_struck() {
            self.kill_all(Death::Process, now_ms + OPERATOR_MS).await?;
        }
        let is_read_only = matches!(self.log.room(), Err(AppendError::ReadOnly { .. } | AppendError::Closed));
        if is_read_only && !self.processes.is_empty() {
            self.kill_all(Death::Machine, now_ms + OPERATOR_MS).await?;
        }
        if self.restart_at_ms.is_some_and(|at_ms| at_ms <= now_ms) && self.processes.is_empty() {
            self.restart_at_ms = None;
            if let Some(log) = self.reopen() {
                self.log = log;
                if self.start_process().await.is_err() {
                    self.kill_all(Death::Machine, now_ms + OPERATOR_MS).await?;
                }
            }
        }
        Ok(())
    }

    /// The log after a restart; on Kafka it never went away. `None`: the disk failed again while it was opened.
    pub(super) fn reopen(&mut self) -> Option<Arc<dyn Log>> {
        if self.scenario.kafka {
            return Some(self.log.clone());
        }
        match EmbeddedLog::open(&self.env, Arc::new(self.storage.mount()), log_config()) {
            Ok(log) => Some(log),
            Err(error) => {
                self.trace.record("open", "failed", &[], error.to_string().as_bytes());
                if !self.disk_is_faulty() {
                    lock(&self.books)
                        .findings
                        .broken("acknowledged_survives", format!("the log does not open: {error}"));
                }
                self.storage.crash(&mut self.env.random.stream(&format!("crash/open/{}", self.now_ms())));
                self.disk.buried();
                self.restart_at_ms = Some(self.now_ms() + 500);
                None
            }
        }
    }

    /// Nothing is left to do in the living process.
    pub(super) fn is_idle(&self) -> bool {
        let Some(process) = self.current() else { return false };
        let platform = &process.platform;
        let up = platform.bulkheads.iter().all(|b| b.running() == b.shards.len());
        let publishing: usize = platform.bulkheads.iter().map(runtime::platform::Bulkhead::publishing).sum();
        up && platform.lag() == 0 && platform.parked() == 0 && publishing == 0
    }

    /// Who is not idle, for the message.
    pub(super) fn backlog(&self) -> String {
        let Some(process) = self.current() else { return "no process lives".into() };
        let of = |b: &runtime::platform::Bulkhead| {
            let busy = b.lag() + b.parked() > 0 || b.running() < b.shards.len();
            let (name, lag, parked) = (b.spec.name, b.lag(), b.parked());
            let (up, all, error) = (b.running(), b.shards.len(), b.stats.last_error());
            busy.then(|| format!("{name}: lag {lag}, waiting {parked}, {up} of {all} shards up, last error {error:?}"))
        };
        let busy: Vec<String> = process.platform.bulkheads.iter().filter_map(of).collect();
        format!("source empty {}, {}", self.source.is_empty(), busy.join("; "))
    }
}

/// Events that the services of a process have ended.
pub(super) fn handled(process: &Process) -> u64 {
    process.platform.bulkheads.iter().map(|bulkhead| bulkhead.stats.tally().total()).sum()
}
