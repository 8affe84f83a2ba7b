//! The contract suite: what may happen to any service, and what must come of it. Every service of the topology is run
//! through it; in virtual time, so it takes milliseconds.
//!
//! After each case the log alone must say that every event has ended once and that every output is there once, in order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::audit::Account;
use super::fragile::Death;
use super::world::{Inputs, World, run};
use crate::fault::FaultKind;
use crate::platform::PlatformConfig;
use crate::service::ServiceDef;
use crate::topology::TopicKind;

/// How long a fault is on, ms.
const FAULT_MS: u64 = 5_000;

type Case = fn(&ServiceDef, &Inputs, &Account);

/// The cases, by name.
const CASES: [(&str, Case); 14] = [
    ("slow", slow),
    ("stuck in await", |def, inputs, calm| stuck(def, inputs, calm, FaultKind::Stall)),
    ("spinning", |def, inputs, calm| stuck(def, inputs, calm, FaultKind::Spin)),
    ("panicking", panicking),
    ("poisoned input", poisoned),
    ("garbage bytes", garbage),
    ("partition revoked mid-batch", revoked),
    ("crash before commit", |def, inputs, calm| crash(def, inputs, calm, Death::BeforeCommit)),
    ("crash between commit and publication", |def, inputs, calm| crash(def, inputs, calm, Death::BeforePublication)),
    ("crash in the middle of publication", |def, inputs, calm| crash(def, inputs, calm, Death::InPublication)),
    ("duplicate batches", duplicates),
    ("drain under load", drain),
    ("full disk", full_disk),
    ("dependency down", down),
];

/// Runs a service through all cases; panics with the case and what did not hold.
pub fn check(def: &ServiceDef, inputs: &Inputs) {
    assert!(!inputs.is_empty(), "{}: nothing to take", def.spec.name);
    let calm = run(def, inputs, config(), async |world| {
        world.finish().await;
        world.account()
    });
    assert_eq!(calm.events, inputs.len() as u64, "{}: calm", def.spec.name);
    for (name, case) in CASES {
        let case = std::panic::AssertUnwindSafe(|| case(def, inputs, &calm));
        if let Err(panic) = std::panic::catch_unwind(case) {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_string()));
            panic!("{}, {name}: {}", def.spec.name, said.unwrap_or_default());
        }
    }
}

