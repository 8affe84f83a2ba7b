//! The case study's synchronous chain, as a discrete-event model: seven services with thread pools, back-logs, timeouts
//! and retries; a thread is held while a service waits for another. ads -> user, bid, fraud; bid -> inventory, pricing,
//! budget; in sequence. Work goes on after its caller has given up, because nobody tells it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Services of the chain.
pub const NAMES: [&str; 7] = ["ads", "user", "bid", "inventory", "pricing", "budget", "fraud"];
const COUNT: usize = NAMES.len();
const CALLEES: [&[usize]; COUNT] = [&[1, 2, 6], &[], &[3, 4, 5], &[], &[], &[], &[]];
/// Mean work of one call, microseconds, exponential; one processor each.
const WORK_US: [f64; COUNT] = [2e3, 4e3, 4e3, 3e3, 3e3, 3e3, 5e3];
const THREADS: [usize; COUNT] = [20, 10, 20, 10, 10, 10, 10];
const BACKLOG: [usize; COUNT] = [100, 50, 50, 50, 50, 50, 50];
const NET_US: u64 = 200;
/// A request is bad when it failed or took longer.
const SLO_US: u64 = 200_000;
const S: u64 = 1_000_000;

/// How callers protect themselves.
#[derive(Clone, Copy, Debug)]
pub struct Protection {
    /// A caller waits so long for each callee.
    pub timeout_us: [u64; COUNT],
    pub retries: u32,
    /// Least and greatest pause before a retry.
    pub backoff_us: (u64, u64),
    /// Half of the last 20 calls failed: none is made for this long. 0: no breaker.
    pub breaker_us: u64,
    /// Calls in flight from one caller to one callee. A bulkhead in the usual sense.
    pub in_flight_max: usize,
    /// The request is fine without these.
    pub optional: [bool; COUNT],
}

impl Protection {
    /// As it was: long timeouts, two retries, nothing else.
    pub const PLAIN: Self = Self {
        timeout_us: [3_000_000, 1_000_000, 2_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000],
        retries: 2,
        backoff_us: (25_000, 75_000),
        breaker_us: 0,
        in_flight_max: usize::MAX,
        optional: [false; COUNT],
    };
    /// As good engineers would tune it: tight timeouts, breakers, bulkheads, fraud and user optional, one jittered retry.
    pub const TUNED: Self = Self {
        timeout_us: [3_000_000, 30_000, 140_000, 60_000, 60_000, 60_000, 30_000],
        retries: 1,
        backoff_us: (5_000, 15_000),
        breaker_us: 2 * S,
        in_flight_max: 16,
        optional: [false, true, false, false, false, false, true],
    };
}

/// What befalls one service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// The process stands still.
    Pause,
    /// Work takes this many times as long.
    Slow(f64),
    /// Calls are taken and never answered.
    Hang,
    /// This share of calls fails, thousandths.
    Errors(u32),
}

/// One fault of a window.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub service: usize,
    pub trouble: Trouble,
    pub from_us: u64,
    pub to_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    Worked { service: usize, job: usize },
    Called { service: usize, parent: usize, call: u32 },
    Answered { job: usize, call: u32, ok: bool },
    TimedOut { job: usize, call: u32 },
    Retry { job: usize },
    FaultOver,
}

struct Job {
    service: usize,
    /// Job that waits, and the number of its call.
    parent: Option<(usize, u32)>,
    arrived_us: u64,
    stage: usize,
    tries: u32,
    /// Number of the call that is waited for; answers to older ones come too late.
    call: u32,
    done: bool,
}

#[derive(Default)]
struct Server {
    threads_busy: usize,
    backlog: VecDeque<usize>,
    runnable: VecDeque<usize>,
    running: bool,
}

#[derive(Clone, Copy, Default)]
struct Edge {
    recent: u32,
    calls: u32,
    open_until_us: u64,
    in_flight: usize,
}

/// Seconds of a window with the shares of bad requests.
pub struct Chain<'a> {
    protection: &'a Protection,
    faults: &'a [Fault],
    rng: fastrand::Rng,
    now_us: u64,
    number: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    jobs: Vec<Job>,
    servers: [Server; COUNT],
    edges: [Edge; COUNT],
    /// Good and bad requests by the second of their arrival.
    seconds: Vec<(u32, u32)>,
}

