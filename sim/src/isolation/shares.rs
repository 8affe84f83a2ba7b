//! Who runs on the virtual cores, and how fast: threads share them in proportion to the weight of their niceness and none
//! is faster than a core, as a fair scheduler does it in the long run. Real ones are off by at most a slice of a
//! millisecond or two, which is what the run on metal shows.

use std::collections::VecDeque;

/// Virtual cores.
pub const CORES: f64 = 2.0;
/// Less than this of a microsecond is no work left.
const NOTHING_US: f64 = 1e-6;

/// Weight of a niceness: a step is a quarter more or less, and 0 is 1024, as in Linux.
pub fn weight(nice: i32) -> f64 {
    1024.0 * 0.8f64.powi(nice)
}

/// What a job does with its thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// So many microseconds of a core, then it is done.
    Work { left_us: f64 },
    /// Burns a core until it is ended.
    Burn,
    /// Keeps the thread without using it until it is ended.
    Hold,
}

struct Job {
    number: u64,
    what: What,
    weight: f64,
}

/// Threads of one kind, and the jobs that wait for one of them.
struct Pool {
    weight: f64,
    threads: usize,
    running: Vec<Job>,
    waiting: VecDeque<Job>,
}

/// Pools over the cores, at one moment.
#[derive(Default)]
pub struct Shares {
    pools: Vec<Pool>,
    at_us: f64,
    jobs: u64,
    busy_us: f64,
}

impl Shares {
    /// Adds a pool; its number.
    pub fn pool(&mut self, threads: usize, weight: f64) -> usize {
        self.pools.push(Pool { weight, threads, running: Vec::new(), waiting: VecDeque::new() });
        self.pools.len() - 1
    }

    /// Puts a job in line for a thread of a pool; its number.
    pub fn start(&mut self, pool: usize, what: What) -> u64 {
        self.jobs += 1;
        let pool = &mut self.pools[pool];
        pool.waiting.push_back(Job { number: self.jobs, what, weight: pool.weight });
        pool.fill();
        self.jobs
    }

    /// Takes a job away, whatever is left of it.
    pub fn end(&mut self, number: u64) {
        for pool in &mut self.pools {
            pool.running.retain(|job| job.number != number);
            pool.waiting.retain(|job| job.number != number);
            pool.fill();
        }
    }

    /// Changes the niceness of the thread that a job runs on.
    pub fn renice(&mut self, number: u64, nice: i32) {
        let jobs = self.pools.iter_mut().flat_map(|pool| pool.running.iter_mut().chain(&mut pool.waiting));
        jobs.filter(|job| job.number == number).for_each(|job| job.weight = weight(nice));
    }

    /// Lets time pass; the numbers of the jobs that are done, in order.
    pub fn advance(&mut self, to_us: u64) -> Vec<u64> {
        let (to_us, mut done) = (to_us as f64, Vec::new());
        while self.at_us < to_us {
            let speeds = self.speeds();
            let first_us = self.first_us(&speeds).unwrap_or(f64::INFINITY);
            let step_us = first_us.min(to_us - self.at_us);
            self.busy_us += speeds.iter().sum::<f64>() * step_us;
            self.at_us += step_us;
            // Exactly there: sums of steps would creep.
            if step_us < first_us {
                self.at_us = to_us;
            }
            for (job, speed) in self.pools.iter_mut().flat_map(|pool| &mut pool.running).zip(&speeds) {
                if let What::Work { left_us } = &mut job.what {
                    *left_us -= speed * step_us;
                }
            }
            for pool in &mut self.pools {
                pool.running.retain(|job| {
                    let is_done = matches!(job.what, What::Work { left_us } if left_us < NOTHING_US);
                    done.extend(is_done.then_some(job.number));
                    !is_done
                });
                pool.fill();
            }
        }
        done
    }

    /// When the next job is done if nothing else happens, microseconds from now.
    pub fn next_us(&self) -> Option<f64> {
        self.first_us(&self.speeds())
    }

    /// Microseconds of cores used so far.
    pub fn busy_us(&self) -> f64 {
        self.busy_us
    }

    fn first_us(&self, speeds: &[f64]) -> Option<f64> {
        let running = self.pools.iter().flat_map(|pool| &pool.running).zip(speeds);
        let ends = running.filter_map(|(job, speed)| match job.what {
            What::Work { left_us } => Some((left_us / speed).max(0.0)),
            _ => None,
        });
        ends.min_by(f64::total_cmp)
    }

