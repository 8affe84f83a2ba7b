//! Events that end the whole process (rule P12): found, set aside, and nothing else with them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::testkit::before;

/// What the process died of; from then on nothing leaves it.
#[derive(Default)]
struct Fate {
    dead: AtomicBool,
    deaths: AtomicU64,
    /// The event "late" has been put off once.
    put_off: AtomicBool,
}

impl Fate {
    fn strike(&self) {
        if !self.dead.swap(true, Ordering::SeqCst) {
            self.deaths.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Takes the process with it when it sees that placement. Nothing of the rest gets out: the log takes no more.
fn fatal(service: ServiceDef, fate: &Arc<Fate>, placement: &'static str) -> ServiceDef {
    let fate = fate.clone();
    before(service, move |event| {
        let impression: ImpressionEvent<'_> = event.decode()?;
        let is_meant = impression.placement_id == placement;
        if is_meant && placement == "late" && !fate.put_off.swap(true, Ordering::SeqCst) {
            return Err(told_to_wait());
        }
        if is_meant {
            fate.strike();
        }
        Ok(())
    })
}

fn mortal(fate: &Arc<Fate>) -> Vec<ServiceDef> {
    vec![fatal(ServiceDef::new(|| First), fate, "fatal"), fatal(ServiceDef::new(|| Second), fate, "late")]
}

/// A log that a dead process cannot write to; the source lives elsewhere.
fn log_of(fate: &Arc<Fate>) -> Arc<PlainLog> {
    let fate = fate.clone();
    PlainLog::scripted(true, move |_, topic| {
        if fate.dead.load(Ordering::SeqCst) && topic != "input" { Answer::No } else { Answer::Yes }
    })
}

/// Starts processes one after the other until one of them is idle; tells how many died.
async fn live_until_idle(env: &Env, log: &Arc<PlainLog>, fate: &Arc<Fate>, config: &PlatformConfig) -> u64 {
    for _ in 0..40 {
        fate.dead.store(false, Ordering::SeqCst);
        let platform = Platform::start(env.clone(), log.clone(), mortal(fate), config.clone()).await.unwrap();
        let mut is_idle = false;
        while !is_idle && !fate.dead.load(Ordering::SeqCst) {
            is_idle = platform.idle(Duration::from_millis(300)).await;
        }
        fate.dead.store(true, Ordering::SeqCst);
        platform.kill();
        env.clock.sleep(Duration::from_millis(5)).await;
        if is_idle {
            return fate.deaths.load(Ordering::SeqCst);
        }
    }
    panic!("it never went on");
}

fn dead_letters(log: &PlainLog) -> Vec<String> {
    let of = |topic: &str| log.topic(topic).map_or_else(Vec::new, |_| log.values(topic));
    let id = |value: &Vec<u8>| schemas::frame::decode::<ImpressionEvent<'_>>(value).unwrap().event_id.to_string();
    of("input-dlq").iter().chain(of("middle-dlq").iter()).map(id).collect()
}

#[test]
fn an_event_that_ends_the_process_is_found_wherever_it_lies() {
    for at in [0, 1, 37, 150, 299] {
        simulate(async |env| {
            let fate = Arc::new(Fate::default());
            let log = log_of(&fate);
            let config = config();
            first_owner(&env, &log, &fate, &config).await;
            produce(&log, 0, at, "good").await;
            produce(&log, at, 1, "fatal").await;
            produce(&log, at + 1, 300 - at, "good").await;
            let deaths = live_until_idle(&env, &log, &fate, &config).await;
            assert!((3..=5).contains(&deaths), "{deaths} deaths");
            assert_eq!(dead_letters(&log), [format!("event-{at}")]);
            assert_eq!(reached(&log).0, 300);
        });
    }
}

/// Poison twice, one behind the other, and events in hand everywhere else: nobody is taken for another.
#[test]
fn two_events_that_end_the_process_are_found() {
    simulate(async |env| {
        let fate = Arc::new(Fate::default());
        let log = log_of(&fate);
        let config = config();
        first_owner(&env, &log, &fate, &config).await;
        produce(&log, 0, 100, "good").await;
        produce(&log, 100, 1, "fatal").await;
        produce(&log, 101, 100, "good").await;
        produce(&log, 201, 1, "fatal").await;
        produce(&log, 202, 100, "good").await;
        live_until_idle(&env, &log, &fate, &config).await;
        let mut letters = dead_letters(&log);
        letters.sort();
        assert_eq!(letters, ["event-100", "event-201"]);
        assert_eq!(reached(&log).0, 300);
    });
}

/// An event that waits as a row and ends the process when its time comes; others wait beside it.
#[test]
fn a_waiting_event_that_ends_the_process_is_found() {
    simulate(async |env| {
        let fate = Arc::new(Fate::default());
        let log = log_of(&fate);
        let mut config = config();
        config.limits.retry_delays = [50, 1_000, 1_000].map(Duration::from_millis).to_vec();
        first_owner(&env, &log, &fate, &config).await;
        produce(&log, 0, 20, "good").await;
        produce(&log, 20, 1, "late").await;
        produce(&log, 21, 20, "good").await;
        let deaths = live_until_idle(&env, &log, &fate, &config).await;
        assert!((2..=5).contains(&deaths), "{deaths} deaths");
        assert_eq!(dead_letters(&log), ["event-20"]);
        assert_eq!(reached(&log).0, 40);
    });
}

/// The first owner of every shard, so that what follows are recoveries.
async fn first_owner(env: &Env, log: &Arc<PlainLog>, fate: &Arc<Fate>, config: &PlatformConfig) {
    let platform = Platform::start(env.clone(), log.clone(), mortal(fate), config.clone()).await.unwrap();
    assert!(platform.idle(LONG).await);
    fate.dead.store(true, Ordering::SeqCst);
    platform.kill();
    env.clock.sleep(Duration::from_millis(5)).await;
}

/// Kills that no event is guilty of, however many: nothing is set aside, and nothing is noted while all is well.
#[test]
fn kills_from_outside_set_nothing_aside() {
    simulate(async |env| {
        let fate = Arc::new(Fate::default());
        let log = log_of(&fate);
        for round in 0..30 {
            fate.dead.store(false, Ordering::SeqCst);
            let platform = Platform::start(env.clone(), log.clone(), mortal(&fate), config()).await.unwrap();
            produce(&log, round * 10, 10, "good").await;
            env.clock.sleep(Duration::from_millis(round as u64 % 7)).await;
            fate.strike();
            platform.kill();
            env.clock.sleep(Duration::from_millis(1)).await;
        }
        live_until_idle(&env, &log, &fate, &config()).await;
        assert_eq!(dead_letters(&log), [""; 0]);
        assert_eq!(reached(&log).0, 300);
    });
}