/// Runs `window_s` seconds at `rate` requests a second; good and bad requests by second.
pub fn run(protection: &Protection, faults: &[Fault], rate: f64, window_s: u64, seed: u64) -> Vec<(u32, u32)> {
    let mut chain = Chain {
        protection,
        faults,
        rng: fastrand::Rng::with_seed(seed),
        now_us: 0,
        number: 0,
        queue: BinaryHeap::new(),
        jobs: Vec::new(),
        servers: Default::default(),
        edges: Default::default(),
        seconds: vec![(0, 0); window_s as usize],
    };
    chain.arrivals(rate, window_s);
    faults.iter().for_each(|fault| chain.at(fault.to_us, Event::FaultOver));
    while let Some(Reverse((at_us, _, event))) = chain.queue.pop() {
        if at_us > (window_s + 30) * S {
            break;
        }
        chain.now_us = at_us;
        chain.step(event);
    }
    chain.count_unfinished(window_s);
    chain.seconds
}

impl Chain<'_> {
    fn arrivals(&mut self, rate: f64, window_s: u64) {
        let mut at_us = 0.0;
        loop {
            at_us += self.exponential(1e6 / rate);
            if at_us >= (window_s * S) as f64 {
                return;
            }
            self.at(at_us as u64, Event::Arrive);
        }
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.rng.f64()).ln() * mean
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.number += 1;
        self.queue.push(Reverse((at_us, self.number, event)));
    }

    fn trouble(&self, service: usize) -> Option<Trouble> {
        let on = |fault: &&Fault| fault.service == service && (fault.from_us..fault.to_us).contains(&self.now_us);
        self.faults.iter().find(on).map(|fault| fault.trouble)
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive => {
                let job = self.job(0, None);
                self.enter(job);
            }
            Event::Called { service, parent, call } => {
                let job = self.job(service, Some((parent, call)));
                self.enter(job);
            }
            Event::Worked { service, job } if self.trouble(service) == Some(Trouble::Pause) => {
                // A pause holds up what is running, too.
                let over = self.faults.iter().filter(|f| f.service == service).map(|f| f.to_us).max();
                self.at(over.unwrap_or(self.now_us) + 1, Event::Worked { service, job });
            }
            Event::Worked { service, job } => {
                self.servers[service].running = false;
                self.worked(job);
                self.dispatch(service);
            }
            Event::Answered { job, call, ok } => self.answered(job, call, ok),
            Event::TimedOut { job, call } => self.answered(job, call, false),
            Event::Retry { job } => self.call(job),
            Event::FaultOver => (0..COUNT).for_each(|service| self.dispatch(service)),
        }
    }

    fn job(&mut self, service: usize, parent: Option<(usize, u32)>) -> usize {
        let arrived_us = self.now_us;
        self.jobs.push(Job { service, parent, arrived_us, stage: 0, tries: 0, call: 0, done: false });
        self.jobs.len() - 1
    }

    /// A thread, a place in the back-log, or a refusal.
    fn enter(&mut self, job: usize) {
        let service = self.jobs[job].service;
        let server = &mut self.servers[service];
        if server.threads_busy < THREADS[service] {
            server.threads_busy += 1;
            server.runnable.push_back(job);
            self.dispatch(service);
        } else if server.backlog.len() < BACKLOG[service] {
            server.backlog.push_back(job);
        } else {
            self.reply(job, false);
        }
    }

    fn dispatch(&mut self, service: usize) {
        let trouble = self.trouble(service);
        if self.servers[service].running || trouble == Some(Trouble::Pause) {
            return;
        }
        let Some(job) = self.servers[service].runnable.pop_front() else { return };
        self.servers[service].running = true;
        let slower = if let Some(Trouble::Slow(times)) = trouble { times } else { 1.0 };
        let work_us = self.exponential(WORK_US[service] * slower) as u64;
        self.at(self.now_us + work_us, Event::Worked { service, job });
    }

    fn worked(&mut self, job: usize) {
        match self.trouble(self.jobs[job].service) {
            // The thread is held until the fault is over and the caller has long gone.
            Some(Trouble::Hang) => {
                let service = self.jobs[job].service;
                let over = self.faults.iter().filter(|f| f.service == service).map(|f| f.to_us).max();
                self.at(over.unwrap_or(self.now_us) + 1, Event::Retry { job });
            }
            Some(Trouble::Errors(milli)) if self.rng.u32(0..1_000) < milli => self.finish(job, false),
            _ => self.call(job),
        }
    }

    /// The next call of a job, or its end.
    fn call(&mut self, job: usize) {
        let Job { service, stage, .. } = self.jobs[job];
        let Some(callee) = CALLEES[service].get(stage).copied() else { return self.finish(job, true) };
        self.jobs[job].call += 1;
        let (call, edge) = (self.jobs[job].call, &mut self.edges[callee]);
        if edge.open_until_us > self.now_us || edge.in_flight >= self.protection.in_flight_max {
            // Refused at once, and not counted: a breaker does not feed itself.
            return self.next(job, callee, false);
        }
        edge.in_flight += 1;
        self.at(self.now_us + NET_US, Event::Called { service: callee, parent: job, call });
        self.at(self.now_us + self.protection.timeout_us[callee], Event::TimedOut { job, call });
    }

    fn answered(&mut self, job: usize, call: u32, ok: bool) {
        if self.jobs[job].done || self.jobs[job].call != call {
            return;
        }
        self.jobs[job].call += 1;
        let Some(callee) = CALLEES[self.jobs[job].service].get(self.jobs[job].stage).copied() else { return };
        let edge = &mut self.edges[callee];
        edge.in_flight = edge.in_flight.saturating_sub(1);
        edge.recent = (edge.recent << 1 | u32::from(!ok)) & 0xf_ffff;
        edge.calls += 1;
        if self.protection.breaker_us > 0 && edge.calls >= 20 && edge.recent.count_ones() >= 10 {
            *edge = Edge {
                open_until_us: self.now_us + self.protection.breaker_us,
                in_flight: edge.in_flight,
                ..Edge::default()
            };
        }
        if !ok && self.jobs[job].tries < self.protection.retries {
            self.jobs[job].tries += 1;
            let (least, most) = self.protection.backoff_us;
            let pause_us = self.rng.u64(least..=most);
            return self.at(self.now_us + pause_us, Event::Retry { job });
        }
        self.next(job, callee, ok);
    }

    fn next(&mut self, job: usize, callee: usize, ok: bool) {
        if !ok && !self.protection.optional[callee] {
            return self.finish(job, false);
        }
        self.jobs[job].stage += 1;
        self.jobs[job].tries = 0;
        self.call(job);
    }

    fn finish(&mut self, job: usize, ok: bool) {
        let service = self.jobs[job].service;
        self.reply(job, ok);
        let server = &mut self.servers[service];
        match server.backlog.pop_front() {
            Some(next) => {
                server.runnable.push_back(next);
                self.dispatch(service);
            }
            None => server.threads_busy -= 1,
        }
    }

    fn reply(&mut self, job: usize, ok: bool) {
        self.jobs[job].done = true;
        let arrived_us = self.jobs[job].arrived_us;
        match self.jobs[job].parent {
            Some((parent, call)) => self.at(self.now_us + NET_US, Event::Answered { job: parent, call, ok }),
            None => self.count(arrived_us, ok && self.now_us - arrived_us <= SLO_US),
        }
    }

    fn count(&mut self, arrived_us: u64, good: bool) {
        if let Some((fine, bad)) = self.seconds.get_mut((arrived_us / S) as usize) {
            *(if good { fine } else { bad }) += 1;
        }
    }

    /// What was never answered is bad.
    fn count_unfinished(&mut self, window_s: u64) {
        let open: Vec<u64> =
            self.jobs.iter().filter(|job| job.parent.is_none() && !job.done).map(|job| job.arrived_us).collect();
        open.into_iter().filter(|at_us| *at_us < window_s * S).for_each(|at_us| self.count(at_us, false));
    }
}

