//! The protocol, rule by rule, on a log that can lose answers and let two owners live.

mod ownership;
mod pauses;
mod plain_log;
mod process_death;
mod replays;
mod restate;
mod stuck;

use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use self::plain_log::{Answer, PlainLog};
use crate::env::Env;
use crate::fault::FaultKind;
use crate::log::Log;
use crate::outcome::{Failure, Handled};
use crate::platform::{Platform, PlatformConfig};
use crate::producer::Producer;
use crate::service::{Effects, Event, Service, ServiceDef};
use crate::state::Table;
use crate::topology::{Class, Order, ServiceSpec, Topic};
use schemas::codec::{Encode, Map};
use schemas::events::ImpressionEvent;

static INPUT: Topic = Topic::external("input", "campaign", ImpressionEvent::SCHEMA_ID, None);
static MIDDLE: Topic = Topic::internal("middle", "campaign", ImpressionEvent::SCHEMA_ID, None);
static OUTPUT: Topic = Topic::internal("output", "campaign", ImpressionEvent::SCHEMA_ID, None);

crate::row! {
    struct Total version 1 { count: i64, micros: i64 }
}
crate::tables! {
    struct Totals { totals: Table<SmolStr, Total> = Table::new("totals") }
}

fn fold(
    topic: &'static Topic,
    totals: &mut Totals,
    event: &Event<'_>,
    effects: &mut Effects<'_>,
) -> Result<Handled, Failure> {
    let impression: ImpressionEvent<'_> = event.decode()?;
    let key = SmolStr::new(impression.campaign_id);
    totals.totals.update(
        &key,
        || Total { count: 0, micros: 0 },
        |total| {
            total.count += 1;
            total.micros += impression.win_price_micros;
        },
    );
    effects.emit(topic, impression.campaign_id, event.timestamp_ms, &impression);
    match impression.placement_id {
        "bad" => Err(Failure::semantic("told to fail")),
        "panics" => panic!("told to panic"),
        _ => Ok(Handled::Done),
    }
}

struct First;
impl Service for First {
    type State = Totals;
    fn spec() -> ServiceSpec {
        let (inputs, outputs) = (vec![&INPUT], vec![&MIDDLE]);
        ServiceSpec { name: "first", inputs, outputs, order: Order::Strict, class: Class::Money }
    }
    fn handle(&mut self, state: &mut Totals, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        fold(&MIDDLE, state, event, effects)
    }
}

struct Second;
impl Service for Second {
    type State = Totals;
    fn spec() -> ServiceSpec {
        let (inputs, outputs) = (vec![&MIDDLE], vec![&OUTPUT]);
        ServiceSpec { name: "second", inputs, outputs, order: Order::PerKey, class: Class::Money }
    }
    fn handle(&mut self, state: &mut Totals, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        fold(&OUTPUT, state, event, effects)
    }
}

/// A failure that is tried again later.
fn told_to_wait() -> Failure {
    Failure::Transient(crate::outcome::Reason::new("LATER", "told to wait"))
}

fn config() -> PlatformConfig {
    let mut config = PlatformConfig { partitions: 2, ..PlatformConfig::default() };
    config.limits.retry_delays = [1, 1, 1].map(Duration::from_millis).to_vec();
    config.policy.backoff.first = Duration::from_millis(1);
    config
}

async fn start(env: &Env, log: &Arc<PlainLog>, config: PlatformConfig) -> Platform {
    let services = vec![ServiceDef::new(|| First), ServiceDef::new(|| Second)];
    Platform::start(env.clone(), log.clone(), services, config).await.unwrap()
}

async fn produce(log: &Arc<PlainLog>, from: usize, count: usize, placement: &str) {
    let mut producer = Producer::new(log.clone(), "test", 1 << 20, 2);
    for n in from..from + count {
        let (id, campaign) = (format!("event-{n}"), format!("campaign-{}", n % 5));
        let event = ImpressionEvent {
            event_id: &id,
            timestamp: n as i64,
            campaign_id: &campaign,
            creative_id: "c",
            placement_id: placement,
            user_id: None,
            bid_price_micros: 10,
            win_price_micros: 7,
            metadata: Map::from_pairs(&[]),
        };
        producer.add(&INPUT, &campaign, n as i64, &event, None).unwrap();
        if n % 10 == 9 {
            producer.flush().await.unwrap();
        }
    }
    producer.flush().await.unwrap();
}