fn config() -> PlatformConfig {
    let mut config = PlatformConfig { stuck_after: Duration::from_secs(2), ..PlatformConfig::default() };
    // Small commits: a case begins in the middle of the inputs.
    config.limits.commit_events = 16;
    config.limits.fetch_bytes = 4 << 10;
    config.limits.retry_delays = [1_000, 1_000, 1_000].map(Duration::from_millis).to_vec();
    config
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Puts a fault on from the start and takes it off.
async fn fault(world: &World, kind: FaultKind, for_ms: u64) {
    world.bulkhead().faults.start(kind);
    world.sleep_ms(for_ms).await;
    assert!(world.bulkhead().faults.fired() > 0, "the fault met nothing");
    world.bulkhead().faults.end();
}

fn slow(def: &ServiceDef, inputs: &Inputs, calm: &Account) {
    run(def, inputs, config(), async |world| {
        fault(world, FaultKind::Slow, FAULT_MS).await;
        world.finish().await;
        assert_eq!(world.account(), *calm);
        assert_eq!(count(&world.bulkhead().stats.restarts), 0);
    });
}

/// In virtual time a spin is a wait, or nothing would ever move; the threads are real in `tests`.
fn stuck(def: &ServiceDef, inputs: &Inputs, calm: &Account, kind: FaultKind) {
    run(def, inputs, config(), async |world| {
        fault(world, kind, FAULT_MS).await;
        world.finish().await;
        assert_eq!(world.account(), *calm);
        let stats = &world.bulkhead().stats;
        assert!(count(&stats.stuck) > 0 && count(&stats.restarts) > 0, "found and started again");
        assert!(!world.bulkhead().is_degraded());
    });
}

/// Shorter than three attempts take, so nothing is given up.
fn panicking(def: &ServiceDef, inputs: &Inputs, calm: &Account) {
    run(def, inputs, config(), async |world| {
        fault(world, FaultKind::Panic, 500).await;
        world.finish().await;
        assert_eq!(world.account(), *calm);
        let stats = &world.bulkhead().stats;
        assert!(count(&stats.panics) > 0);
        assert_eq!(count(&stats.restarts), 0, "a panic costs no restart");
    });
}

fn poisoned(def: &ServiceDef, inputs: &Inputs, calm: &Account) {
    run(def, inputs, config(), async |world| {
        fault(world, FaultKind::Poison, 100).await;
        world.finish().await;
        let account = world.account();
        assert_eq!((account.events, account.dead_letters), (calm.events, calm.dead_letters + 1));
        assert_eq!(count(&world.bulkhead().stats.restarts), 0);
    });
}

/// Bytes that are no event of their topic.
fn garbage(def: &ServiceDef, inputs: &Inputs, calm: &Account) {
    let mut rubbish = Inputs::new(inputs.partitions);
    for topic in &def.spec.inputs {
        for value in [vec![0], vec![0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3], b"{\"not\":\"avro\"}".to_vec(), vec![7; 4_000]]
        {
            rubbish.push_bytes(topic, "garbage", 0, Some(value));
        }
    }
    run(def, inputs, config(), async |world| {
        world.append(&rubbish).await;
        world.finish().await;
        let account = world.account();
        let more = rubbish.len() as u64;
        assert_eq!((account.events, account.dead_letters), (calm.events + more, calm.dead_letters + more));
        assert_eq!(count(&world.bulkhead().stats.restarts), 0);
    });
}

fn revoked(def: &ServiceDef, inputs: &Inputs, calm: &Account) {
    run(def, inputs, config(), async |world| {
        // In the middle of a batch.
        world.bulkhead().faults.start(FaultKind::Slow);
        world.sleep_ms(57).await;
        world.take_over().await;
        world.finish().await;
        assert_eq!(world.account(), *calm);
    });
}

fn crash(def: &ServiceDef, inputs: &Inputs, calm: &Account, death: Death) {
    run(def, inputs, config(), async |world| {
        for round in 0..3 {
            world.fragile.dies(death);
            world.sleep_ms(200).await;
            // Where nothing is published, there is no middle of it.
            assert!(round > 0 || world.fragile.is_dead() || death == Death::InPublication, "it did not die");
            world.restart().await;
        }
        world.finish().await;
        assert_eq!(world.account(), *calm);
    });
}

/// A producer of ours that says all it has said once more is not heard; what the outside repeats is the service's to know.
fn duplicates(def: &ServiceDef, inputs: &Inputs, calm: &Account) {
    let ours = |name: &str| def.spec.inputs.iter().any(|t| t.name == name && t.kind == TopicKind::Internal);
    let repeated = inputs.count(ours);
    run(def, inputs, config(), async |world| {
        world.finish().await;
        world.repeat_inputs().await;
        world.finish().await;
        let account = world.account();
        assert_eq!(account.events, 2 * calm.events);
        assert!(account.duplicates >= calm.duplicates + repeated, "{account:?}, {repeated} repetitions of ours");
    });
}

fn drain(def: &ServiceDef, inputs: &Inputs, calm: &Account) {
    run(def, inputs, config(), async |world| {
        world.bulkhead().faults.start(FaultKind::Slow);
        world.sleep_ms(57).await;
        world.bulkhead().faults.end();
        let mut late = 0;
        world.platform.drain(Duration::ZERO, |stage| late += stage.late).await;
        assert_eq!(late, 0, "every shard finished what it had in hand");
        world.restart().await;
        world.finish().await;
        assert_eq!(world.account(), *calm);
    });
}

/// A full disk is waited out: nothing fails, nothing is lost.
fn full_disk(def: &ServiceDef, inputs: &Inputs, calm: &Account) {
    run(def, inputs, config(), async |world| {
        world.fragile.fill(true);
        world.sleep_ms(FAULT_MS).await;
        let full = world.bulkhead().stats.tally();
        world.fragile.fill(false);
        world.finish().await;
        assert_eq!(world.account(), *calm);
        let stats = &world.bulkhead().stats;
        assert_eq!((full.total(), count(&stats.restarts), count(&stats.stuck)), (0, 0, 0));
    });
}

/// The breaker opens; no attempt is used up and nothing is set aside.
fn down(def: &ServiceDef, inputs: &Inputs, calm: &Account) {
    run(def, inputs, config(), async |world| {
        fault(world, FaultKind::Down, FAULT_MS).await;
        assert_eq!((world.bulkhead().paused(), world.bulkhead().breaker.opened()), (Some("dependency down"), 1));
        assert_eq!(world.bulkhead().parked(), 0);
        world.finish().await;
        assert_eq!(world.account(), *calm);
        assert_eq!(count(&world.bulkhead().stats.retried), 0);
    });
}
