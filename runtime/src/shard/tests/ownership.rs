//! Two processes over one log: a group says who owns what, and takes it away again (rule P20).

use std::sync::mpsc::Receiver;

use super::*;
use crate::log::membership::Change;

const STEP: Duration = Duration::from_millis(10);

async fn answered(env: &Env, answer: Receiver<()>) {
    while answer.try_recv().is_err() {
        env.clock.sleep(STEP).await;
    }
}

/// Both services of process `process` get partitions.
async fn give(env: &Env, log: &PlainLog, process: usize, partitions: &[u32]) {
    for service in ["first", "second"] {
        answered(env, log.decide(service, process, Change::Assigned(partitions.to_vec()))).await;
    }
}

/// Both services of process `process` lose partitions.
async fn take(env: &Env, log: &PlainLog, process: usize, partitions: &[u32], is_lost: bool) {
    for service in ["first", "second"] {
        let change = Change::Revoked { partitions: partitions.to_vec(), is_lost };
        answered(env, log.decide(service, process, change)).await;
    }
}

fn counts(platform: &Platform) -> (usize, usize) {
    let of = |count: fn(&crate::platform::Bulkhead) -> usize| platform.bulkheads.iter().map(count).sum();
    (of(crate::platform::Bulkhead::owned), of(crate::platform::Bulkhead::running))
}

fn done(platforms: &[&Platform]) -> u64 {
    platforms.iter().map(|platform| platform.bulkheads[1].stats.tally().done).sum()
}

#[test]
fn what_is_not_given_is_not_begun() {
    simulate(async |env| {
        let log = PlainLog::grouped();
        let alone = start(&env, &log, config()).await;
        produce(&log, 0, 20, "good").await;
        env.clock.sleep(Duration::from_secs(60)).await;
        assert_eq!((counts(&alone), alone.lag(), log.values("first-commits").len()), ((0, 0), 0, 0));
        assert!(!alone.bulkheads[0].is_settled() && !alone.idle(Duration::from_secs(1)).await, "nobody has said so");
        give(&env, &log, 0, &[0, 1]).await;
        assert!(alone.idle(LONG).await, "{}", alone.bulkheads[0].stats.last_error());
        assert_eq!((counts(&alone), reached(&log)), ((4, 4), (20, 20)));
    });
}

#[test]
fn partitions_move_under_load_and_every_event_counts_once() {
    simulate(async |env| {
        let log = PlainLog::grouped();
        let (one, two) = (start(&env, &log, config()).await, start(&env, &log, config()).await);
        give(&env, &log, 0, &[0, 1]).await;
        give(&env, &log, 1, &[]).await;
        for round in 0..6 {
            produce(&log, round * 200, 100, "good").await;
            // Back and forth, kindly, while there is work; all campaigns are in this partition.
            let (from, to) = (round % 2, (round + 1) % 2);
            take(&env, &log, from, &[0], false).await;
            give(&env, &log, to, &[0]).await;
            produce(&log, round * 200 + 100, 100, "good").await;
            // Taken before it has begun, in the midst of its work, or after it.
            env.clock.sleep(STEP * 20 * round as u32).await;
        }
        assert!(one.idle(LONG).await && two.idle(LONG).await);
        assert!(one.idle(LONG).await, "what the other one made of it");
        // The next owner sends again what may be missing; readers drop it.
        assert_eq!((reached(&log).0, done(&[&one, &two])), (1_200, 1_200));
        assert_eq!((counts(&one), counts(&two)), ((4, 4), (0, 0)));
        assert!(done(&[&two]) > 0, "both have worked");
        let restarts =
            |platform: &Platform| platform.bulkheads[0].stats.restarts.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!((restarts(&one), restarts(&two)), (0, 0), "a partition that moves is no failure");
    });
}

#[test]
fn a_zombie_loses_against_the_new_owner() {
    simulate(async |env| {
        let log = PlainLog::grouped();
        let (old, new) = (start(&env, &log, config()).await, start(&env, &log, config()).await);
        give(&env, &log, 0, &[0, 1]).await;
        produce(&log, 0, 200, "good").await;
        // Its session is over, and it has not heard of it: both own everything for a while.
        give(&env, &log, 1, &[0, 1]).await;
        produce(&log, 200, 200, "good").await;
        take(&env, &log, 0, &[0, 1], true).await;
        produce(&log, 400, 200, "good").await;
        assert!(new.idle(LONG).await, "{}", new.bulkheads[0].stats.last_error());
        assert_eq!(reached(&log).0, 600);
        assert_eq!((counts(&old), counts(&new), old.lag()), ((0, 0), (4, 4), 0));
        // It is given one again, and starts from what the other has made of it.
        take(&env, &log, 1, &[0], false).await;
        give(&env, &log, 0, &[0]).await;
        produce(&log, 600, 100, "good").await;
        assert!(old.idle(LONG).await && new.idle(LONG).await && old.idle(LONG).await);
        assert_eq!((reached(&log).0, done(&[&old]) > 0), (700, true));
    });
}

#[test]
fn a_drained_process_has_left_its_groups() {
    simulate(async |env| {
        let log = PlainLog::grouped();
        let platform = start(&env, &log, config()).await;
        give(&env, &log, 0, &[0, 1]).await;
        produce(&log, 0, 50, "good").await;
        assert!(!log.is_leaving("second", 0));
        platform.drain(Duration::from_secs(10), |stage| assert_eq!(stage.late, 0)).await;
        assert!(log.is_leaving("first", 0) && log.is_leaving("second", 0));
        assert_eq!(reached(&log), (50, 50));
    });
}
