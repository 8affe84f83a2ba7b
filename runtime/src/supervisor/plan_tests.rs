//! The plan against a plain model of OTP's semantics.

use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::Strategy as _;

use super::plan::Strategy;
use super::plan::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy(strategy: Strategy, restarts: usize) -> Policy {
    Policy {
        strategy,
        backoff: Backoff { first: SECOND, max: 8 * SECOND, calm: 100 * SECOND },
        intensity: Intensity { restarts, window: 60 * SECOND },
        rest: 30 * SECOND,
    }
}

/// Runs a plan in virtual time: planned starts and stops happen, failures come from outside.
struct World {
    plan: Plan,
    now: Duration,
    running: Vec<bool>,
    starts: Vec<usize>,
    /// Planned starts: when, child, generation. Never cancelled, as real timers are not.
    timers: Vec<(Duration, usize, u64)>,
    stopping: Vec<usize>,
    degraded: usize,
    random: fastrand::Rng,
}

impl World {
    fn new(policy: Policy, children: usize) -> Self {
        let mut world = Self {
            plan: Plan::new(policy, children),
            now: Duration::ZERO,
            running: vec![false; children],
            starts: vec![0; children],
            timers: Vec::new(),
            stopping: Vec::new(),
            degraded: 0,
            random: fastrand::Rng::with_seed(7),
        };
        let actions = world.plan.begin();
        world.act(actions);
        world.advance(Duration::ZERO);
        world
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Stop { child } => self.stopping.push(child),
                Action::Start { child, after, generation } => self.timers.push((self.now + after, child, generation)),
                Action::Degrade { .. } => self.degraded += 1,
            }
        }
    }

    /// Children that we end report their end, as real ones do.
    fn finish_stops(&mut self) {
        for child in std::mem::take(&mut self.stopping) {
            self.running[child] = false;
            let actions = self.plan.ended(child, Exit::Ownership, self.now, &mut self.random);
            assert!(actions.is_empty(), "a child that we ended restarts nobody");
        }
    }

    fn fail(&mut self, child: usize, exit: Exit) {
        if self.running[child] {
            self.running[child] = false;
            let actions = self.plan.ended(child, exit, self.now, &mut self.random);
            self.act(actions);
        }
    }

    /// Somebody else's from here on; it ends, if it runs.
    fn release(&mut self, child: usize) {
        self.stopping.retain(|stopping| *stopping != child);
        self.running[child] = false;
        self.plan.released(child);
    }

    fn assign(&mut self, child: usize) {
        let actions = self.plan.assigned(child, self.now);
        self.act(actions);
    }

    fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        self.timers.sort();
        while self.timers.first().is_some_and(|(at, ..)| *at <= until) {
            let (at, child, generation) = self.timers.remove(0);
            self.now = self.now.max(at);
            self.finish_stops();
            if self.plan.due(child, generation, self.now) {
                assert!(!self.running[child], "a running child is never started again");
                self.running[child] = true;
                self.starts[child] += 1;
            }
        }
        self.now = until;
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Fail(usize, bool),
    /// Taken away, and given back after a while.
    Move(usize, u64),
    Wait(u64),
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..4, any::<bool>()).prop_map(|(child, own)| Step::Fail(child, own)),
        (0usize..4, 0u64..5_000).prop_map(|(child, ms)| Step::Move(child, ms)),
        (0u64..20_000).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever fails in whatever order: nobody runs twice, nobody is forgotten, all run again when it is calm.
    #[test]
    fn everybody_runs_again(steps in steps(), strategy in 0usize..3) {
        let strategy = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne][strategy];
        let mut world = World::new(policy(strategy, 5), 4);
        for step in steps {
            match step {
                Step::Fail(child, own) => world.fail(child, if own { Exit::Failure } else { Exit::Ownership }),
                Step::Move(child, ms) => {
                    world.release(child);
                    let starts = world.starts[child];
                    let others: Vec<_> = world.timers.iter().filter(|(_, other, _)| *other == child).copied().collect();
                    world.timers.retain(|(_, other, _)| *other != child);
                    world.advance(Duration::from_millis(ms));
                    assert_eq!(world.starts[child], starts, "what is somebody else's is not started");
                    // Old timers go off late: they start nobody.
                    world.timers.extend(others);
                    world.assign(child);
                }
                Step::Wait(ms) => world.advance(Duration::from_millis(ms)),
            }
        }
        world.advance(60 * SECOND);
        world.finish_stops();
        world.advance(60 * SECOND);
        prop_assert!(world.running.iter().all(|running| *running), "{:?}", world.running);
        prop_assert!(!world.plan.is_degraded());
    }

    /// OTP's rule for one failure while all are up: who starts again follows from the strategy alone.
    #[test]
    fn a_strategy_says_who_starts_again(failed in 0usize..4, strategy in 0usize..3) {
        let strategy = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne][strategy];
        let mut world = World::new(policy(strategy, 5), 4);
        world.fail(failed, Exit::Failure);
        world.advance(10 * SECOND);
        for child in 0..4 {
            let again = match strategy {
                Strategy::OneForOne => child == failed,
                Strategy::OneForAll => true,
                Strategy::RestForOne => child >= failed,
            };
            prop_assert_eq!(world.starts[child], 1 + usize::from(again), "child {}", child);
        }
    }
}