fn simulate(test: impl AsyncFnOnce(Env)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { test(Env::simulation(1, 1_700_000_000_000)).await });
}

/// Distinct event ids that reached the output, and how many records carry them.
fn reached(log: &PlainLog) -> (usize, usize) {
    let values = log.values("output");
    let id = |value: &Vec<u8>| {
        let event: ImpressionEvent<'_> = schemas::frame::decode(value).unwrap();
        event.event_id.to_string()
    };
    let ids: std::collections::BTreeSet<_> = values.iter().map(id).collect();
    (ids.len(), values.len())
}

const LONG: Duration = Duration::from_secs(600);

#[test]
fn events_flow_through_and_are_accounted_for() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        produce(&log, 0, 100, "good").await;
        assert!(platform.idle(LONG).await);
        assert_eq!(reached(&log), (100, 100));
        for bulkhead in &platform.bulkheads {
            assert_eq!(bulkhead.stats.tally().done, 100, "{}: {}", bulkhead.spec.name, bulkhead.stats.last_error());
            assert_eq!(bulkhead.stats.queue_bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
        }
        platform.drain(LONG, |stage| assert_eq!((stage.late, stage.lag), (0, 0), "{stage:?}")).await;
    });
}

#[test]
fn a_restart_continues_where_the_commits_stand() {
    simulate(async |env| {
        let log = PlainLog::kind();
        for round in 0..4 {
            let platform = start(&env, &log, config()).await;
            produce(&log, round * 50, 50, "good").await;
            if round % 2 == 0 {
                assert!(platform.idle(LONG).await);
            }
            platform.kill();
        }
        let platform = start(&env, &log, config()).await;
        assert!(platform.idle(LONG).await);
        let (ids, records) = reached(&log);
        assert_eq!(ids, 200);
        assert!(records >= 200, "repetitions are allowed in the log, losses are not: {records}");
        let second = platform.bulkhead("second").unwrap();
        assert_eq!(second.stats.last_error(), "");
    });
}

/// Every append in turn loses its answer, though it happened: the owner must start anew and nothing doubles for good.
#[test]
fn a_lost_answer_ends_the_ownership_and_loses_nothing() {
    for lost in 0..40 {
        simulate(async |env| {
            let log = PlainLog::scripted(
                false,
                move |n, topic| {
                    if n == lost && topic != "input" { Answer::Lost } else { Answer::Yes }
                },
            );
            let platform = start(&env, &log, config()).await;
            produce(&log, 0, 40, "good").await;
            assert!(platform.idle(LONG).await, "append {lost}: {}", platform.bulkheads[1].stats.last_error());
            assert_eq!(reached(&log).0, 40, "append {lost}");
            let second = platform.bulkhead("second").unwrap().stats.tally();
            assert_eq!(second.done, 40, "append {lost}");
        });
    }
}

/// Two owners live at once, on a log that refuses nothing: one loses, everything is taken once.
#[test]
fn a_zombie_changes_nothing() {
    simulate(async |env| {
        let log = PlainLog::scripted(false, |_, _| Answer::Yes);
        let zombie = start(&env, &log, config()).await;
        produce(&log, 0, 30, "good").await;
        let owner = start(&env, &log, config()).await;
        produce(&log, 30, 30, "good").await;
        env.clock.sleep(Duration::from_millis(50)).await;
        zombie.kill();
        assert!(owner.idle(LONG).await);
        produce(&log, 60, 30, "good").await;
        assert!(owner.idle(LONG).await);
        assert_eq!(reached(&log).0, 90);
        // What stands is counted once: fold the commit topic of `second` again and look at its totals.
        owner.kill();
        let fresh = start(&env, &log, config()).await;
        assert!(fresh.idle(LONG).await);
        assert_eq!(standing_total(&log), 90 * 7);
    });
}

