//! What a supervisor does about its children: a pure account of starts, failures and delays, without actors or clocks.
//!
//! The vocabulary is OTP's. A delayed start carries the generation it was planned under: a late timer restarts nobody
//! (a supervisor elsewhere killed healthy children by forgetting that).

use std::collections::VecDeque;
use std::time::Duration;

/// Which children start again when one fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    OneForOne,
    OneForAll,
    /// The failed one and those declared after it.
    RestForOne,
}

/// How much failing is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    pub restarts: usize,
    pub window: Duration,
}

/// When a failed child starts again: exponential with jitter, back to the start after a calm while.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub first: Duration,
    pub max: Duration,
    /// A child that has run this long starts from `first` again.
    pub calm: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(10), calm: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// Delay before restart number `failures` (from 1), with up to a quarter more by chance.
    pub fn delay(&self, failures: u32, random: &mut fastrand::Rng) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.max);
        doubled.mul_f64(1.0 + random.f64() / 4.0)
    }
}

/// Everything a supervisor is told about failing.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub strategy: Strategy,
    pub backoff: Backoff,
    /// Beyond this the bulkhead is degraded: its partitions pause, everything else goes on.
    pub intensity: Intensity,
    /// How long a degraded bulkhead rests before one more try.
    pub rest: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            strategy: Strategy::OneForOne,
            backoff: Backoff::default(),
            intensity: Intensity { restarts: 10, window: Duration::from_secs(60) },
            rest: Duration::from_secs(60),
        }
    }
}

/// What a child did to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It lost its ownership or the log's answer: normal in a distributed system, back-off is enough.
    Ownership,
    /// It failed by itself: counts against the intensity.
    Failure,
}

/// What the supervisor must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// End this child, which did nothing wrong, so that it can start again with the others.
    Stop { child: usize },
    /// Start this child after a while, unless its generation has moved on.
    Start { child: usize, after: Duration, generation: u64 },
    /// Too much: nothing starts for a while.
    Degrade { rest: Duration },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running {
        since: Duration,
    },
    /// A start is planned.
    Waiting,
    /// Being ended by us.
    Stopping,
}

#[derive(Clone, Debug)]
struct Child {
    state: State,
    generation: u64,
    failures: u32,
}

/// The account of one supervisor. Times are since any fixed point.
#[derive(Clone, Debug)]
pub struct Plan {
    policy: Policy,
    children: Vec<Child>,
    failed_at: VecDeque<Duration>,
    degraded_until: Option<Duration>,
}

impl Plan {
    pub fn new(policy: Policy, children: usize) -> Self {
        let child = Child { state: State::Waiting, generation: 0, failures: 0 };
        Self { policy, children: vec![child; children], failed_at: VecDeque::new(), degraded_until: None }
    }

    /// The first starts, in the order of declaration.
    pub fn begin(&mut self) -> Vec<Action> {
        (0..self.children.len()).map(|child| self.start_after(child, Duration::ZERO)).collect()
    }

    pub fn is_degraded(&self) -> bool {
        self.degraded_until.is_some()
    }

    pub fn is_running(&self, child: usize) -> bool {
        matches!(self.children[child].state, State::Running { .. })
    }

    /// A planned start is due; `true` if it still stands and the child is to be started now.
    pub fn due(&mut self, child: usize, generation: u64, now: Duration) -> bool {
        let entry = &mut self.children[child];
        if entry.generation != generation || entry.state != State::Waiting {
            return false;
        }
        self.degraded_until = None;
        entry.state = State::Running { since: now };
        true
    }

    /// A child is somebody else's: what was planned for it is void, and its end is no failure.
    pub fn released(&mut self, child: usize) {
        let entry = &mut self.children[child];
        *entry = Child { state: State::Waiting, generation: entry.generation + 1, failures: 0 };
    }

    /// A child is ours now. One whose end is not known yet starts again when it is.
    pub fn assigned(&mut self, child: usize, now: Duration) -> Vec<Action> {
        if self.children[child].state != State::Waiting {
            return Vec::new();
        }
        let rest = self.degraded_until.map_or(Duration::ZERO, |until| until.saturating_sub(now));
        vec![self.start_after(child, rest)]
    }

    /// A child has ended.
    pub fn ended(&mut self, child: usize, exit: Exit, now: Duration, random: &mut fastrand::Rng) -> Vec<Action> {
        match self.children[child].state {
            // We ended it: its start is planned already with that of the one that failed.
            State::Stopping => {
                self.children[child].state = State::Waiting;
                Vec::new()
            }
            State::Waiting => Vec::new(),
            State::Running { since } => self.failed(child, exit, since, now, random),
        }
    }

    fn failed(
        &mut self,
        child: usize,
        exit: Exit,
        since: Duration,
        now: Duration,
        random: &mut fastrand::Rng,
    ) -> Vec<Action> {
        self.children[child].state = State::Waiting;
        let calm = now.saturating_sub(since) >= self.policy.backoff.calm;
        self.children[child].failures = if calm { 1 } else { self.children[child].failures + 1 };
        let mut delay = self.policy.backoff.delay(self.children[child].failures, random);
        let mut actions = Vec::new();
        if exit == Exit::Failure && self.is_too_much(now) {
            let rest = self.policy.rest;
            self.degraded_until = Some(now + rest);
            self.failed_at.clear();
            actions.push(Action::Degrade { rest });
            delay = rest;
        }
        if let Some(until) = self.degraded_until {
            delay = delay.max(until.saturating_sub(now));
        }
        let degraded = self.degraded_until.is_some();
        for other in 0..self.children.len() {
            let along = other == child
                || degraded
                || match self.policy.strategy {
                    Strategy::OneForOne => false,
                    Strategy::OneForAll => true,
                    Strategy::RestForOne => other > child,
                };
            if !along {
                continue;
            }
            if let State::Running { .. } = self.children[other].state {
                self.children[other].state = State::Stopping;
                actions.push(Action::Stop { child: other });
            }
            actions.push(self.start_after(other, delay));
        }
        actions
    }

    fn start_after(&mut self, child: usize, after: Duration) -> Action {
        self.children[child].generation += 1;
        Action::Start { child, after, generation: self.children[child].generation }
    }

    fn is_too_much(&mut self, now: Duration) -> bool {
        self.failed_at.push_back(now);
        while self.failed_at.front().is_some_and(|at| now.saturating_sub(*at) > self.policy.intensity.window) {
            self.failed_at.pop_front();
        }
        self.failed_at.len() > self.policy.intensity.restarts
    }
}
