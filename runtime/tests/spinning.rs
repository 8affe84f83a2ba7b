//! A fold that never returns, on real threads: its threads are lost, its event is set aside, and nobody else waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime::env::Env;
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::MemoryStorage;
use runtime::outcome::{Failure, Handled};
use runtime::platform::{Platform, PlatformConfig};
use runtime::producer::Producer;
use runtime::service::{Effects, Event, Service, ServiceDef};
use runtime::state::Table;
use runtime::topology::{Class, Order, ServiceSpec, Topic};
use schemas::codec::Encode;
use schemas::events::ImpressionEvent;
use smol_str::SmolStr;

const PARTITIONS: u32 = 2;
static INPUT: Topic = Topic::external("input", "campaign", ImpressionEvent::SCHEMA_ID, None);
/// Ends the lost threads with the test.
static OVER: AtomicBool = AtomicBool::new(false);

runtime::row! {
    struct Total version 1 { count: i64 }
}
runtime::tables! {
    struct Totals { totals: Table<SmolStr, Total> = Table::new("totals") }
}

fn count(state: &mut Totals, event: &Event<'_>) -> Result<bool, Failure> {
    let impression: ImpressionEvent<'_> = event.decode()?;
    state.totals.update(&impression.campaign_id.into(), || Total { count: 0 }, |total| total.count += 1);
    Ok(impression.placement_id == "spins")
}

struct Spinning;
impl Service for Spinning {
    type State = Totals;
    fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "spinning",
            inputs: vec![&INPUT],
            outputs: vec![],
            order: Order::PerKey,
            class: Class::Money,
        }
    }
    fn handle(&mut self, state: &mut Totals, event: &Event<'_>, _: &mut Effects<'_>) -> Result<Handled, Failure> {
        let spins = count(state, event)?;
        while spins && !OVER.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        Ok(Handled::Done)
    }
}

struct Healthy;
impl Service for Healthy {
    type State = Totals;
    fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "healthy",
            inputs: vec![&INPUT],
            outputs: vec![],
            order: Order::PerKey,
            class: Class::Money,
        }
    }
    fn handle(&mut self, state: &mut Totals, event: &Event<'_>, _: &mut Effects<'_>) -> Result<Handled, Failure> {
        count(state, event).map(|_| Handled::Done)
    }
}

async fn produce(log: &Arc<EmbeddedLog>, numbers: std::ops::Range<i64>) {
    let mut producer = Producer::new(log.clone(), "test", 1 << 20, PARTITIONS);
    for n in numbers {
        let (id, campaign) = (format!("event-{n}"), format!("campaign-{}", n % 7));
        let placement_id = if n == 77 { "spins" } else { "good" };
        let event = ImpressionEvent { event_id: &id, campaign_id: &campaign, placement_id, ..Default::default() };
        producer.add(&INPUT, &campaign, n, &event, None).expect("small");
    }
    producer.flush().await.expect("written");
}

#[test]
fn an_event_that_spins_for_ever_is_set_aside_and_felt_by_nobody_else() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let env = Env::production();
        let log = EmbeddedLog::open(&env, Arc::new(MemoryStorage::new()), SegmentLogConfig::small()).expect("a log");
        let mut config = PlatformConfig { partitions: PARTITIONS, threads: 1, ..PlatformConfig::default() };
        config.stuck_after = Duration::from_millis(300);
        let services = vec![ServiceDef::new(|| Spinning), ServiceDef::new(|| Healthy)];
        let platform = Platform::start(env.clone(), log.clone(), services, config).await.expect("starts");
        produce(&log, 0..200).await;
        let healthy = platform.bulkhead("healthy").expect("there");
        let spinning = platform.bulkhead("spinning").expect("there");
        while healthy.stats.tally().done < 200 {
            env.clock.sleep(Duration::from_millis(10)).await;
        }
        assert!(spinning.lag() > 0, "long before the other one is through");
        assert!(platform.idle(Duration::from_secs(120)).await, "{}", spinning.stats.last_error());
        let tally = spinning.stats.tally();
        let lost = spinning.stats.lost_threads.load(Ordering::Relaxed);
        // Every shard has moved off the lost threads, those too that had nothing to do meanwhile.
        produce(&log, 200..400).await;
        let goes_on = platform.idle(Duration::from_secs(20)).await;
        OVER.store(true, Ordering::Relaxed);
        assert!(goes_on, "{} of {PARTITIONS} shards run", spinning.running());
        assert_eq!((tally.done, tally.dead_lettered, lost), (199, 1, 3));
        assert_eq!(healthy.stats.restarts.load(Ordering::Relaxed), 0);
        platform.drain(Duration::from_secs(5), |_| ()).await;
    });
}