/// Sum of all totals of `second`, from the commit topic alone.
fn standing_total(log: &PlainLog) -> i64 {
    use crate::commit::Entry;
    use crate::commit::standing::{Standing, Verdict};
    let topic = log.topic("second-commits").unwrap();
    let mut totals = std::collections::BTreeMap::new();
    for partition in 0..2 {
        let at = crate::log::TopicPartition { topic, partition };
        let mut reader = log.reader(at, 0, Arc::default()).unwrap();
        let (mut standing, mut scratch) = (Standing::new(), Vec::new());
        while let Some(fetched) = reader.try_next(1).unwrap() {
            let (batch, _) = crate::log::Batch::parse(&fetched.bytes).unwrap();
            for record in batch.records(&mut scratch).unwrap() {
                let record = record.unwrap();
                let entry = Entry::parse(record.offset, record.value).unwrap();
                let Entry::Commit(commit) = entry else {
                    standing.admit(record.offset, &entry);
                    continue;
                };
                if standing.admit(record.offset, &entry) == Verdict::Stands {
                    for row in commit.delta.iter().filter(|d| d.table == "totals").flat_map(|d| d.rows.iter()) {
                        let total = row.value.map(|value| crate::state::row::decode_exact::<Total>(value).unwrap());
                        totals.insert((partition, row.key.to_vec()), total.map_or(0, |total| total.micros));
                    }
                }
            }
        }
    }
    totals.values().sum()
}

#[test]
fn a_failed_event_leaves_nothing_but_its_dead_letter() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        produce(&log, 0, 20, "good").await;
        produce(&log, 20, 3, "bad").await;
        produce(&log, 23, 2, "panics").await;
        produce(&log, 25, 20, "good").await;
        assert!(platform.idle(LONG).await);
        assert_eq!(reached(&log), (40, 40));
        let first = platform.bulkhead("first").unwrap();
        let tally = first.stats.tally();
        assert_eq!((tally.done, tally.dead_lettered), (40, 5));
        assert_eq!(first.stats.restarts.load(std::sync::atomic::Ordering::Relaxed), 0, "a panic costs no restart");
        assert_eq!(log.values("input-dlq").len(), 5);
        assert_eq!(standing_total(&log), 40 * 7);
    });
}

#[test]
fn snapshots_bound_the_restore() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let mut config = config();
        config.limits.snapshot_bytes = 4_000;
        for round in 0..6 {
            let platform = start(&env, &log, config.clone()).await;
            for step in 0..10 {
                produce(&log, round * 100 + step * 10, 10, "good").await;
                env.clock.sleep(Duration::from_millis(300)).await;
            }
            assert!(platform.idle(LONG).await, "{}", platform.bulkheads[0].stats.last_error());
            env.clock.sleep(Duration::from_secs(10)).await;
            platform.kill();
        }
        let commits = log.topic("second-commits").unwrap();
        let start_of = |partition| log.extent(crate::log::TopicPartition { topic: commits, partition }).unwrap().start;
        assert!((0..2).any(|partition| start_of(partition) > 0), "nothing was trimmed");
        let platform = start(&env, &log, config).await;
        produce(&log, 600, 10, "good").await;
        assert!(platform.idle(LONG).await, "{}", platform.bulkheads[0].stats.last_error());
        assert_eq!(reached(&log).0, 610);
        assert_eq!(platform.bulkheads[1].stats.tally().total(), 10, "{}", platform.bulkheads[1].stats.last_error());
    });
}

#[test]
fn a_stalled_service_is_not_felt_upstream_and_catches_up() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        produce(&log, 0, 10, "good").await;
        assert!(platform.idle(LONG).await);
        let (first, second) = (&platform.bulkheads[0], &platform.bulkheads[1]);
        second.faults.start(FaultKind::Stall);
        produce(&log, 10, 50, "good").await;
        env.clock.sleep(Duration::from_secs(5)).await;
        assert_eq!((first.lag(), first.stats.tally().done), (0, 60));
        assert_eq!(second.lag(), 50);
        second.faults.end();
        assert!(platform.idle(LONG).await);
        assert_eq!(second.stats.tally().done, 60);
        assert!(second.faults.fired() > 0);
    });
}

