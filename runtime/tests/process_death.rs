//! A fold that takes the whole process with it on one event: started again and again, the platform sets exactly that
//! event aside and goes on (rule P12). Real processes, real files.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use runtime::env::Env;
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::{DiskStorage, Storage};
use runtime::log::{Log, TopicPartition};
use runtime::outcome::{Failure, Handled};
use runtime::platform::{Platform, PlatformConfig};
use runtime::producer::Producer;
use runtime::service::{Effects, Event, Service, ServiceDef};
use runtime::state::Table;
use runtime::topology::{Class, Order, ServiceSpec, Topic};
use schemas::codec::{Encode, Map};
use schemas::events::ImpressionEvent;
use smol_str::SmolStr;

static INPUT: Topic = Topic::external("input", "campaign", ImpressionEvent::SCHEMA_ID, None);

const EVENTS: usize = 400;
const FATAL: usize = 257;
/// Names the data directory to the child.
const CHILD: &str = "BULKHEAD_TEST_CHILD";

runtime::row! {
    struct Total version 1 { count: i64 }
}
runtime::tables! {
    struct Totals { totals: Table<SmolStr, Total> = Table::new("totals") }
}

struct Fatal;
impl Service for Fatal {
    type State = Totals;
    fn spec() -> ServiceSpec {
        ServiceSpec { name: "fatal", inputs: vec![&INPUT], outputs: vec![], order: Order::Strict, class: Class::Money }
    }
    fn handle(&mut self, state: &mut Totals, event: &Event<'_>, _: &mut Effects<'_>) -> Result<Handled, Failure> {
        let impression: ImpressionEvent<'_> = event.decode()?;
        if impression.placement_id == "fatal" {
            std::process::abort();
        }
        state.totals.update(&impression.campaign_id.into(), || Total { count: 0 }, |total| total.count += 1);
        Ok(Handled::Done)
    }
}

fn open(env: &Env, data: &Path) -> Arc<EmbeddedLog> {
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(data).expect("a directory"));
    EmbeddedLog::open(env, storage, SegmentLogConfig::small()).expect("the log opens")
}

async fn produce(log: &Arc<EmbeddedLog>) {
    let mut producer = Producer::new(log.clone(), "test", 1 << 20, 1);
    for n in 0..EVENTS {
        let (id, placement_id) = (format!("event-{n}"), if n == FATAL { "fatal" } else { "good" });
        let event = ImpressionEvent {
            event_id: &id,
            timestamp: n as i64,
            campaign_id: "campaign",
            creative_id: "creative",
            placement_id,
            user_id: None,
            bid_price_micros: 2,
            win_price_micros: 1,
            metadata: Map::from_pairs(&[]),
        };
        producer.add(&INPUT, "campaign", n as i64, &event, None).expect("small");
    }
    producer.flush().await.expect("written");
}

/// One life: takes up the directory and works off what is there.
async fn live(data: &Path) {
    let env = Env::production();
    let log = open(&env, data);
    let config = PlatformConfig { partitions: 1, ..PlatformConfig::default() };
    let platform = Platform::start(env, log.clone(), vec![ServiceDef::new(|| Fatal)], config).await.expect("starts");
    if log
        .extent(TopicPartition { topic: log.topic("input").expect("made"), partition: 0 })
        .expect("there")
        .high_watermark
        == 0
    {
        produce(&log).await;
    }
    assert!(platform.idle(Duration::from_secs(60)).await, "{}", platform.bulkheads[0].stats.last_error());
    platform.drain(Duration::from_secs(10), |_| ()).await;
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Not a test of its own: the process that dies.
#[test]
fn child() {
    if let Some(data) = std::env::var_os(CHILD) {
        block_on(live(Path::new(&data)));
    }
}

#[test]
fn an_event_that_aborts_the_process_is_set_aside_and_everything_else_is_taken() {
    let data = tempfile::tempdir().expect("a directory");
    let program = std::env::current_exe().expect("this test");
    let mut deaths = 0;
    while !Command::new(&program)
        .args(["--exact", "child"])
        .env(CHILD, data.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the program starts")
        .success()
    {
        deaths += 1;
        assert!(deaths < 10, "it never goes on");
    }
    assert!((3..=5).contains(&deaths), "{deaths} deaths");
    let log = open(&Env::production(), data.path());
    let letters = log.topic("input-dlq").expect("made");
    let mut reader = log.reader(TopicPartition { topic: letters, partition: 0 }, 0, Arc::default()).expect("there");
    let (mut ids, mut scratch) = (Vec::new(), Vec::new());
    while let Some(fetched) = reader.try_next(1 << 20).expect("readable") {
        for batch in runtime::log::Batches::new(&fetched.bytes) {
            for record in batch.expect("whole").records(&mut scratch).expect("readable") {
                let value = record.expect("readable").value.expect("an event");
                let event: ImpressionEvent<'_> = schemas::frame::decode(value).expect("untouched");
                ids.push(event.event_id.to_string());
            }
        }
    }
    assert_eq!(ids, [format!("event-{FATAL}")], "exactly the one event");
}