proptest! {
    /// The sliding window, against a plain list of the times of all failures.
    #[test]
    fn it_degrades_exactly_when_a_window_holds_too_many(gaps in proptest::collection::vec(8_001u64..40_000, 1..60)) {
        const RESTARTS: usize = 3;
        let mut world = World::new(policy(Strategy::OneForOne, RESTARTS), 1);
        let (mut failures, mut degraded) = (Vec::<Duration>::new(), 0);
        for gap in gaps {
            // Longer than any back-off, jitter included, so that it runs again.
            world.advance(Duration::from_millis(gap + 2_000));
            if world.plan.is_degraded() {
                world.advance(30 * SECOND);
            }
            failures.push(world.now);
            let window = failures.iter().filter(|at| world.now - **at <= 60 * SECOND).count();
            if window > RESTARTS {
                degraded += 1;
                failures.clear();
            }
            prop_assert!(world.running[0]);
            world.fail(0, Exit::Failure);
            prop_assert_eq!(world.degraded, degraded);
        }
    }
}

/// The bug that a supervisor crate elsewhere has: a (long back-off) fails, b (no back-off) fails, the group restarts, then
/// a's stale timer restarts it again and kills two healthy children.
#[test]
fn a_stale_timer_restarts_nobody() {
    let mut world = World::new(policy(Strategy::OneForAll, 10), 2);
    world.fail(0, Exit::Failure);
    world.advance(SECOND / 10);
    world.finish_stops();
    world.advance(30 * SECOND);
    assert_eq!(world.starts, [2, 2]);
}

#[test]
fn too_much_failing_degrades_and_rests() {
    let mut world = World::new(policy(Strategy::OneForOne, 3), 2);
    for _ in 0..4 {
        world.fail(0, Exit::Failure);
        world.advance(10 * SECOND);
    }
    assert_eq!(world.degraded, 1);
    assert!(world.plan.is_degraded() && world.running == [false, true], "the sibling is being ended");
    world.finish_stops();
    assert_eq!(world.running, [false, false], "a degraded bulkhead pauses as a whole");
    world.advance(30 * SECOND);
    assert_eq!(world.running, [true, true], "one more try after the rest");
}

#[test]
fn lost_ownership_is_no_failing() {
    let mut world = World::new(policy(Strategy::OneForOne, 3), 1);
    for _ in 0..50 {
        world.fail(0, Exit::Ownership);
        world.advance(10 * SECOND);
    }
    assert_eq!((world.degraded, world.starts[0]), (0, 51));
}

#[test]
fn backoff_grows_to_its_bound_and_starts_again_after_a_calm_while() {
    let (backoff, mut random) = (Backoff::default(), fastrand::Rng::with_seed(1));
    let delays: Vec<_> = (1..40).map(|n| backoff.delay(n, &mut random)).collect();
    assert!(delays[0] >= backoff.first && delays[0] <= backoff.first.mul_f64(1.25));
    assert!(delays[3] >= backoff.first * 8);
    assert!(delays.iter().all(|delay| *delay <= backoff.max.mul_f64(1.25)));
    let mut world = World::new(policy(Strategy::OneForOne, 50), 1);
    for _ in 0..6 {
        world.fail(0, Exit::Failure);
        world.advance(10 * SECOND);
    }
    world.advance(100 * SECOND);
    world.fail(0, Exit::Failure);
    world.advance(2 * SECOND);
    assert!(world.running[0], "after a calm while the first delay is short again");
}
