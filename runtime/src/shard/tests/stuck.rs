//! Events that never let go of their thread, with real threads: found, set aside, and nothing else with them.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::testkit::before;

#[derive(Default)]
struct Spin {
    /// Lets go of the threads when the test is over.
    is_over: AtomicBool,
    /// The event "late" has been put off once.
    put_off: AtomicBool,
}

/// Never comes back from an event with that placement; "late" is put off first.
fn spinning(service: ServiceDef, spin: &Arc<Spin>, placement: &'static str) -> ServiceDef {
    let spin = spin.clone();
    before(service, move |event| {
        let impression: ImpressionEvent<'_> = event.decode()?;
        let is_meant = impression.placement_id == placement;
        if is_meant && placement == "late" && !spin.put_off.swap(true, Ordering::SeqCst) {
            return Err(told_to_wait());
        }
        while is_meant && !spin.is_over.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        Ok(())
    })
}

#[test]
fn an_event_that_spins_at_once_or_at_its_retry_is_poison_the_third_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (env, spin) = (Env::production(), Arc::new(Spin::default()));
        let log = PlainLog::scripted(true, |_, _| Answer::Yes);
        let mut config = config();
        config.stuck_after = Duration::from_millis(300);
        // Transient failures of the second service are put off, not waited for.
        let first = spinning(ServiceDef::new(|| First), &spin, "spins");
        let services = vec![first, spinning(ServiceDef::new(|| Second), &spin, "late")];
        let platform = Platform::start(env.clone(), log.clone(), services, config).await.unwrap();
        for (from, placement) in [(0, "spins"), (10, "good"), (20, "late"), (30, "good")] {
            produce(&log, from, if placement == "good" { 10 } else { 1 }, placement).await;
        }
        let is_idle = platform.idle(Duration::from_secs(60)).await;
        let counts: Vec<_> = platform.bulkheads.iter().map(|b| b.stats.lost_threads.load(Ordering::Relaxed)).collect();
        spin.is_over.store(true, Ordering::Relaxed);
        assert!(is_idle, "it goes on; threads lost: {counts:?}");
        let of = |topic: &str| log.topic(topic).map_or_else(Vec::new, |_| log.values(topic));
        let id = |value: &Vec<u8>| schemas::frame::decode::<ImpressionEvent<'_>>(value).unwrap().event_id.to_string();
        let dead = |topic: &str| of(topic).iter().map(id).collect::<Vec<_>>();
        assert_eq!((dead("input-dlq"), dead("middle-dlq")), (vec!["event-0".to_owned()], vec!["event-20".to_owned()]));
        assert_eq!(reached(&log).0, 20, "all others, each once");
        assert_eq!(counts, [3, 3]);
        platform.kill();
    });
}
