//! One thread and its line in virtual time, microsecond by microsecond; only [`Line`] is the product's.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{Line, REST_US, STEP, WAIT_MAX_US};

/// An answer counts while its auction waits.
const IN_TIME_US: u64 = 100_000;

/// What one request costs the thread.
#[derive(Clone, Copy, Debug)]
struct Cost {
    served_us: u64,
    shed_us: u64,
}

/// A request that was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Answered {
    came_us: u64,
    at_us: u64,
    is_shed: bool,
}

enum Place {
    Request(u64),
    Probe,
}

/// Serves arrivals (in order) first come, first served; `limited` with the line, else everybody.
fn serve(arrivals: &[u64], cost: Cost, limited: bool) -> Vec<Answered> {
    let (line, mut queue, mut answered) = (Line::default(), VecDeque::new(), Vec::new());
    let (mut now_us, mut next, mut probe_due_us) = (1, 0, Some(1));
    while answered.len() < arrivals.len() {
        while let Some(came_us) = arrivals.get(next).filter(|came_us| **came_us <= now_us) {
            queue.push_back(Place::Request(*came_us));
            next += 1;
        }
        if probe_due_us.is_some_and(|due_us| due_us <= now_us) {
            queue.push_back(Place::Probe);
            probe_due_us = None;
        }
        match queue.pop_front() {
            Some(Place::Request(came_us)) => {
                let resting = line.turn_us.load(std::sync::atomic::Ordering::Relaxed) == 0;
                let is_shed = limited && !line.admits(now_us);
                if resting && probe_due_us.is_none() {
                    probe_due_us = Some(now_us);
                }
                now_us += if is_shed { cost.shed_us } else { cost.served_us };
                answered.push(Answered { came_us, at_us: now_us, is_shed });
            }
            Some(Place::Probe) => {
                if line.turn(now_us) {
                    probe_due_us = Some(now_us + STEP.as_micros() as u64);
                }
            }
            None => {
                let soonest = [arrivals.get(next).copied(), probe_due_us];
                now_us = soonest.into_iter().flatten().min().expect("somebody is to come").max(now_us + 1);
            }
        }
    }
    answered
}

/// Requests from `from_us` until `until_us`, `gap_us` apart.
fn steady(from_us: u64, until_us: u64, gap_us: u64) -> impl Iterator<Item = u64> {
    (from_us..until_us).step_by(gap_us as usize)
}

fn p99_us(answered: &[Answered], from_us: u64, until_us: u64) -> u64 {
    let of = answered.iter().filter(|one| (from_us..until_us).contains(&one.came_us) && !one.is_shed);
    let mut all: Vec<u64> = of.map(|one| one.at_us - one.came_us).collect();
    all.sort_unstable();
    all[all.len() * 99 / 100]
}

fn good(answered: &[Answered], from_us: u64, until_us: u64) -> usize {
    let is_good = |one: &&Answered| !one.is_shed && one.at_us - one.came_us <= IN_TIME_US;
    answered.iter().filter(|one| (from_us..until_us).contains(&one.at_us)).filter(is_good).count()
}

const S: u64 = 1_000_000;
/// 10,000 a second at most; who is turned away costs a twentieth.
const COST: Cost = Cost { served_us: 100, shed_us: 5 };

/// Two seconds at half of what is possible, four at twice of it, six at half again.
fn overload() -> Vec<u64> {
    steady(1, 2 * S, 200).chain(steady(2 * S, 6 * S, 50)).chain(steady(6 * S, 12 * S, 200)).collect()
}

#[test]
fn at_twice_the_capacity_nine_tenths_of_the_peak_are_answered_in_time() {
    let answered = serve(&overload(), COST, true);
    let peak = (4 * S / COST.served_us) as usize;
    let of_peak = good(&answered, 2 * S, 6 * S) as f64 / peak as f64;
    assert!(of_peak >= 0.9, "{of_peak}");
    let calm_us = p99_us(&answered, 0, 2 * S);
    // The line is a turn long: it is gone with the overload, not five seconds after it.
    assert!(p99_us(&answered, 2 * S, 6 * S) <= 2 * WAIT_MAX_US, "{}", p99_us(&answered, 2 * S, 6 * S));
    assert!(p99_us(&answered, 7 * S, 12 * S) <= calm_us, "{} after {calm_us}", p99_us(&answered, 7 * S, 12 * S));
    assert_eq!(answered, serve(&overload(), COST, true), "the same again");
}

#[test]
fn without_it_next_to_nothing_is_in_time() {
    let answered = serve(&overload(), COST, false);
    let peak = (4 * S / COST.served_us) as usize;
    assert!(good(&answered, 2 * S, 6 * S) < peak / 5, "{}", good(&answered, 2 * S, 6 * S));
    assert!(p99_us(&answered, 7 * S, 9 * S) > IN_TIME_US, "and long after it everybody still waits");
}

#[test]
fn who_comes_after_a_rest_is_served() {
    let line = Line::default();
    assert!(line.admits(5 * S), "nobody has stood there before");
    assert!(line.turn(5 * S) && line.admits(5 * S + WAIT_MAX_US) && !line.admits(5 * S + WAIT_MAX_US + 1));
    assert!(!line.turn(6 * S + WAIT_MAX_US + 2 + REST_US), "a second without anybody");
    assert!(line.admits(60 * S));
}

proptest! {
    /// Whatever comes when: below the capacity nobody is turned away, nobody who is served waits longer than two turns, and
    /// who is turned away had come later than somebody who was served meanwhile.
    #[test]
    fn no_arrivals_break_it(
        gaps in prop::collection::vec(1u64..400, 1..4_000),
        served_us in 20u64..200,
        shed_share in 2u64..40,
    ) {
        let cost = Cost { served_us, shed_us: (served_us / shed_share).max(1) };
        let arrivals: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
        let answered = serve(&arrivals, cost, true);
        let everybody = serve(&arrivals, cost, false);
        let longest = everybody.iter().map(|one| one.at_us - one.came_us).max().unwrap_or(0);
        let shed = answered.iter().filter(|one| one.is_shed).count();
        if longest + STEP.as_micros() as u64 <= WAIT_MAX_US {
            prop_assert_eq!(shed, 0, "nobody waited longer than {}", longest);
        }
        // A turn: what is admitted of it, the others at their price, and the probe's way back into the line.
        let others_us = WAIT_MAX_US * 400 / cost.served_us.max(1) * cost.shed_us;
        for one in answered.iter().filter(|one| !one.is_shed) {
            prop_assert!(one.at_us - one.came_us <= 2 * WAIT_MAX_US + others_us + cost.served_us, "{:?}", one);
        }
        prop_assert_eq!(answered.len(), arrivals.len());
    }
}
