//! Several processes share one platform on a real Kafka (rule P20). They are killed one after the other and started again,
//! partitions move, the broker itself dies once: the ledger is exact and every event is accounted for. With a process a
//! service, what no process can contain ends that service only.
//!
//! `BULKHEAD_FLEET_S`: seconds of traffic; `tests/long/fleet.sh` takes a minute.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tests::fatal::Kind;
use tests::fleet::{Answers, Fleet, traffic};
use tests::kafka;
use tests::program::Running;

const SECONDS: u64 = 15;
/// A process is killed every so many seconds.
const KILL_EVERY_S: u64 = 4;
/// A process that is to end itself has done so by then.
const FATAL_LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// What is in flight when the traffic ends is done after so many looks; each reads all topics, which takes seconds.
const LOOKS_MAX: u32 = 30;

/// One test restarts the broker that the other needs.
fn alone() -> MutexGuard<'static, ()> {
    static BROKER: Mutex<()> = Mutex::new(());
    BROKER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn json(output: &std::process::Output) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{:?}\n{}\n{}", output.status, text(&output.stderr), text(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// Ends what runs, works off what is left, and counts everything again.
fn settle(fleet: &Fleet) -> Value {
    fleet.end();
    let up = json(&fleet.run(&["up", "--log", "kafka", "--until-idle"]));
    assert_eq!((&up["ok"], &up["idle"]), (&Value::from(true), &Value::from(true)));
    let found = json(&fleet.run(&["verify"]));
    assert_eq!((&found["ok"], &found["recount_diff_micros"]), (&Value::from(true), &Value::from(0)), "{found}");
    for (name, account) in found["offsets"].as_object().expect("accounts") {
        assert_eq!((&account["unaccounted"], &account["waiting"]), (&0.into(), &0.into()), "{name}: {account}");
    }
    found
}

/// Kills and starts again, in turn, and the broker once, while others send traffic.
fn disturb(fleet: &Fleet, seconds: u64) -> u64 {
    std::thread::scope(|scope| {
        let (mut turn, mut kills, mut broker) = (0, 0, None);
        for second in 1..=seconds {
            std::thread::sleep(Duration::from_secs(1));
            if second == seconds * 3 / 5 {
                broker = Some(scope.spawn(kafka::restart));
            }
            if second % KILL_EVERY_S == KILL_EVERY_S - 1 {
                let number = turn % fleet.size();
                turn += 1;
                // One that is still coming back, since the broker is away, is spared.
                if fleet.edge(number).is_some() {
                    fleet.kill(number);
                    scope.spawn(move || fleet.start(number));
                    kills += 1;
                }
            }
        }
        if let Some(away) = broker.and_then(|broker| broker.join().ok().flatten()) {
            eprintln!("the broker was away for {} ms", away.as_millis());
        }
        kills
    })
}

/// Set when dropped: a test that fails does not wait for its own traffic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn processes_die_partitions_move_and_every_event_counts_once() {
    let _alone = alone();
    let seconds = std::env::var("BULKHEAD_FLEET_S").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let fleet = Fleet::new(3, &[None, None, None]);
    std::thread::scope(|scope| {
        let fleet = &fleet;
        (0..fleet.size()).for_each(|number| drop(scope.spawn(move || fleet.start(number))));
    });
    let (stop, answers) = (AtomicBool::new(false), Answers::default());
    let kills = std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let (fleet, stop, answers) = (&fleet, &stop, &answers);
            scope.spawn(move || traffic(fleet, name, Duration::from_millis(5), stop, answers));
        }
        let _stop = Stop(&stop);
        let kills = disturb(&fleet, seconds);
        // Whoever came back last has traffic, too.
        std::thread::sleep(Duration::from_secs(1));
        kills
    });
    let found = settle(&fleet);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (bids, taken) = (count(&answers.bids), count(&answers.impressions));
    eprintln!("{kills} kills; {bids} bids, {taken} impressions taken, {} refused", count(&answers.refused));
    assert!(kills >= 3 && bids > 100 && taken > 50, "there was work: {answers:?}");
    let events = found["offsets"]["impressions/billing"]["events"].as_u64();
    assert!(events >= Some(taken), "acknowledged means durable: {taken} were taken, {events:?} are there");
}

/// Waits until a process that is to end itself has; how it did.
fn await_end(running: &mut Running, limit: Duration) -> Option<std::process::ExitStatus> {
    for _ in 0..limit.as_millis() / LOOK.as_millis() {
        if let Some(ended) = running.0.try_wait().expect("a child") {
            return Some(ended);
        }
        std::thread::sleep(LOOK);
    }
    None
}

/// Looks at the living platform until every service but one has done its work.
fn await_work_of_all_but(fleet: &Fleet, service: &str) -> Value {
    let mut found = Value::Null;
    for _ in 0..LOOKS_MAX {
        found = serde_json::from_slice(&fleet.run(&["verify"]).stdout).expect("one JSON document");
        let accounts = found["offsets"].as_object().expect("accounts");
        let is_done = |(name, account): (&String, &Value)| {
            name.ends_with(&format!("/{service}")) || (account["unaccounted"] == 0 && account["waiting"] == 0)
        };
        if accounts.iter().all(is_done) && found["recount_diff_micros"] == 0 {
            return found;
        }
    }
    panic!("the others go on without {service}: {found}");
}

#[test]
fn a_service_with_a_process_of_its_own_takes_nobody_with_it() {
    let _alone = alone();
    let others = "campaigns,bidding,tracking,budget,billing,attribution,analytics";
    let fleet = Fleet::new(2, &[Some("ads"), Some(others)]);
    std::thread::scope(|scope| {
        let fleet = &fleet;
        (0..fleet.size()).for_each(|number| drop(scope.spawn(move || fleet.start(number))));
    });
    let (stop, answers) = (AtomicBool::new(false), Answers::default());
    let taken = || answers.impressions.load(Ordering::Relaxed);
    let (before, after) = std::thread::scope(|scope| {
        scope.spawn(|| traffic(&fleet, "a", Duration::from_millis(5), &stop, &answers));
        let _stop = Stop(&stop);
        for kind in [Kind::StackOverflow, Kind::AllocationFailure] {
            let mut fraud = fleet.start_fatal(kind);
            let ended = await_end(&mut fraud, FATAL_LIMIT).expect("the marked event comes");
            assert_eq!(ended.signal(), Some(kind.signal()), "{}: {ended:?}", kind.name());
        }
        let before = taken();
        std::thread::sleep(Duration::from_secs(2));
        (before, taken())
    });
    assert!(after > before, "bids and impressions as ever: {answers:?}");
    let found = await_work_of_all_but(&fleet, "fraud");
    assert_eq!(found["ok"], false, "{found}");
    let count = |name: &str, of: &str| found["offsets"][name][of].as_u64().expect("a count");
    assert!(count("impression-pixels/ads", "done") >= after, "{found}");
    assert!(count("impressions/fraud", "unaccounted") >= after - before, "nobody did its work: {found}");
    let found = settle(&fleet);
    let fraud = &found["offsets"]["impressions/fraud"];
    // All are accounted for: done, the marked events too, or said again by a producer that was started again.
    assert_eq!(fraud["dead_lettered"], 0, "{fraud}");
}