/// More than 5 % bad requests for 15 s or more, at most one better second between: a cascade.
pub fn is_cascade(seconds: &[(u32, u32)]) -> bool {
    const LEAST_S: u32 = 15;
    let (mut run, mut better) = (0, 0);
    for (good, bad) in seconds {
        if bad * 20 > good + bad {
            run += 1 + better;
            better = 0;
        } else if run > 0 && better == 0 {
            better = 1;
        } else {
            (run, better) = (0, 0);
        }
        if run >= LEAST_S {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(trouble: Trouble, for_s: u64) -> [Fault; 1] {
        [Fault { service: 6, trouble, from_us: 20 * S, to_us: (20 + for_s) * S }]
    }

    #[test]
    fn calm_holds_and_a_long_hang_cascades() {
        assert!(!is_cascade(&run(&Protection::PLAIN, &[], 100.0, 60, 1)));
        assert!(!is_cascade(&run(&Protection::PLAIN, &fault(Trouble::Pause, 1), 100.0, 60, 1)));
        assert!(is_cascade(&run(&Protection::PLAIN, &fault(Trouble::Hang, 30), 100.0, 90, 1)));
        assert!(!is_cascade(&run(&Protection::TUNED, &fault(Trouble::Hang, 30), 100.0, 90, 1)), "fraud is optional");
    }

    #[test]
    fn a_cascade_lasts_fifteen_seconds() {
        let (good, bad) = ((100, 0), (90, 10));
        assert!(is_cascade(&[bad; 15]) && !is_cascade(&[bad; 14]));
        let broken: Vec<_> = (0..40).map(|s| if s % 10 < 7 { bad } else { good }).collect();
        assert!(!is_cascade(&broken));
    }
}