#[test]
fn poison_is_exactly_one_dead_letter() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        platform.bulkheads[1].faults.start(FaultKind::Poison);
        produce(&log, 0, 30, "good").await;
        env.clock.sleep(Duration::from_secs(1)).await;
        platform.bulkheads[1].faults.end();
        assert!(platform.idle(LONG).await);
        let tally = platform.bulkheads[1].stats.tally();
        assert_eq!((tally.done, tally.dead_lettered), (29, 1));
    });
}

/// What fails for a while waits as a row; the order of each key is kept, nothing is lost, a restart changes nothing.
#[test]
fn a_transient_failure_waits_as_a_row_in_key_order() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let mut config = config();
        config.limits.retry_delays = [5_000, 20_000, 60_000].map(Duration::from_millis).to_vec();
        let platform = start(&env, &log, config.clone()).await;
        produce(&log, 0, 10, "good").await;
        assert!(platform.idle(LONG).await);
        platform.bulkheads[1].faults.start(FaultKind::Error);
        produce(&log, 10, 20, "good").await;
        env.clock.sleep(Duration::from_secs(1)).await;
        platform.bulkheads[1].faults.end();
        produce(&log, 30, 20, "good").await;
        env.clock.sleep(Duration::from_millis(20)).await;
        assert!(platform.parked() >= 20, "{}", platform.parked());
        assert_eq!(platform.lag(), 0, "nothing blocks the partition");
        platform.kill();
        let platform = start(&env, &log, config).await;
        env.clock.sleep(Duration::from_millis(20)).await;
        assert!(platform.parked() >= 20, "waiting events are state");
        assert!(platform.idle(LONG).await);
        assert_eq!(reached(&log), (50, 50));
        let mut last = std::collections::BTreeMap::new();
        for value in log.values("output") {
            let event: ImpressionEvent<'_> = schemas::frame::decode(&value).unwrap();
            let before = last.insert(event.campaign_id.to_string(), event.timestamp);
            assert!(before.is_none_or(|before| before < event.timestamp), "{} out of order", event.event_id);
        }
    });
}

/// Time that waits for nobody: what is due in ten minutes is due at once when time is run forward.
#[test]
fn time_can_be_run_forward() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let mut config = config();
        config.limits.retry_delays = vec![Duration::from_secs(600)];
        let platform = start(&env, &log, config).await;
        platform.bulkheads[1].faults.start(FaultKind::Error);
        produce(&log, 0, 10, "good").await;
        env.clock.sleep(Duration::from_secs(1)).await;
        platform.bulkheads[1].faults.end();
        assert_eq!(platform.parked(), 10);
        env.clock.run_forward(601_000);
        assert!(platform.idle(Duration::from_secs(5)).await);
        assert_eq!(platform.bulkheads[1].stats.tally().done, 10);
    });
}

/// The root starts a supervisor again that ended, and it its shards; the other bulkheads do not notice.
#[test]
fn a_supervisor_that_ends_is_started_again() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        produce(&log, 0, 10, "good").await;
        assert!(platform.idle(LONG).await);
        for round in 1..20 {
            platform.bulkheads[1].supervisor.load_full().unwrap().kill();
            produce(&log, round * 10, 10, "good").await;
            env.clock.sleep(Duration::from_secs(20)).await;
        }
        assert!(platform.idle(LONG).await, "{}", platform.bulkheads[1].stats.last_error());
        assert_eq!(reached(&log).0, 200);
        assert_eq!(platform.bulkheads[0].stats.restarts.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert!(!platform.bulkheads[0].is_degraded());
    });
}

#[test]
fn a_stuck_shard_is_found_ended_and_started_again() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let mut config = config();
        config.stuck_after = Duration::from_secs(3);
        let platform = start(&env, &log, config).await;
        produce(&log, 0, 10, "good").await;
        assert!(platform.idle(LONG).await);
        let second = &platform.bulkheads[1];
        second.faults.start(FaultKind::Stall);
        produce(&log, 10, 10, "good").await;
        env.clock.sleep(Duration::from_secs(5)).await;
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        assert!(of(&second.stats.stuck) > 0 && of(&second.stats.restarts) > 0);
        assert_eq!(of(&platform.bulkheads[0].stats.restarts), 0);
        second.faults.end();
        assert!(platform.idle(LONG).await);
        assert_eq!(second.stats.tally().done, 20);
    });
}