    /// Cores that each running job gets, in the order of pools and jobs.
    fn speeds(&self) -> Vec<f64> {
        let jobs = || self.pools.iter().flat_map(|pool| &pool.running);
        let mut speeds: Vec<f64> = jobs().map(|job| if job.what == What::Hold { 0.0 } else { -job.weight }).collect();
        let (mut cores, mut weights) = (CORES, -speeds.iter().sum::<f64>());
        // Who would get more than a core gets one; what that leaves is shared among the others.
        loop {
            let share = cores / weights.max(f64::MIN_POSITIVE);
            let Some(fastest) = speeds.iter_mut().filter(|speed| **speed < 0.0).min_by(|a, b| a.total_cmp(b)) else {
                return speeds;
            };
            if -*fastest * share <= 1.0 {
                speeds.iter_mut().filter(|speed| **speed < 0.0).for_each(|speed| *speed *= -share);
                return speeds;
            }
            weights += *fastest;
            cores -= 1.0;
            *fastest = 1.0;
        }
    }
}

impl Pool {
    fn fill(&mut self) {
        while self.running.len() < self.threads
            && let Some(job) = self.waiting.pop_front()
        {
            self.running.push(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn work(left_us: f64) -> What {
        What::Work { left_us }
    }

    #[test]
    fn two_threads_have_a_core_each_and_three_share() {
        let mut shares = Shares::default();
        let pools: Vec<usize> = (0..3).map(|_| shares.pool(1, weight(0))).collect();
        let (a, b) = (shares.start(pools[0], work(100.0)), shares.start(pools[1], work(50.0)));
        assert_eq!(shares.advance(50), [b]);
        let c = shares.start(pools[2], work(100.0));
        assert_eq!((shares.advance(100), shares.advance(150)), (vec![a], vec![c]));
        for pool in &pools {
            shares.start(*pool, work(100.0));
        }
        assert_eq!((shares.advance(299).len(), shares.advance(301).len()), (0, 3), "two thirds of a core each");
        assert!((shares.busy_us() - 550.0).abs() < 1e-6, "{}", shares.busy_us());
    }

    #[test]
    fn a_burner_takes_its_share_and_no_more() {
        let mut shares = Shares::default();
        let (hog, one, two) = (shares.pool(1, weight(5)), shares.pool(1, weight(0)), shares.pool(1, weight(0)));
        let burner = shares.start(hog, What::Burn);
        shares.start(one, work(100.0));
        assert_eq!(shares.advance(100).len(), 1, "one core is left");
        for pool in [one, two] {
            shares.start(pool, work(100.0));
        }
        // 1024 of 1024 + 1024 + 335 weights, of two cores: 0.859.
        assert_eq!((shares.advance(100 + 116).len(), shares.advance(100 + 117).len()), (0, 2));
        shares.renice(burner, 19);
        for pool in [one, two] {
            shares.start(pool, work(100.0));
        }
        assert_eq!(shares.advance(217 + 101).len(), 2, "hardly felt");
        shares.start(hog, work(10.0));
        assert_eq!(shares.advance(10_000).len(), 0, "its own thread is taken");
        shares.end(burner);
        assert_eq!(shares.advance(10_011).len(), 1);
    }

    #[test]
    fn one_executor_serves_in_line_and_a_held_worker_serves_nobody() {
        let mut shares = Shares::default();
        let pool = shares.pool(2, weight(0));
        let jobs: Vec<u64> = (0..4).map(|_| shares.start(pool, work(10.0))).collect();
        assert_eq!((shares.advance(10), shares.advance(20)), (jobs[..2].to_vec(), jobs[2..].to_vec()));
        let held = [shares.start(pool, What::Hold), shares.start(pool, What::Hold)];
        shares.start(pool, work(10.0));
        assert_eq!((shares.advance(1_000).len(), shares.next_us()), (0, None));
        held.into_iter().for_each(|job| shares.end(job));
        assert_eq!(shares.advance(1_010).len(), 1);
    }

    proptest! {
        /// No work is lost, none is made, and a core that could work does.
        #[test]
        fn work_is_conserved(
            jobs in proptest::collection::vec((0usize..4, 1u32..500, 0u64..300), 1..40),
            niceness in proptest::array::uniform4(0i32..20),
        ) {
            let mut shares = Shares::default();
            niceness.iter().for_each(|nice| { shares.pool(1, weight(*nice)); });
            let (mut now_us, mut sum_us, mut done) = (0, 0.0, 0);
            for (pool, us, gap_us) in &jobs {
                shares.start(*pool, work(f64::from(*us)));
                sum_us += f64::from(*us);
                now_us += gap_us;
                done += shares.advance(now_us).len();
                let speeds = shares.speeds();
                let runnable = speeds.len() as f64;
                prop_assert!(speeds.iter().all(|speed| (0.0..=1.0 + 1e-9).contains(speed)));
                prop_assert!((speeds.iter().sum::<f64>() - runnable.min(CORES)).abs() < 1e-9, "{speeds:?}");
            }
            done += shares.advance(now_us + 2 * sum_us as u64 + 1).len();
            prop_assert_eq!(done, jobs.len());
            prop_assert!((shares.busy_us() - sum_us).abs() < 1e-3);
        }
    }
}
