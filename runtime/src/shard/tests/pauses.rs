//! Who waits when what a service needs is away, and when too much of a topic fails.

use std::sync::atomic::Ordering;

use super::*;

/// Everything of `second` in one row: done, dead letters, attempts after the first, events waiting as rows.
fn account(platform: &Platform) -> (u64, u64, u64, u64) {
    let second = &platform.bulkheads[1];
    let tally = second.stats.tally();
    (tally.done, tally.dead_lettered, second.stats.retried.load(Ordering::Relaxed), second.parked())
}

/// The breaker opens, the partitions pause, one shard asks, all go on; no attempt is used up and nothing is set aside.
#[test]
fn a_dependency_that_is_down_pauses_the_service_and_nothing_else() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        produce(&log, 0, 10, "good").await;
        assert!(platform.idle(LONG).await);
        let (first, second) = (&platform.bulkheads[0], &platform.bulkheads[1]);
        second.faults.start(FaultKind::Down);
        for round in 1..60 {
            produce(&log, round * 10, 10, "good").await;
            env.clock.sleep(Duration::from_secs(1)).await;
        }
        assert_eq!((second.paused(), second.breaker.opened()), (Some("dependency down"), 1));
        assert_eq!(account(&platform), (10, 0, 0, 0));
        let probes = second.faults.fired();
        assert!((20..80).contains(&probes), "it asks, and does not hammer: {probes}");
        assert_eq!((first.lag(), first.stats.tally().done, first.paused()), (0, 600, None));
        second.faults.end();
        env.clock.sleep(Duration::from_secs(3)).await;
        assert_eq!((second.paused(), second.lag()), (None, 0));
        assert_eq!(account(&platform), (600, 0, 0, 0));
        assert_eq!(reached(&log), (600, 600));
    });
}

/// Nothing is read that is neither handled nor counted in a queue, and the queues are bounded.
#[test]
fn what_is_read_is_handled_or_in_hand_exactly() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let mut config = config();
        config.limits.credit.events = 64;
        let platform = start(&env, &log, config).await;
        let first = &platform.bulkheads[0].stats;
        let account = || {
            let read = first.read.load(Ordering::Relaxed);
            (read, first.tally().total() + first.queue_events.load(Ordering::Relaxed) as u64)
        };
        produce(&log, 0, 200, "good").await;
        assert!(platform.idle(LONG).await);
        assert_eq!(account(), (200, 200));
        platform.bulkheads[0].faults.start(FaultKind::Stall);
        produce(&log, 200, 2_000, "good").await;
        env.clock.sleep(Duration::from_secs(5)).await;
        let (read, known) = account();
        let queued = first.queue_events.load(Ordering::Relaxed);
        assert_eq!(read, known);
        // Two shards; batches of ten, and each shard overdraws by the batch that it cannot split.
        assert!((64..=2 * (64 + 10)).contains(&queued), "{queued} in hand, {} wait in the log", 2_000 - queued);
        platform.bulkheads[0].faults.end();
        assert!(platform.idle(LONG).await);
        assert_eq!((account(), first.queue_events.load(Ordering::Relaxed)), ((2_200, 2_200), 0));
    });
}

/// What is ready before an event that has to wait is committed before the wait.
#[test]
fn what_came_before_does_not_wait() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let mut config = config();
        config.limits.retry_delays = [60_000, 60_000].map(Duration::from_millis).to_vec();
        let platform = start(&env, &log, config).await;
        env.clock.sleep(Duration::from_millis(10)).await;
        let mut producer = Producer::new(log.clone(), "test", 1 << 20, 2);
        for (n, placement) in ["good", "good", "panics", "good"].into_iter().enumerate() {
            let id = format!("event-{n}");
            let event = ImpressionEvent {
                event_id: &id,
                timestamp: 0,
                campaign_id: "c",
                creative_id: "c",
                placement_id: placement,
                user_id: None,
                bid_price_micros: 10,
                win_price_micros: 7,
                metadata: Map::from_pairs(&[]),
            };
            producer.add(&INPUT, "c", 0, &event, None).unwrap();
        }
        producer.flush().await.unwrap();
        env.clock.sleep(Duration::from_secs(1)).await;
        assert_eq!((reached(&log).0, platform.bulkheads[0].lag()), (2, 2));
        assert!(platform.idle(LONG).await);
        assert_eq!(reached(&log).0, 3);
    });
}

/// A flood of failures pauses the service; an operator's word lets it pass.
#[test]
fn a_flood_of_failures_pauses_instead_of_filling_the_dead_letters() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        produce(&log, 0, 1_000, "bad").await;
        env.clock.sleep(Duration::from_secs(30)).await;
        let first = &platform.bulkheads[0];
        let aside = log.values("input-dlq").len();
        assert!((90..=110).contains(&aside), "{aside} dead letters");
        assert_eq!((first.paused(), first.flood.floods()), (Some("flood"), 1));
        assert!(!first.is_degraded() && platform.bulkheads[1].paused().is_none());
        first.flood.release(env.clock.mono_us());
        env.clock.sleep(Duration::from_secs(5)).await;
        assert_eq!((log.values("input-dlq").len(), first.lag(), first.paused()), (1_000, 0, None));
    });
}

/// Left alone it works the flood off at a bounded rate, and a cause that goes away ends the pause at once.
#[test]
fn a_flood_ends_with_its_cause() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        let first = &platform.bulkheads[0];
        first.faults.start(FaultKind::Error);
        produce(&log, 0, 1_000, "good").await;
        env.clock.sleep(Duration::from_secs(20)).await;
        assert_eq!(first.paused(), Some("flood"));
        first.faults.end();
        env.clock.sleep(Duration::from_secs(5)).await;
        assert_eq!((first.paused(), first.lag()), (None, 0));
        let tally = first.stats.tally();
        assert!(tally.dead_lettered <= 110 && tally.done + tally.dead_lettered == 1_000, "{tally:?}");
    });
}
